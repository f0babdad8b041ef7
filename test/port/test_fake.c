/*
 * test_fake.c - the simulated machine around its MMU: memory, CPUs, interrupts, misuse.
 *
 * Problem     A machine that lets a wild store pass, or brings an interrupt where none can come,
 *             makes the tests that use it worthless.
 * Idea        Each thing that it must refuse is done to it; each place where an interrupt may come
 *             is counted.
 * Invariants  None.
 * Locking     None, but for the test with two host threads.
 * Cost        Half a second under sanitizers, nearly all of it single steps.
 * Rejected    Nothing.
 */
#include "hand_tables.h"

#include <pthread.h>
#include <string.h>

#include "base/lock.h"
#include "machine.h"
#include "mm_cpu.h"
#include "mm_frame.h"

/* ---- misuse of the machine ---- */

TEST(fake_store_outside_ram_is_refused)
{
    mm_pte_t here = {0};

    four_levels();
    CHECK_MACHINE_FAILS(mm_pte_store(&here, (mm_pte_t){1}));
    CHECK_MACHINE_FAILS((void)mm_pte_load(&here));
}

TEST(fake_fresh_store_into_a_table_in_use_is_refused)
{
    four_levels();
    mm_pte_store_fresh((mm_pte_t *)&table(ROOT_B)[0], (mm_pte_t){0x101007});
    CHECK_EQ(table(ROOT_B)[0], 0x101007);
    CHECK_MACHINE_FAILS(mm_pte_store_fresh((mm_pte_t *)&table(ROOT)[5], (mm_pte_t){0}));
    (void)get(0x1000);
    CHECK_MACHINE_FAILS(mm_pte_store_fresh((mm_pte_t *)&table(TABLE1)[5], (mm_pte_t){0}));
}

TEST(fake_root_that_the_cpu_cannot_load_is_refused)
{
    four_levels();
    CHECK_MACHINE_FAILS(mm_mmu_load_root(mm_phys(ROOT + 1)));
    CHECK_MACHINE_FAILS(mm_mmu_load_root(mm_phys(UINT64_C(1) << 46)));
}

TEST(fake_root_without_the_running_code_is_a_triple_fault)
{
    static const struct fake_anchor anchor[] = {
        {{0x1000}, 8, MM_PROT_EXEC},
        {{UPPER + 0x1000}, 8, MM_PROT_WRITE},
    };
    struct mm_virt_range range[MM_CPU_ANCHORS];

    four_levels();
    table(TABLE1)[1] = 0x200003;
    fake_anchors(anchor, 2, true);
    CHECK_EQ(mm_port_cpu_anchors(range), 2);
    CHECK_EQ(range[1].start.raw, UPPER + 0x1000);
    mm_mmu_load_root(mm_phys(ROOT));
    table(TABLE1)[1] = NX | 0x200003;
    CHECK_MACHINE_FAILS(mm_mmu_load_root(mm_phys(ROOT)));
    CHECK(strstr(mm_test_machine(), "triple fault") != NULL);
    CHECK_MACHINE_FAILS(mm_mmu_load_root(mm_phys(ROOT_B)));
}

/* ---- memory, frames, features ---- */

TEST(fake_ram_appears_at_congruent_addresses_and_nowhere_else)
{
    mm_phys_t phys;
    void *high;

    fake_ram_add(mm_phys(0x1000), 0x3000);
    fake_ram_add(mm_phys(UINT64_C(0xc0000000000)), UINT64_C(1) << 40); /* a terabyte at 12 TiB */
    high = fake_ram(mm_phys(UINT64_C(0xcffffffffff)), 1);
    CHECK(high != NULL && fake_ram(mm_phys(UINT64_C(0xcffffffffff)), 2) == NULL);
    *(volatile char *)high = 1;
    CHECK(fake_ram_phys(high, &phys) && phys.raw == UINT64_C(0xcffffffffff));
    CHECK_EQ(((uintptr_t)high ^ phys.raw) & 0x3fffffff, 0);
    CHECK(fake_ram(mm_phys(0xfff), 1) == NULL && fake_ram(mm_phys(0x4000), 1) == NULL);
    CHECK(fake_ram(mm_phys(0x3fff), 2) == NULL && fake_ram(mm_phys(0x3fff), 1) != NULL);
    CHECK(!fake_ram_phys(&phys, &phys));
    CHECK_EQ(fake_window()->count, 2);
    CHECK_MACHINE_FAILS(fake_ram_add(mm_phys(0x3000), 0x1000));
}

