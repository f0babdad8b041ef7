/*
 * check.c - is a space sound?
 *
 * Problem     A wild write into a table, or a fault of libmm, shows much later and elsewhere.
 * Idea        Walk everything, believe nothing before its bounds are checked, and compare with the
 *             counts that the calls keep. Tables used twice are found without memory of size: one
 *             walk collects the 64 lowest frames above a limit, in order; two of the same stand
 *             next to each other; the next walk starts above them.
 * Invariants  I1 no frame is followed before it is known to be in the window and no ancestor of
 *                itself
 *             I2 the walk visits at most twice the tables that the space should have, and 512 more
 * Locking     None: the space is quiet.
 * Cost        O(tables x 512), and for tables used twice O(tables^2 / 64 x entries of the tables
 *             above level 1); left out above 8192 tables.
 * Rejected    A bitmap of frames: it needs memory, and a checker that allocates hides faults.
 */
#include "base/report.h"
#include "subtree.h"

#define TWICE_AT_ONCE    64u
#define TWICE_TABLES_MAX 8192u

struct checking {
    struct mm_space *space;
    const struct mm_check_sink *sink;
    size_t faults;
    uint64_t tables, tables_max;
    uint64_t owned;
    bool unbounded; /* a loop: not to be walked again */
};

static void fault(struct checking *c, const char *what, uint64_t address, uint64_t found,
                  uint64_t expected)
{
    mm_check_fault(c->sink, &c->faults, what, "mm_space_check", c->space, address, found, expected);
}

/* What the hardware would fault on, whatever the CPU. */
static enum mm_err check_damaged(struct mm_walker *walker, struct mm_visit *visit)
{
    fault(walker->context, "reserved bits in an entry", visit->virt, visit->entry.bits,
          visit->level);
    return MM_OK;
}

/* And no-execute, on a CPU where that is reserved. */
static bool has_reserved_bits(struct checking *c, const struct mm_visit *visit)
{
    const struct mm_paging *paging = &c->space->vmm->paging;
    uint64_t bits = mm_pte_reserved(visit->entry, visit->level, paging->phys_bits,
                                    (paging->flags & MM_PAGING_NX) != 0);

    if (bits != 0)
        fault(c, "reserved bits in an entry", visit->virt, visit->entry.bits, bits);
    return bits != 0;
}

static bool can_reach(const struct mm_window *window, mm_phys_t frame)
{
    mm_pte_t *table;

    if (mm_table_map(window, frame, &table) != MM_OK)
        return false;
    mm_table_unmap(window, table);
    return true;
}

static bool is_ancestor(const struct mm_walker *walker, unsigned level, mm_phys_t table)
{
    for (; level <= walker->levels; level++) {
        if (walker->path[level].raw == table.raw)
            return true;
    }
    return false;
}

/* Does the PMM, where it is known, believe that the frame is nobody's? */
static bool is_free(const struct checking *c, mm_phys_t frame)
{
    struct mm_pmm *pmm = c->space->vmm->pmm;
    struct mm_frame_info info;

    if (pmm == NULL)
        return false;
    mm_pmm_query(pmm, frame, &info);
    return info.state == MM_FRAME_FREE;
}

static enum mm_err check_enter(struct mm_walker *walker, struct mm_visit *visit)
{
    struct checking *c = walker->context;
    mm_phys_t table = mm_pte_phys(visit->entry, visit->level);

    visit->skip = true;
    if (has_reserved_bits(c, visit))
        return MM_OK;
    if (is_ancestor(walker, visit->level, table)) {
        fault(c, "a table is below itself", visit->virt, visit->entry.bits, 0);
        c->unbounded = true;
        return MM_OK;
    }
    if (!can_reach(walker->window, table)) {
        fault(c, "a table is outside the window", visit->virt, visit->entry.bits, 0);
        return MM_OK;
    }
    if (c->tables == c->tables_max) {
        fault(c, "far more tables than counted", visit->virt, c->tables, c->space->table_count);
        c->unbounded = true;
        walker->progress = MM_WALKER_DONE;
        return MM_OK;
    }
    if (is_free(c, table))
        fault(c, "the frame of a table is free", visit->virt, table.raw, 0);
    c->tables++;
    visit->skip = false;
    return MM_OK;
}

