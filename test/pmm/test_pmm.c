/*
 * test_pmm.c - taking and giving back: arguments, misuse, exhaustion, bulk, late ranges, CPUs.
 */
#include "fixture.h"

#include <pthread.h>

static struct fixture machine, other;

/*
 * The usual machine of this file (frame numbers):
 *   0x000-0x09e  usable, below 1 MiB         0x100-0x7ff  usable, unaligned chunk edges around 1 MiB
 *   0x800-0x80f  boot loader's               0x810-0x81f  ACPI tables
 *   0x820-0x82f  reserved by firmware        0x1234       usable, one frame
 *   0x100000-0x1003ff  usable, above 4 GiB
 */
static void start(const struct mm_window *window)
{
    FIXTURE(&machine, window, RAM(0, 0x9f), RAM(0x100, 0x700),
            {0x800, 0x10, MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0},
            {0x810, 0x10, MM_MEM_ACPI_RECLAIM, MM_USE_FREE, 0},
            {0x820, 0x10, MM_MEM_RESERVED, MM_USE_FREE, 0}, RAM(0x1234, 1), RAM(0x100000, 0x400));
}

#define HIGH_FRAMES 0x400u
#define ALL_FRAMES  (0x9f + 0x700 + 1 + HIGH_FRAMES)

/* ---- arguments ---- */

