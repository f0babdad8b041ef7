/*
 * test_report.c - tests of report.c, assert.h.
 *
 * Problem     The line that a kernel prints last must be right, and must not overrun its buffer.
 * Idea        The exact line for each kind, cut at every length with a guard behind it.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Matching parts of the line.
 */
#include "base/report.h"

#include <string.h>

#include "base/assert.h"
#include "mm_test.h"

#define LINE_MAX 400u

static const struct mm_report example = {
    .kind = MM_REPORT_MISUSE,
    .err = MM_ERR_MISUSE,
    .what = "freed with a wrong number of frames",
    .where = "mm_pmm_free",
    .address = 0x1f3000,
    .value = {2, 1},
    .caller = (const void *)0xffff8000001042,
};
static const char example_line[] =
    "misuse: freed with a wrong number of frames: 0x1f3000 (0x2, 0x1) in mm_pmm_free, called from "
    "0xffff8000001042";

static const char *format(const struct mm_report *report)
{
    static char line[LINE_MAX];
    size_t length = mm_report_format(line, sizeof line, report);

    CHECK_EQ(length, strlen(line));
    return line;
}

TEST(report_line_is_as_documented)
{
    CHECK_TEXT(format(&example), example_line);
}

TEST(report_line_without_caller_ends_at_the_function)
{
    struct mm_report report = example;

    report.caller = NULL;
    CHECK_TEXT(format(&report),
               "misuse: freed with a wrong number of frames: 0x1f3000 (0x2, 0x1) in mm_pmm_free");
}

TEST(report_line_leaves_out_a_pair_of_zeroes_and_nothing_else)
{
    struct mm_report report = {.kind = MM_REPORT_LEAK, .what = "w", .where = "f"};

    CHECK_TEXT(format(&report), "leak: w: 0x0 in f");
    report.value[1] = 7;
    CHECK_TEXT(format(&report), "leak: w: 0x0 (0x0, 0x7) in f");
    report.value[0] = 7;
    report.value[1] = 0;
    CHECK_TEXT(format(&report), "leak: w: 0x0 (0x7, 0x0) in f");
}

TEST(report_kinds_have_their_words)
{
    static const struct {
        enum mm_report_kind kind;
        const char *line;
    } row[] = {
        {MM_REPORT_MISUSE, "misuse: w: 0x0 in f"},
        {MM_REPORT_CORRUPT, "corrupt: w: 0x0 in f"},
        {MM_REPORT_FIRMWARE, "firmware: w: 0x0 in f"},
        {MM_REPORT_INVARIANT, "invariant: w: 0x0 in f"},
        {MM_REPORT_LEAK, "leak: w: 0x0 in f"},
        {(enum mm_report_kind)0, "report: w: 0x0 in f"},
        {(enum mm_report_kind)99, "report: w: 0x0 in f"},
    };

    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct mm_report report = {.kind = row[i].kind, .what = "w", .where = "f"};

        CHECK_TEXT(format(&report), row[i].line);
    }
}

TEST(report_numbers_have_all_their_digits_and_no_more)
{
    struct mm_report report = {.kind = MM_REPORT_LEAK, .what = "", .where = ""};

    report.address = UINT64_MAX;
    report.value[0] = UINT64_C(0x1000000000000000);
    report.value[1] = 0x10;
    CHECK_TEXT(format(&report), "leak: : 0xffffffffffffffff (0x1000000000000000, 0x10) in ");
    report.address = 0xf;
    report.value[0] = UINT64_C(0x0123456789abcdef);
    report.value[1] = UINT64_C(0x0fedcba987654321);
    CHECK_TEXT(format(&report), "leak: : 0xf (0x123456789abcdef, 0xfedcba987654321) in ");
}

/* With a buffer of n bytes: the whole length is returned, the first n - 1 characters are there,
 * then NUL, and byte n is not touched. */
TEST(report_line_is_cut_at_every_length)
{
    const size_t length = sizeof example_line - 1;
    char line[LINE_MAX];

    for (size_t n = 0; n <= length + 3; n++) {
        size_t kept = n == 0 ? 0 : (n - 1 < length ? n - 1 : length);

        mm_test_row("bytes", n);
        memset(line, '#', sizeof line);
        CHECK_EQ(mm_report_format(line, n, &example), length);
        CHECK(memcmp(line, example_line, kept) == 0);
        CHECK(n == 0 || line[kept] == '\0');
        for (size_t i = n == 0 ? 0 : kept + 1; i < sizeof line; i++)
            CHECK(line[i] == '#');
    }
}

