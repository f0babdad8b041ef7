/*
 * explore_vmm_hardware.c - calls on a space while CPUs walk its tables.
 *
 * Problem     A CPU walks when it likes, remembers what it found, and is told of changes late. What
 *             it may still use must not be freed, and what it was told to forget must be gone.
 * Idea        See mmu.h. CPU 1 is hardware: it accesses addresses, or looks ahead in the middle of
 *             what its software does; CPU 0 changes what is there. Each walk may come at any step,
 *             and stop in any table. NMIs translate by software, at any step of a CPU.
 * Invariants  None.
 * Locking     None.
 * Cost        See docs/exploring.md.
 * Rejected    None.
 */
#include "vmm_world.h"

#define PAGE_A    VIRT(1, 1, 1, 1)
#define PAGE_B    VIRT(1, 1, 1, 2)
#define SIBLING   VIRT(1, 1, 2, 1)
#define ALL_OF_AB VIRT(1, 1, 1, 0)

#define BOTH 3u
#define NONE 0u

/* ---- worlds ---- */

#define WORLD(function, ...)                                             \
    static void function(void)                                           \
    {                                                                    \
        static const struct world world = {                              \
            .cpus = 2, .probe = {PAGE_A, PAGE_B, SIBLING}, __VA_ARGS__}; \
                                                                         \
        world_make(&world);                                              \
    }

#define AT(virt, n)            \
    {                          \
        virt, PAGE, DATA(n), 0 \
    }
#define AT_LARGE(virt, n)             \
    {                                 \
        virt, LARGE, LARGE_DATA(n), 0 \
    }

/* More than 16 pages: then protect looks whether any CPU has the space loaded. */
#define LONG_RANGE (17 * PAGE)

WORLD(empty, .loaded = BOTH)
WORLD(a_mapped, .loaded = BOTH, .mapped = {AT(PAGE_A, 1)})
WORLD(a_marked, .loaded = BOTH, .mapped = {AT(PAGE_A, 1)}, .marks = true)
WORLD(a_and_b, .loaded = BOTH, .mapped = {AT(PAGE_A, 1), AT(PAGE_B, 2)})
WORLD(a_and_sibling, .loaded = BOTH, .mapped = {AT(PAGE_A, 1), AT(SIBLING, 2)})
WORLD(large, .loaded = BOTH, .mapped = {AT_LARGE(ALL_OF_AB, 0)})
WORLD(a_on_one, .loaded = 1, .mapped = {AT(PAGE_A, 1)})
WORLD(a_on_two, .loaded = 2, .mapped = {AT(PAGE_A, 1)})
WORLD(a_alone, .loaded = NONE, .mapped = {AT(PAGE_A, 1)})
WORLD(a_and_b_alone, .loaded = NONE, .mapped = {AT(PAGE_A, 1), AT(PAGE_B, 2)})
WORLD(a_with_asids, .loaded = BOTH, .mapped = {AT(PAGE_A, 1)}, .asids = true)
WORLD(a_alone_with_asids, .loaded = NONE, .mapped = {AT(PAGE_A, 1)}, .asids = true)
WORLD(a_on_one_with_asids, .loaded = 1, .mapped = {AT(PAGE_A, 1)}, .asids = true)
WORLD(a_and_b_with_asids, .loaded = 1, .mapped = {AT(PAGE_A, 1), AT(PAGE_B, 2)}, .asids = true)
WORLD(long_alone, .loaded = NONE, .mapped = {{PAGE_A, LONG_RANGE, DATA(1), 0}})

static void a_remembered(void)
{
    a_mapped();
    explore_as_cpu(1);
    EXPLORE_CHECK(mmu_access(PAGE_A, false));
}

static void a_remembered_by_both(void)
{
    a_remembered();
    explore_as_cpu(0);
    EXPLORE_CHECK(mmu_access(PAGE_A, false));
}

static void a_and_b_remembered(void)
{
    a_and_b();
    explore_as_cpu(1);
    EXPLORE_CHECK(mmu_access(PAGE_A, false) && mmu_access(PAGE_B, false));
}