TEST(pmm_alloc_answers_each_wrong_request_and_changes_nothing)
{
    static const struct {
        struct mm_frame_request request;
        enum mm_err err;
    } row[] = {
        {{.order = 9}, MM_OK},
        {{.order = 10}, MM_OK},
        {{.order = 11}, MM_ERR_NO_MEMORY},
        {{.order = MM_ORDER_MAX}, MM_ERR_NO_MEMORY},
        {{.order = MM_ORDER_MAX + 1}, MM_ERR_BAD_ARG},
        {{.order = 64}, MM_ERR_BAD_ARG},
        {{.order = 255}, MM_ERR_BAD_ARG},
        {{.order = 1, .count_frames = 2}, MM_ERR_BAD_ARG},
        {{.count_frames = 1}, MM_OK},
        {{.count_frames = 0x400}, MM_OK},
        {{.count_frames = 0x401}, MM_OK},
        {{.count_frames = 0x700}, MM_OK},
        {{.count_frames = 0x701}, MM_ERR_NO_MEMORY},
        {{.count_frames = UINT64_MAX}, MM_ERR_NO_MEMORY},
        {{.count_frames = UINT64_C(1) << 52}, MM_ERR_NO_MEMORY},
        {{.align_bytes = 1}, MM_OK},
        {{.align_bytes = 2048}, MM_OK},
        {{.align_bytes = 3}, MM_ERR_BAD_ARG},
        {{.align_bytes = 4097}, MM_ERR_BAD_ARG},
        {{.align_bytes = UINT64_MAX}, MM_ERR_BAD_ARG},
        {{.align_bytes = UINT64_C(1) << 32}, MM_OK},
        {{.align_bytes = UINT64_C(1) << 33}, MM_ERR_NO_MEMORY},
        {{.align_bytes = UINT64_C(1) << 63}, MM_ERR_NO_MEMORY},
        {{.boundary_bytes = 4096}, MM_OK},
        {{.boundary_bytes = 2048}, MM_ERR_BAD_ARG},
        {{.boundary_bytes = 12288}, MM_ERR_BAD_ARG},
        {{.boundary_bytes = 8192, .order = 1}, MM_OK},
        {{.boundary_bytes = 4096, .order = 1}, MM_ERR_BAD_ARG},
        {{.boundary_bytes = 16384, .count_frames = 4}, MM_OK},
        {{.boundary_bytes = 16384, .count_frames = 5}, MM_ERR_BAD_ARG},
        {{.boundary_bytes = UINT64_C(1) << 63, .count_frames = 5}, MM_OK},
        {{.boundary_bytes = UINT64_C(1) << 63, .count_frames = UINT64_MAX}, MM_ERR_BAD_ARG},
        {{.highest = MM_PHYS(1)}, MM_ERR_NO_MEMORY},
        {{.highest = MM_PHYS(0xffe)}, MM_ERR_NO_MEMORY},
        {{.highest = MM_PHYS(0xfff)}, MM_OK},
        {{.highest = MM_PHYS(0xfffff)}, MM_OK},
        {{.highest = MM_PHYS(0x100000)}, MM_ERR_NO_MEMORY},
        {{.highest = MM_PHYS(0x100ffe)}, MM_ERR_NO_MEMORY},
        {{.highest = MM_PHYS(0x100fff)}, MM_OK},
        {{.highest = MM_PHYS(UINT64_MAX)}, MM_OK},
        {{.highest = MM_PHYS(UINT64_MAX - 1)}, MM_OK},
        {{.lowest = MM_PHYS(1)}, MM_OK},
        {{.lowest = MM_PHYS(0x1003ff000)}, MM_OK}, /* the last frame of all */
        {{.lowest = MM_PHYS(0x1003ff001)}, MM_ERR_NO_MEMORY},
        {{.lowest = MM_PHYS(UINT64_MAX)}, MM_ERR_NO_MEMORY},
        {{.lowest = MM_PHYS(0x9e000), .highest = MM_PHYS(0xfffff)}, MM_OK},
        {{.lowest = MM_PHYS(0x9e001), .highest = MM_PHYS(0xfffff)}, MM_ERR_NO_MEMORY},
        {{.lowest = MM_PHYS(0x200000), .highest = MM_PHYS(0x200ffe)}, MM_ERR_NO_MEMORY},
        {{.lowest = MM_PHYS(0x200000), .highest = MM_PHYS(0x200fff)}, MM_OK},
        {{.lowest = MM_PHYS(0x200001), .highest = MM_PHYS(0x201fff)}, MM_OK},
        {{.lowest = MM_PHYS(0x200001), .highest = MM_PHYS(0x201ffe)}, MM_ERR_NO_MEMORY},
        {{.lowest = MM_PHYS(0x300000), .highest = MM_PHYS(0x2fffff)}, MM_ERR_NO_MEMORY},
        {{.lowest = MM_PHYS(0x300000), .highest = MM_PHYS(1)}, MM_ERR_NO_MEMORY},
        {{.lowest = MM_PHYS(0x200000), .highest = MM_PHYS(0x203fff), .order = 2}, MM_OK},
        {{.lowest = MM_PHYS(0x200001), .highest = MM_PHYS(0x203fff), .order = 2}, MM_ERR_NO_MEMORY},
        {{.mobility = MM_MOBILITY_RECLAIM}, MM_OK},
        {{.mobility = 3}, MM_ERR_BAD_ARG},
        {{.flags = MM_FRAME_TRY_HARD}, MM_OK},
        {{.flags = MM_FRAME_ZERO}, MM_ERR_UNSUPPORTED},
        {{.flags = MM_FRAME_TRY_HARD, .count_frames = 0x701}, MM_ERR_NO_MEMORY},
        {{.flags = MM_FRAME_RESERVE}, MM_OK},
        {{.flags = MM_FRAME_NO_WAIT}, MM_OK},
        {{.flags = MM_FRAME_NO_WAIT | MM_FRAME_RESERVE}, MM_OK},
        {{.flags = MM_FRAME_NO_WAIT, .count_frames = 1}, MM_OK},
        {{.flags = MM_FRAME_NO_WAIT, .highest = MM_PHYS(0xffffff)}, MM_OK},
        {{.flags = MM_FRAME_NO_WAIT, .highest = MM_PHYS(0xffe)}, MM_ERR_UNSUPPORTED},
        {{.flags = MM_FRAME_NO_WAIT, .lowest = MM_PHYS(1)}, MM_ERR_UNSUPPORTED},
        {{.flags = MM_FRAME_NO_WAIT, .order = 1}, MM_ERR_BAD_ARG},
        {{.flags = MM_FRAME_NO_WAIT, .count_frames = 2}, MM_ERR_BAD_ARG},
        {{.flags = MM_FRAME_NO_WAIT | MM_FRAME_ZERO}, MM_ERR_BAD_ARG},
        {{.flags = MM_FRAME_NO_WAIT | MM_FRAME_TRY_HARD}, MM_ERR_BAD_ARG},
        {{.flags = MM_FRAME_NO_WAIT | MM_FRAME_NODE}, MM_ERR_BAD_ARG},
        {{.flags = 64}, MM_ERR_BAD_ARG},
        {{.flags = UINT32_C(1) << 31}, MM_ERR_BAD_ARG},
        {{.flags = MM_FRAME_NODE_ONLY}, MM_ERR_BAD_ARG},
        {{.flags = MM_FRAME_NODE, .node = 63}, MM_OK},
        {{.flags = MM_FRAME_NODE, .node = 64}, MM_ERR_BAD_ARG},
        {{.node = 64}, MM_OK},
        {{.flags = MM_FRAME_NODE | MM_FRAME_NODE_ONLY}, MM_OK},
        {{.flags = MM_FRAME_NODE | MM_FRAME_NODE_ONLY, .node = 1}, MM_ERR_NO_MEMORY},
    };

    start(NULL);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint64_t before = state_hash(&machine);
        uint64_t count = row[i].request.count_frames != 0
                             ? row[i].request.count_frames
                             : UINT64_C(1) << (row[i].request.order & 31);
        mm_phys_t out = mm_phys(0x1234567);

        mm_test_row("request", i);
        CHECK_ERR(mm_pmm_alloc(&machine.pmm, &row[i].request, &out), row[i].err);
        if (row[i].err == MM_OK)
            CHECK_OK(mm_pmm_free(&machine.pmm, out, count));
        else
            CHECK_EQ(out.raw, 0x1234567);
        CHECK_EQ(state_hash(&machine), before);
    }
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, NULL, &(mm_phys_t){0}), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &(struct mm_frame_request){0}, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_alloc_frame(&machine.pmm, NULL), MM_ERR_BAD_ARG);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_calls_that_are_not_built_say_so)
{
    uint64_t before;

    start(NULL);
    before = state_hash(&machine);
    CHECK_ERR(mm_pmm_isolate(&machine.pmm, at(0x100000), 0x200000), MM_ERR_UNSUPPORTED);
    CHECK_ERR(mm_pmm_remove(&machine.pmm, at(0x100000), 0x200000), MM_ERR_UNSUPPORTED);
    CHECK_EQ(state_hash(&machine), before);
}

