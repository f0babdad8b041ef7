/*
 * test_adopt.c - going on with page tables that somebody else made.
 *
 * Foreign tables are written here as raw numbers, by the manual: P = 1, W = 2, U = 4, PS = 0x80,
 * G = 0x100, address in bits 12 to 51. They lie in frames that the source does not own and would
 * fail the test for if they were freed.
 *
 *     root 0x4000000 [0]   -> 0x4001000 [0] -> 0x4002000 [0] 2 MiB at 0, global
 *                                                        [1] -> 0x4003000: 512 pages at 2 MiB
 *                                       [1] 1 GiB at 1 GiB
 *                    [511] -> 0x4004000 [510] -> 0x4005000 [0] 2 MiB at 2 MiB, global
 */
#include "vmm_fixture.h"

#define FOREIGN UINT64_C(0x4000000)
#define IMAGE   UINT64_C(0xffffffff80000000)

static uint64_t *foreign(unsigned table)
{
    return (uint64_t *)fake_ram(mm_phys(FOREIGN + table * K4), K4);
}

static uint64_t foreign_at(unsigned table)
{
    return FOREIGN + table * K4;
}

static void foreign_build(void)
{
    fake_ram_add(mm_phys(FOREIGN), 16 * K4);
    memset(foreign(0), 0, 16 * K4);
    foreign(0)[0] = foreign_at(1) | 3;
    foreign(0)[511] = foreign_at(4) | 3;
    foreign(1)[0] = foreign_at(2) | 3;
    foreign(1)[1] = GIB | 0x83;
    foreign(2)[0] = 0x183;
    foreign(2)[1] = foreign_at(3) | 3;
    for (unsigned i = 0; i < 512; i++)
        foreign(3)[i] = (M2 + i * K4) | 3;
    foreign(4)[510] = foreign_at(5) | 3;
    foreign(5)[0] = M2 | 0x183;
}

/* A CPU that comes from the loader. */
static void foreign_cpu(unsigned cpu)
{
    fake_cpu(cpu)->root = mm_phys(FOREIGN);
    fake_cpu(cpu)->root_loaded = true;
    fixture_cpu_init(cpu);
}

static void foreign_start(void)
{
    fixture_machine(4, true, 2);
    foreign_build();
    fixture_vmm(NULL);
    foreign_cpu(0);
}

TEST(adopt_counts_what_is_there_and_makes_the_slots_of_the_kernel_area)
{
    struct mm_space_stats stats;
    struct mm_translation got;
    struct mm_cpuset on;

    foreign_start();
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.tables, 6 + 2);
    CHECK_EQ(fx.frames.used, 2);
    CHECK_EQ(stats.leaf_4k, 512);
    CHECK_EQ(stats.leaf_2m, 2);
    CHECK_EQ(stats.leaf_1g, 1);
    CHECK_EQ(stats.mapped_frames, (3 * M2 + GIB) / K4);
    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(M2 + 5 * K4), &got, NULL));
    CHECK_EQ(got.phys.raw, M2 + 5 * K4);
    CHECK(mm_space_current(&fx.vmm) == &fx.kernel);
    mm_space_loaded_on(&fx.kernel, &on);
    CHECK_EQ(on.bits[0], 1);
    CHECK_EQ(fx.kernel.flags, MM_SPACE_KERNEL | MM_SPACE_ADOPTED);
    CHECK_ERR(mm_space_adopt(&fx.vmm, &fx.kernel, NULL), MM_ERR_EXISTS);
    fixture_sound(&fx.kernel);
}

/* With marks of the hardware and of the loader in them: A 0x20, D 0x40, bits 9 to 11, 52 to 58. */
TEST(adopt_writes_nothing_but_the_slots_of_the_kernel_area)
{
    static uint64_t before[6 * 512];
    struct mm_translation got;

    foreign_start();
    foreign(2)[0] |= UINT64_C(0x07f0000000000e60);
    memcpy(before, foreign(0), sizeof before);
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    CHECK(foreign(0)[448] != 0 && foreign(0)[449] != 0); /* 1 TiB at 0xffffe00000000000 */
    before[448] = foreign(0)[448];
    before[449] = foreign(0)[449];
    CHECK(memcmp(before, foreign(0), sizeof before) == 0);
    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(0x1000), &got, NULL));
    CHECK(got.accessed && got.dirty);
    fixture_sound(&fx.kernel);
}

