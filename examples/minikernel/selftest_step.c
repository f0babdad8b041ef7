/*
 * selftest_step.c - somebody else at every single instruction.
 *
 * Problem     A timer interrupts where it happens to; the window of a few instructions in which an
 *             allocator is not ready for that is met once in a million times, in the field.
 * Idea        The CPU's trap flag: a debug trap after each instruction, whose handler takes and gives
 *             frames. It comes with interrupts off, too, in the middle of the library's guards and
 *             locks, so it is a non-maskable interrupt there and uses the calls that never wait; the
 *             other test uses the ordinary calls, where a device could interrupt. The main code
 *             goes through the stock first, then, with frames of chunks with holes, past it.
 * Invariants  No checks are made while the flag is set: a failed one would leave the test with it on.
 * Locking     None.
 * Cost        A trap for each instruction: some 400,000, a second in the emulator.
 * Rejected    A timer at a higher rate: the emulator looks at it between blocks of instructions.
 */
#include "cpu.h"
#include "idt.h"
#include "selftest_tools.h"
#include "snapshot.h"

#define ROUNDS    4u
#define SINGLES   25u
#define KEPT      5u
#define NMI_STEPS 16u    /* one in so many instructions */
#define SPOILT    16384u /* free frames in chunks with holes; more than there should be */
#define NO_FRAME  1u     /* no address of a frame */

static struct {
    uint64_t frame[KEPT];
    uint64_t steps, taken, given, busy, failures;
} step;

static void stamp(uint64_t frame, uint64_t owner)
{
    test_direct(frame)[1] = frame ^ owner;
}

static bool has_stamp(uint64_t frame, uint64_t owner)
{
    return test_direct(frame)[1] == (frame ^ owner);
}

static void note(enum mm_err err, uint64_t *done)
{
    if (err == MM_OK)
        (*done)++;
    else if (err == MM_ERR_BUSY)
        step.busy++;
    else
        step.failures++;
}

/* In turn a frame is taken into each place, and given back the next time. */
static void use_a_frame(bool wait)
{
    struct mm_frame_request request = {.flags = wait ? 0 : MM_FRAME_NO_WAIT};
    uint64_t *kept = &step.frame[step.steps % KEPT];
    mm_phys_t frame;
    enum mm_err err;

    if (*kept) {
        step.failures += !has_stamp(*kept, 1);
        err = wait ? mm_pmm_free_frame(&mm_default.pmm, mm_phys(*kept))
                   : mm_pmm_free_no_wait(&mm_default.pmm, mm_phys(*kept));
        note(err, &step.given);
        if (err == MM_OK)
            *kept = 0;
        return;
    }
    err = mm_pmm_alloc(&mm_default.pmm, &request, &frame);
    note(err, &step.taken);
    if (err == MM_OK) {
        *kept = frame.raw;
        stamp(frame.raw, 1);
    }
}

/* At random instructions: while a lock is held nothing can be given back, so if something were taken
 * at each all places were full after the first few. */
static void like_an_nmi(struct trap_frame *frame)
{
    static uint64_t seed;

    (void)frame;
    if (test_random(&seed) % NMI_STEPS != 0)
        return;
    step.steps++;
    use_a_frame(false);
}

static void like_a_device(struct trap_frame *frame)
{
    if ((frame->rflags & RFLAGS_IF) == 0)
        return;
    step.steps++;
    use_a_frame(true);
}

/* ---- the main code; functions return how often something went wrong ---- */

/* Three at a time, mostly from the magazine and back. */
static unsigned use_singles(void)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i < SINGLES; i++) {
        mm_phys_t frame[3];

        for (unsigned j = 0; j < 3; j++) {
            if (mm_pmm_alloc_frame(&mm_default.pmm, &frame[j]) != MM_OK)
                return wrong + 1;
            stamp(frame[j].raw, 2);
        }
        for (unsigned j = 0; j < 3; j++) {
            wrong += !has_stamp(frame[j].raw, 2);
            wrong += mm_pmm_free_frame(&mm_default.pmm, frame[j]) != MM_OK;
        }
    }
    return wrong;
}

