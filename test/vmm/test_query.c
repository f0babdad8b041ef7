/*
 * test_query.c - looking: translate, walk, query, and a step as text.
 */
#include "vmm_fixture.h"

TEST(translate_says_at_which_level_and_entry_it_ended)
{
    struct mm_translation got = {.leaf_bytes = 77};
    struct mm_space_fail why;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RX));
    CHECK_ERR(mm_space_translate(&fx.kernel, mm_virt(LOW + K4 + 5), &got, &why), MM_ERR_NOT_FOUND);
    CHECK_EQ(why.level, 1);
    CHECK_EQ(why.virt.raw, LOW + K4 + 5);
    CHECK_EQ(why.entry, 0);
    CHECK_ERR(mm_space_translate(&fx.kernel, mm_virt(LOW + M2), &got, &why), MM_ERR_NOT_FOUND);
    CHECK_EQ(why.level, 2);
    CHECK_ERR(mm_space_translate(&fx.kernel, mm_virt(LOW + 512 * GIB), &got, &why),
              MM_ERR_NOT_FOUND);
    CHECK_EQ(why.level, 4);
    CHECK_ERR(mm_space_translate(&fx.kernel, mm_virt(UINT64_C(1) << 47), &got, &why), MM_ERR_RANGE);
    CHECK_EQ(why.err, MM_ERR_RANGE);
    CHECK_EQ(got.leaf_bytes, 77);
    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(LOW + 0x123), &got, NULL));
    CHECK_EQ(got.phys.raw, DATA + 0x123);
    CHECK_EQ(got.leaf_bytes, K4);
    CHECK_EQ(got.prot, MM_PROT_RX);
    CHECK(!got.accessed && !got.dirty);
    CHECK_EQ(fake_fetch(mm_virt(LOW)).fault, FAKE_OK);
    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(LOW), &got, NULL));
    CHECK(got.accessed && !got.dirty);
    fixture_sound(&fx.kernel);
}

TEST(through_a_user_space_translate_sees_the_kernel_half_and_query_does_not)
{
    struct mm_space user = MM_ZERO;
    struct mm_translation got;
    struct mm_space_run run;
    mm_virt_t cursor = mm_virt(0);

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(mm_space_translate(&user, mm_virt(HIGH), &got, NULL));
    CHECK_EQ(got.phys.raw, DATA);
    CHECK_ERR(mm_space_query(&user, &cursor, mm_virt(0), &run), MM_ERR_NOT_FOUND);
    CHECK_EQ(cursor.raw, 0);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

static void check_run(mm_virt_t *cursor, uint64_t end, uint64_t virt, uint64_t bytes, uint64_t phys,
                      unsigned prot)
{
    struct mm_space_run run;

    CHECK_OK(mm_space_query(&fx.kernel, cursor, mm_virt(end), &run));
    CHECK_EQ(run.virt.raw, virt);
    CHECK_EQ(run.bytes, bytes);
    CHECK_EQ(run.phys.raw, phys);
    CHECK_EQ(run.prot, prot);
    CHECK_EQ(run.type, MM_MEMTYPE_WB);
}

TEST(query_joins_pages_of_all_sizes_into_runs)
{
    struct mm_space_run run;
    mm_virt_t cursor = mm_virt(0);

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW - M2 - K4, 4 * GIB - M2 - K4, 2 * GIB, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + 4 * GIB, DATA, 4 * K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + 4 * GIB + 4 * K4, DATA + 5 * K4, K4, MM_PROT_RW)); /* a gap */
    CHECK_OK(map(&fx.kernel, 0 - 2 * K4, DATA, 2 * K4, MM_PROT_READ));
    CHECK_OK(protect(&fx.kernel, LOW + 4 * GIB, K4, MM_PROT_READ));
    check_run(&cursor, 0, LOW - M2 - K4, 2 * GIB, 4 * GIB - M2 - K4, MM_PROT_RW);
    CHECK_EQ(cursor.raw, LOW - M2 - K4 + 2 * GIB);
    check_run(&cursor, 0, LOW + 4 * GIB, K4, DATA, MM_PROT_READ);
    check_run(&cursor, 0, LOW + 4 * GIB + K4, 3 * K4, DATA + K4, MM_PROT_RW);
    check_run(&cursor, 0, LOW + 4 * GIB + 4 * K4, K4, DATA + 5 * K4, MM_PROT_RW);
    check_run(&cursor, 0, 0 - 2 * K4, 2 * K4, DATA, MM_PROT_READ);
    CHECK_EQ(cursor.raw, UINT64_MAX);
    CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run), MM_ERR_NOT_FOUND);
    CHECK_EQ(cursor.raw, UINT64_MAX);
    fixture_sound(&fx.kernel);
}

TEST(query_starts_and_ends_inside_large_pages)
{
    struct mm_space_run run;
    mm_virt_t cursor;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, GIB, MM_PROT_RW));
    cursor = mm_virt(LOW + 3 * K4);
    check_run(&cursor, LOW + 9 * K4, LOW + 3 * K4, 6 * K4, 4 * GIB + 3 * K4, MM_PROT_RW);
    cursor = mm_virt(LOW + 3 * K4 + 1); /* the page at or after it */
    check_run(&cursor, LOW + 9 * K4, LOW + 4 * K4, 5 * K4, 4 * GIB + 4 * K4, MM_PROT_RW);
    CHECK_EQ(cursor.raw, LOW + 9 * K4);
    CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(LOW + 9 * K4), &run), MM_ERR_NOT_FOUND);
    CHECK_EQ(cursor.raw, LOW + 9 * K4);
    cursor = mm_virt(0);
    CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(LOW), &run), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(5), &run), MM_ERR_NOT_FOUND);
    cursor = mm_virt(UINT64_C(1) << 60); /* not canonical: goes on behind the hole */
    CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run), MM_ERR_NOT_FOUND);
    fixture_sound(&fx.kernel);
}

