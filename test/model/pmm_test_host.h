/*
 * pmm_test_host.h - the interpreter under the host of the unit tests: whatever ends a run, the last
 * operations are told first.
 */
#ifndef TEST_MODEL_PMM_TEST_HOST_H
#define TEST_MODEL_PMM_TEST_HOST_H

#include <stdio.h>

#include "mm_test.h"
#include "pmm_ops.h"

/* Of the sanitizers' runtime, if there is one. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static inline const struct mm_report *test_report_last(void)
{
    return mm_test_report(0);
}

static inline void test_failed(const char *file, int line, const char *what)
{
    mm_test_failed(file, line, what);
}

static const struct ops_host test_host = {
    .report_count = mm_test_report_count,
    .report_last = test_report_last,
    .reports_clear = mm_test_reports_clear,
    .cpus_answer = mm_test_cpus,
    .failed = test_failed,
};

/* `told` is called before the last operations are: where in the test this was. */
static inline void test_ops_run(struct ops_source *source, uint64_t ops_max,
                                const struct ops_host *host, struct ops_result *result,
                                void (*told)(void))
{
    char line[300];

    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(pmm_ops_tell);
    if (setjmp(*mm_test_panic_expect()) != 0) {
        told();
        pmm_ops_tell();
        (void)mm_report_format(line, sizeof line, mm_test_panic());
        mm_test_failed(__FILE__, __LINE__, line);
    }
    if (setjmp(*mm_test_machine_expect()) != 0) {
        told();
        pmm_ops_tell();
        mm_test_failed(__FILE__, __LINE__, mm_test_machine());
    }
    pmm_ops_run(source, ops_max, host, result);
}

#endif
