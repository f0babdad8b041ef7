/*
 * memmap.c - collecting what the firmware says and what is reserved.
 *
 * Problem     Firmware maps are unsorted, overlap, contradict themselves, have byte granularity and
 *             know nothing of the kernel; a frame handed out that was not free is data loss.
 * Idea        Type (what the firmware says) and use (what lies there) are two maxima over the same
 *             sorted list, so the order of calls does not matter. What restricts is rounded
 *             outwards to frames when it comes in; memory that is handed out, now or when it is
 *             reclaimed, keeps its exact bytes until finish.c knows all its neighbours.
 * Invariants  I1 to I3 of list.c, and
 *             I4 while collecting, only edges of memory that is handed out some day are not
 *             frame-aligned, and edges of nodes where they were set on such memory
 *             I5 after finish every edge is frame-aligned, and use EARLY lies on type USABLE
 *             I6 states only go forward: collecting, finished, closed
 * Locking     The caller serialises.
 * Cost        O(ranges) per call; find O(log ranges).
 * Rejected    Collecting raw entries and sorting at the end: overlaps then need a sweep with a set
 *             of open ranges, and a reservation cannot be checked when it is made.
 */
#include "memmap/memmap_internal.h"

#include "base/assert.h"
#include "base/bits.h"
#include "base/break.h"
#include "base/checked.h"
#include "base/report.h"

#define PC_LOW_END     UINT64_C(0xa0000) /* display memory from here */
#define PC_LOW_BARRIER UINT64_C(0x100000)

enum mm_err mm_memmap_init_abi(struct mm_memmap *map, struct mm_mem_range *storage,
                               uint32_t capacity, unsigned phys_bits, const uint32_t *config)
{
    (void)config; /* refers to the configuration symbol; that it links is the check */
    if (map == NULL || (storage == NULL && capacity > 0) || phys_bits < 1 || phys_bits > 63)
        return MM_ERR_BAD_ARG;
    *map = (struct mm_memmap){
        .range = storage,
        .capacity = capacity,
        .phys_bits = phys_bits,
        .state = MM_MEMMAP_COLLECTING,
    };
    return MM_OK;
}

/* The end of [start, start + bytes), cut at 2^64 - 1; nothing exists up there. */
static uint64_t range_end(uint64_t start, uint64_t bytes)
{
    uint64_t end = UINT64_MAX;

    (void)mm_add_u64(start, bytes, &end);
    return end;
}

/* Grow to whole frames; both ends are at most 2^63. */
static void round_outwards(struct mm_memmap_change *change)
{
    change->start = mm_align_down(change->start, MM_FRAME_BYTES);
    (void)mm_align_up(change->end, MM_FRAME_BYTES, &change->end);
}

/* `bytes` of a range do not exist: usable ones are counted, others are strange. */
static void note_beyond(struct mm_memmap *map, uint64_t start, uint64_t bytes, unsigned type)
{
    if (bytes == 0)
        return;
    if (type != MM_MEM_USABLE)
        mm_report_firmware("range beyond the physical width ignored", "mm_memmap_add", map, start,
                           bytes);
    else if (!mm_add_u64(map->dropped_bytes, bytes, &map->dropped_bytes))
        map->dropped_bytes = UINT64_MAX;
}

enum mm_err mm_memmap_add(struct mm_memmap *map, mm_phys_t start, uint64_t bytes,
                          enum mm_mem_type type)
{
    uint64_t limit, end;
    enum mm_err err;
    struct mm_memmap_change change = {.how = MM_MEMMAP_RAISE, .use = MM_USE_FREE};

    if (map == NULL || (unsigned)type == MM_MEM_NONE || (unsigned)type > MM_MEM_BAD)
        return MM_ERR_BAD_ARG;
    if (map->state != MM_MEMMAP_COLLECTING)
        return MM_ERR_BUSY;
    limit = mm_memmap_limit(map);
    end = range_end(start.raw, bytes);
    change.start = start.raw;
    change.end = mm_min_u64(end, limit);
    change.type = (uint8_t)type;
    if (change.start < change.end) {
        if (!mm_mem_type_is_lent(type))
            round_outwards(&change);
        err = mm_memmap_apply(map, &change);
        if (err != MM_OK)
            return err;
    }
    if (end > limit) {
        limit = mm_max_u64(limit, start.raw);
        note_beyond(map, limit, end - limit, type);
    }
    return MM_OK;
}

