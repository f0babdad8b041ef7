/*
 * checked.h - arithmetic that says when it does not fit.
 *
 * Problem     (base, length) pairs come from firmware and callers; an end that wraps is the
 *             commonest fault in range code.
 * Idea        Each operation returns false instead of a wrong number.
 * Invariants  On false the out-parameter is untouched.
 * Locking     None: no state.
 * Cost        One or two instructions more than the plain operation.
 * Rejected    Saturating arithmetic: it hides the error until it looks like a legal range.
 */
#ifndef MM_BASE_CHECKED_H
#define MM_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool mm_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a > UINT64_MAX - b)
        return false;
    *out = a + b;
    return true;
}

static inline bool mm_add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b)
        return false;
    *out = a + b;
    return true;
}

static inline bool mm_mul_size(size_t a, size_t b, size_t *out)
{
    if (b != 0 && a > SIZE_MAX / b)
        return false;
    *out = a * b;
    return true;
}

/* Round up to a multiple of `align`, a power of two. */
static inline bool mm_align_up(uint64_t x, uint64_t align, uint64_t *out)
{
    uint64_t sum;

    if (!mm_add_u64(x, align - 1, &sum))
        return false;
    *out = sum & ~(align - 1);
    return true;
}

/* True if [start, start + bytes) is not empty and does not go past 2^64. Its end may be 2^64,
 * which reads as 0 in a 64-bit sum: use the last byte. */
static inline bool mm_range_ok(uint64_t start, uint64_t bytes)
{
    return bytes != 0 && start <= UINT64_MAX - (bytes - 1);
}

/* The last byte of a range for which mm_range_ok() holds. */
static inline uint64_t mm_range_last(uint64_t start, uint64_t bytes)
{
    return start + (bytes - 1);
}

#endif