/* A run of more tables than one hold of the lock may visit. */
TEST(query_of_a_long_run_of_small_pages_finds_all_of_it)
{
    mm_virt_t cursor = mm_virt(0);

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA + K4, 200 * M2, MM_PROT_RW));
    check_run(&cursor, 0, LOW, 200 * M2, DATA + K4, MM_PROT_RW);
    fixture_sound(&fx.kernel);
}

TEST(walk_gives_each_entry_on_the_way)
{
    struct mm_walk_step step[MM_WALK_STEPS];
    char line[120];

    fixture_start(5, true, 1);
    CHECK_OK(map(&fx.kernel, LOW + 3 * M2, DATA, M2, MM_PROT_RW | MM_PROT_USER));
    CHECK_EQ(mm_space_walk(&fx.kernel, mm_virt(LOW + 3 * M2 + 5), step), 4);
    CHECK_EQ(step[0].level, 5);
    CHECK_EQ(step[0].table.raw, fx.kernel.root.raw);
    CHECK_EQ(step[0].index, LOW >> 48);
    CHECK_EQ(step[0].to.raw, step[1].table.raw);
    CHECK_EQ(step[1].index, LOW >> 39 & 511);
    CHECK_EQ(step[2].leaf, 0);
    CHECK_EQ(step[3].level, 2);
    CHECK_EQ(step[3].index, 3);
    CHECK_EQ(step[3].leaf, 1);
    CHECK_EQ(step[3].to.raw, DATA);
    CHECK_EQ(step[3].prot, MM_PROT_RW | MM_PROT_USER);
    CHECK_EQ(step[3].entry, UINT64_C(0x8000000000000087) | DATA);
    CHECK_EQ(mm_space_walk(&fx.kernel, mm_virt(UINT64_C(1) << 60), step), 0);
    CHECK_EQ(mm_space_walk(&fx.kernel, mm_virt(LOW), step), 4);
    CHECK_EQ(step[3].prot, MM_PROT_NONE);
    step[3].table = mm_phys(0x1000);
    mm_walk_format(line, sizeof line, &step[3]);
    CHECK_TEXT(line, "level 2, entry 0 of table 0x1000: 0x0 -> not present");
}

TEST(a_step_is_formatted_as_documented_and_cut_where_the_buffer_ends)
{
    struct mm_walk_step step = {.entry = 0x2003,
                                .table = {0x1000},
                                .to = {0x2000},
                                .index = 273,
                                .level = 4,
                                .prot = MM_PROT_RW | MM_PROT_EXEC};
    const char *whole = "level 4, entry 273 of table 0x1000: 0x2003 -> table 0x2000, rwx";
    char line[120];

    CHECK_EQ(mm_walk_format(line, sizeof line, &step), strlen(whole));
    CHECK_TEXT(line, whole);
    CHECK_EQ(mm_walk_format(line, 8, &step), strlen(whole));
    CHECK_TEXT(line, "level 4");
    CHECK_EQ(mm_walk_format(NULL, 0, &step), strlen(whole));
    step.leaf = 1;
    step.prot = MM_PROT_READ | MM_PROT_USER;
    mm_walk_format(line, sizeof line, &step);
    CHECK_TEXT(line, "level 4, entry 273 of table 0x1000: 0x2003 -> page 0x2000, r--, user");
}

TEST(indices_are_formatted_with_all_their_digits)
{
    static const struct {
        uint32_t index;
        const char *line;
    } rows[] = {
        {0, "level 1, entry 0 of table 0x1000: 0x0 -> not present"},
        {9, "level 1, entry 9 of table 0x1000: 0x0 -> not present"},
        {10, "level 1, entry 10 of table 0x1000: 0x0 -> not present"},
        {99, "level 1, entry 99 of table 0x1000: 0x0 -> not present"},
        {100, "level 1, entry 100 of table 0x1000: 0x0 -> not present"},
        {511, "level 1, entry 511 of table 0x1000: 0x0 -> not present"},
    };
    char line[120];

    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mm_walk_step step = {.table = {0x1000}, .index = rows[i].index, .level = 1};

        mm_walk_format(line, sizeof line, &step);
        CHECK_TEXT(line, rows[i].line);
    }
}

TEST(translate_and_walk_stop_at_the_edge_of_the_window)
{
    struct mm_window empty = MM_ZERO;
    struct mm_walk_step step[MM_WALK_STEPS];
    struct mm_translation got;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    mm_vmm_set_window(&fx.vmm, &empty);
    CHECK_ERR(mm_space_translate(&fx.kernel, mm_virt(LOW), &got, NULL), MM_ERR_WINDOW);
    CHECK_EQ(mm_space_walk(&fx.kernel, mm_virt(LOW), step), 0);
    mm_vmm_set_window(&fx.vmm, fake_window());
    fixture_sound(&fx.kernel);
}
