/*
 * take.c - operations that take frames.
 *
 * Problem     Each way to ask for memory has its own path through stock, depots and pools.
 * Idea        One operation for each, with random sizes and limits. What they get is entered with
 *             its owner; what they do not get must be refused for a reason.
 * Invariants  moved: take_begun before the call, taken or not_taken after it
 * Locking     None.
 * Cost        About 1 us each without sanitizers.
 * Rejected    Blocks above order 11: a machine of 56 MiB has no room for them.
 */
#include "operations.h"

#define HARD_MAX 3000u /* more than what is left, as a rule */

void refused(struct worker *worker, enum mm_err err)
{
    worker->refused[worker->kind]++;
    if (err != MM_ERR_NO_MEMORY && err != MM_ERR_BUSY)
        stress_failed("operation %u is refused: %s", worker->kind, mm_err_name(err));
}

static bool has_room(const struct worker *worker, uint32_t more)
{
    return worker->held_count + more <= HELD_MAX;
}

static void hold(struct worker *worker, mm_phys_t first, uint64_t frames, bool zeroed)
{
    struct held *held = &worker->held[worker->held_count++];

    held->first = mm_frame_of(first);
    held->count = frames;
    worker->held_frames += frames;
    held_take(held, &worker->random, zeroed);
}

static void take_begins(struct worker *worker, uint64_t frames)
{
    count(&worker->moved.take_begun, frames);
}

static void take_ends(struct worker *worker, enum mm_err err, mm_phys_t first, uint64_t frames,
                      bool zeroed)
{
    if (err != MM_OK) {
        count(&worker->moved.not_taken, frames);
        refused(worker, err);
        return;
    }
    count(&worker->moved.taken, frames);
    hold(worker, first, frames, zeroed);
}

static enum mm_err take(struct worker *worker, const struct mm_frame_request *request)
{
    uint64_t frames =
        request->count_frames != 0 ? request->count_frames : UINT64_C(1) << request->order;
    mm_phys_t first = mm_phys(0);
    enum mm_err err;

    if (!has_room(worker, 1))
        return MM_OK;
    take_begins(worker, frames);
    err = mm_pmm_alloc(&machine.pmm, request, &first);
    take_ends(worker, err, first, frames, (request->flags & MM_FRAME_ZERO) != 0);
    return err;
}

void op_alloc(struct worker *worker)
{
    mm_phys_t frame = mm_phys(0);
    enum mm_err err;

    if (!has_room(worker, 1))
        return;
    take_begins(worker, 1);
    err = mm_pmm_alloc_frame(&machine.pmm, &frame);
    take_ends(worker, err, frame, 1, false);
}

void op_alloc_zeroed(struct worker *worker)
{
    mm_phys_t frame = mm_phys(0);
    enum mm_err err;

    if (!has_room(worker, 1))
        return;
    take_begins(worker, 1);
    err = mm_pmm_alloc_zeroed(&machine.pmm, &frame);
    take_ends(worker, err, frame, 1, true);
}

void op_alloc_block(struct worker *worker)
{
    struct mm_frame_request request = {.order = 0};

    request.order = (uint8_t)(1 + random_below(&worker->random, 8));
    if (random_below(&worker->random, 4) == 0)
        request.order = (uint8_t)(9 + random_below(&worker->random, 3));
    if (request.order < 4 && random_below(&worker->random, 4) == 0)
        request.flags = MM_FRAME_ZERO;
    (void)take(worker, &request);
}

void op_alloc_run(struct worker *worker)
{
    struct mm_frame_request request = {.order = 0};

    request.count_frames =
        1 + random_below(&worker->random, random_below(&worker->random, 4) == 0 ? 1500 : 40);
    if (random_below(&worker->random, 4) == 0)
        request.boundary_bytes = UINT64_C(8) << 20;
    (void)take(worker, &request);
}

/* Zones, nodes, the reserve; and for an NMI. */
void op_alloc_limited(struct worker *worker)
{
    struct mm_frame_request request = {.order = 0};

    switch (random_below(&worker->random, 6)) {
    case 0:
        request.highest = MM_HIGHEST_16M;
        break;
    case 1:
        request.highest = MM_HIGHEST_4G;
        request.order = (uint8_t)random_below(&worker->random, 4);
        break;
    case 2:
        request.lowest = mm_phys(0x1800000); /* inside a zone: a search */
        break;
    case 3:
        request.flags = MM_FRAME_NODE | MM_FRAME_NODE_ONLY;
        request.node = 1;
        break;
    case 4:
        request.flags = MM_FRAME_RESERVE;
        break;
    default:
        request.flags = MM_FRAME_NO_WAIT;
        break;
    }
    (void)take(worker, &request);
}

/* NO_MEMORY is true: all that others had, and what is on the way, is all that there is. What others
 * were just asking for counts as theirs, so a few frames that were overlooked are not seen. */
static void expect_nothing_free(struct worker *worker, const struct instant *before)
{
    struct instant after = instant_now();
    struct mm_pmm_stats stats;
    uint64_t others;

    mm_pmm_get_stats(&machine.pmm, &stats);
    if (before->changes.ended != machine_changes().begun ||
        !all_answered(&before->attendance, &after.attendance))
        return;
    /* Each thread may have a frame that it zeroes ahead, or makes a side table of. */
    others = held_most(before, &after) + stats.side_frames + 3 * (uint64_t)workers.count;
    worker->judged++;
    if (others < stats.managed_frames)
        stress_failed("no memory, but %llu frames are free",
                      (unsigned long long)(stats.managed_frames - others));
}

/* Sometimes until there is no more, the reserve included. */
void op_alloc_hard(struct worker *worker)
{
    struct mm_frame_request request = {.flags = MM_FRAME_TRY_HARD | MM_FRAME_RESERVE};
    uint32_t most = random_below(&worker->random, 16) == 0 ? HARD_MAX : 1;

    if (random_below(&worker->random, 8) == 0) {
        request.order = (uint8_t)random_below(&worker->random, 10);
        (void)take(worker, &request);
        return;
    }
    for (uint32_t i = 0; i < most && has_room(worker, 1); i++) {
        struct instant before = instant_now();

        cpu_serve();
        if (take(worker, &request) == MM_ERR_NO_MEMORY) {
            expect_nothing_free(worker, &before);
            return;
        }
    }
}

void op_alloc_bulk(struct worker *worker)
{
    uint32_t frames = 1 + random_below(&worker->random, BULK_MAX);
    struct mm_frame_request request = {.order = 0};
    mm_phys_t frame[BULK_MAX];
    enum mm_err err;

    if (!has_room(worker, frames))
        return;
    if (random_below(&worker->random, 4) == 0)
        request.flags = MM_FRAME_TRY_HARD;
    take_begins(worker, frames);
    err = mm_pmm_alloc_bulk(&machine.pmm, &request, frames, frame);
    if (err != MM_OK) {
        count(&worker->moved.not_taken, frames);
        refused(worker, err);
        return;
    }
    count(&worker->moved.taken, frames);
    for (uint32_t i = 0; i < frames; i++)
        hold(worker, frame[i], 1, false);
}
