/*
 * test_cursor.c - pages one by one, as a transaction: the same as ordinary calls would do.
 */
#include "vmm_fixture.h"

static struct mm_cursor cursor;
static struct mm_gather gather;

static void begin(unsigned prot, bool unmaps)
{
    if (unmaps)
        mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(mm_cursor_begin(&cursor, &fx.kernel, prot, MM_MEMTYPE_WB, 0, unmaps ? &gather : NULL));
}

static void end(bool unmaps)
{
    mm_cursor_end(&cursor);
    if (unmaps)
        mm_gather_end(&gather);
    CHECK(fake_cpu(0)->interrupts_on);
}

static enum mm_err put(uint64_t virt, uint64_t phys, uint64_t bytes)
{
    return mm_cursor_map(&cursor, mm_virt(virt), mm_phys(phys), bytes);
}

static mm_phys_t got;

static enum mm_err take(uint64_t virt, uint64_t bytes)
{
    got = mm_phys(1);
    return mm_cursor_unmap(&cursor, mm_virt(virt), bytes, &got);
}

static uint64_t phys_at(uint64_t virt)
{
    struct mm_translation at;

    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(virt), &at, NULL));
    return at.phys.raw;
}

/* Over three tables, in steps that come back, more pages than one batch. */
TEST(cursor_maps_page_after_page_and_takes_them_back)
{
    uint64_t frames;

    fixture_start(4, true, 2);
    frames = fx.frames.used;
    begin(MM_PROT_RW, false);
    for (uint64_t i = 0; i < 1200; i++)
        CHECK_OK(put(LOW + (i * 7 % 1200) * K4, DATA + i * 3 * K4, K4));
    end(false);
    CHECK_EQ(space_faults(&fx.kernel), 0);
    for (uint64_t i = 0; i < 1200; i++)
        CHECK_EQ(phys_at(LOW + (i * 7 % 1200) * K4), DATA + i * 3 * K4);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        fake_cpu_set(cpu);
        CHECK_EQ(fake_read64(mm_virt(LOW + 1199 * K4)).fault, FAKE_OK);
    }
    fake_cpu_set(0);
    begin(MM_PROT_RW, true);
    for (uint64_t i = 0; i < 1200; i++) {
        CHECK_OK(take(LOW + (i * 7 % 1200) * K4, K4));
        CHECK_EQ(got.raw, DATA + i * 3 * K4);
    }
    end(true);
    CHECK_EQ(fx.frames.used, frames);
    fixture_sound(&fx.kernel);
}

TEST(cursor_maps_large_leaves_and_takes_parts_of_them)
{
    struct mm_space_stats stats;

    fixture_start(4, true, 2);
    begin(MM_PROT_RW, true);
    for (uint64_t i = 0; i < 20; i++)
        CHECK_OK(put(LOW + i * M2, 4 * GIB + (i ^ 1) * M2, M2));
    CHECK_OK(put(LOW + 2 * GIB, 7 * GIB, GIB));
    CHECK_OK(put(LOW + 30 * M2 + K4, DATA, K4)); /* another level */
    CHECK_OK(put(LOW + 21 * M2, 6 * GIB, M2));
    end(true);
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.leaf_2m, 21);
    CHECK_EQ(stats.leaf_1g, 1);
    CHECK_EQ(stats.leaf_4k, 1);
    begin(MM_PROT_RW, true);
    CHECK_OK(take(LOW + M2, M2));
    CHECK_EQ(got.raw, 4 * GIB);
    CHECK_OK(take(LOW + 5 * K4, K4)); /* part of a large one */
    CHECK_EQ(got.raw, 4 * GIB + M2 + 5 * K4);
    CHECK_OK(take(LOW + 2 * GIB + 3 * M2, M2)); /* of a larger one */
    CHECK_EQ(got.raw, 7 * GIB + 3 * M2);
    end(true);
    CHECK_EQ(fake_read64(mm_virt(LOW + 5 * K4)).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(phys_at(LOW + 6 * K4), 4 * GIB + M2 + 6 * K4);
    fixture_sound(&fx.kernel);
}

/* What an ordinary call refuses, the cursor refuses; nothing has changed, and it goes on. */
static void refused(uint64_t virt, uint64_t phys, uint64_t bytes, enum mm_err expected)
{
    CHECK_ERR(put(virt, phys, bytes), expected);
}

