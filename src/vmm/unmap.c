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
 *             I3 counts of the space and tags agree with the tables at each end of a hold
 * Locking     The space's lock per piece; none during the flush.
 * Cost        One store per table covered, one per page elsewhere.
 * Rejected    Exchanging each entry, so that no accessed or dirty mark is lost: nobody asks for those
 *             of borrowed frames, and twenty times the cost. The mark itself does no harm where the
 *             hardware sets it late: an entry with nothing else counts as empty. Searching tables for
 *             entries: 150 ns each, where there are tags.
 */
#include "base/report.h"
#include "vmm_internal.h"

/* Leaves and tables of a subtree that is about to come off. */
static MM_COLD void count_search(struct mm_change *change, const struct mm_table *table)
{
    for (unsigned i = 0; i < mm_pt_entries(1); i++)
        change->removed[1] += mm_pte_is_present(mm_pte_load(&table->entry[i])) ? 1 : 0;
}

static void count_leaf_table(struct mm_change *change, mm_phys_t frame)
{
    const struct mm_vmm *vmm = change->space->vmm;
    const uint16_t *tag = mm_table_tag(vmm, frame, 1);
    struct mm_table table = {.frame = frame};

    change->tables++;
    if (tag != NULL) {
        change->removed[1] += *tag & MM_TAG_LIVE;
        return;
    }
    table.entry = mm_table_map_known(vmm->window, frame);
    count_search(change, &table);
    mm_table_unmap(vmm->window, table.entry);
}

static void count_table(struct mm_change *change, mm_phys_t frame, unsigned level)
{
    const struct mm_window *window = change->space->vmm->window;
    mm_pte_t *table;

    if (level == 1) {
        count_leaf_table(change, frame);
        return;
    }
    change->tables++;
    table = mm_table_map_known(window, frame);
    for (unsigned i = 0; i < mm_pt_entries(level); i++) {
        mm_pte_t entry = mm_pte_load(&table[i]);

        if (mm_pte_is_table(entry, level))
            count_table(change, mm_pte_phys(entry, level), level - 1);
        else if (mm_pte_is_leaf(entry, level))
            change->removed[level]++;
    }
    mm_table_unmap(window, table);
}

/* ---- one table ---- */

static enum mm_err unmap_1(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    unsigned first = mm_pt_index(mm_virt(change->way.virt), 1);
    unsigned pages = mm_way_pages(&change->way, first);
    struct mm_gather *gather = change->gather;
    uint64_t reserved = change->reserved[1];
    unsigned fewer = 0;
    unsigned i;

    (void)rights;
    for (i = 0; i < pages; i++) {
        mm_pte_t *slot = &table->entry[first + i];
        mm_pte_t entry = mm_pte_load(slot);

        if (!mm_pte_is_sound_leaf(entry, reserved, 1)) {
            if (mm_pte_is_present(entry))
                break;
            continue;
        }
        mm_pte_store(slot, mm_pte_empty());
        fewer++;
        if ((gather->flags & MM_GATHER_EVERYTHING) == 0)
            mm_gather_page(gather, change->way.virt + ((uint64_t)i << MM_FRAME_SHIFT),
                           MM_FRAME_BYTES);
    }
    table->removed = fewer;
    change->removed[1] += fewer;
    mm_way_advance_pages(&change->way, i);
    return i == pages ? MM_OK : mm_change_refuse_damage(change, table->entry[first + i], 1);
}

/* The entry goes, and with it a table that has nothing any more, or that the range covers. */
static void take_off(struct mm_change *change, mm_pte_t *slot, mm_phys_t frame, unsigned level,
                     uint64_t base, bool empty)
{
    mm_space_forget(change->space);
    mm_pte_store(slot, mm_pte_empty());
    mm_gather_table(change->gather, frame, empty ? 0 : level - 1, base, mm_pt_bytes(level));
}

/* All below the entry goes. */
static bool remove_whole(struct mm_change *change, mm_pte_t *slot, mm_pte_t entry, unsigned level)
{
    mm_phys_t frame = mm_pte_phys(entry, level);
    uint64_t base = change->way.virt;

    change->paused = change->budget == 0;
    if (change->paused)
        return false;
    change->budget--;
    count_table(change, frame, level - 1);
    mm_gather_everything(change->gather);
    take_off(change, slot, frame, level, base, false);
    mm_way_advance(&change->way, mm_pt_bytes(level));
    return true;
}

