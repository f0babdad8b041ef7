/*
 * adopt.c - the kernel space out of page tables that somebody else made.
 *
 * Problem     A kernel may want to go on with the tables that its boot loader left. They were made
 *             by rules of their own: they lie in frames that are not ours, may share tables, may
 *             map themselves, may mark the lower half global.
 * Idea        Walk them once, believing nothing: reserved bits and loops are refused with the place
 *             where they are, everything else is counted. Their tables are told from ours by the
 *             frame source, for ever.
 * Invariants  I1 nothing is written before the walk has found the tables sound, and then only the
 *                top-level entries of the kernel area that were empty
 *             I2 no translation of the lower half outlives the way to a user space: where such
 *                leaves are global, mm_space_activate() flushes everything there
 * Locking     None: nobody knows the space yet.
 * Cost        O(tables x 512).
 * Rejected    Copying them: the point of adopting is that nothing moves. Taking the global mark
 *             from the leaves of the lower half (I2): they are the caller's, who may go on with
 *             them if start-up fails later, and the hardware sets marks in them meanwhile.
 */
#include "mm_cpu.h"
#include "vmm_internal.h"

/* Far more tables than a boot loader makes: 4 GiB of them. Tables that refer to each other many
 * times over would keep the walk busy for ever. */
#define ADOPT_TABLES_MAX (UINT64_C(1) << 20)

struct stock {
    struct mm_space *space;
    bool low_global; /* a leaf of the lower half is */
};

static enum mm_err refuse(struct mm_walker *walker, const struct mm_visit *visit)
{
    return mm_fail(walker->fail, MM_ERR_MALFORMED, visit->virt, visit->level, visit->entry);
}

static enum mm_err adopt_damaged(struct mm_walker *walker, struct mm_visit *visit)
{
    return refuse(walker, visit);
}

static bool reserved_bits(const struct mm_space *space, const struct mm_visit *visit)
{
    const struct mm_paging *paging = &space->vmm->paging;

    return mm_pte_reserved(visit->entry, visit->level, paging->phys_bits,
                           (paging->flags & MM_PAGING_NX) != 0) != 0;
}

static enum mm_err adopt_enter(struct mm_walker *walker, struct mm_visit *visit)
{
    struct stock *stock = walker->context;
    struct mm_space *space = stock->space;
    mm_phys_t table = mm_pte_phys(visit->entry, visit->level);

    if (reserved_bits(space, visit) || space->table_count == ADOPT_TABLES_MAX)
        return refuse(walker, visit);
    for (unsigned level = visit->level; level <= walker->levels; level++) {
        if (walker->path[level].raw == table.raw)
            return refuse(walker, visit);
    }
    space->table_count++;
    return MM_OK;
}

static enum mm_err adopt_leaf(struct mm_walker *walker, struct mm_visit *visit)
{
    struct stock *stock = walker->context;
    struct mm_space *space = stock->space;

    if (reserved_bits(space, visit))
        return refuse(walker, visit);
    if (mm_pte_global(visit->entry) && !mm_pt_kernel_half(mm_virt(visit->virt)))
        stock->low_global = true;
    return MM_OK;
}

static void adopt_leave(struct mm_walker *walker, struct mm_visit *visit, mm_pte_t *child)
{
    struct stock *stock = walker->context;

    mm_table_recount(stock->space->vmm, mm_pte_phys(visit->entry, visit->level), child,
                     visit->level - 1);
}

static enum mm_err count_half(struct stock *stock, struct mm_span half, struct mm_space_fail *fail)
{
    struct mm_walker walker = mm_walker_over(stock->space, half, stock, fail);

    walker.enter = adopt_enter;
    walker.leaf = adopt_leaf;
    walker.leave = adopt_leave;
    walker.damaged = adopt_damaged;
    return mm_walker_run_all(&walker);
}

static enum mm_err take_stock(struct stock *stock, struct mm_space_fail *fail)
{
    struct mm_span half[2];
    unsigned halves = mm_space_halves(stock->space, half);

    for (unsigned i = 0; i < halves; i++) {
        enum mm_err err = count_half(stock, half[i], fail);

        if (err != MM_OK)
            return err;
    }
    return mm_space_preallocate(stock->space, fail);
}

enum mm_err mm_space_adopt(struct mm_vmm *vmm, struct mm_space *space, struct mm_space_fail *fail)
{
    struct mm_space made;
    struct stock stock = {&made, false};
    mm_guard_t guard;
    unsigned cpu;
    enum mm_err err;

    if (!mm_vmm_is_made(vmm) || space == NULL)
        return mm_fail(fail, MM_ERR_BAD_ARG, 0, 0, mm_pte_empty());
    if (vmm->kernel != NULL)
        return mm_fail(fail, MM_ERR_EXISTS, 0, 0, mm_pte_empty());
    mm_vmm_note_tags(vmm, mm_tables_have_tags(vmm));
    mm_space_begin(&made, vmm, mm_mmu_root(), MM_SPACE_KERNEL | MM_SPACE_ADOPTED);
    err = take_stock(&stock, fail);
    if (err != MM_OK)
        return err;
    *space = made;
    guard = mm_cpu_guard();
    cpu = mm_cpu_index();
    if (cpu < vmm->cpu_count) {
        mm_cpu_adopt(mm_vmm_cpu(vmm, cpu), space);
        space->holds = 1;
        mm_cpuset_add(&space->cpus, cpu);
    }
    vmm->kernel = space;
    vmm->state |= stock.low_global ? MM_VMM_LOW_GLOBAL : 0;
    mm_cpu_unguard(guard);
    return MM_OK;
}
