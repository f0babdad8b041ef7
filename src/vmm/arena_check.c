/*
 * arena_check.c - is everything as it should be?
 *
 * Problem     After a wild write the links are the first that lead astray, and the check must not
 *             follow them.
 * Idea        What is constant is sealed: that first, then the frames that nodes lie in. After that
 *             each link can be judged before it is followed. Next the order of the tree: if that is
 *             right, it has an end and no circle. Then each node against its children only; what
 *             holds for each node holds for the whole. The lists last, and the counts.
 * Invariants  Nothing is changed. Faults of one node are all told; behind a wrong link, or a wrong
 *             order, nothing is: it would prove nothing.
 * Locking     arena->lock for the whole check; the sink is called without it.
 * Cost        O(spans x log frames), interrupts off.
 * Rejected    Slices: what changes between two of them cannot be told from damage.
 */
#include "base/report.h"
#include "vmm/arena_internal.h"

#define KEPT 8u

struct finding {
    const char *what;
    uint64_t address, found, expected;
};

/* What was found, and a recount. */
struct audit {
    const struct mm_arena *arena;
    size_t faults;
    struct finding kept[KEPT];
    uint64_t in_tree, taken, taken_frames, quarantined, quarantined_frames, holes, hole_frames;
    uint64_t listed, listed_frames, spent, spare;
};

static void note(struct audit *audit, const char *what, const void *where, uint64_t found,
                 uint64_t expected)
{
    if (audit->faults < KEPT)
        audit->kept[audit->faults] = (struct finding){what, (uintptr_t)where, found, expected};
    audit->faults++;
}

static void expect(struct audit *audit, const char *what, const void *where, uint64_t found,
                   uint64_t expected)
{
    if (found != expected)
        note(audit, what, where, found, expected);
}

static uint64_t node_count(const struct mm_arena *arena)
{
    return 2 + arena->lent_count + arena->grown_frames * MM_SPANS_PER_FRAME;
}

/* ---- the tree ---- */

/* From the lowest span up. No node is given out, nor its links followed, that is not ours. */
struct walk {
    const struct mm_arena_span *down; /* not visited yet, and all below it */
    unsigned depth;
    const struct mm_arena_span *way[MM_SPAN_LEVELS]; /* visited on the left, and not themselves */
};

static const struct mm_arena_span *walk_next(struct walk *walk, struct audit *audit)
{
    const struct mm_arena_span *node;

    for (node = walk->down; node != NULL; node = node->child[0]) {
        if (!mm_span_is_ours(audit->arena, node)) {
            note(audit, "link leads out of the arena's nodes", node, 0, 0);
            return NULL;
        }
        if (walk->depth == MM_SPAN_LEVELS) {
            note(audit, "tree is too deep", node, walk->depth, 0);
            return NULL;
        }
        walk->way[walk->depth++] = node;
    }
    if (walk->depth == 0)
        return NULL;
    node = walk->way[--walk->depth];
    walk->down = node->child[1];
    return node;
}

static void count_node(struct audit *audit, const struct mm_arena_span *node)
{
    audit->in_tree++;
    switch (node->state) {
    case MM_SPAN_TAKEN:
        audit->taken++;
        audit->taken_frames += node->frames;
        break;
    case MM_SPAN_QUARANTINED:
        audit->quarantined++;
        audit->quarantined_frames += node->frames;
        break;
    case MM_SPAN_HOLE:
        audit->holes++;
        audit->hole_frames += node->frames;
        break;
    default:
        note(audit, "span of the tree is none", node, node->state, MM_SPAN_TAKEN);
        break;
    }
}

static void check_node(struct audit *audit, const struct mm_arena_span *node)
{
    unsigned guards = node->guard_before + node->guard_after;

    if (node->frames <= guards)
        note(audit, "span has a wrong size", node, node->frames, guards);
    if (node->state == MM_SPAN_HOLE && (guards != 0 || node->cookie != 0))
        note(audit, "hole has a cookie or guards", node, node->cookie, guards);
    if (node->state != MM_SPAN_QUARANTINED)
        expect(audit, "span outside quarantine has a link", node, (uintptr_t)node->next, 0);
    expect(audit, "span: unused field is not zero", node, node->unused, 0);
    count_node(audit, node);
}

/* A1, A4. True if the tree can be walked again without care. */
static bool check_order(struct audit *audit)
{
    struct walk walk = {.down = audit->arena->root};
    const struct mm_arena_span *node, *last = NULL;
    uint64_t end = 0;

    while ((node = walk_next(&walk, audit)) != NULL) {
        if (node->first < end || node->frames == 0 || node->first >= MM_SPACE_END ||
            node->frames > MM_SPACE_END - node->first) { /* so each is behind the last: no circle */
            note(audit, "spans overlap or are not sorted", node, node->first, end);
            return false;
        }
        expect(audit, "gap before a span", node, node->gap, node->first - end);
        check_node(audit, node);
        end = mm_span_end(node);
        last = node;
    }
    if (walk.depth != 0 || walk.down != NULL)
        return false;
    if (last == NULL || last->state != MM_SPAN_HOLE || end != MM_SPACE_END)
        note(audit, "tree does not end with a hole", last, end, MM_SPACE_END);
    return true;
}

/* If all leans are right. */
static unsigned height(const struct mm_arena_span *node)
{
    unsigned levels = 0;

    for (; node != NULL; node = node->child[node->lean == 2])
        levels++;
    return levels;
}

