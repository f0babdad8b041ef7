/*
 * assert.h - checks of libmm's own invariants.
 *
 * Problem     When an invariant does not hold, going on destroys data; a kernel wants the values.
 * Idea        MM_ASSERT is in every build and ends in the host's panic hook with two values;
 *             MM_ASSERT_DEBUG, for checks that cost, is in the debug build only. Misuse by callers
 *             is never asserted: it is refused and reported (report.h).
 * Invariants  mm_assert_failed() does not return: if the host's hook does, it traps.
 * Locking     None; locks may be held.
 * Cost        A compare and a branch that is not taken.
 * Rejected    An assertion that is compiled out in release builds: the check is what makes the
 *             guarantee.
 */
#ifndef MM_BASE_ASSERT_H
#define MM_BASE_ASSERT_H

#include <stdint.h>

#include "mm/config.h"

_Noreturn void mm_assert_failed(const char *what, const char *where, uint64_t a, uint64_t b);

#define MM_STRING_(x) #x
#define MM_STRING(x)  MM_STRING_(x)
#define MM_HERE       __FILE__ ":" MM_STRING(__LINE__)

/* `a` and `b` are shown in the panic report. */
#define MM_ASSERT2(condition, a, b) \
    ((condition) ? (void)0 : mm_assert_failed(#condition, MM_HERE, (uint64_t)(a), (uint64_t)(b)))
#define MM_ASSERT(condition) MM_ASSERT2(condition, 0, 0)

#if MM_LEVEL >= MM_LEVEL_DEBUG
#define MM_ASSERT_DEBUG(condition) MM_ASSERT(condition)
#else
#define MM_ASSERT_DEBUG(condition) ((void)sizeof(!(condition)))
#endif

#endif
