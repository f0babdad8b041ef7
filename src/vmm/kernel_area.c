/*
 * kernel_area.c - devices and DMA memory in the kernel's half.
 *
 * Problem     A driver wants "these registers, uncached" or "a buffer that my device can reach";
 *             behind that stand addresses, page tables and frames, each of which may run out.
 * Idea        Take what is needed in the order frames, addresses, mapping, and undo it backwards
 *             where a step fails. DMA memory is zeroed through its own mapping: the PMM's window may
 *             not show those frames, and would show them cached. The arena's cookie says what a
 *             span is and to which physical address it leads, so that undoing needs no table of its
 *             own and refuses what it did not hand out.
 * Invariants  I1 each span of the arena that is ours is mapped in full, its guard not at all
 *             I2 frames go back to the PMM after the flush, addresses after both
 * Locking     None of its own; arena, space and PMM lock for themselves, one after the other.
 * Cost        That of the calls it makes: O(log spans) + O(pages).
 * Rejected    A list of mappings in struct mm_kernel_area: the same facts twice.
 */
#include "mm/kernel_area.h"

#include "base/bits.h"
#include "base/checked.h"
#include "base/report.h"
#include "kernel_area_internal.h"
#include "mm_mmu.h"
#include "mm_pte.h"

/* A mapping to make: whole frames. */
struct piece {
    mm_phys_t phys;
    uint64_t bytes;
    enum mm_memtype type;
    uint64_t cookie;
};

/*
 * Addresses for the piece: congruent to its frames modulo the largest page that it can fill, or,
 * where the arena has no such place, a smaller one. One frame behind stays unmapped.
 */
static enum mm_err addresses_take(struct mm_kernel_area *area, const struct piece *piece,
                                  mm_virt_t *out)
{
    uint32_t leaf_levels = area->space->vmm->paging.leaf_levels;
    enum mm_err err = MM_ERR_NO_ADDRESS;

    for (unsigned level = MM_PT_LEAF_LEVEL_MAX; level >= 1 && err == MM_ERR_NO_ADDRESS; level--) {
        struct mm_arena_request request = {
            .bytes = piece->bytes,
            .align_bytes = mm_pt_bytes(level),
            .phase_bytes = piece->phys.raw & (mm_pt_bytes(level) - 1),
            .cookie = piece->cookie,
            .guard_after_frames = 1,
        };

        if (level == 1 || ((leaf_levels & 1u << level) != 0 && piece->bytes >= mm_pt_bytes(level)))
            err = mm_arena_take(area->arena, &request, out);
    }
    return err;
}

static enum mm_err piece_map(struct mm_kernel_area *area, const struct piece *piece, mm_virt_t *out)
{
    struct mm_map_request request = {
        .bytes = piece->bytes,
        .phys = piece->phys,
        .prot = MM_PROT_RW,
        .type = piece->type,
    };
    enum mm_err err = addresses_take(area, piece, &request.virt);

    if (err != MM_OK)
        return err;
    err = mm_space_map(area->space, &request, NULL);
    if (err != MM_OK) {
        (void)mm_arena_give(area->arena, request.virt);
        return err;
    }
    *out = request.virt;
    return MM_OK;
}

/* Unmap a piece; `frames` go to `release` after the flush, if there are any. */
static enum mm_err piece_unmap(struct mm_kernel_area *area, const struct mm_arena_info *piece,
                               const struct mm_phys_range *frames,
                               void (*release)(void *context, mm_phys_t first, uint64_t count))
{
    struct mm_gather gather;
    enum mm_err err;

    mm_gather_begin(&gather, area->space);
    if (frames != NULL)
        mm_gather_set_release(&gather, release, area->pmm);
    err = mm_space_unmap(area->space, piece->start, piece->bytes, 0, &gather, NULL);
    if (err == MM_OK && frames != NULL)
        mm_gather_frames(&gather, frames->start, mm_frames_for(frames->bytes));
    mm_gather_end(&gather);
    if (err == MM_OK)
        err = mm_arena_give(area->arena, piece->start);
    return err;
}

/* ---- devices ---- */

enum mm_err mm_kmap(struct mm_kernel_area *area, mm_phys_t phys, uint64_t bytes,
                    enum mm_memtype type, void **out)
{
    uint64_t offset = phys.raw & (MM_FRAME_BYTES - 1);
    struct piece piece = {mm_phys(phys.raw - offset), 0, type,
                          mm_area_cookie(MM_AREA_DEVICE, phys)};
    mm_virt_t virt;
    enum mm_err err;

