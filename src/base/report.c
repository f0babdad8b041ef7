/*
 * report.c - building reports, and formatting them without a C library.
 *
 * Problem     A kernel has no printf when memory management speaks first, and may have none at all.
 * Idea        A report is a struct; this file fills the common ones and turns one into a line with
 *             a writer that counts what does not fit.
 * Invariants  I1 the writer never writes at or beyond the end of the buffer
 *             I2 a buffer of at least one byte ends in NUL
 * Locking     None.
 * Cost        O(length of the line).
 * Rejected    A format-string engine: five fixed fields need none.
 */
#include "base/report.h"

#include "base/assert.h"
#include "mm/host.h"

struct writer {
    char *buf;
    size_t bytes;
    size_t length;
};

static void put_char(struct writer *w, char c)
{
    if (w->length + 1 < w->bytes)
        w->buf[w->length] = c;
    w->length++;
}

static void put_text(struct writer *w, const char *text)
{
    while (*text != '\0')
        put_char(w, *text++);
}

static void put_hex(struct writer *w, uint64_t x)
{
    unsigned shift = 60;

    put_text(w, "0x");
    while (shift > 0 && (x >> shift) == 0)
        shift -= 4;
    for (;; shift -= 4) {
        put_char(w, "0123456789abcdef"[(x >> shift) & 15]);
        if (shift == 0)
            return;
    }
}

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
    struct writer w = {buf, bytes, 0};

    put_text(&w, kind_name(report->kind));
    put_text(&w, ": ");
    put_text(&w, report->what);
    put_text(&w, ": ");
    put_hex(&w, report->address);
    put_text(&w, " (");
    put_hex(&w, report->value[0]);
    put_text(&w, ", ");
    put_hex(&w, report->value[1]);
    put_text(&w, ") in ");
    put_text(&w, report->where);
    if (report->caller != NULL) {
        put_text(&w, ", called from ");
        put_hex(&w, (uintptr_t)report->caller);
    }
    if (bytes > 0)
        buf[w.length < bytes ? w.length : bytes - 1] = '\0';
    return w.length;
}

enum mm_err mm_report_misuse(enum mm_err err, const char *what, const char *where,
                             const void *object, uint64_t address, const void *caller)
{
    struct mm_report report = {
        .kind = MM_REPORT_MISUSE,
        .err = err,
        .what = what,
        .where = where,
        .object = object,
        .address = address,
        .caller = caller,
    };

    mm_host_report(&report);
    return err;
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
                    const void *object, uint64_t address, uint64_t found, uint64_t expected)
{
    struct mm_report report = {
        .kind = MM_REPORT_CORRUPT,
        .err = MM_ERR_CORRUPT,
        .what = what,
        .where = "check",
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
