/*
 * mm_frame.h (x86_64) - from a frame to a pointer, and back.
 *
 * Problem     Page tables and frames to be zeroed must be reached through some virtual address;
 *             arithmetic on a constant offset is wrong for memory that is not mapped.
 * Idea        The only way is mm_frame_map(): the window says where the frame appears, or that it
 *             does not. With 64 address bits there is always room, so nothing is mapped on demand;
 *             a port without room gives a slot that mm_frame_unmap() returns.
 * Invariants  Each successful map is followed by exactly one unmap.
 * Locking     None: the window does not change while it is used.
 * Cost        O(pieces of the window).
 * Rejected    A recursive ("self-mapping") root entry: it needs flushes of its own and exposes
 *             tables.
 */
#ifndef MM_FRAME_H
#define MM_FRAME_H

#include "mm/types.h"
#include "mm/window.h"

/* A pointer stays good when the frame was unmapped: it is used again for the table used last. */
#define MM_FRAME_STAYS true

MM_NODISCARD static inline enum mm_err mm_frame_map(const struct mm_window *window, mm_phys_t frame,
                                                    void **out)
{
    return mm_window_frame(window, frame, out);
}

static inline void mm_frame_unmap(const struct mm_window *window, void *pointer)
{
    (void)window;
    (void)pointer;
}

#endif
