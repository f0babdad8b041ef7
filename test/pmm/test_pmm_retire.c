/*
 * test_pmm_retire.c - a frame with a memory error goes: at once, or when its owner gives it up.
 */
#include "fixture.h"
#include "pmm/stock.h"

static struct fixture machine;

#define FIRST  UINT64_C(0x100000)
#define FRAMES 0x2800u /* 20 chunks */

static void start_cpus(uint32_t cpus)
{
    fixture_map(&machine, (struct fixture_range[]){RAM(0x100, 0x100), RAM(FIRST, FRAMES)}, 2);
    fixture_start_as(&machine,
                     &(struct mm_pmm_config){.cpu_count = cpus, .flags = MM_PMM_NO_FLOORS});
}

static void start(void)
{
    start_cpus(1);
}

static uint64_t managed(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    return stats.managed_frames;
}

/* Frames left to manage: all but `gone`, of which `held` are with callers. */
static void check_counts(uint64_t gone, uint64_t held)
{
    CHECK_EQ(managed(), 0x100 + FRAMES - gone);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x100 + FRAMES - gone - held);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* It is nobody's, can be neither freed nor added again, and is never handed out. */
static void is_gone(uint64_t frame)
{
    static mm_phys_t all[FRAMES + 0x100];
    uint64_t free_frames = mm_pmm_free_frames(&machine.pmm);

    CHECK_EQ(state_of(&machine, frame), MM_FRAME_UNMANAGED);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, at(frame)), MM_ERR_NOT_FOUND); /* twice */
    mm_test_reports_clear();
    CHECK_ERR(mm_pmm_free_frame(&machine.pmm, at(frame)), MM_ERR_MISUSE);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->what, "freed frame is not managed");
    CHECK_ERR(mm_pmm_add(&machine.pmm, at(frame), MM_FRAME_BYTES), MM_ERR_UNSUPPORTED);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, free_frames, all));
    for (uint64_t i = 0; i < free_frames; i++)
        CHECK(mm_frame_of(all[i]) != frame);
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, all, free_frames));
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), free_frames);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(retire_of_a_free_frame_takes_it_at_once)
{
    static const uint64_t frame[] = {
        0x100, 0x1ff, 0x180, FIRST, FIRST + 0x1ff, FIRST + 0x300, FIRST + FRAMES - 1};

    start();
    for (unsigned i = 0; i < sizeof frame / sizeof frame[0]; i++) {
        mm_test_row("frame", frame[i]);
        CHECK_OK(mm_pmm_retire(&machine.pmm, at(frame[i])));
        check_counts(i + 1, 0);
        is_gone(frame[i]);
    }
}

TEST(retire_refuses_what_is_no_managed_frame)
{
    uint64_t before;

    start();
    before = state_hash(&machine);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, mm_phys(at(FIRST).raw + 1)), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, at(0x80)), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, at(FIRST + FRAMES)), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, at(UINT64_MAX >> 12)), MM_ERR_NOT_FOUND);
    CHECK_EQ(state_hash(&machine), before);
}

TEST(retire_of_an_allocated_frame_waits_for_its_owner)
{
    mm_phys_t frame;

    for (unsigned way = 0; way < 5; way++) {
        mm_test_row("way", way);
        start();
        CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &frame));
        for (unsigned again = 0; again < 3; again++) {
            CHECK_ERR(mm_pmm_retire(&machine.pmm, frame), MM_ERR_BUSY);
            CHECK_EQ(state_of(&machine, mm_frame_of(frame)), MM_FRAME_ALLOCATED);
            check_counts(0, 1);
        }
        switch (way) {
        case 0:
            CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame));
            break;
        case 1:
            CHECK_OK(mm_pmm_free(&machine.pmm, frame, 1));
            break;
        case 2:
            CHECK_OK(mm_pmm_free_bulk(&machine.pmm, &frame, 1));
            break;
        case 3:
            CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, frame));
            break;
        default:
            machine.pmm.cpu[0].state = MM_STOCK_BUSY; /* past the magazine */
            CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame));
            machine.pmm.cpu[0].state = MM_STOCK_FREE;
            break;
        }
        check_counts(1, 0);
        is_gone(mm_frame_of(frame));
    }
}

