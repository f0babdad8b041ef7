/*
 * test_hostile.c - what goes wrong between two stores, and only a hostile machine sees.
 *
 * Problem     A mark that the hardware sets while its entry is rewritten, or a way to a table that one
 *             CPU still has cached: nothing that a call returns shows them.
 * Idea        The walkers of the simulated machine come before and after each store, so each test only
 *             brings the engine to the place where it must not take the cheap way.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Nothing.
 */
#include "vmm_fixture.h"

#include "mm_mmu.h"

#define PAGES 64u /* protect looks for who may write the entries from 16 on */

static void user_space(struct mm_space *user)
{
    fixture_start(4, true, 3);
    CHECK_OK(mm_space_create(&fx.vmm, user, 0));
}

/* ---- accessed and dirty ---- */

static void all_dirty(struct mm_space *space, uint64_t virt)
{
    for (unsigned i = 0; i < PAGES; i++) {
        struct mm_translation got;

        mm_test_row("page", i);
        CHECK_OK(mm_space_translate(space, mm_virt(virt + i * K4), &got, NULL));
        CHECK(got.accessed && got.dirty);
        CHECK_EQ(got.prot, MM_PROT_READ);
    }
}

/* No CPU has written when the call begins; each page is written while its entry changes. */
TEST(protect_of_a_loaded_space_keeps_marks_that_come_meanwhile)
{
    struct mm_space user = MM_ZERO;

    user_space(&user);
    fixture_activate(2, &user);
    CHECK_OK(map(&user, LOW, DATA, PAGES * K4, MM_PROT_RW));
    CHECK_OK(protect(&user, LOW, PAGES * K4, MM_PROT_READ));
    all_dirty(&user, LOW);
    CHECK_EQ(fake_counts().lost_dirty, 0);
    fixture_activate(2, &fx.kernel);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

TEST(protect_of_a_space_that_nobody_has_loaded_uses_plain_stores)
{
    struct mm_space user = MM_ZERO;

    user_space(&user);
    CHECK_OK(map(&user, LOW, DATA, PAGES * K4, MM_PROT_RW));
    fake_counts_clear();
    CHECK_OK(protect(&user, LOW, PAGES * K4, MM_PROT_READ));
    CHECK_EQ(fake_counts().swaps, 0);
    CHECK_EQ(fake_counts().stores, PAGES);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

/* All CPUs are in user spaces, which show the kernel's upper half. */
TEST(protect_in_the_kernel_half_keeps_marks_although_no_cpu_has_its_space_loaded)
{
    struct mm_space user = MM_ZERO;

    user_space(&user);
    for (unsigned cpu = 0; cpu < fx.cpus; cpu++)
        fixture_activate(cpu, &user);
    CHECK_OK(map(&fx.kernel, MM_PORT_KERNEL_AREA, DATA, PAGES * K4, MM_PROT_RW));
    CHECK_OK(protect(&fx.kernel, MM_PORT_KERNEL_AREA, PAGES * K4, MM_PROT_READ));
    all_dirty(&fx.kernel, MM_PORT_KERNEL_AREA);
    for (unsigned cpu = 0; cpu < fx.cpus; cpu++)
        fixture_activate(cpu, &fx.kernel);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

TEST(protect_keeps_a_dirty_mark_that_comes_to_a_page_that_was_read_before)
{
    const uint64_t virt[] = {HIGH};
    struct mm_translation got;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    touch(virt, 1);
    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(HIGH), &got, NULL));
    CHECK(got.accessed && !got.dirty);
    CHECK_OK(protect(&fx.kernel, HIGH, K4, MM_PROT_READ));
    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(HIGH), &got, NULL));
    CHECK(got.dirty);
    fixture_sound(&fx.kernel);
}

TEST(split_keeps_a_dirty_mark_that_comes_meanwhile)
{
    struct mm_translation got;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, M2, MM_PROT_RW));
    CHECK_OK(unmap(&fx.kernel, HIGH + 9 * K4, K4));
    for (uint64_t at = 0; at < M2; at += at == 8 * K4 ? 2 * K4 : K4) {
        CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(HIGH + at), &got, NULL));
        CHECK(got.accessed && got.dirty);
    }
    fixture_sound(&fx.kernel);
}

