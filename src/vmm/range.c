/*
 * range.c - what the calls on ranges check first, and how they go through their range.
 *
 * Problem     Unmap and protect must either do all or change nothing, although the range may hold
 *             holes, need tables for splits, and be too long for one hold of the lock. And most
 *             calls are about a few pages, and must not pay for the others.
 * Idea        First a pass that only looks. In the same hold of the lock, if it came to the end, the
 *             pass that changes, which cannot fail any more. A long range is looked at whole, piece
 *             by piece, and then changed piece by piece. Large pages that an edge cuts are split in
 *             between, with tables taken for it (at most levels - 2 for each edge), which changes
 *             no translation.
 * Invariants  I1 a range is in one half, canonical at both ends, and does not wrap
 *             I2 a split is flushed before the rights or presence of its parts change: a CPU never
 *                has two sizes with different rights for one address (SDM vol. 3A, 4.10.2.3)
 *             I3 a piece can remove no more tables than the gather has room for
 * Locking     Per piece; between pieces, and in a flush, other calls may come in. Who lets go of the
 *             lock and goes on holds the space meanwhile, so mm_space_destroy() does not come in.
 *             Two calls that change the same range at the same time may find it cut again:
 *             MM_ERR_AGAIN.
 * Cost        Two passes over the entries of the range; none over leaf tables that are removed
 *             whole and known to be full.
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

/* Is the gather one that may be used for the space: of it, and begun while it lived? */
enum mm_err mm_range_check_gather(const struct mm_gather *gather, const struct mm_space *space,
                                  mm_virt_t virt, struct mm_space_fail *fail)
{
    if (gather->space == space && (gather->flags & MM_GATHER_HOLDS) != 0)
        return MM_OK;
    return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
}

static void way_begin(struct mm_change *change)
{
    change->way = (struct mm_way){.virt = change->span.first, .last = change->span.last};
}

/* ---- one hold of the lock ---- */

/* May the CPUs of others write entries meanwhile? If none has the space loaded, and none can load
 * it until the rewriting ends, plain stores will do. */
static void rewrite_begin(struct mm_change *change)
{
    struct mm_space *space = change->space;
    struct mm_cpuset cpus;

    change->watched = true;
    if (change->prot == MM_PROT_NONE || mm_space_is_kernel(space) ||
        change->span.last - change->span.first < MM_REWRITE_BYTES)
        return;
    (void)mm_exchange_acq_rel_u32(&space->rewritten,
                                  1); /* pairs with load_on(): one sees the other */
    mm_fence_full();
    change->watched = mm_cpuset_read(&space->cpus, &cpus);
}

static void rewrite_end(struct mm_change *change)
{
    struct mm_space *space = change->space;

    mm_store_release_u32(&space->rewritten, 0);
    for (unsigned level = 1; level <= MM_PT_LEAF_LEVEL_MAX; level++) {
        space->leaf_count[level - 1] -= change->removed[level];
        space->mapped_frames -= change->removed[level] * (mm_pt_bytes(level) >> MM_FRAME_SHIFT);
        change->removed[level] = 0;
    }
    space->table_count -= change->tables;
    change->tables = 0;
}

/* As far as the gather has room. */
static enum mm_err change_piece(struct mm_change *change)
{
    enum mm_err err;

    MM_ASSERT_LOCKED(&change->space->lock);
    change->budget = MM_GATHER_TABLES - change->gather->table_count;
    change->paused = false;
    rewrite_begin(change);
    err = change->prot == MM_PROT_NONE ? mm_unmap(change) : mm_protect(change);
    rewrite_end(change);
    return err;
}

static enum mm_err look_piece(struct mm_change *change)
{
    change->budget = MM_PIECE_TABLES;
    change->paused = false;
    return mm_look(change);
}

/* ---- ranges that one hold is too short for ---- */

/* Count and split in one hold of the lock, so that the count is right; MM_ERR_AGAIN: the reserve had
 * too few. */
static enum mm_err edges_split_with(struct mm_change *change, struct mm_reserve *reserve,
                                    unsigned *tables)
{
    struct mm_space *space = change->space;
    mm_lock_guard_t guard = mm_lock_take(&space->lock);
    enum mm_err err;

    *tables = mm_split_tables_locked(space, &change->span);
    err = mm_reserve_claim(space, reserve, *tables);
    if (err == MM_OK)
        mm_split_edges_locked(space, &change->span, reserve, change->gather);
    mm_lock_release(&space->lock, guard);
    return err;
}

