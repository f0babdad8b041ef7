/*
 * reclaim.c - the boot loader's memory, given to the PMM.
 *
 * Problem     Memory that was only needed for booting is worth having, but pieces of it are still
 *             in use: page tables of an adopted root, the stack and descriptor tables of the CPU.
 * Idea        Ask the machine, not the kernel: a scratch map in which everything is usable is given
 *             to mm_vmm_reserve_live(), and what it reserves is in use. What the boot map calls
 *             reclaimable, minus that, minus what the PMM has already, is added piece by piece.
 *             The boot map also says where what is asked for shares frames with what is not.
 * Invariants  I1 a frame that is reserved in the scratch map is never added
 *             I2 what the PMM manages already is neither added nor counted, whatever it is used
 *             for by now, so that calling again is harmless
 * Locking     The PMM's, per call; the boot map is only read.
 * Cost        O(tables + frames handed over).
 * Rejected    Remembering what start-up reserved: the stack in use then is not the one now.
 */
#include "start/start_internal.h"

#include "base/checked.h"

#define RECLAIM_ALL (MM_RECLAIM_LOADER | MM_RECLAIM_INFO | MM_RECLAIM_MODULES | MM_RECLAIM_ACPI)

struct reclaim {
    struct mm *mm;
    uint32_t what;
    struct mm_memmap live; /* the image and what is in use: all but FREE must stay */
    uint64_t added_bytes;
    uint64_t kept_bytes;
};

/* The words that must all be asked for before this range may go; 0 = never. */
static uint32_t words_for(const struct mm_mem_range *range)
{
    uint32_t words = range->type == MM_MEM_ACPI_RECLAIM   ? MM_RECLAIM_ACPI
                     : range->type == MM_MEM_BOOT_RECLAIM ? MM_RECLAIM_LOADER
                                                          : 0;

    if (range->type != MM_MEM_USABLE && words == 0)
        return 0;
    switch (range->use) {
    case MM_USE_FREE:
        return words;
    case MM_USE_BOOT:
        return words | MM_RECLAIM_LOADER;
    case MM_USE_BOOTINFO:
        return words | MM_RECLAIM_INFO;
    case MM_USE_MODULE:
        return words | MM_RECLAIM_MODULES;
    case MM_USE_MODULE_INFO:
        return words | MM_RECLAIM_MODULES | MM_RECLAIM_INFO;
    default:
        return 0;
    }
}

static bool frame_managed(struct mm *mm, uint64_t frame)
{
    struct mm_frame_info info;

    mm_pmm_query(&mm->pmm, mm_frame_phys(frame), &info);
    return info.state != MM_FRAME_UNMANAGED;
}

/* The first frame of [first, end) that the PMM has or has not, or `end`. */
static uint64_t frame_next(struct mm *mm, uint64_t first, uint64_t end, bool managed)
{
    while (first < end && frame_managed(mm, first) != managed)
        first++;
    return first;
}

/* [first, end): to be handed over, or to be kept. The PMM's own frames are no matter. */
static enum mm_err frames_settle(struct reclaim *r, uint64_t first, uint64_t end, bool keep)
{
    enum mm_err err = MM_OK;

    for (uint64_t next; first < end && err == MM_OK; first = next) {
        uint64_t bytes;

        first = frame_next(r->mm, first, end, false);
        next = frame_next(r->mm, first, end, true);
        bytes = (next - first) << MM_FRAME_SHIFT;
        if (keep)
            r->kept_bytes += bytes;
        else if (bytes != 0)
            err = mm_pmm_add(&r->mm->pmm, mm_frame_phys(first), bytes);
        if (err == MM_OK && !keep)
            r->added_bytes += bytes;
    }
    return err;
}

/* The scratch map covers every address: cut the range at the borders of its pieces. `shared`: with
 * something that was not asked for. */
static enum mm_err range_settle(struct reclaim *r, const struct mm_mem_range *range, bool shared)
{
    uint64_t at = range->start.raw, end = range->start.raw + range->bytes;
    enum mm_err err = MM_OK;

