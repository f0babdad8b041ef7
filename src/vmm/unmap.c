/*
 * unmap.c - taking mappings away.
 *
 * Problem     A page is gone only when no CPU can still use it; a table that has become empty must go
 *             too, or the next large mapping finds it in the way. And a gigabyte is 262,144 entries.
 * Idea        A table that the range covers is taken off with one store into the table above it, with
 *             all that hangs below; only the gather looks at it again, when no CPU can reach it.
 *             Elsewhere entries are emptied one by one, and a table whose count comes to 0 is taken
 *             off on the way up. Everything goes into the gather, whose end flushes.
 * Invariants  I1 whatever became not present is in the gather, or the gather flushes everything
 *             I2 a table is taken off only when it, or the range above it, has nothing left
 * Locking     subtree.h; none during the flush.
 * Cost        One store per table covered, one per page elsewhere.
 * Rejected    Exchanging each entry, so that no accessed or dirty mark is lost: nobody asks for those
 *             of borrowed frames, and twenty times the cost. The mark itself does no harm where the
 *             hardware sets it late: an entry with nothing else counts as empty. Searching tables for
 *             entries: 150 ns each, where there are tags.
 */
#include "base/report.h"
#include "change.h"

static enum mm_err unmap_1(struct mm_change *change, struct mm_table *table, unsigned rights);
static enum mm_err unmap_2(struct mm_change *change, struct mm_table *table, unsigned rights);
static enum mm_err unmap_upper(struct mm_change *change, struct mm_table *table, unsigned rights,
                               unsigned level);

static inline enum mm_err unmap_table(struct mm_change *change, struct mm_table *table,
                                      unsigned rights, unsigned level)
{
    if (level == 1)
        return unmap_1(change, table, rights);
    return level == 2 ? unmap_2(change, table, rights) : unmap_upper(change, table, rights, level);
}

/* ---- one table ---- */

/* The page goes; its frame, if the space owns it, when the flush is over. */
static inline void unmap_page(struct mm_change *change, mm_pte_t *slot, mm_pte_t before,
                              uint64_t virt)
{
    struct mm_gather *gather = change->gather;

    mm_pte_store(slot, mm_pte_empty());
    if ((gather->flags & MM_GATHER_EVERYTHING) == 0)
        mm_gather_page(gather, virt, MM_FRAME_BYTES);
    if (mm_pte_is_owned(before) && (gather->flags & MM_GATHER_OWNS) != 0 &&
        gather->owned_count < MM_GATHER_OWNED) { /* always, but for marks that a wild write made */
        gather->owned[gather->owned_count++] = mm_pte_phys(before, 1);
        (void)mm_fetch_add_relaxed_u64(&change->space->frame_count, 0 - UINT64_C(1));
    }
}

static enum mm_err unmap_1(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    unsigned first = mm_pt_index(mm_virt(change->way.virt), 1);
    unsigned pages = mm_way_pages(&change->way, first);
    mm_pte_t *entry = &table->entry[first];
    uint64_t reserved = change->reserved;
    unsigned fewer = 0;
    unsigned i;

    (void)rights;
    for (i = 0; i < pages; i++) {
        mm_pte_t before = mm_pte_load(&entry[i]);

        if (!mm_pte_is_sound_leaf(before, reserved, 1)) {
            if (mm_pte_is_present(before))
                break;
            continue;
        }
        change->paused = change->gather->owned_count == MM_GATHER_OWNED &&
                         mm_pte_is_owned(before) && (change->gather->flags & MM_GATHER_OWNS) != 0;
        if (change->paused)
            break;
        unmap_page(change, &entry[i], before, change->way.virt + ((uint64_t)i << MM_FRAME_SHIFT));
        fewer++;
    }
    mm_table_count(table, 0u - fewer);
    mm_way_advance_pages(&change->way, i);
    return i == pages || change->paused ? MM_OK : mm_change_refuse_damage(change, entry[i], 1);
}

/* The commonest call: pages of one leaf table, all of them there. False: go the general way. */
bool mm_unmap_pages(struct mm_change *change)
{
    struct mm_table *table = &change->subtree.top;
    struct mm_gather *gather = change->gather;
    uint64_t virt = change->span.first;
    mm_pte_t *entry = &table->entry[mm_pt_index(mm_virt(virt), 1)];
    unsigned pages = (unsigned)((change->span.last - virt) >> MM_FRAME_SHIFT) + 1;

    if (mm_table_may_own(table) && (gather->flags & MM_GATHER_OWNS) != 0 &&
        pages > MM_GATHER_OWNED - gather->owned_count)
        return false;
    for (unsigned i = 0; i < pages; i++)
        if (!mm_pte_is_sound_leaf(mm_pte_load(&entry[i]), change->reserved, 1))
            return false;
    for (unsigned i = 0; i < pages; i++)
        unmap_page(change, &entry[i], mm_pte_load(&entry[i]),
                   virt + ((uint64_t)i << MM_FRAME_SHIFT));
    mm_table_count(table, 0u - pages);
    return true;
}

