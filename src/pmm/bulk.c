/*
 * bulk.c - many single frames in one call.
 *
 * Problem     Page-table trees, populate and network rings want frames by the hundred; one lock
 *             hold for each is most of the cost.
 * Idea        Up to 64 frames per lock hold, straight between the caller's array and the pools.
 * Invariants  I1 all or none
 *             I2 each frame that comes back is checked like a single one; a bad one is skipped
 * Locking     One pool's lock at a time.
 * Cost        About 1 ns a frame from one chunk; random frames back: a cache line of bits each.
 * Rejected    Through the magazines: the frames would be copied twice.
 */
#include "base/break.h"
#include "base/report.h"
#include "pmm/stock.h"
#include "pmm/zero.h"

/* Up to `count` frames of one pool. */
static size_t take_from_pool(struct mm_pmm *pmm, const struct mm_frame_want *want,
                             struct mm_pmm_pool *pool, size_t count, mm_phys_t *out)
{
    size_t got = 0;
    bool more = true;

    while (more && got < count && mm_pool_open(pool, want) != 0) {
        mm_lock_guard_t guard = mm_lock_take(&pool->lock);
        uint64_t most =
            mm_min_u64(mm_pool_open(pool, want), mm_min_u64(count - got, MM_BATCH_FRAMES));
        uint64_t first;

        if (want->plain) {
            size_t batch = mm_pool_take_singles(pmm, pool, (unsigned)most, out + got);

            got += batch;
            more = batch != 0;
        } else {
            more = most != 0 && mm_frames_find(pmm, want, pool, &first);
            if (more) {
                (void)mm_frames_take(pmm, first, 1);
                out[got++] = mm_frame_phys(first);
            }
        }
        mm_lock_release(&pool->lock, guard);
    }
    return got;
}

static size_t take_from_pools(struct mm_pmm *pmm, const struct mm_frame_want *want, size_t count,
                              mm_phys_t *out)
{
    struct mm_pool_walk walk = mm_pool_walk(pmm, want);
    struct mm_pmm_pool *pool;
    size_t got = 0;

    while (got < count && (pool = mm_pool_next(&walk)) != NULL)
        got += take_from_pool(pmm, want, pool, count - got, out + got);
    return got;
}

static enum mm_err take_all(struct mm_pmm *pmm, const struct mm_frame_request *request,
                            const struct mm_frame_want *want, size_t count, mm_phys_t *out,
                            struct mm_stock_faults *faults)
{
    size_t got = take_from_pools(pmm, want, count, out);
    enum mm_err err = MM_OK;

    if (got < count) {
        mm_drain_near(pmm, faults);
        got += take_from_pools(pmm, want, count - got, out + got);
    }
    if (got < count && (request->flags & MM_FRAME_TRY_HARD) != 0) {
        mm_stock_close(pmm);
        (void)mm_drain_all(pmm, true, faults);
        got += take_from_pools(pmm, want, count - got, out + got);
        mm_stock_open(pmm);
    }
    if (got < count)
        err = MM_ERR_NO_MEMORY;
    for (size_t i = 0; err == MM_OK && i < count && (request->flags & MM_FRAME_ZERO) != 0; i++)
        err = mm_frames_zero(pmm, mm_frame_of(out[i]), 1);
    if (err != MM_OK)
        mm_stock_give(pmm, out, got, faults);
    return err;
}

/* More than this there never are: a wild count must not fill the caller's memory. */
static uint64_t managed_frames(const struct mm_pmm *pmm)
{
    uint64_t frames = 0;

    for (uint32_t i = 0; i < mm_load_acquire_u32(&pmm->pool_count); i++)
        frames += mm_load_relaxed_u64(&pmm->pool[i].managed_frames);
    return frames;
}

enum mm_err mm_pmm_alloc_bulk(struct mm_pmm *pmm, const struct mm_frame_request *request,
                              size_t count, mm_phys_t *out)
{
    static const struct mm_frame_request any = MM_ZERO;
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    struct mm_frame_want want;
    enum mm_err err;

    if (request == NULL)
        request = &any;
    if (pmm == NULL || (out == NULL && count != 0) || request->order != 0 ||
        request->count_frames != 0 || request->align_bytes != 0 || request->boundary_bytes != 0 ||
        (request->flags & MM_FRAME_NO_WAIT) != 0)
        return MM_ERR_BAD_ARG;
    err = mm_request_check(pmm, request);
    if (err != MM_OK)
        return err;
    if (!mm_want_of(pmm, request, &want) || count > managed_frames(pmm))
        return count == 0 ? MM_OK : MM_ERR_NO_MEMORY;
    err = take_all(pmm, request, &want, count, out, &faults);
    for (size_t i = 0; MM_PMM_OWNERS && err == MM_OK && i < count; i++)
        mm_owner_set_one(pmm, out[i], MM_OWNER_CALLER);
    mm_mode_update(pmm);
    mm_stock_report(pmm, &faults, "mm_pmm_alloc_bulk", MM_CALLER);
    mm_watch_zones(pmm);
    return err;
}

/* Frames from `frames` on that may go to the pools as they are; in builds without a byte per frame
 * the pools see all that can be seen. */
static size_t good_frames(const struct mm_pmm *pmm, const mm_phys_t *frames, size_t count)
{
    size_t good = 0;

    if (!MM_PMM_OWNERS)
        return count;
    for (; good < count; good++) {
        uint64_t frame = mm_frame_of(frames[good]);
        uint32_t chunk = mm_chunk_of(pmm, frame);

        if (!mm_is_aligned(frames[good].raw, MM_FRAME_BYTES) || chunk == MM_CHUNK_NONE ||
            (mm_kind_of(pmm, chunk) & MM_KIND_CACHED) == 0 || !mm_owner_gives_up(pmm, chunk, frame))
            break;
    }
    return good;
}

enum mm_err mm_pmm_free_bulk(struct mm_pmm *pmm, const mm_phys_t *frames, size_t count)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    enum mm_err err = MM_OK;

    if (pmm == NULL || (frames == NULL && count != 0))
        return mm_report_misuse(MM_ERR_BAD_ARG, "no PMM or no frames given", "mm_pmm_free_bulk",
                                pmm, 0, MM_CALLER);
    for (size_t at = 0; at < count;) {
        size_t good = MM_BREAK_LEAK_FRAME ? 0 : good_frames(pmm, frames + at, count - at);

        mm_stock_give(pmm, frames + at, good, &faults);
        at += good;
        if (at == count)
            break;
        if (mm_pmm_give_back(pmm, frames[at], 1, "mm_pmm_free_bulk", MM_CALLER) != MM_OK)
            err = MM_ERR_MISUSE;
        at++;
    }
    mm_mode_update(pmm);
    mm_stock_report(pmm, &faults, "mm_pmm_free_bulk", MM_CALLER);
    mm_watch_zones(pmm);
    return faults.count != 0 ? MM_ERR_MISUSE : err;
}
