/*
 * report.h - figures: a table for people, JSON for programs.
 */
#ifndef BENCH_COMMON_REPORT_H
#define BENCH_COMMON_REPORT_H

#include <stdbool.h>

#include "samples.h"

enum target_kind {
    TARGET_NONE,
    TARGET_AT_MOST,
    TARGET_AT_LEAST
};

/* What is said of one thing in one case. Texts must stay where they are. */
struct figure {
    const char *name;              /* of the case */
    const char *metric;            /* whose figure: an allocator, or the machine */
    const char *unit;              /* "ns": per call */
    const struct samples *samples; /* in `unit` */

    /* Optional: ratio to another figure of the same rounds; the target is one for the ratio then,
     * otherwise one for the value. */
    const char *ratio_to;
    const struct samples *other;
    enum target_kind kind;
    double target;
};

/* Print the row, and keep the figure for the JSON. */
void report_figure(const struct figure *figure);

/* A row without ratio and target. */
void report_plain(const char *name, const char *metric, const char *unit,
                  const struct samples *samples);

/* How many targets there were, and what was missed. */
void report_summary(void);

unsigned report_count(void);

/* An array with one object for each figure: {suite, case, metric, value, unit, ratio_to, ratio,
 * target, met}; null where there is none. Ends the program if it cannot be written. */
void report_json(const char *path, const char *suite);

#endif
