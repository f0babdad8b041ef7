/*
 * change.h - a call on a range, on its way through the tables that are there.
 *
 * Problem     Unmap, protect and the look before them visit the same tables by the same rules.
 * Idea        One record of the call, and functions to enter and leave a table. A pass is a function for
 *             each of the lowest two levels, where the work is, and one for those above.
 * Invariants  R1 what look() locked stays locked until the change has been there
 *             R2 a long range is not looked at and changed in one section: then each table is locked
 *                while it is changed, and what is found may be new
 * Locking     subtree.h.
 * Cost        -
 * Rejected    Callbacks for each entry: 5 ns for each.
 */
#ifndef MM_VMM_CHANGE_H
#define MM_VMM_CHANGE_H

#include "subtree.h"

struct mm_change {
    /* of the call */
    struct mm_space *space;
    struct mm_gather *gather;
    struct mm_space_fail *fail;
    struct mm_span span;
    unsigned prot; /* of protect; MM_PROT_NONE = unmap */
    bool holes;    /* are skipped */
    /* of the pass */
    bool take;    /* tables are locked when they are entered */
    bool drop;    /* and unlocked when they are left; both false: only read */
    bool locked;  /* all tables of the range are locked: nothing is new */
    bool watched; /* the hardware may set accessed and dirty meanwhile */
    bool paused;  /* the budget was used up: go on in another section */
    bool stopped; /* before the table that is here, which is not locked: paused, or out of reach */
    bool cut;     /* a large page sticks out of the span, or is to be flushed before it changes */
    unsigned owned;   /* pages that may be of frames of the space: seen by a look that locks */
    unsigned budget;  /* tables that may still be entered or removed */
    uint64_t resizes; /* of the space, when mm_range_split() began to flush: later ones are not */
    struct mm_way way;
    uint64_t reserved;   /* bits of a leaf of level 1 */
    uint64_t reserved_2; /* and of level 2 */
    struct mm_subtree subtree;
};

/* One pass each over the subtree that is locked, from where the way is to the end of the range or of
 * the budget. */
enum mm_err mm_look(struct mm_change *change);    /* holes, rights, damage: changes nothing */
enum mm_err mm_unmap(struct mm_change *change);   /* cannot fail if `locked` */
enum mm_err mm_protect(struct mm_change *change); /* the same */

/* Unmap if it needs no look at anything but the pages themselves; the subtree is a leaf table. */
bool mm_unmap_pages(struct mm_change *change);

/* Split the large pages that an edge of change->span cuts, and flush that; and parts of joined ones. Of the record: the fields of
 * the call. Not in a section; the space is held. */
enum mm_err mm_range_split(struct mm_change *change);

/* All or nothing, but for MM_ERR_AGAIN and damage found late. `gather` NULL: one on the stack,
 * flushed before the call returns. */
enum mm_err mm_range_change(struct mm_change *change, struct mm_gather *gather);

/* Does an entry of `level` that leads to a table come off as one, with all below it? */
static inline bool mm_change_takes_all(const struct mm_change *change, unsigned level)
{
    return change->prot == MM_PROT_NONE && level <= MM_REMOVE_LEVEL_MAX &&
           mm_way_has_whole(&change->way, level);
}

/* The entry here was overwritten: what comes before it is done. */
static inline enum mm_err mm_change_refuse_damage(struct mm_change *change, mm_pte_t entry,
                                                  unsigned level)
{
    return mm_fail(change->fail, MM_ERR_CORRUPT, change->way.virt, level, entry);
}

/* Lock, as the pass does, and map the table that `entry` of `level` leads to, or pause. On failure it
 * is left. */
MM_INLINE enum mm_err mm_change_enter(struct mm_change *change, mm_pte_t entry, unsigned level,
                                      struct mm_table *out)
{
    const struct mm_window *window = change->space->vmm->window;
    enum mm_err err;

    change->paused = change->stopped = change->budget == 0;
    if (change->paused)
        return MM_OK;
    change->budget--;
    *out = (struct mm_table){.frame = mm_pte_phys(entry, level)};
    if (change->locked && change->drop) {
        out->entry = mm_table_map_known(window, out->frame); /* look() was there */
        mm_table_locked(&change->subtree.section, out, level - 1);
        return MM_OK;
    }
    err = mm_table_map(window, out->frame, &out->entry);
    if (err != MM_OK) {
        change->stopped = true;
        return mm_fail(change->fail, err, change->way.virt, level, entry);
    }
    if (change->take)
        mm_table_lock(&change->subtree.section, out, level - 1);
    return MM_OK;
}

MM_INLINE void mm_change_leave(struct mm_change *change, const struct mm_table *table)
{
    mm_table_unmap(change->space->vmm->window, table->entry);
    if (change->drop)
        mm_table_unlock(table);
}

/* ---- split.c ---- */

/* Tables needed so that no large page sticks out of `span` on either side, as far as can be said
 * without locks. In a section. */
unsigned mm_split_tables(struct mm_space *space, const struct mm_span *span);

/*
 * Split those pages with `*tables` tables of the reserve, counted down; their addresses go into the
 * gather. In the subtree's section, which has locked nothing.
 * Returns  MM_OK | MM_ERR_AGAIN (more tables are needed: some edges are split) | MM_ERR_WINDOW
 */
enum mm_err mm_split_edges(struct mm_change *change, struct mm_reserve *reserve, uint64_t *tables);

#endif
