/*
 * pmm_internal.h - the structures of the PMM, and what its files share.
 *
 * Problem     Single frames must cost a dozen plain instructions on any CPU; 2 MiB blocks must stay
 *             available; each free must be checked exactly; in about 0.004 % of the RAM.
 * Idea        Two layers. Each CPU has two magazines of free frames (stock.h). Below lie pools, one
 *             for each node and zone: chunks of 512 frames with one bit a frame, sorted into sets
 *             by how full they are; the fullest that fits is used first, so that empty ones stay
 *             whole. What a bit cannot say is kept only for the chunks that need it: holes (frames
 *             that are not managed) and tails (frames that continue an allocation).
 *             All numbers here are frame and chunk numbers, never addresses, but for the slots of
 *             magazines, which hold what callers get.
 * Invariants  P1 each managed frame is in exactly one place: a set bit of its pool, a slot of a
 *                magazine, depot or zeroed stock, or a caller's hands
 *             P2 a frame's bit is set only if it is managed, good RAM, and no tail
 *             P3 record.free is the number of set bits; pool.free_frames is the sum over its chunks
 *             P4 a chunk is in the set that mm_set_for() names for its kind and bits, or in none
 *             P5 a tail continues the allocation of the frame below it: singles have none, the
 *                chunk of kind HEAD is all tails but its first frame, that of kind TAIL is all
 *                tails
 *             P6 the chunks of a pool are in ascending physical order, two of one 2 MiB piece side
 *                by side; a run that goes on in
 *                another pool has at least two frames in the one where it begins
 *             P7 the bitmap of a chunk that is wholly free, or of which nothing is, is not looked
 *                at
 * Locking     pool.lock for the pool's chunks, sets and counts; stock records by their guard
 *             (stock.h). Order: add_lock, depot locks by index, pool locks by index, side lock;
 *             mode_lock is a leaf and taken with no other. docs/locking.md.
 * Cost        Per chunk: 64 bytes of bits, 12 of record, 1 of kind, 2.8 in sets, 4 of side tables.
 * Rejected    A buddy with lists: links in frames, or 8 bytes for each. A second bitmap for
 *             allocations' first frames: 64 bytes a chunk, unused in nearly all. Frames as 32-bit
 *             numbers in magazines: RAM ends at 16 TiB then.
 */
#ifndef MM_PMM_INTERNAL_H
#define MM_PMM_INTERNAL_H

#include "base/bits.h"
#include "base/compiler.h"
#include "base/lock.h"
#include "base/mm_atomic.h"
#include "mm/pmm.h"

#define MM_CHUNK_FRAMES 512u /* 2 MiB, one leaf of level 2 */
#define MM_CHUNK_WORDS  (MM_CHUNK_FRAMES / 64)
#define MM_CHUNK_ORDER  9u
#define MM_CHUNK_NONE   UINT32_MAX
#define MM_POOL_NONE    UINT16_MAX

/* From the hardened level on one byte for each frame says who has it: double frees are seen at
 * once. */
#define MM_PMM_OWNERS (MM_LEVEL >= MM_LEVEL_HARDENED)
enum mm_owner {
    MM_OWNER_NONE = 0, /* free, in stock, or not managed */
    MM_OWNER_CALLER = 1,
    MM_OWNER_PMM = 2 /* side tables, tags */
};

/* ---- chunks ---- */

/* pmm.kind[chunk]. Bit 7: singles only, every frame managed, zone DMA32 or HIGH; the low bits are
 * the number of the node: such frames go into magazines. Else what is below. */
#define MM_KIND_CACHED 0x80u
#define MM_KIND_HOLES  0x40u /* with PLAIN and MIXED: has a struct mm_pmm_hole */
enum mm_chunk_kind {
    MM_KIND_PLAIN = 0, /* singles only */
    MM_KIND_MIXED = 1, /* has tails, in a side bitmap, or its last frame begins a run */
    MM_KIND_HEAD = 2,  /* wholly allocated; a block or run begins at its first frame */
    MM_KIND_TAIL = 3,  /* wholly allocated; continues that of the chunk before */
    MM_KIND_UNUSED = 4 /* nothing is managed: kept for good, or room for memory added later */
};
#define MM_KIND_MASK 7u

