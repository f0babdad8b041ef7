/*
 * main.c - bench_pmm: the frame allocator of libmm against the textbook's, and against the machine.
 *
 * Problem     "Fast" is a claim until it is measured beside something else, in the same minute, on
 *             the same machine.
 * Idea        A table of cases; each lets allocators take turns and reports figures. First of all
 *             every allocator proves that it is one (allocator_verify()).
 * Invariants  The exit status says whether the figures could be had, not whether they are good.
 * Locking     None.
 * Cost        Some minutes; with --quick some seconds.
 * Rejected    Failing when a target is missed: a loaded machine would fail.
 */
#include "bench.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "host.h"
#include "libmm.h"

#define GIB_FRAMES ((uint64_t)1 << (30 - MM_FRAME_SHIFT))

static const struct bench_case {
    const char *name;
    void (*run)(const struct settings *settings, const char *name, unsigned number);
    unsigned number;
} cases[] = {
    {"machine", case_machine, 0},
    {"sequential", case_sequential, 0},
    {"random 50 %", case_random, 50},
    {"random 95 %", case_random, 95},
    {"random 50 %, scattered", case_scattered, 50},
    {"bursts 50 %", case_bursts, 50},
    {"bursts 95 %", case_bursts, 95},
    {"random 50 %, two threads", case_threads, 1},
    {"bursts 50 %, two threads", case_threads, 1024},
    {"bulk of 64", case_bulk, 64},
    {"2 MiB on empty memory", case_blocks_empty, MM_ORDER_2M},
    {"2 MiB on churned memory", case_blocks_churned, MM_ORDER_2M},
    {"2 MiB that are not there", case_blocks_fail, MM_ORDER_2M},
    {"2 MiB by size", case_blocks_scale, MM_ORDER_2M},
    {"healing 50 %", case_healing, 50},
    {"healing 75 %", case_healing, 75},
    {"start-up 1 GiB", case_start, 1},
    {"start-up 16 GiB", case_start, 16},
    {"start-up 1 TiB", case_start, 1024},
    {"metadata", case_metadata, 16},
    {"code", case_text, 0},
    {"zeroed, stock primed", case_zeroed, 0},
    {"replay", case_replay, 0},
};
#define CASES (sizeof cases / sizeof cases[0])

static const struct allocator *const verified[] = {
    &libmm_inlined.allocator, &libmm_archive.allocator, &libmm_hardened.allocator,
    &baseline_stack,          &baseline_bitmap,         &baseline_buddy,
    &baseline_scan,
};

static const char usage[] =
    "bench_pmm [--json FILE] [--quick] [--case PATTERN] [--data DIR]\n"
    "\n"
    "  --json FILE      write the figures there, as an array of objects\n"
    "  --quick          every case, but too short and too small for figures that mean anything\n"
    "  --case PATTERN   only cases whose name matches, as file names do: --case 'random*'\n"
    "  --data DIR       where the traces are\n"
    "\n"
    "cases:\n";

static void usage_print(void)
{
    fputs(usage, stdout);
    for (unsigned i = 0; i < CASES; i++)
        printf("  %s\n", cases[i].name);
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

static void machine_print(void)
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

static void cases_run(const struct settings *settings, const char *pattern)
{
    for (unsigned i = 0; i < CASES; i++)
        if (pattern == NULL || fnmatch(pattern, cases[i].name, 0) == 0)
            cases[i].run(settings, cases[i].name, cases[i].number);
    if (report_count() == 0)
        die("no case is called '%s'; --help lists them", pattern);
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .rounds = 9, .ram_frames = 16 * GIB_FRAMES, .calls = 1u << 20, .data = BENCH_DATA};
    const char *json = NULL, *pattern = NULL;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--quick") == 0) {
            settings.quick = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            usage_print();
            return 0;
        } else if (value == NULL) {
            die("%s: unknown, or needs a value; --help", argv[i]);
        } else if (strcmp(argv[i], "--json") == 0) {
            json = argv[++i];
        } else if (strcmp(argv[i], "--case") == 0) {
            pattern = argv[++i];
        } else if (strcmp(argv[i], "--data") == 0) {
            settings.data = argv[++i];
        } else {
            die("unknown option %s; --help", argv[i]);
        }
    }
    if (settings.quick) {
        settings.rounds = 2;
        settings.ram_frames = GIB_FRAMES;
        settings.calls = 1u << 14;
    }
    machine_print();
    for (unsigned i = 0; i < sizeof verified / sizeof verified[0]; i++)
        allocator_verify(verified[i], settings.quick ? 100000 : 400000);
    cases_run(&settings, pattern);
    report_summary();
    if (json != NULL)
        report_json(json, "pmm");
    return 0;
}
