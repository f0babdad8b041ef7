/*
 * mm/arena.h - which virtual addresses are taken.
 *
 * An arena hands out parts of one virtual range. It knows nothing of page tables: whoever takes
 * addresses maps them, and unmaps before giving them back. The kernel's own arena is used through
 * mm/kernel_area.h; make another for each user space if you like.
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

/* Bookkeeping of one taken span: 64 bytes, 63 of them in a frame. Only src/vmm/arena.c touches the
 * fields. */
struct mm_arena_span {
    struct mm_arena_span *prev, *next;  /* (L) by address */
    uint64_t start, bytes;              /* (L) with its guards */
    uint32_t guard_before, guard_after; /* (L) in frames */
    uint64_t cookie;                    /* (L) */
    uint64_t unused[2];
};

/* A link in the list of frames that were taken for spans, sealed against overwriting. */
struct mm_arena_grown {
    struct mm_arena_grown *next;
    uint64_t seal;
};

struct mm_arena {
    struct mm_lock lock;
    struct mm_virt_range range;     /* (C) */
    struct mm_frame_source frames;  /* (C) for more spans; alloc may be NULL */
    const struct mm_window *window; /* (C) through which those frames are reached */
    struct mm_arena_span *first;    /* (L) */
    struct mm_arena_span *spare;    /* (L) unused spans */
    uint64_t span_count;            /* (L) */
    uint64_t taken_bytes;           /* (L) */
    uint64_t grown_frames;          /* (L) frames taken for spans; kept until the end */
    struct mm_arena_span *lent;     /* (C) spans to start with: what a link may point to */
    uint64_t lent_count;            /* (C) */
    struct mm_arena_grown grown;    /* (L) to the newest of those frames */
};

struct mm_arena_config {
    struct mm_virt_range range;     /* frame-aligned, not empty */
    struct mm_arena_span *span;     /* lent: spans to start with */
    uint32_t span_count;            /* 0 is allowed if `frames` is given */
    struct mm_frame_source frames;  /* zero = only the lent spans */
    const struct mm_window *window; /* needed with `frames` */
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

#define MM_ARENA_EXACT 1u /* at `at` or not at all */

/* What is wanted; zero in a field means no constraint. */
struct mm_arena_request {
    uint64_t bytes;       /* > 0; rounded up to frames */
    uint64_t align_bytes; /* power of two; at least a frame */
    uint64_t phase_bytes; /* result == phase (mod align): lets virt and phys agree in large pages.
                           * A multiple of the frame, below the alignment */
    uint64_t cookie;      /* kept with the span, for you */
    mm_virt_t at;         /* with MM_ARENA_EXACT; obeys alignment and phase */
    uint32_t guard_before_frames; /* addresses kept free on either side */
    uint32_t guard_after_frames;
    uint32_t flags;
};

/*
 * Take the lowest addresses that fit.
 *
 * @out     first usable address, behind the guard; untouched on error
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_NO_ADDRESS (no room, or exact and outside the range)
 *          | MM_ERR_EXISTS (exact, and not free; guards count) | MM_ERR_NO_MEMORY (no span left and
 *          no frame for more) | MM_ERR_WINDOW (the frame for more cannot be reached; given back)
 * Cost     this version: O(spans)
 */
MM_NODISCARD enum mm_err mm_arena_take(struct mm_arena *arena,
                                       const struct mm_arena_request *request, mm_virt_t *out);

/* Give back a span by the address that take gave. Returns MM_OK | MM_ERR_MISUSE (reported: not the
 * start of a span). O(spans) */
enum mm_err mm_arena_give(struct mm_arena *arena, mm_virt_t start);

struct mm_arena_info {
    mm_virt_t start; /* as take gave it */
    uint64_t bytes;  /* without guards */
    uint64_t cookie;
    bool guard; /* the address asked for lies in a guard of this span */
};

/* The span that holds `virt`, guards included. MM_OK | MM_ERR_NOT_FOUND. O(spans) */
MM_NODISCARD enum mm_err mm_arena_find(struct mm_arena *arena, mm_virt_t virt,
                                       struct mm_arena_info *out);

struct mm_arena_stats {
    uint64_t spans;
    uint64_t taken_bytes; /* guards included */
    uint64_t free_bytes;
    uint64_t largest_free_bytes;
};
void mm_arena_get_stats(struct mm_arena *arena, struct mm_arena_stats *out);

/* Returns the number of faults. O(spans) */
size_t mm_arena_check(struct mm_arena *arena, const struct mm_check_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
