/*
 * promote.c - one large page in place of a table of small ones.
 *
 * Problem     What was mapped piece by piece, or split and mended, keeps its table and fills the TLB,
 *             although it is one stretch of memory by now.
 * Idea        With the table and the one above it locked nobody changes the pages, and if they are one
 *             stretch a single store puts a leaf where the table was. Every address translates as
 *             before, so no CPU sees a difference; its table is freed after the flush like any other.
 * Invariants  I1 rights, type and frames stay
 *             I2 no dirty mark is lost: the hardware may set one in the table after it was read, so a
 *                page that can be written counts as dirty
 *             I3 until the flush CPUs may have the parts, which go with no flush of the large page: who
 *                changes one meanwhile flushes everything (space->joins), protect before it does
 * Locking     The table above, then the table (subtree.h).
 * Cost        One load for each entry; a full flush.
 * Rejected    Taking the table off, flushing, then reading the marks: exact, but the addresses fault
 *             meanwhile, and they may be the kernel's own. Doing it by itself when a table is full:
 *             whoever unmaps a page of it next pays for a split.
 */
#include "base/report.h"
#include "change.h"

struct promoting {
    struct mm_subtree subtree; /* of the table above */
    struct mm_space_fail *fail;
    struct mm_gather *gather;
    uint64_t virt;
    unsigned level; /* of the leaf to be */
};

/* What differs between neighbours, but for marks. */
static bool continues(mm_pte_t next, mm_pte_t expected)
{
    return mm_pte_cleaned(next, true, true).bits == mm_pte_cleaned(expected, true, true).bits;
}

/* Are the entries of the table one large page? */
static enum mm_err look(struct promoting *p, const struct mm_table *table, bool *dirty)
{
    const struct mm_vmm *vmm = p->subtree.section.space->vmm;
    unsigned level = p->level - 1;
    mm_pte_t expected = mm_pte_load(&table->entry[0]);
    enum mm_err err = MM_OK;

    *dirty = (mm_pte_prot(expected) & MM_PROT_WRITE) != 0;
    for (unsigned i = 0; err == MM_OK && i < mm_pt_entries(level); i++) {
        mm_pte_t entry = mm_pte_load(&table->entry[i]);

        if (mm_entry_is_damaged(&vmm->paging, entry, level))
            err = MM_ERR_CORRUPT;
        else if (!mm_pte_is_present(entry))
            err = MM_ERR_NOT_FOUND;
        else if (!mm_pte_is_leaf(entry, level) || !continues(entry, expected) ||
                 mm_pte_is_owned(entry) ||
                 (i == 0 && !mm_is_aligned(mm_pte_phys(entry, level).raw, mm_pt_bytes(p->level))))
            err = MM_ERR_EXISTS;
        if (err != MM_OK)
            return mm_fail(p->fail, err, p->virt + i * mm_pt_bytes(level), level, entry);
        *dirty |= mm_pte_dirty(entry);
        expected = mm_pte_next(expected, level);
    }
    return MM_OK;
}

/* The table is locked, and so is the one above. */
static enum mm_err join(struct promoting *p, mm_pte_t *slot, struct mm_table *table)
{
    struct mm_space *space = p->subtree.section.space;
    bool dirty;
    enum mm_err err = look(p, table, &dirty);

    if (err != MM_OK) {
        mm_table_unlock(table);
        return err;
    }
    mm_space_resizes(space, &space->joins); /* I3 */
    p->gather->joins++;
    mm_pte_store(slot, mm_pte_joined(mm_pte_load(&table->entry[0]), p->level, dirty));
    mm_tables_removed(space, 1);
    mm_gather_everything(p->gather);
    mm_gather_table(p->gather, table->frame, 0, p->virt, mm_pt_bytes(p->level));
    mm_table_unlock_stray(table);
    return MM_OK;
}

/* The subtree is locked. */
static enum mm_err promote_entry(struct promoting *p)
{
    struct mm_space *space = p->subtree.section.space;
    unsigned level = p->subtree.level;
    mm_pte_t *slot = &p->subtree.top.entry[mm_pt_index(mm_virt(p->virt), level)];
    mm_pte_t entry = mm_pte_load(slot);
    struct mm_table table = {.frame = mm_pte_phys(entry, level)};
    enum mm_err err;

