/*
 * mm/names.h - short names over one default instance.
 *
 * For kernels that like pmm_alloc_frame() and kmalloc(). Optional: nothing else includes it, and it
 * claims the names pmm_*, vmm_*, k*alloc, kfree in the files that do include it. Plain integers, so
 * nothing stops you from mixing up physical and virtual addresses here.
 *
 * Exactly one .c file of the kernel says, before an include of this file:
 *     #define MM_DEFAULT_INSTANCE
 * which defines `struct mm mm_default`. Start it with mm_start(&mm_default, ...).
 *
 * Context and cost of each function are those of the call that it makes. Frame 0 is never handed
 * out, so 0 means "none" here.
 */
#include "default.h" /* outside the guard: see there */

#ifndef MM_NAMES_H
#define MM_NAMES_H

#ifdef MM_VOCABULARY
#error "one vocabulary in a file: mm/names.h, or one header of mm/dialect"
#endif
#define MM_VOCABULARY

#ifdef __cplusplus
extern "C" {
#endif

/* Flags for vmm_map*(): rights beyond reading. Never executable and never user unless asked; both
 * writable and executable is refused. */
#define VMM_WRITE    MM_PROT_WRITE
#define VMM_EXEC     MM_PROT_EXEC
#define VMM_USER     MM_PROT_USER
#define VMM_UNCACHED 0x100u /* device registers */
#define VMM_COMBINE  0x200u /* framebuffers */
#define VMM_FLAGS    (VMM_WRITE | VMM_EXEC | VMM_USER | VMM_UNCACHED | VMM_COMBINE)

/* Physical address of a free frame; 0 = none (frame 0 is never handed out). */
static inline uint64_t pmm_alloc_frame(void)
{
    mm_phys_t frame;

    return mm_pmm_alloc_frame(&mm_default.pmm, &frame) == MM_OK ? frame.raw : 0;
}

/* A frame whose last byte is at or below `highest`, e.g. 0xffffff for old DMA; 0 = none, as
 * always for a `highest` of 0. */
static inline uint64_t pmm_alloc_frame_below(uint64_t highest)
{
    struct mm_frame_request request = MM_ZERO;
    mm_phys_t frame;

    request.highest = mm_phys(highest);
    if (highest == 0) /* would mean "no limit" there */
        return 0;
    return mm_pmm_alloc(&mm_default.pmm, &request, &frame) == MM_OK ? frame.raw : 0;
}

/* `count` contiguous frames; 0 = none. Free with the same count. */
static inline uint64_t pmm_alloc_frames(uint64_t count)
{
    struct mm_frame_request request = MM_ZERO;
    mm_phys_t first;

    request.count_frames = count;
    if (count == 0 || mm_pmm_alloc(&mm_default.pmm, &request, &first) != MM_OK)
        return 0;
    return first.raw;
}

static inline void pmm_free_frame(uint64_t phys)
{
    (void)mm_pmm_free_frame(&mm_default.pmm, mm_phys(phys));
}

static inline void pmm_free_frames(uint64_t phys, uint64_t count)
{
    (void)mm_pmm_free(&mm_default.pmm, mm_phys(phys), count);
}

static inline uint64_t pmm_free_count(void)
{
    return mm_pmm_free_frames(&mm_default.pmm);
}

static inline uint64_t pmm_total_count(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&mm_default.pmm, &stats);
    return stats.managed_frames;
}

/* Map `bytes` at `virt` to `phys` in the kernel space. A physical address of 0 is refused: it is
 * what a failed pmm_alloc_frame() gave. */
MM_NODISCARD static inline enum mm_err vmm_map(uint64_t virt, uint64_t phys, uint64_t bytes,
                                               unsigned flags)
{
    struct mm_map_request request = MM_ZERO;

    if (phys == 0 || (flags & ~VMM_FLAGS) != 0)
        return MM_ERR_BAD_ARG;

    request.virt = mm_virt(virt);
    request.phys = mm_phys(phys);
    request.bytes = bytes;
    request.prot = MM_PROT_READ | (flags & (VMM_WRITE | VMM_EXEC | VMM_USER));
    request.type = (flags & VMM_UNCACHED) != 0  ? MM_MEMTYPE_UC
                   : (flags & VMM_COMBINE) != 0 ? MM_MEMTYPE_WC
                                                : MM_MEMTYPE_WB;
    return mm_space_map(&mm_default.kernel, &request, (struct mm_space_fail *)0);
}

