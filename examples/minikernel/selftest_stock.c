/*
 * selftest_stock.c - what the CPU has in stock, and what the PMM tells of itself.
 *
 * Problem     Frames in stock are free and must look free, come home when asked, and be zero if they
 *             are said to be; all counts must be those of a walk over every frame.
 * Idea        Each state of the stock is made on purpose, shown by the statistics, and then looked at
 *             from the other side: by the walk, by reading the frames, by address.
 */
#include "print.h"
#include "selftest_tools.h"
#include "snapshot.h"

#define DIRTY     200u
#define ZEROED    64u /* more steps of zero_ahead() than it takes are a fault */
#define DMA_LIMIT 240u
#define STEP      4u /* order of the blocks that cross a mark */

static struct mm_pmm_stats stats_now(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&mm_default.pmm, &stats);
    return stats;
}

static uint64_t in_stock(void)
{
    struct mm_pmm_stats stats = stats_now();

    return stats.magazine_frames + stats.zeroed_frames + stats.depot_frames;
}

/* Frames that many can use are in stock; lower zones, all that a small machine has, give one by one. */
static bool has_stock(void)
{
    struct mm_pmm_stats stats = stats_now();

    return stats.zone_free_frames[MM_ZONE_DMA32] + stats.zone_free_frames[MM_ZONE_HIGH] > 64;
}

static bool frame_is_zero(uint64_t frame)
{
    for (unsigned i = 0; i < MM_FRAME_BYTES / 8; i++) {
        if (test_direct(frame)[i] != 0)
            return false;
    }
    return true;
}

/* So that zeroes are no accident. */
static void dirty_many_frames(void)
{
    static mm_phys_t frames[DIRTY];

    CHECK_EQUAL(mm_pmm_alloc_bulk(&mm_default.pmm, NULL, DIRTY, frames), MM_OK);
    for (unsigned i = 0; i < DIRTY; i++) {
        for (unsigned word = 0; word < MM_FRAME_BYTES / 8; word++)
            test_direct(frames[i].raw)[word] = ~UINT64_C(0);
    }
    CHECK_EQUAL(mm_pmm_free_bulk(&mm_default.pmm, frames, DIRTY), MM_OK);
}

/* ---- magazines ---- */

SELFTEST(stock_is_free_memory)
{
    struct mm_frame_info info;
    uint64_t frame, free;

    CHECK_EQUAL(mm_pmm_drain(&mm_default.pmm, 0), MM_OK);
    CHECK_EQUAL(in_stock(), 0);
    free = mm_pmm_free_frames(&mm_default.pmm);
    frame = test_frame();
    CHECK_EQUAL(stats_now().magazine_frames > 0, has_stock());
    CHECK_EQUAL(mm_pmm_free_frames(&mm_default.pmm), free - 1);
    test_free(frame, 1);
    mm_pmm_query(&mm_default.pmm, mm_phys(frame), &info);
    CHECK_EQUAL(info.state, MM_FRAME_FREE);
    CHECK_EQUAL(mm_pmm_free_frames(&mm_default.pmm), free);
}

SELFTEST(stock_comes_home_when_asked)
{
    uint64_t frame;

    for (unsigned flags = 0; flags <= MM_DRAIN_WAIT; flags++) {
        frame = test_frame();
        CHECK_EQUAL(mm_pmm_drain(&mm_default.pmm, flags), MM_OK);
        CHECK_EQUAL(in_stock(), 0);
        test_free(frame, 1);
    }
    CHECK_EQUAL(mm_pmm_drain(&mm_default.pmm, ~0u), MM_ERR_BAD_ARG);
    CHECK_EQUAL(mm_pmm_check(&mm_default.pmm, &fault_printer), 0);
}

SELFTEST(stock_of_a_parked_cpu_is_used_on)
{
    uint64_t first = test_frame();
    uint64_t second;

    mm_pmm_park(&mm_default.pmm);
    mm_pmm_park(&mm_default.pmm);
    mm_pmm_serve(&mm_default.pmm); /* nobody asked */
    second = test_frame();         /* ends it */
    CHECK(second != first);
    test_free(first, 1);
    mm_pmm_park(&mm_default.pmm);
    test_free(second, 1);
    mm_pmm_park(&mm_default.pmm);
    CHECK_EQUAL(mm_pmm_drain(&mm_default.pmm, 0), MM_OK);
    CHECK_EQUAL(in_stock(), 0);
}

