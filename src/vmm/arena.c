/*
 * arena.c - which virtual addresses are taken.
 *
 * Problem     Devices, DMA buffers and stacks need addresses before they have pages, aligned so
 *             that large pages fit, with guards, and nobody may get the same address twice.
 * Idea        A doubly linked list of the taken spans, sorted by address. The gaps between them
 *             are what is free: taking walks them from below and puts the span into the first that
 *             fits. Ends are written as last bytes, so that a range may end at 2^64.
 * Invariants  I1 spans lie inside the range, are sorted by `start` and disjoint, guards included
 *             I2 a span is longer than its guards together; all are multiples of the frame
 *             I3 span_count and taken_bytes equal a recount
 *             I4 every span node is one of the lent array or in a grown frame, behind its link
 *             I5 grown frames are a list, each link sealed: one that a wild write has changed is
 *                not believed, so a check looks only into frames that were taken here
 * Locking     arena->lock (docs/locking.md). The frame source is called without it: who needs a
 *             span node lets go, takes a frame, and looks again.
 * Cost        O(spans) for every call; checking O(spans x grown frames).
 * Rejected    Giving grown frames back: a frame holds 63 spans and is soon needed again. Asking the
 *             window whether a node may be looked at: a piece of it may cover holes. A tree:
 *             later, behind the same interface; a kernel starts with a few dozen spans.
 */
#include "mm/arena.h"

#include "base/assert.h"
#include "base/bits.h"
#include "base/checked.h"
#include "base/lock.h"
#include "base/report.h"
#include "mm_frame.h"

/* A grown frame starts with its link to the one before, in the place of a span. */
#define SPANS_PER_FRAME (MM_FRAME_BYTES / sizeof(struct mm_arena_span) - 1)
#define GROWN_SEAL      UINT64_C(0x67726f776e5f7631) /* any number that memory seldom has */

_Static_assert(sizeof(struct mm_arena_grown) <= sizeof(struct mm_arena_span), "a link fits a span");
_Static_assert(sizeof(void *) != 8 || SPANS_PER_FRAME == 63, "one frame holds 63 spans");

/* A request in bytes, checked: nothing below can wrap unless it says so. */
struct want {
    uint64_t bytes;  /* rounded to frames */
    uint64_t before; /* guards */
    uint64_t after;
    uint64_t total; /* all three */
    uint64_t align;
    uint64_t phase;
};

/* Where a new span goes: behind `prev` (NULL = first), at `start`, its guard included. */
struct place {
    struct mm_arena_span *prev;
    uint64_t start;
};

static uint64_t span_last(const struct mm_arena_span *span)
{
    return mm_range_last(span->start, span->bytes);
}

static uint64_t guard_bytes(uint32_t frames)
{
    return (uint64_t)frames << MM_FRAME_SHIFT;
}

/* First address that the span's owner may use. */
static uint64_t span_user(const struct mm_arena_span *span)
{
    return span->start + guard_bytes(span->guard_before);
}

static uint64_t span_user_bytes(const struct mm_arena_span *span)
{
    return span->bytes - guard_bytes(span->guard_before) - guard_bytes(span->guard_after);
}

static uint64_t arena_last(const struct mm_arena *arena)
{
    return mm_range_last(arena->range.start.raw, arena->range.bytes);
}

static struct mm_arena_span *span_after(const struct mm_arena *arena,
                                        const struct mm_arena_span *prev)
{
    return prev != NULL ? prev->next : arena->first;
}

/* ---- span nodes ---- */

static void spare_push(struct mm_arena *arena, struct mm_arena_span *span)
{
    span->next = arena->spare;
    arena->spare = span;
}

static void spare_push_array(struct mm_arena *arena, struct mm_arena_span *span, uint64_t count)
{
    while (count-- > 0)
        spare_push(arena, &span[count]);
}

/* Depends on where the link is and on what it says. */
static uint64_t grown_seal(const struct mm_arena_grown *link)
{
    return GROWN_SEAL ^ (uintptr_t)link ^ (uint64_t)(uintptr_t)link->next << 7;
}

static void grown_link(struct mm_arena_grown *link, struct mm_arena_grown *next)
{
    link->next = next;
    link->seal = grown_seal(link);
}

static void grown_push(struct mm_arena *arena, void *frame)
{
    MM_ASSERT_LOCKED(&arena->lock);
    grown_link(frame, arena->grown.next);
    grown_link(&arena->grown, frame);
    arena->grown_frames++;
    spare_push_array(arena, (struct mm_arena_span *)frame + 1, SPANS_PER_FRAME);
}

/* Take a frame and cut it into spans. Called without the lock. */
static enum mm_err spare_grow(struct mm_arena *arena)
{
    mm_lock_guard_t guard;
    mm_phys_t frame;
    void *pointer;
    enum mm_err err;

