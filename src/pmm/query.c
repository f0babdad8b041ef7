/*
 * query.c - what the PMM knows: of a frame, of runs, in numbers.
 *
 * Problem     Tests and debuggers compare by address, not by counter, so each frame must be
 *             answerable, and memory walkable, without a side table.
 * Idea        An allocation begins at the last frame at or below that is no tail, and goes on while
 *             there are tails. What is in stock is found by looking.
 * Invariants  Nothing is changed here but where free frames are: a walk begins by bringing them
 *             home.
 * Locking     All pools' locks for one hold per call; counts are read without.
 * Cost        As in mm/pmm.h.
 * Rejected    Keeping block counts per order up to date: every allocation would pay for statistics.
 */
#include "pmm/stock.h"

/* ---- allocations ---- */

/* First frame of [frame, end) that is no tail, or `end`; inside `region`. */
static uint64_t tails_end(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                          uint64_t frame, uint64_t end)
{
    while (frame < end) {
        uint64_t base = mm_align_down(frame, 64);
        uint64_t others = ~mm_chunk_tails(pmm, mm_region_chunk(region, frame),
                                          (unsigned)(frame % MM_CHUNK_FRAMES / 64)) &
                          ~mm_bit_mask(0, frame % 64);

        if (others != 0)
            return mm_min_u64(base + mm_lowest_bit(others), end);
        frame = base + 64;
    }
    return end;
}

/* Last frame at or below `frame` that is no tail; start - 1 if there is none in `region`. */
static uint64_t tails_start(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                            uint64_t frame)
{
    for (;;) {
        uint64_t base = mm_align_down(frame, 64);
        uint64_t others = ~mm_chunk_tails(pmm, mm_region_chunk(region, frame),
                                          (unsigned)(frame % MM_CHUNK_FRAMES / 64)) &
                          mm_bit_mask(0, frame % 64 + 1);

        if (others != 0 && base + mm_highest_bit(others) >= region->start)
            return base + mm_highest_bit(others);
        if (base <= region->start)
            return region->start - 1;
        frame = base - 1;
    }
}

struct mm_frames mm_allocation_of(const struct mm_pmm *pmm, uint64_t frame,
                                  const struct mm_pmm_region *within)
{
    const struct mm_pmm_region *region = mm_region_of(pmm, frame);
    uint64_t first = tails_start(pmm, region, frame);
    uint64_t end;

    while (first < region->start && within == NULL) {
        const struct mm_pmm_region *before = mm_region_of(pmm, first);

        if (before == NULL)
            break; /* damaged: a tail of nothing */
        region = before;
        first = tails_start(pmm, region, first);
    }
    region = mm_region_of(pmm, frame);
    end = tails_end(pmm, region, frame + 1, region->end);
    while (end == region->end && within == NULL) {
        const struct mm_pmm_region *behind = mm_region_of(pmm, end);

        if (behind == NULL)
            break;
        region = behind;
        end = tails_end(pmm, region, region->start, region->end);
    }
    return (struct mm_frames){first, end - first};
}

/* ---- one frame ---- */

static bool bit_of(uint64_t word, uint64_t frame)
{
    return (word >> (frame % 64) & 1) != 0;
}

/* State in the pools; what is in stock is allocated there. */
static enum mm_frame_state state_of(const struct mm_pmm *pmm, const struct mm_place *place)
{
    unsigned word = place->index / 64;

    if (!bit_of(mm_chunk_managed(pmm, place->chunk, word), place->index))
        return MM_FRAME_UNMANAGED;
    return bit_of(mm_chunk_bits(pmm, place->chunk)[word], place->index) ? MM_FRAME_FREE
                                                                        : MM_FRAME_ALLOCATED;
}

MM_COLD void mm_pmm_query(struct mm_pmm *pmm, mm_phys_t phys, struct mm_frame_info *out)
{
    uint64_t frame = mm_frame_of(phys);
    struct mm_pools_guard guard;
    struct mm_frames frames = {frame, 1};
    struct mm_place place;

    if (out == NULL)
        return;
    out->state = MM_FRAME_UNMANAGED;
    out->zone = mm_zone_of(frame);
    out->first = mm_frame_phys(frame);
    out->count_frames = 1;
    if (pmm == NULL || !mm_place_of(pmm, frame, &place))
        return;
    guard = mm_pools_lock(pmm);
    out->state = state_of(pmm, &place);
    if (out->state == MM_FRAME_ALLOCATED)
        frames = mm_allocation_of(pmm, frame, NULL);
    mm_pools_unlock(pmm, guard);
    if (out->state != MM_FRAME_ALLOCATED)
        return;
    if (frames.count == 1 && mm_stock_holds(pmm, mm_frame_phys(frame))) {
        out->state = MM_FRAME_FREE;
        return;
    }
    out->first = mm_frame_phys(frames.first);
    out->count_frames = frames.count;
}

/* ---- runs of frames ---- */

