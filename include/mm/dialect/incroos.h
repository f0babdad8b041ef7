/*
 * mm/dialect/incroos.h - the interface of IncroOS: pmm_*, vmm_*, PTE_*, kmalloc, heap_get_*.
 *
 * Write mm_start(&mm_default, ...) in front of pmm_init(), and MM_DEFAULT_INSTANCE in one .c file
 * (mm/default.h). Not as its manual has it: all RAM of the memory map is managed, not 32 MiB from
 * 0x200000; the heap lies in the direct map, not at 0x10000000, and its limit is
 * info.heap_limit_bytes; a frame cannot be followed as a pointer, because nothing is mapped one to
 * one; page tables are freed.
 */
#include "kmalloc.h" /* outside the guard: see mm/default.h */

#ifndef MM_DIALECT_INCROOS_H
#define MM_DIALECT_INCROOS_H

#ifdef MM_VOCABULARY
#error "one vocabulary in a file: mm/names.h, or one header of mm/dialect"
#endif
#define MM_VOCABULARY

#include "entry.h"
#include "frames.h"

#define PTE_PRESENT      MM_ENTRY_PRESENT
#define PTE_WRITABLE     MM_ENTRY_WRITE
#define PTE_USER         MM_ENTRY_USER
#define PTE_WRITETHROUGH MM_ENTRY_THROUGH
#define PTE_NOCACHE      MM_ENTRY_NOCACHE
#define PTE_ACCESSED     MM_ENTRY_ACCESSED
#define PTE_DIRTY        MM_ENTRY_DIRTY
#define PTE_HUGEPAGE     MM_ENTRY_LARGE /* 2 MiB */
#define PTE_GLOBAL       MM_ENTRY_GLOBAL

/* mm_start() did it all, in an order that works; these look whether it was called. */
static inline void pmm_init(void)
{
    mm_dialect_started("pmm_init");
}
static inline void vmm_init(void)
{
    mm_dialect_started("vmm_init");
}
static inline void heap_init(void)
{
    mm_dialect_started("heap_init");
}

/* 0 = none: frame 0 is never handed out. */
static inline uint64_t pmm_alloc_page(void)
{
    return mm_dialect_run(1);
}
static inline void pmm_free_page(uint64_t addr)
{
    (void)mm_pmm_free_frame(&mm_default.pmm, mm_phys(addr));
}
static inline size_t pmm_get_free_pages(void)
{
    return mm_pmm_free_frames(&mm_default.pmm);
}
static inline size_t pmm_get_total_pages(void)
{
    return mm_dialect_total();
}

/* False: nothing changed. A page that is mapped already is not replaced, but refused. */
static inline bool vmm_map_page(uint64_t virt, uint64_t phys, uint64_t flags)
{
    return mm_dialect_map(virt, phys, mm_entry_bytes(flags), flags) == MM_OK;
}

/* The frame stays yours: pmm_free_page() it afterwards. */
static inline void vmm_unmap_page(uint64_t virt)
{
    mm_dialect_unmap(virt, "vmm_unmap_page");
}

/* 0 = not mapped. */
static inline uint64_t vmm_get_physical(uint64_t virt)
{
    return mm_dialect_phys(virt);
}

static inline uint64_t vmm_get_cr3(void)
{
    return mm_dialect_cr3();
}

/* Bytes with their bookkeeping, of the pages that the heap has now; it takes more when needed. */
static inline size_t heap_get_used(void)
{
    return mm_dialect_heap().used_bytes;
}
static inline size_t heap_get_free(void)
{
    return mm_dialect_heap().free_bytes;
}

#endif
