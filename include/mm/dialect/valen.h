/*
 * mm/dialect/valen.h - the interface of Valen: pmm_*, paging_*, vmm_*, PAGE_*, malloc, free.
 *
 * Write mm_start(&mm_default, ...) in front of pmm_init(), and MM_DEFAULT_INSTANCE in one .c file
 * (mm/default.h). Not as its manual has it: nobody writes a bitmap behind the kernel; what is free
 * between 1 and 2 MiB is handed out; total and used do not count holes. Not beside <stdlib.h>.
 * The interface has no unmap: mm_space_unmap(&mm_default.kernel, ...) takes a mapping away.
 */
#include "common.h" /* outside the guard: see mm/default.h */

#ifndef MM_DIALECT_VALEN_H
#define MM_DIALECT_VALEN_H

#ifdef MM_VOCABULARY
#error "one vocabulary in a file: mm/names.h, or one header of mm/dialect"
#endif
#define MM_VOCABULARY

#include "area.h"
#include "entry.h"
#include "frames.h"

#define PAGE_PRESENT MM_ENTRY_PRESENT
#define PAGE_WRITE   MM_ENTRY_WRITE
#define PAGE_USER    MM_ENTRY_USER
#define PAGE_PWT     MM_ENTRY_THROUGH
#define PAGE_PCD     MM_ENTRY_NOCACHE
#define PAGE_HUGE    MM_ENTRY_LARGE /* 2 MiB */

/* Adding the offset reaches what the boot code mapped, and wraps at 2 GiB: PHYS_TO_VIRT asks, and is
 * NULL for what is not RAM; VIRT_TO_PHYS is 0 for what is not mapped. */
#define KERNEL_VIRT_OFFSET UINT64_C(0xFFFFFFFF80000000)
#define PHYS_TO_VIRT(phys) mm_phys_pointer(&mm_default, mm_phys((uintptr_t)(phys)))
#define VIRT_TO_PHYS(virt) mm_dialect_phys((uintptr_t)(virt))

#define pmm_mark_free    mm_dialect_mark_free
#define pmm_mark_used    mm_dialect_mark_used
#define paging_map       vmm_map
#define paging_map_page  vmm_map
#define paging_map_range vmm_map_range
#define vmm_get_phys     mm_dialect_phys
#define vmm_alloc        mm_dialect_area_alloc
#define vmm_free         mm_dialect_area_free /* which the manual misses: by address alone */
#define vmm_init         paging_init
#define heap_init        paging_init

/* mm_start() did it all, and knows RAM from the memory map; these look whether it was called. */
static inline void paging_init(void)
{
    mm_dialect_started("*_init");
}
static inline void pmm_init(uintptr_t start, uint64_t size)
{
    (void)start, (void)size, paging_init();
}

/* Physical addresses, though they look like pointers: PHYS_TO_VIRT() before following one. */
static inline void *pmm_alloc_pages(uint64_t count)
{
    return (void *)(uintptr_t)mm_dialect_run(count);
}
#define pmm_alloc_page() pmm_alloc_pages(1)
/* All pages of the allocation that begins at `addr`. */
static inline void pmm_free_page(void *addr)
{
    mm_dialect_free((uintptr_t)addr);
}

static inline uint64_t pmm_get_total_kb(void)
{
    return mm_dialect_total() * 4;
}
static inline uint64_t pmm_get_free_kb(void)
{
    return mm_pmm_free_frames(&mm_default.pmm) * 4;
}
static inline uint64_t pmm_get_used_kb(void)
{
    return pmm_get_total_kb() - pmm_get_free_kb();
}

/* What is mapped already is refused and reported, not replaced. `size` is rounded up to pages. */
static inline void vmm_map_range(uintptr_t virt, uintptr_t phys, uint64_t size, uint64_t flags)
{
    mm_dialect_refused(mm_dialect_map(virt, phys, size, flags), "vmm_map", virt);
}
static inline void vmm_map(uintptr_t virt, uintptr_t phys, uint64_t flags)
{
    vmm_map_range(virt, phys, mm_entry_bytes(flags), flags);
}

static inline void *malloc(uint64_t size)
{
    return mm_heap_alloc(&mm_default.heap, size);
}
static inline void free(void *ptr)
{
    (void)mm_heap_free(&mm_default.heap, ptr);
}

#endif
