/*
 * block.h - the header of a block, and nothing else.
 *
 * Problem     A heap finds its way by numbers that lie beside the caller's data, where wild writes
 *             go, and it is handed pointers that may point anywhere.
 * Idea        Sixteen bytes in front of each block tell its length, the length of the block in
 *             front, and its state; a seal over these, the address and the heap's secret tells
 *             whether they can be believed. Lengths count units of 16 bytes, so they fit.
 * Invariants  I1 a header that seals as LIVE or FREE is a block; one that was merged into another
 *                or whose region was given up is sealed as GONE, not left behind
 *             I2 a header is only ever written by block_write(), which seals it
 * Locking     The heap's lock.
 * Cost        Two multiplications to check or make a seal.
 * Rejected    A length in a footer of free blocks: it lies in memory that a late write of the last
 *             owner hits. Cryptographic seals: they are against accidents, not against an attacker
 *             who can read the heap. 64-bit lengths: 32-byte headers, for blocks beyond 64 GiB.
 */
#ifndef MM_HEAP_BLOCK_H
#define MM_HEAP_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/heap.h"

#define BLOCK_UNIT MM_HEAP_ALIGN /* bytes per unit of length */

struct block {
    uint32_t units;        /* (L) this block, header included; 0 in the end mark */
    uint32_t units_before; /* (L) the block in front; 0 in the first block of a region */
    uint32_t state;        /* (L) enum block_state */
    uint32_t seal;         /* (L) see block_seal() */
};

/* Not 0 and not small counts: a header that was zeroed or overwritten with numbers has none. */
enum block_state {
    BLOCK_LIVE = 0x4c495645, /* owned by a caller */
    BLOCK_FREE = 0x46524545, /* in the free list of its region */
    BLOCK_GONE = 0x474f4e45, /* no block any more: a pointer to it was freed before */
    BLOCK_END = 0x454e4421   /* the mark behind the last block of a region */
};

/* In the first bytes of a free block. */
struct block_links {
    struct block *next; /* (L) in the free list of the region; NULL in the last */
    struct block *back; /* (L) NULL in the first */
};

/* The smallest block has room for its links when it is free. */
#define BLOCK_UNITS_MIN \
    ((uint32_t)((sizeof(struct block) + sizeof(struct block_links)) / BLOCK_UNIT))

_Static_assert(sizeof(struct block) == BLOCK_UNIT, "payload is aligned because headers are");
_Static_assert(sizeof(struct block_links) <= BLOCK_UNIT, "links fit into the smallest payload");

/* One step of a seal: a bijection of h for each word, so that no single change is lost on the way;
 * the odd constant is 2^64 divided by the golden ratio. */
static inline uint64_t seal_fold(uint64_t h, uint64_t word)
{
    h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 32);
}

static inline uint32_t block_seal(uint64_t secret, const struct block *block)
{
    uint64_t lengths = block->units | (uint64_t)block->units_before << 32;

    return (uint32_t)seal_fold(seal_fold(secret ^ (uintptr_t)block, lengths), block->state);
}

static inline bool block_sealed(uint64_t secret, const struct block *block)
{
    return block->seal == block_seal(secret, block);
}

static inline void block_write(uint64_t secret, struct block *block, uint32_t units,
                               uint32_t units_before, enum block_state state)
{
    block->units = units;
    block->units_before = units_before;
    block->state = state;
    block->seal = block_seal(secret, block);
}

static inline void block_set_state(uint64_t secret, struct block *block, enum block_state state)
{
    block_write(secret, block, block->units, block->units_before, state);
}

static inline size_t block_bytes(const struct block *block)
{
    return (size_t)block->units * BLOCK_UNIT;
}

static inline size_t block_payload_bytes(const struct block *block)
{
    return block_bytes(block) - sizeof(struct block);
}

static inline void *block_payload(struct block *block)
{
    return block + 1;
}

static inline struct block_links *block_links(struct block *block)
{
    return block_payload(block);
}

/* The header in front of a pointer; not looked at. */
static inline struct block *block_of(const void *pointer)
{
    return (struct block *)((uintptr_t)pointer - sizeof(struct block));
}

/* The headers behind and in front of one that can be believed; not looked at. */
static inline struct block *block_next(const struct block *block)
{
    return (struct block *)((uintptr_t)block + block_bytes(block));
}

static inline struct block *block_before(const struct block *block)
{
    return (struct block *)((uintptr_t)block - (size_t)block->units_before * BLOCK_UNIT);
}

/* Units of the smallest block that holds `bytes`; false if there can be none. */
static inline bool block_units_for(size_t bytes, uint32_t *out)
{
    const uint64_t overhead = sizeof(struct block) + BLOCK_UNIT - 1;
    uint64_t units;

    if (bytes > PTRDIFF_MAX || bytes > (uint64_t)UINT32_MAX * BLOCK_UNIT - overhead)
        return false;
    units = (bytes + overhead) / BLOCK_UNIT;
    *out = units < BLOCK_UNITS_MIN ? BLOCK_UNITS_MIN : (uint32_t)units;
    return true;
}

#endif
