/*
 * free.c - give frames back.
 *
 * Problem     A free is where callers err: twice, half of a block, a frame of somebody else. Each
 *             must be seen, and change nothing, though the common free touches no bitmap.
 * Idea        The kind of the frame's chunk says in one load whether a single frame may go straight
 *             into the magazine. All others are compared with bits and tails under the lock. The
 *             hardened build asks a byte per frame first.
 * Invariants  I1 a refused free has changed nothing
 *             I2 reports are made after locks and guard are released
 * Locking     The guard of this CPU, or the lock of the frames' pool; those of all for runs that
 *             lie in several.
 * Cost        One frame: a dozen plain instructions; a run: O(length / 64), in the hardened build
 *             O(length) bytes.
 * Rejected    Looking at the pool's bit in the release build, too: a miss of the cache for each
 *             free, to see one double free in ten.
 */
#include "base/break.h"
#include "base/report.h"
#include "pmm/stock.h"

/* ---- misuse ---- */

static MM_COLD enum mm_err refuse(struct mm_pmm *pmm, const char *what, mm_phys_t frame,
                                  uint64_t asked, uint64_t held, const char *where,
                                  const void *caller)
{
    mm_fetch_add_relaxed_u64(&pmm->misuse_count, 1);
    return mm_report_misuse_of(MM_ERR_MISUSE, what, where, pmm, frame.raw, held != 0 ? asked : 0,
                               held, caller);
}

/* The fault MM_BREAK_LEAK_FRAME: every 16th freed frame is swallowed. */
static bool forget(struct mm_pmm *pmm)
{
    return MM_BREAK_LEAK_FRAME && mm_fetch_add_relaxed_u64(&pmm->freed_frames, 1) % 16 == 15;
}

/* ---- runs ---- */

static bool bit_of(const uint64_t *bits, unsigned index)
{
    return (bits[index / 64] >> (index % 64) & 1) != 0;
}

static bool is_managed(const struct mm_pmm *pmm, const struct mm_place *place)
{
    return (mm_chunk_managed(pmm, place->chunk, place->index / 64) >> (place->index % 64) & 1) != 0;
}

/* What the frames' bytes have against freeing them, or NULL. */
static const char *owner_fault(const struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    uint64_t end = first + count;

    while (MM_PMM_OWNERS && first < end) {
        const struct mm_pmm_region *region = mm_region_of(pmm, first);
        uint64_t stop = region != NULL ? mm_min_u64(end, region->end) : first;
        const uint8_t *owner;

        if (region == NULL)
            return "freed frame is not managed";
        owner = &pmm->owner[(uint64_t)mm_region_chunk(region, first) * MM_CHUNK_FRAMES +
                            first % MM_CHUNK_FRAMES];
        for (; first < stop; first++, owner++)
            if (*owner != MM_OWNER_CALLER)
                return *owner == MM_OWNER_PMM ? "freed frame is the PMM's own"
                                              : "freed frame is free already";
    }
    return NULL;
}

/* What is wrong with freeing `count` frames from `first`, or NULL; *held is how many the allocation
 * has, where that is what is wrong. */
static const char *run_fault(const struct mm_pmm *pmm, mm_phys_t first, uint64_t count,
                             const struct mm_pmm_region *within, uint64_t *held)
{
    uint64_t frame = mm_frame_of(first);
    struct mm_frames frames;
    struct mm_place place;

    *held = 0;
    if (!mm_place_of(pmm, frame, &place) || !is_managed(pmm, &place))
        return "freed frame is not managed";
    if (bit_of(mm_chunk_bits(pmm, place.chunk), place.index))
        return "freed frame is free already";
    frames = mm_allocation_of(pmm, frame, within);
    if (frames.first != frame)
        return "freed frame is not the first of its allocation";
    if (frames.count != count) {
        *held = frames.count;
        return "freed with a wrong number of frames";
    }
    return owner_fault(pmm, frame, count);
}

/* Locks: of the pool of `within`, or if that is NULL of all. */
static const char *run_give(struct mm_pmm *pmm, mm_phys_t first, uint64_t count,
                            const struct mm_pmm_region *within, uint64_t *held)
{
    const char *fault = run_fault(pmm, first, count, within, held);

    if (fault != NULL)
        return fault;
    mm_owner_set(pmm, mm_frame_of(first), count, MM_OWNER_NONE);
    if (forget(pmm))
        return NULL;
    mm_frames_give(pmm, mm_frame_of(first), count);
    return NULL;
}