    if (arena->frames.alloc == NULL)
        return MM_ERR_NO_MEMORY;
    err = arena->frames.alloc(arena->frames.context, &frame);
    if (err != MM_OK)
        return err;
    err = mm_frame_map(arena->window, frame, &pointer);
    if (err != MM_OK) {
        arena->frames.free(arena->frames.context, frame);
        return err;
    }
    guard = mm_lock_take(&arena->lock);
    grown_push(arena, pointer);
    mm_lock_release(&arena->lock, guard);
    return MM_OK;
}

/* ---- finding a place ---- */

static enum mm_err want_read(const struct mm_arena_request *request, struct want *want)
{
    uint64_t frames = mm_frames_for(request->bytes);

    if (request->bytes == 0 || (request->flags & ~MM_ARENA_EXACT) != 0)
        return MM_ERR_BAD_ARG;
    if (request->align_bytes != 0 && !mm_is_power_of_two(request->align_bytes))
        return MM_ERR_BAD_ARG;
    want->align = mm_max_u64(request->align_bytes, MM_FRAME_BYTES);
    want->phase = request->phase_bytes;
    if (want->phase >= want->align || !mm_is_aligned(want->phase, MM_FRAME_BYTES))
        return MM_ERR_BAD_ARG;
    if (frames > UINT64_MAX >> MM_FRAME_SHIFT)
        return MM_ERR_NO_ADDRESS; /* rounding up reaches 2^64 */
    want->bytes = frames << MM_FRAME_SHIFT;
    want->before = guard_bytes(request->guard_before_frames);
    want->after = guard_bytes(request->guard_after_frames);
    if (!mm_add_u64(want->bytes, want->before + want->after, &want->total))
        return MM_ERR_NO_ADDRESS;
    return MM_OK;
}

/* The lowest start (guard included) in the free bytes [first, last]; false if it does not fit. */
static bool gap_fit(uint64_t first, uint64_t last, const struct want *want, uint64_t *start)
{
    uint64_t user;

    if (!mm_add_u64(first, want->before, &user))
        return false;
    if (!mm_add_u64(user, (want->phase - user) & (want->align - 1), &user))
        return false;
    if (user - want->before > last || last - (user - want->before) < want->total - 1)
        return false;
    *start = user - want->before;
    return true;
}

static enum mm_err place_lowest(const struct mm_arena *arena, const struct want *want,
                                struct place *out)
{
    uint64_t first = arena->range.start.raw;
    struct mm_arena_span *prev = NULL;

    for (;;) {
        struct mm_arena_span *next = span_after(arena, prev);
        uint64_t last = next != NULL ? next->start - 1 : arena_last(arena);

        if ((next == NULL || next->start > first) && gap_fit(first, last, want, &out->start)) {
            out->prev = prev;
            return MM_OK;
        }
        if (next == NULL || span_last(next) == arena_last(arena))
            return MM_ERR_NO_ADDRESS;
        first = span_last(next) + 1;
        prev = next;
    }
}

static enum mm_err place_exact(const struct mm_arena *arena, const struct want *want, uint64_t at,
                               struct place *out)
{
    uint64_t start = at - want->before, last;
    struct mm_arena_span *prev = NULL, *next;

    if (((at - want->phase) & (want->align - 1)) != 0)
        return MM_ERR_BAD_ARG;
    if (at < want->before || start < arena->range.start.raw || !mm_range_ok(start, want->total) ||
        mm_range_last(start, want->total) > arena_last(arena))
        return MM_ERR_NO_ADDRESS;
    last = mm_range_last(start, want->total);
    for (next = arena->first; next != NULL && span_last(next) < start; next = next->next)
        prev = next;
    if (next != NULL && next->start <= last)
        return MM_ERR_EXISTS;
    out->prev = prev;
    out->start = start;
    return MM_OK;
}

static void span_link(struct mm_arena *arena, const struct place *place,
                      const struct mm_arena_request *request, const struct want *want)
{
    struct mm_arena_span *span = arena->spare;
    struct mm_arena_span *next = span_after(arena, place->prev);

    MM_ASSERT_LOCKED(&arena->lock);
    arena->spare = span->next;
    *span = (struct mm_arena_span){
        .prev = place->prev,
        .next = next,
        .start = place->start,
        .bytes = want->total,
        .guard_before = request->guard_before_frames,
        .guard_after = request->guard_after_frames,
        .cookie = request->cookie,
    };
    if (place->prev != NULL)
        place->prev->next = span;
    else
        arena->first = span;
    if (next != NULL)
        next->prev = span;
    arena->span_count++;
    arena->taken_bytes += want->total;
}

