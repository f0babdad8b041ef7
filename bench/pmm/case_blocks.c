/*
 * case_blocks.c - blocks of 2 MiB: on empty memory, on churned memory, where there are none.
 *
 * Problem     Large pages are asked for at each large mapping, and refused often: the failure must
 *             be as cheap as the success, whatever the size of the machine.
 * Idea        empty: 256 blocks and back. churned: half of memory live after six times half of that
 *             was freed at random and allocated anew. fail: each second frame is free, so no block
 *             is anywhere. scale: empty and fail again at 1 GiB and 1 TiB.
 * Invariants  All blocks go back after each turn.
 * Locking     None.
 * Cost        Short stretches: the time stamp counter, and the median of many.
 * Rejected    Taking all blocks of a large machine in turn: that measures cache misses, not the
 *             allocator's own growth.
 */
#include "bench.h"

#include <stdio.h>

#include "../common/clock.h"
#include "../common/host.h"
#include "../common/limits.h"
#include "libmm.h"

#define BLOCKS  256u
#define REPEATS 51u /* of one turn, of which the median counts */

static const struct allocator *const allocators[] = {
    &libmm_inlined.allocator,
    &libmm_archive.allocator,
    &baseline_bitmap,
    &baseline_buddy,
};
#define ALLOCATORS (sizeof allocators / sizeof allocators[0])

/* ns per block, taken and given back. */
static void blocks_turn(struct lane *lane, unsigned order)
{
    const struct allocator *allocator = lane->instance.allocator;
    void *self = lane->instance.self;
    struct samples take = {.count = 0}, give = take;
    uint32_t first[BLOCKS];

    for (unsigned i = 0; i < REPEATS; i++) {
        uint64_t start = clock_ticks(), middle, end;

        if (allocator->take_blocks(self, order, first, BLOCKS) != BLOCKS)
            die("%s: fewer than %u blocks", lane->name, BLOCKS);
        middle = clock_ticks();
        allocator->give_blocks(self, order, first, BLOCKS);
        end = clock_ticks();
        samples_add(&take, clock_ticks_ns(start, middle) / BLOCKS);
        samples_add(&give, clock_ticks_ns(middle, end) / BLOCKS);
    }
    samples_add(&lane->take, samples_median(&take));
    samples_add(&lane->give, samples_median(&give));
}

static void blocks_report(struct lanes *lanes, const char *name, bool of_give, double target)
{
    for (unsigned i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->lane[i];
        struct figure figure = {.name = name, .metric = lane->name, .unit = "ns"};

        figure.samples = of_give ? &lane->give : &lane->take;
        figure.ratio_to = "lock xadd";
        figure.other = &lanes->lock;
        if (target > 0 && (lane->instance.allocator == &libmm_inlined.allocator ||
                           lane->instance.allocator == &libmm_archive.allocator)) {
            figure.kind = TARGET_AT_MOST;
            figure.target = target;
        }
        if (figure.samples->count > 0)
            report_figure(&figure);
    }
}

static void blocks_rounds(struct lanes *lanes, const struct settings *settings, unsigned order)
{
    for (unsigned round = 0; round < settings->rounds; round++) {
        samples_add(&lanes->lock, limit_lock_ns());
        for (unsigned i = 0; i < lanes->count; i++)
            blocks_turn(&lanes->lane[i], order);
    }
}

void case_blocks_empty(const struct settings *settings, const char *name, unsigned order)
{
    struct lanes lanes;
    char text[64];

    lanes_open(&lanes, settings->ram_frames);
    for (unsigned i = 0; i < ALLOCATORS; i++)
        lane_add(&lanes, allocators[i], 0, 1);
    blocks_rounds(&lanes, settings, order);
    snprintf(text, sizeof text, "%s: alloc", name);
    blocks_report(&lanes, text, false, 3);
    snprintf(text, sizeof text, "%s: free", name);
    blocks_report(&lanes, text, true, 0);
    lanes_close(&lanes);
}

