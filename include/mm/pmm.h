/*
 * mm/pmm.h - physical memory manager: who owns which frame.
 *
 * A frame is 4 KiB of physical memory. The PMM hands out single frames, blocks of 2^order frames
 * (naturally aligned), and runs of any number of frames; the caller owns what it got until it
 * gives exactly that back. The PMM reads and writes its own metadata only, never a frame, except
 * to zero it on request.
 *
 * Context of all calls unless said otherwise: thread, interrupt or page fault, any CPU, not NMI;
 * takes the PMM's lock with interrupts off, calls no hook under it, never waits for another CPU to
 * answer (MM_FRAME_TRY_HARD alone may). Reports come after the lock is released.
 */
#ifndef MM_PMM_H
#define MM_PMM_H

#include "memmap.h"
#include "report.h"
#include "types.h"
#include "window.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zones are address limits: a request is served below its `highest`, best from the last zone
 * that it allows, so that memory which few can use is kept for them. */
enum mm_zone {
    MM_ZONE_LOW = 0,   /* below 1 MiB: only for requests whose `highest` is below 1 MiB */
    MM_ZONE_DMA = 1,   /* below 16 MiB */
    MM_ZONE_DMA32 = 2, /* below 4 GiB */
    MM_ZONE_HIGH = 3   /* the rest */
};
#define MM_ZONES 4u

/* For `highest` in requests: the last byte below 1 MiB, 16 MiB, 4 GiB. */
#define MM_HIGHEST_1M  mm_phys(UINT64_C(0xfffff))
#define MM_HIGHEST_16M mm_phys(UINT64_C(0xffffff))
#define MM_HIGHEST_4G  mm_phys(UINT64_C(0xffffffff))

/* struct mm_frame_request.flags. This version looks everywhere also without TRY_HARD, and waits for
 * nobody with it. */
#define MM_FRAME_ZERO      1u  /* zeroed; the frames must lie inside the PMM's window */
#define MM_FRAME_NODE      2u  /* prefer `node`; without it any node is as good */
#define MM_FRAME_NODE_ONLY 4u  /* with MM_FRAME_NODE: fail rather than take another node */
#define MM_FRAME_TRY_HARD  8u  /* look everywhere before failing; may wait; thread context only */
#define MM_FRAME_RESERVE   16u /* may use the reserve for atomic callers; not built yet */
#define MM_FRAME_NO_WAIT   32u /* for NMI: MM_ERR_BUSY rather than wait for a lock; not built yet */

/* What the frames are for, so that movable ones stay together. */
enum mm_mobility {
    MM_MOBILITY_FIXED = 0,   /* cannot be moved: page tables, kernel objects */
    MM_MOBILITY_MOVABLE = 1, /* the owner can move the contents on request */
    MM_MOBILITY_RECLAIM = 2  /* the owner can drop the contents on request: caches */
};

/*
 * What is wanted. Zero-initialised it asks for one frame, anywhere.
 * Blocks: leave `count_frames` 0 and set `order`. Runs: set `count_frames`, leave `order` 0.
 */
struct mm_frame_request {
    uint64_t count_frames;   /* length of a run, or 0 */
    mm_phys_t lowest;        /* first byte that may be used; 0 = no limit. Opens no memory below
                              * 1 MiB: only `highest` does */
    mm_phys_t highest;       /* last byte that may be used; 0 = no limit */
    uint64_t align_bytes;    /* power of two; 0 = natural for a block, one frame for a run */
    uint64_t boundary_bytes; /* power of two; the result crosses no multiple of it; 0 = none */
    uint32_t flags;          /* MM_FRAME_* */
    uint8_t order;           /* 0 to MM_ORDER_MAX */
    uint8_t mobility;        /* enum mm_mobility */
    uint16_t node;           /* with MM_FRAME_NODE */
};

/* How per-CPU state is protected while a CPU works on it (docs/integrating.md). */
enum mm_pin {
    MM_PIN_IRQ = 0,     /* interrupts off: right in every kernel */
    MM_PIN_PREEMPT = 1, /* not built yet */
    MM_PIN_LOCK = 2,    /* not built yet */
    MM_PIN_NONE = 3     /* not built yet */
};

struct mm_pmm_region;
struct mm_pmm_chunk;

/* Place it anywhere (.bss is fine). Only src/pmm touches the fields. */
struct mm_pmm {
    struct mm_lock lock;
    const struct mm_window *window;  /* (C) for MM_FRAME_ZERO; may be NULL */
    void *meta;                      /* (C) lent by the caller */
    uint64_t meta_bytes;             /* (C) used of it */
    struct mm_pmm_region *region;    /* (C) sorted physical regions, in `meta` */
    struct mm_pmm_chunk *chunk;      /* (L) 2 MiB pieces, in `meta` */
    uint64_t chunk_count;            /* (C) */
    uint32_t region_count;           /* (C) */
    uint32_t cpu_count;              /* (C) */
    uint64_t managed_frames;         /* (L) */
    uint64_t free_frames;            /* (L), and (A) for reading without it */
    uint64_t zone_managed[MM_ZONES]; /* (L) */
    uint64_t zone_free[MM_ZONES];    /* (L) */
    uint64_t zone_hint[MM_ZONES];    /* (L) no free frame of the zone lies below this many 2 MiB */
    uint64_t misuse_count;           /* (L) refused calls */
    uint64_t freed_frames;           /* (L) counted only by a build that loses frames on purpose */
    const void *unused[5];
};

