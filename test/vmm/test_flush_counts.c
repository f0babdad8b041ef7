/*
 * test_flush_counts.c - how often, of which kind and where: flushes and interrupts to other CPUs.
 *
 * Problem     Too many flushes break no rule, and no other test sees them; they cost more than all
 *             the rest of a call.
 * Idea        The simulated machine counts each kind of flush and each interrupt where it happens. A
 *             test clears the counts, makes one call and compares all of them.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Upper bounds: an exact number shows a change in either direction.
 */
#include "vmm_fixture.h"

#include "mm_mmu.h"

#define CPUS 4u

/* What one CPU did since the counts were cleared. */
static void cpu_flushed(unsigned cpu, uint64_t page, uint64_t space, uint64_t all, uint64_t ipis)
{
    struct fake_cpu_counts counts = fake_cpu_counts(cpu);

    mm_test_row("CPU", cpu);
    CHECK_EQ(counts.flush_page, page);
    CHECK_EQ(counts.flush_space, space);
    CHECK_EQ(counts.flush_all, all);
    CHECK_EQ(counts.ipis, ipis);
    CHECK_EQ(counts.root_loads, 0);
}

static void nobody_flushed(void)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        cpu_flushed(cpu, 0, 0, 0, 0);
}

/* The caller is CPU 0; the others were asked, once. */
static void everybody_flushed(uint64_t page, uint64_t all)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        cpu_flushed(cpu, page, 0, all, cpu == 0 ? 0 : 1);
}

static void every_cpu_reads(uint64_t virt, uint64_t phys)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        fake_cpu_set(cpu);
        CHECK_EQ(fake_read64(mm_virt(virt)).fault, FAKE_OK);
        CHECK_EQ(fake_read64(mm_virt(virt)).phys.raw, phys);
    }
    fake_cpu_set(0);
}

static void user_space(struct mm_space *user)
{
    fixture_start(4, true, CPUS);
    CHECK_OK(mm_space_create(&fx.vmm, user, 0));
}

/* ---- not present to present ---- */

TEST(map_flushes_nothing_on_any_cpu)
{
    static const struct {
        uint64_t virt, phys, bytes;
    } row[] = {
        {HIGH, DATA, K4},                      /* tables of all levels */
        {HIGH + K4, DATA + K4, K4},            /* the same leaf table */
        {HIGH + M2, DATA, M2},                 /* a 2 MiB leaf */
        {HIGH + GIB, DATA, GIB},               /* a 1 GiB leaf */
        {HIGH + 2 * GIB, DATA + K4, 9 * M2},   /* whole leaf tables */
        {LOW, DATA, 3 * K4},                   /* the lower half */
        {HIGH + 2 * K4, DATA + 2 * K4, M2 / 2} /* many pages of a table that is linked */
    };

    fixture_start(4, true, CPUS);
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        for (unsigned cpu = 0; cpu < CPUS; cpu++) { /* a walk has looked and found nothing */
            fake_cpu_set(cpu);
            CHECK_EQ(fake_read64(mm_virt(row[i].virt)).fault, FAKE_NOT_PRESENT);
        }
        fake_cpu_set(0);
        fake_counts_clear();
        CHECK_OK(map(&fx.kernel, row[i].virt, row[i].phys, row[i].bytes, MM_PROT_RW));
        nobody_flushed();
        every_cpu_reads(row[i].virt, row[i].phys);
    }
    fixture_sound(&fx.kernel);
}

TEST(map_over_what_was_unmapped_flushes_nothing_more)
{
    fixture_start(4, true, CPUS);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, 2 * K4, MM_PROT_RW));
    CHECK_OK(unmap(&fx.kernel, HIGH, K4));
    fake_counts_clear();
    CHECK_OK(map(&fx.kernel, HIGH, DATA + M2, K4, MM_PROT_RW));
    nobody_flushed();
    every_cpu_reads(HIGH, DATA + M2);
    fixture_sound(&fx.kernel);
}

TEST(protect_that_only_grants_flushes_nothing)
{
    fixture_start(4, true, CPUS);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, 100 * K4, MM_PROT_READ));
    CHECK_OK(map(&fx.kernel, HIGH + M2, DATA, M2, MM_PROT_READ));
    fake_counts_clear();
    CHECK_OK(protect(&fx.kernel, HIGH, 100 * K4, MM_PROT_RW));
    nobody_flushed();
    CHECK_OK(protect(&fx.kernel, HIGH + M2, M2, MM_PROT_RX));
    everybody_flushed(1, 0); /* a large page, since it may be split next */
    CHECK_OK(protect(&fx.kernel, HIGH + M2, M2, MM_PROT_RX)); /* nor one that changes nothing */
    everybody_flushed(1, 0);
    fixture_sound(&fx.kernel);
}