struct mm_pmm_record {
    uint32_t number; /* physical address / 2 MiB */
    uint32_t side;   /* MIXED: of its tails; HOLES: of its struct mm_pmm_hole (holds tails, too) */
    uint16_t free;   /* set bits */
    uint8_t set;     /* which set of the pool it is in, or MM_SET_NONE */
    uint8_t fit;     /* low 4 bits: free blocks of greater order than this there are none; exact
                      * while MIXED. Bits 4 to 7 are kept for mobility, isolation, removal: 0 */
};
_Static_assert(sizeof(struct mm_pmm_record) == 12, "no padding: the checker sees every byte");

#define MM_FIT_UNKNOWN 9u

/* What a chunk with frames that are not managed needs. */
struct mm_pmm_hole {
    uint64_t managed[MM_CHUNK_WORDS];
    uint64_t
        ram[MM_CHUNK_WORDS]; /* may be managed. Managed but not RAM: retires when it is freed */
    uint64_t tails[MM_CHUNK_WORDS];
};

/* Which set a chunk with free frames is in. */
enum mm_chunk_set {
    MM_SET_SPOILED = 0, /* PLAIN with holes: can never be whole */
    MM_SET_FULLEST = 1, /* PLAIN, 1 to 4 frames free; then less and less full */
    MM_SET_EMPTIEST = 11,
    MM_SET_WHOLE = 12,
    MM_SET_MIXED = 13, /* + order of its greatest free block, 0 to 8 */
    MM_SETS = 22,
    MM_SET_NONE = 31
};

/* The frames [start, end) of one zone and node, without a gap of a whole chunk. */
struct mm_pmm_region {
    uint64_t start, end; /* frames */
    uint32_t chunk;      /* index of the chunk that holds `start` */
    uint16_t pool;
    uint16_t unused;
};
_Static_assert(sizeof(struct mm_pmm_region) == 24, "no padding");

/* A piece of the address space, 1 << section_shift frames. */
struct mm_pmm_section {
    uint32_t bias;   /* chunk = frame / 512 + bias (modulo 2^32), if one region has all of it */
    uint32_t region; /* first of the sorted regions that ends behind its start */
};
#define MM_SECTION_MIXED UINT32_C(0x80000000) /* also the rare section whose bias is that */
_Static_assert(sizeof(struct mm_pmm_section) == 8, "no padding");

/* Regions that mm_pmm_add_ram() may add, if it may add any. */
#define MM_REGIONS_ADDED_MAX 8u

/* ---- sets of chunks: bitmaps with summaries (set.c) ---- */

#define MM_SET_LEVELS 5u

struct mm_pmm_sets {
    uint64_t *word;                /* MM_SETS times `words` */
    uint32_t words;                /* of one set, all levels */
    uint32_t levels;               /* the last has one word */
    uint32_t start[MM_SET_LEVELS]; /* of each level, in words */
    uint32_t first[MM_SETS];       /* no member lies in a word of level 0 below this one */
    uint32_t not_empty;            /* (A), written under the lock. Bit s: set s has members */
    uint32_t chunks;               /* members are numbered 0 to chunks - 1 */
};

/* ---- pools ---- */

struct mm_pmm_pool {
    struct mm_lock lock;
    uint64_t free_frames;    /* (A), written under the lock */
    uint64_t managed_frames; /* the same */
    uint64_t loose_frames;   /* the same: free in PLAIN chunks that could be whole and are not */
    uint32_t whole_chunks;   /* the same */
    uint32_t chunk_first;    /* index of its first chunk */
    uint16_t next;           /* (A) pool of the same node and zone, or MM_POOL_NONE */
    uint8_t zone;            /* enum mm_zone */
    uint8_t node;            /* index into pmm.node */
    uint32_t unused;         /* 0 */
    uint64_t floor_frames;   /* requests that could use a higher zone leave so many */
    uint64_t reserve_frames; /* all requests without MM_FRAME_RESERVE leave so many */
    struct mm_pmm_sets sets;
};