    if (mm_entry_is_damaged(&space->vmm->paging, entry, level))
        return mm_fail(p->fail, MM_ERR_CORRUPT, p->virt, level, entry);
    if (!mm_pte_is_present(entry))
        return mm_fail(p->fail, MM_ERR_NOT_FOUND, p->virt, level, entry);
    if (mm_pte_is_leaf(entry, level))
        return MM_OK; /* of this size, or larger */
    if (level != p->level)
        return MM_ERR_AGAIN; /* a table that was put there just now */
    if (mm_table_tag(space->vmm, table.frame, p->level - 1) == NULL && space->one_lock == 0)
        return mm_fail(p->fail, MM_ERR_UNSUPPORTED, p->virt, p->level, entry); /* it must stay */
    err = mm_table_map(space->vmm->window, table.frame, &table.entry);
    if (err != MM_OK)
        return mm_fail(p->fail, err, p->virt, p->level, entry);
    mm_table_lock(&p->subtree.section, &table, p->level - 1);
    err = join(p, slot, &table);
    mm_table_unmap(space->vmm->window, table.entry);
    return err;
}

static enum mm_err promote_locked(struct promoting *p)
{
    uint64_t last = p->virt + (mm_pt_bytes(p->level) - 1);
    enum mm_err err;

    do {
        err = mm_subtree_lock(&p->subtree, p->virt, last, p->fail);
        if (err != MM_OK)
            return err;
        err = promote_entry(p);
        mm_subtree_unlock(&p->subtree);
    } while (err == MM_ERR_AGAIN);
    return err;
}

static enum mm_err promote_flushed(struct promoting *p)
{
    struct mm_space *space = p->subtree.section.space;
    struct mm_gather gather;
    struct mm_cpuset others;
    bool ask = false, holds;
    enum mm_err err;

    p->gather = &gather;
    mm_gather_start(&gather, space);
    err = promote_locked(p);
    holds = gather.joins != 0 && mm_gather_hold_large(&gather);
    if (mm_gather_has_work(&gather))
        ask = mm_gather_flush_here(&gather, &others);
    mm_section_end(&p->subtree.section);
    mm_gather_finish(&gather, ask ? &others : NULL);
    if (holds)
        mm_space_unhold(space);
    return err;
}

enum mm_err mm_space_promote(struct mm_space *space, mm_virt_t virt, uint64_t bytes,
                             struct mm_gather *gather, struct mm_space_fail *fail)
{
    struct mm_space_fail why;
    struct promoting p = {.fail = fail != NULL ? fail : &why, .gather = gather, .virt = virt.raw};
    struct mm_span span;
    enum mm_err err = mm_range_check(space, virt, bytes, &span, p.fail);

    if (err == MM_OK && gather != NULL)
        err = mm_range_check_gather(gather, space, virt, p.fail);
    if (err != MM_OK)
        return err;
    for (p.level = 2; p.level <= MM_PT_LEAF_LEVEL_MAX && mm_pt_bytes(p.level) != bytes; p.level++)
        ;
    if (p.level > MM_PT_LEAF_LEVEL_MAX || !mm_is_aligned(virt.raw, bytes))
        return mm_fail(p.fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
    if ((space->vmm->paging.leaf_levels >> p.level & 1) == 0)
        return mm_fail(p.fail, MM_ERR_UNSUPPORTED, virt.raw, p.level, mm_pte_empty());
    if (gather != NULL)
        err = mm_gather_make_room(gather);
    if (err == MM_OK)
        err = mm_section_begin(&p.subtree.section, space, false);
    if (err != MM_OK)
        return mm_fail(p.fail, err, virt.raw, 0, mm_pte_empty());
    if (gather == NULL) {
        err = promote_flushed(&p);
    } else {
        err = promote_locked(&p);
        mm_section_end(&p.subtree.section);
    }
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, p.fail, "mm_space_promote", MM_CALLER);
    return err;
}