static void span_unlink(struct mm_arena *arena, struct mm_arena_span *span)
{
    MM_ASSERT_LOCKED(&arena->lock);
    if (span->prev != NULL)
        span->prev->next = span->next;
    else
        arena->first = span->next;
    if (span->next != NULL)
        span->next->prev = span->prev;
    arena->span_count--;
    arena->taken_bytes -= span->bytes;
    spare_push(arena, span);
}

/* ---- calls ---- */

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
        .range = config->range,
        .frames = config->frames,
        .window = config->window,
        .lent = config->span,
        .lent_count = config->span_count,
    };
    grown_link(&arena->grown, NULL);
    spare_push_array(arena, config->span, config->span_count);
    return MM_OK;
}

static enum mm_err take_once(struct mm_arena *arena, const struct mm_arena_request *request,
                             const struct want *want, mm_virt_t *out)
{
    bool exact = (request->flags & MM_ARENA_EXACT) != 0;
    struct place place;
    enum mm_err err;

    MM_ASSERT_LOCKED(&arena->lock);
    err = exact ? place_exact(arena, want, request->at.raw, &place)
                : place_lowest(arena, want, &place);
    if (err != MM_OK)
        return err;
    if (arena->spare == NULL)
        return MM_ERR_AGAIN;
    span_link(arena, &place, request, want);
    *out = mm_virt(place.start + want->before);
    return MM_OK;
}

