/*
 * explore_lock.c - the lock of src/base, in every order of its steps.
 *
 * Problem     A lock whose release or acquire is too weak works on x86, and in nearly every run
 *             elsewhere.
 * Idea        Plain counters under the lock: the explorer sees each access that the lock does not
 *             order, and a lost increment.
 * Invariants  None.
 * Locking     None.
 * Cost        A few seconds, nearly all of them for four CPUs.
 * Rejected    None.
 */
#include "base/lock.h"

#include "explore.h"

static struct {
    struct mm_lock lock, inner;
    unsigned entered, nested;
} state;

static void set_up(void)
{
    state.lock = state.inner = (struct mm_lock){0};
    state.entered = state.nested = 0;
    explore_memory("state", &state, sizeof state);
}

static void set_up_before_wrap(void)
{
    set_up();
    state.lock.ticket = state.lock.serving = UINT32_MAX;
}

static void enter(void)
{
    mm_lock_guard_t guard = mm_lock_take(&state.lock);

    state.entered++;
    mm_lock_release(&state.lock, guard);
}

static void enter_twice(void)
{
    enter();
    enter();
}

static void enter_both(void)
{
    mm_lock_guard_t outer = mm_lock_take(&state.lock);
    mm_lock_guard_t inner = mm_lock_take(&state.inner);

    state.nested++;
    mm_lock_release(&state.inner, inner);
    state.entered++;
    mm_lock_release(&state.lock, outer);
}

static void is_free(void)
{
    EXPLORE_CHECK(state.lock.ticket == state.lock.serving && state.lock.owner == 0);
    EXPLORE_CHECK(state.inner.ticket == state.inner.serving && state.inner.owner == 0);
}

static void entered_2(void)
{
    is_free();
    EXPLORE_CHECK(state.entered == 2);
}

static void entered_3(void)
{
    is_free();
    EXPLORE_CHECK(state.entered == 3);
}

static void entered_4(void)
{
    is_free();
    EXPLORE_CHECK(state.entered == 4);
}

static void entered_both(void)
{
    is_free();
    EXPLORE_CHECK(state.entered == 2 && state.nested == 2);
}

/* Interrupts that came have entered, too; how many came is not known. */
static void entered_2_or_more(void)
{
    is_free();
    EXPLORE_CHECK(state.entered >= 2 && state.entered <= 4);
}

const struct explore_scenario explore_scenarios[] = {
    {
        .name = "two_cpus",
        .cpus = 2,
        .set_up = set_up,
        .check = entered_2,
        .thread = {{enter, 0, 0}, {enter, 1, 0}},
        .bounds = {EXPLORE_ALL, 4, 0},
    },
    {
        .name = "two_cpus_twice",
        .cpus = 2,
        .set_up = set_up,
        .check = entered_4,
        .thread = {{enter_twice, 0, 0}, {enter_twice, 1, 0}},
        .bounds = {EXPLORE_ALL, 2, 0},
    },
    {
        .name = "two_cpus_tickets_wrap",
        .cpus = 2,
        .set_up = set_up_before_wrap,
        .check = entered_2,
        .thread = {{enter, 0, 0}, {enter, 1, 0}},
        .bounds = {EXPLORE_ALL, 2, 0},
    },
    {
        .name = "two_cpus_one_lock_in_another",
        .cpus = 2,
        .set_up = set_up,
        .check = entered_both,
        .thread = {{enter_both, 0, 0}, {enter_both, 1, 0}},
        .bounds = {EXPLORE_ALL, 1, 0},
    },
    {
        .name = "two_cpus_interrupts",
        .cpus = 2,
        .set_up = set_up,
        .check = entered_2_or_more,
        .thread = {{enter, 0, 0}, {enter, 1, 0}},
        .handler = {{enter, 0, EXPLORE_IRQ, 1}, {enter, 1, EXPLORE_IRQ, 1}},
        .bounds = {EXPLORE_ALL, 1, 0},
    },
    {
        .name = "two_threads_change_cpus",
        .cpus = 2,
        .set_up = set_up,
        .check = entered_2,
        .thread = {{enter, 0, 1}, {enter, 0, 1}},
        .bounds = {2, 1, 0},
        .longer = {3, 1, 0},
    },
    {
        .name = "three_cpus",
        .cpus = 3,
        .set_up = set_up,
        .check = entered_3,
        .thread = {{enter, 0, 0}, {enter, 1, 0}, {enter, 2, 0}},
        .bounds = {EXPLORE_ALL, 1, 0},
        .longer = {EXPLORE_ALL, 1, 0},
    },
    {
        .name = "four_cpus",
        .cpus = 4,
        .set_up = set_up,
        .check = entered_4,
        .thread = {{enter, 0, 0}, {enter, 1, 0}, {enter, 2, 0}, {enter, 3, 0}},
        .bounds = {EXPLORE_ALL, 0, 0},
        .longer = {EXPLORE_ALL, 1, 0},
    },
    {0},
};
