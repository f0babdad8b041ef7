/*
 * test_protect.c - changing rights: what stays, who is flushed, what the rules forbid.
 */
#include "vmm_fixture.h"

static struct mm_translation at(uint64_t virt)
{
    struct mm_translation got;

    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(virt), &got, NULL));
    return got;
}

TEST(protect_keeps_frame_size_type_accessed_and_dirty)
{
    static const uint64_t bytes[] = {K4, M2, GIB};

    fixture_start(4, true, 1);
    for (unsigned i = 0; i < 3; i++) {
        struct mm_map_request request = request_of(HIGH, 4 * GIB, bytes[i], MM_PROT_RW);

        mm_test_row("size", i);
        request.type = MM_MEMTYPE_WC;
        CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
        CHECK_EQ(fake_write64(mm_virt(HIGH), 1).fault, FAKE_OK);
        CHECK_OK(protect(&fx.kernel, HIGH, bytes[i], MM_PROT_READ));
        CHECK_EQ(at(HIGH).prot, MM_PROT_READ);
        CHECK_EQ(at(HIGH).phys.raw, 4 * GIB);
        CHECK_EQ(at(HIGH).leaf_bytes, bytes[i]);
        CHECK_EQ(at(HIGH).type, MM_MEMTYPE_WC);
        CHECK(at(HIGH).accessed && at(HIGH).dirty);
        CHECK(fake_read64(mm_virt(HIGH)).global);
        CHECK_OK(protect(&fx.kernel, HIGH, bytes[i], MM_PROT_RW));
        CHECK(at(HIGH).accessed && at(HIGH).dirty);
        CHECK_EQ(at(HIGH).type, MM_MEMTYPE_WC);
        CHECK_OK(unmap(&fx.kernel, HIGH, bytes[i]));
    }
    fixture_sound(&fx.kernel);
}

/* Clear A and D (bits 5, 6) in the leaf behind the walkers' backs, so that they set them again at
 * the next store: between the load of the entry and its exchange. */
static void make_clean(uint64_t virt)
{
    struct mm_walk_step step[MM_WALK_STEPS];
    unsigned count = mm_space_walk(&fx.kernel, mm_virt(virt), step);
    uint64_t *table = (uint64_t *)fake_ram(step[count - 1].table, K4);

    table[step[count - 1].index] &= ~UINT64_C(0x60);
    CHECK(!at(virt).dirty && !at(virt).accessed);
}

TEST(protect_loses_no_mark_that_the_hardware_sets_meanwhile)
{
    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, 2 * K4, MM_PROT_RW));
    fake_watch(mm_virt(LOW), FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    make_clean(LOW);
    CHECK_OK(protect(&fx.kernel, LOW, K4, MM_PROT_READ));
    CHECK(at(LOW).dirty);
    CHECK_EQ(at(LOW).prot, MM_PROT_READ);
    fixture_sound(&fx.kernel);
}

TEST(a_split_loses_no_mark_that_the_hardware_sets_meanwhile)
{
    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, M2, MM_PROT_RW));
    fake_watch(mm_virt(LOW), FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    make_clean(LOW);
    CHECK_OK(protect(&fx.kernel, LOW + M2 - K4, K4, MM_PROT_READ));
    CHECK(at(LOW + 100 * K4).dirty); /* the whole page was written to */
    CHECK(at(LOW + M2 - K4).dirty);
    fixture_sound(&fx.kernel);
}

TEST(protect_that_takes_a_right_away_holds_on_every_cpu_when_it_returns)
{
    fixture_start(4, true, 3);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    for (unsigned i = 0; i < 3; i++) {
        fake_cpu_set(i);
        CHECK_EQ(fake_write64(mm_virt(HIGH), 1).fault, FAKE_OK);
    }
    fake_cpu_set(1);
    CHECK_OK(protect(&fx.kernel, HIGH, K4, MM_PROT_READ));
    CHECK_EQ(mm_test_shootdowns().count, 1);
    CHECK_EQ(mm_test_shootdowns().last.bits[0], 0x5);
    for (unsigned i = 0; i < 3; i++) {
        fake_cpu_set(i);
        CHECK_EQ(fake_write64(mm_virt(HIGH), 1).fault, FAKE_WRITE_DENIED);
        CHECK_EQ(fake_read64(mm_virt(HIGH)).fault, FAKE_OK);
    }
    fake_cpu_set(0);
    fixture_sound(&fx.kernel);
}