/* Each frame of a block and of runs: its first, one inside, its last, at borders of chunks. */
TEST(retire_of_a_frame_of_a_larger_allocation_waits_for_all_of_it)
{
    static const struct {
        uint64_t lowest, count;
        uint64_t offset[4];
    } row[] = {
        {0, 8, {0, 3, 7, 7}},                            /* a small block */
        {FIRST, 0x200, {0, 1, 0x1ff, 0x100}},            /* a chunk */
        {FIRST, 0x1000, {0, 0x200, 0xdff, 0xfff}},       /* a large block */
        {FIRST + 0x111, 0x777, {0, 0xef, 0x300, 0x776}}, /* a run that begins and ends anywhere */
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        for (unsigned j = 0; j < 4; j++) {
            const struct mm_frame_request request = {.lowest = at(row[i].lowest),
                                                     .count_frames = row[i].count};
            struct mm_frame_info info;
            mm_phys_t first, bad;

            mm_test_row("case", i * 4 + j);
            start();
            CHECK_OK(mm_pmm_alloc(&machine.pmm, &request, &first));
            bad = mm_phys_add(first, row[i].offset[j] * MM_FRAME_BYTES);
            CHECK_ERR(mm_pmm_retire(&machine.pmm, bad), MM_ERR_BUSY);
            CHECK_ERR(mm_pmm_retire(&machine.pmm, bad), MM_ERR_BUSY);
            check_counts(0, row[i].count);
            mm_pmm_query(&machine.pmm, bad, &info); /* nothing has changed for its owner */
            CHECK_EQ(info.first.raw, first.raw);
            CHECK_EQ(info.count_frames, row[i].count);
            CHECK_ERR(mm_pmm_free(&machine.pmm, first, row[i].count - 1), MM_ERR_MISUSE);
            CHECK_OK(mm_pmm_free(&machine.pmm, first, row[i].count));
            check_counts(1, 0);
            is_gone(mm_frame_of(bad));
        }
}

TEST(retire_in_a_block_of_1_gib)
{
    static const uint64_t offset[] = {0, 0x1ff, 0x200, 0x12345, 0x3ffff};

    for (unsigned i = 0; i < sizeof offset / sizeof offset[0]; i++) {
        mm_test_row("offset", i);
        FIXTURE(&machine, NULL, RAM(FIRST, 0x40000));
        CHECK_EQ(take_order(&machine, MM_ORDER_1G), FIRST);
        CHECK_ERR(mm_pmm_retire(&machine.pmm, at(FIRST + offset[i])), MM_ERR_BUSY);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        CHECK_OK(mm_pmm_free(&machine.pmm, at(FIRST), 0x40000));
        CHECK_EQ(state_of(&machine, FIRST + offset[i]), MM_FRAME_UNMANAGED);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x3ffff);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* ---- in stock ---- */

static mm_phys_t in_stock_of(unsigned cpu)
{
    mm_phys_t frame;

    fake_cpu_set(cpu);
    mm_pmm_serve(&machine.pmm);
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &frame));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame));
    CHECK(mm_stock_holds(&machine.pmm, frame));
    fake_cpu_set(0);
    return frame;
}

TEST(retire_finds_a_frame_in_any_stock)
{
    mm_phys_t frame;

    for (unsigned i = 0; i < 4; i++) {
        mm_test_row("stock", i);
        start_cpus(2);
        switch (i) {
        case 0: /* this CPU's */
        case 1: /* another's, which runs */
            frame = in_stock_of(i);
            break;
        case 2: /* one's that has parked */
            frame = in_stock_of(1);
            fake_cpu_set(1);
            mm_pmm_park(&machine.pmm);
            fake_cpu_set(0);
            break;
        default: { /* the depot's */
            mm_phys_t some[40];

            for (unsigned k = 0; k < 40; k++)
                CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &some[k]));
            for (unsigned k = 0; k < 40; k++)
                CHECK_OK(mm_pmm_free_frame(&machine.pmm, some[k]));
            CHECK(machine.pmm.node[0].depot.count > 0);
            frame = machine.pmm.node[0].depot.slot[0][3];
            break;
        }
        }
        CHECK_OK(mm_pmm_retire(&machine.pmm, frame));
        check_counts(1, 0);
        is_gone(mm_frame_of(frame));
    }
}

TEST(retire_finds_a_frame_in_the_zeroed_stock)
{
    mm_phys_t frame;

    fake_ram_add(at(FIRST), (uint64_t)FRAMES * MM_FRAME_BYTES);
    FIXTURE(&machine, fake_window(), RAM(0x100, 0x100), RAM(FIRST, FRAMES));
    for (unsigned i = 0; i < 5; i++)
        CHECK_OK(mm_pmm_zero_ahead(&machine.pmm));
    frame = machine.pmm.cpu[0].zeroed.slot[2];
    CHECK_OK(mm_pmm_retire(&machine.pmm, frame));
    check_counts(1, 0);
    is_gone(mm_frame_of(frame));
}

/* CPU 1, while CPU 0 is anywhere in mm_pmm_zero_ahead(). */
static enum mm_err retired;

static void retire_first(void *arg)
{
    (void)arg;
    fake_cpu_set(1);
    retired = mm_pmm_retire(&machine.pmm, at(FIRST));
    fake_cpu_set(0);
}

