/*
 * block.c - taking, cutting, merging and freeing the blocks of one region.
 *
 * Problem     Blocks of any size come and go in any order; what is left must stay in few, large
 *             pieces, and a damaged neighbour must not make the damage spread.
 * Idea        Boundary tags: each header tells its own length and that of the block in front, so a
 *             freed block finds both neighbours in O(1) and merges with those that are free. Each
 *             operation first asks mm_block_vouch() about everything that it will read or write;
 *             from there on it cannot fail.
 * Invariants  region.h, I2 to I5. On refusal nothing was written.
 * Locking     The heap's lock.
 * Cost        put and resize O(1); take O(free blocks of the region). A vouch is 3 to 9 seals.
 * Rejected    A free list sorted by address: fragments less, but makes each free O(free blocks).
 *             Best fit: reads the whole list each time and leaves slivers.
 */
#include "heap/region.h"

#include "base/bits.h"
#include "base/checked.h"
#include "base/lock.h"

#define POISON_FREED 0xa5 /* debug builds: what a freed block reads as */

struct block *mm_block_at(const struct mm_heap *heap, struct mm_heap_region *region,
                          struct block *block)
{
    const uintptr_t at = (uintptr_t)block;
    const uintptr_t end = (uintptr_t)region_end(region);
    bool is_end = at == end;

    if (at < (uintptr_t)region_first(region) || at > end || !mm_is_aligned(at, BLOCK_UNIT))
        return NULL;
    if (!block_sealed(heap->secret, block) || (block->state == BLOCK_END) != is_end)
        return NULL;
    if (is_end)
        return block;
    return block->units >= BLOCK_UNITS_MIN && block_bytes(block) <= end - at ? block : NULL;
}

/* Does the block behind `block`, which is sound, know it? */
static bool known_to_next(const struct mm_heap *heap, struct mm_heap_region *region,
                          const struct block *block)
{
    const struct block *next = mm_block_at(heap, region, block_next(block));

    return next != NULL && next->units_before == block->units;
}

static bool is_free(const struct mm_heap *heap, struct mm_heap_region *region, struct block *block)
{
    return mm_block_at(heap, region, block) != NULL && block->state == BLOCK_FREE;
}

bool mm_block_listed(const struct mm_heap *heap, struct mm_heap_region *region, struct block *block,
                     const struct block *back)
{
    return is_free(heap, region, block) && block_links(block)->back == back;
}

/* Do both neighbours of a free block in the free list point at it? */
static bool links_sound(const struct mm_heap *heap, struct mm_heap_region *region,
                        struct block *block)
{
    struct block *next = block_links(block)->next;
    struct block *back = block_links(block)->back;

    if (next != NULL && !mm_block_listed(heap, region, next, block))
        return false;
    if (back == NULL)
        return region->free == block;
    return is_free(heap, region, back) && block_links(back)->next == block;
}

bool mm_block_vouch(const struct mm_heap *heap, struct mm_heap_region *region, struct block *block)
{
    struct block *head = region->free;
    struct block *next, *before;

    if (mm_block_at(heap, region, block) == NULL || !known_to_next(heap, region, block))
        return false;
    if (block->state == BLOCK_FREE && !links_sound(heap, region, block))
        return false;
    if (head != NULL && !mm_block_listed(heap, region, head, NULL))
        return false;

    next = block_next(block);
    if (next->state == BLOCK_FREE &&
        (!known_to_next(heap, region, next) || !links_sound(heap, region, next)))
        return false;

    if (block->units_before == 0)
        return block == region_first(region);
    before = mm_block_at(heap, region, block_before(block));
    if (before == NULL || before->units != block->units_before)
        return false;
    return before->state != BLOCK_FREE || links_sound(heap, region, before);
}

static void free_push(struct mm_heap_region *region, struct block *block)
{
    *block_links(block) = (struct block_links){.next = region->free, .back = NULL};
    if (region->free != NULL)
        block_links(region->free)->back = block;
    region->free = block;
}

static void free_unlink(struct mm_heap_region *region, struct block *block)
{
    const struct block_links links = *block_links(block);

    if (links.next != NULL)
        block_links(links.next)->back = links.back;
    if (links.back != NULL)
        block_links(links.back)->next = links.next;
    else
        region->free = links.next;
}

/* Change the length of a block, and what the block behind it knows of it. */
static void block_set_units(const struct mm_heap *heap, struct block *block, uint32_t units)
{
    struct block *next;

    block_write(heap->secret, block, units, block->units_before, block->state);
    next = block_next(block);
    block_write(heap->secret, next, next->units, units, next->state);
}

/* Cut a block after `units`; the rest becomes a block of the same state. */
static struct block *block_split(const struct mm_heap *heap, struct block *block, uint32_t units)
{
    const uint32_t rest_units = block->units - units;
    struct block *rest;

    block_write(heap->secret, block, units, block->units_before, block->state);
    rest = block_next(block);
    block_write(heap->secret, rest, rest_units, units, block->state);
    block_set_units(heap, rest, rest_units);
    return rest;
}

/* The block behind becomes part of this one. It is in no list. */
static void block_absorb(const struct mm_heap *heap, struct block *block)
{
    struct block *next = block_next(block);
    const uint32_t units = block->units + next->units;

    block_set_state(heap->secret, next, BLOCK_GONE);
    block_set_units(heap, block, units);
}

