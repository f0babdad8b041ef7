/*
 * start_internal.h - what the steps of mm_start() share.
 *
 * Problem     Ten steps, each with its own way to fail, must say where, what and at which address,
 *             and undo what they did; in one function they would hide each other.
 * Idea        One struct on the stack carries the run: what was asked for, what to go back to, and
 *             the failure as far as it is known. Each step is a function over it.
 * Invariants  I1 everything that is needed after the new root is loaded is in *mm or in this struct,
 *                never behind a pointer of the caller's
 *             I2 `loaded` is true exactly while a root other than the caller's is loaded
 * Locking     None: boot CPU, interrupts off.
 * Cost        About 1 KiB of stack.
 * Rejected    A table of step functions: pointers in data need relocating.
 */
#ifndef MM_START_INTERNAL_H
#define MM_START_INTERNAL_H

#include "mm/mm.h"

/* mm->state; zero is "not started". */
#define MM_STATE_STARTED 1u

struct start {
    struct mm *mm;
    const struct mm_start_info *info; /* not followed once the new root is loaded */
    struct mm_start_failure why;
    struct mm_layout layout;
    struct mm_window caller; /* the caller's window, while another one is in use */
    struct mm_window direct; /* the direct map as a window, once it is built */
    mm_phys_t old_root;
    bool loaded;  /* a root of ours is loaded */
    bool adopted; /* the caller's root got tables of ours for the kernel area */
    enum mm_root_mode root;
    enum mm_pin pin;
    uint32_t cpu_count;
    uint32_t pmm_flags;
    uint32_t vmm_flags;
    uint32_t distance_nodes;
    const uint8_t *distance; /* verified to be there under the new root */
    uint64_t reserve_frames;
    uint64_t hotplug_bytes;
    uint64_t heap_limit_bytes;
    uint64_t secret;
};

/* Note what is wrong and return `err`; MM_OK notes nothing. */
static inline enum mm_err start_note(struct start *s, enum mm_err err, const char *what,
                                     uint64_t address)
{
    if (err != MM_OK) {
        s->why.err = err;
        s->why.what = what;
        s->why.address = address;
    }
    return err;
}

/* The image segments and then the keep list, as one list of mappings. */
static inline uint64_t start_mapping_count(const struct mm_start_info *info)
{
    return (uint64_t)info->segment_count + info->keep_count;
}

struct mm_keep mm_start_mapping(const struct mm_start_info *info, uint64_t index);

/* The steps, in order. */
enum mm_err mm_start_arguments(struct start *s); /* arguments.c */
enum mm_err mm_start_boot_info(struct start *s); /* boot.c */
enum mm_err mm_start_map(struct start *s);
enum mm_err mm_start_root(struct start *s); /* root.c */
enum mm_err mm_start_verify(struct start *s);
enum mm_err mm_start_load(struct start *s);
/* Why the page tables that are loaded could not be followed (root.c). */
enum mm_err mm_start_note_live(struct start *s, enum mm_err err, const struct mm_space_fail *fail);
void mm_start_unload(struct start *s); /* the way back; harmless before the load */

/* Table frames and arena frames from the PMM, inside the window (pages.c). `pages` outlives it. */
struct mm_frame_source mm_start_frame_source(struct mm_direct_pages *pages);

#endif
