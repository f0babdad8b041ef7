/*
 * vmalloc_area.c - memory in one piece of addresses, of frames from anywhere.
 *
 * Problem     After a while RAM is in pieces, and a table of a megabyte still wants addresses in
 *             one; giving it back must find all its frames, in one flush, and without memory.
 * Idea        A list of the frames is made first, in frames of its own, and kept: the cookie of the
 *             span leads to it. Frames are taken straight into it, mapped from it by pieces, and
 *             freed from it after the flush, by a gather that is given the list instead of the
 *             frames.
 * Invariants  I1 the list holds, in order of addresses, exactly the frames of the area, blocks of
 *                2 MiB before single frames
 *             I2 an area is mapped in full, its guards not at all
 *             I3 what a step took, the next one's failure gives back
 * Locking     None of its own; PMM, arena and space lock for themselves, one after the other.
 * Cost        That of the calls it makes, for 64 frames at a time; 8 bytes of list for each. Made and
 *             given back: 10.5 ns for each of 511 single frames, 0.5 ns for each frame in blocks,
 *             without the flush.
 * Rejected    Reading the frames from the page tables when they are freed: there is no room to keep
 *             them until the flush, so every 32 frames would be flushed for themselves. An array of
 *             the caller's: as large as the thing that it cannot get in one piece.
 */
#include "base/bits.h"
#include "base/checked.h"
#include "base/report.h"
#include "kernel_area_internal.h"
#include "mm_frame.h"
#include "mm_mmu.h"
#include "mm_pte.h"

#define BLOCK_LEVEL 2u
#define BLOCK_ORDER 9u /* one table full: 2 MiB */
#define BLOCK_BYTES (MM_FRAME_BYTES << BLOCK_ORDER)
#define IS_BLOCK    1u /* in a list, in the low bits of the first frame */

#define LIST_FRAMES ((MM_FRAME_BYTES - 24u) / sizeof(mm_phys_t))
#define MAP_PIECES  64u /* for one call of mm_space_map(): 1 KiB of stack */

/* One frame of a list. */
struct list {
    mm_virt_t owner; /* the area that it is of; 0 until it has addresses */
    mm_phys_t next;  /* if `more` */
    uint32_t count;
    uint32_t more; /* 1 = there is another one behind this */
    mm_phys_t frame[LIST_FRAMES];
};
_Static_assert(sizeof(struct list) <= MM_FRAME_BYTES, "a list fits a frame");

/* An area that is being made. */
struct making {
    struct mm_kernel_area *area;
    uint64_t pages;        /* of all */
    uint64_t listed;       /* pages whose frames are in the list */
    mm_phys_t first, last; /* frames of the list */
    uint32_t count_lists;  /* such frames */
    bool blocks;           /* go on asking for blocks */
    bool large;            /* there is one */
    bool stuck;            /* what was mapped cannot be unmapped */
    struct mm_map_request map;
};

static enum mm_err list_at(const struct mm_kernel_area *area, mm_phys_t frame, struct list **out)
{
    void *pointer;
    enum mm_err err = mm_frame_map(area->space->vmm->window, frame, &pointer);

    if (err == MM_OK)
        *out = pointer;
    return err;
}

static void list_done(const struct mm_kernel_area *area, struct list *list)
{
    mm_frame_unmap(area->space->vmm->window, list);
}

static uint64_t entry_frames(mm_phys_t entry)
{
    return (entry.raw & IS_BLOCK) != 0 ? UINT64_C(1) << BLOCK_ORDER : 1;
}

/* ---- freeing ---- */

/* Single frames are at the end of a list, behind the blocks. */
static void list_frames_free(struct mm_pmm *pmm, const struct list *list)
{
    uint32_t blocks = 0;

    while (blocks < list->count && (list->frame[blocks].raw & IS_BLOCK) != 0) {
        (void)mm_pmm_free(pmm, mm_phys(list->frame[blocks].raw - IS_BLOCK),
                          UINT64_C(1) << BLOCK_ORDER);
        blocks++;
    }
    if (blocks < list->count)
        (void)mm_pmm_free_bulk(pmm, &list->frame[blocks], list->count - blocks);
}

/* All frames of the list that begins in `first`, and its own. As a gather calls it. */
static void lists_free(void *context, mm_phys_t first, uint64_t count_frames)
{
    const struct mm_kernel_area *area = context;
    const struct mm_frame_source *tables = &area->space->vmm->tables;
    bool more = true;

    (void)count_frames;
    while (more) {
        mm_phys_t frame = first;
        struct list *list;

        if (list_at(area, frame, &list) != MM_OK)
            return; /* the window has shrunk since it was made */
        more = list->more != 0;
        first = list->next;
        if (list->count <= LIST_FRAMES) {
            list_frames_free(area->pmm, list);
        } else {
            (void)mm_report_corrupt("list of frames is overwritten", "mm_vfree", area, frame.raw,
                                    NULL);
            more = false;
        }
        list_done(area, list);
        tables->free(tables->context, frame);
    }
}

