/*
 * mm/dialect/phase5.h - the words of a tutorial that explains paging as "phase 5": page directory,
 * bitmap, CR3, identity mapping. It names no functions; for those there is mm/names.h, included
 * here. Write mm_start(&mm_default, ...) first, and MM_DEFAULT_INSTANCE in one .c file.
 *
 * Its numbers are those of 32-bit x86: two levels of 1024 entries, 4 GiB. libmm has no such port; in
 * 64-bit mode a page directory is level 2 of 4 or 5, and directories and tables have 512 entries.
 * The words mean that here.
 */
#include "../names.h" /* outside the guard: see mm/default.h */

#ifndef MM_DIALECT_PHASE5_H
#define MM_DIALECT_PHASE5_H

#define PAGE_DIRECTORY_ENTRIES 512u
#define PAGE_TABLE_ENTRIES     512u

/* The bit of a page in the bitmap: true = used, also for what is no RAM. libmm's bitmap is not to be
 * written: memory that the map calls available is free in it from the start. */
static inline bool page_is_used(uint64_t phys)
{
    struct mm_frame_info info;

    mm_pmm_query(&mm_default.pmm, mm_phys(phys), &info);
    return info.state != MM_FRAME_FREE;
}

static inline unsigned page_directory_index(uint64_t virt)
{
    return (unsigned)(virt >> 21) % PAGE_DIRECTORY_ENTRIES;
}
static inline unsigned page_table_index(uint64_t virt)
{
    return (unsigned)(virt >> 12) % PAGE_TABLE_ENTRIES;
}

/* CR3 without its flags: the physical address of the topmost table. After mm_start(). */
static inline uint64_t cr3_read(void)
{
    return mm_space_current(&mm_default.vmm)->root.raw;
}
/* Paging is on since long; this makes the CPU see another process. Interrupts off. */
static inline enum mm_err cr3_load(struct mm_space *process)
{
    return mm_space_activate(process);
}

/* The entry for `virt` in its page directory (level 2) or page table (level 1), as the CPU sees it; 0
 * = none. A directory entry with bit 7 maps 2 MiB itself and leads to no table. */
static inline uint64_t page_entry(uint64_t virt, uint32_t level)
{
    struct mm_walk_step step[MM_WALK_STEPS];
    unsigned count = mm_space_walk(mm_space_current(&mm_default.vmm), mm_virt(virt), step);

    for (unsigned i = 0; i < count; i++)
        if (step[i].level == level)
            return step[i].entry;
    return 0;
}

/* A process of its own: its lower half is empty, the kernel is in its upper half. */
MM_NODISCARD static inline enum mm_err process_create(struct mm_space *process)
{
    return mm_space_create(&mm_default.vmm, process, 0);
}
/* One page of it, accessible to user mode; VMM_WRITE or VMM_EXEC or neither. */
MM_NODISCARD static inline enum mm_err process_map_page(struct mm_space *process, uint64_t virt,
                                                        uint64_t phys, unsigned flags)
{
    struct mm_map_request request = MM_ZERO;

    if (phys == 0) /* what a failed pmm_alloc_frame() gave */
        return MM_ERR_BAD_ARG;
    request.virt = mm_virt(virt);
    request.phys = mm_phys(phys);
    request.bytes = MM_FRAME_BYTES;
    request.prot = MM_PROT_READ | MM_PROT_USER | flags;
    return mm_space_map(process, &request, (struct mm_space_fail *)0);
}

/* virt == phys in the kernel space, for a trampoline or a device. The switch to libmm's tables needs
 * none: mm_start() has verified that the next instruction is where it was. */
MM_NODISCARD static inline enum mm_err identity_map(uint64_t phys, uint64_t bytes, unsigned flags)
{
    return vmm_map(phys, phys, bytes, flags);
}

#endif
