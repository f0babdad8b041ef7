/*
 * case_threads.c - two threads on one allocator, against one thread on it.
 *
 * Problem     A lock that costs 5 ns alone costs several times as much when two CPUs want it.
 * Idea        Each thread stands for a CPU and churns frames of its own, half of those that are
 *             allocated. CPU time per call of both, divided by that of one thread that does the
 *             same while the other CPU is idle. For what part of libmm's time both CPUs worked is
 *             shown, too.
 * Invariants  Thread t uses live[t * half .. (t + 1) * half) and CPU index t.
 * Locking     None: common/crew.c starts them together.
 * Cost        -
 * Rejected    Wall time: on a shared machine it counts who else runs.
 */
#include "bench.h"

#include "../common/crew.h"
#include "libmm.h"

#define THREADS 2u

struct churn {
    const struct lane *lane;
    const uint32_t *index;
    size_t calls, burst;
};

static void churn_run(void *context, unsigned cpu)
{
    const struct churn *churn = context;
    const struct lane *lane = churn->lane;
    const struct allocator *allocator = lane->instance.allocator;
    uint32_t *live = lane->live + cpu * (lane->live_count / THREADS);
    const uint32_t *index = churn->index + cpu * churn->calls;

    if (churn->burst == 1)
        allocator->churn(lane->instance.self, live, index, churn->calls);
    else
        allocator->bursts(lane->instance.self, live, index, churn->calls, churn->burst);
}

/* CPU ns per call; in `overlap` which part of the time both CPUs worked. */
static double workers_run(const struct lane *lane, const uint32_t *index, size_t calls,
                          size_t burst, unsigned threads, double *overlap)
{
    struct churn churn = {lane, index, calls, burst};
    struct crew_time time = crew_run(threads, churn_run, churn_run, &churn);

    *overlap = time.overlap;
    return time.cpu_ns / (2.0 * (double)calls * threads);
}

/* The same for two threads: several attempts, of which the one with the most overlap counts. */
static double pair_run(const struct lane *lane, const uint32_t *index, size_t calls, size_t burst,
                       double *overlap)
{
    double best = 0;

    *overlap = 0;
    for (unsigned i = 0; i < CREW_ATTEMPTS && *overlap < CREW_OVERLAP; i++) {
        double share, ns = workers_run(lane, index, calls, burst, THREADS, &share);

        if (share > *overlap) {
            *overlap = share;
            best = ns;
        }
    }
    return best;
}

static void threads_report(struct lanes *lanes, const char *name, const struct samples *overlap)
{
    for (unsigned i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->lane[i];
        struct figure figure = {.name = name,
                                .metric = lane->name,
                                .unit = "ns",
                                .samples = &lane->take,
                                .ratio_to = "one thread",
                                .other = &lane->give};

        if (lane->instance.allocator == &libmm_inlined.allocator ||
            lane->instance.allocator == &libmm_archive.allocator) {
            figure.kind = TARGET_AT_MOST;
            figure.target = 1.5;
        }
        report_figure(&figure);
    }
    report_plain(name, "both at work", "%", overlap);
}

void case_threads(const struct settings *settings, const char *name, unsigned burst)
{
    static const struct allocator *const allocators[] = {
        &libmm_inlined.allocator, &libmm_archive.allocator, &baseline_stack,
        &baseline_bitmap,         &baseline_buddy,
    };
    size_t live = settings->ram_frames / 2, calls = settings->calls;
    struct memory memory = memory_take(THREADS * calls * sizeof(uint32_t));
    struct random random = {burst};
    struct samples overlap = {.count = 0};
    struct lanes lanes;

    lanes_open(&lanes, settings->ram_frames);
    for (unsigned i = 0; i < sizeof allocators / sizeof allocators[0]; i++)
        lane_add(&lanes, allocators[i], live, THREADS);
    for (unsigned round = 0; round < settings->rounds; round++) {
        double share = 0;

        indexes_draw(&random, memory.start, THREADS * calls, (uint32_t)(live / THREADS), burst);
        for (unsigned i = 0; i < lanes.count; i++) {
            struct lane *lane = &lanes.lane[i];

            samples_add(&lane->give, workers_run(lane, memory.start, calls, burst, 1, &share));
            samples_add(&lane->take, pair_run(lane, memory.start, calls, burst, &share));
            if (i == 0)
                samples_add(&overlap, share * 100);
        }
    }
    threads_report(&lanes, name, &overlap);
    lanes_close(&lanes);
    memory_give(&memory);
}
