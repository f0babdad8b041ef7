/*
 * explore_vmm_three.c - calls on a space on three CPUs.
 *
 * Problem     What one CPU takes away a second may have in hand, and a third may have been given
 *             already.
 * Idea        See vmm_world.h. Two calls that meet, and a third that looks, walks, or takes the frame
 *             that became free.
 * Invariants  None.
 * Locking     None.
 * Cost        See docs/exploring.md.
 * Rejected    None.
 */
#include "vmm_world.h"

#define PAGE_A    VIRT(1, 1, 1, 1)
#define PAGE_B    VIRT(1, 1, 1, 2)
#define SIBLING   VIRT(1, 1, 2, 1)
#define COUSIN    VIRT(1, 2, 1, 1)
#define ALL_OF_AB VIRT(1, 1, 1, 0)

/* Two pages each: over the border of two leaf tables; of two tables of level 2; one page further. */
#define STRADDLES_2 VIRT(1, 1, 1, 511)
#define STRADDLES_3 VIRT(1, 1, 511, 511)
#define BEHIND_2    VIRT(1, 1, 2, 0)

#define ALL_CPUS   7u
#define ONLY_CPU_2 4u
#define NO_CPU     0u

/* ---- worlds ---- */

#define WORLD(function, ...)                                                     \
    static void function(void)                                                   \
    {                                                                            \
        static const struct world world = {                                      \
            .cpus = 3, .probe = {PAGE_A, PAGE_B, SIBLING, COUSIN}, __VA_ARGS__}; \
                                                                                 \
        world_make(&world);                                                      \
    }

#define BORDERS(function, ...)                                                                  \
    static void function(void)                                                                  \
    {                                                                                           \
        static const struct world world = {                                                     \
            .cpus = 3,                                                                          \
            .loaded = ONLY_CPU_2,                                                               \
            .probe = {STRADDLES_2, BEHIND_2, BEHIND_2 + PAGE, STRADDLES_3, STRADDLES_3 + PAGE}, \
            .hot = {0, 1, 2, 511},                                                              \
            __VA_ARGS__};                                                                       \
                                                                                                \
        world_make(&world);                                                                     \
    }

#define AT(virt, n)            \
    {                          \
        virt, PAGE, DATA(n), 0 \
    }
#define TWO_AT(virt, n)            \
    {                              \
        virt, 2 * PAGE, DATA(n), 0 \
    }

WORLD(empty, .loaded = NO_CPU)
WORLD(a_mapped, .loaded = ONLY_CPU_2, .mapped = {AT(PAGE_A, 1)})
WORLD(a_on_all, .loaded = ALL_CPUS, .mapped = {AT(PAGE_A, 1)})
WORLD(a_on_none, .loaded = NO_CPU, .mapped = {AT(PAGE_A, 1)})
WORLD(a_and_b, .loaded = ONLY_CPU_2, .mapped = {AT(PAGE_A, 1), AT(PAGE_B, 2)})
WORLD(a_b_and_sibling, .loaded = ONLY_CPU_2,
      .mapped = {AT(PAGE_A, 1), AT(PAGE_B, 2), AT(SIBLING, 3)})
WORLD(a_and_sibling, .loaded = NO_CPU, .mapped = {AT(PAGE_A, 1), AT(SIBLING, 3)})
BORDERS(straddler, .mapped = {TWO_AT(STRADDLES_2, 1)})
BORDERS(straddler_3, .mapped = {TWO_AT(STRADDLES_3, 1)})

/* ---- what they do ---- */

#define DO(function, call)     \
    static void function(void) \
    {                          \
        (void)(call);          \
    }

