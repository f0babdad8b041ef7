/*
 * arena_tree.c - the spans of an arena as a balanced tree that knows its largest gaps.
 *
 * Problem     The lowest gap that is long enough, and the span of an address, among 100,000 and
 *             more, with interrupts off.
 * Idea        An AVL tree without pointers to parents: the way down is written into an array, and
 *             walked back to mend what has changed. What a search asks of a child, its largest
 *             gap, is kept in the parent: a descent touches one line of memory for each level,
 *             and mending none besides the way itself, but for rotations. With 32 bits for each
 *             largest gap a span is one line; greater gaps than that are few, and are looked at
 *             one by one.
 *             Each change concerns one gap, that of the span behind it, which is on the way to the
 *             span or on its continuation: mending goes up to that, and ends above it as soon as
 *             nothing changes.
 * Invariants  A1 to A4 of arena_internal.h
 * Locking     arena->lock.
 * Cost        1.44 log2(spans) lines of memory at most; no recursion.
 * Rejected    A sorted list: 172 microseconds to give one span back and take another among 100,000;
 *             0.6 here on a quiet machine, 1.1 where others use the cache. No prefetch: finding a
 *             span takes 1.5 times as long. A descent for the place and another one for the way
 *             there: a tenth more. Red-black trees: deeper by up to a third, and no simpler to mend.
 *             Treaps, skip lists: their worst case is a matter of luck, and interrupts are off.
 *             B-trees: half as many lines for each descent, but a split needs a node at each level,
 *             and all must be there before.
 */
#include "vmm/arena_internal.h"

/* ---- looking ---- */

/* One of the two comes next, and which is guessed wrongly half of the time. */
static inline void fetch_children(const struct mm_arena_span *node)
{
    __builtin_prefetch(node->child[0]);
    __builtin_prefetch(node->child[1]);
}

struct mm_arena_span *mm_span_at_or_after(const struct mm_arena *arena, uint64_t frame)
{
    struct mm_arena_span *node = arena->root, *best = NULL;

    while (node != NULL) {
        fetch_children(node);
        if (frame >= mm_span_end(node)) {
            node = node->child[1];
        } else {
            best = node;
            node = frame < node->first ? node->child[0] : NULL;
        }
    }
    return best;
}

struct mm_arena_span *mm_span_gap_from(const struct mm_arena *arena, uint64_t from, uint32_t need)
{
    struct mm_arena_span *node = arena->root, *best = NULL;

    for (;;) {
        while (node != NULL) {
            fetch_children(node);
            if (node->first < from) {
                node = node->child[1];
                continue;
            }
            if (node->gap >= need || node->max_gap[1] >= need)
                best = node; /* here, or above, there is one; below, perhaps a lower one */
            node = node->max_gap[0] >= need ? node->child[0] : NULL;
        }
        if (best == NULL || best->gap >= need)
            return best;
        node = best->child[1];
        best = NULL;
    }
}

static uint32_t tree_max(const struct mm_arena_span *node)
{
    uint32_t max;

    if (node == NULL)
        return 0;
    max = node->max_gap[0] > node->max_gap[1] ? node->max_gap[0] : node->max_gap[1];
    return node->gap > max ? mm_gap_clip(node->gap) : max;
}

uint64_t mm_span_largest_gap(const struct mm_arena *arena)
{
    uint64_t largest = tree_max(arena->root);
    uint64_t from = 0;

    while (largest >= MM_GAP_MAX) { /* clipped: one of these, then */
        const struct mm_arena_span *span = mm_span_gap_from(arena, from, MM_GAP_MAX);

        if (span == NULL)
            break;
        largest = mm_max_u64(largest, span->gap);
        from = span->first + 1;
    }
    return largest;
}

/* ---- ways ---- */

static void path_push(struct mm_span_path *path, struct mm_arena_span *node, unsigned side)
{
    MM_ASSERT2(path->depth < MM_SPAN_LEVELS, (uintptr_t)node, path->depth);
    path->node[path->depth] = node;
    path->side[path->depth++] = (uint8_t)side;
}

