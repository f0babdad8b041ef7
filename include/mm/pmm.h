/*
 * mm/pmm.h - physical memory manager: who owns which frame.
 *
 * A frame is 4 KiB of physical memory. The PMM hands out single frames, blocks of 2^order frames
 * (naturally aligned), and runs of any number of frames; the caller owns what it got until it
 * gives exactly that back. The PMM reads and writes its own metadata only, never a frame, except
 * to zero it on request, and a few that it keeps for itself (side tables, see mm_pmm_config).
 *
 * Single frames come from and go to a stock of this CPU (a "magazine"), without a lock; all else,
 * and every 64th or so of those, goes to a pool, one for each node and zone, under its lock. docs/
 * pmm.md shows how it fits together.
 *
 * Context of all calls unless said otherwise: thread, interrupt or page fault, any CPU, not NMI.
 * They take locks with interrupts off, call no hook but mm_host_cpu() under them, and never wait
 * for another CPU to answer (MM_FRAME_TRY_HARD, mm_pmm_drain() and mm_pmm_retire() alone may).
 * Reports and watermark callbacks come after the locks are released.
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

/* struct mm_frame_request.flags */
#define MM_FRAME_ZERO      1u /* zeroed; the frames must lie inside the PMM's window */
#define MM_FRAME_NODE      2u /* prefer `node`; without it, the node of this CPU */
#define MM_FRAME_NODE_ONLY 4u /* with MM_FRAME_NODE: fail rather than take another node */
#define MM_FRAME_TRY_HARD \
    8u /* take back what other CPUs have in stock before failing; may wait
                                * for them: thread context, interrupts on, no lock of yours that
                                * an interrupt handler wants */
#define MM_FRAME_RESERVE \
    16u /* may use what config.reserve_frames and the floors of lower zones
                                * keep back: page tables, callers that must not fail */
#define MM_FRAME_NO_WAIT \
    32u /* for NMI and machine check: MM_ERR_BUSY rather than wait for a
                                * lock. One frame only, no other flag but MM_FRAME_RESERVE */

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

/*
 * What keeps a thread on its CPU, and other threads off it, while it works on that CPU's stock for
 * a few instructions (docs/integrating.md). In all of them interrupt handlers may use the PMM.
 */
enum mm_pin {
    MM_PIN_IRQ = 0,     /* interrupts off: right in every kernel */
    MM_PIN_PREEMPT = 1, /* mm_host_preempt_off() and _on() of your MM_CPU_HEADER, which also
                         * defines MM_HOST_PREEMPT; between them the thread is neither switched nor
                         * moved. In NMI, too, if that calls the PMM. Without them: UNSUPPORTED */
    MM_PIN_LOCK = 2,    /* nothing is promised: a locked exchange for each operation */
    MM_PIN_NONE = 3     /* one CPU, or one thread for each CPU index, and no switch inside libmm */
};

struct mm_pmm_cpu;
struct mm_pmm_node;
struct mm_pmm_pool;
struct mm_pmm_record;
struct mm_pmm_region;
struct mm_pmm_section;
struct mm_pmm_side;
struct mm_pmm_watch;

