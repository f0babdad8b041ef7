/*
 * pmm.c - take frames, give frames back.
 *
 * Problem     Callers ask with seven constraints at once, and give back what they never had.
 * Idea        A request is validated and turned into frames before the lock is taken; under the
 *             lock there is one search and one transition. A free is compared with what the bitmaps
 *             say of the allocation and refused unless it is exactly that.
 * Invariants  I1 a call that fails has changed nothing
 *             I2 reports are made after the lock is released
 * Locking     mm_pmm.lock. Blocks and runs are zeroed after it is released, since they are the
 *             caller's by then; bulk frames under it, while they are still free: only so can
 *             `out` stay untouched when one of them lies outside the window.
 * Cost        One lock hold per call, one per frame in mm_pmm_free_bulk() to keep each short.
 * Rejected    Freeing by address alone: a wrong length is the caller's bug, and it would go unseen.
 */
#include "mm/pmm.h"

#include "base/break.h"
#include "base/checked.h"
#include "base/lock.h"
#include "base/report.h"
#include "mm_frame.h"
#include "pmm/pmm_internal.h"

#define FLAGS_KNOWN                                                                              \
    (MM_FRAME_ZERO | MM_FRAME_NODE | MM_FRAME_NODE_ONLY | MM_FRAME_TRY_HARD | MM_FRAME_RESERVE | \
     MM_FRAME_NO_WAIT)
#define FLAGS_NOT_BUILT (MM_FRAME_RESERVE | MM_FRAME_NO_WAIT)

static bool power_or_zero(uint64_t x)
{
    return x == 0 || mm_is_power_of_two(x);
}

static uint64_t frames_wanted(const struct mm_frame_request *request)
{
    return request->count_frames != 0 ? request->count_frames : UINT64_C(1) << request->order;
}

static enum mm_err request_check(const struct mm_pmm *pmm, const struct mm_frame_request *request)
{
    if (request->order > MM_ORDER_MAX || (request->order != 0 && request->count_frames != 0) ||
        !power_or_zero(request->align_bytes) || !power_or_zero(request->boundary_bytes) ||
        (request->boundary_bytes != 0 &&
         request->boundary_bytes / MM_FRAME_BYTES < frames_wanted(request)))
        return MM_ERR_BAD_ARG;
    if ((request->flags & ~FLAGS_KNOWN) != 0 || request->mobility > MM_MOBILITY_RECLAIM ||
        ((request->flags & MM_FRAME_NODE) != 0 && request->node >= MM_NODES_MAX) ||
        (request->flags & (MM_FRAME_NODE | MM_FRAME_NODE_ONLY)) == MM_FRAME_NODE_ONLY)
        return MM_ERR_BAD_ARG;
    if ((request->flags & FLAGS_NOT_BUILT) != 0 || request->order > MM_PMM_ORDER_BUILT ||
        ((request->flags & MM_FRAME_ZERO) != 0 && pmm->window == NULL))
        return MM_ERR_UNSUPPORTED;
    return MM_OK;
}

static struct mm_frame_want want_of(const struct mm_frame_request *request)
{
    uint64_t natural = UINT64_C(1) << request->order;
    uint64_t highest = request->highest.raw;
    bool limited = highest != 0 && highest != UINT64_MAX;

    return (struct mm_frame_want){
        .count = frames_wanted(request),
        .align = mm_max_u64(natural, request->align_bytes / MM_FRAME_BYTES),
        .boundary = request->boundary_bytes / MM_FRAME_BYTES,
        .start = mm_frame_of(request->lowest) + (request->lowest.raw % MM_FRAME_BYTES != 0 ? 1 : 0),
        .end = limited ? (highest + 1) / MM_FRAME_BYTES : UINT64_MAX,
        .low = limited && highest <= MM_HIGHEST_1M.raw,
        .node = request->node,
        .rule = (request->flags & MM_FRAME_NODE) != 0 ? MM_NODE_SAME : MM_NODE_ANY,
    };
}

