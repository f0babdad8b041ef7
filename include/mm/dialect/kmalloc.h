/*
 * mm/dialect/kmalloc.h - the two calls on which most dialects agree.
 */
#include "../default.h" /* outside the guard: see mm/default.h */

#ifndef MM_DIALECT_KMALLOC_H
#define MM_DIALECT_KMALLOC_H

/* NULL = no memory. */
static inline void *kmalloc(size_t size)
{
    return mm_heap_alloc(&mm_default.heap, size);
}

/* Anything but a live block is refused and reported. */
static inline void kfree(void *pointer)
{
    (void)mm_heap_free(&mm_default.heap, pointer);
}

#endif
