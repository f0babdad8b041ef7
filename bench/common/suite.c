/*
 * suite.c - what the programs of the bench have in common: options, a table of cases, the order of
 * things.
 *
 * Problem     Each suite is a program, with the same options and the same output.
 * Idea        A suite is a table of cases; `settings` is a type of its own that only its cases know.
 * Invariants  The exit status says whether the figures could be had, not whether they are good.
 * Locking     None.
 * Cost        -
 * Rejected    One program for all suites: each links several builds of libmm, with other sources
 *             and ports. Failing when a target is missed: a loaded machine would fail.
 */
#include "suite.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "host.h"
#include "report.h"

static void usage_print(const struct suite *suite)
{
    printf("bench_%s [--json FILE] [--quick] [--case PATTERN]%s\n\n", suite->name,
           suite->data != NULL ? " [--data DIR]" : "");
    printf(
        "  --json FILE      write the figures there, as an array of objects\n"
        "  --quick          every case, but too short and too small for figures that mean "
        "anything\n"
        "  --case PATTERN   only cases whose name matches, as file names do: --case 'random*'\n");
    if (suite->data != NULL)
        printf("  --data DIR       where the traces are\n");
    printf("\ncases:\n");
    for (unsigned i = 0; i < suite->case_count; i++)
        printf("  %s\n", suite->cases[i].name);
}

struct options suite_options(const struct suite *suite, int argc, char **argv)
{
    struct options options = {.data = suite->data};

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--quick") == 0) {
            options.quick = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            usage_print(suite);
            exit(0);
        } else if (value == NULL) {
            die("%s: unknown, or needs a value; --help", argv[i]);
        } else if (strcmp(argv[i], "--json") == 0) {
            options.json = argv[++i];
        } else if (strcmp(argv[i], "--case") == 0) {
            options.pattern = argv[++i];
        } else if (suite->data != NULL && strcmp(argv[i], "--data") == 0) {
            options.data = argv[++i];
        } else {
            die("unknown option %s; --help", argv[i]);
        }
    }
    return options;
}

/* What is behind "label : " in /proc/cpuinfo. */
static void cpu_model(char *out, size_t bytes)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];

    snprintf(out, bytes, "unknown CPU");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(out, bytes, "%s", strchr(line, ':') + 2);
            break;
        }
    if (file != NULL)
        fclose(file);
}

void suite_print_machine(void)
{
    struct utsname system;
    char model[128];

    cpu_model(model, sizeof model);
    uname(&system);
    system.release[strcspn(system.release, "-")] = '\0'; /* what it is, not whose */
    printf("%s, %ld CPUs%s; %s %s; gcc %s\n\n", model, sysconf(_SC_NPROCESSORS_ONLN),
           __builtin_cpu_supports("x86-64-v2") ? "" : " (no x86-64-v2)", system.sysname,
           system.release, __VERSION__);
}

void suite_run(const struct suite *suite, const struct options *options,
               const struct settings *settings)
{
    for (unsigned i = 0; i < suite->case_count; i++) {
        const struct suite_case *one = &suite->cases[i];

        if (options->pattern == NULL || fnmatch(options->pattern, one->name, 0) == 0)
            one->run(settings, one->name, one->number);
    }
    if (report_count() == 0)
        die("no case is called '%s'; --help lists them", options->pattern);
    report_summary();
    if (options->json != NULL)
        report_json(options->json, suite->name);
}