/* Full magazines in front of the pools of a node: they move between CPUs whole. */
#define MM_DEPOT_MAGAZINES 16u
#define MM_MAGAZINE_MAX    128u

struct mm_pmm_depot {
    struct mm_lock lock;
    uint32_t count; /* (A), written under the lock: full magazines */
    uint32_t unused;
    mm_phys_t slot[MM_DEPOT_MAGAZINES][MM_MAGAZINE_MAX];
};

struct mm_pmm_node {
    uint16_t id;                 /* the map's number */
    uint16_t pool[MM_ZONES];     /* (A) first pool, or MM_POOL_NONE */
    uint8_t order[MM_NODES_MAX]; /* all nodes, nearest first; begins with itself */
    struct mm_pmm_depot depot;
};

/* ---- watermarks ---- */

struct mm_pmm_watch {
    struct mm_pmm_watermark mark;
    uint32_t level; /* (A) enum mm_memory_level; MM_WATCH_OFF = nobody asked */
    uint32_t unused;
};
#define MM_WATCH_OFF UINT32_MAX

/* ---- region.c: which chunk holds a frame ---- */

/* The region that holds `frame`, or NULL. No lock. */
const struct mm_pmm_region *mm_region_of(const struct mm_pmm *pmm, uint64_t frame);

/* A frame's place. */
struct mm_place {
    const struct mm_pmm_region *region;
    uint32_t chunk;
    unsigned index; /* in the chunk */
};

const struct mm_pmm_region *mm_region_added(const struct mm_pmm *pmm, uint64_t frame);

/* The chunk of a frame in a section that is all of one region, or MM_CHUNK_NONE: look further. */
static inline uint32_t mm_chunk_of(const struct mm_pmm *pmm, uint64_t frame)
{
    uint64_t section = frame >> pmm->section_shift;
    uint32_t bias;

    if (section >= pmm->section_count)
        return MM_CHUNK_NONE;
    bias = pmm->section[section].bias;
    return bias == MM_SECTION_MIXED ? MM_CHUNK_NONE : (uint32_t)(frame / MM_CHUNK_FRAMES) + bias;
}

static inline uint32_t mm_region_chunk(const struct mm_pmm_region *region, uint64_t frame)
{
    return region->chunk + (uint32_t)(frame / MM_CHUNK_FRAMES - region->start / MM_CHUNK_FRAMES);
}

/* False if no region holds `frame`. */
bool mm_place_of(const struct mm_pmm *pmm, uint64_t frame, struct mm_place *out);

/* The same for a frame that is known to lie in one. */
struct mm_place mm_place_that_exists(const struct mm_pmm *pmm, uint64_t frame);

/* The region with the lowest start above or at `frame`'s own, in address order: the one that holds
 * `frame`, or the next, or NULL. */
const struct mm_pmm_region *mm_region_from(const struct mm_pmm *pmm, uint64_t frame);

/* The section that begins at frame `start`; `region` is the first that ends behind it. init.c */
struct mm_pmm_section mm_section_of(const struct mm_pmm *pmm, uint64_t start, uint32_t region);

/* Where zone `zone` begins; zone MM_ZONES begins where the last one ends. */
uint64_t mm_zone_start(unsigned zone);
enum mm_zone mm_zone_of(uint64_t frame);

/* In builds with a byte per frame: whose `count` frames from `first` are. */
#if MM_PMM_OWNERS
void mm_owner_set(const struct mm_pmm *pmm, uint64_t first, uint64_t count, enum mm_owner owner);
#else
static inline void mm_owner_set(const struct mm_pmm *pmm, uint64_t first, uint64_t count,
                                enum mm_owner owner)
{
    (void)pmm;
    (void)first;
    (void)count;
    (void)owner;
}
#endif

