/*
 * later.c - what cannot be done here is queued, and done where waiting is allowed.
 *
 * Problem     Unmapping ends with waiting for other CPUs. An interrupt handler must not: the CPU that
 *             it waits for may wait for this one, with interrupts off.
 * Idea        Whoever puts something off lends the memory for it: the gather, the space, or whatever
 *             else is to go. A list of these, pushed by compare-and-swap and taken whole by an
 *             exchange, so that nothing is compared with what has gone and come back.
 * Invariants  I1 an element is in the list from mm_later_add() until mm_reap() runs it
 *             I2 it is not looked at after it ran: that may have freed it
 * Locking     None.
 * Cost        Adding: one compare-and-swap. Reaping: one exchange, and what the elements do.
 * Rejected    A queue of fixed size in the VMM: what if it is full? Doing it in the next call that may
 *             wait: it would cost whoever happens to come.
 */
#include "base/report.h"
#include "subtree.h"

void mm_later_add(struct mm_vmm *vmm, struct mm_later *later)
{
    uint64_t first;

    if (!mm_vmm_is_made(vmm) || later == NULL || later->run == NULL) {
        (void)mm_report_misuse(MM_ERR_BAD_ARG, "nothing to do later", "mm_later_add", vmm,
                               (uintptr_t)later, MM_CALLER);
        return;
    }
    first = mm_load_relaxed_u64(&vmm->later);
    do
        later->next = (struct mm_later *)(uintptr_t)first;
    while (!mm_compare_swap_acq_rel_u64(&vmm->later, &first, (uintptr_t)later));
}

/* The list has the latest first. */
static struct mm_later *reversed(struct mm_later *list)
{
    struct mm_later *first = NULL;

    while (list != NULL) {
        struct mm_later *next = list->next;

        list->next = first;
        first = list;
        list = next;
    }
    return first;
}

size_t mm_reap(struct mm_vmm *vmm)
{
    struct mm_later *later;
    size_t count = 0;

    if (!mm_vmm_is_made(vmm) || mm_load_relaxed_u64(&vmm->later) == 0)
        return 0;
    later = (struct mm_later *)(uintptr_t)mm_exchange_acq_rel_u64(&vmm->later, 0);
    for (later = reversed(later); later != NULL; count++) {
        struct mm_later *next = later->next;

        later->run(later);
        later = next;
    }
    return count;
}
