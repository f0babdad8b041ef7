/*
 * test_broadcast.c - machines on which one instruction flushes on all CPUs: no interrupt, nothing stale.
 *
 * Everything once with address-space ids and once without.
 */
#include "vmm_fixture.h"

#include "mm_mmu.h"

#define AREA MM_PORT_KERNEL_AREA
#define CPUS 3u

static struct mm_space user;

/* CPUs 0 and 1 have the user space loaded; CPU 2 had it and left. */
static void start(bool with_ids)
{
    mm_test_row("with ids", with_ids);
    fake_reset();
    for (unsigned i = 0; i < CPUS; i++)
        fake_cpu(i)->has_asid = with_ids;
    fake_broadcasts(true);
    user = (struct mm_space)MM_ZERO;
    fixture_start(4, true, CPUS);
    CHECK_OK(map(&fx.kernel, AREA, DATA, 200 * K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, 2 * LOW, DATA, 2 * K4, MM_PROT_RW));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(map(&user, LOW, DATA, 200 * K4, MM_PROT_RW));
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        fake_cpu_set(cpu);
        CHECK_EQ(fake_read64(mm_virt(2 * LOW)).fault, FAKE_OK);
        CHECK_OK(mm_space_activate(&user));
        for (unsigned i = 0; i < 200; i += 5) {
            CHECK_EQ(fake_read64(mm_virt(LOW + i * K4)).fault, FAKE_OK);
            CHECK_EQ(fake_read64(mm_virt(AREA + i * K4)).fault, FAKE_OK);
        }
    }
    CHECK_OK(mm_space_activate(&fx.kernel));
    fake_cpu_set(0);
    fake_counts_clear();
}

static void finish(void)
{
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_EQ(fake_counts().ipis, 0);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) { /* nor in what comes back */
        fixture_activate(cpu, &fx.kernel);
        CHECK_EQ(fake_stale_entries(), 0);
        fixture_activate(cpu, &user);
        CHECK_EQ(fake_stale_entries(), 0);
        fixture_activate(cpu, &fx.kernel);
    }
    CHECK_OK(mm_space_destroy(&user));
    CHECK_EQ(fake_counts().ipis, 0);
    fixture_sound(&fx.kernel);
}

/* Pages of a user space, then so many that all is flushed. */
TEST(a_user_space_is_flushed_on_all_cpus_without_an_interrupt)
{
    for (unsigned i = 0; i < 2; i++) {
        start(i == 1);
        CHECK_OK(unmap(&user, LOW, 6 * K4));
        CHECK_EQ(fake_counts().broadcasts, 1);
        CHECK_OK(protect(&user, LOW + 10 * K4, K4, MM_PROT_READ));
        CHECK_EQ(fake_counts().broadcasts, 2);
        CHECK_OK(unmap(&user, LOW + 20 * K4, 100 * K4));
        CHECK_EQ(fake_counts().broadcasts, 3);
        CHECK_OK(unmap(&user, LOW + 6 * K4, 14 * K4));
        CHECK_OK(unmap(&user, LOW + 120 * K4, 80 * K4)); /* and the tables */
        finish();
    }
}

TEST(the_kernel_space_is_flushed_on_all_cpus_without_an_interrupt)
{
    for (unsigned i = 0; i < 2; i++) {
        start(i == 1);
        CHECK_OK(unmap(&fx.kernel, AREA, 6 * K4));
        CHECK_EQ(fake_counts().broadcasts, 1);
        CHECK_OK(unmap(&fx.kernel, AREA + 10 * K4, 100 * K4));
        CHECK_EQ(fake_counts().broadcasts, 2);
        CHECK_OK(unmap(&fx.kernel, 2 * LOW, K4)); /* of the lower half */
        CHECK_OK(unmap(&fx.kernel, 2 * LOW + K4, K4));
        finish();
    }
}