static enum mm_err check_leaf(struct mm_walker *walker, struct mm_visit *visit)
{
    struct checking *c = walker->context;

    if (has_reserved_bits(c, visit))
        return MM_OK;
    if (mm_pte_is_owned(visit->entry) && mm_space_may_own(c->space)) {
        c->owned++;
        if (visit->level != 1)
            fault(c, "a large page is owned", visit->virt, visit->entry.bits, 0);
        else if (is_free(c, mm_pte_phys(visit->entry, 1)))
            fault(c, "the frame of an owned page is free", visit->virt, visit->entry.bits, 0);
    }
    if ((mm_pte_prot(visit->entry) & MM_PROT_USER) != 0 &&
        mm_pt_kernel_half(mm_virt(visit->virt)) && (c->space->flags & MM_SPACE_ADOPTED) == 0)
        fault(c, "a user page in the kernel half", visit->virt, visit->entry.bits, 0);
    return MM_OK;
}

/* Does the table's tag say what is in it, and that nobody is at work there? */
static void check_tag(struct checking *c, mm_phys_t table, unsigned level, unsigned live,
                      uint64_t virt)
{
    const uint16_t *tag = mm_table_tag(c->space->vmm, table, level);
    uint16_t expected = mm_tag_of(level, live);
    uint16_t found = tag != NULL ? mm_load_relaxed_u16(tag) : expected;

    if (((found ^ expected) & MM_TAG_LIVE) != 0)
        fault(c, "the entries of a table are miscounted", virt, found, expected);
    if ((found & MM_TAG_LOCK) != 0)
        fault(c, "a table is locked", virt, found, expected);
    if ((found & MM_TAG_STRAY) != 0)
        fault(c, "a table is linked and stray", virt, found, expected);
}

/* Does the tag of a leaf table say that it may have owned pages, if it has? */
static void check_marks(struct checking *c, mm_phys_t table, const mm_pte_t *entry, uint64_t virt)
{
    const uint16_t *tag = mm_table_tag(c->space->vmm, table, 1);

    if (tag == NULL || (mm_load_relaxed_u16(tag) & MM_TAG_OWNED) != 0 ||
        !mm_space_may_own(c->space))
        return;
    for (unsigned i = 0; i < mm_pt_entries(1); i++) {
        mm_pte_t leaf = mm_pte_load(&entry[i]);

        if (mm_pte_is_present(leaf) && mm_pte_is_owned(leaf)) {
            fault(c, "an owned page in a table that says it has none", virt + i * mm_pt_bytes(1),
                  leaf.bits, 0);
            return;
        }
    }
}

static void check_leave(struct mm_walker *walker, struct mm_visit *visit, mm_pte_t *child)
{
    struct checking *c = walker->context;
    mm_phys_t table = mm_pte_phys(visit->entry, visit->level);
    unsigned live = mm_table_search(child, visit->level - 1);

    check_tag(c, table, visit->level - 1, live, visit->virt);
    if (visit->level == 2)
        check_marks(c, table, child, visit->virt);
    if (live != 0 ||
        mm_table_is_kept(c->space, mm_table_tag(c->space->vmm, table, visit->level - 1),
                         visit->virt, visit->level))
        return;
    if ((c->space->flags & MM_SPACE_ADOPTED) == 0 || mm_table_is_ours(c->space->vmm, table))
        fault(c, "an empty table was not freed", visit->virt, table.raw, visit->level - 1);
}

/* ---- tables used twice ---- */

struct twice {
    struct checking *checking;
    uint64_t above;                /* frames up to here are done */
    uint64_t frame[TWICE_AT_ONCE]; /* the lowest above it, ascending */
    unsigned count;
    bool more;
};

static void twice_add(struct twice *t, uint64_t frame, uint64_t virt)
{
    unsigned at = t->count;

    if (frame <= t->above)
        return;
    while (at > 0 && t->frame[at - 1] > frame)
        at--;
    if (at > 0 && t->frame[at - 1] == frame) {
        fault(t->checking, "a table is used twice", virt, frame << MM_FRAME_SHIFT, 0);
        return;
    }
    if (t->count == TWICE_AT_ONCE)
        t->more = true;
    else
        t->count++;
    for (unsigned i = t->count - 1; i > at; i--)
        t->frame[i] = t->frame[i - 1];
    if (at < t->count)
        t->frame[at] = frame;
}

