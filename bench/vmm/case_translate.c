/*
 * case_translate.c - random addresses, translated by reading the tables.
 *
 * Problem     Fault handlers, debuggers and copies to user memory look up pages that are in no cache.
 * Idea        Random addresses of a range in 4 KiB pages. The next does not wait for the one before,
 *             as in a loop over a buffer: the processor overlaps their misses.
 * Invariants  The sum of all answers is what it must be.
 * Locking     None.
 * Cost        16 GiB have 32 MiB of tables.
 * Rejected    Addresses in order: the cache has their entries.
 */
#include "bench.h"

#include "../common/clock.h"
#include "../common/host.h"

static void translate_turn(struct lane *lane, const uint64_t *virt, size_t count, uint64_t sum)
{
    uint64_t start = clock_thread_ns();

    if (lane->mapper->translate(lane->space, virt, count) != sum)
        die("%s: a wrong translation", lane->mapper->name);
    samples_add(&lane->of[0], (double)(clock_thread_ns() - start) / (double)count);
}

void case_translate(const struct settings *settings, const char *name, unsigned huge)
{
    struct stretch stretch = stretch_of(huge != 0 ? settings->huge : settings->bytes, 1, 0);
    size_t count = settings->calls;
    struct memory memory = memory_take(count * sizeof(uint64_t));
    uint64_t *virt = memory.start, sum = 0;
    struct random random = {stretch.bytes};

    for (size_t i = 0; i < count; i++) {
        virt[i] = stretch.virt + random_next(&random) % stretch.bytes;
        sum += phys_of(virt[i]);
    }
    case_begin();
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i].space = lanes[i].mapper->create(lanes[i].self);
        lanes[i].mapper->map(lanes[i].space, &stretch);
    }
    for (unsigned round = 0; round < settings->rounds; round++) {
        round_begin();
        for (unsigned i = 0; i < LANES; i++)
            translate_turn(&lanes[i], virt, count, sum);
    }
    lanes_report(name, "one", 0, NO_GOAL);
    for (unsigned i = 0; i < LANES; i++)
        lanes[i].mapper->destroy(lanes[i].space);
    memory_give(&memory);
}
