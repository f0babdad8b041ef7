/*
 * mm/cursor.h - page by page, at the speed of a range.
 *
 * A cursor: many changes of single pages as one transaction. It keeps the table in hand locked from
 * call to call, so that a page costs a few instructions:
 *
 *     struct mm_cursor cursor;
 *     err = mm_cursor_begin(&cursor, space, MM_PROT_RW, MM_MEMTYPE_WB, 0, &gather);
 *     for (i = 0; err == MM_OK && i < count; i++)
 *         err = mm_cursor_map(&cursor, mm_virt_add(virt, i * MM_FRAME_BYTES), frame[i], MM_FRAME_BYTES);
 *     mm_cursor_end(&cursor);
 *
 * Unmapping needs a gather, begun before and ended after:
 *
 *     mm_gather_begin(&gather, space);
 *     err = mm_cursor_begin(&cursor, space, MM_PROT_READ, MM_MEMTYPE_WB, 0, &gather);
 *     for (i = 0; err == MM_OK && i < count; i++) {
 *         err = mm_cursor_unmap(&cursor, mm_virt_add(virt, i * MM_FRAME_BYTES), MM_FRAME_BYTES, &frame);
 *         if (err == MM_OK)
 *             mm_gather_frames(&gather, frame, 1);         a frame of yours: not one that the space owns
 *     }
 *     mm_cursor_end(&cursor);
 *     mm_gather_end(&gather);
 *
 * From begin to end interrupts are off on this CPU, but for moments in which tables are taken, and
 * every 512 pages: keep it short, do not fault, do not wait, and make no other call on a space
 * (MM_ERR_BUSY). Each page is a call of its own to others: what was done stays done when a later page
 * fails. Nothing of one cursor is used by two CPUs.
 *
 * Of gathers, only the cursor's own may be used meanwhile. When it is full, mm_gather_frames() and the
 * cursor's calls flush it; the cursor lets go of everything before that. So with a gather that is not
 * deferred they may wait, and interrupts are to be on before mm_cursor_begin().
 */
#ifndef MM_CURSOR_H
#define MM_CURSOR_H

#include "error.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mm_gather;
struct mm_space;

struct mm_cursor {
    uint64_t word[48]; /* of src/vmm/cursor.c */
};

/*
 * @prot, @type, @flags  as struct mm_map_request, for all pages that the cursor maps; what is wrong with
 *                       them the first mm_cursor_map() says
 * @gather  for mm_cursor_unmap(): begun on the space, not ended before the cursor (if it is, the cursor
 *          unmaps no more: MM_ERR_BAD_ARG); NULL: only map
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_GONE | MM_ERR_BUSY (another cursor of this CPU, or NMI). On
 *          error there is nothing to end
 * Context  as mm_space_map()
 */
MM_NODISCARD enum mm_err mm_cursor_begin(struct mm_cursor *cursor, struct mm_space *space,
                                         uint32_t prot, enum mm_memtype type, uint32_t flags,
                                         struct mm_gather *gather);

/* Map one leaf of `bytes` (4 KiB, 2 MiB or 1 GiB) as mm_space_map() would map a range of that size; the
 * same errors, and MM_ERR_NO_ROOM (the cursor's gather is deferred and full). Cost: O(1), O(levels) when
 * it comes to another table. */
MM_NODISCARD enum mm_err mm_cursor_map(struct mm_cursor *cursor, mm_virt_t virt, mm_phys_t phys,
                                       uint64_t bytes);

/* Unmap one leaf of `bytes` with the cursor's gather; *phys (may be NULL) receives what it mapped. A part
 * of a larger page is split off, which may wait. Returns as mm_space_unmap(), and MM_ERR_NOT_FOUND where
 * there is no leaf of that size nor a larger one. Flushed and clean when the gather has ended. */
MM_NODISCARD enum mm_err mm_cursor_unmap(struct mm_cursor *cursor, mm_virt_t virt, uint64_t bytes,
                                         mm_phys_t *phys);

/* Let go; harmless twice, and after a begin that failed. */
void mm_cursor_end(struct mm_cursor *cursor);

#ifdef __cplusplus
}
#endif

#endif