/* All below the entry goes. False: it cannot go as one, or the budget was used up. */
static bool remove_whole(struct mm_change *change, struct mm_table *table, mm_pte_t *slot,
                         mm_pte_t entry, unsigned level)
{
    struct mm_section *section = &change->subtree.section;
    struct mm_space *space = change->space;
    mm_phys_t frame = mm_pte_phys(entry, level);
    struct mm_tables_count count = {0, 0};

    if (mm_table_tag(space->vmm, frame, level - 1) == NULL && space->one_lock == 0)
        return false;
    change->paused = change->budget == 0;
    if (change->paused)
        return false;
    change->budget--;
    mm_tables_lock_all(section, frame, level - 1, change->locked, &count);
    mm_pte_store(slot, mm_pte_empty());
    mm_table_count(table, 0u - 1);
    mm_tables_removed(space, count.tables);
    (void)mm_fetch_add_relaxed_u64(&space->frame_count, 0 - count.owned);
    mm_gather_everything(change->gather);
    mm_gather_table(change->gather, frame, count.tables > 1 || count.owned != 0 ? level - 1 : 0,
                    change->way.virt, mm_pt_bytes(level));
    mm_tables_unlock_stray(section, frame, level - 1, count.tables);
    mm_way_advance(&change->way, mm_pt_bytes(level));
    return true;
}

/* The entry of a table that has become empty goes. */
static void take_off(struct mm_change *change, struct mm_table *table, mm_pte_t *slot,
                     struct mm_table *child, unsigned level, uint64_t base)
{
    mm_pte_store(slot, mm_pte_empty());
    mm_table_count(table, 0u - 1);
    mm_tables_removed(change->space, 1);
    mm_gather_table(change->gather, child->frame, 0, base, mm_pt_bytes(level));
    mm_table_unmap(change->space->vmm->window, child->entry);
    mm_table_unlock_stray(child);
}

/* What the range covers of the table below the entry. */
MM_INLINE enum mm_err unmap_below(struct mm_change *change, struct mm_table *table, mm_pte_t *slot,
                                  mm_pte_t entry, const unsigned level)
{
    uint64_t base = mm_align_down(change->way.virt, mm_pt_bytes(level));
    struct mm_table child;
    uint16_t before;
    enum mm_err err;

    if (mm_change_takes_all(change, level) && remove_whole(change, table, slot, entry, level))
        return MM_OK;
    err = mm_change_enter(change, entry, level, &child);
    if (err != MM_OK || change->paused)
        return err;
    before = child.word;
    err = unmap_table(change, &child, 0, level - 1);
    /* with holes: an adopted table may have been empty before */
    if ((child.word != before || change->holes) &&
        !mm_table_is_kept(change->space, child.tag, base, level) &&
        mm_table_live(&child, level - 1) == 0)
        take_off(change, table, slot, &child, level, base);
    else
        mm_change_leave(change, &child);
    return err;
}

static enum mm_err unmap_leaf(struct mm_change *change, struct mm_table *table, mm_pte_t *slot,
                              mm_pte_t entry, unsigned level)
{
    if (!mm_way_has_whole(&change->way, level))
        return mm_fail(change->fail, MM_ERR_AGAIN, change->way.virt, level, entry);
    mm_pte_store(slot, mm_pte_empty());
    mm_table_count(table, 0u - 1);
    if (mm_space_joins(change->space))
        mm_gather_everything(change->gather);
    mm_gather_page(change->gather, change->way.virt, mm_pt_bytes(level));
    mm_way_advance(&change->way, mm_pt_bytes(level));
    return MM_OK;
}

MM_INLINE enum mm_err unmap_level(struct mm_change *change, struct mm_table *table, unsigned rights,
                                  const unsigned level)
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
            err = unmap_below(change, table, slot, entry, level);
        else if (mm_pte_is_leaf(entry, level))
            err = unmap_leaf(change, table, slot, entry, level);
        else
            mm_way_step_over(&change->way, level);
    }
    return err;
}

static enum mm_err unmap_2(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    return unmap_level(change, table, rights, 2);
}

static enum mm_err unmap_upper(struct mm_change *change, struct mm_table *table, unsigned rights,
                               unsigned level)
{
    return unmap_level(change, table, rights, level);
}

enum mm_err mm_unmap(struct mm_change *change)
{
    struct mm_subtree *subtree = &change->subtree;

    return unmap_table(change, &subtree->top, subtree->rights, subtree->level);
}

enum mm_err mm_space_unmap(struct mm_space *space, mm_virt_t virt, uint64_t bytes, uint32_t flags,
                           struct mm_gather *gather, struct mm_space_fail *fail)
{
    struct mm_space_fail why;
    struct mm_change change; /* not cleared: it is large */
    enum mm_err err;

    if ((flags & ~MM_RANGE_HOLES) != 0)
        return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
    change.space = space;
    change.fail = fail != NULL ? fail : &why;
    change.prot = MM_PROT_NONE;
    change.holes = (flags & MM_RANGE_HOLES) != 0;
    err = mm_range_check(space, virt, bytes, &change.span, change.fail);
    if (err == MM_OK && gather != NULL)
        err = mm_range_check_gather(gather, space, virt, change.fail);
    if (err != MM_OK)
        return err;
    err = mm_range_change(&change, gather);
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, change.fail, "mm_space_unmap", MM_CALLER);
    return err;
}