bool mm_span_path(const struct mm_arena *arena, uint64_t frame, struct mm_span_path *path)
{
    struct mm_arena_span *node = arena->root;

    path->depth = 0;
    while (node != NULL) {
        unsigned side = frame >= node->first;

        fetch_children(node);
        path_push(path, node, side);
        if (side != 0 && frame < mm_span_end(node))
            return true;
        node = node->child[side];
    }
    return false;
}

bool mm_span_path_gap(const struct mm_arena *arena, uint32_t need, struct mm_span_path *path)
{
    struct mm_arena_span *node = arena->root;

    path->depth = 0;
    if (tree_max(node) < need)
        return false;
    for (;;) {
        bool below = node->max_gap[0] >= need;

        fetch_children(node);
        path_push(path, node, !below);
        if (!below && node->gap >= need)
            return true;
        node = node->child[!below];
    }
}

bool mm_span_path_user(const struct mm_arena *arena, uint64_t start, struct mm_span_path *path)
{
    const struct mm_arena_span *span;

    if (!mm_is_aligned(start, MM_FRAME_BYTES) ||
        !mm_span_path(arena, start >> MM_FRAME_SHIFT, path))
        return false;
    span = mm_span_path_end(path);
    return span->state == MM_SPAN_TAKEN && mm_span_user(span) == start >> MM_FRAME_SHIFT;
}

/* The last node, of the first `depth`, below whose left child the way goes on: the span behind all
 * that is there. */
static unsigned path_after(const struct mm_span_path *path, unsigned depth)
{
    while (depth-- > 0) {
        if (path->side[depth] == 0)
            return depth;
    }
    mm_assert_failed("there is a span behind", MM_HERE, (uintptr_t)path->node[0], path->depth);
}

struct mm_arena_span *mm_span_path_next(struct mm_span_path *path)
{
    struct mm_arena_span *node = mm_span_path_end(path)->child[1];

    if (node == NULL) {
        path->depth = path_after(path, path->depth - 1) + 1;
    } else {
        path->side[path->depth - 1] = 1;
        for (; node != NULL; node = node->child[0])
            path_push(path, node, 0);
    }
    return mm_span_path_end(path);
}

/* Put another node, or none, in the place of node[i]. */
static void path_relink(struct mm_arena *arena, const struct mm_span_path *path, unsigned i,
                        struct mm_arena_span *node)
{
    if (i == 0)
        arena->root = node;
    else
        path->node[i - 1]->child[path->side[i - 1]] = node;
}

/* ---- balance ---- */

/* The child at `side` comes up. Leans are the caller's. */
static struct mm_arena_span *rotate(struct mm_arena_span *node, unsigned side)
{
    struct mm_arena_span *child = node->child[side];

    node->child[side] = child->child[!side];
    node->max_gap[side] = child->max_gap[!side];
    child->child[!side] = node;
    child->max_gap[!side] = tree_max(node);
    return child;
}

static void lean_set(struct mm_arena_span *node, unsigned lean)
{
    node->lean = lean & 3u;
}

/* The child at `side` is too deep by two. The node that comes in this one's place. */
static struct mm_arena_span *rebalance(struct mm_arena_span *node, unsigned side)
{
    struct mm_arena_span *child = node->child[side], *grand;
    unsigned outer = 1 + side, inner = 1 + !side;

    if (child->lean != inner) { /* even: when something was taken out on the other side */
        lean_set(node, child->lean == 0 ? outer : 0);
        lean_set(child, child->lean == 0 ? inner : 0);
        return rotate(node, side);
    }
    grand = child->child[!side];
    lean_set(node, grand->lean == outer ? inner : 0);
    lean_set(child, grand->lean == inner ? outer : 0);
    lean_set(grand, 0);
    node->child[side] = rotate(child, !side);
    return rotate(node, side);
}

/* What the node's child at `side` has changed in height, 1 or -1, makes of `*change` what the node
 * has. */
static struct mm_arena_span *lean_mend(struct mm_arena_span *node, unsigned side, int *change)
{
    unsigned heavy = *change > 0 ? side : !side;

