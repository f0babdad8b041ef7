/*
 * kernel_area_internal.h - what spans of the kernel area say about themselves.
 *
 * Problem     Devices, DMA memory, scattered memory and stacks live side by side; each must be
 *             given back as what it is, and nothing else.
 * Idea        The cookie of a span: its kind, and a physical address that is all its owner needs to
 *             undo it.
 * Invariants  No kind is 0, and spans that others take from the same arena have another cookie, or
 *             are not mapped as ours are: unmapping finds that out before anything is changed.
 * Locking     None.
 * Cost        O(log spans) to find one.
 * Rejected    A table of what was handed out: the arena has it already.
 */
#ifndef MM_VMM_KERNEL_AREA_INTERNAL_H
#define MM_VMM_KERNEL_AREA_INTERNAL_H

#include "base/bits.h"
#include "mm/kernel_area.h"

enum mm_area_kind {
    MM_AREA_DEVICE = 1,  /* the byte that was asked for */
    MM_AREA_DMA = 2,     /* the first frame */
    MM_AREA_VMALLOC = 3, /* the first frame of the list of its frames */
    MM_AREA_STACKS = 4   /* 0 */
};

#define MM_AREA_SHIFT 3u /* addresses have at most 52 bits */

static inline uint64_t mm_area_cookie(enum mm_area_kind kind, mm_phys_t phys)
{
    return phys.raw << MM_AREA_SHIFT | kind;
}

static inline mm_phys_t mm_area_phys(const struct mm_arena_info *span)
{
    return mm_phys(span->cookie >> MM_AREA_SHIFT);
}

/* The space is looked at before any call on it can. */
static inline bool mm_area_ok(const struct mm_kernel_area *area)
{
    return area != NULL && area->arena != NULL && area->space != NULL && area->space->vmm != NULL;
}

/* The span of that kind that starts in the page of `virt`; false if there is none. */
static inline bool mm_area_find(const struct mm_kernel_area *area, enum mm_area_kind kind,
                                mm_virt_t virt, struct mm_arena_info *out)
{
    return mm_arena_find(area->arena, virt, out) == MM_OK && out->state == MM_ARENA_TAKEN &&
           !out->guard && out->start.raw == mm_align_down(virt.raw, MM_FRAME_BYTES) &&
           out->cookie % (1u << MM_AREA_SHIFT) == kind;
}

#endif
