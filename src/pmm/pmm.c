/*
 * pmm.c - take frames.
 *
 * Problem     The common call must be a dozen instructions, whatever the rare ones need.
 * Idea        One frame without constraints comes from the stock of this CPU, inline in the public
 *             call; a plain 2 MiB block from the first pool that has one. All else goes through
 *             request.c and take.c. NMI takes what needs no waiting.
 * Invariants  I1 a call that fails has changed nothing but what is in stock
 *             I2 reports are made after locks and guard are released
 * Locking     The guard of this CPU, or those of take.c. Frames are zeroed when no lock is held:
 *             they are the caller's by then.
 * Cost        As in mm/pmm.h.
 * Rejected    One general path for all calls: 10 ns for each frame.
 */
#include "mm/pmm.h"

#include "base/break.h"
#include "base/checked.h"
#include "base/report.h"
#include "pmm/stock.h"
#include "pmm/zero.h"

/* ---- single frames through the stock ---- */

/* Stock and pools have nothing: what the others have. */
static bool single_hard(struct mm_pmm *pmm, bool try_hard, mm_phys_t *out,
                        struct mm_stock_faults *faults)
{
    const struct mm_frame_want want = {.count = 1,
                                       .align = 1,
                                       .end = UINT64_MAX,
                                       .plain = true,
                                       .node = (uint8_t)mm_near_node(pmm)};
    uint64_t frame;

    if (!mm_take_or_drain(pmm, &want, try_hard, &frame, faults))
        return false;
    *out = mm_frame_phys(frame);
    return true;
}

/* This CPU's stock had none, or (`cpu` is NULL) is not to be had. Ends the pin. */
static MM_COLD enum mm_err frame_empty(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_guard_t guard,
                                       mm_phys_t *out, const void *caller)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    mm_phys_t frame;
    bool found = false;

    if (cpu != NULL) {
        found = mm_stock_pop(pmm, cpu, &frame);
        mm_stock_leave(pmm, cpu, &faults);
    }
    mm_unpin(pmm, guard);
    if (!found)
        found = single_hard(pmm, false, &frame, &faults);
    mm_mode_update(pmm);
    mm_stock_report(pmm, &faults, "mm_pmm_alloc_frame", caller);
    mm_watch_zones(pmm);
    if (!found)
        return MM_ERR_NO_MEMORY;
    mm_owner_set_one(pmm, frame, MM_OWNER_CALLER);
    *out = frame;
    return MM_OK;
}

/* The stock is parked, under the locked pin, somebody is in there, or nobody knows this CPU. */
static MM_COLD enum mm_err frame_rare(struct mm_pmm *pmm, mm_guard_t guard, mm_phys_t *out,
                                      const void *caller)
{
    struct mm_pmm_cpu *cpu = mm_stock_mine(pmm);

    return frame_empty(pmm, cpu != NULL && mm_stock_take(cpu) ? cpu : NULL, guard, out, caller);
}

/* Each rare case is a call of its own at the end: none of them costs the common one a register. */
static inline __attribute__((always_inline)) enum mm_err frame_take(struct mm_pmm *pmm,
                                                                    mm_phys_t *out,
                                                                    const void *caller)
{
    enum mm_pin pin = pmm->pin;
    mm_guard_t guard = mm_pin_as(pin);
    unsigned index = mm_cpu_index();
    struct mm_magazine *loaded;
    struct mm_pmm_cpu *cpu;
    uint32_t n;

    if (MM_UNLIKELY(index >= pmm->cpu_count)) /* so is every index of a PMM that was never made */
        return frame_rare(pmm, guard, out, caller);
    cpu = &pmm->cpu[index];
    if (MM_UNLIKELY(!mm_stock_take_free(cpu)))
        return frame_rare(pmm, guard, out, caller);
    loaded = cpu->loaded;
    n = loaded->n;
    if (MM_UNLIKELY(n == 0))
        return frame_empty(pmm, cpu, guard, out, caller);
    MM_RACE_READ(&loaded->slot[n - 1], sizeof loaded->slot[0]);
    *out = loaded->slot[n - 1];
    mm_store_relaxed_u32(&loaded->n, n - 1);
    mm_owner_set_one(pmm, *out, MM_OWNER_CALLER);
    mm_stock_give_free(cpu);
    if (MM_UNLIKELY(mm_stock_is_asked(cpu)))
        return mm_stock_serve(pmm, cpu, guard, "mm_pmm_alloc_frame", caller);
    mm_unpin_as(pin, guard);
    return MM_OK;
}

enum mm_err mm_pmm_alloc_frame(struct mm_pmm *pmm, mm_phys_t *out)
{
    if (MM_UNLIKELY(pmm == NULL || out == NULL))
        return MM_ERR_BAD_ARG;
    return frame_take(pmm, out, MM_CALLER);
}

