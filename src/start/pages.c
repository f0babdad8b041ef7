/*
 * pages.c - pages for the heap, and frames for tables, from the PMM inside the window.
 *
 * Problem     The heap knows no frames, and tables must lie where libmm can reach them; under an
 *             adopted root the window may show only part of the RAM.
 * Idea        Ask the PMM for frames between the ends of each piece of the window, from the last
 *             piece to the first: what many devices can reach is asked for last. One frame for a
 *             table comes from this CPU's stock, which nearly always lies in the window; when
 *             ordinary memory is gone, from the reserve.
 * Invariants  Every frame handed out here is inside one piece of the window.
 * Locking     None of its own.
 * Cost        One allocation where the window shows all RAM; else one for each piece that is full,
 *             and for a table one from the stock that is given back.
 * Rejected    Asking from above alone and giving back what lies outside: the PMM offers the same
 *             frames again, and those inside are never found.
 */
#include "start/start_internal.h"

#include "base/checked.h"

/* Memory below 1 MiB is for those who ask for it. */
static enum mm_err window_take(const struct mm_direct_pages *pages, uint64_t count_frames,
                               uint32_t flags, mm_phys_t *out, void **pointer)
{
    struct mm_frame_request request = {.count_frames = count_frames, .flags = flags};

    for (uint32_t i = pages->window->count; i-- > 0;) {
        const struct mm_window_piece *piece = &pages->window->piece[i];
        mm_phys_t first;
        enum mm_err err;

        request.lowest = piece->first;
        request.highest = mm_phys(mm_range_last(piece->first.raw, piece->bytes));
        if (request.highest.raw <= MM_HIGHEST_1M.raw)
            break;
        err = mm_pmm_alloc(pages->pmm, &request, &first);
        if (err == MM_ERR_NO_MEMORY)
            continue;
        if (err != MM_OK)
            return err;
        *pointer = mm_virt_pointer(mm_virt_add(piece->virt, first.raw - piece->first.raw));
        *out = first;
        return MM_OK;
    }
    return MM_ERR_NO_MEMORY;
}

/* ---- for the heap ---- */

static enum mm_err pages_alloc(void *context, size_t bytes, void **out)
{
    mm_phys_t first;
    void *pointer;
    enum mm_err err = window_take(context, mm_frames_for(bytes), 0, &first, &pointer);

    if (err == MM_OK)
        *out = pointer;
    return err;
}

static void pages_free(void *context, void *pages, size_t bytes)
{
    const struct mm_direct_pages *from = context;
    mm_phys_t first;

    if (mm_window_phys(from->window, pages, &first) == MM_OK)
        (void)mm_pmm_free(from->pmm, first, mm_frames_for(bytes));
}

struct mm_page_source mm_direct_page_source(struct mm_direct_pages *pages)
{
    return (struct mm_page_source){pages_alloc, pages_free, pages};
}

/* ---- for tables and spans ---- */

/* From the stock, without a lock. False if there was none, or it lies outside the window. */
static bool stock_take(const struct mm_direct_pages *pages, mm_phys_t *out)
{
    mm_phys_t frame;
    void *pointer;

    if (mm_pmm_alloc_frame(pages->pmm, &frame) != MM_OK)
        return false;
    if (mm_window_find(pages->window, frame, MM_FRAME_BYTES, &pointer) != MM_OK) {
        (void)mm_pmm_free_frame(pages->pmm, frame);
        return false;
    }
    *out = frame;
    return true;
}

static enum mm_err frame_alloc(void *context, mm_phys_t *out)
{
    void *pointer;
    enum mm_err err;

    if (stock_take(context, out))
        return MM_OK;
    err = window_take(context, 1, 0, out, &pointer);
    if (err == MM_ERR_NO_MEMORY)
        err = window_take(context, 1, MM_FRAME_RESERVE, out, &pointer);
    return err;
}

static void frame_free(void *context, mm_phys_t frame)
{
    const struct mm_direct_pages *from = context;

    (void)mm_pmm_free_frame(from->pmm, frame);
}

static bool frame_owns(void *context, mm_phys_t frame)
{
    const struct mm_direct_pages *from = context;
    struct mm_frame_source source = mm_pmm_frame_source(from->pmm);

    return source.owns == NULL || source.owns(source.context, frame);
}

static enum mm_err frame_tag(void *context, mm_phys_t frame, uint16_t **out)
{
    const struct mm_direct_pages *from = context;
    struct mm_frame_source source = mm_pmm_frame_source(from->pmm);

    return source.tag(source.context, frame, out);
}

struct mm_frame_source mm_start_frame_source(struct mm_direct_pages *pages)
{
    return (struct mm_frame_source){
        .alloc = frame_alloc,
        .free = frame_free,
        .owns = frame_owns,
        .tag = frame_tag,
        .context = pages,
    };
}
