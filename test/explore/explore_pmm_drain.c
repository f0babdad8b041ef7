/*
 * explore_pmm_drain.c - frames come home: from CPUs that run, that are parked, that are interrupted.
 *
 * Problem     The owner of a stock uses plain loads and stores; another CPU wants it empty. Requests,
 *             answers, interrupts between CPUs and thieves must fit together in every order.
 * Idea        One CPU drains or needs the last frames, the others work, park, or are interrupted.
 *             A drain that says so must have succeeded; a frame that is free somewhere must be found.
 * Invariants  None.
 * Locking     None.
 * Cost        See docs/exploring.md.
 * Rejected    None.
 */
#include "pmm/stock.h"

#include "pmm_world.h"

#define WORLD(function, ...)                             \
    static void function(void)                           \
    {                                                    \
        static const struct world world = {__VA_ARGS__}; \
                                                         \
        world_make(&world);                              \
    }

WORLD(two_open, .cpus = 2, .free_frames = 40, .magazine_frames = 2)
WORLD(two_open_window, .cpus = 2, .free_frames = 40, .magazine_frames = 2, .window = true)
WORLD(two_open_lock, .cpus = 2, .pin = MM_PIN_LOCK, .free_frames = 40, .magazine_frames = 2)
WORLD(three_open, .cpus = 3, .free_frames = 60, .magazine_frames = 2)
WORLD(two_small, .cpus = 2, .free_frames = 9, .magazine_frames = 1)

WORLD(two_open_preempt, .cpus = 2, .pin = MM_PIN_PREEMPT, .free_frames = 40, .magazine_frames = 2)
WORLD(two_small_preempt, .cpus = 2, .pin = MM_PIN_PREEMPT, .free_frames = 9, .magazine_frames = 1)

static bool drained;

static void remember(void)
{
    drained = false;
    explore_memory("drained", &drained, sizeof drained);
}

/* CPU 0 has frames in stock, and one in its hand. */
static void stocked(void)
{
    remember();
    explore_as_cpu(0);
    EXPLORE_CHECK(take(A) && take(A));
    give(A);
    EXPLORE_CHECK(mm_stock_count(&world_pmm) != 0);
}

static void a_has_stock(void)
{
    two_open();
    stocked();
}

static void a_has_stock_window(void)
{
    two_open_window();
    stocked();
}

static void a_has_stock_and_2(void)
{
    a_has_stock();
    EXPLORE_CHECK(take(A));
}

static void a_has_stock_lock(void)
{
    two_open_lock();
    stocked();
}

static void a_has_stock_preempt(void)
{
    two_open_preempt();
    stocked();
}

static void a_has_stock_of_three(void)
{
    three_open();
    stocked();
}

static void a_is_parked(void)
{
    a_has_stock();
    mm_pmm_park(&world_pmm);
    EXPLORE_CHECK(world_pmm.cpu[0].state == MM_STOCK_PARK);
}

static void both_have_stock(void)
{
    a_has_stock();
    explore_as_cpu(1);
    EXPLORE_CHECK(take(B) && take(B));
    give(B);
}

/* The two last free frames are in CPU 0's stock. */
static void last_in_stock(bool parked)
{
    remember();
    explore_as_cpu(0);
    EXPLORE_CHECK(take(A) && take(A));
    give(A);
    give(A);
    EXPLORE_CHECK(mm_stock_count(&world_pmm) == 2);
    if (parked)
        mm_pmm_park(&world_pmm);
    explore_as_cpu(1);
    for (unsigned i = 0; i < 7; i++)
        EXPLORE_CHECK(take(B));
    EXPLORE_CHECK(mm_pmm_free_frames(&world_pmm) == 2 && mm_stock_count(&world_pmm) == 2);
}

static void last_in_running(void)
{
    two_small();
    last_in_stock(false);
}

static void last_in_running_preempt(void)
{
    two_small_preempt();
    last_in_stock(false);
}

static void last_in_parked(void)
{
    two_small();
    last_in_stock(true);
}

/* ---- what they do ---- */

static void a_takes(void)
{
    EXPLORE_CHECK(take(A));
}

static void a_gives(void)
{
    give(A);
}

static void a_gives_2(void)
{
    give(A);
    give(A);
}

static void a_gives_and_takes(void)
{
    give(A);
    EXPLORE_CHECK(take(A));
}

static void b_takes(void)
{
    EXPLORE_CHECK(take(B));
}

static void b_takes_hard(void)
{
    EXPLORE_CHECK(take_hard(B));
}

static void a_may_take_hard(void)
{
    (void)take_hard(A);
}

static void b_may_take_hard(void)
{
    (void)take_hard(B);
}

/* Interrupts on, a hook, and a CPU that takes its interrupts: it must succeed. */
static void a_drains_waiting(void)
{
    EXPLORE_CHECK(mm_pmm_drain(&world_pmm, MM_DRAIN_WAIT) == MM_OK);
}

