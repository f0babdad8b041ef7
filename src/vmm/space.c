/*
 * space.c - address spaces as objects: made, loaded, limited, destroyed.
 *
 * Problem     All spaces must show the same kernel half for ever, and no table may go while a CPU
 *             can still walk it.
 * Idea        The kernel half is one set of tables that every root refers to: a user root copies
 *             the kernel's top-level entries when it is made. So that no copy can be out of date,
 *             those entries are fixed from the first user space on; the tables for the kernel area
 *             are made in advance. Who needs a space for longer than one section counts in
 *             `holds`: each CPU that has it loaded, each call that ends its section and goes on, each open gather, and in the kernel space each user space. Destroying is one
 *             exchange of 0 for CLOSED in that word.
 * Invariants  I1 the upper entries of every user root equal the kernel's
 *             I2 a CPU holds a space, then joins its mask, then loads its root; it leaves the mask
 *                and lets go after it loaded another one
 *             I3 a space that is gone has no CPU in its mask
 *             I4 CLOSED is final: MM_ERR_GONE is answered for no space that lives on
 * Order       Loading on one CPU and destroying on another meet in `holds` alone, and one of the
 *             two exchanges is the first. Loading first: destroy finds a hold and is BUSY, whatever
 *             the CPU does next. Destroy first: loading finds CLOSED and answers GONE with nothing
 *             changed. Before, in between or after makes no difference, because neither takes its
 *             exchange back. Calls that have one section and count nowhere see CLOSED in it, or end
 *             before destroy goes on. The mask and the fence serve flushing, and calls that rewrite
 *             entries plainly while no CPU is in the mask.
 * Locking     subtree.h; the kernel's root is locked while it is copied. Loading takes none.
 * Cost        Create: one table and 256 entries. Destroy: O(tables). A hold: one locked exchange.
 * Rejected    Copying new kernel entries into old roots on a fault: a fault in the fault handler's
 *             own memory is the end. Marking the space and then reading the mask: the mark has to
 *             be taken back when a CPU is there, and another CPU saw a living space as gone.
 */
#include "base/report.h"
#include "mm_cpu.h"
#include "subtree.h"

void mm_space_report_damage(struct mm_space *space, const struct mm_space_fail *fail,
                            const char *where, const void *caller)
{
    (void)mm_report_corrupt("reserved bits in a page-table entry: overwritten", where, space,
                            fail->virt.raw, caller);
}

enum mm_err mm_space_hold(struct mm_space *space)
{
    enum mm_err err = mm_space_alive(space);
    uint64_t holds;

    if (err != MM_OK)
        return err;
    holds = mm_load_relaxed_u64(&space->holds);
    do {
        if ((holds & MM_SPACE_CLOSED) != 0)
            return MM_ERR_GONE;
    } while (!mm_compare_swap_acq_rel_u64(&space->holds, &holds, holds + 1));
    return MM_OK;
}

void mm_space_unhold(struct mm_space *space)
{
    uint64_t holds = mm_load_relaxed_u64(&space->holds);

    do
        MM_ASSERT2(holds - 1 < MM_SPACE_CLOSED - 1, (uintptr_t)space, holds);
    while (!mm_compare_swap_acq_rel_u64(&space->holds, &holds, holds - 1));
}

unsigned mm_space_halves(const struct mm_space *space, struct mm_span *out)
{
    unsigned levels = space->vmm->paging.levels;
    uint64_t low_last = mm_pt_bytes(levels) * mm_pt_kernel_index() - 1;

    out[0] = (struct mm_span){0, low_last};
    out[1] = (struct mm_span){~low_last, UINT64_MAX};
    return mm_space_is_kernel(space) ? 2 : 1;
}

/* Have its tables no locks of their own? An adopted root may have tables of the PMM above others. */
static bool needs_one_lock(const struct mm_space *space)
{
    return MM_VMM_ONE_LOCK || (space->vmm->state & MM_VMM_TAGGED) == 0 ||
           (space->flags & MM_SPACE_ADOPTED) != 0;
}

void mm_space_begin(struct mm_space *space, struct mm_vmm *vmm, mm_phys_t root, uint32_t flags)
{
    __builtin_memset(space, 0, sizeof *space);
    space->vmm = vmm;
    space->root = root;
    space->flags = flags;
    space->table_count = 1;
    space->one_lock = needs_one_lock(space) ? 1 : 0;
    space->generation =
        mm_load_acquire_u64(&vmm->generations) + (mm_space_is_kernel(space) ? 0 : 1);
    space->state = MM_SPACE_LIVE;
}