    if (!mm_area_ok(area) || out == NULL || bytes == 0 || (unsigned)type > MM_MEMTYPE_WC)
        return MM_ERR_BAD_ARG;
    if (!mm_range_ok(phys.raw, bytes) ||
        mm_range_last(phys.raw, bytes) >> area->space->vmm->paging.phys_bits != 0)
        return MM_ERR_RANGE;
    piece.bytes = mm_frames_for(offset + bytes) << MM_FRAME_SHIFT;
    err = piece_map(area, &piece, &virt);
    if (err == MM_OK)
        *out = mm_virt_pointer(mm_virt_add(virt, offset));
    return err;
}

enum mm_err mm_kunmap(struct mm_kernel_area *area, void *pointer)
{
    mm_virt_t virt = mm_virt_of(pointer);
    struct mm_arena_info piece;

    if (!mm_area_ok(area))
        return mm_report_misuse(MM_ERR_BAD_ARG, "no kernel area given", "mm_kunmap", area, virt.raw,
                                MM_CALLER);
    if (!mm_area_find(area, MM_AREA_DEVICE, virt, &piece) ||
        mm_area_phys(&piece).raw % MM_FRAME_BYTES != virt.raw % MM_FRAME_BYTES)
        return mm_report_misuse(MM_ERR_MISUSE, "not what mm_kmap() gave", "mm_kunmap", area,
                                virt.raw, MM_CALLER);
    if (piece_unmap(area, &piece, NULL, NULL) != MM_OK)
        return mm_report_misuse(MM_ERR_MISUSE, "device mapping was changed behind its back",
                                "mm_kunmap", area, virt.raw, MM_CALLER);
    return MM_OK;
}

/* ---- DMA memory ---- */

static void frames_release(void *context, mm_phys_t first, uint64_t count_frames)
{
    (void)mm_pmm_free(context, first, count_frames);
}

enum mm_err mm_dma_alloc(struct mm_kernel_area *area, const struct mm_dma_request *request,
                         struct mm_dma *out)
{
    struct mm_frame_request frames = MM_ZERO;
    struct piece piece;
    mm_virt_t virt;
    enum mm_err err;

    if (!mm_area_ok(area) || area->pmm == NULL || request == NULL || out == NULL ||
        request->bytes == 0 || (request->flags & ~MM_FRAME_ZERO) != 0 ||
        (unsigned)request->type > MM_MEMTYPE_WC)
        return MM_ERR_BAD_ARG;
    frames.count_frames = mm_frames_for(request->bytes);
    frames.align_bytes = request->align_bytes;
    frames.boundary_bytes = request->boundary_bytes;
    frames.highest = request->highest;
    err = mm_pmm_alloc(area->pmm, &frames, &piece.phys);
    if (err != MM_OK)
        return err;
    piece.bytes = frames.count_frames << MM_FRAME_SHIFT;
    piece.type = request->type;
    piece.cookie = mm_area_cookie(MM_AREA_DMA, piece.phys);
    err = piece_map(area, &piece, &virt);
    if (err != MM_OK) {
        (void)mm_pmm_free(area->pmm, piece.phys, frames.count_frames);
        return err;
    }
    if ((request->flags & MM_FRAME_ZERO) != 0)
        mm_mmu_zero(virt, piece.bytes);
    *out = (struct mm_dma){mm_virt_pointer(virt), piece.phys, piece.bytes};
    return MM_OK;
}

enum mm_err mm_dma_free(struct mm_kernel_area *area, const struct mm_dma *dma)
{
    struct mm_phys_range frames;
    struct mm_arena_info piece;
    mm_virt_t virt;

    if (!mm_area_ok(area) || area->pmm == NULL || dma == NULL)
        return mm_report_misuse(MM_ERR_BAD_ARG, "no kernel area or no buffer given", "mm_dma_free",
                                area, 0, MM_CALLER);
    virt = mm_virt_of(dma->pointer);
    if (!mm_area_find(area, MM_AREA_DMA, virt, &piece) || piece.start.raw != virt.raw ||
        piece.cookie != mm_area_cookie(MM_AREA_DMA, dma->phys) || piece.bytes != dma->bytes)
        return mm_report_misuse(MM_ERR_MISUSE, "not what mm_dma_alloc() gave", "mm_dma_free", area,
                                virt.raw, MM_CALLER);
    frames = (struct mm_phys_range){dma->phys, dma->bytes};
    if (piece_unmap(area, &piece, &frames, frames_release) != MM_OK)
        return mm_report_misuse(MM_ERR_MISUSE, "DMA mapping was changed behind its back",
                                "mm_dma_free", area, virt.raw, MM_CALLER);
    return MM_OK;
}