/* The same for one frame, quickly. */
static inline void mm_owner_set_one(const struct mm_pmm *pmm, mm_phys_t frame, enum mm_owner owner)
{
    uint32_t chunk = MM_PMM_OWNERS ? mm_chunk_of(pmm, mm_frame_of(frame)) : MM_CHUNK_NONE;

    if (MM_PMM_OWNERS && chunk != MM_CHUNK_NONE)
        pmm->owner[(uint64_t)chunk * MM_CHUNK_FRAMES + mm_frame_of(frame) % MM_CHUNK_FRAMES] =
            (uint8_t)owner;
    else
        mm_owner_set(pmm, mm_frame_of(frame), 1, owner);
}

/* The frame's byte says that a caller has it; now it says that none has. False if it said so
 * before. */
static inline bool mm_owner_gives_up(const struct mm_pmm *pmm, uint32_t chunk, uint64_t frame)
{
    uint8_t *owner;

    if (!MM_PMM_OWNERS)
        return true;
    owner = &pmm->owner[(uint64_t)chunk * MM_CHUNK_FRAMES + frame % MM_CHUNK_FRAMES];
    if (*owner != MM_OWNER_CALLER)
        return false;
    *owner = MM_OWNER_NONE;
    return true;
}

/* First frame of chunk `chunk`. */
static inline uint64_t mm_chunk_frame(const struct mm_pmm *pmm, uint32_t chunk)
{
    return (uint64_t)pmm->record[chunk].number * MM_CHUNK_FRAMES;
}

/* ---- set.c ---- */

/* Words that the sets of a pool of `chunks` chunks need. */
uint64_t mm_sets_words(uint64_t chunks);
void mm_sets_init(struct mm_pmm_sets *sets, uint64_t *word, uint32_t chunks);
void mm_set_add(struct mm_pmm_sets *sets, unsigned set, uint32_t member);
void mm_set_remove(struct mm_pmm_sets *sets, unsigned set, uint32_t member);
void mm_set_add_range(struct mm_pmm_sets *sets, unsigned set, uint32_t from, uint32_t count);
bool mm_set_has(const struct mm_pmm_sets *sets, unsigned set, uint32_t member);

/* The lowest member; the set is not empty. */
uint32_t mm_set_first(struct mm_pmm_sets *sets, unsigned set);

/* The lowest member >= `from`, or MM_CHUNK_NONE. */
uint32_t mm_set_next(const struct mm_pmm_sets *sets, unsigned set, uint32_t from);

/* For the checker: levels, summaries and bounds; `chunks` and `word` are known to be right. */
bool mm_sets_are_sound(const struct mm_pmm_sets *sets);

/* The lowest number >= `from` that is no member; at most `end`. */
uint32_t mm_set_gap(const struct mm_pmm_sets *sets, unsigned set, uint32_t from, uint32_t end);

/* ---- chunk.c: one chunk. The lock of its pool is held ---- */

static inline unsigned mm_kind_of(const struct mm_pmm *pmm, uint32_t chunk)
{
    return mm_load_relaxed_u8(&pmm->kind[chunk]);
}

static inline void mm_kind_set(struct mm_pmm *pmm, uint32_t chunk, unsigned kind)
{
    mm_store_relaxed_u8(&pmm->kind[chunk], (uint8_t)kind);
}

static inline enum mm_chunk_kind mm_kind_base(unsigned kind)
{
    return (kind & MM_KIND_CACHED) != 0 ? MM_KIND_PLAIN : (enum mm_chunk_kind)(kind & MM_KIND_MASK);
}

static inline bool mm_kind_has_holes(unsigned kind)
{
    return (kind & (MM_KIND_CACHED | MM_KIND_HOLES)) == MM_KIND_HOLES;
}