/* ---- misuse ---- */

TEST(pmm_free_of_what_is_not_exactly_one_allocation_is_refused)
{
    /* Where the allocations lie: single frames come out of a whole chunk in ascending order;
     * blocks out of another, since they keep away from single frames while there are whole chunks.
     *   0x100000  one frame
     *   0x100001  free again, in the magazine as are 0x100002 to 0x100007
     *   0x100200  a run of four
     *   0x100204  a run of two, directly behind */
    static const struct {
        uint64_t address, count;
        const char *what;
        uint64_t held;     /* frames of the allocation, where their number is what is wrong */
        bool needs_owners; /* the release build takes it for a right one */
    } row[] = {
        {0x100000001, 1, "freed address is not frame-aligned", 0, false},
        {0x100000fff, 1, "freed address is not frame-aligned", 0, false},
        {0x100200001, 4, "freed address is not frame-aligned", 0, false},
        {UINT64_MAX, 1, "freed address is not frame-aligned", 0, false},
        {UINT64_MAX & ~UINT64_C(0xfff), 1, "freed frame is not managed", 0, false},
        {UINT64_C(1) << 52, 1, "freed frame is not managed", 0, false},
        {0xa0000, 1, "freed frame is not managed", 0, false},     /* hole in a chunk */
        {0x800000, 1, "freed frame is not managed", 0, false},    /* boot memory, not added */
        {0x820000, 1, "freed frame is not managed", 0, false},    /* reserved */
        {0x1233000, 1, "freed frame is not managed", 0, false},   /* beside a single frame */
        {0x40000000, 1, "freed frame is not managed", 0, false},  /* between regions */
        {0x100400000, 1, "freed frame is not managed", 0, false}, /* behind the last region */
        {0x100001000, 1, "freed frame is free already", 0, true}, /* twice */
        {0x100007000, 1, "freed frame is free already", 0, true}, /* never taken */
        {0x100100000, 1, "freed frame is free already", 0, true}, /* in the pool */
        {0x100100000, 2, "freed frame is free already", 0, false},
        {0x100206000, 1, "freed frame is free already", 0, false}, /* in a chunk with blocks */
        {0x9e000, 1, "freed frame is free already", 0, false},     /* in a zone without stock */
        {0x200000, 1, "freed frame is free already", 0, false},
        {0x100201000, 1, "freed frame is not the first of its allocation", 0, false},
        {0x100201000, 3, "freed frame is not the first of its allocation", 0, false},
        {0x100203000, 1, "freed frame is not the first of its allocation", 0, false},
        {0x100203000, 3, "freed frame is not the first of its allocation", 0, false},
        {0x100205000, 1, "freed frame is not the first of its allocation", 0, false},
        {0x100000000, 0, "freed with a wrong number of frames", 1, false},
        {0x100000000, 2, "freed with a wrong number of frames", 1, false},
        {0x100000000, UINT64_MAX, "freed with a wrong number of frames", 1, false},
        {0x100000000, UINT64_C(1) << 52, "freed with a wrong number of frames", 1, false},
        {0x100200000, 1, "freed with a wrong number of frames", 4, false},
        {0x100200000, 3, "freed with a wrong number of frames", 4, false},
        {0x100200000, 5, "freed with a wrong number of frames", 4, false},
        {0x100200000, 6, "freed with a wrong number of frames", 4, false}, /* two allocations */
        {0x100204000, 3, "freed with a wrong number of frames", 2, false},
        {0x100204000, 0x1fc, "freed with a wrong number of frames", 2, false}, /* region's end */
        {0x100204000, 0x1fd, "freed with a wrong number of frames", 2, false}, /* beyond it */
    };
    uint64_t before, refused = 0;

    start(NULL);
    CHECK_EQ(take_run(&machine, 1), 0x100000);
    CHECK_EQ(take_run(&machine, 1), 0x100001);
    CHECK_EQ(take_run(&machine, 4), 0x100200);
    CHECK_EQ(take_run(&machine, 2), 0x100204);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x100001)));
    before = state_hash(&machine);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const struct mm_report *report;

        if (row[i].needs_owners && !MM_PMM_OWNERS)
            continue;
        mm_test_row("free", i);
        mm_test_reports_clear();
        CHECK_ERR(mm_pmm_free(&machine.pmm, mm_phys(row[i].address), row[i].count), MM_ERR_MISUSE);
        CHECK_EQ(mm_test_report_count(), 1);
        report = mm_test_report(0);
        CHECK_EQ(report->value[0], row[i].held != 0 ? row[i].count : 0);
        CHECK_EQ(report->value[1], row[i].held);
        CHECK_EQ(report->kind, MM_REPORT_MISUSE);
        CHECK_EQ(report->err, MM_ERR_MISUSE);
        CHECK_TEXT(report->what, row[i].what);
        CHECK_TEXT(report->where, "mm_pmm_free");
        CHECK(report->object == &machine.pmm);
        CHECK_EQ(report->address, row[i].address);
        CHECK_EQ(state_hash(&machine), before);
        CHECK_EQ(machine.pmm.misuse_count, ++refused);
    }
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);

    /* The twin: exactly one allocation is taken back without a word. */
    mm_test_reports_clear();
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100000), 1));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100204), 2));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100200), 4));
    CHECK_EQ(mm_test_report_count(), 0);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), ALL_FRAMES);
}