/* A block needs frames that are in stock: it is had without asking for more than a block. */
SELFTEST(stock_stands_in_no_blocks_way)
{
    struct mm_pmm_blocks blocks;
    uint64_t before, after, frame;

    snapshot_take(&snapshot_before);
    mm_pmm_get_blocks(&mm_default.pmm, &blocks);
    before = blocks.free_blocks[MM_ORDER_2M];
    frame = test_frame();
    test_free(frame, 1);
    CHECK(snapshot_unchanged()); /* the walk brings the stock home */
    mm_pmm_get_blocks(&mm_default.pmm, &blocks);
    after = blocks.free_blocks[MM_ORDER_2M];
    CHECK_EQUAL(after, before);
}

/* ---- zeroed frames ---- */

SELFTEST(stock_of_zeroed_frames_is_zero)
{
    static uint64_t frames[ZEROED + 8];
    unsigned steps = 0;
    enum mm_err err = MM_OK;

    snapshot_take(&snapshot_before);
    dirty_many_frames();
    while (steps <= ZEROED && err == MM_OK) {
        err = mm_pmm_zero_ahead(&mm_default.pmm);
        steps += err == MM_OK;
    }
    CHECK_EQUAL(err, has_stock() ? MM_ERR_EXISTS : MM_ERR_NO_MEMORY);
    CHECK_EQUAL(steps > 0, has_stock());
    CHECK_EQUAL(stats_now().zeroed_frames, steps);
    for (unsigned i = 0; i < steps + 8; i++) {
        mm_phys_t frame;

        CHECK_EQUAL(mm_pmm_alloc_zeroed(&mm_default.pmm, &frame), MM_OK);
        CHECK_EQUAL(stats_now().zeroed_frames, i < steps ? steps - i - 1 : 0);
        CHECK(frame_is_zero(frame.raw)); /* the last eight are zeroed on the spot */
        frames[i] = frame.raw;
        test_direct(frame.raw)[i] = 1;
    }
    for (unsigned i = 0; i < steps + 8; i++)
        test_free(frames[i], 1);
    CHECK(snapshot_unchanged());
}

SELFTEST(stock_of_zeroed_frames_is_drained_too)
{
    snapshot_take(&snapshot_before);
    CHECK_EQUAL(mm_pmm_zero_ahead(&mm_default.pmm), has_stock() ? MM_OK : MM_ERR_NO_MEMORY);
    CHECK_EQUAL(stats_now().zeroed_frames, has_stock());
    CHECK_EQUAL(mm_pmm_drain(&mm_default.pmm, 0), MM_OK);
    CHECK_EQUAL(stats_now().zeroed_frames, 0);
    CHECK(snapshot_unchanged());
}

/* ---- calls that never wait ---- */

SELFTEST(stock_gives_without_waiting)
{
    struct mm_frame_request request = {.flags = MM_FRAME_NO_WAIT};
    struct mm_frame_request block = {.flags = MM_FRAME_NO_WAIT, .order = 1};
    mm_phys_t none;
    uint64_t frame;

    snapshot_take(&snapshot_before);
    frame = test_take(&request);
    test_owned(frame, 1);
    CHECK_EQUAL(mm_pmm_free_no_wait(&mm_default.pmm, mm_phys(frame)), MM_OK);
    CHECK_EQUAL(mm_pmm_alloc(&mm_default.pmm, &block, &none), MM_ERR_BAD_ARG);
    CHECK(snapshot_unchanged());
}

/* ---- bad frames ---- */

static bool is_unmanaged(uint64_t frame)
{
    struct mm_frame_info info;

    mm_pmm_query(&mm_default.pmm, mm_phys(frame), &info);
    return info.state == MM_FRAME_UNMANAGED;
}