TEST(global_leaves_of_the_lower_half_are_not_seen_in_user_spaces)
{
    struct mm_space user = MM_ZERO, other = MM_ZERO;
    uint64_t full;

    foreign_start();
    fake_cpu(0)->pge = true;
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(mm_space_create(&fx.vmm, &other, 0));
    for (unsigned round = 0; round < 2; round++) {
        CHECK(fake_read64(mm_virt(0x1000)).global);
        CHECK(fake_read64(mm_virt(IMAGE)).global);
        CHECK_OK(mm_space_activate(&user));
        CHECK_EQ(fake_read64(mm_virt(0x1000)).fault, FAKE_NOT_PRESENT);
        CHECK_EQ(fake_read64(mm_virt(IMAGE)).phys.raw, M2);
        CHECK_EQ(fake_stale_entries(), 0);
        full = fake_counts().flush_all;
        CHECK_OK(mm_space_activate(&other)); /* nothing to flush between user spaces */
        CHECK_OK(mm_space_activate(&fx.kernel));
        CHECK_EQ(fake_counts().flush_all, full);
    }
    fixture_sound(&user);
    fixture_sound(&fx.kernel);
}

/* It runs on the adopted root from the start, without having loaded it through libmm. */
TEST(global_leaves_are_not_seen_on_a_cpu_whose_first_space_is_a_user_space)
{
    struct mm_space user = MM_ZERO;

    foreign_start();
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    foreign_cpu(1);
    CHECK(fake_read64(mm_virt(0x1000)).global);
    fake_cpu_set(0);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    fake_cpu_set(1);
    CHECK_OK(mm_space_activate(&user));
    CHECK_EQ(fake_read64(mm_virt(0x1000)).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(fake_stale_entries(), 0);
    fake_cpu_set(0);
    fixture_sound(&fx.kernel);
}

TEST(without_global_leaves_in_the_lower_half_no_load_flushes_everything)
{
    struct mm_space user = MM_ZERO;
    uint64_t full;

    foreign_start();
    foreign(2)[0] = 0x83;
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    full = fake_counts().flush_all;
    CHECK_OK(mm_space_activate(&user));
    CHECK_EQ(fake_counts().flush_all, full);
    CHECK_OK(mm_space_activate(&fx.kernel));
    fixture_sound(&fx.kernel);
}

TEST(maps_and_unmaps_go_on_in_foreign_tables_and_never_free_them)
{
    uint32_t used;

    foreign_start();
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    used = fx.frames.used;
    CHECK_ERR(map(&fx.kernel, M2, DATA, K4, MM_PROT_RW), MM_ERR_EXISTS);
    CHECK_OK(unmap(&fx.kernel, M2 + 7 * K4, K4));
    CHECK_OK(map(&fx.kernel, M2 + 7 * K4, DATA, K4, MM_PROT_RW)); /* in table 3 */
    CHECK_EQ(fx.frames.used, used);
    CHECK_EQ(fake_read64(mm_virt(M2 + 7 * K4)).phys.raw, DATA);
    CHECK_EQ(fake_read64(mm_virt(M2 + 8 * K4)).phys.raw, M2 + 8 * K4);
    CHECK_EQ(space_faults(&fx.kernel), 0);
    CHECK_OK(unmap(&fx.kernel, M2, M2)); /* table 3 is empty: unhooked, not freed */
    CHECK_EQ(fx.frames.used, used);
    CHECK_EQ(foreign(2)[1], 0);
    CHECK_OK(unmap(&fx.kernel, GIB + 5 * M2, K4)); /* splits a foreign page with own tables */
    CHECK_EQ(fx.frames.used, used + 2);
    CHECK_EQ(fake_read64(mm_virt(GIB + 5 * M2 + K4)).phys.raw, GIB + 5 * M2 + K4);
    CHECK_EQ(space_faults(&fx.kernel), 0);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(GIB), GIB, MM_RANGE_HOLES, NULL, NULL));
    CHECK_EQ(fx.frames.used, used);
    fixture_sound(&fx.kernel);
}

