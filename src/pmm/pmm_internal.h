/*
 * pmm_internal.h - what the files of the PMM share.
 *
 * Problem     Who owns each frame must be answered in O(1), for memory with holes, in little room.
 * Idea        RAM is covered by regions, physical ranges of whole 2 MiB chunks; each chunk of 512
 *             frames has four bitmaps and their counts. All numbers here are frame numbers, never
 *             addresses.
 * Invariants  R1 regions are sorted, chunk-aligned, not empty, and do not touch each other
 *             R2 region i owns chunks [chunk_idx, chunk_idx + its length in chunks), and the
 *                regions own all chunks of the array, in order
 *             C1 free is a subset of managed, managed of ram
 *             C2 first is a subset of the allocated frames (managed and not free), and each run of
 *                allocated frames begins with one
 *             C3 each count is the number of ones in its bitmap
 *             Z1 zone and total counts are the sums over the chunks
 *             Z2 no frame of zone z below chunk number zone_hint[z] is free
 * Locking     mm_pmm.lock for all of it after init.
 * Cost        272 bytes per chunk, 24 per region: 0.013 % of the RAM.
 * Rejected    Two bits per frame in one array: a scan for free frames reads twice as much. A list
 *             of blocks per order: its links lie in frames that must be mapped.
 */
#ifndef MM_PMM_INTERNAL_H
#define MM_PMM_INTERNAL_H

#include "base/bits.h"
#include "mm/pmm.h"

#define MM_CHUNK_FRAMES 512u /* 2 MiB, one leaf of level 2 */
#define MM_CHUNK_WORDS  (MM_CHUNK_FRAMES / 64)

/* Orders that this version hands out: a block lies in one chunk. */
#define MM_PMM_ORDER_BUILT 9u

enum mm_chunk_bits {
    MM_BITS_RAM = 0,     /* the map says RAM: may be managed one day */
    MM_BITS_MANAGED = 1, /* handed out and taken back by the PMM */
    MM_BITS_FREE = 2,
    MM_BITS_FIRST = 3 /* first frame of an allocation */
};
#define MM_CHUNK_BITMAPS 4u

struct mm_pmm_chunk {
    uint64_t bits[MM_CHUNK_BITMAPS][MM_CHUNK_WORDS];
    uint16_t count[MM_CHUNK_BITMAPS]; /* ones in each bitmap */
    uint16_t node;                    /* of all its RAM, or MM_NODE_MIXED */
    uint16_t unused[3];               /* zero */
};

#define MM_NODE_MIXED UINT16_MAX /* RAM of several nodes: good for nobody who insists on one */

struct mm_pmm_region {
    uint64_t start, end; /* frames */
    uint64_t chunk_idx;  /* of its first chunk */
};

_Static_assert(sizeof(struct mm_pmm_chunk) == 272, "no padding: the checker sees every byte");
_Static_assert(sizeof(struct mm_pmm_region) == 24, "no padding");

/* Sets of frames that a scan can look for. */
enum mm_frame_set {
    MM_SET_MANAGED,
    MM_SET_NOT_MANAGED,
    MM_SET_NOT_RAM,
    MM_SET_FREE,
    MM_SET_NOT_FREE,
    MM_SET_ALLOCATED,
    MM_SET_NOT_ALLOCATED,
    MM_SET_FIRST,
    MM_SET_ALLOCATION_END /* an allocation that began before this frame does not hold it */
};

/* ---- pmm_chunk.c: one chunk; indexes are 0 to 511 ---- */

/* Set or clear `count` bits from `first`; none of them has that value yet. */
void mm_chunk_fill(struct mm_pmm_chunk *chunk, enum mm_chunk_bits which, unsigned first,
                   unsigned count);
void mm_chunk_clear(struct mm_pmm_chunk *chunk, enum mm_chunk_bits which, unsigned first,
                    unsigned count);

bool mm_chunk_has(const struct mm_pmm_chunk *chunk, enum mm_chunk_bits which, unsigned index);

/* 64 frames of `set`, one bit each. */
uint64_t mm_chunk_word(const struct mm_pmm_chunk *chunk, enum mm_frame_set set, unsigned word);

