/*
 * region.h - a run of pages, or the lent block, cut into blocks.
 *
 * Problem     A heap grows by pieces that need not touch, gives whole pieces back, and must tell
 *             its own memory from all other before it looks at it.
 * Idea        A region is one piece: a sealed header, blocks without gaps, and an end mark:
 *
 *                 | region header | block | block | ... | block | end mark |
 *
 *             Regions are listed by rising address; each has a free list of its own, so a region
 *             leaves the heap in one step.
 * Invariants  I1 regions are sorted, do not overlap, and their headers are sealed
 *             I2 the blocks of a region fill it; each tells the length of the block in front
 *             I3 no two free blocks touch
 *             I4 the free list holds exactly the free blocks, each linked both ways
 *             I5 live_blocks counts the live ones
 * Locking     The heap's lock, for every function here.
 * Cost        48 bytes per region and 16 for its end mark.
 * Rejected    Merging regions that touch: a page source takes back exactly what it gave.
 */
#ifndef MM_HEAP_REGION_H
#define MM_HEAP_REGION_H

#include "heap/block.h"

struct mm_heap_region {
    struct mm_heap_region *next; /* (L) the region of the next higher address */
    void *pages;                 /* (C) what the source gave, or the lent block */
    size_t bytes;                /* (C) of it */
    struct block *free;          /* (L) free list, the block freed last first */
    size_t live_blocks;          /* (L) */
    uint32_t flags;              /* (C) REGION_* */
    uint32_t seal;               /* (L) over all the above, the address and the secret */
};

#define REGION_LENT 1u /* the caller's block: never given back to the source */

_Static_assert(sizeof(struct mm_heap_region) % BLOCK_UNIT == 0, "the first block is aligned");

/* Lengths of blocks are 32-bit counts of units, and differences of pointers must exist: whole
 * frames below both. */
#define REGION_BYTES_MAX                                        \
    (((uint64_t)PTRDIFF_MAX < (uint64_t)UINT32_MAX * BLOCK_UNIT \
          ? (uint64_t)PTRDIFF_MAX                               \
          : (uint64_t)UINT32_MAX * BLOCK_UNIT) /                \
     MM_FRAME_BYTES * MM_FRAME_BYTES)
/* What is not block in a region whose memory is aligned. */
#define REGION_OVERHEAD (sizeof(struct mm_heap_region) + sizeof(struct block))

/* What a call found wrong; told to the host when the lock is released. The first one counts. */
struct finding {
    enum mm_err err; /* MM_OK: nothing */
    const char *what;
    uint64_t address;
    uint64_t value[2]; /* as in struct mm_report */
};

static inline void finding_note(struct finding *finding, enum mm_err err, const char *what,
                                const void *address)
{
    if (finding != NULL && finding->err == MM_OK)
        *finding = (struct finding){err, what, (uintptr_t)address, {0, 0}};
}

/* What an allocation asks of a block. */
struct request {
    uint32_t units;
    size_t align_bytes; /* of the payload: a power of two, at least MM_HEAP_ALIGN */
};

static inline struct block *region_first(struct mm_heap_region *region)
{
    return (struct block *)(region + 1);
}

/* The end mark: the last 16 aligned bytes. */
static inline struct block *region_end(const struct mm_heap_region *region)
{
    uintptr_t end = (uintptr_t)region->pages + region->bytes;

    return (struct block *)(end / BLOCK_UNIT * BLOCK_UNIT - sizeof(struct block));
}

/* region.c: the list of regions */

/* `region`, or NULL if that is NULL or its header cannot be believed (noted). For walking:
 * for (r = mm_region_at(heap, heap->region, f); r != NULL; r = mm_region_at(heap, r->next, f)) */
struct mm_heap_region *mm_region_at(const struct mm_heap *heap, struct mm_heap_region *region,
                                    struct finding *finding);

/* Make memory a region of the heap: one free block. False (noted) if that cannot be. */
bool mm_region_insert(struct mm_heap *heap, void *pages, size_t bytes, uint32_t flags,
                      struct finding *finding);

/* Which regions leave the heap. */
enum region_detach {
    REGION_DETACH_IDLE, /* those of the source without a live block */
    REGION_DETACH_ALL
};

/* Take regions off the list, except `keep`; their blocks are gone. Returns the chain of them. */
struct mm_heap_region *mm_region_detach(struct mm_heap *heap, enum region_detach which,
                                        const struct mm_heap_region *keep);

/* The live block that `pointer` is the start of, and its region; else NULL (noted). */
struct block *mm_region_find(const struct mm_heap *heap, const void *pointer,
                             struct mm_heap_region **region, struct finding *finding);

/* The block behind `block` (NULL: the first); NULL at the end mark or at a damaged header. */
struct block *mm_region_step(const struct mm_heap *heap, struct mm_heap_region *region,
                             const struct block *block);

/* To be called when the fields of a region have changed. */
void mm_region_seal(const struct mm_heap *heap, struct mm_heap_region *region);

/* block.c: the blocks of one region */

/* `block`, or NULL if it is outside the region or its header cannot be believed. */
struct block *mm_block_at(const struct mm_heap *heap, struct mm_heap_region *region,
                          struct block *block);

/* Is all that cutting, merging or freeing `block` would read or write sound? */
bool mm_block_vouch(const struct mm_heap *heap, struct mm_heap_region *region, struct block *block);

/* Is `block` in the free list, with `back` in front of it (NULL: first)? */
bool mm_block_listed(const struct mm_heap *heap, struct mm_heap_region *region, struct block *block,
                     const struct block *back);

/* First fit. Returns a live block, or NULL; a free list that was overwritten is noted and cut. */
struct block *mm_block_take(struct mm_heap *heap, struct mm_heap_region *region,
                            const struct request *request, struct finding *finding);

/* The rest need a block that mm_block_vouch() stands for. */

/* Free a live block. */
void mm_block_put(struct mm_heap *heap, struct mm_heap_region *region, struct block *block);

/* Make a live block `units` long, if a free block behind it allows. */
bool mm_block_resize(struct mm_heap *heap, struct mm_heap_region *region, struct block *block,
                     uint32_t units);

#endif