enum mm_err mm_arena_take(struct mm_arena *arena, const struct mm_arena_request *request,
                          mm_virt_t *out)
{
    struct want want;
    enum mm_err err;

    if (arena == NULL || request == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    err = want_read(request, &want);
    while (err == MM_OK) {
        mm_lock_guard_t guard = mm_lock_take(&arena->lock);

        err = take_once(arena, request, &want, out);
        mm_lock_release(&arena->lock, guard);
        if (err != MM_ERR_AGAIN)
            return err;
        err = spare_grow(arena);
    }
    return err;
}

enum mm_err mm_arena_give(struct mm_arena *arena, mm_virt_t start)
{
    struct mm_arena_span *span;
    mm_lock_guard_t guard;

    if (arena == NULL)
        return mm_report_misuse(MM_ERR_BAD_ARG, "no arena given", "mm_arena_give", NULL, start.raw,
                                MM_CALLER);
    guard = mm_lock_take(&arena->lock);
    for (span = arena->first; span != NULL && span_user(span) < start.raw; span = span->next)
        ;
    if (span != NULL && span_user(span) != start.raw)
        span = NULL;
    if (span != NULL)
        span_unlink(arena, span);
    mm_lock_release(&arena->lock, guard);
    if (span != NULL)
        return MM_OK;
    return mm_report_misuse(MM_ERR_MISUSE, "address is not the start of a span", "mm_arena_give",
                            arena, start.raw, MM_CALLER);
}

enum mm_err mm_arena_find(struct mm_arena *arena, mm_virt_t virt, struct mm_arena_info *out)
{
    enum mm_err err = MM_ERR_NOT_FOUND;
    const struct mm_arena_span *span;
    mm_lock_guard_t guard;

    if (arena == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    guard = mm_lock_take(&arena->lock);
    for (span = arena->first; span != NULL && span_last(span) < virt.raw; span = span->next)
        ;
    if (span != NULL && span->start <= virt.raw) {
        out->start = mm_virt(span_user(span));
        out->bytes = span_user_bytes(span);
        out->cookie = span->cookie;
        out->guard = virt.raw < span_user(span) || virt.raw - span_user(span) >= out->bytes;
        err = MM_OK;
    }
    mm_lock_release(&arena->lock, guard);
    return err;
}

void mm_arena_get_stats(struct mm_arena *arena, struct mm_arena_stats *out)
{
    uint64_t first, largest = 0;
    mm_lock_guard_t guard;

    if (out == NULL)
        return;
    *out = (struct mm_arena_stats)MM_ZERO;
    if (arena == NULL)
        return;
    guard = mm_lock_take(&arena->lock);
    first = arena->range.start.raw;
    for (const struct mm_arena_span *span = arena->first; span != NULL; span = span->next) {
        largest = mm_max_u64(largest, span->start - first);
        first = span_last(span) + 1; /* 0 behind a span that ends at 2^64 */
    }
    largest = mm_max_u64(largest, arena_last(arena) + 1 - first);
    out->spans = arena->span_count;
    out->taken_bytes = arena->taken_bytes;
    out->free_bytes = arena->range.bytes - arena->taken_bytes;
    out->largest_free_bytes = largest;
    mm_lock_release(&arena->lock, guard);
}

/* ---- checking ---- */

/* I5: is each link to a grown frame as it was made? None is followed before that is known. */
static bool grown_fault(const struct mm_arena *arena, struct mm_report *fault)
{
    const struct mm_arena_grown *link = &arena->grown;
    uint64_t count = 0;

    while (link->seal == grown_seal(link) && link->next != NULL && count < arena->grown_frames) {
        link = link->next;
        count++;
    }
    fault->address = (uintptr_t)link;
    fault->what = "link to a frame of span nodes overwritten";
    fault->value[0] = count;
    fault->value[1] = arena->grown_frames;
    return link->seal != grown_seal(link) || link->next != NULL || count != arena->grown_frames;
}

/* Is there a grown frame at `address`? When grown_fault() has found the links sound. */
static bool grown_has(const struct mm_arena *arena, uintptr_t address)
{
    for (const struct mm_arena_grown *at = arena->grown.next; at != NULL; at = at->next) {
        if ((uintptr_t)at == address)
            return true;
    }
    return false;
}

/* I4: may this link be followed at all? */
static bool node_is_ours(const struct mm_arena *arena, const struct mm_arena_span *span)
{
    uintptr_t offset = (uintptr_t)span - (uintptr_t)arena->lent;
    uint64_t bytes = arena->lent_count * sizeof *span;

    if (offset < bytes)
        return offset % sizeof *span == 0;
    offset = (uintptr_t)span % MM_FRAME_BYTES;
    return offset != 0 && offset % sizeof *span == 0 && grown_has(arena, (uintptr_t)span - offset);
}

static const char *span_fault(const struct mm_arena *arena, const struct mm_arena_span *span,
                              const struct mm_arena_span *prev)
{
    uint64_t guards = guard_bytes(span->guard_before) + guard_bytes(span->guard_after);

    if (span->prev != prev)
        return "span does not point back";
    if (!mm_is_aligned(span->start | span->bytes, MM_FRAME_BYTES) || span->bytes <= guards)
        return "span has a wrong size";
    if (!mm_range_ok(span->start, span->bytes) || span->start < arena->range.start.raw ||
        span_last(span) > arena_last(arena))
        return "span outside the arena";
    if (prev != NULL && span->start <= span_last(prev))
        return "spans overlap or are not sorted";
    return NULL;
}

/* Stops at the first fault and describes it: what comes behind a wrong link proves nothing. */
static bool list_fault(const struct mm_arena *arena, struct mm_report *fault)
{
    const struct mm_arena_span *prev = NULL;
    uint64_t count = 0, bytes = 0;

    for (const struct mm_arena_span *span = arena->first; span != NULL; span = span->next) {
        fault->address = (uintptr_t)span;
        fault->what = count == arena->span_count   ? "more spans than counted"
                      : !node_is_ours(arena, span) ? "link leads out of the arena's nodes"
                                                   : span_fault(arena, span, prev);
        if (fault->what != NULL)
            return true;
        bytes += span->bytes;
        count++;
        prev = span;
    }
    fault->address = arena->range.start.raw;
    fault->value[0] = count != arena->span_count ? arena->span_count : arena->taken_bytes;
    fault->value[1] = count != arena->span_count ? count : bytes;
    fault->what = "counters differ from a recount";
    return fault->value[0] != fault->value[1];
}

static bool spare_fault(const struct mm_arena *arena, struct mm_report *fault)
{
    uint64_t nodes = arena->lent_count + arena->grown_frames * SPANS_PER_FRAME;
    uint64_t count = arena->span_count;

    for (const struct mm_arena_span *span = arena->spare; span != NULL; span = span->next) {
        fault->address = (uintptr_t)span;
        fault->what = "spare list damaged";
        if (count++ == nodes || !node_is_ours(arena, span))
            return true;
    }
    fault->address = arena->range.start.raw;
    fault->what = "span nodes lost";
    fault->value[0] = count;
    fault->value[1] = nodes;
    return count != nodes;
}

size_t mm_arena_check(struct mm_arena *arena, const struct mm_check_sink *sink)
{
    struct mm_report fault = MM_ZERO;
    mm_lock_guard_t guard;
    size_t faults = 0;
    bool bad;

    if (arena == NULL) {
        mm_check_fault(sink, &faults, "no arena given", "mm_arena_check", NULL, 0, 0, 0);
        return faults;
    }
    guard = mm_lock_take(&arena->lock);
    bad = grown_fault(arena, &fault) || list_fault(arena, &fault) || spare_fault(arena, &fault);
    mm_lock_release(&arena->lock, guard);
    if (bad)
        mm_check_fault(sink, &faults, fault.what, "mm_arena_check", arena, fault.address,
                       fault.value[0], fault.value[1]);
    return faults;
}
