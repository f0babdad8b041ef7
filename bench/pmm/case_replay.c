/*
 * case_replay.c - the frames that a Linux kernel allocated and freed, in the same order.
 *
 * Problem     Workloads made of random numbers have no bursts, no short lives, no blocks among the
 *             frames.
 * Idea        Every record of a trace of bench/pmm/data, on memory of 1 GiB that is empty at first.
 * Invariants  Every allocation of the trace succeeds, or the program ends.
 * Locking     None. The trace's CPU numbers are not used: one thread, one CPU.
 * Cost        -
 * Rejected    The free stack: it has no blocks.
 */
#include "bench.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/host.h"
#include "libmm.h"
#include "trace.h"

#define RAM_FRAMES ((uint64_t)1 << (30 - MM_FRAME_SHIFT))
#define SUFFIX     ".frm.mmt.gz"

static void replay_turn(struct lane *lane, const struct ram *ram, const struct trace *trace,
                        mm_phys_t *slot)
{
    const struct allocator *allocator = lane->instance.allocator;
    void *self = allocator->prepare(&lane->instance.memory, ram, 1);
    uint64_t start;

    allocator->build(self);
    start = clock_thread_ns();
    if (allocator->replay(self, trace->step, trace->count, slot) != trace->count)
        die("%s: memory ends too early", lane->name);
    samples_add(&lane->take, (double)(clock_thread_ns() - start) / (double)trace->count);
}

static void replay_report(struct lanes *lanes, const char *name)
{
    struct lane *buddy = lane_find(lanes, &baseline_buddy);

    for (unsigned i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->lane[i];
        struct figure figure = {.name = name, .metric = lane->name, .unit = "ns"};

        figure.samples = &lane->take;
        if (lane != buddy) {
            figure.ratio_to = buddy->name;
            figure.other = &buddy->take;
        }
        report_figure(&figure);
    }
}

static void replay_file(const struct settings *settings, const char *name, const char *path)
{
    static const struct allocator *const allocators[] = {
        &libmm_inlined.allocator, &libmm_archive.allocator, &libmm_hardened.allocator,
        &baseline_bitmap,         &baseline_buddy,
    };
    struct trace trace = trace_read(path);
    struct memory slots = memory_take(trace.slots * sizeof(mm_phys_t));
    struct lanes lanes;

    lanes_open(&lanes, RAM_FRAMES);
    for (unsigned i = 0; i < sizeof allocators / sizeof allocators[0]; i++)
        lane_add(&lanes, allocators[i], 0, 1);
    for (unsigned round = 0; round < settings->rounds; round++)
        for (unsigned i = 0; i < lanes.count; i++)
            replay_turn(&lanes.lane[i], &lanes.ram, &trace, slots.start);
    replay_report(&lanes, name);
    lanes_close(&lanes);
    memory_give(&slots);
    trace_free(&trace);
}

static int is_trace(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name), suffix = strlen(SUFFIX);

    return length > suffix && strcmp(entry->d_name + length - suffix, SUFFIX) == 0;
}

/* All traces of the directory, by name. */
void case_replay(const struct settings *settings, const char *name, unsigned number)
{
    struct dirent **entry;
    int count = scandir(settings->data, &entry, is_trace, alphasort);

    (void)number;
    if (count <= 0)
        die("%s: no traces", settings->data);
    for (int i = 0; i < count; i++) {
        int length = (int)(strlen(entry[i]->d_name) - strlen(SUFFIX));
        char text[320], path[4096];

        snprintf(text, sizeof text, "%s %.*s", name, length, entry[i]->d_name);
        snprintf(path, sizeof path, "%s/%s", settings->data, entry[i]->d_name);
        replay_file(settings, text, path);
        free(entry[i]);
    }
    free(entry);
}
