/*
 * test_later.c - what cannot wait is put off: deferred gathers.
 *
 * Problem     In an interrupt handler nothing may be flushed elsewhere, and so nothing freed; yet the
 *             handler's work must be complete when it returns.
 * Idea        The handler runs at each point at which an interrupt can come. What it did is looked at
 *             before mm_reap() and after it: interrupts, frames, tables, stale translations.
 * Invariants  None.
 * Locking     None.
 * Cost        A second.
 * Rejected    Nothing.
 */
#include "later_fixture.h"

/* ---- in an interrupt handler ---- */

static mm_phys_t lent; /* a frame of the PMM that is mapped behind the owned ones */

/* Owned pages, one that is lent, and with them the tables. */
static void handler_unmaps(void *arg)
{
    struct fake_counts before = fake_counts(), after;
    uint64_t free_before = mm_pmm_free_frames(&pmm);
    uint32_t used = fx.frames.used;

    (void)arg;
    late_begin();
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), 9 * K4, 0, &late, NULL));
    mm_gather_frames(&late, lent, 1);
    mm_gather_end(&late);
    after = fake_counts();
    CHECK_EQ(flushes(&after), flushes(&before));
    CHECK(fake_stale_entries() > 0);
    CHECK_EQ(mm_pmm_free_frames(&pmm), free_before);
    CHECK_EQ(fx.frames.used, used);
}

static void touch_low(void)
{
    uint64_t virt[9];

    for (unsigned i = 0; i < 9; i++)
        virt[i] = LOW + i * K4;
    touch(virt, 9);
}

/* Of several sections, with flushes between. */
static void interrupted_calls(void)
{
    CHECK_OK(map(&user, 3 * LOW, DATA, 2 * M2 + 3 * K4, MM_PROT_RW));
    CHECK_OK(mm_space_protect(&user, mm_virt(3 * LOW + K4), M2, MM_PROT_READ, 0, NULL, NULL));
    CHECK_OK(mm_space_unmap(&user, mm_virt(3 * LOW), 3 * M2, MM_RANGE_HOLES, NULL, NULL));
}

/* False: there are fewer points than `skip` in the calls that are interrupted. */
static bool interrupted_at(uint64_t skip)
{
    start();
    CHECK_OK(mm_space_populate(&user, mm_virt(LOW), 8 * K4, MM_PROT_RW, 0, NULL));
    CHECK_OK(mm_pmm_alloc_frame(&pmm, &lent));
    CHECK_OK(map(&user, LOW + 8 * K4, lent.raw, K4, MM_PROT_RW));
    touch_low();
    fake_interrupt_once(handler_unmaps, NULL, skip);
    interrupted_calls();
    if (fake_interrupt_pending()) {
        fake_interrupt_set(NULL, NULL);
        CHECK_OK(unmap(&user, LOW, 9 * K4));
        CHECK_OK(mm_pmm_free(&pmm, lent, 1));
        finish();
        return false;
    }
    nothing_is_mapped(LOW, 9 * K4);
    CHECK(!mm_gather_is_done(&late));
    CHECK_EQ(mm_pmm_free_frames(&pmm), pmm_free - 9);
    CHECK(fx.frames.used > tables_used);
    fake_cpu_set(1); /* whoever it is that reaps */
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    fake_cpu_set(0);
    CHECK(mm_gather_is_done(&late));
    CHECK_EQ(fake_stale_entries(), 0);
    finish();
    return true;
}

TEST(an_interrupt_handler_unmaps_without_flushing_and_the_reap_frees)
{
    uint64_t skip = 0;

    do {
        mm_test_row("skip", skip);
        fake_reset();
    } while (interrupted_at(skip++));
    CHECK(skip > 10);
}

/* ---- one gather ---- */

TEST(a_deferred_gather_that_ends_twice_is_ended_once)
{
    start();
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
    late_begin();
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), K4, 0, &late, NULL));
    mm_gather_end(&late);
    mm_gather_end(&late);
    CHECK(!mm_gather_is_done(&late));
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK(mm_gather_is_done(&late));
    mm_gather_end(&late);
    CHECK_EQ(mm_reap(&fx.vmm), 0);
    late_begin(); /* it is the caller's again */
    mm_gather_end(&late);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    finish();
}

