/*
 * look.c - can a range be unmapped or protected as a whole?
 *
 * Problem     Half an unmap is worse than none; so holes, damaged entries, rights that an upper level
 *             denies, and large pages that an edge cuts must be known before the first store.
 * Idea        A pass that only reads. At release a leaf table that is to go whole is not read if its
 *             count says that it is full, or if holes do not matter.
 * Invariants  I1 no entry is written
 *             I2 each table that unmap or protect will enter or remove was counted against the budget,
 *                and is locked, where the pass locks
 * Locking     subtree.h.
 * Cost        One load per entry of the leaf tables that are not removed whole.
 * Rejected    Looking and changing entry by entry in one pass: what was changed must be changed back
 *             when a hole comes, and other CPUs have seen it.
 */
#include "change.h"

static enum mm_err look_1(struct mm_change *change, struct mm_table *table, unsigned rights);
static enum mm_err look_2(struct mm_change *change, struct mm_table *table, unsigned rights);
static enum mm_err look_upper(struct mm_change *change, struct mm_table *table, unsigned rights,
                              unsigned level);

static inline enum mm_err look_table(struct mm_change *change, struct mm_table *table,
                                     unsigned rights, unsigned level)
{
    if (level == 1)
        return look_1(change, table, rights);
    return level == 2 ? look_2(change, table, rights) : look_upper(change, table, rights, level);
}

/* An entry that is no sound leaf and no table. */
static MM_COLD enum mm_err look_other(struct mm_change *change, mm_pte_t entry, unsigned level)
{
    if (mm_entry_is_damaged(&change->space->vmm->paging, entry, level))
        return mm_fail(change->fail, MM_ERR_CORRUPT, change->way.virt, level, entry);
    if (change->holes)
        return MM_OK;
    return mm_fail(change->fail, MM_ERR_NOT_FOUND, change->way.virt, level, entry);
}

/* A level above denies a right: the first page cannot have it. */
static MM_COLD enum mm_err look_denied(struct mm_change *change, const mm_pte_t *entry,
                                       unsigned pages)
{
    for (unsigned i = 0; i < pages; i++) {
        mm_pte_t here = mm_pte_load(&entry[i]);
        enum mm_err err;

        if (mm_pte_is_sound_leaf(here, change->reserved, 1))
            err = mm_fail(change->fail, MM_ERR_POLICY, change->way.virt, 1, here);
        else
            err = look_other(change, here, 1);
        if (err != MM_OK)
            return err;
        mm_way_advance_pages(&change->way, 1);
    }
    return MM_OK;
}

/* Sound leaves of `level` up to the first entry that is none. */
static MM_APART unsigned look_run(const mm_pte_t *entry, unsigned count, uint64_t reserved,
                                  unsigned level)
{
    unsigned i = 0;

    while (mm_are_leaves(&entry[i], count - i, reserved, level))
        i += 4;
    while (i < count && mm_pte_is_sound_leaf(mm_pte_load(&entry[i]), reserved, level))
        i++;
    return i;
}

static enum mm_err look_1(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    unsigned first = mm_pt_index(mm_virt(change->way.virt), 1);
    unsigned pages = mm_way_pages(&change->way, first);
    const mm_pte_t *entry = &table->entry[first];
    uint64_t reserved = change->reserved;
    unsigned i = 0;

    if ((change->prot & ~rights) != 0)
        return look_denied(change, entry, pages);
    change->cut |= change->prot != MM_PROT_NONE && mm_space_splits(change->space); /* range.c, I2 */
    if (change->take && change->prot == MM_PROT_NONE && mm_table_may_own(table) &&
        mm_space_may_own(change->space))
        change->owned += pages;
    for (;;) {
        enum mm_err err;

        i += look_run(&entry[i], pages - i, reserved, 1);
        if (i == pages)
            break;
        change->way.virt += (uint64_t)i << MM_FRAME_SHIFT;
        err = look_other(change, mm_pte_load(&entry[i]), 1);
        if (err != MM_OK)
            return err;
        change->way.virt -= (uint64_t)i << MM_FRAME_SHIFT;
        i++;
    }
    mm_way_advance_pages(&change->way, pages);
    return MM_OK;
}