__attribute__((noinline)) static enum mm_err free_from_here(mm_phys_t frame)
{
    enum mm_err err = mm_pmm_free_frame(&machine.pmm, frame);

    __asm__ volatile("" : "+r"(err)); /* no tail call */
    return err;
}

TEST(pmm_free_of_a_free_frame_reports_who_called)
{
    uintptr_t here = (uintptr_t)&free_from_here;
    uintptr_t caller;

    start(NULL);
    CHECK_ERR(free_from_here(at(0x200)), MM_ERR_MISUSE);
    caller = (uintptr_t)mm_test_report(0)->caller;
    CHECK(caller > here && caller < here + 1024);
    CHECK_TEXT(mm_test_report(0)->where, "mm_pmm_free_frame");
    CHECK_EQ(mm_test_report_count(), 1);
}

TEST(pmm_free_bulk_reports_each_bad_frame_and_frees_the_others)
{
    mm_phys_t frame[5];

    start(NULL);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, 3, frame));
    frame[3] = frame[1];
    frame[4] = at(0x820);
    CHECK_ERR(mm_pmm_free_bulk(&machine.pmm, frame, 5), MM_ERR_MISUSE);
    if (MM_PMM_OWNERS) {
        CHECK_EQ(mm_test_report_count(), 2);
        CHECK_EQ(mm_test_report(1)->address, frame[1].raw);
        CHECK_TEXT(mm_test_report(1)->what, "freed frame is free already");
        CHECK_EQ(mm_test_report(0)->address, frame[4].raw);
        CHECK_TEXT(mm_test_report(0)->what, "freed frame is not managed");
    } else { /* the first, and how many */
        CHECK_EQ(mm_test_report_count(), 1);
        CHECK_EQ(mm_test_report(0)->address, frame[1].raw);
        CHECK_TEXT(mm_test_report(0)->what, "freed frame is free already");
        CHECK_EQ(mm_test_report(0)->value[0], 2);
    }
    CHECK_TEXT(mm_test_report(0)->where, "mm_pmm_free_bulk");
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), ALL_FRAMES);
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, NULL, 0));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_free_in_the_wrong_instance_is_refused)
{
    uint64_t mine, before;

    start(NULL);
    FIXTURE(&other, NULL, RAM(0x100000, 0x40), RAM(0x300000, 0x40));
    mine = take_run(&machine, 2);
    before = state_hash(&other);
    CHECK_ERR(mm_pmm_free(&other.pmm, at(mine), 2), MM_ERR_MISUSE);
    CHECK(mm_test_report(0)->object == &other.pmm);
    CHECK_EQ(state_hash(&other), before);
    CHECK_EQ(state_of(&other, mine), MM_FRAME_FREE);
    CHECK_EQ(take_run(&other, 1), mine);       /* two instances know nothing of each other */
    CHECK_EQ(take_run(&machine, 1), 0x100200); /* of a whole chunk, not beside the block */
    CHECK_OK(mm_pmm_free(&other.pmm, at(mine), 1));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(mine), 2));
    CHECK_EQ(mm_pmm_check(&other.pmm, NULL) + mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- all memory ---- */

/* Is each frame free exactly where `range` says that the machine has usable memory? */
static void check_free_by_address(struct fixture *f, const struct fixture_range *range,
                                  size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (uint64_t frame = range[i].first; frame < range[i].first + range[i].frames; frame++)
            CHECK_EQ(state_of(f, frame), MM_FRAME_FREE);
}

static const struct fixture_range usable[] = {RAM(0, 0x9f), RAM(0x100, 0x700), RAM(0x1234, 1),
                                              RAM(0x100000, HIGH_FRAMES)};

static bool is_usable(uint64_t frame)
{
    for (size_t i = 0; i < sizeof usable / sizeof usable[0]; i++)
        if (frame - usable[i].first < usable[i].frames)
            return true;
    return false;
}

static size_t take_all(struct fixture *f, mm_phys_t *out)
{
    struct mm_frame_request low = {.highest = MM_HIGHEST_1M};
    size_t count = 0;

    while (mm_pmm_alloc_frame(&f->pmm, &out[count]) == MM_OK)
        count++;
    while (mm_pmm_alloc(&f->pmm, &low, &out[count]) == MM_OK)
        count++;
    return count;
}

TEST(pmm_hands_out_each_usable_frame_once_and_gets_all_of_them_back)
{
    static mm_phys_t frame[ALL_FRAMES + 2];
    static bool seen[0x100400];
    mm_phys_t out = mm_phys(77), bulk;

    start(NULL);
    memset(seen, 0, sizeof seen);
    for (unsigned round = 0; round < 3; round++) {
        size_t count = take_all(&machine, frame);

        CHECK_EQ(count, ALL_FRAMES);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0);
        CHECK_ERR(mm_pmm_alloc_frame(&machine.pmm, &out), MM_ERR_NO_MEMORY);
        CHECK_EQ(out.raw, 77);
        CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, NULL, 1, &bulk), MM_ERR_NO_MEMORY);
        for (size_t i = 0; i < count; i++) {
            CHECK(is_usable(mm_frame_of(frame[i])));
            CHECK(!seen[mm_frame_of(frame[i])]);
            seen[mm_frame_of(frame[i])] = true;
        }
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        for (size_t i = 0; i < count; i++) { /* in another order than they were taken */
            size_t pick = i * 7 % count;

            CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame[pick]));
            seen[mm_frame_of(frame[pick])] = false;
        }
        check_free_by_address(&machine, usable, sizeof usable / sizeof usable[0]);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), ALL_FRAMES);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