DO(t0_maps_a, map(T0, PAGE_A, PAGE, DATA(8)))
DO(t0_unmaps_a, unmap(T0, PAGE_A, PAGE))
DO(t0_unmaps_all, unmap_all(T0, ALL_OF_AB, LARGE))
DO(t0_unmaps_straddler, unmap(T0, STRADDLES_2, 2 * PAGE))
DO(t0_unmaps_straddler_3, unmap(T0, STRADDLES_3, 2 * PAGE))
DO(t1_maps_b, map(T1, PAGE_B, PAGE, DATA(9)))
DO(t1_maps_cousin, map(T1, COUSIN, PAGE, DATA(9)))
DO(t1_unmaps_b, unmap(T1, PAGE_B, PAGE))
DO(t1_unmaps_sibling, unmap(T1, SIBLING, PAGE))
DO(t1_protects_b, lower(T1, PAGE_B, PAGE))
DO(t1_maps_behind, map(T1, BEHIND_2 + PAGE, PAGE, DATA(9)))
DO(t1_maps_straddler_3, map(T1, STRADDLES_3, 2 * PAGE, DATA(9)))
DO(t1_leaves, leave_space(T1))
DO(t1_activates, activate(T1))
DO(t2_maps_b, map(T2, PAGE_B, PAGE, DATA(11)))
DO(t2_maps_sibling, map(T2, SIBLING, PAGE, DATA(11)))
DO(t2_maps_straddler, map(T2, STRADDLES_2, 2 * PAGE, DATA(11)))
DO(t2_translates_a, translate(T2, PAGE_A))
DO(t2_translates_b, translate(T2, PAGE_B))
DO(t2_translates_straddler_3, translate(T2, STRADDLES_3))
DO(t2_reads_a, mmu_access(PAGE_A, false))
DO(t2_destroys, destroy(T2))

static void t2_reads_b_and_sibling(void)
{
    (void)mmu_access(PAGE_B, false);
    (void)mmu_access(SIBLING, false);
}

static void t2_uses_and_leaves(void)
{
    (void)mmu_access(PAGE_A, false);
    (void)leave_space(T2);
}

#define THREE(world, t0, t1, t2)                                               \
    .flags = EXPLORE_RUN_ON, .cpus = 3, .set_up = world, .check = world_check, \
    .thread = {{t0, 0, 0}, {t1, 1, 0}, {t2, 2, 0}}
#define SHORT .bounds = {1, 1, 0}, .longer = {2, 0, 0}

const struct explore_scenario explore_scenarios[] = {
    {.name = "removal_map_translate",
     THREE(a_mapped, t0_unmaps_a, t1_maps_b, t2_translates_a),
     SHORT},
    {.name = "unmap_map_map", THREE(a_on_none, t0_unmaps_a, t1_maps_b, t2_maps_sibling), SHORT},
    {.name = "map_map_map", THREE(empty, t0_maps_a, t1_maps_b, t2_maps_sibling), SHORT},
    {.name = "frame_used_by_third",
     THREE(a_mapped, t0_unmaps_a, t1_maps_cousin, t2_reads_a),
     SHORT},
    {.name = "frame_used_by_third_translate",
     THREE(a_mapped, t0_unmaps_a, t1_maps_cousin, t2_translates_a),
     SHORT},
    {.name = "unmap_unmap_walk",
     THREE(a_b_and_sibling, t0_unmaps_a, t1_unmaps_b, t2_reads_b_and_sibling),
     SHORT},
    {.name = "two_prunes_map",
     THREE(a_and_sibling, t0_unmaps_a, t1_unmaps_sibling, t2_maps_b),
     SHORT},
    {.name = "whole_table_part_translate",
     THREE(a_and_b, t0_unmaps_all, t1_unmaps_b, t2_translates_b),
     SHORT},
    {.name = "whole_table_protect_walk",
     THREE(a_and_b, t0_unmaps_all, t1_protects_b, t2_reads_a),
     SHORT},
    {.name = "straddle_map_behind",
     THREE(straddler, t0_unmaps_straddler, t1_maps_behind, t2_maps_straddler),
     .bounds = {1, 0, 0},
     .longer = {2, 0, 0}},
    {.name = "straddle_level_3",
     THREE(straddler_3, t0_unmaps_straddler_3, t1_maps_straddler_3, t2_translates_straddler_3),
     SHORT},
    {.name = "unmap_leave_walk", THREE(a_on_all, t0_unmaps_a, t1_leaves, t2_reads_a), SHORT},
    {.name = "unmap_activate_leave",
     THREE(a_mapped, t0_unmaps_a, t1_activates, t2_uses_and_leaves),
     SHORT},
    {.name = "unmap_leave_destroy",
     THREE(a_on_none, t0_unmaps_a, t1_activates, t2_destroys),
     SHORT},
    {0},
};
