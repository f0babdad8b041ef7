/*
 * main.c - bench_vmm: the page tables of libmm against the textbook's, and against the machine.
 *
 * Problem     "Fast" is a claim until it is measured beside something else, in the same minute, on
 *             the same machine.
 * Idea        A process is the machine: RAM on 2 MiB pages stands for the direct map, libmm is built
 *             with port/, which counts flushes instead of making them. A table of cases; in each
 *             mappers take turns. First of all every mapper proves that it is one.
 * Invariants  Nothing is timed that has not been verified.
 * Locking     None.
 * Cost        A minute and 4 GiB; with --quick some seconds.
 * Rejected    Measuring in a kernel on QEMU: it translates the instructions, and its TLB is a table.
 */
#include "bench.h"

#include "../common/suite.h"

static const struct suite_case cases[] = {
    {"machine", case_machine, 0},
    {"1 GiB", case_pages, 1},
    {"1 GiB, not loaded", case_pages, 0},
    {"2 MiB leaves", case_large, 2},
    {"1 GiB leaves", case_large, 3},
    {"protect 1 GiB, marks set", case_protect, 0},
    {"protect 1 GiB, no marks", case_protect, 1},
    {"protect 1 GiB, not loaded", case_protect, 2},
    {"page by page", case_single, 0},
    {"2 MiB by 2 MiB", case_large_single, 0},
    {"sparse", case_sparse, 0},
    {"translate in 1 GiB", case_translate, 0},
    {"translate in 16 GiB", case_translate, 1},
    {"35 regions", case_build, 0},
    {"two threads, 4 KiB calls", case_threads, 1},
    {"two threads, 64 KiB calls", case_threads, 16},
    {"two threads, 2 MiB calls", case_threads, 512},
    {"two threads, 4 KiB, loaded", case_threads, 1 | THREADS_LOADED},
    {"flushes", case_flushes, 0},
    {"tables left", case_left, 0},
    {"arena", case_arena, 0},
    {"code", case_text, 0},
};

static const struct suite suite = {
    .name = "vmm", .cases = cases, .case_count = sizeof cases / sizeof cases[0]};

static struct settings settings_of(bool quick)
{
    struct settings settings = {.quick = quick,
                                .rounds = 15,
                                .ram_bytes = GIB,
                                .bytes = GIB,
                                .huge = 16 * GIB,
                                .sparse_bytes = 64 * GIB,
                                .sparse_pages = 32768,
                                .calls = 1u << 20,
                                .spans = 100000,
                                .arena_calls = 4096,
                                .cycles = 256,
                                .own_bytes = 128 * MIB};

    if (quick) {
        settings.rounds = 2;
        settings.ram_bytes = 64 * MIB;
        settings.bytes = 16 * MIB;
        settings.huge = 256 * MIB;
        settings.sparse_bytes = GIB;
        settings.sparse_pages = 512;
        settings.calls = 1u << 12;
        settings.spans = 1000;
        settings.arena_calls = 256;
        settings.cycles = 16;
        settings.own_bytes = 4 * MIB;
    }
    return settings;
}

int main(int argc, char **argv)
{
    struct options options = suite_options(&suite, argc, argv);
    struct settings settings = settings_of(options.quick);

    suite_print_machine();
    lanes_open(settings.ram_bytes, settings.quick ? 2000 : 20000);
    suite_run(&suite, &options, &settings);
    lanes_close();
    return 0;
}
