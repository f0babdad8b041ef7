/*
 * search.c - which pools a request may use, and runs that fit any constraint.
 *
 * Problem     Length, alignment, boundary, lowest and highest address, zone and node all at once,
 *             across chunks and pools, without ever looking at a frame that is not there.
 * Idea        Pools are tried nearest node first, highest zone first, zone DMA of all nodes last,
 *             so that memory which few can use lasts; a node that was asked for comes first with
 *             all its zones. Requests that a pool's sets cannot answer walk
 *             from one free frame to the next possible start: round up to the alignment, step over
 *             the boundary, and ask for the first frame in the way; it is the next place to look.
 * Invariants  I1 the place moves up with each step, so each search ends
 *             I2 memory below 1 MiB is seen only by requests limited to it
 * Locking     The pool's lock, or those of all.
 * Cost        O(RAM / 2 MiB); unlucky runs (free frames all over, none together) look at each free
 *             frame once.
 * Rejected    First fit over the whole of memory: it spends zone DMA first.
 */
#include "pmm/pmm_internal.h"

/* ---- the pools of a request ---- */

struct mm_pool_walk mm_pool_walk(const struct mm_pmm *pmm, const struct mm_frame_want *want)
{
    return (struct mm_pool_walk){.pmm = pmm, .want = want, .step = 0, .next = MM_POOL_NONE};
}

/* Step s of the walk: which node of the order, which zone. False behind the last. */
static bool step_is(const struct mm_pool_walk *walk, unsigned *node, enum mm_zone *zone)
{
    unsigned nodes = walk->want->node_only ? 1 : walk->pmm->node_count;

    if (walk->want->low) {
        *node = walk->step;
        *zone = MM_ZONE_LOW;
        return walk->step < nodes;
    }
    if (walk->want->node_asked) {
        *node = walk->step / 3;
        *zone = (enum mm_zone)(MM_ZONE_HIGH - walk->step % 3);
        return *node < nodes;
    }
    if (walk->step < 2 * nodes) {
        *node = walk->step / 2;
        *zone = walk->step % 2 == 0 ? MM_ZONE_HIGH : MM_ZONE_DMA32;
        return true;
    }
    *node = walk->step - 2 * nodes;
    *zone = MM_ZONE_DMA;
    return *node < nodes;
}

struct mm_pmm_pool *mm_pool_next(struct mm_pool_walk *walk)
{
    const struct mm_pmm *pmm = walk->pmm;
    enum mm_zone zone;
    unsigned node;

    while (walk->next == MM_POOL_NONE) {
        if (!step_is(walk, &node, &zone))
            return NULL;
        walk->step++;
        if (mm_zone_start(zone) < walk->want->end) {
            node = pmm->node[walk->want->node].order[node];
            walk->next = mm_load_acquire_u16(&pmm->node[node].pool[zone]); /* mm_pmm_add_ram() */
        }
    }
    {
        struct mm_pmm_pool *pool = &pmm->pool[walk->next];

        walk->next = mm_load_acquire_u16(&pool->next); /* pairs with mm_pmm_add_ram() */
        return pool;
    }
}

uint64_t mm_pool_open(const struct mm_pmm_pool *pool, const struct mm_frame_want *want)
{
    uint64_t free = mm_load_relaxed_u64(&pool->free_frames);
    uint64_t kept = 0;

    if (!want->reserve) {
        kept = pool->reserve_frames;
        if (want->end > mm_zone_start(pool->zone + 1u)) /* it could use a higher zone */
            kept += pool->floor_frames;
    }
    return free > kept ? free - kept : 0;
}

/* ---- runs ---- */

struct search {
    const struct mm_pmm *pmm;
    const struct mm_frame_want *want;
    const struct mm_pmm_pool *pool; /* NULL = all but zone LOW, and other nodes if not node_only */
};

static bool allowed(const struct search *s, const struct mm_pmm_region *region)
{
    const struct mm_pmm_pool *pool = mm_pool_of(s->pmm, region);

    if (s->pool != NULL)
        return pool == s->pool;
    return pool->zone != MM_ZONE_LOW && (!s->want->node_only || pool->node == s->want->node);
}

/* First free frame of [frame, end) of one region, or `end`. */
static uint64_t free_in_region(const struct search *s, const struct mm_pmm_region *region,
                               uint64_t frame, uint64_t end)
{
    while (frame < end) {
        uint64_t base = mm_align_down(frame, MM_CHUNK_FRAMES);
        uint32_t chunk = mm_region_chunk(region, frame);

        if (s->pmm->record[chunk].free != 0) {
            unsigned index = mm_bits_next(mm_chunk_bits(s->pmm, chunk), true,
                                          (unsigned)(frame % MM_CHUNK_FRAMES));

            if (index < MM_CHUNK_FRAMES)
                return mm_min_u64(base + index, end);
        }
        frame = base + MM_CHUNK_FRAMES;
    }
    return end;
}

/* First free frame of [frame, end) that the request may use, or `end`. */
static uint64_t next_free(const struct search *s, uint64_t frame, uint64_t end)
{
    const struct mm_pmm_region *region = mm_region_from(s->pmm, frame);

    for (; region != NULL && region->start < end; region = mm_region_from(s->pmm, region->end)) {
        uint64_t stop = mm_min_u64(region->end, end);
        uint64_t found;

        if (!allowed(s, region))
            continue;
        found = free_in_region(s, region, mm_max_u64(frame, region->start), stop);
        if (found < stop)
            return found;
    }
    return end;
}

/* First frame of [frame, end) that the request cannot use, or `end`. */
static uint64_t next_obstacle(const struct search *s, uint64_t frame, uint64_t end)
{
    while (frame < end) {
        const struct mm_pmm_region *region = mm_region_of(s->pmm, frame);
        uint64_t stop;

        if (region == NULL || !allowed(s, region))
            return frame;
        stop = mm_min_u64(region->end, end);
        while (frame < stop) {
            uint64_t base = mm_align_down(frame, MM_CHUNK_FRAMES);
            unsigned index = mm_bits_next(mm_chunk_bits(s->pmm, mm_region_chunk(region, frame)),
                                          false, (unsigned)(frame % MM_CHUNK_FRAMES));

            if (index < MM_CHUNK_FRAMES && base + index < stop)
                return base + index;
            frame = base + MM_CHUNK_FRAMES;
        }
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

/* May a run begin here? Not with the last frame of a region, if it goes on in another (P6). */
static bool begins_well(const struct search *s, uint64_t start)
{
    return s->want->count == 1 || mm_region_of(s->pmm, start)->end - start >= 2;
}

/* Addresses are below 2^63 and alignments at most 2^63 bytes: no sum of frame numbers wraps. */
bool mm_frames_find(const struct mm_pmm *pmm, const struct mm_frame_want *want,
                    const struct mm_pmm_pool *pool, uint64_t *out)
{
    const struct search s = {pmm, want, pool};
    uint64_t end = mm_min_u64(want->end, UINT64_MAX >> MM_FRAME_SHIFT);
    uint64_t frame = pool != NULL ? mm_max_u64(want->start, mm_chunk_frame(pmm, pool->chunk_first))
                                  : want->start;

    while (frame < end) {
        uint64_t start = next_start(want, next_free(&s, frame, end));

        if (start >= end || want->count > end - start)
            return false;
        frame = next_obstacle(&s, start, start + want->count);
        if (frame < start + want->count) {
            frame = mm_max_u64(frame, start + 1);
            continue;
        }
        if (begins_well(&s, start)) {
            *out = start;
            return true;
        }
        frame = start + 1;
    }
    return false;
}
