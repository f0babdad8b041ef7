/*
 * test_error.c - tests of error.c.
 *
 * Problem     A code without a name, or two with the same number, is found when it is needed.
 * Idea        The interface written out a second time.
 * Invariants  None.
 * Locking     None.
 * Cost        Nothing.
 * Rejected    Reading the header with a script: it would agree with every mistake.
 */
#include "mm/error.h"

#include <string.h>

#include "mm_test.h"

/* Number and name are part of the interface: written out a second time. */
static const struct {
    enum mm_err err;
    unsigned number;
    const char *name;
} row[] = {
    {MM_OK, 0, "MM_OK"},
    {MM_ERR_BAD_ARG, 1, "MM_ERR_BAD_ARG"},
    {MM_ERR_MISUSE, 2, "MM_ERR_MISUSE"},
    {MM_ERR_NO_MEMORY, 3, "MM_ERR_NO_MEMORY"},
    {MM_ERR_NO_ADDRESS, 4, "MM_ERR_NO_ADDRESS"},
    {MM_ERR_NO_ROOM, 5, "MM_ERR_NO_ROOM"},
    {MM_ERR_EXISTS, 6, "MM_ERR_EXISTS"},
    {MM_ERR_NOT_FOUND, 7, "MM_ERR_NOT_FOUND"},
    {MM_ERR_RANGE, 8, "MM_ERR_RANGE"},
    {MM_ERR_WINDOW, 9, "MM_ERR_WINDOW"},
    {MM_ERR_LIMIT, 10, "MM_ERR_LIMIT"},
    {MM_ERR_POLICY, 11, "MM_ERR_POLICY"},
    {MM_ERR_UNSUPPORTED, 12, "MM_ERR_UNSUPPORTED"},
    {MM_ERR_CPU, 13, "MM_ERR_CPU"},
    {MM_ERR_BUSY, 14, "MM_ERR_BUSY"},
    {MM_ERR_AGAIN, 15, "MM_ERR_AGAIN"},
    {MM_ERR_GONE, 16, "MM_ERR_GONE"},
    {MM_ERR_TRUNCATED, 17, "MM_ERR_TRUNCATED"},
    {MM_ERR_MALFORMED, 18, "MM_ERR_MALFORMED"},
    {MM_ERR_HOST, 19, "MM_ERR_HOST"},
    {MM_ERR_CORRUPT, 20, "MM_ERR_CORRUPT"},
};
#define ROWS (sizeof row / sizeof row[0])

TEST(error_names_and_numbers_are_those_of_the_interface)
{
    for (unsigned i = 0; i < ROWS; i++) {
        mm_test_row("error", i);
        CHECK_EQ(row[i].err, row[i].number);
        CHECK_EQ(row[i].number, i);
        CHECK_TEXT(mm_err_name(row[i].err), row[i].name);
    }
}

TEST(error_texts_are_short_distinct_and_end_without_a_stop)
{
    for (unsigned i = 0; i < ROWS; i++) {
        const char *text = mm_err_text(row[i].err);

        mm_test_row("error", i);
        CHECK(strlen(text) >= 4 && strlen(text) < 72);
        CHECK(text[strlen(text) - 1] != '.');
        for (unsigned j = 0; j < i; j++)
            CHECK(strcmp(text, mm_err_text(row[j].err)) != 0);
    }
}

TEST(error_number_that_is_none_has_a_name_and_a_text)
{
    CHECK_TEXT(mm_err_name((enum mm_err)ROWS), "MM_ERR_?");
    CHECK_TEXT(mm_err_name((enum mm_err)0x7fffffff), "MM_ERR_?");
    CHECK_TEXT(mm_err_text((enum mm_err)ROWS), "unknown error");
    CHECK_TEXT(mm_err_text((enum mm_err)0xffffffffu), "unknown error");
}

TEST(config_symbol_says_the_level)
{
    CHECK_EQ(MM_CONFIG_SYMBOL, MM_LEVEL);
}
