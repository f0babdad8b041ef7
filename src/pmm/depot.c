/*
 * depot.c - full magazines in front of the pools of a node.
 *
 * Problem     Bursts longer than two magazines move frame by frame through the bitmaps, and with
 *             two CPUs the lines of a hundred random chunks move between caches.
 * Idea        A full magazine is kept whole, and the next CPU whose magazine is empty takes it.
 *             Only while whole chunks are plenty: the depot recycles frames past the sets that
 *             heal.
 * Invariants  Frames here are free and nobody's; anybody may bring them back to the pools, so the
 *             depot hides nothing.
 * Locking     depot.lock, above the pools' locks.
 * Cost        One copy of 1 KiB.
 * Rejected    Handing over the array instead of its contents: the record of a CPU could then not be
 *             one piece of memory near it.
 */
#include "pmm/stock.h"

bool mm_depot_put(struct mm_pmm *pmm, unsigned node, struct mm_magazine *magazine)
{
    struct mm_pmm_depot *depot = &pmm->node[node].depot;
    size_t bytes = pmm->magazine_frames * sizeof magazine->slot[0];
    mm_lock_guard_t guard;
    bool room;

    if (magazine->n != pmm->magazine_frames ||
        mm_load_relaxed_u32(&depot->count) == MM_DEPOT_MAGAZINES)
        return false;
    guard = mm_lock_take(&depot->lock);
    room = depot->count < MM_DEPOT_MAGAZINES;
    if (room) {
        MM_RACE_WRITE(depot->slot[depot->count], bytes);
        __builtin_memcpy(depot->slot[depot->count], magazine->slot, bytes);
        mm_store_relaxed_u32(&magazine->n, 0);
        mm_store_relaxed_u32(&depot->count, depot->count + 1);
    }
    mm_lock_release(&depot->lock, guard);
    return room;
}

bool mm_depot_take(struct mm_pmm *pmm, unsigned node, struct mm_magazine *magazine)
{
    struct mm_pmm_depot *depot = &pmm->node[node].depot;
    size_t bytes = pmm->magazine_frames * sizeof magazine->slot[0];
    mm_lock_guard_t guard;
    bool found;

    if (mm_load_relaxed_u32(&depot->count) == 0)
        return false;
    guard = mm_lock_take(&depot->lock);
    found = depot->count > 0;
    if (found) {
        MM_RACE_READ(depot->slot[depot->count - 1], bytes);
        __builtin_memcpy(magazine->slot, depot->slot[depot->count - 1], bytes);
        mm_store_relaxed_u32(&depot->count, depot->count - 1);
        mm_store_relaxed_u32(&magazine->n, pmm->magazine_frames);
    }
    mm_lock_release(&depot->lock, guard);
    return found;
}

/* One magazine to the pools, 64 frames with the lock held at a time. */
static bool depot_flush_one(struct mm_pmm *pmm, struct mm_pmm_depot *depot,
                            struct mm_stock_faults *faults)
{
    mm_lock_guard_t guard = mm_lock_take(&depot->lock);
    bool found = depot->count > 0;

    if (found) {
        MM_RACE_READ(depot->slot[depot->count - 1], pmm->magazine_frames * sizeof(mm_phys_t));
        mm_stock_give(pmm, depot->slot[depot->count - 1], pmm->magazine_frames, faults);
        mm_store_relaxed_u32(&depot->count, depot->count - 1);
    }
    mm_lock_release(&depot->lock, guard);
    return found;
}

void mm_depots_flush(struct mm_pmm *pmm, struct mm_stock_faults *faults)
{
    for (uint32_t i = 0; i < pmm->node_count; i++)
        while (mm_load_relaxed_u32(&pmm->node[i].depot.count) != 0 &&
               depot_flush_one(pmm, &pmm->node[i].depot, faults))
            ;
}
