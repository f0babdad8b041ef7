/*
 * pmm.c - take frames, give frames back.
 *
 * Problem     The common call must be a dozen instructions; the general one has seven constraints
 *             at once; and callers give back what they never had.
 * Idea        One frame without constraints comes from the stock of this CPU, and goes there,
 *             inline in the public call. All else is turned into frames, validated before any lock
 *             is taken, and goes through the pools one after another. A free is compared with what
 *             the chunks say of the allocation and refused unless it is exactly that.
 * Invariants  I1 a call that fails has changed nothing but what is in stock
 *             I2 reports are made after locks and guard are released
 * Locking     The guard of this CPU, or the lock of one pool; those of all for runs across pools.
 *             Frames are zeroed after the lock is released: they are the caller's by then.
 * Cost        As in mm/pmm.h.
 * Rejected    Freeing by address alone: a wrong length is the caller's bug, and it would go unseen.
 */
#include "mm/pmm.h"

#include "base/break.h"
#include "base/checked.h"
#include "base/report.h"
#include "pmm/stock.h"
#include "pmm/zero.h"

#define FLAGS_KNOWN                                                                              \
    (MM_FRAME_ZERO | MM_FRAME_NODE | MM_FRAME_NODE_ONLY | MM_FRAME_TRY_HARD | MM_FRAME_RESERVE | \
     MM_FRAME_NO_WAIT)

/* ---- requests ---- */

static bool power_or_zero(uint64_t x)
{
    return x == 0 || mm_is_power_of_two(x);
}

static uint64_t frames_wanted(const struct mm_frame_request *request)
{
    return request->count_frames != 0 ? request->count_frames : UINT64_C(1) << request->order;
}

/* Index of the node with the map's number `id`, or node_count. */
static unsigned node_index(const struct mm_pmm *pmm, unsigned id)
{
    unsigned i = 0;

    while (i < pmm->node_count && pmm->node[i].id != id)
        i++;
    return i;
}

enum mm_err mm_request_check(const struct mm_pmm *pmm, const struct mm_frame_request *request)
{
    uint32_t flags = request->flags;

    if (request->order > MM_ORDER_MAX || (request->order != 0 && request->count_frames != 0) ||
        !power_or_zero(request->align_bytes) || !power_or_zero(request->boundary_bytes) ||
        (request->boundary_bytes != 0 &&
         request->boundary_bytes / MM_FRAME_BYTES < frames_wanted(request)))
        return MM_ERR_BAD_ARG;
    if ((flags & ~FLAGS_KNOWN) != 0 || request->mobility > MM_MOBILITY_RECLAIM ||
        ((flags & MM_FRAME_NODE) != 0 && request->node >= MM_NODES_MAX) ||
        (flags & (MM_FRAME_NODE | MM_FRAME_NODE_ONLY)) == MM_FRAME_NODE_ONLY)
        return MM_ERR_BAD_ARG;
    if ((flags & MM_FRAME_NO_WAIT) != 0 &&
        ((flags & ~(MM_FRAME_NO_WAIT | MM_FRAME_RESERVE)) != 0 || frames_wanted(request) != 1))
        return MM_ERR_BAD_ARG;
    return (flags & MM_FRAME_ZERO) != 0 && pmm->window == NULL ? MM_ERR_UNSUPPORTED : MM_OK;
}

/* The smallest order whose blocks hold `count` frames; MM_ORDER_MAX + 1 if none does. */
static unsigned order_for(uint64_t count)
{
    unsigned order = 0;

    while (order <= MM_ORDER_MAX && UINT64_C(1) << order < count)
        order++;
    return order;
}

static unsigned near_node(const struct mm_pmm *pmm)
{
    mm_guard_t guard;
    const struct mm_pmm_cpu *cpu;
    unsigned node;

    if (pmm->node_count == 1)
        return 0;
    guard = mm_pin(pmm);
    cpu = mm_stock_mine(pmm);
    node = cpu != NULL ? cpu->node : 0;
    mm_unpin(pmm, guard);
    return node;
}

bool mm_want_of(const struct mm_pmm *pmm, const struct mm_frame_request *request,
                struct mm_frame_want *want)
{
    uint64_t natural = UINT64_C(1) << request->order;
    uint64_t highest = request->highest.raw;
    bool limited = highest != 0 && highest != UINT64_MAX;
    unsigned node =
        (request->flags & MM_FRAME_NODE) != 0 ? node_index(pmm, request->node) : near_node(pmm);
    bool known = node < pmm->node_count;

