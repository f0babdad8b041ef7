/*
 * take.c - the early allocator.
 *
 * Problem     Page tables and the PMM's own metadata need memory before there is a PMM.
 * Idea        A use in the map is all the bookkeeping: taking marks the top of a free range as
 *             EARLY, giving marks it as free again; what is taken as KEEP is nobody's for ever, so
 *             that not even a wrong free can hand it out. From the top, because low memory is what
 *             devices and trampolines can use.
 * Invariants  Only type USABLE with use FREE becomes EARLY or KEEP here, and only EARLY becomes free.
 * Locking     The caller serialises.
 * Cost        O(ranges x pieces of the window). A hundred calls during boot, not more.
 * Rejected    A bump pointer: it cannot give back, nor serve requests with different limits.
 */
#include "memmap/memmap_internal.h"

#include "base/bits.h"
#include "base/checked.h"
#include "base/report.h"

#define LOW_END UINT64_C(0x100000)

/* What a request comes to: frames between two addresses. */
struct wanted {
    uint64_t bytes;
    uint64_t align;
    uint64_t lowest;
    uint64_t last; /* inclusive: may be 2^64 - 1 */
    uint8_t use;
    const struct mm_window *window;
};

static enum mm_err request_read(const struct mm_memmap_request *request, struct wanted *out)
{
    uint64_t highest = request->highest.raw != 0 ? request->highest.raw : UINT64_MAX;

    if (request->bytes == 0 ||
        (request->use != 0 && request->use != MM_USE_EARLY && request->use != MM_USE_KEEP) ||
        (request->align_bytes != 0 && !mm_is_power_of_two(request->align_bytes)))
        return MM_ERR_BAD_ARG;
    if (!mm_align_up(request->bytes, MM_FRAME_BYTES, &out->bytes))
        return MM_ERR_NO_MEMORY;
    out->align = mm_max_u64(request->align_bytes, MM_FRAME_BYTES);
    out->lowest = highest < LOW_END ? 0 : LOW_END;
    out->last = highest;
    out->window = request->window;
    out->use = request->use == MM_USE_KEEP ? MM_USE_KEEP : MM_USE_EARLY;
    return MM_OK;
}

/* The topmost place for it in [first, last]. */
static bool place_between(const struct wanted *wanted, uint64_t first, uint64_t last, uint64_t *out)
{
    uint64_t end, start;

    if (first > last)
        return false;
    /* last + 1 == 0 at 2^64: frames that end there are given up for one simple rule. */
    end = mm_align_down(last == UINT64_MAX ? last : last + 1, MM_FRAME_BYTES);
    if (end < wanted->bytes)
        return false;
    start = mm_align_down(end - wanted->bytes, wanted->align);
    if (start < first)
        return false;
    *out = start;
    return true;
}

/* The topmost place in `range`, inside one piece of the window if there is one. */
static bool place_in(const struct wanted *wanted, const struct mm_mem_range *range, uint64_t *out)
{
    uint64_t first = mm_max_u64(range->start.raw, wanted->lowest);
    uint64_t last = mm_min_u64(mm_mem_range_end(range) - 1, wanted->last);

    if (range->type != MM_MEM_USABLE || range->use != MM_USE_FREE)
        return false;
    if (wanted->window == NULL)
        return place_between(wanted, first, last, out);
    for (uint32_t i = wanted->window->count; i-- > 0;) {
        const struct mm_window_piece *piece = &wanted->window->piece[i];
        uint64_t piece_last = mm_range_last(piece->first.raw, piece->bytes);

        if (place_between(wanted, mm_max_u64(first, piece->first.raw), mm_min_u64(last, piece_last),
                          out))
            return true;
    }
    return false;
}

enum mm_err mm_memmap_take(struct mm_memmap *map, const struct mm_memmap_request *request,
                           mm_phys_t *out)
{
    struct mm_memmap_change change = {.how = MM_MEMMAP_SET_USE};
    struct wanted wanted;
    enum mm_err err;
    uint32_t i;

    if (map == NULL || request == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    err = request_read(request, &wanted);
    if (err != MM_OK)
        return err;
    change.use = wanted.use;
    i = map->count;
    if (!mm_memmap_is_finished(map))
        return MM_ERR_BUSY;
    do {
        if (i == 0)
            return MM_ERR_NO_MEMORY;
        i--;
    } while (!place_in(&wanted, &map->range[i], &change.start));
    change.end = change.start + wanted.bytes;
    err = mm_memmap_apply(map, &change);
    if (err == MM_OK)
        *out = mm_phys(change.start);
    return err;
}

/* Is every byte of [start, end) in use EARLY? */
static bool all_early(const struct mm_memmap *map, uint64_t start, uint64_t end)
{
    for (uint32_t i = 0; i < map->count && start < end; i++) {
        const struct mm_mem_range *range = &map->range[i];

        if (mm_mem_range_end(range) <= start)
            continue;
        if (range->start.raw > start || range->use != MM_USE_EARLY)
            return false;
        start = mm_mem_range_end(range);
    }
    return start >= end;
}

enum mm_err mm_memmap_give(struct mm_memmap *map, mm_phys_t start, uint64_t bytes)
{
    struct mm_memmap_change change = {.how = MM_MEMMAP_SET_USE, .use = MM_USE_FREE};
    const char *wrong = NULL;

    if (map == NULL)
        return mm_report_misuse(MM_ERR_BAD_ARG, "no map given", "mm_memmap_give", NULL, start.raw,
                                MM_CALLER);
    if (!mm_memmap_is_finished(map))
        return MM_ERR_BUSY;
    change.start = start.raw;
    if (!mm_is_aligned(start.raw | bytes, MM_FRAME_BYTES))
        wrong = "early memory given back unaligned";
    else if (bytes == 0 || !mm_add_u64(start.raw, bytes, &change.end) ||
             !all_early(map, change.start, change.end))
        wrong = "memory given back that was not taken";
    if (wrong != NULL)
        return mm_report_misuse(MM_ERR_MISUSE, wrong, "mm_memmap_give", map, start.raw, MM_CALLER);
    return mm_memmap_apply(map, &change);
}
