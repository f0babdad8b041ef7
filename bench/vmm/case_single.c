/*
 * case_single.c - many calls of one page: in order, of 2 MiB, and at random.
 *
 * Problem     Page faults, drivers and copied tutorials map one page at a time; there the way to the
 *             table and the lock cost more than the entry.
 * Idea        In order: 1 GiB page by page, so that 511 of 512 calls find their table. Large: the same
 *             with leaves of 2 MiB. Sparse: random pages of 64 GiB, where most are alone in their
 *             table, so that a table comes with almost every map and goes with almost every unmap.
 *             Unmap is measured with a flush in each call, and with one behind all of them.
 * Invariants  The space is empty before and after each turn.
 * Locking     None.
 * Cost        -
 * Rejected    Unmapping in the order of mapping: what was mapped long ago is what goes.
 */
#include "bench.h"

#include "../common/clock.h"

/* Which figure of a lane. */
enum {
    OF_MAP,
    OF_UNMAP,
    OF_EACH
};

_Static_assert(OF_EACH *WAYS <= FIGURES_OF_LANE, "all ways have their figures");

/* What is shown of each way: how it is called, and what it must reach. */
struct shown {
    const char *map, *unmap; /* NULL = nothing */
    struct goal map_goal, unmap_goal;
};

/* Calls of one turn: `map` in this order, `unmap` in that. */
struct calls {
    const uint64_t *map, *unmap;
    size_t count;
    uint64_t bytes;
    unsigned level;
};

/* Untimed once before: the other lanes have had the caches to themselves since. */
static void way_turn(struct lane *lane, const struct calls *calls, void *space, enum way way)
{
    const struct mapper *mapper = lane->mapper;
    bool maps = mapper->map_each[way] != NULL, unmaps = mapper->unmap_each[way] != NULL;
    enum way map_way = maps ? way : WAY_ALONE, unmap_way = unmaps ? way : WAY_ALONE;
    uint64_t start = 0, mapped = 0, unmapped = 0;
    double count = (double)calls->count;

    if (!maps && !unmaps)
        return;
    for (unsigned timed = 0; timed < 2; timed++) {
        start = clock_thread_ns();
        mapper->map_each[map_way](space, calls->map, calls->count, calls->bytes, calls->level);
        mapped = clock_thread_ns();
        mapper->unmap_each[unmap_way](space, calls->unmap, calls->count, calls->bytes);
        unmapped = clock_thread_ns();
    }
    if (maps)
        samples_add(&lane->of[way * OF_EACH + OF_MAP], (double)(mapped - start) / count);
    if (unmaps)
        samples_add(&lane->of[way * OF_EACH + OF_UNMAP], (double)(unmapped - mapped) / count);
}

static void turns(const struct settings *settings, const struct calls *calls)
{
    case_begin();
    for (unsigned round = 0; round < settings->rounds; round++) {
        round_begin();
        for (unsigned i = 0; i < LANES; i++) {
            void *space = lanes[i].mapper->create(lanes[i].self);

            lanes[i].mapper->load(space);
            for (unsigned way = 0; way < WAYS; way++)
                way_turn(&lanes[i], calls, space, (enum way)way);
            lanes[i].mapper->leave(space);
            lanes[i].mapper->destroy(space);
        }
    }
}

static void ways_report(const char *name, const struct shown *shown)
{
    for (unsigned way = 0; way < WAYS; way++) {
        if (shown[way].map != NULL)
            lanes_report(name, shown[way].map, way * OF_EACH + OF_MAP, shown[way].map_goal);
        if (shown[way].unmap != NULL)
            lanes_report(name, shown[way].unmap, way * OF_EACH + OF_UNMAP, shown[way].unmap_goal);
    }
}

/* Addresses in order, `step` apart. */
static struct memory in_order(struct calls *calls, uint64_t bytes, uint64_t step)
{
    uint64_t first = stretch_of(bytes, 1, 0).virt, *virt;
    struct memory memory;

    calls->count = bytes / step;
    calls->bytes = step;
    memory = memory_take(calls->count * sizeof *virt);
    calls->map = calls->unmap = virt = memory.start;
    for (size_t i = 0; i < calls->count; i++)
        virt[i] = first + i * step;
    return memory;
}

void case_single(const struct settings *settings, const char *name, unsigned number)
{
    const struct shown shown[WAYS] = {
        [WAY_ALONE] = {"map", "unmap", STORES_LOCKS(9, 3), STORES_LOCKS(35, 3)},
        [WAY_GATHERED] = {.unmap = "unmap, one gather", .unmap_goal = STORES_LOCKS(35, 3)},
        [WAY_CURSOR] = {"map, one cursor", "unmap, one cursor", STORES(9), STORES(35)},
    };
    struct calls calls = {.level = 1};
    struct memory memory = in_order(&calls, settings->bytes, PAGE_BYTES);

    (void)number;
    turns(settings, &calls);
    ways_report(name, shown);
    memory_give(&memory);
}

void case_large_single(const struct settings *settings, const char *name, unsigned number)
{
    const struct shown shown[WAYS] = {
        [WAY_ALONE] = {"map", "unmap", STORES_LOCKS(5, 3), NO_GOAL},
        [WAY_CURSOR] = {"map, one cursor", "unmap, one cursor", STORES(5), NO_GOAL},
    };
    struct calls calls = {.level = 2};
    struct memory memory = in_order(&calls, settings->bytes * 64, 2 * MIB);

    (void)number;
    turns(settings, &calls);
    ways_report(name, shown);
    memory_give(&memory);
}

/* Different pages; `all` of them. */
static void draw(struct random *random, uint64_t *virt, size_t count, uint64_t all)
{
    struct memory drawn = memory_take(all / 8 + 1);
    uint64_t first = stretch_of(all, 1, 0).virt;
    uint8_t *bit = drawn.start;

    for (size_t i = 0; i < count; i++) {
        uint32_t page;

        do
            page = random_below(random, (uint32_t)all);
        while ((bit[page / 8] >> page % 8 & 1) != 0);
        bit[page / 8] |= (uint8_t)(1u << page % 8);
        virt[i] = first + page * PAGE_BYTES;
    }
    memory_give(&drawn);
}

static void shuffle(struct random *random, uint64_t *virt, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = random_below(random, (uint32_t)i);
        uint64_t swap = virt[i - 1];

        virt[i - 1] = virt[other];
        virt[other] = swap;
    }
}

void case_sparse(const struct settings *settings, const char *name, unsigned number)
{
    const struct shown shown[WAYS] = {
        [WAY_ALONE] = {"map", "unmap", NO_GOAL, STORES(130)},
        [WAY_GATHERED] = {.unmap = "unmap, one gather", .unmap_goal = STORES(130)},
        [WAY_CURSOR] = {.unmap = "unmap, one cursor", .unmap_goal = STORES(130)},
    };
    size_t count = settings->sparse_pages;
    struct memory memory = memory_take(2 * count * sizeof(uint64_t));
    uint64_t *map = memory.start, *unmap = map + count;
    struct calls calls = {map, unmap, count, PAGE_BYTES, 1};
    struct random random = {count};

    (void)number;
    draw(&random, map, count, settings->sparse_bytes / PAGE_BYTES);
    for (size_t i = 0; i < count; i++)
        unmap[i] = map[i];
    shuffle(&random, unmap, count);
    turns(settings, &calls);
    ways_report(name, shown);
    memory_give(&memory);
}
