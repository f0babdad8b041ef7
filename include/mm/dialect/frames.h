/*
 * mm/dialect/frames.h - for dialects that free frames by their address alone, or mark them.
 */
#include "common.h" /* outside the guard: see mm/default.h */

#ifndef MM_DIALECT_FRAMES_H
#define MM_DIALECT_FRAMES_H

/* A run of `count` frames; 0 = none. */
static inline uint64_t mm_dialect_run(uint64_t count)
{
    struct mm_frame_request request = MM_ZERO;
    mm_phys_t first;

    request.count_frames = count;
    return count != 0 && mm_pmm_alloc(&mm_default.pmm, &request, &first) == MM_OK ? first.raw : 0;
}

/* Free the allocation that begins at `phys`, however long it is. The PMM refuses and reports what
 * is no beginning of one. */
static inline void mm_dialect_free(uint64_t phys)
{
    struct mm_frame_info info;

    mm_pmm_query(&mm_default.pmm, mm_phys(phys), &info);
    (void)mm_pmm_free(&mm_default.pmm, mm_phys(phys), info.count_frames);
}

/* Frames under management: usable RAM, what the kernel and the boot loader left of it. */
static inline uint64_t mm_dialect_total(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&mm_default.pmm, &stats);
    return stats.managed_frames;
}

static inline enum mm_frame_state mm_dialect_state(uint64_t phys)
{
    struct mm_frame_info info;

    mm_pmm_query(&mm_default.pmm, mm_phys(phys), &info);
    return info.state;
}

/* Take this frame if it is free, and do not touch its bytes. One that a CPU has in stock is brought
 * home first, if need be from one that runs: thread context then. For the time of booting: O(RAM / 2
 * MiB). */
static inline void mm_dialect_mark_used(uint64_t phys)
{
    uint64_t frame = phys & ~(MM_FRAME_BYTES - 1);
    struct mm_frame_request request = MM_ZERO;
    mm_phys_t got = mm_phys(0);
    enum mm_err err;

    if (mm_dialect_state(frame) != MM_FRAME_FREE)
        return;
    request.lowest = mm_phys(frame);
    request.highest = mm_phys(frame + MM_FRAME_BYTES - 1);
    request.flags = MM_FRAME_RESERVE;
    err = mm_pmm_alloc(&mm_default.pmm, &request, &got);
    if (err == MM_ERR_NO_MEMORY) {
        request.flags = MM_FRAME_RESERVE | MM_FRAME_TRY_HARD;
        err = mm_pmm_alloc(&mm_default.pmm, &request, &got);
    }
    if (err != MM_OK)
        mm_dialect_report(err, "frame cannot be marked as used", "pmm_mark_used", phys);
}

/* What mm_dialect_mark_used() took is free again; a free frame stays free. The rest is refused and
 * reported: what the memory map reserves, and libmm's own tables, which a loop over all "available"
 * memory would hand out. */
static inline void mm_dialect_mark_free(uint64_t phys)
{
    struct mm_mem_range range;

    if (mm_dialect_state(phys) == MM_FRAME_FREE)
        return;
    if (mm_memmap_find(&mm_default.map, mm_phys(phys), &range) == MM_OK &&
        range.use == MM_USE_EARLY)
        mm_dialect_report(MM_ERR_MISUSE, "frame is libmm's own", "pmm_mark_free", phys);
    else
        (void)mm_pmm_free_frame(&mm_default.pmm, mm_phys(phys));
}

#endif