/* ---- churned ---- */

#define CHURN_ROUNDS 6u

/* Percent of the free memory that is to be had in blocks. */
static double blocks_share(struct lane *lane, const struct ram *ram, unsigned order)
{
    const struct allocator *allocator = lane->instance.allocator;
    size_t most = ram->count >> order, got;
    struct memory memory = memory_take(most * sizeof(uint32_t));
    uint32_t *first = memory.start;

    got = allocator->take_blocks(lane->instance.self, order, first, most);
    allocator->give_blocks(lane->instance.self, order, first, got);
    memory_give(&memory);
    return 100.0 * (double)(got << order) / (double)(ram->count - lane->live_count);
}

static struct samples churned_share(struct lanes *lanes, struct lane *lane, unsigned order)
{
    struct random random = {order};
    struct samples share = {.count = 0};
    size_t live = lane->live_count;

    for (unsigned i = 0; i < CHURN_ROUNDS; i++) {
        lane_thin_out(lane, &random, live / 2);
        if (lane->instance.allocator->take(lane->instance.self, lane->live + live / 2,
                                           live - live / 2) != live - live / 2)
            die("%s: memory ends too early", lane->name);
        lane->live_count = live;
    }
    samples_add(&share, blocks_share(lane, &lanes->ram, order));
    return share;
}

void case_blocks_churned(const struct settings *settings, const char *name, unsigned order)
{
    struct lanes lanes, able = {.count = 0};
    char text[64];

    lanes_open(&lanes, settings->ram_frames);
    snprintf(text, sizeof text, "%s: of free memory", name);
    for (unsigned i = 0; i < ALLOCATORS; i++) {
        struct lane *lane = lane_add(&lanes, allocators[i], lanes.ram.count / 2, 1);
        struct samples share = churned_share(&lanes, lane, order);
        double blocks = share.value[0] / 100 * (lanes.ram.count >> order) / 2;

        report_plain(text, lane->name, "%", &share);
        if (blocks >= BLOCKS)
            able.lane[able.count++] = *lane;
    }
    blocks_rounds(&able, settings, order);
    snprintf(text, sizeof text, "%s: alloc", name);
    blocks_report(&able, text, false, 3);
    lanes_close(&lanes); /* `able` borrowed its lanes */
}

/* ---- failure ---- */

#define FAILURES 64u
#define PIECE    4096u

/* Every frame is allocated, then each second one freed. */
static void every_second_free(struct lane *lane, const struct ram *ram)
{
    const struct allocator *allocator = lane->instance.allocator;
    void *self = lane->instance.self;
    uint32_t frame[PIECE];
    size_t taken = 0, got;

    while ((got = allocator->take(self, frame, PIECE)) > 0)
        taken += got;
    if (taken != ram->count)
        die("%s: %zu of %u frames", lane->name, taken, ram->count);
    for (uint32_t at = 1; at < ram->count; at += 2 * PIECE) {
        uint32_t count = 0;

        for (; count < PIECE && at + 2 * count < ram->count; count++)
            frame[count] = ram->first + at + 2 * count;
        allocator->give(self, frame, count);
    }
}

static void failures_turn(struct lane *lane, unsigned order)
{
    const struct allocator *allocator = lane->instance.allocator;
    struct samples samples = {.count = 0};
    uint32_t first;

    for (unsigned i = 0; i < REPEATS; i++) {
        uint64_t start = clock_ticks();

        for (unsigned k = 0; k < FAILURES; k++)
            if (allocator->take_blocks(lane->instance.self, order, &first, 1) != 0)
                die("%s: a block where none can be", lane->name);
        samples_add(&samples, clock_ticks_ns(start, clock_ticks()) / FAILURES);
    }
    samples_add(&lane->take, samples_median(&samples));
}

