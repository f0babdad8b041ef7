/*
 * arena.c - the calls of an arena: take, give, find, walk.
 *
 * Problem     See arena_internal.h, which has the structure and its invariants.
 * Idea        Arguments are turned into frames and checked before the lock is taken. What a call
 *             needs, a place and a node, it looks for under the lock and uses in the same hold; if
 *             there is no node it lets go, takes a frame, and looks again.
 * Invariants  A1 to A7
 * Locking     arena->lock; reports are made without it.
 * Cost        O(log spans) with interrupts off; searches and drains let go after 64 spans.
 * Rejected    Keeping a node ready for each CPU: a frame brings 63.
 */
#include "base/checked.h"
#include "base/report.h"
#include "vmm/arena_internal.h"

enum mm_err mm_arena_init_abi(struct mm_arena *arena, const struct mm_arena_config *config,
                              const uint32_t *abi)
{
    bool lent, grows;

    if (arena == NULL || config == NULL || abi == NULL)
        return MM_ERR_BAD_ARG;
    if (!mm_is_aligned(config->range.start.raw | config->range.bytes, MM_FRAME_BYTES) ||
        !mm_range_ok(config->range.start.raw, config->range.bytes))
        return MM_ERR_BAD_ARG;
    lent = config->span != NULL && config->span_count != 0;
    grows = config->frames.alloc != NULL && config->frames.free != NULL && config->window != NULL;
    if (config->span == NULL && config->span_count != 0)
        return MM_ERR_BAD_ARG;
    if (!grows && (config->frames.alloc != NULL || !lent))
        return MM_ERR_BAD_ARG;
    *arena = (struct mm_arena){
        .root = &arena->edge[0],
        .spare = &arena->edge[1],
        .spare_count = 1,
        .frames = config->frames,
        .window = config->window,
        .lent = config->span,
        .lent_count = config->span_count,
        .quarantine_limit_bytes = config->quarantine_bytes,
        .hole_count = 1,
    };
    mm_span_set(arena->root, 0, MM_SPACE_END);
    arena->root->state = MM_SPAN_HOLE;
    mm_span_nodes_init(arena);
    return mm_arena_add(arena, config->range); /* in the middle of the hole at worst: edge[1] */
}

/* ---- take and give ---- */

static enum mm_err take_once(struct mm_arena *arena, const struct mm_arena_request *request,
                             struct mm_span_want *want, mm_virt_t *out)
{
    struct mm_arena_span *span;
    struct mm_span_path path;
    uint64_t first;
    enum mm_err err = mm_span_place(arena, want, &path, &first);

    if (err != MM_OK)
        return err;
    if (arena->spare == NULL)
        return MM_ERR_NO_MEMORY;
    span = mm_span_new(arena);
    mm_span_set(span, first, want->total);
    span->state = MM_SPAN_TAKEN;
    span->guard_before = want->before & MM_ARENA_GUARD_MAX;
    span->guard_after = want->after & MM_ARENA_GUARD_MAX;
    span->cookie = request->cookie;
    if (path.depth != 0)
        mm_span_insert_before(arena, &path, span);
    else
        mm_span_insert(arena, span);
    arena->span_count++;
    arena->taken_bytes += want->total << MM_FRAME_SHIFT;
    *out = mm_virt(mm_span_user(span) << MM_FRAME_SHIFT);
    return MM_OK;
}