static void b_drains_waiting(void)
{
    EXPLORE_CHECK(mm_pmm_drain(&world_pmm, MM_DRAIN_WAIT) == MM_OK);
}

static void c_drains_waiting(void)
{
    EXPLORE_CHECK(mm_pmm_drain(&world_pmm, MM_DRAIN_WAIT) == MM_OK);
}

/* G4 and M2: when all have answered, and frees go to the pools, nothing is in stock, and stays so.
 * Nobody takes meanwhile. */
static void nothing_in_stock(void)
{
    for (unsigned i = 0; i < world_pmm.cpu_count; i++) {
        EXPLORE_CHECK(explore_newest(&world_pmm.cpu[i].magazine[0].n) == 0);
        EXPLORE_CHECK(explore_newest(&world_pmm.cpu[i].magazine[1].n) == 0);
        EXPLORE_CHECK(explore_newest(&world_pmm.cpu[i].zeroed.n) == 0);
    }
}

static void b_drains_and_looks(void)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};

    mm_stock_close(&world_pmm);
    EXPLORE_CHECK(mm_drain_all(&world_pmm, true, &faults));
    nothing_in_stock();
    mm_stock_open(&world_pmm);
}

/* Without a hook it may succeed, too: CPU 0 sees the request when it leaves its guard. */
static void b_posts_and_looks(void)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};

    mm_stock_close(&world_pmm);
    if (mm_drain_all(&world_pmm, false, &faults))
        nothing_in_stock();
    mm_stock_open(&world_pmm);
}

/* Without the hook nobody answers for sure. */
static void b_drains(void)
{
    drained = mm_pmm_drain(&world_pmm, 0) == MM_OK;
}

static void b_drains_guarded(void)
{
    mm_guard_t guard = mm_cpu_guard();

    (void)mm_pmm_drain(&world_pmm, 0);
    mm_cpu_unguard(guard);
}

static void a_drains_guarded(void)
{
    mm_guard_t guard = mm_cpu_guard();

    (void)mm_pmm_drain(&world_pmm, 0);
    mm_cpu_unguard(guard);
}

static void a_works_and_parks(void)
{
    mm_pmm_park(&world_pmm);
    give(A);
    mm_pmm_park(&world_pmm);
}

static void a_serves(void)
{
    mm_pmm_serve(&world_pmm);
}

static void idle(void)
{
}

static void a_zeroes(void)
{
    (void)mm_pmm_zero_ahead(&world_pmm);
}

static void b_irq_takes(void)
{
    EXPLORE_CHECK(take(B_IRQ));
}

static void irq_takes(void)
{
    EXPLORE_CHECK(take(A_IRQ));
}

static void irq_may_take(void)
{
    (void)take(A_IRQ);
}

static void irq_gives(void)
{
    if (hand[A].count != 0)
        give(A);
}

static void irq_serves(void)
{
    mm_pmm_serve(&world_pmm);
}

static void nmi_takes(void)
{
    take_no_wait(A_NMI);
}

/* ---- checks ---- */

/* Two frames were free, in stock of CPU 0: everybody who wanted one has one. */
static void b_has_it(void)
{
    EXPLORE_CHECK(hand[B].count == 8);
    world_check();
}

static void two_were_had(void)
{
    EXPLORE_CHECK(hands_full() == 9);
    world_check();
}

#define ALL(stale)            \
    {                         \
        EXPLORE_ALL, stale, 0 \
    }
#define TWO(world, a, b) \
    .cpus = 2, .set_up = world, .check = world_check, .thread = {{a, 0, 0}, {b, 1, 0}}