/* Place it anywhere (.bss is fine). Only src/pmm touches the fields. */
struct mm_pmm {
    /* constant after init */
    enum mm_pin pin;
    uint32_t cpu_count;
    struct mm_pmm_cpu *cpu;         /* one record each */
    struct mm_pmm_region *region;   /* physical regions: sorted, then those added later */
    struct mm_pmm_section *section; /* which chunk, or which regions, an address belongs to */
    uint8_t *kind;                  /* (A) of each chunk (2 MiB): what its frames may be freed as */
    uint64_t (*bitmap)[8];          /* of each chunk: 1 = free */
    struct mm_pmm_record *record;   /* of each chunk */
    uint8_t *owner;                 /* of each frame: 1 = a caller's; NULL in the release build */
    uint64_t *tag_directory;        /* (A) side tables of tags, see mm_pmm_tag() */
    struct mm_pmm_pool *pool;       /* by node and zone */
    struct mm_pmm_node *node;
    struct mm_pmm_watch *watch;     /* of each zone */
    struct mm_pmm_side *side;       /* side tables of chunks with blocks and holes */
    const struct mm_window *window; /* may be NULL */
    void *meta;                     /* lent by the caller: all of the above */
    uint64_t meta_bytes;            /* used of it */
    uint64_t reserve_frames;
    uint64_t low_frames; /* below this many free ones the mode must be looked at */
    uint32_t section_shift, section_count;
    uint32_t sorted_count; /* regions known at init */
    uint32_t region_capacity, chunk_capacity;
    uint32_t node_count;
    uint32_t magazine_frames; /* what one magazine holds at most */
    uint32_t cache_mask;      /* (A) which bits of a chunk's kind must fit a CPU's stock */

    /* changing */
    uint32_t region_count, pool_count; /* (A) they only grow; under all pools' locks */
    uint32_t chunk_count;              /* in use; the same */
    uint32_t mode;                     /* (A) written under mode_lock: enum mm_stock_mode */
    uint32_t closers;                  /* (M) drains that keep the magazines closed */
    uint32_t watched;                  /* (A) bit z: zone z has a watermark */
    uint8_t low;                       /* (A) memory is low: the magazines stay closed */
    uint8_t scarce;                    /* (A) much free memory is in broken chunks: circulate */
    uint8_t odd_borders;               /* (A) a block may lie in two pools */
    uint64_t *spare_words;             /* sets of pools that are added later */
    uint64_t misuse_count;             /* (A) refused calls */
    uint64_t freed_frames;    /* (A) counted only by a build that loses frames on purpose */
    struct mm_lock mode_lock; /* M */
    struct mm_lock add_lock;  /* one who adds memory or side tables at a time */
    const void *unused[4];
};

/* struct mm_pmm_config.flags */
#define MM_PMM_NO_FLOORS 1u /* ordinary requests may empty the lower zones */

struct mm_pmm_config {
    struct mm_memmap *map;          /* finished; closed by init: no early allocation or reservation
                                     * afterwards. Only used during init */
    const struct mm_window *window; /* for MM_FRAME_ZERO, tags, and side tables that grow; NULL =
                                     * the first two are unsupported and the metadata hold all side
                                     * tables from the start. Lent for the life of the PMM */
    void *meta;                     /* lent for the life of the PMM */
    uint64_t meta_bytes;            /* at least mm_pmm_meta_bytes() */
    uint32_t cpu_count;             /* 1 to MM_CPUS_MAX */
    enum mm_pin pin;
    uint32_t flags;          /* MM_PMM_* */
    uint32_t distance_nodes; /* rows of `distance`; 0 = every other node is as far */
    const uint8_t *distance; /* as mm_numa_read_slit() fills it. Only used during init */
    uint64_t reserve_frames; /* kept back in the pools for MM_FRAME_RESERVE, beside the floors, from
                              * the highest zone down; at most half of each pool */
    uint64_t hotplug_bytes;  /* RAM that the map does not know and mm_pmm_add_ram() may bring */
};

/*
 * Bytes of metadata that a PMM of this configuration needs (its `meta` and `meta_bytes` are not
 * looked at): about 42 KiB per GiB of RAM and 14 KiB; 2.7 KiB for each CPU, 17 KiB for each node.
 * If there is no window, or it does not show all usable memory, 30 KiB per GiB more, since side
 * tables cannot grow then. The hardened and debug builds add one byte for each frame, 256 KiB per
 * GiB. All grow with the RAM in the map, not with its highest address. Ask when the map is as
 * mm_pmm_init() will see it but for the metadata themselves, and take those with mm_memmap_take()
 * as MM_USE_KEEP: as early memory they would be allocated frames, and a wrong free would hand them
 * out.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (map not finished, cpu_count) | MM_ERR_UNSUPPORTED (more than
 *          2 PiB of RAM, or RAM above 2^53)
 * Context  boot; O(ranges)
 */
