/*
 * pmm_region.c - frames of the whole machine: regions of chunks, and what happens to ranges.
 *
 * Problem     RAM has holes of any size; allocations may cross chunks; zone counts must follow each
 *             change.
 * Idea        A region is found by bisection and its chunks by subtraction. Each transition of a
 *             range is one function that changes bits, counts and hints together, so no other file
 *             can change one without the others.
 * Invariants  All of pmm_internal.h hold before and after each mm_frames_*()
 * Locking     mm_pmm.lock held, except during init.
 * Cost        O(log regions + frames / 64).
 * Rejected    One table from zero to the highest address: a machine with RAM at 1 TiB would pay for
 *             the hole.
 */
#include "base/lock.h"
#include "pmm/pmm_internal.h"

uint32_t mm_region_behind(const struct mm_pmm *pmm, uint64_t frame)
{
    uint32_t low = 0;
    uint32_t high = pmm->region_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (pmm->region[middle].end > frame)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

const struct mm_pmm_region *mm_region_of(const struct mm_pmm *pmm, uint64_t frame)
{
    uint32_t i = mm_region_behind(pmm, frame);

    return i < pmm->region_count && pmm->region[i].start <= frame ? &pmm->region[i] : NULL;
}

struct mm_pmm_chunk *mm_region_chunk(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                                     uint64_t frame)
{
    return &pmm->chunk[region->chunk_idx + (frame - region->start) / MM_CHUNK_FRAMES];
}

bool mm_region_has(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                   enum mm_chunk_bits which, uint64_t frame)
{
    return mm_chunk_has(mm_region_chunk(pmm, region, frame), which,
                        (unsigned)(frame % MM_CHUNK_FRAMES));
}

uint64_t mm_region_next(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                        enum mm_frame_set set, uint64_t frame, uint64_t end)
{
    while (frame < end) {
        uint64_t base = mm_align_down(frame, MM_CHUNK_FRAMES);
        unsigned index = mm_chunk_next(mm_region_chunk(pmm, region, frame), set,
                                       (unsigned)(frame % MM_CHUNK_FRAMES));

        if (index < MM_CHUNK_FRAMES)
            return mm_min_u64(base + index, end);
        frame = base + MM_CHUNK_FRAMES;
    }
    return end;
}

/* The part of [frame, end) that lies in the chunk of `frame`. */
static unsigned part_in_chunk(uint64_t frame, uint64_t end)
{
    return (unsigned)mm_min_u64(MM_CHUNK_FRAMES - frame % MM_CHUNK_FRAMES, end - frame);
}

void mm_region_fill(struct mm_pmm *pmm, const struct mm_pmm_region *region,
                    enum mm_chunk_bits which, uint64_t frame, uint64_t end)
{
    for (unsigned count; frame < end; frame += count) {
        count = part_in_chunk(frame, end);
        mm_chunk_fill(mm_region_chunk(pmm, region, frame), which,
                      (unsigned)(frame % MM_CHUNK_FRAMES), count);
    }
}

void mm_region_clear(struct mm_pmm *pmm, const struct mm_pmm_region *region,
                     enum mm_chunk_bits which, uint64_t frame, uint64_t end)
{
    for (unsigned count; frame < end; frame += count) {
        count = part_in_chunk(frame, end);
        mm_chunk_clear(mm_region_chunk(pmm, region, frame), which,
                       (unsigned)(frame % MM_CHUNK_FRAMES), count);
    }
}

uint64_t mm_zone_start(unsigned zone)
{
    static const uint64_t start[MM_ZONES + 1] = {0, UINT64_C(1) << (20 - MM_FRAME_SHIFT),
                                                 UINT64_C(1) << (24 - MM_FRAME_SHIFT),
                                                 UINT64_C(1) << (32 - MM_FRAME_SHIFT), UINT64_MAX};

    return start[zone];
}

enum mm_zone mm_zone_of(uint64_t frame)
{
    unsigned zone = MM_ZONES - 1;

    while (frame < mm_zone_start(zone))
        zone--;
    return (enum mm_zone)zone;
}

/* Frames of [first, end) in `zone`. */
static uint64_t part_in_zone(unsigned zone, uint64_t first, uint64_t end)
{
    uint64_t from = mm_max_u64(first, mm_zone_start(zone));
    uint64_t to = mm_min_u64(end, mm_zone_start(zone + 1));

    return from < to ? to - from : 0;
}

static void count_managed(struct mm_pmm *pmm, uint64_t first, uint64_t end)
{
    pmm->managed_frames += end - first;
    for (unsigned zone = 0; zone < MM_ZONES; zone++)
        pmm->zone_managed[zone] += part_in_zone(zone, first, end);
}

/* The total is read without the lock by mm_pmm_free_frames(). */
static void set_free_frames(struct mm_pmm *pmm, uint64_t frames)
{
    mm_store_relaxed_u64(&pmm->free_frames, frames);
}

static void count_free(struct mm_pmm *pmm, uint64_t first, uint64_t end)
{
    set_free_frames(pmm, pmm->free_frames + (end - first));
    for (unsigned zone = 0; zone < MM_ZONES; zone++) {
        uint64_t from = mm_max_u64(first, mm_zone_start(zone));
        uint64_t frames = part_in_zone(zone, first, end);

        if (frames == 0)
            continue;
        pmm->zone_free[zone] += frames;
        pmm->zone_hint[zone] = mm_min_u64(pmm->zone_hint[zone], from / MM_CHUNK_FRAMES);
    }
}

static void count_taken(struct mm_pmm *pmm, uint64_t first, uint64_t end)
{
    set_free_frames(pmm, pmm->free_frames - (end - first));
    for (unsigned zone = 0; zone < MM_ZONES; zone++)
        pmm->zone_free[zone] -= part_in_zone(zone, first, end);
}

void mm_frames_take(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    const struct mm_pmm_region *region = mm_region_of(pmm, first);

    MM_ASSERT_LOCKED(&pmm->lock);
    MM_ASSERT2(region != NULL && count <= region->end - first, first, count);
    mm_region_clear(pmm, region, MM_BITS_FREE, first, first + count);
    mm_region_fill(pmm, region, MM_BITS_FIRST, first, first + 1);
    count_taken(pmm, first, first + count);
}

void mm_frames_give(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    const struct mm_pmm_region *region = mm_region_of(pmm, first);

    MM_ASSERT_LOCKED(&pmm->lock);
    MM_ASSERT2(region != NULL && count <= region->end - first, first, count);
    mm_region_clear(pmm, region, MM_BITS_FIRST, first, first + 1);
    mm_region_fill(pmm, region, MM_BITS_FREE, first, first + count);
    count_free(pmm, first, first + count);
}

void mm_frames_add(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    const struct mm_pmm_region *region = mm_region_of(pmm, first);

    mm_region_fill(pmm, region, MM_BITS_MANAGED, first, first + count);
    mm_region_fill(pmm, region, MM_BITS_FREE, first, first + count);
    count_managed(pmm, first, first + count);
    count_free(pmm, first, first + count);
}

void mm_frames_add_taken(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    const struct mm_pmm_region *region = mm_region_of(pmm, first);

    mm_region_fill(pmm, region, MM_BITS_MANAGED, first, first + count);
    mm_region_fill(pmm, region, MM_BITS_FIRST, first, first + count);
    count_managed(pmm, first, first + count);
}