/* The region that holds all of [first, first + count) and the frame behind it, or NULL. */
static const struct mm_pmm_region *region_of_run(const struct mm_pmm *pmm, uint64_t first,
                                                 uint64_t count)
{
    const struct mm_pmm_region *region = mm_region_of(pmm, first);

    return region != NULL && count < region->end - first ? region : NULL;
}

/* A block of whole chunks, given back in one step; false: see what is wrong with it, or
 * different. */
static bool free_large(struct mm_pmm *pmm, mm_phys_t first, uint64_t count)
{
    uint64_t frame = mm_frame_of(first);
    uint32_t chunk = mm_chunk_of(pmm, frame);
    struct mm_pmm_pool *pool;
    mm_lock_guard_t guard;
    bool given = false;

    if (!mm_is_aligned(first.raw | count << MM_FRAME_SHIFT, MM_CHUNK_FRAMES * MM_FRAME_BYTES) ||
        count == 0 || chunk == MM_CHUNK_NONE || MM_BREAK_LEAK_FRAME ||
        region_of_run(pmm, frame, count) == NULL) /* else what comes behind is another region's */
        return false;
    pool = mm_pool_of(pmm, mm_region_of(pmm, frame));
    guard = mm_lock_take(&pool->lock);
    if (owner_fault(pmm, frame, count) == NULL) {
        given = mm_pool_give_large(pmm, pool, chunk, (uint32_t)(count / MM_CHUNK_FRAMES));
        if (given)
            mm_owner_set(pmm, frame, count, MM_OWNER_NONE);
    }
    mm_lock_release(&pool->lock, guard);
    return given;
}

static enum mm_err free_run(struct mm_pmm *pmm, mm_phys_t first, uint64_t count, const char *where,
                            const void *caller)
{
    const struct mm_pmm_region *within = region_of_run(pmm, mm_frame_of(first), count);
    const char *fault;
    uint64_t held;

    if (free_large(pmm, first, count)) {
        if (mm_load_relaxed_u8(&pmm->low) != 0)
            mm_mode_update(pmm);
        mm_watch_zones(pmm);
        return MM_OK;
    }
    if (!mm_is_aligned(first.raw, MM_FRAME_BYTES))
        return refuse(pmm, "freed address is not frame-aligned", first, 0, 0, where, caller);
    if (within != NULL) {
        struct mm_pmm_pool *pool = mm_pool_of(pmm, within);
        mm_lock_guard_t guard = mm_lock_take(&pool->lock);

        fault = run_give(pmm, first, count, within, &held);
        mm_lock_release(&pool->lock, guard);
    } else {
        struct mm_pools_guard guard = mm_pools_lock(pmm);

        fault = run_give(pmm, first, count, NULL, &held);
        mm_pools_unlock(pmm, guard);
    }
    if (fault != NULL)
        return refuse(pmm, fault, first, count, held, where, caller);
    mm_side_trim(pmm);
    mm_mode_update(pmm);
    mm_watch_zones(pmm);
    return MM_OK;
}

/* ---- one frame ---- */

/* The magazine is full or closed, or it is not known to have room. Ends the pin. */
static MM_COLD enum mm_err push_slow(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_guard_t guard,
                                     mm_phys_t frame, const char *where, const void *caller)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};

    mm_stock_push(pmm, cpu, frame, &faults);
    mm_stock_leave(pmm, cpu, &faults);
    mm_unpin(pmm, guard);
    mm_mode_update(pmm);
    mm_stock_report(pmm, &faults, where, caller);
    mm_watch_zones(pmm);
    return MM_OK;
}

/* The frame may not go into a magazine, or (`cpu` is NULL) this CPU's stock is not to be had. Ends
 * the pin. */
static MM_COLD enum mm_err free_past(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_guard_t guard,
                                     mm_phys_t frame, const char *where, const void *caller)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};

    if (cpu != NULL)
        mm_stock_leave(pmm, cpu, &faults);
    mm_unpin(pmm, guard);
    mm_stock_report(pmm, &faults, where, caller);
    return free_run(pmm, frame, 1, where, caller);
}

