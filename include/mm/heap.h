/*
 * mm/heap.h - memory of any size.
 *
 * A heap takes pages from a page source, or lives in one block of bytes that the caller lends, and
 * hands out pieces of any size. It knows neither frames nor page tables.
 *
 *  - Blocks are aligned to 16 bytes; mm_heap_aligned() gives more.
 *  - Size 0 is a request for the smallest block: a valid pointer, different from all others.
 *  - Sizes are checked for overflow; what cannot exist is NULL, never a small block.
 *  - Freeing NULL does nothing. Anything else that is not a live block of this heap is refused and
 *    reported, without being written to: foreign pointers, pointers into a block, double frees.
 *
 * Context of all calls: thread or interrupt (an interrupt may arrive in the middle of any call and
 * make calls of its own), not NMI; one lock with interrupts off, which is not held while pages are
 * taken or given back.
 */
#ifndef MM_HEAP_H
#define MM_HEAP_H

#include "report.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MM_HEAP_ALIGN 16u

/* Where pages come from. A heap asks from any context in which it is itself called. */
struct mm_page_source {
    /* Neither call may use the heap that it serves. free is also called by mm_heap_free(), in its
     * context, unless MM_HEAP_KEEP_PAGES is set. */
    /* `bytes` (a multiple of the frame) of readable and writable memory, frame-aligned.
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
    struct mm_heap_region *region; /* (L) all regions */
    uint64_t secret;               /* (C) keys the checksums of block headers */
    uint32_t flags;                /* (C) */
    uint32_t state;                /* (L) */
    size_t grow_bytes;             /* (C) least growth */
    size_t limit_bytes;            /* (C) 0 = none */
    size_t page_bytes;             /* (L) taken from the source */
    size_t used_bytes;             /* (L) in live blocks, headers included */
    size_t live_blocks;            /* (L) */
    size_t idle_bytes;             /* (L) in regions without a live block */
    uint64_t alloc_count, free_count, fail_count, misuse_count; /* (L) */
    const void *unused[8];
};

#define MM_HEAP_KEEP_PAGES \
    1u /* give pages back in mm_heap_trim() and mm_heap_destroy() only: for
                               * sources whose free may wait */

struct mm_heap_config {
    struct mm_page_source source; /* zero = the heap lives in `block` alone */
    void *block;                  /* lent until mm_heap_destroy(), any alignment; formatted by init;
                                   * may be NULL if there is a source */
    size_t block_bytes;           /* at least 256 if block is given */
    uint32_t flags;               /* MM_HEAP_* */
    size_t grow_bytes;            /* least growth, rounded up to pages; 0 = 64 KiB */
    size_t limit_bytes;           /* most bytes to take from the source; 0 = no limit */
    uint64_t secret;              /* a random number if the kernel has one; else any constant */
};

/* Returns MM_OK | MM_ERR_BAD_ARG (neither source nor block; block too small). Takes no page from the
 * source yet. */
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

/* Aligned to `align_bytes`, a power of two (else NULL, and reported), at least 16. */
void *mm_heap_aligned(struct mm_heap *heap, size_t align_bytes, size_t bytes);

/*
 * Make a block larger or smaller, in place where possible; the contents up to the smaller size are
 * kept, the alignment only to 16. NULL as `pointer` allocates. Size 0 shrinks to the smallest
 * block; it does not free.
 * Returns  the block, perhaps moved; NULL if there is no memory (the old block is untouched) or
 *          `pointer` is no live block (reported)
 */
void *mm_heap_realloc(struct mm_heap *heap, void *pointer, size_t bytes);

/*
 * Give a block back.
 * Returns  MM_OK | MM_ERR_MISUSE (not a live block; reported, nothing changed) | MM_ERR_CORRUPT (its
 *          bookkeeping was overwritten; reported, the block is leaked). Needs no check
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

/* Give everything back. Live blocks are reported as a leak with their number.
 * Returns MM_OK | MM_ERR_BUSY (blocks were live; they are gone now). Context: nobody else uses it. */
enum mm_err mm_heap_destroy(struct mm_heap *heap);

struct mm_heap_stats {
    size_t page_bytes; /* taken from the source, and the lent block */
    size_t used_bytes; /* in live blocks, bookkeeping included */
    size_t free_bytes; /* in free blocks */
    size_t largest_free_bytes;
    size_t live_blocks, free_blocks, regions;
    uint64_t alloc_count, free_count, fail_count, misuse_count;
};

/* Exact. O(blocks) in one lock hold. */
void mm_heap_get_stats(struct mm_heap *heap, struct mm_heap_stats *out);

/* Call fn for each live block. fn must not call this heap. O(blocks) in one lock hold. */
void mm_heap_walk(struct mm_heap *heap, void (*fn)(void *context, void *pointer, size_t bytes),
                  void *context);

/* Walk everything, trust no link before its bounds are checked. Returns the number of faults. */
size_t mm_heap_check(struct mm_heap *heap, const struct mm_check_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
