/*
 * look.c - can a range be unmapped or protected as a whole?
 *
 * Problem     Half an unmap is worse than none; so holes, damaged entries, rights that an upper level
 *             denies, and large pages that an edge cuts must be known before the first store.
 * Idea        A pass that only reads. At release a leaf table that is to go whole is not read if its
 *             count says that it is full, or if holes do not matter.
 * Invariants  I1 nothing is written
 *             I2 each table that unmap or protect will enter or remove was counted against the budget
 * Locking     The space's lock.
 * Cost        One load per entry of the leaf tables that are not removed whole.
 * Rejected    Looking and changing entry by entry in one pass: what was changed must be changed back
 *             when a hole comes, and other CPUs have seen it.
 */
#include "vmm_internal.h"

/* An entry that is no sound leaf and no table. */
static MM_COLD enum mm_err look_other(struct mm_change *change, mm_pte_t entry, unsigned level)
{
    if (mm_entry_is_damaged(&change->space->vmm->paging, entry, level))
        return mm_fail(change->fail, MM_ERR_CORRUPT, change->way.virt, level, entry);
    if (change->holes)
        return MM_OK;
    return mm_fail(change->fail, MM_ERR_NOT_FOUND, change->way.virt, level, entry);
}

static enum mm_err look_1(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    unsigned first = mm_pt_index(mm_virt(change->way.virt), 1);
    unsigned pages = mm_way_pages(&change->way, first);
    uint64_t reserved = change->reserved[1];
    bool denied = (change->prot & ~rights) != 0;

    for (unsigned i = 0; i < pages; i++) {
        mm_pte_t entry = mm_pte_load(&table->entry[first + i]);
        bool leaf = mm_pte_is_sound_leaf(entry, reserved, 1);
        enum mm_err err = MM_OK;

        if (leaf && !denied)
            continue;
        change->way.virt += (uint64_t)i << MM_FRAME_SHIFT;
        err = leaf ? mm_fail(change->fail, MM_ERR_POLICY, change->way.virt, 1, entry)
                   : look_other(change, entry, 1);
        change->way.virt -= (uint64_t)i << MM_FRAME_SHIFT;
        if (err != MM_OK)
            return err;
    }
    mm_way_advance_pages(&change->way, pages);
    return MM_OK;
}

/* Nothing below needs a look: all of it goes, and it is full or may have holes. */
static bool look_is_needless(struct mm_change *change, mm_pte_t entry, unsigned level)
{
    const uint16_t *tag;

    if (MM_LEVEL != MM_LEVEL_RELEASE || level != 2 || change->budget == 0 ||
        !mm_change_takes_all(change, 2))
        return false;
    tag = mm_table_tag(change->space->vmm, mm_pte_phys(entry, 2), 1);
    return tag != NULL && (change->holes || (*tag & MM_TAG_LIVE) == mm_pt_entries(1));
}

MM_INLINE enum mm_err look_table(struct mm_change *change, mm_pte_t entry, const unsigned level,
                                 unsigned rights, mm_change_fn *below)
{
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
    err = below(change, &child, rights & mm_pte_prot(entry));
    mm_table_unmap(change->space->vmm->window, child.entry);
    return err;
}

MM_INLINE enum mm_err look_level(struct mm_change *change, const struct mm_table *table,
                                 unsigned rights, const unsigned level, mm_change_fn *below)
{
    const struct mm_paging *paging = &change->space->vmm->paging;
    uint64_t end = mm_way_table_last(&change->way, level);
    enum mm_err err = MM_OK;

    while (err == MM_OK && !change->paused && mm_way_goes_on(&change->way, end)) {
        mm_pte_t entry = mm_pte_load(&table->entry[mm_pt_index(mm_virt(change->way.virt), level)]);

        if (mm_pte_is_table(entry, level) && !mm_entry_is_damaged(paging, entry, level)) {
            err = look_table(change, entry, level, rights, below);
            continue;
        }
        if (!mm_pte_is_leaf(entry, level) || mm_entry_is_damaged(paging, entry, level))
            err = look_other(change, entry, level);
        else if ((change->prot & ~rights) != 0)
            err = mm_fail(change->fail, MM_ERR_POLICY, change->way.virt, level, entry);
        else
            change->cut |= !mm_way_has_whole(&change->way, level);
        if (err == MM_OK)
            mm_way_step_over(&change->way, level);
    }
    return err;
}

static enum mm_err look_2(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    return look_level(change, table, rights, 2, look_1);
}

static enum mm_err look_3(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    return look_level(change, table, rights, 3, look_2);
}

static enum mm_err look_4(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    return look_level(change, table, rights, 4, look_3);
}

static enum mm_err look_5(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    return look_level(change, table, rights, 5, look_4);
}

enum mm_err mm_look(struct mm_change *change)
{
    struct mm_table last = {.entry =
                                mm_space_recall(change->space, change->way.virt, change->way.last)};

    if (last.entry != NULL)
        return look_1(change, &last, MM_PROT_ALL);
    return mm_change_from_root(change, look_4, look_5);
}