    if (node->lean == 0) {
        lean_set(node, 1 + heavy);
        *change = *change > 0 ? 1 : 0;
        return node;
    }
    if (node->lean != 1 + heavy) {
        lean_set(node, 0);
        *change = *change > 0 ? 0 : -1;
        return node;
    }
    *change = *change < 0 && node->child[heavy]->lean != 0 ? -1 : 0;
    return rebalance(node, heavy);
}

/*
 * The subtree below node[depth - 1] has changed, and its height by `change`: mend the nodes of the
 * way from there on up. The gap of the one at `touched` has changed, too.
 */
static void path_mend(struct mm_arena *arena, struct mm_span_path *path, unsigned depth,
                      unsigned touched, int change)
{
    for (unsigned i = depth; i-- > 0;) {
        struct mm_arena_span *node = path->node[i], *top;
        unsigned side = path->side[i];
        uint32_t max = tree_max(node->child[side]);

        if (change == 0 && i < touched && node->max_gap[side] == max)
            return;
        node->max_gap[side] = max;
        if (change == 0)
            continue;
        top = lean_mend(node, side, &change);
        if (top != node)
            path_relink(arena, path, i, top);
    }
}

void mm_span_path_touch(struct mm_arena *arena, struct mm_span_path *path)
{
    MM_ASSERT_LOCKED(&arena->lock);
    path_mend(arena, path, path->depth - 1, path->depth - 1, 0);
}

/* ---- putting in, taking out ---- */

void mm_span_insert(struct mm_arena *arena, struct mm_arena_span *span)
{
    struct mm_span_path path;
    struct mm_arena_span *after;
    unsigned i;

    MM_ASSERT_LOCKED(&arena->lock);
    if (mm_span_path(arena, span->first, &path))
        mm_assert_failed("place of a span is free", MM_HERE, span->first, (uintptr_t)arena);
    i = path_after(&path, path.depth);
    after = path.node[i];
    mm_span_set_gap(span, span->first - (after->first - after->gap));
    mm_span_set_gap(after, after->first - mm_span_end(span));
    path_relink(arena, &path, path.depth, span);
    path_mend(arena, &path, path.depth, i, 1);
}

void mm_span_insert_before(struct mm_arena *arena, struct mm_span_path *path,
                           struct mm_arena_span *span)
{
    unsigned i = path->depth - 1;
    struct mm_arena_span *after = path->node[i];

    MM_ASSERT_LOCKED(&arena->lock);
    MM_ASSERT2(mm_span_end(span) <= after->first, span->first, (uintptr_t)after);
    path->side[i] = 0;
    for (struct mm_arena_span *node = after->child[0]; node != NULL; node = node->child[1])
        path_push(path, node, 1);
    mm_span_set_gap(span, span->first - (after->first - after->gap));
    mm_span_set_gap(after, after->first - mm_span_end(span));
    path_relink(arena, path, path->depth, span);
    path_mend(arena, path, path->depth, i, 1);
}

/* The span behind a node with a right child comes into its place, from the end of the way. */
static void path_replace(struct mm_arena *arena, struct mm_span_path *path, unsigned i)
{
    struct mm_arena_span *node = path->node[i];
    struct mm_arena_span *after = mm_span_path_next(path);

    path_relink(arena, path, path->depth - 1, after->child[1]);
    after->child[0] = node->child[0];
    after->child[1] = node->child[1];
    after->max_gap[0] = node->max_gap[0];
    after->max_gap[1] = node->max_gap[1];
    after->lean = node->lean;
    path_relink(arena, path, i, after);
    path->node[i] = after;
}

void mm_span_erase(struct mm_arena *arena, struct mm_span_path *path)
{
    unsigned i = path->depth - 1, below = i;
    struct mm_arena_span *node = path->node[i];

    MM_ASSERT_LOCKED(&arena->lock);
    if (node->child[1] != NULL) {
        path_replace(arena, path, i);
        below = path->depth - 1;
    } else {
        path_relink(arena, path, i, node->child[0]);
        i = path_after(path, i);
    }
    mm_span_set_gap(path->node[i], path->node[i]->gap + node->gap + node->frames);
    path_mend(arena, path, below, i, -1);
}