TEST(protect_that_only_adds_rights_or_changes_nothing_flushes_nothing)
{
    struct fake_counts before;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_READ));
    CHECK_EQ(fake_read64(mm_virt(HIGH)).fault, FAKE_OK);
    before = fake_counts();
    CHECK_OK(protect(&fx.kernel, HIGH, K4, MM_PROT_RW));
    CHECK_OK(protect(&fx.kernel, HIGH, K4, MM_PROT_RW));
    CHECK_EQ(fake_counts().flush_page, before.flush_page);
    CHECK_EQ(fake_counts().flush_all, before.flush_all);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    CHECK(fake_write64(mm_virt(HIGH), 1).spurious); /* once */
    CHECK_EQ(fake_write64(mm_virt(HIGH), 1).fault, FAKE_OK);
    fixture_sound(&fx.kernel);
}

TEST(protect_of_a_part_of_a_large_page_splits_it)
{
    struct mm_space_stats stats;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, HIGH, 4 * GIB, GIB, MM_PROT_RW));
    CHECK_EQ(fake_write64(mm_virt(HIGH + 9 * M2), 1).fault, FAKE_OK);
    CHECK_OK(protect(&fx.kernel, HIGH + 9 * M2 + K4, M2, MM_PROT_READ));
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.leaf_1g, 0);
    CHECK_EQ(stats.leaf_2m, 510);
    CHECK_EQ(stats.leaf_4k, 1024);
    CHECK_EQ(at(HIGH + 9 * M2).prot, MM_PROT_RW);
    CHECK_EQ(at(HIGH + 9 * M2 + K4).prot, MM_PROT_READ);
    CHECK_EQ(at(HIGH + 10 * M2).prot, MM_PROT_READ);
    CHECK_EQ(at(HIGH + 10 * M2 + K4).prot, MM_PROT_RW);
    CHECK_EQ(fake_write64(mm_virt(HIGH + 9 * M2), 1).fault, FAKE_OK);
    CHECK_EQ(fake_write64(mm_virt(HIGH + 9 * M2 + K4), 1).fault, FAKE_WRITE_DENIED);
    fixture_sound(&fx.kernel);
}

/* A CPU must never hold two sizes with different rights for one address: whatever it cached
 * before, nothing of the large page is left when the first small one changes. */
TEST(a_split_is_flushed_before_its_parts_change)
{
    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, M2, MM_PROT_RW));
    fake_watch(mm_virt(LOW), FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    fake_watch(mm_virt(LOW + K4), FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    fake_walkers_run();
    CHECK_OK(protect(&fx.kernel, LOW, K4, MM_PROT_READ));
    CHECK_EQ(mm_test_shootdowns().count, 2); /* the split, then the change */
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK(at(LOW).dirty);
    fixture_sound(&fx.kernel);
}

/* One section looks at 59 tables; what is behind them is looked at in others. */
TEST(protect_of_a_range_of_many_tables_with_a_hole_at_its_end_changes_nothing)
{
    const uint64_t hole = LOW + 149 * M2 + 7 * K4;
    struct mm_space_fail why;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, GIB + K4, 150 * M2, MM_PROT_RW));
    CHECK_OK(unmap(&fx.kernel, hole, K4));
    CHECK_ERR(mm_space_protect(&fx.kernel, mm_virt(LOW), 150 * M2, MM_PROT_READ, 0, NULL, &why),
              MM_ERR_NOT_FOUND);
    CHECK_EQ(why.virt.raw, hole);
    for (uint64_t virt = LOW; virt < hole; virt += M2)
        CHECK_EQ(at(virt).prot, MM_PROT_RW);
    CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(LOW), 150 * M2, 0, NULL, &why), MM_ERR_NOT_FOUND);
    CHECK_EQ(why.virt.raw, hole);
    for (uint64_t virt = LOW; virt < hole; virt += M2)
        CHECK_EQ(at(virt).prot, MM_PROT_RW);
    fixture_sound(&fx.kernel);
}

