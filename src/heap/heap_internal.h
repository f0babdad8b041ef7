/*
 * heap_internal.h - what the public calls of the heap share.
 */
#ifndef MM_HEAP_INTERNAL_H
#define MM_HEAP_INTERNAL_H

#include "heap/region.h"

#define HEAP_READY 0x68656170u /* `state` between init and destroy */

/* setup.c. The lock is not held. */

/* False (reported) before init and after destroy, when not even the lock is to be touched. */
bool mm_heap_ready(const struct mm_heap *heap, const char *where, const void *caller);

/* What a call with a status answers then. */
static inline enum mm_err mm_heap_unready(const struct mm_heap *heap)
{
    return heap == NULL ? MM_ERR_BAD_ARG : MM_ERR_MISUSE;
}

/* Count what went wrong in a call and tell the host. Returns what the call is to return. */
enum mm_err mm_heap_settle(struct mm_heap *heap, bool no_memory, const struct finding *finding,
                           const char *where, const void *caller);

/* pages.c. The lock is not held: it is taken to count, and let go while the source works. */

/* Whole frames that hold the request wherever alignment puts it; 0 if no region can. */
size_t mm_pages_for(const struct request *request);

/* From the source, within the limit; NULL if there are none. */
void *mm_pages_take(struct mm_heap *heap, size_t bytes);

/* Pages that mm_pages_take() counted are not, or no longer, the heap's. */
void mm_pages_uncount(struct mm_heap *heap, size_t bytes);

/* A chain of detached regions goes back to the source. Returns their bytes. */
size_t mm_pages_give(struct mm_heap *heap, struct mm_heap_region *chain);

#endif
