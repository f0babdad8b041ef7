/*
 * host.h - what libmm has reported.
 */
#ifndef HOST_H
#define HOST_H

#include <mm/report.h>

/* Reports between begin and end are expected: kept, not printed. */
void reports_begin(void);
unsigned reports_end(struct mm_report *last); /* their number; `last` may be NULL */

/* Reports that nobody expected, since the start; they were printed. Firmware oddities are not
 * counted: machines have them. */
unsigned reports_unexpected(void);

/* For mm_*_check(): prints each fault. */
extern const struct mm_check_sink fault_printer;

#endif