/* The same for the other calls. */
static enum mm_err ordinary(struct mm_pmm *pmm, bool try_hard, mm_phys_t *out, const void *caller)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    enum mm_err err = frame_take(pmm, out, caller);

    if (err == MM_OK || !try_hard)
        return err;
    if (single_hard(pmm, true, out, &faults))
        err = MM_OK;
    if (err == MM_OK)
        mm_owner_set_one(pmm, *out, MM_OWNER_CALLER);
    mm_stock_report(pmm, &faults, "mm_pmm_alloc", caller);
    return err;
}

/* ---- NMI: nothing is waited for ---- */

static bool pool_try_single(struct mm_pmm *pmm, const struct mm_frame_want *want,
                            struct mm_pmm_pool *pool, mm_phys_t *out, bool *busy)
{
    mm_lock_guard_t guard;
    bool found;

    if (mm_pool_open(pool, want) == 0)
        return false;
    if (!mm_lock_try(&pool->lock, &guard)) {
        *busy = true;
        return false;
    }
    found = mm_pool_open(pool, want) != 0 && mm_pool_take_singles(pmm, pool, 1, out) == 1;
    mm_lock_release(&pool->lock, guard);
    return found;
}

static bool magazine_pop(struct mm_magazine *magazine, mm_phys_t *out)
{
    if (magazine->n == 0)
        return false;
    *out = magazine->slot[magazine->n - 1];
    mm_store_relaxed_u32(&magazine->n, magazine->n - 1);
    return true;
}

static bool zeroed_pop(struct mm_pmm_cpu *cpu, mm_phys_t *out)
{
    if (cpu->zeroed.n == 0)
        return false;
    *out = cpu->zeroed.slot[cpu->zeroed.n - 1];
    mm_store_relaxed_u32(&cpu->zeroed.n, cpu->zeroed.n - 1);
    return true;
}

static MM_COLD enum mm_err take_no_wait(struct mm_pmm *pmm, const struct mm_frame_want *want,
                                        bool stock, mm_phys_t *out)
{
    mm_guard_t guard = mm_pin(pmm);
    struct mm_pmm_cpu *cpu = mm_stock_mine(pmm);
    struct mm_pool_walk walk = mm_pool_walk(pmm, want);
    struct mm_pmm_pool *pool;
    bool found = false;
    bool busy = false;

    if (cpu != NULL && stock && mm_stock_take(cpu)) {
        found =
            magazine_pop(cpu->loaded, out) || magazine_pop(cpu->spare, out) || zeroed_pop(cpu, out);
        mm_stock_give_up(cpu);
    }
    mm_unpin(pmm, guard);
    while (!found && (pool = mm_pool_next(&walk)) != NULL)
        found = pool_try_single(pmm, want, pool, out, &busy);
    if (found)
        return MM_OK;
    return busy ? MM_ERR_BUSY : MM_ERR_NO_MEMORY;
}

/* ---- zeroing ---- */

static enum mm_err zeroed_single(struct mm_pmm *pmm, bool try_hard, mm_phys_t *out,
                                 const char *where, const void *caller)
{
    enum mm_err err;

    if (mm_zeroed_take(pmm, out))
        return MM_OK;
    err = ordinary(pmm, try_hard, out, caller);
    if (err != MM_OK)
        return err;
    err = mm_frames_zero(pmm, mm_frame_of(*out), 1);
    if (err != MM_OK) {
        struct mm_stock_faults faults = {NULL, mm_phys(0), 0};

        mm_owner_set_one(pmm, *out, MM_OWNER_NONE);
        mm_stock_give(pmm, out, 1, &faults);
        mm_stock_report(pmm, &faults, where, caller);
    }
    return err;
}

enum mm_err mm_pmm_alloc_zeroed(struct mm_pmm *pmm, mm_phys_t *out)
{
    enum mm_err err;
    mm_phys_t frame;

    if (MM_UNLIKELY(pmm == NULL || out == NULL))
        return MM_ERR_BAD_ARG;
    if (pmm->window == NULL)
        return MM_ERR_UNSUPPORTED;
    err = zeroed_single(pmm, false, &frame, "mm_pmm_alloc_zeroed", MM_CALLER);
    if (err != MM_OK)
        return err;
    mm_owner_set_one(pmm, frame, MM_OWNER_CALLER);
    *out = frame;
    return MM_OK;
}

/* ---- the general call ---- */

/* Undo of a take that cannot be used. */
static MM_COLD void untake(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    struct mm_pools_guard guard = mm_pools_lock(pmm);

    mm_frames_give(pmm, first, count);
    mm_pools_unlock(pmm, guard);
    mm_side_trim(pmm);
}

