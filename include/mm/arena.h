/*
 * mm/arena.h - which virtual addresses are taken.
 *
 * An arena hands out parts of one or more virtual ranges. It knows nothing of page tables: whoever
 * takes addresses maps them, and unmaps before giving them back. The kernel's own arena is used
 * through mm/kernel_area.h; make another for each user space if you like.
 *
 * Every call costs O(log spans) unless its comment says more: the spans are a balanced tree that
 * knows its largest gaps.
 *
 * Context of all calls: thread, interrupt or page fault, not NMI; one lock with interrupts off,
 * which is not held while a frame for more spans is taken. A fault never finds that lock held:
 * spans and arenas are memory that is always mapped (docs/locking.md).
 */
#ifndef MM_ARENA_H
#define MM_ARENA_H

#include "pmm.h"
#include "report.h"
#include "types.h"
#include "window.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MM_ARENA_GUARD_MAX 2047u /* frames of one guard; larger ones are spans of their own */

/* Bookkeeping of one span: 64 bytes, 63 of them in a frame. Numbers of frames, not addresses; 53
 * bits, because a range may end with the last of 2^52 frames. Only src/vmm/arena*.c touch the
 * fields. */
struct mm_arena_span {
    struct mm_arena_span *child[2]; /* (L) below, above */
    struct mm_arena_span *next;     /* (L) in quarantine, or unused */
    uint64_t cookie;                /* (L) */
    uint64_t first : 53;            /* (L) guards included */
    uint64_t guard_before : 11;     /* (L) */
    uint64_t frames : 53;           /* (L) guards included */
    uint64_t guard_after : 11;      /* (L) */
    uint64_t gap : 53;              /* (L) free between the span before and this one */
    uint64_t state : 3;             /* (L) */
    uint64_t lean : 2;              /* (L) 1 + the deeper child, or 0 */
    uint64_t unused : 6;            /* 0 */
    uint32_t max_gap[2];            /* (L) largest below each child, UINT32_MAX = so much or more */
};

/* One of the frames that were taken for spans: they are a tree by the bits of their addresses,
 * sealed against overwriting. */
struct mm_arena_grown {
    struct mm_arena_grown *child[2];
    uint64_t seal;
};

/* Points into itself: an arena is not moved. */
struct mm_arena {
    struct mm_lock lock;
    struct mm_arena_span *root;            /* (L) */
    struct mm_arena_span *spare;           /* (L) unused spans */
    struct mm_arena_span *oldest, *newest; /* (L) in quarantine */
    uint64_t spare_count;                  /* (L) */
    uint64_t span_count;                   /* (L) taken */
    uint64_t taken_bytes;                  /* (L) */
    uint64_t quarantine_count;             /* (L) given back and not to be had yet */
    uint64_t quarantine_bytes;             /* (L) */
    uint64_t spent_count;                  /* (L) whose quarantine ended before their turn */
    uint64_t hole_count;                   /* (L) what is outside of all ranges: spans, too */
    uint64_t range_bytes;                  /* (L) of all ranges */
    uint64_t grown_frames;                 /* (L) frames taken for spans; kept until the end */
    struct mm_arena_grown grown;           /* (L) */
    struct mm_frame_source frames;         /* (C) for more spans; alloc may be NULL */
    const struct mm_window *window;        /* (C) through which those frames are reached */
    struct mm_arena_span *lent;            /* (C) spans to start with */
    uint64_t lent_count;                   /* (C) */
    uint64_t quarantine_limit_bytes;       /* (L) */
    uint64_t seal;                         /* (L) of the five above */
    struct mm_arena_span edge[2];          /* (L) two more, for what is outside */
};

struct mm_arena_config {
    struct mm_virt_range range;     /* frame-aligned, not empty */
    struct mm_arena_span *span;     /* lent: spans to start with */
    uint32_t span_count;            /* 0 is allowed if `frames` is given */
    struct mm_frame_source frames;  /* zero = only the lent spans */
    const struct mm_window *window; /* needed with `frames` */
    uint64_t quarantine_bytes; /* what is given back can be had again when so much more was given
                                     * back after it: a stale pointer faults meanwhile, and
                                     * mm_arena_find() knows whose it was. Earlier, when there is no
                                     * other room, or no other bookkeeping. 0 = at once */
};

/* Returns MM_OK | MM_ERR_BAD_ARG. Context: once, before other calls. */
MM_NODISCARD enum mm_err mm_arena_init_abi(struct mm_arena *arena,
                                           const struct mm_arena_config *config,
                                           const uint32_t *abi);

MM_NODISCARD static inline enum mm_err mm_arena_init(struct mm_arena *arena,
                                                     const struct mm_arena_config *config)
{
    return mm_arena_init_abi(arena, config, &MM_CONFIG_SYMBOL);
}

/*
 * Let the arena hand out another range, too. Ranges that touch are one: a span may lie across.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (not frame-aligned, empty, wraps) | MM_ERR_EXISTS (a part of it is
 *          in the arena already) | MM_ERR_RANGE (all 2^64 bytes would be) | MM_ERR_NO_MEMORY
 *          | MM_ERR_WINDOW
 */
MM_NODISCARD enum mm_err mm_arena_add(struct mm_arena *arena, struct mm_virt_range range);

#define MM_ARENA_EXACT 1u /* at `at` or not at all */

