/*
 * test_check.c - the checker finds each kind of damage, and nothing in a sound space.
 */
#include "vmm_fixture.h"

static const char *found[8];
static unsigned found_count;

static void note(void *context, const struct mm_report *report)
{
    (void)context;
    CHECK_EQ(report->kind, MM_REPORT_CORRUPT);
    if (found_count < 8)
        found[found_count++] = report->what;
}

static void expect(struct mm_space *space, const char *what)
{
    struct mm_check_sink sink = {note, NULL};
    size_t faults;
    bool seen = false;

    found_count = 0;
    faults = mm_space_check(space, &sink);
    CHECK(faults > 0);
    for (unsigned i = 0; i < found_count; i++)
        seen = seen || strcmp(found[i], what) == 0;
    if (!seen)
        CHECK_TEXT(found[0], what);
}

/* The entry that a walk of `virt` ends at, or the one `up` levels above, as raw memory. */
static uint64_t *entry_at(struct mm_space *space, uint64_t virt, unsigned up)
{
    struct mm_walk_step step[MM_WALK_STEPS];
    unsigned count = mm_space_walk(space, mm_virt(virt), step);
    uint64_t *table = (uint64_t *)fake_ram(step[count - 1 - up].table, K4);

    return &table[step[count - 1 - up].index];
}

/* Damage, look, mend. */
static void damaged(uint64_t virt, unsigned up, uint64_t value, const char *what)
{
    uint64_t *entry = entry_at(&fx.kernel, virt, up);
    uint64_t before = *entry;

    *entry = value;
    expect(&fx.kernel, what);
    *entry = before;
    CHECK_EQ(mm_space_check(&fx.kernel, NULL), 0);
}

TEST(the_checker_finds_each_kind_of_damage)
{
    uint64_t leaf, table;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 3 * K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + 2 * GIB, DATA + M2, M2 + K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    CHECK_EQ(space_faults(&fx.kernel), 0);
    leaf = *entry_at(&fx.kernel, LOW, 0);
    table = *entry_at(&fx.kernel, LOW, 1);
    damaged(LOW, 0, leaf | UINT64_C(1) << 50, "reserved bits in an entry");
    damaged(LOW, 3, *entry_at(&fx.kernel, LOW, 3) | 0x80, "reserved bits in an entry");
    damaged(LOW + 2 * GIB, 0, *entry_at(&fx.kernel, LOW + 2 * GIB, 0) | 1u << 13,
            "reserved bits in an entry");
    damaged(LOW, 0, 0, "the entries of a table are miscounted");
    damaged(LOW + 3 * K4, 0, leaf, "the entries of a table are miscounted");
    damaged(LOW, 1, 0, "tables miscounted");
    damaged(LOW, 1, 0, "an empty table was not freed");
    damaged(HIGH, 0, 0, "an empty table was not freed");
    damaged(LOW, 1, UINT64_C(0x300000000003), "a table is outside the window");
    damaged(LOW, 1, fx.kernel.root.raw | 3, "a table is below itself");
    damaged(LOW, 1, (*entry_at(&fx.kernel, LOW, 2) & ~UINT64_C(0xfff)) | 3,
            "a table is below itself");
    damaged(LOW + M2, 0, table, "a table is used twice");
    damaged(HIGH, 0, *entry_at(&fx.kernel, HIGH, 0) | 4, "a user page in the kernel half");
    fixture_sound(&fx.kernel);
}

/* More tables than one pass of the search looks at; the two uses lie far apart. */
TEST(the_checker_finds_a_table_used_twice_among_many)
{
    struct mm_space_stats stats;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA + K4, 400 * M2, MM_PROT_RW));
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(space_faults(&fx.kernel), 0);
    for (uint64_t i = 0; i < 400; i += 57) {
        uint64_t *last = entry_at(&fx.kernel, LOW + 399 * M2, 1);
        uint64_t before = *last;

        mm_test_row("table", i);
        *last = *entry_at(&fx.kernel, LOW + i * M2, 1);
        if (i != 399)
            expect(&fx.kernel, "a table is used twice");
        *last = before;
    }
    CHECK_EQ(space_faults(&fx.kernel), 0);
}

TEST(the_checker_finds_a_user_root_that_differs_in_the_kernel_half)
{
    struct mm_space user = MM_ZERO;
    uint64_t *root;

    fixture_start(4, true, 1);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_EQ(space_faults(&user), 0);
    root = (uint64_t *)fake_ram(user.root, K4);
    root[300] = fx.kernel.root.raw | 3;
    expect(&user, "a user root differs in the kernel half");
    root[300] = 0;
    CHECK_EQ(space_faults(&user), 0);
    CHECK_OK(mm_space_destroy(&user));
    expect(&user, "not a live space");
}

/* Whatever is in the tables: the checker ends, and reads nothing outside memory. */
TEST(the_checker_survives_tables_full_of_noise)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA + K4, 4 * M2, MM_PROT_RW));
    for (unsigned round = 0; round < 6; round++) {
        uint64_t *table = entry_at(&fx.kernel, LOW, round % 3);
        uint64_t saved[512];

        table -= ((uintptr_t)table % K4) / 8;
        memcpy(saved, table, K4);
        for (unsigned i = 0; i < 512; i++) {
            if (mm_test_below(2) == 0)
                table[i] = (RAM_START + mm_test_below(RAM_BYTES / K4) * K4) | mm_test_below(16) | 1;
            else
                table[i] = mm_test_random();
        }
        CHECK(mm_space_check(&fx.kernel, NULL) > 0);
        memcpy(table, saved, K4);
    }
    fixture_sound(&fx.kernel);
}