TEST(a_right_that_a_foreign_table_denies_cannot_be_mapped_or_given)
{
    struct mm_map_request request = request_of(M2, DATA, K4, MM_PROT_RW);
    mm_virt_t cursor = mm_virt(M2);
    struct mm_translation got;
    struct mm_space_run run;
    struct mm_space_fail why;

    foreign_start();
    foreign(2)[1] = foreign_at(3) | 1; /* read-only below */
    foreign(3)[0] = 0;
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(M2 + K4), &got, NULL));
    CHECK_EQ(got.prot, MM_PROT_RX); /* the leaf would grant W */
    CHECK_OK(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run));
    CHECK_EQ(run.prot, MM_PROT_RX);
    CHECK_EQ(run.bytes, M2 - K4);
    CHECK_ERR(mm_space_map(&fx.kernel, &request, &why), MM_ERR_POLICY);
    CHECK_EQ(why.level, 2);
    CHECK_EQ(why.entry & ~UINT64_C(0x20), foreign_at(3) | 1);
    CHECK_ERR(protect(&fx.kernel, M2 + K4, K4, MM_PROT_RW), MM_ERR_POLICY);
    CHECK_OK(protect(&fx.kernel, M2 + K4, K4, MM_PROT_READ));
    request.prot = MM_PROT_READ;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    request = request_of(M2, DATA, K4, MM_PROT_READ | MM_PROT_USER);
    CHECK_OK(unmap(&fx.kernel, M2, K4));
    CHECK_ERR(mm_space_map(&fx.kernel, &request, NULL), MM_ERR_POLICY); /* no U on the way */
    fixture_sound(&fx.kernel);
}

static const struct {
    unsigned table, index;
    uint64_t entry;
    unsigned level; /* of the entry that is named */
    uint64_t virt;
} bad_rows[] = {
    {0, 1, FOREIGN + 0x6083, 4, UINT64_C(1) << 39},      /* PS at level 4 */
    {0, 1, UINT64_C(1) << 46 | 3, 4, UINT64_C(1) << 39}, /* beyond 46 bits */
    {1, 2, UINT64_C(1) << 51 | 3, 3, 2 * GIB},
    {1, 2, GIB | 0x2083, 3, 2 * GIB}, /* bit 13 of a 1 GiB page */
    {2, 2, M2 | 0x4083, 2, 2 * M2},   /* bit 14 of a 2 MiB page */
    {3, 9, UINT64_C(1) << 50 | 3, 1, M2 + 9 * K4},
    {0, 510, FOREIGN | 3, 4, UINT64_C(0xffffff0000000000)}, /* maps itself */
    {1, 2, FOREIGN | 3, 3, 2 * GIB},                        /* an ancestor */
    {2, 2, FOREIGN + 0x2003, 2, 2 * M2},                    /* itself, lower */
    {2, 2, FOREIGN + 0x1003, 2, 2 * M2},
};

TEST(adopt_refuses_reserved_bits_and_loops_and_says_where)
{
    foreign_start();
    for (unsigned i = 0; i < sizeof bad_rows / sizeof bad_rows[0]; i++) {
        uint64_t *entry = &foreign(bad_rows[i].table)[bad_rows[i].index];
        uint64_t before = *entry;
        struct mm_space space = MM_ZERO;
        struct mm_space_fail why;

        mm_test_row("bad entry", i);
        *entry = bad_rows[i].entry;
        CHECK_ERR(mm_space_adopt(&fx.vmm, &space, &why), MM_ERR_MALFORMED);
        CHECK_EQ(why.level, bad_rows[i].level);
        CHECK_EQ(why.entry, bad_rows[i].entry);
        CHECK_EQ(why.virt.raw, bad_rows[i].virt);
        CHECK_EQ(why.err, MM_ERR_MALFORMED);
        CHECK(fx.vmm.kernel == NULL);
        CHECK_EQ(space.state, 0);
        CHECK_EQ(fx.frames.used, 0);
        *entry = before;
    }
    CHECK_EQ(foreign(2)[0] & 0x100, 0x100); /* nothing was written */
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    fixture_sound(&fx.kernel);
}

