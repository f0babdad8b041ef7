/*
 * crew.c - threads that work at the same time, each on a processor of its own.
 *
 * Problem     What a lock costs when two CPUs want it shows only if both are at work; a machine that
 *             does other things as well may run one thread after the other.
 * Idea        A barrier starts them, each pinned to a processor. CPU time is added up, wall time
 *             says for what part of it all of them worked.
 * Invariants  Thread t is CPU t.
 * Locking     The barrier.
 * Cost        A thread's start for each call.
 * Rejected    Wall time as the figure: on a shared machine it counts who else runs.
 */
#include "crew.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "clock.h"
#include "host.h"

struct worker {
    pthread_t thread;
    pthread_barrier_t *barrier;
    crew_work *before, *work;
    void *context;
    unsigned cpu;
    uint64_t cpu_ns, from, to; /* results; the last two wall time */
};

/* A processor each, where there are enough: on one they would take turns. */
static void processor_choose(unsigned cpu)
{
    cpu_set_t set;

    if (sysconf(_SC_NPROCESSORS_ONLN) < (long)CREW_MAX)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void *worker_run(void *arg)
{
    struct worker *worker = arg;
    uint64_t start;

    host_cpu_set(worker->cpu);
    processor_choose(worker->cpu);
    worker->before(worker->context, worker->cpu);
    pthread_barrier_wait(worker->barrier);
    worker->from = clock_wall_ns();
    start = clock_thread_ns();
    worker->work(worker->context, worker->cpu);
    worker->cpu_ns = clock_thread_ns() - start;
    worker->to = clock_wall_ns();
    return NULL;
}

struct crew_time crew_run(unsigned threads, crew_work *before, crew_work *work, void *context)
{
    struct worker worker[CREW_MAX] = {0};
    pthread_barrier_t barrier;
    uint64_t cpu_ns = 0, from = UINT64_MAX, to = 0;

    if (threads > CREW_MAX)
        die("more than %u threads", CREW_MAX);
    pthread_barrier_init(&barrier, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        worker[i] = (struct worker){
            .barrier = &barrier, .before = before, .work = work, .context = context, .cpu = i};
        if (pthread_create(&worker[i].thread, NULL, worker_run, &worker[i]) != 0)
            die("no thread");
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(worker[i].thread, NULL);
        cpu_ns += worker[i].cpu_ns;
        from = worker[i].from < from ? worker[i].from : from;
        to = worker[i].to > to ? worker[i].to : to;
    }
    pthread_barrier_destroy(&barrier);
    return (struct crew_time){(double)cpu_ns, (double)cpu_ns / (double)(threads * (to - from))};
}
