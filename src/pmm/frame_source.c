/*
 * frame_source.c - the PMM as a source of page-table frames.
 *
 * Problem     The VMM takes table frames before there is a PMM and after; it must not know which.
 * Idea        Three functions over a context. `owns` says what may be freed: an adopted root has
 *             tables that never came from here.
 * Invariants  A frame is owned exactly while it is managed and allocated.
 * Locking     mm_pmm.lock, inside each call.
 * Cost        As mm_pmm_alloc_frame(), mm_pmm_free_frame().
 * Rejected    Recording who allocated a frame: two bits per frame would become two words.
 */
#include "base/lock.h"
#include "base/report.h"
#include "pmm/pmm_internal.h"

static enum mm_err pmm_source_alloc(void *context, mm_phys_t *out)
{
    struct mm_pmm *pmm = context;

    return mm_pmm_alloc_frame(pmm, out);
}

static void pmm_source_free(void *context, mm_phys_t frame)
{
    struct mm_pmm *pmm = context;

    (void)mm_pmm_give_back(pmm, frame, 1, "mm_pmm_frame_source", MM_CALLER);
}

static bool pmm_source_owns(void *context, mm_phys_t frame)
{
    struct mm_pmm *pmm = context;
    const struct mm_pmm_region *region = mm_region_of(pmm, mm_frame_of(frame));
    mm_lock_guard_t guard;
    bool owns;

    if (region == NULL)
        return false;
    guard = mm_lock_take(&pmm->lock);
    owns = mm_region_has(pmm, region, MM_BITS_MANAGED, mm_frame_of(frame)) &&
           !mm_region_has(pmm, region, MM_BITS_FREE, mm_frame_of(frame));
    mm_lock_release(&pmm->lock, guard);
    return owns;
}

struct mm_frame_source mm_pmm_frame_source(struct mm_pmm *pmm)
{
    return (struct mm_frame_source){
        .alloc = pmm_source_alloc,
        .free = pmm_source_free,
        .owns = pmm_source_owns,
        .context = pmm,
    };
}
