/*
 * mm_frame.h (fake) - from a frame to a pointer into the simulated memory, and back.
 *
 * Problem     A frame that is mapped and never unmapped, or the other way round, goes unnoticed on
 *             a machine where unmapping does nothing.
 * Idea        The same window as everywhere, and each map and unmap is counted; a test can make
 *             the n-th map fail.
 * Invariants  Never more unmaps than maps.
 * Locking     None: the counters are atomic.
 * Cost        O(pieces of the window).
 * Rejected    Slots that move at each map: pointers into the simulated memory stay readable for
 *             tests.
 */
#ifndef MM_FRAME_H
#define MM_FRAME_H

#include "mm/types.h"
#include "mm/window.h"
#include "fake_port.h"

/* A pointer stays good when the frame was unmapped: it is used again for the table used last. */
#define MM_FRAME_STAYS true

MM_NODISCARD static inline enum mm_err mm_frame_map(const struct mm_window *window, mm_phys_t frame,
                                                    void **out)
{
    enum mm_err err;

    if (fake_port_frame_map_fails())
        return MM_ERR_WINDOW;
    err = mm_window_find(window, frame, MM_FRAME_BYTES, out);
    if (err == MM_OK)
        fake_port_frame_mapped();
    return err;
}

static inline void mm_frame_unmap(const struct mm_window *window, void *pointer)
{
    (void)window;
    fake_port_frame_unmapped(pointer);
}

#endif
