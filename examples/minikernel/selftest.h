/*
 * selftest.h - tests that run inside the kernel.
 *
 *     SELFTEST(frame_is_taken_once)
 *     {
 *         CHECK(take() == 0);
 *     }
 */
#ifndef SELFTEST_H
#define SELFTEST_H

#include <stdbool.h>

struct selftest {
    const char *name;
    void (*run)(void);
    bool own_root; /* true only of page tables that libmm built */
};

/* The linker gathers the entries of all files, in link order; SELFTEST_LAST comes after all. The
 * alignment is stated because a compiler may raise it, which would leave gaps in the array. */
#define SELFTEST(name)          SELFTEST_IN(name, ".selftest", false)
#define SELFTEST_OWN_ROOT(name) SELFTEST_IN(name, ".selftest", true)
#define SELFTEST_LAST(name)     SELFTEST_IN(name, ".selftest.last", false)

#define SELFTEST_IN(test, where, own_root)                                           \
    static void test(void);                                                          \
    static const struct selftest test##_entry                                        \
        __attribute__((used, section(where), aligned(8))) = {#test, test, own_root}; \
    static void test(void)

/* Fails the test and leaves it at once, from whatever depth; the text of the condition is printed. */
#define CHECK(condition)                                   \
    do {                                                   \
        if (!(condition))                                  \
            selftest_fail(__FILE__, __LINE__, #condition); \
    } while (0)

/* The same for equal numbers; prints both. */
#define CHECK_EQUAL(left, right)                                                         \
    do {                                                                                 \
        unsigned long long left_ = (unsigned long long)(left);                           \
        unsigned long long right_ = (unsigned long long)(right);                         \
        if (left_ != right_)                                                             \
            selftest_fail_equal(__FILE__, __LINE__, #left " == " #right, left_, right_); \
    } while (0)

_Noreturn void selftest_fail(const char *file, int line, const char *condition);
_Noreturn void selftest_fail_equal(const char *file, int line, const char *condition,
                                   unsigned long long left, unsigned long long right);

/* Runs all: a line each ("ok NAME" or "FAIL NAME file:line condition"), at the end "N of N passed".
 * Without `own_root` the tests of libmm's own page tables are left out ("skip NAME") and not
 * counted. Returns whether all passed; never when there is none. */
bool selftest_run_all(bool own_root);

#endif
