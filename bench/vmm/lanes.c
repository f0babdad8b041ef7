/*
 * lanes.c - mappers that take turns over the same work, and their figures.
 *
 * Problem     The machine is faster in one second than in the next; what is measured one after the
 *             other differs by that alone.
 * Idea        All machines are there from the start. Each round of a case measures the limits and
 *             then every mapper, and a ratio is one of the same round.
 * Invariants  lanes[0] is libmm as a kernel would have it: what has targets.
 * Locking     None.
 * Cost        The RAM of all machines, touched at the start.
 * Rejected    RAM that is not touched before: its page faults would be counted.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "../common/host.h"
#include "../common/limits.h"
#include "libmm.h"

#define RAM_FIRST    (4 * GIB)
#define STRETCH_VIRT (64 * GIB)
#define STORE_BYTES  ((size_t)(2 * MIB)) /* the tables of 1 GiB in 4 KiB pages */
#define STORE_PASSES 4u

#define PTE_ACCESSED (UINT64_C(1) << 5) /* Intel SDM vol. 3A, table 4-20 */
#define PTE_DIRTY    (UINT64_C(1) << 6)

struct lane lanes[LANES] = {
    {.mapper = &libmm_vmm.mapper},
    {.mapper = &libmm_vmm_hardened.mapper},
    {.mapper = &textbook},
    {.mapper = &textbook_locked},
};

struct limits limits;

static struct memory store_memory;

void lanes_open(uint64_t ram_bytes, unsigned verify_calls)
{
    store_memory = memory_take(STORE_BYTES);
    for (unsigned i = 0; i < LANES; i++) {
        struct lane *lane = &lanes[i];
        struct ram ram = {.first = RAM_FIRST, .size = ram_bytes};

        lane->ram_memory = memory_take(ram_bytes);
        ram.bytes = lane->ram_memory.start;
        lane->memory = memory_take(lane->mapper->bytes(&ram));
        lane->self = lane->mapper->open(&lane->memory, &ram);
        mapper_verify(lane->mapper, lane->self, verify_calls);
    }
}

void lanes_close(void)
{
    for (unsigned i = 0; i < LANES; i++) {
        memory_give(&lanes[i].memory);
        memory_give(&lanes[i].ram_memory);
    }
    memory_give(&store_memory);
}

/* ---- rounds ---- */

void case_begin(void)
{
    memset(&limits, 0, sizeof limits);
    for (unsigned i = 0; i < LANES; i++) {
        memset(lanes[i].of, 0, sizeof lanes[i].of);
        lanes[i].space = lanes[i].arena = NULL;
    }
}

void round_begin(void)
{
    size_t words = STORE_BYTES / sizeof(uint64_t);

    (void)limit_store_ns(store_memory.start, words, 1);
    samples_add(&limits.store, limit_store_ns(store_memory.start, words, STORE_PASSES));
    samples_add(&limits.lock, limit_lock_ns());
}

/* ---- figures ---- */

static struct samples limit_samples(struct limit limit)
{
    struct samples out = {.count = 0};

    for (unsigned i = 0; i < limits.store.count; i++)
        samples_add(&out,
                    limit.stores * limits.store.value[i] + limit.locks * limits.lock.value[i]);
    return out;
}

static void limit_name(struct limit limit, char *out, size_t bytes)
{
    if (limit.locks == 0 && limit.stores == 1)
        snprintf(out, bytes, "store");
    else if (limit.stores == 0 && limit.locks == 1)
        snprintf(out, bytes, "lock");
    else
        snprintf(out, bytes, "%g store + %g lock", limit.stores, limit.locks);
}

void lanes_report(const char *name, const char *what, unsigned which, struct goal goal)
{
    struct samples other = limit_samples(goal.limit);
    char text[64], ratio_to[64];

    snprintf(text, sizeof text, "%s: %s", name, what);
    limit_name(goal.limit, ratio_to, sizeof ratio_to);
    for (unsigned i = 0; i < LANES; i++) {
        struct figure figure = {.name = text,
                                .metric = lanes[i].mapper->name,
                                .unit = "ns",
                                .samples = &lanes[i].of[which],
                                .ratio_to = ratio_to,
                                .other = &other};

        if (lanes[i].of[which].count == 0)
            continue;
        if (i == 0 && goal.times > 0) {
            figure.kind = TARGET_AT_MOST;
            figure.target = goal.times;
        }
        report_figure(&figure);
    }
}

void count_report(const char *name, const char *what, const char *metric, double value,
                  enum target_kind kind, double target)
{
    struct samples samples = {.count = 0};
    struct figure figure = {
        .metric = metric, .unit = "count", .samples = &samples, .kind = kind, .target = target};
    char text[64];

    samples_add(&samples, value);
    snprintf(text, sizeof text, "%s: %s", name, what);
    figure.name = text;
    report_figure(&figure);
}

/* ---- spaces ---- */

struct stretch stretch_of(uint64_t bytes, unsigned level, uint64_t skew)
{
    return (struct stretch){
        .virt = STRETCH_VIRT, .phys = phys_of(STRETCH_VIRT) + skew, .bytes = bytes, .level = level};
}

void stretch_touch(const struct mapper *mapper, void *space, const struct stretch *stretch)
{
    for (uint64_t at = 0; at < stretch->bytes; at += 2 * MIB) {
        uint64_t *entry = mapper->leaf_table(space, stretch->virt + at);

        for (unsigned i = 0; i < 512; i++)
            entry[i] |= PTE_ACCESSED | PTE_DIRTY;
    }
}