TEST(report_length_can_be_asked_for_without_a_buffer)
{
    CHECK_EQ(mm_report_format(NULL, 0, &example), sizeof example_line - 1);
}

TEST(report_of_misuse_carries_what_it_was_given)
{
    const struct mm_report *got;
    int object = 0;

    CHECK_EQ(mm_report_misuse(MM_ERR_RANGE, "what", "where", &object, 0x1234, &example),
             MM_ERR_RANGE);
    CHECK_EQ(mm_test_report_count(), 1);
    got = mm_test_report(0);
    CHECK(got->kind == MM_REPORT_MISUSE && got->err == MM_ERR_RANGE);
    CHECK(got->object == &object && got->caller == &example && got->address == 0x1234);
    CHECK(got->value[0] == 0 && got->value[1] == 0);
    CHECK_TEXT(got->what, "what");
    CHECK_TEXT(got->where, "where");
}

TEST(report_of_damage_and_of_firmware_say_so)
{
    int object = 0;

    CHECK_EQ(mm_report_corrupt("what", "where", &object, 7, NULL), MM_ERR_CORRUPT);
    CHECK(mm_test_report(0)->kind == MM_REPORT_CORRUPT);
    CHECK(mm_test_report(0)->err == MM_ERR_CORRUPT && mm_test_report(0)->address == 7);
    mm_report_firmware("what", "where", &object, 0x100000, 0x2000);
    CHECK(mm_test_report(0)->kind == MM_REPORT_FIRMWARE && mm_test_report(0)->err == MM_OK);
    CHECK_EQ(mm_test_report(0)->value[0], 0x2000);
    CHECK_EQ(mm_test_report_count(), 2);
    mm_test_reports_clear();
    CHECK_EQ(mm_test_report_count(), 0);
}

struct heard {
    unsigned count;
    struct mm_report last;
};

static void hear(void *context, const struct mm_report *report)
{
    struct heard *heard = context;

    heard->count++;
    heard->last = *report;
}

TEST(check_fault_is_counted_and_told_to_the_sink)
{
    struct heard heard = {0};
    struct mm_check_sink sink = {hear, &heard};
    struct mm_check_sink deaf = {NULL, NULL};
    size_t faults = 0;

    mm_check_fault(&sink, &faults, "wrong", "mm_x_check", &sink, 1, 2, 3);
    CHECK(faults == 1 && heard.count == 1);
    CHECK(heard.last.kind == MM_REPORT_CORRUPT && heard.last.address == 1);
    CHECK(heard.last.value[0] == 2 && heard.last.value[1] == 3);
    CHECK(heard.last.object == &sink);
    CHECK_TEXT(heard.last.where, "mm_x_check");
    mm_check_fault(NULL, &faults, "wrong", "mm_x_check", NULL, 0, 0, 0);
    mm_check_fault(&deaf, &faults, "wrong", "mm_x_check", NULL, 0, 0, 0);
    CHECK(faults == 3 && heard.count == 1);
    CHECK_EQ(mm_test_report_count(), 0); /* a checker speaks to its sink alone */
}

TEST(assertion_panics_with_its_text_place_and_values)
{
    volatile int one = 1;

    MM_ASSERT(one == 1);
    CHECK_PANICS(MM_ASSERT2(one == 2, 0xabc, one));
    CHECK(mm_test_panic()->kind == MM_REPORT_INVARIANT);
    CHECK_EQ(mm_test_panic()->err, MM_ERR_CORRUPT);
    CHECK_TEXT(mm_test_panic()->what, "one == 2");
    CHECK(strstr(mm_test_panic()->where, "test_report.c:") != NULL);
    CHECK(mm_test_panic()->value[0] == 0xabc && mm_test_panic()->value[1] == 1);
}

TEST(debug_assertion_panics_in_debug_builds_and_costs_nothing_else)
{
    volatile int evaluated = 0;

    if (MM_LEVEL >= MM_LEVEL_DEBUG)
        CHECK_PANICS(MM_ASSERT_DEBUG(evaluated++ != 0));
    else
        MM_ASSERT_DEBUG(evaluated++ != 0);
    CHECK_EQ(evaluated, MM_LEVEL >= MM_LEVEL_DEBUG);
}
