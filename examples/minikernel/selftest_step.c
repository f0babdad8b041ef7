/*
 * selftest_step.c - somebody else at every single instruction.
 *
 * Problem     A timer interrupts where it happens to; the window of a few instructions in which an
 *             allocator is not ready for that is met once in a million times, in the field.
 * Idea        The CPU's trap flag: a debug trap after each instruction, whose handler takes and gives
 *             frames. It comes with interrupts off, too, in the middle of the library's guards and
 *             locks, so it is a non-maskable interrupt there and uses the calls that never wait; the
 *             other test uses the ordinary calls, where a device could interrupt.
 * Invariants  No checks are made while the flag is set: a failed one would leave the test with it on.
 * Locking     None.
 * Cost        A trap for each instruction: some 400,000, half a second in the emulator.
 * Rejected    A timer at a higher rate: the emulator looks at it between blocks of instructions.
 */
#include "cpu.h"
#include "idt.h"
#include "selftest_tools.h"
#include "snapshot.h"

#define ROUNDS 8u
#define KEPT   5u

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

static void like_an_nmi(struct trap_frame *frame)
{
    (void)frame;
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

/* What the main code does meanwhile; returns how often something went wrong. */
static unsigned use_frames(void)
{
    static const struct mm_frame_request requests[] = {{.order = 0},
                                                       {.order = 1},
                                                       {.count_frames = 5},
                                                       {.highest = MM_PHYS(0xffffff)},
                                                       {.order = 9}};
    mm_phys_t first, bulk[4];
    unsigned wrong = 0;

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

static void run_with(trap_handler *handler)
{
    unsigned wrong = 0;

    snapshot_take(&snapshot_before);
    step.steps = step.taken = step.given = step.busy = step.failures = 0;
    idt_set_handler(VECTOR_DEBUG, handler);
    for (unsigned round = 0; round < ROUNDS; round++) {
        single_steps_on();
        wrong += use_frames();
        if (round % 4 == 3)
            wrong += mm_pmm_drain(&mm_default.pmm, 0) != MM_OK;
        single_steps_off();
    }
    idt_set_handler(VECTOR_DEBUG, NULL);
    CHECK(read_flags() & RFLAGS_IF);
    CHECK_EQUAL(wrong, 0);
    CHECK_EQUAL(step.failures, 0);
    CHECK(step.steps > 1000 && step.taken > 100 && step.given > 100);
    CHECK_EQUAL(mm_pmm_check(&mm_default.pmm, &fault_printer), 0);
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