static unsigned use_frames(void)
{
    static const struct mm_frame_request requests[] = {
        {.order = 1}, {.count_frames = 5}, {.highest = MM_PHYS(0xffffff)}, {.order = 9}};
    mm_phys_t first, bulk[4];
    unsigned wrong = use_singles();

    for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        const struct mm_frame_request *request = &requests[i];
        uint64_t frames =
            request->count_frames ? request->count_frames : UINT64_C(1) << request->order;

        if (mm_pmm_alloc(&mm_default.pmm, request, &first) != MM_OK) {
            wrong++;
            continue;
        }
        stamp(first.raw, 2);
        wrong += !has_stamp(first.raw, 2);
        wrong += mm_pmm_free(&mm_default.pmm, first, frames) != MM_OK;
    }
    if (mm_pmm_alloc_bulk(&mm_default.pmm, NULL, 4, bulk) != MM_OK)
        return wrong + 1;
    return wrong + (mm_pmm_free_bulk(&mm_default.pmm, bulk, 4) != MM_OK);
}

static uint64_t in_magazines(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&mm_default.pmm, &stats);
    return stats.magazine_frames;
}

/* Single frames are taken from chunks with holes first, and such frames are never kept in stock: hold
 * all of them, each with the address of the one before, so that the magazine is what is used. Returns
 * the last; NO_FRAME on small machines, which keep no stock. */
static uint64_t hold_what_is_not_kept(void)
{
    struct mm_pmm_stats stats;
    uint64_t held = NO_FRAME;

    mm_pmm_get_stats(&mm_default.pmm, &stats);
    if (stats.zone_managed_frames[MM_ZONE_DMA32] < SPOILT)
        return held;
    for (unsigned count = 0; count < SPOILT; count++) {
        uint64_t frame = test_frame();
        uint64_t before = in_magazines();

        test_free(frame, 1);
        if (in_magazines() > before)
            return held;
        frame = test_frame();
        test_direct(frame)[0] = held;
        held = frame;
    }
    CHECK(held == NO_FRAME); /* no freed frame stayed in stock */
    return held;
}

static void give_what_was_held(uint64_t held)
{
    while (held != NO_FRAME) {
        uint64_t before = test_direct(held)[0];

        test_free(held, 1);
        held = before;
    }
}

/* Rounds of the main code with `handler` after each instruction. */
static void step_rounds(trap_handler *handler)
{
    unsigned wrong = 0;

    idt_set_handler(VECTOR_DEBUG, handler);
    reports_begin(); /* a kept frame that was handed out again would be told thousands of times */
    for (unsigned round = 0; round < ROUNDS; round++) {
        single_steps_on();
        wrong += use_frames();
        wrong += mm_pmm_drain(&mm_default.pmm, 0) != MM_OK;
        single_steps_off();
    }
    idt_set_handler(VECTOR_DEBUG, NULL);
    CHECK(read_flags() & RFLAGS_IF);
    CHECK_EQUAL(reports_end(NULL), 0);
    CHECK_EQUAL(wrong, 0);
    CHECK_EQUAL(step.failures, 0);
    CHECK_EQUAL(mm_pmm_check(&mm_default.pmm, &fault_printer), 0);
}

/* Once with frames that pass through the stock, once with such as go to their pool each time. */
static void run_with(trap_handler *handler)
{
    uint64_t held;

    snapshot_take(&snapshot_before);
    step.steps = step.taken = step.given = step.busy = step.failures = 0;
    held = hold_what_is_not_kept();
    step_rounds(handler);
    give_what_was_held(held);
    step_rounds(handler);
    CHECK(step.steps > 1000 && step.taken > 100 && step.given > 100);
    for (unsigned i = 0; i < KEPT; i++) {
        if (step.frame[i])
            test_free(step.frame[i], 1);
        step.frame[i] = 0;
    }
    CHECK(snapshot_unchanged());
}

SELFTEST(step_of_a_device_may_use_frames_at_any_instruction)
{
    run_with(like_a_device);
    CHECK_EQUAL(step.busy, 0);
}

SELFTEST(step_of_an_nmi_may_use_frames_at_any_instruction)
{
    run_with(like_an_nmi);
}