/* 64 frames of a chunk: those with the state. */
static uint64_t alike(const struct mm_pmm *pmm, uint32_t chunk, unsigned word,
                      enum mm_frame_state state)
{
    uint64_t managed = mm_chunk_managed(pmm, chunk, word);
    uint64_t free = mm_chunk_bits(pmm, chunk)[word];

    switch (state) {
    case MM_FRAME_FREE:
        return free;
    case MM_FRAME_ALLOCATED:
        return managed & ~free;
    case MM_FRAME_UNMANAGED:
        break;
    }
    return ~managed;
}

/* First frame of [frame, end) without the state, or `end`; inside `region`. */
static uint64_t alike_end(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                          uint64_t frame, uint64_t end, enum mm_frame_state state)
{
    while (frame < end) {
        uint64_t base = mm_align_down(frame, 64);
        uint32_t chunk = mm_region_chunk(region, frame);
        uint64_t others;

        if (frame % MM_CHUNK_FRAMES == 0 && state == MM_FRAME_FREE &&
            pmm->record[chunk].free == MM_CHUNK_FRAMES) {
            frame += MM_CHUNK_FRAMES;
            continue;
        }
        others = ~alike(pmm, chunk, (unsigned)(frame % MM_CHUNK_FRAMES / 64), state) &
                 ~mm_bit_mask(0, frame % 64);
        if (others != 0)
            return mm_min_u64(base + mm_lowest_bit(others), end);
        frame = base + 64;
    }
    return end;
}

/* End of the frames from `frame` on that have its state; gaps between regions are unmanaged. */
static uint64_t run_end(const struct mm_pmm *pmm, uint64_t frame, enum mm_frame_state *state)
{
    struct mm_place place;
    bool found = mm_place_of(pmm, frame, &place);

    *state = found ? state_of(pmm, &place) : MM_FRAME_UNMANAGED;
    while (found) {
        frame = alike_end(pmm, place.region, frame, place.region->end, *state);
        if (frame < place.region->end)
            return frame;
        found = mm_place_of(pmm, frame, &place);
    }
    return frame;
}

MM_COLD enum mm_err mm_pmm_walk(struct mm_pmm *pmm, mm_phys_t *cursor, struct mm_phys_range *run,
                                enum mm_frame_state *state)
{
    const struct mm_pmm_region *region;
    struct mm_pools_guard guard;
    enum mm_frame_state found = MM_FRAME_UNMANAGED;
    uint64_t frame, end;

    if (pmm == NULL || cursor == NULL || run == NULL || state == NULL)
        return MM_ERR_BAD_ARG;
    if (cursor->raw == 0)
        (void)mm_pmm_drain(pmm, 0);
    frame = end = mm_frame_of(*cursor);
    guard = mm_pools_lock(pmm);
    while (found == MM_FRAME_UNMANAGED && (region = mm_region_from(pmm, end)) != NULL) {
        frame = mm_max_u64(end, region->start);
        end = run_end(pmm, frame, &found);
    }
    mm_pools_unlock(pmm, guard);
    if (found == MM_FRAME_UNMANAGED)
        return MM_ERR_NOT_FOUND;
    *run = (struct mm_phys_range){mm_frame_phys(frame), (end - frame) * MM_FRAME_BYTES};
    *cursor = mm_frame_phys(end);
    *state = found;
    return MM_OK;
}

/* ---- numbers ---- */

uint64_t mm_pmm_free_frames(const struct mm_pmm *pmm)
{
    uint64_t free;

    if (pmm == NULL)
        return 0;
    free = mm_stock_count(pmm);
    for (uint32_t i = 0; i < mm_load_acquire_u32(&pmm->pool_count); i++)
        free += mm_load_relaxed_u64(&pmm->pool[i].free_frames);
    return free;
}

/* Depots, then pools: nothing moves between stock and pools but single frames. */
struct all_guard {
    mm_lock_guard_t first, rest;
    struct mm_pools_guard pools;
};

static struct all_guard all_lock(struct mm_pmm *pmm)
{
    struct all_guard guard = {.pools = {.count = 0}};

    for (uint32_t i = 0; i < pmm->node_count; i++) {
        guard.rest = mm_lock_take(&pmm->node[i].depot.lock);
        if (i == 0)
            guard.first = guard.rest;
    }
    guard.pools = mm_pools_lock(pmm);
    return guard;
}

static void all_unlock(struct mm_pmm *pmm, struct all_guard guard)
{
    mm_pools_unlock(pmm, guard.pools);
    for (uint32_t i = pmm->node_count; i-- > 0;)
        mm_lock_release(&pmm->node[i].depot.lock, i == 0 ? guard.first : guard.rest);
}