/* ---- making ---- */

static enum mm_err list_begin(const struct mm_kernel_area *area, mm_phys_t frame)
{
    struct list *list;
    enum mm_err err = list_at(area, frame, &list);

    if (err != MM_OK)
        return err;
    list->owner = mm_virt(0);
    list->next = mm_phys(0);
    list->count = 0;
    list->more = 0;
    list_done(area, list);
    return MM_OK;
}

static enum mm_err list_link(const struct mm_kernel_area *area, mm_phys_t last, mm_phys_t frame)
{
    struct list *list;
    enum mm_err err = list_at(area, last, &list);

    if (err != MM_OK)
        return err;
    list->next = frame;
    list->more = 1;
    list_done(area, list);
    return MM_OK;
}

/* One more frame of list, empty, behind the others. */
static enum mm_err list_add(struct making *m)
{
    const struct mm_frame_source *tables = &m->area->space->vmm->tables;
    mm_phys_t frame;
    enum mm_err err = tables->alloc(tables->context, &frame);

    if (err != MM_OK)
        return err;
    err = list_begin(m->area, frame);
    if (err == MM_OK && m->count_lists != 0)
        err = list_link(m->area, m->last, frame);
    if (err != MM_OK) {
        tables->free(tables->context, frame);
        return err;
    }
    if (m->count_lists++ == 0)
        m->first = frame;
    m->last = frame;
    return MM_OK;
}

/* A block for what is left, or as many single frames as fit this list. */
static enum mm_err list_fill(struct making *m, struct list *list)
{
    struct mm_frame_request request = MM_ZERO;
    uint64_t left = m->pages - m->listed, count;
    enum mm_err err;

    request.order = BLOCK_ORDER;
    if (m->blocks && left >= UINT64_C(1) << BLOCK_ORDER &&
        mm_pmm_alloc(m->area->pmm, &request, &list->frame[list->count]) == MM_OK) {
        list->frame[list->count++].raw |= IS_BLOCK;
        m->listed += UINT64_C(1) << BLOCK_ORDER;
        m->large = true;
        return MM_OK;
    }
    m->blocks = false;
    count = mm_min_u64(left, LIST_FRAMES - list->count);
    err = mm_pmm_alloc_bulk(m->area->pmm, NULL, count, &list->frame[list->count]);
    if (err != MM_OK)
        return err;
    list->count += (uint32_t)count;
    m->listed += count;
    return MM_OK;
}

static enum mm_err frames_take(struct making *m)
{
    enum mm_err err = MM_OK;

    while (err == MM_OK && m->listed < m->pages) {
        struct list *list;

        err = list_add(m);
        if (err == MM_OK)
            err = list_at(m->area, m->last, &list);
        if (err != MM_OK)
            break;
        while (err == MM_OK && m->listed < m->pages && list->count < LIST_FRAMES)
            err = list_fill(m, list);
        list_done(m->area, list);
    }
    if (err != MM_OK && m->count_lists != 0)
        lists_free(m->area, m->first, 1);
    return err;
}

static enum mm_err addresses_take(struct making *m)
{
    struct mm_arena_request request = {
        .bytes = m->pages << MM_FRAME_SHIFT,
        .align_bytes = m->large ? BLOCK_BYTES : 0,
        .cookie = mm_area_cookie(MM_AREA_VMALLOC, m->first),
        .guard_before_frames = 1,
        .guard_after_frames = 1,
    };
    enum mm_err err = mm_arena_take(m->area->arena, &request, &m->map.virt);

    if (err == MM_ERR_NO_ADDRESS && m->large) {
        request.align_bytes = 0;
        err = mm_arena_take(m->area->arena, &request, &m->map.virt);
    }
    return err;
}

/* The next pieces of a list, from entry `i` on: as many as fit. Frames that touch are one piece. */
static uint32_t pieces_fill(struct mm_map_request *map, struct mm_phys_range *piece,
                            const struct list *list, uint32_t i)
{
    uint32_t count = 0;

    map->bytes = 0;
    for (; i < list->count; i++) {
        uint64_t start = mm_align_down(list->frame[i].raw, MM_FRAME_BYTES);
        uint64_t bytes = entry_frames(list->frame[i]) << MM_FRAME_SHIFT;

        if (count != 0 && piece[count - 1].start.raw + piece[count - 1].bytes == start) {
            piece[count - 1].bytes += bytes;
        } else if (count < MAP_PIECES) {
            piece[count].start = mm_phys(start);
            piece[count++].bytes = bytes;
        } else {
            break;
        }
        map->bytes += bytes;
    }
    map->piece_count = count;
    return i;
}

/* Map what the list says, behind what is mapped already. */
static enum mm_err list_map(struct making *m, const struct list *list)
{
    struct mm_phys_range piece[MAP_PIECES];
    enum mm_err err = MM_OK;

