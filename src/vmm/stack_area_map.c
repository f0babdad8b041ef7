/*
 * stack_area_map.c - kernel stacks: the slots' frames, and the end of a stock.
 *
 * Problem     A stack that is made may find no frame, no table; one that is unmapped may be freed
 *             only after every CPU has forgotten it.
 * Idea        All frames of a stack are taken in one call, mapped in one call, and undone backwards.
 *             Trimming takes stacks out of the stocks, as many as one gather holds runs for, so
 *             that one flush does for all of them; their frames are read from the page tables,
 *             which nobody else changes there.
 * Invariants  S1 to S4 of stack_area.h
 * Locking     As stack_area.h; PMM, arena and space lock for themselves, with none of ours held.
 * Cost        mm_stack_map: one call of PMM and space each. Trimming: a flush for each 32 frames.
 * Rejected    Frames from a list as mm_vmalloc() keeps it: half a frame for each stack. A block of
 *             2^n frames for a stack: the PMM runs out of those first, and nothing needs them.
 */
#include "base/checked.h"
#include "base/report.h"
#include "stack_area.h"

_Static_assert(MM_STACK_FRAMES_MAX <= MM_GATHER_RUNS, "a gather holds the frames of a stack");

/* ---- making ---- */

/* Frames that touch are one piece. */
static uint32_t pieces_make(const mm_phys_t *frame, uint32_t count, struct mm_phys_range *piece)
{
    uint32_t pieces = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (pieces != 0 && piece[pieces - 1].start.raw + piece[pieces - 1].bytes == frame[i].raw) {
            piece[pieces - 1].bytes += MM_FRAME_BYTES;
        } else {
            piece[pieces].start = frame[i];
            piece[pieces++].bytes = MM_FRAME_BYTES;
        }
    }
    return pieces;
}

static enum mm_err slot_map(struct mm_stacks *stacks, uint32_t slot)
{
    struct mm_phys_range piece[MM_STACK_FRAMES_MAX];
    mm_phys_t frame[MM_STACK_FRAMES_MAX];
    struct mm_map_request request = {
        .virt = mm_stack_low(stacks, slot),
        .bytes = mm_stack_bytes(stacks),
        .prot = MM_PROT_RW,
        .piece = piece,
    };
    enum mm_err err = mm_pmm_alloc_bulk(stacks->area->pmm, NULL, stacks->stack_frames, frame);

    if (err != MM_OK)
        return err;
    request.piece_count = pieces_make(frame, stacks->stack_frames, piece);
    err = mm_space_map(stacks->area->space, &request, NULL);
    if (err != MM_OK)
        (void)mm_pmm_free_bulk(stacks->area->pmm, frame, stacks->stack_frames);
    return err;
}

enum mm_err mm_stack_map(struct mm_stacks *stacks, uint32_t *out)
{
    mm_lock_guard_t guard = mm_lock_take(&stacks->lock);
    uint32_t slot, count = mm_stack_list_take(stacks, &stacks->empty, &slot, 1);
    enum mm_err err;

    if (count != 0)
        mm_store_relaxed_u8(&stacks->slot[slot].state, MM_STACK_CHANGING);
    mm_lock_release(&stacks->lock, guard);
    if (count == 0)
        return MM_ERR_NO_ROOM;
    err = slot_map(stacks, slot);
    guard = mm_lock_take(&stacks->lock);
    if (err == MM_OK) {
        mm_store_relaxed_u8(&stacks->slot[slot].state, MM_STACK_STOCKED);
        stacks->maps++;
        stacks->mapped++;
        stacks->mapped_most = (uint32_t)mm_max_u64(stacks->mapped_most, stacks->mapped);
        *out = slot;
    } else {
        mm_store_relaxed_u8(&stacks->slot[slot].state, MM_STACK_EMPTY);
        mm_stack_list_push(stacks, &stacks->empty, slot); /* last: its addresses may be the cause */
    }
    mm_lock_release(&stacks->lock, guard);
    return err;
}

/* ---- trimming ---- */

/* As a gather calls it: each frame is an allocation of its own. */
static void frames_release(void *context, mm_phys_t first, uint64_t count_frames)
{
    for (uint64_t i = 0; i < count_frames; i++)
        (void)mm_pmm_free_frame(context, mm_phys_add(first, i << MM_FRAME_SHIFT));
}

/* Frames of a mapped slot; false if somebody else unmapped a page. Its tables stay: nobody but us
 * unmaps what is in them. */
static bool slot_frames(const struct mm_stacks *stacks, uint32_t slot, mm_phys_t *frame)
{
    mm_virt_t low = mm_stack_low(stacks, slot);

    for (uint32_t i = 0; i < stacks->stack_frames; i++) {
        struct mm_translation page;

        if (mm_space_translate(stacks->area->space, mm_virt_add(low, (uint64_t)i << MM_FRAME_SHIFT),
                               &page, NULL) != MM_OK)
            return false;
        frame[i] = page.phys;
    }
    return true;
}

static bool slot_unmap(struct mm_stacks *stacks, uint32_t slot, struct mm_gather *gather)
{
    struct mm_phys_range piece[MM_STACK_FRAMES_MAX];
    mm_phys_t frame[MM_STACK_FRAMES_MAX];
    mm_virt_t low = mm_stack_low(stacks, slot);
    uint32_t pieces;

    if (!slot_frames(stacks, slot, frame) ||
        mm_space_unmap(stacks->area->space, low, mm_stack_bytes(stacks), 0, gather, NULL) != MM_OK)
        return false;
    pieces = pieces_make(frame, stacks->stack_frames, piece);
    for (uint32_t i = 0; i < pieces; i++)
        mm_gather_frames(gather, piece[i].start, piece[i].bytes >> MM_FRAME_SHIFT);
    return true;
}