static enum mm_err edges_split(struct mm_change *change)
{
    struct mm_vmm *vmm = change->space->vmm;
    struct mm_reserve reserve = {{0}, 0};
    unsigned tables = 0;
    enum mm_err err;

    do {
        err = mm_reserve_fill(vmm, &reserve, tables);
        if (err == MM_OK)
            err = edges_split_with(change, &reserve, &tables);
    } while (err == MM_ERR_AGAIN);
    mm_reserve_drop(vmm, &reserve);
    if (err == MM_OK && tables != 0)
        mm_gather_flush(change->gather); /* I2 */
    if (err != MM_OK)
        return mm_fail(change->fail, err, change->span.first, 0, mm_pte_empty());
    return MM_OK;
}

/* Look at what is left to look at. */
static enum mm_err look_on(struct mm_change *change)
{
    enum mm_err err = MM_OK;

    while (err == MM_OK && !change->way.done) {
        mm_lock_guard_t guard = mm_lock_take(&change->space->lock);

        err = look_piece(change);
        mm_lock_release(&change->space->lock, guard);
    }
    return err;
}

static enum mm_err change_on(struct mm_change *change)
{
    enum mm_err err = MM_OK;

    while (err == MM_OK && !change->way.done) {
        mm_lock_guard_t guard;

        if (MM_GATHER_TABLES - change->gather->table_count < MM_PT_LEVELS_MAX)
            mm_gather_flush(change->gather);
        guard = mm_lock_take(&change->space->lock);
        err = change_piece(change);
        mm_lock_release(&change->space->lock, guard);
    }
    return err;
}

/* The first hold did not do. The space is held. */
static enum mm_err change_rest(struct mm_change *change)
{
    enum mm_err err = MM_OK;

    if (!change->changing) {
        err = look_on(change);
        if (err == MM_OK && change->cut)
            err = edges_split(change);
        change->changing = true;
        way_begin(change);
    }
    return err == MM_OK ? change_on(change) : err;
}

/* ---- the calls ---- */

/* The first hold of the lock, which does for most calls. */
static enum mm_err change_short(struct mm_change *change)
{
    enum mm_err err = mm_space_alive(change->space);

    if (err != MM_OK)
        return mm_fail(change->fail, err, change->span.first, 0, mm_pte_empty());
    way_begin(change);
    err = look_piece(change);
    if (err != MM_OK || !change->way.done || change->cut)
        return err;
    way_begin(change);
    change->changing = true;
    return change_piece(change);
}

static bool is_complete(const struct mm_change *change)
{
    return change->changing && change->way.done;
}

/* With a gather of the caller's, which holds the space. */
static enum mm_err change_gathered(struct mm_change *change)
{
    mm_lock_guard_t guard = mm_lock_take(&change->space->lock);
    enum mm_err err = change_short(change);

    mm_lock_release(&change->space->lock, guard);
    return err == MM_OK && !is_complete(change) ? change_rest(change) : err;
}

/* What is flushed at once needs no hold: the CPUs concerned are found while the lock is still held,
 * and after that only the gather is used. */
static enum mm_err change_flushed(struct mm_change *change)
{
    struct mm_space *space = change->space;
    struct mm_gather gather;
    struct mm_cpuset others;
    mm_lock_guard_t guard;
    bool complete, ask = false;
    enum mm_err err;

    change->gather = &gather;
    mm_gather_start(&gather, space);
    guard = mm_lock_take(&space->lock);
    err = change_short(change);
    complete = err != MM_OK || is_complete(change);
    if (!complete)
        err = mm_space_hold(space);
    else if (mm_gather_has_work(&gather))
        ask = mm_gather_flush_here(&gather, &others);
    mm_lock_release(&space->lock, guard);
    if (complete) {
        mm_gather_finish(&gather, ask ? &others : NULL);
        return err;
    }
    if (err != MM_OK) /* nothing has changed yet */
        return mm_fail(change->fail, err, change->span.first, 0, mm_pte_empty());
    err = change_rest(change);
    mm_gather_flush(&gather);
    mm_space_unhold(space);
    return err;
}

enum mm_err mm_range_change(struct mm_change *change, struct mm_gather *gather)
{
    const struct mm_paging *paging = &change->space->vmm->paging;

    for (unsigned level = 1; level <= MM_PT_LEAF_LEVEL_MAX; level++)
        change->reserved[level] = mm_pt_reserved_leaf(level, paging->phys_bits);
    change->gather = gather;
    return gather != NULL ? change_gathered(change) : change_flushed(change);
}
