/*
 * arena_quarantine.c - addresses that were given back, and are not to be had yet.
 *
 * Problem     A pointer into memory that was given back does harm unseen when its address belongs
 *             to somebody else at once. While nobody has it, it faults, and the fault can be
 *             explained.
 * Idea        A span that is given back stays in the tree, which is all that keeps others off, and
 *             joins a list. The oldest leaves when enough was given back after it. A span in the
 *             way of a request for its very address leaves the tree at once and stays in the list,
 *             spent, until its turn: so the list needs no second link.
 * Invariants  A5 of arena_internal.h
 * Locking     arena->lock
 * Cost        O(log spans) to let one go; each give lets four go at most, so that a small limit
 *             behind a large span is reached in the end, and no give is long.
 * Rejected    Generations: ending one means a look at all spans. A limit in spans: what a stale
 *             pointer meets is a matter of bytes, and the nodes of a quarantine of 64 MiB are 1 MiB
 *             at most. Time: there is no clock here.
 */
#include "vmm/arena_internal.h"

#define LET_GO_PER_GIVE 4u

static void span_leave(struct mm_arena *arena, struct mm_span_path *path)
{
    arena->quarantine_count--;
    arena->quarantine_bytes -= mm_span_path_end(path)->frames << MM_FRAME_SHIFT;
    mm_span_erase(arena, path);
}

static void pop_one(struct mm_arena *arena)
{
    struct mm_arena_span *span = arena->oldest;
    struct mm_span_path path;

    if (span->state == MM_SPAN_SPENT) {
        arena->spent_count--;
    } else {
        if (!mm_span_path(arena, span->first, &path) || mm_span_path_end(&path) != span)
            mm_assert_failed("a span in quarantine is in the tree", MM_HERE, (uintptr_t)span,
                             span->first);
        span_leave(arena, &path);
    }
    arena->oldest = span->next;
    if (arena->oldest == NULL)
        arena->newest = NULL;
    mm_span_free(arena, span);
}

bool mm_quarantine_pop(struct mm_arena *arena, unsigned count)
{
    bool any = arena->oldest != NULL;

    MM_ASSERT_LOCKED(&arena->lock);
    while (count-- > 0 && arena->oldest != NULL)
        pop_one(arena);
    return any;
}

/* Has enough been given back after the oldest? */
static bool oldest_may_go(const struct mm_arena *arena)
{
    const struct mm_arena_span *span = arena->oldest;

    return span->state == MM_SPAN_SPENT ||
           arena->quarantine_bytes - (span->frames << MM_FRAME_SHIFT) >=
               arena->quarantine_limit_bytes;
}

void mm_quarantine_push(struct mm_arena *arena, struct mm_arena_span *span)
{
    MM_ASSERT_LOCKED(&arena->lock);
    span->state = MM_SPAN_QUARANTINED;
    span->next = NULL;
    if (arena->newest != NULL)
        arena->newest->next = span;
    else
        arena->oldest = span;
    arena->newest = span;
    arena->quarantine_count++;
    arena->quarantine_bytes += span->frames << MM_FRAME_SHIFT;
    for (unsigned i = 0; i < LET_GO_PER_GIVE && arena->oldest != NULL && oldest_may_go(arena); i++)
        pop_one(arena);
}

void mm_quarantine_spend(struct mm_arena *arena, struct mm_span_path *path)
{
    struct mm_arena_span *span = mm_span_path_end(path);

    MM_ASSERT_LOCKED(&arena->lock);
    span_leave(arena, path);
    *span = (struct mm_arena_span){.next = span->next, .state = MM_SPAN_SPENT};
    arena->spent_count++;
}

void mm_span_retire(struct mm_arena *arena, struct mm_span_path *path)
{
    struct mm_arena_span *span = mm_span_path_end(path);

    MM_ASSERT_LOCKED(&arena->lock);
    arena->span_count--;
    arena->taken_bytes -= span->frames << MM_FRAME_SHIFT;
    if (arena->quarantine_limit_bytes != 0) {
        mm_quarantine_push(arena, span);
        return;
    }
    mm_span_erase(arena, path);
    mm_span_free(arena, span);
}
