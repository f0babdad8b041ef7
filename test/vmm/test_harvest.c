/*
 * test_harvest.c - marks read and cleared over a range, and pages that are joined into large ones.
 */
#include "vmm_fixture.h"

static uint8_t marks[2048];

static enum mm_err harvest(uint64_t virt, uint64_t bytes, uint32_t clear)
{
    memset(marks, 0xee, sizeof marks);
    return mm_space_harvest(&fx.kernel, mm_virt(virt), bytes, clear, marks, NULL, NULL);
}

static struct mm_translation at(uint64_t virt)
{
    struct mm_translation got;

    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(virt), &got, NULL));
    return got;
}

TEST(harvest_tells_what_was_used_and_starts_anew)
{
    fixture_start(4, true, 2);
    fake_watch_changes(0); /* what is used is said here */
    CHECK_OK(map(&fx.kernel, LOW, DATA, 100 * K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + M2, GIB, M2, MM_PROT_RW));
    CHECK_OK(unmap(&fx.kernel, LOW + 7 * K4, K4));
    CHECK_EQ(fake_read64(mm_virt(LOW + 3 * K4)).fault, FAKE_OK);
    fake_cpu_set(1);
    CHECK_EQ(fake_write64(mm_virt(LOW + 5 * K4), 1).fault, FAKE_OK);
    CHECK_EQ(fake_write64(mm_virt(LOW + M2 + 9 * K4), 1).fault, FAKE_OK);
    fake_cpu_set(0);
    for (unsigned round = 0; round < 2; round++) { /* reading changes nothing */
        mm_test_row("round", round);
        CHECK_OK(harvest(LOW, 2 * M2, round == 0 ? 0 : MM_MARK_ACCESSED | MM_MARK_DIRTY));
        CHECK_EQ(marks[0], MM_MARK_MAPPED);
        CHECK_EQ(marks[3], MM_MARK_MAPPED | MM_MARK_ACCESSED);
        CHECK_EQ(marks[5], MM_MARK_MAPPED | MM_MARK_ACCESSED | MM_MARK_DIRTY);
        CHECK_EQ(marks[7], 0);
        CHECK_EQ(marks[100], 0);
        CHECK_EQ(marks[511], 0);
        for (unsigned i = 512; i < 1024; i++)
            CHECK_EQ(marks[i], MM_MARK_MAPPED | MM_MARK_ACCESSED | MM_MARK_DIRTY);
        CHECK_EQ(marks[1024], 0xee);
        CHECK_EQ(mm_test_shootdowns().count, 1 + round); /* that of unmap, and one */
    }
    CHECK_OK(harvest(LOW, 2 * M2, 0));
    CHECK_EQ(marks[5], MM_MARK_MAPPED);
    CHECK_EQ(marks[600], MM_MARK_MAPPED);
    for (unsigned cpu = 0; cpu < 2; cpu++) { /* each CPU notes it anew: nothing stale is left */
        fake_cpu_set(cpu);
        CHECK_EQ(fake_write64(mm_virt(LOW + (5 + cpu) * K4), 1).fault, FAKE_OK);
    }
    fake_cpu_set(0);
    CHECK_OK(harvest(LOW, 10 * K4, MM_MARK_DIRTY));
    CHECK_EQ(marks[5], MM_MARK_MAPPED | MM_MARK_ACCESSED | MM_MARK_DIRTY);
    CHECK_EQ(marks[6], MM_MARK_MAPPED | MM_MARK_ACCESSED | MM_MARK_DIRTY);
    CHECK(at(LOW + 5 * K4).accessed && !at(LOW + 5 * K4).dirty);
    fixture_sound(&fx.kernel);
}

/* Saved dirty, of a page that became read-only, counts, and is cleared as well. */
TEST(harvest_sees_what_was_dirty_before_it_was_read_only)
{
    fixture_start(4, true, 1);
    fake_watch_changes(0);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_EQ(fake_write64(mm_virt(LOW), 1).fault, FAKE_OK);
    CHECK_OK(protect(&fx.kernel, LOW, K4, MM_PROT_READ));
    CHECK_OK(harvest(LOW, K4, MM_MARK_DIRTY));
    CHECK_EQ(marks[0], MM_MARK_MAPPED | MM_MARK_ACCESSED | MM_MARK_DIRTY);
    CHECK_OK(harvest(LOW, K4, 0));
    CHECK_EQ(marks[0], MM_MARK_MAPPED | MM_MARK_ACCESSED);
    fixture_sound(&fx.kernel);
}

