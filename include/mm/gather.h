/*
 * mm/gather.h - flush first, then free.
 *
 * A gather: what was removed and waits for its flush. It is the only thing in libmm that frees
 * tables, and the way for you to free frames that were mapped:
 *
 *     struct mm_gather gather;                       about 2.1 KiB: on a roomy stack, or static
 *     mm_gather_begin(&gather, space);
 *     err = mm_space_unmap(space, virt, bytes, 0, &gather, NULL);
 *     if (err == MM_OK)
 *         mm_gather_frames(&gather, first, count);   back to the PMM, after the flush
 *     mm_gather_end(&gather);                        flush everywhere, then free. May wait
 *
 * From begin to end a gather keeps its space from being destroyed. A gather that is full flushes and
 * frees on the spot and goes on, so unmap, protect and mm_gather_frames() with a gather may wait too.
 * unmap without a gather has one on its stack.
 */
#ifndef MM_GATHER_H
#define MM_GATHER_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mm_cursor;
struct mm_space;
struct mm_vmm;

#define MM_GATHER_TABLES 64u
#define MM_GATHER_RUNS   32u
#define MM_GATHER_PAGES  32u
#define MM_GATHER_OWNED  64u

struct mm_gather {
    struct mm_space *space;
    struct mm_vmm *vmm;
    void (*release)(void *context, mm_phys_t first, uint64_t count_frames);
    void *release_context;
    struct mm_cursor *cursor; /* that puts in here now; or NULL */
    uint32_t table_count, run_count, page_count, owned_count;
    uint32_t flags;                    /* everything is to be flushed; the space is held */
    mm_phys_t table[MM_GATHER_TABLES]; /* the level of each in its low bits */
    struct mm_phys_range run[MM_GATHER_RUNS];
    struct mm_virt_range page[MM_GATHER_PAGES];
    mm_phys_t owned[MM_GATHER_OWNED]; /* frames that the space owned */
};

void mm_gather_begin(struct mm_gather *gather, struct mm_space *space);

/* Free the PMM allocation {first, count_frames} after the flush. Misuse is reported then. */
void mm_gather_frames(struct mm_gather *gather, mm_phys_t first, uint64_t count_frames);

/* Call `release` instead of mm_pmm_free() for the frames of this gather (reference counts, another
 * allocator). Before the first mm_gather_frames(). Needed where the VMM has no PMM. */
void mm_gather_set_release(struct mm_gather *gather,
                           void (*release)(void *context, mm_phys_t first, uint64_t count_frames),
                           void *context);

void mm_gather_end(struct mm_gather *gather);

#ifdef __cplusplus
}
#endif

#endif