/* Bit 63 is a reserved one until EFER.NXE is set, in entries that lead to tables as in pages. */
TEST(adopt_refuses_no_execute_on_a_cpu_where_that_is_a_reserved_bit)
{
    static const struct {
        unsigned table, index, level;
    } row[] = {{0, 0, 4}, {1, 0, 3}, {2, 1, 2}, {1, 1, 3}, {2, 0, 2}, {3, 77, 1}};
    const uint64_t no_execute = UINT64_C(1) << 63;

    fixture_machine(4, true, 1);
    foreign_build();
    fixture_vmm(NULL);
    fake_cpu(0)->root = mm_phys(FOREIGN);
    fake_cpu(0)->root_loaded = true;
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct mm_space space = MM_ZERO;
        struct mm_space_fail why;

        mm_test_row("entry", i);
        foreign(row[i].table)[row[i].index] |= no_execute;
        CHECK_ERR(mm_space_adopt(&fx.vmm, &space, &why), MM_ERR_MALFORMED);
        CHECK_EQ(why.level, row[i].level);
        CHECK_EQ(why.entry, foreign(row[i].table)[row[i].index]);
        CHECK_EQ(fx.frames.used, 0);
        foreign(row[i].table)[row[i].index] &= ~no_execute;
    }
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++)
        foreign(row[i].table)[row[i].index] |= no_execute;
    foreign_cpu(0); /* switched on */
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    CHECK_EQ(fake_fetch(mm_virt(GIB)).fault, FAKE_FETCH_DENIED);
    fixture_sound(&fx.kernel);
}

TEST(adopt_refuses_a_table_outside_the_window)
{
    struct mm_space_fail why;

    foreign_start();
    foreign(1)[7] = UINT64_C(0x5000000) | 3;
    CHECK_ERR(mm_space_adopt(&fx.vmm, &fx.kernel, &why), MM_ERR_WINDOW);
    CHECK_EQ(why.level, 3);
    CHECK_EQ(why.entry, 0x5000003);
    CHECK_EQ(fx.frames.used, 0);
}

TEST(adopt_changes_nothing_whichever_table_cannot_be_had)
{
    foreign_start();
    for (unsigned k = 1; k < 3; k++) { /* the first is only asked for its tag */
        fx.frames.fail_after = k;
        CHECK_ERR(mm_space_adopt(&fx.vmm, &fx.kernel, NULL), MM_ERR_NO_MEMORY);
        CHECK_EQ(fx.frames.used, 0);
        CHECK(fx.vmm.kernel == NULL);
        CHECK_EQ(foreign(2)[0] & 0x100, 0x100);
        CHECK_EQ(foreign(0)[448], 0); /* 0xffffe00000000000 */
    }
    fx.frames.fail_after = 3;
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    fixture_sound(&fx.kernel);
}

/* Its source has the call for tags, and its frames have none. */
TEST(adopted_space_goes_on_with_tables_that_have_no_tags)
{
    struct mm_space user = MM_ZERO;

    foreign_start();
    fx.frames.untagged = true;
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    CHECK_EQ(fx.frames.used, 2);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_EQ(user.one_lock, 1);
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW | MM_PROT_USER));
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

/* Boot code often uses one table for the identity map and the higher half. */
TEST(adopt_accepts_a_table_that_the_loader_uses_twice)
{
    foreign_start();
    foreign(0)[256] = foreign_at(1) | 3;
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_EQ(fake_read64(mm_virt(LOW)).phys.raw, DATA);
    CHECK_OK(unmap(&fx.kernel, LOW, K4));
    fixture_sound(&fx.kernel);
}

TEST(destroying_an_adopted_space_frees_only_tables_of_the_source)
{
    foreign_start();
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, 4 * M2, DATA, K4, MM_PROT_RW)); /* below a foreign table */
    CHECK_ERR(mm_space_destroy(&fx.kernel), MM_ERR_BUSY);
    foreign_cpu(1);
    fake_cpu_set(0);
    fake_cpu(1)->root_loaded = false;
    CHECK_OK(mm_cpu_exit(&fx.vmm, 0));
    CHECK_OK(mm_space_destroy(&fx.kernel));
    CHECK_EQ(fx.frames.used, 0);
    CHECK_EQ(foreign(0)[0] & ~UINT64_C(0x20), foreign_at(1) | 3);
}
