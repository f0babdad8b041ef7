/*
 * mm_frame.h (explorer) - from a frame to a pointer, through the window alone.
 *
 * Problem     Code that zeroes frames or keeps tables in them needs their memory.
 * Idea        The window of the scenario names a block of its own; nothing is counted or made to
 *             fail, port/fake does that.
 * Invariants  None.
 * Locking     None.
 * Cost        O(pieces of the window).
 * Rejected    Slots: nothing that is explored depends on them.
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
    return mm_window_find(window, frame, MM_FRAME_BYTES, out);
}

static inline void mm_frame_unmap(const struct mm_window *window, void *pointer)
{
    (void)window;
    (void)pointer;
}

#endif
