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
 * Flushing waits for other CPUs. In an interrupt handler, or with a lock held that others take with
 * interrupts off, that must not be: there, take a gather that lasts, and say mm_gather_defer() after
 * mm_gather_begin(). Its end then only queues it, and mm_reap() ends it, in a thread.
 *
 * From begin to end a gather keeps its space from being destroyed; a deferred one until mm_reap() has
 * ended it. Until then mm_space_destroy() and mm_space_destroy_later() answer MM_ERR_BUSY. So a handler
 * that drops mappings and then wants to close the space leaves the closing to the thread, after
 * mm_reap().
 *
 * A gather that is full flushes and frees on the spot and goes on, so unmap, protect and
 * mm_gather_frames() with a gather may wait too. unmap without a gather has one on its stack.
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

/* Something to be done by mm_reap(). */
struct mm_later {
    struct mm_later *next;
    void (*run)(struct mm_later *later); /* may free it */
};

#define MM_GATHER_TABLES 64u
#define MM_GATHER_RUNS   32u
#define MM_GATHER_PAGES  32u
#define MM_GATHER_OWNED  64u

struct mm_gather {
    struct mm_later later; /* for mm_gather_defer() */
    struct mm_space *space;
    struct mm_vmm *vmm;
    void (*release)(void *context, mm_phys_t first, uint64_t count_frames);
    void *release_context;
    struct mm_cursor *cursor; /* that puts in here now; or NULL */
    uint32_t table_count, run_count, page_count, owned_count;
    uint32_t flags;                    /* (A) everything is to be flushed; the space is held; ... */
    uint32_t joins;                    /* of the space, that wait for this flush */
    uint64_t generation;               /* of the space, with this flush; 0: nobody else counts it */
    mm_phys_t table[MM_GATHER_TABLES]; /* the level of each in its low bits */
    struct mm_phys_range run[MM_GATHER_RUNS];
    struct mm_virt_range page[MM_GATHER_PAGES];
    mm_phys_t owned[MM_GATHER_OWNED]; /* frames that the space owned */
};

/* What is in `gather` does not matter, so one that was begun before must have ended, and a deferred one
 * must be done: beginning it again loses what it holds, and a queue that it is in. No lock; any context but
 * NMI. */
void mm_gather_begin(struct mm_gather *gather, struct mm_space *space);

/* Free the PMM allocation {first, count_frames} after the flush. Misuse is reported then. */
void mm_gather_frames(struct mm_gather *gather, mm_phys_t first, uint64_t count_frames);

/* Call `release` instead of mm_pmm_free() for the frames of this gather (reference counts, another
 * allocator). Before the first mm_gather_frames(). Needed where the VMM has no PMM. */
void mm_gather_set_release(struct mm_gather *gather,
                           void (*release)(void *context, mm_phys_t first, uint64_t count_frames),
                           void *context);

void mm_gather_end(struct mm_gather *gather);

/*
 * From now on nothing waits for this gather: its end queues it for mm_reap(), and it is yours again when
 * mm_gather_is_done(). Until then frames and tables in it are not free, and the addresses not clean.
 *
 * What would have to flush is refused instead. Where a large page would have to be split, or protect
 * finds one while a promotion or a split is not flushed, the answer is MM_ERR_BUSY, and nothing has
 * changed. Where room is missing, it is MM_ERR_NO_ROOM. Room is counted
 * over all that the gather holds, from all calls together:
 *
 * - With 50 tables in it (MM_GATHER_TABLES - 14), or 33 frames that the space owned (MM_GATHER_OWNED / 2
 *   + 1), nothing more begins: unmap, protect and promote are refused and have changed nothing. So are
 *   cursors, where they come to another table.
 * - With less in it a call begins. It comes to its end if, with what is in the gather, the tables that
 *   it goes through are at most 59 (MM_GATHER_TABLES - 5), and the owned pages that it unmaps at most
 *   MM_GATHER_OWNED. So there is always room for 10 tables and 32 owned pages. What is unmapped whole,
 *   2 MiB or 1 GiB at a time, is one table, and its owned pages do not count. A longer call may end
 *   half-way: what comes before fail->virt is done.
 * - mm_gather_frames() has MM_GATHER_RUNS calls. What is more of those is reported, and lost.
 *
 * After MM_ERR_NO_ROOM end this gather, and go on from fail->virt with another one, deferred as well; or
 * leave the rest to the thread that calls mm_reap().
 * Context  right after mm_gather_begin()
 */
void mm_gather_defer(struct mm_gather *gather);

/* Has it been ended, by whom ever? One that is all zero was never begun, and is done. Two CPUs that ask
 * may both hear yes: who takes it first is your lock's to say. Any context. */
bool mm_gather_is_done(const struct mm_gather *gather);

/*
 * Queue work of yours for mm_reap(): mm_vfree() or mm_kunmap() of something that an interrupt handler
 * drops. `later` lies in what is dropped, or anywhere else where it lasts; run is set by the caller.
 * What `run` itself adds in this way waits for the next mm_reap().
 * Any context, NMI included; no lock; O(1). Misuse is not seen: never twice before it has run.
 */
void mm_later_add(struct mm_vmm *vmm, struct mm_later *later);

/*
 * Do what was put off: end deferred gathers, finish spaces, run what mm_later_add() was given, in the
 * order in which they came. Returns how many. Several CPUs may be in here at once.
 * Context  thread, interrupts on, as all that may wait
 */
size_t mm_reap(struct mm_vmm *vmm);

#ifdef __cplusplus
}
#endif

#endif
