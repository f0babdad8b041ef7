/*
 * region.c - the list of regions, and which block a pointer belongs to.
 *
 * Problem     A caller's pointer may be anything: of another heap, into a block, freed before, or
 *             right but with a header that a wild write hit. Each has another answer, and none may
 *             be followed before it is known to lie in the heap's own memory.
 * Idea        The list of regions decides what is the heap's. In there a sealed header decides.
 *             Only when the seal is wrong is the region walked from its first block: if the walk
 *             lands on the header it was overwritten, if it steps over it there never was one.
 * Invariants  region.h, I1. Nothing is read outside regions.
 * Locking     The heap's lock.
 * Cost        O(regions) to find one; the walk of a wrong pointer O(blocks of its region).
 * Rejected    A magic number as the only proof of a header: old data and copies have it too.
 *             Walking on every free: O(blocks) for what the seal tells in O(1).
 */
#include "heap/region.h"

#include "base/bits.h"
#include "base/checked.h"
#include "base/lock.h"

static uint32_t region_seal(const struct mm_heap *heap, const struct mm_heap_region *region)
{
    uint64_t h = heap->secret ^ (uintptr_t)region;

    h = seal_fold(h, (uintptr_t)region->next);
    h = seal_fold(h, (uintptr_t)region->pages);
    h = seal_fold(h, region->bytes);
    h = seal_fold(h, (uintptr_t)region->free);
    h = seal_fold(h, region->live_blocks);
    return (uint32_t)seal_fold(h, region->flags);
}

void mm_region_seal(const struct mm_heap *heap, struct mm_heap_region *region)
{
    region->seal = region_seal(heap, region);
}

struct mm_heap_region *mm_region_at(const struct mm_heap *heap, struct mm_heap_region *region,
                                    struct finding *finding)
{
    MM_ASSERT_LOCKED(&heap->lock);
    if (region == NULL || region->seal == region_seal(heap, region))
        return region;
    finding_note(finding, MM_ERR_CORRUPT, "region header of the heap overwritten", region);
    return NULL;
}

static bool region_holds(const struct mm_heap_region *region, const void *pointer)
{
    return (uintptr_t)pointer - (uintptr_t)region->pages < region->bytes;
}

/* Can [pages, pages + bytes) be a region between these two (either may be NULL)? */
static bool memory_sound(const void *pages, size_t bytes, const struct mm_heap_region *before,
                         const struct mm_heap_region *after)
{
    uint64_t end;

    if (pages == NULL || !mm_add_u64((uintptr_t)pages, bytes, &end) || end > UINTPTR_MAX)
        return false;
    if (before != NULL && region_holds(before, pages))
        return false;
    return after == NULL || end <= (uintptr_t)after->pages;
}

/* One free block between the header and the end mark. */
static void region_format(const struct mm_heap *heap, struct mm_heap_region *region)
{
    struct block *first = region_first(region);
    struct block *end = region_end(region);
    const uint32_t units = (uint32_t)(((uintptr_t)end - (uintptr_t)first) / BLOCK_UNIT);

    block_write(heap->secret, first, units, 0, BLOCK_FREE);
    block_write(heap->secret, end, 0, units, BLOCK_END);
    *block_links(first) = (struct block_links){NULL, NULL};
    region->free = first;
}

bool mm_region_insert(struct mm_heap *heap, void *pages, size_t bytes, uint32_t flags,
                      struct finding *finding)
{
    struct mm_heap_region *before = NULL;
    struct mm_heap_region *after, *region;

    for (after = mm_region_at(heap, heap->region, NULL);
         after != NULL && (uintptr_t)after <= (uintptr_t)pages;
         after = mm_region_at(heap, after->next, NULL))
        before = after;
    if (!memory_sound(pages, bytes, before, after)) {
        finding_note(finding, MM_ERR_MISUSE, "page source gave memory that cannot be", pages);
        return false;
    }

