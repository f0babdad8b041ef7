/*
 * explore_pmm_stock.c - magazines and pools: CPUs, interrupts, NMIs and moving threads that take
 * frames and give them back.
 *
 * Problem     The common path has no lock and no atomic operation: that it is right is an argument
 *             about every order of its steps with those of handlers and other CPUs.
 * Idea        See pmm_world.h. After each execution the PMM must be whole, and no frame lost or
 *             handed out twice.
 * Invariants  None.
 * Locking     None.
 * Cost        See docs/exploring.md.
 * Rejected    None.
 */
#include "pmm/stock.h"

#include "pmm_world.h"

/* ---- worlds ---- */

#define WORLD(function, ...)                             \
    static void function(void)                           \
    {                                                    \
        static const struct world world = {__VA_ARGS__}; \
                                                         \
        world_make(&world);                              \
    }

/* Magazines are open: last in, first out. */
WORLD(two_open, .cpus = 2, .free_frames = 40, .magazine_frames = 2)
WORLD(three_open, .cpus = 3, .free_frames = 60, .magazine_frames = 2)
WORLD(one_open, .cpus = 1, .free_frames = 40, .magazine_frames = 2)
WORLD(one_open_unpinned, .cpus = 1, .pin = MM_PIN_NONE, .free_frames = 40, .magazine_frames = 2)
WORLD(two_open_preempt, .cpus = 2, .pin = MM_PIN_PREEMPT, .free_frames = 40, .magazine_frames = 2)
WORLD(two_open_lock, .cpus = 2, .pin = MM_PIN_LOCK, .free_frames = 40, .magazine_frames = 1)

/* Memory is low: nothing is kept in stock. */
WORLD(two_closed, .cpus = 2, .free_frames = 3, .magazine_frames = 2)
WORLD(three_closed, .cpus = 3, .free_frames = 3, .magazine_frames = 2)
WORLD(four_closed, .cpus = 4, .free_frames = 4, .magazine_frames = 2)
WORLD(one_frame, .cpus = 2, .free_frames = 1, .magazine_frames = 2)

static void in_cpu_0_stock(void)
{
    explore_as_cpu(0);
    EXPLORE_CHECK(take(A) && take(A) && take(A));
    give(A);
}

/* CPU 1's magazines are full, and it holds some frames. */
static void full_magazines(void)
{
    const struct mm_pmm_cpu *cpu;

    two_open();
    cpu = &world_pmm.cpu[1];
    explore_as_cpu(1);
    while (hand[B].count < HAND_MAX)
        EXPLORE_CHECK(take(B));
    while (cpu->loaded->n < 2 || cpu->spare->n < 2)
        give(B);
    EXPLORE_CHECK(hand[B].count >= 3);
}

static void one_each(void)
{
    two_open();
    explore_as_cpu(0);
    EXPLORE_CHECK(take(A));
    explore_as_cpu(1);
    EXPLORE_CHECK(take(B));
}

/* Counting by zone looks into the magazines of others, with any result for what moves meanwhile. */
static void counted(void)
{
    two_open();
    explore_may_race(world_pmm.cpu, 2 * sizeof world_pmm.cpu[0]);
}

static void counted_full(void)
{
    full_magazines();
    explore_may_race(world_pmm.cpu, 2 * sizeof world_pmm.cpu[0]);
}

static void one_unpinned(void)
{
    one_open_unpinned();
    in_cpu_0_stock();
}

static void same_frame_twice(void)
{
    two_open();
    explore_may_race(world_pmm.owner, WORLD_FRAMES);
    EXPLORE_CHECK(take(A));
    hand[B] = hand[A];
}

/* ---- what they do ---- */

static void idle(void)
{
}

static void a_takes(void)
{
    EXPLORE_CHECK(take(A));
}

static void b_takes(void)
{
    EXPLORE_CHECK(take(B));
}

static void a_may_take(void)
{
    (void)take(A);
}

static void b_may_take(void)
{
    (void)take(B);
}

static void a_takes_and_gives(void)
{
    EXPLORE_CHECK(take(A));
    give(A);
}

static void b_takes_and_gives(void)
{
    EXPLORE_CHECK(take(B));
    give(B);
}

static void c_takes(void)
{
    EXPLORE_CHECK(take(C));
}

static void d_takes(void)
{
    EXPLORE_CHECK(take(D));
}

static void a_gives(void)
{
    give(A);
}

static void b_gives(void)
{
    give(B);
}

static void b_gives_3(void)
{
    give(B);
    give(B);
    give(B);
}

static void a_takes_2(void)
{
    EXPLORE_CHECK(take(A));
    EXPLORE_CHECK(take(A));
}

static void irq_takes_and_gives(void)
{
    EXPLORE_CHECK(take(A_IRQ));
    EXPLORE_CHECK(take(A_IRQ));
    give(A_IRQ);
}

static void irq_takes(void)
{
    EXPLORE_CHECK(take(A_IRQ));
}

static void nmi_takes(void)
{
    take_no_wait(A_NMI);
}

static void nmi_takes_and_gives(void)
{
    take_no_wait(A_NMI);
    give_no_wait(A_NMI);
}

/* B looks while A moves frames: what is free has changed by what A has taken, no more. */
static void b_counts(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&world_pmm, &stats);
    EXPLORE_CHECK(stats.free_frames >= 40 - 1 && stats.free_frames <= 40);
}

/* B brings its stock home meanwhile: nothing is taken or given. */
static void a_counts(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&world_pmm, &stats);
    EXPLORE_CHECK(stats.free_frames == 40 - hand[B].count);
}

static void b_drains(void)
{
    (void)mm_pmm_drain(&world_pmm, 0);
}

/* ---- checks ---- */

