/*
 * populate.c - memory for a space: frames that it owns.
 *
 * Problem     Most pages of a program are memory and nothing else. Who maps them by hand keeps a list
 *             of frames beside the tables, frees them before the flush, or never.
 * Idea        Zeroed frames from the PMM, a batch at a time, mapped by the ordinary call, with a mark in
 *             the leaf that says whose they are. Unmap, and what frees tables, look for the mark. If it
 *             ends half-way, what is there is unmapped, which frees it.
 * Invariants  O1 a frame with the mark belongs to the space, is a single frame of the PMM, and is mapped
 *                there and nowhere else
 *             O2 the tag of a leaf table says that it may have such frames
 * Locking     subtree.h; none while frames are taken or zeroed.
 * Cost        Zeroing, and one call of map for each BATCH pages.
 * Rejected    All frames first: a list of them needs memory. Large blocks: a part of one cannot be given
 *             back by itself.
 */
#include "subtree.h"

#define BATCH 64u

struct batch {
    mm_phys_t frame[BATCH];
    struct mm_phys_range piece[BATCH];
    uint32_t pieces;
};

/* Neighbours are one piece. */
static void pieces_join(struct batch *batch, unsigned count)
{
    struct mm_phys_range *last = NULL;

    batch->pieces = 0;
    for (unsigned i = 0; i < count; i++) {
        if (last != NULL && batch->frame[i].raw == last->start.raw + last->bytes) {
            last->bytes += MM_FRAME_BYTES;
            continue;
        }
        last = &batch->piece[batch->pieces++];
        *last = (struct mm_phys_range){batch->frame[i], MM_FRAME_BYTES};
    }
}

/* `request` says where and how; its frames come from here. */
static enum mm_err batch_map(struct mm_space *space, struct mm_map_request *request, unsigned count,
                             struct mm_space_fail *fail)
{
    static const struct mm_frame_request zeroed = {.flags = MM_FRAME_ZERO,
                                                   .mobility = MM_MOBILITY_MOVABLE};
    struct mm_pmm *pmm = space->vmm->pmm;
    struct batch batch;
    enum mm_err err = mm_pmm_alloc_bulk(pmm, &zeroed, count, batch.frame);

    if (err != MM_OK)
        return mm_fail(fail, err, request->virt.raw, 0, mm_pte_empty());
    pieces_join(&batch, count);
    request->bytes = (uint64_t)count << MM_FRAME_SHIFT;
    request->piece = batch.piece;
    request->piece_count = batch.pieces;
    err = mm_space_map(space, request, fail);
    if (err != MM_OK)
        (void)mm_pmm_free_bulk(pmm, batch.frame, count);
    return err;
}

enum mm_err mm_space_populate(struct mm_space *space, mm_virt_t virt, uint64_t bytes, uint32_t prot,
                              uint32_t flags, struct mm_space_fail *fail)
{
    struct mm_map_request request = {.virt = virt, .prot = prot, .flags = flags | MM_MAP_OWNED};
    struct mm_span span;
    uint64_t done = 0;
    enum mm_err err;

    if ((flags & ~(MM_MAP_WX | MM_MAP_NULL)) != 0)
        return mm_fail(fail, MM_ERR_BAD_ARG, virt.raw, 0, mm_pte_empty());
    err = mm_range_check(space, virt, bytes, &span, fail);
    if (err != MM_OK)
        return err;
    if (!mm_space_may_own(space))
        return mm_fail(fail, MM_ERR_UNSUPPORTED, virt.raw, 0, mm_pte_empty());
    err = mm_space_hold(space);
    if (err != MM_OK)
        return mm_fail(fail, err, virt.raw, 0, mm_pte_empty());
    while (err == MM_OK && done < bytes) {
        request.virt = mm_virt_add(virt, done);
        err = batch_map(space, &request,
                        (unsigned)mm_min_u64(BATCH, (bytes - done) >> MM_FRAME_SHIFT), fail);
        done += err == MM_OK ? request.bytes : 0;
    }
    if (err != MM_OK && done != 0) {
        enum mm_err undone = mm_space_unmap(space, virt, done, MM_RANGE_HOLES, NULL, NULL);

        (void)undone; /* nobody else knew of these pages */
    }
    mm_space_unhold(space);
    return err;
}
