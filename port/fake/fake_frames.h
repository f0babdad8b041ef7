/*
 * fake_frames.h - a hostile source of frames: for page tables, or for whoever takes frames one by one.
 *
 *     struct fake_frames frames;
 *     fake_frames_init(&frames, mm_phys(0x100000), 512);     RAM that is there already
 *     config.tables = fake_frame_source(&frames);
 *
 * Frames come out full of poison, the one freed last first. The machine fails when a frame comes back
 * that is not from here, is free already or has a tag that is not 0, or that a CPU may still reach
 * (fake_frame_freed()), and when a free frame was written to.
 */
#ifndef FAKE_FRAMES_H
#define FAKE_FRAMES_H

#include "fake.h"
#include "mm/pmm.h"

struct fake_frames {
    mm_phys_t start;
    uint32_t count;
    uint32_t used;   /* frames out now */
    uint64_t allocs; /* that succeeded */
    uint64_t frees;
    int64_t fail_after; /* so many more allocations succeed, the next fails once; -1 = never */
    bool empty;         /* every allocation fails */
    bool untagged;      /* frames have no tags: set before the first one is taken */
    uint32_t last;      /* the free frame to hand out first: number + 1; 0 = none */
};

/* `count` frames of simulated RAM from `start` on, all free; until fake_reset(). */
void fake_frames_init(struct fake_frames *frames, mm_phys_t start, uint32_t count);

/* `frames` outlives the source. */
struct mm_frame_source fake_frame_source(struct fake_frames *frames);

/* Is this frame one that was taken and not given back? */
bool fake_frame_out(const struct fake_frames *frames, mm_phys_t frame);

#endif
