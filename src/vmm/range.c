/*
 * range.c - what the calls on ranges check first, and how they go through their range.
 *
 * Problem     Unmap and protect must either do all or change nothing, although the range may hold
 *             holes, need tables for splits, and be too long for one section. And most calls are about
 *             a few pages, and must not pay for the others.
 * Idea        First a pass that only looks, and locks. In the same section, if it came to the end, the
 *             pass that changes, which cannot fail any more, and unlocks. A long range is looked at
 *             whole, piece by piece, without locks, and then changed piece by piece. Large pages that
 *             an edge cuts are split in between, with tables taken for it (at most levels - 2 for each
 *             edge), which changes no translation.
 * Invariants  I1 a range is in one half, canonical at both ends, and does not wrap
 *             I2 a split is flushed before the rights or presence of its parts change: a CPU never
 *                has two sizes with different rights for one address (SDM vol. 3A, 4.10.2.3)
 *             I3 a piece can remove no more tables than the gather has room for
 * Locking     subtree.h. Between pieces, and in a flush, other calls may come in. Who ends a section and
 *             goes on holds the space meanwhile, so mm_space_destroy() does not come in. Two calls that
 *             change the same range at the same time may find it cut again: MM_ERR_AGAIN.
 * Cost        Two passes over the entries of the range; none over leaf tables that are removed
 *             whole and known to be full.
 * Rejected    Undoing after a failure: undoing needs what just failed. Letting destroy win and
 *             looking again after each section (MM_ERR_GONE): the flush that waits reads the struct,
 *             which would be its owner's to use again, perhaps for another space.
 */
#include "change.h"

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
    if (gather->space == space &&
        (gather->flags & (MM_GATHER_HOLDS | MM_GATHER_FREES)) == MM_GATHER_HOLDS &&
        gather->later.run == NULL) /* not ended */
        return MM_OK;
    return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
}

static void way_begin(struct mm_change *change)
{
    change->way = (struct mm_way){.virt = change->span.first, .last = change->span.last};
}

/* ---- one section ---- */

/* May the CPUs of others write entries meanwhile? If none has the space loaded, and none can load
 * it until the rewriting ends, plain stores will do. */
static bool rewrite_begin(struct mm_change *change)
{
    struct mm_space *space = change->space;
    struct mm_cpuset cpus;

    change->watched = true;
    if (change->prot == MM_PROT_NONE || mm_space_is_kernel(space) ||
        change->span.last - change->span.first < MM_REWRITE_BYTES)
        return false;
    (void)mm_fetch_add_relaxed_u32(&space->rewriters, 1);
    mm_fence_full(); /* pairs with load_on(): one sees the other */
    change->watched = mm_cpuset_read(&space->cpus, space->vmm->cpu_count, &cpus);
    return true;
}

static void rewrite_end(struct mm_change *change)
{
    (void)mm_fetch_add_release_u32(&change->space->rewriters, 0u - 1); /* pairs with load_on() */
}

/* Change what is left, as far as the budget goes, and let go of the subtree. */
static enum mm_err change_subtree(struct mm_change *change)
{
    struct mm_subtree *subtree = &change->subtree;
    uint64_t first = change->way.virt;
    uint16_t before = subtree->top.word;
    bool unmaps = change->prot == MM_PROT_NONE;
    bool rewrites = rewrite_begin(change);
    enum mm_err err = unmaps ? mm_unmap(change) : mm_protect(change);

    if (rewrites)
        rewrite_end(change);
    if (unmaps && (subtree->top.word != before || change->holes))
        mm_subtree_prune(subtree, first, change->gather);
    else
        mm_subtree_unlock(subtree);
    return err;
}

static void look_begin(struct mm_change *change, bool lock)
{
    change->take = lock;
    change->drop = false;
    change->locked = lock;
    change->paused = change->stopped = false;
    change->cut = false;
    change->owned = 0;
    change->budget = lock ? mm_gather_room(change->gather) : MM_PIECE_TABLES;
}

/* Look, and if that came to the end, change. In a section. Not complete: the way is where the look is. */
static enum mm_err change_locked(struct mm_change *change, bool *complete)
{
    struct mm_subtree *subtree = &change->subtree;
    uint64_t first = change->span.first;
    enum mm_err err = mm_subtree_lock(subtree, first, change->span.last, change->fail);

