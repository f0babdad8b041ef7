/*
 * test_pmm_query.c - one frame, runs of frames, numbers.
 */
#include "fixture.h"

static struct fixture machine;

TEST(pmm_query_tells_the_allocation_that_holds_a_frame)
{
    static const struct {
        uint64_t address;
        enum mm_frame_state state;
        enum mm_zone zone;
        uint64_t first, count;
    } row[] = {
        {0x100000000, MM_FRAME_ALLOCATED, MM_ZONE_HIGH, 0x100000, 3},
        {0x100000fff, MM_FRAME_ALLOCATED, MM_ZONE_HIGH, 0x100000, 3},
        {0x100002fff, MM_FRAME_ALLOCATED, MM_ZONE_HIGH, 0x100000, 3},
        {0x100003000, MM_FRAME_ALLOCATED, MM_ZONE_HIGH, 0x100003, 1},
        {0x100004000, MM_FRAME_ALLOCATED, MM_ZONE_HIGH, 0x100004, 0x480}, /* over two borders */
        {0x100200000, MM_FRAME_ALLOCATED, MM_ZONE_HIGH, 0x100004, 0x480},
        {0x100400000, MM_FRAME_ALLOCATED, MM_ZONE_HIGH, 0x100004, 0x480},
        {0x100483fff, MM_FRAME_ALLOCATED, MM_ZONE_HIGH, 0x100004, 0x480},
        {0x100484000, MM_FRAME_FREE, MM_ZONE_HIGH, 0x100484, 1},
        {0x1004ff123, MM_FRAME_FREE, MM_ZONE_HIGH, 0x1004ff, 1},
        {0x100500000, MM_FRAME_UNMANAGED, MM_ZONE_HIGH, 0x100500, 1}, /* in the last chunk */
        {0x100600000, MM_FRAME_UNMANAGED, MM_ZONE_HIGH, 0x100600, 1}, /* behind it */
        {UINT64_MAX, MM_FRAME_UNMANAGED, MM_ZONE_HIGH, UINT64_MAX >> 12, 1},
        {0, MM_FRAME_UNMANAGED, MM_ZONE_LOW, 0, 1},
        {0xfffff, MM_FRAME_UNMANAGED, MM_ZONE_LOW, 0xff, 1},
        {0x100000, MM_FRAME_FREE, MM_ZONE_DMA, 0x100, 1},
        {0x101000, MM_FRAME_UNMANAGED, MM_ZONE_DMA, 0x101, 1}, /* boot memory */
        {0xffffff, MM_FRAME_UNMANAGED, MM_ZONE_DMA, 0xfff, 1},
        {0x1000000, MM_FRAME_UNMANAGED, MM_ZONE_DMA32, 0x1000, 1},
        {0xffffffff, MM_FRAME_UNMANAGED, MM_ZONE_DMA32, 0xfffff, 1},
    };

    const struct mm_frame_request fourth = {.lowest = at(0x100003),
                                            .highest = mm_phys(0x100003fff)};
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM(0x100, 1), {0x101, 1, MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0},
            RAM(0x100000, 0x500));
    CHECK_EQ(take_run(&machine, 3), 0x100000); /* of a whole chunk */
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &fourth, &out));
    CHECK_EQ(take_run(&machine, 0x480), 0x100004);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct mm_frame_info info;

        mm_test_row("query", i);
        mm_pmm_query(&machine.pmm, mm_phys(row[i].address), &info);
        CHECK_EQ(info.state, row[i].state);
        CHECK_EQ(info.zone, row[i].zone);
        CHECK_EQ(mm_frame_of(info.first), row[i].first);
        CHECK_EQ(info.count_frames, row[i].count);
    }
}

/* Where a run comes from another node, nothing of it is before the first frame of this one, and in
 * the tables there may be nothing at all. */
TEST(pmm_query_tells_an_allocation_across_nodes_from_each_of_its_frames)
{
    const struct mm_frame_request across = {.lowest = at(0x1001f0), .count_frames = 0x250};
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM_OF(1, 0x100000, 0x200), RAM_OF(0, 0x100200, 0x200),
            RAM_OF(1, 0x100400, 0x1c0), RAM_OF(2, 0x1005c0, 0x140));
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &across, &out));
    CHECK_EQ(mm_frame_of(out), 0x1001f0);
    for (uint64_t frame = 0x1001ef; frame <= 0x100440; frame++) {
        bool inside = frame >= 0x1001f0 && frame < 0x100440;
        struct mm_frame_info info;

        mm_test_row("frame", frame);
        mm_pmm_query(&machine.pmm, at(frame), &info);
        CHECK_EQ(info.state, inside ? MM_FRAME_ALLOCATED : MM_FRAME_FREE);
        CHECK_EQ(mm_frame_of(info.first), inside ? 0x1001f0 : frame);
        CHECK_EQ(info.count_frames, inside ? 0x250 : 1);
    }
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_walk_gives_maximal_runs_in_order_and_skips_the_rest)
{
    static const struct {
        uint64_t first, frames;
        enum mm_frame_state state;
    } row[] = {
        {0x10, 0x20, MM_FRAME_FREE},       {0x1ff, 2, MM_FRAME_FREE},
        {0x100000, 7, MM_FRAME_ALLOCATED}, /* two allocations that touch */
        {0x100007, 0x3f9, MM_FRAME_FREE},  {0x100401, 1, MM_FRAME_FREE},
    };
    mm_phys_t cursor = mm_phys(0);
    struct mm_phys_range run = {mm_phys(77), 77};
    enum mm_frame_state state = MM_FRAME_UNMANAGED;

    FIXTURE(&machine, NULL, RAM(0x10, 0x20), RAM(0x1ff, 2), RAM(0x100000, 0x400),
            {0x100400, 1, MM_MEM_BAD, MM_USE_FREE, 0}, RAM(0x100401, 1));
    CHECK_EQ(take_run(&machine, 4), 0x100000); /* of a whole chunk */
    CHECK_EQ(take_run(&machine, 3), 0x100004); /* the next block of that chunk */
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("run", i);
        CHECK_OK(mm_pmm_walk(&machine.pmm, &cursor, &run, &state));
        CHECK_EQ(mm_frame_of(run.start), row[i].first);
        CHECK_EQ(run.bytes, row[i].frames * MM_FRAME_BYTES);
        CHECK_EQ(state, row[i].state);
        CHECK_EQ(mm_frame_of(cursor), row[i].first + row[i].frames);
    }
    CHECK_ERR(mm_pmm_walk(&machine.pmm, &cursor, &run, &state), MM_ERR_NOT_FOUND);
    CHECK_EQ(mm_frame_of(run.start), 0x100401);
    CHECK_EQ(mm_frame_of(cursor), 0x100402);
    cursor = mm_phys(0x100002fff); /* into the middle of a run: from there on */
    CHECK_OK(mm_pmm_walk(&machine.pmm, &cursor, &run, &state));
    CHECK_EQ(mm_frame_of(run.start), 0x100002);
    CHECK_EQ(run.bytes, 5 * MM_FRAME_BYTES);
    cursor = mm_phys(UINT64_MAX);
    CHECK_ERR(mm_pmm_walk(&machine.pmm, &cursor, &run, &state), MM_ERR_NOT_FOUND);
}

