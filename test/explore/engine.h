/*
 * engine.h - the insides of the explorer, shared by its files.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include <setjmp.h>

#include "explore.h"
#include "explore_port.h"

/* ---- coroutine.c ---- */

struct coroutine {
    void *stack_pointer;
    void *stack; /* lowest byte; a page that cannot be touched lies below it */
    void *context;
};
void coroutine_make(struct coroutine *coroutine, void (*entry)(void));
void coroutine_switch(struct coroutine *from, struct coroutine *to);

/* ---- steps ---- */

enum step_kind {
    STEP_NONE = 0,
    STEP_LOAD,
    STEP_STORE,
    STEP_RMW,
    STEP_FENCE,
    STEP_SEND,  /* an inter-processor interrupt; `address` is the CPU */
    STEP_RELAX, /* waits */
    STEP_READ,  /* plain */
    STEP_WRITE,
    STEP_GUARD
};

struct step {
    uintptr_t address;
    uint32_t bytes;
    enum step_kind kind;
};

/* What a waiting thread has read since it last waited. */
#define WATCHES_MAX 24u
struct watches {
    struct {
        uint32_t location, entry; /* of its history */
    } watch[WATCHES_MAX];
    unsigned count;
};

struct thread {
    struct coroutine coroutine;
    const struct explore_thread *what;
    struct step pending; /* will be done when it goes on */
    struct step done;    /* was done since the last choice */
    struct watches watches;
    unsigned cpu, moves;
    bool waits;    /* in explore_relax() */
    bool runs_on;  /* ... but goes on all the same (EXPLORE_WAITS_END) */
    bool finished; /* takes interrupts only */
};

struct ipi {
    void (*fn)(void *arg);
    void *arg;
    uint32_t *finished; /* set when it was handled; may be NULL */
    unsigned event;     /* that sent it */
    uint32_t release[EXPLORE_CPUS];
};

#define THREADS_MAX (EXPLORE_CPUS + EXPLORE_THREADS)

/* Who accessed something last: numbers of events (reduce.c). */
struct conflicts {
    unsigned write, read[THREADS_MAX];
};

#define IPIS_MAX 16u
struct cpu {
    struct thread *running;
    struct ipi ipi[IPIS_MAX];
    unsigned ipi_first, ipi_end;
    unsigned times[EXPLORE_HANDLERS]; /* how often each handler may still come */
    unsigned preempt_off;
    unsigned in_irq, in_nmi;
    bool interrupts_on;
};

enum outcome {
    RUN_ENDED,
    RUN_REPEATS,
    RUN_FAILED
};

#define TRAIL_MAX 16384u
#define STEPS_MAX 5000u

struct engine {
    const struct explore_scenario *scenario;
    struct explore_bounds bounds;
    bool live;   /* an execution runs: calls are steps */
    bool shared; /* some CPU has two threads, or one that moves */
    bool reduce; /* skip orders that differ only in independent steps */
    bool trace;
    bool in_execution; /* or in the check after it */

    struct coroutine main;
    jmp_buf direct; /* where set_up and check return to when they fail */
    struct thread thread[THREADS_MAX];
    unsigned thread_count;
    struct thread *current;
    bool starting; /* threads come to their first steps */
    bool first;    /* nobody has gone on from there yet */
    struct cpu cpu[EXPLORE_CPUS];
    unsigned direct_cpu;

    int place;         /* where in the trail the current thread was chosen, or -1 */
    uint32_t sleeping; /* threads whose next step was tried from an equivalent state */
    uint32_t preemptions, stale;
    unsigned steps;
    unsigned reports;
    enum outcome outcome;
    char message[400];

    struct {
        uint16_t pick, of;                     /* of = 0: pick is a thread */
        uint16_t enabled, asleep, todo, tried; /* sets of threads */
    } trail[TRAIL_MAX];
    unsigned trail_length, trail_position;
    bool replaying; /* `of` is not known yet */
};
extern struct engine engine;

/* ---- engine.c ---- */

/* One of n; the search returns here until all were tried. */
unsigned choose(unsigned n);

/* Others may run, and interrupts come, before what follows. */
void step(enum step_kind kind, uintptr_t address, uint32_t bytes);

/* Let others run. */
void yield(void);

/* Those whose next step writes what the thread waits for must be looked at again. */
void wake_for_wait(const struct thread *thread);

enum outcome execute(void);
bool trail_next(void);

/* At a place of the trail, one of `threads` must be tried, best `wish`. */
void trail_add(unsigned place, uint32_t threads, unsigned wish);
_Noreturn void cannot(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trace_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define trace(...) (engine.trace ? trace_print(__VA_ARGS__) : (void)0)

/* ---- reduce.c ---- */

void reduce_reset(void);
void reduce_event(int place); /* the current thread goes on; it was chosen there, or -1 */
void reduce_access(struct conflicts *at, bool write);
void reduce_fence(void);
void reduce_send(unsigned cpu);
unsigned reduce_current(void);
void reduce_enabled_by(unsigned e);
void reduce_waited(const struct thread *thread);

/* ---- machine.c ---- */

void machine_reset(void);
void machine_thread(void); /* body of each coroutine */
bool machine_can_run(const struct thread *thread);
bool machine_quiet(void);
bool machine_interrupted(void);
void machine_local_point(void);

/* ---- regions.c ---- */

void regions_forget(void);
void regions_keep(void); /* what is in them now is what executions start with */
void regions_restore(void);
bool regions_have(const void *start, size_t bytes);
bool regions_may_race(uintptr_t address);
bool regions_no_steps(uintptr_t address);
void regions_access(uintptr_t address, size_t bytes);
const char *regions_name(uintptr_t address);

/* ---- memory.c ---- */

void memory_reset(void);
bool memory_changed(const struct watches *watches);
bool memory_is_watched(const struct watches *watches, uintptr_t address);
struct conflicts *memory_conflicts(const struct watches *watches, unsigned number);
void memory_moved(unsigned from, unsigned to);
void memory_release(unsigned cpu, uint32_t *release);
void memory_acquire(unsigned cpu, const uint32_t *release);

/* A plain access, checked against the others. */
void memory_plain(unsigned cpu, uintptr_t address, size_t bytes, bool write);

#endif
