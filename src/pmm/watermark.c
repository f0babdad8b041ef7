/*
 * watermark.c - tell the kernel when a zone runs low.
 *
 * Problem     Whoever can give memory back wants to know before it is gone, once, and not while
 *             the PMM holds a lock.
 * Idea        Each watched zone has a level. Calls that went through a pool compare, when they hold
 *             nothing any more; whoever changes the level makes the call.
 * Invariants  W1 one call for each change of level
 *             W2 the marks of a level have a distance, so that it does not swing
 * Locking     None while the callback runs; mode_lock to change the level, and to read function and
 *             argument together.
 * Cost        One load if nothing is watched; else a few loads for each pool.
 * Rejected    Comparing in the pools: the callback would have to be put off anyway.
 */
#include "pmm/stock.h"

static uint64_t zone_free(const struct mm_pmm *pmm, unsigned zone)
{
    uint64_t free = 0;

    for (uint32_t i = 0; i < mm_load_acquire_u32(&pmm->pool_count); i++)
        if (pmm->pool[i].zone == zone)
            free += mm_load_relaxed_u64(&pmm->pool[i].free_frames);
    return free;
}

static uint32_t level_for(const struct mm_pmm_watch *watch, uint32_t level, uint64_t free)
{
    if (free < mm_load_relaxed_u64(&watch->mark.min_frames))
        return MM_MEMORY_MIN;
    if (level == MM_MEMORY_MIN && free <= mm_load_relaxed_u64(&watch->mark.low_frames))
        return MM_MEMORY_MIN;
    if (free < mm_load_relaxed_u64(&watch->mark.low_frames) ||
        (level != MM_MEMORY_PLENTY && free <= mm_load_relaxed_u64(&watch->mark.high_frames)))
        return MM_MEMORY_LOW;
    return MM_MEMORY_PLENTY;
}

/* The level has changed, it seems: settle it against set_watermark() and others who saw it. */
static MM_COLD void level_change(struct mm_pmm *pmm, enum mm_zone zone)
{
    struct mm_pmm_watch *watch = &pmm->watch[zone];
    mm_lock_guard_t guard = mm_lock_take(&pmm->mode_lock);
    uint64_t free = zone_free(pmm, zone);
    struct mm_pmm_watermark mark = watch->mark;
    uint32_t before = watch->level;
    uint32_t now = before == MM_WATCH_OFF ? before : level_for(watch, before, free);

    mm_store_relaxed_u32(&watch->level, now);
    mm_lock_release(&pmm->mode_lock, guard);
    if (now != before)
        mark.fn(mark.arg, zone, (enum mm_memory_level)now, free);
}

static void watch_zone(struct mm_pmm *pmm, enum mm_zone zone)
{
    const struct mm_pmm_watch *watch = &pmm->watch[zone];
    uint32_t level = mm_load_relaxed_u32(&watch->level);

    if (level != MM_WATCH_OFF && level_for(watch, level, zone_free(pmm, zone)) != level)
        level_change(pmm, zone);
}

void mm_watch_zones(struct mm_pmm *pmm)
{
    uint32_t watched = mm_load_relaxed_u32(&pmm->watched);

    for (; watched != 0; watched &= watched - 1)
        watch_zone(pmm, (enum mm_zone)mm_lowest_bit(watched));
}

MM_COLD enum mm_err mm_pmm_set_watermark(struct mm_pmm *pmm, enum mm_zone zone,
                                         const struct mm_pmm_watermark *mark)
{
    struct mm_pmm_watch *watch;
    mm_lock_guard_t guard;

    if (pmm == NULL || pmm->watch == NULL || (unsigned)zone >= MM_ZONES ||
        (mark != NULL && (mark->fn == NULL || mark->min_frames > mark->low_frames ||
                          mark->low_frames > mark->high_frames)))
        return MM_ERR_BAD_ARG;
    watch = &pmm->watch[zone];
    guard = mm_lock_take(&pmm->mode_lock);
    mm_store_relaxed_u32(&watch->level, MM_WATCH_OFF);
    watch->mark.fn = mark != NULL ? mark->fn : NULL;
    watch->mark.arg = mark != NULL ? mark->arg : NULL;
    mm_store_relaxed_u64(&watch->mark.min_frames, mark != NULL ? mark->min_frames : 0);
    mm_store_relaxed_u64(&watch->mark.low_frames, mark != NULL ? mark->low_frames : 0);
    mm_store_relaxed_u64(&watch->mark.high_frames, mark != NULL ? mark->high_frames : 0);
    if (mark != NULL)
        mm_store_relaxed_u32(&watch->level, MM_MEMORY_PLENTY);
    mm_store_relaxed_u32(&pmm->watched,
                         (pmm->watched & ~(1u << zone)) | (mark != NULL ? 1u << zone : 0));
    mm_lock_release(&pmm->mode_lock, guard);
    if (mark != NULL)
        mm_watch_zones(pmm); /* it may be low already */
    return MM_OK;
}