MM_NODISCARD enum mm_err mm_pmm_meta_bytes(const struct mm_pmm_config *config, uint64_t *out);

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
 *          block, flags that exclude each other) | MM_ERR_UNSUPPORTED (MM_FRAME_ZERO without a
 *          window) | MM_ERR_WINDOW (MM_FRAME_ZERO outside the window; nothing is taken)
 *          | MM_ERR_BUSY (MM_FRAME_NO_WAIT alone; for that, limits that are no zone's end are
 *          UNSUPPORTED)
 * Cost     one frame from the magazine: about a dozen plain loads and stores. Order 9, and its
 *          failure: O(1). Orders 1 to 8: O(1) while a chunk that has blocks already, or a whole
 *          one, has room, else O(chunks). Orders 10 to 18: O(whole chunks / 64). Runs of more than
 *          256 frames, and what asks for more than a zone (lowest, odd alignment, boundary): first
 *          fit, O(RAM / 2 MiB + free pieces passed over), with interrupts off. TRY_HARD: and one
 *          call of mm_host_run_on() for each CPU that runs and has not answered
 * Note     NO_MEMORY without TRY_HARD: the pools that the request may use had nothing that fits,
 *          nor had the depots, parked CPUs and this one (unless the call interrupted this CPU in
 *          the middle of another one); each other CPU may have had up to 320 frames. With TRY_HARD,
 *          if each CPU answered (mm_pmm_drain()): at an instant within the call nothing that fits
 *          was free anywhere. A block of order 1 to 8 or a run may want one frame more, of its own
 *          zone and node, for the tables of 64 such chunks. A block lies in one zone and one node,
 *          unless nodes meet within 2 MiB; a run goes on from one zone or node to the next only if two frames or more of it
 *          lie in the first; MM_FRAME_NO_WAIT looks at this CPU's stock and at the pools alone
 */
MM_NODISCARD enum mm_err mm_pmm_alloc(struct mm_pmm *pmm, const struct mm_frame_request *request,
                                      mm_phys_t *out);

/* Take one frame from anywhere at or above 1 MiB. Returns MM_OK | MM_ERR_NO_MEMORY. */
MM_NODISCARD enum mm_err mm_pmm_alloc_frame(struct mm_pmm *pmm, mm_phys_t *out);

/* The same, zeroed: MM_FRAME_ZERO, at its fastest while mm_pmm_zero_ahead() keeps a stock. */
MM_NODISCARD enum mm_err mm_pmm_alloc_zeroed(struct mm_pmm *pmm, mm_phys_t *out);

/*
 * Give back exactly what one call handed out: its first frame and its number of frames
 * (2^order for a block). Never fails for a correct caller, so the result needs no check.
 *
 * Returns  MM_OK | MM_ERR_MISUSE: unaligned, not managed, not allocated (double free), or not
 *          exactly one allocation. The call changed nothing and was reported with the caller's
 *          address. The release build does not see at once that one frame is freed twice; if the
 *          magazine shows it later the report names whoever frees then
 */
enum mm_err mm_pmm_free(struct mm_pmm *pmm, mm_phys_t first, uint64_t count_frames);

/* The same for one frame. */
enum mm_err mm_pmm_free_frame(struct mm_pmm *pmm, mm_phys_t frame);

/* The same for NMI and machine check: MM_ERR_BUSY rather than wait for a lock; then the frame is
 * still the caller's. */
MM_NODISCARD enum mm_err mm_pmm_free_no_wait(struct mm_pmm *pmm, mm_phys_t frame);

