/*
 * check.c - is the heap what its invariants say?
 *
 * Problem     A checker that crashes on the damage it looks for is of no use, nor is one that finds
 *             half of it.
 * Idea        Everything is counted anew from the headers and compared with what was noted. A
 *             pointer is followed only when it lies where such a thing can lie and what is there is
 *             sealed; behind a damaged header nothing can be believed, so that region ends there.
 * Invariants  Reads only regions; writes nothing. Each step moves to a higher address or along a
 *             list whose back links forbid a cycle, so it ends.
 * Locking     heap->lock for the whole walk; the sink is called with it held.
 * Cost        O(blocks).
 * Rejected    Stopping at the first fault: the second often tells what the first was.
 */
#include "heap/heap_internal.h"

#include "base/lock.h"
#include "base/report.h"

/* What a walk found. */
struct recount {
    const struct mm_heap *heap;
    const struct mm_check_sink *sink;
    size_t faults;
    size_t page_bytes, idle_bytes, used_bytes, live_blocks; /* as in struct mm_heap */
};

static void fault(struct recount *recount, const char *what, const void *address, uint64_t found,
                  uint64_t expected)
{
    mm_check_fault(recount->sink, &recount->faults, what, "mm_heap_check", recount->heap,
                   (uintptr_t)address, found, expected);
}

/* A block whose header is sound, against the one in front of it. */
static void check_block(struct recount *recount, const struct block *block,
                        const struct block *before)
{
    const uint32_t units_before = before != NULL ? before->units : 0;

    if (block->units_before != units_before)
        fault(recount, "block does not know the one in front", block, block->units_before,
              units_before);
    if (block->state != BLOCK_LIVE && block->state != BLOCK_FREE && block->state != BLOCK_END)
        fault(recount, "block is neither live nor free", block, block->state, 0);
    if (before != NULL && before->state == BLOCK_FREE && block->state == BLOCK_FREE)
        fault(recount, "free blocks touch", block, 0, 0);
}

/* All blocks of a region in order of address. Returns how many are free. */
static size_t check_blocks(struct recount *recount, struct mm_heap_region *region)
{
    const struct block *before = NULL;
    struct block *at = region_first(region);
    size_t live_blocks = 0;
    size_t free_blocks = 0;

    for (;; at = block_next(at)) {
        if (mm_block_at(recount->heap, region, at) == NULL) {
            fault(recount, "block header overwritten", at, at->seal,
                  block_seal(recount->heap->secret, at));
            break;
        }
        check_block(recount, at, before);
        if (at->state == BLOCK_END)
            break;
        free_blocks += at->state == BLOCK_FREE;
        if (at->state == BLOCK_LIVE) {
            live_blocks++;
            recount->used_bytes += block_bytes(at);
        }
        before = at;
    }
    if (live_blocks != region->live_blocks)
        fault(recount, "region counts its live blocks wrongly", region, region->live_blocks,
              live_blocks);
    recount->live_blocks += live_blocks;
    return free_blocks;
}

/* The free list of a region holds its free blocks: all of them, since no two entries are the same
 * block (each has one block in front of it) and there are as many. */
static void check_free_list(struct recount *recount, struct mm_heap_region *region,
                            size_t free_blocks)
{
    struct block *block = region->free;
    const struct block *back = NULL;
    size_t listed = 0;

    while (block != NULL) {
        if (!mm_block_listed(recount->heap, region, block, back)) {
            fault(recount, "free list overwritten", block, listed, free_blocks);
            return;
        }
        listed++;
        back = block;
        block = block_links(block)->next;
    }
    if (listed != free_blocks)
        fault(recount, "free list misses blocks", region, listed, free_blocks);
}

static void check_region(struct recount *recount, struct mm_heap_region *region,
                         const struct mm_heap_region *before)
{
    if (before != NULL && (uintptr_t)before->pages + before->bytes > (uintptr_t)region->pages)
        fault(recount, "regions overlap or are not sorted", region, (uintptr_t)region->pages,
              (uintptr_t)before->pages);
    check_free_list(recount, region, check_blocks(recount, region));
    if ((region->flags & REGION_LENT) != 0)
        return;
    recount->page_bytes += region->bytes;
    if (region->live_blocks == 0)
        recount->idle_bytes += region->bytes;
}

static void check_totals(struct recount *recount)
{
    const struct mm_heap *heap = recount->heap;

    if (heap->live_blocks != recount->live_blocks)
        fault(recount, "heap counts its live blocks wrongly", heap, heap->live_blocks,
              recount->live_blocks);
    if (heap->used_bytes != recount->used_bytes)
        fault(recount, "heap counts its used bytes wrongly", heap, heap->used_bytes,
              recount->used_bytes);
    if (heap->idle_bytes != recount->idle_bytes)
        fault(recount, "heap counts its idle bytes wrongly", heap, heap->idle_bytes,
              recount->idle_bytes);
    /* More is right while another CPU takes pages or gives them back. */
    if (heap->page_bytes < recount->page_bytes)
        fault(recount, "heap counts its pages wrongly", heap, heap->page_bytes,
              recount->page_bytes);
}

size_t mm_heap_check(struct mm_heap *heap, const struct mm_check_sink *sink)
{
    struct recount recount = {.heap = heap, .sink = sink};
    const struct mm_heap_region *before = NULL;
    struct mm_heap_region *region;
    struct finding finding = {.err = MM_OK};
    mm_lock_guard_t guard;

    if (heap == NULL || heap->state != HEAP_READY) {
        fault(&recount, "heap is not initialised", heap, heap != NULL ? heap->state : 0,
              HEAP_READY);
        return recount.faults;
    }
    guard = mm_lock_take(&heap->lock);
    for (region = mm_region_at(heap, heap->region, &finding); region != NULL;
         region = mm_region_at(heap, region->next, &finding)) {
        check_region(&recount, region, before);
        before = region;
    }
    if (finding.err != MM_OK)
        fault(&recount, finding.what, (const void *)(uintptr_t)finding.address, 0, 0);
    check_totals(&recount);
    mm_lock_release(&heap->lock, guard);
    return recount.faults;
}
