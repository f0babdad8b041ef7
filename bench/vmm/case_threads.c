/*
 * case_threads.c - two threads on disjoint ranges of one space, against one thread on its range.
 *
 * Problem     A lock for the whole space makes two CPUs slower than one, though they want nothing of
 *             each other.
 * Idea        Each thread has a gigabyte of addresses, so the tables of the two meet in the third level
 *             only. It maps 128 MiB in calls of one size, and unmaps them. CPU time per call of both,
 *             divided by that of one thread that does the same while the other CPU is idle. For what
 *             part of libmm's time both CPUs worked is shown, too.
 *             Not loaded: page tables and locks alone. Loaded: both CPUs have the space loaded, with
 *             one thread as well, so each unmap asks the other CPU; what the interrupt itself costs
 *             is not in it (cpus.c).
 * Invariants  The space is empty before and after each turn.
 * Locking     None: common/crew.c starts them together.
 * Cost        -
 * Rejected    Wall time: on a shared machine it counts who else runs. The same gigabyte for both:
 *             tables that two CPUs write are not disjoint.
 */
#include "bench.h"

#include <stdio.h>

#include "../common/clock.h"
#include "../common/crew.h"
#include "../common/host.h"

#define THREADS 2u

enum {
    OF_MAP,
    OF_UNMAP,
    OF_MAP_ALONE,
    OF_UNMAP_ALONE
};

struct work {
    const struct lane *lane;
    const uint64_t *virt[THREADS];
    size_t calls; /* of one pass over the thread's range */
    unsigned passes;
    uint64_t bytes; /* of a call */
    uint64_t map_ns[THREADS], unmap_ns[THREADS];
};

static void passes_run(void *context, unsigned cpu)
{
    struct work *work = context;
    const struct mapper *mapper = work->lane->mapper;
    void *space = work->lane->space;
    uint64_t map_ns = 0, unmap_ns = 0;

    for (unsigned pass = 0; pass < work->passes; pass++) {
        uint64_t start = clock_thread_ns(), mapped;

        mapper->map_each[WAY_ALONE](space, work->virt[cpu], work->calls, work->bytes, 1);
        mapped = clock_thread_ns();
        mapper->unmap_each[WAY_ALONE](space, work->virt[cpu], work->calls, work->bytes);
        unmap_ns += clock_thread_ns() - mapped;
        map_ns += mapped - start;
    }
    work->map_ns[cpu] = map_ns;
    work->unmap_ns[cpu] = unmap_ns;
}

struct result {
    double map, unmap, overlap;
};

static struct result threads_run(struct work *work, unsigned threads)
{
    struct crew_time time = crew_run(threads, passes_run, passes_run, work);
    double calls = (double)work->calls * work->passes * threads;
    uint64_t map_ns = 0, unmap_ns = 0;

    for (unsigned i = 0; i < threads; i++) {
        map_ns += work->map_ns[i];
        unmap_ns += work->unmap_ns[i];
    }
    return (struct result){(double)map_ns / calls, (double)unmap_ns / calls, time.overlap};
}

/* Of several attempts the one with the most overlap. */
static struct result pair_run(struct work *work)
{
    struct result best = {0};

    for (unsigned i = 0; i < CREW_ATTEMPTS && best.overlap < CREW_OVERLAP; i++) {
        struct result one = threads_run(work, THREADS);

        if (one.overlap > best.overlap)
            best = one;
    }
    return best;
}

static void threads_report(const char *name, const char *what, unsigned which, bool has_target)
{
    char text[64];

    snprintf(text, sizeof text, "%s: %s", name, what);
    for (unsigned i = 0; i < LANES; i++) {
        struct figure figure = {.name = text,
                                .metric = lanes[i].mapper->name,
                                .unit = "ns",
                                .samples = &lanes[i].of[which],
                                .ratio_to = "one thread",
                                .other = &lanes[i].of[which + OF_MAP_ALONE]};
        if (figure.samples->count == 0)
            continue;
        if (i == 0 && has_target) {
            figure.kind = TARGET_AT_MOST;
            figure.target = 1.2;
        }
        report_figure(&figure);
    }
}

static void loaded_change(const struct lane *lane, bool load)
{
    for (unsigned cpu = THREADS; cpu-- > 0;) { /* at last this thread is CPU 0 again */
        host_cpu_set(cpu);
        if (load)
            lane->mapper->load(lane->space);
        else
            lane->mapper->leave(lane->space);
    }
}

static void addresses_set(struct work *work, uint64_t *virt)
{
    uint64_t first = stretch_of(PAGE_BYTES, 1, 0).virt;

    for (unsigned thread = 0; thread < THREADS; thread++) {
        work->virt[thread] = virt;
        for (size_t i = 0; i < work->calls; i++)
            *virt++ = first + thread * GIB + i * work->bytes;
    }
}

static void rounds_run(const struct settings *settings, struct work *work, struct samples *overlap)
{
    for (unsigned round = 0; round < settings->rounds; round++) {
        round_begin();
        for (unsigned i = 0; i < LANES; i++) {
            struct lane *lane = &lanes[i];
            struct result one, two;

            if (lane->space == NULL)
                continue;
            work->lane = lane;
            one = threads_run(work, 1);
            two = pair_run(work);
            samples_add(&lane->of[OF_MAP_ALONE], one.map);
            samples_add(&lane->of[OF_UNMAP_ALONE], one.unmap);
            samples_add(&lane->of[OF_MAP], two.map);
            samples_add(&lane->of[OF_UNMAP], two.unmap);
            if (i == 0)
                samples_add(overlap, two.overlap * 100);
        }
    }
}

void case_threads(const struct settings *settings, const char *name, unsigned number)
{
    bool loaded = (number & THREADS_LOADED) != 0;
    unsigned pages = number & ~THREADS_LOADED;
    struct work work = {.bytes = pages * PAGE_BYTES, .passes = 1 + pages / 8};
    struct samples overlap = {.count = 0};
    struct memory memory;

    work.calls = settings->own_bytes / work.bytes;
    memory = memory_take(THREADS * work.calls * sizeof(uint64_t));
    addresses_set(&work, memory.start);
    case_begin();
    for (unsigned i = 0; i < LANES; i++) {
        if (!lanes[i].mapper->any_thread)
            continue;
        lanes[i].space = lanes[i].mapper->create(lanes[i].self);
        if (loaded)
            loaded_change(&lanes[i], true);
    }
    rounds_run(settings, &work, &overlap);
    threads_report(name, "map", OF_MAP, !loaded);
    threads_report(name, "unmap", OF_UNMAP, !loaded);
    report_plain(name, "both at work", "%", &overlap);
    for (unsigned i = 0; i < LANES; i++) {
        if (lanes[i].space == NULL)
            continue;
        loaded_change(&lanes[i], false);
        lanes[i].mapper->destroy(lanes[i].space);
    }
    memory_give(&memory);
}