/* What the range covers of the table below the entry; true if the entry went. */
MM_INLINE bool unmap_table(struct mm_change *change, mm_pte_t *slot, mm_pte_t entry,
                           const unsigned level, enum mm_err *err, mm_change_fn *below)
{
    struct mm_space *space = change->space;
    uint64_t base = mm_align_down(change->way.virt, mm_pt_bytes(level));
    struct mm_table child;
    bool empty = false;

    *err = mm_change_enter(change, entry, level, &child);
    if (*err != MM_OK || change->paused)
        return false;
    child.removed = 0;
    *err = below(change, &child, 0);
    if (child.removed != 0 || change->holes) { /* an adopted table may have been empty before */
        child.tag = mm_table_tag(space->vmm, child.frame, level - 1);
        mm_table_count(child, 0u - child.removed);
        empty = mm_table_live(child, level - 1) == 0 && !mm_table_is_kept(space, base, level);
        if (level == 2 && !empty)
            mm_space_remember(space, &child, base);
    }
    mm_table_unmap(space->vmm->window, child.entry);
    if (empty) {
        take_off(change, slot, child.frame, level, base, true);
        change->tables++;
    }
    return empty;
}

static enum mm_err unmap_leaf(struct mm_change *change, mm_pte_t *slot, mm_pte_t entry,
                              unsigned level)
{
    if (!mm_way_has_whole(&change->way, level))
        return mm_fail(change->fail, MM_ERR_AGAIN, change->way.virt, level, entry);
    mm_pte_store(slot, mm_pte_empty());
    change->removed[level]++;
    mm_gather_page(change->gather, change->way.virt, mm_pt_bytes(level));
    mm_way_advance(&change->way, mm_pt_bytes(level));
    return MM_OK;
}

MM_INLINE enum mm_err unmap_level(struct mm_change *change, struct mm_table *table,
                                  const unsigned level, mm_change_fn *below)
{
    const struct mm_paging *paging = &change->space->vmm->paging;
    uint64_t end = mm_way_table_last(&change->way, level);
    enum mm_err err = MM_OK;

    while (err == MM_OK && !change->paused && mm_way_goes_on(&change->way, end)) {
        mm_pte_t *slot = &table->entry[mm_pt_index(mm_virt(change->way.virt), level)];
        mm_pte_t entry = mm_pte_load(slot);

        if (mm_entry_is_damaged(paging, entry, level)) {
            err = mm_change_refuse_damage(change, entry, level);
        } else if (mm_pte_is_table(entry, level)) {
            if (mm_change_takes_all(change, level))
                table->removed += remove_whole(change, slot, entry, level) ? 1 : 0;
            else
                table->removed += unmap_table(change, slot, entry, level, &err, below) ? 1 : 0;
        } else if (mm_pte_is_leaf(entry, level)) {
            err = unmap_leaf(change, slot, entry, level);
            table->removed += err == MM_OK ? 1 : 0;
        } else {
            mm_way_step_over(&change->way, level);
        }
    }
    return err;
}

static enum mm_err unmap_2(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    (void)rights;
    return unmap_level(change, table, 2, unmap_1);
}

static enum mm_err unmap_3(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    (void)rights;
    return unmap_level(change, table, 3, unmap_2);
}

static enum mm_err unmap_4(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    (void)rights;
    return unmap_level(change, table, 4, unmap_3);
}

static enum mm_err unmap_5(struct mm_change *change, struct mm_table *table, unsigned rights)
{
    (void)rights;
    return unmap_level(change, table, 5, unmap_4);
}

/* ---- the call ---- */

/* In the leaf table that was used last, if something stays in it. */
static bool unmap_in_last_table(struct mm_change *change, enum mm_err *err)
{
    struct mm_space *space = change->space;
    struct mm_table last = {
        .entry = mm_space_recall(space, change->way.virt, change->way.last),
        .tag = space->last_table.tag,
    };
    uint64_t pages = ((change->way.last - change->way.virt) >> MM_FRAME_SHIFT) + 1;

    if (last.entry == NULL || last.tag == NULL || (*last.tag & MM_TAG_LIVE) <= pages)
        return false;
    *err = unmap_1(change, &last, 0);
    mm_table_count(last, 0u - last.removed);
    return true;
}

enum mm_err mm_unmap(struct mm_change *change)
{
    struct mm_space *space = change->space;
    struct mm_table root = {.frame = space->root};
    enum mm_err err;

    if (unmap_in_last_table(change, &err))
        return err;
    root.entry = mm_table_map_known(space->vmm->window, root.frame);
    err = space->vmm->paging.levels == 4 ? unmap_4(change, &root, 0) : unmap_5(change, &root, 0);
    if (root.removed != 0) {
        root.tag = mm_table_tag(space->vmm, root.frame, space->vmm->paging.levels);
        mm_table_count(root, 0u - root.removed);
    }
    mm_table_unmap(space->vmm->window, root.entry);
    return err;
}

enum mm_err mm_space_unmap(struct mm_space *space, mm_virt_t virt, uint64_t bytes, uint32_t flags,
                           struct mm_gather *gather, struct mm_space_fail *fail)
{
    struct mm_space_fail why;
    struct mm_change change = {.space = space, .fail = fail != NULL ? fail : &why};
    enum mm_err err;

    if ((flags & ~MM_RANGE_HOLES) != 0)
        return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
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