TEST(protect_of_a_range_of_many_tables_splits_the_large_pages_at_its_ends)
{
    const uint64_t end = LOW + 101 * M2;

    fixture_start(4, true, 2);
    for (unsigned ends = 1; ends <= 3; ends++) { /* the first, the last, both */
        struct mm_space_stats stats;
        uint64_t cut_first = (ends & 1) != 0 ? K4 : 0, cut_last = (ends & 2) != 0 ? K4 : 0;

        CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, M2, MM_PROT_RW));
        CHECK_OK(map(&fx.kernel, LOW + M2, GIB + K4, 100 * M2, MM_PROT_RW));
        CHECK_OK(map(&fx.kernel, end, 4 * GIB + M2, M2, MM_PROT_RW));
        CHECK_OK(
            protect(&fx.kernel, LOW + cut_first, 102 * M2 - cut_first - cut_last, MM_PROT_READ));
        CHECK_EQ(at(LOW).prot, cut_first != 0 ? MM_PROT_RW : MM_PROT_READ);
        CHECK_EQ(at(end + M2 - K4).prot, cut_last != 0 ? MM_PROT_RW : MM_PROT_READ);
        for (uint64_t virt = LOW + K4; virt < end + M2 - K4; virt += M2 / 2)
            CHECK_EQ(at(virt).prot, MM_PROT_READ);
        CHECK_OK(unmap(&fx.kernel, LOW + cut_first, 102 * M2 - cut_first - cut_last));
        mm_space_get_stats(&fx.kernel, &stats);
        CHECK_EQ(stats.leaf_4k, cut_first / K4 + cut_last / K4);
        CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), 102 * M2, MM_RANGE_HOLES, NULL, NULL));
        fixture_sound(&fx.kernel);
    }
}

TEST(protect_of_a_range_with_a_hole_changes_nothing)
{
    struct state before, after;
    struct mm_space_fail why;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, GIB, 4 * K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + 5 * K4, GIB, K4, MM_PROT_RW));
    before = state_of(&fx.kernel);
    CHECK_ERR(mm_space_protect(&fx.kernel, mm_virt(LOW), 6 * K4, MM_PROT_READ, 0, NULL, &why),
              MM_ERR_NOT_FOUND);
    CHECK_EQ(why.virt.raw, LOW + 4 * K4);
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
    CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(LOW), 6 * K4, MM_PROT_READ, MM_RANGE_HOLES, NULL,
                              NULL));
    CHECK_EQ(at(LOW).prot, MM_PROT_READ);
    CHECK_EQ(at(LOW + 5 * K4).prot, MM_PROT_READ);
    fixture_sound(&fx.kernel);
}

static const struct {
    uint64_t virt;
    uint32_t prot, flags;
    enum mm_err err;
} rule_rows[] = {
    {LOW, MM_PROT_NONE, 0, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_WRITE, 0, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_READ | 32, 0, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_READ, 4, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_RW | MM_PROT_EXEC, 0, MM_ERR_POLICY},
    {LOW, MM_PROT_RW | MM_PROT_EXEC, MM_RANGE_WX, MM_OK},
    {HIGH, MM_PROT_READ | MM_PROT_USER, 0, MM_ERR_POLICY},
    {LOW, MM_PROT_READ | MM_PROT_USER, 0, MM_OK},
};

TEST(protect_refuses_what_the_rules_forbid)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, GIB, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, HIGH, GIB, K4, MM_PROT_RW));
    for (unsigned i = 0; i < sizeof rule_rows / sizeof rule_rows[0]; i++) {
        struct mm_space_fail why = {.err = MM_OK};

        mm_test_row("rule", i);
        CHECK_ERR(mm_space_protect(&fx.kernel, mm_virt(rule_rows[i].virt), K4, rule_rows[i].prot,
                                   rule_rows[i].flags, NULL, &why),
                  rule_rows[i].err);
        CHECK_EQ(why.err, rule_rows[i].err);
        if (rule_rows[i].err == MM_OK)
            CHECK_EQ(at(rule_rows[i].virt).prot, rule_rows[i].prot);
    }
    fixture_sound(&fx.kernel);
}

TEST(with_a_gather_a_lowered_right_holds_when_the_gather_ends)
{
    struct mm_gather gather;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_EQ(fake_write64(mm_virt(LOW), 1).fault, FAKE_OK);
    mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(LOW), K4, MM_PROT_READ, 0, &gather, NULL));
    CHECK_EQ(mm_test_shootdowns().count, 0);
    mm_gather_end(&gather);
    CHECK_EQ(mm_test_shootdowns().count, 1);
    CHECK_EQ(fake_write64(mm_virt(LOW), 1).fault, FAKE_WRITE_DENIED);
    fixture_sound(&fx.kernel);
}

