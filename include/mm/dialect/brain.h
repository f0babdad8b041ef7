/*
 * mm/dialect/brain.h - the five calls of a tutorial that calls memory management "the brain".
 *
 *     void *frame = pmm_alloc_frame();
 *     vmm_map_page(frame, 0xDEADBEEF000);          frame first, then the address
 *     int *numbers = (int *)kmalloc(sizeof(int) * 100);
 *
 * Write mm_start(&mm_default, ...) in front, and MM_DEFAULT_INSTANCE in one .c file (mm/default.h).
 * Its memory map, its four levels of tables, its slabs and its higher half are libmm's business:
 * docs/migrating.md says where.
 *
 * A frame is a `void *` there, but it is a physical address: following it faults, because memory is
 * not mapped one to one. Map it, or ask frame_memory().
 */
#include "kmalloc.h" /* outside the guard: see mm/default.h */

#ifndef MM_DIALECT_BRAIN_H
#define MM_DIALECT_BRAIN_H

#ifdef MM_VOCABULARY
#error "one vocabulary in a file: mm/names.h, or one header of mm/dialect"
#endif
#define MM_VOCABULARY

/* The physical address of a free frame; NULL = none (frame 0 is never handed out). */
static inline void *pmm_alloc_frame(void)
{
    mm_phys_t frame;

    if (mm_pmm_alloc_frame(&mm_default.pmm, &frame) != MM_OK)
        return (void *)0;
    return (void *)(uintptr_t)frame.raw;
}

static inline void pmm_free_frame(void *frame)
{
    (void)mm_pmm_free_frame(&mm_default.pmm, mm_phys((uintptr_t)frame));
}

/* Map `frame` at `virt` with rights MM_PROT_*: "read only" is MM_PROT_READ, user programs need
 * MM_PROT_USER, and what is not named MM_PROT_EXEC is "no execute". */
static inline enum mm_err vmm_map_page_as(void *frame, uint64_t virt, uint32_t prot)
{
    struct mm_map_request request = MM_ZERO;

    if (frame == (void *)0) /* what a failed pmm_alloc_frame() gave */
        return MM_ERR_BAD_ARG;
    request.virt = mm_virt(virt);
    request.phys = mm_phys((uintptr_t)frame);
    request.bytes = MM_FRAME_BYTES;
    request.prot = prot;
    return mm_space_map(&mm_default.kernel, &request, (struct mm_space_fail *)0);
}

/* For the kernel, writable, not executable. The tutorial ignores the result; look at it: over a page
 * that is mapped already nothing is mapped. */
static inline enum mm_err vmm_map_page(void *frame, uint64_t virt)
{
    return vmm_map_page_as(frame, virt, MM_PROT_RW);
}

/* The flush that the tutorial warns of is in here. The frame stays yours. */
static inline enum mm_err vmm_unmap_page(uint64_t virt)
{
    return mm_space_unmap(&mm_default.kernel, mm_virt(virt), MM_FRAME_BYTES, 0,
                          (struct mm_gather *)0, (struct mm_space_fail *)0);
}

/* Where the bytes of a frame that you own appear; NULL = not RAM. */
static inline void *frame_memory(void *frame)
{
    return mm_phys_pointer(&mm_default, mm_phys((uintptr_t)frame));
}

#endif