TEST(harvest_of_a_part_of_a_large_page_clears_nothing)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, GIB, M2, MM_PROT_RW));
    CHECK_EQ(fake_write64(mm_virt(LOW), 1).fault, FAKE_OK);
    CHECK_OK(harvest(LOW + K4, 3 * K4, MM_MARK_ACCESSED | MM_MARK_DIRTY));
    CHECK_EQ(marks[0], MM_MARK_MAPPED | MM_MARK_ACCESSED | MM_MARK_DIRTY);
    CHECK_EQ(marks[2], marks[0]);
    CHECK_EQ(marks[3], 0xee);
    CHECK(at(LOW).dirty && at(LOW).accessed);
    fixture_sound(&fx.kernel);
}

/* A walker sets marks before and after each store: each is told, now or the next time. */
TEST(harvest_loses_no_mark_that_is_set_meanwhile)
{
    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 2 * K4, MM_PROT_RW));
    fake_watch(mm_virt(LOW), FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    CHECK_OK(harvest(LOW, K4, MM_MARK_ACCESSED | MM_MARK_DIRTY));
    fake_walkers_run();
    CHECK_OK(harvest(LOW, K4, 0));
    CHECK_EQ(marks[0], MM_MARK_MAPPED | MM_MARK_ACCESSED | MM_MARK_DIRTY);
    fixture_sound(&fx.kernel);
}

/* Each page was read, and is written for the first time while its mark is being cleared: between the
 * look at its entry and the exchange. That is told at once, or found in the entry afterwards. */
TEST(harvest_tells_or_leaves_what_is_written_at_the_last_moment)
{
    static const uint64_t bytes[] = {K4, M2, GIB};
    static const uint32_t clear[] = {MM_MARK_ACCESSED, MM_MARK_ACCESSED | MM_MARK_DIRTY};

    for (unsigned i = 0; i < 6; i++) {
        const uint64_t virt[] = {LOW};
        uint8_t *all = NULL; /* the marks of a large page do not fit in here */

        mm_test_row("size, clear", i);
        if (i == 0)
            fixture_start(4, true, 2);
        CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, bytes[i / 2], MM_PROT_RW));
        touch(virt, 1);
        CHECK(at(LOW).accessed && !at(LOW).dirty);
        if (bytes[i / 2] <= M2)
            all = marks;
        CHECK_OK(mm_space_harvest(&fx.kernel, mm_virt(LOW), bytes[i / 2], clear[i % 2], all, NULL,
                                  NULL));
        CHECK(all == NULL || (marks[0] & MM_MARK_DIRTY) != 0);
        CHECK_EQ(at(LOW).dirty, i % 2 == 0);
        CHECK_EQ(fake_counts().lost_dirty, 0);
        CHECK_EQ(fake_stale_entries(), 0);
        CHECK_OK(unmap(&fx.kernel, LOW, bytes[i / 2]));
    }
    fixture_sound(&fx.kernel);
}

/* What an unmap cannot tell: the entry is gone, and a CPU may have written until the flush. Rights first,
 * then the marks, then the page. */
TEST(what_was_written_until_the_flush_is_told_before_the_page_goes)
{
    const uint64_t virt[] = {LOW, LOW + 6 * K4};

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, 7 * K4, MM_PROT_RW));
    touch(virt, 2);
    CHECK(!at(LOW).dirty && !at(LOW + 6 * K4).dirty);
    CHECK_OK(protect(&fx.kernel, LOW, 7 * K4, MM_PROT_READ)); /* a walker writes until then */
    fake_walkers_run();
    CHECK_OK(harvest(LOW, 7 * K4, 0));
    CHECK_EQ(marks[0], MM_MARK_MAPPED | MM_MARK_ACCESSED | MM_MARK_DIRTY);
    CHECK_EQ(marks[6], marks[0]);
    for (unsigned cpu = 0; cpu < 2; cpu++) { /* nobody can write any more */
        fake_cpu_set(cpu);
        CHECK_EQ(fake_write64(mm_virt(LOW + 6 * K4), 1).fault, FAKE_WRITE_DENIED);
    }
    fake_cpu_set(0);
    CHECK_OK(unmap(&fx.kernel, LOW, 7 * K4));
    fixture_sound(&fx.kernel);
}