MM_NODISCARD static inline enum mm_err vmm_map_page(uint64_t virt, uint64_t phys, unsigned flags)
{
    return vmm_map(virt, phys, MM_FRAME_BYTES, flags);
}

/* Unmapping frees no frame: they stay yours. */
static inline enum mm_err vmm_unmap(uint64_t virt, uint64_t bytes)
{
    return mm_space_unmap(&mm_default.kernel, mm_virt(virt), bytes, 0, (struct mm_gather *)0,
                          (struct mm_space_fail *)0);
}

static inline enum mm_err vmm_unmap_page(uint64_t virt)
{
    return vmm_unmap(virt, MM_FRAME_BYTES);
}

/* Physical address behind `virt`, from the page tables. */
MM_NODISCARD static inline enum mm_err vmm_translate(uint64_t virt, uint64_t *phys)
{
    struct mm_translation to;
    enum mm_err err =
        mm_space_translate(&mm_default.kernel, mm_virt(virt), &to, (struct mm_space_fail *)0);

    if (err == MM_OK)
        *phys = to.phys.raw;
    return err;
}

/* Device registers at `phys`, uncached; NULL = failed. Undo with vmm_unmap_device(). */
static inline void *vmm_map_device(uint64_t phys, uint64_t bytes)
{
    void *pointer;

    if (mm_kmap(&mm_default.area, mm_phys(phys), bytes, MM_MEMTYPE_UC, &pointer) != MM_OK)
        return (void *)0;
    return pointer;
}

static inline void vmm_unmap_device(void *pointer)
{
    (void)mm_kunmap(&mm_default.area, pointer);
}

/* Where a frame that you own appears in the direct map; NULL = not RAM. */
static inline void *phys_to_virt(uint64_t phys)
{
    return mm_phys_pointer(&mm_default, mm_phys(phys));
}

/* The physical address of memory in the direct map (kmalloc, phys_to_virt); 0 = not in it. */
static inline uint64_t virt_to_phys(const void *pointer)
{
    mm_phys_t phys;

    return mm_window_phys(&mm_default.window, pointer, &phys) == MM_OK ? phys.raw : 0;
}

/* Zeroed memory for a device: contiguous, its last byte at or below `highest` (0 = anywhere). NULL
 * = none. Give it back with dma_free() and the same `bytes` and `phys`. */
static inline void *dma_alloc(size_t bytes, uint64_t highest, uint64_t *phys)
{
    struct mm_dma_request request = MM_ZERO;
    struct mm_dma dma;

    request.bytes = bytes;
    request.highest = mm_phys(highest);
    request.flags = MM_FRAME_ZERO;
    if (mm_dma_alloc(&mm_default.area, &request, &dma) != MM_OK)
        return (void *)0;
    *phys = dma.phys.raw;
    return dma.pointer;
}

static inline void dma_free(void *pointer, size_t bytes, uint64_t phys)
{
    struct mm_dma dma = MM_ZERO;

    dma.pointer = pointer;
    dma.phys = mm_phys(phys);
    dma.bytes = mm_frames_for(bytes) << MM_FRAME_SHIFT;
    (void)mm_dma_free(&mm_default.area, &dma);
}

static inline void *kmalloc(size_t bytes)
{
    return mm_heap_alloc(&mm_default.heap, bytes);
}

static inline void *kzalloc(size_t bytes)
{
    return mm_heap_zeroed(&mm_default.heap, bytes);
}

static inline void *kcalloc(size_t count, size_t bytes)
{
    return mm_heap_array(&mm_default.heap, count, bytes);
}

static inline void *krealloc(void *pointer, size_t bytes)
{
    return mm_heap_realloc(&mm_default.heap, pointer, bytes);
}

static inline void *kmalloc_aligned(size_t align, size_t bytes)
{
    return mm_heap_aligned(&mm_default.heap, align, bytes);
}

static inline void kfree(void *pointer)
{
    (void)mm_heap_free(&mm_default.heap, pointer);
}

#ifdef __cplusplus
}
#endif

#endif
