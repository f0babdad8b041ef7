/*
 * finish.c - from bytes to frames.
 *
 * Problem     A frame can be usable in part: at an odd edge, around a one-byte gap, or where two
 *             entries meet inside it. Handing out such a frame hands out what is not there;
 *             dropping one whose parts add up wastes it. Memory that is reclaimed later is no
 *             different.
 * Idea        Whole frames of a piece pass through. The bytes of a shared frame that may be handed
 *             out some day are added up; it stays what it is, by its greatest type, when all 4096
 *             may. Else usable bytes are given up, and a frame with something to reclaim becomes
 *             memory that the firmware keeps: it can be read in the direct map, its tables included,
 *             and nobody ever gets it.
 * Invariants  Uses, and types that are never handed out, are frame-granular before (I4 of memmap.c).
 *             So a shared frame has one use throughout, and its parts may be handed out and not, or
 *             differ only in node; its node is that of its first byte.
 *             Each new edge of usable memory is an old one rounded. Each odd end of reclaimable
 *             memory may need one more entry.
 * Locking     The caller serialises.
 * Cost        O(ranges), three passes.
 * Rejected    Clipping each usable piece on its own: loses the frame where neighbours meet. A use
 *             instead of a type for what is reclaimable in part: it would hide what lies there.
 */
#include "memmap/memmap_internal.h"

#include "base/assert.h"
#include "base/bits.h"

/* A frame of which several pieces have a part. */
struct shared_frame {
    uint64_t start;
    uint64_t lent_bytes;        /* that are handed out some day */
    struct mm_mem_range result; /* of its first part, and the greatest type; bytes 0 = not open */
    bool mixed;                 /* the loader's and ACPI memory: no one word may give it away */
};

static bool is_reclaimable(unsigned type)
{
    return type == MM_MEM_BOOT_RECLAIM || type == MM_MEM_ACPI_RECLAIM;
}

static void shared_add(struct shared_frame *frame, const struct mm_mem_range *range, uint64_t bytes)
{
    if (frame->result.bytes == 0) {
        frame->result = *range;
        frame->result.start = mm_phys(frame->start);
        frame->result.bytes = MM_FRAME_BYTES;
        if (range->start.raw > frame->start) /* the first byte is a hole's */
            frame->result.node = 0;
        frame->lent_bytes = 0;
        frame->mixed = false;
    }
    frame->mixed =
        frame->mixed || (is_reclaimable(range->type) && is_reclaimable(frame->result.type) &&
                         range->type != frame->result.type);
    if (range->type > frame->result.type)
        frame->result.type = range->type;
    if (mm_mem_type_is_lent(range->type))
        frame->lent_bytes += bytes;
    MM_ASSERT2(range->use == frame->result.use, range->start.raw, frame->result.use);
}

static void shared_close(struct shared_frame *frame, struct mm_memmap_rewrite *rewrite)
{
    struct mm_mem_range *result = &frame->result;

    if (result->bytes == 0)
        return;
    if (mm_mem_type_is_lent(result->type) && (frame->mixed || frame->lent_bytes < MM_FRAME_BYTES)) {
        bool usable = result->type == MM_MEM_USABLE;

        result->type = usable ? MM_MEM_NONE : MM_MEM_ACPI_NVS;
        result->node = usable ? 0 : result->node;
    }
    if (result->type != MM_MEM_NONE || result->use != MM_USE_FREE)
        mm_memmap_emit(rewrite, *result);
    result->bytes = 0;
}

/* Emit the whole frames of `range`; its head and tail go to the frames that share them. */
static void range_split(struct mm_mem_range range, struct shared_frame *frame,
                        struct mm_memmap_rewrite *rewrite)
{
    uint64_t at = range.start.raw, end = mm_mem_range_end(&range);

    while (at < end) {
        uint64_t start = mm_align_down(at, MM_FRAME_BYTES);
        uint64_t stop;

        if (start != frame->start)
            shared_close(frame, rewrite);
        if (at == start && end - at >= MM_FRAME_BYTES) {
            stop = mm_align_down(end, MM_FRAME_BYTES);
            shared_close(frame, rewrite);
            range.start = mm_phys(at);
            range.bytes = stop - at;
            mm_memmap_emit(rewrite, range);
        } else {
            stop = mm_min_u64(end, start + MM_FRAME_BYTES);
            frame->start = start;
            shared_add(frame, &range, stop - at);
        }
        at = stop;
    }
}

static void produce_frames(const struct mm_mem_range *old, uint32_t count,
                           struct mm_memmap_rewrite *rewrite, const void *arg)
{
    struct shared_frame frame = {0};

    (void)arg;
    for (uint32_t i = 0; i < count; i++) {
        range_split(old[i], &frame, rewrite);
        mm_memmap_consumed(rewrite, count - i - 1);
    }
    shared_close(&frame, rewrite);
    mm_memmap_consumed(rewrite, 0);
}

/* Is there a whole frame that is usable and free? Equal neighbours are merged, but two pieces of
 * different nodes may share one. */
static bool anything_usable(const struct mm_memmap *map)
{
    uint64_t run_start = 0, run_end = 0; /* touching usable and free pieces */

    for (uint32_t i = 0; i < map->count; i++) {
        const struct mm_mem_range *range = &map->range[i];
        uint64_t frame;

        if (range->type != MM_MEM_USABLE || range->use != MM_USE_FREE)
            continue;
        if (range->start.raw != run_end)
            run_start = range->start.raw;
        run_end = mm_mem_range_end(range);
        frame = mm_align_down(run_end, MM_FRAME_BYTES);
        if (frame >= MM_FRAME_BYTES && frame - MM_FRAME_BYTES >= run_start)
            return true;
    }
    return false;
}

enum mm_err mm_memmap_finish(struct mm_memmap *map)
{
    enum mm_err err;

    if (map == NULL)
        return MM_ERR_BAD_ARG;
    if (map->state != MM_MEMMAP_COLLECTING)
        return MM_ERR_BUSY;
    if (!anything_usable(map))
        return MM_ERR_NOT_FOUND;
    err = mm_memmap_rewrite(map, produce_frames, NULL);
    if (err == MM_OK)
        map->state = MM_MEMMAP_FINISHED;
    return err;
}
