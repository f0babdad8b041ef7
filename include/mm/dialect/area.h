/*
 * mm/dialect/area.h - for dialects that allocate pages with addresses.
 */
#include "entry.h" /* outside the guard: see mm/default.h */

#ifndef MM_DIALECT_AREA_H
#define MM_DIALECT_AREA_H

static inline void mm_dialect_area_free(void *memory)
{
    struct mm_arena_info span;
    struct mm_dma dma = MM_ZERO;

    dma.pointer = memory;
    dma.phys = mm_phys(mm_dialect_phys(mm_virt_of(memory).raw));
    if (mm_arena_find(&mm_default.arena, mm_virt_of(memory), &span) == MM_OK)
        dma.bytes = span.bytes;
    (void)mm_dma_free(&mm_default.area, &dma); /* refuses and reports what is no allocation */
}

/*
 * `pages` contiguous frames at addresses of the kernel area, never executable; zeroed, if they are
 * cached as usual: through another memory type nobody may look at them in the direct map. NULL: no
 * memory, or flags that cannot be had there (user pages are of a user space, not of the kernel).
 */
static inline void *mm_dialect_area_alloc(uint64_t pages, uint64_t flags)
{
    struct mm_dma_request request = MM_ZERO;
    struct mm_dma dma;

    if ((flags & (MM_ENTRY_PRESENT | MM_ENTRY_USER)) != MM_ENTRY_PRESENT ||
        (flags & ~MM_ENTRY_FLAGS) != 0 || pages > UINT64_MAX >> MM_FRAME_SHIFT)
        return (void *)0;
    request.bytes = pages << MM_FRAME_SHIFT;
    request.align_bytes = (flags & MM_ENTRY_LARGE) != 0 ? MM_ENTRY_LARGE_BYTES : 0;
    request.type = mm_entry_type(flags);
    request.flags = request.type == MM_MEMTYPE_WB ? MM_FRAME_ZERO : 0;
    if (mm_dma_alloc(&mm_default.area, &request, &dma) != MM_OK)
        return (void *)0;
    if ((flags & MM_ENTRY_WRITE) != 0 ||
        mm_space_protect(&mm_default.kernel, mm_virt_of(dma.pointer), dma.bytes, MM_PROT_READ, 0,
                         (struct mm_gather *)0, (struct mm_space_fail *)0) == MM_OK)
        return dma.pointer;
    mm_dialect_area_free(dma.pointer);
    return (void *)0;
}

#endif
