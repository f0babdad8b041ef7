/*
 * subtree.c - the tables that a call locks: found, let go of, taken off when they are empty.
 *
 * Problem     A call knows its range; which tables that is, others change until they are locked.
 * Idea        See subtree.h. Going up is the one way against the order of locks: a table that became
 *             empty tries for its parent, and if that is taken lets go of all and comes again from
 *             above, where somebody else may have done the work.
 * Invariants  Those of subtree.h.
 * Locking     The file is about it.
 * Cost        Descending: one load for each level. Pruning: one try for each table.
 * Rejected    Leaving empty tables until the space goes: 80 MiB after a sparse program, and in the way
 *             of large pages. Waiting for the parent with the child locked: two CPUs wait for each
 *             other.
 */
#include "subtree.h"

bool mm_table_try_lock(struct mm_section *section, struct mm_table *table, unsigned level)
{
    uint16_t word;

    table->tag = mm_table_tag(section->space->vmm, table->frame, level);
    table->word = 0;
    if (table->tag == NULL) {
        if (!section->locked)
            section->locked = mm_lock_try(&section->space->lock, &section->lock_guard);
        return section->locked;
    }
    word = mm_load_relaxed_u16(table->tag);
    table->word = word;
    return section->space->one_lock != 0 ||
           ((word & (MM_TAG_LOCK | MM_TAG_STRAY)) == 0 &&
            mm_compare_swap_acq_rel_u16(table->tag, &word, (uint16_t)(word | MM_TAG_LOCK)));
}

/* ---- from the root ---- */

/* Down to the lowest table that has all of [first, last]; `lowest` is the level to stop at. */
static enum mm_err descend(struct mm_subtree *subtree, uint64_t first, unsigned lowest,
                           struct mm_space_fail *fail)
{
    const struct mm_vmm *vmm = subtree->section.space->vmm;
    struct mm_table *top = &subtree->top;
    unsigned level = vmm->paging.levels;
    enum mm_err err;

    subtree->rights = MM_PROT_ALL;
    top->frame = subtree->section.space->root;
    err = mm_table_map(vmm->window, top->frame, &top->entry);
    if (err != MM_OK)
        return mm_fail(fail, err, first, 0, mm_pte_empty());
    while (level > lowest) {
        mm_pte_t entry = mm_pte_load(&top->entry[mm_pt_index(mm_virt(first), level)]);
        mm_pte_t *below;

        if (!mm_pte_is_table(entry, level) || mm_entry_is_damaged(&vmm->paging, entry, level))
            break;
        err = mm_table_map(vmm->window, mm_pte_phys(entry, level), &below);
        mm_table_unmap(vmm->window, top->entry);
        if (err != MM_OK)
            return mm_fail(fail, err, first, level, entry);
        subtree->above[level] = top->frame;
        subtree->rights &= mm_pte_prot(entry);
        top->frame = mm_pte_phys(entry, level);
        top->entry = below;
        level--;
    }
    subtree->level = level;
    return MM_OK;
}

/* Calls on one page after the other do not descend. */
static void remember(struct mm_subtree *subtree, uint64_t virt)
{
    struct mm_space *space = subtree->section.space;
    struct mm_vmm_cpu *cpu = subtree->section.cpu;

    if (!MM_FRAME_STAYS || subtree->level > 2 || subtree->top.tag == NULL ||
        (subtree->rights | (mm_pt_kernel_half(mm_virt(virt)) ? MM_PROT_USER : 0u)) != MM_PROT_ALL ||
        space->one_lock != 0)
        return;
    mm_store_relaxed_u64(&cpu->last.space, 0);
    cpu->last.span = mm_pt_bytes(subtree->level + 1);
    cpu->last.first = mm_align_down(virt, cpu->last.span);
    cpu->last.entry = subtree->top.entry;
    cpu->last.tag = subtree->top.tag;
    cpu->last.removals = mm_load_acquire_u64(&space->removals);
    mm_store_relaxed_u64(&cpu->last.space, (uintptr_t)space);
}

static enum mm_err lock_from(struct mm_subtree *subtree, uint64_t first, unsigned lowest,
                             struct mm_space_fail *fail)
{
    for (;;) {
        enum mm_err err = descend(subtree, first, lowest, fail);

        if (err != MM_OK)
            return err;
        mm_table_lock(&subtree->section, &subtree->top, subtree->level);
        if ((subtree->top.word & MM_TAG_STRAY) == 0) {
            subtree->remembered = false;
            remember(subtree, first);
            return MM_OK;
        }
        mm_subtree_unlock(subtree); /* taken off meanwhile */
    }
}