/*
 * Take `count` single frames, all or none; not contiguous. `request` gives lowest, highest,
 * node, mobility and flags (NULL = none); its order, count, alignment and boundary must be 0.
 *
 * @out     has room for `count`; on an error nothing is taken, and what was there is lost
 * Returns  as mm_pmm_alloc()
 * Cost     O(count), locks held for at most 64 frames at a time; with limits inside a zone each
 *          frame is a search
 */
MM_NODISCARD enum mm_err mm_pmm_alloc_bulk(struct mm_pmm *pmm,
                                           const struct mm_frame_request *request, size_t count,
                                           mm_phys_t *out);

/* Give back `count` single frames. Each is checked as by mm_pmm_free(); a bad one is reported (in
 * the release build the first, and how many) and skipped. Returns MM_OK | MM_ERR_MISUSE (at least
 * one was bad). */
enum mm_err mm_pmm_free_bulk(struct mm_pmm *pmm, const mm_phys_t *frames, size_t count);

/*
 * Put [start, start + bytes) under management, free: boot memory that nobody needs any more
 * (mm_reclaim_boot() does it for you), parts of the image that only start-up used. The range must
 * have been known as RAM to the map at init, frame-aligned, and not be managed yet. Under the root
 * of mm_start() the direct map shows parts of the image that are not writable read-only: give them
 * the right to write there (mm_space_protect()) before you add them. If the PMM has a window, the
 * range must be in it.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_EXISTS (a frame is managed already)
 *          | MM_ERR_UNSUPPORTED (RAM that the map did not know: mm_pmm_add_ram())
 */
MM_NODISCARD enum mm_err mm_pmm_add(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes);

/*
 * The same for RAM that the map did not know: hot-plug, or memory found later. 2 MiB-aligned, no
 * part of it in a 2 MiB piece with known RAM, of a node that the map knew. Uses up room that
 * config.hotplug_bytes asked for, and must be in the window if there is one; each call takes one of
 * 8 places, and one more for each zone border inside. Floors and reserve stay as they are.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_EXISTS (overlaps what is known)
 *          | MM_ERR_NO_ROOM (no such room left in the metadata) | MM_ERR_UNSUPPORTED (below 2 MiB)
 */
MM_NODISCARD enum mm_err mm_pmm_add_ram(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes,
                                        unsigned node);

/*
 * Never hand out `frame` again (memory error). A free frame is gone at once; one that is allocated
 * goes when its owner frees it.
 *
 * Returns  MM_OK (gone) | MM_ERR_BUSY (its owner still has it, or it is in the stock of
 *          a CPU that did not answer, which may hand it out once more; it goes when it is freed) |
 *          MM_ERR_NOT_FOUND (not managed) | MM_ERR_NO_ROOM (16 chunks of 2 MiB have such frames
 *          already) | MM_ERR_BAD_ARG (not frame-aligned)
 * Context  thread: takes back what other CPUs have in stock, as MM_FRAME_TRY_HARD
 */
MM_NODISCARD enum mm_err mm_pmm_retire(struct mm_pmm *pmm, mm_phys_t frame);

/* Take memory out of use: stop handing out its frames, then hand the empty range back. This
 * version: MM_ERR_UNSUPPORTED. */
MM_NODISCARD enum mm_err mm_pmm_isolate(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes);
MM_NODISCARD enum mm_err mm_pmm_remove(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes);

/* ---- stocks of CPUs ---- */

/*
 * Honour what other CPUs have asked of this one (see mm_pmm_drain()). Call it from the handler of
 * your inter-processor interrupt, the timer tick or a worker; each use of the PMM does it, too.
 * Context: any but NMI. O(1) if nobody asked, else O(what is in stock).
 */
void mm_pmm_serve(struct mm_pmm *pmm);

/*
 * This CPU is about to be idle or off-line: until its next use of the PMM, which ends this by
 * itself, others may take what it has in stock without asking. Context: thread (the idle loop),
 * no interrupt handler. O(1).
 */
