/*
 * translate.c - where an address leads, read from the tables.
 *
 * Problem     A page-fault handler, and an NMI, must be able to ask while the code under them has
 *             tables locked.
 * Idea        One descent that only loads. Each entry is read once, so what is decided about it is
 *             decided about one value.
 * Invariants  No lock is taken and nothing is written.
 * Locking     None: a section (section.c), so what is read stays a table until the walk has ended.
 * Cost        One load per level.
 * Rejected    Asking the hardware: x86_64 has no instruction for it.
 */
#include "subtree.h"

/* An entry that the hardware would fault on grants nothing and leads nowhere. */
static struct mm_walk_step step_of(mm_pte_t entry, mm_phys_t table, unsigned index, unsigned level,
                                   bool damaged)
{
    bool leads = mm_pte_is_present(entry) && !damaged;

    return (struct mm_walk_step){
        .entry = entry.bits,
        .table = table,
        .to = leads ? mm_pte_phys(entry, level) : mm_phys(0),
        .index = index,
        .level = level,
        .prot = leads ? mm_pte_prot(entry) : MM_PROT_NONE,
        .leaf = leads && mm_pte_is_leaf(entry, level) ? 1 : 0,
    };
}

unsigned mm_walk_root(const struct mm_window *window, mm_phys_t root,
                      const struct mm_paging *paging, mm_virt_t virt, struct mm_walk_step *steps,
                      enum mm_err *err)
{
    mm_phys_t frame = root;
    unsigned count = 0;

    *err = MM_OK;
    if (!mm_pt_canonical(virt, paging->levels))
        return 0;
    for (unsigned level = paging->levels; level > 0; level--) {
        unsigned index = mm_pt_index(virt, level);
        mm_pte_t *table;
        mm_pte_t entry;
        bool damaged;

        *err = mm_table_map(window, frame, &table);
        if (*err != MM_OK)
            return count;
        entry = mm_pte_load(&table[index]);
        mm_table_unmap(window, table);
        damaged = mm_entry_is_damaged(paging, entry, level);
        steps[count++] = step_of(entry, frame, index, level, damaged);
        if (damaged || !mm_pte_is_table(entry, level))
            return count;
        frame = mm_pte_phys(entry, level);
    }
    return count;
}

enum mm_err mm_translate_root(const struct mm_window *window, mm_phys_t root,
                              const struct mm_paging *paging, mm_virt_t virt,
                              struct mm_translation *out, struct mm_space_fail *fail)
{
    unsigned level = paging->levels;
    unsigned prot = MM_PROT_ALL;
    mm_pte_t entry = mm_pte_empty();
    mm_phys_t frame = root;

    if (!mm_pt_canonical(virt, level))
        return mm_fail(fail, MM_ERR_RANGE, virt.raw, 0, entry);
    for (;; level--) {
        mm_pte_t *table;
        enum mm_err err = mm_table_map(window, frame, &table);

        if (err != MM_OK) /* the entry above leads there */
            return mm_fail(fail, err, virt.raw, level == paging->levels ? 0 : level + 1, entry);
        entry = mm_pte_load(&table[mm_pt_index(virt, level)]);
        mm_table_unmap(window, table);
        if (mm_entry_is_damaged(paging, entry, level) || !mm_pte_is_present(entry))
            return mm_fail(fail, MM_ERR_NOT_FOUND, virt.raw, level, entry);
        prot &= mm_pte_prot(entry);
        if (!mm_pte_is_table(entry, level))
            break;
        frame = mm_pte_phys(entry, level);
    }
    out->leaf_bytes = mm_pt_bytes(level);
    out->phys = mm_phys_add(mm_pte_phys(entry, level), virt.raw & (out->leaf_bytes - 1));
    out->prot = prot;
    out->type = mm_pte_type(entry, level);
    out->accessed = mm_pte_accessed(entry);
    out->dirty = mm_pte_dirty(entry);
    return MM_OK;
}

enum mm_err mm_space_translate(struct mm_space *space, mm_virt_t virt, struct mm_translation *out,
                               struct mm_space_fail *fail)
{
    enum mm_err err = mm_space_alive(space);
    struct mm_section section;

    if (err == MM_OK && out == NULL)
        err = MM_ERR_BAD_ARG;
    if (err == MM_OK)
        err = mm_section_begin(&section, space, true);
    if (err != MM_OK)
        return mm_fail(fail, err, virt.raw, 0, mm_pte_empty());
    err = mm_translate_root(space->vmm->window, space->root, &space->vmm->paging, virt, out, fail);
    mm_section_end(&section);
    return err;
}

unsigned mm_space_walk(struct mm_space *space, mm_virt_t virt, struct mm_walk_step *steps)
{
    struct mm_section section;
    enum mm_err err;
    unsigned count;

    if (steps == NULL || mm_section_begin(&section, space, true) != MM_OK)
        return 0;
    count = mm_walk_root(space->vmm->window, space->root, &space->vmm->paging, virt, steps, &err);
    mm_section_end(&section);
    return count;
}
