/*
 * explore_count.c - programs so small that the number of their executions is known.
 *
 * Problem     A search that leaves something out looks exactly like code without faults.
 * Idea        Count the orders on paper, and compare.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Numbers taken from a run: they would say only that nothing has changed.
 */
#include "base/mm_atomic.h"
#include "mm_cpu.h"

#include "explore.h"

static struct {
    uint32_t x, y, seen;
    unsigned came;
} s;

static void set_up(void)
{
    s = (typeof(s)){0};
    explore_memory("s", &s, sizeof s);
}

static void set_up_without_reduction(void)
{
    set_up();
    explore_without_reduction();
}

static void store_x(void)
{
    mm_store_relaxed_u32(&s.x, 1);
}

static void store_x_3(void)
{
    for (uint32_t i = 1; i <= 3; i++)
        mm_store_relaxed_u32(&s.x, i);
}

static void store_y_3(void)
{
    for (uint32_t i = 1; i <= 3; i++)
        mm_store_relaxed_u32(&s.y, i);
}

static void load_x(void)
{
    s.seen = mm_load_relaxed_u32(&s.x);
}

static void came(void)
{
    s.came++;
}

static void guarded_store(void)
{
    mm_guard_t guard = mm_cpu_guard();

    mm_store_relaxed_u32(&s.x, 1);
    mm_cpu_unguard(guard);
}

#define ALL(stale)            \
    {                         \
        EXPLORE_ALL, stale, 0 \
    }
#define PREEMPTIONS(n) \
    {                  \
        n, 0, 0        \
    }
#define TWO(a, b) .cpus = 2, .set_up = set_up, .thread = {{a, 0, 0}, {b, 1, 0}}

const struct explore_scenario explore_scenarios[] = {
    /* 6 over 3 orders of two times three steps, when they meet; one, when they do not */
    {.name = "count_one_each", TWO(store_x, store_x), .bounds = ALL(0), .count = 2},
    {.name = "count_three_each", TWO(store_x_3, store_x_3), .bounds = ALL(0), .count = 20},
    {.name = "count_three_apart", TWO(store_x_3, store_y_3), .bounds = ALL(0), .count = 1},
    {.name = "count_not_reduced",
     .cpus = 2,
     .set_up = set_up_without_reduction,
     .thread = {{store_x_3, 0, 0}, {store_y_3, 1, 0}},
     .bounds = ALL(0),
     .count = 20},
    /* who begins, and after which of the steps but the last the other one comes */
    {.name = "count_no_preemption",
     TWO(store_x_3, store_x_3),
     .bounds = PREEMPTIONS(0),
     .count = 2},
    {.name = "count_one_preemption",
     TWO(store_x_3, store_x_3),
     .bounds = PREEMPTIONS(1),
     .count = 6},
    /* the load first; after the store, new or stale */
    {.name = "count_stale", TWO(store_x, load_x), .bounds = ALL(1), .count = 3},
    {.name = "count_not_stale", TWO(store_x, load_x), .bounds = ALL(0), .count = 2},
    /* 0; 0 1, 0 1 2, 0 1 2 3 to choose from: 1 + 2 + 3 + 4 */
    {.name = "count_stale_of_three", TWO(store_x_3, load_x), .bounds = ALL(1), .count = 10},
    /* 9 over (3, 3, 3) */
    {.name = "count_three_cpus",
     .cpus = 3,
     .set_up = set_up,
     .thread = {{store_x_3, 0, 0}, {store_x_3, 1, 0}, {store_x_3, 2, 0}},
     .bounds = ALL(0),
     .count = 1680},
    /* never; before each of three stores; at the end */
    {.name = "count_interrupt",
     .cpus = 1,
     .set_up = set_up,
     .thread = {{store_x_3, 0, 0}},
     .handler = {{came, 0, EXPLORE_IRQ, 1}},
     .bounds = ALL(0),
     .count = 5},
    /* before the guard, at its end, at the end; an NMI also inside */
    {.name = "count_guarded",
     .cpus = 1,
     .set_up = set_up,
     .thread = {{guarded_store, 0, 0}},
     .handler = {{came, 0, EXPLORE_IRQ, 1}},
     .bounds = ALL(0),
     .count = 4},
    {.name = "count_guarded_nmi",
     .cpus = 1,
     .set_up = set_up,
     .thread = {{guarded_store, 0, 0}},
     .handler = {{came, 0, EXPLORE_NMI, 1}},
     .bounds = ALL(0),
     .count = 5},
    {0},
};
