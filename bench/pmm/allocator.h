/*
 * allocator.h - what is measured: a frame allocator, and the timed loops over its calls.
 *
 * An allocator is its loops: each is compiled in the same file as, or against the header of, the
 * calls that it makes, from the one text in loops.h. So every allocator is called directly, never
 * through a pointer, and never inlined: a call into another object, as into libmm.a.
 */
#ifndef BENCH_PMM_ALLOCATOR_H
#define BENCH_PMM_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../common/memory.h"
#include "mm/types.h"

/* The memory that is managed: one range of frames, none of them touched but by zeroing. */
struct ram {
    uint32_t first; /* frame number */
    uint32_t count;
    void *bytes; /* where it appears, see memory_reserve() */
};

/* One record of a trace: allocate into a slot, or free what is there. */
struct trace_step {
    uint32_t slot;
    uint8_t is_free;
    uint8_t order;
};

struct allocator {
    const char *name;

    /* Bytes that an instance needs, and how many of them are metadata that a kernel must find. */
    size_t (*bytes)(const struct ram *ram, unsigned cpus);
    size_t (*metadata_bytes)(const struct ram *ram, unsigned cpus);

    /* All but start-up itself; the result is the allocator's `self`, in `memory`. */
    void *(*prepare)(const struct memory *memory, const struct ram *ram, unsigned cpus);

    /* Start-up, once after prepare(): all frames are free then. */
    void (*build)(void *self);

    /* Frames that it uses itself, and so will not hand out; NULL = none. */
    uint64_t (*kept_frames)(void *self);

    /* For the bit scan, which would need hours: mark the first `count` frames as allocated. */
    void (*assume)(void *self, uint32_t *frame, size_t count);

    /* ---- timed loops; NULL = the allocator has no such call ---- */

    /* Single frames, by their numbers. Returns how many there were. */
    size_t (*take)(void *self, uint32_t *frame, size_t count);
    void (*give)(void *self, const uint32_t *frame, size_t count);

    /* For each `index`: free live[index], and allocate another into its place. */
    void (*churn)(void *self, uint32_t *live, const uint32_t *index, size_t count);

    /* The same, `burst` frees and then `burst` allocations; no index twice in one burst. */
    void (*bursts)(void *self, uint32_t *live, const uint32_t *index, size_t count, size_t burst);

    /* Batches of `batch` frames in one call each; `count` is a multiple. */
    size_t (*take_bulk)(void *self, mm_phys_t *frame, size_t count, size_t batch);
    void (*give_bulk)(void *self, const mm_phys_t *frame, size_t count, size_t batch);

    /* Blocks of 2^order frames, by their first. take returns how many there were. */
    size_t (*take_blocks)(void *self, unsigned order, uint32_t *first, size_t count);
    void (*give_blocks)(void *self, unsigned order, const uint32_t *first, size_t count);

    /* A trace; `slot` holds what is allocated. Returns the number of steps done. */
    size_t (*replay)(void *self, const struct trace_step *step, size_t count, mm_phys_t *slot);
};

/* The textbook's allocators, each behind one spinlock. */
extern const struct allocator baseline_stack, baseline_bitmap, baseline_scan, baseline_buddy;

/* Gives the frame that was freed last: what a loop and two calls cost. */
extern const struct allocator baseline_nothing;

/* An instance of an allocator. */
struct instance {
    const struct allocator *allocator;
    void *self;
    struct memory memory;
};

/* Over `ram`, built. */
struct instance instance_open(const struct allocator *allocator, const struct ram *ram,
                              unsigned cpus);
void instance_close(struct instance *instance);

/* RAM of `count` frames from 4 GiB on: one zone and node, so that all allocators have the same. */
struct ram ram_open(uint64_t count);
void ram_close(struct ram *ram);

/* Random calls against a model: no frame twice, no foreign one, each that there is. Ends the program
 * if the allocator is wrong. */
void allocator_verify(const struct allocator *allocator, unsigned calls);

#endif