    *want = (struct mm_frame_want){
        .count = frames_wanted(request),
        .align = mm_max_u64(natural, request->align_bytes / MM_FRAME_BYTES),
        .boundary = request->boundary_bytes / MM_FRAME_BYTES,
        .start = mm_frame_of(request->lowest) + (request->lowest.raw % MM_FRAME_BYTES != 0 ? 1 : 0),
        .end = limited ? (highest + 1) / MM_FRAME_BYTES : UINT64_MAX,
        .low = limited && highest <= MM_HIGHEST_1M.raw,
        .reserve = (request->flags & MM_FRAME_RESERVE) != 0,
        .node_asked = (request->flags & MM_FRAME_NODE) != 0,
        .node_only = (request->flags & MM_FRAME_NODE_ONLY) != 0,
        .node = (uint8_t)(known ? node : near_node(pmm)),
        .order = (uint8_t)order_for(frames_wanted(request)),
    };
    want->plain =
        want->start == 0 && want->boundary == 0 && want->align <= natural &&
        (want->end == mm_zone_start(mm_zone_of(want->end - 1) + 1u) || want->end == UINT64_MAX);
    return known || !want->node_only; /* a node without memory has none to give */
}

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

/* Does each pool of [first, first + count) keep what it must? */
static bool leaves_floors(const struct mm_pmm *pmm, const struct mm_frame_want *want,
                          uint64_t first)
{
    uint64_t end = first + want->count;

    while (first < end) {
        const struct mm_pmm_region *region = mm_region_of(pmm, first);
        uint64_t stop = mm_min_u64(end, region->end);

        if (stop - first > mm_pool_open(mm_pool_of(pmm, region), want))
            return false;
        first = stop;
    }
    return true;
}

static bool find(const struct mm_pmm *pmm, const struct mm_frame_want *want,
                 const struct mm_pmm_pool *only, uint64_t *first)
{
    return mm_frames_find(pmm, want, only, first) &&
           (only != NULL || leaves_floors(pmm, want, *first));
}

/* A search, and its frames become an allocation. Tables for the ends of a run come from a frame of
 * `pool` if there are none; that may take what was found, so it is looked for again. */