/* ---- zeroing ---- */

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

static enum mm_err frames_zero(const struct mm_window *window, uint64_t first, uint64_t count)
{
    enum mm_err err = MM_OK;

    for (uint64_t i = 0; i < count && err == MM_OK; i++)
        err = frame_zero(window, first + i);
    return err;
}

/* ---- blocks and runs ---- */

/* Find and take; on the node that is preferred, then on any if the request allows it. */
static bool take(struct mm_pmm *pmm, const struct mm_frame_request *request, uint64_t *first)
{
    struct mm_frame_want want = want_of(request);
    mm_lock_guard_t guard = mm_lock_take(&pmm->lock);
    bool found = mm_frames_find(pmm, &want, first);

    if (!found && want.rule == MM_NODE_SAME && (request->flags & MM_FRAME_NODE_ONLY) == 0) {
        want.rule = MM_NODE_ANY;
        found = mm_frames_find(pmm, &want, first);
    }
    if (found)
        mm_frames_take(pmm, *first, want.count);
    mm_lock_release(&pmm->lock, guard);
    return found;
}

/* Undo of take(). */
static void untake(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    mm_lock_guard_t guard = mm_lock_take(&pmm->lock);

    mm_frames_give(pmm, first, count);
    mm_lock_release(&pmm->lock, guard);
}

enum mm_err mm_pmm_alloc(struct mm_pmm *pmm, const struct mm_frame_request *request, mm_phys_t *out)
{
    enum mm_err err;
    uint64_t first;

    if (pmm == NULL || request == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    err = request_check(pmm, request);
    if (err != MM_OK)
        return err;
    if (!take(pmm, request, &first))
        return MM_ERR_NO_MEMORY;
    if ((request->flags & MM_FRAME_ZERO) != 0)
        err = frames_zero(pmm->window, first, frames_wanted(request));
    if (err != MM_OK) {
        untake(pmm, first, frames_wanted(request));
        return err;
    }
    *out = mm_frame_phys(first);
    return MM_OK;
}

enum mm_err mm_pmm_alloc_frame(struct mm_pmm *pmm, mm_phys_t *out)
{
    static const struct mm_frame_request one = MM_ZERO;