/* The frame's byte says that no caller has it. Ends the pin. What the byte says now is not asked:
 * the frame may be somebody's by now. */
static MM_COLD enum mm_err free_twice(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_guard_t guard,
                                      mm_phys_t frame, const char *where, const void *caller)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    const char *fault = owner_fault(pmm, mm_frame_of(frame), 1);

    mm_stock_leave(pmm, cpu, &faults);
    mm_unpin(pmm, guard);
    mm_stock_report(pmm, &faults, where, caller);
    return refuse(pmm, fault != NULL ? fault : "freed frame is free already", frame, 0, 0, where,
                  caller);
}

static inline bool goes_into_stock(const struct mm_pmm *pmm, const struct mm_pmm_cpu *cpu,
                                   uint32_t chunk)
{
    return (mm_kind_of(pmm, chunk) & mm_load_relaxed_u32(&pmm->cache_mask)) ==
           mm_load_relaxed_u8(&cpu->accept);
}

/* The stock is parked, under the locked pin, somebody is in there, or nobody knows this CPU. */
static MM_COLD enum mm_err free_rare(struct mm_pmm *pmm, mm_guard_t guard, mm_phys_t frame,
                                     uint32_t chunk, const char *where, const void *caller)
{
    struct mm_pmm_cpu *cpu = mm_stock_mine(pmm);

    if (cpu == NULL || !mm_stock_take(cpu))
        return free_past(pmm, NULL, guard, frame, where, caller);
    if (!goes_into_stock(pmm, cpu, chunk))
        return free_past(pmm, cpu, guard, frame, where, caller);
    if (!mm_owner_gives_up(pmm, chunk, mm_frame_of(frame)))
        return free_twice(pmm, cpu, guard, frame, where, caller);
    return push_slow(pmm, cpu, guard, frame, where, caller);
}

/* The kind is looked at in the guard: what was changed before a drain asks this CPU is seen by all
 * that is pushed after it was answered. Each rare case is a call of its own at the end: none of
 * them costs the common one a register. */
static inline __attribute__((always_inline)) enum mm_err free_in_chunk(
    struct mm_pmm *pmm, mm_phys_t frame, uint32_t chunk, const char *where, const void *caller)
{
    enum mm_pin pin = pmm->pin;
    struct mm_magazine *loaded;
    struct mm_pmm_cpu *cpu;
    mm_guard_t guard;
    unsigned index;
    uint32_t n;

    if (MM_UNLIKELY(!mm_is_aligned(frame.raw, MM_FRAME_BYTES) || MM_BREAK_LEAK_FRAME))
        return free_run(pmm, frame, 1, where, caller);
    guard = mm_pin_as(pin);
    index = mm_cpu_index();
    if (MM_UNLIKELY(index >= pmm->cpu_count))
        return free_rare(pmm, guard, frame, chunk, where, caller);
    cpu = &pmm->cpu[index];
    if (MM_UNLIKELY(!mm_stock_take_free(cpu)))
        return free_rare(pmm, guard, frame, chunk, where, caller);
    if (MM_UNLIKELY(!goes_into_stock(pmm, cpu, chunk)))
        return free_past(pmm, cpu, guard, frame, where, caller);
    if (MM_UNLIKELY(!mm_owner_gives_up(pmm, chunk, mm_frame_of(frame))))
        return free_twice(pmm, cpu, guard, frame, where, caller);
    loaded = cpu->loaded;
    n = loaded->n;
    if (MM_UNLIKELY(n >= mm_load_relaxed_u32(&cpu->cap)))
        return push_slow(pmm, cpu, guard, frame, where, caller);
    MM_RACE_WRITE(&loaded->slot[n], sizeof frame);
    loaded->slot[n] = frame;
    mm_store_relaxed_u32(&loaded->n, n + 1);
    mm_stock_give_free(cpu);
    if (MM_UNLIKELY(mm_stock_is_asked(cpu)))
        return mm_stock_serve(pmm, cpu, guard, where, caller);
    mm_unpin_as(pin, guard);
    return MM_OK;
}

