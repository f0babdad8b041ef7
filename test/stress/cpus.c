/*
 * cpus.c - threads as CPUs: calls between them, and the hooks of libmm.
 *
 * Problem     A drain calls other CPUs by an interrupt. A thread cannot be interrupted here, and may
 *             be waiting for the very thread that calls it.
 * Idea        A slot for each CPU; its threads look there between operations and while they wait. A
 *             CPU without a thread, or whose threads are away, answers MM_ERR_HOST.
 * Invariants  S1 slot: IDLE -> TAKEN -> POSTED by the caller; POSTED -> RUNNING -> DONE by whoever
 *                serves; DONE or POSTED -> IDLE by the caller
 *             S2 a thread that goes has parked its CPU
 * Locking     The slot's state.
 * Cost        A caller spins until it is served: as long as an operation.
 * Rejected    Signals: ThreadSanitizer delivers them where the thread enters the C library, which
 *             the library under test never does.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mm/host.h"
#include "stress.h"

enum slot_state {
    SLOT_IDLE,
    SLOT_TAKEN,
    SLOT_POSTED,
    SLOT_RUNNING,
    SLOT_DONE
};

struct slot {
    uint32_t state;
    uint32_t present; /* threads that take calls */
    void (*fn)(void *arg);
    void *arg;
};

static struct slot slot[STRESS_THREADS_MAX];
static unsigned slots;
static struct attendance attendance;
_Thread_local struct stress_cpu stress_cpu;

void cpus_init(unsigned count)
{
    slots = count;
    attendance = (struct attendance){0, 0};
    for (unsigned i = 0; i < count; i++)
        slot[i] = (struct slot){.state = SLOT_IDLE};
}

void cpu_enter(unsigned self, unsigned home, unsigned count)
{
    stress_cpu = (struct stress_cpu){self, home, count, 0, self};
}

void stress_relax(void)
{
    static _Thread_local unsigned rounds;

    if (++rounds % 32 == 0)
        sched_yield();
    else
        __asm__ volatile("pause" : : : "memory");
}

/* ---- calls ---- */

static bool slot_swap(struct slot *s, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&s->state, &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

void cpu_serve(void)
{
    struct slot *s = &slot[stress_cpu.home];
    unsigned count = stress_cpu.count;

    if (RELAXED_LOAD(&s->state) != SLOT_POSTED || !slot_swap(s, SLOT_POSTED, SLOT_RUNNING))
        return;
    stress_cpu.count = 0; /* a handler is not moved */
    s->fn(s->arg);
    stress_cpu.count = count;
    __atomic_store_n(&s->state, SLOT_DONE, __ATOMIC_RELEASE);
}

void cpu_come(void)
{
    RELAXED_ADD(&attendance.comings, 1);
    RELAXED_ADD(&slot[stress_cpu.home].present, 1);
}

void cpu_go(void)
{
    RELAXED_ADD(&slot[stress_cpu.home].present, UINT32_MAX);
    RELAXED_ADD(&attendance.goings, 1);
}

struct attendance cpus_attendance(void)
{
    return (struct attendance){RELAXED_LOAD(&attendance.comings), RELAXED_LOAD(&attendance.goings)};
}

static enum mm_err call(struct slot *s)
{
    while (!slot_swap(s, SLOT_DONE, SLOT_IDLE)) {
        if (RELAXED_LOAD(&s->present) == 0 && slot_swap(s, SLOT_POSTED, SLOT_IDLE))
            return MM_ERR_HOST;
        cpu_serve();
        stress_relax();
    }
    return MM_OK;
}

static void expect_interrupts_on(const char *hook)
{
    if (stress_cpu.depth != 0)
        stress_failed("%s is called with interrupts off", hook);
}

enum mm_err mm_host_run_on(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    struct slot *s = &slot[cpu];

    expect_interrupts_on("mm_host_run_on");
    if (cpu >= slots)
        return MM_ERR_HOST;
    if (cpu == stress_cpu.home) {
        fn(arg);
        return MM_OK;
    }
    while (!slot_swap(s, SLOT_IDLE, SLOT_TAKEN)) {
        cpu_serve();
        stress_relax();
    }
    s->fn = fn;
    s->arg = arg;
    __atomic_store_n(&s->state, SLOT_POSTED, __ATOMIC_RELEASE);
    return call(s);
}

unsigned mm_host_cpu(void)
{
    return mm_cpu_index();
}

/* ---- whatever is reported is a failure ---- */

void stress_failed(const char *format, ...)
{
    va_list list;

    fflush(stdout);
    fputs("stress: FAILED: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, " (thread %u)\n", stress_cpu.self);
    _exit(1); /* the other threads still run */
}

void mm_host_report(const struct mm_report *report)
{
    char line[300];

    expect_interrupts_on("mm_host_report");
    mm_report_format(line, sizeof line, report);
    stress_failed("report: %s", line);
}

void mm_host_panic(const struct mm_report *report)
{
    char line[300];

    mm_report_format(line, sizeof line, report);
    stress_failed("panic: %s", line);
}

void mm_host_shootdown(const struct mm_cpuset *cpus, void (*serve)(const void *request),
                       const void *request)
{
    (void)cpus, (void)serve, (void)request;
    stress_failed("a PMM flushes no translations");
}
