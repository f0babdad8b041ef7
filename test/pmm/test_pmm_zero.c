/*
 * test_pmm_zero.c - frames zeroed on request, through the window.
 */
#include "fixture.h"

static struct fixture machine;

TEST(pmm_zeroes_blocks_runs_and_bulk_frames_on_request)
{
    struct mm_frame_request zero = {.flags = MM_FRAME_ZERO, .count_frames = 5};
    struct mm_frame_request singles = {.flags = MM_FRAME_ZERO};
    static const char zeros[5 * MM_FRAME_BYTES];
    mm_phys_t out, frame[3];

    fake_ram_add(at(0x100), 0x100 * MM_FRAME_BYTES);
    fake_ram_poison(at(0x100), 0x100 * MM_FRAME_BYTES);
    FIXTURE(&machine, fake_window(), RAM(0x100, 0x100));
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &zero, &out));
    CHECK(memcmp(fake_ram(out, sizeof zeros), zeros, sizeof zeros) == 0);
    CHECK(memcmp(fake_ram(mm_phys_add(out, sizeof zeros), 8), zeros, 8) != 0); /* not one more */
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &singles, 3, frame));
    for (unsigned i = 0; i < 3; i++)
        CHECK(memcmp(fake_ram(frame[i], MM_FRAME_BYTES), zeros, MM_FRAME_BYTES) == 0);
    CHECK_EQ(fake_counts().frame_maps, 8);
    CHECK_EQ(fake_counts().frame_unmaps, 8);
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out)); /* without the flag no frame is touched */
    CHECK_EQ(fake_counts().frame_maps, 8);
}

TEST(pmm_zeroing_outside_the_window_takes_nothing)
{
    struct mm_frame_request zero = {.flags = MM_FRAME_ZERO};
    uint64_t before;
    mm_phys_t out = mm_phys(77), frame[0x11];

    fake_ram_add(at(0x100), 0x10 * MM_FRAME_BYTES);
    FIXTURE(&machine, fake_window(), RAM(0x100, 0x40));
    before = state_hash(&machine);
    zero.count_frames = 0x11;
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &zero, &out), MM_ERR_WINDOW);
    CHECK_EQ(state_hash(&machine), before);
    zero.count_frames = 0;
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &zero, 0x11, frame), MM_ERR_WINDOW);
    CHECK_EQ(state_hash(&machine), before);
    CHECK_EQ(out.raw, 77);
    zero.count_frames = 0x10;
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &zero, &out));
    CHECK_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_survives_a_failure_of_each_map_of_a_frame)
{
    struct mm_frame_request block = {.flags = MM_FRAME_ZERO, .order = 3};
    struct mm_frame_request singles = {.flags = MM_FRAME_ZERO};
    mm_phys_t out, frame[8];

    fake_ram_add(at(0x100), 0x40 * MM_FRAME_BYTES);
    FIXTURE(&machine, fake_window(), RAM(0x100, 0x40));
    for (unsigned skip = 0; skip < 8; skip++) {
        uint64_t before = state_hash(&machine);

        mm_test_row("failure", skip);
        out = mm_phys(77);
        fake_frame_map_fail(skip);
        CHECK_ERR(mm_pmm_alloc(&machine.pmm, &block, &out), MM_ERR_WINDOW);
        CHECK_EQ(out.raw, 77);
        CHECK_EQ(state_hash(&machine), before);
        fake_frame_map_fail(skip);
        CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &singles, 8, frame), MM_ERR_WINDOW);
        CHECK_EQ(state_hash(&machine), before);
        CHECK_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps);
    }
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &block, &out));
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &singles, 8, frame));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
