/*
 * split.c - large pages become tables where the edge of a range cuts them.
 *
 * Problem     Unmapping 4 KiB out of a 1 GiB page leaves 262,143 pages that must go on working,
 *             also for a CPU that uses them at that moment.
 * Idea        A new table gets the 512 parts with the same frames, rights, type, accessed and
 *             dirty; then one store puts the table where the leaf was. A walk finds the leaf or
 *             the table, and both say the same.
 * Invariants  I1 a table is linked when all 512 entries are in it
 *             I2 no accessed or dirty mark is lost: if the hardware set one meanwhile, the
 *                exchange fails and the parts are made again
 * Locking     The table that holds the leaf; the hardware is the only other writer.
 * Cost        512 stores per table; at most levels - 2 tables per edge.
 * Rejected    Clearing the leaf first (break before make): code, stacks and tables themselves may
 *             be in it, and x86_64 does not ask for it while nothing but the size changes.
 */
#include "change.h"

/* The leaf over `virt`: its level, or 0 if there is none. */
static unsigned leaf_level_at(struct mm_space *space, uint64_t virt)
{
    const struct mm_window *window = space->vmm->window;
    mm_phys_t frame = space->root;
    unsigned level;

    for (level = space->vmm->paging.levels; level > 0; level--) {
        mm_pte_t *table = mm_table_map_known(window, frame);
        mm_pte_t entry = mm_pte_load(&table[mm_pt_index(mm_virt(virt), level)]);

        mm_table_unmap(window, table);
        if (mm_pte_is_leaf(entry, level))
            return level;
        if (!mm_pte_is_table(entry, level))
            return 0;
        frame = mm_pte_phys(entry, level);
    }
    return 0;
}

static bool cuts_at(uint64_t boundary, unsigned level)
{
    return !mm_is_aligned(boundary, mm_pt_bytes(level));
}

/*
 * A leaf of level n that a boundary cuts is split, and so is the part of level n - 1 that the
 * boundary cuts, down to 4 KiB. Both edges may cut the same leaf: what the first edge splits is
 * not counted again.
 */
unsigned mm_split_tables(struct mm_space *space, const struct mm_span *span)
{
    uint64_t end = span->last + 1; /* 0 at 2^64: cuts nothing */
    unsigned tables = 0;

    for (unsigned n = leaf_level_at(space, span->first); n > 1 && cuts_at(span->first, n); n--)
        tables++;
    for (unsigned n = leaf_level_at(space, span->last); n > 1 && cuts_at(end, n); n--) {
        bool same =
            mm_align_down(span->first, mm_pt_bytes(n)) == mm_align_down(span->last, mm_pt_bytes(n));

        tables += same && cuts_at(span->first, n) ? 0 : 1;
    }
    return tables;
}

static void fill_parts(mm_pte_t *table, mm_pte_t leaf, unsigned level)
{
    for (unsigned i = 0; i < mm_pt_entries(level - 1); i++)
        mm_pte_store_fresh(&table[i], mm_pte_split(leaf, level, i));
}

/* Put a table in place of the leaf of `level` in `slot`. */
static void leaf_split(struct mm_vmm *vmm, mm_pte_t *slot, unsigned level, bool user,
                       struct mm_reserve *reserve)
{
    struct mm_table table = mm_reserve_pop(vmm, reserve);
    mm_pte_t link = mm_pte_table(table.frame, user);
    mm_pte_t leaf = mm_pte_load(slot);

    mm_table_begin(&table, level - 1, mm_pt_entries(level - 1));
    do
        fill_parts(table.entry, leaf, level);
    while (!mm_pte_compare_swap(slot, &leaf, link));
    mm_table_unmap(vmm->window, table.entry);
}

struct splitting {
    struct mm_change *change;
    struct mm_reserve *reserve;
    uint64_t *tables;
};

/* Split what `boundary`, an end of the range next to the page at `virt`, cuts: one leaf. */
static enum mm_err edge_step(struct splitting *s, uint64_t virt, uint64_t boundary, bool *done)
{
    struct mm_subtree *subtree = &s->change->subtree;
    struct mm_space *space = s->change->space;
    struct mm_vmm *vmm = space->vmm;
    enum mm_err err = mm_subtree_lock(subtree, virt, virt + (MM_FRAME_BYTES - 1), s->change->fail);
    mm_pte_t *slot;
    mm_pte_t entry;
    unsigned level;

    if (err != MM_OK)
        return err;
    level = subtree->level;
    slot = &subtree->top.entry[mm_pt_index(mm_virt(virt), level)];
    entry = mm_pte_load(slot);
    *done = level == 1 || !cuts_at(boundary, level) || !mm_pte_is_present(entry) ||
            mm_entry_is_damaged(&vmm->paging, entry, level);
    if (*done || mm_pte_is_table(entry, level)) {
        /* nothing is cut here; a table was put there just now, and is looked into next */
    } else if (*s->tables == 0 || mm_load_relaxed_u64(&space->resizes) != s->change->resizes) {
        err = MM_ERR_AGAIN; /* more tables are needed, or a flush */
    } else {
        --*s->tables;
        leaf_split(vmm, slot, level, !mm_pt_kernel_half(mm_virt(virt)), s->reserve);
        mm_gather_page(s->change->gather, mm_align_down(virt, mm_pt_bytes(level)),
                       mm_pt_bytes(level));
    }
    mm_subtree_unlock(subtree);
    return err;
}

enum mm_err mm_split_edges(struct mm_change *change, struct mm_reserve *reserve, uint64_t *tables)
{
    const struct mm_span *span = &change->span;
    struct splitting s = {change, reserve, tables};
    const uint64_t virt[2] = {span->first, span->last - (MM_FRAME_BYTES - 1)};
    const uint64_t boundary[2] = {span->first, span->last + 1};
    enum mm_err err = MM_OK;

    for (unsigned edge = 0; err == MM_OK && edge < 2; edge++) {
        bool done = false;

        while (err == MM_OK && !done)
            err = edge_step(&s, virt[edge], boundary[edge], &done);
    }
    return err;
}