    m->map.piece = piece;
    for (uint32_t i = 0; err == MM_OK && i < list->count;) {
        i = pieces_fill(&m->map, piece, list, i);
        err = mm_space_map(m->area->space, &m->map, NULL);
        if (err == MM_OK)
            m->map.virt = mm_virt_add(m->map.virt, m->map.bytes);
    }
    return err;
}

/* All of it, from `start`. What was mapped before a failure is unmapped again. */
static enum mm_err pages_map(struct making *m, mm_virt_t start)
{
    mm_phys_t frame = m->first;
    enum mm_err err = MM_OK;

    for (uint32_t i = 0; err == MM_OK && i < m->count_lists; i++) {
        struct list *list;

        err = list_at(m->area, frame, &list);
        if (err != MM_OK)
            break;
        list->owner = start;
        err = list_map(m, list);
        frame = list->next;
        list_done(m->area, list);
    }
    if (err != MM_OK && m->map.virt.raw != start.raw)
        m->stuck = mm_space_unmap(m->area->space, start, m->map.virt.raw - start.raw, 0, NULL,
                                  NULL) != MM_OK;
    return err;
}

/* Addresses for the frames of the list, and the mapping. */
static enum mm_err area_make(struct making *m, mm_virt_t *out)
{
    enum mm_err err = addresses_take(m);
    mm_virt_t start = m->map.virt;

    if (err != MM_OK)
        return err;
    err = pages_map(m, start);
    if (err == MM_OK)
        *out = start;
    else if (!m->stuck)
        (void)mm_arena_give(m->area->arena, start);
    return err;
}

enum mm_err mm_vmalloc(struct mm_kernel_area *area, uint64_t bytes, uint32_t flags, void **out)
{
    struct making m = {.area = area, .pages = mm_frames_for(bytes), .map = {.prot = MM_PROT_RW}};
    mm_virt_t start;
    enum mm_err err;

    if (!mm_area_ok(area) || area->pmm == NULL || out == NULL || bytes == 0 ||
        (flags & ~MM_FRAME_ZERO) != 0)
        return MM_ERR_BAD_ARG;
    if (m.pages > mm_pmm_free_frames(area->pmm)) /* not to take all there is, for nothing */
        return MM_ERR_NO_MEMORY;
    m.blocks = (area->space->vmm->paging.leaf_levels & 1u << BLOCK_LEVEL) != 0;
    err = frames_take(&m);
    if (err != MM_OK)
        return err;
    err = area_make(&m, &start);
    if (err != MM_OK) {
        if (!m.stuck) /* else a damaged table still leads to the frames: it was reported */
            lists_free(area, m.first, 1);
        return err;
    }
    if ((flags & MM_FRAME_ZERO) != 0)
        mm_mmu_zero(start, m.pages << MM_FRAME_SHIFT);
    *out = mm_virt_pointer(start);
    return MM_OK;
}

/* The list of the area that starts at `span`; false if it is overwritten, or out of reach. */
static bool list_is_of(const struct mm_kernel_area *area, const struct mm_arena_info *span)
{
    struct list *list;
    bool ok;

    if (list_at(area, mm_area_phys(span), &list) != MM_OK)
        return false;
    ok = list->owner.raw == span->start.raw && list->count <= LIST_FRAMES;
    list_done(area, list);
    return ok;
}

enum mm_err mm_vfree(struct mm_kernel_area *area, void *pointer)
{
    mm_virt_t virt = mm_virt_of(pointer);
    struct mm_gather gather;
    struct mm_arena_info span;
    enum mm_err err;

    if (!mm_area_ok(area) || area->pmm == NULL)
        return mm_report_misuse(MM_ERR_BAD_ARG, "no kernel area given", "mm_vfree", area, virt.raw,
                                MM_CALLER);
    if (!mm_area_find(area, MM_AREA_VMALLOC, virt, &span) || span.start.raw != virt.raw)
        return mm_report_misuse(MM_ERR_MISUSE, "not what mm_vmalloc() gave", "mm_vfree", area,
                                virt.raw, MM_CALLER);
    if (!list_is_of(area, &span))
        return mm_report_corrupt("list of frames is overwritten", "mm_vfree", area, virt.raw,
                                 MM_CALLER);
    mm_gather_begin(&gather, area->space);
    mm_gather_set_release(&gather, lists_free, area);
    err = mm_space_unmap(area->space, span.start, span.bytes, 0, &gather, NULL);
    if (err == MM_OK)
        mm_gather_frames(&gather, mm_area_phys(&span), 1); /* stands for all: lists_free() */
    mm_gather_end(&gather);
    if (err == MM_OK)
        err = mm_arena_give(area->arena, span.start);
    if (err != MM_OK)
        return mm_report_misuse(MM_ERR_MISUSE, "memory was unmapped behind its back", "mm_vfree",
                                area, virt.raw, MM_CALLER);
    return MM_OK;
}
