/*
 * range.c - what the calls on ranges check first, and how they go through their range.
 *
 * Problem     Unmap and protect must either do all or change nothing, although the range may hold
 *             holes, need tables for splits, and be too long for one hold of the lock.
 * Idea        First a dry pass that only looks. Then, in one hold of the lock, take the tables that
 *             the two edges need (at most levels - 2 each) and split there, which changes no
 *             translation. After that nothing can fail, and the work goes piece by piece.
 * Invariants  I1 a range is in one half, canonical at both ends, and does not wrap
 *             I2 a split is flushed before the rights or presence of its parts change: a CPU never
 *                has two sizes with different rights for one address (SDM vol. 3A, 4.10.2.3)
 *             I3 a piece can remove no more tables than the gather has room for
 * Locking     Per piece; between pieces, and in a flush, other calls may come in. The gather holds
 *             the space meanwhile, so mm_space_destroy() is not among them. Two calls that change
 *             the same range at the same time may find it cut again: MM_ERR_AGAIN.
 * Cost        Two passes over the entries of the range.
 * Rejected    Undoing after a failure: undoing needs what just failed. Letting destroy win and
 *             looking again after each hold of the lock (MM_ERR_GONE): the flush that waits reads
 *             the struct, which would be its owner's to use again, perhaps for another space.
 */
#include "vmm_internal.h"

enum mm_err mm_range_check(const struct mm_space *space, mm_virt_t virt, uint64_t bytes,
                           struct mm_span *out, struct mm_space_fail *fail)
{
    enum mm_err err = mm_space_alive(space);
    unsigned levels;
    uint64_t last;

    if (err == MM_OK && (bytes == 0 || !mm_is_aligned(virt.raw | bytes, MM_FRAME_BYTES)))
        err = MM_ERR_BAD_ARG;
    else if (err == MM_OK && !mm_range_ok(virt.raw, bytes))
        err = MM_ERR_RANGE;
    if (err != MM_OK)
        return mm_fail(fail, err, virt.raw, 0, mm_pte_empty());
    last = mm_range_last(virt.raw, bytes);
    levels = space->vmm->paging.levels;
    if (!mm_pt_canonical(virt, levels) || !mm_pt_canonical(mm_virt(last), levels) ||
        mm_pt_kernel_half(virt) != mm_pt_kernel_half(mm_virt(last)))
        return mm_fail(fail, MM_ERR_RANGE, virt.raw, 0, mm_pte_empty());
    if (!mm_space_is_kernel(space) && last >= space->vmm->layout.user_end.raw)
        return mm_fail(fail, MM_ERR_POLICY, virt.raw, 0, mm_pte_empty());
    *out = (struct mm_span){virt.raw, last};
    return MM_OK;
}

enum mm_err mm_range_check_prot(const struct mm_space *space, uint64_t virt, uint32_t prot,
                                bool allow_wx, struct mm_space_fail *fail)
{
    uint32_t wx = MM_PROT_WRITE | MM_PROT_EXEC;

    if ((prot & ~MM_PROT_ALL) != 0 || (prot & MM_PROT_READ) == 0)
        return mm_fail(fail, MM_ERR_BAD_ARG, virt, 0, mm_pte_empty());
    if ((prot & wx) == wx && !allow_wx && (space->flags & MM_SPACE_ALLOW_WX) == 0)
        return mm_fail(fail, MM_ERR_POLICY, virt, 0, mm_pte_empty());
    if ((prot & MM_PROT_USER) != 0 && mm_pt_kernel_half(mm_virt(virt)))
        return mm_fail(fail, MM_ERR_POLICY, virt, 0, mm_pte_empty());
    return MM_OK;
}

struct dry_pass {
    unsigned prot;
    bool holes;
};

static enum mm_err dry_hole(struct mm_walker *walker, struct mm_visit *visit)
{
    const struct dry_pass *pass = walker->context;

    if (pass->holes)
        return MM_OK;
    return mm_fail(walker->fail, MM_ERR_NOT_FOUND, walker->virt, visit->level, visit->entry);
}

static enum mm_err dry_leaf(struct mm_walker *walker, struct mm_visit *visit)
{
    const struct dry_pass *pass = walker->context;

