/*
 * arena_resize.c - spans and ranges that change: grow, cut, add.
 *
 * Problem     A buffer grows in place or is given back in parts; firmware, or a hot-plugged device,
 *             brings another range of addresses.
 * Idea        All is cutting and growing of spans in the tree. To add a range is to cut it out of the
 *             hole that it lies in. A cut leaves what is behind it, and what is before it as a new
 *             span; a part that goes into quarantine is one, too. A grown span takes from the gap
 *             behind it.
 * Invariants  A1 to A7
 * Locking     arena->lock.
 * Cost        O(log spans): at most three descents.
 * Rejected    Cuts that may leave nothing said about guards: they move up to what is left, as a
 *             guard page behind a stack does that shrinks.
 */
#include "base/checked.h"
#include "base/report.h"
#include "vmm/arena_internal.h"

/* ---- cutting ---- */

/*
 * Take [first, end), which it contains and is not all of it, out of the span at the end of the
 * path. If there is something left on both sides, what is before goes to `front`, a new node: the
 * span itself may be the last of the tree.
 */
static void span_split(struct mm_arena *arena, struct mm_span_path *path, uint64_t first,
                       uint64_t end, struct mm_arena_span *front)
{
    struct mm_arena_span *span = mm_span_path_end(path);
    uint64_t start = span->first, last = mm_span_end(span);

    MM_ASSERT_LOCKED(&arena->lock);
    if (end == last) {
        mm_span_set(span, start, first - start);
        span = mm_span_path_next(path);
        mm_span_set_gap(span, span->gap + (last - first));
        mm_span_path_touch(arena, path);
        return;
    }
    mm_span_set_gap(span, span->gap + (end - start));
    mm_span_set(span, end, last - end);
    mm_span_path_touch(arena, path);
    if (first == start)
        return;
    mm_span_set(front, start, first - start);
    front->state = span->state;
    front->cookie = span->cookie;
    front->guard_before = span->guard_before;
    span->guard_before = 0;
    mm_span_insert(arena, front);
}

/* What a cut gives back, guards moved up: [first, end), in frames. */
struct cut {
    uint64_t first, end;
    bool tight; /* no more nodes are to be had: do without quarantine */
};

/* MM_ERR_NO_MEMORY: a node is missing; MM_ERR_AGAIN: one for quarantine. */

static enum mm_err cut_once(struct mm_arena *arena, const struct cut *cut)
{
    uint64_t first = cut->first, end = cut->end;
    bool kept = arena->quarantine_limit_bytes != 0, inner;
    struct mm_arena_span *span;
    struct mm_span_path path;
    uint64_t cookie;

    MM_ASSERT_LOCKED(&arena->lock);
    if (!mm_span_path(arena, first, &path))
        return MM_ERR_MISUSE;
    span = mm_span_path_end(&path);
    if (span->state != MM_SPAN_TAKEN || first < mm_span_user(span) || end > mm_span_user_end(span))
        return MM_ERR_MISUSE;
    if (first == mm_span_user(span) && end == mm_span_user_end(span)) {
        mm_span_retire(arena, &path);
        return MM_OK;
    }
    inner = first != mm_span_user(span) && end != mm_span_user_end(span);
    if (arena->spare_count < (unsigned)inner + kept) {
        if (inner && arena->spare == NULL)
            return MM_ERR_NO_MEMORY;
        if (!cut->tight)
            return MM_ERR_AGAIN;
        kept = false;
    }
    if (first == mm_span_user(span)) {
        first -= span->guard_before;
        end -= span->guard_before;
    } else if (end == mm_span_user_end(span)) {
        first += span->guard_after;
        end += span->guard_after;
    }
    cookie = span->cookie;
    arena->taken_bytes -= (end - first) << MM_FRAME_SHIFT;
    arena->span_count += inner;
    span_split(arena, &path, first, end, inner ? mm_span_new(arena) : NULL);
    if (!kept)
        return MM_OK;
    span = mm_span_new(arena);
    mm_span_set(span, first, end - first);
    span->cookie = cookie;
    mm_span_insert(arena, span);
    mm_quarantine_push(arena, span);
    return MM_OK;
}

enum mm_err mm_arena_cut(struct mm_arena *arena, mm_virt_t start, uint64_t bytes)
{
    struct cut cut = {start.raw >> MM_FRAME_SHIFT, 0, false};
    enum mm_err err;