static void a_written(void)
{
    a_mapped();
    explore_as_cpu(1);
    EXPLORE_CHECK(mmu_access(PAGE_A, true));
}

static void large_remembered(void)
{
    large();
    explore_as_cpu(1);
    EXPLORE_CHECK(mmu_access(PAGE_A, false));
}

/* CPU 1 was in the space, and knows pages by the id that it left. */
static void visit(bool write, bool b)
{
    explore_as_cpu(1);
    EXPLORE_CHECK(mm_space_activate(&world_space) == MM_OK);
    EXPLORE_CHECK(mmu_access(PAGE_A, write) && (!b || mmu_access(PAGE_B, write)));
    EXPLORE_CHECK(mm_space_activate(&world_kernel) == MM_OK);
}

static void a_kept(void)
{
    a_on_one_with_asids();
    visit(true, false);
}

static void a_kept_alone(void)
{
    a_alone_with_asids();
    visit(true, false);
}

static void a_and_b_kept(void)
{
    a_and_b_with_asids();
    visit(false, true);
}

static void a_remembered_by_id(void)
{
    a_with_asids();
    explore_as_cpu(1);
    EXPLORE_CHECK(mmu_access(PAGE_A, false));
}

/* ---- what they do ---- */

#define DO(function, call)     \
    static void function(void) \
    {                          \
        (void)(call);          \
    }

DO(maps_a, map(T0, PAGE_A, PAGE, DATA(3)))
DO(unmaps_a, unmap(T0, PAGE_A, PAGE))
DO(unmaps_all, unmap_all(T0, ALL_OF_AB, LARGE))
DO(unmaps_and_frees_a, unmap_free(T0, PAGE_A, PAGE))
DO(lowers_a, lower(T0, PAGE_A, PAGE))
DO(lowers_long, protect(T0, PAGE_A, LONG_RANGE, MM_PROT_READ))
DO(reads_a, mmu_access(PAGE_A, false))
DO(reads_b, mmu_access(PAGE_B, false))
DO(writes_a, mmu_access(PAGE_A, true))
DO(writes_b, mmu_access(PAGE_B, true))
DO(destroys, destroy(T0))
DO(t1_activates, activate(T1))
DO(t1_leaves, leave_space(T1))
DO(nmi0_translates_a, translate(NMI0, PAGE_A))
DO(nmi1_translates_a, translate(NMI1, PAGE_A))
DO(t1_translates_b, translate(T1, PAGE_B))
DO(t1_maps_b, map(T1, PAGE_B, PAGE, DATA(6)))

static void cursor_unmaps_a(void)
{
    if (!cursor_begin(T0))
        return;
    (void)cursor_unmap(T0, PAGE_A);
    cursor_end(T0);
}

static void idle(void)
{
}

static void reads_both(void)
{
    (void)mmu_access(PAGE_A, false);
    (void)mmu_access(SIBLING, false);
}

static void looks_ahead(void)
{
    (void)mmu_prefetch(PAGE_A);
    (void)mmu_prefetch(PAGE_B);
}

static void unmaps_a_maps_sibling(void)
{
    (void)unmap(T0, PAGE_A, PAGE);
    (void)map(T0, SIBLING, PAGE, DATA(4));
}

static void unmaps_and_maps_a(void)
{
    (void)unmap(T0, PAGE_A, PAGE);
    (void)map(T0, PAGE_A, PAGE, DATA(4));
}

static void reads_and_unmaps_b(void)
{
    (void)mmu_access(PAGE_A, false);
    (void)unmap(T1, PAGE_B, PAGE);
}

static void t1_activates_and_reads(void)
{
    (void)activate(T1);
    (void)mmu_access(PAGE_A, false);
}

static void t1_leaves_and_returns(void)
{
    (void)leave_space(T1);
    (void)activate(T1);
    (void)mmu_access(PAGE_A, false);
}

static void unmaps_a_and_b(void)
{
    (void)unmap(T0, PAGE_A, PAGE);
    (void)unmap(T0, PAGE_B, PAGE);
}

static void t1_activates_and_writes(void)
{
    (void)activate(T1);
    (void)mmu_access(PAGE_A, true);
}