TEST(pmm_hands_out_blocks_of_each_order_until_none_is_left)
{
    for (unsigned order = 0; order <= 10; order++) {
        struct mm_frame_request request = {.order = (uint8_t)order};
        struct mm_pmm_blocks blocks;
        uint64_t taken = 0;
        mm_phys_t out;

        mm_test_row("order", order);
        start(NULL);
        mm_pmm_get_blocks(&machine.pmm, &blocks);
        for (; mm_pmm_alloc(&machine.pmm, &request, &out) == MM_OK; taken++) {
            CHECK_EQ(out.raw % (MM_FRAME_BYTES << order), 0);
            CHECK(out.raw >= 0x100000);
        }
        CHECK(taken > 0);
        /* all but those below 1 MiB, where 0x00-0x9e holds floor(0x9f / size) blocks */
        CHECK_EQ(taken, blocks.free_blocks[order] - (0x9fu >> order));
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* ---- bulk ---- */

TEST(pmm_bulk_takes_all_or_none)
{
    static mm_phys_t frame[ALL_FRAMES];
    struct mm_frame_request low = {.highest = MM_HIGHEST_1M};
    struct mm_frame_request below_4g = {.highest = MM_HIGHEST_4G};
    struct mm_frame_request between = {.lowest = mm_phys(0x3f0000), .highest = mm_phys(0x3fffff)};
    uint64_t before;

    start(NULL);
    before = state_hash(&machine);
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, NULL, ALL_FRAMES - 0x9f + 1, frame),
              MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, NULL, SIZE_MAX, frame), MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &low, 0xa0, frame), MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &below_4g, 0x702, frame), MM_ERR_NO_MEMORY);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, 0, NULL));
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &between, 0x11, frame), MM_ERR_NO_MEMORY);
    CHECK_EQ(state_hash(&machine), before);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &between, 0x10, frame));
    for (size_t i = 0; i < 0x10; i++)
        CHECK(frame[i].raw >= between.lowest.raw && frame[i].raw < between.highest.raw);
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, frame, 0x10));
    CHECK_EQ(state_hash(&machine), before);

    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &low, 0x9f, frame));
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &below_4g, 0x701, frame + 0x9f));
    for (size_t i = 0; i < 0x9f; i++)
        CHECK(frame[i].raw < 0x100000);
    for (size_t i = 0x9f; i < 0x9f + 0x701; i++)
        CHECK(frame[i].raw >= 0x100000 && frame[i].raw <= MM_HIGHEST_4G.raw);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, HIGH_FRAMES, frame + 0x9f + 0x701));
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, frame, ALL_FRAMES));
    check_free_by_address(&machine, usable, sizeof usable / sizeof usable[0]);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_bulk_refuses_requests_that_are_not_for_single_frames)
{
    static const struct {
        struct mm_frame_request request;
        enum mm_err err;
    } row[] = {
        {{.order = 1}, MM_ERR_BAD_ARG},
        {{.count_frames = 1}, MM_ERR_BAD_ARG},
        {{.align_bytes = 4096}, MM_ERR_BAD_ARG},
        {{.boundary_bytes = 4096}, MM_ERR_BAD_ARG},
        {{.mobility = 3}, MM_ERR_BAD_ARG},
        {{.flags = MM_FRAME_NODE_ONLY}, MM_ERR_BAD_ARG},
        {{.flags = MM_FRAME_ZERO}, MM_ERR_UNSUPPORTED},
        {{.flags = MM_FRAME_NO_WAIT}, MM_ERR_BAD_ARG},
    };
    mm_phys_t out = mm_phys(77);
    uint64_t before;

    start(NULL);
    before = state_hash(&machine);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("request", i);
        CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &row[i].request, 1, &out), row[i].err);
    }
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, NULL, 1, NULL), MM_ERR_BAD_ARG);
    CHECK_EQ(out.raw, 77);
    CHECK_EQ(state_hash(&machine), before);
}