    *complete = true;
    if (err != MM_OK)
        return err;
    if (subtree->level == 1 && change->prot == MM_PROT_NONE && mm_unmap_pages(change)) {
        mm_subtree_prune(subtree, first, change->gather);
        return MM_OK;
    }
    way_begin(change);
    look_begin(change, true);
    err = mm_look(change);
    if (err != MM_OK || !change->way.done || change->cut ||
        change->owned > MM_GATHER_OWNED - change->gather->owned_count) {
        uint64_t last = change->way.done ? change->way.last : change->way.virt;

        if (!change->stopped || last != first)
            mm_subtree_unlock_below(subtree, first, last - (change->stopped ? 1 : 0));
        mm_subtree_unlock(subtree);
        *complete = err != MM_OK;
        return err;
    }
    way_begin(change);
    change->take = false;
    change->drop = true;
    change->reserved = 0; /* what look has seen is still so */
    change->budget = UINT32_MAX;
    err = change_subtree(change);
    *complete = err != MM_OK || change->way.done;
    return err;
}

/* ---- ranges that one section is too short for. The space is held. ---- */

/* Tables that the edges need now, in the reserve and within the limit. */
static enum mm_err edges_prepare(struct mm_change *change, struct mm_reserve *reserve,
                                 uint64_t *tables)
{
    struct mm_space *space = change->space;
    struct mm_section section;
    enum mm_err err = mm_section_begin(&section, space, true);

    *tables = 0;
    if (err != MM_OK)
        return err;
    *tables = mm_split_tables(space, &change->span);
    mm_section_end(&section);
    err = mm_reserve_fill(space->vmm, reserve, *tables);
    return err == MM_OK ? mm_reserve_claim(space, reserve, *tables) : err;
}

/* `tables` of the reserve are claimed. */
static enum mm_err edges_try(struct mm_change *change, struct mm_reserve *reserve, uint64_t tables)
{
    struct mm_subtree *subtree = &change->subtree;
    enum mm_err err = mm_section_begin(&subtree->section, change->space, false);

    if (err != MM_OK) {
        (void)mm_fail(change->fail, err, change->span.first, 0, mm_pte_empty());
    } else {
        err = mm_split_edges(change, reserve, &tables);
        mm_section_end(&subtree->section);
    }
    (void)mm_fetch_add_relaxed_u64(&change->space->table_count, 0 - tables);
    return err;
}

/* May CPUs have something of another size, or with other rights, than the tables say, by other calls than
 * this one, which splits? */
static bool others_resize(const struct mm_space *space)
{
    return mm_space_joins(space) || mm_load_acquire_u64(&space->larges) != 0 ||
           mm_load_acquire_u64(&space->splits) > 1;
}

enum mm_err mm_range_split(struct mm_change *change)
{
    struct mm_space *space = change->space;
    struct mm_reserve reserve = {{0}, 0};
    uint64_t tables;
    enum mm_err err;

    if ((change->gather->flags & MM_GATHER_DEFERRED) != 0) /* it would be flushed: I2 */
        return mm_fail(change->fail, MM_ERR_BUSY, change->span.first, 0, mm_pte_empty());
    mm_space_resizes(space, &space->splits);
    do { /* again, if others have made larger pages meanwhile, or changed some */
        change->resizes = mm_load_acquire_u64(&space->resizes);
        if (others_resize(space))
            mm_gather_everything(change->gather);
        err = edges_prepare(change, &reserve, &tables);
        if (err != MM_OK) {
            (void)mm_fail(change->fail, err, change->span.first, 0, mm_pte_empty());
            break;
        }
        if (mm_gather_has_work(change->gather))
            mm_gather_flush(change->gather); /* I2: rights of the large page, or its parts */
        err = edges_try(change, &reserve, tables);
    } while (err == MM_ERR_AGAIN);
    mm_reserve_drop(space->vmm, &reserve);
    if (mm_gather_has_work(change->gather))
        mm_gather_flush(change->gather); /* I2 */
    (void)mm_fetch_add_release_u64(&space->splits, 0 - UINT64_C(1));
    return err;
}

/* The way may not begin in this section where it was in the last: subtrees come and go. */
static enum mm_err piece_begin(struct mm_change *change)
{
    enum mm_err err = mm_section_begin(&change->subtree.section, change->space, false);

