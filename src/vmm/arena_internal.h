/*
 * arena_internal.h - what the files of the arena share.
 *
 * Problem     Devices, DMA buffers and stacks need addresses before they have pages, aligned so
 *             that large pages fit, with guards; nobody may get an address that somebody has, or,
 *             better, that somebody had a moment ago.
 * Idea        One balanced tree, by address, of all that is not free: taken spans, spans in
 *             quarantine, and holes, which are what lies outside the arena's ranges. The first and
 *             the last frame of all address space are the same to it as any other: the tree covers
 *             frames 0 to 2^52, one more than there are, so that every gap is followed by a span
 *             and every range, even one that ends at 2^64, by a hole. Each span knows the gap
 *             before it, and the largest gap below each of its children.
 * Invariants  A1 spans in the tree are disjoint and sorted by `first`; gap is what lies between a
 *                span and the one before it
 *             A2 max_gap[i] is the largest gap of the spans below child[i], or 0; clipped
 *             A3 the heights of a span's children differ by one at most; lean says which is greater
 *             A4 the last span of the tree is a hole that ends behind frame 2^52; so the tree is
 *                never empty
 *             A5 the quarantine list holds spans of the tree that were given back, the oldest
 *                first, and spent ones, which are in no tree
 *             A6 each node of memory is in the tree, spent, or in the spare list; a spare one is
 *                zero but for its link
 *             A7 all counts equal a recount
 * Locking     arena->lock (docs/locking.md) for all; frames for nodes are taken without it.
 * Cost        64 bytes for each span.
 * Rejected    See arena_tree.c for other structures. Free gaps as nodes of their own, beside taken
 *             ones: twice the nodes, and give may need one.
 */
#ifndef MM_ARENA_INTERNAL_H
#define MM_ARENA_INTERNAL_H

#include "base/assert.h"
#include "base/bits.h"
#include "base/lock.h"
#include "mm/arena.h"

/* enum mm_arena_state goes on. One wrong bit makes no other state that may be in the tree. */
enum {
    MM_SPAN_SPARE = 0,
    MM_SPAN_TAKEN = MM_ARENA_TAKEN,
    MM_SPAN_QUARANTINED = MM_ARENA_QUARANTINED,
    MM_SPAN_SPENT = 3, /* in the list of quarantine only */
    MM_SPAN_HOLE = 4
};

#define MM_SPACE_FRAMES (UINT64_C(1) << (64 - MM_FRAME_SHIFT))
#define MM_SPACE_END    (MM_SPACE_FRAMES + 1) /* with the frame that every range can end before */
#define MM_SPAN_MASK    ((UINT64_C(1) << 53) - 1)

#define MM_GAP_MAX UINT32_MAX /* frames, 16 TiB: greater gaps look like this to a search */

/* An AVL tree of h levels has at least F(h + 2) - 1 nodes; the 2^46 nodes of 64 bytes that fit into
 * 2^52 bytes of memory have at most 66. One more for what is being put in. */
#define MM_SPAN_LEVELS 67u

/* The way from the root to a span, or to where one is missing. */
struct mm_span_path {
    unsigned depth; /* spans on it */
    struct mm_arena_span *node[MM_SPAN_LEVELS];
    uint8_t side[MM_SPAN_LEVELS]; /* which child of node[i] comes next */
};

static inline uint64_t mm_span_end(const struct mm_arena_span *span)
{
    return span->first + span->frames;
}

/* What its owner may use. */
static inline uint64_t mm_span_user(const struct mm_arena_span *span)
{
    return span->first + span->guard_before;
}

static inline uint64_t mm_span_user_end(const struct mm_arena_span *span)
{
    return mm_span_end(span) - span->guard_after;
}

static inline void mm_span_set_gap(struct mm_arena_span *span, uint64_t frames)
{
    span->gap = frames & MM_SPAN_MASK;
}

/* Its place, guards included. */
static inline void mm_span_set(struct mm_arena_span *span, uint64_t first, uint64_t frames)
{
    span->first = first & MM_SPAN_MASK;
    span->frames = frames & MM_SPAN_MASK;
}

static inline uint32_t mm_gap_clip(uint64_t frames)
{
    return frames < MM_GAP_MAX ? (uint32_t)frames : MM_GAP_MAX;
}

/* ---- arena_tree.c ---- */

/* The lowest span that ends behind `frame`, which is at most MM_SPACE_FRAMES. */
struct mm_arena_span *mm_span_at_or_after(const struct mm_arena *arena, uint64_t frame);

/* The lowest span with first >= from and a gap of `need` frames before it; NULL = none. */
struct mm_arena_span *mm_span_gap_from(const struct mm_arena *arena, uint64_t from, uint32_t need);