/* ---- memory that joins later ---- */

TEST(pmm_add_takes_only_known_memory_that_is_not_managed)
{
    static const struct {
        uint64_t start, bytes;
        enum mm_err err;
    } row[] = {
        {0x800000, 0, MM_ERR_BAD_ARG},
        {0x800001, 0x1000, MM_ERR_BAD_ARG},
        {0x800000, 0x1001, MM_ERR_BAD_ARG},
        {UINT64_MAX & ~UINT64_C(0xfff), 0x2000, MM_ERR_BAD_ARG},
        {UINT64_MAX & ~UINT64_C(0xfff), 0x1000, MM_ERR_UNSUPPORTED},
        {0x820000, 0x1000, MM_ERR_UNSUPPORTED},      /* reserved */
        {0x81f000, 0x2000, MM_ERR_UNSUPPORTED},      /* ends in reserved memory */
        {0x830000, 0x1000, MM_ERR_UNSUPPORTED},      /* a hole in a chunk */
        {0x40000000, 0x1000, MM_ERR_UNSUPPORTED},    /* between regions */
        {0x100400000, 0x1000, MM_ERR_UNSUPPORTED},   /* behind the last */
        {0x100300000, 0x200000, MM_ERR_UNSUPPORTED}, /* reaches out of a region */
        {0, UINT64_C(1) << 63, MM_ERR_UNSUPPORTED},  /* crosses everything */
        {0x7ff000, 0x1000, MM_ERR_EXISTS},           /* free */
        {0x7ff000, 0x2000, MM_ERR_EXISTS},           /* begins in managed memory */
        {0x100000000, 0x1000, MM_ERR_EXISTS},        /* allocated */
    };
    struct mm_frame_request below_16m = {.highest = MM_HIGHEST_16M, .count_frames = 0x720};
    uint64_t before;
    mm_phys_t out;

    start(NULL);
    CHECK_EQ(take_run(&machine, 1), 0x100000);
    before = state_hash(&machine);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("range", i);
        CHECK_ERR(mm_pmm_add(&machine.pmm, mm_phys(row[i].start), row[i].bytes), row[i].err);
        CHECK_EQ(state_hash(&machine), before);
    }
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &below_16m, &out), MM_ERR_NO_MEMORY);
    CHECK_OK(mm_pmm_add(&machine.pmm, at(0x800), 0x10 * MM_FRAME_BYTES));
    CHECK_OK(mm_pmm_add(&machine.pmm, at(0x810), 0x10 * MM_FRAME_BYTES));
    CHECK_ERR(mm_pmm_add(&machine.pmm, at(0x810), MM_FRAME_BYTES), MM_ERR_EXISTS);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &below_16m, &out)); /* old and new memory in one run */
    CHECK_EQ(out.raw, 0x100000);
    CHECK_OK(mm_pmm_free(&machine.pmm, out, 0x720));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_add_finds_its_frames_after_memory_ran_out)
{
    static mm_phys_t frame[ALL_FRAMES + 1];
    mm_phys_t out;

    start(NULL);
    CHECK_EQ(take_all(&machine, frame), ALL_FRAMES);
    CHECK_OK(mm_pmm_add(&machine.pmm, at(0x805), MM_FRAME_BYTES));
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_EQ(mm_frame_of(out), 0x805);
    CHECK_ERR(mm_pmm_alloc_frame(&machine.pmm, &out), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- several CPUs ---- */

struct worker {
    unsigned cpu;
    uint64_t got[ALL_FRAMES];
    size_t count;
};

static void *work(void *arg)
{
    struct worker *worker = arg;
    mm_phys_t frame;
    unsigned calls = 0;

    fake_cpu_set(worker->cpu);
    while (mm_pmm_alloc_frame(&machine.pmm, &frame) == MM_OK) {
        worker->got[worker->count++] = mm_frame_of(frame);
        if (++calls % 3 == 0)
            (void)mm_pmm_free_frame(&machine.pmm, at(worker->got[--worker->count]));
    }
    return NULL;
}

TEST(pmm_gives_no_frame_to_two_cpus)
{
    static struct worker worker[2];
    static bool seen[0x100400];
    pthread_t thread[2];
    uint64_t left;

    fixture_map(&machine, usable, sizeof usable / sizeof usable[0]);
    fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 3, .flags = MM_PMM_NO_FLOORS});
    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < 2; i++) {
        worker[i].cpu = i + 1;
        worker[i].count = 0;
        CHECK(pthread_create(&thread[i], NULL, work, &worker[i]) == 0);
    }
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
    left = mm_pmm_free_frames(&machine.pmm) - 0x9f; /* in the magazines of the other */
    CHECK(left <= (uint64_t)2 * 2 * machine.pmm.magazine_frames);
    CHECK_EQ(worker[0].count + worker[1].count + left, ALL_FRAMES - 0x9f);
    for (unsigned i = 0; i < 2; i++)
        for (size_t k = 0; k < worker[i].count; k++) {
            CHECK(!seen[worker[i].got[k]]);
            seen[worker[i].got[k]] = true;
        }
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
