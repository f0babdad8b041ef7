/*
 * arena_node.c - memory for the spans of an arena.
 *
 * Problem     An arena runs before any heap, and its spans are lent, or lie in frames of any
 *             addresses; a check that looks at them must know, for each link, whether it leads to
 *             one, before it follows it, or a wild write makes the check fault.
 * Idea        Spare nodes are a list. A frame that was taken for more of them begins with a link:
 *             these frames are a search tree by the bits of their addresses, the lowest bit first,
 *             so that no path is longer than an address has bits, and frames from one place spread
 *             evenly. Each link is sealed with a hash of what it says and where it is; looking up
 *             an address believes no link with another seal.
 * Invariants  A6 of arena_internal.h
 *             N1 a grown frame is found by its own address
 *             N2 what never changes in struct mm_arena, and the limit of quarantine, hash to `seal`
 * Locking     arena->lock; mm_span_more() takes it. The frame source is called without it.
 * Cost        O(1) for a node; O(log frames) for a frame, and to tell whose a node is. A new frame
 *             is cut up before the lock is taken.
 * Rejected    Giving grown frames back: a frame holds 63 spans and is soon needed again. Asking the
 *             window whether a node may be looked at: a piece of it may cover holes. A list of
 *             frames: a check would cost spans x frames. Numbers instead of pointers: the directory
 *             from number to node is two more frames, and two more loads for each step of a search.
 */
#include "mm_frame.h"
#include "vmm/arena_internal.h"

#define SEAL_KEY UINT64_C(0x67726f776e5f7632) /* any number that memory seldom has */

_Static_assert(sizeof(struct mm_arena_grown) <= sizeof(struct mm_arena_span), "a link fits a span");
_Static_assert(sizeof(void *) != 8 || sizeof(struct mm_arena_span) == 64, "one line of memory");
_Static_assert(sizeof(void *) != 8 || MM_SPANS_PER_FRAME == 63, "one frame holds 63 spans");

/* Each step is a bijection of either argument: no single wrong one gives the same. */
static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15); /* odd: 2^64 / golden ratio */
    return hash ^ hash >> 32;
}

/* ---- spare nodes ---- */

struct mm_arena_span *mm_span_new(struct mm_arena *arena)
{
    struct mm_arena_span *span = arena->spare;

    MM_ASSERT_LOCKED(&arena->lock);
    MM_ASSERT2(span != NULL, (uintptr_t)arena, arena->spare_count);
    arena->spare = span->next;
    arena->spare_count--;
    span->next = NULL;
    return span;
}

void mm_span_free(struct mm_arena *arena, struct mm_arena_span *span)
{
    *span = (struct mm_arena_span){.next = arena->spare};
    arena->spare = span;
    arena->spare_count++;
}

/* Nodes one behind the other, made a list that ends with `next`. */
static void nodes_chain(struct mm_arena_span *span, uint64_t count, struct mm_arena_span *next)
{
    while (count-- > 0) {
        span[count] = (struct mm_arena_span){.next = next};
        next = &span[count];
    }
}

/* ---- grown frames ---- */

static uint64_t grown_seal(const struct mm_arena_grown *link)
{
    return mix(mix(mix(SEAL_KEY, (uintptr_t)link), (uintptr_t)link->child[0]),
               (uintptr_t)link->child[1]);
}

static void grown_insert(struct mm_arena *arena, struct mm_arena_grown *frame)
{
    uintptr_t key = (uintptr_t)frame >> MM_FRAME_SHIFT;
    struct mm_arena_grown *at = &arena->grown;

    while (at->child[key & 1] != NULL) {
        at = at->child[key & 1];
        MM_ASSERT2(at != frame, (uintptr_t)frame, arena->grown_frames);
        key >>= 1;
    }
    at->child[key & 1] = frame;
    at->seal = grown_seal(at);
    arena->grown_frames++;
}

/* Take a frame and cut it into nodes. */
static enum mm_err nodes_grow(struct mm_arena *arena)
{
    struct mm_arena_grown *link;
    struct mm_arena_span *span;
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
    link = pointer;
    *link = (struct mm_arena_grown){.child = {NULL, NULL}};
    link->seal = grown_seal(link);
    span = (struct mm_arena_span *)pointer + 1;
    nodes_chain(span, MM_SPANS_PER_FRAME, NULL);
    guard = mm_lock_take(&arena->lock);
    grown_insert(arena, link);
    span[MM_SPANS_PER_FRAME - 1].next = arena->spare;
    arena->spare = span;
    arena->spare_count += MM_SPANS_PER_FRAME;
    mm_lock_release(&arena->lock, guard);
    return MM_OK;
}

