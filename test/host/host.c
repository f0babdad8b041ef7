/*
 * host.c - what a kernel must define (mm/host.h), for unit tests.
 *
 * Problem     A test wants to know what was reported, to survive an expected panic, and to see the
 *             other CPUs answer.
 * Idea        Reports go into a ring; an expected panic jumps back into the test; other CPUs are
 *             served by becoming them for a moment.
 * Invariants  A report that no test looked at, and a panic that none expects, fail the test.
 * Locking     Reports from several host threads may mix; the count does not.
 * Cost        Nothing.
 * Rejected    Forking for each expected panic: slow under sanitizers, and values stay in the child.
 */
#include "host_internal.h"

#include <stdio.h>
#include <string.h>

#include "mm/host.h"

#define REPORTS_KEPT 64u

static struct {
    struct mm_report report[REPORTS_KEPT];
    unsigned count, seen;
    struct mm_report panic;
    char machine[200];
    jmp_buf panic_to, machine_to;
    bool panic_expected, machine_expected, interrupts_before;
    struct mm_test_shootdowns shootdowns;
    bool (*hook)(void *arg, unsigned cpu);
    void *hook_arg;
    unsigned cpus;
} host;

void mm_test_host_reset(void)
{
    memset(&host, 0, sizeof host);
    host.cpus = FAKE_CPUS_MAX;
    fake_set_failure(mm_test_machine_failed);
}

/* ---- reports ---- */

static void show(const char *title, const struct mm_report *report)
{
    char line[300];

    mm_report_format(line, sizeof line, report);
    fprintf(stderr, "%s: %s\n", title, line);
}

void mm_host_report(const struct mm_report *report)
{
    unsigned n = __atomic_fetch_add(&host.count, 1, __ATOMIC_RELAXED);

    host.report[n % REPORTS_KEPT] = *report;
}

unsigned mm_test_report_count(void)
{
    host.seen = host.count;
    return host.count;
}

const struct mm_report *mm_test_report(unsigned back)
{
    if (back >= host.count || back >= REPORTS_KEPT)
        mm_test_failed(__FILE__, __LINE__, "there is no such report");
    host.seen = host.count;
    return &host.report[(host.count - 1 - back) % REPORTS_KEPT];
}

void mm_test_reports_clear(void)
{
    host.count = 0;
    host.seen = 0;
}

bool mm_test_reports_unseen(void)
{
    for (unsigned i = host.seen; i < host.count && i < host.seen + REPORTS_KEPT; i++)
        show("unexpected report", &host.report[i % REPORTS_KEPT]);
    return host.seen != host.count;
}

/* ---- panics ---- */

jmp_buf *mm_test_panic_expect(void)
{
    host.panic_expected = true;
    host.interrupts_before = fake_cpu(fake_cpu_current())->interrupts_on;
    return &host.panic_to;
}

const struct mm_report *mm_test_panic(void)
{
    return &host.panic;
}

void mm_host_panic(const struct mm_report *report)
{
    host.panic = *report;
    if (!host.panic_expected) {
        show("unexpected panic", report);
        mm_test_failed(__FILE__, __LINE__, report->where);
    }
    host.panic_expected = false;
    fake_interrupts(host.interrupts_before);
    longjmp(host.panic_to, 1);
}

jmp_buf *mm_test_machine_expect(void)
{
    host.machine_expected = true;
    host.interrupts_before = fake_cpu(fake_cpu_current())->interrupts_on;
    return &host.machine_to;
}

const char *mm_test_machine(void)
{
    return host.machine;
}

void mm_test_machine_failed(const char *what)
{
    snprintf(host.machine, sizeof host.machine, "%s", what);
    if (!host.machine_expected)
        mm_test_failed("simulated machine", 0, host.machine);
    host.machine_expected = false;
    fake_interrupts(host.interrupts_before);
    longjmp(host.machine_to, 1);
}

/* ---- CPUs ---- */

unsigned mm_host_cpu(void)
{
    return fake_cpu_current();
}

void mm_test_cpus(unsigned count)
{
    host.cpus = count;
}

struct mm_test_shootdowns mm_test_shootdowns(void)
{
    return host.shootdowns;
}

void mm_test_shootdown_hook(bool (*hook)(void *arg, unsigned cpu), void *arg)
{
    host.hook = hook;
    host.hook_arg = arg;
}

struct shootdown {
    void (*serve)(const void *request);
    const void *request;
};

static void shootdown_serve(void *arg)
{
    const struct shootdown *shootdown = arg;

    shootdown->serve(shootdown->request);
}

void mm_host_shootdown(const struct mm_cpuset *cpus, void (*serve)(const void *request),
                       const void *request)
{
    struct shootdown shootdown = {serve, request};

    if (!fake_cpu(fake_cpu_current())->interrupts_on)
        mm_test_failed(__FILE__, __LINE__, "shootdown with interrupts off");
    host.shootdowns.count++;
    host.shootdowns.last = *cpus;
    fake_walkers_run(); /* the interrupt takes its time */
    for (unsigned cpu = 0; cpu < MM_CPUS_MAX; cpu++) {
        if ((cpus->bits[cpu / 64] >> (cpu % 64) & 1) == 0)
            continue;
        if (cpu >= host.cpus)
            mm_test_failed(__FILE__, __LINE__, "shootdown of a CPU that is not there");
        if (host.hook != NULL && !host.hook(host.hook_arg, cpu))
            continue;
        fake_ipi(cpu, shootdown_serve, &shootdown);
        host.shootdowns.served++;
    }
}

enum mm_err mm_host_run_on(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    unsigned self = fake_cpu_current();

    if (cpu >= host.cpus)
        return MM_ERR_HOST;
    fake_cpu_set(cpu);
    fn(arg);
    fake_cpu_set(self);
    return MM_OK;
}
