/*
 * lanes.c - allocators that take turns over the same workload.
 *
 * Problem     The machine is faster in one second than in the next; what is measured one after the
 *             other differs by that alone.
 * Idea        A case opens all its allocators at once, and each round measures every one of them,
 *             with the same random numbers.
 * Invariants  live[0 .. live_count) are frames that the lane's allocator handed out.
 * Locking     None; threads of one lane work on separate parts of `live`.
 * Cost        All instances at once: about 150 MiB for 16 GiB of RAM.
 * Rejected    A process for each allocator: turns would be far apart.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "../common/host.h"

void lanes_open(struct lanes *lanes, uint64_t frames)
{
    memset(lanes, 0, sizeof *lanes);
    lanes->ram = ram_open(frames);
}

void lanes_close(struct lanes *lanes)
{
    for (unsigned i = 0; i < lanes->count; i++) {
        memory_give(&lanes->lane[i].live_memory);
        instance_close(&lanes->lane[i].instance);
    }
    ram_close(&lanes->ram);
}

static void live_fill(struct lane *lane, size_t count)
{
    const struct allocator *allocator = lane->instance.allocator;
    void *self = lane->instance.self;

    lane->live_memory = memory_take(count * sizeof *lane->live);
    lane->live = lane->live_memory.start;
    lane->live_count = count;
    if (allocator->assume != NULL)
        allocator->assume(self, lane->live, count);
    else if (allocator->take(self, lane->live, count) != count)
        die("%s: memory ends too early", lane->name);
}

struct lane *lane_add(struct lanes *lanes, const struct allocator *allocator, size_t live,
                      unsigned cpus)
{
    struct lane *lane = &lanes->lane[lanes->count];

    if (lanes->count++ == LANES_MAX)
        die("more than %u allocators in one case", LANES_MAX);
    lane->name = allocator->name;
    lane->instance = instance_open(allocator, &lanes->ram, cpus);
    if (live > 0)
        live_fill(lane, live);
    return lane;
}

struct lane *lane_find(struct lanes *lanes, const struct allocator *allocator)
{
    for (unsigned i = 0; i < lanes->count; i++)
        if (lanes->lane[i].instance.allocator == allocator)
            return &lanes->lane[i];
    return NULL;
}

void lane_thin_out(struct lane *lane, struct random *random, size_t live)
{
    random_shuffle(random, lane->live, (uint32_t)lane->live_count);
    lane->instance.allocator->give(lane->instance.self, lane->live + live, lane->live_count - live);
    lane->live_count = live;
}

void indexes_draw(struct random *random, uint32_t *index, size_t count, uint32_t bound,
                  uint32_t burst)
{
    uint64_t *drawn = calloc(bound / 64 + 1, sizeof *drawn);

    if (drawn == NULL || burst > bound)
        die("cannot draw bursts of %u out of %u", burst, bound);
    for (size_t start = 0; start < count; start += burst) {
        size_t end = count - start < burst ? count : start + burst;

        for (size_t i = start; i < end; i++) {
            do
                index[i] = random_below(random, bound);
            while (drawn[index[i] / 64] >> index[i] % 64 & 1);
            drawn[index[i] / 64] |= UINT64_C(1) << index[i] % 64;
        }
        for (size_t i = start; i < end; i++)
            drawn[index[i] / 64] = 0;
    }
    free(drawn);
}
