/*
 * report.h - telling the host about misuse, in one line.
 *
 * Problem     Each refused call must report the same facts in the same way, outside any lock.
 * Idea        Public functions pass their own return address (MM_CALLER) down; when the lock is
 *             released they call mm_report_misuse().
 * Invariants  No lock of libmm is held during a report.
 * Locking     None.
 * Cost        Nothing until something is wrong.
 * Rejected    Reporting where the fault is seen: that is under the lock.
 */
#ifndef MM_BASE_REPORT_H
#define MM_BASE_REPORT_H

#include <stdint.h>

#include "mm/report.h"

/* Return address of the public function that says it. */
#define MM_CALLER __builtin_return_address(0)

/* Report and return `err`, so that callers can write `return mm_report_misuse(...)`. */
enum mm_err mm_report_misuse(enum mm_err err, const char *what, const char *where,
                             const void *object, uint64_t address, const void *caller);

/* The same with two numbers: found (or asked for) and expected. */
enum mm_err mm_report_misuse_of(enum mm_err err, const char *what, const char *where,
                                const void *object, uint64_t address, uint64_t found,
                                uint64_t expected, const void *caller);

/* As above for a damaged structure (kind CORRUPT) and for strange firmware data (FIRMWARE). */
enum mm_err mm_report_corrupt(const char *what, const char *where, const void *object,
                              uint64_t address, const void *caller);
void mm_report_firmware(const char *what, const char *where, const void *object, uint64_t address,
                        uint64_t bytes);

/* One fault found by the public checker `where`: tells the sink, if there is one, and counts. */
void mm_check_fault(const struct mm_check_sink *sink, size_t *faults, const char *what,
                    const char *where, const void *object, uint64_t address, uint64_t found,
                    uint64_t expected);

#endif
