/*
 * kernel.c - starts libmm, allocates, frees.
 *
 * <mm/pmm.h> and its like are this kernel's own, so libmm comes in by its headers of other names;
 * they find each other because they stand in one directory.
 */
#include <mm/types.h>
#include <mm/pmm.h>
#include <mm/vmm.h>

#include <mm/mm.h>
#include <mm/host_single.h>

#if !KERNEL_OWN_TYPES || !KERNEL_OWN_PMM || !KERNEL_OWN_VMM
#error "this kernel's own headers are not the ones that were found"
#endif
#if !defined(MM_TYPES_H) || !defined(MM_PMM_H) || !defined(MM_VMM_H)
#error "mm/mm.h did not bring libmm's headers"
#endif

static struct mm mm;

int kernel_main(uint32_t boot_info, const struct mm_image_segment *segments, uint32_t count);

int kernel_main(uint32_t boot_info, const struct mm_image_segment *segments, uint32_t count)
{
    struct mm_start_info info = {
        .protocol = MM_BOOT_MULTIBOOT2,
        .info = mm_phys(boot_info),
        .segment = segments,
        .segment_count = count,
    };
    struct mm_start_failure why;
    int *numbers;

    if (mm_window_add(&info.window, mm_phys(0), UINT64_C(1) << 30, mm_virt(0)) != MM_OK)
        return 1;
    if (mm_start(&mm, &info, &why) != MM_OK)
        return 2;
    numbers = mm_heap_alloc(&mm.heap, 100 * sizeof(int));
    return numbers != NULL && mm_heap_free(&mm.heap, numbers) == MM_OK ? 0 : 3;
}
