/*
 * take.c - blocks and runs: from the pools, and if they have none, with what can be brought home.
 *
 * Problem     A request may be served by several pools, each with its lock and with frames that it
 *             must keep; and what is missing may lie in somebody's stock.
 * Idea        One pool after another, nearest first, and one search and transition under its lock.
 *             Then, for runs, all of them together. Then the same again after the stocks within
 *             reach have been emptied, and, if the caller may wait, everybody's.
 * Invariants  A request that fails has changed nothing but where free frames are.
 * Locking     One pool's lock, or all; none while stocks are drained.
 * Cost        As in mm/pmm.h.
 * Rejected    Draining first: it would empty the magazines for nothing nearly always.
 */
#include "pmm/stock.h"

/* ---- one frame from the pools ---- */

bool mm_pool_single(struct mm_pmm *pmm, const struct mm_frame_want *want, struct mm_pmm_pool *pool,
                    mm_phys_t *out)
{
    mm_lock_guard_t guard;
    bool found = false;

    if (mm_pool_open(pool, want) == 0)
        return false;
    guard = mm_lock_take(&pool->lock);
    if (mm_pool_open(pool, want) != 0)
        found = mm_pool_take_singles(pmm, pool, 1, out) == 1;
    mm_lock_release(&pool->lock, guard);
    return found;
}

/* ---- blocks and runs from the pools ---- */

/* Frames of [first, end) that are of `pool`. */
static uint64_t frames_of(const struct mm_pmm *pmm, const struct mm_pmm_pool *pool, uint64_t first,
                          uint64_t end)
{
    uint64_t frames = 0;

    while (first < end) {
        const struct mm_pmm_region *region = mm_region_of(pmm, first);
        uint64_t stop = mm_min_u64(end, region->end);

        frames += mm_pool_of(pmm, region) == pool ? stop - first : 0;
        first = stop;
    }
    return frames;
}

/* Does each pool of [first, first + count) keep what it must? It may be met twice. */
static bool leaves_floors(const struct mm_pmm *pmm, const struct mm_frame_want *want,
                          uint64_t first)
{
    uint64_t end = first + want->count;

    for (uint64_t at = first; at < end;) {
        const struct mm_pmm_region *region = mm_region_of(pmm, at);
        const struct mm_pmm_pool *pool = mm_pool_of(pmm, region);

        if (frames_of(pmm, pool, first, end) > mm_pool_open(pool, want))
            return false;
        at = mm_min_u64(end, region->end);
    }
    return true;
}

static bool find(const struct mm_pmm *pmm, const struct mm_frame_want *want,
                 const struct mm_pmm_pool *only, uint64_t *first)
{
    return mm_frames_find(pmm, want, only, first) &&
           (only != NULL || leaves_floors(pmm, want, *first));
}

/* A search, and its frames become an allocation. Tables for the ends of a run come from another
 * frame of `pool` if there are none. */
static bool find_and_take(struct mm_pmm *pmm, const struct mm_frame_want *want,
                          const struct mm_pmm_pool *only, struct mm_pmm_pool *pool, uint64_t *first)
{
    unsigned tables = 0;
    bool found = find(pmm, want, only, first);

    if (found && mm_frames_need_tables(pmm, *first, want->count)) {
        if (!mm_side_reserve(pmm, pool, 2, *first, want->count))
            return false;
        tables = 2;
        found = find(pmm, want, only, first); /* with a frame less above the floors */
    }
    if (found)
        tables -= mm_frames_take(pmm, *first, want->count);
    mm_side_release(pmm, tables);
    return found;
}

static bool pool_take(struct mm_pmm *pmm, const struct mm_frame_want *want,
                      struct mm_pmm_pool *pool, uint64_t *first)
{
    mm_phys_t frame;

