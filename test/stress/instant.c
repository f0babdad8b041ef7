/*
 * instant.c - what is known of the whole while others run.
 *
 * Problem     That no memory was free, or that a count is right, can be judged while others allocate
 *             only if it is known how much they had; and asking them would order what is watched.
 * Idea        Each thread counts frames before and after the calls that move them. Two readings of all
 *             counters, one before and one after what is judged, bound what callers had between.
 * Invariants  take_begun >= taken + not_taken, give_begun >= given, at any instant
 * Locking     None; all is relaxed. The bounds hold since x86 shows a thread's stores in order.
 * Cost        A few loads for each thread.
 * Rejected    One counter for all: a locked instruction, which is a fence, around each operation.
 */
#include "operations.h"

static struct moved moved_by_all(void)
{
    struct moved sum = {0};

    for (unsigned i = 0; i < workers.count; i++) {
        const struct moved *moved = &workers.worker[i].moved;

        sum.take_begun += RELAXED_LOAD(&moved->take_begun);
        sum.taken += RELAXED_LOAD(&moved->taken);
        sum.not_taken += RELAXED_LOAD(&moved->not_taken);
        sum.give_begun += RELAXED_LOAD(&moved->give_begun);
        sum.given += RELAXED_LOAD(&moved->given);
    }
    return sum;
}

struct instant instant_now(void)
{
    return (struct instant){moved_by_all(), machine_changes(), cpus_attendance()};
}

/* No memory joined or was retired between the two, nor was just about to. */
bool memory_was_constant(const struct instant *a, const struct instant *b)
{
    return a->changes.ended == b->changes.begun;
}

/* No CPU came or went: who is there takes calls, who is away had parked. */
bool all_answered(const struct attendance *a, const struct attendance *b)
{
    return workers.exact && a->comings == b->comings && a->goings == b->goings;
}

/* The most that callers had at any instant between, and the least. */
uint64_t held_most(const struct instant *a, const struct instant *b)
{
    return b->moved.take_begun - a->moved.not_taken - a->moved.given;
}

uint64_t held_least(const struct instant *a, const struct instant *b)
{
    uint64_t gone = b->moved.give_begun;

    return a->moved.taken > gone ? a->moved.taken - gone : 0;
}