struct mm_pmm_config {
    struct mm_memmap *map;          /* finished; closed by init: no early allocation or reservation
                                     * afterwards. Only used during init */
    const struct mm_window *window; /* for MM_FRAME_ZERO; NULL = zeroing is unsupported.
                                     * Lent for the life of the PMM */
    void *meta;                     /* lent for the life of the PMM */
    uint64_t meta_bytes;            /* at least mm_pmm_meta_bytes() */
    uint32_t cpu_count;             /* 1 to MM_CPUS_MAX */
    enum mm_pin pin;
};

/*
 * Bytes of metadata that a PMM over `map` needs: grows with the RAM in the map (about 0.013 %),
 * not with its highest address. Take them with mm_memmap_take() as MM_USE_KEEP: as early memory
 * they would be allocated frames, and a wrong free would hand them out.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (map not finished)
 * Context  boot; O(ranges)
 */
MM_NODISCARD enum mm_err mm_pmm_meta_bytes(const struct mm_memmap *map, uint32_t cpu_count,
                                           uint64_t *out);

/*
 * Build a PMM over a finished map. USABLE and FREE frames become free; frames that the early
 * allocator took become allocated single frames (mm_pmm_free_frame() accepts them), but for those
 * taken as MM_USE_KEEP, which stay unmanaged; boot memory is known but not managed until
 * mm_pmm_add().
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (also: `meta` not aligned to 8 bytes)
 *          | MM_ERR_NO_ROOM (meta_bytes too small) | MM_ERR_UNSUPPORTED (pin)
 * Context  boot CPU; O(ranges + RAM / 2 MiB)
 */
MM_NODISCARD enum mm_err mm_pmm_init_abi(struct mm_pmm *pmm, const struct mm_pmm_config *config,
                                         const uint32_t *abi);

MM_NODISCARD static inline enum mm_err mm_pmm_init(struct mm_pmm *pmm,
                                                   const struct mm_pmm_config *config)
{
    return mm_pmm_init_abi(pmm, config, &MM_CONFIG_SYMBOL);
}

/*
 * Take a block or a run. Contents are unspecified without MM_FRAME_ZERO.
 *
 * @out     receives the first frame; untouched on error
 * Returns  MM_OK | MM_ERR_NO_MEMORY (also: lowest above highest) | MM_ERR_BAD_ARG (order
 *          > MM_ORDER_MAX, not a power of two, both order and count, boundary smaller than the
 *          block) | MM_ERR_UNSUPPORTED (flag, or order above 9) | MM_ERR_WINDOW (MM_FRAME_ZERO
 *          outside the window; nothing is taken)
 * Cost     this version: O(RAM / 2 MiB) worst case, O(1) typical for single frames
 */
MM_NODISCARD enum mm_err mm_pmm_alloc(struct mm_pmm *pmm, const struct mm_frame_request *request,
                                      mm_phys_t *out);

/* Take one frame from anywhere at or above 1 MiB. Returns MM_OK | MM_ERR_NO_MEMORY. */
MM_NODISCARD enum mm_err mm_pmm_alloc_frame(struct mm_pmm *pmm, mm_phys_t *out);

/*
 * Give back exactly what one call handed out: its first frame and its number of frames
 * (2^order for a block). Never fails for a correct caller, so the result needs no check.
 *
 * Returns  MM_OK | MM_ERR_MISUSE: unaligned, not managed, not allocated (double free), or not
 *          exactly one allocation. The call changed nothing and was reported with the caller's
 *          address
 */
enum mm_err mm_pmm_free(struct mm_pmm *pmm, mm_phys_t first, uint64_t count_frames);

/* The same for one frame. */
enum mm_err mm_pmm_free_frame(struct mm_pmm *pmm, mm_phys_t frame);

/*
 * Take `count` single frames, all or none; not contiguous. `request` gives lowest, highest,
 * node, mobility and flags (NULL = none); its order, count, alignment and boundary must be 0.
 *
 * Returns  as mm_pmm_alloc(). `out` has room for `count`; untouched on error
 * Cost     O(count), this version with interrupts off; that includes zeroing
 */
MM_NODISCARD enum mm_err mm_pmm_alloc_bulk(struct mm_pmm *pmm,
                                           const struct mm_frame_request *request, size_t count,
                                           mm_phys_t *out);

/* Give back `count` single frames. Each is checked as by mm_pmm_free(); a bad one is reported and
 * skipped. Returns MM_OK | MM_ERR_MISUSE (at least one was bad). */
