/*
 * pmm_query.c - what the PMM knows: of a frame, of runs, in numbers.
 *
 * Problem     Tests and debuggers compare by address, not by counter, so each frame must be
 *             answerable, and memory walkable, without a side table.
 * Idea        An allocation begins at the last `first` bit at or below the frame and ends at the
 *             next one, a free frame or an unmanaged one.
 * Invariants  Nothing is changed here.
 * Locking     mm_pmm.lock, one hold per call; mm_pmm_free_frames() takes none.
 * Cost        As in mm/pmm.h.
 * Rejected    Keeping block counts per order up to date: every allocation would pay for statistics.
 */
#include "base/lock.h"
#include "pmm/pmm_internal.h"

/* The first frame of the allocation that holds `frame`. Bounded by the region, whatever the bits
 * say. */
static uint64_t allocation_first(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                                 uint64_t frame)
{
    for (uint64_t at = frame;;) {
        uint64_t base = mm_align_down(at, MM_CHUNK_FRAMES);
        unsigned index =
            mm_chunk_last_first(mm_region_chunk(pmm, region, at), (unsigned)(at % MM_CHUNK_FRAMES));

        if (index < MM_CHUNK_FRAMES)
            return base + index;
        if (base == region->start)
            return frame;
        at = base - 1;
    }
}

static void query_managed(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                          uint64_t frame, struct mm_frame_info *out)
{
    uint64_t first;

    if (mm_region_has(pmm, region, MM_BITS_FREE, frame)) {
        out->state = MM_FRAME_FREE;
        return;
    }
    first = allocation_first(pmm, region, frame);
    out->state = MM_FRAME_ALLOCATED;
    out->first = mm_frame_phys(first);
    out->count_frames =
        mm_region_next(pmm, region, MM_SET_ALLOCATION_END, frame + 1, region->end) - first;
}

void mm_pmm_query(struct mm_pmm *pmm, mm_phys_t phys, struct mm_frame_info *out)
{
    const struct mm_pmm_region *region;
    uint64_t frame = mm_frame_of(phys);
    mm_lock_guard_t guard;

    if (out == NULL)
        return;
    *out = (struct mm_frame_info){
        .state = MM_FRAME_UNMANAGED,
        .zone = mm_zone_of(frame),
        .first = mm_frame_phys(frame),
        .count_frames = 1,
    };
    region = pmm != NULL ? mm_region_of(pmm, frame) : NULL;
    if (region == NULL)
        return;
    guard = mm_lock_take(&pmm->lock);
    if (mm_region_has(pmm, region, MM_BITS_MANAGED, frame))
        query_managed(pmm, region, frame, out);
    mm_lock_release(&pmm->lock, guard);
}

/* The first managed frame at or above `frame`; false if there is none. */
static bool next_managed(const struct mm_pmm *pmm, uint64_t *frame,
                         const struct mm_pmm_region **region)
{
    for (uint32_t i = mm_region_behind(pmm, *frame); i < pmm->region_count; i++) {
        *region = &pmm->region[i];
        *frame = mm_region_next(pmm, *region, MM_SET_MANAGED, mm_max_u64(*frame, (*region)->start),
                                (*region)->end);
        if (*frame < (*region)->end)
            return true;
    }
    return false;
}

enum mm_err mm_pmm_walk(struct mm_pmm *pmm, mm_phys_t *cursor, struct mm_phys_range *run,
                        enum mm_frame_state *state)
{
    const struct mm_pmm_region *region;
    mm_lock_guard_t guard;
    uint64_t frame;
    bool found;

    if (pmm == NULL || cursor == NULL || run == NULL || state == NULL)
        return MM_ERR_BAD_ARG;
    frame = mm_frame_of(*cursor);
    guard = mm_lock_take(&pmm->lock);
    found = next_managed(pmm, &frame, &region);
    if (found) {
        bool free = mm_region_has(pmm, region, MM_BITS_FREE, frame);
        uint64_t end = mm_region_next(pmm, region, free ? MM_SET_NOT_FREE : MM_SET_NOT_ALLOCATED,
                                      frame, region->end);

        *state = free ? MM_FRAME_FREE : MM_FRAME_ALLOCATED;
        *run = (struct mm_phys_range){mm_frame_phys(frame), (end - frame) * MM_FRAME_BYTES};
        *cursor = mm_frame_phys(end);
    }
    mm_lock_release(&pmm->lock, guard);
    return found ? MM_OK : MM_ERR_NOT_FOUND;
}

/* Blocks of orders 10 to 18 that end with the chunk numbered `chunk`, the last of `whole` chunks
 * in a row that are free. */
static void count_large_blocks(uint64_t chunk, uint64_t whole, uint64_t *free_blocks)
{
    for (unsigned order = 10; order <= MM_ORDER_MAX; order++) {
        uint64_t chunks = UINT64_C(1) << (order - 9);

        if (whole < chunks || !mm_is_aligned(chunk + 1, chunks))
            return;
        free_blocks[order]++;
    }
}

static void count_region_blocks(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                                uint64_t *free_blocks)
{
    uint64_t whole = 0;

    for (uint64_t frame = region->start; frame < region->end; frame += MM_CHUNK_FRAMES) {
        bool free = mm_chunk_count_blocks(mm_region_chunk(pmm, region, frame), free_blocks);

        whole = free ? whole + 1 : 0;
        count_large_blocks(frame / MM_CHUNK_FRAMES, whole, free_blocks);
    }
}

void mm_pmm_get_stats(struct mm_pmm *pmm, struct mm_pmm_stats *out)
{
    mm_lock_guard_t guard;

    if (out == NULL)
        return;
    *out = (struct mm_pmm_stats)MM_ZERO;
    if (pmm == NULL)
        return;
    guard = mm_lock_take(&pmm->lock);
    *out = (struct mm_pmm_stats){
        .managed_frames = pmm->managed_frames,
        .free_frames = pmm->free_frames,
        .meta_bytes = pmm->meta_bytes,
        .misuse_count = pmm->misuse_count,
    };
    for (unsigned zone = 0; zone < MM_ZONES; zone++) {
        out->zone_managed_frames[zone] = pmm->zone_managed[zone];
        out->zone_free_frames[zone] = pmm->zone_free[zone];
    }
    for (uint32_t i = 0; i < pmm->region_count; i++)
        count_region_blocks(pmm, &pmm->region[i], out->free_blocks);
    mm_lock_release(&pmm->lock, guard);
}

uint64_t mm_pmm_free_frames(const struct mm_pmm *pmm)
{
    return pmm != NULL ? mm_load_relaxed_u64(&pmm->free_frames) : 0;
}