/* ---- lists and full flushes ---- */

TEST(unmap_up_to_the_ceiling_flushes_each_page_once_and_nothing_else)
{
    fixture_start(4, true, CPUS);
    for (uint64_t pages = 1; pages <= MM_MMU_FLUSH_CEILING; pages += pages == 1 ? 1 : 10) {
        CHECK_OK(map(&fx.kernel, HIGH, DATA, (pages + 1) * K4, MM_PROT_RW));
        fake_counts_clear();
        CHECK_OK(unmap(&fx.kernel, HIGH, pages * K4));
        everybody_flushed(pages, 0);
        CHECK_OK(unmap(&fx.kernel, HIGH + pages * K4, K4));
    }
    fixture_sound(&fx.kernel);
}

TEST(unmap_over_the_ceiling_is_one_full_flush_and_no_list)
{
    static const uint64_t pages[] = {MM_MMU_FLUSH_CEILING + 1, 511, 512, 5000, GIB / K4};

    fixture_start(4, true, CPUS);
    for (unsigned i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        struct mm_map_request request = request_of(HIGH, DATA, pages[i] * K4, MM_PROT_RW);

        request.flags = MM_MAP_SMALL;
        CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
        fake_counts_clear();
        CHECK_OK(unmap(&fx.kernel, HIGH, pages[i] * K4));
        everybody_flushed(0, 1);
    }
    fixture_sound(&fx.kernel);
}

/* 1 GiB is one of them, and 73 tables of 2 MiB follow. */
TEST(unmap_of_more_tables_than_a_gather_holds_is_a_full_flush_for_each_gather)
{
    struct mm_map_request request = request_of(HIGH, DATA, GIB + 73 * M2, MM_PROT_RW);

    fixture_start(4, true, CPUS);
    request.flags = MM_MAP_SMALL;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    fake_counts_clear();
    CHECK_OK(unmap(&fx.kernel, HIGH, GIB + 73 * M2));
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        cpu_flushed(cpu, 0, 0, 2, cpu == 0 ? 0 : 2);
    fixture_sound(&fx.kernel);
}

TEST(protect_over_the_ceiling_is_one_full_flush_and_no_list)
{
    struct mm_map_request request = request_of(HIGH, DATA, 10 * M2, MM_PROT_RW);

    fixture_start(4, true, CPUS);
    request.flags = MM_MAP_SMALL;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    fake_counts_clear();
    CHECK_OK(protect(&fx.kernel, HIGH, MM_MMU_FLUSH_CEILING * K4, MM_PROT_READ));
    everybody_flushed(MM_MMU_FLUSH_CEILING, 0);
    fake_counts_clear();
    CHECK_OK(protect(&fx.kernel, HIGH, 10 * M2, MM_PROT_READ)); /* the rest of it */
    everybody_flushed(0, 1);
    fixture_sound(&fx.kernel);
}

TEST(a_large_page_is_one_flush_and_its_table_none_of_its_own)
{
    fixture_start(4, true, CPUS);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, GIB + M2, MM_PROT_RW));
    fake_counts_clear();
    CHECK_OK(unmap(&fx.kernel, HIGH, GIB)); /* the table of 1 GiB leaves stays */
    everybody_flushed(1, 0);
    fake_counts_clear();
    CHECK_OK(unmap(&fx.kernel, HIGH + GIB, M2)); /* three tables go with it */
    everybody_flushed(1, 0);
    fixture_sound(&fx.kernel);
}

TEST(a_gather_of_many_calls_flushes_once)
{
    struct mm_gather gather;

    fixture_start(4, true, CPUS);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, 64 * K4, MM_PROT_RW));
    fake_counts_clear();
    mm_gather_begin(&gather, &fx.kernel);
    for (unsigned i = 0; i < 10; i++)
        CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(HIGH + 2 * i * K4), K4, 0, &gather, NULL));
    nobody_flushed();
    mm_gather_end(&gather);
    everybody_flushed(10, 0);
    fake_counts_clear();
    mm_gather_begin(&gather, &fx.kernel);
    for (unsigned i = 0; i < 44; i++)
        CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(HIGH + (20 + i) * K4), K4, MM_RANGE_HOLES,
                                &gather, NULL));
    mm_gather_end(&gather);
    everybody_flushed(0, 1);
    fixture_sound(&fx.kernel);
}