#define ALL(stale)            \
    {                         \
        EXPLORE_ALL, stale, 0 \
    }
#define TWO(world, t0, t1)                                                     \
    .flags = EXPLORE_RUN_ON, .cpus = 2, .set_up = world, .check = world_check, \
    .thread = {{t0, 0, 0}, {t1, 1, 0}}
#define TWO_BY_NMI(world, t0, t1)                                                                \
    .flags = EXPLORE_RUN_ON | EXPLORE_IPI_NMI, .cpus = 2, .set_up = world, .check = world_check, \
    .thread = {{t0, 0, 0}, {t1, 1, 0}}
#define NMI(function, cpu) .handler = {{function, cpu, EXPLORE_NMI, 1}}

const struct explore_scenario explore_scenarios[] = {
    /* a CPU that reads or writes */
    {.name = "map_read", TWO(empty, maps_a, reads_a), .bounds = ALL(1)},
    {.name = "unmap_read", TWO(a_mapped, unmaps_a, reads_a), .bounds = ALL(1)},
    {.name = "unmap_remembered", TWO(a_remembered, unmaps_a, idle), .bounds = ALL(1)},
    {.name = "unmap_remembered_here", TWO(a_remembered_by_both, unmaps_a, idle), .bounds = ALL(1)},
    {.name = "unmap_twice_remembered",
     TWO(a_and_b_remembered, unmaps_a_and_b, idle),
     .bounds = ALL(1)},
    {.name = "unmap_read_upper", TWO(a_and_b_remembered, unmaps_a, reads_a), .bounds = ALL(1)},
    {.name = "unmap_table_read", TWO(a_and_b_remembered, unmaps_all, reads_b), .bounds = ALL(1)},
    {.name = "unmap_sibling_read", TWO(a_and_sibling, unmaps_a, reads_both), .bounds = ALL(1)},
    {.name = "unmap_free_read", TWO(a_mapped, unmaps_and_frees_a, reads_a), .bounds = ALL(1)},
    {.name = "cursor_unmap_read",
     TWO(a_and_b_remembered, cursor_unmaps_a, reads_a),
     .bounds = ALL(1)},
    {.name = "table_used_again_read",
     TWO(a_mapped, unmaps_a_maps_sibling, reads_both),
     .bounds = ALL(0)},
    {.name = "page_used_again_read", TWO(a_mapped, unmaps_and_maps_a, reads_a), .bounds = ALL(1)},
    {.name = "protect_write", TWO(a_mapped, lowers_a, writes_a), .bounds = ALL(1)},
    {.name = "protect_written", TWO(a_written, lowers_a, writes_a), .bounds = ALL(1)},
    {.name = "protect_marks", TWO(a_marked, lowers_a, writes_a), .bounds = ALL(1)},
    {.name = "unmap_marks", TWO(a_marked, unmaps_a, writes_a), .bounds = ALL(1)},
    {.name = "split_read", TWO(large, unmaps_a, reads_b), .bounds = ALL(0)},
    {.name = "split_remembered", TWO(large_remembered, unmaps_a, looks_ahead), .bounds = ALL(0)},
    {.name = "split_protect_remembered",
     TWO(large_remembered, lowers_a, looks_ahead),
     .bounds = ALL(0)},
    {.name = "split_marks", TWO(large, unmaps_a, writes_b), .bounds = ALL(0)},
    {.name = "two_shoot_and_walk",
     TWO(a_and_b, unmaps_a, reads_and_unmaps_b),
     .bounds = {1, 0, 0},
     .longer = {2, 0, 0}},
    /* a CPU that loads the space, or leaves it, and looks ahead meanwhile */
    {.name = "activate_unmap", TWO(a_on_one, unmaps_a, t1_activates_and_reads), .bounds = ALL(1)},
    {.name = "activate_protect_long",
     TWO(long_alone, lowers_long, t1_activates_and_writes),
     .bounds = ALL(1)},
    {.name = "leave_unmap",
     TWO(a_mapped, unmaps_a, t1_leaves),
     NMI(looks_ahead, 1),
     .bounds = ALL(1)},
    {.name = "leave_destroy",
     TWO(a_on_two, destroys, t1_leaves),
     NMI(looks_ahead, 1),
     .bounds = ALL(1)},
    {.name = "activate_destroy",
     TWO(a_alone, destroys, t1_activates),
     NMI(looks_ahead, 1),
     .bounds = ALL(1)},
    {.name = "activate_looks_ahead",
     TWO(a_on_one, unmaps_a, t1_activates),
     NMI(looks_ahead, 1),
     .bounds = ALL(1)},
    /* one that comes back to what it has kept */
    {.name = "return_unmap", TWO(a_kept, unmaps_a, t1_activates_and_reads), .bounds = ALL(1)},
    {.name = "return_protect", TWO(a_kept, lowers_a, t1_activates_and_writes), .bounds = ALL(1)},
    {.name = "return_unmap_table",
     TWO(a_and_b_kept, unmaps_all, t1_activates_and_reads),
     .bounds = ALL(1)},
    {.name = "return_unmap_twice",
     TWO(a_and_b_kept, unmaps_a_and_b, t1_activates_and_reads),
     .bounds = {2, 1, 0},
     .longer = ALL(1)},
    {.name = "leave_return_unmap",
     TWO(a_remembered_by_id, unmaps_a, t1_leaves_and_returns),
     .bounds = ALL(1)},
    {.name = "return_unmap_foreign",
     TWO(a_kept_alone, unmaps_a, t1_activates_and_reads),
     .bounds = ALL(1)},
    {.name = "return_destroy",
     TWO(a_kept_alone, destroys, t1_activates_and_reads),
     .bounds = ALL(1)},
    {.name = "return_unmap_nmi",
     TWO_BY_NMI(a_kept, unmaps_a, t1_activates_and_reads),
     .bounds = ALL(1)},
    {.name = "leave_return_unmap_nmi",
     TWO_BY_NMI(a_remembered_by_id, unmaps_a, t1_leaves_and_returns),
     .bounds = ALL(1)},
    /* translate in an NMI */
    {.name = "nmi_other_map",
     TWO(empty, maps_a, idle),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(1)},
    {.name = "nmi_other_unmap",
     TWO(a_mapped, unmaps_a, idle),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(1)},
    {.name = "nmi_other_unmap_all",
     TWO(a_and_b, unmaps_all, idle),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(1)},
    {.name = "nmi_other_split",
     TWO(large, unmaps_a, idle),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(0)},
    {.name = "nmi_other_protect",
     TWO(a_mapped, lowers_a, idle),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(1)},
    {.name = "nmi_in_map", TWO(empty, maps_a, idle), NMI(nmi0_translates_a, 0), .bounds = ALL(1)},
    {.name = "nmi_in_unmap",
     TWO(a_mapped, unmaps_a, idle),
     NMI(nmi0_translates_a, 0),
     .bounds = ALL(1)},
    {.name = "nmi_in_split",
     TWO(large, unmaps_a, idle),
     NMI(nmi0_translates_a, 0),
     .bounds = ALL(0)},
    {.name = "nmi_in_map_beside_unmap",
     TWO(a_mapped, unmaps_a, reads_a),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(1)},
    /* in a space that this CPU has not loaded: no flush asks it */
    {.name = "nmi_foreign_unmap",
     TWO(a_alone, unmaps_a, idle),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(1)},
    {.name = "nmi_foreign_unmap_all",
     TWO(a_and_b_alone, unmaps_all, idle),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(1)},
    {.name = "nmi_foreign_destroy",
     TWO(a_alone, destroys, idle),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(1)},
    {.name = "nmi_in_translate",
     TWO(a_alone, unmaps_a, t1_translates_b),
     NMI(nmi1_translates_a, 1),
     .bounds = ALL(1)},
    {.name = "nmi_in_foreign_map",
     TWO(a_alone, unmaps_a, t1_maps_b),
     NMI(nmi1_translates_a, 1),
     .bounds = {2, 0, 0},
     .longer = {2, 1, 0}},
    {0},
};