/* Into the free list, merged with the free blocks that it touches. */
static void block_release(struct mm_heap *heap, struct mm_heap_region *region, struct block *block)
{
    struct block *next = block_next(block);

    if (MM_LEVEL >= MM_LEVEL_DEBUG)
        __builtin_memset(block_payload(block), POISON_FREED, block_payload_bytes(block));
    block_set_state(heap->secret, block, BLOCK_FREE);
    if (next->state == BLOCK_FREE) {
        free_unlink(region, next);
        block_absorb(heap, block);
    }
    if (block->units_before != 0 && block_before(block)->state == BLOCK_FREE)
        block_absorb(heap, block_before(block)); /* which is in the list, and stays where it is */
    else
        free_push(region, block);
}

/* Free what a live block has beyond `units`, if that makes a block. */
static void block_trim(struct mm_heap *heap, struct mm_heap_region *region, struct block *block,
                       uint32_t units)
{
    if (block->units - units >= BLOCK_UNITS_MIN)
        block_release(heap, region, block_split(heap, block, units));
}

static void count_taken(struct mm_heap *heap, struct mm_heap_region *region,
                        const struct block *block)
{
    if (region->live_blocks == 0 && (region->flags & REGION_LENT) == 0)
        heap->idle_bytes -= region->bytes;
    region->live_blocks++;
    heap->live_blocks++;
    heap->used_bytes += block_bytes(block);
}

static void count_put(struct mm_heap *heap, struct mm_heap_region *region,
                      const struct block *block)
{
    heap->used_bytes -= block_bytes(block);
    heap->live_blocks--;
    region->live_blocks--;
    if (region->live_blocks == 0 && (region->flags & REGION_LENT) == 0)
        heap->idle_bytes += region->bytes;
}

/* Does a free block hold the request, and how many units in front of it does alignment cost? */
static bool block_fits(struct block *block, const struct request *request, uint32_t *pad_units)
{
    const uint64_t payload = (uintptr_t)block_payload(block);
    uint64_t aligned, units;

    if (!mm_align_up(payload, request->align_bytes, &aligned))
        return false;
    /* What is left in front becomes a block of its own, so it is nothing or enough for one. */
    if (aligned != payload && aligned - payload < (uint64_t)BLOCK_UNITS_MIN * BLOCK_UNIT &&
        !mm_add_u64(aligned, request->align_bytes, &aligned))
        return false;
    units = (aligned - payload) / BLOCK_UNIT;
    if (units > block->units || block->units - units < request->units)
        return false;
    *pad_units = (uint32_t)units;
    return true;
}

/* Make `units` of a free block, behind `pad_units`, a live block; what is left stays free. */
static struct block *block_carve(struct mm_heap *heap, struct mm_heap_region *region,
                                 struct block *block, uint32_t pad_units, uint32_t units)
{
    struct block *pad = block;

    free_unlink(region, block);
    if (pad_units != 0) {
        block = block_split(heap, pad, pad_units);
        free_push(region, pad);
    }
    block_set_state(heap->secret, block, BLOCK_LIVE);
    block_trim(heap, region, block, units);
    count_taken(heap, region, block);
    mm_region_seal(heap, region);
    return block;
}

/* Forget the free list behind `back` (NULL: all of it): the blocks there are leaked. */
static void free_cut(const struct mm_heap *heap, struct mm_heap_region *region, struct block *back)
{
    if (back != NULL)
        block_links(back)->next = NULL;
    else
        region->free = NULL;
    mm_region_seal(heap, region);
}

struct block *mm_block_take(struct mm_heap *heap, struct mm_heap_region *region,
                            const struct request *request, struct finding *finding)
{
    struct block *back = NULL;
    struct block *block;
    uint32_t pad_units;

    MM_ASSERT_LOCKED(&heap->lock);
    /* It ends even if links were overwritten: each block has one block in front of it. */
    for (block = region->free; block != NULL; block = block_links(block)->next) {
        if (!mm_block_listed(heap, region, block, back))
            break;
        if (block_fits(block, request, &pad_units)) {
            if (!mm_block_vouch(heap, region, block))
                break;
            return block_carve(heap, region, block, pad_units, request->units);
        }
        back = block;
    }
    if (block != NULL) {
        free_cut(heap, region, back);
        finding_note(finding, MM_ERR_CORRUPT, "free list of the heap overwritten", block);
    }
    return NULL;
}

void mm_block_put(struct mm_heap *heap, struct mm_heap_region *region, struct block *block)
{
    MM_ASSERT_LOCKED(&heap->lock);
    count_put(heap, region, block);
    block_release(heap, region, block);
    mm_region_seal(heap, region);
}

bool mm_block_resize(struct mm_heap *heap, struct mm_heap_region *region, struct block *block,
                     uint32_t units)
{
    struct block *next = block_next(block);

    MM_ASSERT_LOCKED(&heap->lock);
    if (units > block->units && (next->state != BLOCK_FREE || next->units < units - block->units))
        return false;

    heap->used_bytes -= block_bytes(block);
    if (units > block->units) {
        free_unlink(region, next);
        block_absorb(heap, block);
    }
    block_trim(heap, region, block, units);
    heap->used_bytes += block_bytes(block);
    mm_region_seal(heap, region);
    return true;
}
