/*
 * test_pmm_search.c - where allocations lie: zones, alignment, boundaries, limits, nodes, chunks.
 */
#include "fixture.h"

static struct fixture machine;

/* Take everything, then give back exactly these frames. */
static void leave_free(const uint64_t *frame, size_t count)
{
    struct mm_frame_request low = {.highest = MM_HIGHEST_1M};
    mm_phys_t out;

    while (mm_pmm_alloc_frame(&machine.pmm, &out) == MM_OK)
        ;
    while (mm_pmm_alloc(&machine.pmm, &low, &out) == MM_OK)
        ;
    for (size_t i = 0; i < count; i++)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(frame[i])));
}

static enum mm_err try(const struct mm_frame_request *request, uint64_t *first)
{
    mm_phys_t out = mm_phys(0);
    enum mm_err err = mm_pmm_alloc(&machine.pmm, request, &out);

    *first = mm_frame_of(out);
    return err;
}

TEST(pmm_takes_from_the_highest_zone_and_below_1m_only_on_demand)
{
    static const struct {
        uint64_t highest;
        uint64_t first; /* of the zone that must serve it */
    } row[] = {
        {0, 0x100000},           /* no limit: above 4 GiB */
        {UINT64_MAX, 0x100000},  /* the same */
        {0x100000fff, 0x100000}, /* the first frame above 4 GiB */
        {0x100000ffe, 0x1000},   /* one byte less */
        {0xffffffff, 0x1000},    /* below 4 GiB */
        {0x1000fff, 0x1000},     /* the first frame above 16 MiB */
        {0x1000ffe, 0x100},      /* one byte less */
        {0xffffff, 0x100},       /* below 16 MiB */
        {0x100fff, 0x100},       /* the first frame above 1 MiB */
        {0xfffff, 0x10},         /* below 1 MiB */
        {0x10fff, 0x10},         /* its first frame */
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct mm_frame_request request = {.highest = mm_phys(row[i].highest)};
        uint64_t first;

        mm_test_row("highest", i);
        FIXTURE(&machine, NULL, RAM(0x10, 0x20), RAM(0x100, 0x20), RAM(0x1000, 0x20),
                RAM(0x100000, 0x20));
        CHECK_OK(try(&request, &first));
        CHECK_EQ(first, row[i].first);
    }
}