/* Nothing below needs a look: all of it goes, and it is full or may have holes. It is locked, as the
 * pass does. */
static bool look_is_needless(struct mm_change *change, mm_pte_t entry, unsigned level)
{
    struct mm_table child = {.frame = mm_pte_phys(entry, level)};

    if (MM_LEVEL != MM_LEVEL_RELEASE || level != 2 || change->budget == 0 ||
        !mm_change_takes_all(change, 2))
        return false;
    child.tag = mm_table_tag(change->space->vmm, child.frame, 1);
    if (child.tag == NULL ||
        (!change->holes && (mm_load_relaxed_u16(child.tag) & MM_TAG_LIVE) != mm_pt_entries(1)))
        return false;
    if (change->take) {
        mm_table_lock(&change->subtree.section, &child, 1);
        if (!change->holes && (child.word & MM_TAG_LIVE) != mm_pt_entries(1)) {
            mm_table_unlock(&child);
            return false;
        }
    }
    return true;
}

MM_INLINE enum mm_err look_below(struct mm_change *change, mm_pte_t entry, const unsigned level,
                                 unsigned rights)
{
    uint64_t here = change->way.virt;
    struct mm_table child;
    enum mm_err err;

    if (look_is_needless(change, entry, level)) {
        change->budget--;
        mm_way_advance(&change->way, mm_pt_bytes(level));
        return MM_OK;
    }
    err = mm_change_enter(change, entry, level, &child);
    if (err != MM_OK || change->paused)
        return err;
    err = look_table(change, &child, rights & mm_pte_prot(entry), level - 1);
    mm_change_leave(change, &child);
    if (change->take && change->stopped && change->way.virt == here)
        mm_table_unlock(&child); /* nothing of it was looked at: who unlocks will not come here */
    return err;
}

MM_INLINE enum mm_err look_level(struct mm_change *change, const struct mm_table *table,
                                 unsigned rights, const unsigned level)
{
    const struct mm_paging *paging = &change->space->vmm->paging;
    uint64_t end = mm_way_table_last(&change->way, level);
    bool in_parts = change->prot != MM_PROT_NONE &&
                    (mm_space_joins(change->space) || mm_space_splits(change->space));
    enum mm_err err = MM_OK;

    while (err == MM_OK && !change->paused && mm_way_goes_on(&change->way, end)) {
        unsigned index = mm_pt_index(mm_virt(change->way.virt), level);
        mm_pte_t entry = mm_pte_load(&table->entry[index]);

        if (level == 2 && mm_pte_is_sound_leaf(entry, change->reserved_2, 2) &&
            mm_way_has_whole(&change->way, 2) && (change->prot & ~rights) == 0 && !in_parts) {
            unsigned run = look_run(&table->entry[index], mm_way_whole(&change->way, index, 2),
                                    change->reserved_2, 2);

            mm_way_advance(&change->way, (uint64_t)run << mm_pt_shift(2)); /* the common one */
            continue;
        }
        if (mm_pte_is_table(entry, level) && !mm_entry_is_damaged(paging, entry, level)) {
            err = look_below(change, entry, level, rights);
            continue;
        }
        if (!mm_pte_is_leaf(entry, level) || mm_entry_is_damaged(paging, entry, level))
            err = look_other(change, entry, level);
        else if ((change->prot & ~rights) != 0)
            err = mm_fail(change->fail, MM_ERR_POLICY, change->way.virt, level, entry);
        else
            change->cut |= in_parts || !mm_way_has_whole(&change->way, level);
        if (err == MM_OK)
            mm_way_step_over(&change->way, level);
    }
    return err;
}

static enum mm_err look_2(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    return look_level(change, table, rights, 2);
}

static enum mm_err look_upper(struct mm_change *change, struct mm_table *table, unsigned rights,
                              unsigned level)
{
    return look_level(change, table, rights, level);
}

enum mm_err mm_look(struct mm_change *change)
{
    struct mm_subtree *subtree = &change->subtree;

    return look_table(change, &subtree->top, subtree->rights, subtree->level);
}
