/*
 * report.c - figures: a table for people, JSON for programs.
 *
 * Problem     A figure is worth little without what it is compared with, how steady it was, and
 *             what it should have been.
 * Idea        One row for each figure, printed when it is there: a run takes minutes.
 * Invariants  Each value, ratio and target is finite, or the program ends: JSON has no NaN.
 * Locking     None: one thread reports.
 * Cost        -
 * Rejected    Dividing the medians: rounds in which the whole machine was slow would not cancel
 *             out. The ratio is the median of the ratios of the rounds.
 */
#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host.h"

#define FIGURES_MAX 512u
#define TEXT_BYTES  64u

struct row {
    char name[TEXT_BYTES], metric[TEXT_BYTES], unit[TEXT_BYTES], ratio_to[TEXT_BYTES];
    double value, spread, ratio, target;
    enum target_kind kind;
    bool met;
};

static struct row rows[FIGURES_MAX];
static unsigned row_count;

static void copy(char *to, const char *from)
{
    if (strlen(from) >= TEXT_BYTES || strpbrk(from, "\"\\\n") != NULL)
        die("a figure cannot be called '%s'", from);
    strcpy(to, from);
}

static struct row row_of(const struct figure *figure)
{
    struct row row = {.kind = figure->kind, .target = figure->target};
    struct samples quotient;
    double judged;

    copy(row.name, figure->name);
    copy(row.metric, figure->metric);
    copy(row.unit, figure->unit);
    row.value = judged = samples_median(figure->samples);
    row.spread = samples_spread(figure->samples);
    if (figure->ratio_to != NULL) {
        copy(row.ratio_to, figure->ratio_to);
        quotient = samples_quotient(figure->samples, figure->other);
        row.ratio = judged = samples_median(&quotient);
    }
    if (!isfinite(row.value) || !isfinite(row.spread) || !isfinite(row.ratio))
        die("%s, %s: not a finite number", row.name, row.metric);
    row.met = row.kind == TARGET_AT_MOST ? judged <= row.target : judged >= row.target;
    return row;
}

/* Three digits that count. */
static const char *number(char *buf, double value)
{
    int decimals = value == 0 || fabs(value) >= 100 ? 0 : 1 - (int)floor(log10(fabs(value)));

    if (decimals >= 0 && value != 0 && fabs(value) < 100)
        decimals++;
    if (decimals > 5)
        decimals = 5;
    snprintf(buf, 32, "%.*f", decimals < 0 ? 0 : decimals, value);
    return buf;
}

static void row_print(const struct row *row)
{
    char value[32], ratio[32], target[32];
    bool has_ratio = row->ratio_to[0] != '\0';

    printf("| %-40s | %-15s | %8s %-8s | %4.0f %% | %6s %-17s |", row->name, row->metric,
           number(value, row->value), row->unit, row->spread * 100,
           has_ratio ? number(ratio, row->ratio) : "", row->ratio_to);
    if (row->kind == TARGET_NONE)
        printf(" %8s | %-3s |\n", "", "");
    else
        printf(" %s %5s | %-3s |\n",
               row->kind == TARGET_AT_MOST ? "<=" : ">=", number(target, row->target),
               row->met ? "yes" : "no");
    fflush(stdout);
}

static void head_print(void)
{
    printf("| %-40s | %-15s | %-17s | %-6s | %-24s | %-8s | %-3s |\n", "case", "of", "median",
           "spread", "ratio to", "target", "met");
    printf("|---|---|---:|---:|---|---|---|\n");
}

void report_figure(const struct figure *figure)
{
    if (row_count == FIGURES_MAX)
        die("more than %u figures", FIGURES_MAX);
    if (row_count == 0)
        head_print();
    rows[row_count] = row_of(figure);
    row_print(&rows[row_count++]);
}

void report_plain(const char *name, const char *metric, const char *unit,
                  const struct samples *samples)
{
    struct figure figure = {.name = name, .metric = metric, .unit = unit, .samples = samples};

    report_figure(&figure);
}

void report_summary(void)
{
    unsigned targets = 0, met = 0;

    for (unsigned i = 0; i < row_count; i++) {
        targets += rows[i].kind != TARGET_NONE;
        met += rows[i].kind != TARGET_NONE && rows[i].met;
    }
    printf("\n%u figures, %u of %u targets met", row_count, met, targets);
    for (unsigned i = 0; i < row_count; i++)
        if (rows[i].kind != TARGET_NONE && !rows[i].met)
            printf("\nmissed: %s, %s", rows[i].name, rows[i].metric);
    printf("\n");
}

unsigned report_count(void)
{
    return row_count;
}

/* ---- JSON ---- */

static void row_write(FILE *file, const struct row *row, const char *suite)
{
    fprintf(file, "  {\"suite\": \"%s\", \"case\": \"%s\", \"metric\": \"%s\", ", suite, row->name,
            row->metric);
    fprintf(file, "\"value\": %.6g, \"unit\": \"%s\", ", row->value, row->unit);
    if (row->ratio_to[0] != '\0')
        fprintf(file, "\"ratio_to\": \"%s\", \"ratio\": %.4g, ", row->ratio_to, row->ratio);
    else
        fprintf(file, "\"ratio_to\": null, \"ratio\": null, ");
    if (row->kind != TARGET_NONE)
        fprintf(file, "\"target\": %.6g, \"met\": %s}", row->target, row->met ? "true" : "false");
    else
        fprintf(file, "\"target\": null, \"met\": null}");
}

void report_json(const char *path, const char *suite)
{
    FILE *file = fopen(path, "w");

    if (file == NULL)
        die("%s: %s", path, strerror(errno));
    fprintf(file, "[\n");
    for (unsigned i = 0; i < row_count; i++) {
        row_write(file, &rows[i], suite);
        fprintf(file, i + 1 < row_count ? ",\n" : "\n");
    }
    fprintf(file, "]\n");
    if (ferror(file) || fclose(file) != 0)
        die("%s: cannot be written", path);
}
