/*
 * selftest_interrupt.c - an interrupt that allocates in the middle of an allocation.
 *
 * Problem     A lock that leaves interrupts on deadlocks when the handler wants it too; an
 *             unprotected list is torn. Both need the interrupt to come at a bad moment.
 * Idea        The timer's handler allocates, frees and maps while the main code does the same as
 *             fast as it can, until enough ticks have come in between. A handler checks nothing
 *             itself: it counts what goes wrong. A deadlock ends in the watchdog or outside.
 */
#include "fault.h"
#include "cpu.h"
#include "selftest_tools.h"
#include "snapshot.h"
#include "timer.h"

#define ROUNDS     30000u /* of the main code, at least */
#define TICKS      100u   /* of the timer, at least */
#define ROUNDS_MAX 4000000u
#define KEPT       32u

static struct {
    void *block[KEPT];
    uint64_t frame[KEPT];
    unsigned calls;
    unsigned failures;
} handler;

/* Keeps blocks over several ticks, so that main code and handler own things side by side. */
static void allocate_in_handler(void)
{
    unsigned i = handler.calls % KEPT;
    uint32_t *block = handler.block[i];

    if (block && (*block != i || mm_heap_free(&mm_default.heap, block) != MM_OK))
        handler.failures++;
    block = mm_heap_alloc(&mm_default.heap, 16 + 40 * (handler.calls % 60));
    handler.block[i] = block;
    if (block)
        *block = i;
    else
        handler.failures++;
    if (handler.frame[i] && mm_pmm_free_frame(&mm_default.pmm, mm_phys(handler.frame[i])) != MM_OK)
        handler.failures++;
    handler.frame[i] = pmm_alloc_frame();
    handler.failures += handler.frame[i] == 0;
    handler.calls++;
}

static void free_what_the_handler_kept(void)
{
    for (unsigned i = 0; i < KEPT; i++) {
        CHECK_EQUAL(mm_heap_free(&mm_default.heap, handler.block[i]), MM_OK);
        if (handler.frame[i])
            test_free(handler.frame[i], 1);
        handler.block[i] = NULL;
        handler.frame[i] = 0;
    }
}

static void allocate_in_main(unsigned round)
{
    uint64_t *block = mm_heap_alloc(&mm_default.heap, 8 + round % 700);
    uint64_t frame;

    CHECK(block != NULL);
    *block = round;
    frame = test_frame();
    test_free(frame, 1);
    CHECK_EQUAL(*block, round);
    CHECK_EQUAL(mm_heap_free(&mm_default.heap, block), MM_OK);
}

SELFTEST(interrupt_may_allocate_at_any_time)
{
    unsigned rounds = 0;

    snapshot_take(&snapshot_before);
    handler.calls = handler.failures = 0;
    timer_set_hook(allocate_in_handler);
    for (; rounds < ROUNDS_MAX; rounds++) {
        allocate_in_main(rounds);
        if (rounds >= ROUNDS && *(volatile unsigned *)&handler.calls >= TICKS)
            break;
    }
    timer_set_hook(NULL);
    CHECK(handler.calls >= TICKS);
    CHECK_EQUAL(handler.failures, 0);
    CHECK(read_flags() & RFLAGS_IF);
    CHECK_EQUAL(mm_heap_check(&mm_default.heap, &fault_printer), 0);
    CHECK_EQUAL(mm_pmm_check(&mm_default.pmm, &fault_printer), 0);
    free_what_the_handler_kept();
    CHECK(snapshot_unchanged());
}

static uint64_t handler_frame;

static void map_in_handler(void)
{
    uint64_t virt = TEST_LOW + 2 * MIB * (handler.calls % 3);

    if (test_try_map(virt, handler_frame, MM_FRAME_BYTES, MM_PROT_RW) != MM_OK)
        handler.failures++;
    else if (test_read(virt) != 99)
        handler.failures++;
    if (vmm_unmap_page(virt) != 0)
        handler.failures++;
    handler.calls++;
}

/* Same tables, neighbouring pages. */
SELFTEST(interrupt_may_map_at_any_time)
{
    uint64_t frame = test_frame();
    unsigned rounds = 0;

    handler_frame = test_frame();
    test_direct(handler_frame)[0] = 99;
    test_direct(frame)[0] = 98;
    snapshot_take(&snapshot_before);
    handler.calls = handler.failures = 0;
    timer_set_hook(map_in_handler);
    for (; rounds < ROUNDS_MAX; rounds++) {
        uint64_t virt = TEST_LOW + (1 + rounds % 1000) * MM_FRAME_BYTES;

        virt += virt % (2 * MIB) == 0 ? MM_FRAME_BYTES : 0; /* that page is the handler's */
        test_map(virt, frame, MM_FRAME_BYTES, MM_PROT_RW);
        CHECK_EQUAL(test_read(virt), 98);
        test_unmap(virt, MM_FRAME_BYTES);
        if (rounds >= ROUNDS / 3 && *(volatile unsigned *)&handler.calls >= TICKS / 2)
            break;
    }
    timer_set_hook(NULL);
    CHECK_EQUAL(handler.failures, 0);
    CHECK(handler.calls >= TICKS / 2);
    CHECK_EQUAL(mm_space_check(&mm_default.kernel, &fault_printer), 0);
    CHECK(snapshot_unchanged());
    test_free(frame, 1);
    test_free(handler_frame, 1);
}
