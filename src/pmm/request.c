/*
 * request.c - what a caller asks for, checked and turned into frames.
 *
 * Problem     Seven constraints at once, each with values that make no sense.
 * Idea        All of them are checked before any lock is taken, and become frame numbers; what is
 *             no more than natural is recognised, since the sets of a pool can answer that.
 * Invariants  A want that was made from a checked request fits mm_frames_find() without overflow.
 * Locking     None.
 * Cost        A few nanoseconds.
 * Rejected    Checking while searching: the same tests in three places.
 */
#include "pmm/stock.h"

#define FLAGS_KNOWN                                                                              \
    (MM_FRAME_ZERO | MM_FRAME_NODE | MM_FRAME_NODE_ONLY | MM_FRAME_TRY_HARD | MM_FRAME_RESERVE | \
     MM_FRAME_NO_WAIT)

static bool power_or_zero(uint64_t x)
{
    return x == 0 || mm_is_power_of_two(x);
}

uint64_t mm_frames_wanted(const struct mm_frame_request *request)
{
    return request->count_frames != 0 ? request->count_frames : UINT64_C(1) << request->order;
}

/* Index of the node with the map's number `id`, or node_count. */
static unsigned node_index(const struct mm_pmm *pmm, unsigned id)
{
    unsigned i = 0;

    while (i < pmm->node_count && pmm->node[i].id != id)
        i++;
    return i;
}

enum mm_err mm_request_check(const struct mm_pmm *pmm, const struct mm_frame_request *request)
{
    uint32_t flags = request->flags;

    if (request->order > MM_ORDER_MAX || (request->order != 0 && request->count_frames != 0) ||
        !power_or_zero(request->align_bytes) || !power_or_zero(request->boundary_bytes) ||
        (request->boundary_bytes != 0 &&
         request->boundary_bytes / MM_FRAME_BYTES < mm_frames_wanted(request)))
        return MM_ERR_BAD_ARG;
    if ((flags & ~FLAGS_KNOWN) != 0 || request->mobility > MM_MOBILITY_RECLAIM ||
        ((flags & MM_FRAME_NODE) != 0 && request->node >= MM_NODES_MAX) ||
        (flags & (MM_FRAME_NODE | MM_FRAME_NODE_ONLY)) == MM_FRAME_NODE_ONLY)
        return MM_ERR_BAD_ARG;
    if ((flags & MM_FRAME_NO_WAIT) != 0 &&
        ((flags & ~(MM_FRAME_NO_WAIT | MM_FRAME_RESERVE)) != 0 || mm_frames_wanted(request) != 1))
        return MM_ERR_BAD_ARG;
    return (flags & MM_FRAME_ZERO) != 0 && pmm->window == NULL ? MM_ERR_UNSUPPORTED : MM_OK;
}

/* The smallest order whose blocks hold `count` frames; MM_ORDER_MAX + 1 if none does. */
static unsigned order_for(uint64_t count)
{
    unsigned order = 0;

    while (order <= MM_ORDER_MAX && UINT64_C(1) << order < count)
        order++;
    return order;
}

unsigned mm_near_node(const struct mm_pmm *pmm)
{
    mm_guard_t guard;
    const struct mm_pmm_cpu *cpu;
    unsigned node;

    if (pmm->node_count == 1)
        return 0;
    guard = mm_pin(pmm);
    cpu = mm_stock_mine(pmm);
    node = cpu != NULL ? cpu->node : 0;
    mm_unpin(pmm, guard);
    return node;
}

bool mm_want_of(const struct mm_pmm *pmm, const struct mm_frame_request *request,
                struct mm_frame_want *want)
{
    uint64_t natural = UINT64_C(1) << request->order;
    uint64_t highest = request->highest.raw;
    bool limited = highest != 0 && highest != UINT64_MAX;
    unsigned node =
        (request->flags & MM_FRAME_NODE) != 0 ? node_index(pmm, request->node) : mm_near_node(pmm);
    bool known = node < pmm->node_count;

    *want = (struct mm_frame_want){
        .count = mm_frames_wanted(request),
        .align = mm_max_u64(natural, request->align_bytes / MM_FRAME_BYTES),
        .boundary = request->boundary_bytes / MM_FRAME_BYTES,
        .start = mm_frame_of(request->lowest) + (request->lowest.raw % MM_FRAME_BYTES != 0 ? 1 : 0),
        .end = limited ? (highest + 1) / MM_FRAME_BYTES : UINT64_MAX,
        .low = limited && highest <= MM_HIGHEST_1M.raw,
        .reserve = (request->flags & MM_FRAME_RESERVE) != 0,
        .node_asked = (request->flags & MM_FRAME_NODE) != 0,
        .node_only = (request->flags & MM_FRAME_NODE_ONLY) != 0,
        .node = (uint8_t)(known ? node : mm_near_node(pmm)),
        .order = (uint8_t)order_for(mm_frames_wanted(request)),
    };
    want->plain =
        want->start == 0 && want->boundary == 0 && want->align <= natural &&
        (want->end == mm_zone_start(mm_zone_of(want->end - 1) + 1u) || want->end == UINT64_MAX);
    return known || !want->node_only; /* a node without memory has none to give */
}
