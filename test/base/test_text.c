/*
 * test_text.c - tests of text.h.
 *
 * Problem     A writer that counts wrongly tells its caller to allocate wrongly.
 * Idea        printf() of the host as the second opinion, and buffers of every awkward size.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Testing it through reports alone: they use few widths.
 */
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#include "mm_test.h"

TEST(text_hex_has_the_digits_asked_for_or_more)
{
    for (unsigned round = 0; round < 2000; round++) {
        uint64_t x = mm_test_random() >> mm_test_below(64);

        for (unsigned digits = 1; digits <= 16; digits++) {
            char line[32], expected[32];
            struct mm_text text = {line, sizeof line, 0};

            mm_text_hex(&text, x, digits);
            CHECK_EQ(mm_text_end(&text), strlen(line));
            snprintf(expected, sizeof expected, "0x%0*llx", (int)digits, (unsigned long long)x);
            CHECK_TEXT(line, expected);
        }
    }
}

TEST(text_zero_is_written_with_each_number_of_digits)
{
    char line[32];
    struct mm_text text = {line, sizeof line, 0};

    mm_text_hex(&text, 0, 1);
    mm_text_char(&text, ' ');
    mm_text_hex(&text, 0, 4);
    (void)mm_text_end(&text);
    CHECK_TEXT(line, "0x0 0x0000");
}

TEST(text_goes_on_counting_beyond_its_buffer)
{
    char line[8];
    struct mm_text text = {line, 4, 0};

    memset(line, '#', sizeof line);
    mm_text_put(&text, "abc");
    mm_text_put(&text, "defgh");
    CHECK_EQ(mm_text_end(&text), 8);
    CHECK(memcmp(line, "abc\0####", 8) == 0);
}

TEST(text_that_fills_its_buffer_exactly_is_cut_by_one)
{
    char line[4];
    struct mm_text text = {line, sizeof line, 0};

    mm_text_put(&text, "abcd");
    CHECK_EQ(mm_text_end(&text), 4);
    CHECK_TEXT(line, "abc");
}

TEST(text_without_a_buffer_is_measured)
{
    struct mm_text text = {NULL, 0, 0};

    mm_text_put(&text, "abc");
    mm_text_hex(&text, 0x10, 1);
    CHECK_EQ(mm_text_end(&text), 7);
}
