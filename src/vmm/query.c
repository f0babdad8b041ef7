/*
 * query.c - what is mapped, as runs.
 *
 * Problem     Who lists a space wants areas, not pages, and not the sizes of pages.
 * Idea        The walker visits leaves in order; a run grows while the next leaf continues it in
 *             address, frame, rights and type, and the walk ends at the first that does not.
 * Invariants  The cursor only grows.
 * Locking     A section per piece: a long run was true piece by piece. Held, so that it is
 *             not destroyed between two.
 * Cost        O(tables + entries passed).
 * Rejected    A callback per run: the caller's code would run under the lock.
 */
#include "base/report.h"
#include "vmm_internal.h"

struct query {
    struct mm_space_run run;
    bool found;
};

static struct mm_space_run run_of(const struct mm_walker *walker, const struct mm_visit *visit)
{
    uint64_t skipped = walker->virt - visit->virt; /* of the leaf, before the range */
    uint64_t leaf_last = visit->virt + (mm_pt_bytes(visit->level) - 1);

    return (struct mm_space_run){
        .virt = mm_virt(walker->virt),
        .bytes = mm_min_u64(leaf_last, walker->last) - walker->virt + 1,
        .phys = mm_phys_add(mm_pte_phys(visit->entry, visit->level), skipped),
        .prot = visit->rights & mm_pte_prot(visit->entry),
        .type = mm_pte_type(visit->entry, visit->level),
    };
}

static bool continues(const struct mm_space_run *a, const struct mm_space_run *b)
{
    return a->virt.raw + a->bytes == b->virt.raw && a->phys.raw + a->bytes == b->phys.raw &&
           a->prot == b->prot && a->type == b->type;
}

static enum mm_err query_leaf(struct mm_walker *walker, struct mm_visit *visit)
{
    struct query *query = walker->context;
    struct mm_space_run next = run_of(walker, visit);

    if (!query->found) {
        query->run = next;
        query->found = true;
    } else if (continues(&query->run, &next)) {
        query->run.bytes += next.bytes;
    } else {
        walker->progress = MM_WALKER_DONE;
    }
    return MM_OK;
}

static enum mm_err query_hole(struct mm_walker *walker, struct mm_visit *visit)
{
    const struct query *query = walker->context;

    (void)visit;
    if (query->found)
        walker->progress = MM_WALKER_DONE;
    return MM_OK;
}

/* It ends a run; the next query, which finds it first, says so. */
static enum mm_err query_damaged(struct mm_walker *walker, struct mm_visit *visit)
{
    const struct query *query = walker->context;

    if (!query->found)
        return mm_fail(walker->fail, MM_ERR_CORRUPT, walker->virt, visit->level, visit->entry);
    walker->progress = MM_WALKER_DONE;
    return MM_OK;
}

/* The part of [first, last] in `half`; false if there is none. */
static bool span_cut(struct mm_span *half, uint64_t first, uint64_t last)
{
    half->first = mm_max_u64(half->first, first);
    half->last = mm_min_u64(half->last, last);
    return half->first <= half->last;
}

/* Look in both halves, until something is found. */
static enum mm_err find_run(struct mm_space *space, struct query *query, uint64_t first,
                            uint64_t last, struct mm_space_fail *fail)
{
    struct mm_span half[2];
    unsigned halves = mm_space_halves(space, half);
    enum mm_err err = MM_OK;

    for (unsigned i = 0; err == MM_OK && i < halves && !query->found; i++) {
        struct mm_walker walker;

        if (!span_cut(&half[i], first, last))
            continue;
        walker = mm_walker_over(space, half[i], query, fail);
        walker.leaf = query_leaf;
        walker.hole = query_hole;
        walker.damaged = query_damaged;
        err = mm_walker_run_pieces(&walker, space);
    }
    return err == MM_OK && !query->found ? MM_ERR_NOT_FOUND : err;
}

enum mm_err mm_space_query(struct mm_space *space, mm_virt_t *cursor, mm_virt_t end,
                           struct mm_space_run *out)
{
    uint64_t last = mm_align_down(end.raw, MM_FRAME_BYTES) - 1; /* end 0: the last byte of all */
    enum mm_err err = mm_space_alive(space);
    struct query query = {.found = false};
    struct mm_space_fail fail;
    uint64_t first;

    if (err == MM_OK && (cursor == NULL || out == NULL))
        err = MM_ERR_BAD_ARG;
    if (err != MM_OK)
        return err;
    if (!mm_align_up(cursor->raw, MM_FRAME_BYTES, &first) ||
        (end.raw != 0 && end.raw < MM_FRAME_BYTES))
        return MM_ERR_NOT_FOUND;
    err = mm_space_hold(space);
    if (err != MM_OK)
        return err;
    err = find_run(space, &query, first, last, &fail);
    mm_space_unhold(space);
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, &fail, "mm_space_query", MM_CALLER);
    if (err != MM_OK)
        return err;
    *out = query.run;
    *cursor = mm_virt(query.run.virt.raw + query.run.bytes);
    if (cursor->raw == 0)
        *cursor = mm_virt(UINT64_MAX);
    return MM_OK;
}