enum mm_err mm_pmm_free_bulk(struct mm_pmm *pmm, const mm_phys_t *frames, size_t count);

/*
 * Put [start, start + bytes) under management, free: boot memory that nobody needs any more
 * (mm_reclaim_boot() does it for you), parts of the image that only start-up used. The range must
 * have been known as RAM to the map at init, frame-aligned, and not be managed yet. Under the root
 * of mm_start() the direct map shows parts of the image that are not writable read-only: give them
 * the right to write there (mm_space_protect()) before you add them.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_EXISTS (a frame is managed already)
 *          | MM_ERR_UNSUPPORTED (RAM that the map did not know: hot-plug)
 */
MM_NODISCARD enum mm_err mm_pmm_add(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes);

/* Never hand out `frame` again (memory error). This version: MM_ERR_UNSUPPORTED. */
MM_NODISCARD enum mm_err mm_pmm_retire(struct mm_pmm *pmm, mm_phys_t frame);

/* Call `fn` when the free frames of `zone` fall below or rise above the marks. This version:
 * MM_ERR_UNSUPPORTED. */
struct mm_pmm_watermark {
    uint64_t min_frames, low_frames, high_frames;
    void (*fn)(void *arg, enum mm_zone zone, uint64_t free_frames);
    void *arg;
};
MM_NODISCARD enum mm_err mm_pmm_set_watermark(struct mm_pmm *pmm, enum mm_zone zone,
                                              const struct mm_pmm_watermark *mark);

enum mm_frame_state {
    MM_FRAME_UNMANAGED = 0, /* reserved, device, hole: not the PMM's */
    MM_FRAME_FREE = 1,
    MM_FRAME_ALLOCATED = 2
};

struct mm_frame_info {
    enum mm_frame_state state;
    enum mm_zone zone;
    mm_phys_t first;       /* ALLOCATED: first frame of its block or run; else this frame */
    uint64_t count_frames; /* ALLOCATED: of its block or run; else 1 */
};

/* What the PMM knows of the frame that holds `phys`. Cannot fail: an address that is no memory is
 * UNMANAGED. Cost: O(run length / 64). */
void mm_pmm_query(struct mm_pmm *pmm, mm_phys_t phys, struct mm_frame_info *out);

/*
 * Iterate over maximal runs of frames with the same state, in ascending order, skipping what is
 * unmanaged. Start with *cursor = mm_phys(0).
 *
 * Returns  MM_OK (a run, and *cursor moved behind it) | MM_ERR_NOT_FOUND (no more)
 * Note     exact when nobody else allocates meanwhile; else each run was true at its moment
 */
MM_NODISCARD enum mm_err mm_pmm_walk(struct mm_pmm *pmm, mm_phys_t *cursor,
                                     struct mm_phys_range *run, enum mm_frame_state *state);

struct mm_pmm_stats {
    uint64_t managed_frames;
    uint64_t free_frames;
    uint64_t zone_managed_frames[MM_ZONES];
    uint64_t zone_free_frames[MM_ZONES];
    uint64_t free_blocks[MM_ORDER_MAX + 1]; /* aligned blocks of each order that are wholly free,
                                             * also as part of a larger one: [0] == free_frames */
    uint64_t meta_bytes;
    uint64_t misuse_count;
};

/* Exact. Cost: O(RAM / 2 MiB), in one lock hold. */
void mm_pmm_get_stats(struct mm_pmm *pmm, struct mm_pmm_stats *out);

/* Free frames now; one load, exact when quiet. Any context. */
uint64_t mm_pmm_free_frames(const struct mm_pmm *pmm);

/* Walk everything, verify every count. Returns the number of faults, each told to `sink` (which
 * may be NULL; called without the lock). Cost: O(RAM). */
size_t mm_pmm_check(struct mm_pmm *pmm, const struct mm_check_sink *sink);

/*
 * Where others take frames from when they must not know the PMM: page tables use the early
 * allocator first and the PMM later, tests use their own.
 */
struct mm_frame_source {
    /* One frame, contents unspecified. MM_OK | MM_ERR_NO_MEMORY | ... */
    enum mm_err (*alloc)(void *context, mm_phys_t *out);
    /* Take back a frame for which `owns` is true. */
    void (*free)(void *context, mm_phys_t frame);
    /* Is this frame one of ours? Frames that are not are never freed. NULL = always. */
    bool (*owns)(void *context, mm_phys_t frame);
    void *context;
};

/* Sources over a PMM, and over a map that has no PMM yet; `window` limits where the early frames
 * may lie (NULL = anywhere). The object given must outlive the source. */
struct mm_frame_source mm_pmm_frame_source(struct mm_pmm *pmm);

struct mm_early_source {
    struct mm_memmap *map;
    const struct mm_window *window;
};
struct mm_frame_source mm_early_frame_source(struct mm_early_source *early);

#ifdef __cplusplus
}
#endif

#endif
