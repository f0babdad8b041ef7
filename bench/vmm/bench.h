/*
 * bench.h - what the cases share: how much to do, the machines that take turns, and their figures.
 */
#ifndef BENCH_VMM_BENCH_H
#define BENCH_VMM_BENCH_H

#include "../common/random.h"
#include "../common/report.h"
#include "../common/samples.h"
#include "cpus.h"
#include "mapper.h"

struct settings {
    bool quick;         /* see that everything runs; the figures mean little */
    unsigned rounds;    /* turns of each mapper, and samples of each figure */
    uint64_t ram_bytes; /* of each machine, for tables */
    uint64_t bytes;     /* what "1 GiB" is */
    uint64_t sparse_bytes;
    size_t sparse_pages;
    size_t calls;       /* of what is random: translations */
    uint64_t huge;      /* what "16 GiB" is */
    uint64_t spans;     /* in the arena */
    size_t arena_calls; /* in one turn */
    unsigned cycles;    /* spaces built and destroyed in one turn */
    uint64_t own_bytes; /* of each of two threads */
};

/* Figures of one mapper in one case, at most. */
#define FIGURES_OF_LANE 12u

/* A mapper, and the machine that it has for the whole run. */
struct lane {
    const struct mapper *mapper;
    void *self;
    struct memory memory, ram_memory;
    void *space; /* of the case, where it has one for all rounds */
    void *arena;
    struct samples of[FIGURES_OF_LANE];
};

#define LANES 4u

extern struct lane lanes[LANES]; /* libmm first */

void lanes_open(uint64_t ram_bytes, unsigned verify_calls);
void lanes_close(void);

/* ---- what the machine allows ---- */

/* Measured in each round of the case that runs. */
struct limits {
    struct samples store; /* ns of one plain store of an entry into tables that are warm */
    struct samples lock;  /* ns of one lock xadd */
};

extern struct limits limits;

/* Begin a case: no samples. */
void case_begin(void);

/* Begin a round: measure the limits. */
void round_begin(void);

/* ---- figures ---- */

/* A multiple of the limits, which a figure is compared with. */
struct limit {
    double stores, locks;
};

/* libmm's must be at most `times` the limit; 0 = no target. */
struct goal {
    struct limit limit;
    double times;
};

/* "at most n stores", "at most n locked adds" */
#define STORES(n)          ((struct goal){{1, 0}, (n)})
#define LOCKS(n)           ((struct goal){{0, 1}, (n)})
#define STORES_LOCKS(n, l) ((struct goal){{(n), (l)}, 1})
#define NO_GOAL            ((struct goal){{1, 0}, 0})

/* Rows for of[which] of all mappers that have samples of it, called "name: what". */
void lanes_report(const char *name, const char *what, unsigned which, struct goal goal);

/* One row for a count, which must be at most, or at least, `target`. */
void count_report(const char *name, const char *what, const char *metric, double value,
                  enum target_kind kind, double target);

/* ---- what cases do with spaces ---- */

/* A stretch of the user's half, at 64 GiB; `skew` is added to the physical address that phys_of()
 * gives, so that larger leaves than wanted do not fit. */
struct stretch stretch_of(uint64_t bytes, unsigned level, uint64_t skew);

/* Set accessed and dirty in all its 4 KiB pages, as a CPU does that writes to them. */
void stretch_touch(const struct mapper *mapper, void *space, const struct stretch *stretch);

/* In the number of case_threads(): both CPUs have the space loaded. */
#define THREADS_LOADED (1u << 31)

/* ---- cases; `name` is how the figures are called ---- */

void case_machine(const struct settings *settings, const char *name, unsigned number);
void case_pages(const struct settings *settings, const char *name, unsigned live);
void case_large(const struct settings *settings, const char *name, unsigned level);
void case_protect(const struct settings *settings, const char *name, unsigned state);
void case_single(const struct settings *settings, const char *name, unsigned number);
void case_large_single(const struct settings *settings, const char *name, unsigned number);
void case_sparse(const struct settings *settings, const char *name, unsigned number);
void case_translate(const struct settings *settings, const char *name, unsigned number);
void case_build(const struct settings *settings, const char *name, unsigned number);
void case_threads(const struct settings *settings, const char *name, unsigned pages);
void case_flushes(const struct settings *settings, const char *name, unsigned number);
void case_left(const struct settings *settings, const char *name, unsigned number);
void case_arena(const struct settings *settings, const char *name, unsigned number);
void case_text(const struct settings *settings, const char *name, unsigned number);

#endif
