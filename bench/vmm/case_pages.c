/*
 * case_pages.c - ranges in one call: 4 KiB pages, 2 MiB and 1 GiB leaves.
 *
 * Problem     What a page costs when the call is large enough that nothing else counts.
 * Idea        Pages: 1 GiB into a space in which nothing was mapped, away, and once more: the tables
 *             of the second time are those that the first gave back. Live: the CPU that does it has
 *             the space loaded, so the hardware may be at work on every entry. Large: as many
 *             leaves as fill some tables.
 * Invariants  The space is empty before and after each turn.
 * Locking     None.
 * Cost        -
 * Rejected    Tables that were never used: a kernel's first minute.
 */
#include "bench.h"

#include "../common/clock.h"

enum {
    OF_MAP,
    OF_UNMAP,
    OF_REMAP
};

static double per_leaf(uint64_t from, uint64_t to, const struct stretch *stretch)
{
    uint64_t leaves = stretch->bytes >> (12 + 9 * (stretch->level - 1));

    return (double)(to - from) / (double)leaves;
}

/* Once untimed, in another space: the other lanes have had the caches to themselves since. */
static void warm_up(const struct lane *lane, const struct stretch *stretch)
{
    void *space = lane->mapper->create(lane->self);

    lane->mapper->map(space, stretch);
    lane->mapper->unmap(space, stretch);
    lane->mapper->destroy(space);
}

static void pages_turn(struct lane *lane, const struct stretch *stretch, bool live)
{
    const struct mapper *mapper = lane->mapper;
    uint64_t start, mapped, unmapped, remapped;
    void *space;

    warm_up(lane, stretch);
    space = mapper->create(lane->self);
    if (live)
        mapper->load(space);
    start = clock_thread_ns();
    mapper->map(space, stretch);
    mapped = clock_thread_ns();
    mapper->unmap(space, stretch);
    unmapped = clock_thread_ns();
    mapper->map(space, stretch);
    remapped = clock_thread_ns();
    mapper->unmap(space, stretch);
    mapper->leave(space);
    mapper->destroy(space);
    samples_add(&lane->of[OF_MAP], per_leaf(start, mapped, stretch));
    samples_add(&lane->of[OF_UNMAP], per_leaf(mapped, unmapped, stretch));
    samples_add(&lane->of[OF_REMAP], per_leaf(unmapped, remapped, stretch));
}

static void turns(const struct settings *settings, const struct stretch *stretch, bool live)
{
    case_begin();
    for (unsigned round = 0; round < settings->rounds; round++) {
        round_begin();
        for (unsigned i = 0; i < LANES; i++)
            pages_turn(&lanes[i], stretch, live);
    }
}

void case_pages(const struct settings *settings, const char *name, unsigned live)
{
    struct stretch stretch = stretch_of(settings->bytes, 1, 0);

    turns(settings, &stretch, live != 0);
    lanes_report(name, "map", OF_MAP, STORES(1.5));
    lanes_report(name, "map again", OF_REMAP, STORES(1.5));
    lanes_report(name, "unmap", OF_UNMAP, STORES(1.5));
}

/* Physical addresses that are off by 2 MiB let nothing larger than 2 MiB fit. */
void case_large(const struct settings *settings, const char *name, unsigned level)
{
    struct stretch stretch =
        stretch_of(settings->bytes * (level == 2 ? 64 : 16384), level, level == 2 ? 2 * MIB : 0);
    struct goal goal = level == 2 ? STORES(5) : NO_GOAL;

    turns(settings, &stretch, true);
    lanes_report(name, "map", OF_MAP, goal);
    lanes_report(name, "unmap", OF_UNMAP, goal);
}
