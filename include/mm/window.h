/*
 * mm/window.h - through which addresses libmm reaches physical memory.
 *
 * A window is a short sorted list of pieces: "physical [first, first + bytes) appears at virt".
 * A boot loader's identity map, a higher-half direct map, or libmm's own direct map are each one
 * or a few pieces. A frame outside every piece is an error that names it, never arithmetic. A piece
 * may cover holes: only RAM is ever touched through it.
 */
#ifndef MM_WINDOW_H
#define MM_WINDOW_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MM_WINDOW_PIECES 16u

struct mm_window_piece {
    mm_phys_t first; /* frame-aligned */
    uint64_t bytes;  /* frame-aligned, > 0 */
    mm_virt_t virt;  /* where `first` appears */
};

/* Zero-initialised is an empty window. Sorted by `first`, disjoint. */
struct mm_window {
    struct mm_window_piece piece[MM_WINDOW_PIECES];
    uint32_t count;
    uint32_t largest; /* piece */
};

/*
 * Add a piece. Touching pieces whose virtual addresses continue each other are merged.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (unaligned, empty, or wraps) | MM_ERR_EXISTS (overlaps a piece)
 *          | MM_ERR_NO_ROOM (MM_WINDOW_PIECES in use)
 * Context  the caller serialises; never while libmm uses this window; O(pieces)
 */
MM_NODISCARD enum mm_err mm_window_add(struct mm_window *window, mm_phys_t first, uint64_t bytes,
                                       mm_virt_t virt);

/*
 * Where [phys, phys + bytes) appears, if one piece holds all of it.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (bytes 0, or the range wraps) | MM_ERR_WINDOW
 * Context  any; no lock; O(pieces)
 */
MM_NODISCARD enum mm_err mm_window_find(const struct mm_window *window, mm_phys_t phys,
                                        uint64_t bytes, void **out);

/* The same for one frame, inline: nearly all lie in the largest piece. `window` is one. */
MM_NODISCARD static inline enum mm_err mm_window_frame(const struct mm_window *window,
                                                       mm_phys_t frame, void **out)
{
    const struct mm_window_piece *piece = &window->piece[window->largest];
    uint64_t offset = frame.raw - piece->first.raw;

    if (offset >= piece->bytes)
        return mm_window_find(window, frame, MM_FRAME_BYTES, out);
    *out = mm_virt_pointer(mm_virt_add(piece->virt, offset));
    return MM_OK;
}

/*
 * The way back: the physical address of what `pointer` shows, if it lies in a piece.
 *
 * Returns  MM_OK | MM_ERR_WINDOW
 * Context  any; no lock; O(pieces)
 */
MM_NODISCARD enum mm_err mm_window_phys(const struct mm_window *window, const void *pointer,
                                        mm_phys_t *out);

#ifdef __cplusplus
}
#endif

#endif