/* Stacks in stock that are more than `keep`, `room` at most: first those of all, then the CPUs'. */
static uint32_t stocks_take(struct mm_stacks *stacks, uint32_t keep, uint32_t *slot, uint32_t room)
{
    struct mm_stacks_stats stats;
    mm_lock_guard_t guard;
    uint32_t count;

    mm_stacks_get_stats(stacks, &stats);
    if (stats.in_stock <= keep)
        return 0;
    room = (uint32_t)mm_min_u64(room, stats.in_stock - keep);
    guard = mm_lock_take(&stacks->lock);
    count = mm_stack_list_take(stacks, &stacks->stock, slot, room);
    mm_lock_release(&stacks->lock, guard);
    for (uint32_t i = 0; i < stacks->cpu_count && count < room; i++)
        count += mm_stack_cpu_take(&stacks->cpu[i], slot + count, room - count);
    return count;
}

/* Unmap slots that are the caller's, in one flush. */
static uint32_t slots_unmap(struct mm_stacks *stacks, const uint32_t *slot, uint32_t count)
{
    bool unmapped[MM_GATHER_RUNS];
    struct mm_gather gather;
    mm_lock_guard_t guard;
    uint32_t done = 0;

    mm_gather_begin(&gather, stacks->area->space);
    mm_gather_set_release(&gather, frames_release, stacks->area->pmm);
    for (uint32_t i = 0; i < count; i++) {
        mm_store_relaxed_u8(&stacks->slot[slot[i]].state, MM_STACK_CHANGING);
        unmapped[i] = slot_unmap(stacks, slot[i], &gather);
    }
    mm_gather_end(&gather);
    guard = mm_lock_take(&stacks->lock);
    for (uint32_t i = 0; i < count; i++) {
        if (!unmapped[i])
            continue; /* stays CHANGING: nobody gets it again */
        mm_store_relaxed_u8(&stacks->slot[slot[i]].state, MM_STACK_EMPTY);
        mm_stack_list_push(stacks, &stacks->empty, slot[i]);
        done++;
    }
    stacks->mapped -= count;
    stacks->unmaps += done;
    mm_lock_release(&stacks->lock, guard);
    for (uint32_t i = 0; i < count; i++) {
        if (!unmapped[i])
            (void)mm_report_misuse(MM_ERR_MISUSE, "stack was unmapped behind its back",
                                   "mm_stacks_trim", stacks, mm_stack_low(stacks, slot[i]).raw,
                                   NULL);
    }
    return done;
}

uint32_t mm_stacks_trim(struct mm_stacks *stacks, uint32_t keep)
{
    uint32_t slot[MM_GATHER_RUNS], room, count, done = 0;

    if (!mm_stacks_ok(stacks))
        return 0;
    room = MM_GATHER_RUNS / stacks->stack_frames;
    while ((count = stocks_take(stacks, keep, slot, room)) != 0)
        done += slots_unmap(stacks, slot, count);
    return done;
}

/* ---- begin and end ---- */

static bool config_ok(const struct mm_stacks_config *config)
{
    return mm_area_ok(config->area) && config->area->pmm != NULL && config->slot != NULL &&
           config->slot_count != 0 && config->slot_count < UINT32_MAX - 1 &&
           (config->cpu != NULL || config->cpu_count == 0) && config->bytes != 0 &&
           mm_is_aligned(config->bytes, MM_FRAME_BYTES) && config->bytes <= MM_STACK_BYTES_MAX &&
           config->guard_frames <= MM_ARENA_GUARD_MAX;
}

enum mm_err mm_stacks_init_abi(struct mm_stacks *stacks, const struct mm_stacks_config *config,
                               const uint32_t *abi)
{
    struct mm_arena_request request = {.cookie = mm_area_cookie(MM_AREA_STACKS, mm_phys(0))};
    mm_virt_t start;
    enum mm_err err;

    if (stacks == NULL || config == NULL || abi == NULL || !config_ok(config))
        return MM_ERR_BAD_ARG;
    *stacks = (struct mm_stacks){
        .slot = config->slot,
        .cpu = config->cpu,
        .slot_count = config->slot_count,
        .cpu_count = config->cpu_count,
        .stack_frames = (uint32_t)(config->bytes >> MM_FRAME_SHIFT),
        .guard_frames = config->guard_frames != 0 ? config->guard_frames : 1,
    };
    request.bytes = config->slot_count * mm_stacks_stride(stacks);
    request.guard_after_frames = stacks->guard_frames;
    err = mm_arena_take(config->area->arena, &request, &start);
    if (err != MM_OK)
        return err;
    stacks->start = start;
    for (uint32_t i = 0; i < config->cpu_count; i++)
        config->cpu[i] = (struct mm_stack_cpu)MM_ZERO;
    for (uint32_t i = 0; i < config->slot_count; i++)
        config->slot[i] = (struct mm_stack_slot){.next = i + 2};
    config->slot[config->slot_count - 1].next = 0;
    stacks->empty = (struct mm_stack_list){1, config->slot_count, config->slot_count};
    stacks->area = config->area; /* last: it says that they are in use */
    return MM_OK;
}

enum mm_err mm_stacks_destroy(struct mm_stacks *stacks)
{
    mm_lock_guard_t guard;
    bool busy;

    if (!mm_stacks_ok(stacks))
        return MM_ERR_BAD_ARG;
    (void)mm_stacks_trim(stacks, 0);
    guard = mm_lock_take(&stacks->lock);
    busy = stacks->empty.count != stacks->slot_count;
    mm_lock_release(&stacks->lock, guard);
    if (busy)
        return MM_ERR_BUSY;
    (void)mm_arena_give(stacks->area->arena, stacks->start);
    stacks->area = NULL;
    return MM_OK;
}