enum mm_err mm_span_more(struct mm_arena *arena)
{
    enum mm_err err = nodes_grow(arena);
    mm_lock_guard_t guard;

    if (err == MM_OK)
        return MM_OK;
    guard = mm_lock_take(&arena->lock);
    if (mm_quarantine_pop(arena, 1))
        err = MM_OK;
    mm_lock_release(&arena->lock, guard);
    return err;
}

/* ---- whose is it? ---- */

uint64_t mm_arena_seal(const struct mm_arena *arena)
{
    const struct mm_frame_source *frames = &arena->frames;
    uint64_t hash = mix(SEAL_KEY, (uintptr_t)arena);

    hash = mix(mix(hash, (uintptr_t)frames->alloc), (uintptr_t)frames->free);
    hash = mix(mix(hash, (uintptr_t)frames->owns), (uintptr_t)frames->tag);
    hash = mix(hash, (uintptr_t)frames->context);
    hash = mix(mix(hash, (uintptr_t)arena->window), (uintptr_t)arena->lent);
    return mix(mix(hash, arena->lent_count), arena->quarantine_limit_bytes);
}

void mm_span_nodes_init(struct mm_arena *arena)
{
    arena->seal = mm_arena_seal(arena);
    arena->grown.seal = grown_seal(&arena->grown);
    if (arena->lent_count == 0)
        return;
    nodes_chain(arena->lent, arena->lent_count, arena->spare);
    arena->spare = arena->lent;
    arena->spare_count += arena->lent_count;
}

/* The link at the start of the grown frame at `address`, or the damaged one on the way there; NULL if
 * there is no such frame. */
static const struct mm_arena_grown *grown_find(const struct mm_arena *arena, uintptr_t address)
{
    const struct mm_arena_grown *at = &arena->grown;

    for (uintptr_t key = address >> MM_FRAME_SHIFT; at != NULL; key >>= 1) {
        if (at->seal != grown_seal(at) || (uintptr_t)at == address)
            return at;
        at = at->child[key & 1];
    }
    return NULL;
}

bool mm_span_is_ours(const struct mm_arena *arena, const struct mm_arena_span *span)
{
    uintptr_t offset = (uintptr_t)span - (uintptr_t)arena->lent;
    const struct mm_arena_grown *link;

    if (offset < arena->lent_count * sizeof *span)
        return offset % sizeof *span == 0;
    if (span == &arena->edge[0] || span == &arena->edge[1])
        return true;
    offset = (uintptr_t)span % MM_FRAME_BYTES;
    if (offset == 0 || offset % sizeof *span != 0)
        return false;
    link = grown_find(arena, (uintptr_t)span - offset);
    return link != NULL && (uintptr_t)link == (uintptr_t)span - offset &&
           link->seal == grown_seal(link);
}

uintptr_t mm_grown_fault(const struct mm_arena *arena)
{
    /* Two children for each bit of the address, the second of which waits. */
    const struct mm_arena_grown *waiting[64 - MM_FRAME_SHIFT + 1], *at = &arena->grown;
    uint64_t count = 0;
    unsigned depth = 0;

    for (;;) {
        if (at->seal != grown_seal(at))
            return (uintptr_t)at;
        if (at != &arena->grown &&
            (grown_find(arena, (uintptr_t)at) != at || count++ == arena->grown_frames))
            return (uintptr_t)at;
        if (at->child[0] != NULL && at->child[1] != NULL) {
            if (depth == sizeof waiting / sizeof waiting[0])
                return (uintptr_t)at;
            waiting[depth++] = at->child[1];
        }
        if (at->child[0] != NULL || at->child[1] != NULL)
            at = at->child[0] != NULL ? at->child[0] : at->child[1];
        else if (depth > 0)
            at = waiting[--depth];
        else
            break;
    }
    return count == arena->grown_frames ? 0 : (uintptr_t)&arena->grown;
}
