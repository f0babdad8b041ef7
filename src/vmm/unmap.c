/*
 * unmap.c - taking mappings away.
 *
 * Problem     What is removed may be in use by the hardware of any CPU at that moment, and tables
 *             that nothing needs any more must not stay for ever.
 * Idea        After range.c made sure that nothing can fail: each leaf is exchanged for nothing,
 *             and a table that is found empty on the way back is unhooked from its parent. Both go
 *             into a gather, which flushes and only then frees.
 * Invariants  I1 a table that is unhooked has no entry left
 *             I2 counts of the space change with the entry, under the lock
 *             I3 the root, and tables of kernel slots that other roots refer to, stay
 * Locking     The space's lock per piece; none during the flush.
 * Cost        One locked exchange per page; a scan of each table that was touched.
 * Rejected    Plain stores: an accessed or dirty mark set in between would reappear in an entry
 *             that is empty by then.
 */
#include "base/report.h"
#include "vmm_internal.h"

static enum mm_err unmap_leaf(struct mm_walker *walker, struct mm_visit *visit)
{
    struct mm_change *change = walker->context;
    struct mm_space *space = change->space;
    unsigned transition = mm_pte_transition(visit->entry, mm_pte_empty(), visit->level);

    if (mm_range_is_cut(visit, &change->span))
        return mm_fail(walker->fail, MM_ERR_AGAIN, walker->virt, visit->level, visit->entry);
    if ((transition & MM_TRANSITION_AD) != 0)
        (void)mm_pte_swap(visit->slot, mm_pte_empty());
    else
        mm_pte_store(visit->slot, mm_pte_empty());
    space->leaf_count[visit->level - 1]--;
    space->mapped_frames -= mm_pt_bytes(visit->level) / MM_FRAME_BYTES;
    if ((transition & MM_TRANSITION_FLUSH) != 0)
        mm_gather_page(change->gather, visit->virt, mm_pt_bytes(visit->level));
    return MM_OK;
}

static void unmap_leave(struct mm_walker *walker, struct mm_visit *visit, mm_pte_t *child)
{
    struct mm_change *change = walker->context;

    if (!mm_table_is_empty(child) || mm_table_is_kept(change->space, visit->virt, visit->level))
        return;
    mm_pte_store(visit->slot, mm_pte_empty());
    change->space->table_count--;
    mm_gather_table(change->gather, mm_pte_phys(visit->entry, visit->level), visit->virt,
                    mm_pt_bytes(visit->level));
}

enum mm_err mm_space_unmap(struct mm_space *space, mm_virt_t virt, uint64_t bytes, uint32_t flags,
                           struct mm_gather *gather, struct mm_space_fail *fail)
{
    struct mm_change change = {
        .space = space, .gather = gather, .leaf = unmap_leaf, .leave = unmap_leave};
    struct mm_space_fail why;
    enum mm_err err;

    if (fail == NULL)
        fail = &why;
    if ((flags & ~MM_RANGE_HOLES) != 0)
        return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
    err = mm_range_check(space, virt, bytes, &change.span, fail);
    if (err == MM_OK && gather != NULL)
        err = mm_range_check_gather(gather, space, virt, fail);
    if (err != MM_OK)
        return err;
    err = mm_range_change(&change, flags, fail);
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, fail, "mm_space_unmap", MM_CALLER);
    return err;
}