static struct mm_gather *ends;
static unsigned released;

/* At this moment its tables are free, and still in it. */
static void end_again(void *context, mm_phys_t first, uint64_t count_frames)
{
    (void)context, (void)first;
    released += (unsigned)count_frames;
    CHECK_ERR(mm_space_unmap(&user, mm_virt(2 * LOW), K4, 0, ends, NULL), MM_ERR_BAD_ARG);
    mm_gather_end(ends);
}

TEST(a_gather_that_is_ended_while_it_frees_frees_once)
{
    start();
    for (unsigned deferred = 0; deferred < 2; deferred++) {
        mm_test_row("deferred", deferred);
        CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
        CHECK_OK(map(&user, 2 * LOW, DATA, K4, MM_PROT_RW));
        ends = &late;
        released = 0;
        mm_gather_begin(&late, &user);
        if (deferred != 0)
            mm_gather_defer(&late);
        mm_gather_set_release(&late, end_again, NULL);
        CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), K4, 0, &late, NULL));
        mm_gather_frames(&late, mm_phys(DATA), 1);
        mm_gather_end(&late);
        CHECK_EQ(mm_reap(&fx.vmm), deferred);
        CHECK(mm_gather_is_done(&late));
        CHECK_EQ(released, 1);
        CHECK_OK(unmap(&user, 2 * LOW, K4));
    }
    finish();
}

TEST(a_gather_that_is_not_deferred_is_done_when_it_has_ended)
{
    struct mm_gather gather;

    start();
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
    mm_gather_begin(&gather, &user);
    CHECK(!mm_gather_is_done(&gather));
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), K4, 0, &gather, NULL));
    mm_gather_end(&gather);
    CHECK(mm_gather_is_done(&gather));
    CHECK(mm_gather_is_done(NULL));
    finish();
}

static void late_is_refused(void)
{
    struct mm_space_fail fail = {.err = MM_OK};
    struct mm_cursor cursor;

    CHECK_ERR(mm_space_unmap(&user, mm_virt(LOW), K4, 0, &late, &fail), MM_ERR_BAD_ARG);
    CHECK(fail.err == MM_ERR_BAD_ARG && fail.virt.raw == LOW);
    CHECK_ERR(mm_space_protect(&user, mm_virt(LOW), K4, MM_PROT_READ, 0, &late, NULL),
              MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_harvest(&user, mm_virt(LOW), K4, MM_MARK_DIRTY, NULL, &late, NULL),
              MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_promote(&user, mm_virt(LOW), M2, &late, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_cursor_begin(&cursor, &user, MM_PROT_RW, MM_MEMTYPE_WB, 0, &late), MM_ERR_BAD_ARG);
    mm_gather_frames(&late, mm_phys(256 * MIB), 1);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->what, "frames handed in when the gather has ended");
    mm_test_reports_clear();
    all_is_mapped(LOW, 2 * K4);
}

TEST(a_deferred_gather_is_refused_when_it_has_ended)
{
    start();
    CHECK_OK(map(&user, LOW, DATA, 2 * K4, MM_PROT_RW));
    late_begin();
    mm_gather_end(&late);
    late_is_refused();
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    late_is_refused();
    CHECK_OK(unmap(&user, LOW, 2 * K4));
    finish();
}

/* ---- what has no room ---- */

/* Unmap with as many gathers as it takes; each tells how far it came. */
static unsigned unmap_in_turns(uint64_t virt, uint64_t bytes)
{
    static struct mm_gather gather[8];
    uint64_t at = virt;
    unsigned turns = 0;
    enum mm_err err;

    do {
        struct mm_space_fail fail = {.virt = {0}};

        CHECK(turns < 8);
        mm_gather_begin(&gather[turns], &user);
        mm_gather_defer(&gather[turns]);
        err = mm_space_unmap(&user, mm_virt(at), virt + bytes - at, 0, &gather[turns], &fail);
        if (err != MM_OK) {
            CHECK_ERR(err, MM_ERR_NO_ROOM);
            CHECK_ERR(fail.err, MM_ERR_NO_ROOM);
            CHECK(fail.virt.raw > at && fail.virt.raw < virt + bytes);
            nothing_is_mapped(virt, fail.virt.raw - virt);
            all_is_mapped(fail.virt.raw, virt + bytes - fail.virt.raw);
            at = fail.virt.raw;
        }
        mm_gather_end(&gather[turns++]);
    } while (err != MM_OK);
    nothing_is_mapped(virt, bytes);
    return turns;
}

