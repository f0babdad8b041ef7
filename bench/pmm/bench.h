/*
 * bench.h - what the cases share: how much to do, and lanes in which allocators take turns.
 */
#ifndef BENCH_PMM_BENCH_H
#define BENCH_PMM_BENCH_H

#include "allocator.h"
#include "../common/random.h"
#include "../common/report.h"
#include "../common/samples.h"

struct settings {
    bool quick;          /* see that everything runs; the figures mean little */
    unsigned rounds;     /* turns of each allocator, and samples of each figure */
    uint64_t ram_frames; /* of the cases that do not say another size */
    size_t calls;        /* single frames in one turn */
    const char *data;    /* directory with traces */
};

/* One allocator in one case. */
struct lane {
    struct instance instance;
    const char *name;
    struct memory live_memory;
    uint32_t *live; /* frames that are allocated */
    size_t live_count;
    struct samples take, give; /* in the case's unit; cases with one figure use `take` */
};

#define LANES_MAX 8u

struct lanes {
    struct ram ram;
    struct lane lane[LANES_MAX];
    unsigned count;
    struct samples lock; /* one locked add, measured in the same rounds */
};

void lanes_open(struct lanes *lanes, uint64_t frames);
void lanes_close(struct lanes *lanes);

/* An instance with `live` frames allocated, as fast as it can. */
struct lane *lane_add(struct lanes *lanes, const struct allocator *allocator, size_t live,
                      unsigned cpus);

/* NULL if that allocator takes no part. */
struct lane *lane_find(struct lanes *lanes, const struct allocator *allocator);

/* Free all frames of the lane but `live` of them, chosen at random. */
void lane_thin_out(struct lane *lane, struct random *random, size_t live);

/* Draw `count` indexes below `bound`, in bursts within each of which no index comes twice. */
void indexes_draw(struct random *random, uint32_t *index, size_t count, uint32_t bound,
                  uint32_t burst);

/* ---- cases; `name` is how the figures are called ---- */

void case_machine(const struct settings *settings, const char *name, unsigned number);
void case_sequential(const struct settings *settings, const char *name, unsigned number);
void case_random(const struct settings *settings, const char *name, unsigned percent);
void case_scattered(const struct settings *settings, const char *name, unsigned percent);
void case_bursts(const struct settings *settings, const char *name, unsigned percent);
void case_threads(const struct settings *settings, const char *name, unsigned burst);
void case_bulk(const struct settings *settings, const char *name, unsigned batch);
void case_blocks_empty(const struct settings *settings, const char *name, unsigned order);
void case_blocks_churned(const struct settings *settings, const char *name, unsigned order);
void case_blocks_fail(const struct settings *settings, const char *name, unsigned order);
void case_blocks_scale(const struct settings *settings, const char *name, unsigned order);
void case_healing(const struct settings *settings, const char *name, unsigned percent);
void case_start(const struct settings *settings, const char *name, unsigned gib);
void case_metadata(const struct settings *settings, const char *name, unsigned number);
void case_text(const struct settings *settings, const char *name, unsigned number);
void case_zeroed(const struct settings *settings, const char *name, unsigned number);
void case_replay(const struct settings *settings, const char *name, unsigned number);

#endif