/* First index >= `from` in `set`, or MM_CHUNK_FRAMES. */
unsigned mm_chunk_next(const struct mm_pmm_chunk *chunk, enum mm_frame_set set, unsigned from);

/* Last index <= `from` that begins an allocation, or MM_CHUNK_FRAMES. */
unsigned mm_chunk_last_first(const struct mm_pmm_chunk *chunk, unsigned from);

/* Add the number of free aligned blocks of orders 0 to 9. True if the whole chunk is free. */
bool mm_chunk_count_blocks(const struct mm_pmm_chunk *chunk, uint64_t *free_blocks);

/* ---- pmm_region.c: frames of the whole machine ---- */

/* Number of the first region that ends behind `frame`, or region_count. */
uint32_t mm_region_behind(const struct mm_pmm *pmm, uint64_t frame);

/* The region that holds `frame`, or NULL. */
const struct mm_pmm_region *mm_region_of(const struct mm_pmm *pmm, uint64_t frame);

/* The chunk of a frame of `region`. */
struct mm_pmm_chunk *mm_region_chunk(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                                     uint64_t frame);

bool mm_region_has(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                   enum mm_chunk_bits which, uint64_t frame);

/* First frame of [frame, end) in `set`, or `end`; both inside `region`. */
uint64_t mm_region_next(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                        enum mm_frame_set set, uint64_t frame, uint64_t end);

/* Set or clear the bits of [frame, end), none of which has that value yet. */
void mm_region_fill(struct mm_pmm *pmm, const struct mm_pmm_region *region,
                    enum mm_chunk_bits which, uint64_t frame, uint64_t end);
void mm_region_clear(struct mm_pmm *pmm, const struct mm_pmm_region *region,
                     enum mm_chunk_bits which, uint64_t frame, uint64_t end);

/* Transitions of [first, first + count), with all counts and hints. Free to one allocation; one
 * allocation to free; RAM that is not managed to free; the same to allocated single frames. */
void mm_frames_take(struct mm_pmm *pmm, uint64_t first, uint64_t count);
void mm_frames_give(struct mm_pmm *pmm, uint64_t first, uint64_t count);
void mm_frames_add(struct mm_pmm *pmm, uint64_t first, uint64_t count);
void mm_frames_add_taken(struct mm_pmm *pmm, uint64_t first, uint64_t count);

/* Where zone `zone` begins; zone MM_ZONES begins where the last one ends. */
uint64_t mm_zone_start(unsigned zone);
enum mm_zone mm_zone_of(uint64_t frame);

/* ---- pmm_search.c ---- */

enum mm_node_rule {
    MM_NODE_ANY,
    MM_NODE_SAME, /* `node` only */
    MM_NODE_OTHER /* all but `node` */
};

/* A request in frames. */
struct mm_frame_want {
    uint64_t count;
    uint64_t align;    /* power of two, at least 1 */
    uint64_t boundary; /* power of two, or 0 */
    uint64_t start;    /* first frame that may be used */
    uint64_t end;      /* first frame above it that may not be used */
    bool low;          /* limited to memory below 1 MiB, which nobody else gets */
    uint16_t node;
    enum mm_node_rule rule;
};

/* Where the search for single frames goes on. Zero-initialise `frame`; `zone` from the top. */
struct mm_single_cursor {
    unsigned zone_count; /* zones not finished yet */
    uint64_t frame;
};

/* First frame of free frames that fit; the lowest of the highest zone that has some. */
bool mm_frames_find(struct mm_pmm *pmm, const struct mm_frame_want *want, uint64_t *out);

/* The next free frame that fits `want`, which asks for single frames. */
bool mm_frames_next_single(const struct mm_pmm *pmm, const struct mm_frame_want *want,
                           struct mm_single_cursor *cursor, uint64_t *out);

/* ---- pmm.c ---- */

/* mm_pmm_free() in the name of the public function `where`. */
enum mm_err mm_pmm_give_back(struct mm_pmm *pmm, mm_phys_t first, uint64_t count, const char *where,
                             const void *caller);

#endif
