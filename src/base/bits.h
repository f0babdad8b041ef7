/*
 * bits.h - powers of two, alignment, bit scans.
 *
 * Problem     Alignment and bit tricks are where range arithmetic goes wrong, and some builtins
 *             call into libgcc, which a kernel does not link.
 * Idea        One small header of pure functions, each total on its domain and testable alone.
 * Invariants  Nothing here wraps silently: rounding up that would wrap is in checked.h.
 * Locking     None: no state.
 * Cost        A few instructions each; popcount about 12 (no POPCNT instruction is assumed).
 * Rejected    __builtin_popcountll: without -mpopcnt gcc calls __popcountdi2.
 */
#ifndef MM_BASE_BITS_H
#define MM_BASE_BITS_H

#include <stdbool.h>
#include <stdint.h>

static inline bool mm_is_power_of_two(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* `align` is a power of two in the four below. */
static inline uint64_t mm_align_down(uint64_t x, uint64_t align)
{
    return x & ~(align - 1);
}

static inline bool mm_is_aligned(uint64_t x, uint64_t align)
{
    return (x & (align - 1)) == 0;
}

static inline uint64_t mm_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t mm_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Number of the lowest set bit; x != 0. */
static inline unsigned mm_lowest_bit(uint64_t x)
{
    return (unsigned)__builtin_ctzll(x);
}

/* Number of the highest set bit; x != 0. */
static inline unsigned mm_highest_bit(uint64_t x)
{
    return 63u - (unsigned)__builtin_clzll(x);
}

/* Set bits of x: pairs, nibbles, bytes, then the sum of bytes by one multiplication. */
static inline unsigned mm_count_bits(uint64_t x)
{
    x -= (x >> 1) & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + ((x >> 2) & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)((x * UINT64_C(0x0101010101010101)) >> 56);
}

/* Bits [first, first + count) set; first + count <= 64. */
static inline uint64_t mm_bit_mask(unsigned first, unsigned count)
{
    uint64_t ones = count >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1;

    return first >= 64 ? 0 : ones << first;
}

#endif