TEST(pmm_lowest_bounds_a_request_in_each_zone_and_across_them)
{
    static const struct {
        uint64_t lowest, highest, count;
        uint64_t first; /* 0 = none */
    } row[] = {
        {0, 0, 1, 0x100000},
        {1, 0, 1, 0x100000},
        {0x100000000, 0, 1, 0x100000},
        {0x100000001, 0, 1, 0x100001}, /* whole frames only */
        {0x10000f001, 0, 1, 0x100010},
        {0x10001f000, 0, 1, 0x10001f}, /* the last frame */
        {0x10001f001, 0, 1, 0},
        {0x100000000, 0x1000fffff, 1, 0x100000},
        {0x100000000, 0xffffffff, 1, 0},
        {0x1000000, 0xffffffff, 1, 0x1000},
        {0xfff000, 0xffffffff, 1, 0x1000},
        {0x1005000, 0x1005fff, 1, 0x1005}, /* one frame is left of the request */
        {0x1005000, 0x1005ffe, 1, 0},
        {0x105000, 0xffffff, 1, 0x105},
        {0x1000, 0xffffff, 1, 0x100}, /* opens nothing below 1 MiB */
        {0x12000, 0xfffff, 1, 0x12},
        {0x30000, 0xfffff, 1, 0},
        {0xff8000, 0xffffffff, 0x28, 0xff8}, /* across the border of two zones */
        {0xff9000, 0xffffffff, 0x28, 0},
        {0xff9000, 0xffffffff, 0x27, 0xff9},
        {0xffe000, 0x1000fff, 3, 0xffe}, /* of a run, two frames or more lie in the first zone */
        {0xfff000, 0x1000fff, 2, 0},
        {0xfff000, 0xffffffff, 2, 0x1000},
        {UINT64_MAX, 0, 1, 0},
        {UINT64_MAX, UINT64_MAX, 1, 0},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct mm_frame_request request = {.lowest = mm_phys(row[i].lowest),
                                           .highest = mm_phys(row[i].highest),
                                           .count_frames = row[i].count};
        uint64_t first;

        mm_test_row("lowest", i);
        FIXTURE(&machine, NULL, RAM(0x10, 0x20), RAM(0x100, 0x20), RAM(0xff8, 0x28),
                RAM(0x100000, 0x20));
        CHECK_ERR(try(&request, &first), row[i].first != 0 ? MM_OK : MM_ERR_NO_MEMORY);
        CHECK_EQ(first, row[i].first);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* A search from the middle says nothing of what lies before it. */
TEST(pmm_search_from_a_lowest_address_hides_no_free_frame)
{
    struct mm_frame_request late = {.lowest = mm_phys(0x2400000)};
    uint64_t first;
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM(0x2000, 0x600));
    CHECK_OK(try(&late, &first));
    CHECK_EQ(first, 0x2400);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_EQ(mm_frame_of(out), 0x2401); /* of the fullest chunk */
    for (unsigned i = 2; i < 0x600; i++)
        CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_ERR(mm_pmm_alloc_frame(&machine.pmm, &out), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_falls_back_to_lower_zones_when_the_higher_are_full)
{
    static const uint64_t zone[] = {0x100000, 0x1000, 0x100};
    struct mm_frame_request any = {0}, low = {.highest = MM_HIGHEST_1M};
    uint64_t first;

    FIXTURE(&machine, NULL, RAM(0x10, 2), RAM(0x100, 2), RAM(0x1000, 2), RAM(0x100000, 2));
    for (unsigned i = 0; i < 3; i++)
        for (unsigned n = 0; n < 2; n++) {
            CHECK_OK(try(&any, &first));
            CHECK(first == zone[i] || first == zone[i] + 1);
        }
    CHECK_ERR(try(&any, &first), MM_ERR_NO_MEMORY); /* what is below 1 MiB stays */
    CHECK_OK(try(&low, &first));
    CHECK_OK(try(&low, &first));
    CHECK_ERR(try(&low, &first), MM_ERR_NO_MEMORY);
}

TEST(pmm_runs_may_cross_zones_when_no_zone_holds_them)
{
    struct mm_frame_request request = {.count_frames = 0x30};
    uint64_t first;

    /* 0xff0-0x100f across 16 MiB, 0xfffe0-0x10000f across 4 GiB; both 0x30 long or more */
    FIXTURE(&machine, NULL, RAM(0xfe0, 0x40), RAM(0xfffe0, 0x40));
    CHECK_OK(try(&request, &first));
    CHECK_OK(try(&request, &first));
    CHECK_ERR(try(&request, &first), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);

    /* but not into memory below 1 MiB */
    FIXTURE(&machine, NULL, RAM(0xe0, 0x40));
    CHECK_ERR(try(&request, &first), MM_ERR_NO_MEMORY);
    request.count_frames = 0x20;
    CHECK_OK(try(&request, &first));
    CHECK_EQ(first, 0x100);
}

TEST(pmm_finds_the_only_run_wherever_it_lies)
{
    /* Free: 0x3fe-0x401 across a chunk border, 0x5ff alone at the end, 0x200 alone at the start. */
    static const uint64_t left[] = {0x200, 0x3fe, 0x3ff, 0x400, 0x401, 0x5ff};
    static const struct {
        struct mm_frame_request request;
        uint64_t first; /* 0 = nothing fits */
    } row[] = {
        {{.count_frames = 4}, 0x3fe},
        {{.count_frames = 5}, 0},
        {{.count_frames = 3}, 0x3fe},
        {{.count_frames = 2, .align_bytes = 0x2000}, 0x3fe},
        {{.count_frames = 2, .align_bytes = 0x4000}, 0x400},
        {{.count_frames = 3, .align_bytes = 0x4000}, 0},
        {{.count_frames = 2, .align_bytes = 0x400000}, 0x400}, /* 4 MiB */
        {{.count_frames = 2, .align_bytes = 0x800000}, 0},
        {{.count_frames = 4, .boundary_bytes = 0x4000}, 0}, /* they cross 0x400 */
        {{.count_frames = 2, .boundary_bytes = 0x2000}, 0x3fe},
        {{.count_frames = 3, .boundary_bytes = 0x800000}, 0x3fe},
        {{.count_frames = 4, .boundary_bytes = 0x400000}, 0},
        {{.count_frames = 2, .highest = MM_PHYS(0x3fffff)}, 0x3fe},
        {{.count_frames = 2, .highest = MM_PHYS(0x3ffffe)}, 0},
        {{.count_frames = 4, .highest = MM_PHYS(0x401fff)}, 0x3fe},
        {{.count_frames = 4, .highest = MM_PHYS(0x401ffe)}, 0},
        {{.order = 1}, 0x3fe},
        {{.order = 1, .align_bytes = 0x4000}, 0x400},
        {{.order = 2}, 0},
        {{.order = 1, .boundary_bytes = 0x2000}, 0x3fe},
        {{.align_bytes = 0x200000}, 0x200},
        {{.align_bytes = 0x400000}, 0x400},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint64_t first;

        mm_test_row("request", i);
        FIXTURE(&machine, NULL, RAM(0x200, 0x400));
        leave_free(left, sizeof left / sizeof left[0]);
        if (row[i].first == 0) {
            CHECK_ERR(try(&row[i].request, &first), MM_ERR_NO_MEMORY);
            continue;
        }
        CHECK_OK(try(&row[i].request, &first));
        CHECK_EQ(first, row[i].first);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* Singles fill up the fullest chunk, blocks go where blocks are, and whole chunks stay whole. */
TEST(pmm_uses_the_fullest_chunk_that_fits)
{
    struct mm_frame_request dma = {.highest = MM_HIGHEST_16M}; /* past the magazines */
    struct mm_frame_request block = {.highest = MM_HIGHEST_16M, .order = 3};
    uint64_t frame[0x600], first;

    FIXTURE(&machine, NULL, RAM(0x200, 0x800)); /* four chunks: 0x200, 0x400, 0x600, 0x800 */
    for (unsigned i = 0; i < 0x600; i++)
        CHECK_OK(try(&dma, &frame[i]));
    for (unsigned i = 0; i < 0x600; i++) { /* three chunks full, one after another; one whole */
        CHECK(frame[i] >= 0x200 && frame[i] < 0x800);
        CHECK_EQ(frame[i] / 0x200, 1 + i / 0x200);
    }
    for (unsigned i = 0; i < 100; i++) /* 100 are free in 0x200, 3 in 0x400, 20 in 0x600 */
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x200 + 4 * i)));
    for (unsigned i = 0; i < 3; i++)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x400 + 4 * i)));
    for (unsigned i = 0; i < 20; i++)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x600 + 4 * i)));
    for (unsigned i = 0; i < 123; i++) {
        CHECK_OK(try(&dma, &first));
        CHECK_EQ(first, i < 3    ? 0x400 + 4 * i
                        : i < 23 ? 0x600 + 4 * (i - 3)
                                 : 0x200 + 4 * (i - 23));
    }
    CHECK_OK(try(&block, &first));
    CHECK_EQ(first, 0x800);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x3ff)));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x400)));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x401)));
    CHECK_OK(try(&dma, &first));
    CHECK(first == 0x3ff || first == 0x400); /* sets are by 1 to 4 frames free, and so on */
    CHECK_OK(try(&block, &first));
    CHECK_EQ(first, 0x808); /* of the chunk that has a block already */
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_runs_of_many_chunks_are_taken_and_given_back_whole)
{
    /* Two reserved frames cut the memory: 0x100-0x5fe, 0x600-0xaff, 0xb01-0xfff. */
    struct mm_pmm_stats before, after;

    FIXTURE(&machine, NULL, RAM(0x100, 0xf00), {0x5ff, 1, MM_MEM_USABLE, MM_USE_KEEP, 0},
            {0xb00, 1, MM_MEM_BAD, MM_USE_FREE, 0});
    mm_pmm_get_stats(&machine.pmm, &before);
    CHECK_EQ(take_run(&machine, 0x500), 0x600);
    CHECK_EQ(take_run(&machine, 0x4ff), 0x100);
    CHECK_EQ(take_run(&machine, 0x4ff), 0xb01);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    CHECK_ERR(mm_pmm_free(&machine.pmm, at(0x600), 0x4ff), MM_ERR_MISUSE);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x600), 0x500));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0xb01), 0x4ff));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100), 0x4ff));
    mm_pmm_get_stats(&machine.pmm, &after);
    after.misuse_count = 0;
    CHECK(memcmp(&before, &after, sizeof before) == 0);
}

