/*
 * host.c - what libmm asks of this kernel.
 *
 * Problem     libmm finds misuse and damage but has no console and no policy; mm/host.h names five
 *             functions that the kernel supplies.
 * Idea        Print reports and go on, stop on a broken invariant. A test that provokes a report
 *             says so first, and afterwards asks what came.
 * Invariants  I1 a report outside begin/end is printed and counted; the last self-test looks
 *             I2 one CPU: libmm never asks for a shootdown
 * Locking     None: one CPU; an interrupt may report in the middle of a line.
 * Cost        A line on the console.
 * Rejected    mm/host_single.h, which does all this in one line, but keeps no record for tests.
 */
#include "host.h"

#include <stdbool.h>
#include <stddef.h>

#include <mm/host.h>

#include "power.h"
#include "print.h"

#define FAULTS_PRINTED 100u

static bool expected;
static unsigned count;
static unsigned unexpected;
static struct mm_report last;

static void print_report(const char *prefix, const struct mm_report *report)
{
    char line[200];

    (void)mm_report_format(line, sizeof(line), report);
    kprintf("%s%s\n", prefix, line);
}

void mm_host_report(const struct mm_report *report)
{
    count++;
    last = *report;
    if (expected)
        return;
    print_report("libmm: ", report);
    if (report->kind != MM_REPORT_FIRMWARE)
        unexpected++;
}

void mm_host_panic(const struct mm_report *report)
{
    print_report("libmm: ", report);
    panic("libmm found a broken invariant");
}

void mm_host_shootdown(const struct mm_cpuset *cpus, void (*serve)(const void *request),
                       const void *request)
{
    (void)cpus;
    (void)serve;
    (void)request;
    panic("libmm asked for a shootdown on a machine with one CPU");
}

enum mm_err mm_host_run_on(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    if (cpu != 0)
        return MM_ERR_HOST;
    fn(arg);
    return MM_OK;
}

unsigned mm_host_cpu(void)
{
    return 0;
}

void reports_begin(void)
{
    expected = true;
    count = 0;
    last = (struct mm_report){0};
}

unsigned reports_end(struct mm_report *out)
{
    expected = false;
    if (out)
        *out = last;
    return count;
}

unsigned reports_unexpected(void)
{
    return unexpected;
}

/* What is damaged is often damaged thousands of times, and the console is slow. */
static void print_fault(void *context, const struct mm_report *report)
{
    static unsigned printed;

    (void)context;
    if (printed < FAULTS_PRINTED)
        print_report("check: ", report);
    else if (printed == FAULTS_PRINTED)
        kprintf("check: further faults are counted, not printed\n");
    printed++;
}

const struct mm_check_sink fault_printer = {print_fault, NULL};