/* In the lowest zone that everybody gets, where no large block is spoilt by it. The last tests take
 * all memory and look that neither is among it. */
SELFTEST(bad_frame_is_never_seen_again)
{
    struct mm_frame_request low = {.highest = MM_HIGHEST_16M};
    uint64_t free_one = test_take(&low);
    uint64_t owned_one = test_take(&low);
    uint64_t managed = stats_now().managed_frames;

    test_free(free_one, 1);
    CHECK_EQUAL(mm_pmm_retire(&mm_default.pmm, mm_phys(free_one)), MM_OK);
    CHECK(is_unmanaged(free_one));
    CHECK_EQUAL(stats_now().managed_frames, managed - 1);
    CHECK_EQUAL(mm_pmm_retire(&mm_default.pmm, mm_phys(free_one)), MM_ERR_NOT_FOUND);
    CHECK_REPORTED(mm_pmm_free_frame(&mm_default.pmm, mm_phys(free_one)), MM_ERR_MISUSE);

    CHECK_EQUAL(mm_pmm_retire(&mm_default.pmm, mm_phys(owned_one)), MM_ERR_BUSY);
    CHECK(!is_unmanaged(owned_one));
    test_free(owned_one, 1);
    CHECK(is_unmanaged(owned_one));
    CHECK_EQUAL(stats_now().managed_frames, managed - 2);
    CHECK_EQUAL(mm_pmm_retire(&mm_default.pmm, mm_phys(MIB + 1)), MM_ERR_BAD_ARG);
    CHECK_EQUAL(mm_pmm_check(&mm_default.pmm, &fault_printer), 0);
    test_retired[0] = free_one;
    test_retired[1] = owned_one;
}

/* ---- tags ---- */

SELFTEST(tag_belongs_to_its_frame)
{
    uint64_t block = test_block(1);
    uint64_t side = stats_now().side_frames;
    uint64_t free = mm_pmm_free_frames(&mm_default.pmm);
    uint16_t *first, *second, *again;

    CHECK_EQUAL(mm_pmm_tag(&mm_default.pmm, mm_phys(block), true, &first), MM_OK);
    CHECK_EQUAL(*first, 0);
    CHECK_EQUAL(mm_pmm_tag(&mm_default.pmm, mm_phys(block + MM_FRAME_BYTES), false, &second),
                MM_OK);
    *first = 0x1234;
    *second = 0x4321;
    /* what it took for its tables is accounted for */
    CHECK_EQUAL(free - mm_pmm_free_frames(&mm_default.pmm), stats_now().side_frames - side);
    test_free(block, 2); /* the PMM does not touch them */
    CHECK_EQUAL(mm_pmm_tag(&mm_default.pmm, mm_phys(block), false, &again), MM_OK);
    CHECK(again == first && *first == 0x1234 && *second == 0x4321);
    *first = *second = 0;
    CHECK_EQUAL(mm_pmm_tag(&mm_default.pmm, mm_phys(0), true, &again), MM_ERR_NOT_FOUND);
    CHECK_EQUAL(mm_pmm_check(&mm_default.pmm, &fault_printer), 0);
}

/* ---- numbers ---- */

