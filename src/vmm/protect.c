/*
 * protect.c - changing the rights of what is mapped.
 *
 * Problem     The hardware sets accessed and dirty in the entry that is being rewritten; a plain
 *             store loses them, and with a lost dirty mark goes somebody's data.
 * Idea        Read, compute, exchange if unchanged, else again. What became stricter is gathered
 *             for a flush; what only gained rights needs none (SDM vol. 3A, 4.10.4.3).
 * Invariants  I1 frame, size, memory type, accessed and dirty of a page stay
 *             I2 a right that was taken away is gone on every CPU when the gather has ended
 * Locking     The space's lock per piece; none during the flush.
 * Cost        One locked exchange per page that changes.
 * Rejected    Unmapping and mapping again: other CPUs would fault in between.
 */
#include "base/report.h"
#include "vmm_internal.h"

static enum mm_err protect_leaf(struct mm_walker *walker, struct mm_visit *visit)
{
    struct mm_change *change = walker->context;
    mm_pte_t before = visit->entry;
    unsigned transition;
    bool stored;

    if (mm_range_is_cut(visit, &change->span))
        return mm_fail(walker->fail, MM_ERR_AGAIN, walker->virt, visit->level, visit->entry);
    do {
        mm_pte_t after = mm_pte_with_prot(before, change->prot);

        if (after.bits == before.bits)
            return MM_OK;
        transition = mm_pte_transition(before, after, visit->level);
        stored = mm_pte_compare_swap(visit->slot, &before, after);
    } while (!stored);
    if ((transition & MM_TRANSITION_FLUSH) != 0)
        mm_gather_page(change->gather, visit->virt, mm_pt_bytes(visit->level));
    return MM_OK;
}

enum mm_err mm_space_protect(struct mm_space *space, mm_virt_t virt, uint64_t bytes, uint32_t prot,
                             uint32_t flags, struct mm_gather *gather, struct mm_space_fail *fail)
{
    struct mm_change change = {
        .space = space, .gather = gather, .prot = prot, .leaf = protect_leaf};
    struct mm_space_fail why;
    enum mm_err err;

    if (fail == NULL)
        fail = &why;
    if ((flags & ~(MM_RANGE_HOLES | MM_RANGE_WX)) != 0)
        return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
    err = mm_range_check(space, virt, bytes, &change.span, fail);
    if (err == MM_OK)
        err = mm_range_check_prot(space, virt.raw, prot, (flags & MM_RANGE_WX) != 0, fail);
    if (err == MM_OK && gather != NULL)
        err = mm_range_check_gather(gather, space, virt, fail);
    if (err != MM_OK)
        return err;
    err = mm_range_change(&change, flags, fail);
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, fail, "mm_space_protect", MM_CALLER);
    return err;
}
