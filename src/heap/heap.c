/*
 * heap.c - taking, resizing and freeing: what each call checks, locks and reports.
 *
 * Problem     Memory of any size, from any context, out of pages whose source may be slow and may
 *             fail; and callers who free what is not theirs.
 * Idea        A call does its work on regions and blocks (region.c, block.c) in one lock hold and
 *             notes what it finds wrong; the host hears of it when the lock is released. To grow,
 *             the lock is let go while pages are taken; they are added and looked through in one
 *             hold, so nobody else can empty them first and no loop is needed.
 * Invariants  I1 used_bytes, live_blocks and idle_bytes equal a recount
 *             I2 a refused call has changed nothing but the counters of calls
 * Locking     heap->lock, interrupts off. Never held while the page source or the host is called.
 * Cost        alloc O(regions + free blocks), free O(regions). The region that emptied last stays,
 *             so a loop that takes and frees does not move pages each time.
 * Rejected    Giving the last empty region back at once: over a source that never gives the same
 *             pages twice, such a loop eats all memory. Small blocks in classes of their own: this
 *             is the heap that works before there is anything to build a better one on.
 */
#include "mm/heap.h"

#include "base/bits.h"
#include "base/checked.h"
#include "base/lock.h"
#include "base/report.h"
#include "heap/heap_internal.h"

#define POISON_TAKEN 0x5a /* debug builds: what a new block reads as */

/* First fit over all regions. */
static struct block *heap_look(struct mm_heap *heap, const struct request *request,
                               struct finding *finding)
{
    struct mm_heap_region *region = mm_region_at(heap, heap->region, finding);
    struct block *block = NULL;

    while (region != NULL) {
        block = mm_block_take(heap, region, request, finding);
        if (block != NULL)
            break;
        region = mm_region_at(heap, region->next, finding);
    }
    heap->alloc_count += block != NULL;
    return block;
}

/* Add a region that holds the request, and look again, also when no pages came: another CPU may
 * have freed or added memory meanwhile. */
static struct block *heap_grow(struct mm_heap *heap, const struct request *request,
                               struct finding *finding)
{
    const size_t least_bytes = mm_pages_for(request);
    size_t bytes = (size_t)mm_max_u64(least_bytes, heap->grow_bytes);
    mm_lock_guard_t guard;
    struct block *block;
    void *pages;

    if (heap->source.alloc == NULL || least_bytes == 0)
        return NULL;
    pages = mm_pages_take(heap, bytes);
    if (pages == NULL && bytes > least_bytes) {
        bytes = least_bytes;
        pages = mm_pages_take(heap, bytes);
    }

    guard = mm_lock_take(&heap->lock);
    if (pages != NULL && !mm_region_insert(heap, pages, bytes, 0, finding))
        heap->page_bytes -= bytes;
    block = heap_look(heap, request, finding);
    mm_lock_release(&heap->lock, guard);
    return block;
}

static void *heap_alloc(struct mm_heap *heap, size_t align_bytes, size_t bytes, const char *where,
                        const void *caller)
{
    struct request request = {.align_bytes = align_bytes};
    struct finding finding = {.err = MM_OK};
    struct block *block = NULL;
    mm_lock_guard_t guard;

    if (!mm_heap_ready(heap, where, caller))
        return NULL;
    if (block_units_for(bytes, &request.units)) {
        guard = mm_lock_take(&heap->lock);
        block = heap_look(heap, &request, &finding);
        mm_lock_release(&heap->lock, guard);
        if (block == NULL)
            block = heap_grow(heap, &request, &finding);
    }
    if (block == NULL || finding.err != MM_OK)
        (void)mm_heap_settle(heap, block == NULL, &finding, where, caller);
    if (block == NULL)
        return NULL;
    if (MM_LEVEL >= MM_LEVEL_DEBUG)
        __builtin_memset(block_payload(block), POISON_TAKEN, block_payload_bytes(block));
    return block_payload(block);
}

void *mm_heap_alloc(struct mm_heap *heap, size_t bytes)
{
    return heap_alloc(heap, MM_HEAP_ALIGN, bytes, __func__, MM_CALLER);
}

static void *heap_zeroed(struct mm_heap *heap, size_t bytes, const char *where, const void *caller)
{
    void *pointer = heap_alloc(heap, MM_HEAP_ALIGN, bytes, where, caller);

    if (pointer != NULL)
        __builtin_memset(pointer, 0, bytes);
    return pointer;
}

void *mm_heap_zeroed(struct mm_heap *heap, size_t bytes)
{
    return heap_zeroed(heap, bytes, __func__, MM_CALLER);
}

void *mm_heap_array(struct mm_heap *heap, size_t count, size_t bytes)
{
    size_t total = SIZE_MAX; /* a size that fails, if the product is none */

    (void)mm_mul_size(count, bytes, &total);
    return heap_zeroed(heap, total, __func__, MM_CALLER);
}

void *mm_heap_aligned(struct mm_heap *heap, size_t align_bytes, size_t bytes)
{
    const struct finding finding = {
        MM_ERR_MISUSE, "alignment is not a power of two", align_bytes, {0, 0}};

    if (!mm_is_power_of_two(align_bytes)) {
        if (mm_heap_ready(heap, __func__, MM_CALLER))
            (void)mm_heap_settle(heap, false, &finding, __func__, MM_CALLER);
        return NULL;
    }
    return heap_alloc(heap, (size_t)mm_max_u64(align_bytes, MM_HEAP_ALIGN), bytes, __func__,
                      MM_CALLER);
}