static enum mm_err twice_enter(struct mm_walker *walker, struct mm_visit *visit)
{
    struct twice *t = walker->context;
    mm_phys_t table = mm_pte_phys(visit->entry, visit->level);
    const struct mm_vmm *vmm = t->checking->space->vmm;

    /* a loader may share its tables; frame 0 is never ours */
    if ((t->checking->space->flags & MM_SPACE_ADOPTED) == 0 || mm_table_is_ours(vmm, table))
        twice_add(t, mm_frame_of(table), visit->virt);
    visit->skip = visit->level == 2; /* pages below, no tables */
    return MM_OK;
}

static void twice_pass(struct twice *t)
{
    struct mm_space *space = t->checking->space;
    struct mm_span half[2];
    unsigned halves = mm_space_halves(space, half);

    t->count = 0;
    t->more = false;
    twice_add(t, mm_frame_of(space->root), 0);
    for (unsigned i = 0; i < halves; i++) {
        struct mm_walker walker = mm_walker_over(space, half[i], t, NULL);

        walker.enter = twice_enter;
        (void)mm_walker_run_all(&walker);
    }
}

static void check_twice(struct checking *c)
{
    struct twice t = {.checking = c};

    do {
        twice_pass(&t);
        if (t.count > 0)
            t.above = t.frame[t.count - 1];
    } while (t.more);
}

/* ---- the whole ---- */

static void check_half(struct checking *c, struct mm_span half)
{
    struct mm_walker walker = mm_walker_over(c->space, half, c, NULL);

    walker.enter = check_enter;
    walker.leaf = check_leaf;
    walker.leave = check_leave;
    walker.damaged = check_damaged;
    if (mm_walker_run_all(&walker) != MM_OK)
        fault(c, "the root is outside the window", c->space->root.raw, 0, 0);
}

/* The upper half of a user root is a copy of the kernel's, but for the accessed marks. */
static void check_shared_half(struct checking *c)
{
    struct mm_space *kernel = c->space->vmm->kernel;
    const struct mm_window *window = c->space->vmm->window;
    mm_pte_t *root, *from;

    if (mm_table_map(window, kernel->root, &from) != MM_OK)
        return;
    if (mm_table_map(window, c->space->root, &root) == MM_OK) {
        unsigned level = c->space->vmm->paging.levels;

        for (unsigned i = mm_pt_kernel_index(); i < mm_pt_entries(level); i++) {
            mm_pte_t ours = mm_pte_load(&root[i]), theirs = mm_pte_load(&from[i]);

            if (mm_pte_is_present(ours) != mm_pte_is_present(theirs) ||
                mm_pte_phys(ours, level).raw != mm_pte_phys(theirs, level).raw)
                fault(c, "a user root differs in the kernel half", i, ours.bits, theirs.bits);
        }
        mm_table_unmap(window, root);
    }
    mm_table_unmap(window, from);
}

static void check_counts(struct checking *c)
{
    const struct mm_space *space = c->space;

    if (c->tables != space->table_count)
        fault(c, "tables miscounted", space->root.raw, space->table_count, c->tables);
    if (c->owned != space->frame_count)
        fault(c, "owned frames miscounted", space->root.raw, space->frame_count, c->owned);
}

size_t mm_space_check(struct mm_space *space, const struct mm_check_sink *sink)
{
    struct checking c = {.space = space, .sink = sink, .tables = 1};
    struct mm_span half[2];
    unsigned halves;

    if (mm_space_alive(space) != MM_OK) {
        fault(&c, "not a live space", 0, space != NULL ? space->state : 0, MM_SPACE_LIVE);
        return c.faults;
    }
    if (is_free(&c, space->root))
        fault(&c, "the frame of the root is free", 0, space->root.raw, 0);
    c.tables_max = 2 * space->table_count + MM_PT_ENTRIES;
    halves = mm_space_halves(space, half);
    for (unsigned i = 0; i < halves; i++)
        check_half(&c, half[i]);
    if (!c.unbounded && c.tables <= TWICE_TABLES_MAX)
        check_twice(&c);
    check_counts(&c);
    if (!mm_space_is_kernel(space))
        check_shared_half(&c);
    return c.faults;
}
