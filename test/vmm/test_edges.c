/*
 * test_edges.c - where a pass through tables ends half-way: no lock stays, and nothing else is let go of.
 */
#include "vmm_fixture.h"

/* Small pages over a border of 1 GiB, `before` tables in front of it. A section looks at 59 tables at the
 * most: for some of these it ends at the upper table behind the border. */
TEST(a_look_that_ends_at_an_upper_table_leaves_no_lock)
{
    fixture_start(4, true, 1);
    for (uint64_t before = 50; before < 64; before++) {
        struct mm_map_request request =
            request_of(LOW + GIB - before * M2, DATA, 60 * M2, MM_PROT_RW);
        struct mm_gather gather;

        mm_test_row("tables before the border", before);
        request.flags = MM_MAP_SMALL;
        CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
        CHECK_OK(protect(&fx.kernel, request.virt.raw, request.bytes, MM_PROT_READ));
        CHECK_EQ(space_faults(&fx.kernel), 0);
        mm_gather_begin(&gather, &fx.kernel);
        CHECK_OK(mm_space_unmap(&fx.kernel, request.virt, request.bytes, 0, &gather, NULL));
        mm_gather_end(&gather);
        CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
        CHECK_OK(unmap(&fx.kernel, request.virt.raw + K4, request.bytes - 2 * K4));
        CHECK_OK(unmap(&fx.kernel, request.virt.raw, K4));
        CHECK_OK(unmap(&fx.kernel, request.virt.raw + request.bytes - K4, K4));
        CHECK_EQ(space_faults(&fx.kernel), 0);
    }
    fixture_sound(&fx.kernel);
}

static enum mm_err call(unsigned i)
{
    struct mm_map_request request = request_of(LOW + GIB - 3 * M2 + K4, DATA, 6 * M2, MM_PROT_RW);

    if (i == 0)
        return unmap(&fx.kernel, LOW + GIB - 3 * M2, 6 * M2);
    if (i == 1)
        return protect(&fx.kernel, LOW + GIB - 3 * M2, 6 * M2, MM_PROT_READ);
    request.flags = MM_MAP_SMALL;
    return mm_space_map(&fx.kernel, &request, NULL);
}

/* So many tables are mapped to look; what was looked at stays reachable. In the release build unmap does
 * not look at leaf tables that go whole. */
static unsigned looks(unsigned i)
{
    if (i == 0 && MM_LEVEL == MM_LEVEL_RELEASE)
        return 4;
    return i < 2 ? 10 : 6;
}

/* The map meets a page that is there, behind tables that it has locked. */
TEST(a_table_out_of_reach_is_said_and_leaves_no_lock)
{
    fixture_start(4, true, 1);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned skip = 0; skip < looks(i); skip++) {
            struct mm_map_request request =
                request_of(LOW + GIB - 3 * M2, DATA, i < 2 ? 6 * M2 : K4, MM_PROT_RW);
            struct state before, after;
            enum mm_err err;

            mm_test_row("map that fails", skip + 100 * i);
            request.flags = MM_MAP_SMALL;
            CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
            if (i == 2) {
                CHECK_OK(map(&fx.kernel, LOW + GIB, DATA, K4, MM_PROT_RW));
                CHECK_OK(map(&fx.kernel, LOW + GIB + 2 * M2, DATA, K4, MM_PROT_RW));
            }
            before = state_of(&fx.kernel);
            fake_frame_map_fail(skip);
            err = call(i);
            fake_frame_map_works();
            if (err != MM_OK) {
                CHECK(err == MM_ERR_WINDOW || (i == 2 && err == MM_ERR_EXISTS));
                after = state_of(&fx.kernel);
                check_same_state(&before, &after);
            }
            CHECK_EQ(space_faults(&fx.kernel), 0);
            CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), 2 * GIB, MM_RANGE_HOLES, NULL, NULL));
        }
    }
    fixture_sound(&fx.kernel);
}

static unsigned busy;

TEST(what_would_wait_for_its_own_cursor_is_busy)
{
    struct mm_space space = MM_ZERO, other = MM_ZERO;
    struct mm_cursor cursor, second;
    struct mm_gather gather;
    uint8_t mark;

    fixture_start(4, true, 2);
    CHECK_OK(mm_space_create(&fx.vmm, &space, 0));
    CHECK_OK(mm_space_create(&fx.vmm, &other, 0));
    CHECK_OK(map(&fx.kernel, LOW, DATA, 2 * K4, MM_PROT_RW));
    mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(mm_cursor_begin(&cursor, &fx.kernel, MM_PROT_RW, MM_MEMTYPE_WB, 0, &gather));
    CHECK_ERR(mm_cursor_begin(&second, &fx.kernel, MM_PROT_RW, MM_MEMTYPE_WB, 0, NULL),
              MM_ERR_BUSY);
    CHECK_ERR(mm_cursor_begin(&second, &fx.kernel, MM_PROT_RW, MM_MEMTYPE_WB, 0, &gather),
              MM_ERR_BUSY);
    CHECK_OK(mm_cursor_unmap(&cursor, mm_virt(LOW), K4, NULL));
    CHECK_ERR(mm_space_destroy(&space), MM_ERR_BUSY);
    CHECK_ERR(mm_space_activate(&other), MM_ERR_BUSY);
    CHECK_ERR(mm_space_harvest(&fx.kernel, mm_virt(LOW), 2 * K4, 0, &mark, NULL, NULL),
              MM_ERR_BUSY);
    mm_cursor_end(&cursor);
    mm_gather_end(&gather);
    CHECK_OK(mm_space_destroy(&space));
    CHECK_OK(mm_space_destroy(&other));
    fixture_sound(&fx.kernel);
}

static void release_more(void *context, mm_phys_t first, uint64_t count_frames)
{
    (void)first, (void)count_frames;
    CHECK(busy++ < MM_GATHER_RUNS); /* or it never ends */
    mm_gather_frames(context, mm_phys(DATA), 1);
}

TEST(a_gather_that_frees_takes_no_frames)
{
    struct mm_gather gather;

    fixture_start(4, true, 1);
    busy = 0;
    mm_gather_begin(&gather, &fx.kernel);
    mm_gather_set_release(&gather, release_more, &gather);
    for (unsigned i = 0; i < MM_GATHER_RUNS; i++)
        mm_gather_frames(&gather, mm_phys(DATA + i * K4), 1);
    mm_gather_end(&gather);
    CHECK_EQ(busy, MM_GATHER_RUNS);
    CHECK_EQ(mm_test_report_count(), MM_GATHER_RUNS);
    mm_gather_frames(&gather, mm_phys(DATA), 1); /* nor when it has ended: nobody would free it */
    CHECK_EQ(mm_test_report_count(), MM_GATHER_RUNS + 1);
    mm_test_reports_clear();
    fixture_sound(&fx.kernel);
}