/* The live block at `pointer`, if everything that freeing or resizing it touches is sound. */
static struct block *heap_find(struct mm_heap *heap, const void *pointer,
                               struct mm_heap_region **region, struct finding *finding)
{
    struct block *block = mm_region_find(heap, pointer, region, finding);

    if (block == NULL || mm_block_vouch(heap, *region, block))
        return block;
    finding_note(finding, MM_ERR_CORRUPT, "heap overwritten next to the block", pointer);
    return NULL;
}

/* A region has emptied: the one that emptied before it, if any, leaves the heap. */
static struct mm_heap_region *heap_shrink(struct mm_heap *heap, const struct mm_heap_region *region)
{
    if (region->live_blocks != 0 || (region->flags & REGION_LENT) != 0 ||
        (heap->flags & MM_HEAP_KEEP_PAGES) != 0 || heap->idle_bytes == region->bytes)
        return NULL;
    return mm_region_detach(heap, REGION_DETACH_IDLE, region);
}

/* The size a block was freed with is not one that it can have been asked with. */
static void note_size(struct finding *finding, struct block *block, size_t bytes)
{
    finding_note(finding, MM_ERR_MISUSE, "size is not that of the heap block",
                 block_payload(block));
    finding->value[0] = bytes;
    finding->value[1] = block_payload_bytes(block);
}

/* `bytes` is what the block must have been asked with, if `sized`. */
static enum mm_err heap_free(struct mm_heap *heap, void *pointer, bool sized, size_t bytes,
                             const char *where, const void *caller)
{
    uint32_t units = sized ? UINT32_MAX : 0; /* more than any block has; 0 = unknown */
    struct finding finding = {.err = MM_OK};
    struct mm_heap_region *chain = NULL;
    struct mm_heap_region *region;
    mm_lock_guard_t guard;
    struct block *block;

    if (sized)
        (void)block_units_for(bytes, &units);
    guard = mm_lock_take(&heap->lock);
    block = heap_find(heap, pointer, &region, &finding);
    /* What a block has beyond its request is less than a block. */
    if (block != NULL && units != 0 &&
        (units > block->units || block->units - units >= BLOCK_UNITS_MIN)) {
        note_size(&finding, block, bytes);
    } else if (block != NULL) {
        mm_block_put(heap, region, block);
        heap->free_count++;
        chain = heap_shrink(heap, region);
    }
    mm_lock_release(&heap->lock, guard);

    (void)mm_pages_give(heap, chain);
    return finding.err == MM_OK ? MM_OK : mm_heap_settle(heap, false, &finding, where, caller);
}

enum mm_err mm_heap_free(struct mm_heap *heap, void *pointer)
{
    if (pointer == NULL)
        return MM_OK;
    if (!mm_heap_ready(heap, __func__, MM_CALLER))
        return mm_heap_unready(heap);
    return heap_free(heap, pointer, false, 0, __func__, MM_CALLER);
}

enum mm_err mm_heap_free_sized(struct mm_heap *heap, void *pointer, size_t bytes)
{
    if (pointer == NULL)
        return MM_OK;
    if (!mm_heap_ready(heap, __func__, MM_CALLER))
        return mm_heap_unready(heap);
    return heap_free(heap, pointer, true, bytes, __func__, MM_CALLER);
}

/* Resize where it is. False: it has to move, or (noted) it is no sound block. */
static bool heap_resize(struct mm_heap *heap, const void *pointer, size_t bytes, size_t *held_bytes,
                        struct finding *finding)
{
    mm_lock_guard_t guard = mm_lock_take(&heap->lock);
    struct mm_heap_region *region;
    struct block *block = heap_find(heap, pointer, &region, finding);
    uint32_t units;
    bool done = false;

    if (block != NULL) {
        *held_bytes = block_payload_bytes(block);
        done = block_units_for(bytes, &units) && mm_block_resize(heap, region, block, units);
    }
    mm_lock_release(&heap->lock, guard);
    return done;
}

void *mm_heap_realloc(struct mm_heap *heap, void *pointer, size_t bytes)
{
    struct finding finding = {.err = MM_OK};
    size_t held_bytes = 0;
    void *moved;

    if (pointer == NULL)
        return heap_alloc(heap, MM_HEAP_ALIGN, bytes, __func__, MM_CALLER);
    if (!mm_heap_ready(heap, __func__, MM_CALLER))
        return NULL;
    if (heap_resize(heap, pointer, bytes, &held_bytes, &finding))
        return pointer;
    if (finding.err != MM_OK) {
        (void)mm_heap_settle(heap, false, &finding, __func__, MM_CALLER);
        return NULL;
    }

    moved = heap_alloc(heap, MM_HEAP_ALIGN, bytes, __func__, MM_CALLER);
    if (moved == NULL)
        return NULL;
    __builtin_memcpy(moved, pointer, held_bytes); /* it moves only to grow */
    (void)heap_free(heap, pointer, false, 0, __func__, MM_CALLER);
    return moved;
}
