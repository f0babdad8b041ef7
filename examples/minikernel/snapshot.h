/*
 * snapshot.h - the state of every frame, to be compared address by address.
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>

#include <mm/pmm.h>

#define SNAPSHOT_RUNS 2048u

struct snapshot {
    size_t count;
    struct {
        struct mm_phys_range range;
        enum mm_frame_state state;
    } run[SNAPSHOT_RUNS];
};

/* Notes the default instance's frames, after the heap has given back what it keeps for later.
 * Panics if there are more runs than fit. */
void snapshot_take(struct snapshot *out);

/* Is each frame in the same state? Prints the first one that is not. */
bool snapshot_same(const struct snapshot *before, const struct snapshot *after);

/* For use within one function: take(&snapshot_before), work, compare. */
extern struct snapshot snapshot_before;

/* Takes a second snapshot and compares it with snapshot_before. */
bool snapshot_unchanged(void);

#endif
