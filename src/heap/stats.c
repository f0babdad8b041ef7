/*
 * stats.c - questions about the heap: what is in it, and what a pointer is.
 *
 * Problem     Figures that are kept in counters drift from the truth without being seen.
 * Idea        Only what would cost a walk on each call is counted; the rest is counted anew here.
 * Invariants  used + free + what regions need for themselves = page_bytes of the statistics
 * Locking     heap->lock for the whole of a call, so that the answer is of one moment.
 * Cost        mm_heap_get_stats() and mm_heap_walk() O(blocks) with interrupts off; others O(regions).
 * Rejected    Letting go of the lock between blocks: the next one may be gone.
 */
#include "heap/heap_internal.h"

#include "base/bits.h"
#include "base/lock.h"
#include "base/report.h"

size_t mm_heap_usable(struct mm_heap *heap, const void *pointer)
{
    struct finding finding = {.err = MM_OK};
    struct mm_heap_region *region;
    mm_lock_guard_t guard;
    struct block *block;
    size_t bytes = 0;

    if (pointer == NULL || !mm_heap_ready(heap, __func__, MM_CALLER))
        return 0;
    guard = mm_lock_take(&heap->lock);
    block = mm_region_find(heap, pointer, &region, &finding);
    if (block != NULL)
        bytes = block_payload_bytes(block);
    mm_lock_release(&heap->lock, guard);
    if (finding.err != MM_OK)
        (void)mm_heap_settle(heap, false, &finding, __func__, MM_CALLER);
    return bytes;
}

bool mm_heap_owns(struct mm_heap *heap, const void *pointer)
{
    struct mm_heap_region *region;
    mm_lock_guard_t guard;
    bool owns;

    if (heap == NULL || heap->state != HEAP_READY)
        return false;
    guard = mm_lock_take(&heap->lock);
    owns = mm_region_find(heap, pointer, &region, NULL) != NULL;
    mm_lock_release(&heap->lock, guard);
    return owns;
}

static void count_region(const struct mm_heap *heap, struct mm_heap_region *region,
                         struct mm_heap_stats *stats)
{
    struct block *block;

    stats->regions++;
    stats->page_bytes += region->bytes;
    for (block = mm_region_step(heap, region, NULL); block != NULL;
         block = mm_region_step(heap, region, block)) {
        if (block->state != BLOCK_FREE)
            continue;
        stats->free_blocks++;
        stats->free_bytes += block_bytes(block);
        if (block_payload_bytes(block) > stats->largest_free_bytes)
            stats->largest_free_bytes = block_payload_bytes(block);
    }
}

void mm_heap_get_stats(struct mm_heap *heap, struct mm_heap_stats *out)
{
    struct mm_heap_region *region;
    mm_lock_guard_t guard;

    if (out == NULL)
        return;
    *out = (struct mm_heap_stats){.page_bytes = 0};
    if (!mm_heap_ready(heap, __func__, MM_CALLER))
        return;
    guard = mm_lock_take(&heap->lock);
    for (region = mm_region_at(heap, heap->region, NULL); region != NULL;
         region = mm_region_at(heap, region->next, NULL))
        count_region(heap, region, out);
    out->used_bytes = heap->used_bytes;
    out->live_blocks = heap->live_blocks;
    out->alloc_count = heap->alloc_count;
    out->free_count = heap->free_count;
    out->fail_count = heap->fail_count;
    out->misuse_count = heap->misuse_count;
    mm_lock_release(&heap->lock, guard);
}

void mm_heap_walk(struct mm_heap *heap, void (*fn)(void *context, void *pointer, size_t bytes),
                  void *context)
{
    struct mm_heap_region *region;
    mm_lock_guard_t guard;
    struct block *block;

    if (!mm_heap_ready(heap, __func__, MM_CALLER) || fn == NULL)
        return;
    guard = mm_lock_take(&heap->lock);
    for (region = mm_region_at(heap, heap->region, NULL); region != NULL;
         region = mm_region_at(heap, region->next, NULL))
        for (block = mm_region_step(heap, region, NULL); block != NULL;
             block = mm_region_step(heap, region, block))
            if (block->state == BLOCK_LIVE)
                fn(context, block_payload(block), block_payload_bytes(block));
    mm_lock_release(&heap->lock, guard);
}
