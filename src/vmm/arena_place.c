/*
 * arena_place.c - from a request to the addresses that it gets.
 *
 * Problem     The lowest place, with an alignment, a phase and guards, among gaps of which the tree
 *             knows only the lengths.
 * Idea        A gap that is long enough for any position, longer by an alignment less one frame,
 *             fits. One that is just long enough fits or not, and nearly always the first or second
 *             does: so look at up to 64 of them, from below, and only then ask for the longer one.
 *             If there is none such, look at all that are long enough, 64 in each hold of the lock.
 *             Numbers of frames are below 2^53, alignments included: sums do not wrap.
 * Invariants  No gap that the search has left behind is looked at again.
 * Locking     arena->lock, released between slices by the caller.
 * Cost        O(log spans) for each gap that is looked at: one without an alignment.
 * Rejected    A largest gap for each alignment in the tree: phases are arbitrary. Asking for the
 *             longer gap first: kernels' large mappings would skip the places that fit them.
 */
#include "base/checked.h"
#include "vmm/arena_internal.h"

enum mm_err mm_span_want(const struct mm_arena_request *request, struct mm_span_want *want)
{
    uint64_t align = mm_max_u64(request->align_bytes, MM_FRAME_BYTES);
    uint64_t at = request->at.raw;

    if (request->bytes == 0 || (request->flags & ~MM_ARENA_EXACT) != 0)
        return MM_ERR_BAD_ARG;
    if (request->guard_before_frames > MM_ARENA_GUARD_MAX ||
        request->guard_after_frames > MM_ARENA_GUARD_MAX)
        return MM_ERR_BAD_ARG;
    if (!mm_is_power_of_two(align) || request->phase_bytes >= align ||
        !mm_is_aligned(request->phase_bytes, MM_FRAME_BYTES))
        return MM_ERR_BAD_ARG;
    *want = (struct mm_span_want){
        .frames = mm_frames_for(request->bytes),
        .before = request->guard_before_frames,
        .after = request->guard_after_frames,
        .align = align >> MM_FRAME_SHIFT,
        .phase = request->phase_bytes >> MM_FRAME_SHIFT,
        .exact = (request->flags & MM_ARENA_EXACT) != 0,
    };
    want->total = want->before + want->frames + want->after;
    if (!want->exact)
        return MM_OK;
    if (((at - request->phase_bytes) & (align - 1)) != 0)
        return MM_ERR_BAD_ARG;
    want->at = (at >> MM_FRAME_SHIFT) - want->before;
    if (at >> MM_FRAME_SHIFT < want->before || want->at + want->total > MM_SPACE_FRAMES)
        return MM_ERR_NO_ADDRESS;
    return MM_OK;
}

/* The lowest start, guard included, in the gap before `span`; false if it does not fit. */
static bool gap_fit(const struct mm_arena_span *span, const struct mm_span_want *want,
                    uint64_t *first)
{
    uint64_t user = span->first - span->gap + want->before;

    user += (want->phase - user) & (want->align - 1);
    if (user - want->before + want->total > span->first)
        return false;
    *first = user - want->before;
    return true;
}

/* The lowest gap that is long enough and was not looked at. */
static const struct mm_arena_span *gap_next(const struct mm_arena *arena,
                                            const struct mm_span_want *want, uint32_t need,
                                            struct mm_span_path *path)
{
    if (want->from == 0)
        return mm_span_path_gap(arena, need, path) ? mm_span_path_end(path) : NULL;
    path->depth = 0;
    return mm_span_gap_from(arena, want->from, need);
}

/* The next few gaps that are long enough. */
static enum mm_err place_slice(const struct mm_arena *arena, struct mm_span_want *want,
                               struct mm_span_path *path, uint64_t *first)
{
    uint32_t need = mm_gap_clip(want->total);

    for (unsigned i = 0; i < MM_SPAN_BATCH; i++) {
        const struct mm_arena_span *span = gap_next(arena, want, need, path);

        if (span == NULL)
            return MM_ERR_NO_ADDRESS;
        if (gap_fit(span, want, first))
            return MM_OK;
        want->from = span->first + 1;
    }
    return MM_ERR_AGAIN;
}

static enum mm_err place_lowest(const struct mm_arena *arena, struct mm_span_want *want,
                                struct mm_span_path *path, uint64_t *first)
{
    enum mm_err err = place_slice(arena, want, path, first);
    const struct mm_arena_span *span;

    if (err != MM_ERR_AGAIN || want->far)
        return err;
    want->far = true;
    span = mm_span_gap_from(arena, want->from, mm_gap_clip(want->total + want->align - 1));
    return span != NULL && gap_fit(span, want, first) ? MM_OK : MM_ERR_AGAIN;
}

enum mm_err mm_span_clear(struct mm_arena *arena, uint64_t first, uint64_t end)
{
    struct mm_span_path path;

    for (unsigned i = 0; i < MM_SPAN_BATCH; i++) {
        const struct mm_arena_span *span = mm_span_at_or_after(arena, first);

        if (span->first >= end)
            return MM_OK;
        if (span->state != MM_SPAN_QUARANTINED)
            return span->state == MM_SPAN_HOLE ? MM_ERR_NO_ADDRESS : MM_ERR_EXISTS;
        if (mm_span_path(arena, span->first, &path))
            mm_quarantine_spend(arena, &path);
    }
    return MM_ERR_AGAIN;
}

enum mm_err mm_span_place(struct mm_arena *arena, struct mm_span_want *want,
                          struct mm_span_path *path, uint64_t *first)
{
    enum mm_err err;

    MM_ASSERT_LOCKED(&arena->lock);
    path->depth = 0;
    if (want->exact) {
        *first = want->at;
        return mm_span_clear(arena, want->at, want->at + want->total);
    }
    if (want->total > (arena->range_bytes - arena->taken_bytes) >> MM_FRAME_SHIFT)
        return MM_ERR_NO_ADDRESS; /* not even without quarantine */
    err = place_lowest(arena, want, path, first);
    if (err == MM_ERR_NO_ADDRESS && mm_quarantine_pop(arena, MM_SPAN_BATCH)) {
        want->from = 0;
        want->far = false;
        return MM_ERR_AGAIN;
    }
    return err;
}