/* ---- ways to tables ---- */

/* Two leaf tables of a loader, side by side: the last page of the first, and nothing in the second. */
#define LOADER UINT64_C(0x4000000)

static uint64_t *loader(unsigned table)
{
    return (uint64_t *)fake_ram(mm_phys(LOADER + table * K4), K4);
}

static void loader_start(void)
{
    fixture_machine(4, true, 1);
    fake_ram_add(mm_phys(LOADER), 8 * K4);
    for (unsigned i = 0; i < 3; i++)
        loader(i)[0] = (LOADER + (i + 1) * K4) | 3;
    loader(2)[1] = (LOADER + 4 * K4) | 3;
    loader(3)[511] = DATA | 3;
    fake_cpu(0)->root = mm_phys(LOADER);
    fake_cpu(0)->root_loaded = true;
    fixture_vmm(NULL);
    fixture_cpu_init(0);
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
}

TEST(the_way_to_a_table_that_was_found_empty_is_flushed)
{
    loader_start();
    CHECK_EQ(fake_read64(mm_virt(M2 + 5 * K4)).fault, FAKE_NOT_PRESENT);
    fake_watch(mm_virt(M2 + 5 * K4), FAKE_WATCH_READ); /* the way to it is cached now */
    CHECK(fake_frame_in_use(mm_phys(LOADER + 4 * K4)));
    fake_counts_clear();
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(M2), K4, MM_RANGE_HOLES, NULL, NULL));
    CHECK_EQ(loader(2)[1], 0);
    CHECK(!fake_frame_in_use(mm_phys(LOADER + 4 * K4)));
    CHECK_EQ(fake_counts().flush_page, 1);
    fixture_sound(&fx.kernel);
}

/* The flush of the page before does not do for it: with EFER.TCE it drops another way. */
TEST(the_way_to_an_empty_table_is_flushed_beside_a_page_of_another_table)
{
    loader_start();
    fake_watch(mm_virt(M2 + 5 * K4), FAKE_WATCH_READ);
    fake_watch(mm_virt(M2 - K4), FAKE_WATCH_READ);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(M2 - K4), 2 * K4, MM_RANGE_HOLES, NULL, NULL));
    CHECK(loader(2)[0] == 0 && loader(2)[1] == 0);
    CHECK(!fake_frame_in_use(mm_phys(LOADER + 3 * K4)));
    CHECK(!fake_frame_in_use(mm_phys(LOADER + 4 * K4)));
    CHECK_EQ(fake_counts().flush_page, 2);
    fixture_sound(&fx.kernel);
}

/* ---- marks where nothing is ---- */

/* Accessed and dirty (bits 5 and 6) in all empty entries of the table. */
static void mark_empty(mm_phys_t frame)
{
    uint64_t *table = (uint64_t *)fake_ram(frame, K4);

    for (unsigned i = 0; i < 512; i++)
        table[i] |= table[i] == 0 ? 0x60 : 0;
}

static void mark_way(uint64_t virt)
{
    struct mm_walk_step step[MM_WALK_STEPS];
    unsigned count = mm_space_walk(&fx.kernel, mm_virt(virt), step);

    for (unsigned i = 0; i < count; i++)
        mark_empty(step[i].table);
}