TEST(more_tables_than_a_deferred_gather_holds_go_with_the_next_ones)
{
    struct mm_map_request request = request_of(LOW + M2, DATA, 150 * M2, MM_PROT_RW);
    struct fake_counts counts;
    unsigned turns;

    start();
    request.flags = MM_MAP_SMALL;
    CHECK_OK(mm_space_map(&user, &request, NULL));
    fake_counts_clear();
    turns = unmap_in_turns(LOW + M2, 150 * M2);
    CHECK(turns >= 3 && turns <= 4);
    counts = fake_counts();
    CHECK_EQ(flushes(&counts), 0);
    CHECK(fx.frames.used >= tables_used + 150);
    CHECK_EQ(mm_reap(&fx.vmm), turns);
    finish();
}

TEST(more_owned_frames_than_a_deferred_gather_holds_go_with_the_next_ones)
{
    unsigned turns;

    start();
    CHECK_OK(mm_space_populate(&user, mm_virt(LOW + K4), 200 * K4, MM_PROT_RW, 0, NULL));
    turns = unmap_in_turns(LOW + K4, 200 * K4);
    CHECK(turns >= 4 && turns <= 7);
    CHECK_EQ(mm_pmm_free_frames(&pmm), pmm_free - 200);
    CHECK_EQ(mm_reap(&fx.vmm), turns);
    finish();
}

/* As gather.h promises: 49 tables, or half of the owned frames, and then once more. */
TEST(a_deferred_gather_has_room_for_what_its_header_says)
{
    struct mm_map_request request = request_of(LOW + M2, DATA, 48 * M2, MM_PROT_RW);

    start();
    request.flags = MM_MAP_SMALL;
    CHECK_OK(mm_space_map(&user, &request, NULL));
    late_begin();
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW + M2), 48 * M2, 0, &late, NULL));
    mm_gather_end(&late);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK_OK(mm_space_populate(&user, mm_virt(LOW), 32 * K4, MM_PROT_RW, 0, NULL));
    late_begin();
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), 32 * K4, 0, &late, NULL));
    mm_gather_end(&late);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    finish();
}

TEST(a_deferred_gather_that_is_crowded_refuses_a_promotion)
{
    struct mm_map_request request = request_of(LOW + M2, DATA, 60 * M2, MM_PROT_RW);
    struct mm_space_fail fail;
    enum mm_err err = MM_OK;
    unsigned i;

    start();
    request.flags = MM_MAP_SMALL;
    CHECK_OK(mm_space_map(&user, &request, NULL));
    late_begin();
    for (i = 0; err == MM_OK && i < 60; i++)
        err = mm_space_promote(&user, mm_virt(LOW + (1 + i) * M2), M2, &late, &fail);
    CHECK_ERR(err, MM_ERR_NO_ROOM);
    CHECK(i > MM_GATHER_TABLES - 15);
    CHECK(fail.err == MM_ERR_NO_ROOM && fail.virt.raw == LOW + i * M2);
    mm_gather_end(&late);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK_OK(unmap(&user, LOW + M2, 60 * M2));
    finish();
}

TEST(a_deferred_gather_splits_no_large_page)
{
    struct state before, after;
    struct mm_space_fail fail;
    struct mm_cursor cursor;
    mm_phys_t phys;

    start();
    CHECK_OK(map(&user, LOW, DATA, 2 * M2, MM_PROT_RW));
    before = state_of(&user);
    late_begin();
    CHECK_ERR(mm_space_unmap(&user, mm_virt(LOW + K4), M2, 0, &late, &fail), MM_ERR_BUSY);
    CHECK_ERR(fail.err, MM_ERR_BUSY);
    CHECK_ERR(mm_space_protect(&user, mm_virt(LOW), K4, MM_PROT_READ, 0, &late, &fail),
              MM_ERR_BUSY);
    CHECK_OK(mm_cursor_begin(&cursor, &user, MM_PROT_RW, MM_MEMTYPE_WB, 0, &late));
    CHECK_ERR(mm_cursor_unmap(&cursor, mm_virt(LOW + 5 * K4), K4, &phys), MM_ERR_BUSY);
    mm_cursor_end(&cursor);
    after = state_of(&user);
    check_same_state(&before, &after);
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), M2, 0, &late, NULL)); /* all of one */
    mm_gather_end(&late);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK_OK(unmap(&user, LOW + M2, M2));
    finish();
}

