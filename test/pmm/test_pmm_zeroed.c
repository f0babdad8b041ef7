/*
 * test_pmm_zeroed.c - the stock of zeroed frames: filled ahead, used first, never dirty.
 */
#include "fixture.h"
#include "pmm/stock.h"

static struct fixture machine;

#define FIRST  UINT64_C(0x100000)
#define FRAMES 0x400u

static void start(void)
{
    fake_ram_add(at(FIRST), (uint64_t)FRAMES * MM_FRAME_BYTES);
    fake_ram_poison(at(FIRST), (uint64_t)FRAMES * MM_FRAME_BYTES);
    FIXTURE(&machine, fake_window(), RAM(FIRST, FRAMES));
}

static uint64_t zeroed(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    return stats.zeroed_frames;
}

static bool is_zero(mm_phys_t frame)
{
    static const char zeros[MM_FRAME_BYTES];

    return memcmp(fake_ram(frame, MM_FRAME_BYTES), zeros, MM_FRAME_BYTES) == 0;
}

TEST(zero_ahead_fills_the_stock_and_requests_use_it_without_zeroing)
{
    const struct mm_frame_request zero = {.flags = MM_FRAME_ZERO};
    mm_phys_t out;

    start();
    for (unsigned i = 0; i < MM_ZEROED_FRAMES; i++) {
        CHECK_OK(mm_pmm_zero_ahead(&machine.pmm));
        CHECK_EQ(zeroed(), i + 1);
    }
    CHECK_ERR(mm_pmm_zero_ahead(&machine.pmm), MM_ERR_EXISTS);
    CHECK_EQ(fake_counts().frame_maps, MM_ZEROED_FRAMES);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES); /* still free */
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    for (unsigned i = 0; i < MM_ZEROED_FRAMES; i++) {
        CHECK_OK(i % 2 == 0 ? mm_pmm_alloc_zeroed(&machine.pmm, &out)
                            : mm_pmm_alloc(&machine.pmm, &zero, &out));
        CHECK(is_zero(out));
        memset(fake_ram(out, MM_FRAME_BYTES), 0xee, MM_FRAME_BYTES);
        CHECK_EQ(state_of(&machine, mm_frame_of(out)), MM_FRAME_ALLOCATED);
    }
    CHECK_EQ(zeroed(), 0);
    CHECK_EQ(fake_counts().frame_maps, MM_ZEROED_FRAMES);
    CHECK_OK(mm_pmm_alloc_zeroed(&machine.pmm, &out)); /* and without a stock */
    CHECK(is_zero(out));
    CHECK_EQ(fake_counts().frame_maps, MM_ZEROED_FRAMES + 1);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* A frame that was written to and freed must not come back as a zeroed one. */
TEST(zeroed_requests_never_see_what_an_owner_wrote)
{
    mm_phys_t frame[40];

    start();
    for (unsigned round = 0; round < 200; round++) {
        unsigned count = 1 + (unsigned)mm_test_below(40);

        for (unsigned i = 0; i < count; i++) {
            if (mm_test_below(3) == 0)
                (void)mm_pmm_zero_ahead(&machine.pmm);
            if (mm_test_below(2) == 0) {
                CHECK_OK(mm_pmm_alloc_zeroed(&machine.pmm, &frame[i]));
                CHECK(is_zero(frame[i]));
            } else {
                CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &frame[i]));
            }
            memset(fake_ram(frame[i], MM_FRAME_BYTES), (int)round + 1, MM_FRAME_BYTES);
        }
        for (unsigned i = 0; i < count; i++)
            CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame[i]));
    }
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(zero_ahead_says_why_it_does_not)
{
    static mm_phys_t frame[FRAMES];

    FIXTURE(&machine, NULL, RAM(FIRST, FRAMES));
    CHECK_ERR(mm_pmm_zero_ahead(&machine.pmm), MM_ERR_UNSUPPORTED);
    start();
    fake_frame_map_fail(0);
    CHECK_ERR(mm_pmm_zero_ahead(&machine.pmm), MM_ERR_WINDOW);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES);
    machine.pmm.cpu[0].state = MM_STOCK_BUSY;
    CHECK_ERR(mm_pmm_zero_ahead(&machine.pmm), MM_ERR_BUSY);
    machine.pmm.cpu[0].state = MM_STOCK_FREE;
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES);
    CHECK_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps);
    CHECK_OK(mm_pmm_zero_ahead(&machine.pmm));
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, FRAMES - 10, frame)); /* low: closed */
    CHECK_ERR(mm_pmm_zero_ahead(&machine.pmm), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 10);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(zeroed_stock_goes_home_with_a_drain)
{
    start();
    for (unsigned i = 0; i < 10; i++)
        CHECK_OK(mm_pmm_zero_ahead(&machine.pmm));
    CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
    CHECK_EQ(zeroed(), 0);
    CHECK_EQ(machine.pmm.pool[0].free_frames, FRAMES);
    CHECK_EQ(machine.pmm.pool[0].whole_chunks, 2);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(zeroed_alloc_that_cannot_zero_takes_nothing)
{
    mm_phys_t out = mm_phys(77);

    start();
    fake_frame_map_fail(0);
    CHECK_ERR(mm_pmm_alloc_zeroed(&machine.pmm, &out), MM_ERR_WINDOW);
    CHECK_EQ(out.raw, 77);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    FIXTURE(&machine, NULL, RAM(FIRST, FRAMES));
    CHECK_ERR(mm_pmm_alloc_zeroed(&machine.pmm, &out), MM_ERR_UNSUPPORTED);
}
