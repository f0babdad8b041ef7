/*
 * explore_vmm_later.c - work that is put off, and who does it.
 *
 * Problem     What is queued must be done once: by one CPU of several that reap, although others add
 *             meanwhile, in interrupts, and from what is being done.
 * Idea        Items that count how often they ran, and carry something that was stored before they were
 *             added. And an unmap with a deferred gather, which another CPU reaps.
 * Invariants  None.
 * Locking     None.
 * Cost        See docs/exploring.md.
 * Rejected    None.
 */
#include "vmm_world.h"

#define PAGE_A VIRT(1, 1, 1, 1)
#define ITEMS  3u

static struct item {
    struct mm_later later;
    uint32_t told; /* stored before it is added */
    uint32_t runs;
    uint32_t again; /* adds itself so often */
} item[ITEMS];

static struct mm_gather gather;

static void run(struct mm_later *later)
{
    struct item *it = (struct item *)later; /* its first member */

    EXPLORE_CHECK(it->told == 1);
    it->runs++;
    if (it->again == 0)
        return;
    it->again--;
    mm_later_add(&world_vmm, &it->later);
}

static void add(unsigned i)
{
    item[i].told = 1;
    mm_later_add(&world_vmm, &item[i].later);
}

static void set_up(void)
{
    static const struct world world = {
        .cpus = 3, .loaded = 3, .probe = {PAGE_A}, .mapped = {{PAGE_A, PAGE, DATA(1), 0}}};

    world_make(&world);
    for (unsigned i = 0; i < ITEMS; i++)
        item[i] = (struct item){.later = {NULL, run}};
    explore_memory("items", item, sizeof item);
    explore_memory("gather", &gather, sizeof gather);
}

static void two_are_queued(void)
{
    set_up();
    add(1);
    add(2);
}

static void one_comes_again(void)
{
    set_up();
    item[1].again = 1;
    add(1);
}

/* ---- what they do ---- */

static void adds_0(void)
{
    add(0);
}

static void adds_1(void)
{
    add(1);
}

static void reaps(void)
{
    (void)mm_reap(&world_vmm);
}

static void unmaps_for_later(void)
{
    mm_gather_begin(&gather, &world_space);
    mm_gather_defer(&gather);
    EXPLORE_CHECK(mm_space_unmap(&world_space, mm_virt(PAGE_A), PAGE, 0, &gather, NULL) == MM_OK);
    mm_gather_end(&gather);
}

static void reads_and_reaps(void)
{
    (void)mmu_access(PAGE_A, false);
    (void)mm_reap(&world_vmm);
}

/* ---- in the end ---- */

static unsigned times[ITEMS];

static void each_ran_once(void)
{
    explore_as_cpu(0);
    while (mm_reap(&world_vmm) != 0)
        ;
    for (unsigned i = 0; i < ITEMS; i++)
        EXPLORE_CHECK(item[i].runs == (item[i].told != 0 ? times[i] : 0));
}

static void once(void)
{
    times[0] = times[1] = times[2] = 1;
    each_ran_once();
}

static void second_ran_twice(void)
{
    times[0] = times[2] = 1;
    times[1] = 2;
    each_ran_once();
}

/* The gather is done; its table is back, and nobody remembers it: mmu.c looks when it is given back. */
static void gather_is_done(void)
{
    explore_as_cpu(0);
    (void)mm_reap(&world_vmm);
    EXPLORE_CHECK(mm_gather_is_done(&gather));
    EXPLORE_CHECK(mm_space_check(&world_space, NULL) == 0);
    mmu_check();
}

#define ALL(stale)            \
    {                         \
        EXPLORE_ALL, stale, 0 \
    }
#define THREE(world, t0, t1, t2, end)                                  \
    .flags = EXPLORE_RUN_ON, .cpus = 3, .set_up = world, .check = end, \
    .thread = {{t0, 0, 0}, {t1, 1, 0}, {t2, 2, 0}}
#define TWO(world, t0, t1, end)                                        \
    .flags = EXPLORE_RUN_ON, .cpus = 3, .set_up = world, .check = end, \
    .thread = {{t0, 0, 0}, {t1, 1, 0}}

const struct explore_scenario explore_scenarios[] = {
    {.name = "add_add_reap", THREE(set_up, adds_0, adds_1, reaps, once), .bounds = ALL(1)},
    {.name = "add_reap_reap", THREE(two_are_queued, adds_0, reaps, reaps, once), .bounds = ALL(1)},
    {.name = "add_beside_one_that_comes_again",
     TWO(one_comes_again, adds_0, reaps, second_ran_twice),
     .bounds = ALL(1)},
    {.name = "add_in_nmi",
     TWO(set_up, adds_0, reaps, once),
     .handler = {{adds_1, 0, EXPLORE_NMI, 1}},
     .bounds = ALL(1)},
    {.name = "unmap_deferred",
     TWO(set_up, unmaps_for_later, reads_and_reaps, gather_is_done),
     .bounds = {2, 1, 0},
     .longer = ALL(0)},
    {0},
};