static void recount_leave(struct mm_walker *walker, struct mm_visit *visit, mm_pte_t *child)
{
    struct mm_space *space = walker->context;
    mm_phys_t frame = mm_pte_phys(visit->entry, visit->level);

    mm_table_recount(space->vmm, frame, child, visit->level - 1);
    if (mm_table_tag(space->vmm, frame, visit->level - 1) == NULL &&
        mm_frame_tag(space->vmm, walker->path[visit->level]) != NULL)
        space->one_lock = 1; /* U8 */
}

void mm_space_recount(struct mm_space *space)
{
    struct mm_span half[2];
    unsigned halves = mm_space_halves(space, half);
    mm_pte_t *root;

    space->one_lock = needs_one_lock(space) ? 1 : 0;
    for (unsigned i = 0; i < halves; i++) {
        struct mm_walker walker = mm_walker_over(space, half[i], space, NULL);

        walker.leave = recount_leave;
        (void)mm_walker_run_all(&walker); /* tables that cannot be reached are not counted either */
    }
    if (mm_table_map(space->vmm->window, space->root, &root) != MM_OK)
        return;
    mm_table_recount(space->vmm, space->root, root, space->vmm->paging.levels);
    mm_table_unmap(space->vmm->window, root);
}

static unsigned slots_missing(const mm_pte_t *root, unsigned first, unsigned last)
{
    unsigned missing = 0;

    for (unsigned i = first; i <= last; i++)
        missing += mm_pte_is_present(mm_pte_load(&root[i])) ? 0 : 1;
    return missing;
}

static void slot_fill(struct mm_vmm *vmm, mm_pte_t *slot, struct mm_reserve *reserve)
{
    struct mm_table table = mm_reserve_pop_empty(vmm, reserve, vmm->paging.levels - 1);

    mm_table_unmap(vmm->window, table.entry);
    mm_pte_store(slot, mm_pte_table(table.frame, false));
}

enum mm_err mm_space_preallocate(struct mm_space *space, struct mm_space_fail *fail)
{
    struct mm_vmm *vmm = space->vmm;
    struct mm_virt_range area = vmm->layout.kernel_area;
    struct mm_reserve reserve = {{0}, 0};
    unsigned first, last, missing;
    mm_pte_t *root;
    enum mm_err err;

    if (area.bytes == 0)
        return MM_OK;
    first = mm_pt_index(area.start, vmm->paging.levels);
    last = mm_pt_index(mm_virt(mm_range_last(area.start.raw, area.bytes)), vmm->paging.levels);
    err = mm_table_map(vmm->window, space->root, &root);
    if (err != MM_OK)
        return mm_fail(fail, err, area.start.raw, 0, mm_pte_empty());
    missing = slots_missing(root, first, last);
    err = mm_reserve_fill(vmm, &reserve, missing);
    for (unsigned i = first; err == MM_OK && i <= last; i++) {
        if (!mm_pte_is_present(mm_pte_load(&root[i])))
            slot_fill(vmm, &root[i], &reserve);
    }
    if (err == MM_OK)
        mm_table_recount(vmm, space->root, root, vmm->paging.levels);
    mm_table_unmap(vmm->window, root);
    mm_reserve_drop(vmm, &reserve);
    if (err != MM_OK)
        return mm_fail(fail, err, area.start.raw, 0, mm_pte_empty());
    space->table_count += missing;
    return MM_OK;
}

static enum mm_err create_kernel(struct mm_vmm *vmm, struct mm_space *space, uint32_t flags,
                                 mm_phys_t root)
{
    struct mm_space made;
    enum mm_err err;

    mm_space_begin(&made, vmm, root, flags);
    err = mm_space_preallocate(&made, NULL);
    if (err != MM_OK)
        return err;
    *space = made;
    vmm->kernel = space;
    return MM_OK;
}

/* Copy the kernel's half into a root that nobody uses yet, and fix it: with the kernel's root locked, so
 * that no call is about to change it. */
static enum mm_err share_kernel_half(struct mm_vmm *vmm, mm_pte_t *root)
{
    struct mm_space *kernel = vmm->kernel;
    unsigned level = vmm->paging.levels;
    struct mm_table from = {.frame = kernel->root};
    struct mm_section section;
    enum mm_err err = mm_section_begin(&section, kernel, false);

    if (err != MM_OK)
        return err;
    err = mm_table_map(vmm->window, from.frame, &from.entry);
    if (err == MM_OK) {
        mm_table_lock(&section, &from, level);
        for (unsigned i = mm_pt_kernel_index(); i < mm_pt_entries(level); i++)
            mm_pte_store_fresh(&root[i], mm_pte_load(&from.entry[i]));
        vmm->state |= MM_VMM_FROZEN;
        (void)mm_fetch_add_relaxed_u64(&vmm->user_spaces, 1);
        mm_table_unlock(&from);
        mm_table_unmap(vmm->window, from.entry);
    }
    mm_section_end(&section);
    return err;
}

