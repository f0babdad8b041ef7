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
 * Locking     The space's lock; the hardware is the only other writer.
 * Cost        512 stores per table; at most levels - 2 tables per edge.
 * Rejected    Clearing the leaf first (break before make): code, stacks and tables themselves may
 *             be in it, and x86_64 does not ask for it while nothing but the size changes.
 */
#include "vmm_internal.h"

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
unsigned mm_split_tables_locked(struct mm_space *space, const struct mm_span *span)
{
    uint64_t end = span->last + 1; /* 0 at 2^64: cuts nothing */
    unsigned tables = 0;

    MM_ASSERT_LOCKED(&space->lock);
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

/* Put a table in place of the leaf of `level` in `slot`; returns its entry. */
static mm_pte_t leaf_split(struct mm_space *space, mm_pte_t *slot, unsigned level, bool user,
                           struct mm_reserve *reserve)
{
    struct mm_table table = mm_reserve_pop(space->vmm, reserve);
    mm_pte_t link = mm_pte_table(table.frame, user);
    mm_pte_t leaf = mm_pte_load(slot);

    table.tag = mm_frame_tag(space->vmm, table.frame);
    mm_table_set_live(table, level - 1, mm_pt_entries(level - 1));
    do
        fill_parts(table.entry, leaf, level);
    while (!mm_pte_compare_swap(slot, &leaf, link));
    mm_table_unmap(space->vmm->window, table.entry);
    space->leaf_count[level - 1]--;
    space->leaf_count[level - 2] += mm_pt_entries(level - 1);
    return link;
}

/* Split what `boundary`, an end of the leaf's range next to `virt`, cuts. */
static void edge_split(struct mm_space *space, uint64_t virt, uint64_t boundary,
                       struct mm_reserve *reserve, struct mm_gather *gather)
{
    const struct mm_window *window = space->vmm->window;
    bool user = !mm_pt_kernel_half(mm_virt(virt));
    mm_phys_t frame = space->root;

    for (unsigned level = space->vmm->paging.levels; cuts_at(boundary, level); level--) {
        mm_pte_t *table = mm_table_map_known(window, frame);
        mm_pte_t *slot = &table[mm_pt_index(mm_virt(virt), level)];
        mm_pte_t entry = mm_pte_load(slot);

        if (level > 1 && mm_pte_is_leaf(entry, level)) {
            entry = leaf_split(space, slot, level, user, reserve);
            mm_gather_page(gather, mm_align_down(virt, mm_pt_bytes(level)), mm_pt_bytes(level));
        }
        mm_table_unmap(window, table);
        if (!mm_pte_is_table(entry, level))
            return;
        frame = mm_pte_phys(entry, level);
    }
}

void mm_split_edges_locked(struct mm_space *space, const struct mm_span *span,
                           struct mm_reserve *reserve, struct mm_gather *gather)
{
    MM_ASSERT_LOCKED(&space->lock);
    edge_split(space, span->first, span->first, reserve, gather);
    edge_split(space, span->last, span->last + 1, reserve, gather);
}