TEST(fake_frame_maps_are_counted_and_can_fail)
{
    void *first, *second = NULL;

    fake_ram_add(mm_phys(0x1000), 0x3000);
    CHECK_ERR(mm_frame_map(fake_window(), mm_phys(0x4000), &second), MM_ERR_WINDOW);
    fake_frame_map_fail(1);
    CHECK_OK(mm_frame_map(fake_window(), mm_phys(0x1000), &first));
    CHECK_ERR(mm_frame_map(fake_window(), mm_phys(0x2000), &second), MM_ERR_WINDOW);
    CHECK(second == NULL);
    CHECK_OK(mm_frame_map(fake_window(), mm_phys(0x2000), &second));
    mm_frame_unmap(fake_window(), first);
    CHECK(fake_counts().frame_maps == 2 && fake_counts().frame_unmaps == 1);
    CHECK_MACHINE_FAILS(mm_frame_unmap(fake_window(), (char *)second + 8));
    mm_frame_unmap(fake_window(), second);
    CHECK_MACHINE_FAILS(mm_frame_unmap(fake_window(), second));
}

TEST(fake_cpu_refuses_what_libmm_needs_and_is_not_there)
{
    struct mm_paging paging = {.levels = 7};

    fake_cpu(0)->has_nx = false;
    CHECK_ERR(mm_port_cpu_init(&paging, 0), MM_ERR_CPU);
    CHECK(paging.levels == 7 && !fake_cpu(0)->wp);
    fake_cpu(0)->has_nx = true;
    CHECK_OK(mm_port_cpu_init(&paging, 0));
    CHECK(fake_cpu(0)->wp && fake_cpu(0)->nxe && fake_cpu(0)->pge && !fake_cpu(1)->wp);
    CHECK_EQ(fake_cpu(0)->pat, 0x0007010500070406);
    CHECK(paging.levels == 4 && paging.phys_bits == 46 && paging.leaf_levels == 0xe);
    CHECK_EQ(paging.flags, MM_PAGING_NX | MM_PAGING_GLOBAL | MM_PAGING_WC);
}

TEST(fake_counts_what_was_asked_for)
{
    mm_pte_t there = {0};
    struct fake_counts got;

    four_levels();
    fake_counts_clear();
    mm_mmu_flush_page(mm_virt(0));
    mm_mmu_flush_page(mm_virt(0));
    mm_mmu_flush_space();
    mm_mmu_flush_all();
    mm_mmu_load_root(mm_phys(ROOT));
    mm_pte_store((mm_pte_t *)&table(TABLE1)[9], (mm_pte_t){0});
    (void)mm_pte_load((mm_pte_t *)&table(TABLE1)[9]);
    (void)mm_pte_compare_swap((mm_pte_t *)&table(TABLE1)[9], &there, (mm_pte_t){0});
    got = fake_counts();
    CHECK(got.flush_page == 2 && got.flush_space == 1 && got.flush_all == 1);
    CHECK(got.root_loads == 1 && got.stores == 1 && got.loads == 1 && got.swaps == 1);
    CHECK_EQ(mm_mmu_root().raw, ROOT);
}

/* ---- interrupts ---- */

struct handled {
    unsigned count;
    bool flag_seen;
};

static void handler(void *arg)
{
    struct handled *handled = arg;

    handled->count++;
    handled->flag_seen |= mm_cpu_interrupts_on();
    mm_cpu_unguard(mm_cpu_guard());
    handled->flag_seen |= mm_cpu_interrupts_on();
}

