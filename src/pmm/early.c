/*
 * early.c - the memory map as a source of page-table frames, before there is a PMM.
 *
 * Problem     The direct map needs tables before the PMM's metadata has a place.
 * Idea        The early allocator of the map, one frame at a time, inside the window through which
 *             tables are written.
 * Invariants  A frame is owned exactly while its use in the map is MM_USE_EARLY.
 * Locking     None: boot CPU only, as all of the map.
 * Cost        O(ranges of the map).
 * Rejected    A pool of table frames in the image: its size would be a guess.
 */
#include "mm/pmm.h"

static enum mm_err early_alloc(void *context, mm_phys_t *out)
{
    const struct mm_early_source *early = context;
    const struct mm_memmap_request request = {
        .bytes = MM_FRAME_BYTES,
        .window = early->window,
    };

    return mm_memmap_take(early->map, &request, out);
}

static void early_free(void *context, mm_phys_t frame)
{
    const struct mm_early_source *early = context;

    (void)mm_memmap_give(early->map, frame, MM_FRAME_BYTES);
}

static bool early_owns(void *context, mm_phys_t frame)
{
    const struct mm_early_source *early = context;
    struct mm_mem_range range;

    return mm_memmap_find(early->map, frame, &range) == MM_OK && range.use == MM_USE_EARLY;
}

struct mm_frame_source mm_early_frame_source(struct mm_early_source *early)
{
    return (struct mm_frame_source){
        .alloc = early_alloc,
        .free = early_free,
        .owns = early_owns,
        .context = early,
    };
}