TEST(cursor_refuses_what_map_refuses)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW + 9 * K4, DATA, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + GIB, GIB, M2, MM_PROT_RW));
    for (unsigned warm = 0; warm < 2; warm++) { /* with and without the table in hand */
        struct state before = state_of(&fx.kernel), after;

        mm_test_row("warm", warm);
        begin(MM_PROT_RW, false);
        if (warm != 0)
            CHECK_OK(put(LOW + 3 * K4, DATA, K4));
        refused(LOW + 9 * K4, DATA, K4, MM_ERR_EXISTS);
        refused(LOW, DATA, M2, MM_ERR_EXISTS);
        refused(LOW + GIB, DATA, M2, MM_ERR_EXISTS);
        refused(LOW + GIB + K4, DATA, K4, MM_ERR_EXISTS);
        refused(LOW + 8, DATA, K4, MM_ERR_BAD_ARG);
        refused(LOW + 4 * K4, DATA + 8, K4, MM_ERR_BAD_ARG);
        refused(LOW + 4 * K4, UINT64_C(1) << 46, K4, MM_ERR_RANGE);
        refused(LOW + 4 * K4, DATA, 2 * K4, MM_ERR_BAD_ARG);
        refused(LOW + 4 * K4, DATA, 0, MM_ERR_BAD_ARG);
        refused(LOW + K4, DATA, M2, MM_ERR_BAD_ARG);
        refused(UINT64_C(1) << 47, DATA, K4, MM_ERR_RANGE);
        refused(0, DATA, K4, MM_ERR_POLICY);
        if (warm == 0)
            CHECK_OK(put(LOW + 3 * K4, DATA, K4));
        end(false);
        CHECK_OK(unmap(&fx.kernel, LOW + 3 * K4, K4));
        after = state_of(&fx.kernel);
        check_same_state(&before, &after);
    }
    fixture_sound(&fx.kernel);
}

/* For a map a table of each level, for an unmap those of a split: nothing has changed if one is missing,
 * and the cursor goes on. */
TEST(cursor_changes_nothing_whichever_table_cannot_be_had)
{
    const struct {
        bool maps;
        uint64_t virt;
        unsigned tables;
    } row[] = {{true, LOW + 512 * GIB, 3}, {false, LOW + 2 * GIB + 5 * M2 + K4, 2}};

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW + 2 * GIB, 7 * GIB, GIB, MM_PROT_RW));
    begin(MM_PROT_RW, true);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned k = 0; k <= row[i].tables; k++) {
            enum mm_err expected = k < row[i].tables ? MM_ERR_NO_MEMORY : MM_OK;
            struct state before, after;

            mm_test_row("call, allocation", i * 10 + k);
            before = state_of(&fx.kernel);
            fx.frames.fail_after = k;
            CHECK_ERR(row[i].maps ? put(row[i].virt, DATA, K4) : take(row[i].virt, K4), expected);
            fx.frames.fail_after = -1;
            after = state_of(&fx.kernel);
            if (k < row[i].tables)
                check_same_state(&before, &after);
        }
    }
    end(true);
    CHECK_EQ(phys_at(LOW + 512 * GIB), DATA);
    CHECK_EQ(phys_at(LOW + 2 * GIB + 5 * M2 + 2 * K4), 7 * GIB + 5 * M2 + 2 * K4);
    CHECK_EQ(fake_read64(mm_virt(LOW + 2 * GIB + 5 * M2 + K4)).fault, FAKE_NOT_PRESENT);
    fixture_sound(&fx.kernel);
}

TEST(cursor_says_what_is_wrong_with_its_kind_of_page)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    begin(MM_PROT_RW | MM_PROT_EXEC, false);
    refused(LOW + K4, DATA, K4, MM_ERR_POLICY);
    end(false);
    begin(MM_PROT_WRITE, false);
    refused(LOW + K4, DATA, K4, MM_ERR_BAD_ARG);
    end(false);
    begin(MM_PROT_READ | MM_PROT_USER, false);
    CHECK_OK(put(LOW + K4, DATA, K4));
    refused(HIGH + K4, DATA, K4, MM_ERR_POLICY);
    CHECK_OK(put(LOW + 2 * K4, DATA, K4));
    end(false);
    CHECK_OK(mm_cursor_begin(&cursor, &fx.kernel, MM_PROT_READ, MM_MEMTYPE_UC, 0, NULL));
    CHECK_OK(put(HIGH + K4, DATA, K4));
    CHECK_OK(put(LOW + 3 * K4, DATA, K4));
    end(false);
    CHECK(fake_read64(mm_virt(HIGH + K4)).global);
    CHECK(!fake_read64(mm_virt(LOW + 3 * K4)).global);
    fixture_sound(&fx.kernel);
}

