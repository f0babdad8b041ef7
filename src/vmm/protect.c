/*
 * protect.c - changing the rights of what is mapped.
 *
 * Problem     The hardware sets accessed and dirty in the entry that is being rewritten; a plain
 *             store loses them, and with a lost dirty mark goes somebody's data. An exchange for each
 *             entry costs twenty stores. And with a store for each, what is decided about it costs more.
 * Idea        A plain store where the hardware has nothing left to set: accessed is, and dirty is or
 *             the page is not writable. Plain stores everywhere in a space that no CPU has loaded.
 *             Else read, compute, exchange if unchanged, and again. What became stricter is gathered
 *             for a flush; what only gained rights needs none (SDM vol. 3A, 4.10.4.3). Pages in a row
 *             are mostly of one kind, so that this is decided once for a run of them.
 * Invariants  I1 frame, size, memory type, accessed and dirty of a page stay
 *             I2 a right that was taken away is gone on every CPU when the gather has ended
 *             I3 a large page is flushed whatever changed: it may be split next, and a CPU that still has
 *                its old form would have two sizes with different rights for one address
 * Locking     subtree.h; none during the flush.
 * Cost        A load, a compare and a store per page, or one locked exchange.
 * Rejected    Unmapping and mapping again: other CPUs would fault in between.
 */
#include "base/report.h"
#include "change.h"

static enum mm_err protect_1(struct mm_change *change, struct mm_table *table, unsigned rights);
static enum mm_err protect_2(struct mm_change *change, struct mm_table *table, unsigned rights);
static enum mm_err protect_upper(struct mm_change *change, struct mm_table *table, unsigned rights,
                                 unsigned level);

static inline enum mm_err protect_table(struct mm_change *change, struct mm_table *table,
                                        unsigned rights, unsigned level)
{
    if (level == 1)
        return protect_1(change, table, rights);
    return level == 2 ? protect_2(change, table, rights)
                      : protect_upper(change, table, rights, level);
}

/* Does a plain store lose no mark? */
static inline bool may_store(const struct mm_change *change, mm_pte_t before)
{
    return !change->watched || mm_pte_settled(before);
}

static void rewrite(const struct mm_change *change, mm_pte_t *slot, mm_pte_t before,
                    const struct mm_pte_change *to)
{
    if (may_store(change, before)) {
        mm_pte_store(slot, mm_pte_changed(before, to));
        return;
    }
    while (!mm_pte_compare_swap(slot, &before, mm_pte_changed(before, to)))
        ; /* accessed or dirty was set */
}

/* The pages up to the first of another kind; returns how many. */
static MM_APART unsigned store_run(mm_pte_t *entry, unsigned pages, const struct mm_pte_kind *of)
{
    const struct mm_pte_kind kind = *of; /* in registers: no store changes it */
    unsigned i;

    for (i = 0; i < pages; i++) {
        mm_pte_t before = mm_pte_load(&entry[i]);

        if (!mm_pte_is_of_kind(before, &kind))
            break;
        mm_pte_store(&entry[i], mm_pte_turned(before, &kind));
    }
    return i;
}

/* The same, up to one that gets a mark between load and exchange. */
static MM_APART unsigned exchange_run(mm_pte_t *entry, unsigned pages, const struct mm_pte_kind *of)
{
    const struct mm_pte_kind kind = *of;
    unsigned i;

    for (i = 0; i < pages; i++) {
        mm_pte_t before = mm_pte_load(&entry[i]);

        if (!mm_pte_is_of_kind(before, &kind) ||
            !mm_pte_compare_swap(&entry[i], &before, mm_pte_turned(before, &kind)))
            break;
    }
    return i;
}

/* Pages like the first, of which none is to be gathered; 0: it got a mark in between. */
static unsigned protect_run(const struct mm_change *change, mm_pte_t *entry, unsigned pages,
                            const struct mm_pte_change *to, mm_pte_t first)
{
    const struct mm_pte_kind kind = mm_pte_kind_of(first, to, change->reserved, change->watched);

    return may_store(change, first) ? store_run(entry, pages, &kind)
                                    : exchange_run(entry, pages, &kind);
}

/* Returns how many of the pages were done: all, or those before one that was overwritten. */
static unsigned protect_pages(struct mm_change *change, mm_pte_t *entry, unsigned pages)
{
    const struct mm_pte_change to = mm_pte_change_to(change->prot);
    struct mm_gather *gather = change->gather;
    unsigned done = 0;

    while (done < pages) {
        mm_pte_t *slot = &entry[done];
        mm_pte_t before = mm_pte_load(slot);

        if (!mm_pte_is_sound_leaf(before, change->reserved, 1)) {
            if (mm_pte_is_present(before))
                break;
            done++;
        } else if ((gather->flags & MM_GATHER_EVERYTHING) == 0 && mm_pte_loses(before, &to)) {
            rewrite(change, slot, before, &to);
            mm_gather_page(gather, change->way.virt + ((uint64_t)done << MM_FRAME_SHIFT),
                           MM_FRAME_BYTES);
            done++;
        } else {
            done += protect_run(change, slot, pages - done, &to, before);
        }
    }
    return done;
}

