/*
 * mm/host_single.h - the whole host layer of a kernel that runs one CPU.
 *
 * Include it in exactly one .c file. Optional, before the include (do set MM_HOST_PRINT as soon as
 * you can print, or you will not hear of misuse):
 *   #define MM_HOST_PRINT(line)  print a NUL-terminated line without newline; default: silent
 *   #define MM_HOST_STOP()       stop for good; default: __builtin_trap()
 */
#ifndef MM_HOST_SINGLE_H
#define MM_HOST_SINGLE_H

#include "host.h"

#ifndef MM_HOST_PRINT
#define MM_HOST_PRINT(line) ((void)(line))
#endif

#ifndef MM_HOST_STOP
#define MM_HOST_STOP() __builtin_trap()
#endif

#ifdef __cplusplus
extern "C" {
#endif

void mm_host_report(const struct mm_report *report)
{
    char line[160];

    (void)mm_report_format(line, sizeof line, report);
    MM_HOST_PRINT(line);
}

void mm_host_panic(const struct mm_report *report)
{
    mm_host_report(report);
    for (;;)
        MM_HOST_STOP();
}

/* There is no other CPU: libmm never calls this, and a call would be a fault of libmm. */
void mm_host_shootdown(const struct mm_cpuset *cpus, void (*serve)(const void *request),
                       const void *request)
{
    (void)cpus;
    (void)serve;
    (void)request;
    for (;;)
        MM_HOST_STOP();
}

/* Here the only CPU asks itself, in a drain that waits: for what its own interrupted thread has. */
enum mm_err mm_host_run_on(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    if (cpu != 0)
        return MM_ERR_HOST;
    fn(arg);
    return MM_OK;
}

#ifndef MM_CPU_HEADER
unsigned mm_host_cpu(void)
{
    return 0;
}
#endif

#ifdef __cplusplus
}
#endif

#endif