    if (err != MM_OK)
        return mm_fail(change->fail, err, change->way.virt, 0, mm_pte_empty());
    err = mm_subtree_lock(&change->subtree, change->way.virt, change->way.last, change->fail);
    if (err != MM_OK)
        mm_section_end(&change->subtree.section);
    return err;
}

/* From where the first look ended. */
static enum mm_err look_on(struct mm_change *change)
{
    bool cut = change->cut;
    enum mm_err err = MM_OK;

    while (err == MM_OK && !change->way.done) {
        err = piece_begin(change);
        if (err != MM_OK)
            break;
        look_begin(change, false);
        err = mm_look(change);
        cut |= change->cut;
        mm_subtree_unlock(&change->subtree);
        mm_section_end(&change->subtree.section);
    }
    change->cut = cut;
    return err;
}

static enum mm_err change_on(struct mm_change *change)
{
    const struct mm_paging *paging = &change->space->vmm->paging;
    enum mm_err err = MM_OK;

    way_begin(change);
    change->reserved = mm_pt_reserved_leaf(1, paging->phys_bits);
    change->locked = false;
    change->take = change->drop = true;
    while (err == MM_OK && !change->way.done) {
        err = mm_gather_make_room(change->gather);
        if (err != MM_OK)
            return mm_fail(change->fail, err, change->way.virt, 0, mm_pte_empty());
        err = piece_begin(change);
        if (err != MM_OK)
            break;
        change->paused = change->stopped = false;
        change->budget = mm_gather_room(change->gather);
        err = change_subtree(change);
        mm_section_end(&change->subtree.section);
    }
    return err;
}

static enum mm_err change_long(struct mm_change *change)
{
    enum mm_err err = look_on(change);

    if (err == MM_OK && change->cut)
        err = mm_range_split(change);
    return err == MM_OK ? change_on(change) : err;
}

/* ---- the calls ---- */

/* The first section, which does for most calls. It goes on. *complete: nothing is left to do; else the
 * space is held. */
static enum mm_err change_short(struct mm_change *change, bool *complete)
{
    enum mm_err err = change_locked(change, complete);

    if (*complete)
        return err;
    err = mm_space_hold(change->space);
    if (err != MM_OK) { /* nothing has changed yet */
        *complete = true;
        return mm_fail(change->fail, err, change->span.first, 0, mm_pte_empty());
    }
    return MM_OK;
}

/* With a gather of the caller's. */
static enum mm_err change_gathered(struct mm_change *change)
{
    bool complete;
    enum mm_err err = mm_gather_make_room(change->gather);

    if (err == MM_OK)
        err = mm_section_begin(&change->subtree.section, change->space, false);
    if (err != MM_OK)
        return mm_fail(change->fail, err, change->span.first, 0, mm_pte_empty());
    err = change_short(change, &complete);
    mm_section_end(&change->subtree.section);
    if (complete)
        return err;
    err = change_long(change);
    mm_space_unhold(change->space);
    return err;
}

/* What is flushed at once: the CPUs concerned are found in the section, and after it only the gather
 * is used. */
static enum mm_err change_flushed(struct mm_change *change)
{
    struct mm_space *space = change->space;
    struct mm_gather gather;
    struct mm_cpuset others;
    bool complete, ask = false, holds = false;
    enum mm_err err = mm_section_begin(&change->subtree.section, change->space, false);

    if (err != MM_OK)
        return mm_fail(change->fail, err, change->span.first, 0, mm_pte_empty());
    change->gather = &gather;
    mm_gather_start(&gather, space);
    err = change_short(change, &complete);
    if (complete && (gather.flags & MM_GATHER_LARGE) != 0)
        holds = mm_gather_hold_large(&gather);
    if (complete && mm_gather_has_work(&gather))
        ask = mm_gather_flush_here(&gather, &others);
    mm_section_end(&change->subtree.section);
    if (complete) {
        mm_gather_finish(&gather, ask ? &others : NULL);
    } else {
        err = change_long(change);
        mm_gather_flush(&gather);
    }
    if (holds || !complete)
        mm_space_unhold(space);
    return err;
}

enum mm_err mm_range_change(struct mm_change *change, struct mm_gather *gather)
{
    change->reserved = mm_pt_reserved_leaf(1, change->space->vmm->paging.phys_bits);
    change->reserved_2 = mm_pt_reserved_leaf(2, change->space->vmm->paging.phys_bits);
    change->gather = gather;
    return gather != NULL ? change_gathered(change) : change_flushed(change);
}