TEST(pmm_node_is_preferred_or_insisted_on)
{
    struct mm_frame_request prefer = {.flags = MM_FRAME_NODE, .node = 1};
    struct mm_frame_request insist = {.flags = MM_FRAME_NODE | MM_FRAME_NODE_ONLY, .node = 1};
    struct mm_frame_request bulk = prefer;
    mm_phys_t out[6];
    uint64_t first;

    /* Node 1 has the lower memory; without a wish the higher zone would serve. */
    FIXTURE(&machine, NULL, {0x2000, 2, MM_MEM_USABLE, MM_USE_FREE, 1},
            {0x100000, 4, MM_MEM_USABLE, MM_USE_FREE, 0});
    CHECK_OK(try(&insist, &first));
    CHECK_EQ(first, 0x2000);
    CHECK_OK(try(&prefer, &first));
    CHECK_EQ(first, 0x2001);
    CHECK_ERR(try(&insist, &first), MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &insist, 1, out), MM_ERR_NO_MEMORY);
    CHECK_OK(try(&prefer, &first)); /* node 1 is full: another serves */
    CHECK_EQ(first, 0x100000);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x2000)));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x2001)));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x100000)));
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &bulk, 6, out)); /* the node first, then the rest */
    CHECK_EQ(mm_frame_of(out[0]), 0x2000);
    CHECK_EQ(mm_frame_of(out[1]), 0x2001);
    CHECK_EQ(mm_frame_of(out[2]), 0x100000);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0);
}