SELFTEST(statistics_are_those_of_the_walk)
{
    uint64_t frames[3] = {0};
    uint64_t zone[MM_ZONES] = {0};
    uint64_t managed, free, sum;
    struct mm_pmm_blocks blocks;
    struct mm_pmm_stats stats;
    mm_phys_t cursor = mm_phys(0);
    enum mm_frame_state state;
    struct mm_phys_range run;
    uint64_t held = test_frame(); /* and others in stock */

    stats = stats_now();
    while (mm_pmm_walk(&mm_default.pmm, &cursor, &run, &state) == MM_OK) {
        frames[state] += run.bytes / MM_FRAME_BYTES;
        for (uint64_t at = run.start.raw; state == MM_FRAME_FREE && at < run.start.raw + run.bytes;
             at += MM_FRAME_BYTES)
            zone[at < MIB ? 0 : at < 16 * MIB ? 1 : at < UINT64_C(1) << 32 ? 2 : 3]++;
    }
    CHECK_EQUAL(stats.free_frames, frames[MM_FRAME_FREE]);
    CHECK_EQUAL(stats.managed_frames, frames[MM_FRAME_FREE] + frames[MM_FRAME_ALLOCATED]);
    stats = stats_now(); /* the walk brought all stock home: to zones and nodes */
    CHECK_EQUAL(mm_pmm_free_frames(&mm_default.pmm), stats.free_frames);
    sum = 0;
    for (unsigned i = 0; i < MM_ZONES; i++) {
        CHECK_EQUAL(stats.zone_free_frames[i], zone[i]);
        sum += stats.zone_managed_frames[i];
    }
    CHECK_EQUAL(sum, stats.managed_frames);
    mm_pmm_get_node_stats(&mm_default.pmm, 0, &managed, &free);
    CHECK_EQUAL(managed, stats.managed_frames);
    CHECK_EQUAL(free, stats.free_frames);
    mm_pmm_get_blocks(&mm_default.pmm, &blocks); /* nothing is in stock after the walk */
    CHECK_EQUAL(blocks.free_frames, stats.free_frames);
    CHECK_EQUAL(blocks.free_blocks[0], stats.free_frames);
    CHECK_EQUAL(blocks.free_blocks[MM_ORDER_2M], stats_now().whole_chunks);
    test_free(held, 1);
}

/* ---- watermarks ---- */

static struct {
    unsigned calls;
    enum mm_memory_level level;
    uint64_t free_frames;
} told;

static void hear_level(void *arg, enum mm_zone zone, enum mm_memory_level level, uint64_t free)
{
    CHECK(arg == &told && zone == MM_ZONE_DMA); /* called by this test's own allocations */
    told.calls++;
    told.level = level;
    told.free_frames = free;
}

static void check_told(unsigned calls, enum mm_memory_level level)
{
    CHECK_EQUAL(told.calls, calls);
    CHECK_EQUAL(told.level, level);
}

/* Takes or gives blocks of zone DMA until `blocks` are held; one call for each crossing. */
static void hold_blocks(unsigned *held, unsigned blocks)
{
    static uint64_t block[DMA_LIMIT];
    static const struct mm_frame_request request = {.order = STEP, .highest = MM_PHYS(0xffffff)};

    while (*held < blocks)
        block[(*held)++] = test_take(&request);
    while (*held > blocks)
        test_free(block[--*held], 1u << STEP);
}

SELFTEST(watermark_is_told_once_for_each_crossing)
{
    struct mm_pmm_watermark mark = {.fn = hear_level, .arg = &told};
    unsigned held = 0;
    uint64_t free;

    snapshot_take(&snapshot_before);
    told.calls = 0;
    free = stats_now().zone_free_frames[MM_ZONE_DMA];
    mark.high_frames = free - 17;
    mark.low_frames = free - 3 * 16 + 1;
    mark.min_frames = free - 6 * 16 + 1;
    CHECK_EQUAL(mm_pmm_set_watermark(&mm_default.pmm, MM_ZONE_DMA, &mark), MM_OK);
    hold_blocks(&held, 2);
    CHECK_EQUAL(told.calls, 0);
    hold_blocks(&held, 3);
    check_told(1, MM_MEMORY_LOW);
    CHECK_EQUAL(told.free_frames, free - 3 * 16);
    hold_blocks(&held, 5);
    check_told(1, MM_MEMORY_LOW);
    hold_blocks(&held, 8);
    check_told(2, MM_MEMORY_MIN);
    hold_blocks(&held, 3);
    check_told(2, MM_MEMORY_MIN); /* until above low_frames */
    hold_blocks(&held, 2);
    check_told(3, MM_MEMORY_LOW);
    hold_blocks(&held, 0);
    check_told(4, MM_MEMORY_PLENTY);
    CHECK_EQUAL(mm_pmm_set_watermark(&mm_default.pmm, MM_ZONE_DMA, NULL), MM_OK);
    hold_blocks(&held, 8);
    hold_blocks(&held, 0);
    CHECK_EQUAL(told.calls, 4);
    CHECK(snapshot_unchanged());
}