static enum mm_err protect_1(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    unsigned first = mm_pt_index(mm_virt(change->way.virt), 1);
    unsigned pages = mm_way_pages(&change->way, first);
    mm_pte_t *entry = &table->entry[first];
    unsigned done = protect_pages(change, entry, pages);

    (void)rights;
    mm_way_advance_pages(&change->way, done);
    return done == pages ? MM_OK : mm_change_refuse_damage(change, entry[done], 1);
}

/* Who splits the page before the gather is flushed has to flush first (range.c, I2). */
static void note_large(const struct mm_change *change)
{
    struct mm_gather *gather = change->gather;

    if ((gather->flags & MM_GATHER_LARGE) != 0)
        return;
    gather->flags |= MM_GATHER_LARGE;
    mm_space_resizes(change->space, &change->space->larges);
}

static enum mm_err protect_leaf(struct mm_change *change, mm_pte_t *slot, mm_pte_t before,
                                unsigned level)
{
    const struct mm_pte_change to = mm_pte_change_to(change->prot);

    if (!mm_way_has_whole(&change->way, level))
        return mm_fail(change->fail, MM_ERR_AGAIN, change->way.virt, level, before);
    if (mm_pte_changed(before, &to).bits != before.bits) {
        note_large(change); /* before the store, which releases */
        rewrite(change, slot, before, &to);
        if (mm_space_joins(change->space))
            mm_gather_everything(change->gather);
        mm_gather_page(change->gather, change->way.virt, mm_pt_bytes(level)); /* I3 */
    }
    mm_way_advance(&change->way, mm_pt_bytes(level));
    return MM_OK;
}

MM_INLINE enum mm_err protect_below(struct mm_change *change, mm_pte_t entry, const unsigned level)
{
    struct mm_table child;
    enum mm_err err = mm_change_enter(change, entry, level, &child);

    if (err != MM_OK || change->paused)
        return err;
    err = protect_table(change, &child, 0, level - 1);
    mm_change_leave(change, &child);
    return err;
}

MM_INLINE enum mm_err protect_level(struct mm_change *change, struct mm_table *table,
                                    unsigned rights, const unsigned level)
{
    const struct mm_paging *paging = &change->space->vmm->paging;
    uint64_t end = mm_way_table_last(&change->way, level);
    enum mm_err err = MM_OK;

    (void)rights;
    while (err == MM_OK && !change->paused && mm_way_goes_on(&change->way, end)) {
        mm_pte_t *slot = &table->entry[mm_pt_index(mm_virt(change->way.virt), level)];
        mm_pte_t entry = mm_pte_load(slot);

        if (mm_entry_is_damaged(paging, entry, level))
            err = mm_change_refuse_damage(change, entry, level);
        else if (mm_pte_is_table(entry, level))
            err = protect_below(change, entry, level);
        else if (mm_pte_is_leaf(entry, level))
            err = protect_leaf(change, slot, entry, level);
        else
            mm_way_step_over(&change->way, level);
    }
    return err;
}

static enum mm_err protect_2(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    return protect_level(change, table, rights, 2);
}

static enum mm_err protect_upper(struct mm_change *change, struct mm_table *table, unsigned rights,
                                 unsigned level)
{
    return protect_level(change, table, rights, level);
}

enum mm_err mm_protect(struct mm_change *change)
{
    struct mm_subtree *subtree = &change->subtree;

    return protect_table(change, &subtree->top, subtree->rights, subtree->level);
}

enum mm_err mm_space_protect(struct mm_space *space, mm_virt_t virt, uint64_t bytes, uint32_t prot,
                             uint32_t flags, struct mm_gather *gather, struct mm_space_fail *fail)
{
    struct mm_space_fail why;
    struct mm_change change; /* not cleared: it is large */
    enum mm_err err;

    if ((flags & ~(MM_RANGE_HOLES | MM_RANGE_WX)) != 0)
        return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
    change.space = space;
    change.fail = fail != NULL ? fail : &why;
    change.prot = prot;
    change.holes = (flags & MM_RANGE_HOLES) != 0;
    err = mm_range_check(space, virt, bytes, &change.span, change.fail);
    if (err == MM_OK)
        err = mm_range_check_prot(space, virt.raw, prot, (flags & MM_RANGE_WX) != 0, change.fail);
    if (err == MM_OK && gather != NULL)
        err = mm_range_check_gather(gather, space, virt, change.fail);
    if (err != MM_OK)
        return err;
    err = mm_range_change(&change, gather);
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, change.fail, "mm_space_protect", MM_CALLER);
    return err;
}