/* A frame belongs to the node of its first byte: rounding both ends up tiles exactly. */
enum mm_err mm_memmap_set_node(struct mm_memmap *map, mm_phys_t start, uint64_t bytes,
                               unsigned node)
{
    uint64_t limit;
    struct mm_memmap_change change = {.how = MM_MEMMAP_SET_NODE};

    if (map == NULL || node >= MM_NODES_MAX)
        return MM_ERR_BAD_ARG;
    if (map->state != MM_MEMMAP_COLLECTING)
        return MM_ERR_BUSY;
    limit = mm_memmap_limit(map);
    change.start = mm_min_u64(start.raw, limit);
    change.end = mm_min_u64(range_end(start.raw, bytes), limit);
    change.node = (uint16_t)node;
    (void)mm_align_up(change.start, MM_FRAME_BYTES, &change.start);
    (void)mm_align_up(change.end, MM_FRAME_BYTES, &change.end);
    return change.start < change.end ? mm_memmap_apply(map, &change) : MM_OK;
}

static bool overlaps_early(const struct mm_memmap *map, const struct mm_memmap_change *change)
{
    for (uint32_t i = 0; i < map->count; i++) {
        const struct mm_mem_range *range = &map->range[i];

        if (range->use == MM_USE_EARLY && range->start.raw < change->end &&
            mm_mem_range_end(range) > change->start)
            return true;
    }
    return false;
}

/* Check and round a reservation that is not empty. */
static enum mm_err reservation(const struct mm_memmap *map, uint64_t start, uint64_t bytes,
                               enum mm_mem_use use, struct mm_memmap_change *out)
{
    struct mm_memmap_change change = {.how = MM_MEMMAP_RAISE, .type = MM_MEM_NONE};

    change.start = start;
    if (!mm_add_u64(start, bytes, &change.end) || change.end > mm_memmap_limit(map))
        return MM_ERR_BAD_ARG;
    change.use = (uint8_t)use;
    round_outwards(&change);
    if (overlaps_early(map, &change))
        return MM_ERR_BUSY;
    *out = change;
    return MM_OK;
}

static bool is_open(const struct mm_memmap *map)
{
    return map->state == MM_MEMMAP_COLLECTING || map->state == MM_MEMMAP_FINISHED;
}

enum mm_err mm_memmap_reserve(struct mm_memmap *map, mm_phys_t start, uint64_t bytes,
                              enum mm_mem_use use)
{
    struct mm_memmap_change change;
    enum mm_err err;

    if (map == NULL || (unsigned)use == MM_USE_FREE || use == MM_USE_EARLY ||
        (unsigned)use > MM_USE_KEEP)
        return MM_ERR_BAD_ARG;
    if (!is_open(map))
        return MM_ERR_BUSY;
    if (bytes == 0)
        return MM_OK;
    err = reservation(map, start.raw, bytes, use, &change);
    if (err != MM_OK || MM_BREAK_IGNORE_RESERVATION)
        return err;
    return mm_memmap_apply(map, &change);
}

/* Both ranges or none. They are one where they touch. */
enum mm_err mm_memmap_reserve_pc(struct mm_memmap *map, mm_phys_t ebda)
{
    uint64_t high = ebda.raw != 0 ? ebda.raw : PC_LOW_END;
    struct mm_memmap_change change[2];
    uint32_t count = 2;
    enum mm_err err;

    if (map == NULL || high > PC_LOW_END)
        return MM_ERR_BAD_ARG;
    if (!is_open(map))
        return MM_ERR_BUSY;
    err = reservation(map, 0, MM_FRAME_BYTES, MM_USE_KEEP, &change[0]);
    if (err == MM_OK)
        err = reservation(map, high, PC_LOW_BARRIER - high, MM_USE_KEEP, &change[1]);
    if (err != MM_OK || MM_BREAK_IGNORE_RESERVATION)
        return err;
    if (change[1].start <= change[0].end) {
        change[0].end = change[1].end;
        count = 1;
    }
    return mm_memmap_apply_all(map, change, count);
}

enum mm_err mm_memmap_close(struct mm_memmap *map)
{
    if (map->state != MM_MEMMAP_FINISHED)
        return MM_ERR_BUSY;
    map->state = MM_MEMMAP_CLOSED;
    return MM_OK;
}

enum mm_err mm_memmap_find(const struct mm_memmap *map, mm_phys_t phys, struct mm_mem_range *out)
{
    uint32_t low = 0, high; /* the range is in [low, high) if it is anywhere */

    if (map == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    high = map->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct mm_mem_range *range = &map->range[middle];

        if (phys.raw < range->start.raw) {
            high = middle;
        } else if (phys.raw - range->start.raw >= range->bytes) {
            low = middle + 1;
        } else {
            *out = *range;
            return MM_OK;
        }
    }
    return MM_ERR_NOT_FOUND;
}
