/*
 * case_single.c - single frames: one after the other, at random, in bursts, by one thread.
 *
 * Problem     Nearly all that a kernel allocates is one frame. Which calls come in which order
 *             decides whether a per-CPU stock helps.
 * Idea        sequential: allocate all, free all. random: free one at random, allocate one.
 *             scattered: the same after memory was full and random frames were freed, so that no
 *             2 MiB are free anywhere: here libmm works for large blocks to come back (docs/pmm.md).
 *             bursts: 1,024 random frees, then as many allocations: more than any stock holds.
 * Invariants  Every lane does the same calls with the same random numbers.
 * Locking     None.
 * Cost        The bit scan does a few calls only: each takes up to a millisecond.
 * Rejected    A coin for each call instead of strict turns: the mispredicted branch costs both sides
 *             more than the allocator.
 */
#include "bench.h"

#include <stdio.h>

#include "../common/clock.h"
#include "../common/host.h"
#include "libmm.h"

#define BURST      1024u
#define SCAN_CALLS 32u

static const struct allocator *const allocators[] = {
    &libmm_inlined.allocator, &libmm_archive.allocator, &libmm_hardened.allocator,
    &baseline_stack,          &baseline_bitmap,         &baseline_buddy,
    &baseline_scan,           &baseline_nothing,
};
#define ALLOCATORS (sizeof allocators / sizeof allocators[0])

static size_t calls_of(const struct lane *lane, size_t calls)
{
    return lane->instance.allocator == &baseline_scan && calls > SCAN_CALLS ? SCAN_CALLS : calls;
}

/* libmm against the free stack; the hardened build against libmm: what the checks cost. */
static void singles_report(struct lanes *lanes, const char *name, bool of_give, bool has_target)
{
    struct lane *libmm = lane_find(lanes, &libmm_inlined.allocator);
    struct lane *stack = lane_find(lanes, &baseline_stack);

    for (unsigned i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->lane[i];
        const struct allocator *allocator = lane->instance.allocator;
        const struct lane *other = allocator == &libmm_hardened.allocator ? libmm : stack;
        struct figure figure = {.name = name, .metric = lane->name, .unit = "ns"};

        figure.samples = of_give ? &lane->give : &lane->take;
        if (lane != stack) {
            figure.ratio_to = other->name;
            figure.other = of_give ? &other->give : &other->take;
        }
        if (has_target && allocator == &libmm_inlined.allocator) {
            figure.kind = TARGET_AT_MOST;
            figure.target = 0.6;
        } else if (has_target && allocator == &libmm_archive.allocator) {
            figure.kind = TARGET_AT_MOST;
            figure.target = 0.8;
        }
        report_figure(&figure);
    }
}

/* ---- sequential ---- */

static void sequential_turn(struct lane *lane, size_t count)
{
    const struct allocator *allocator = lane->instance.allocator;
    void *self = lane->instance.self;
    uint64_t start = clock_thread_ns(), middle, end;

    if (allocator->take(self, lane->live, count) != count)
        die("%s: memory ends too early", lane->name);
    middle = clock_thread_ns();
    allocator->give(self, lane->live, count);
    end = clock_thread_ns();
    samples_add(&lane->take, (double)(middle - start) / (double)count);
    samples_add(&lane->give, (double)(end - middle) / (double)count);
}

void case_sequential(const struct settings *settings, const char *name, unsigned number)
{
    struct lanes lanes;
    char text[64];

    (void)number;
    lanes_open(&lanes, settings->ram_frames);
    for (unsigned i = 0; i < ALLOCATORS; i++)
        if (allocators[i] != &baseline_scan) { /* quadratic */
            struct lane *lane = lane_add(&lanes, allocators[i], lanes.ram.count, 1);

            lane->instance.allocator->give(lane->instance.self, lane->live, lane->live_count);
        }
    for (unsigned round = 0; round < settings->rounds; round++)
        for (unsigned i = 0; i < lanes.count; i++)
            sequential_turn(&lanes.lane[i], lanes.ram.count);
    snprintf(text, sizeof text, "%s: alloc", name);
    singles_report(&lanes, text, false, false);
    snprintf(text, sizeof text, "%s: free", name);
    singles_report(&lanes, text, true, false);
    lanes_close(&lanes);
}

/* ---- random ---- */

/* All of it once before the clock runs: the other lanes have had the caches to themselves since. */
static void random_turn(struct lane *lane, const uint32_t *index, size_t calls, size_t burst)
{
    const struct allocator *allocator = lane->instance.allocator;
    void *self = lane->instance.self;
    size_t count = calls_of(lane, calls);
    uint64_t start;

    if (burst == 1)
        allocator->churn(self, lane->live, index, count);
    else
        allocator->bursts(self, lane->live, index, count, burst);
    start = clock_thread_ns();
    if (burst == 1)
        allocator->churn(self, lane->live, index, count);
    else
        allocator->bursts(self, lane->live, index, count, burst);
    samples_add(&lane->take, (double)(clock_thread_ns() - start) / (2 * (double)count));
}

static void random_rounds(struct lanes *lanes, const struct settings *settings, size_t live,
                          size_t burst)
{
    struct memory memory = memory_take(settings->calls * sizeof(uint32_t));
    struct random random = {live + burst};

    for (unsigned round = 0; round < settings->rounds; round++) {
        indexes_draw(&random, memory.start, settings->calls, (uint32_t)live, (uint32_t)burst);
        for (unsigned i = 0; i < lanes->count; i++)
            random_turn(&lanes->lane[i], memory.start, settings->calls, burst);
    }
    memory_give(&memory);
}

void case_random(const struct settings *settings, const char *name, unsigned percent)
{
    size_t live = settings->ram_frames * percent / 100;
    struct lanes lanes;

    lanes_open(&lanes, settings->ram_frames);
    for (unsigned i = 0; i < ALLOCATORS; i++)
        lane_add(&lanes, allocators[i], live, 1);
    random_rounds(&lanes, settings, live, 1);
    singles_report(&lanes, name, false, true);
    lanes_close(&lanes);
}

void case_scattered(const struct settings *settings, const char *name, unsigned percent)
{
    size_t live = settings->ram_frames * percent / 100;
    struct lanes lanes;

    lanes_open(&lanes, settings->ram_frames);
    for (unsigned i = 0; i < ALLOCATORS; i++) {
        struct random random = {percent};

        if (allocators[i] != &baseline_nothing)
            lane_thin_out(lane_add(&lanes, allocators[i], lanes.ram.count, 1), &random, live);
    }
    random_rounds(&lanes, settings, live, 1);
    singles_report(&lanes, name, false, false);
    lanes_close(&lanes);
}

void case_bursts(const struct settings *settings, const char *name, unsigned percent)
{
    size_t live = settings->ram_frames * percent / 100;
    struct lanes lanes;

    lanes_open(&lanes, settings->ram_frames);
    for (unsigned i = 0; i < ALLOCATORS; i++)
        if (allocators[i] != &baseline_nothing && allocators[i] != &baseline_scan)
            lane_add(&lanes, allocators[i], live, 1);
    random_rounds(&lanes, settings, live, BURST);
    singles_report(&lanes, name, false, false);
    lanes_close(&lanes);
}
