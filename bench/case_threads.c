/*
 * case_threads.c - two threads on one allocator, against one thread on it.
 *
 * Problem     A lock that costs 5 ns alone costs several times as much when two CPUs want it.
 * Idea        Each thread stands for a CPU and churns frames of its own, half of those that are
 *             allocated. CPU time per call of both, divided by that of one thread that does the
 *             same while the other CPU is idle. On a machine that does other things as well the two
 *             may hardly meet: of several attempts the one with the most overlap counts, and for what
 *             part of libmm's both CPUs worked is shown, too.
 * Invariants  Thread t uses live[t * half .. (t + 1) * half) and CPU index t.
 * Locking     A barrier starts them.
 * Cost        -
 * Rejected    Wall time: on a shared machine it counts who else runs.
 */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "clock.h"
#include "host.h"
#include "libmm.h"

#define THREADS        2u
#define ATTEMPTS       5u
#define OVERLAP_WANTED 0.9

struct worker {
    pthread_t thread;
    pthread_barrier_t *barrier;
    const struct lane *lane;
    uint32_t *live;
    const uint32_t *index;
    size_t calls, burst;
    unsigned cpu;
    uint64_t cpu_ns, from, to; /* results; the last two wall time */
};

/* A processor each, where there are enough: on one they would take turns. */
static void processor_choose(unsigned cpu)
{
    cpu_set_t set;

    if (sysconf(_SC_NPROCESSORS_ONLN) < (long)THREADS)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void calls_make(struct worker *worker, size_t calls)
{
    const struct allocator *allocator = worker->lane->instance.allocator;
    void *self = worker->lane->instance.self;

    if (worker->burst == 1)
        allocator->churn(self, worker->live, worker->index, calls);
    else
        allocator->bursts(self, worker->live, worker->index, calls, worker->burst);
}

static void *worker_run(void *arg)
{
    struct worker *worker = arg;
    uint64_t start;

    host_cpu_set(worker->cpu);
    processor_choose(worker->cpu);
    calls_make(worker, worker->calls);
    pthread_barrier_wait(worker->barrier);
    worker->from = clock_wall_ns();
    start = clock_thread_ns();
    calls_make(worker, worker->calls);
    worker->cpu_ns = clock_thread_ns() - start;
    worker->to = clock_wall_ns();
    return NULL;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* CPU ns per call; in `overlap` which part of the time both CPUs worked. */
static double workers_run(const struct lane *lane, const uint32_t *index, size_t calls,
                          size_t burst, unsigned threads, double *overlap)
{
    struct worker worker[THREADS] = {0};
    pthread_barrier_t barrier;
    uint64_t cpu_ns = 0, wall;

    pthread_barrier_init(&barrier, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        worker[i] = (struct worker){.barrier = &barrier,
                                    .lane = lane,
                                    .live = lane->live + i * (lane->live_count / THREADS),
                                    .index = index + i * calls,
                                    .calls = calls,
                                    .burst = burst,
                                    .cpu = i};
        if (pthread_create(&worker[i].thread, NULL, worker_run, &worker[i]) != 0)
            die("no thread");
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(worker[i].thread, NULL);
        cpu_ns += worker[i].cpu_ns;
    }
    wall = max_u64(worker[0].to, worker[threads - 1].to) -
           (worker[0].from < worker[threads - 1].from ? worker[0].from : worker[threads - 1].from);
    *overlap = (double)cpu_ns / (double)(threads * wall);
    pthread_barrier_destroy(&barrier);
    return (double)cpu_ns / (2.0 * (double)calls * threads);
}

/* The same for two threads: several attempts, of which the one with the most overlap counts. */
static double pair_run(const struct lane *lane, const uint32_t *index, size_t calls, size_t burst,
                       double *overlap)
{
    double best = 0;

    *overlap = 0;
    for (unsigned i = 0; i < ATTEMPTS && *overlap < OVERLAP_WANTED; i++) {
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
