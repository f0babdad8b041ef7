/*
 * pmm_world.h - the PMM that scenarios start with, and the hands that hold its frames.
 *
 * One chunk of 512 frames at 32 MiB, most of them allocated before, so that a few steps reach every
 * border: an empty magazine, a full one, an empty pool.
 */
#ifndef PMM_WORLD_H
#define PMM_WORLD_H

#include "mm/pmm.h"

#include "explore.h"

#define WORLD_BASE   mm_phys(UINT64_C(32) << 20)
#define WORLD_FRAMES 512u

struct world {
    unsigned cpus;
    enum mm_pin pin;
    unsigned free_frames;     /* of WORLD_FRAMES; all in the pool */
    unsigned magazine_frames; /* what one magazine holds; 0 = as init has it */
    bool window;              /* frames have memory: they can be zeroed */
    bool boot_memory;         /* a second chunk behind the first, not managed yet */
    uint64_t hotplug_bytes;
};
void world_make(const struct world *world);

extern struct mm_pmm world_pmm;

/* Threads and handlers, and their hands. */
enum who {
    A,
    B,
    C,
    D,
    A_IRQ,
    B_IRQ,
    A_NMI,
    HANDS
};
#define HAND_MAX 12u
struct hand {
    mm_phys_t frame[HAND_MAX];
    unsigned count;
};
extern struct hand hand[HANDS];

/* One frame; false: there was none. */
bool take(enum who who);
bool take_hard(enum who who);

/* Give back the frame taken last, if there is one. */
void give(enum who who);

/* For NMI. Not having been served is no fault. */
void take_no_wait(enum who who);
void give_no_wait(enum who who);

/* After an execution: every frame is in one place, the counts are right, and what is in stock comes
 * home. */
void world_check(void);

/* The same without the first look: what is in stock comes home, and then everything is right. */
void world_comes_home(void);

/* In set_up, with a window: what is in the last `count` frames is shared, too. */
void world_share_frames(unsigned count);

/* In set_up: one more frame was allocated, and nobody will give it back. */
void world_forget(void);

/* Frames in hands. */
unsigned hands_full(void);

#endif
