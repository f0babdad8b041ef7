/*
 * list.c - rewriting the sorted list of ranges.
 *
 * Problem     An edit may split pieces, fill holes between them and make neighbours equal, all in
 *             one lent array, and must change nothing when the array is too small.
 * Idea        A producer reads the old pieces from left to right and emits new ones, which are
 *             merged as they come. A first run only counts. If there is room the old list moves to
 *             the top of the array and a second run writes the new one from the bottom.
 * Invariants  I1 pieces are sorted by start, disjoint, not empty, end at or below 2^phys_bits
 *             (rounded up to a frame)
 *             I2 touching neighbours differ in type, use or node
 *             I3 type NONE has a use and node 0; a hole without use is no piece
 *             I4 while rewriting, written + still to be read <= capacity at every step, so that a
 *             write never reaches a piece that is still to be read
 * Locking     The caller serialises.
 * Cost        O(ranges) time, no memory beyond the array.
 * Rejected    Exact need instead of the peak: an edit that first grows and then shrinks would fit
 *             in fewer entries, but only if it ran from the other side. The peak is never more
 *             than one entry for each boundary.
 */
#include "memmap/memmap_internal.h"

#include "base/bits.h"

static bool continues(const struct mm_mem_range *a, const struct mm_mem_range *b)
{
    return mm_mem_range_end(a) == b->start.raw && a->type == b->type && a->use == b->use &&
           a->node == b->node;
}

void mm_memmap_emit(struct mm_memmap_rewrite *rewrite, struct mm_mem_range range)
{
    if (range.bytes == 0)
        return;
    if (rewrite->count > 0 && continues(&rewrite->last, &range)) {
        rewrite->last.bytes += range.bytes;
    } else {
        rewrite->last = range;
        rewrite->count++;
    }
    if (rewrite->out != NULL)
        rewrite->out[rewrite->count - 1] = rewrite->last;
}

void mm_memmap_consumed(struct mm_memmap_rewrite *rewrite, uint32_t remaining)
{
    if (rewrite->count + remaining > rewrite->peak)
        rewrite->peak = rewrite->count + remaining;
}

enum mm_err mm_memmap_rewrite(struct mm_memmap *map, mm_memmap_produce_fn *produce, const void *arg)
{
    struct mm_memmap_rewrite rewrite = {.out = NULL};
    struct mm_mem_range *old;

    produce(map->range, map->count, &rewrite, arg);
    if (rewrite.peak > map->capacity)
        return MM_ERR_NO_ROOM;
    if (map->count == 0 && rewrite.count == 0)
        return MM_OK; /* the array may be NULL */
    old = map->range + (map->capacity - map->count);
    __builtin_memmove(old, map->range, map->count * sizeof(*old));
    rewrite = (struct mm_memmap_rewrite){.out = map->range};
    produce(old, map->count, &rewrite, arg);
    map->count = rewrite.count;
    return MM_OK;
}

/* The part of `range` inside [start, end). */
static struct mm_mem_range part(struct mm_mem_range range, uint64_t start, uint64_t end)
{
    uint64_t from = mm_max_u64(range.start.raw, start);
    uint64_t to = mm_min_u64(mm_mem_range_end(&range), end);

    range.start = mm_phys(from);
    range.bytes = from < to ? to - from : 0;
    return range;
}

/* What lies in frames for which both were said: the greater, so that the order does not matter. A
 * module hides boot information from nobody: both must be given up before such a frame goes. */
static uint8_t both_uses(uint8_t a, uint8_t b)
{
    if ((a == MM_USE_BOOTINFO && b == MM_USE_MODULE) ||
        (a == MM_USE_MODULE && b == MM_USE_BOOTINFO))
        return MM_USE_MODULE_INFO;
    return a > b ? a : b;
}

static struct mm_mem_range changed(struct mm_mem_range range, const struct mm_memmap_change *change)
{
    switch (change->how) {
    case MM_MEMMAP_RAISE:
        range.type = range.type > change->type ? range.type : change->type;
        range.use = both_uses(range.use, change->use);
        break;
    case MM_MEMMAP_SET_USE:
        range.use = change->use;
        break;
    case MM_MEMMAP_SET_NODE:
        /* A hole has no node: what is added there later is not affected. */
        range.node = range.type == MM_MEM_NONE ? range.node : change->node;
        break;
    }
    return range;
}

/* What of the hole [start, end) the change fills. */
static void emit_hole(struct mm_memmap_rewrite *rewrite, const struct mm_memmap_change *change,
                      uint64_t start, uint64_t end)
{
    struct mm_mem_range fill = {.type = change->type, .use = change->use};

    start = mm_max_u64(start, change->start);
    end = mm_min_u64(end, change->end);
    if (change->how != MM_MEMMAP_RAISE || start >= end)
        return;
    fill.start = mm_phys(start);
    fill.bytes = end - start;
    mm_memmap_emit(rewrite, fill);
}

/* Changes in ascending order that do not overlap. */
struct changes {
    const struct mm_memmap_change *change;
    uint32_t count;
};

static void emit_holes(struct mm_memmap_rewrite *rewrite, const struct changes *changes,
                       uint64_t start, uint64_t end)
{
    for (uint32_t i = 0; i < changes->count; i++)
        emit_hole(rewrite, &changes->change[i], start, end);
}

static void emit_range(struct mm_memmap_rewrite *rewrite, const struct changes *changes,
                       struct mm_mem_range range)
{
    for (uint32_t i = 0; i < changes->count; i++) {
        const struct mm_memmap_change *change = &changes->change[i];

        mm_memmap_emit(rewrite, part(range, 0, change->start));
        mm_memmap_emit(rewrite, changed(part(range, change->start, change->end), change));
        range = part(range, change->end, UINT64_MAX);
    }
    mm_memmap_emit(rewrite, range);
}

static void produce_changes(const struct mm_mem_range *old, uint32_t count,
                            struct mm_memmap_rewrite *rewrite, const void *arg)
{
    const struct changes *changes = arg;
    uint64_t cursor = 0; /* end of the pieces read */

    for (uint32_t i = 0; i < count; i++) {
        struct mm_mem_range range = old[i];

        emit_holes(rewrite, changes, cursor, range.start.raw);
        emit_range(rewrite, changes, range);
        cursor = mm_mem_range_end(&range);
        mm_memmap_consumed(rewrite, count - i - 1);
    }
    emit_holes(rewrite, changes, cursor, UINT64_MAX);
    mm_memmap_consumed(rewrite, 0);
}

enum mm_err mm_memmap_apply_all(struct mm_memmap *map, const struct mm_memmap_change *change,
                                uint32_t count)
{
    const struct changes changes = {change, count};

    return mm_memmap_rewrite(map, produce_changes, &changes);
}

enum mm_err mm_memmap_apply(struct mm_memmap *map, const struct mm_memmap_change *change)
{
    return mm_memmap_apply_all(map, change, 1);
}
