/*
 * baseline_buddy.c - a buddy system with one list per order, behind a spinlock.
 *
 * Problem     What general-purpose kernels use, and what fragmentation must be compared with.
 * Idea        Free blocks of each order are in a list, linked by two 32-bit numbers per frame that
 *             lie outside the frames. A block that is not there is split off a larger one; a freed
 *             block merges with its buddy as long as that is free and of the same order.
 * Invariants  order[f] = k if frame f is the first of a free block of 2^k frames, else NOT_FREE;
 *             no two free buddies of one order exist below the highest.
 * Locking     One lock for everything.
 * Cost        O(orders) per call; each merge reads the buddy's byte and unlinks it: cache misses at
 *             random places. 9 bytes per frame.
 * Rejected    Links inside the frames: half the metadata, but each call touches a cold frame.
 */
#include "allocator.h"

#include <string.h>

#include "../common/host.h"
#include "../common/spinlock.h"

#define ORDERS   (MM_ORDER_MAX + 1)
#define NONE     UINT32_MAX
#define NOT_FREE 0xffu

struct link {
    uint32_t next, prev;
};

struct buddy {
    struct spinlock lock;
    uint32_t first, count;
    uint32_t present; /* bit k: list k is not empty */
    uint32_t head[ORDERS];
    struct link *link;
    uint8_t *order;
};

static size_t buddy_bytes(const struct ram *ram, unsigned cpus)
{
    (void)cpus;
    return sizeof(struct buddy) + (size_t)ram->count * (sizeof(struct link) + 1);
}

static void *buddy_prepare(const struct memory *memory, const struct ram *ram, unsigned cpus)
{
    struct buddy *buddy = memory->start;

    (void)cpus;
    *buddy = (struct buddy){
        .first = ram->first, .count = ram->count, .link = (struct link *)(buddy + 1)};
    buddy->order = (uint8_t *)(buddy->link + ram->count);
    return buddy;
}

static void block_link(struct buddy *buddy, uint32_t block, unsigned order)
{
    uint32_t next = buddy->head[order];

    buddy->link[block] = (struct link){next, NONE};
    if (next != NONE)
        buddy->link[next].prev = block;
    buddy->head[order] = block;
    buddy->present |= 1u << order;
    buddy->order[block] = (uint8_t)order;
}

static void block_unlink(struct buddy *buddy, uint32_t block, unsigned order)
{
    struct link link = buddy->link[block];

    if (link.prev != NONE)
        buddy->link[link.prev].next = link.next;
    else
        buddy->head[order] = link.next;
    if (link.next != NONE)
        buddy->link[link.next].prev = link.prev;
    if (buddy->head[order] == NONE)
        buddy->present &= ~(1u << order);
    buddy->order[block] = NOT_FREE;
}

static bool block_take(struct buddy *buddy, unsigned order, uint32_t *out)
{
    uint32_t fits = buddy->present >> order << order;
    unsigned have;

    if (fits == 0)
        return false;
    have = (unsigned)__builtin_ctz(fits);
    *out = buddy->head[have];
    block_unlink(buddy, *out, have);
    while (have > order) {
        have--;
        block_link(buddy, *out + (1u << have), have);
    }
    return true;
}

static void block_give(struct buddy *buddy, uint32_t block, unsigned order)
{
    for (; order < MM_ORDER_MAX; order++) {
        uint32_t other = block ^ (1u << order);

        if (other >= buddy->count || buddy->order[other] != order)
            break;
        block_unlink(buddy, other, order);
        block &= ~(1u << order);
    }
    block_link(buddy, block, order);
}

/* The largest aligned blocks, from the top down so that the lowest is the head. */
static void buddy_build(void *self)
{
    struct buddy *buddy = self;

    memset(buddy->order, NOT_FREE, buddy->count);
    buddy->present = 0;
    for (unsigned order = 0; order < ORDERS; order++)
        buddy->head[order] = NONE;
    for (uint32_t end = buddy->count; end > 0;) {
        unsigned order = (unsigned)__builtin_ctz(end);

        if (order > MM_ORDER_MAX)
            order = MM_ORDER_MAX;
        end -= 1u << order;
        block_link(buddy, end, order);
    }
}

__attribute__((noipa)) static bool buddy_alloc_block(struct buddy *buddy, unsigned order,
                                                     mm_phys_t *out)
{
    uint32_t block = 0;
    bool found;

    spinlock_take(&buddy->lock);
    found = block_take(buddy, order, &block);
    spinlock_release(&buddy->lock);
    if (found)
        *out = mm_frame_phys(buddy->first + block);
    return found;
}

/* A block that is free already is noticed as long as it has not merged. */
__attribute__((noipa)) static void buddy_free_block(struct buddy *buddy, unsigned order,
                                                    mm_phys_t first)
{
    uint32_t block = (uint32_t)mm_frame_of(first) - buddy->first;

    spinlock_take(&buddy->lock);
    if (buddy->order[block] != NOT_FREE)
        die("buddy: double free");
    block_give(buddy, block, order);
    spinlock_release(&buddy->lock);
}

__attribute__((noipa)) static bool buddy_alloc(struct buddy *buddy, mm_phys_t *out)
{
    uint32_t block = 0;
    bool found;

    spinlock_take(&buddy->lock);
    found = block_take(buddy, 0, &block);
    spinlock_release(&buddy->lock);
    if (found)
        *out = mm_frame_phys(buddy->first + block);
    return found;
}

__attribute__((noipa)) static void buddy_free(struct buddy *buddy, mm_phys_t frame)
{
    uint32_t block = (uint32_t)mm_frame_of(frame) - buddy->first;

    spinlock_take(&buddy->lock);
    if (buddy->order[block] != NOT_FREE)
        die("buddy: double free");
    block_give(buddy, block, 0);
    spinlock_release(&buddy->lock);
}

#define LOOP_SELF                           struct buddy
#define LOOP_ALLOC(self, out)               buddy_alloc(self, out)
#define LOOP_FREE(self, phys)               buddy_free(self, phys)
#define LOOP_ALLOC_BLOCK(self, order, out)  buddy_alloc_block(self, order, out)
#define LOOP_FREE_BLOCK(self, order, first) buddy_free_block(self, order, first)
#include "loops.h"

const struct allocator baseline_buddy = {.name = "buddy",
                                         .bytes = buddy_bytes,
                                         .metadata_bytes = buddy_bytes,
                                         .prepare = buddy_prepare,
                                         .build = buddy_build,
                                         LOOPS};
