/*
 * valen_kernel.c - a kernel written for Valen's interface, as its manual uses it.
 */
#pragma GCC diagnostic ignored "-Wshadow" /* malloc is a built-in function for this machine only */

#define MM_DEFAULT_INSTANCE
#include "mm/dialect/valen.h"

#include "valen_kernel.h"

/* The manual's order: a bitmap behind the kernel, then the layers from below. */
void valen_memory_init(uintptr_t kernel_end, uint64_t max_physical)
{
    uintptr_t kernel_phys_end = VIRT_TO_PHYS(kernel_end - 1) + 1;
    uintptr_t bitmap_phys = (kernel_phys_end + 0x1000) & ~UINT64_C(0xFFF);

    pmm_init((uintptr_t)PHYS_TO_VIRT(bitmap_phys), max_physical);
    paging_init();
    vmm_init();
    heap_init();
}

/* All three or none. */
bool valen_take(struct valen_first *out, uint64_t pages)
{
    static const char hello[] = "Hello from the heap!";

    out->text = (char *)malloc(256);
    if (!out->text)
        return false;
    out->memory = vmm_alloc(pages, PAGE_PRESENT | PAGE_WRITE);
    if (!out->memory) {
        free(out->text);
        return false;
    }
    out->page = pmm_alloc_page();
    if (!out->page) {
        vmm_free(out->memory);
        free(out->text);
        return false;
    }
    for (unsigned i = 0; i < sizeof hello; i++)
        out->text[i] = hello[i];
    return true;
}

void valen_drop(struct valen_first *first)
{
    pmm_free_page(first->page);
    vmm_free(first->memory);
    free(first->text);
}

struct valen_kb valen_statistics(void)
{
    struct valen_kb kb = {pmm_get_total_kb(), pmm_get_used_kb(), pmm_get_free_kb(), 0};

    if (kb.total > 0)
        kb.percent = kb.used * 100 / kb.total;
    return kb;
}

void *valen_pages(uint64_t count)
{
    return count == 1 ? pmm_alloc_page() : pmm_alloc_pages(count);
}

void valen_free_page(void *page)
{
    pmm_free_page(page);
}

void valen_mark(uintptr_t page, bool used)
{
    if (used)
        pmm_mark_used(page);
    else
        pmm_mark_free(page);
}

void *valen_pointer(const void *page)
{
    return PHYS_TO_VIRT(page);
}

uint64_t valen_physical(const void *pointer)
{
    return vmm_get_phys((uintptr_t)pointer);
}

void valen_map_device(uintptr_t registers, uint64_t size)
{
    vmm_map_range(0xF0000000, registers, size, PAGE_PRESENT | PAGE_WRITE | PAGE_PCD);
}

/* Each of the three ways to map a page, and both to map a range. */
void valen_map(uintptr_t virt, uintptr_t phys, uint64_t size, bool writable, bool user)
{
    uint64_t flags = PAGE_PRESENT | (writable ? PAGE_WRITE : 0) | (user ? PAGE_USER : 0);

    if (size > 0x2000)
        paging_map_range(virt, phys, size, flags);
    else if (size > 0x1000)
        vmm_map_range(virt, phys, size, flags);
    else if (user)
        paging_map_page(virt, phys, flags);
    else if (writable)
        paging_map(virt, phys, flags);
    else
        vmm_map(virt, phys, flags);
}

void valen_map_huge(uintptr_t virt, uintptr_t phys)
{
    vmm_map(virt, phys, PAGE_PRESENT | PAGE_WRITE | PAGE_HUGE);
}

void valen_map_flags(uintptr_t virt, uintptr_t phys, uint64_t flags)
{
    vmm_map(virt, phys, flags);
}

void *valen_memory(uint64_t pages, uint64_t flags)
{
    return vmm_alloc(pages, flags);
}

void valen_memory_free(void *memory)
{
    vmm_free(memory);
}