static void one_got_it(void)
{
    EXPLORE_CHECK(hands_full() == 1);
    world_check();
}

/* Both hands held the same frame, and both gave it back. At the same instant neither sees the other;
 * then the frame is in two magazines, until they are emptied. One of the two is told. */
static void told(void)
{
    world_comes_home();
    EXPLORE_CHECK(explore_reports() == 1);
}

#define ALL(stale)            \
    {                         \
        EXPLORE_ALL, stale, 0 \
    }
#define TWO(world, a, b) \
    .cpus = 2, .set_up = world, .check = world_check, .thread = {{a, 0, 0}, {b, 1, 0}}

const struct explore_scenario explore_scenarios[] = {
    {.name = "alloc_alloc", TWO(two_open, a_takes, b_takes), .bounds = ALL(1)},
    {.name = "alloc_free", TWO(full_magazines, a_takes, b_gives), .bounds = ALL(1)},
    {.name = "free_free", TWO(one_each, a_gives, b_gives), .bounds = ALL(1)},
    {.name = "alloc_free_closed",
     TWO(two_closed, a_takes_and_gives, b_takes),
     .bounds = ALL(0),
     .longer = ALL(1)},
    {.name = "alloc_free_closed_both",
     TWO(two_closed, a_takes_and_gives, b_takes_and_gives),
     .bounds = {2, 0, 0},
     .longer = ALL(0)},
    {.name = "depot", TWO(full_magazines, a_takes_2, b_gives_3), .bounds = ALL(0)},
    {.name = "last_frame",
     .cpus = 2,
     .set_up = one_frame,
     .check = one_got_it,
     .thread = {{a_may_take, 0, 0}, {b_may_take, 1, 0}},
     .bounds = ALL(1)},
    {.name = "exact_count", TWO(counted, a_takes, b_counts), .bounds = ALL(0)},
    {.name = "exact_count_flush", TWO(counted_full, a_counts, b_drains), .bounds = ALL(0)},
    {.name = "double_free",
     .flags = EXPLORE_REPORTS | EXPLORE_PLAIN_STEPS,
     .cpus = 2,
     .set_up = same_frame_twice,
     .check = told,
     .thread = {{a_gives, 0, 0}, {b_gives, 1, 0}},
     .bounds = {2, 0, 0},
     .longer = {3, 1, 0}},
    {.name = "interrupt_unpinned",
     .cpus = 1,
     .set_up = one_unpinned,
     .check = world_check,
     .thread = {{a_takes_and_gives, 0, 0}},
     .handler = {{irq_takes_and_gives, 0, EXPLORE_IRQ, 2}},
     .bounds = ALL(0)},
    {.name = "interrupt",
     TWO(two_open, a_takes_and_gives, b_takes),
     .handler = {{irq_takes, 0, EXPLORE_IRQ, 1}},
     .bounds = ALL(0)},
    {.name = "nmi",
     TWO(one_each, a_gives, b_takes),
     .handler = {{nmi_takes_and_gives, 0, EXPLORE_NMI, 1}},
     .bounds = ALL(0)},
    {.name = "nmi_against_pool",
     TWO(two_closed, idle, b_takes),
     .handler = {{nmi_takes_and_gives, 0, EXPLORE_NMI, 1}},
     .bounds = ALL(1)},
    {.name = "nmi_in_refill",
     .cpus = 1,
     .set_up = one_open,
     .check = world_check,
     .thread = {{a_takes, 0, 0}},
     .handler = {{nmi_takes_and_gives, 0, EXPLORE_NMI, 2}},
     .bounds = ALL(0)},
    {.name = "nmi_and_interrupt",
     .cpus = 1,
     .set_up = one_unpinned,
     .check = world_check,
     .thread = {{a_takes_and_gives, 0, 0}},
     .handler = {{irq_takes, 0, EXPLORE_IRQ, 1}, {nmi_takes, 0, EXPLORE_NMI, 1}},
     .bounds = ALL(0)},
    {.name = "threads_move_lock",
     .cpus = 2,
     .set_up = two_open_lock,
     .check = world_check,
     .thread = {{a_takes, 0, 1}, {b_takes, 0, 1}},
     .bounds = {1, 0, 0},
     .longer = {3, 0, 0}},
    {.name = "threads_move_irq",
     .cpus = 2,
     .set_up = two_open,
     .check = world_check,
     .thread = {{a_takes, 0, 1}, {b_takes, 0, 1}},
     .bounds = {1, 0, 0},
     .longer = {3, 0, 0}},
    {.name = "threads_switch_preempt",
     .cpus = 2,
     .set_up = two_open_preempt,
     .check = world_check,
     .thread = {{a_takes, 0, 1}, {b_takes, 0, 0}},
     .bounds = {1, 0, 0},
     .longer = {3, 0, 0}},
    {.name = "three_cpus",
     .cpus = 3,
     .set_up = three_open,
     .check = world_check,
     .thread = {{a_takes, 0, 0}, {b_takes, 1, 0}, {c_takes, 2, 0}},
     .bounds = {1, 0, 0},
     .longer = {3, 0, 0}},
    {.name = "three_cpus_closed",
     .cpus = 3,
     .set_up = three_closed,
     .check = world_check,
     .thread = {{a_takes, 0, 0}, {b_takes, 1, 0}, {c_takes, 2, 0}},
     .bounds = {1, 0, 0},
     .longer = {3, 0, 0}},
    {.name = "four_cpus",
     .cpus = 4,
     .set_up = four_closed,
     .check = world_check,
     .thread = {{a_takes, 0, 0}, {b_takes, 1, 0}, {c_takes, 2, 0}, {d_takes, 3, 0}},
     .bounds = {1, 0, 0},
     .longer = {2, 0, 0}},
    {0},
};
