/*
 * test_host.c - the hooks of the tests themselves: other CPUs, reports, random numbers.
 *
 * Problem     A shootdown that serves nobody, or a report that is lost, lets faults pass.
 * Idea        What test/host promises, checked like any other contract.
 * Invariants  None.
 * Locking     None.
 * Cost        Nothing.
 * Rejected    Programs that must fail: cmocka's own tests have them.
 */
#include "mm/host.h"

#include "hand_tables.h"
#include "mm_cpu.h"

struct served {
    unsigned count;
    struct mm_cpuset cpus;
    bool interrupts_seen;
};

static struct served served;

static void serve(const void *request)
{
    unsigned cpu = mm_host_cpu();

    CHECK(request == &served);
    served.count++;
    served.cpus.bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
    served.interrupts_seen |= mm_cpu_interrupts_on();
}

TEST(host_shootdown_serves_each_named_cpu_once_with_interrupts_off)
{
    struct mm_cpuset cpus = {{UINT64_C(0x800000000000000d)}}; /* 0, 2, 3, 63 */

    served = (struct served){0};
    fake_cpu_set(2);
    mm_host_shootdown(&cpus, serve, &served);
    CHECK(served.count == 4 && served.cpus.bits[0] == cpus.bits[0]);
    CHECK(!served.interrupts_seen && mm_cpu_interrupts_on());
    CHECK_EQ(fake_cpu_current(), 2);
    CHECK(mm_test_shootdowns().count == 1 && mm_test_shootdowns().served == 4);
    CHECK_EQ(mm_test_shootdowns().last.bits[0], cpus.bits[0]);
}

static bool lose(void *arg, unsigned cpu)
{
    return cpu != *(unsigned *)arg;
}

TEST(host_shootdown_can_be_lost_on_one_cpu)
{
    struct mm_cpuset cpus = {{6}};
    unsigned lost = 1;

    served = (struct served){0};
    mm_test_shootdown_hook(lose, &lost);
    mm_host_shootdown(&cpus, serve, &served);
    CHECK(served.count == 1 && served.cpus.bits[0] == 4);
}

static void where(void *arg)
{
    *(unsigned *)arg = mm_host_cpu();
}

TEST(host_run_on_runs_there_and_comes_back)
{
    unsigned cpu = 99;

    CHECK_OK(mm_host_run_on(5, where, &cpu));
    CHECK(cpu == 5 && mm_host_cpu() == 0);
    mm_test_cpus(5);
    CHECK_ERR(mm_host_run_on(5, where, &cpu), MM_ERR_HOST);
}

TEST(host_reports_are_kept_in_order)
{
    for (unsigned i = 1; i <= 100; i++)
        mm_host_report(&(struct mm_report){.kind = MM_REPORT_LEAK, .address = i});
    CHECK_EQ(mm_test_report_count(), 100);
    for (unsigned back = 0; back < 64; back++)
        CHECK_EQ(mm_test_report(back)->address, 100 - back);
}

TEST(host_panic_restores_interrupts_and_tells_the_report)
{
    struct mm_report report = {.kind = MM_REPORT_INVARIANT, .what = "w", .where = "f"};

    CHECK_PANICS(((void)mm_cpu_guard(), mm_host_panic(&report)));
    CHECK(mm_cpu_interrupts_on());
    CHECK_TEXT(mm_test_panic()->what, "w");
}

static uint64_t first_number;

TEST(host_random_numbers_depend_on_the_seed_alone)
{
    first_number = mm_test_random();
    CHECK(mm_test_random() != first_number);
    CHECK(mm_test_below(1) == 0 && mm_test_below(10) < 10);
}

TEST(host_random_numbers_begin_anew_in_each_test)
{
    CHECK_EQ(mm_test_random(), first_number);
}
