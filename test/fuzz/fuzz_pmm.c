/*
 * fuzz_pmm.c - the input is a machine and operations on its PMM, judged by the model (test/model).
 */
#include <stdio.h>

#include "fake.h"
#include "fuzz.h"
#include "mm/host.h"
#include "model/pmm_ops.h"

#define OPS_MAX 2000u

static unsigned answering;

/* ---- the rest of a host: the simulated CPUs ---- */

unsigned mm_host_cpu(void)
{
    return fake_cpu_current();
}

void mm_host_shootdown(const struct mm_cpuset *cpus, void (*serve)(const void *request),
                       const void *request)
{
    (void)cpus;
    (void)serve;
    (void)request;
    fuzz_failed(__FILE__, __LINE__, "a PMM flushes nothing");
}

enum mm_err mm_host_run_on(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    unsigned self = fake_cpu_current();

    if (cpu >= answering)
        return MM_ERR_HOST;
    fake_cpu_set(cpu);
    fn(arg);
    fake_cpu_set(self);
    return MM_OK;
}

static void cpus_answer(unsigned count)
{
    answering = count;
}

static void failed(const char *file, int line, const char *what)
{
    fuzz_failed(file, line, what);
}

static const struct ops_host host = {
    .report_count = fuzz_report_count,
    .report_last = fuzz_report_last,
    .reports_clear = fuzz_reports_clear,
    .cpus_answer = cpus_answer,
    .failed = failed,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct ops_source source = {.data = data, .bytes = bytes};
    struct ops_result result = {.ops = 0};

    if (bytes == 0 || !pmm_ops_is_small(data[0]))
        return -1; /* seconds, not milliseconds: no input for libFuzzer */
    fuzz_reports_clear();
    fuzz_on_failure(pmm_ops_tell);
    pmm_ops_run(&source, OPS_MAX, &host, &result);
    return 0;
}