/* Would the root of a user space show the direct map? An adopted root has none. */
static bool shows_direct_map(const struct mm_vmm *vmm)
{
    const struct mm_virt_range *direct = &vmm->layout.direct_map;

    return direct->bytes == 0 || mm_pt_kernel_half(direct->start) ||
           (vmm->kernel->flags & MM_SPACE_ADOPTED) != 0;
}

static enum mm_err create_user(struct mm_vmm *vmm, struct mm_space *space, uint32_t flags,
                               mm_phys_t frame)
{
    struct mm_space *kernel = vmm->kernel;
    mm_pte_t *root;
    enum mm_err err;

    if (mm_space_hold(kernel) != MM_OK)
        return MM_ERR_NOT_FOUND; /* being destroyed */
    err = shows_direct_map(vmm) ? mm_table_map(vmm->window, frame, &root) : MM_ERR_UNSUPPORTED;
    if (err == MM_OK) {
        err = share_kernel_half(vmm, root);
        mm_table_recount(vmm, frame, root, vmm->paging.levels);
        mm_table_unmap(vmm->window, root);
    }
    if (err == MM_OK)
        mm_space_begin(space, vmm, frame, flags);
    else
        mm_space_unhold(kernel);
    return err;
}

/* A space that would be lost. Under a VMM without a kernel space none can live, so what looks like
 * one is left from before the VMM was made anew; so is a user space if there are none. */
static bool space_lives(const struct mm_vmm *vmm, const struct mm_space *space)
{
    uint32_t state = mm_load_acquire_u32(&space->state); /* pairs with leave_vmm() */

    if (vmm->kernel == NULL || space->vmm != vmm ||
        (state != MM_SPACE_LIVE && state != MM_SPACE_GOES))
        return false;
    return space == vmm->kernel || vmm->user_spaces != 0;
}

enum mm_err mm_space_create(struct mm_vmm *vmm, struct mm_space *space, uint32_t flags)
{
    bool kernel = (flags & MM_SPACE_KERNEL) != 0;
    struct mm_reserve reserve = {{0}, 0};
    struct mm_table root;
    enum mm_err err;

    if (!mm_vmm_is_made(vmm) || space == NULL ||
        (flags & ~(MM_SPACE_KERNEL | MM_SPACE_ALLOW_WX)) != 0)
        return MM_ERR_BAD_ARG;
    if (kernel != (vmm->kernel == NULL))
        return kernel ? MM_ERR_EXISTS : MM_ERR_NOT_FOUND;
    if (space_lives(vmm, space))
        return MM_ERR_EXISTS;
    if (kernel)
        mm_vmm_note_tags(vmm, false); /* not known: its root may be any frame, and says */
    err = mm_reserve_fill(vmm, &reserve, 1);
    if (err != MM_OK)
        return err;
    root = mm_reserve_pop_empty(vmm, &reserve, vmm->paging.levels);
    if (kernel)
        mm_vmm_note_tags(vmm, root.tag != NULL);
    mm_table_unmap(vmm->window, root.entry);
    err = kernel ? create_kernel(vmm, space, flags, root.frame)
                 : create_user(vmm, space, flags, root.frame);
    if (err != MM_OK)
        (void)mm_table_free(vmm, root.frame, 0); /* never linked, never loaded */
    return err;
}

/* From now on nobody can load or hold the space; MM_ERR_BUSY if somebody does. */
static enum mm_err space_close(struct mm_space *space)
{
    enum mm_err err = mm_space_alive(space);
    uint64_t holds = 0;

    if (err != MM_OK)
        return err;
    if (mm_section_is_on(space->vmm))
        return MM_ERR_BUSY; /* it would wait for itself */
    if (!mm_compare_swap_acq_rel_u64(&space->holds, &holds, MM_SPACE_CLOSED))
        return (holds & MM_SPACE_CLOSED) != 0 ? MM_ERR_GONE : MM_ERR_BUSY;
    mm_store_relaxed_u32(&space->state, MM_SPACE_GOES);
    return MM_OK;
}

/* Nor is anybody left who uses it. */
static void space_empty(struct mm_space *space)
{
    mm_sections_wait(space->vmm); /* calls that hold nothing end, or see CLOSED */
    mm_sections_forget(space->vmm, space);
}

/* Nobody can reach the tables when everything is flushed: the space is gone, and no CPU has it
 * loaded. Global translations outlive a change of root. */
static void space_teardown(struct mm_space *space, struct mm_space_fail *damage)
{
    struct mm_vmm *vmm = space->vmm;
    bool kernel = mm_space_is_kernel(space);
    struct mm_slots own = {0,
                           (kernel ? mm_pt_entries(vmm->paging.levels) : mm_pt_kernel_index()) - 1};
    struct mm_gather gather;

    mm_gather_start(&gather, space);
    mm_gather_everything(&gather);
    mm_gather_flush(&gather);
    mm_tables_free_below(space, own, damage);
    (void)mm_table_free(vmm, space->root, 0);
}