TEST(cursor_refuses_holes_and_damage)
{
    uint64_t *entry;
    struct mm_walk_step step[MM_WALK_STEPS];

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 3 * K4, MM_PROT_RW));
    begin(MM_PROT_RW, true);
    CHECK_OK(take(LOW, K4));
    CHECK_ERR(take(LOW, K4), MM_ERR_NOT_FOUND);
    CHECK_EQ(got.raw, 1);
    CHECK_ERR(take(LOW + GIB, K4), MM_ERR_NOT_FOUND);
    CHECK_ERR(take(LOW + 8, K4), MM_ERR_BAD_ARG);
    CHECK_ERR(take(LOW, 3 * K4), MM_ERR_BAD_ARG);
    CHECK_OK(take(LOW + K4, K4));
    end(true);
    CHECK_EQ(mm_space_walk(&fx.kernel, mm_virt(LOW + 2 * K4), step), 4);
    entry = (uint64_t *)fake_ram(step[3].table, K4);
    entry[2] |= UINT64_C(1) << 51;
    entry[7] = UINT64_C(1) << 51 | 1;
    begin(MM_PROT_RW, true);
    CHECK_OK(put(LOW + 9 * K4, DATA, K4));
    CHECK_ERR(take(LOW + 2 * K4, K4), MM_ERR_CORRUPT);
    CHECK_ERR(put(LOW + 7 * K4, DATA, K4), MM_ERR_CORRUPT);
    end(true);
    CHECK_EQ(mm_test_report_count(), 2);
    mm_test_reports_clear();
    entry[2] &= ~(UINT64_C(1) << 51);
    entry[7] = 0;
    fixture_sound(&fx.kernel);
}

TEST(cursor_keeps_its_space_and_its_cpu)
{
    struct mm_cursor other;
    struct mm_translation at;
    struct mm_space space = MM_ZERO;

    fixture_start(4, true, 1);
    CHECK_OK(mm_space_create(&fx.vmm, &space, 0));
    CHECK_OK(mm_cursor_begin(&cursor, &space, MM_PROT_READ | MM_PROT_USER, MM_MEMTYPE_WB, 0, NULL));
    CHECK_ERR(mm_space_destroy(&space), MM_ERR_BUSY);
    CHECK_OK(put(LOW, DATA, K4));
    CHECK_OK(put(LOW + K4, DATA, K4)); /* the table is in hand */
    CHECK(!fake_cpu(0)->interrupts_on);
    CHECK_ERR(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW), MM_ERR_BUSY);
    CHECK_ERR(mm_cursor_begin(&other, &fx.kernel, MM_PROT_READ, MM_MEMTYPE_WB, 0, NULL),
              MM_ERR_BUSY);
    mm_cursor_end(&other);
    CHECK_ERR(mm_space_translate(&fx.kernel, mm_virt(LOW), &at, NULL),
              MM_ERR_NOT_FOUND); /* walks nest */
    mm_cursor_end(&cursor);
    mm_cursor_end(&cursor);
    CHECK_OK(mm_space_destroy(&space));
    CHECK_ERR(mm_cursor_begin(&cursor, &space, MM_PROT_READ, MM_MEMTYPE_WB, 0, NULL), MM_ERR_GONE);
    CHECK_ERR(put(LOW, DATA, K4), MM_ERR_BAD_ARG);
    CHECK_ERR(take(LOW, K4), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_cursor_begin(NULL, &fx.kernel, MM_PROT_READ, MM_MEMTYPE_WB, 0, NULL),
              MM_ERR_BAD_ARG);
    CHECK_ERR(mm_cursor_begin(&cursor, NULL, MM_PROT_READ, MM_MEMTYPE_WB, 0, NULL), MM_ERR_BAD_ARG);
    mm_cursor_end(NULL);
    fixture_sound(&fx.kernel);
}

TEST(cursor_over_more_tables_than_a_gather_holds_flushes_on_the_way)
{
    uint32_t used;

    fixture_start(4, true, 2);
    used = fx.frames.used;
    begin(MM_PROT_RW, false);
    for (uint64_t i = 0; i < 200; i++)
        CHECK_OK(put(LOW + i * M2, DATA, K4));
    end(false);
    begin(MM_PROT_RW, true);
    for (uint64_t i = 0; i < 200; i++)
        CHECK_OK(take(LOW + i * M2, K4));
    end(true);
    CHECK_EQ(fx.frames.used, used);
    fixture_sound(&fx.kernel);
}

