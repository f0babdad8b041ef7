/*
 * mm_frame.h (user) - from a frame to a pointer, and back.
 *
 * Problem     "Physical" memory of a process is a mapping of its own; it must be reached like any.
 * Idea        The window says where a frame appears. There is always room, so nothing is mapped on
 *             demand.
 * Invariants  Each successful map is followed by exactly one unmap.
 * Locking     None: the window does not change while it is used.
 * Cost        O(pieces of the window).
 * Rejected    A constant offset: a frame outside the mapping would be arithmetic, not an error.
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
