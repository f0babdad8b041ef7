/*
 * mmu.h - frames that tables are in, and CPUs that walk them behind the program's back.
 *
 * A scenario names the few indices that its addresses have (`hot`). Entries at other indices are the
 * same in every order, and accesses to them are no steps; so tables of 512 entries cost no more than
 * tables of two.
 */
#ifndef MMU_H
#define MMU_H

#include "mm/pmm.h"
#include "mm/window.h"

#include "explore.h"

#define MMU_FRAMES   16u
#define MMU_HOT      6u
#define MMU_BASE     (UINT64_C(32) << 20) /* the first table frame */
#define MMU_DATA     (UINT64_C(4) << 30)  /* frames from here on are data, and have no memory */
#define MMU_NO_FRAME UINT64_MAX

struct mmu_config {
    unsigned cpus;
    uint16_t hot[MMU_HOT]; /* repeated if there are fewer */
    bool marks;            /* walks set accessed and dirty; else only a write sets dirty */
    bool steps;            /* taking a frame and giving it back are steps */
    bool asids;            /* CPUs have address-space ids */
};

/* In set_up: all frames free, no CPU remembers anything. */
void mmu_make(const struct mmu_config *config);
const struct mm_window *mmu_window(void);
struct mm_frame_source mmu_frame_source(void);

/* Frames that are in use as tables. */
unsigned mmu_tables(void);

/* What the tables say now, read at once: for checks. */
struct mmu_entry {
    uint64_t bits; /* of the leaf */
    uint64_t phys; /* of the byte */
    uint64_t bytes;
    bool writable; /* by all levels */
};
bool mmu_lookup(uint64_t root, uint64_t virt, struct mmu_entry *out);
const uint64_t *mmu_table(uint64_t frame);
uint16_t mmu_tag(uint64_t frame);

/* The hardware of this CPU accesses `virt`: it finds a translation that it remembers, or walks from
 * the deepest table that it remembers, and remembers what it finds. Returns false if it faults. */
bool mmu_access(uint64_t virt, bool write);

/* The same, but it walks although it remembers the translation, as a prefetcher may. */
bool mmu_prefetch(uint64_t virt);

/* From now on no CPU may have a translation to the data frame `phys`, or one that can write it, nor
 * get one again. A call has returned that says so. */
void mmu_is_gone(uint64_t phys);
void mmu_is_read_only(uint64_t phys);

/* After an execution: what the CPUs remember is what the tables say, and no dirty mark was lost. */
void mmu_check(void);

#endif
