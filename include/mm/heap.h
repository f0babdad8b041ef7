/*
 * mm/heap.h - memory of any size.
 *
 * A heap takes pages from a page source, or lives in one block of bytes that the caller lends, and
 * hands out pieces of any size. It knows neither frames nor page tables.
 *
 *  - Blocks are aligned to 16 bytes; mm_heap_aligned() gives more.
 *  - Size 0 is a request for the smallest block: a valid pointer, different from all others.
 *  - Sizes are checked for overflow; what cannot exist is NULL, never a small block. A block ends
 *    below 64 GiB.
 *  - Freeing NULL does nothing. Anything else that is not a live block of this heap is refused and
 *    reported, without being written to: foreign pointers, pointers into a block, double frees.
 *  - A heap that was not initialised, or was destroyed, refuses all calls and reports them; those
 *    with a status answer MM_ERR_MISUSE (for NULL MM_ERR_BAD_ARG).
 *
 * Context of all calls: thread, interrupt (which may arrive in the middle of any call and make
 * calls of its own) or page fault, not NMI; one lock with interrupts off, which is not held while
 * pages are taken or given back. The pages of a heap are touched under that lock: they are always
 * mapped, never paged on demand.
 */
#ifndef MM_HEAP_H
#define MM_HEAP_H

#include "report.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MM_HEAP_ALIGN 16u

/* Where pages come from. A heap asks from any context in which it is itself called, without its
 * lock. Neither call may allocate from, or free to, the heap that it serves. free is also called by
 * mm_heap_free(), in its context, unless MM_HEAP_KEEP_PAGES is set. */
struct mm_page_source {
    /* `bytes` (a multiple of the frame) of readable and writable memory, frame-aligned. Memory that
     * the heap has already is refused, reported and left alone.
     * MM_OK | MM_ERR_NO_MEMORY | ... */
    enum mm_err (*alloc)(void *context, size_t bytes, void **out);
    /* Take back exactly one earlier result. */
    void (*free)(void *context, void *pages, size_t bytes);
    void *context;
};

struct mm_heap_region;

/* Place it anywhere. Only src/heap touches the fields. */
struct mm_heap {
    struct mm_lock lock;
    struct mm_page_source source;  /* (C) alloc may be NULL: no growth */
    struct mm_heap_region *region; /* (L) all regions, by rising address */
    uint64_t secret;               /* (C) keys the checksums of block headers */
    uint32_t flags;                /* (C) */
    uint32_t state;                /* (C) ready, from init to destroy */
    size_t grow_bytes;             /* (C) least growth */
    size_t limit_bytes;            /* (C) 0 = none */
    size_t page_bytes;             /* (L) taken from the source, or about to be */
    size_t used_bytes;             /* (L) in live blocks, headers included */
    size_t live_blocks;            /* (L) */
    size_t idle_bytes;             /* (L) in regions of the source without a live block */
    uint64_t alloc_count, free_count, fail_count, misuse_count; /* (L) see mm_heap_stats */
    const void *unused[8];
};

/* Give pages back in mm_heap_trim() and mm_heap_destroy() only: for sources whose free may wait. */
#define MM_HEAP_KEEP_PAGES 1u

struct mm_heap_config {
    struct mm_page_source source; /* zero = the heap lives in `block` alone */
    void *block;                  /* lent until mm_heap_destroy(), any alignment; formatted by init;
                                   * may be NULL if there is a source */
    size_t block_bytes;           /* at least 256 if block is given */
    uint32_t flags;               /* MM_HEAP_* */
    size_t grow_bytes;            /* growth, rounded up to pages; 0 = 64 KiB. More for a block that
                                   * needs more, less when the source or the limit has no more */
    size_t limit_bytes;           /* most bytes to take from the source; 0 = no limit */
    uint64_t secret;              /* a random number if the kernel has one; else any constant */
};

/* Once: a heap is not recognised as live, and what a second init forgets is lost. To begin anew, call
 * mm_heap_destroy() first, or drop all its blocks and its memory and zero it.
 * Returns MM_OK | MM_ERR_BAD_ARG (neither source nor block; half a source; unknown flags; block too
 * small, or at the end of the address space). Takes no page from the source yet. */
MM_NODISCARD enum mm_err mm_heap_init_abi(struct mm_heap *heap, const struct mm_heap_config *config,
                                          const uint32_t *abi);

