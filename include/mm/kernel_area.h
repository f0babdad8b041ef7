/*
 * mm/kernel_area.h - virtual memory for the kernel: devices, DMA, scattered memory, stacks.
 *
 * Joins the kernel space (page tables), an arena (addresses) and the PMM (frames).
 * Context of all calls: as the calls of mm/vmm.h; those that release may wait.
 */
#ifndef MM_KERNEL_AREA_H
#define MM_KERNEL_AREA_H

#include "arena.h"
#include "pmm.h"
#include "types.h"
#include "vmm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fill the fields once; they are only read. */
struct mm_kernel_area {
    struct mm_space *space; /* the kernel space */
    struct mm_arena *arena;
    struct mm_pmm *pmm; /* for all but devices */
};

/*
 * Map physical [phys, phys + bytes), typically device registers, readable and writable, never
 * executable. Nothing needs to be aligned: the result keeps the offset inside the page, and an
 * unmapped guard page follows. Meant for devices: RAM of the direct map is cached there already,
 * and mapping one frame with two memory types is undefined on x86_64 (this version does not check).
 *
 *     void *p;
 *     if (mm_kmap(&area, mm_phys(0xfed00000), 1024, MM_MEMTYPE_UC, &p) == MM_OK)
 *         timer = p;
 *
 * @out     where `phys` appears; untouched on error
 * Returns  MM_OK | MM_ERR_BAD_ARG (bytes 0, unknown type; no kernel area: a field is NULL, as in
 *          mm.area when the layout has none) | MM_ERR_RANGE (wraps, beyond the physical width)
 *          | MM_ERR_NO_ADDRESS | MM_ERR_NO_MEMORY | MM_ERR_UNSUPPORTED (a type that the CPU lacks)
 *          | MM_ERR_EXISTS (somebody mapped something there past the arena) | MM_ERR_LIMIT
 *          | MM_ERR_WINDOW | MM_ERR_GONE (the space)
 * Cost     O(pages + spans of the arena); large pages where size and alignment of phys allow
 */
MM_NODISCARD enum mm_err mm_kmap(struct mm_kernel_area *area, mm_phys_t phys, uint64_t bytes,
                                 enum mm_memtype type, void **out);

/* Undo mm_kmap(), by the pointer it gave. Returns MM_OK | MM_ERR_MISUSE (reported: another pointer,
 * or somebody else unmapped pages of it; nothing changed). May wait. */
enum mm_err mm_kunmap(struct mm_kernel_area *area, void *pointer);

struct mm_dma_request {
    uint64_t bytes;          /* > 0; rounded up to frames */
    uint64_t align_bytes;    /* power of two; 0 = one frame */
    uint64_t boundary_bytes; /* power of two; crossed by no buffer; 0 = none */
    mm_phys_t highest;       /* last byte that the device can address; 0 = no limit */
    enum mm_memtype type;    /* write-back is right where devices snoop caches, as on PCs */
    uint32_t flags; /* MM_FRAME_ZERO or 0: zeroed through the new mapping, so the frames may
                              * lie anywhere, and a root with the kernel area must be loaded */
};

struct mm_dma {
    void *pointer;
    mm_phys_t phys; /* contiguous */
    uint64_t bytes; /* rounded */
};

/*
 * Memory that a device can reach: physically contiguous, mapped for the CPU with `type`. The same
 * frames also appear, cached, in the direct map: do not touch them there unless type is WB.
 *
 * Returns  MM_OK | as mm_pmm_alloc() | as mm_kmap()
 * Cost     as mm_kmap(), and zeroing: slow where `type` is uncached
 */
MM_NODISCARD enum mm_err mm_dma_alloc(struct mm_kernel_area *area,
                                      const struct mm_dma_request *request, struct mm_dma *out);

/* Give it back, as mm_dma_alloc() filled it: unmapped, flushed, then freed. Returns MM_OK
 * | MM_ERR_MISUSE (reported; nothing changed). May wait. */
enum mm_err mm_dma_free(struct mm_kernel_area *area, const struct mm_dma *dma);

/*
 * Memory in one piece of addresses, of frames from anywhere: what is too large to be found in one
 * piece of RAM. 2 MiB at a time where the PMM has them, and mapped as large pages then; frame by
 * frame where it does not. Readable and writable, cached, never executable unless
 * mm_space_protect() says so; one unmapped guard page on either side. The frames belong to the
 * area until mm_vfree().
 *
 * @flags   MM_FRAME_ZERO (a root with the kernel area must be loaded) or 0
 * @out     the first byte, page-aligned; untouched on error
 * Returns  MM_OK | MM_ERR_BAD_ARG (bytes 0, flags; no kernel area, no PMM) | MM_ERR_NO_MEMORY
 *          | MM_ERR_NO_ADDRESS | MM_ERR_EXISTS (somebody mapped something there past the arena)
 *          | MM_ERR_LIMIT | MM_ERR_WINDOW | MM_ERR_GONE (the space)
 * Context  as mm_space_map(); of more than 64 frames or pieces of 2 MiB it may wait, when it fails.
 *          Zeroing runs with interrupts as they are
 * Cost     O(pages + log spans), 64 frames or pieces at a time. One frame of bookkeeping for every 509 frames or pieces of 2 MiB,
 *          from where the space has its tables
 */
MM_NODISCARD enum mm_err mm_vmalloc(struct mm_kernel_area *area, uint64_t bytes, uint32_t flags,
                                    void **out);

/* Give it back, by the pointer that mm_vmalloc() gave: unmapped, flushed once, then freed. Returns
 * MM_OK | MM_ERR_MISUSE (reported: another pointer, or somebody else unmapped pages of it; nothing
 * changed) | MM_ERR_CORRUPT (reported: its bookkeeping is overwritten; nothing changed). May wait.
 * Cannot fail for want of memory. */
enum mm_err mm_vfree(struct mm_kernel_area *area, void *pointer);

#ifdef __cplusplus
}
#endif

#endif
