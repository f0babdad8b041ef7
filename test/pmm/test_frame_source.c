/*
 * test_frame_source.c - where page tables get their frames: the map first, the PMM later.
 */
#include "fixture.h"

static struct fixture machine;

TEST(pmm_source_gives_frames_and_owns_exactly_what_is_allocated)
{
    struct mm_frame_source source;
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM(0x100, 4), {0x104, 4, MM_MEM_RESERVED, MM_USE_FREE, 0});
    source = mm_pmm_frame_source(&machine.pmm);
    CHECK(!source.owns(source.context, at(0x100)));
    CHECK_OK(source.alloc(source.context, &out));
    CHECK_EQ(mm_frame_of(out), 0x100);
    CHECK(source.owns(source.context, out));
    CHECK(!source.owns(source.context, at(0x101))); /* free */
    CHECK(!source.owns(source.context, at(0x105))); /* reserved */
    CHECK(!source.owns(source.context, at(0x90000)));
    CHECK(!source.owns(source.context, mm_phys(UINT64_MAX)));
    source.free(source.context, out);
    CHECK(!source.owns(source.context, out));
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 4);

    source.free(source.context, out);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->where, "mm_pmm_frame_source");
    CHECK_EQ(mm_test_report(0)->address, out.raw);
    for (unsigned i = 0; i < 4; i++)
        CHECK_OK(source.alloc(source.context, &out));
    CHECK_ERR(source.alloc(source.context, &out), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(early_source_takes_from_the_map_inside_its_window)
{
    static const struct fixture_range range[] = {RAM(0x100, 0x10), RAM(0x800, 0x10)};
    struct mm_early_source early = {.map = &machine.map};
    struct mm_frame_source source = mm_early_frame_source(&early);
    mm_phys_t out;

    fake_ram_add(at(0x100), 4 * MM_FRAME_BYTES);
    fixture_map(&machine, range, 2);
    CHECK_OK(source.alloc(source.context, &out)); /* no window: anywhere */
    CHECK(mm_frame_of(out) >= 0x800);
    early.window = fake_window();
    for (unsigned i = 0; i < 4; i++) {
        CHECK_OK(source.alloc(source.context, &out));
        CHECK(fake_ram(out, MM_FRAME_BYTES) != NULL);
        CHECK(source.owns(source.context, out));
    }
    CHECK_ERR(source.alloc(source.context, &out), MM_ERR_NO_MEMORY);
    source.free(source.context, out);
    CHECK(!source.owns(source.context, out));
    CHECK(!source.owns(source.context, at(0x80f + 1)));
    CHECK(!source.owns(source.context, at(0x10f)));
    CHECK_OK(source.alloc(source.context, &out));
}

TEST(early_frames_are_freed_through_the_pmm_later)
{
    static const struct fixture_range range[] = {RAM(0x100, 0x10)};
    struct mm_early_source early = {.map = &machine.map};
    struct mm_frame_source source = mm_early_frame_source(&early);
    mm_phys_t out;

    fixture_map(&machine, range, 1);
    CHECK_OK(source.alloc(source.context, &out));
    fixture_start(&machine, NULL);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0xf);
    source = mm_pmm_frame_source(&machine.pmm);
    CHECK(source.owns(source.context, out));
    source.free(source.context, out);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x10);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