static void map_among_marks(bool untagged)
{
    const struct {
        uint64_t virt, bytes;
    } row[] = {{LOW + 3 * K4, K4},
               {LOW + 5 * M2, M2},
               {LOW + 7 * GIB, GIB},
               {LOW + 512 * GIB, K4},
               {LOW + 6 * K4, 506 * K4}};
    struct mm_space_stats stats;
    struct mm_space_run run;
    mm_virt_t cursor = mm_virt(LOW + K4);
    uint32_t used;

    fixture_machine(4, true, 2);
    fx.frames.untagged = untagged;
    fixture_vmm(NULL);
    for (unsigned cpu = 2; cpu-- > 0;)
        fixture_cpu_init(cpu);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    for (unsigned cpu = 0; cpu < 2; cpu++)
        fixture_activate(cpu, &fx.kernel);
    used = fx.frames.used;
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    mark_way(LOW);
    CHECK_EQ(space_faults(&fx.kernel), 0);
    CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run), MM_ERR_NOT_FOUND);
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct mm_translation got;

        mm_test_row("row", i);
        CHECK_ERR(mm_space_translate(&fx.kernel, mm_virt(row[i].virt), &got, NULL),
                  MM_ERR_NOT_FOUND);
        CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(row[i].virt), row[i].bytes, 0, NULL, NULL),
                  MM_ERR_NOT_FOUND);
        CHECK_OK(map(&fx.kernel, row[i].virt, 8 * GIB, row[i].bytes, MM_PROT_RW));
        CHECK_EQ(fake_read64(mm_virt(row[i].virt)).phys.raw, 8 * GIB);
        CHECK_EQ(fake_read64(mm_virt(row[i].virt + row[i].bytes)).fault, FAKE_NOT_PRESENT);
    }
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.leaf_1g, 1);
    CHECK_EQ(stats.leaf_2m, 1);
    CHECK_EQ(stats.leaf_4k, 3 + 506);
    CHECK_EQ(space_faults(&fx.kernel), 0);
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++)
        CHECK_OK(unmap(&fx.kernel, row[i].virt, row[i].bytes));
    mark_way(LOW); /* and such a table counts as empty */
    CHECK_OK(unmap(&fx.kernel, LOW, K4));
    CHECK_EQ(fx.frames.used, used);
    fixture_sound(&fx.kernel);
}

/* Presence is one bit: some CPUs leave marks in entries that are not present (erratum KNL4). */
TEST(marks_in_entries_that_are_not_present_are_nothing)
{
    map_among_marks(false);
}

TEST(marks_in_entries_that_are_not_present_are_nothing_where_tables_are_searched)
{
    map_among_marks(true);
}

/* ---- machines that demand more ---- */

/* Everything but a split, which x86_64 allows in place. */
TEST(what_is_valid_again_was_invalid_and_flushed_before)
{
    struct mm_map_request small = request_of(HIGH, DATA + M2, 2 * M2, MM_PROT_RW);

    fixture_start(4, true, 3);
    fake_break_before_make(true);
    small.flags = MM_MAP_SMALL;
    CHECK_OK(map(&fx.kernel, HIGH, DATA, 2 * M2, MM_PROT_RW)); /* large, */
    CHECK_OK(unmap(&fx.kernel, HIGH, 2 * M2));
    CHECK_OK(mm_space_map(&fx.kernel, &small, NULL)); /* small, elsewhere, */
    CHECK_OK(protect(&fx.kernel, HIGH, 2 * M2, MM_PROT_READ));
    CHECK_OK(protect(&fx.kernel, HIGH, 2 * M2, MM_PROT_RW));
    CHECK_OK(unmap(&fx.kernel, HIGH, M2));
    CHECK_OK(map(&fx.kernel, HIGH, DATA, M2, MM_PROT_RW)); /* large beside small, */
    CHECK_OK(unmap(&fx.kernel, HIGH + M2 + 3 * K4, K4));
    CHECK_OK(map(&fx.kernel, HIGH + M2 + 3 * K4, DATA, K4, MM_PROT_RW)); /* one page */
    CHECK_OK(unmap(&fx.kernel, HIGH, 2 * M2));
    fixture_sound(&fx.kernel);
}

TEST(what_was_absent_is_found_after_a_map_on_a_cpu_that_caches_absence)
{
    /* the last: in the table that was used last */
    const uint64_t virt[] = {HIGH, HIGH + M2, HIGH + GIB, LOW, LOW + 8 * K4};

    fixture_start(4, true, 1);
    fake_cache_absence(true);
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQ(fake_read64(mm_virt(virt[i])).fault, FAKE_NOT_PRESENT);
        CHECK_EQ(fake_read64(mm_virt(virt[i])).cached, true);
        CHECK_OK(map(&fx.kernel, virt[i], DATA, 3 * K4, MM_PROT_RW));
        CHECK_EQ(fake_stale_absences(0), 0);
        CHECK_EQ(fake_read64(mm_virt(virt[i])).phys.raw, DATA);
    }
    fixture_sound(&fx.kernel);
}