/* 64 frames of a chunk: those that continue an allocation; those that are managed. */
uint64_t mm_chunk_tails(const struct mm_pmm *pmm, uint32_t chunk, unsigned word);
uint64_t mm_chunk_managed(const struct mm_pmm *pmm, uint32_t chunk, unsigned word);

/* A managed frame that is not to retire. */
bool mm_chunk_is_good(const struct mm_pmm *pmm, const struct mm_place *place);

static inline bool mm_is_tail(const struct mm_pmm *pmm, uint32_t chunk, unsigned index)
{
    return (mm_chunk_tails(pmm, chunk, index / 64) >> (index % 64) & 1) != 0;
}

/* The chunk's bits, to be changed: those of a whole chunk are not kept (P7). */
uint64_t *mm_bits_open(struct mm_pmm *pmm, uint32_t chunk);

/* A frame that is to retire leaves: it was RAM once, and managed until its owner gave it up. */
void mm_retire(struct mm_pmm_pool *pool, struct mm_pmm_hole *hole, unsigned index);

/* Greatest order of a free aligned block: 0 to 9; the chunk has free frames. */
unsigned mm_chunk_fit(const uint64_t *bits);

/* Index of the first free aligned block of `order` <= 8, or MM_CHUNK_FRAMES. */
unsigned mm_chunk_find(const uint64_t *bits, unsigned order);

/* First index >= `from` whose bit is set (or clear), or MM_CHUNK_FRAMES. */
unsigned mm_bits_next(const uint64_t *bits, bool set, unsigned from);

/* Set or clear [first, first + count). */
void mm_bits_fill(uint64_t *bits, unsigned first, unsigned count);
void mm_bits_clear(uint64_t *bits, unsigned first, unsigned count);

/* Enter the chunk into the set where it belongs now, and note its free frames; `free_before` is
 * record.free as the pool's counts know it. */
void mm_chunk_changed(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t chunk,
                      unsigned free_before);

/* The chunk's kind while it has neither tails nor is wholly allocated. */
unsigned mm_chunk_plain_kind(const struct mm_pmm_pool *pool, bool has_holes);

/* The chunk's bits, one for each free frame. */
const uint64_t *mm_chunk_bits(const struct mm_pmm *pmm, uint32_t chunk);

/* Tails of a MIXED chunk, or of one with holes; else NULL. */
uint64_t *mm_chunk_tail_bits(const struct mm_pmm *pmm, uint32_t chunk);

/* From free blocks of order k (a bit where each begins) to those of order k + 1: two neighbours of
 * which the first is aligned to both. Words of blocks for k >= 6: subtract 6. */
uint64_t mm_blocks_join(uint64_t blocks, unsigned k);

/* The set of a PLAIN chunk without holes, 1 to 511 frames free: fine where few are free, since
 * those chunks fill up first, and the others empty. */
static inline unsigned mm_set_by_free(unsigned free)
{
    if (free <= 32)
        return MM_SET_FULLEST + (free > 4 ? 1u : 0u) + (free > 16 ? 1u : 0u);
    return MM_SET_FULLEST + 2 + (free + 31) / 64;
}

/* The set that P4 wants. */
unsigned mm_set_for(const struct mm_pmm *pmm, uint32_t chunk);

/* ---- side.c: side tables of chunks that need them ---- */

uint64_t mm_side_bytes(uint64_t chunks, uint64_t holes, bool can_grow);
void mm_side_init(struct mm_pmm *pmm, void *memory, uint64_t chunks, uint64_t holes, bool can_grow);

/* Promise `tables` (<= 64) of tails; takes a frame of `pool`, whose lock is held, if it must, but
 * none of [first, first + count), which were found for the caller. False if there are none. What is
 * not taken is released. */
bool mm_side_reserve(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned tables, uint64_t first,
                     uint64_t count);
void mm_side_release(struct mm_pmm *pmm, unsigned count);