TEST(harvest_with_a_gather_leaves_the_flush_to_it)
{
    struct mm_gather gather;

    fixture_start(4, true, 2);
    fake_watch_changes(0);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 600 * K4, MM_PROT_RW));
    for (uint64_t i = 0; i < 600; i++)
        CHECK_EQ(fake_write64(mm_virt(LOW + i * K4), i).fault, FAKE_OK);
    mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(
        mm_space_harvest(&fx.kernel, mm_virt(LOW), 600 * K4, MM_MARK_DIRTY, NULL, &gather, NULL));
    CHECK_EQ(mm_test_shootdowns().count, 0);
    mm_gather_end(&gather);
    CHECK_EQ(mm_test_shootdowns().count, 1);
    CHECK(!at(LOW + 599 * K4).dirty);
    fixture_sound(&fx.kernel);
}

TEST(harvest_refuses_bad_requests)
{
    struct mm_space_fail why;

    fixture_start(4, true, 1);
    CHECK_ERR(harvest(LOW + 8, K4, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(harvest(LOW, 0, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(harvest(LOW, K4, MM_MARK_MAPPED), MM_ERR_BAD_ARG);
    CHECK_ERR(harvest(UINT64_C(1) << 47, K4, 0), MM_ERR_RANGE);
    CHECK_ERR(mm_space_harvest(NULL, mm_virt(LOW), K4, 0, marks, NULL, &why), MM_ERR_BAD_ARG);
    CHECK_EQ(marks[0], 0xee);
    fixture_sound(&fx.kernel);
}

/* ---- promote ---- */

static enum mm_err promote(uint64_t virt, uint64_t bytes, struct mm_space_fail *why)
{
    return mm_space_promote(&fx.kernel, mm_virt(virt), bytes, NULL, why);
}

TEST(pages_that_are_one_stretch_become_one_large_page)
{
    static const enum mm_memtype types[] = {MM_MEMTYPE_WB, MM_MEMTYPE_UC, MM_MEMTYPE_WC,
                                            MM_MEMTYPE_WP};
    uint32_t used;

    fixture_start(4, true, 2);
    used = fx.frames.used;
    for (unsigned i = 0; i < 4; i++) {
        struct mm_map_request request = request_of(HIGH, 4 * GIB, M2, MM_PROT_READ);

        mm_test_row("type", i);
        request.flags = MM_MAP_SMALL;
        request.type = types[i];
        CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
        for (unsigned cpu = 0; cpu < 2; cpu++) {
            fake_cpu_set(cpu);
            CHECK_EQ(fake_read64(mm_virt(HIGH + 5 * K4)).fault, FAKE_OK);
        }
        fake_cpu_set(0);
        CHECK_OK(promote(HIGH, M2, NULL));
        CHECK_EQ(at(HIGH + 7 * K4).leaf_bytes, M2);
        CHECK_EQ(at(HIGH + 7 * K4).phys.raw, 4 * GIB + 7 * K4);
        CHECK_EQ(at(HIGH).type, types[i]);
        CHECK_EQ(at(HIGH).prot, MM_PROT_READ);
        CHECK(!at(HIGH).dirty && at(HIGH).accessed);
        CHECK(fake_read64(mm_virt(HIGH)).global);
        CHECK_EQ(space_faults(&fx.kernel), 0);
        CHECK_OK(promote(HIGH, M2, NULL)); /* it is one already */
        CHECK_OK(unmap(&fx.kernel, HIGH, M2));
        CHECK_EQ(fx.frames.used, used);
    }
    fixture_sound(&fx.kernel);
}

TEST(a_split_page_is_mended_up_to_1_gib)
{
    struct mm_space_stats stats;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, GIB, MM_PROT_RW));
    CHECK_OK(protect(&fx.kernel, LOW + 5 * M2 + K4, K4, MM_PROT_READ));
    CHECK_OK(protect(&fx.kernel, LOW + 5 * M2 + K4, K4, MM_PROT_RW));
    CHECK_ERR(promote(LOW, GIB, NULL), MM_ERR_EXISTS); /* a table is in the way */
    CHECK_OK(promote(LOW + 5 * M2, M2, NULL));
    CHECK(at(LOW + 5 * M2).dirty); /* it may be */
    CHECK_OK(promote(LOW, GIB, NULL));
    CHECK_OK(promote(LOW + M2, M2, NULL)); /* part of a larger one */
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.leaf_1g, 1);
    CHECK_EQ(stats.leaf_2m + stats.leaf_4k, 0);
    CHECK_EQ(at(LOW + 5 * M2 + K4).phys.raw, 4 * GIB + 5 * M2 + K4);
    fixture_sound(&fx.kernel);
}

TEST(a_dirty_mark_outlives_the_joining_of_read_only_pages)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, GIB, M2, MM_PROT_RW));
    CHECK_OK(protect(&fx.kernel, LOW, K4, MM_PROT_RW)); /* split */
    CHECK_EQ(fake_write64(mm_virt(LOW + 300 * K4), 1).fault, FAKE_OK);
    CHECK_OK(protect(&fx.kernel, LOW, M2, MM_PROT_READ));
    CHECK_OK(promote(LOW, M2, NULL));
    CHECK_EQ(at(LOW).leaf_bytes, M2);
    CHECK(at(LOW).dirty);
    fixture_sound(&fx.kernel);
}