/* Where regions meet, and in memory that was added later. */
static MM_COLD enum mm_err free_far(struct mm_pmm *pmm, mm_phys_t frame, const char *where,
                                    const void *caller)
{
    struct mm_place place;

    if (!mm_place_of(pmm, mm_frame_of(frame), &place))
        return free_run(pmm, frame, 1, where, caller);
    return free_in_chunk(pmm, frame, place.chunk, where, caller);
}

static inline __attribute__((always_inline)) enum mm_err free_single(struct mm_pmm *pmm,
                                                                     mm_phys_t frame,
                                                                     const char *where,
                                                                     const void *caller)
{
    uint32_t chunk = mm_chunk_of(pmm, mm_frame_of(frame));

    if (MM_UNLIKELY(chunk == MM_CHUNK_NONE))
        return free_far(pmm, frame, where, caller);
    return free_in_chunk(pmm, frame, chunk, where, caller);
}

enum mm_err mm_pmm_give_back(struct mm_pmm *pmm, mm_phys_t first, uint64_t count, const char *where,
                             const void *caller)
{
    if (MM_UNLIKELY(pmm == NULL))
        return mm_report_misuse(MM_ERR_BAD_ARG, "no PMM given", where, NULL, first.raw, caller);
    if (count == 1)
        return free_single(pmm, first, where, caller);
    return free_run(pmm, first, count, where, caller);
}

enum mm_err mm_pmm_free(struct mm_pmm *pmm, mm_phys_t first, uint64_t count_frames)
{
    return mm_pmm_give_back(pmm, first, count_frames, "mm_pmm_free", MM_CALLER);
}

enum mm_err mm_pmm_free_frame(struct mm_pmm *pmm, mm_phys_t frame)
{
    if (MM_UNLIKELY(pmm == NULL))
        return mm_pmm_give_back(pmm, frame, 1, "mm_pmm_free_frame", MM_CALLER);
    return free_single(pmm, frame, "mm_pmm_free_frame", MM_CALLER);
}

/* ---- NMI ---- */

/* Into the loaded magazine if nobody is in there, the frame may go there, and it has room. */
static MM_COLD bool push_no_wait(struct mm_pmm *pmm, uint32_t chunk, mm_phys_t frame)
{
    mm_guard_t guard = mm_pin(pmm);
    struct mm_pmm_cpu *cpu = mm_stock_mine(pmm);
    bool pushed = false;

    if (cpu != NULL && mm_stock_take(cpu)) {
        struct mm_magazine *loaded = cpu->loaded;

        pushed = loaded->n < mm_load_relaxed_u32(&cpu->cap) &&
                 (mm_kind_of(pmm, chunk) & mm_load_relaxed_u32(&pmm->cache_mask)) ==
                     mm_load_relaxed_u8(&cpu->accept) &&
                 mm_owner_gives_up(pmm, chunk, mm_frame_of(frame));
        if (pushed) {
            loaded->slot[loaded->n] = frame;
            mm_store_relaxed_u32(&loaded->n, loaded->n + 1);
        }
        mm_stock_give_up(cpu);
    }
    mm_unpin(pmm, guard);
    return pushed;
}

MM_COLD enum mm_err mm_pmm_free_no_wait(struct mm_pmm *pmm, mm_phys_t frame)
{
    uint64_t held = 0;
    struct mm_place place;
    mm_lock_guard_t guard;
    const char *fault;

    if (pmm == NULL)
        return MM_ERR_BAD_ARG;
    if (!mm_is_aligned(frame.raw, MM_FRAME_BYTES) || !mm_place_of(pmm, mm_frame_of(frame), &place))
        return refuse(pmm, "freed frame is not managed", frame, 0, 0, "mm_pmm_free_no_wait",
                      MM_CALLER);
    if (push_no_wait(pmm, place.chunk, frame))
        return MM_OK;
    if (!mm_lock_try(&mm_pool_of(pmm, place.region)->lock, &guard))
        return MM_ERR_BUSY;
    fault = run_fault(pmm, frame, 1, place.region, &held);
    if (fault == NULL) {
        mm_owner_set_one(pmm, frame, MM_OWNER_NONE);
        mm_frames_give(pmm, mm_frame_of(frame), 1);
    }
    mm_lock_release(&mm_pool_of(pmm, place.region)->lock, guard);
    return fault == NULL ? MM_OK
                         : refuse(pmm, fault, frame, 1, held, "mm_pmm_free_no_wait", MM_CALLER);
}