const struct explore_scenario explore_scenarios[] = {
    {.name = "busy_owner",
     .flags = EXPLORE_RUN_ON,
     TWO(a_has_stock, a_takes, b_drains_waiting),
     .bounds = ALL(0)},
    {.name = "busy_owner_frees",
     .flags = EXPLORE_RUN_ON,
     TWO(a_has_stock, a_gives, b_drains_waiting),
     .bounds = ALL(0)},
    {.name = "stays_empty",
     .flags = EXPLORE_RUN_ON,
     TWO(a_has_stock, a_gives, b_drains_and_looks),
     .bounds = ALL(1)},
    {.name = "stays_empty_posted",
     TWO(a_has_stock_and_2, a_gives_2, b_posts_and_looks),
     .bounds = ALL(1)},
    {.name = "stays_empty_preempt",
     .flags = EXPLORE_RUN_ON,
     TWO(a_has_stock_preempt, a_gives, b_drains_and_looks),
     .bounds = ALL(0)},
    {.name = "stays_empty_zeroed",
     .flags = EXPLORE_RUN_ON,
     TWO(a_has_stock_window, a_zeroes, b_drains_and_looks),
     .bounds = ALL(0)},
    {.name = "host_does_not_order",
     .flags = EXPLORE_RUN_ON | EXPLORE_IPI_UNORDERED,
     TWO(a_has_stock, idle, b_drains_waiting),
     .bounds = ALL(1),
     .finds = "deadlock"},
    {.name = "posted", TWO(a_has_stock, a_gives_and_takes, b_drains), .bounds = ALL(0)},
    {.name = "posted_and_served", TWO(a_has_stock, a_serves, b_drains), .bounds = ALL(1)},
    {.name = "posted_with_interrupts_off",
     TWO(both_have_stock, a_drains_guarded, b_drains_guarded),
     .bounds = {2, 0, 0},
     .longer = ALL(0)},
    {.name = "owner_is_interrupted",
     .flags = EXPLORE_RUN_ON,
     TWO(a_has_stock, a_gives, b_drains_waiting),
     .handler = {{irq_serves, 0, EXPLORE_IRQ, 1}},
     .bounds = {1, 0, 0},
     .longer = ALL(0)},
    {.name = "both_drain",
     .flags = EXPLORE_RUN_ON,
     TWO(both_have_stock, a_drains_waiting, b_drains_waiting),
     .bounds = {1, 0, 0},
     .longer = {3, 0, 0}},
    {.name = "parked_is_stolen", TWO(a_is_parked, a_gives_and_takes, b_drains), .bounds = ALL(0)},
    {.name = "parked_is_interrupted",
     TWO(a_is_parked, idle, b_drains),
     .handler = {{irq_takes, 0, EXPLORE_IRQ, 1}},
     .bounds = ALL(1)},
    {.name = "parked_interrupt_frees",
     TWO(a_is_parked, idle, b_drains),
     .handler = {{irq_gives, 0, EXPLORE_IRQ, 1}},
     .bounds = ALL(1)},
    {.name = "parks_works_parks",
     TWO(a_has_stock, a_works_and_parks, b_drains),
     .bounds = ALL(0),
     .longer = ALL(1)},
    {.name = "last_frame_in_running_cpu",
     .flags = EXPLORE_RUN_ON,
     .cpus = 2,
     .set_up = last_in_running,
     .check = b_has_it,
     .thread = {{idle, 0, 0}, {b_takes_hard, 1, 0}},
     .bounds = ALL(1)},
    {.name = "last_frame_owner_works",
     .flags = EXPLORE_RUN_ON,
     .cpus = 2,
     .set_up = last_in_running,
     .check = b_has_it,
     .thread = {{a_takes, 0, 0}, {b_takes_hard, 1, 0}},
     .bounds = {2, 0, 0},
     .longer = ALL(0)},
    {.name = "last_frame_owner_works_preempt",
     .flags = EXPLORE_RUN_ON,
     .cpus = 2,
     .set_up = last_in_running_preempt,
     .check = b_has_it,
     .thread = {{a_takes, 0, 0}, {b_takes_hard, 1, 0}},
     .bounds = {1, 0, 0},
     .longer = ALL(0)},
    {.name = "thief_is_interrupted",
     .cpus = 2,
     .set_up = last_in_parked,
     .check = b_has_it,
     .thread = {{idle, 0, 0}, {b_takes, 1, 0}},
     .handler = {{b_irq_takes, 1, EXPLORE_IRQ, 1}},
     .bounds = ALL(1)},
    {.name = "last_frame_in_parked_cpu",
     .flags = EXPLORE_RUN_ON,
     .cpus = 2,
     .set_up = last_in_parked,
     .check = b_has_it,
     .thread = {{idle, 0, 0}, {b_takes_hard, 1, 0}},
     .handler = {{irq_may_take, 0, EXPLORE_IRQ, 1}},
     .bounds = {2, 0, 0},
     .longer = ALL(0)},
    {.name = "last_frames_both_want",
     .flags = EXPLORE_RUN_ON,
     .cpus = 2,
     .set_up = last_in_running,
     .check = two_were_had,
     .thread = {{a_may_take_hard, 0, 0}, {b_may_take_hard, 1, 0}},
     .bounds = {1, 0, 0},
     .longer = ALL(0)},
    {.name = "lock_pin_drained",
     TWO(a_has_stock_lock, a_takes, b_drains),
     .handler = {{irq_may_take, 0, EXPLORE_IRQ, 1}},
     .bounds = ALL(0)},
    {.name = "nmi_of_owner",
     .flags = EXPLORE_RUN_ON,
     TWO(a_has_stock, a_takes, b_drains_waiting),
     .handler = {{nmi_takes, 0, EXPLORE_NMI, 1}},
     .bounds = {1, 0, 0},
     .longer = ALL(0)},
    {.name = "three_cpus",
     .flags = EXPLORE_RUN_ON,
     .cpus = 3,
     .set_up = a_has_stock_of_three,
     .check = world_check,
     .thread = {{a_gives, 0, 0}, {b_drains_waiting, 1, 0}, {c_drains_waiting, 2, 0}},
     .bounds = {1, 0, 60000},
     .longer = {3, 0, 20000000}},
    {0},
};
