/*
 * test_pmm_tag.c - a tag for each frame that needs one, made on demand.
 */
#include "fixture.h"

static struct fixture machine;

#define FIRST  UINT64_C(0x100000)
#define FRAMES 0x1000u /* eight chunks: two frames of tables, and one of pointers to them */

static void start(void)
{
    fake_ram_add(at(FIRST), (uint64_t)FRAMES * MM_FRAME_BYTES);
    fake_ram_poison(at(FIRST), (uint64_t)FRAMES * MM_FRAME_BYTES);
    FIXTURE(&machine, fake_window(), RAM(FIRST, FRAMES), {0x200000, 8, MM_MEM_RESERVED, 0, 0});
}

static uint64_t side_frames(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.free_frames + stats.side_frames, FRAMES);
    return stats.side_frames;
}

TEST(tags_are_zero_at_first_and_stay_where_they_are)
{
    static uint16_t *tag[FRAMES];

    start();
    CHECK_ERR(mm_pmm_tag(&machine.pmm, at(FIRST), false, &tag[0]), MM_ERR_NOT_FOUND);
    CHECK_EQ(side_frames(), 0);
    for (unsigned i = 0; i < FRAMES; i++) {
        CHECK_OK(mm_pmm_tag(&machine.pmm, at(FIRST + i), true, &tag[i]));
        CHECK_EQ(*tag[i], 0);
        *tag[i] = (uint16_t)(i * 7 + 1);
        CHECK_EQ(side_frames(), i < 4 * MM_CHUNK_FRAMES ? 2 : 3);
    }
    for (unsigned i = 0; i < FRAMES; i++) {
        uint16_t *again = NULL;

        CHECK_OK(mm_pmm_tag(&machine.pmm, at(FIRST + i), false, &again));
        CHECK(again == tag[i]);
        CHECK_EQ(*again, (uint16_t)(i * 7 + 1)); /* each has its own */
    }
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(tags_outlive_what_becomes_of_the_frame)
{
    uint16_t *tag;
    mm_phys_t out;

    start();
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_OK(mm_pmm_tag(&machine.pmm, mm_phys(out.raw + 0x123), true, &tag)); /* any byte of it */
    *tag = 42;
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, out));
    CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
    CHECK_EQ(*tag, 42); /* the PMM neither reads nor clears it */
    CHECK_OK(mm_pmm_tag(&machine.pmm, out, false, &tag));
    CHECK_EQ(*tag, 42);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(tags_are_for_managed_frames_only)
{
    uint16_t *tag = NULL;

    start();
    CHECK_ERR(mm_pmm_tag(&machine.pmm, at(FIRST + FRAMES), true, &tag), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_pmm_tag(&machine.pmm, at(0x200000), true, &tag), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_pmm_tag(&machine.pmm, mm_phys(UINT64_MAX), true, &tag), MM_ERR_NOT_FOUND);
    CHECK(tag == NULL);
    CHECK_EQ(side_frames(), 0);
    FIXTURE(&machine, NULL, RAM(FIRST, FRAMES));
    CHECK_ERR(mm_pmm_tag(&machine.pmm, at(FIRST), true, &tag), MM_ERR_UNSUPPORTED);
}

/* Chunks with holes: a hole has no tag, its neighbours do. */
TEST(tags_of_chunks_with_holes)
{
    uint16_t *tag;

    fake_ram_add(at(FIRST), UINT64_C(0x400) * MM_FRAME_BYTES);
    FIXTURE(&machine, fake_window(), RAM(FIRST, 0x80), {FIRST + 0x80, 1, MM_MEM_BOOT_RECLAIM, 0, 0},
            RAM(FIRST + 0x81, 0x37f));
    CHECK_OK(mm_pmm_tag(&machine.pmm, at(FIRST + 0x7f), true, &tag));
    CHECK_ERR(mm_pmm_tag(&machine.pmm, at(FIRST + 0x80), true, &tag), MM_ERR_NOT_FOUND);
    CHECK_OK(mm_pmm_tag(&machine.pmm, at(FIRST + 0x81), true, &tag));
    CHECK_OK(mm_pmm_add(&machine.pmm, at(FIRST + 0x80), MM_FRAME_BYTES));
    CHECK_OK(mm_pmm_tag(&machine.pmm, at(FIRST + 0x80), true, &tag));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* Each step needs a frame, zeroed through the window and kept mapped: four maps in all. A frame that
 * cannot be zeroed may lie outside the window: another is looked for. */
TEST(tags_survive_a_failure_of_each_map_and_leak_nothing)
{
    uint16_t *tag = NULL;

    for (unsigned skip = 0; skip < 4; skip++) {
        bool zeroing = skip % 2 == 0;
        uint64_t own;

        mm_test_row("failure", skip);
        fake_reset();
        start();
        fake_frame_map_fail(skip);
        CHECK_ERR(mm_pmm_tag(&machine.pmm, at(FIRST), true, &tag), zeroing ? MM_OK : MM_ERR_WINDOW);
        CHECK_EQ(tag != NULL, zeroing);
        own = side_frames();
        CHECK_EQ(own, zeroing ? 2 : skip / 2);
        CHECK_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps + own);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        CHECK_OK(mm_pmm_tag(&machine.pmm, at(FIRST), true, &tag));
        CHECK_EQ(side_frames(), 2);
        tag = NULL;
    }
}

TEST(tags_without_memory_for_a_table_say_so)
{
    const struct mm_frame_request all = {.count_frames = FRAMES};
    uint16_t *tag = NULL;
    mm_phys_t out;

    start();
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &all, &out));
    CHECK_ERR(mm_pmm_tag(&machine.pmm, at(FIRST), true, &tag), MM_ERR_NO_MEMORY);
    CHECK(tag == NULL);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    CHECK_OK(mm_pmm_free(&machine.pmm, out, FRAMES));
    CHECK_OK(mm_pmm_tag(&machine.pmm, at(FIRST), true, &tag));
}