/* The same when the CPU has frames in stock: between two failures it allocates and frees some. */
static void busy_failures_turn(struct lane *lane, unsigned order)
{
    const struct allocator *allocator = lane->instance.allocator;
    struct samples samples = {.count = 0};
    uint32_t frame[FAILURES], first;

    for (unsigned i = 0; i < REPEATS; i++) {
        uint64_t start;

        if (allocator->take(lane->instance.self, frame, FAILURES) != FAILURES)
            die("%s: memory ends too early", lane->name);
        allocator->give(lane->instance.self, frame, FAILURES);
        start = clock_ticks();
        if (allocator->take_blocks(lane->instance.self, order, &first, 1) != 0)
            die("%s: a block where none can be", lane->name);
        samples_add(&samples, clock_ticks_ns(start, clock_ticks()));
    }
    samples_add(&lane->give, samples_median(&samples));
}

void case_blocks_fail(const struct settings *settings, const char *name, unsigned order)
{
    struct lanes lanes;
    char text[64];

    lanes_open(&lanes, settings->ram_frames);
    for (unsigned i = 0; i < ALLOCATORS; i++)
        every_second_free(lane_add(&lanes, allocators[i], 0, 1), &lanes.ram);
    for (unsigned round = 0; round < settings->rounds; round++) {
        samples_add(&lanes.lock, limit_lock_ns());
        for (unsigned i = 0; i < lanes.count; i++) {
            failures_turn(&lanes.lane[i], order);
            busy_failures_turn(&lanes.lane[i], order);
        }
    }
    blocks_report(&lanes, name, false, 40);
    snprintf(text, sizeof text, "%s, stock in use", name);
    blocks_report(&lanes, text, true, 0);
    lanes_close(&lanes);
}

/* ---- scale ---- */

#define GIB_FRAMES ((uint64_t)1 << (30 - MM_FRAME_SHIFT))
#define SIZES      3u

static void scale_report(struct lanes *lanes, const char *const *size, const char *name,
                         bool of_give)
{
    for (unsigned i = 0; i < SIZES; i++) {
        const struct lane *lane = &lanes[i].lane[0], *other = &lanes[1].lane[0];
        char text[64];
        struct figure figure = {.name = text, .metric = lane->name, .unit = "ns"};

        snprintf(text, sizeof text, "%s, %s", name, size[i]);
        figure.samples = of_give ? &lane->give : &lane->take;
        if (i != 1) {
            figure.ratio_to = size[1];
            figure.other = of_give ? &other->give : &other->take;
            figure.kind = TARGET_AT_MOST;
            figure.target = 1.2;
        }
        report_figure(&figure);
    }
}

void case_blocks_scale(const struct settings *settings, const char *name, unsigned order)
{
    static const char *const size[SIZES] = {"1 GiB", "16 GiB", "1 TiB"};
    const uint64_t frames[SIZES] = {GIB_FRAMES, 16 * GIB_FRAMES,
                                    (settings->quick ? 32 : 1024) * GIB_FRAMES};
    struct lanes lanes[SIZES];
    char text[64];

    for (unsigned i = 0; i < SIZES; i++) {
        lanes_open(&lanes[i], frames[i]);
        lane_add(&lanes[i], &libmm_inlined.allocator, 0, 1);
    }
    for (unsigned round = 0; round < settings->rounds; round++)
        for (unsigned i = 0; i < SIZES; i++)
            blocks_turn(&lanes[i].lane[0], order);
    snprintf(text, sizeof text, "%s: alloc", name);
    scale_report(lanes, size, text, false);
    for (unsigned i = 0; i < SIZES; i++) {
        every_second_free(&lanes[i].lane[0], &lanes[i].ram);
        lanes[i].lane[0].take.count = 0;
    }
    for (unsigned round = 0; round < settings->rounds; round++)
        for (unsigned i = 0; i < SIZES; i++)
            failures_turn(&lanes[i].lane[0], order);
    snprintf(text, sizeof text, "%s: failure", name);
    scale_report(lanes, size, text, false);
    for (unsigned i = 0; i < SIZES; i++)
        lanes_close(&lanes[i]);
}
