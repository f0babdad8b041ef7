/*
 * explore.h - how a scenario is written: a few CPUs run the real code, and every order of their
 * steps is tried.
 *
 *     static struct mm_lock lock;
 *     static unsigned inside;
 *
 *     static void set_up(void)          runs once; what it leaves behind is where each run starts
 *     {
 *         explore_memory("lock", &lock, sizeof lock);
 *         explore_memory("inside", &inside, sizeof inside);
 *     }
 *     static void enter(void)
 *     {
 *         mm_lock_guard_t guard = mm_lock_take(&lock);
 *
 *         inside++;
 *         mm_lock_release(&lock, guard);
 *     }
 *     static void check(void)           after each run
 *     {
 *         EXPLORE_CHECK(inside == 2);
 *     }
 *     const struct explore_scenario explore_scenarios[] = {
 *         {
 *             .name = "two_cpus",
 *             .cpus = 2,
 *             .set_up = set_up,
 *             .check = check,
 *             .thread = {{enter, 0}, {enter, 1}},
 *             .bounds = {EXPLORE_ALL, 2, 0},
 *         },
 *         {0},
 *     };
 *
 * docs/exploring.md says what is explored, within which bounds, and how a failure is repeated.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_CPUS     4u
#define EXPLORE_THREADS  4u
#define EXPLORE_HANDLERS 4u

/* A thread runs on `cpu`, or on whichever CPU it was moved to: it may be moved `moves` times. A CPU
 * that has no thread is idle, and takes interrupts. */
struct explore_thread {
    void (*run)(void);
    unsigned cpu;
    unsigned moves;
};

enum explore_kind {
    EXPLORE_IRQ, /* comes where the CPU's interrupt flag is on, and runs with it off */
    EXPLORE_NMI  /* comes anywhere but in an NMI */
};

/* An interrupt that may come on `cpu`, up to `times` times, at any of its steps. */
struct explore_handler {
    void (*run)(void);
    unsigned cpu;
    enum explore_kind kind;
    unsigned times;
};

/* How far a scenario is explored. */
#define EXPLORE_ALL UINT32_MAX
struct explore_bounds {
    uint32_t preemptions; /* switches away from a CPU that could go on; EXPLORE_ALL = all orders */
    uint32_t stale;       /* loads that may return something older than the newest value */
    uint64_t executions;  /* stop after so many, and say so; 0 = only when all were tried */
};

/* struct explore_scenario.flags */
#define EXPLORE_RUN_ON        1u /* mm_host_run_on() and mm_host_shootdown() work */
#define EXPLORE_IPI_UNORDERED 2u /* ... and its interrupt overtakes what was stored before it */
#define EXPLORE_IPI_NMI       32u /* interrupts of other CPUs are NMIs: they come with interrupts off */
#define EXPLORE_PLAIN_STEPS   4u  /* plain accesses are steps, too: for code without any pin */
#define EXPLORE_REPORTS       8u  /* mm_host_report() is no failure; explore_reports() counts */
#define EXPLORE_WAITS_END     16u /* loops that wait give up: when nobody can go on, they run on */

struct explore_scenario {
    const char *name;
    uint32_t cpus;
    uint32_t flags;
    void (*set_up)(void);
    void (*check)(void);
    bool (*again)(void); /* when everything was tried: true = from set_up on once more */
    struct explore_thread thread[EXPLORE_THREADS];
    struct explore_handler handler[EXPLORE_HANDLERS];
    struct explore_bounds bounds;
    struct explore_bounds longer; /* for MM_EXPLORE=long; all 0 = as bounds */
    const char *finds;            /* self-tests: the failure that must be found, or part of it */
    uint64_t count;               /* self-tests: how many executions there are; 0 = not known */
};

/* Each program has one list; an entry without a name ends it. */
extern const struct explore_scenario explore_scenarios[];

/* In set_up: memory that the threads share. Each execution starts with what set_up left in it. Plain
 * accesses outside of such memory are not checked. */
void explore_memory(const char *name, void *start, size_t bytes);

/* In set_up: part of it where plain accesses may race, by design. */
void explore_may_race(const void *start, size_t bytes);

/* In set_up: memory that executions start anew with, and where nothing is checked: what the scenario
 * itself keeps score in. */
void explore_unwatched(const char *name, void *start, size_t bytes);

/* In set_up: atomic accesses there are no steps, since no order of them matters: words that nobody
 * changes, counters that nobody reads. */
void explore_no_steps(const void *start, size_t bytes);

/* In set_up: `hook` is told of each access to shared memory that is about to happen. */
void explore_on_access(void (*hook)(uintptr_t address, size_t bytes));

/* In set_up: run orders that differ only in independent steps, too. */
void explore_without_reduction(void);

/* In set_up and check, where calls act at once: which CPU makes them. */
void explore_as_cpu(unsigned cpu);

/* What an atomic location holds now, whoever wrote it, and without learning of it. A step, for checks
 * within an execution. */
uint32_t explore_newest(const uint32_t *p);

/* The CPU that this code runs on now. */
unsigned explore_cpu(void);

/* mm_host_report() was called so often in this execution. */
unsigned explore_reports(void);

/* Run `fn(arg)` in an interrupt of `cpu`; nobody waits for it. A step. */
void explore_send(unsigned cpu, void (*fn)(void *arg), void *arg);

/* One after the other come here, and each sees what those before it did: a lock of somebody else's that
 * is held for a moment. A step if `is_step`, or where the reduction must know. */
struct explore_turn {
    uint32_t word;
    uint32_t release[EXPLORE_CPUS];
};
void explore_take_turn(struct explore_turn *turn, bool is_step);

/* Instants of an execution, and whether one is before the other for all CPUs: not "earlier in this
 * order of steps", but known to the CPU of the later one. */
struct explore_instant {
    uint32_t clock[EXPLORE_CPUS];
    unsigned cpu;
};
void explore_now(struct explore_instant *out);
bool explore_is_before(const struct explore_instant *a, const struct explore_instant *b);

/* No thread switch and no move on this CPU between the two; interrupts come. They nest. */
void explore_preempt_off(void);
void explore_preempt_on(void);

/* This execution shows a fault. */
_Noreturn void explore_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define EXPLORE_CHECK(condition) \
    ((condition) ? (void)0 : explore_fail("%s:%d: not so: %s", __FILE__, __LINE__, #condition))

/* A plain access happens: is it ordered with those of other CPUs? The compiler says it by itself for
 * all code that is compiled for the explorer (tsan.c). */
void explore_plain(const void *start, size_t bytes, bool write);

#endif