    if ((pass->prot & ~visit->rights) != 0)
        return mm_fail(walker->fail, MM_ERR_POLICY, walker->virt, visit->level, visit->entry);
    return MM_OK;
}

/* Count, take and split in one hold of the lock, so that the count is right. */
static enum mm_err edges_split(struct mm_space *space, const struct mm_span *span,
                               struct mm_gather *gather, bool *split)
{
    struct mm_reserve reserve = {{0}, 0};
    mm_lock_guard_t guard = mm_lock_take(&space->lock);
    unsigned tables = mm_split_tables_locked(space, span);
    enum mm_err err = mm_reserve_for(space, &reserve, tables);

    if (err == MM_OK)
        mm_split_edges_locked(space, span, &reserve, gather);
    mm_lock_release(&space->lock, guard);
    mm_reserve_drop(space->vmm, &reserve);
    *split = tables != 0;
    return err;
}

/* Is the gather one that may be used for the space: of it, and begun while it lived? */
enum mm_err mm_range_check_gather(const struct mm_gather *gather, const struct mm_space *space,
                                  mm_virt_t virt, struct mm_space_fail *fail)
{
    if (gather->space == space && (gather->flags & MM_GATHER_HOLDS) != 0)
        return MM_OK;
    return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
}

/* Make sure that nothing can fail any more: holes (unless MM_RANGE_HOLES), rights that the levels
 * above do not grant, and large pages that an edge cuts, which are split and flushed. */
static enum mm_err range_prepare(struct mm_space *space, struct mm_span span, uint32_t flags,
                                 unsigned prot, struct mm_gather *gather,
                                 struct mm_space_fail *fail)
{
    struct dry_pass pass = {prot, (flags & MM_RANGE_HOLES) != 0};
    struct mm_walker walker = mm_walker_over(space, span, &pass, fail);
    bool split = false;
    enum mm_err err;

    walker.hole = dry_hole;
    walker.leaf = dry_leaf;
    err = mm_walker_run_pieces(&walker, space);
    if (err != MM_OK)
        return err;
    err = edges_split(space, &span, gather, &split);
    if (err != MM_OK)
        return mm_fail(fail, err, span.first, 0, mm_pte_empty());
    if (split)
        mm_gather_flush(gather);
    return MM_OK;
}

static enum mm_err run_pieces(struct mm_change *change, struct mm_walker *walker)
{
    struct mm_gather *gather = change->gather;
    enum mm_err err;

    do {
        mm_lock_guard_t guard;

        if (MM_GATHER_TABLES - gather->table_count < MM_PT_LEVELS_MAX)
            mm_gather_flush(gather);
        guard = mm_lock_take(&change->space->lock);
        walker->budget = MM_GATHER_TABLES - gather->table_count;
        err = mm_walker_run(walker);
        mm_lock_release(&change->space->lock, guard);
    } while (err == MM_OK && walker->progress != MM_WALKER_DONE);
    return err;
}

static enum mm_err change_span(struct mm_change *change, uint32_t flags, struct mm_space_fail *fail)
{
    struct mm_walker walker;
    enum mm_err err =
        range_prepare(change->space, change->span, flags, change->prot, change->gather, fail);

    if (err != MM_OK)
        return err;
    walker = mm_walker_over(change->space, change->span, change, fail);
    walker.leaf = change->leaf;
    walker.leave = change->leave;
    return run_pieces(change, &walker);
}

/* Flush before returning, whatever happened. */
static enum mm_err change_and_flush(struct mm_change *change, uint32_t flags,
                                    struct mm_space_fail *fail)
{
    struct mm_gather gather;
    enum mm_err err;

    mm_gather_begin(&gather, change->space);
    if ((gather.flags & MM_GATHER_HOLDS) == 0)
        return mm_fail(fail, MM_ERR_GONE, change->span.first, 0, mm_pte_empty());
    change->gather = &gather;
    err = change_span(change, flags, fail);
    mm_gather_end(&gather);
    return err;
}

enum mm_err mm_range_change(struct mm_change *change, uint32_t flags, struct mm_space_fail *fail)
{
    return change->gather != NULL ? change_span(change, flags, fail)
                                  : change_and_flush(change, flags, fail);
}
