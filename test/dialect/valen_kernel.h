/*
 * valen_kernel.h - what the kernel of test_valen.c offers. It has a malloc() and a free() of its own,
 * so it lives in a file that knows no C library.
 */
#ifndef VALEN_KERNEL_H
#define VALEN_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

/* What its start took. */
struct valen_first {
    void *page;   /* physical */
    void *memory; /* virtual */
    char *text;   /* of its heap */
};

struct valen_kb {
    uint64_t total, used, free, percent;
};

void valen_memory_init(uintptr_t kernel_end, uint64_t max_physical);
bool valen_take(struct valen_first *out, uint64_t pages);
void valen_drop(struct valen_first *first);
struct valen_kb valen_statistics(void);

void *valen_pages(uint64_t count);
void valen_free_page(void *page);
void valen_mark(uintptr_t page, bool used);
void *valen_pointer(const void *page);
uint64_t valen_physical(const void *pointer);

void valen_map_device(uintptr_t registers, uint64_t size);
void valen_map(uintptr_t virt, uintptr_t phys, uint64_t size, bool writable, bool user);
void valen_map_huge(uintptr_t virt, uintptr_t phys);
void valen_map_flags(uintptr_t virt, uintptr_t phys, uint64_t flags);
void *valen_memory(uint64_t pages, uint64_t flags);
void valen_memory_free(void *memory);

#endif
