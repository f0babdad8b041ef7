/*
 * pmm_search.c - find free frames that fit a request.
 *
 * Problem     Length, alignment, boundary, highest address, zone and node all at once, across
 *             chunks, without ever looking at a frame that is not RAM.
 * Idea        Walk from one free frame to the next possible start: round up to the alignment, step
 *             over the boundary, and ask for the first frame in the way; it is the next place to
 *             look. Zones are tried from the highest that is allowed, so that memory which few can
 *             use lasts. Runs that no single zone holds get a last search across zone borders.
 * Invariants  I1 the place moves up with each step, so each search ends
 *             I2 memory below 1 MiB is seen only by requests limited to it
 *             I3 Z2: a hint moves up only past chunks that a search of the whole zone found empty
 * Locking     mm_pmm.lock held.
 * Cost        O(chunks), O(1) chunks for single frames thanks to the hints. Unlucky runs (free
 *             frames all over, none together) look at each free frame once.
 * Rejected    First fit over the whole of memory: it spends zone DMA first.
 */
#include "base/lock.h"
#include "pmm/pmm_internal.h"

static bool node_fits(const struct mm_frame_want *want, const struct mm_pmm_chunk *chunk)
{
    switch (want->rule) {
    case MM_NODE_SAME:
        return chunk->node == want->node;
    case MM_NODE_OTHER:
        return chunk->node != want->node;
    case MM_NODE_ANY:
        break;
    }
    return true;
}

/* First free frame of [frame, end) in chunks that the request may use, or `end`. */
static uint64_t next_free(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                          const struct mm_frame_want *want, uint64_t frame, uint64_t end)
{
    while (frame < end) {
        const struct mm_pmm_chunk *chunk = mm_region_chunk(pmm, region, frame);
        uint64_t chunk_end = mm_align_down(frame, MM_CHUNK_FRAMES) + MM_CHUNK_FRAMES;

        if (chunk->count[MM_BITS_FREE] != 0 && node_fits(want, chunk)) {
            uint64_t stop = mm_min_u64(chunk_end, end);
            uint64_t found = mm_region_next(pmm, region, MM_SET_FREE, frame, stop);

            if (found < stop)
                return found;
        }
        frame = chunk_end;
    }
    return end;
}

/* First frame of [frame, end) that the request cannot use, or `end`. */
static uint64_t next_obstacle(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                              const struct mm_frame_want *want, uint64_t frame, uint64_t end)
{
    while (frame < end) {
        uint64_t chunk_end = mm_align_down(frame, MM_CHUNK_FRAMES) + MM_CHUNK_FRAMES;
        uint64_t stop = mm_min_u64(chunk_end, end);
        uint64_t found;

        if (!node_fits(want, mm_region_chunk(pmm, region, frame)))
            return frame;
        found = mm_region_next(pmm, region, MM_SET_NOT_FREE, frame, stop);
        if (found < stop)
            return found;
        frame = stop;
    }
    return end;
}

/* The first start >= frame that alignment and boundary allow. A multiple of the boundary is aligned
 * if the alignment is smaller; if it is greater, an aligned start cannot cross. */
static uint64_t next_start(const struct mm_frame_want *want, uint64_t frame)
{
    uint64_t start = mm_align_down(frame + want->align - 1, want->align);

    if (want->boundary != 0 && start % want->boundary + want->count > want->boundary)
        start = mm_align_down(start, want->boundary) + want->boundary;
    return start;
}

static bool find_in_region(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                           const struct mm_frame_want *want, uint64_t frame, uint64_t end,
                           uint64_t *out)
{
    while (frame < end) {
        uint64_t start = next_start(want, next_free(pmm, region, want, frame, end));

        if (start >= end || want->count > end - start)
            return false;
        frame = next_obstacle(pmm, region, want, start, start + want->count);
        if (frame == start + want->count) {
            *out = start;
            return true;
        }
    }
    return false;
}

/* Search [low, high), which may have holes. */
static bool find_between(const struct mm_pmm *pmm, const struct mm_frame_want *want, uint64_t low,
                         uint64_t high, uint64_t *out)
{
    for (uint32_t i = mm_region_behind(pmm, low); i < pmm->region_count; i++) {
        const struct mm_pmm_region *region = &pmm->region[i];

        if (region->start >= high)
            return false;
        if (find_in_region(pmm, region, want, mm_max_u64(low, region->start),
                           mm_min_u64(high, region->end), out))
            return true;
    }
    return false;
}

/* The part of `zone` in which the request may search; false if it may not, or in vain. */
static bool zone_window(const struct mm_pmm *pmm, const struct mm_frame_want *want, unsigned zone,
                        uint64_t *low, uint64_t *high)
{
    if (want->low != (zone == MM_ZONE_LOW) || pmm->zone_free[zone] < want->count)
        return false;
    *low = mm_max_u64(mm_zone_start(zone), pmm->zone_hint[zone] * MM_CHUNK_FRAMES);
    *low = mm_max_u64(*low, want->start);
    *high = mm_min_u64(mm_zone_start(zone + 1), want->end);
    return *low < *high;
}

/* True if a search for this passes over no free frame of its zone. */
static bool is_plain(const struct mm_frame_want *want)
{
    return want->count == 1 && want->align == 1 && want->start == 0 && want->rule == MM_NODE_ANY;
}

bool mm_frames_find(struct mm_pmm *pmm, const struct mm_frame_want *want, uint64_t *out)
{
    uint64_t low, high;

    MM_ASSERT_LOCKED(&pmm->lock);
    for (unsigned zone = MM_ZONES; zone-- > 0;) {
        if (!zone_window(pmm, want, zone, &low, &high) || !find_between(pmm, want, low, high, out))
            continue;
        if (is_plain(want))
            pmm->zone_hint[zone] = *out / MM_CHUNK_FRAMES;
        return true;
    }
    return want->count > 1 && want->count <= pmm->free_frames && !want->low &&
           find_between(pmm, want, mm_max_u64(mm_zone_start(MM_ZONE_DMA), want->start), want->end,
                        out);
}

bool mm_frames_next_single(const struct mm_pmm *pmm, const struct mm_frame_want *want,
                           struct mm_single_cursor *cursor, uint64_t *out)
{
    uint64_t low, high;

    MM_ASSERT(want->count == 1 && want->align == 1);
    for (; cursor->zone_count > 0; cursor->zone_count--, cursor->frame = 0) {
        if (!zone_window(pmm, want, cursor->zone_count - 1, &low, &high) ||
            !find_between(pmm, want, mm_max_u64(low, cursor->frame), high, out))
            continue;
        cursor->frame = *out + 1;
        return true;
    }
    return false;
}
