/*
 * window.c - the list of pieces through which physical memory is reached.
 *
 * Problem     phys + offset is right for the memory that the boot code mapped and wild for the
 *             rest; kernels find out when they get more RAM.
 * Idea        A sorted list of pieces; a lookup finds the piece that holds the whole range, or
 *             says that there is none.
 * Invariants  I1 pieces are frame-aligned, not empty, sorted by `first`, disjoint
 *             I2 no piece wraps, physically or virtually
 *             I3 `largest` is one of the pieces, or 0, where an unused one has no bytes
 * Locking     The caller serialises changes; lookups need none while there are no changes.
 * Cost        O(pieces), at most 16.
 * Rejected    A base and an offset: a second piece (memory above a hole) breaks it.
 */
#include "mm/window.h"

#include "base/bits.h"
#include "base/checked.h"

static bool piece_ok(mm_phys_t first, uint64_t bytes, mm_virt_t virt)
{
    return mm_is_aligned(first.raw | bytes | virt.raw, MM_FRAME_BYTES) &&
           mm_range_ok(first.raw, bytes) && mm_range_ok(virt.raw, bytes);
}

/* A piece at virtual 0 continues none: the one that ends at 2^64 would wrap with it (I2). */
static bool continues(const struct mm_window_piece *a, const struct mm_window_piece *b)
{
    return a->first.raw + a->bytes == b->first.raw && a->virt.raw + a->bytes == b->virt.raw &&
           b->virt.raw != 0;
}

static void piece_insert(struct mm_window *window, uint32_t at, struct mm_window_piece piece)
{
    for (uint32_t i = window->count; i > at; i--)
        window->piece[i] = window->piece[i - 1];
    window->piece[at] = piece;
    window->count++;
}

static void piece_remove(struct mm_window *window, uint32_t at)
{
    window->count--;
    for (uint32_t i = at; i < window->count; i++)
        window->piece[i] = window->piece[i + 1];
    window->piece[window->count] = (struct mm_window_piece){{0}, 0, {0}};
}

/* Join the new piece with the neighbour before or after it: no room is needed then. */
static bool piece_join(struct mm_window *window, uint32_t at, const struct mm_window_piece *piece)
{
    struct mm_window_piece *before = at > 0 ? &window->piece[at - 1] : NULL;
    struct mm_window_piece *after = at < window->count ? &window->piece[at] : NULL;

    if (before != NULL && continues(before, piece)) {
        before->bytes += piece->bytes;
        if (after != NULL && continues(before, after)) {
            before->bytes += after->bytes;
            piece_remove(window, at);
        }
        return true;
    }
    if (after != NULL && continues(piece, after)) {
        after->first = piece->first;
        after->virt = piece->virt;
        after->bytes += piece->bytes;
        return true;
    }
    return false;
}

static void find_largest(struct mm_window *window)
{
    window->largest = 0;
    for (uint32_t i = 1; i < window->count; i++)
        if (window->piece[i].bytes > window->piece[window->largest].bytes)
            window->largest = i;
}

enum mm_err mm_window_add(struct mm_window *window, mm_phys_t first, uint64_t bytes, mm_virt_t virt)
{
    struct mm_window_piece piece = {first, bytes, virt};
    uint32_t at = 0;

    if (window == NULL || !piece_ok(first, bytes, virt))
        return MM_ERR_BAD_ARG;
    while (at < window->count && window->piece[at].first.raw < first.raw)
        at++;
    if (at > 0 &&
        mm_range_last(window->piece[at - 1].first.raw, window->piece[at - 1].bytes) >= first.raw)
        return MM_ERR_EXISTS;
    if (at < window->count && mm_range_last(first.raw, bytes) >= window->piece[at].first.raw)
        return MM_ERR_EXISTS;
    if (!piece_join(window, at, &piece)) {
        if (window->count == MM_WINDOW_PIECES)
            return MM_ERR_NO_ROOM;
        piece_insert(window, at, piece);
    }
    find_largest(window);
    return MM_OK;
}

enum mm_err mm_window_find(const struct mm_window *window, mm_phys_t phys, uint64_t bytes,
                           void **out)
{
    if (window == NULL || out == NULL || !mm_range_ok(phys.raw, bytes))
        return MM_ERR_BAD_ARG;
    for (uint32_t i = 0; i < window->count; i++) {
        const struct mm_window_piece *piece = &window->piece[i];
        uint64_t offset = phys.raw - piece->first.raw;

        if (phys.raw < piece->first.raw || offset >= piece->bytes)
            continue;
        if (bytes > piece->bytes - offset)
            return MM_ERR_WINDOW;
        *out = mm_virt_pointer(mm_virt_add(piece->virt, offset));
        return MM_OK;
    }
    return MM_ERR_WINDOW;
}

enum mm_err mm_window_phys(const struct mm_window *window, const void *pointer, mm_phys_t *out)
{
    uint64_t address = mm_virt_of(pointer).raw;

    if (window == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    for (uint32_t i = 0; i < window->count; i++) {
        const struct mm_window_piece *piece = &window->piece[i];
        uint64_t offset = address - piece->virt.raw;

        if (address >= piece->virt.raw && offset < piece->bytes) {
            *out = mm_phys_add(piece->first, offset);
            return MM_OK;
        }
    }
    return MM_ERR_WINDOW;
}