    return mm_pmm_alloc(pmm, &one, out);
}

/* Does the allocation that begins at `frame` have exactly `count` frames? */
static bool allocation_is(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                          uint64_t frame, uint64_t count)
{
    uint64_t limit;

    if (count == 0 || count > region->end - frame)
        return false;
    limit = mm_min_u64(frame + count + 1, region->end);
    return mm_region_next(pmm, region, MM_SET_ALLOCATION_END, frame + 1, limit) == frame + count;
}

/* What is wrong with freeing `count` frames from `first`, or NULL; *held is how many the allocation
 * has, where that is what is wrong. */
static const char *free_fault(const struct mm_pmm *pmm, mm_phys_t first, uint64_t count,
                              uint64_t *held)
{
    uint64_t frame = mm_frame_of(first);
    const struct mm_pmm_region *region = mm_region_of(pmm, frame);

    *held = 0;
    if (!mm_is_aligned(first.raw, MM_FRAME_BYTES))
        return "freed address is not frame-aligned";
    if (region == NULL || !mm_region_has(pmm, region, MM_BITS_MANAGED, frame))
        return "freed frame is not managed";
    if (mm_region_has(pmm, region, MM_BITS_FREE, frame))
        return "freed frame is free already";
    if (!mm_region_has(pmm, region, MM_BITS_FIRST, frame))
        return "freed frame is not the first of its allocation";
    if (allocation_is(pmm, region, frame, count))
        return NULL;
    *held = mm_region_next(pmm, region, MM_SET_ALLOCATION_END, frame + 1, region->end) - frame;
    return "freed with a wrong number of frames";
}

/* The fault MM_BREAK_LEAK_FRAME: of every 16 freed frames one drops out of all bitmaps while the
 * totals go on counting it, so that only a comparison by address sees the loss. */
static void forget_sixteenth(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    uint64_t before = pmm->freed_frames;
    uint64_t lost = first + count - 1;
    const struct mm_pmm_region *region = mm_region_of(pmm, lost);

    pmm->freed_frames += count;
    if (before / 16 == pmm->freed_frames / 16)
        return;
    mm_region_clear(pmm, region, MM_BITS_FREE, lost, lost + 1);
    mm_region_clear(pmm, region, MM_BITS_MANAGED, lost, lost + 1);
}

enum mm_err mm_pmm_give_back(struct mm_pmm *pmm, mm_phys_t first, uint64_t count, const char *where,
                             const void *caller)
{
    mm_lock_guard_t guard;
    const char *fault;
    uint64_t held;

    if (pmm == NULL)
        return mm_report_misuse(MM_ERR_BAD_ARG, "no PMM given", where, NULL, first.raw, caller);
    guard = mm_lock_take(&pmm->lock);
    fault = free_fault(pmm, first, count, &held);
    if (fault == NULL) {
        mm_frames_give(pmm, mm_frame_of(first), count);
        if (MM_BREAK_LEAK_FRAME)
            forget_sixteenth(pmm, mm_frame_of(first), count);
    } else {
        pmm->misuse_count++;
    }
    mm_lock_release(&pmm->lock, guard);
    if (fault != NULL)
        return mm_report_misuse_of(MM_ERR_MISUSE, fault, where, pmm, first.raw,
                                   held != 0 ? count : 0, held, caller);
    return MM_OK;
}

enum mm_err mm_pmm_free(struct mm_pmm *pmm, mm_phys_t first, uint64_t count_frames)
{
    return mm_pmm_give_back(pmm, first, count_frames, "mm_pmm_free", MM_CALLER);
}

enum mm_err mm_pmm_free_frame(struct mm_pmm *pmm, mm_phys_t frame)
{
    return mm_pmm_give_back(pmm, frame, 1, "mm_pmm_free_frame", MM_CALLER);
}

/* ---- bulk ---- */

/* The free frames of a bulk request, one after another: of the node that is preferred, then of the
 * others. */
struct bulk {
    struct mm_frame_want want;
    struct mm_single_cursor cursor;
    bool node_only;
};

static struct bulk bulk_of(const struct mm_frame_request *request)
{
    return (struct bulk){
        .want = want_of(request),
        .cursor = {.zone_count = MM_ZONES},
        .node_only = (request->flags & MM_FRAME_NODE_ONLY) != 0,
    };
}

static bool bulk_next(const struct mm_pmm *pmm, struct bulk *bulk, uint64_t *frame)
{
    if (mm_frames_next_single(pmm, &bulk->want, &bulk->cursor, frame))
        return true;
    if (bulk->want.rule != MM_NODE_SAME || bulk->node_only)
        return false;
    bulk->want.rule = MM_NODE_OTHER;
    bulk->cursor = (struct mm_single_cursor){.zone_count = MM_ZONES};
    return mm_frames_next_single(pmm, &bulk->want, &bulk->cursor, frame);
}

/* Are there `count` frames? Zeroes them if that is asked for: they are free, nobody's. */
static enum mm_err bulk_prepare(const struct mm_pmm *pmm, const struct mm_frame_request *request,
                                size_t count)
{
    struct bulk bulk = bulk_of(request);
    enum mm_err err = MM_OK;
    uint64_t frame;

    if (count > pmm->free_frames)
        return MM_ERR_NO_MEMORY;
    for (size_t i = 0; i < count && err == MM_OK; i++) {
        if (!bulk_next(pmm, &bulk, &frame))
            return MM_ERR_NO_MEMORY;
        if ((request->flags & MM_FRAME_ZERO) != 0)
            err = frame_zero(pmm->window, frame);
    }
    return err;
}

/* Take the frames that bulk_prepare() saw; the lock has been held since. */
static void bulk_take(struct mm_pmm *pmm, const struct mm_frame_request *request, size_t count,
                      mm_phys_t *out)
{
    struct bulk bulk = bulk_of(request);
    uint64_t frame;

    for (size_t i = 0; i < count; i++) {
        bool found = bulk_next(pmm, &bulk, &frame);

        MM_ASSERT2(found, i, count);
        mm_frames_take(pmm, frame, 1);
        out[i] = mm_frame_phys(frame);
    }
}

enum mm_err mm_pmm_alloc_bulk(struct mm_pmm *pmm, const struct mm_frame_request *request,
                              size_t count, mm_phys_t *out)
{
    static const struct mm_frame_request any = MM_ZERO;
    mm_lock_guard_t guard;
    enum mm_err err;

    if (request == NULL)
        request = &any;
    if (request->order != 0 || request->count_frames != 0 || request->align_bytes != 0 ||
        request->boundary_bytes != 0 || pmm == NULL || (out == NULL && count != 0))
        return MM_ERR_BAD_ARG;
    err = request_check(pmm, request);
    if (err != MM_OK)
        return err;
    guard = mm_lock_take(&pmm->lock);
    err = bulk_prepare(pmm, request, count);
    if (err == MM_OK)
        bulk_take(pmm, request, count, out);
    mm_lock_release(&pmm->lock, guard);
    return err;
}

enum mm_err mm_pmm_free_bulk(struct mm_pmm *pmm, const mm_phys_t *frames, size_t count)
{
    enum mm_err err = MM_OK;

