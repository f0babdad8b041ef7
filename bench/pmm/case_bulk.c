/*
 * case_bulk.c - bulk calls: batches out of whole chunks, and back in random order.
 *
 * Problem     Page-table teardown, fork and populate handle frames by the dozen.
 * Idea        From an empty allocator half of all frames are taken in batches, so that each batch
 *             comes out of one chunk; they are shuffled and given back in batches, so that each
 *             batch goes to as many chunks as it has frames.
 * Invariants  All frames are free before and after each turn.
 * Locking     None.
 * Cost        -
 * Rejected    Baselines that loop over single calls: a free stack can take its lock once, too.
 */
#include "bench.h"

#include <stdio.h>

#include "../common/clock.h"
#include "../common/host.h"
#include "../common/limits.h"
#include "libmm.h"

struct bulk {
    size_t count, batch;
    const uint32_t *order; /* in which frames go back */
    mm_phys_t *frame, *shuffled;
};

static void bulk_turn(struct lane *lane, const struct bulk *bulk)
{
    const struct allocator *allocator = lane->instance.allocator;
    void *self = lane->instance.self;
    uint64_t start = clock_thread_ns(), end;

    if (allocator->take_bulk(self, bulk->frame, bulk->count, bulk->batch) != bulk->count)
        die("%s: memory ends too early", lane->name);
    end = clock_thread_ns();
    samples_add(&lane->take, (double)(end - start) / (double)bulk->count);
    for (size_t i = 0; i < bulk->count; i++)
        bulk->shuffled[i] = bulk->frame[bulk->order[i]];
    start = clock_thread_ns();
    allocator->give_bulk(self, bulk->shuffled, bulk->count, bulk->batch);
    end = clock_thread_ns();
    samples_add(&lane->give, (double)(end - start) / (double)bulk->count);
}

static void bulk_report(struct lanes *lanes, const char *name, bool of_give)
{
    for (unsigned i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->lane[i];
        struct figure figure = {.name = name, .metric = lane->name, .unit = "ns"};

        figure.samples = of_give ? &lane->give : &lane->take;
        figure.ratio_to = "lock xadd";
        figure.other = &lanes->lock;
        if (lane->instance.allocator == &libmm_inlined.allocator ||
            lane->instance.allocator == &libmm_archive.allocator) {
            figure.kind = TARGET_AT_MOST;
            figure.target = of_give ? 0.9 : 0.35;
        }
        report_figure(&figure);
    }
}

void case_bulk(const struct settings *settings, const char *name, unsigned batch)
{
    static const struct allocator *const allocators[] = {
        &libmm_inlined.allocator,
        &libmm_archive.allocator,
        &libmm_hardened.allocator,
        &baseline_stack,
    };
    struct bulk bulk = {.count = settings->ram_frames / 2 / batch * batch, .batch = batch};
    struct memory order = memory_take(bulk.count * sizeof(uint32_t));
    struct memory frame = memory_take(2 * bulk.count * sizeof(mm_phys_t));
    struct random random = {batch};
    struct lanes lanes;
    uint32_t *number = order.start;
    char text[64];

    for (size_t i = 0; i < bulk.count; i++)
        number[i] = (uint32_t)i;
    random_shuffle(&random, number, (uint32_t)bulk.count);
    bulk.order = number;
    bulk.frame = frame.start;
    bulk.shuffled = bulk.frame + bulk.count;
    lanes_open(&lanes, settings->ram_frames);
    for (unsigned i = 0; i < sizeof allocators / sizeof allocators[0]; i++)
        lane_add(&lanes, allocators[i], 0, 1);
    for (unsigned round = 0; round < settings->rounds; round++) {
        samples_add(&lanes.lock, limit_lock_ns());
        for (unsigned i = 0; i < lanes.count; i++)
            bulk_turn(&lanes.lane[i], &bulk);
    }
    snprintf(text, sizeof text, "%s: alloc, one chunk", name);
    bulk_report(&lanes, text, false);
    snprintf(text, sizeof text, "%s: free, random", name);
    bulk_report(&lanes, text, true);
    lanes_close(&lanes);
    memory_give(&order);
    memory_give(&frame);
}