/* ---- who is asked ---- */

TEST(a_cpu_that_never_ran_the_space_is_not_interrupted)
{
    struct mm_space user = MM_ZERO;

    user_space(&user);
    fixture_activate(2, &user);
    CHECK_OK(map(&user, LOW, DATA, 200 * K4, MM_PROT_RW));
    fake_counts_clear();
    CHECK_OK(unmap(&user, LOW, K4));
    cpu_flushed(0, 0, 0, 0, 0); /* nor does the caller flush, which has not loaded it */
    cpu_flushed(1, 0, 0, 0, 0);
    cpu_flushed(2, 1, 0, 0, 1);
    cpu_flushed(3, 0, 0, 0, 0);
    fake_counts_clear();
    CHECK_OK(unmap(&user, LOW + K4, 199 * K4));
    cpu_flushed(0, 0, 0, 0, 0);
    cpu_flushed(1, 0, 0, 0, 0);
    cpu_flushed(2, 0, 1, 0, 1); /* not the global ones */
    cpu_flushed(3, 0, 0, 0, 0);
    fixture_activate(2, &fx.kernel);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

TEST(the_only_cpu_that_runs_the_space_interrupts_nobody)
{
    struct mm_space user = MM_ZERO;

    user_space(&user);
    fixture_activate(0, &user);
    CHECK_OK(map(&user, LOW, DATA, 2 * K4, MM_PROT_RW));
    fake_counts_clear();
    CHECK_OK(protect(&user, LOW, K4, MM_PROT_READ));
    CHECK_OK(unmap(&user, LOW, 2 * K4));
    cpu_flushed(0, 3, 0, 0, 0);
    for (unsigned cpu = 1; cpu < CPUS; cpu++)
        cpu_flushed(cpu, 0, 0, 0, 0);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    fixture_activate(0, &fx.kernel);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

TEST(a_space_that_no_cpu_runs_is_flushed_nowhere)
{
    struct mm_space user = MM_ZERO;

    user_space(&user);
    CHECK_OK(map(&user, LOW, DATA, 200 * K4, MM_PROT_RW));
    fake_counts_clear();
    CHECK_OK(protect(&user, LOW, 200 * K4, MM_PROT_READ));
    CHECK_OK(unmap(&user, LOW, K4));
    CHECK_OK(unmap(&user, LOW + K4, 199 * K4));
    CHECK_OK(mm_space_destroy(&user));
    nobody_flushed();
    fixture_sound(&fx.kernel);
}

TEST(a_cpu_that_went_to_another_space_is_not_interrupted_any_more)
{
    struct mm_space user = MM_ZERO, other = MM_ZERO;

    user_space(&user);
    CHECK_OK(mm_space_create(&fx.vmm, &other, 0));
    CHECK_OK(map(&user, LOW, DATA, 2 * K4, MM_PROT_RW));
    fixture_activate(1, &user);
    fixture_activate(3, &user);
    fixture_activate(3, &other);
    fake_counts_clear();
    CHECK_OK(unmap(&user, LOW, K4));
    cpu_flushed(0, 0, 0, 0, 0);
    cpu_flushed(1, 1, 0, 0, 1);
    cpu_flushed(2, 0, 0, 0, 0);
    cpu_flushed(3, 0, 0, 0, 0);
    fixture_activate(1, &fx.kernel);
    fixture_activate(3, &fx.kernel);
    CHECK_OK(mm_space_destroy(&user));
    CHECK_OK(mm_space_destroy(&other));
    fixture_sound(&fx.kernel);
}

TEST(a_change_of_the_kernel_space_reaches_cpus_in_user_spaces)
{
    struct mm_space user = MM_ZERO;

    user_space(&user);
    CHECK_OK(map(&fx.kernel, MM_PORT_KERNEL_AREA, DATA, 200 * K4, MM_PROT_RW));
    fixture_activate(1, &user);
    every_cpu_reads(MM_PORT_KERNEL_AREA, DATA);
    fake_counts_clear();
    CHECK_OK(unmap(&fx.kernel, MM_PORT_KERNEL_AREA, K4));
    everybody_flushed(1, 0);
    fake_counts_clear();
    CHECK_OK(unmap(&fx.kernel, MM_PORT_KERNEL_AREA + K4, 199 * K4));
    everybody_flushed(0, 1); /* with the global ones */
    fixture_activate(1, &fx.kernel);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}
