/*
 * frame_source.c - the PMM as a source of page-table frames.
 *
 * Problem     The VMM takes table frames before there is a PMM and after; it must not know which.
 * Idea        Four functions over a context. Tables may use the reserve: half a mapping helps
 *             nobody. `owns` says what may be freed: an adopted root has tables that never came
 *             from here.
 * Invariants  A frame is owned exactly while it is managed and allocated; who asks knows that it is
 *             not in stock, since it is linked somewhere.
 * Locking     The pool's lock, to look.
 * Cost        As mm_pmm_alloc_frame(), mm_pmm_free_frame().
 * Rejected    Recording who allocated a frame: side tables for all.
 */
#include "base/report.h"
#include "pmm/pmm_internal.h"

static enum mm_err pmm_source_alloc(void *context, mm_phys_t *out)
{
    static const struct mm_frame_request reserved = {.flags = MM_FRAME_RESERVE};
    struct mm_pmm *pmm = context;
    enum mm_err err = mm_pmm_alloc_frame(pmm, out);

    return err == MM_ERR_NO_MEMORY ? mm_pmm_alloc(pmm, &reserved, out) : err;
}

static void pmm_source_free(void *context, mm_phys_t frame)
{
    struct mm_pmm *pmm = context;

    (void)mm_pmm_give_back(pmm, frame, 1, "mm_pmm_frame_source", MM_CALLER);
}

static bool pmm_source_owns(void *context, mm_phys_t frame)
{
    struct mm_pmm *pmm = context;
    struct mm_pmm_pool *pool;
    struct mm_place place;
    mm_lock_guard_t guard;
    uint64_t allocated;

    if (!mm_place_of(pmm, mm_frame_of(frame), &place))
        return false;
    pool = mm_pool_of(pmm, place.region);
    guard = mm_lock_take(&pool->lock);
    allocated = mm_chunk_managed(pmm, place.chunk, place.index / 64) &
                ~mm_chunk_bits(pmm, place.chunk)[place.index / 64];
    mm_lock_release(&pool->lock, guard);
    return (allocated >> (place.index % 64) & 1) != 0;
}

static enum mm_err pmm_source_tag(void *context, mm_phys_t frame, uint16_t **out)
{
    struct mm_pmm *pmm = context;
    enum mm_err err = mm_pmm_tag(pmm, frame, true, out);

    return err == MM_ERR_UNSUPPORTED ? MM_ERR_NOT_FOUND : err; /* no window, so no tags at all */
}

struct mm_frame_source mm_pmm_frame_source(struct mm_pmm *pmm)
{
    return (struct mm_frame_source){
        .alloc = pmm_source_alloc,
        .free = pmm_source_free,
        .owns = pmm_source_owns,
        .tag = pmm_source_tag,
        .context = pmm,
    };
}
