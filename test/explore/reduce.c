/*
 * reduce.c - which orders need not be tried, because they repeat one that was.
 *
 * Problem     Two CPUs that take sixty steps each have 10^35 orders; nearly all of them differ only
 *             in the order of steps that have nothing to do with each other.
 * Idea        Source sets and sleep sets (Abdulla, Aronsson, Jonsson, Sagonas: Optimal dynamic
 *             partial order reduction, 2014, algorithm 1). An execution starts with one thread at
 *             each place. When a step turns out to conflict with an earlier one of another thread
 *             that did not have to come first, the other order must be tried, too: a thread that
 *             leads there is entered at the place where the earlier step was chosen. A thread that
 *             was tried at a place sleeps in the branches that follow, until a step conflicts with
 *             its own.
 *             Steps conflict when they access the same location and one writes; two full fences;
 *             two interrupts sent to one CPU; an interrupt that is sent, and what its target did
 *             before, where it could have been taken already. What a load returns and whether an
 *             interrupt comes are choices of one thread: all are tried.
 * Invariants  R1 clock of an event: for each thread the last of its events that had to come before
 *             R2 a place is recorded if more than one thread could go on there
 *             R3 only without a bound of preemptions, and where no CPU has two threads: the
 *             execution that stands for others may have more preemptions
 * Locking     None.
 * Cost        Nanoseconds per step, and a look at the events in between for each conflict.
 * Rejected    Sleep sets alone: no more results, but fifteen executions of sixteen were begun in vain.
 *             Optimal reduction with wakeup trees: begins none in vain; a tree at each place.
 */
#include "engine.h"

#include <string.h>

#define EVENTS_MAX (STEPS_MAX + 64u)

struct event {
    uint16_t clock[THREADS_MAX]; /* R1: number of events */
    uint16_t number;             /* of its thread, from 1 */
    uint8_t thread;
    int32_t place; /* in the trail, or -1 */
};

static struct event event[EVENTS_MAX + 1]; /* [0] is none */
static unsigned events;
static uint16_t clock_of[THREADS_MAX][THREADS_MAX];
static unsigned last_of[THREADS_MAX]; /* event */
static struct conflicts fences, sends[EXPLORE_CPUS];

void reduce_reset(void)
{
    events = 0;
    memset(clock_of, 0, sizeof clock_of);
    memset(last_of, 0, sizeof last_of);
    memset(&fences, 0, sizeof fences);
    memset(sends, 0, sizeof sends);
}

static unsigned self_index(void)
{
    return (unsigned)(engine.current - engine.thread);
}

void reduce_event(int place)
{
    unsigned self = self_index();
    struct event *new;

    if (!engine.reduce)
        return;
    if (events == EVENTS_MAX)
        cannot("more than %u events", EVENTS_MAX);
    new = &event[++events];
    new->thread = (uint8_t)self;
    new->number = ++clock_of[self][self];
    new->place = place;
    memcpy(new->clock, clock_of[self], sizeof new->clock);
    last_of[self] = events;
}

static void clock_join(uint16_t *clock, const uint16_t *other)
{
    for (unsigned i = 0; i < THREADS_MAX; i++)
        if (clock[i] < other[i])
            clock[i] = other[i];
}

/* The current event comes after event `e` by necessity. */
static void comes_after(unsigned e)
{
    unsigned self = self_index();

    if (e == 0)
        return;
    clock_join(clock_of[self], event[e].clock);
    memcpy(event[last_of[self]].clock, clock_of[self], sizeof clock_of[self]);
}

/* Threads with which an execution could begin, at the place of `earlier`, that does the events behind
 * it that need not come after it, and then the current one. */
static uint32_t initials(unsigned earlier)
{
    uint16_t first[THREADS_MAX] = {0};
    unsigned q = event[earlier].thread;
    uint32_t mask = 0;

    for (unsigned e = earlier + 1; e <= events; e++) {
        unsigned t = event[e].thread;
        bool depends = false;

        /* the current event counts, though it comes after: that is what is to be undone */
        if (e != events && event[e].clock[q] >= event[earlier].number)
            continue;
        if (first[t] != 0)
            continue;
        first[t] = event[e].number;
        for (unsigned other = 0; other < THREADS_MAX; other++)
            depends |= other != t && first[other] != 0 && event[e].clock[other] >= first[other];
        if (!depends)
            mask |= 1u << t;
    }
    return mask;
}

/* The current event could come before `earlier`: that must be tried where `earlier` was chosen. */
static void try_before(unsigned earlier)
{
    uint32_t mask = initials(earlier);
    int place = event[earlier].place;

    if (place >= 0)
        trail_add((unsigned)place, mask, self_index());
}

static bool is_race(unsigned earlier)
{
    unsigned self = self_index();
    const struct event *e = &event[earlier];

    return earlier != 0 && e->thread != self && clock_of[self][e->thread] < e->number;
}

/* The current event conflicts with those in `with`, a list that this changes. Latest first: what had
 * to come before it does not have to be undone. */
static void conflicts_with(unsigned *with, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned latest = i;

        for (unsigned j = i + 1; j < count; j++)
            if (with[j] > with[latest])
                latest = j;
        if (is_race(with[latest]))
            try_before(with[latest]);
        comes_after(with[latest]);
        with[latest] = with[i];
    }
}

void reduce_access(struct conflicts *at, bool write)
{
    unsigned with[THREADS_MAX + 1], count = 0, self = self_index();

    if (!engine.reduce)
        return;
    with[count++] = at->write;
    for (unsigned i = 0; write && i < engine.thread_count; i++)
        with[count++] = at->read[i];
    conflicts_with(with, count);
    if (write) {
        memset(at, 0, sizeof *at);
        at->write = last_of[self];
    } else {
        at->read[self] = last_of[self];
    }
}

void reduce_fence(void)
{
    reduce_access(&fences, true);
}

/* An interrupt for `cpu`. */
void reduce_send(unsigned cpu)
{
    unsigned target = cpu;

    if (!engine.reduce)
        return;
    for (unsigned i = 0; i < engine.thread_count; i++)
        if (engine.thread[i].cpu == cpu)
            target = i;
    if (is_race(last_of[target]))
        try_before(last_of[target]);
    reduce_access(&sends[cpu], true);
}

unsigned reduce_current(void)
{
    return engine.reduce ? last_of[self_index()] : 0;
}

/* Something that the event `e` made possible happens. */
void reduce_enabled_by(unsigned e)
{
    if (engine.reduce)
        comes_after(e);
}

/* Whether a thread that waited goes on, or takes an interrupt, depends on what it waits for. */
void reduce_waited(const struct thread *thread)
{
    struct conflicts *at;

    if (!engine.reduce)
        return;
    wake_for_wait(thread);
    for (unsigned i = 0; (at = memory_conflicts(&thread->watches, i)) != NULL; i++)
        reduce_access(at, false);
}