    /* If a damaged header ended the loop, the new region goes in front of it and can be used. */
    region =
        (struct mm_heap_region *)(((uintptr_t)pages + BLOCK_UNIT - 1) / BLOCK_UNIT * BLOCK_UNIT);
    *region = (struct mm_heap_region){
        .next = before != NULL ? before->next : heap->region,
        .pages = pages,
        .bytes = bytes,
        .flags = flags,
    };
    region_format(heap, region);
    mm_region_seal(heap, region);
    if (before != NULL) {
        before->next = region;
        mm_region_seal(heap, before);
    } else {
        heap->region = region;
    }
    if ((flags & REGION_LENT) == 0)
        heap->idle_bytes += bytes;
    return true;
}

struct block *mm_region_step(const struct mm_heap *heap, struct mm_heap_region *region,
                             const struct block *block)
{
    struct block *next = block == NULL ? region_first(region) : block_next(block);

    next = mm_block_at(heap, region, next);
    return next == NULL || next->state == BLOCK_END ? NULL : next;
}

/* Leave no header behind that would pass for a block if the same memory comes back. */
static void region_retire(struct mm_heap *heap, struct mm_heap_region *region)
{
    struct block *block;

    for (block = mm_region_step(heap, region, NULL); block != NULL;
         block = mm_region_step(heap, region, block))
        block_set_state(heap->secret, block, BLOCK_GONE);
    if (region->live_blocks == 0 && (region->flags & REGION_LENT) == 0)
        heap->idle_bytes -= region->bytes;
}

struct mm_heap_region *mm_region_detach(struct mm_heap *heap, enum region_detach which,
                                        const struct mm_heap_region *keep)
{
    struct mm_heap_region *chain = NULL;
    struct mm_heap_region *before = NULL;
    struct mm_heap_region *region, *next;

    for (region = mm_region_at(heap, heap->region, NULL); region != NULL;
         region = mm_region_at(heap, next, NULL)) {
        const bool idle = region->live_blocks == 0 && (region->flags & REGION_LENT) == 0;

        next = region->next;
        if (region == keep || (which == REGION_DETACH_IDLE && !idle)) {
            before = region;
            continue;
        }
        if (before != NULL) {
            before->next = next;
            mm_region_seal(heap, before);
        } else {
            heap->region = next;
        }
        region_retire(heap, region);
        region->next = chain;
        chain = region;
    }
    return chain;
}

/* A header in front of `pointer` cannot be believed, or is none. Which? */
static void find_why(const struct mm_heap *heap, struct mm_heap_region *region, const void *pointer,
                     struct finding *finding)
{
    const uintptr_t header = (uintptr_t)block_of(pointer);
    struct block *at = region_first(region);

    while ((uintptr_t)at < header && mm_block_at(heap, region, at) != NULL &&
           at->state != BLOCK_END)
        at = block_next(at);

    /* The walk ends at the header, behind it, at the end mark, or at a block that was overwritten:
     * what lies behind that one cannot be told any more. */
    if ((uintptr_t)at <= header && mm_block_at(heap, region, at) == NULL)
        finding_note(finding, MM_ERR_CORRUPT, "header of a heap block overwritten", pointer);
    else
        finding_note(finding, MM_ERR_MISUSE, "pointer is not the start of a heap block", pointer);
}

struct block *mm_region_find(const struct mm_heap *heap, const void *pointer,
                             struct mm_heap_region **out, struct finding *finding)
{
    struct mm_heap_region *region = mm_region_at(heap, heap->region, finding);
    struct block *block;

    while (region != NULL && !region_holds(region, pointer))
        region = mm_region_at(heap, region->next, finding);
    if (region == NULL) {
        finding_note(finding, MM_ERR_MISUSE, "pointer is not from this heap", pointer);
        return NULL;
    }

    block = mm_block_at(heap, region, block_of(pointer));
    if (block == NULL || block->state == BLOCK_END) {
        find_why(heap, region, pointer, finding);
        return NULL;
    }
    if (block->state != BLOCK_LIVE) {
        finding_note(finding, MM_ERR_MISUSE, "heap block is already free", pointer);
        return NULL;
    }
    *out = region;
    return block;
}