    while (at < end && err == MM_OK) {
        struct mm_mem_range piece;
        uint64_t stop;

        err = mm_memmap_find(&r->live, mm_phys(at), &piece);
        if (err != MM_OK)
            return err;
        stop = piece.start.raw + piece.bytes < end ? piece.start.raw + piece.bytes : end;
        err = frames_settle(r, at >> MM_FRAME_SHIFT, stop >> MM_FRAME_SHIFT,
                            shared || piece.use != MM_USE_FREE);
        at = stop;
    }
    return err;
}

/* A stack in the image ends there: mm_vmm_reserve_live() looks for nothing beside it. */
static enum mm_err keep_image(struct reclaim *r)
{
    const struct mm_memmap *map = &r->mm->map;
    enum mm_err err = MM_OK;

    for (uint32_t i = 0; i < map->count && err == MM_OK; i++) {
        const struct mm_mem_range *range = &map->range[i];

        if (range->use == MM_USE_IMAGE)
            err = mm_memmap_reserve(&r->live, range->start, range->bytes, MM_USE_IMAGE);
    }
    return err;
}

/* Everything is usable in the scratch map; what the CPU uses is then reserved in it. */
static enum mm_err live_build(struct reclaim *r, void *storage, uint64_t bytes)
{
    unsigned phys_bits = r->mm->vmm.paging.phys_bits;
    enum mm_err err = mm_memmap_init(&r->live, storage,
                                     (uint32_t)(bytes / sizeof(struct mm_mem_range)), phys_bits);

    if (err == MM_OK)
        err = mm_memmap_add(&r->live, mm_phys(0), UINT64_C(1) << phys_bits, MM_MEM_USABLE);
    if (err == MM_OK)
        err = mm_memmap_finish(&r->live);
    if (err == MM_OK)
        err = keep_image(r);
    if (err == MM_OK)
        err = mm_vmm_reserve_live(&r->live, &r->mm->window, NULL);
    return err;
}

/* Storage from the heap's page source, doubled until the tables fit. */
static enum mm_err live_find(struct reclaim *r, void **storage, size_t *bytes)
{
    struct mm_page_source source = mm_direct_page_source(&r->mm->pages);
    enum mm_err err;

    for (*bytes = MM_FRAME_BYTES;; *bytes *= 2) {
        err = source.alloc(source.context, *bytes, storage);
        if (err != MM_OK)
            return err;
        err = live_build(r, *storage, *bytes);
        if (err == MM_OK)
            return MM_OK;
        source.free(source.context, *storage, *bytes);
        if (err != MM_ERR_NO_ROOM)
            return err;
    }
}

enum mm_err mm_reclaim_boot(struct mm *mm, uint32_t what, uint64_t *added, uint64_t *kept)
{
    struct reclaim r = {.mm = mm, .what = what};
    struct mm_page_source source;
    size_t bytes = 0;
    void *storage;
    enum mm_err err;

    if (mm == NULL || mm->state != MM_STATE_STARTED || what == 0 || (what & ~RECLAIM_ALL) != 0)
        return MM_ERR_BAD_ARG;
    err = live_find(&r, &storage, &bytes);
    if (err != MM_OK)
        return err;
    for (uint32_t i = 0; i < mm->map.count && err == MM_OK; i++) {
        uint32_t words = words_for(&mm->map.range[i]);

        if ((words & what) != 0)
            err = range_settle(&r, &mm->map.range[i], (words & ~what) != 0);
    }
    source = mm_direct_page_source(&mm->pages);
    source.free(source.context, storage, bytes);
    if (err == MM_OK && r.added_bytes == 0 && r.kept_bytes != 0)
        err = MM_ERR_BUSY;
    if (err != MM_OK)
        return err;
    if (added != NULL)
        *added = r.added_bytes;
    if (kept != NULL)
        *kept = r.kept_bytes;
    return MM_OK;
}
