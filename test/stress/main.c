/*
 * main.c - stress_pmm: real threads hammer one PMM.
 *
 *     stress_pmm [--pin none|lock] [--threads N]        (both pins, 4 threads)
 *     MM_STRESS_SECONDS   for how long, all in all (5)
 *     MM_SEED             of the random numbers
 *
 * Problem     Models and explorers run a few steps in all orders; what takes a million steps, real
 *             caches and a real compiler's reordering, they do not see.
 * Idea        Random operations on all threads, with an owner noted for each frame (machine.c) and
 *             conditions that hold at any time (worker.c). Twice a second all stop, and the
 *             whole PMM is compared with what its callers know.
 * Invariants  The exit status is 0, or "stress: FAILED: " and a reason was printed; ThreadSanitizer,
 *             where it is built in, has its own.
 * Locking     A barrier before and after each comparison.
 * Cost        As long as it is told to.
 * Rejected    A fixed number of operations: the time of a loaded machine is unknown.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

#define ROUND_SECONDS 0.5
#define ALARM_SECONDS 120u /* a round that takes longer hangs */

struct run {
    enum mm_pin pin;
    unsigned threads, cpus;
    uint64_t seed;
    double seconds;
};

static struct run run;
static pthread_barrier_t barrier;
static bool round_over; /* atomic */
static bool run_over;   /* between barriers */

static double seconds_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Stop until main() has looked at the machine; deaf and parked, as an idle CPU. */
static void stop(void)
{
    mm_pmm_park(&machine.pmm);
    cpu_go();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
}

static void *thread_main(void *arg)
{
    struct worker *worker = arg;

    cpu_enter(worker->number, worker->number % run.cpus, run.pin == MM_PIN_LOCK ? run.cpus : 0);
    do {
        cpu_come();
        while (!RELAXED_LOAD(&round_over)) {
            worker_step(worker);
            cpu_serve();
        }
        stop();
    } while (!run_over);
    cpu_come();
    worker_empty(worker); /* others still do, or have ended */
    mm_pmm_park(&machine.pmm);
    cpu_go();
    return NULL;
}

/* Until the round is over, and everybody stands still. */
static void round_run(double seconds)
{
    double end = seconds_now() + seconds;

    alarm(ALARM_SECONDS); /* ends the program */
    while (seconds_now() < end)
        usleep(5000);
    RELAXED_STORE(&round_over, true);
    pthread_barrier_wait(&barrier);
}

static void run_all(void)
{
    double end = seconds_now() + run.seconds;

    cpus_init(run.cpus);
    cpu_enter(run.threads, 0, 0); /* CPU 0, while its thread stands still */
    machine_build(run.pin, run.cpus);
    workers_init(run.threads, run.pin == MM_PIN_NONE, run.seed);
    pthread_barrier_init(&barrier, NULL, run.threads + 1);
    round_over = run_over = false;
    for (unsigned i = 0; i < run.threads; i++)
        if (pthread_create(&workers.worker[i].thread, NULL, thread_main, &workers.worker[i]) != 0)
            stress_failed("no thread");
    while (!run_over) {
        round_run(ROUND_SECONDS);
        machine_compare();
        mm_pmm_park(&machine.pmm);
        run_over = seconds_now() >= end;
        RELAXED_STORE(&round_over, false);
        pthread_barrier_wait(&barrier);
    }
    for (unsigned i = 0; i < run.threads; i++)
        pthread_join(workers.worker[i].thread, NULL);
    machine_compare_last();
    pthread_barrier_destroy(&barrier);
    workers_print();
    machine_remove();
}

static void run_pin(enum mm_pin pin, unsigned threads, double seconds)
{
    run.pin = pin;
    run.threads = threads;
    run.cpus = pin == MM_PIN_LOCK ? (threads + 1) / 2 : threads;
    run.seconds = seconds;
    printf("%s: %u threads, %u CPUs, %.1f s\n", pin == MM_PIN_LOCK ? "lock" : "none", threads,
           run.cpus, seconds);
    fflush(stdout);
    run_all();
}

static uint64_t seed_choose(void)
{
    const char *text = getenv("MM_SEED");
    struct timespec time;

    if (text != NULL)
        return strtoull(text, NULL, 0);
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_nsec << 16 ^ (uint64_t)time.tv_sec;
}

int main(int argc, char **argv)
{
    const char *text = getenv("MM_STRESS_SECONDS");
    double seconds = text != NULL ? strtod(text, NULL) : 5;
    unsigned threads = 4;
    const char *pin = NULL;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--pin") == 0)
            pin = argv[i + 1];
        else if (strcmp(argv[i], "--threads") == 0)
            threads = (unsigned)strtoul(argv[i + 1], NULL, 0);
        else
            argc = 0;
    }
    if (argc % 2 == 0 || threads == 0 || threads > STRESS_THREADS_MAX ||
        (pin != NULL && strcmp(pin, "none") != 0 && strcmp(pin, "lock") != 0)) {
        fprintf(stderr, "usage: stress_pmm [--pin none|lock] [--threads 1-%u]\n",
                STRESS_THREADS_MAX);
        return 2;
    }
    run.seed = seed_choose();
    printf("MM_SEED=0x%llx\n", (unsigned long long)run.seed);
    if (pin == NULL)
        seconds /= 2;
    if (pin == NULL || strcmp(pin, "none") == 0)
        run_pin(MM_PIN_NONE, threads, seconds);
    if (pin == NULL || strcmp(pin, "lock") == 0)
        run_pin(MM_PIN_LOCK, threads, seconds);
    return 0;
}
