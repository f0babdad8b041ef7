/*
 * pages.c - pages from the source and back.
 *
 * Problem     The source may be slow, may fail, may take locks of its own, and an interrupt or
 *             another CPU may use the heap while it works.
 * Idea        Bytes are counted under the lock before the source is asked and uncounted after it
 *             failed or has them back; in between the lock is free.
 * Invariants  I1 what the source has handed out <= page_bytes <= limit_bytes, if there is a limit
 * Locking     Takes heap->lock for the counter; never holds it while the source is called.
 * Cost        Two lock holds per run of pages, and what the source costs.
 * Rejected    Calling the source under the lock: it may wait for a CPU that wants this heap.
 */
#include "heap/heap_internal.h"

#include "base/bits.h"
#include "base/lock.h"

void mm_pages_uncount(struct mm_heap *heap, size_t bytes)
{
    mm_lock_guard_t guard = mm_lock_take(&heap->lock);

    heap->page_bytes -= bytes;
    mm_lock_release(&heap->lock, guard);
}

/* Count them first: two CPUs that grow at once must not both pass the limit. */
static bool pages_count(struct mm_heap *heap, size_t bytes)
{
    mm_lock_guard_t guard = mm_lock_take(&heap->lock);
    bool fits = bytes <= (heap->limit_bytes != 0 ? heap->limit_bytes : SIZE_MAX) - heap->page_bytes;

    if (fits)
        heap->page_bytes += bytes;
    mm_lock_release(&heap->lock, guard);
    return fits;
}

void *mm_pages_take(struct mm_heap *heap, size_t bytes)
{
    void *pages = NULL;

    if (!pages_count(heap, bytes))
        return NULL;
    if (heap->source.alloc(heap->source.context, bytes, &pages) == MM_OK && pages != NULL)
        return pages;
    mm_pages_uncount(heap, bytes);
    return NULL;
}

size_t mm_pages_give(struct mm_heap *heap, struct mm_heap_region *chain)
{
    size_t total = 0;

    while (chain != NULL) {
        const struct mm_heap_region region = *chain; /* its memory is gone after the call */

        chain = region.next;
        if ((region.flags & REGION_LENT) != 0)
            continue;
        heap->source.free(heap->source.context, region.pages, region.bytes);
        total += region.bytes;
    }
    if (total != 0)
        mm_pages_uncount(heap, total);
    return total;
}

size_t mm_pages_for(const struct request *request)
{
    const uint64_t block = (uint64_t)request->units * BLOCK_UNIT;
    const uint64_t pad = request->align_bytes > BLOCK_UNIT ? request->align_bytes + BLOCK_UNIT : 0;

    if (pad > REGION_BYTES_MAX || block > REGION_BYTES_MAX - REGION_OVERHEAD ||
        pad > REGION_BYTES_MAX - REGION_OVERHEAD - block)
        return 0;
    return (size_t)(mm_frames_for(REGION_OVERHEAD + block + pad) * MM_FRAME_BYTES);
}