void mm_pmm_park(struct mm_pmm *pmm);

#define MM_DRAIN_WAIT 1u /* until the others have answered: thread context, interrupts on */

/*
 * Bring what is in stock back to the pools: this CPU's, the depots', parked CPUs'; others are asked
 * through mm_host_run_on() with MM_DRAIN_WAIT, and without it by a request that they see when they
 * next use the PMM.
 *
 * Returns  MM_OK (nothing is in stock) | MM_ERR_BUSY (a CPU has not answered, or the call may not
 *          wait)
 */
enum mm_err mm_pmm_drain(struct mm_pmm *pmm, unsigned flags);

/* Which node CPU `cpu` is of: its stock then comes from there, and other nodes' frames bypass it.
 * Call it before the CPU uses the PMM, from any CPU. Returns MM_OK | MM_ERR_BAD_ARG (no such CPU,
 * or the node has no memory: take the nearest that has some). */
MM_NODISCARD enum mm_err mm_pmm_set_cpu_node(struct mm_pmm *pmm, unsigned cpu, unsigned node);

/*
 * For the idle loop: zero one free frame and put it into this CPU's stock of zeroed frames.
 *
 * Returns  MM_OK (call again) | MM_ERR_EXISTS (the stock is full) | MM_ERR_NO_MEMORY (memory is too
 *          low to keep a stock) | MM_ERR_UNSUPPORTED (no window) | MM_ERR_WINDOW | MM_ERR_BUSY
 * Context  thread; the frame is zeroed with interrupts as they are
 */
enum mm_err mm_pmm_zero_ahead(struct mm_pmm *pmm);

/* ---- watermarks ---- */

enum mm_memory_level {
    MM_MEMORY_PLENTY = 0, /* above high_frames */
    MM_MEMORY_LOW = 1,    /* below low_frames, until above high_frames */
    MM_MEMORY_MIN = 2     /* below min_frames, until above low_frames */
};

/* min <= low <= high. Counted are the frames in the zone's pools. */
struct mm_pmm_watermark {
    uint64_t min_frames, low_frames, high_frames;
    /* Called once for each change of level, by the call that made it, after the locks: it may use
     * the PMM. */
    void (*fn)(void *arg, enum mm_zone zone, enum mm_memory_level level, uint64_t free_frames);
    void *arg;
};

/* Watch `zone`; `mark` is copied, NULL ends it, but a call that has begun may still come. Where
 * several CPUs, or an interrupt and what it interrupted, change the level, calls may come out of
 * order. Returns MM_OK | MM_ERR_BAD_ARG. Context: thread, serialised with itself. */
MM_NODISCARD enum mm_err mm_pmm_set_watermark(struct mm_pmm *pmm, enum mm_zone zone,
                                              const struct mm_pmm_watermark *mark);

/* ---- tags ---- */

/*
 * The 16-bit tag of a managed frame, 0 at first, for whoever owns the frame: a live count, a share
 * count. The PMM neither reads nor clears it. Side tables of 512 tags are made, from a frame of the
 * PMM's own, for the chunks that need them, and stay.
 *
 * @out     receives a pointer that is valid for the life of the PMM
 * Returns  MM_OK | MM_ERR_NOT_FOUND (not managed; or no table yet and `create` is false)
 *          | MM_ERR_NO_MEMORY | MM_ERR_WINDOW | MM_ERR_UNSUPPORTED (no window)
 * Cost     O(1); no lock once the table is there, but for a frame whose 2 MiB piece holds others
 *          that are not managed
 */
MM_NODISCARD enum mm_err mm_pmm_tag(struct mm_pmm *pmm, mm_phys_t frame, bool create,
                                    uint16_t **out);

/* ---- queries ---- */

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

/* What the PMM knows of the frame that holds `phys`; frames in stock are FREE. Cannot fail: an
 * address that is no memory is UNMANAGED. Cost: O(run length / 64 + what is in stock). */