/* The checks of the first page in a table hold for the others only as far as they are the same. */
TEST(cursor_looks_at_page_0_and_at_the_end_of_the_users_half_each_time)
{
    struct mm_layout layout;
    struct mm_space space = MM_ZERO;

    fixture_machine(4, true, 1);
    mm_layout_default(&layout);
    layout.user_end = mm_virt(LOW + 6 * K4);
    fixture_vmm(&layout);
    fixture_cpu_init(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_OK(mm_space_create(&fx.vmm, &space, 0));
    CHECK_OK(mm_cursor_begin(&cursor, &space, MM_PROT_READ | MM_PROT_USER, MM_MEMTYPE_WB, 0, NULL));
    CHECK_OK(put(5 * K4, DATA, K4));
    CHECK_ERR(put(0, DATA, K4), MM_ERR_POLICY);
    CHECK_OK(put(6 * K4, DATA, K4));
    CHECK_OK(put(LOW, DATA, K4));
    CHECK_OK(put(LOW + 5 * K4, DATA, K4));
    CHECK_ERR(put(LOW + 6 * K4, DATA, K4), MM_ERR_POLICY);
    CHECK_OK(put(LOW + K4, DATA, K4));
    mm_cursor_end(&cursor);
    CHECK_OK(mm_cursor_begin(&cursor, &space, MM_PROT_READ | MM_PROT_USER, MM_MEMTYPE_WB,
                             MM_MAP_NULL, NULL));
    CHECK_OK(put(0, DATA, K4));
    mm_cursor_end(&cursor);
    mm_gather_begin(&gather, &space);
    CHECK_OK(mm_cursor_begin(&cursor, &space, MM_PROT_READ, MM_MEMTYPE_WB, 0, &gather));
    CHECK_OK(take(LOW + 5 * K4, K4));
    CHECK_ERR(take(LOW + 6 * K4, K4), MM_ERR_POLICY);
    CHECK_OK(take(LOW, K4));
    mm_cursor_end(&cursor);
    mm_gather_end(&gather);
    CHECK_OK(mm_space_destroy(&space));
    fixture_sound(&fx.kernel);
}

/* A large page may begin below the end of the user's half and stick out. */
TEST(cursor_puts_no_large_page_across_the_end_of_the_users_half)
{
    struct mm_layout layout;
    struct mm_space space = MM_ZERO;

    fixture_machine(4, true, 1);
    mm_layout_default(&layout);
    layout.user_end = mm_virt(LOW + 2 * M2 + K4);
    fixture_vmm(&layout);
    fixture_cpu_init(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_OK(mm_space_create(&fx.vmm, &space, 0));
    CHECK_OK(mm_cursor_begin(&cursor, &space, MM_PROT_READ | MM_PROT_USER, MM_MEMTYPE_WB, 0, NULL));
    CHECK_OK(put(LOW, DATA, M2));
    CHECK_OK(put(LOW + M2, DATA, M2)); /* in the table in hand from now on */
    CHECK_ERR(put(LOW + 2 * M2, DATA, M2), MM_ERR_POLICY);
    CHECK_OK(put(LOW + 2 * M2, DATA, K4));
    mm_cursor_end(&cursor);
    CHECK_OK(mm_space_destroy(&space));
    fixture_sound(&fx.kernel);
}

static unsigned released;

static void release(void *context, mm_phys_t first, uint64_t count_frames)
{
    (void)context, (void)first;
    released += (unsigned)count_frames;
}

TEST(cursor_whose_gather_has_ended_unmaps_no_more)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 2 * K4, MM_PROT_RW));
    begin(MM_PROT_RW, true);
    CHECK_OK(take(LOW, K4));
    mm_gather_end(&gather);
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_ERR(take(LOW + K4, K4), MM_ERR_BAD_ARG);
    CHECK_OK(put(LOW, DATA, K4));
    mm_cursor_end(&cursor);
    fixture_sound(&fx.kernel);
}

/* Handing frames in while the cursor has a table in hand fills the gather, which flushes. */
TEST(a_gather_that_fills_up_beside_its_cursor_flushes_without_its_lock)
{
    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 100 * K4, MM_PROT_RW));
    released = 0;
    mm_gather_begin(&gather, &fx.kernel);
    mm_gather_set_release(&gather, release, NULL);
    CHECK_OK(mm_cursor_begin(&cursor, &fx.kernel, MM_PROT_READ, MM_MEMTYPE_WB, 0, &gather));
    for (uint64_t i = 0; i < 100; i++) {
        CHECK_OK(take(LOW + i * K4, K4));
        mm_gather_frames(&gather, got, 1);
    }
    mm_cursor_end(&cursor);
    mm_gather_end(&gather);
    CHECK_EQ(released, 100);
    fixture_sound(&fx.kernel);
}