TEST(pmm_runs_for_a_node_do_not_reach_into_another)
{
    struct mm_frame_request insist = {
        .flags = MM_FRAME_NODE | MM_FRAME_NODE_ONLY, .node = 1, .count_frames = 0x201};
    uint64_t first;

    /* chunk 0x2000: node 0, 0x2200: node 1, 0x2400: node 1, 0x2600: both */
    FIXTURE(&machine, NULL, {0x2000, 0x200, MM_MEM_USABLE, MM_USE_FREE, 0},
            {0x2200, 0x400, MM_MEM_USABLE, MM_USE_FREE, 1},
            {0x2600, 0x100, MM_MEM_USABLE, MM_USE_FREE, 1},
            {0x2700, 0x100, MM_MEM_USABLE, MM_USE_FREE, 0});
    CHECK_OK(try(&insist, &first));
    CHECK_EQ(first, 0x2200);
    CHECK_OK(try(&insist, &first)); /* to the last frame of the node but 0xfe */
    CHECK_EQ(first, 0x2401);
    CHECK_ERR(try(&insist, &first), MM_ERR_NO_MEMORY);
    insist.count_frames = 0xff;
    CHECK_ERR(try(&insist, &first), MM_ERR_NO_MEMORY);
    insist.count_frames = 0xfe;
    CHECK_OK(try(&insist, &first));
    CHECK_EQ(first, 0x2602);
    insist.count_frames = 1;
    CHECK_ERR(try(&insist, &first), MM_ERR_NO_MEMORY);
}