static uint32_t largest(const struct mm_arena_span *node)
{
    if (node == NULL)
        return 0;
    return (uint32_t)mm_max_u64(mm_gap_clip(node->gap),
                                mm_max_u64(node->max_gap[0], node->max_gap[1]));
}

/* A2, A3, each node against its children. */
static void check_balance(struct audit *audit)
{
    struct walk walk = {.down = audit->arena->root};
    const struct mm_arena_span *node;

    while ((node = walk_next(&walk, audit)) != NULL) {
        unsigned below = height(node->child[0]), above = height(node->child[1]);
        unsigned lean = below == above ? 0 : below > above ? 1 : 2;

        if (below > above + 1 || above > below + 1)
            note(audit, "tree is out of balance", node, below, above);
        expect(audit, "lean of a span", node, node->lean, lean);
        for (unsigned i = 0; i < 2; i++)
            expect(audit, "largest gap below a span", node, node->max_gap[i],
                   largest(node->child[i]));
    }
}

/* ---- lists and counts ---- */

static bool is_empty(const struct mm_arena_span *span, unsigned state)
{
    return span->child[0] == NULL && span->child[1] == NULL && span->cookie == 0 &&
           span->first == 0 && span->guard_before == 0 && span->frames == 0 &&
           span->guard_after == 0 && span->gap == 0 && span->state == state && span->lean == 0 &&
           span->unused == 0 && span->max_gap[0] == 0 && span->max_gap[1] == 0;
}

/* A5 */
static void check_quarantine(struct audit *audit)
{
    const struct mm_arena *arena = audit->arena;
    const struct mm_arena_span *last = NULL;

    for (const struct mm_arena_span *span = arena->oldest; span != NULL; span = span->next) {
        if (audit->listed + audit->spent == node_count(arena) || !mm_span_is_ours(arena, span)) {
            note(audit, "list of quarantine is damaged", span, audit->listed,
                 arena->quarantine_count);
            return;
        }
        if (span->state == MM_SPAN_QUARANTINED) {
            audit->listed++;
            audit->listed_frames += span->frames;
        } else {
            audit->spent++;
            if (!is_empty(span, MM_SPAN_SPENT))
                note(audit, "spent span is not empty", span, span->state, MM_SPAN_SPENT);
        }
        last = span;
    }
    expect(audit, "newest in quarantine", arena, (uintptr_t)arena->newest, (uintptr_t)last);
    expect(audit, "spans in quarantine, listed", arena, audit->listed, audit->quarantined);
    expect(audit, "frames in quarantine, listed", arena, audit->listed_frames,
           audit->quarantined_frames);
}

/* A6 */
static void check_spare(struct audit *audit)
{
    const struct mm_arena *arena = audit->arena;

    for (const struct mm_arena_span *span = arena->spare; span != NULL; span = span->next) {
        if (audit->spare == node_count(arena) || !mm_span_is_ours(arena, span)) {
            note(audit, "list of spare spans is damaged", span, audit->spare, arena->spare_count);
            return;
        }
        if (!is_empty(span, MM_SPAN_SPARE))
            note(audit, "spare span is not empty", span, span->state, MM_SPAN_SPARE);
        audit->spare++;
    }
    expect(audit, "nodes in all", arena, audit->in_tree + audit->spent + audit->spare,
           node_count(arena));
}

/* A7 */
static void check_counts(struct audit *audit)
{
    const struct mm_arena *arena = audit->arena;
    uint64_t range = (MM_SPACE_END - audit->hole_frames) << MM_FRAME_SHIFT;

    expect(audit, "spans taken", arena, arena->span_count, audit->taken);
    expect(audit, "bytes taken", arena, arena->taken_bytes, audit->taken_frames << MM_FRAME_SHIFT);
    expect(audit, "spans in quarantine", arena, arena->quarantine_count, audit->quarantined);
    expect(audit, "bytes in quarantine", arena, arena->quarantine_bytes,
           audit->quarantined_frames << MM_FRAME_SHIFT);
    expect(audit, "spent spans", arena, arena->spent_count, audit->spent);
    expect(audit, "holes", arena, arena->hole_count, audit->holes);
    expect(audit, "bytes of all ranges", arena, arena->range_bytes, range);
    expect(audit, "spare spans", arena, arena->spare_count, audit->spare);
}

static void check_all(struct audit *audit)
{
    const struct mm_arena *arena = audit->arena;
    uintptr_t link;

    expect(audit, "seal of what is constant", arena, arena->seal, mm_arena_seal(arena));
    if (audit->faults != 0)
        return;
    link = mm_grown_fault(arena);
    if (link != 0) {
        note(audit, "link to frames of spans overwritten", (const void *)link, arena->grown_frames,
             0);
        return;
    }
    if (!check_order(audit))
        return;
    check_balance(audit);
    check_quarantine(audit);
    check_spare(audit);
    check_counts(audit);
}

size_t mm_arena_check(struct mm_arena *arena, const struct mm_check_sink *sink)
{
    struct audit audit = {.arena = arena};
    mm_lock_guard_t guard;
    size_t faults = 0;

    if (arena == NULL) {
        mm_check_fault(sink, &faults, "no arena given", "mm_arena_check", NULL, 0, 0, 0);
        return faults;
    }
    guard = mm_lock_take(&arena->lock);
    check_all(&audit);
    mm_lock_release(&arena->lock, guard);
    for (size_t i = 0; i < audit.faults && i < KEPT; i++)
        mm_check_fault(sink, &faults, audit.kept[i].what, "mm_arena_check", arena,
                       audit.kept[i].address, audit.kept[i].found, audit.kept[i].expected);
    return audit.faults;
}