/* A space that is made in its place counts from there. */
static void generations_pass(struct mm_vmm *vmm, uint64_t generation)
{
    uint64_t latest = mm_load_relaxed_u64(&vmm->generations);

    while (latest < generation &&
           !mm_compare_swap_acq_rel_u64(&vmm->generations, &latest, generation))
        ;
}

static void leave_vmm(struct mm_space *space)
{
    struct mm_vmm *vmm = space->vmm;
    bool kernel = mm_space_is_kernel(space);

    generations_pass(vmm, mm_load_relaxed_u64(&space->generation));
    /* Pairs with space_lives() and mm_space_is_destroyed(): who sees it may use the struct for something
     * else. */
    mm_store_release_u32(&space->state, MM_SPACE_GONE);
    if (kernel) {
        vmm->kernel = NULL;
        vmm->state &= ~(MM_VMM_FROZEN | MM_VMM_LOW_GLOBAL);
        return;
    }
    (void)mm_fetch_add_relaxed_u64(&vmm->user_spaces, 0 - UINT64_C(1));
    mm_space_unhold(vmm->kernel);
}

/* It is closed. */
static void space_finish(struct mm_space *space, const void *caller)
{
    struct mm_space_fail damage = {.err = MM_OK};

    space_empty(space);
    space_teardown(space, &damage);
    leave_vmm(space);
    if (damage.err != MM_OK)
        mm_space_report_damage(space, &damage, "mm_space_destroy", caller);
}

enum mm_err mm_space_destroy(struct mm_space *space)
{
    enum mm_err err = space_close(space);

    if (err == MM_OK)
        space_finish(space, MM_CALLER);
    return err;
}

static void finish_later(struct mm_later *later)
{
    space_finish((struct mm_space *)((uintptr_t)later - offsetof(struct mm_space, later)), NULL);
}

enum mm_err mm_space_destroy_later(struct mm_space *space)
{
    enum mm_err err = space_close(space);

    if (err == MM_OK) {
        space->later.run = finish_later;
        mm_later_add(space->vmm, &space->later);
    }
    return err;
}

bool mm_space_is_destroyed(const struct mm_space *space)
{
    return space != NULL && mm_load_acquire_u32(&space->state) == MM_SPACE_GONE;
}

static enum mm_err stats_leaf(struct mm_walker *walker, struct mm_visit *visit)
{
    struct mm_space_stats *stats = walker->context;
    uint64_t *leaves[] = {&stats->leaf_4k, &stats->leaf_2m, &stats->leaf_1g};

    ++*leaves[visit->level - 1];
    stats->mapped_frames += mm_pt_bytes(visit->level) >> MM_FRAME_SHIFT;
    return MM_OK;
}

/* The hardware maps nothing there. */
static enum mm_err stats_damaged(struct mm_walker *walker, struct mm_visit *visit)
{
    (void)walker, (void)visit;
    return MM_OK;
}

void mm_space_get_stats(struct mm_space *space, struct mm_space_stats *out)
{
    struct mm_span half[2];
    unsigned halves;

    if (out == NULL)
        return;
    *out = (struct mm_space_stats)MM_ZERO;
    if (mm_space_hold(space) != MM_OK)
        return;
    out->tables = mm_load_relaxed_u64(&space->table_count);
    out->owned_frames = mm_load_relaxed_u64(&space->frame_count);
    halves = mm_space_halves(space, half);
    for (unsigned i = 0; i < halves; i++) {
        struct mm_walker walker = mm_walker_over(space, half[i], out, NULL);

        walker.leaf = stats_leaf;
        walker.damaged = stats_damaged;
        (void)mm_walker_run_pieces(&walker, space);
    }
    mm_space_unhold(space);
}

static enum mm_err limit_set(struct mm_space *space, const uint64_t *count, uint64_t *limit,
                             uint64_t value)
{
    enum mm_err err = mm_space_alive(space);

    if (err != MM_OK)
        return err;
    if (value != 0 && mm_load_relaxed_u64(count) > value)
        return MM_ERR_LIMIT;
    mm_store_relaxed_u64(limit, value);
    return MM_OK;
}

enum mm_err mm_space_set_limit(struct mm_space *space, uint64_t tables)
{
    if (space == NULL)
        return MM_ERR_BAD_ARG;
    return limit_set(space, &space->table_count, &space->table_limit, tables);
}

enum mm_err mm_space_set_frame_limit(struct mm_space *space, uint64_t frames)
{
    if (space == NULL)
        return MM_ERR_BAD_ARG;
    return limit_set(space, &space->frame_count, &space->frame_limit, frames);
}