static enum mm_err take_wanted(struct mm_pmm *pmm, const struct mm_frame_request *request,
                               const struct mm_frame_want *want, uint64_t *first,
                               struct mm_stock_faults *faults)
{
    bool found =
        mm_take_or_drain(pmm, want, (request->flags & MM_FRAME_TRY_HARD) != 0, first, faults);
    enum mm_err err = found ? MM_OK : MM_ERR_NO_MEMORY;

    if (found && (request->flags & MM_FRAME_ZERO) != 0) {
        err = mm_frames_zero(pmm, *first, want->count);
        if (err != MM_OK)
            untake(pmm, *first, want->count);
    }
    mm_side_trim(pmm);
    mm_mode_update(pmm);
    return err;
}

static bool is_ordinary(const struct mm_frame_request *request)
{
    return (request->flags & ~(MM_FRAME_ZERO | MM_FRAME_TRY_HARD)) == 0 && request->order == 0 &&
           request->count_frames <= 1 && request->lowest.raw == 0 && request->highest.raw == 0 &&
           request->align_bytes <= MM_FRAME_BYTES && request->boundary_bytes == 0;
}

/* Order 9 and more without constraints: nothing else to check. */
static bool is_plain_large(const struct mm_frame_request *request)
{
    return request->order >= MM_CHUNK_ORDER && request->order <= MM_ORDER_MAX &&
           request->mobility <= MM_MOBILITY_RECLAIM &&
           (request->count_frames | request->lowest.raw | request->highest.raw |
            request->align_bytes | request->boundary_bytes | request->flags) == 0;
}

/* From the first pool that has one; no floor is near while a pool has twice of what is kept. False:
 * go the general way. */
static bool large_take(struct mm_pmm *pmm, unsigned order, mm_phys_t *out)
{
    const struct mm_pmm_node *node = &pmm->node[mm_near_node(pmm)];

    for (unsigned zone = MM_ZONES; pmm->node_count != 0 && zone-- > MM_ZONE_DMA32;) {
        uint16_t number = mm_load_acquire_u16(&node->pool[zone]);
        struct mm_pmm_pool *pool = &pmm->pool[number];
        uint64_t kept, first;
        mm_lock_guard_t guard;
        bool found = false;

        if (number == MM_POOL_NONE)
            continue;
        if (mm_load_relaxed_u32(&pool->whole_chunks) == 0) {
            if (mm_load_acquire_u16(&pool->next) != MM_POOL_NONE)
                return false; /* added memory of this zone comes before the zone below */
            continue;
        }
        kept = pool->floor_frames + pool->reserve_frames + pmm->low_frames;
        guard = mm_lock_take(&pool->lock);
        if (pool->free_frames >= kept + (UINT64_C(1) << order))
            found = mm_pool_take_large(pmm, pool, order, &first);
        mm_lock_release(&pool->lock, guard);
        if (!found)
            return false; /* the general way knows what may be taken, and from where next */
        *out = mm_frame_phys(first);
        return true;
    }
    return false;
}

static enum mm_err alloc(struct mm_pmm *pmm, const struct mm_frame_request *request, mm_phys_t *out,
                         const char *where, const void *caller)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    bool try_hard = (request->flags & MM_FRAME_TRY_HARD) != 0;
    struct mm_frame_want want;
    enum mm_err err;
    uint64_t first;

    if (is_ordinary(request)) {
        if ((request->flags & MM_FRAME_ZERO) != 0)
            return zeroed_single(pmm, try_hard, out, where, caller);
        return ordinary(pmm, try_hard, out, caller);
    }
    if (!mm_want_of(pmm, request, &want))
        return MM_ERR_NO_MEMORY;
    if ((request->flags & MM_FRAME_NO_WAIT) != 0)
        return want.plain ? take_no_wait(pmm, &want, want.end == UINT64_MAX, out)
                          : MM_ERR_UNSUPPORTED;
    err = take_wanted(pmm, request, &want, &first, &faults);
    mm_stock_report(pmm, &faults, where, caller);
    mm_watch_zones(pmm);
    if (err == MM_OK)
        *out = mm_frame_phys(first);
    return err;
}

enum mm_err mm_pmm_alloc(struct mm_pmm *pmm, const struct mm_frame_request *request, mm_phys_t *out)
{
    mm_phys_t first;
    enum mm_err err;

    if (pmm == NULL || request == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    if (is_plain_large(request) && large_take(pmm, request->order, &first)) {
        mm_watch_zones(pmm);
    } else {
        err = mm_request_check(pmm, request);
        if (err == MM_OK)
            err = alloc(pmm, request, &first, "mm_pmm_alloc", MM_CALLER);
        if (err != MM_OK)
            return err;
    }
    mm_owner_set(pmm, mm_frame_of(first), mm_frames_wanted(request), MM_OWNER_CALLER);
    *out = first;
    return MM_OK;
}