TEST(retire_of_a_frame_that_is_being_zeroed)
{
    enum mm_err err = MM_OK;
    unsigned late = 0;

    fake_ram_add(at(FIRST), (uint64_t)FRAMES * MM_FRAME_BYTES);
    for (uint64_t skip = 0;; skip++) {
        mm_test_row("after points", skip);
        fixture_map(&machine, (struct fixture_range[]){RAM(0x100, 0x100), RAM(FIRST, FRAMES)}, 2);
        fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 2,
                                                           .window = fake_window(),
                                                           .flags = MM_PMM_NO_FLOORS});
        fake_interrupt_once(retire_first, NULL, skip);
        err = mm_pmm_zero_ahead(&machine.pmm);
        CHECK(err == MM_OK || err == MM_ERR_BUSY); /* it is told that the frame went elsewhere */
        if (fake_interrupt_pending())
            break;
        CHECK(retired == MM_OK || retired == MM_ERR_BUSY); /* it counted as allocated */
        late += retired == MM_ERR_BUSY;
        check_counts(1, 0);
        is_gone(FIRST);
    }
    fake_interrupt_set(NULL, NULL);
    CHECK(late > 0);
}

/* The other CPU does not answer: the frame goes when that CPU next empties its stock. */
TEST(retire_of_a_frame_that_is_out_of_reach_comes_true_later)
{
    mm_phys_t frame;

    start_cpus(2);
    frame = in_stock_of(1);
    mm_test_cpus(1);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, frame), MM_ERR_BUSY);
    check_counts(0, 0);
    mm_test_cpus(2);
    fake_cpu_set(1);
    mm_pmm_serve(&machine.pmm);
    fake_cpu_set(0);
    check_counts(1, 0);
    is_gone(mm_frame_of(frame));
}

/* A CPU may even hand it out again before: then it goes when that owner frees it. */
TEST(retired_frame_in_stock_may_have_one_more_owner)
{
    mm_phys_t frame, out;

    start_cpus(2);
    frame = in_stock_of(1);
    mm_test_cpus(1);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, frame), MM_ERR_BUSY);
    fake_cpu_set(1);
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_EQ(out.raw, frame.raw);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, out));
    fake_cpu_set(0);
    mm_test_cpus(2);
    check_counts(1, 0);
    is_gone(mm_frame_of(frame));
}

/* ---- limits, and what is left of a chunk ---- */

TEST(retire_in_more_chunks_than_there_are_records_for_is_refused)
{
    const unsigned room = 16;
    uint64_t before;

    start();
    for (unsigned i = 0; i < room; i++) {
        CHECK_OK(mm_pmm_retire(&machine.pmm, at(FIRST + i * MM_CHUNK_FRAMES)));
        CHECK_OK(mm_pmm_retire(&machine.pmm, at(FIRST + i * MM_CHUNK_FRAMES + 1))); /* the same */
    }
    before = state_hash(&machine);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, at(FIRST + room * MM_CHUNK_FRAMES)), MM_ERR_NO_ROOM);
    CHECK_EQ(state_hash(&machine), before);
    CHECK_OK(mm_pmm_retire(&machine.pmm, at(0x123))); /* a chunk that had a hole from the start */
    check_counts(2 * room + 1, 0);
}

TEST(retire_in_a_chunk_with_blocks_keeps_them)
{
    const struct mm_frame_request block = {.lowest = at(FIRST + 0x40), .count_frames = 0x20};
    uint32_t tables;
    mm_phys_t first;

    start();
    tables = mm_side_facts(&machine.pmm).unused_count;
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &block, &first));
    CHECK_OK(mm_pmm_retire(&machine.pmm, at(FIRST)));        /* beside it */
    CHECK_OK(mm_pmm_retire(&machine.pmm, at(FIRST + 0x3f))); /* just before */
    CHECK_OK(mm_pmm_retire(&machine.pmm, at(FIRST + 0x60))); /* just behind */
    CHECK_ERR(mm_pmm_retire(&machine.pmm, at(FIRST + 0x5f)), MM_ERR_BUSY);
    check_counts(3, 0x20);
    CHECK_OK(mm_pmm_free(&machine.pmm, first, 0x20));
    check_counts(4, 0);
    CHECK_EQ(mm_side_facts(&machine.pmm).unused_count, tables);
    is_gone(FIRST + 0x5f);
}

/* Every frame of a chunk goes, in any order, while some are allocated. */
TEST(retire_of_a_whole_chunk_frame_by_frame)
{
    const struct mm_frame_request request = {.lowest = at(FIRST),
                                             .highest = mm_phys(at(FIRST + 0x200).raw - 1)};
    mm_phys_t held[0x80];

    start();
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &request, 0x80, held));
    for (unsigned i = 0; i < 0x200; i++) {
        uint64_t frame = FIRST + i * 77 % 0x200;
        enum mm_err err = mm_pmm_retire(&machine.pmm, at(frame));

        CHECK_EQ(err, frame < FIRST + 0x80 ? MM_ERR_BUSY : MM_OK);
    }
    check_counts(0x180, 0x80);
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, held, 0x80));
    check_counts(0x200, 0);
    is_gone(FIRST + 5);
}
