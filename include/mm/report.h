/*
 * mm/report.h - what libmm says when something is wrong.
 *
 * A report is data, not text: the kernel decides whether to print it, count it, or stop.
 * mm_report_format() turns one into a line for a console.
 */
#ifndef MM_REPORT_H
#define MM_REPORT_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mm_report_kind {
    MM_REPORT_MISUSE = 1, /* the caller broke a rule; state unchanged, the call returned an error */
    MM_REPORT_CORRUPT = 2,   /* a structure of libmm is damaged: wild write, or a bug in libmm */
    MM_REPORT_FIRMWARE = 3,  /* the boot information says something strange; it was made safe */
    MM_REPORT_INVARIANT = 4, /* MM_ASSERT failed; comes through mm_host_panic() */
    MM_REPORT_LEAK = 5       /* something was still in use when its owner was destroyed */
};

struct mm_report {
    enum mm_report_kind kind;
    enum mm_err err;    /* what the call returned, or MM_OK */
    const char *what;   /* static text, e.g. "frame freed twice"; never NULL */
    const char *where;  /* static text: public function (of a checker's fault, the checker), or
                         * "file:line" of an assertion */
    const void *object; /* the instance: struct mm_pmm *, struct mm_heap *, ... or NULL */
    uint64_t address;   /* the address in question, physical or virtual as `what` implies */
    uint64_t value[2];  /* found (or asked for) and expected, or what `what` names; 0, 0 = none */
    const void *caller; /* return address of the public call, or NULL */
};

/*
 * Write one line without a newline, e.g.
 *   "misuse: freed with a wrong number of frames: 0x1f3000 (0x2, 0x1) in mm_pmm_free, called from
 *    0xffff8000001042"
 *
 * The pair in parentheses is `value`; it is left out when both are 0.
 *
 * @buf     NULL is allowed when `bytes` is 0
 * Returns  the length that the whole line has, without the closing NUL. When it is >= bytes the
 *          line was cut; what fits is always NUL-terminated if bytes > 0
 * Context  any; no lock; O(length)
 */
size_t mm_report_format(char *buf, size_t bytes, const struct mm_report *report);

/*
 * How checkers speak: one call per fault found. `context` is the caller's own.
 */
struct mm_check_sink {
    void (*fault)(void *context, const struct mm_report *report);
    void *context;
};

#ifdef __cplusplus
}
#endif

#endif
