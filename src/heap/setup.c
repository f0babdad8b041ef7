/*
 * setup.c - the beginning and the end of a heap, and giving back what is idle.
 *
 * Problem     A heap must work before there are pages, must say who leaks at its end, and must say
 *             so too when it is used before the one or after the other.
 * Idea        init formats the lent block, if any, as the first region and asks for nothing else.
 *             A word of state tells a heap from bytes that are none. destroy detaches all regions
 *             like trim does with idle ones, after it has told what was still live.
 * Invariants  I1 state is HEAP_READY exactly from init to destroy
 *             I2 after destroy no header in the lent block passes for a live block
 * Locking     heap->lock for lists; the source and the host are called without it.
 * Cost        init O(1); trim O(regions); destroy O(blocks).
 * Rejected    Clearing the lent block at init: O(bytes) of a boot block that may be large.
 */
#include "heap/heap_internal.h"

#include "base/assert.h"
#include "base/bits.h"
#include "base/checked.h"
#include "base/lock.h"
#include "base/report.h"
#include "mm/host.h"

#define GROW_BYTES_DEFAULT (64u * 1024)
#define LENT_BYTES_MIN     256u

enum mm_err mm_heap_settle(struct mm_heap *heap, bool no_memory, const struct finding *finding,
                           const char *where, const void *caller)
{
    mm_lock_guard_t guard = mm_lock_take(&heap->lock);

    heap->fail_count += no_memory;
    heap->misuse_count += finding->err != MM_OK;
    mm_lock_release(&heap->lock, guard);

    if (finding->err == MM_ERR_CORRUPT)
        return mm_report_corrupt(finding->what, where, heap, finding->address, caller);
    if (finding->err != MM_OK)
        return mm_report_misuse_of(finding->err, finding->what, where, heap, finding->address,
                                   finding->value[0], finding->value[1], caller);
    return MM_OK;
}

bool mm_heap_ready(const struct mm_heap *heap, const char *where, const void *caller)
{
    if (heap != NULL && heap->state == HEAP_READY)
        return true;
    (void)mm_report_misuse(mm_heap_unready(heap), "heap is not initialised", where, heap, 0,
                           caller);
    return false;
}

static bool config_sound(const struct mm_heap_config *config)
{
    const bool source = config->source.alloc != NULL;
    size_t end;

    if (source != (config->source.free != NULL) || (!source && config->block == NULL))
        return false;
    if ((config->flags & ~MM_HEAP_KEEP_PAGES) != 0)
        return false;
    if (config->block == NULL)
        return config->block_bytes == 0;
    return config->block_bytes >= LENT_BYTES_MIN &&
           mm_add_size((uintptr_t)config->block, config->block_bytes, &end);
}

/* The least growth: whole frames, and not more than a region can be. */
static size_t config_grow_bytes(const struct mm_heap_config *config)
{
    const uint64_t asked = config->grow_bytes != 0 ? config->grow_bytes : GROW_BYTES_DEFAULT;

    return (size_t)(mm_frames_for(mm_min_u64(asked, REGION_BYTES_MAX)) * MM_FRAME_BYTES);
}

enum mm_err mm_heap_init_abi(struct mm_heap *heap, const struct mm_heap_config *config,
                             const uint32_t *abi)
{
    mm_lock_guard_t guard;
    size_t lent_bytes;
    bool inserted = true;

    (void)abi; /* the linker has compared it */
    if (heap == NULL || config == NULL || !config_sound(config))
        return MM_ERR_BAD_ARG;

    *heap = (struct mm_heap){
        .source = config->source,
        .secret = config->secret,
        .flags = config->flags,
        .state = HEAP_READY,
        .grow_bytes = config_grow_bytes(config),
        .limit_bytes = config->limit_bytes,
    };
    if (config->block != NULL) {
        lent_bytes = (size_t)mm_min_u64(config->block_bytes, REGION_BYTES_MAX);
        guard = mm_lock_take(&heap->lock);
        inserted = mm_region_insert(heap, config->block, lent_bytes, REGION_LENT, NULL);
        mm_lock_release(&heap->lock, guard);
    }
    MM_ASSERT(inserted);
    return MM_OK;
}

size_t mm_heap_trim(struct mm_heap *heap)
{
    struct mm_heap_region *chain;
    mm_lock_guard_t guard;

    if (!mm_heap_ready(heap, __func__, MM_CALLER))
        return 0;
    guard = mm_lock_take(&heap->lock);
    chain = mm_region_detach(heap, REGION_DETACH_IDLE, NULL);
    mm_lock_release(&heap->lock, guard);
    return mm_pages_give(heap, chain);
}

/* For the report of a leak: the first block that is live. */
static const void *first_live(const struct mm_heap *heap)
{
    struct mm_heap_region *region;
    struct block *block;

    for (region = mm_region_at(heap, heap->region, NULL); region != NULL;
         region = mm_region_at(heap, region->next, NULL))
        for (block = mm_region_step(heap, region, NULL); block != NULL;
             block = mm_region_step(heap, region, block))
            if (block->state == BLOCK_LIVE)
                return block_payload(block);
    return NULL;
}

static enum mm_err report_leak(const struct mm_report *leak)
{
    if (leak->value[0] == 0)
        return MM_OK;
    mm_host_report(leak);
    return MM_ERR_BUSY;
}

enum mm_err mm_heap_destroy(struct mm_heap *heap)
{
    struct mm_report leak = {MM_REPORT_LEAK, MM_ERR_BUSY, "heap blocks still live",
                             __func__,       heap,        0,
                             {0, 0},         MM_CALLER};
    const struct mm_heap_region *damaged;
    struct mm_heap_region *chain;
    mm_lock_guard_t guard;

    if (!mm_heap_ready(heap, __func__, MM_CALLER))
        return mm_heap_unready(heap);
    guard = mm_lock_take(&heap->lock);
    leak.address = (uintptr_t)first_live(heap);
    leak.value[0] = heap->live_blocks;
    leak.value[1] = heap->used_bytes;
    chain = mm_region_detach(heap, REGION_DETACH_ALL, NULL);
    damaged = heap->region; /* what lies behind a damaged header cannot be found */
    mm_lock_release(&heap->lock, guard);

    (void)mm_pages_give(heap, chain);
    *heap = (struct mm_heap){.state = 0};
    if (damaged == NULL)
        return report_leak(&leak);
    (void)report_leak(&leak);
    return mm_report_corrupt("region header of the heap overwritten", __func__, heap,
                             (uintptr_t)damaged, MM_CALLER);
}