enum mm_err mm_subtree_find(struct mm_subtree *subtree, uint64_t first, uint64_t last,
                            struct mm_space_fail *fail)
{
    return lock_from(subtree, first, mm_pt_level_over(first, last), fail);
}

MM_COLD enum mm_err mm_fail_denied(const struct mm_subtree *subtree, uint64_t virt, unsigned prot,
                                   struct mm_space_fail *fail)
{
    struct mm_space *space = subtree->section.space;
    struct mm_walk_step step[MM_WALK_STEPS];
    unsigned i = 0;
    enum mm_err err;
    unsigned count = mm_walk_root(space->vmm->window, space->root, &space->vmm->paging,
                                  mm_virt(virt), step, &err);

    if (count == 0)
        return mm_fail(fail, MM_ERR_POLICY, virt, 0, (mm_pte_t){0});
    while (i + 1 < count && (prot & ~step[i].prot) == 0)
        i++;
    return mm_fail(fail, MM_ERR_POLICY, virt, step[i].level, mm_pte_of(step[i].entry));
}

void mm_subtree_unlock(struct mm_subtree *subtree)
{
    mm_table_unlock(&subtree->top);
    if (!subtree->remembered)
        mm_table_unmap(subtree->section.space->vmm->window, subtree->top.entry);
}

/* The first of the entries from `index` on, up to `end`, that leads to a table; `end` if none does. */
static MM_APART unsigned table_after(const struct mm_paging *paging, const mm_pte_t *table,
                                     unsigned index, unsigned end, unsigned level)
{
    while (index < end) {
        mm_pte_t entry = mm_pte_load(&table[index]);

        if (mm_are_leaves(&table[index], end - index, 0, level)) {
            index += 4;
            continue;
        }
        if (mm_pte_is_table(entry, level) && !mm_entry_is_damaged(paging, entry, level))
            break;
        index++;
    }
    return index;
}

static void unlock_below(struct mm_subtree *subtree, const mm_pte_t *table, unsigned level,
                         struct mm_way *way)
{
    const struct mm_vmm *vmm = subtree->section.space->vmm;
    const struct mm_window *window = vmm->window;
    uint64_t end = mm_way_table_last(way, level);

    while (mm_way_goes_on(way, end)) {
        unsigned index = mm_pt_index(mm_virt(way->virt), level);
        uint64_t last = mm_min_u64(end, way->last);
        unsigned next =
            table_after(&vmm->paging, table, index, mm_pt_index(mm_virt(last), level) + 1, level);
        struct mm_table child;

        if (next != index) {
            mm_way_advance(way, ((uint64_t)(next - index) << mm_pt_shift(level)) -
                                    (way->virt & (mm_pt_bytes(level) - 1)));
            continue;
        }
        child.frame = mm_pte_phys(mm_pte_load(&table[index]), level);
        mm_table_locked(&subtree->section, &child, level - 1);
        if (level == 2) {
            mm_way_step_over(way, level);
        } else {
            child.entry = mm_table_map_known(window, child.frame);
            unlock_below(subtree, child.entry, level - 1, way);
            mm_table_unmap(window, child.entry);
        }
        mm_table_unlock(&child);
    }
}

void mm_subtree_unlock_below(struct mm_subtree *subtree, uint64_t first, uint64_t last)
{
    struct mm_way way = {.virt = first, .last = last};

    if (subtree->level > 1)
        unlock_below(subtree, subtree->top.entry, subtree->level, &way);
}

/* ---- empty tables ---- */

/* May the top of the subtree be taken off, now that it is empty? */
static bool is_prunable(const struct mm_subtree *subtree, uint64_t virt)
{
    const struct mm_space *space = subtree->section.space;
    unsigned level = subtree->level;

    return level < space->vmm->paging.levels &&
           !mm_table_is_kept(space, subtree->top.tag, virt, level + 1) &&
           mm_table_live(&subtree->top, level) == 0;
}

/* Lock the table above the top. False: all was let go of, and the top was found again from above, or
 * (*gone) need not be found. */
