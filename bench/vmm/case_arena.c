/*
 * case_arena.c - addresses given back and taken again, among many spans.
 *
 * Problem     Kernel stacks, modules and device windows come and go for months; a list of them is
 *             searched from its start each time.
 * Idea        An arena of a terabyte with 100,000 spans of 1 to 16 pages: a random one is given back,
 *             one of a random size is taken, in strict turns.
 * Invariants  The arena's own check finds nothing afterwards.
 * Locking     None.
 * Cost        64 bytes for each span.
 * Rejected    Equal sizes: then the hole that was left fits.
 */
#include "bench.h"

#include "../common/clock.h"
#include "../common/host.h"
#include "libmm.h"

#define SIZES 16u

static const struct libmm *const builds[] = {&libmm_vmm, &libmm_vmm_hardened};

static void arena_turn(struct lane *lane, const struct libmm *libmm, struct random *random,
                       size_t spans, size_t calls)
{
    struct memory memory = memory_take(calls * 2 * sizeof(uint32_t));
    uint32_t *index = memory.start, *pages = index + calls;
    uint64_t start;

    for (size_t i = 0; i < calls; i++) {
        index[i] = random_below(random, (uint32_t)spans);
        pages[i] = 1 + random_below(random, SIZES);
    }
    libmm->arena_churn(lane->arena, index, pages, calls / 4);
    start = clock_thread_ns();
    libmm->arena_churn(lane->arena, index + calls / 4, pages + calls / 4, calls - calls / 4);
    samples_add(&lane->of[0], (double)(clock_thread_ns() - start) / (double)(calls - calls / 4));
    memory_give(&memory);
}

void case_arena(const struct settings *settings, const char *name, unsigned number)
{
    struct random random[2] = {{1}, {1}};

    (void)number;
    case_begin();
    for (unsigned i = 0; i < 2; i++)
        lanes[i].arena = builds[i]->arena_open(settings->spans, SIZES, &random[i]);
    for (unsigned round = 0; round < settings->rounds; round++) {
        round_begin();
        for (unsigned i = 0; i < 2; i++)
            arena_turn(&lanes[i], builds[i], &random[i], settings->spans, settings->arena_calls);
    }
    lanes_report(name, "give, take", 0, STORES(5000));
    for (unsigned i = 0; i < 2; i++)
        if (builds[i]->arena_close(lanes[i].arena) != 0)
            die("%s: mm_arena_check() finds faults", lanes[i].mapper->name);
}