/* ---- pages that are joined, and not flushed ---- */

static struct mm_gather joins;

/* Both CPUs have the parts, and one of these is dirty. */
static void join_begin(void)
{
    struct mm_map_request request = request_of(HIGH, 4 * GIB, M2, MM_PROT_RW);
    const uint64_t virt[] = {HIGH, HIGH + 5 * K4, HIGH + M2 - K4};

    fake_reset();
    fixture_start(4, true, 2);
    request.flags = MM_MAP_SMALL;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    touch(virt, 3);
    CHECK_EQ(fake_write64(mm_virt(HIGH + 5 * K4), 1).fault, FAKE_OK);
    mm_gather_begin(&joins, &fx.kernel);
    CHECK_OK(mm_space_promote(&fx.kernel, mm_virt(HIGH), M2, &joins, NULL));
}

static void nobody_writes(unsigned fault)
{
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        fake_cpu_set(cpu);
        for (uint64_t at = HIGH; at < HIGH + M2; at += K4)
            CHECK_EQ(fake_write64(mm_virt(at), 1).fault, fault);
    }
    fake_cpu_set(0);
}

static void join_end(void)
{
    mm_gather_end(&joins);
    CHECK_EQ(fx.kernel.joins, 0);
    fixture_sound(&fx.kernel);
}

TEST(a_page_that_was_joined_just_now_is_unmapped_with_its_parts)
{
    struct mm_cursor cursor;
    struct mm_gather gather;

    join_begin();
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(HIGH), M2, 0, NULL, NULL));
    nobody_writes(FAKE_NOT_PRESENT);
    join_end();
    join_begin();
    mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(mm_cursor_begin(&cursor, &fx.kernel, MM_PROT_READ, MM_MEMTYPE_WB, 0, &gather));
    CHECK_OK(mm_cursor_unmap(&cursor, mm_virt(HIGH), M2, NULL));
    mm_cursor_end(&cursor);
    mm_gather_end(&gather);
    nobody_writes(FAKE_NOT_PRESENT);
    join_end();
}

/* No CPU may have two sizes with different rights. */
TEST(a_page_that_was_joined_just_now_is_flushed_before_it_is_protected)
{
    join_begin();
    CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(HIGH), M2, MM_PROT_READ, 0, NULL, NULL));
    nobody_writes(FAKE_WRITE_DENIED);
    join_end();
    join_begin();
    CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(HIGH), M2, MM_PROT_READ, 0, &joins, NULL));
    mm_gather_end(&joins);
    nobody_writes(FAKE_WRITE_DENIED);
    join_end();
    join_begin();
    CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(HIGH), 5 * K4, MM_PROT_RX, 0, NULL, NULL));
    join_end();
}

TEST(the_mark_of_a_page_that_was_joined_just_now_is_not_lost)
{
    join_begin();
    CHECK_OK(mm_space_harvest(&fx.kernel, mm_virt(HIGH), M2, MM_MARK_DIRTY, NULL, NULL, NULL));
    CHECK_EQ(fake_write64(mm_virt(HIGH + 5 * K4), 1).fault, FAKE_OK);
    CHECK(at(HIGH).dirty);
    join_end();
}

/* None is dirty when its entry is looked at; they are written before the store that joins them. */
TEST(pages_that_are_written_while_they_are_joined_count_as_dirty)
{
    struct mm_map_request request = request_of(HIGH, 4 * GIB, M2, MM_PROT_RW);
    const uint64_t virt[] = {HIGH, HIGH + M2 - K4};

    fixture_start(4, true, 2);
    request.flags = MM_MAP_SMALL;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    touch(virt, 2);
    CHECK(!at(HIGH).dirty && !at(HIGH + M2 - K4).dirty);
    CHECK_OK(promote(HIGH, M2, NULL));
    CHECK_EQ(at(HIGH).leaf_bytes, M2);
    CHECK(at(HIGH).dirty);
    fixture_sound(&fx.kernel);
}