static bool parent_lock(struct mm_subtree *subtree, uint64_t virt, struct mm_table *parent,
                        bool *gone)
{
    struct mm_section *section = &subtree->section;
    const struct mm_window *window = section->space->vmm->window;
    unsigned level = subtree->level;
    mm_pte_t entry;

    parent->frame = subtree->remembered ? mm_phys(0) : subtree->above[level + 1];
    if (!subtree->remembered && mm_table_try_lock(section, parent, level + 1)) {
        parent->entry = mm_table_map_known(window, parent->frame);
        return true;
    }
    mm_subtree_unlock(subtree);
    *gone = lock_from(subtree, virt, level + 1, NULL) != MM_OK;
    if (*gone)
        return false;
    entry = mm_pte_load(&subtree->top.entry[mm_pt_index(mm_virt(virt), subtree->level)]);
    if (subtree->level != level + 1 || !mm_pte_is_table(entry, level + 1)) {
        mm_subtree_unlock(subtree);
        *gone = true;
        return false;
    }
    *parent = subtree->top;
    subtree->above[level + 1] = parent->frame;
    subtree->level = level;
    subtree->top.frame = mm_pte_phys(entry, level + 1);
    subtree->top.entry = mm_table_map_known(window, subtree->top.frame);
    mm_table_lock(section, &subtree->top, level); /* never stray: its parent is locked */
    return true;
}

void mm_subtree_prune(struct mm_subtree *subtree, uint64_t virt, struct mm_gather *gather)
{
    struct mm_space *space = subtree->section.space;
    const struct mm_window *window = space->vmm->window;

    while (is_prunable(subtree, virt)) {
        unsigned level = subtree->level + 1; /* of the parent */
        struct mm_table parent;
        bool gone = false;

        if (!parent_lock(subtree, virt, &parent, &gone)) {
            MM_ASSERT(gone);
            return;
        }
        if (!is_prunable(subtree, virt)) { /* filled meanwhile */
            mm_table_unlock(&parent);
            mm_table_unmap(window, parent.entry);
            break;
        }
        mm_pte_store(&parent.entry[mm_pt_index(mm_virt(virt), level)], mm_pte_empty());
        mm_table_count(&parent, 0u - 1);
        mm_tables_removed(space, 1);
        mm_gather_table(gather, subtree->top.frame, 0, mm_align_down(virt, mm_pt_bytes(level)),
                        mm_pt_bytes(level));
        mm_table_unlock_stray(&subtree->top);
        mm_table_unmap(window, subtree->top.entry);
        subtree->top = parent;
        subtree->level = level;
    }
    mm_subtree_unlock(subtree);
}

/* ---- whole subtrees ---- */

void mm_tables_lock_all(struct mm_section *section, mm_phys_t frame, unsigned level, bool locked,
                        struct mm_tables_count *count)
{
    const struct mm_vmm *vmm = section->space->vmm;
    struct mm_table table = {.frame = frame};

    if (locked)
        mm_table_locked(section, &table, level);
    else
        mm_table_lock(section, &table, level);
    count->tables++;
    if (level == 1 && !(mm_table_may_own(&table) && mm_space_may_own(section->space)))
        return;
    table.entry = mm_table_map_known(vmm->window, frame);
    for (unsigned i = 0; level == 1 && i < mm_pt_entries(1); i++) {
        mm_pte_t entry = mm_pte_load(&table.entry[i]);

        count->owned += mm_pte_is_present(entry) && mm_pte_is_owned(entry) ? 1 : 0;
    }
    for (unsigned i = 0; level > 1; i++) {
        i = table_after(&vmm->paging, table.entry, i, mm_pt_entries(level), level);
        if (i == mm_pt_entries(level))
            break;
        mm_tables_lock_all(section, mm_pte_phys(mm_pte_load(&table.entry[i]), level), level - 1,
                           locked, count);
    }
    mm_table_unmap(vmm->window, table.entry);
}

void mm_tables_unlock_stray(struct mm_section *section, mm_phys_t frame, unsigned level,
                            uint64_t tables)
{
    const struct mm_vmm *vmm = section->space->vmm;
    struct mm_table table = {.frame = frame};

    if (tables > 1) {
        table.entry = mm_table_map_known(vmm->window, frame);
        for (unsigned i = 0;; i++) {
            i = table_after(&vmm->paging, table.entry, i, mm_pt_entries(level), level);
            if (i == mm_pt_entries(level))
                break;
            mm_tables_unlock_stray(section, mm_pte_phys(mm_pte_load(&table.entry[i]), level),
                                   level - 1, level > 2 ? UINT64_MAX : 1);
        }
        mm_table_unmap(vmm->window, table.entry);
    }
    mm_table_locked(section, &table, level);
    mm_table_unlock_stray(&table);
}