TEST(frames_that_a_deferred_gather_has_no_room_for_are_reported)
{
    mm_phys_t frame[MM_GATHER_RUNS + 1];

    start();
    late_begin();
    for (unsigned i = 0; i <= MM_GATHER_RUNS; i++) {
        CHECK_OK(mm_pmm_alloc_frame(&pmm, &frame[i]));
        CHECK_EQ(mm_test_report_count(), 0);
        mm_gather_frames(&late, frame[i], 1);
    }
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->what, "too many frames for a gather that is deferred");
    CHECK_EQ(mm_test_report(0)->address, frame[MM_GATHER_RUNS].raw);
    mm_test_reports_clear();
    mm_gather_end(&late);
    CHECK_EQ(mm_pmm_free_frames(&pmm), pmm_free - MM_GATHER_RUNS - 1);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK_EQ(mm_pmm_free_frames(&pmm), pmm_free - 1); /* the caller has it still */
    CHECK_OK(mm_pmm_free(&pmm, frame[MM_GATHER_RUNS], 1));
    finish();
}

/* ---- with a cursor ---- */

TEST(a_cursor_unmaps_with_a_deferred_gather)
{
    for (unsigned first = 0; first < 2; first++) {
        struct fake_counts counts;
        struct mm_cursor cursor;
        mm_phys_t phys;

        mm_test_row("the gather ends first", first);
        fake_reset();
        start();
        CHECK_OK(map(&user, LOW, DATA, 9 * K4, MM_PROT_RW));
        touch_low();
        fake_counts_clear();
        late_begin();
        CHECK_OK(mm_cursor_begin(&cursor, &user, MM_PROT_RW, MM_MEMTYPE_WB, 0, &late));
        for (unsigned i = 0; i < 8; i++) {
            CHECK_OK(mm_cursor_unmap(&cursor, mm_virt(LOW + i * K4), K4, &phys));
            CHECK_EQ(phys.raw, DATA + i * K4);
        }
        if (first == 1) {
            mm_gather_end(&late);
            CHECK_ERR(mm_cursor_unmap(&cursor, mm_virt(LOW + 8 * K4), K4, &phys), MM_ERR_BAD_ARG);
        }
        mm_cursor_end(&cursor);
        mm_gather_end(&late);
        counts = fake_counts();
        CHECK_EQ(flushes(&counts), 0);
        CHECK(fake_stale_entries() > 0);
        CHECK_EQ(mm_reap(&fx.vmm), 1);
        CHECK_EQ(fake_stale_entries(), 0);
        CHECK_OK(unmap(&user, LOW + 8 * K4, K4));
        finish();
    }
}

TEST(a_cursor_has_no_room_when_its_deferred_gather_has_none)
{
    struct mm_cursor cursor;
    enum mm_err err = MM_OK;
    unsigned done = 0;

    start();
    CHECK_OK(mm_space_populate(&user, mm_virt(LOW), 100 * K4, MM_PROT_RW, 0, NULL));
    late_begin();
    CHECK_OK(mm_cursor_begin(&cursor, &user, MM_PROT_RW, MM_MEMTYPE_WB, 0, &late));
    while (done < 100) {
        err = mm_cursor_unmap(&cursor, mm_virt(LOW + done * K4), K4, NULL);
        if (err != MM_OK)
            break;
        done++;
    }
    CHECK_ERR(err, MM_ERR_NO_ROOM);
    CHECK(done >= MM_GATHER_OWNED / 2 && done <= MM_GATHER_OWNED);
    mm_cursor_end(&cursor);
    all_is_mapped(LOW + done * K4, (100 - done) * K4);
    mm_gather_end(&late);
    CHECK_EQ(mm_pmm_free_frames(&pmm), pmm_free - 100);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK_EQ(mm_pmm_free_frames(&pmm), pmm_free - 100 + done);
    CHECK_OK(unmap(&user, LOW + done * K4, (100 - done) * K4));
    finish();
}