static bool look_for_mixed_sizes(void *arg, unsigned cpu)
{
    (void)cpu;
    *(size_t *)arg += fake_mixed_entries();
    return true;
}

/* A right was given to a large page, which alone needs no flush; then the page is split. No CPU may have
 * the old large one and a new small one for an address. */
TEST(a_page_that_was_granted_a_right_is_split_without_two_sizes_in_a_cpu)
{
    const uint64_t virt[] = {HIGH};
    size_t mixed = 0;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, M2, MM_PROT_READ));
    touch(virt, 1);
    CHECK_OK(protect(&fx.kernel, HIGH, M2, MM_PROT_RW));
    mm_test_shootdown_hook(look_for_mixed_sizes, &mixed);
    CHECK_OK(protect(&fx.kernel, HIGH + K4, K4, MM_PROT_READ));
    CHECK_EQ(mixed, 0);
    mm_test_shootdown_hook(NULL, NULL);
    fixture_sound(&fx.kernel);
}

/* Lowered rights of a large page wait in the gather, and the next call with it splits that page. */
TEST(a_page_whose_flush_waits_is_flushed_before_it_is_split)
{
    const uint64_t virt[] = {LOW};
    struct mm_gather gather;
    size_t mixed = 0;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, GIB, M2, MM_PROT_RW));
    touch(virt, 1);
    mm_test_shootdown_hook(look_for_mixed_sizes, &mixed);
    mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(LOW), M2, MM_PROT_READ, 0, &gather, NULL));
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW + K4), K4, 0, &gather, NULL));
    CHECK_EQ(fake_mixed_entries() + mixed, 0);
    mm_gather_end(&gather);
    mm_test_shootdown_hook(NULL, NULL);
    fixture_sound(&fx.kernel);
}

/* Somebody else splits the page, and the other CPU was not asked yet. */
static bool protect_another_part(void *arg, unsigned cpu)
{
    bool *done = arg;

    (void)cpu;
    if (!*done) {
        *done = true;
        CHECK_OK(
            mm_space_protect(&fx.kernel, mm_virt(LOW + 9 * K4), K4, MM_PROT_READ, 0, NULL, NULL));
        CHECK_EQ(fake_mixed_entries(), 0);
    }
    return true;
}

TEST(a_part_that_was_split_off_just_now_is_flushed_before_it_is_protected)
{
    const uint64_t virt[] = {LOW};
    bool done = false;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, GIB, M2, MM_PROT_RW));
    touch(virt, 1);
    mm_test_shootdown_hook(protect_another_part, &done);
    CHECK_OK(protect(&fx.kernel, LOW + K4, K4, MM_PROT_READ));
    mm_test_shootdown_hook(NULL, NULL);
    CHECK(done);
    CHECK_EQ(fx.kernel.splits, 0);
    fixture_sound(&fx.kernel);
}

/* The gather with its lowered rights is somebody else's. */
TEST(a_page_whose_flush_waits_elsewhere_is_flushed_before_it_is_split)
{
    const uint64_t virt[] = {LOW};
    struct mm_gather gather;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, GIB, M2, MM_PROT_RW));
    touch(virt, 1);
    mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(LOW), M2, MM_PROT_READ, 0, &gather, NULL));
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW + K4), K4, 0, NULL, NULL));
    CHECK_EQ(fake_mixed_entries(), 0);
    mm_gather_end(&gather);
    CHECK_EQ(fx.kernel.larges, 0);
    fixture_sound(&fx.kernel);
}

/* Another CPU cuts the page before its new rights are flushed everywhere. */
static bool cuts_the_page(void *arg, unsigned cpu)
{
    bool *done = arg;

    (void)cpu;
    if (!*done) {
        *done = true;
        CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(LOW + K4), K4, MM_PROT_RX, 0, NULL, NULL));
    }
    return true;
}

TEST(a_page_is_not_cut_while_a_call_flushes_its_new_rights)
{
    const uint64_t virt[] = {LOW};
    bool done = false;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, GIB, M2, MM_PROT_RW));
    touch(virt, 1);
    mm_test_shootdown_hook(cuts_the_page, &done);
    CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(LOW), M2, MM_PROT_READ, 0, NULL, NULL));
    mm_test_shootdown_hook(NULL, NULL);
    CHECK(done);
    CHECK_EQ(fx.kernel.larges | fx.kernel.joins | fx.kernel.splits, 0);
    fixture_sound(&fx.kernel);
}