/* A run that began with the last frame of a node would look there like a single frame. */
TEST(pmm_runs_do_not_begin_with_the_last_frame_of_a_node)
{
    static const struct {
        struct mm_frame_request request;
        uint64_t first; /* 0 = nothing fits; node 1 begins at 0x100400 */
    } row[] = {
        {{.count_frames = 2, .highest = MM_PHYS(0x100400fff)}, 0},
        {{.count_frames = 3, .highest = MM_PHYS(0x100401fff), .flags = MM_FRAME_TRY_HARD}, 0},
        {{.count_frames = 3}, 0x100400},
        {{.count_frames = 1}, 0x1003ff},
    };
    const struct mm_frame_request two_there = {
        .lowest = at(0x1003fe), .highest = mm_phys(0x100401fff), .count_frames = 4};
    mm_phys_t head = at(0x1003fe);
    uint64_t first;

    FIXTURE(&machine, NULL, RAM_OF(0, 0x100000, 0x400), RAM_OF(1, 0x100400, 0x400));
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct mm_frame_request request = row[i].request;

        mm_test_row("request", i);
        request.lowest = at(0x1003ff);
        CHECK_ERR(try(&request, &first), row[i].first != 0 ? MM_OK : MM_ERR_NO_MEMORY);
        CHECK_EQ(first, row[i].first);
        if (first != 0)
            CHECK_OK(mm_pmm_free(&machine.pmm, at(first), request.count_frames));
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
    CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
    CHECK_OK(try(&two_there, &first));
    CHECK_EQ(first, mm_frame_of(head));
    CHECK_ERR(mm_pmm_free_bulk(&machine.pmm, &head, 1), MM_ERR_MISUSE);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    CHECK_OK(mm_pmm_free(&machine.pmm, head, 4));
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x800);
}

/* Nodes that meet within 2 MiB leave some blocks nowhere else to lie than in both. */
TEST(pmm_blocks_lie_in_two_nodes_only_where_those_meet_within_2_mib)
{
    static const struct {
        unsigned order;
        uint64_t first; /* of the block that has frame 0x123, where node 1 begins */
    } row[] = {{9, 0x100000}, {8, 0x100100}, {5, 0x100120}, {2, 0x100120}};
    struct mm_frame_request request = {.order = 10};
    uint64_t first;

    FIXTURE(&machine, NULL, RAM_OF(0, 0x100000, 0x200), RAM_OF(1, 0x100200, 0x200));
    CHECK_ERR(try(&request, &first), MM_ERR_NO_MEMORY); /* they meet between two pieces */
    FIXTURE(&machine, NULL, RAM_OF(0, 0x100000, 0x123), RAM_OF(1, 0x100123, 0xdd));
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint64_t count = UINT64_C(1) << row[i].order;

        mm_test_row("order", row[i].order);
        request = (struct mm_frame_request){.order = (uint8_t)row[i].order,
                                            .lowest = at(row[i].first),
                                            .highest = mm_phys(at(row[i].first + count).raw - 1)};
        CHECK_OK(try(&request, &first));
        CHECK_EQ(first, row[i].first);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x200 - count);
        CHECK_ERR(mm_pmm_free(&machine.pmm, at(first), 0x100123 - first), MM_ERR_MISUSE);
        CHECK_EQ(mm_test_report_count(), i + 1);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        CHECK_OK(mm_pmm_free(&machine.pmm, at(first), count));
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x200);
    }
    CHECK_EQ(take_order(&machine, 9), 0x100000); /* without a wish, too */
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* Faults of hobby kernels: a search that looks inside one byte of the bitmap only, returns a
 * reserved frame, or the same run twice. */
TEST(pmm_four_free_frames_between_reserved_ones_are_found_once)
{
    struct mm_frame_request four = {.count_frames = 4};
    uint64_t first;

    FIXTURE(&machine, NULL, RAM(0x200, 4), {0x204, 0x10, MM_MEM_RESERVED, MM_USE_FREE, 0},
            RAM(0x214, 3));
    CHECK_OK(try(&four, &first));
    CHECK_EQ(first, 0x200);
    CHECK_ERR(try(&four, &first), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 3);
}