/* Frames of the largest gap. */
uint64_t mm_span_largest_gap(const struct mm_arena *arena);

/* The way to the span that holds `frame`; false, and no span at its end, if there is none. */
bool mm_span_path(const struct mm_arena *arena, uint64_t frame, struct mm_span_path *path);

/* The way to the lowest span with a gap of `need` frames before it; false if there is none. */
bool mm_span_path_gap(const struct mm_arena *arena, uint32_t need, struct mm_span_path *path);

/* The way to the taken span whose owner knows it by `start`, a byte address. */
bool mm_span_path_user(const struct mm_arena *arena, uint64_t start, struct mm_span_path *path);

static inline struct mm_arena_span *mm_span_path_end(const struct mm_span_path *path)
{
    return path->node[path->depth - 1];
}

/* Go on to the span behind the one at the end. Not from the last. */
struct mm_arena_span *mm_span_path_next(struct mm_span_path *path);

/* The gap of the span at the end has changed. */
void mm_span_path_touch(struct mm_arena *arena, struct mm_span_path *path);

/* Put in a span whose frames are free; take out the one at the end of the path. */
void mm_span_insert(struct mm_arena *arena, struct mm_arena_span *span);

/* The same in the gap before the span at the end of the path, which is lost. */
void mm_span_insert_before(struct mm_arena *arena, struct mm_span_path *path,
                           struct mm_arena_span *span);
void mm_span_erase(struct mm_arena *arena, struct mm_span_path *path);

/* ---- arena_node.c ---- */

#define MM_SPANS_PER_FRAME (MM_FRAME_BYTES / sizeof(struct mm_arena_span) - 1)

/* Seals, and the spans that were lent. */
void mm_span_nodes_init(struct mm_arena *arena);

/* A spare one, zeroed; there is one. */
struct mm_arena_span *mm_span_new(struct mm_arena *arena);
void mm_span_free(struct mm_arena *arena, struct mm_arena_span *span);

/* More spare nodes: from a frame, else from quarantine. Without the lock. */
MM_NODISCARD enum mm_err mm_span_more(struct mm_arena *arena);

/* For checks: the seal of what never changes; is this one of our nodes? It follows no link that has
 * been overwritten. */
uint64_t mm_arena_seal(const struct mm_arena *arena);
bool mm_span_is_ours(const struct mm_arena *arena, const struct mm_arena_span *span);

/* The links to grown frames: the address of a damaged one, or 0. */
uintptr_t mm_grown_fault(const struct mm_arena *arena);

/* ---- arena_quarantine.c ---- */

#define MM_SPAN_BATCH 64u /* spans looked at, or let go, in one hold of the lock */

/* The taken span at the end of the path is given back. */
void mm_span_retire(struct mm_arena *arena, struct mm_span_path *path);

/* A span of the tree, that nobody has, begins its quarantine; older ones may end theirs. */
void mm_quarantine_push(struct mm_arena *arena, struct mm_arena_span *span);

/* The span at the end of the path ends it before its turn. */
void mm_quarantine_spend(struct mm_arena *arena, struct mm_span_path *path);

/* Let the oldest go, at most `count`. False if there was none. */
bool mm_quarantine_pop(struct mm_arena *arena, unsigned count);

/* ---- arena_place.c ---- */

/* A request in frames, checked: nothing below can wrap. And where a search is. */
struct mm_span_want {
    uint64_t frames, before, after, total; /* the last is their sum */
    uint64_t align, phase;
    uint64_t at;   /* exact: the first, guard included */
    uint64_t from; /* gaps before spans that start below it were looked at */
    bool exact, far;
};

MM_NODISCARD enum mm_err mm_span_want(const struct mm_arena_request *request,
                                      struct mm_span_want *want);

/* Where it is to start, guard included, and the way to the span behind it, if there was one to be had
 * for nothing: else path->depth is 0. MM_OK | MM_ERR_AGAIN (let go of the lock, and go on)
 * | MM_ERR_NO_ADDRESS | MM_ERR_EXISTS */
MM_NODISCARD enum mm_err mm_span_place(struct mm_arena *arena, struct mm_span_want *want,
                                       struct mm_span_path *path, uint64_t *first);

/*
 * Make [first, end) free of quarantine. MM_OK | MM_ERR_AGAIN (there is more of it) | MM_ERR_EXISTS |
 * MM_ERR_NO_ADDRESS (outside the ranges); what is lowest decides.
 */
MM_NODISCARD enum mm_err mm_span_clear(struct mm_arena *arena, uint64_t first, uint64_t end);

#endif