/* Take a promised table, cleared; give it back; find it. */
uint32_t mm_side_take(struct mm_pmm *pmm);
void mm_side_give(struct mm_pmm *pmm, uint32_t table);
uint64_t *mm_side_tails(const struct mm_pmm *pmm, uint32_t table);

/* Give back frames whose tables are all unused. No lock held. */
void mm_side_trim(struct mm_pmm *pmm);

/* Frames of the PMM's own; the caller's `frame` is one more. */
uint64_t mm_side_frames(const struct mm_pmm *pmm);
void mm_side_frame_added(struct mm_pmm *pmm, mm_phys_t frame);

struct mm_pmm_hole *mm_hole_at(const struct mm_pmm *pmm, uint32_t number);

/* That of a chunk with holes, or NULL. */
struct mm_pmm_hole *mm_hole_of(const struct mm_pmm *pmm, uint32_t chunk);

/* A hole record that nobody has had, all zero, or MM_CHUNK_NONE. Init, or add_lock held. */
uint32_t mm_hole_take(struct mm_pmm *pmm);

/* For the checker. */
struct mm_side_facts {
    uint32_t page_count, lent_pages, unused_count, promised, idle_pages, first;
    uint32_t hole_count, hole_capacity, unused_field;
    const uint64_t *unused;
    void *const *page;
    const struct mm_pmm_hole *hole;
};
size_t mm_side_own_bytes(void);
bool mm_side_is_used(const struct mm_pmm *pmm, uint32_t table);
struct mm_side_facts mm_side_facts(const struct mm_pmm *pmm);

/* ---- pool.c: frames of a pool. Its lock is held ---- */

/* What frames that come back in bulk showed: some had been freed twice. Reported when no lock and
 * no guard is held. */
struct mm_stock_faults {
    const char *what;
    mm_phys_t first;
    uint64_t count;
};
void mm_fault_note(struct mm_stock_faults *faults, const char *what, mm_phys_t frame);

/* Up to `want` single frames, of the fullest chunks, in the order in which they should be used. */
unsigned mm_pool_take_singles(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned want,
                              mm_phys_t *out);

/* Put a single frame back. NULL, or what is wrong; then nothing has changed. */
const char *mm_pool_give_single(struct mm_pmm *pmm, const struct mm_place *place);

/* Single frames from `frames` on that belong to this pool, up to `count`. Returns how many; those
 * in which mm_pool_give_single() sees a fault are noted, and skipped. */
size_t mm_pool_give_batch(struct mm_pmm *pmm, struct mm_pmm_pool *pool, const mm_phys_t *frames,
                          size_t count, struct mm_stock_faults *faults);

/* ---- block.c ---- */

/* A free block of `order` 0 to 8, taken: false if there is none. */
bool mm_pool_take_small(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned order,
                        uint64_t count, uint64_t *first);

/* A free block of `order` 9 to 18, taken. */
bool mm_pool_take_large(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned order,
                        uint64_t *first);

/* Free the block of `count` whole chunks that begins with `chunk`, if that is one, and it is plain
 * that it is not longer. Else false, nothing is changed, and the general way must be gone. */
bool mm_pool_give_large(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t chunk,
                        uint32_t count);

/* ---- frames.c ---- */

/* Would tails in this chunk be the first, and take a table? Might taking these frames do so? */
bool mm_needs_table(const struct mm_pmm *pmm, uint32_t chunk);
bool mm_frames_need_tables(const struct mm_pmm *pmm, uint64_t first, uint64_t count);

/* Free frames [first, first + count), which lie in regions without a gap between them, become one
 * allocation (returns how many tables that took; up to two, reserved), or the reverse. All locks of
 * their pools are held. */
unsigned mm_frames_take(struct mm_pmm *pmm, uint64_t first, uint64_t count);
void mm_frames_give(struct mm_pmm *pmm, uint64_t first, uint64_t count);

/* Frames of chunks with holes, which were not managed, become free, or with `taken` allocated
 * singles. The lock is held, or nobody else knows the PMM yet. */