TEST(pmm_blocks_count_each_order_and_what_is_unusable_for_it)
{
    /* 2 GiB at 4 GiB; then the lower half is taken, and the first frame of the upper */
    struct mm_frame_request at_1g = {.align_bytes = UINT64_C(1) << 30};
    mm_phys_t out;
    struct mm_pmm_blocks blocks;

    FIXTURE(&machine, NULL, RAM(0x100000, 0x80000));
    mm_pmm_get_blocks(&machine.pmm, &blocks);
    for (unsigned order = 0; order <= MM_ORDER_MAX; order++) {
        CHECK_EQ(blocks.free_blocks[order], 0x80000u >> order);
        CHECK_EQ(blocks.unusable_permille[order], 0);
    }
    CHECK_EQ(take_run(&machine, 0x40000), 0x100000);
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &at_1g, &out));
    CHECK_EQ(mm_frame_of(out), 0x140000);
    mm_pmm_get_blocks(&machine.pmm, &blocks);
    CHECK_EQ(blocks.free_frames, 0x3ffff);
    for (unsigned order = 0; order <= MM_ORDER_MAX; order++) {
        uint64_t usable = (uint64_t)((0x40000u >> order) - 1) << order;

        mm_test_row("order", order);
        CHECK_EQ(blocks.free_blocks[order], (0x40000u >> order) - 1);
        CHECK_EQ(blocks.unusable_permille[order], 1000 - usable * 1000 / 0x3ffff);
    }
    CHECK_EQ(take_run(&machine, 0x3ffff), 0x140001);
    mm_pmm_get_blocks(&machine.pmm, &blocks);
    for (unsigned order = 0; order <= MM_ORDER_MAX; order++)
        CHECK_EQ(blocks.free_blocks[order] + blocks.unusable_permille[order], 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* What is in stock is free, of no zone and node, and in no block. */
TEST(pmm_stats_tell_where_free_frames_are)
{
    struct mm_pmm_stats stats;
    struct mm_pmm_blocks blocks;
    struct mm_frame_info info;
    uint64_t managed = 77, free_frames = 77;
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM(0x1000, 0x400), RAM(0x100000, 0x400));
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out)); /* and seven into the magazine */
    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(machine.pmm.magazine_frames, 8);
    CHECK_EQ(stats.magazine_frames, 7);
    CHECK_EQ(stats.zeroed_frames + stats.depot_frames + stats.side_frames, 0);
    CHECK_EQ(stats.free_frames, 0x7ff);
    CHECK_EQ(stats.managed_frames, 0x800);
    CHECK_EQ(stats.zone_free_frames[MM_ZONE_HIGH], 0x3f8);
    CHECK_EQ(stats.zone_free_frames[MM_ZONE_DMA32], 0x400);
    CHECK_EQ(stats.zone_managed_frames[MM_ZONE_HIGH], 0x400);
    CHECK_EQ(stats.whole_chunks, 3);
    mm_pmm_get_blocks(&machine.pmm, &blocks);
    CHECK_EQ(blocks.free_frames, 0x7f8);
    CHECK_EQ(blocks.free_blocks[9], 3);
    mm_pmm_query(&machine.pmm, mm_phys_add(out, MM_FRAME_BYTES), &info);
    CHECK_EQ(info.state, MM_FRAME_FREE); /* in the magazine */
    mm_pmm_get_node_stats(&machine.pmm, 0, &managed, &free_frames);
    CHECK_EQ(managed, 0x800);
    CHECK_EQ(free_frames, 0x7f8);
    mm_pmm_get_node_stats(&machine.pmm, 1, &managed, &free_frames);
    CHECK_EQ(managed + free_frames, 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_stats_count_refused_calls)
{
    struct mm_pmm_stats stats;

    FIXTURE(&machine, NULL, RAM(0x100, 4));
    for (unsigned i = 0; i < 3; i++)
        CHECK_ERR(mm_pmm_free_frame(&machine.pmm, at(0x100)), MM_ERR_MISUSE);
    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.misuse_count, 3);
    CHECK_EQ(mm_test_report_count(), 3);
}
