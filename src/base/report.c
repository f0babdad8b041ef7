/*
 * report.c - building reports, and formatting them without a C library.
 *
 * Problem     A kernel has no printf when memory management speaks first, and may have none at all.
 * Idea        A report is a struct; this file fills the common ones and turns one into a line
 *             (base/text.h).
 * Invariants  mm_assert_failed() does not return.
 * Locking     None.
 * Cost        O(length of the line).
 * Rejected    A format-string engine: five fixed fields need none.
 */
#include "base/report.h"

#include "base/assert.h"
#include "base/text.h"
#include "mm/host.h"

static const char *kind_name(enum mm_report_kind kind)
{
    switch (kind) {
    case MM_REPORT_MISUSE:
        return "misuse";
    case MM_REPORT_CORRUPT:
        return "corrupt";
    case MM_REPORT_FIRMWARE:
        return "firmware";
    case MM_REPORT_INVARIANT:
        return "invariant";
    case MM_REPORT_LEAK:
        return "leak";
    }
    return "report";
}

size_t mm_report_format(char *buf, size_t bytes, const struct mm_report *report)
{
    struct mm_text text = {buf, bytes, 0};

    if (report == NULL)
        return mm_text_end(&text);
    mm_text_put(&text, kind_name(report->kind));
    mm_text_put(&text, ": ");
    mm_text_put(&text, report->what);
    mm_text_put(&text, ": ");
    mm_text_hex(&text, report->address, 1);
    if (report->value[0] != 0 || report->value[1] != 0) {
        mm_text_put(&text, " (");
        mm_text_hex(&text, report->value[0], 1);
        mm_text_put(&text, ", ");
        mm_text_hex(&text, report->value[1], 1);
        mm_text_put(&text, ")");
    }
    mm_text_put(&text, " in ");
    mm_text_put(&text, report->where);
    if (report->caller != NULL) {
        mm_text_put(&text, ", called from ");
        mm_text_hex(&text, (uintptr_t)report->caller, 1);
    }
    return mm_text_end(&text);
}

enum mm_err mm_report_misuse_of(enum mm_err err, const char *what, const char *where,
                                const void *object, uint64_t address, uint64_t found,
                                uint64_t expected, const void *caller)
{
    struct mm_report report = {
        .kind = MM_REPORT_MISUSE,
        .err = err,
        .what = what,
        .where = where,
        .object = object,
        .address = address,
        .value = {found, expected},
        .caller = caller,
    };

    mm_host_report(&report);
    return err;
}

enum mm_err mm_report_misuse(enum mm_err err, const char *what, const char *where,
                             const void *object, uint64_t address, const void *caller)
{
    return mm_report_misuse_of(err, what, where, object, address, 0, 0, caller);
}

enum mm_err mm_report_corrupt(const char *what, const char *where, const void *object,
                              uint64_t address, const void *caller)
{
    struct mm_report report = {
        .kind = MM_REPORT_CORRUPT,
        .err = MM_ERR_CORRUPT,
        .what = what,
        .where = where,
        .object = object,
        .address = address,
        .caller = caller,
    };

    mm_host_report(&report);
    return MM_ERR_CORRUPT;
}

void mm_report_firmware(const char *what, const char *where, const void *object, uint64_t address,
                        uint64_t bytes)
{
    struct mm_report report = {
        .kind = MM_REPORT_FIRMWARE,
        .what = what,
        .where = where,
        .object = object,
        .address = address,
        .value = {bytes, 0},
    };

    mm_host_report(&report);
}

void mm_check_fault(const struct mm_check_sink *sink, size_t *faults, const char *what,
                    const char *where, const void *object, uint64_t address, uint64_t found,
                    uint64_t expected)
{
    struct mm_report report = {
        .kind = MM_REPORT_CORRUPT,
        .err = MM_ERR_CORRUPT,
        .what = what,
        .where = where,
        .object = object,
        .address = address,
        .value = {found, expected},
    };

    (*faults)++;
    if (sink != NULL && sink->fault != NULL)
        sink->fault(sink->context, &report);
}

_Noreturn void mm_assert_failed(const char *what, const char *where, uint64_t a, uint64_t b)
{
    struct mm_report report = {
        .kind = MM_REPORT_INVARIANT,
        .err = MM_ERR_CORRUPT,
        .what = what,
        .where = where,
        .value = {a, b},
    };

    mm_host_panic(&report);
    __builtin_trap();
}
