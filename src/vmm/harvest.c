/*
 * harvest.c - what the hardware has noted of pages: read and cleared over a range.
 *
 * Problem     Who ages pages, or writes dirty ones back, looks at many, and a flush for each costs a
 *             hundred times the look. A mark that is cleared by a plain store takes one along that was
 *             set since the load.
 * Idea        A walk that reads, and an exchange where a mark is to go; all flushes in one gather.
 * Invariants  I1 a mark is told or still there: nothing is lost between load and exchange
 *             I2 what was cleared is in the gather
 * Locking     None: sections only. The exchange fails if the entry has become something else, and then
 *             it is looked at again. A protect that stores plainly at this moment may put a mark back,
 *             which does no harm.
 * Cost        One load for each page; one exchange for each that has a mark to clear.
 * Rejected    Table locks: nothing here changes what is mapped.
 */
#include "base/report.h"
#include "change.h"

struct harvest {
    const struct mm_space *space;
    struct mm_gather *gather;
    uint8_t *marks; /* or NULL */
    uint64_t first, last;
    bool accessed, dirty; /* to be cleared */
};

static uint8_t marks_of(mm_pte_t leaf)
{
    return (uint8_t)(MM_MARK_MAPPED | (mm_pte_accessed(leaf) ? MM_MARK_ACCESSED : 0) |
                     (mm_pte_dirty(leaf) ? MM_MARK_DIRTY : 0));
}

static void tell(const struct harvest *h, uint64_t first, uint64_t last, uint8_t marks)
{
    if (h->marks != NULL)
        __builtin_memset(&h->marks[(first - h->first) >> MM_FRAME_SHIFT], marks,
                         (size_t)((last - first) >> MM_FRAME_SHIFT) + 1);
}

static bool is_cut(const struct harvest *h, const struct mm_visit *visit)
{
    return visit->virt < h->first || h->last - visit->virt < mm_pt_bytes(visit->level) - 1;
}

static enum mm_err harvest_leaf(struct mm_walker *walker, struct mm_visit *visit)
{
    struct harvest *h = walker->context;
    uint64_t bytes = mm_pt_bytes(visit->level);
    uint64_t last = mm_min_u64(visit->virt + (bytes - 1), h->last);
    mm_pte_t before = visit->entry;

    if (!is_cut(h, visit)) {
        mm_pte_t after = mm_pte_cleaned(before, h->accessed, h->dirty);

        while (after.bits != before.bits && !mm_pte_compare_swap(visit->slot, &before, after)) {
            if (!mm_pte_is_leaf(before, visit->level))
                return MM_OK; /* taken away meanwhile */
            after = mm_pte_cleaned(before, h->accessed, h->dirty);
        }
        if (after.bits != before.bits && visit->level > 1 && mm_space_joins(h->space))
            mm_gather_everything(h->gather);
        if (after.bits != before.bits)
            mm_gather_page(h->gather, visit->virt, bytes);
    }
    tell(h, walker->virt, last, marks_of(before));
    return MM_OK;
}

static enum mm_err harvest_run(struct mm_space *space, struct harvest *h,
                               struct mm_space_fail *fail)
{
    struct mm_walker walker = mm_walker_over(space, (struct mm_span){h->first, h->last}, h, fail);

    walker.leaf = harvest_leaf;
    return mm_walker_run_pieces(&walker, space);
}

static enum mm_err harvest_flushed(struct mm_space *space, struct harvest *h,
                                   struct mm_space_fail *fail)
{
    struct mm_gather gather;
    enum mm_err err;

    h->gather = &gather;
    mm_gather_start(&gather, space);
    err = harvest_run(space, h, fail);
    mm_gather_flush(&gather);
    return err;
}

enum mm_err mm_space_harvest(struct mm_space *space, mm_virt_t virt, uint64_t bytes, uint32_t clear,
                             uint8_t *marks, struct mm_gather *gather, struct mm_space_fail *fail)
{
    struct mm_space_fail why;
    struct harvest h = {.space = space,
                        .gather = gather,
                        .marks = marks,
                        .accessed = (clear & MM_MARK_ACCESSED) != 0,
                        .dirty = (clear & MM_MARK_DIRTY) != 0};
    struct mm_span span;
    enum mm_err err;

    if (fail == NULL)
        fail = &why;
    if ((clear & ~(MM_MARK_ACCESSED | MM_MARK_DIRTY)) != 0)
        return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
    err = mm_range_check(space, virt, bytes, &span, fail);
    if (err == MM_OK && gather != NULL)
        err = mm_range_check_gather(gather, space, virt, fail);
    if (err != MM_OK)
        return err;
    err = mm_section_is_on(space->vmm) ? MM_ERR_BUSY : mm_space_hold(space);
    if (err != MM_OK)
        return mm_fail(fail, err, virt.raw, 0, mm_pte_empty());
    h.first = span.first;
    h.last = span.last;
    tell(&h, h.first, h.last, 0);
    err = gather != NULL ? harvest_run(space, &h, fail) : harvest_flushed(space, &h, fail);
    mm_space_unhold(space);
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, fail, "mm_space_harvest", MM_CALLER);
    return err;
}
