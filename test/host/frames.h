/*
 * frames.h - a frame source for tests that trusts nobody.
 *
 * Frames come out poisoned (fake_ram_poison()), the last one freed first. It fails the test when
 * a frame comes back that is not its own, is free already, or that a CPU may still reach through
 * a root, a cached table or a translation: "freed before flushed", or with a tag that is not 0.
 */
#ifndef MM_TEST_FRAMES_H
#define MM_TEST_FRAMES_H

#include "mm/pmm.h"
#include "mm/types.h"

#define MM_TEST_FRAMES_MAX 4096u

struct mm_test_frames {
    mm_phys_t start;
    uint32_t count;
    uint32_t used;   /* frames out now */
    uint64_t allocs; /* that succeeded */
    uint64_t frees;
    int64_t fail_after;  /* so many more allocations succeed, the next fails once; -1 = never */
    bool empty;          /* every allocation fails */
    bool untagged;       /* frames have no tags: set before the first one is taken */
    uint32_t free_count; /* of free_frame */
    uint16_t free_frame[MM_TEST_FRAMES_MAX];
    bool out[MM_TEST_FRAMES_MAX];
    uint16_t tag[MM_TEST_FRAMES_MAX];
};

/* Frames of simulated RAM that is there already; at most MM_TEST_FRAMES_MAX. */
void mm_test_frames_init(struct mm_test_frames *frames, mm_phys_t start, uint32_t count);

/* `frames` outlives the source. */
struct mm_frame_source mm_test_frame_source(struct mm_test_frames *frames);

/* Is this frame one that was taken and not given back? */
bool mm_test_frame_out(const struct mm_test_frames *frames, mm_phys_t frame);

#endif