TEST(a_deferred_gather_and_a_space_for_later_end_in_a_broadcast)
{
    for (unsigned i = 0; i < 2; i++) {
        struct mm_gather gather;

        start(i == 1);
        mm_gather_begin(&gather, &user);
        mm_gather_defer(&gather);
        CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), 5 * K4, 0, &gather, NULL));
        mm_gather_end(&gather);
        CHECK_EQ(fake_counts().broadcasts, 0);
        CHECK_EQ(mm_reap(&fx.vmm), 1);
        CHECK_EQ(fake_counts().broadcasts, 1);
        finish();
    }
}

/* Whom nobody else has loaded, nobody else is flushed for. */
TEST(what_one_cpu_has_to_itself_is_not_broadcast)
{
    for (unsigned i = 0; i < 2; i++) {
        start(i == 1);
        fixture_activate(1, &fx.kernel);
        CHECK_OK(unmap(&user, LOW, K4));
        CHECK_EQ(fake_cpu_counts(0).flush_page, 1);
        fixture_activate(0, &fx.kernel);
        CHECK_OK(unmap(&user, LOW + K4, K4));
        CHECK_EQ(fake_counts().broadcasts, 0);
        finish();
    }
}

/* A CPU that a broadcast has reached has missed nothing. Where there are ids it cannot tell. */
TEST(a_page_is_flushed_singly_after_a_broadcast_of_another_cpu)
{
    start(false);
    CHECK_OK(unmap(&fx.kernel, AREA, K4));
    fake_cpu_set(1);
    CHECK_OK(unmap(&fx.kernel, AREA + K4, K4));
    CHECK_EQ(fake_cpu_counts(1).flush_page, 1);
    CHECK_EQ(fake_cpu_counts(1).flush_all, 0);
    fake_cpu_set(0);
    finish();
}

/* A machine that refuses in the middle: the host asks. */
TEST(where_the_broadcast_is_refused_the_others_are_asked)
{
    for (unsigned i = 0; i < 2; i++) {
        start(i == 1);
        CHECK_OK(unmap(&user, LOW, K4));
        CHECK_OK(unmap(&fx.kernel, AREA, K4));
        fake_broadcasts(false);
        CHECK_OK(unmap(&user, LOW + 5 * K4, K4));
        CHECK_EQ(fake_cpu_counts(1).ipis, 1);
        CHECK_EQ(fake_cpu_counts(2).ipis, 0);
        CHECK_OK(unmap(&fx.kernel, AREA + 5 * K4, K4));
        CHECK_EQ(fake_cpu_counts(1).ipis, 2);
        CHECK_EQ(fake_cpu_counts(2).ipis, 1);
        fake_broadcasts(true);
        CHECK_OK(unmap(&user, LOW + 10 * K4, K4));
        CHECK_EQ(fake_stale_entries(), 0);
        for (unsigned cpu = 0; cpu < CPUS; cpu++)
            fixture_activate(cpu, &fx.kernel);
        CHECK_OK(mm_space_destroy(&user));
        fixture_sound(&fx.kernel);
    }
}

/* Both kinds of pages, on CPUs that come and go. */
TEST(nothing_is_stale_whatever_is_broadcast)
{
    for (unsigned i = 0; i < 2; i++) {
        start(i == 1);
        for (unsigned n = 0; n < 1500; n++) {
            unsigned cpu = (unsigned)mm_test_below(CPUS);
            bool kernel = mm_test_below(2) == 0;
            struct mm_space *space = kernel ? &fx.kernel : &user;
            uint64_t virt = (kernel ? AREA : LOW) + mm_test_below(200) * K4;

            fake_cpu_set(cpu);
            if (mm_test_below(4) == 0)
                CHECK_OK(mm_space_activate(mm_test_below(2) == 0 ? &user : &fx.kernel));
            (void)fake_read64(mm_virt(virt));
            if (mm_test_below(2) == 0 && unmap(space, virt, K4) != MM_OK)
                CHECK_OK(map(space, virt, DATA + n * K4, K4, MM_PROT_RW));
            CHECK_EQ(fake_stale_entries(), 0);
        }
        fake_cpu_set(0);
        CHECK(fake_counts().broadcasts > 50);
        finish();
    }
}