void mm_frames_add(struct mm_pmm *pmm, uint64_t first, uint64_t count, bool taken);

/* `count` chunks from number `number` on become wholly free; the same. */
void mm_chunks_add(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t chunk, uint32_t count,
                   uint32_t number);

/* All locks of pools, in order. */
struct mm_pools_guard {
    mm_lock_guard_t first, rest;
    uint32_t count;
};
struct mm_pools_guard mm_pools_lock(struct mm_pmm *pmm);
void mm_pools_unlock(struct mm_pmm *pmm, struct mm_pools_guard guard);

static inline struct mm_pmm_pool *mm_pool_of(const struct mm_pmm *pmm,
                                             const struct mm_pmm_region *region)
{
    return &pmm->pool[region->pool];
}

/* ---- search.c ---- */

/* A request in frames. */
struct mm_frame_want {
    uint64_t count;
    uint64_t align;    /* power of two, at least 1 */
    uint64_t boundary; /* power of two, or 0 */
    uint64_t start;    /* first frame that may be used */
    uint64_t end;      /* first frame above it that may not be used */
    bool low;          /* limited to memory below 1 MiB, which nobody else gets */
    bool plain;        /* neither align, boundary nor start ask for more than is natural */
    bool reserve;      /* may use the reserve */
    bool node_asked;   /* the request names the node */
    bool node_only;
    uint8_t node;  /* index: the nearest */
    uint8_t order; /* of a block; of the block that would hold the run, if there is one */
};

/* The lowest free frames that fit, in `pool`, whose lock is held, or if that is NULL in any but
 * zone LOW, and all are held. O(RAM / 2 MiB). */
bool mm_frames_find(const struct mm_pmm *pmm, const struct mm_frame_want *want,
                    const struct mm_pmm_pool *pool, uint64_t *out);

/* The pools that a request may use, best first. */
struct mm_pool_walk {
    const struct mm_pmm *pmm;
    const struct mm_frame_want *want;
    unsigned step;
    uint16_t next;
};
struct mm_pool_walk mm_pool_walk(const struct mm_pmm *pmm, const struct mm_frame_want *want);
struct mm_pmm_pool *mm_pool_next(struct mm_pool_walk *walk);

/* Frames of `pool` that the request may take, as it is now. */
uint64_t mm_pool_open(const struct mm_pmm_pool *pool, const struct mm_frame_want *want);

/* ---- watermark.c ---- */

/* The free frames of a zone may have crossed a mark. No lock, no guard held. */
void mm_watch_zones(struct mm_pmm *pmm);

/* ---- query.c ---- */

struct mm_frames {
    uint64_t first, count;
};

/* The frames allocated together with `frame`, which is allocated; what lies outside of `within` (if
 * that is not NULL) counts as one frame. Locks as for what is looked at. */
struct mm_frames mm_allocation_of(const struct mm_pmm *pmm, uint64_t frame,
                                  const struct mm_pmm_region *within);

/* ---- request.c ---- */

uint64_t mm_frames_wanted(const struct mm_frame_request *request);

/* Index of the node that this CPU's stock comes from. */
unsigned mm_near_node(const struct mm_pmm *pmm);

enum mm_err mm_request_check(const struct mm_pmm *pmm, const struct mm_frame_request *request);

/* The request in frames. False: it asks for a node that has no memory. */
bool mm_want_of(const struct mm_pmm *pmm, const struct mm_frame_request *request,
                struct mm_frame_want *want);

/* ---- take.c ---- */

/* One frame of this pool, if what is kept back permits. */
bool mm_pool_single(struct mm_pmm *pmm, const struct mm_frame_want *want, struct mm_pmm_pool *pool,
                    mm_phys_t *out);

/* ---- free.c ---- */

/* mm_pmm_free() in the name of the public function `where`. */
enum mm_err mm_pmm_give_back(struct mm_pmm *pmm, mm_phys_t first, uint64_t count, const char *where,
                             const void *caller);

#endif