    if (arena == NULL || !mm_is_aligned(start.raw | bytes, MM_FRAME_BYTES) ||
        !mm_range_ok(start.raw, bytes))
        return MM_ERR_BAD_ARG;
    cut.end = cut.first + (bytes >> MM_FRAME_SHIFT);
    for (;;) {
        mm_lock_guard_t guard = mm_lock_take(&arena->lock);

        err = cut_once(arena, &cut);
        mm_lock_release(&arena->lock, guard);
        if (err == MM_ERR_AGAIN) {
            cut.tight = mm_span_more(arena) != MM_OK;
        } else if (err == MM_ERR_NO_MEMORY) {
            err = mm_span_more(arena);
            if (err != MM_OK)
                return err;
        } else {
            break;
        }
    }
    if (err == MM_OK)
        return MM_OK;
    return mm_report_misuse(err, "not inside one span", "mm_arena_cut", arena, start.raw,
                            MM_CALLER);
}

/* ---- adding ---- */

static enum mm_err add_once(struct mm_arena *arena, uint64_t first, uint64_t end)
{
    uint64_t bytes = (end - first) << MM_FRAME_SHIFT;
    struct mm_arena_span *span;
    struct mm_span_path path;
    bool inner;

    MM_ASSERT_LOCKED(&arena->lock);
    if (!mm_span_path(arena, first, &path))
        return MM_ERR_EXISTS;
    span = mm_span_path_end(&path);
    if (span->state != MM_SPAN_HOLE || end > mm_span_end(span))
        return MM_ERR_EXISTS;
    if (bytes > UINT64_MAX - arena->range_bytes)
        return MM_ERR_RANGE;
    inner = first != span->first && end != mm_span_end(span);
    if (inner && arena->spare == NULL)
        return MM_ERR_NO_MEMORY;
    arena->range_bytes += bytes;
    if (first == span->first && end == mm_span_end(span)) {
        mm_span_erase(arena, &path);
        mm_span_free(arena, span);
        arena->hole_count--;
        return MM_OK;
    }
    arena->hole_count += inner;
    span_split(arena, &path, first, end, inner ? mm_span_new(arena) : NULL);
    return MM_OK;
}

enum mm_err mm_arena_add(struct mm_arena *arena, struct mm_virt_range range)
{
    uint64_t first = range.start.raw >> MM_FRAME_SHIFT;
    uint64_t end = first + (range.bytes >> MM_FRAME_SHIFT);
    enum mm_err err;

    if (arena == NULL || !mm_is_aligned(range.start.raw | range.bytes, MM_FRAME_BYTES) ||
        !mm_range_ok(range.start.raw, range.bytes))
        return MM_ERR_BAD_ARG;
    do {
        mm_lock_guard_t guard = mm_lock_take(&arena->lock);

        err = add_once(arena, first, end);
        mm_lock_release(&arena->lock, guard);
    } while (err == MM_ERR_NO_MEMORY && (err = mm_span_more(arena)) == MM_OK);
    return err;
}

/* ---- growing ---- */

static enum mm_err grow_once(struct mm_arena *arena, mm_virt_t start, uint64_t frames)
{
    struct mm_arena_span *span, *after;
    struct mm_span_path path;
    enum mm_err err;

    MM_ASSERT_LOCKED(&arena->lock);
    if (!mm_span_path_user(arena, start.raw, &path))
        return MM_ERR_MISUSE;
    span = mm_span_path_end(&path);
    after = mm_span_path_next(&path);
    if (after->gap < frames) {
        err = mm_span_clear(arena, mm_span_end(span), mm_span_end(span) + frames);
        return err == MM_OK ? MM_ERR_AGAIN : err;
    }
    mm_span_set(span, span->first, span->frames + frames);
    mm_span_set_gap(after, after->gap - frames);
    mm_span_path_touch(arena, &path);
    arena->taken_bytes += frames << MM_FRAME_SHIFT;
    return MM_OK;
}

enum mm_err mm_arena_grow(struct mm_arena *arena, mm_virt_t start, uint64_t bytes)
{
    uint64_t frames = mm_frames_for(bytes);
    enum mm_err err;

    if (arena == NULL || bytes == 0)
        return MM_ERR_BAD_ARG;
    do {
        mm_lock_guard_t guard = mm_lock_take(&arena->lock);

        err = grow_once(arena, start, frames);
        mm_lock_release(&arena->lock, guard);
    } while (err == MM_ERR_AGAIN);
    if (err != MM_ERR_MISUSE)
        return err;
    return mm_report_misuse(err, "address is not the start of a span", "mm_arena_grow", arena,
                            start.raw, MM_CALLER);
}
