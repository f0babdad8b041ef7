/*
 * walker.c - visiting the entries of a range, table by table.
 *
 * Problem     Unmap, protect, query, adopt, destroy and the checkers all go through what is mapped
 *             in a range, must not descend from the root for every page, and must not keep
 *             interrupts off for a terabyte.
 * Idea        One recursion over the levels. It calls an operation for each leaf, each entry that
 *             is not present, and around each table. What the hardware would fault on is never
 *             followed: it ends the walk, unless an operation wants to see it. A budget of tables
 *             pauses it between two tables; the cursor `virt` is all that is needed to go on.
 * Invariants  I1 `virt` only grows; everything before it has been visited
 *             I2 each call of enter() that lets the walk descend is followed by leave(), also when
 *                it pauses below
 *             I3 while progress is ON, virt <= last: it never wraps
 * Locking     The caller's: a section, or nobody else uses the tables.
 * Cost        O(entries in the range of tables that exist); five frames of stack at most.
 * Rejected    An iterator with an explicit stack: the same state, less readable.
 */
#include "subtree.h"

static enum mm_err table_visit(struct mm_walker *walker, mm_pte_t *table, unsigned level,
                               unsigned rights);

/* Past the entry of `level` under the cursor. */
static void step_over(struct mm_walker *walker, unsigned level)
{
    uint64_t entry_last = walker->virt | (mm_pt_bytes(level) - 1);

    if (entry_last >= walker->last)
        walker->progress = MM_WALKER_DONE;
    else
        walker->virt = entry_last + 1;
}

static enum mm_err descend(struct mm_walker *walker, struct mm_visit *visit)
{
    mm_phys_t child = mm_pte_phys(visit->entry, visit->level);
    unsigned rights = visit->rights & mm_pte_prot(visit->entry);
    mm_pte_t *table;
    enum mm_err err = mm_table_map(walker->window, child, &table);

    if (err != MM_OK)
        return mm_fail(walker->fail, err, visit->virt, visit->level, visit->entry);
    walker->budget--;
    walker->path[visit->level - 1] = child;
    err = table_visit(walker, table, visit->level - 1, rights);
    if (err == MM_OK && walker->leave != NULL)
        walker->leave(walker, visit, table);
    mm_table_unmap(walker->window, table);
    return err;
}

static enum mm_err visit_table_entry(struct mm_walker *walker, struct mm_visit *visit)
{
    enum mm_err err = MM_OK;

    if (walker->budget == 0) {
        walker->progress = MM_WALKER_PAUSED;
        return MM_OK;
    }
    if (walker->enter != NULL)
        err = walker->enter(walker, visit);
    if (err != MM_OK)
        return err;
    if (!visit->skip)
        return descend(walker, visit);
    step_over(walker, visit->level);
    return MM_OK;
}

static enum mm_err visit_other_entry(struct mm_walker *walker, struct mm_visit *visit)
{
    bool leaf = mm_pte_is_leaf(visit->entry, visit->level);
    enum mm_err (*visitor)(struct mm_walker *, struct mm_visit *) =
        leaf ? walker->leaf : walker->hole;
    enum mm_err err = visitor != NULL ? visitor(walker, visit) : MM_OK;

    if (err == MM_OK && walker->progress == MM_WALKER_ON)
        step_over(walker, visit->level);
    return err;
}

static enum mm_err visit_damaged_entry(struct mm_walker *walker, struct mm_visit *visit)
{
    enum mm_err err;

    if (walker->damaged == NULL)
        return mm_fail(walker->fail, MM_ERR_CORRUPT, walker->virt, visit->level, visit->entry);
    err = walker->damaged(walker, visit);
    if (err == MM_OK && walker->progress == MM_WALKER_ON)
        step_over(walker, visit->level);
    return err;
}

static enum mm_err table_visit(struct mm_walker *walker, mm_pte_t *table, unsigned level,
                               unsigned rights)
{
    uint64_t table_last = walker->virt | (mm_pt_bytes(level + 1) - 1);
    enum mm_err err = MM_OK;

    while (err == MM_OK && walker->progress == MM_WALKER_ON && walker->virt <= table_last) {
        struct mm_visit visit = {
            .slot = &table[mm_pt_index(mm_virt(walker->virt), level)],
            .virt = mm_align_down(walker->virt, mm_pt_bytes(level)),
            .level = level,
            .rights = rights,
        };

        visit.entry = mm_pte_load(visit.slot);
        if (mm_entry_is_damaged(walker->paging, visit.entry, level))
            err = visit_damaged_entry(walker, &visit);
        else if (mm_pte_is_table(visit.entry, level))
            err = visit_table_entry(walker, &visit);
        else
            err = visit_other_entry(walker, &visit);
    }
    return err;
}

enum mm_err mm_walker_run(struct mm_walker *walker)
{
    mm_pte_t *table;
    enum mm_err err = mm_table_map(walker->window, walker->root, &table);

    if (err != MM_OK)
        return mm_fail(walker->fail, err, walker->virt, 0, mm_pte_empty());
    walker->progress = MM_WALKER_ON;
    walker->path[walker->levels] = walker->root;
    err = table_visit(walker, table, walker->levels, MM_PROT_ALL);
    mm_table_unmap(walker->window, table);
    return err;
}

struct mm_walker mm_walker_over(struct mm_space *space, struct mm_span span, void *context,
                                struct mm_space_fail *fail)
{
    return (struct mm_walker){
        .window = space->vmm->window,
        .context = context,
        .fail = fail,
        .paging = &space->vmm->paging,
        .root = space->root,
        .levels = space->vmm->paging.levels,
        .virt = span.first,
        .last = span.last,
    };
}

enum mm_err mm_walker_run_all(struct mm_walker *walker)
{
    enum mm_err err;

    do {
        walker->budget = UINT32_MAX;
        err = mm_walker_run(walker);
    } while (err == MM_OK && walker->progress != MM_WALKER_DONE);
    return err;
}

enum mm_err mm_walker_run_pieces(struct mm_walker *walker, struct mm_space *space)
{
    struct mm_section section;
    enum mm_err err;

    do {
        err = mm_section_begin(&section, space, true);
        if (err != MM_OK)
            return err;
        walker->budget = MM_PIECE_TABLES;
        err = mm_walker_run(walker);
        mm_section_end(&section);
    } while (err == MM_OK && walker->progress != MM_WALKER_DONE);
    return err;
}
