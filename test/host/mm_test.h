/*
 * mm_test.h - how unit tests are written. One program per test/<module>/test_<file>.c:
 *
 *     #include "mm_test.h"
 *     TEST(pmm_free_twice_is_refused)
 *     {
 *         CHECK(...);
 *     }
 *
 * Tests register themselves and run in the order of the file; main() is in test/host. Each starts
 * with a new simulated machine (fake.h), no reports, CPU 0, interrupts on, and the same seed. It
 * fails, besides by CHECK, when it leaves reports that nobody looked at or interrupts off.
 *
 * The program's argument, or MM_TEST, chooses tests by pattern ("*twice*"); MM_SEED repeats a run.
 * With MM_TEST_ASIDS=1 the simulated CPUs have address-space ids, if the test does not say otherwise.
 */
#ifndef MM_TEST_H
#define MM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* words that tests want for themselves; CHECK is the way */
#undef skip

#include "fake.h"
#include "mm/report.h"
#include "mm/types.h"

void mm_test_register(const char *name, void (*run)(void **state));

#define TEST(name)                                                 \
    static void name(void **state_);                               \
    __attribute__((constructor)) static void name##_register(void) \
    {                                                              \
        mm_test_register(#name, name);                             \
    }                                                              \
    static void name(__attribute__((unused)) void **state_)

/* Hard stops that show the expression, and the values. */
#define CHECK(condition) \
    ((condition) ? (void)0 : mm_test_failed(__FILE__, __LINE__, "CHECK(" #condition ")"))
#define CHECK_EQ(a, b) /* a first */                                                       \
    do {                                                                                   \
        uint64_t check_a_ = (uint64_t)(a);                                                 \
        uint64_t check_b_ = (uint64_t)(b);                                                 \
                                                                                           \
        mm_test_equal(__FILE__, __LINE__, "CHECK_EQ(" #a ", " #b ")", check_a_, check_b_); \
    } while (0)
#define CHECK_OK(call) mm_test_ok(__FILE__, __LINE__, "CHECK_OK(" #call ")", (call))
#define CHECK_ERR(call, err) \
    mm_test_err(__FILE__, __LINE__, "CHECK_ERR(" #call ", " #err ")", (call), (err))
#define CHECK_TEXT(a, b) mm_test_text(__FILE__, __LINE__, "CHECK_TEXT(" #a ", " #b ")", (a), (b))

/* In loops over a table: `row` is shown when a check after it fails. */
void mm_test_row(const char *what, uint64_t row);

_Noreturn void mm_test_failed(const char *file, int line, const char *what);
void mm_test_equal(const char *file, int line, const char *what, uint64_t a, uint64_t b);
void mm_test_ok(const char *file, int line, const char *what, enum mm_err err);
void mm_test_err(const char *file, int line, const char *what, enum mm_err err,
                 enum mm_err expected);
void mm_test_text(const char *file, int line, const char *what, const char *a, const char *b);

/* ---- random numbers ---- */

/* The seed that the program printed. */
uint64_t mm_test_seed(void);

/* The next 64 bits of the test's own sequence; a number below `bound` (> 0). */
uint64_t mm_test_random(void);
uint64_t mm_test_below(uint64_t bound);

/* ---- reports and panics: what mm_host_report() and mm_host_panic() were told ---- */

/* Since the test began or the last clear. The last 64 are kept. Asking counts as having looked. */
unsigned mm_test_report_count(void);

/* The report before the last `back` ones: 0 = the last. Fails the test if there is none. */
const struct mm_report *mm_test_report(unsigned back);
void mm_test_reports_clear(void);

/* `statement` must panic; the report is mm_test_panic() then. Interrupts are on again as they
 * were before it; the object that panicked is lost (its lock is held). */
#define CHECK_PANICS(statement)                                                 \
    do {                                                                        \
        if (setjmp(*mm_test_panic_expect()) == 0) {                             \
            statement;                                                          \
            mm_test_failed(__FILE__, __LINE__, "CHECK_PANICS(" #statement ")"); \
        }                                                                       \
    } while (0)
jmp_buf *mm_test_panic_expect(void);
const struct mm_report *mm_test_panic(void);

/* The simulated machine must fail (fake_set_failure()); the message is mm_test_machine(). */
#define CHECK_MACHINE_FAILS(statement)                                                 \
    do {                                                                               \
        if (setjmp(*mm_test_machine_expect()) == 0) {                                  \
            statement;                                                                 \
            mm_test_failed(__FILE__, __LINE__, "CHECK_MACHINE_FAILS(" #statement ")"); \
        }                                                                              \
    } while (0)
jmp_buf *mm_test_machine_expect(void);
const char *mm_test_machine(void);

/* ---- other CPUs ---- */

/* mm_host_shootdown() runs `serve` on each CPU of the set, as an interrupt there. It fails the test
 * if the caller has interrupts off, or the set names a CPU that this says is not there. */
struct mm_test_shootdowns {
    unsigned count;        /* calls */
    unsigned served;       /* CPUs served in all calls */
    struct mm_cpuset last; /* the set of the last call */
};
struct mm_test_shootdowns mm_test_shootdowns(void);

/* Called before each CPU is served; false = the interrupt is lost there. NULL removes it. */
void mm_test_shootdown_hook(bool (*hook)(void *arg, unsigned cpu), void *arg);

/* Let mm_host_run_on(cpu, ...) answer MM_ERR_HOST for this CPU and all above. */
void mm_test_cpus(unsigned count);

#endif
