/*
 * main.c - runs the tests that registered themselves.
 *
 * Problem     Lists of tests beside the tests are forgotten, and a test that is in no list passes.
 * Idea        Constructors fill the list; each test gets a new machine and is looked at afterwards.
 * Invariants  A program without tests fails.
 * Locking     None.
 * Cost        Nothing.
 * Rejected    A macro per group that names each test again.
 */
#include "host_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TESTS_MAX 512u

static struct CMUnitTest test[TESTS_MAX];
static size_t test_count;
static uint64_t seed, random_state;
static const char *row_what;
static uint64_t row_number;

static int begin(void **state)
{
    (void)state;
    random_state = seed;
    row_what = NULL;
    fake_reset();
    for (unsigned cpu = 0; cpu < FAKE_CPUS_MAX; cpu++)
        fake_cpu(cpu)->has_asid = getenv("MM_TEST_ASIDS") != NULL;
    mm_test_host_reset();
    return 0;
}

static int end(void **state)
{
    int bad = mm_test_reports_unseen() ? 1 : 0;

    (void)state;
    for (unsigned cpu = 0; cpu < FAKE_CPUS_MAX; cpu++) {
        if (fake_cpu(cpu)->interrupts_on)
            continue;
        fprintf(stderr, "interrupts are off on CPU %u at the end of the test\n", cpu);
        bad = 1;
    }
    return bad;
}

void mm_test_register(const char *name, void (*run)(void **state))
{
    if (test_count == TESTS_MAX)
        abort();
    test[test_count++] = (struct CMUnitTest){name, run, begin, end, NULL};
}

/* ---- checks ---- */

void mm_test_row(const char *what, uint64_t row)
{
    row_what = what;
    row_number = row;
}

_Noreturn void mm_test_failed(const char *file, int line, const char *what)
{
    if (row_what != NULL)
        print_error("%s %llu (%#llx): ", row_what, (unsigned long long)row_number,
                    (unsigned long long)row_number);
    print_error("%s\n", what);
    _fail(file, line);
    abort();
}

void mm_test_equal(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    if (a == b)
        return;
    print_error("%#llx != %#llx\n", (unsigned long long)a, (unsigned long long)b);
    mm_test_failed(file, line, what);
}

void mm_test_ok(const char *file, int line, const char *what, enum mm_err err)
{
    mm_test_err(file, line, what, err, MM_OK);
}

void mm_test_err(const char *file, int line, const char *what, enum mm_err err,
                 enum mm_err expected)
{
    if (err == expected)
        return;
    print_error("%s, not %s\n", mm_err_name(err), mm_err_name(expected));
    mm_test_failed(file, line, what);
}

void mm_test_text(const char *file, int line, const char *what, const char *a, const char *b)
{
    if (strcmp(a, b) == 0)
        return;
    print_error("\"%s\"\n\"%s\"\n", a, b);
    mm_test_failed(file, line, what);
}

/* ---- random numbers: splitmix64, whose every seed is good ---- */

uint64_t mm_test_seed(void)
{
    return seed;
}

uint64_t mm_test_random(void)
{
    uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t mm_test_below(uint64_t bound)
{
    return mm_test_random() % bound;
}

int main(int argc, char **argv)
{
    const char *text = getenv("MM_SEED");
    const char *filter = argc > 1 ? argv[1] : getenv("MM_TEST");

    seed = text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 1000003u;
    printf("MM_SEED=%#llx\n", (unsigned long long)seed);
    if (test_count == 0)
        return 1;
    if (filter != NULL)
        cmocka_set_test_filter(filter);
    return _cmocka_run_group_tests(argv[0], test, test_count, NULL, NULL) == 0 ? 0 : 1;
}
