/*
 * test_pmm_interrupt.c - an interrupt allocates while the code under it allocates.
 */
#include "fixture.h"

#define KEPT 256u

static struct fixture machine;

static struct {
    mm_phys_t frame[KEPT];
    unsigned count, runs;
} handler;

/* What a driver's handler does: takes a few, now and then gives one back. */
static void interrupt(void *arg)
{
    struct mm_frame_request two = {.order = 1};
    mm_phys_t out;

    (void)arg;
    handler.runs++;
    CHECK(!fake_cpu(fake_cpu_current())->interrupts_on);
    for (uint32_t i = 0; i < machine.pmm.pool_count; i++) /* no lock with interrupts on */
        CHECK_EQ(machine.pmm.pool[i].lock.owner, 0);
    if (mm_pmm_alloc(&machine.pmm, &two, &out) == MM_OK)
        CHECK_OK(mm_pmm_free(&machine.pmm, out, 2));
    if (handler.count < KEPT && mm_pmm_alloc_frame(&machine.pmm, &out) == MM_OK)
        handler.frame[handler.count++] = out;
    if (handler.runs % 3 == 0 && handler.count > 0)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, handler.frame[--handler.count]));
}

static void start(void)
{
    memset(&handler, 0, sizeof handler);
    FIXTURE(&machine, fake_window(), RAM(0x10, 0x20), RAM(0x100, 0x700));
}

static void finish(void)
{
    while (handler.count > 0)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, handler.frame[--handler.count]));
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x720);
    for (uint64_t frame = 0x100; frame < 0x800; frame++)
        CHECK_EQ(state_of(&machine, frame), MM_FRAME_FREE);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_calls_may_be_interrupted_by_calls_at_every_point)
{
    struct mm_frame_request run = {.count_frames = 7, .flags = MM_FRAME_ZERO};
    struct mm_pmm_stats stats;
    struct mm_frame_info info;
    mm_phys_t out, bulk[9];

    fake_ram_add(at(0x100), 0x700 * MM_FRAME_BYTES);
    start();
    fake_interrupt_set(interrupt, NULL);
    for (unsigned i = 0; i < 50; i++) {
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &run, &out));
        CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, 9, bulk));
        mm_pmm_query(&machine.pmm, out, &info);
        CHECK_EQ(info.count_frames, 7);
        mm_pmm_get_stats(&machine.pmm, &stats);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        CHECK_ERR(mm_pmm_free(&machine.pmm, out, 6), MM_ERR_MISUSE);
        CHECK_OK(mm_pmm_free(&machine.pmm, out, 7));
        CHECK_OK(mm_pmm_free_bulk(&machine.pmm, bulk, 9));
    }
    fake_interrupt_set(NULL, NULL);
    CHECK(handler.runs >= 50 * 8);
    CHECK_EQ(mm_test_report_count(), 50);
    finish();
}

/* ---- at every instruction ---- */

static void outer(void *arg)
{
    struct mm_frame_request run = {.count_frames = 3};
    mm_phys_t out;

    (void)arg;
    if (mm_pmm_alloc(&machine.pmm, &run, &out) == MM_OK)
        (void)mm_pmm_free(&machine.pmm, out, 3);
}

static uint64_t before_run;

static void run_begins(void *arg)
{
    (void)arg;
    before_run = mm_pmm_free_frames(&machine.pmm) + handler.count;
}

static void run_ends(void *arg)
{
    (void)arg;
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm) + handler.count, before_run);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_alloc_and_free_survive_an_interrupt_at_any_instruction)
{
    /* Every 31st boundary, from another one with each seed: all of them take 20 seconds. */
    struct fake_step step = {.begin = run_begins,
                             .outer = outer,
                             .inner = interrupt,
                             .end = run_ends,
                             .first = mm_test_below(31),
                             .stride = 31};

    start();
    if (!fake_interrupt_each_instruction(&step))
        return;           /* not on this host */
    CHECK(step.runs > 2); /* the optimised calls are some 170 instructions long */
    finish();
}
