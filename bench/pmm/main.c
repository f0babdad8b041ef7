/*
 * main.c - bench_pmm: the frame allocator of libmm against the textbook's, and against the machine.
 *
 * Problem     "Fast" is a claim until it is measured beside something else, in the same minute, on
 *             the same machine.
 * Idea        A table of cases; each lets allocators take turns and reports figures. First of all
 *             every allocator proves that it is one (allocator_verify()).
 * Invariants  Nothing is timed that has not been verified.
 * Locking     None.
 * Cost        Some minutes; with --quick some seconds.
 * Rejected    Figures of one allocator after the other: see lanes.c.
 */
#include "bench.h"

#include "../common/suite.h"
#include "libmm.h"

#define GIB_FRAMES ((uint64_t)1 << (30 - MM_FRAME_SHIFT))

static const struct suite_case cases[] = {
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

static const struct suite suite = {.name = "pmm",
                                   .cases = cases,
                                   .case_count = sizeof cases / sizeof cases[0],
                                   .data = BENCH_DATA};

static const struct allocator *const verified[] = {
    &libmm_inlined.allocator, &libmm_archive.allocator, &libmm_hardened.allocator,
    &baseline_stack,          &baseline_bitmap,         &baseline_buddy,
    &baseline_scan,
};

int main(int argc, char **argv)
{
    struct options options = suite_options(&suite, argc, argv);
    struct settings settings = {.quick = options.quick, .data = options.data};

    settings.rounds = options.quick ? 2 : 9;
    settings.ram_frames = options.quick ? GIB_FRAMES : 16 * GIB_FRAMES;
    settings.calls = options.quick ? 1u << 14 : 1u << 20;
    suite_print_machine();
    for (unsigned i = 0; i < sizeof verified / sizeof verified[0]; i++)
        allocator_verify(verified[i], options.quick ? 100000 : 400000);
    suite_run(&suite, &options, &settings);
    return 0;
}
