/*
 * selftest.c - tests that run inside the kernel.
 *
 * Problem     The library's behaviour on a real MMU with real interrupts can only be seen from
 *             inside a kernel, and the verdict must reach the outside reliably.
 * Idea        The linker gathers {name, function}; each runs inside call_guarded(), which a failed
 *             check leaves from any depth. The number of tests is fixed at link time, so a run
 *             that stops early cannot print a passing last line.
 * Invariants  Checks are made by test code only, never inside a call of the library: leaving a
 *             test abandons no lock.
 * Locking     None: one CPU; interrupt handlers make no checks.
 * Cost        16 bytes per test.
 * Rejected    Going on after a failed check: what follows is noise.
 */
#include "selftest.h"

#include <stddef.h>
#include <stdint.h>

#include "cpu.h"
#include "print.h"
#include "timer.h"

extern const struct selftest selftests_start[], selftests_end[];
bool call_guarded(void (*fn)(void), uint64_t *saved_rsp);
_Noreturn void call_abandon(uint64_t saved_rsp);

static uint64_t saved_rsp;
static const char *running;

static const char *base_name(const char *path)
{
    const char *base = path;

    for (; *path; path++) {
        if (*path == '/')
            base = path + 1;
    }
    return base;
}

void selftest_fail(const char *file, int line, const char *condition)
{
    kprintf("FAIL %s %s:%d %s\n", running, base_name(file), line, condition);
    call_abandon(saved_rsp);
}

void selftest_fail_equal(const char *file, int line, const char *condition, unsigned long long left,
                         unsigned long long right)
{
    kprintf("FAIL %s %s:%d %s (0x%llx, 0x%llx)\n", running, base_name(file), line, condition, left,
            right);
    call_abandon(saved_rsp);
}

static bool run_one(const struct selftest *test)
{
    bool passed;

    running = test->name;
    passed = call_guarded(test->run, &saved_rsp);
    timer_set_hook(NULL); /* a test that was left early has not taken its hook away */
    interrupts_on();
    if (passed)
        kprintf("ok %s\n", test->name);
    return passed;
}

bool selftest_run_all(bool own_root)
{
    size_t total = 0;
    size_t passed = 0;

    for (const struct selftest *test = selftests_start; test < selftests_end; test++) {
        if (test->own_root && !own_root) {
            kprintf("skip %s\n", test->name);
            continue;
        }
        total++;
        passed += run_one(test);
    }
    kprintf("%zu of %zu passed\n", passed, total);
    return total > 0 && passed == total;
}