/* What is wanted; zero in a field means no constraint. */
struct mm_arena_request {
    uint64_t bytes;       /* > 0; rounded up to frames */
    uint64_t align_bytes; /* power of two; at least a frame */
    uint64_t phase_bytes; /* result == phase (mod align): lets virt and phys agree in large pages.
                           * A multiple of the frame, below the alignment */
    uint64_t cookie;      /* kept with the span, for you */
    mm_virt_t at;         /* with MM_ARENA_EXACT; obeys alignment and phase */
    uint32_t guard_before_frames; /* addresses kept free on either side; at most */
    uint32_t guard_after_frames;  /* MM_ARENA_GUARD_MAX */
    uint32_t flags;
};

/*
 * Take the lowest addresses that fit. With an alignment: of the lowest 64 gaps that are long enough,
 * the first that has an aligned place; if none has, the lowest behind them that is longer by an
 * alignment, which fits surely; if there is none, the lowest of all.
 *
 * What is in quarantine counts as taken, unless nothing else fits; MM_ARENA_EXACT ends the
 * quarantine of what is in its way.
 *
 * @out     first usable address, behind the guard; untouched on error
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_NO_ADDRESS (no room, or exact and outside the arena)
 *          | MM_ERR_EXISTS (exact, and not free; guards count) | MM_ERR_NO_MEMORY (no span left and
 *          no frame for more) | MM_ERR_WINDOW (the frame for more cannot be reached; given back)
 * Cost     O(log spans), and as much again for each gap that is long enough and does not fit, and
 *          for each span whose quarantine it ends; the lock is released after 64 of either
 */
MM_NODISCARD enum mm_err mm_arena_take(struct mm_arena *arena,
                                       const struct mm_arena_request *request, mm_virt_t *out);

/* Give back a span by the address that take gave. Returns MM_OK | MM_ERR_MISUSE (reported: not the
 * start of a span). */
enum mm_err mm_arena_give(struct mm_arena *arena, mm_virt_t start);

/*
 * Make the span that starts at `start` longer by `bytes`, rounded up to frames; its guard moves
 * along. Ends the quarantine of what is in its way.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_EXISTS (what follows is taken) | MM_ERR_NO_ADDRESS (the
 *          range ends) | MM_ERR_MISUSE (reported: not the start of a span)
 */
MM_NODISCARD enum mm_err mm_arena_grow(struct mm_arena *arena, mm_virt_t start, uint64_t bytes);

/*
 * Give back a part of a span, without its guards: frame-aligned, inside one span. What is left
 * keeps the cookie, and its outer guards: they move up to it. Cut at the front, it starts behind
 * the cut; cut in the middle, it is two spans with no guard between them and the cut. A cut of all
 * is mm_arena_give().
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_MISUSE (reported: not inside one span); in the middle
 *          also MM_ERR_NO_MEMORY | MM_ERR_WINDOW, as mm_arena_take()
 */
MM_NODISCARD enum mm_err mm_arena_cut(struct mm_arena *arena, mm_virt_t start, uint64_t bytes);

/* Change quarantine_bytes, of the arena of mm_start() for example, which begins with 0. What is too
 * much then leaves with what is given back next; with 0, at once, as by mm_arena_drain(). */
void mm_arena_set_quarantine(struct mm_arena *arena, uint64_t bytes);

/* End all quarantine. O(log spans) for each span that was in it; the lock is released now and
 * then. */
void mm_arena_drain(struct mm_arena *arena);

enum mm_arena_state {
    MM_ARENA_TAKEN = 1,
    MM_ARENA_QUARANTINED = 2 /* given back; a pointer to it is stale */
};

struct mm_arena_info {
    mm_virt_t start; /* as take gave it */
    uint64_t bytes;  /* without guards */
    uint64_t cookie;
    enum mm_arena_state state;
    uint32_t guard_before_frames;
    uint32_t guard_after_frames;
    bool guard; /* the address asked for lies in a guard of this span */
};

/* The span that holds `virt`, guards included; look at its state. MM_OK | MM_ERR_NOT_FOUND. */
MM_NODISCARD enum mm_err mm_arena_find(struct mm_arena *arena, mm_virt_t virt,
                                       struct mm_arena_info *out);

/* Where a walk is; zero = before the first span. */
struct mm_arena_cursor {
    uint64_t frame;
};

/* The next span by address, taken or in quarantine. Returns MM_OK (and *cursor moved behind it)
 * | MM_ERR_BAD_ARG | MM_ERR_NOT_FOUND (no more). Spans may come and go between two calls. */
MM_NODISCARD enum mm_err mm_arena_walk(struct mm_arena *arena, struct mm_arena_cursor *cursor,
                                       struct mm_arena_info *out);

/* Exact. */
struct mm_arena_stats {
    uint64_t spans;       /* taken */
    uint64_t taken_bytes; /* guards included */
    uint64_t free_bytes;
    uint64_t largest_free_bytes;
    uint64_t quarantined_spans;
    uint64_t quarantined_bytes;
    uint64_t bookkeeping_bytes; /* of frames taken for spans */
};

/* O(1), when no gap has 16 TiB; else O(log spans) for each such gap. */
void mm_arena_get_stats(struct mm_arena *arena, struct mm_arena_stats *out);

/* Returns the number of faults. O(spans x log of the frames taken for them) */
size_t mm_arena_check(struct mm_arena *arena, const struct mm_check_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