TEST(fake_interrupt_comes_where_the_flag_is_on)
{
    struct handled handled = {0};
    mm_guard_t outer, inner;

    four_levels();
    fake_interrupt_set(handler, &handled);
    (void)mm_pte_load((mm_pte_t *)&table(TABLE1)[0]);
    CHECK_EQ(handled.count, 1);
    outer = mm_cpu_guard(); /* just before it */
    CHECK_EQ(handled.count, 2);
    inner = mm_cpu_guard();
    (void)mm_pte_load((mm_pte_t *)&table(TABLE1)[0]);
    mm_cpu_unguard(inner);
    CHECK_EQ(handled.count, 2);
    CHECK(!mm_cpu_interrupts_on());
    mm_cpu_unguard(outer);
    CHECK_EQ(handled.count, 3);
    CHECK(!handled.flag_seen && mm_cpu_interrupts_on());
    fake_interrupt_set(NULL, NULL);
}

TEST(fake_interrupt_once_comes_at_the_chosen_point)
{
    struct handled handled = {0};

    fake_interrupt_once(handler, &handled, 2);
    mm_cpu_unguard(mm_cpu_guard()); /* two points: before the guard, after it */
    CHECK(handled.count == 0 && fake_interrupt_pending());
    mm_cpu_unguard(mm_cpu_guard());
    CHECK(handled.count == 1 && !fake_interrupt_pending());
    mm_cpu_unguard(mm_cpu_guard());
    CHECK_EQ(handled.count, 1);
}

struct counters {
    volatile uint64_t plain, guarded;
    uint64_t lost_plain, lost_guarded;
};

static void counters_begin(void *arg)
{
    struct counters *c = arg;

    c->plain = 0;
    c->guarded = 0;
}

/* A load and a store, with room for an interrupt between them whatever the compiler. */
static void increment(volatile uint64_t *at)
{
    volatile uint64_t value = *at;

    *at = value + 1;
}

static void count_up(void *arg)
{
    struct counters *c = arg;
    mm_guard_t guard;

    increment(&c->plain);
    guard = mm_cpu_guard();
    increment(&c->guarded);
    mm_cpu_unguard(guard);
}

static void counters_end(void *arg)
{
    struct counters *c = arg;

    c->lost_plain += c->plain == 1;
    c->lost_guarded += c->guarded == 1;
}

TEST(fake_interrupt_at_each_instruction_finds_the_gap_and_only_that)
{
    struct counters c = {0};
    struct fake_step step = {counters_begin, count_up, count_up, counters_end, &c, 0, 1, 0, 0};

    if (!fake_interrupt_each_instruction(&step))
        return; /* not an x86-64 Linux host */
    CHECK(step.runs > 10);
    c.lost_guarded--; /* the last run, in which no interrupt came */
    c.lost_plain--;
    CHECK(c.lost_plain > 0);
    CHECK_EQ(c.lost_guarded, 0);
    CHECK_EQ(fake_counts().interrupts, step.runs);
}

static void store_one(void *arg)
{
    mm_pte_store(arg, (mm_pte_t){0});
}

static void look_at_depth(void *arg)
{
    (void)arg;
    CHECK_EQ(fake_depth(), 0);
}

TEST(fake_interrupt_does_not_come_inside_the_machine)
{
    struct fake_step step = {.outer = store_one, .inner = look_at_depth};

    four_levels();
    step.arg = fake_ram(mm_phys(TABLE1 + 8), 8);
    if (fake_interrupt_each_instruction(&step))
        CHECK(step.runs > 0);
}

/* ---- host threads ---- */

struct race {
    struct mm_lock lock;
    uint64_t count;
};

static void *race_run(void *arg)
{
    struct race *race = arg;

    fake_cpu_set(1);
    for (unsigned i = 0; i < 2000; i++) {
        mm_lock_guard_t guard = mm_lock_take(&race->lock);

        race->count++;
        mm_lock_release(&race->lock, guard);
    }
    return NULL;
}

TEST(fake_host_threads_are_cpus_of_their_own)
{
    struct race race = {.count = 0};
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, race_run, &race) == 0);
    for (unsigned i = 0; i < 2000; i++) {
        mm_lock_guard_t guard = mm_lock_take(&race.lock);

        race.count++;
        mm_lock_release(&race.lock, guard);
    }
    pthread_join(thread, NULL);
    CHECK_EQ(race.count, 4000);
    CHECK_EQ(fake_cpu_current(), 0);
}
