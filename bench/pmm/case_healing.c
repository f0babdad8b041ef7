/*
 * case_healing.c - does memory that is in pieces become whole again?
 *
 * Problem     A kernel that has been up for a day has no 2 MiB block left, unless frames are handed
 *             out in an order that lets emptying chunks empty.
 * Idea        Memory is filled, all but L frames of each 512 on average are freed at random, and
 *             the live ones replaced at random, burst by burst. A chunk that gets nothing new has
 *             lost all its L frames after t turnovers with probability exp(-L e^-t): what the best
 *             allocator reaches. Measured is what share of the free memory can be allocated as
 *             blocks of 2 MiB.
 * Invariants  The number of live frames is the same at each measurement.
 * Locking     None.
 * Cost        A run is not repeated: the random numbers, and so the result, are always the same.
 * Rejected    Starting with empty memory: an allocator that only ever reuses what was freed last
 *             would look perfect.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>

#include "../common/clock.h"
#include "../common/host.h"
#include "libmm.h"

#define ORDER     MM_ORDER_2M
#define TURNOVERS 10u

static const unsigned measured[] = {4, 6, 8, 10};
#define TARGET_FROM 8u

struct healing {
    const struct settings *settings;
    const char *name;
    struct lanes lanes;
    struct lane *lane;
    struct random random;
    struct memory index, blocks;
    size_t burst;
    double live_per_block;
};

static void healing_open(struct healing *healing, const struct allocator *allocator,
                         unsigned percent)
{
    struct lanes *lanes = &healing->lanes;
    size_t live;

    lanes_open(lanes, healing->settings->ram_frames);
    live = (size_t)lanes->ram.count * percent / 100;
    healing->lane = lane_add(lanes, allocator, lanes->ram.count, 1);
    healing->random = (struct random){percent};
    lane_thin_out(healing->lane, &healing->random, live);
    healing->index = memory_take(live * sizeof(uint32_t));
    healing->blocks = memory_take((lanes->ram.count >> ORDER) * sizeof(uint32_t));
    healing->live_per_block = (double)(1u << ORDER) * percent / 100;
}

static void healing_close(struct healing *healing)
{
    memory_give(&healing->index);
    memory_give(&healing->blocks);
    lanes_close(&healing->lanes);
}

/* As many replacements as there are live frames; returns ns per call. */
static double turnover(struct healing *healing)
{
    struct lane *lane = healing->lane;
    const struct allocator *allocator = lane->instance.allocator;
    size_t calls = lane->live_count / healing->burst * healing->burst;
    uint64_t start;

    indexes_draw(&healing->random, healing->index.start, calls, (uint32_t)lane->live_count,
                 (uint32_t)healing->burst);
    start = clock_thread_ns();
    if (healing->burst == 1)
        allocator->churn(lane->instance.self, lane->live, healing->index.start, calls);
    else
        allocator->bursts(lane->instance.self, lane->live, healing->index.start, calls,
                          healing->burst);
    return (double)(clock_thread_ns() - start) / (2 * (double)calls);
}

/* Percent of the free memory. The blocks really are allocated, and go back. */
static double whole_share(struct healing *healing)
{
    struct lane *lane = healing->lane;
    const struct allocator *allocator = lane->instance.allocator;
    const struct ram *ram = &healing->lanes.ram;
    size_t got = allocator->take_blocks(lane->instance.self, ORDER, healing->blocks.start,
                                        ram->count >> ORDER);

    allocator->give_blocks(lane->instance.self, ORDER, healing->blocks.start, got);
    return 100.0 * (double)(got << ORDER) / (double)(ram->count - lane->live_count);
}

static void share_report(struct healing *healing, unsigned t)
{
    struct samples share = {.count = 0}, best = share;
    char name[64];
    struct figure figure = {.name = name, .metric = healing->lane->name, .unit = "%"};

    samples_add(&share, whole_share(healing));
    samples_add(&best, 100 * exp(-healing->live_per_block * exp(-(double)t)));
    snprintf(name, sizeof name, "%s, bursts of %zu: t = %u", healing->name, healing->burst, t);
    figure.samples = &share;
    figure.ratio_to = "best possible";
    figure.other = &best;
    if (t >= TARGET_FROM && healing->lane->instance.allocator == &libmm_inlined.allocator) {
        figure.kind = TARGET_AT_LEAST;
        figure.target = 0.95;
    }
    report_figure(&figure);
}

static void healing_run(const struct settings *settings, const char *name,
                        const struct allocator *allocator, unsigned percent, size_t burst)
{
    struct healing healing = {.settings = settings, .name = name, .burst = burst};
    struct samples ns = {.count = 0};
    char text[64];

    healing_open(&healing, allocator, percent);
    for (unsigned t = 1; t <= TURNOVERS; t++) {
        samples_add(&ns, turnover(&healing));
        for (unsigned i = 0; i < sizeof measured / sizeof measured[0]; i++)
            if (measured[i] == t)
                share_report(&healing, t);
    }
    snprintf(text, sizeof text, "%s, bursts of %zu: per call", name, burst);
    report_plain(text, allocator->name, "ns", &ns);
    healing_close(&healing);
}

void case_healing(const struct settings *settings, const char *name, unsigned percent)
{
    healing_run(settings, name, &libmm_inlined.allocator, percent, 1);
    healing_run(settings, name, &libmm_inlined.allocator, percent, 64);
    healing_run(settings, name, &libmm_inlined.allocator, percent, 4096);
    healing_run(settings, name, &baseline_buddy, percent, 4096);
    healing_run(settings, name, &baseline_bitmap, percent, 4096);
}