enum mm_err mm_arena_take(struct mm_arena *arena, const struct mm_arena_request *request,
                          mm_virt_t *out)
{
    struct mm_span_want want;
    enum mm_err err;

    if (arena == NULL || request == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    err = mm_span_want(request, &want);
    while (err == MM_OK) {
        mm_lock_guard_t guard = mm_lock_take(&arena->lock);

        err = take_once(arena, request, &want, out);
        mm_lock_release(&arena->lock, guard);
        if (err == MM_OK)
            break;
        if (err == MM_ERR_AGAIN)
            err = MM_OK;
        else if (err == MM_ERR_NO_MEMORY)
            err = mm_span_more(arena);
    }
    return err;
}

enum mm_err mm_arena_give(struct mm_arena *arena, mm_virt_t start)
{
    struct mm_span_path path;
    mm_lock_guard_t guard;
    bool found;

    if (arena == NULL)
        return mm_report_misuse(MM_ERR_BAD_ARG, "no arena given", "mm_arena_give", NULL, start.raw,
                                MM_CALLER);
    guard = mm_lock_take(&arena->lock);
    found = mm_span_path_user(arena, start.raw, &path);
    if (found)
        mm_span_retire(arena, &path);
    mm_lock_release(&arena->lock, guard);
    if (found)
        return MM_OK;
    return mm_report_misuse(MM_ERR_MISUSE, "address is not the start of a span", "mm_arena_give",
                            arena, start.raw, MM_CALLER);
}

void mm_arena_drain(struct mm_arena *arena)
{
    mm_lock_guard_t guard;
    bool more = arena != NULL;

    while (more) {
        guard = mm_lock_take(&arena->lock);
        more = mm_quarantine_pop(arena, MM_SPAN_BATCH);
        mm_lock_release(&arena->lock, guard);
    }
}

void mm_arena_set_quarantine(struct mm_arena *arena, uint64_t bytes)
{
    mm_lock_guard_t guard;

    if (arena == NULL)
        return;
    guard = mm_lock_take(&arena->lock);
    arena->quarantine_limit_bytes = bytes;
    arena->seal = mm_arena_seal(arena);
    mm_lock_release(&arena->lock, guard);
    if (bytes == 0)
        mm_arena_drain(arena);
}

/* ---- queries ---- */

static void info_fill(const struct mm_arena_span *span, struct mm_arena_info *out)
{
    uint64_t frames = mm_span_user_end(span) - mm_span_user(span);

    *out = (struct mm_arena_info){
        .start = mm_virt(mm_span_user(span) << MM_FRAME_SHIFT),
        .bytes = frames << MM_FRAME_SHIFT,
        .cookie = span->cookie,
        .state = span->state == MM_SPAN_TAKEN ? MM_ARENA_TAKEN : MM_ARENA_QUARANTINED,
        .guard_before_frames = span->guard_before,
        .guard_after_frames = span->guard_after,
    };
}

enum mm_err mm_arena_find(struct mm_arena *arena, mm_virt_t virt, struct mm_arena_info *out)
{
    uint64_t frame = virt.raw >> MM_FRAME_SHIFT;
    enum mm_err err = MM_ERR_NOT_FOUND;
    const struct mm_arena_span *span;
    mm_lock_guard_t guard;

    if (arena == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    guard = mm_lock_take(&arena->lock);
    span = mm_span_at_or_after(arena, frame);
    if (span->first <= frame && span->state != MM_SPAN_HOLE) {
        info_fill(span, out);
        out->guard = frame < mm_span_user(span) || frame >= mm_span_user_end(span);
        err = MM_OK;
    }
    mm_lock_release(&arena->lock, guard);
    return err;
}

enum mm_err mm_arena_walk(struct mm_arena *arena, struct mm_arena_cursor *cursor,
                          struct mm_arena_info *out)
{
    enum mm_err err = MM_ERR_NOT_FOUND;
    mm_lock_guard_t guard;

    if (arena == NULL || cursor == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    guard = mm_lock_take(&arena->lock);
    while (err != MM_OK && cursor->frame <= MM_SPACE_FRAMES) {
        const struct mm_arena_span *span = mm_span_at_or_after(arena, cursor->frame);

        cursor->frame = mm_span_end(span);
        if (span->state == MM_SPAN_HOLE)
            continue;
        info_fill(span, out);
        err = MM_OK;
    }
    mm_lock_release(&arena->lock, guard);
    return err;
}

void mm_arena_get_stats(struct mm_arena *arena, struct mm_arena_stats *out)
{
    mm_lock_guard_t guard;

    if (out == NULL)
        return;
    *out = (struct mm_arena_stats)MM_ZERO;
    if (arena == NULL)
        return;
    guard = mm_lock_take(&arena->lock);
    out->spans = arena->span_count;
    out->taken_bytes = arena->taken_bytes;
    out->free_bytes = arena->range_bytes - arena->taken_bytes - arena->quarantine_bytes;
    out->largest_free_bytes = mm_span_largest_gap(arena) << MM_FRAME_SHIFT;
    out->quarantined_spans = arena->quarantine_count;
    out->quarantined_bytes = arena->quarantine_bytes;
    out->bookkeeping_bytes = arena->grown_frames << MM_FRAME_SHIFT;
    mm_lock_release(&arena->lock, guard);
}
