/*
 * test_checked.c - tests of checked.h.
 *
 * Problem     Range arithmetic goes wrong at its ends: 0, 1, 2^64 - 1, one too many.
 * Idea        All pairs of such points, against the same operation in 128 bits.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Random pairs: nearly all of them wrap, and none wraps by one.
 */
#include "base/checked.h"

#include "mm_test.h"

typedef unsigned __int128 wide;

static const uint64_t point[] = {
    0,
    1,
    2,
    3,
    0xfff,
    0x1000,
    0x1001,
    0x7fffffff,
    0x80000000,
    0xfffffffe,
    0xffffffff,
    0x100000000,
    0x100000001,
    0x7ffffffffffffffe,
    0x7fffffffffffffff,
    0x8000000000000000,
    0x8000000000000001,
    0xffffffff00000000,
    0xfffffffffffff000,
    0xfffffffffffff001,
    0xfffffffffffffffe,
    0xffffffffffffffff,
};
#define POINTS (sizeof point / sizeof point[0])

#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)

TEST(checked_addition_fits_exactly_when_the_wide_sum_does)
{
    for (size_t i = 0; i < POINTS; i++)
        for (size_t j = 0; j < POINTS; j++) {
            wide sum = (wide)point[i] + point[j];
            bool fits = sum <= UINT64_MAX;
            uint64_t out = UNTOUCHED;
            size_t out_size = (size_t)UNTOUCHED;

            mm_test_row("a", point[i]);
            CHECK_EQ(mm_add_u64(point[i], point[j], &out), fits);
            CHECK_EQ(out, fits ? (uint64_t)sum : UNTOUCHED);
            CHECK_EQ(mm_add_size(point[i], point[j], &out_size), fits);
            CHECK_EQ(out_size, fits ? (uint64_t)sum : UNTOUCHED);
        }
}

TEST(checked_addition_wraps_by_one_is_seen)
{
    uint64_t out = UNTOUCHED;

    CHECK(mm_add_u64(UINT64_MAX, 0, &out) && out == UINT64_MAX);
    CHECK(mm_add_u64(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
    CHECK(!mm_add_u64(UINT64_MAX, 1, &out) && out == UINT64_MAX);
    CHECK(!mm_add_u64(1, UINT64_MAX, &out) && out == UINT64_MAX);
    CHECK(!mm_add_u64(UINT64_C(1) << 63, UINT64_C(1) << 63, &out));
}

TEST(checked_product_fits_exactly_when_the_wide_product_does)
{
    for (size_t i = 0; i < POINTS; i++)
        for (size_t j = 0; j < POINTS; j++) {
            wide product = (wide)point[i] * point[j];
            bool fits = product <= SIZE_MAX;
            size_t out = (size_t)UNTOUCHED;

            mm_test_row("a", point[i]);
            CHECK_EQ(mm_mul_size(point[i], point[j], &out), fits);
            CHECK_EQ(out, fits ? (uint64_t)product : UNTOUCHED);
        }
}

TEST(checked_round_up_is_the_next_multiple_or_does_not_fit)
{
    for (unsigned bit = 0; bit < 64; bit++)
        for (size_t i = 0; i < POINTS; i++) {
            uint64_t align = UINT64_C(1) << bit;
            wide up = ((wide)point[i] + align - 1) / align * align;
            bool fits = up <= UINT64_MAX;
            uint64_t out = UNTOUCHED;

            mm_test_row("x", point[i]);
            CHECK_EQ(mm_align_up(point[i], align, &out), fits);
            CHECK_EQ(out, fits ? (uint64_t)up : UNTOUCHED);
        }
}

TEST(checked_range_is_good_exactly_when_its_last_byte_exists)
{
    for (size_t i = 0; i < POINTS; i++)
        for (size_t j = 0; j < POINTS; j++) {
            wide last = (wide)point[i] + point[j] - 1;
            bool good = point[j] != 0 && last <= UINT64_MAX;

            mm_test_row("start", point[i]);
            CHECK_EQ(mm_range_ok(point[i], point[j]), good);
            if (good)
                CHECK_EQ(mm_range_last(point[i], point[j]), (uint64_t)last);
        }
}

TEST(checked_range_may_end_at_the_top_and_not_one_beyond)
{
    CHECK(mm_range_ok(0xfffffffffffff000, 0x1000));
    CHECK(!mm_range_ok(0xfffffffffffff000, 0x1001));
    CHECK(mm_range_ok(UINT64_MAX, 1) && !mm_range_ok(UINT64_MAX, 2));
    CHECK(mm_range_ok(0, UINT64_MAX) && mm_range_ok(1, UINT64_MAX) && !mm_range_ok(2, UINT64_MAX));
    CHECK(!mm_range_ok(0, 0) && !mm_range_ok(UINT64_MAX, 0));
    CHECK_EQ(mm_range_last(0xfffffffffffff000, 0x1000), UINT64_MAX);
}