TEST(clean_pages_that_cannot_be_written_are_joined_as_a_clean_one)
{
    struct mm_map_request request = request_of(LOW, GIB, M2, MM_PROT_READ);

    fixture_start(4, true, 2);
    request.flags = MM_MAP_SMALL;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    CHECK_OK(promote(LOW, M2, NULL));
    CHECK_EQ(at(LOW).leaf_bytes, M2);
    CHECK(!at(LOW).dirty);
    fixture_sound(&fx.kernel);
}

TEST(pages_that_are_not_one_stretch_stay_as_they_are)
{
    struct mm_space_fail why;
    struct state before, after;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, 511 * K4, MM_PROT_RW));
    for (unsigned i = 0; i < 5; i++) {
        static const enum mm_err expected[] = {MM_ERR_NOT_FOUND, MM_ERR_EXISTS, MM_ERR_EXISTS,
                                               MM_ERR_EXISTS, MM_ERR_EXISTS};
        struct mm_map_request request =
            request_of(LOW + 511 * K4, 4 * GIB + 511 * K4, K4, MM_PROT_RW);

        mm_test_row("last page", i);
        request.phys = i == 1 ? mm_phys(DATA) : request.phys;
        request.prot = i == 2 ? MM_PROT_READ : request.prot;
        request.type = i == 3 ? MM_MEMTYPE_UC : MM_MEMTYPE_WB;
        if (i == 4)
            CHECK_OK(map(&fx.kernel, LOW + M2, 4 * GIB + K4, M2, MM_PROT_RW)); /* not aligned */
        else if (i != 0)
            CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
        before = state_of(&fx.kernel);
        CHECK_ERR(promote(i == 4 ? LOW + M2 : LOW, M2, &why), expected[i]);
        CHECK_EQ(why.virt.raw, i == 4 ? LOW + M2 : LOW + 511 * K4);
        after = state_of(&fx.kernel);
        check_same_state(&before, &after);
        if (i != 0 && i != 4)
            CHECK_OK(unmap(&fx.kernel, LOW + 511 * K4, K4));
    }
    CHECK_ERR(promote(LOW, K4, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(promote(LOW + K4, M2, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(promote(LOW + 8 * GIB, M2, NULL), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_space_promote(NULL, mm_virt(LOW), M2, NULL, NULL), MM_ERR_BAD_ARG);
    fixture_sound(&fx.kernel);
}

TEST(promote_to_a_size_that_the_cpu_lacks_is_unsupported)
{
    fixture_start(4, false, 1);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, GIB, MM_PROT_RW));
    CHECK_ERR(promote(LOW, GIB, NULL), MM_ERR_UNSUPPORTED);
    fixture_sound(&fx.kernel);
}

/* A damaged entry on the way is said, not looked at for ever. */
TEST(promote_and_cursors_end_at_damage_above_their_level)
{
    struct mm_walk_step step[MM_WALK_STEPS];
    struct mm_space_fail why;
    struct mm_gather gather;
    struct mm_cursor cursor;
    uint64_t *entry;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 3 * K4, MM_PROT_RW));
    CHECK_EQ(mm_space_walk(&fx.kernel, mm_virt(LOW), step), 4);
    entry = (uint64_t *)fake_ram(step[1].table, K4) + step[1].index;
    *entry |= UINT64_C(1) << 51;
    CHECK_ERR(promote(LOW, M2, &why), MM_ERR_CORRUPT);
    CHECK_EQ(why.level, 3);
    mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(mm_cursor_begin(&cursor, &fx.kernel, MM_PROT_RW, MM_MEMTYPE_WB, 0, &gather));
    CHECK_ERR(mm_cursor_unmap(&cursor, mm_virt(LOW), K4, NULL), MM_ERR_CORRUPT);
    CHECK_ERR(mm_cursor_map(&cursor, mm_virt(LOW + 9 * K4), mm_phys(DATA), K4), MM_ERR_CORRUPT);
    mm_cursor_end(&cursor);
    mm_gather_end(&gather);
    CHECK_EQ(mm_test_report_count(), 3);
    mm_test_reports_clear();
    *entry &= ~(UINT64_C(1) << 51);
    fixture_sound(&fx.kernel);
}