MM_COLD void mm_pmm_get_stats(struct mm_pmm *pmm, struct mm_pmm_stats *out)
{
    struct all_guard guard;

    if (out == NULL)
        return;
    *out = (struct mm_pmm_stats){.free_frames = 0};
    if (pmm == NULL)
        return;
    *out = (struct mm_pmm_stats){
        .meta_bytes = pmm->meta_bytes,
        .misuse_count = mm_load_relaxed_u64(&pmm->misuse_count),
        .side_frames = mm_side_frames(pmm),
    };
    guard = all_lock(pmm);
    for (uint32_t i = 0; i < guard.pools.count; i++) {
        const struct mm_pmm_pool *pool = &pmm->pool[i];

        out->managed_frames += pool->managed_frames;
        out->free_frames += pool->free_frames;
        out->zone_managed_frames[pool->zone] += pool->managed_frames;
        out->zone_free_frames[pool->zone] += pool->free_frames;
        out->whole_chunks += pool->whole_chunks;
    }
    for (uint32_t i = 0; i < pmm->cpu_count; i++) {
        out->magazine_frames += mm_load_relaxed_u32(&pmm->cpu[i].magazine[0].n) +
                                mm_load_relaxed_u32(&pmm->cpu[i].magazine[1].n);
        out->zeroed_frames += mm_load_relaxed_u32(&pmm->cpu[i].zeroed.n);
    }
    for (uint32_t i = 0; i < pmm->node_count; i++)
        out->depot_frames +=
            (uint64_t)mm_load_relaxed_u32(&pmm->node[i].depot.count) * pmm->magazine_frames;
    all_unlock(pmm, guard);
    out->free_frames += out->magazine_frames + out->zeroed_frames + out->depot_frames;
}

MM_COLD void mm_pmm_get_node_stats(struct mm_pmm *pmm, unsigned node, uint64_t *managed_frames,
                                   uint64_t *free_frames)
{
    if (managed_frames == NULL || free_frames == NULL)
        return;
    *managed_frames = *free_frames = 0;
    if (pmm == NULL)
        return;
    for (uint32_t i = 0; i < mm_load_acquire_u32(&pmm->pool_count); i++) {
        const struct mm_pmm_pool *pool = &pmm->pool[i];

        if (pmm->node[pool->node].id != node)
            continue;
        *managed_frames += mm_load_relaxed_u64(&pool->managed_frames);
        *free_frames += mm_load_relaxed_u64(&pool->free_frames);
    }
}

/* ---- blocks ---- */

#define CHUNKS_PER_HOLD 64u

/* Free blocks of one chunk, of orders 0 to 9. */
static void count_blocks(const uint64_t *bits, uint64_t *free_blocks)
{
    uint64_t whole = 0; /* bit w: word w is free, a block of order 6 */

    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++) {
        uint64_t blocks = bits[word];

        for (unsigned order = 0; order < 6; order++) {
            free_blocks[order] += mm_count_bits(blocks);
            blocks = mm_blocks_join(blocks, order);
        }
        whole |= blocks << word;
    }
    for (unsigned order = 6; order < MM_CHUNK_ORDER; order++) {
        free_blocks[order] += mm_count_bits(whole);
        whole = mm_blocks_join(whole, order - 6);
    }
    free_blocks[MM_CHUNK_ORDER] += whole;
}

/* A run of whole chunks ends; blocks of orders above 9 are counted as they fill up. */
struct run {
    uint64_t next;  /* number of the chunk that would go on with it */
    uint64_t count; /* chunks up to there */
};

static void count_large(struct run *run, uint64_t number, uint64_t *free_blocks)
{
    if (number != run->next)
        run->count = 0;
    run->next = number + 1;
    run->count++;
    for (unsigned order = MM_CHUNK_ORDER + 1; order <= MM_ORDER_MAX; order++) {
        uint64_t chunks = UINT64_C(1) << (order - MM_CHUNK_ORDER);

        if (run->count >= chunks && run->next % chunks == 0)
            free_blocks[order]++;
    }
}

static void count_pool(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint64_t *free_blocks)
{
    struct run run = {0, 0};

    for (uint32_t at = 0; at < pool->sets.chunks;) {
        uint32_t stop = (uint32_t)mm_min_u64(at + CHUNKS_PER_HOLD, pool->sets.chunks);
        mm_lock_guard_t guard = mm_lock_take(&pool->lock);

        for (; at < stop; at++) {
            uint32_t chunk = pool->chunk_first + at;

            if (pmm->record[chunk].free == 0)
                continue;
            count_blocks(mm_chunk_bits(pmm, chunk), free_blocks);
            if (pmm->record[chunk].free == MM_CHUNK_FRAMES)
                count_large(&run, pmm->record[chunk].number, free_blocks);
        }
        mm_lock_release(&pool->lock, guard);
    }
}

MM_COLD void mm_pmm_get_blocks(struct mm_pmm *pmm, struct mm_pmm_blocks *out)
{
    if (out == NULL)
        return;
    *out = (struct mm_pmm_blocks){.free_frames = 0};
    if (pmm == NULL)
        return;
    for (uint32_t i = 0; i < mm_load_acquire_u32(&pmm->pool_count); i++)
        count_pool(pmm, &pmm->pool[i], out->free_blocks);
    out->free_frames = out->free_blocks[0];
    for (unsigned order = 0; order <= MM_ORDER_MAX && out->free_frames != 0; order++)
        out->unusable_permille[order] =
            (uint16_t)(1000 - (out->free_blocks[order] << order) * 1000 / out->free_frames);
}