MM_NODISCARD static inline enum mm_err mm_heap_init(struct mm_heap *heap,
                                                    const struct mm_heap_config *config)
{
    return mm_heap_init_abi(heap, config, &MM_CONFIG_SYMBOL);
}

/*
 * `bytes` bytes, contents unspecified.
 * Returns  the block, owned by the caller until mm_heap_free(); NULL if there is no memory
 * Cost     this version: O(free blocks)
 */
void *mm_heap_alloc(struct mm_heap *heap, size_t bytes);

/* The same, zeroed. */
void *mm_heap_zeroed(struct mm_heap *heap, size_t bytes);

/* count x bytes, zeroed; NULL if the product overflows. */
void *mm_heap_array(struct mm_heap *heap, size_t count, size_t bytes);

/* Aligned to `align_bytes`, a power of two (else NULL, and reported); less than 16 counts as 16. */
void *mm_heap_aligned(struct mm_heap *heap, size_t align_bytes, size_t bytes);

/*
 * Make a block larger or smaller, in place where possible; the contents up to the smaller size are
 * kept, the alignment only to 16. NULL as `pointer` allocates. Size 0 shrinks to the smallest
 * block; it does not free.
 * Returns  the block, perhaps moved; NULL if there is no memory, `pointer` is no live block
 *          (reported) or its bookkeeping was overwritten (reported): the old block is untouched
 * Cost     shrinking, and growing into free memory behind, O(regions); else alloc, copy and free
 */
void *mm_heap_realloc(struct mm_heap *heap, void *pointer, size_t bytes);

/*
 * Give a block back.
 * Returns  MM_OK | MM_ERR_MISUSE (not a live block; reported, nothing changed) | MM_ERR_CORRUPT
 *          (its bookkeeping, or that next to it, was overwritten; reported, the block is leaked).
 *          Needs no check
 * Cost     O(regions); may give pages back
 */
enum mm_err mm_heap_free(struct mm_heap *heap, void *pointer);

/* The same, and checks that `bytes` is a size the block could have been asked with. */
enum mm_err mm_heap_free_sized(struct mm_heap *heap, void *pointer, size_t bytes);

/* Bytes that may be used at `pointer`: at least what was asked for. 0 for what is no live block
 * (reported) and for NULL. */
size_t mm_heap_usable(struct mm_heap *heap, const void *pointer);

/* Is `pointer` the start of a live block of this heap? Never reports. */
bool mm_heap_owns(struct mm_heap *heap, const void *pointer);

/* Give empty regions back to the source, all of them. (Frees do it by themselves, but keep one.)
 * Returns the bytes given back. */
size_t mm_heap_trim(struct mm_heap *heap);

/* Give everything back. Live blocks are reported as a leak: the first one, their number, their
 * bytes. Afterwards the heap may be initialised again.
 * Returns MM_OK | MM_ERR_BUSY (blocks were live; they are gone now) | MM_ERR_CORRUPT (bookkeeping
 * was overwritten; reported, some pages are leaked). Context: nobody else uses it. */
enum mm_err mm_heap_destroy(struct mm_heap *heap);

struct mm_heap_stats {
    size_t page_bytes;         /* taken from the source, and the lent block */
    size_t used_bytes;         /* in live blocks, bookkeeping included */
    size_t free_bytes;         /* in free blocks, bookkeeping included */
    size_t largest_free_bytes; /* the largest request that needs no growth */
    size_t live_blocks, free_blocks, regions;
    uint64_t alloc_count;  /* blocks handed out; a realloc that moves is an alloc and a free */
    uint64_t free_count;   /* blocks given back */
    uint64_t fail_count;   /* NULL for want of memory */
    uint64_t misuse_count; /* calls that had something to report */
};

/* Exact. O(blocks) in one lock hold. */
void mm_heap_get_stats(struct mm_heap *heap, struct mm_heap_stats *out);

/* Call fn for each live block. fn must not call this heap. O(blocks) in one lock hold. */
void mm_heap_walk(struct mm_heap *heap, void (*fn)(void *context, void *pointer, size_t bytes),
                  void *context);

/* Walk everything, trust no link before its bounds are checked. The sink must not call this heap.
 * Returns the number of faults. O(blocks) in one lock hold. */
size_t mm_heap_check(struct mm_heap *heap, const struct mm_check_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