static bool find_and_take(struct mm_pmm *pmm, const struct mm_frame_want *want,
                          const struct mm_pmm_pool *only, struct mm_pmm_pool *pool, uint64_t *first)
{
    unsigned tables = 0;
    bool found = find(pmm, want, only, first);

    if (found && mm_frames_need_tables(pmm, *first, want->count)) {
        if (!mm_side_reserve(pmm, pool, 2))
            return false;
        tables = 2;
        found = find(pmm, want, only, first);
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
 * where a border of nodes lies within one. */
static MM_COLD bool take_across(struct mm_pmm *pmm, const struct mm_frame_want *want,
                                uint64_t *first)
{
    struct mm_pools_guard guard;
    uint64_t open = 0;
    bool found = false;

    if (mm_load_relaxed_u32(&pmm->pool_count) == 1 || want->count == 1 || want->low ||
        (want->plain && want->align == want->count && !pmm->odd_borders))
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

    if (stock == 0 || !want->plain || want->order < MM_CHUNK_ORDER || stock >= MM_CHUNK_FRAMES)
        return true; /* with nothing in stock: it may have come home meanwhile */
    nearly =
        (1u << (MM_SET_EMPTIEST + 1)) - (1u << mm_set_by_free(MM_CHUNK_FRAMES - (unsigned)stock));
    for (uint32_t i = 0; i < mm_load_acquire_u32(&pmm->pool_count); i++)
        if ((mm_load_relaxed_u32(&pmm->pool[i].sets.not_empty) & nearly) != 0)
            return true;
    return false;
}

/* From the pools; then from the pools with what can be brought home. Not in the guard. */
static bool take_or_drain(struct mm_pmm *pmm, const struct mm_frame_want *want, bool try_hard,
                          uint64_t *first, struct mm_stock_faults *faults)
{
    bool found = pools_take(pmm, want, first);

    if (!found && draining_helps(pmm, want) && mm_drain_near(pmm, faults))
        found = pools_take(pmm, want, first);
    if (found || !try_hard)
        return found;
    mm_stock_close(pmm);
    (void)mm_drain_all(pmm, true, faults);
    found = pools_take(pmm, want, first);
    mm_stock_open(pmm);
    return found;
}

/* ---- single frames through the stock ---- */

/* Stock and pools have nothing: what the others have. */
static bool single_hard(struct mm_pmm *pmm, bool try_hard, mm_phys_t *out,
                        struct mm_stock_faults *faults)
{
    const struct mm_frame_want want = {
        .count = 1, .align = 1, .end = UINT64_MAX, .plain = true, .node = (uint8_t)near_node(pmm)};
    uint64_t frame;

    if (!take_or_drain(pmm, &want, try_hard, &frame, faults))
        return false;
    *out = mm_frame_phys(frame);
    return true;
}

/* The loaded magazine is empty, or (`cpu` is NULL) this CPU is in there already. Ends the pin. */
static MM_COLD bool single_slow(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_guard_t guard,
                                bool try_hard, mm_phys_t *out, const void *caller)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    bool found = false;

    if (cpu != NULL) {
        found = mm_stock_pop(pmm, cpu, out);
        mm_stock_leave(pmm, cpu, &faults);
    }
    mm_unpin(pmm, guard);
    if (!found)
        found = single_hard(pmm, try_hard, out, &faults);
    mm_mode_update(pmm);
    mm_stock_report(pmm, &faults, "mm_pmm_alloc_frame", caller);
    mm_watch_zones(pmm);
    return found;
}

/* From the loaded magazine. False: the slow way, and the pin is still held; *cpu is who has nothing
 * loaded, or NULL. */
static inline __attribute__((always_inline)) bool single_fast(struct mm_pmm *pmm, mm_guard_t *guard,
                                                              struct mm_pmm_cpu **cpu,
                                                              mm_phys_t *out, const void *caller)
{
    struct mm_magazine *loaded;
    unsigned index;
    uint32_t n;

    *guard = mm_pin(pmm);
    *cpu = NULL;
    index = mm_cpu_index();
    if (MM_UNLIKELY(index >= pmm->cpu_count || !mm_stock_take(&pmm->cpu[index])))
        return false;
    *cpu = &pmm->cpu[index];
    loaded = (*cpu)->loaded;
    n = loaded->n;
    if (MM_UNLIKELY(n == 0))
        return false;
    MM_RACE_READ(&loaded->slot[n - 1], sizeof loaded->slot[0]);
    *out = loaded->slot[n - 1];
    mm_store_relaxed_u32(&loaded->n, n - 1);
    mm_stock_give_up(*cpu);
    if (MM_UNLIKELY(mm_stock_is_asked(*cpu)))
        mm_stock_serve(pmm, *cpu, *guard, "mm_pmm_alloc_frame", caller);
    else
        mm_unpin(pmm, *guard);
    return true;
}

enum mm_err mm_pmm_alloc_frame(struct mm_pmm *pmm, mm_phys_t *out)
{
    struct mm_pmm_cpu *cpu;
    mm_phys_t frame, slow;
    mm_guard_t guard;

    if (MM_UNLIKELY(pmm == NULL || out == NULL))
        return MM_ERR_BAD_ARG;
    if (MM_UNLIKELY(!single_fast(pmm, &guard, &cpu, &frame, MM_CALLER))) {
        if (!single_slow(pmm, cpu, guard, false, &slow, MM_CALLER))
            return MM_ERR_NO_MEMORY;
        frame = slow;
    }
    mm_owner_set_one(pmm, frame, MM_OWNER_CALLER);
    *out = frame;
    return MM_OK;
}

/* The same, not inlined, for the other calls. */
static enum mm_err ordinary(struct mm_pmm *pmm, bool try_hard, mm_phys_t *out, const void *caller)
{
    struct mm_pmm_cpu *cpu;
    mm_guard_t guard;
    bool found = single_fast(pmm, &guard, &cpu, out, caller) ||
                 single_slow(pmm, cpu, guard, try_hard, out, caller);

    return found ? MM_OK : MM_ERR_NO_MEMORY;
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
        found = magazine_pop(cpu->loaded, out) || magazine_pop(cpu->spare, out);
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
    bool found = take_or_drain(pmm, want, (request->flags & MM_FRAME_TRY_HARD) != 0, first, faults);
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
    const struct mm_pmm_node *node = &pmm->node[near_node(pmm)];

    for (unsigned zone = MM_ZONES; pmm->node_count != 0 && zone-- > MM_ZONE_DMA32;) {
        uint16_t number = mm_load_acquire_u16(&node->pool[zone]);
        struct mm_pmm_pool *pool = &pmm->pool[number];
        uint64_t kept, first;
        mm_lock_guard_t guard;
        bool found = false;

        if (number == MM_POOL_NONE || mm_load_relaxed_u32(&pool->whole_chunks) == 0)
            continue;
        kept = pool->floor_frames + pool->reserve_frames + pmm->low_frames;
        guard = mm_lock_take(&pool->lock);
        if (pool->free_frames >= kept + (UINT64_C(1) << order))
            found = mm_pool_take_large(pmm, pool, order, &first);
        mm_lock_release(&pool->lock, guard);
        if (found) {
            *out = mm_frame_phys(first);
            return true;
        }
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
    mm_owner_set(pmm, mm_frame_of(first), frames_wanted(request), MM_OWNER_CALLER);
    *out = first;
    return MM_OK;
}