void mm_pmm_query(struct mm_pmm *pmm, mm_phys_t phys, struct mm_frame_info *out);

/*
 * Iterate over maximal runs of frames with the same state, in ascending order, skipping what is
 * unmanaged. Start with *cursor = mm_phys(0).
 *
 * Returns  MM_OK (a run, and *cursor moved behind it) | MM_ERR_NOT_FOUND (no more)
 * Note     exact when nobody else allocates meanwhile; else each run was true at its moment. The
 *          first call brings home what is in stock, as mm_pmm_drain() without waiting: frames in
 *          the stock of a CPU that runs and has not answered look allocated
 * Cost     O(run length / 64), whole free chunks O(1); with interrupts off
 */
MM_NODISCARD enum mm_err mm_pmm_walk(struct mm_pmm *pmm, mm_phys_t *cursor,
                                     struct mm_phys_range *run, enum mm_frame_state *state);

struct mm_pmm_stats {
    uint64_t managed_frames;
    uint64_t free_frames; /* in pools and in stock */
    uint64_t zone_managed_frames[MM_ZONES];
    uint64_t zone_free_frames[MM_ZONES]; /* in the zones' pools; what is in stock is of any zone */
    uint64_t whole_chunks;               /* wholly free 2 MiB pieces in the pools */
    uint64_t magazine_frames;            /* of free_frames: in CPUs' magazines */
    uint64_t zeroed_frames;              /* of free_frames: in CPUs' zeroed stock */
    uint64_t depot_frames;               /* of free_frames: in depots */
    uint64_t side_frames; /* of the frames that are not free: the PMM's own side tables */
    uint64_t meta_bytes;
    uint64_t misuse_count;
};

/* Exact when quiet; else free_frames is off by at most the number of frames that others take and
 * give during the call. A frame that is being zeroed ahead counts as allocated. Cost: O(pools +
 * what is in stock). */
void mm_pmm_get_stats(struct mm_pmm *pmm, struct mm_pmm_stats *out);

/* Managed frames of one node, and those free in its pools; zero for a node that is not there. */
void mm_pmm_get_node_stats(struct mm_pmm *pmm, unsigned node, uint64_t *managed_frames,
                           uint64_t *free_frames);

struct mm_pmm_blocks {
    uint64_t free_frames;                   /* in the pools: what is in stock belongs to no block */
    uint64_t free_blocks[MM_ORDER_MAX + 1]; /* aligned blocks of each order that are wholly free,
                                             * also as part of a larger one */
    /* Fragmentation: how much of the free memory lies in no free block of that order, in tenths of
     * a percent. [0] is 0; 1000 = no block is free. 0 when nothing is free */
    uint16_t unusable_permille[MM_ORDER_MAX + 1];
};

/* Count blocks. Exact when quiet. Cost: O(RAM / 2 MiB), locks held for 64 chunks at a time. */
void mm_pmm_get_blocks(struct mm_pmm *pmm, struct mm_pmm_blocks *out);

/* Free frames now. Exact when quiet. O(pools + CPUs), no lock: any context. */
uint64_t mm_pmm_free_frames(const struct mm_pmm *pmm);

/* Walk everything, verify every count. Returns the number of faults, each told to `sink` (which
 * may be NULL; called without a lock). Context: thread; while no other CPU uses the PMM. Cost:
 * O(RAM). */
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
    /* 16 bits of the caller's for a frame from here, 0 when it is handed out and again when it comes
     * back: page tables count their entries there. What was answered once holds until the frame is
     * given back, and asking again cannot fail. MM_OK | MM_ERR_NOT_FOUND (this frame has none)
     * | MM_ERR_NO_MEMORY | ... NULL = there are none: tables are then searched for entries. */
    enum mm_err (*tag)(void *context, mm_phys_t frame, uint16_t **out);
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
