/*
 * zero.c - zeroed frames, and a stock of them.
 *
 * Problem     Zeroing a frame that the cache does not hold costs fifty times as much as taking it.
 * Idea        The idle loop zeroes frames ahead, one at a time; requests for zeroed frames take
 *             from that stock first. It is free memory like the magazines': drained with them, and
 *             used when nothing else is left.
 * Invariants  Z1 a frame in the stock is zero: nobody writes there but this file, before it enters
 *             Z2 a frame is zeroed outside of guard and locks; meanwhile it counts as allocated
 * Locking     The guard of this CPU.
 * Cost        Taking: as from a magazine.
 * Rejected    A bit per frame, "known to be zero": it must be cleared by every owner.
 */
#include "pmm/zero.h"

#include "base/report.h"
#include "mm_frame.h"
#include "pmm/stock.h"

static enum mm_err frame_zero(const struct mm_window *window, uint64_t frame)
{
    void *pointer;
    enum mm_err err = mm_frame_map(window, mm_frame_phys(frame), &pointer);

    if (err != MM_OK)
        return err;
    __builtin_memset(pointer, 0, MM_FRAME_BYTES);
    mm_frame_unmap(window, pointer);
    return MM_OK;
}

enum mm_err mm_frames_zero(const struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    enum mm_err err = MM_OK;

    for (uint64_t i = 0; i < count && err == MM_OK; i++)
        err = frame_zero(pmm->window, first + i);
    return err;
}

bool mm_zeroed_take(struct mm_pmm *pmm, mm_phys_t *out)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    mm_guard_t guard = mm_pin(pmm);
    struct mm_pmm_cpu *cpu = mm_stock_mine(pmm);
    bool found = false;

    if (cpu != NULL && mm_stock_take(cpu)) {
        uint32_t n = cpu->zeroed.n;

        found = n != 0;
        if (found) {
            MM_RACE_READ(&cpu->zeroed.slot[n - 1], sizeof cpu->zeroed.slot[0]);
            *out = cpu->zeroed.slot[n - 1];
            mm_store_relaxed_u32(&cpu->zeroed.n, n - 1);
        }
        mm_stock_leave(pmm, cpu, &faults);
    }
    mm_unpin(pmm, guard);
    mm_stock_report(pmm, &faults, "mm_pmm_alloc", NULL);
    return found;
}

/* Room in this CPU's stock, and enough memory to keep one? */
static enum mm_err wanted(struct mm_pmm *pmm, uint8_t *node)
{
    mm_guard_t guard = mm_pin(pmm);
    const struct mm_pmm_cpu *cpu = mm_stock_mine(pmm);
    enum mm_err err = MM_OK;

    if (cpu == NULL || mm_load_relaxed_u32(&cpu->zeroed.n) == MM_ZEROED_FRAMES)
        err = MM_ERR_EXISTS;
    else if (mm_load_relaxed_u32(&pmm->mode) == MM_MODE_CLOSED)
        err = MM_ERR_NO_MEMORY;
    *node = cpu != NULL ? cpu->node : 0;
    mm_unpin(pmm, guard);
    return err;
}

/* Has nobody retired the frame meanwhile? Asked in the guard: a later one drains this CPU. */
static bool is_good(const struct mm_pmm *pmm, uint64_t frame)
{
    struct mm_place place = mm_place_that_exists(pmm, frame);
    struct mm_pmm_pool *pool = mm_pool_of(pmm, place.region);
    mm_lock_guard_t guard;
    bool good;

    if (!mm_kind_has_holes(mm_kind_of(pmm, place.chunk)))
        return true;
    guard = mm_lock_take(&pool->lock);
    good = mm_chunk_is_good(pmm, &place);
    mm_lock_release(&pool->lock, guard);
    return good;
}

/* Into the stock, if there is still room and it is open. */
static bool zeroed_put(struct mm_pmm *pmm, mm_phys_t frame, struct mm_stock_faults *faults)
{
    mm_guard_t guard = mm_pin(pmm);
    struct mm_pmm_cpu *cpu = mm_stock_mine(pmm);
    bool put = false;

    if (cpu != NULL && mm_stock_take(cpu)) {
        uint32_t n = cpu->zeroed.n;

        put = n < MM_ZEROED_FRAMES && mm_load_relaxed_u32(&pmm->mode) != MM_MODE_CLOSED &&
              is_good(pmm, mm_frame_of(frame));
        if (put) {
            MM_RACE_WRITE(&cpu->zeroed.slot[n], sizeof frame);
            cpu->zeroed.slot[n] = frame;
            mm_store_relaxed_u32(&cpu->zeroed.n, n + 1);
        }
        mm_stock_leave(pmm, cpu, faults);
    }
    mm_unpin(pmm, guard);
    return put;
}

/* A frame of the pools from which this CPU's stock comes: others keep theirs. */
static bool stock_single(struct mm_pmm *pmm, uint8_t node, mm_phys_t *out)
{
    const struct mm_frame_want want = {
        .count = 1, .align = 1, .end = UINT64_MAX, .plain = true, .node = node, .node_only = true};
    struct mm_pool_walk walk = mm_pool_walk(pmm, &want);
    struct mm_pmm_pool *pool;

    while ((pool = mm_pool_next(&walk)) != NULL)
        if (pool->zone >= MM_ZONE_DMA32 && mm_pool_single(pmm, &want, pool, out))
            return true;
    return false;
}

MM_COLD enum mm_err mm_pmm_zero_ahead(struct mm_pmm *pmm)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    uint8_t node;
    mm_phys_t frame;
    enum mm_err err;

    if (pmm == NULL)
        return MM_ERR_BAD_ARG;
    if (pmm->window == NULL)
        return MM_ERR_UNSUPPORTED;
    err = wanted(pmm, &node);
    if (err != MM_OK)
        return err;
    if (!stock_single(pmm, node, &frame))
        return MM_ERR_NO_MEMORY;
    err = mm_frames_zero(pmm, mm_frame_of(frame), 1);
    if (err != MM_OK || !zeroed_put(pmm, frame, &faults)) {
        mm_stock_give(pmm, &frame, 1, &faults);
        if (err == MM_OK)
            err = MM_ERR_BUSY;
    }
    mm_mode_update(pmm);
    mm_stock_report(pmm, &faults, "mm_pmm_zero_ahead", MM_CALLER);
    mm_watch_zones(pmm);
    return err;
}