    if (pmm == NULL || (frames == NULL && count != 0))
        return mm_report_misuse(MM_ERR_BAD_ARG, "no PMM or no frames given", "mm_pmm_free_bulk",
                                pmm, 0, MM_CALLER);
    for (size_t i = 0; i < count; i++)
        if (mm_pmm_give_back(pmm, frames[i], 1, "mm_pmm_free_bulk", MM_CALLER) != MM_OK)
            err = MM_ERR_MISUSE;
    return err;
}

/* ---- ranges that join later; what is not built ---- */

static enum mm_err add(struct mm_pmm *pmm, uint64_t first, uint64_t end)
{
    const struct mm_pmm_region *region = mm_region_of(pmm, first);

    if (region == NULL || end > region->end ||
        mm_region_next(pmm, region, MM_SET_NOT_RAM, first, end) != end)
        return MM_ERR_UNSUPPORTED;
    if (mm_region_next(pmm, region, MM_SET_MANAGED, first, end) != end)
        return MM_ERR_EXISTS;
    mm_frames_add(pmm, first, end - first);
    return MM_OK;
}

enum mm_err mm_pmm_add(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes)
{
    mm_lock_guard_t guard;
    enum mm_err err;

    if (pmm == NULL || !mm_is_aligned(start.raw | bytes, MM_FRAME_BYTES) ||
        !mm_range_ok(start.raw, bytes))
        return MM_ERR_BAD_ARG;
    guard = mm_lock_take(&pmm->lock);
    err = add(pmm, mm_frame_of(start), mm_frame_of(start) + bytes / MM_FRAME_BYTES);
    mm_lock_release(&pmm->lock, guard);
    return err;
}

enum mm_err mm_pmm_retire(struct mm_pmm *pmm, mm_phys_t frame)
{
    (void)frame;
    return pmm == NULL ? MM_ERR_BAD_ARG : MM_ERR_UNSUPPORTED;
}

enum mm_err mm_pmm_set_watermark(struct mm_pmm *pmm, enum mm_zone zone,
                                 const struct mm_pmm_watermark *mark)
{
    (void)zone;
    return pmm == NULL || mark == NULL ? MM_ERR_BAD_ARG : MM_ERR_UNSUPPORTED;
}
