/*
 * stress.h - threads that hammer one PMM: what the parts of the program share.
 */
#ifndef STRESS_H
#define STRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../bench/common/random.h"
#include "mm/memmap.h"
#include "mm/pmm.h"
#include "mm_cpu.h"

#define STRESS_THREADS_MAX 32u

/* Accesses that order nothing: an oracle that did would hide that the PMM does not. */
#define RELAXED_LOAD(p)        __atomic_load_n(p, __ATOMIC_RELAXED)
#define RELAXED_STORE(p, v)    __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define RELAXED_ADD(p, v)      __atomic_fetch_add(p, v, __ATOMIC_RELAXED)
#define RELAXED_EXCHANGE(p, v) __atomic_exchange_n(p, v, __ATOMIC_RELAXED)

_Noreturn void stress_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- machine.c: RAM, and who owns which frame of it ---- */

/* What an owner knows of its frames. */
struct held {
    uint64_t first, count;
    uint64_t stamp;
    bool tagged; /* the tag of the first frame is the stamp's low half */
};

struct machine {
    struct mm_pmm pmm;
    struct mm_pmm_config config;
    uint64_t start_frames; /* managed after init */
};
extern struct machine machine;

void machine_build(enum mm_pin pin, unsigned cpus);
void machine_remove(void);

/* Memory that joins later, a piece for each call while there is any. False: there is none. */
bool machine_add_some(void);

/* Retire some frame. */
void machine_retire_some(struct random *random);

/* Calls that changed what is managed. */
struct changes {
    uint32_t begun, ended;
};
struct changes machine_changes(void);

/* A call handed these frames out: nobody else may have them. Then they are written to. */
void held_take(struct held *held, struct random *random, bool zeroed);

/* They still are as they were written. Call before they are given back or away. */
void held_verify(const struct held *held);

/* They are about to be given back; or were not, after all. */
void held_give(const struct held *held);
void held_keep(const struct held *held);

/* With everybody stopped: does the PMM say of each frame what its owners say? */
void machine_compare(void);

/* The same, with all given back: is each frame free that was not retired? */
void machine_compare_last(void);

/* ---- cpus.c: threads as CPUs, and the hooks ---- */

void cpus_init(unsigned count);

/* This thread becomes CPU `home`, one of `threads`; `count` as in struct stress_cpu. */
void cpu_enter(unsigned self, unsigned home, unsigned count);

/* Take calls again, or no longer: those that come meanwhile are answered with MM_ERR_HOST. */
void cpu_come(void);
void cpu_go(void);

/* Run what others ask of this CPU. */
void cpu_serve(void);

/* How often threads have come and gone. */
struct attendance {
    uint64_t comings, goings;
};
struct attendance cpus_attendance(void);

/* ---- worker.c ---- */

enum worker_limits {
    HELD_MAX = 3072, /* allocations of one thread */
    MAIL_MAX = 16,   /* on their way to one thread */
    KINDS_MAX = 32   /* of operations */
};

struct mail {
    uint32_t state;
    struct held held;
};

/* Frames, counted before and after the calls that move them, so that bounds of what callers have
 * at an instant can be told without ordering anything. Each is stored by its thread alone. */
struct moved {
    uint64_t take_begun, taken, not_taken;
    uint64_t give_begun, given;
};

struct worker {
    unsigned number;
    pthread_t thread;
    struct random random;
    bool in_callback;
    struct moved moved;
    uint32_t held_count;
    uint64_t held_frames, target_frames;
    uint64_t operations; /* atomic */
    uint64_t done[KINDS_MAX], refused[KINDS_MAX];
    uint64_t judged; /* refusals of memory that were looked into */
    unsigned kind;   /* which operation runs */
    struct mail mail[MAIL_MAX];
    struct held held[HELD_MAX];
};

struct workers {
    unsigned count;
    bool exact; /* each CPU answers a drain: MM_PIN_NONE */
    struct worker worker[STRESS_THREADS_MAX];
};
extern struct workers workers;

void workers_init(unsigned count, bool exact, uint64_t seed);

/* One random operation. */
void worker_step(struct worker *worker);

/* Give back all, mail included; nobody sends any more. */
void worker_empty(struct worker *worker);

/* The sum over all threads of what each operation did. */
void workers_print(void);

#endif