    if (!want->plain)
        return find_and_take(pmm, want, pool, pool, first);
    if (want->count == 1) {
        if (mm_pool_take_singles(pmm, pool, 1, &frame) == 0)
            return false;
        *first = mm_frame_of(frame);
        return true;
    }
    if (want->order < MM_CHUNK_ORDER) {
        if (mm_pool_take_small(pmm, pool, want->order, want->count, first))
            return true;
    } else if (want->count == UINT64_C(1) << want->order &&
               mm_pool_take_large(pmm, pool, want->order, first)) {
        return true;
    }
    return want->align == 1 && find_and_take(pmm, want, pool, pool, first); /* runs: anywhere */
}

/* Runs across zones and nodes: the lowest that fits, or none if that breaks a floor. Blocks only
 * where one may lie in two pools: nodes meet within 2 MiB, or memory was added to its neighbour. */
static MM_COLD bool take_across(struct mm_pmm *pmm, const struct mm_frame_want *want,
                                uint64_t *first)
{
    struct mm_pools_guard guard;
    uint64_t open = 0;
    bool found = false;

    if (mm_load_relaxed_u32(&pmm->pool_count) == 1 || want->count == 1 || want->low ||
        (want->plain && want->align == want->count && mm_load_relaxed_u8(&pmm->odd_borders) == 0))
        return false;
    guard = mm_pools_lock(pmm);
    for (uint32_t i = 0; i < guard.count; i++)
        if (pmm->pool[i].zone != MM_ZONE_LOW && mm_zone_start(pmm->pool[i].zone) < want->end)
            open += mm_pool_open(&pmm->pool[i], want);
    for (uint32_t i = guard.count; want->count <= open && !found && i-- > 0;)
        if (pmm->pool[i].free_frames != 0) /* it may have to give a frame for tables */
            found = find_and_take(pmm, want, NULL, &pmm->pool[i], first);
    mm_pools_unlock(pmm, guard);
    return found;
}

static bool pools_take(struct mm_pmm *pmm, const struct mm_frame_want *want, uint64_t *first)
{
    struct mm_pool_walk walk = mm_pool_walk(pmm, want);
    struct mm_pmm_pool *pool;
    bool found = false;

    while (!found && (pool = mm_pool_next(&walk)) != NULL) {
        mm_lock_guard_t guard;

        if (mm_pool_open(pool, want) < want->count)
            continue;
        guard = mm_lock_take(&pool->lock);
        found = mm_pool_open(pool, want) >= want->count && pool_take(pmm, want, pool, first);
        mm_lock_release(&pool->lock, guard);
    }
    return found || take_across(pmm, want, first);
}

/* Might the stock, brought home, complete what is wanted? A large block needs a chunk that lacks no
 * more than is in stock; else each failure would cost a drain. */
static bool draining_helps(const struct mm_pmm *pmm, const struct mm_frame_want *want)
{
    uint64_t stock = mm_stock_near(pmm);
    uint32_t nearly;

    if (stock == 0 || !want->plain || want->order < MM_CHUNK_ORDER || want->align < want->count ||
        stock >= MM_CHUNK_FRAMES)
        return true; /* with nothing in stock: it may have come home meanwhile */
    nearly =
        (1u << (MM_SET_EMPTIEST + 1)) - (1u << mm_set_by_free(MM_CHUNK_FRAMES - (unsigned)stock));
    for (uint32_t i = 0; i < mm_load_acquire_u32(&pmm->pool_count); i++)
        if ((mm_load_relaxed_u32(&pmm->pool[i].sets.not_empty) & nearly) != 0)
            return true;
    return false;
}

/* From the pools; then from the pools with what can be brought home. Not in the guard. */
bool mm_take_or_drain(struct mm_pmm *pmm, const struct mm_frame_want *want, bool try_hard,
                      uint64_t *first, struct mm_stock_faults *faults)
{
    bool found = pools_take(pmm, want, first);

    if (!found && draining_helps(pmm, want)) {
        mm_drain_near(pmm, faults);
        found = pools_take(pmm, want, first);
    }
    if (found || !try_hard)
        return found;
    mm_stock_close(pmm);
    (void)mm_drain_all(pmm, true, faults);
    found = pools_take(pmm, want, first);
    mm_stock_open(pmm);
    return found;
}
