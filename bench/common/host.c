/*
 * host.c - the hooks of libmm, for a process whose threads stand for CPUs.
 *
 * Problem     Three builds of libmm are measured in one process; one of them takes the CPU's index
 *             from a function (mm_host_cpu() of a prebuilt archive), the others inline it.
 * Idea        The index is one thread-local word. The function is in this file and so in another
 *             object than its callers.
 * Invariants  No measured call reports or panics: either ends the program.
 * Locking     None.
 * Cost        -
 * Rejected    Returning from a report: a benchmark of refused calls would look fast.
 */
#include "host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mm/host.h"

_Thread_local unsigned bench_cpu __attribute__((tls_model("initial-exec")));

void host_cpu_set(unsigned cpu)
{
    bench_cpu = cpu;
}

void die(const char *format, ...)
{
    va_list list;

    fflush(stdout);
    fputs("bench: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(1);
}

unsigned mm_host_cpu(void)
{
    return bench_cpu;
}

void mm_host_report(const struct mm_report *report)
{
    die("libmm reports: %s: 0x%llx in %s", report->what, (unsigned long long)report->address,
        report->where);
}

void mm_host_panic(const struct mm_report *report)
{
    die("libmm panics: %s: 0x%llx in %s", report->what, (unsigned long long)report->address,
        report->where);
}

enum mm_err mm_host_run_on(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    (void)cpu, (void)fn, (void)arg;
    return MM_ERR_HOST; /* a thread cannot be interrupted from here */
}
