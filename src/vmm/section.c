/*
 * section.c - calls and walks announce themselves, so that no table is freed under them.
 *
 * Problem     A walk takes no lock, and a call descends without one; what they read may be taken off
 *             and freed by another CPU meanwhile. Their CPU need not have the space loaded, so no
 *             flush asks it.
 * Idea        An epoch that only grows, and a slot for each CPU: 0, or the epoch in which what runs
 *             there began. Who wants to free something takes the next epoch and waits until no slot
 *             has an older one.
 * Invariants  S1 a slot is written by its own CPU alone, with interrupts off
 *             S2 begin: slot, full fence, first load of a table. Free: unlinking store, full fence,
 *                load of the slots. One of the two sees the other
 *             S3 a section inside another (NMI) leaves the slot as it is: the older epoch keeps more.
 *                It has its fence all the same: the other may be between its store and its fence
 * Locking     None. The lock of the space is taken here for those that need it.
 * Cost        Begin: one exchange. Waiting: one line for each other CPU that is prepared, and the rest
 *             of the sections there, which are short.
 * Rejected    The acknowledged flush as the end of all walks: it is where walks run in the loaded space
 *             alone and flushes are interrupts, which a hypervisor's or a broadcast are not.
 */
#include "subtree.h"

void mm_section_lock(struct mm_section *section)
{
    if (section->locked)
        return;
    section->lock_guard = mm_lock_take(&section->space->lock);
    section->locked = true;
}

MM_COLD enum mm_err mm_section_refuse(struct mm_section *section, enum mm_err err)
{
    mm_section_end(section);
    return err;
}

MM_COLD enum mm_err mm_section_nest(struct mm_section *section, bool walk)
{
    section->cpu = NULL;
    mm_fence_full(); /* S3 */
    return walk ? MM_OK : mm_section_refuse(section, MM_ERR_BUSY);
}

void mm_sections_wait(struct mm_vmm *vmm)
{
    struct mm_cpuset cpus;
    uint64_t now;

    if (vmm->cpu_count == 1)
        return;
    MM_ASSERT(!mm_section_is_on(vmm));
    mm_fence_full(); /* S2; and who begins with the next epoch has seen what was unlinked */
    now = mm_fetch_add_relaxed_u64(&vmm->epoch, 1) + 1;
    if (!mm_cpuset_read(&vmm->online, vmm->cpu_count, &cpus))
        return;
    for (unsigned i = 0; i * 64 < vmm->cpu_count; i++) {
        for (uint64_t left = cpus.bits[i]; left != 0; left &= left - 1) {
            unsigned cpu = i * 64 + mm_lowest_bit(left);
            uint64_t began;

            /* our own is 0; pairs with mm_section_end() */
            while ((began = mm_load_acquire_u64(&mm_vmm_cpu(vmm, cpu)->section)) != 0 &&
                   began < now)
                mm_cpu_relax();
        }
    }
}

void mm_sections_forget(struct mm_vmm *vmm, struct mm_space *space)
{
    for (unsigned cpu = 0; cpu < vmm->cpu_count; cpu++) {
        uint64_t *slot = &mm_vmm_cpu(vmm, cpu)->last.space;
        uint64_t last = mm_load_relaxed_u64(slot);

        if (last != 0 && (space == NULL || last == (uintptr_t)space))
            (void)mm_compare_swap_acq_rel_u64(slot, &last, 0);
    }
}
