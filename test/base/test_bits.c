/*
 * test_bits.c - tests of bits.h.
 *
 * Problem     Bit tricks are right for the numbers one thinks of.
 * Idea        Every bit position, and random numbers, against loops that anyone can read.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    A list of examples: the ends of the range are what is wrong.
 */
#include "base/bits.h"

#include "mm_test.h"

static unsigned count_slowly(uint64_t x)
{
    unsigned count = 0;

    for (unsigned i = 0; i < 64; i++)
        count += (unsigned)(x >> i & 1);
    return count;
}

TEST(bits_power_of_two_is_one_bit)
{
    CHECK(!mm_is_power_of_two(0) && !mm_is_power_of_two(UINT64_MAX));
    for (unsigned i = 0; i < 64; i++) {
        mm_test_row("bit", i);
        CHECK(mm_is_power_of_two(UINT64_C(1) << i));
        for (unsigned j = 0; j < i; j++)
            CHECK(!mm_is_power_of_two(UINT64_C(1) << i | UINT64_C(1) << j));
    }
}

TEST(bits_align_down_keeps_multiples_and_lowers_the_rest)
{
    static const uint64_t x[] = {0, 1, 0xfff, 0x1000, 0x1001, UINT64_MAX - 1, UINT64_MAX};

    for (unsigned i = 0; i < 64; i++)
        for (unsigned j = 0; j < sizeof x / sizeof x[0]; j++) {
            uint64_t align = UINT64_C(1) << i;

            mm_test_row("align", align);
            CHECK_EQ(mm_align_down(x[j], align), x[j] - x[j] % align);
            CHECK_EQ(mm_is_aligned(x[j], align), x[j] % align == 0);
            CHECK(mm_is_aligned(mm_align_down(x[j], align), align));
        }
}

TEST(bits_min_and_max_order_unsigned_numbers)
{
    CHECK(mm_min_u64(1, UINT64_MAX) == 1 && mm_min_u64(UINT64_MAX, 1) == 1);
    CHECK(mm_max_u64(1, UINT64_MAX) == UINT64_MAX && mm_max_u64(UINT64_MAX, 1) == UINT64_MAX);
    CHECK(mm_min_u64(5, 5) == 5 && mm_max_u64(5, 5) == 5);
}

TEST(bits_lowest_and_highest_are_found_among_others)
{
    for (unsigned low = 0; low < 64; low++)
        for (unsigned high = low; high < 64; high++) {
            uint64_t ends = UINT64_C(1) << low | UINT64_C(1) << high;
            uint64_t inside =
                ends | (mm_test_random() & (UINT64_MAX >> (63 - high)) & (UINT64_MAX << low));

            CHECK_EQ(mm_lowest_bit(ends), low);
            CHECK_EQ(mm_highest_bit(ends), high);
            CHECK_EQ(mm_lowest_bit(inside), low);
            CHECK_EQ(mm_highest_bit(inside), high);
        }
}

TEST(bits_are_counted)
{
    CHECK_EQ(mm_count_bits(0), 0);
    CHECK_EQ(mm_count_bits(UINT64_MAX), 64);
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(mm_count_bits(UINT64_C(1) << i), 1);
    for (unsigned i = 0; i < 5000; i++) {
        uint64_t x = mm_test_random() & mm_test_random() << mm_test_below(64);

        mm_test_row("x", x);
        CHECK_EQ(mm_count_bits(x), count_slowly(x));
        CHECK_EQ(mm_count_bits(~x), 64 - count_slowly(x));
    }
}

TEST(bits_mask_has_exactly_the_bits_asked_for)
{
    for (unsigned first = 0; first <= 64; first++)
        for (unsigned count = 0; first + count <= 64; count++) {
            uint64_t mask = mm_bit_mask(first, count);

            mm_test_row("first * 100 + count", first * 100 + count);
            CHECK_EQ(count_slowly(mask), count);
            for (unsigned i = 0; i < 64; i++)
                CHECK_EQ(mask >> i & 1, i >= first && i < first + count);
        }
}
