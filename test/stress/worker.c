/*
 * worker.c - what a thread does next.
 *
 * Problem     Each pair of calls can meet, at each fill of magazines and pools.
 * Idea        A table of operations, drawn by weight. Each thread has a number of frames that it
 *             wants to hold, now small, now twice its share of the memory, so that all of it is
 *             taken at times and the modes change.
 * Invariants  What is in `held` is this thread's alone
 * Locking     None.
 * Cost        -
 * Rejected    Streams of operations that can be repeated: threads meet by chance in any case; the
 *             explorer (test/explore) is what repeats.
 */
#include <stdio.h>
#include <string.h>

#include "operations.h"

struct workers workers;

static const struct kind {
    const char *name;
    unsigned weight;
    void (*run)(struct worker *worker);
    bool takes; /* more frames: only while the thread wants more */
    bool gives; /* only while it wants less, or about as much */
} kind[] = {
    {"alloc", 300, op_alloc, true, false},
    {"alloc_zeroed", 60, op_alloc_zeroed, true, false},
    {"alloc_block", 25, op_alloc_block, true, false},
    {"alloc_run", 10, op_alloc_run, true, false},
    {"alloc_limited", 25, op_alloc_limited, true, false},
    {"alloc_hard", 8, op_alloc_hard, true, false},
    {"alloc_bulk", 8, op_alloc_bulk, true, false},
    {"free", 330, op_free, false, true},
    {"free_no_wait", 30, op_free_no_wait, false, true},
    {"free_bulk", 10, op_free_bulk, false, true},
    {"send", 60, op_send, false, false},
    {"receive", 20, op_receive, false, false},
    {"drain", 3, op_drain, false, false},
    {"drain_wait", 3, op_drain_wait, false, false},
    {"park", 10, op_park, false, false},
    {"nap", 2, op_nap, false, false},
    {"serve", 5, op_serve, false, false},
    {"zero_ahead", 10, op_zero_ahead, false, false},
    {"tag", 20, op_tag, false, false},
    {"retire", 1, op_retire, false, false},
    {"add", 1, op_add, false, false},
    {"watermark", 2, op_watermark, false, false},
    {"stats", 4, op_stats, false, false},
    {"blocks", 1, op_blocks, false, false},
};
#define KINDS (sizeof kind / sizeof kind[0])
_Static_assert(KINDS <= KINDS_MAX, "struct worker counts each kind");

static unsigned kind_draw(struct worker *worker)
{
    unsigned sum = 0;
    unsigned drawn;
    unsigned i = 0;

    for (unsigned j = 0; j < KINDS; j++)
        sum += kind[j].weight;
    drawn = random_below(&worker->random, sum);
    while (drawn >= kind[i].weight)
        drawn -= kind[i++].weight;
    return i;
}

/* Rare kinds are rarer still: the machine has few pieces to add, and few chunks to spoil. */
static bool is_due(struct worker *worker, unsigned i)
{
    if (kind[i].run == op_add || kind[i].run == op_retire)
        return random_below(&worker->random, 8) == 0;
    if (kind[i].takes)
        return worker->held_frames < worker->target_frames || random_below(&worker->random, 4) == 0;
    if (kind[i].gives)
        return worker->held_frames > worker->target_frames / 2 ||
               random_below(&worker->random, 4) == 0;
    return true;
}

void worker_step(struct worker *worker)
{
    unsigned i = kind_draw(worker);

    if (random_below(&worker->random, 2048) == 0) /* up to twice its share */
        worker->target_frames =
            random_below(&worker->random, (uint32_t)(machine.start_frames * 3 / workers.count));
    if (!is_due(worker, i))
        return;
    worker->kind = i;
    kind[i].run(worker);
    worker->done[i]++;
    if (stress_cpu.depth != 0)
        stress_failed("%s leaves interrupts off", kind[i].name);
    count(&worker->operations, 1);
}

void worker_empty(struct worker *worker)
{
    struct held held;

    op_receive(worker);
    while (pick(worker, &held))
        give(worker, &held);
}

void workers_init(unsigned threads, bool exact, uint64_t seed)
{
    memset(&workers, 0, sizeof workers);
    workers.count = threads;
    workers.exact = exact;
    for (unsigned i = 0; i < threads; i++) {
        workers.worker[i].number = i;
        workers.worker[i].random.state = seed + i;
        workers.worker[i].random.state = random_next(&workers.worker[i].random);
        workers.worker[i].target_frames = machine.start_frames / threads;
    }
}

void workers_print(void)
{
    uint64_t judged = 0;

    for (unsigned i = 0; i < KINDS; i++) {
        uint64_t done = 0;
        uint64_t refusals = 0;

        for (unsigned j = 0; j < workers.count; j++) {
            done += workers.worker[j].done[i];
            refusals += workers.worker[j].refused[i];
        }
        printf("  %-14s %9llu", kind[i].name, (unsigned long long)done);
        if (refusals != 0)
            printf(", %llu of them refused", (unsigned long long)refusals);
        putchar('\n');
    }
    for (unsigned i = 0; i < workers.count; i++)
        judged += workers.worker[i].judged;
    printf("  %llu refusals looked into\n", (unsigned long long)judged);
}
