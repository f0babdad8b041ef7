/*
 * region.c - which chunk holds a frame.
 *
 * Problem     Each free asks it, without a lock; RAM has holes of any size, and more may be added
 *             while others look.
 * Idea        Regions known at init are sorted. The address space is cut into at most 1,024
 *             sections: where all of one lies in a region, a frame's chunk is one addition
 *             (mm_chunk_of()); else its table narrows the bisection. Regions that come later are
 *             appended and searched one by one; the count is published after the entry.
 * Invariants  R1 regions do not overlap; those known at init are sorted
 *             R2 two regions may share a 2 MiB piece; each has a chunk of its own for it
 *             R3 an entry below region_count never changes
 * Locking     None for readers; add_lock for the only writer (add.c).
 * Cost        O(1) in all but contrived maps; 8 KiB for the table.
 * Rejected    One table of chunks from zero to the highest address: a machine with RAM at 1 TiB
 *             would pay for the hole.
 */
#include "pmm/pmm_internal.h"

const struct mm_pmm_region *mm_region_added(const struct mm_pmm *pmm, uint64_t frame)
{
    uint32_t count = mm_load_acquire_u32(&pmm->region_count); /* pairs with mm_pmm_add_ram() */

    for (uint32_t i = pmm->sorted_count; i < count; i++)
        if (pmm->region[i].start <= frame && frame < pmm->region[i].end)
            return &pmm->region[i];
    return NULL;
}

/* Number of the first sorted region among [low, high] that ends behind `frame`. */
static uint32_t bisect(const struct mm_pmm *pmm, uint32_t low, uint32_t high, uint64_t frame)
{
    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (pmm->region[middle].end > frame)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

const struct mm_pmm_region *mm_region_of(const struct mm_pmm *pmm, uint64_t frame)
{
    uint64_t section = frame >> pmm->section_shift;
    uint32_t i;

    if (section < pmm->section_count) {
        i = bisect(pmm, pmm->section[section].region, pmm->section[section + 1].region, frame);
        if (i < pmm->sorted_count && pmm->region[i].start <= frame)
            return &pmm->region[i];
    }
    return mm_region_added(pmm, frame);
}

bool mm_place_of(const struct mm_pmm *pmm, uint64_t frame, struct mm_place *out)
{
    const struct mm_pmm_region *region = mm_region_of(pmm, frame);

    if (region == NULL)
        return false;
    *out = (struct mm_place){region, mm_region_chunk(region, frame),
                             (unsigned)(frame % MM_CHUNK_FRAMES)};
    return true;
}

struct mm_place mm_place_that_exists(const struct mm_pmm *pmm, uint64_t frame)
{
    struct mm_place place = {NULL, 0, 0};
    bool found = mm_place_of(pmm, frame, &place);

    MM_ASSERT2(found, frame, 0);
    return place;
}

const struct mm_pmm_region *mm_region_from(const struct mm_pmm *pmm, uint64_t frame)
{
    uint32_t first = bisect(pmm, 0, pmm->sorted_count, frame);
    const struct mm_pmm_region *best = first < pmm->sorted_count ? &pmm->region[first] : NULL;
    uint32_t count = mm_load_acquire_u32(&pmm->region_count); /* pairs with mm_pmm_add_ram() */

    for (uint32_t i = pmm->sorted_count; i < count; i++) {
        const struct mm_pmm_region *region = &pmm->region[i];

        if (region->end > frame && (best == NULL || region->start < best->start))
            best = region;
    }
    return best;
}

#if MM_PMM_OWNERS
void mm_owner_set(const struct mm_pmm *pmm, uint64_t first, uint64_t count, enum mm_owner owner)
{
    uint64_t end = first + count;

    while (first < end) {
        const struct mm_pmm_region *region = mm_region_of(pmm, first);
        uint64_t part;

        MM_ASSERT2(region != NULL, first, end);
        part = mm_min_u64(end, region->end) - first;
        __builtin_memset(&pmm->owner[(uint64_t)mm_region_chunk(region, first) * MM_CHUNK_FRAMES +
                                     first % MM_CHUNK_FRAMES],
                         (int)owner, part);
        first += part;
    }
}
#endif

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
