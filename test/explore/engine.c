/*
 * engine.c - the search: which thread takes the next step, and the next execution after this one.
 *
 * Problem     A fault that needs one order of steps in a million is not met by running often.
 * Idea        Nothing is left to chance: every place where something may go one way or another asks
 *             choose(), and the answers of one execution are its trail. The next execution repeats
 *             the trail up to the last answer that has an alternative (depth first), starting from
 *             the same memory; when there is none left, everything has been tried.
 *             Executions that must repeat others are left out (reduce.c).
 * Invariants  I1 an execution depends on its trail alone
 *             I2 each atomic access is preceded by a choice of the thread
 * Locking     None: one thread of the host.
 * Cost        About 40 ns per step and 8 bytes per choice.
 * Rejected    Storing states: memory contents, clocks and stacks would have to be compared.
 */
#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine engine;

_Noreturn void cannot(const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "explorer: %s: ", engine.scenario != NULL ? engine.scenario->name : "start");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(3);
}

void trace_print(const char *format, ...)
{
    va_list arguments;

    if (!engine.live)
        return;
    printf("  T%d cpu %u%s  ", (int)(engine.current - engine.thread), engine.current->cpu,
           engine.cpu[engine.current->cpu].in_nmi   ? " nmi"
           : engine.cpu[engine.current->cpu].in_irq ? " irq"
                                                    : "    ");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

/* ---- the trail ---- */

unsigned choose(unsigned n)
{
    unsigned i = engine.trail_position;

    if (n <= 1)
        return 0;
    if (i == TRAIL_MAX)
        cannot("more than %u choices in one execution", TRAIL_MAX);
    engine.trail_position++;
    if (i == engine.trail_length) {
        engine.trail[i].pick = 0;
        engine.trail[i].of = (uint16_t)n;
        engine.trail_length++;
    } else if (engine.replaying) {
        if (engine.trail[i].pick >= n)
            cannot("the trail does not fit: choice %u is %u of %u", i, engine.trail[i].pick, n);
        engine.trail[i].of = (uint16_t)n;
    } else if (engine.trail[i].of != n) {
        cannot("not repeatable: choice %u was of %u, now of %u; is shared memory missing from "
               "explore_memory()?",
               i, engine.trail[i].of, n);
    }
    return engine.trail[i].pick;
}

bool trail_next(void)
{
    if (engine.trail_position < engine.trail_length && !engine.replaying &&
        engine.outcome != RUN_FAILED)
        cannot("not repeatable: ended after %u of %u choices", engine.trail_position,
               engine.trail_length);
    while (engine.trail_length > 0) {
        unsigned last = engine.trail_length - 1;
        unsigned left;

        if (engine.trail[last].of != 0) {
            if (engine.trail[last].pick + 1u < engine.trail[last].of) {
                engine.trail[last].pick++;
                return true;
            }
        } else {
            engine.trail[last].tried |= (uint16_t)(1u << engine.trail[last].pick);
            left = (unsigned)engine.trail[last].todo & ~(unsigned)engine.trail[last].tried &
                   ~(unsigned)engine.trail[last].asleep;
            if (left != 0) {
                engine.trail[last].pick = (uint16_t)__builtin_ctz(left);
                return true;
            }
        }
        engine.trail_length--;
    }
    return false;
}

void trail_add(unsigned place, uint32_t threads, unsigned wish)
{
    unsigned enabled = engine.trail[place].enabled;

    if ((enabled >> wish & 1) == 0) /* it waited there: perhaps for any of the others */
        threads = enabled;
    else if ((threads & ((unsigned)engine.trail[place].todo | engine.trail[place].asleep)) != 0)
        return;
    else if ((threads & enabled & 1u << wish) != 0)
        threads = 1u << wish;
    else if ((threads & enabled) != 0)
        threads = (threads & enabled) & -(threads & enabled);
    else
        threads = enabled;
    engine.trail[place].todo |= (uint16_t)threads;
}

/* A place where the reduction decides: one that must be tried, so far any. */
static struct thread *choose_thread(struct thread **list, unsigned count)
{
    unsigned i = engine.trail_position++;
    uint32_t enabled = 0, awake;

    for (unsigned n = 0; n < count; n++)
        enabled |= 1u << (list[n] - engine.thread);
    if (i == TRAIL_MAX)
        cannot("more than %u choices in one execution", TRAIL_MAX);
    if (i < engine.trail_length && engine.replaying) {
        if ((enabled >> engine.trail[i].pick & 1) == 0)
            cannot("the trail does not fit: T%u cannot run", engine.trail[i].pick);
    } else if (i < engine.trail_length) {
        if (engine.trail[i].of != 0 || engine.trail[i].enabled != enabled)
            cannot("not repeatable: other threads can run at choice %u; is shared memory missing "
                   "from explore_memory()?",
                   i);
        engine.sleeping |= engine.trail[i].tried;
    } else {
        awake = enabled & ~engine.sleeping;
        if (awake == 0) {
            engine.trail_position--;
            return NULL;
        }
        if ((awake >> (list[0] - engine.thread) & 1) != 0)
            awake = 1u << (list[0] - engine.thread);
        engine.trail[i].pick = (uint16_t)__builtin_ctz(awake);
        engine.trail[i].of = 0;
        engine.trail[i].enabled = (uint16_t)enabled;
        engine.trail[i].asleep = (uint16_t)engine.sleeping;
        engine.trail[i].todo = (uint16_t)(1u << engine.trail[i].pick);
        engine.trail[i].tried = 0;
        engine.trail_length++;
    }
    return &engine.thread[engine.trail[i].pick];
}

/* ---- which thread ---- */

static bool is_write(enum step_kind kind)
{
    return kind == STEP_STORE || kind == STEP_RMW || kind == STEP_WRITE;
}

static bool is_access(enum step_kind kind)
{
    return kind == STEP_LOAD || kind == STEP_READ || is_write(kind);
}

/* Would it matter which of the two comes first? */
static bool conflict(const struct step *a, const struct step *b)
{
    if (is_access(a->kind) && is_access(b->kind))
        return (is_write(a->kind) || is_write(b->kind)) && a->address < b->address + b->bytes &&
               b->address < a->address + a->bytes;
    if (a->kind == STEP_SEND)
        return b->kind == STEP_SEND && a->address == b->address;
    return a->kind == STEP_FENCE && b->kind == STEP_FENCE;
}

/* Whoever sleeps on the CPU that was sent an interrupt can now do something new: take it. The other
 * way round nothing is new: an interrupt may be taken any time after it was sent. */
static bool sends_to(const struct step *step, const struct thread *thread)
{
    return step->kind == STEP_SEND && step->address == thread->cpu;
}

/* Would a thread that waits, and could take an interrupt meanwhile, go on because of that write? */
static bool waits_for(const struct thread *thread, const struct step *step)
{
    return thread->pending.kind == STEP_RELAX && is_write(step->kind) &&
           memory_is_watched(&thread->watches, step->address);
}

/* The other way round: it looked whether it should go on. */
void wake_for_wait(const struct thread *thread)
{
    for (unsigned i = 0; i < engine.thread_count; i++)
        if (waits_for(thread, &engine.thread[i].pending))
            engine.sleeping &= ~(1u << i);
}

/* The last thread did a step: who must be looked at again because of it? */
static void wake(const struct thread *last)
{
    if (engine.sleeping == 0)
        return;
    for (unsigned i = 0; i < engine.thread_count; i++) {
        const struct thread *other = &engine.thread[i];

        if (conflict(&last->done, &other->pending) || sends_to(&last->done, other) ||
            waits_for(other, &last->done))
            engine.sleeping &= ~(1u << i);
    }
}

static unsigned who_can_run(const struct thread *last, struct thread **list)
{
    unsigned count = 0, first = (unsigned)(last - engine.thread);

    if (machine_can_run(last))
        list[count++] = &engine.thread[first];
    for (unsigned i = 0; i < engine.thread_count; i++)
        if (i != first && machine_can_run(&engine.thread[i]))
            list[count++] = &engine.thread[i];
    return count;
}

static _Noreturn void leave(enum outcome outcome)
{
    engine.outcome = outcome;
    engine.live = false;
    for (;;)
        coroutine_switch(&engine.current->coroutine, &engine.main);
}

_Noreturn void explore_fail(const char *format, ...)
{
    bool live = engine.live;
    va_list arguments;

    engine.live = false;
    va_start(arguments, format);
    vsnprintf(engine.message, sizeof engine.message, format, arguments);
    va_end(arguments);
    engine.outcome = RUN_FAILED;
    if (!live)
        longjmp(engine.direct, 1);
    leave(RUN_FAILED);
}

/* Nobody can go on. Loops that would give up after a while do so now, one thread after another. */
static void wait_ends(void)
{
    for (unsigned i = 0; i < engine.thread_count; i++)
        if (engine.thread[i].waits && (engine.scenario->flags & EXPLORE_WAITS_END) != 0) {
            engine.thread[i].runs_on = true;
            if (machine_can_run(&engine.thread[i]))
                return;
            engine.thread[i].runs_on = false;
        }
    for (unsigned i = 0; i < engine.thread_count; i++)
        if (!engine.thread[i].finished)
            explore_fail("deadlock: T%u waits on CPU %u%s", i, engine.thread[i].cpu,
                         engine.cpu[engine.thread[i].cpu].interrupts_on ? "" : ", interrupts off");
    explore_fail("deadlock: an interrupt is never taken");
}

static struct thread *schedule(void)
{
    struct thread *last = engine.current, *list[THREADS_MAX];
    unsigned count, pick;

    wake(last);
    last->done.kind = STEP_NONE;
    count = who_can_run(last, list);
    if (count == 0 && machine_quiet())
        leave(RUN_ENDED);
    if (count == 0) {
        wait_ends();
        count = who_can_run(last, list);
    }
    engine.place = -1;
    if (engine.reduce && count > 1) {
        struct thread *next = choose_thread(list, count);

        if (next == NULL)
            leave(RUN_REPEATS);
        engine.place = (int)engine.trail_position - 1;
        return next;
    }
    if (engine.reduce && (engine.sleeping >> (list[0] - engine.thread) & 1) != 0 &&
        !engine.replaying)
        leave(RUN_REPEATS);
    if (list[0] == last && engine.preemptions == engine.bounds.preemptions && !engine.first)
        return last;
    pick = choose(count);
    if (list[0] == last && pick != 0 && !engine.first)
        engine.preemptions++;
    engine.first = false;
    return list[pick];
}

void yield(void)
{
    struct thread *self = engine.current;

    if (engine.starting) {
        coroutine_switch(&self->coroutine, &engine.main);
    } else {
        struct thread *next = schedule();

        if (next != self) {
            engine.current = next;
            coroutine_switch(&self->coroutine, &next->coroutine);
        }
    }
    engine.cpu[self->cpu].running = self;
    reduce_event(engine.place);
}

void step(enum step_kind kind, uintptr_t address, uint32_t bytes)
{
    struct thread *self = engine.current;

    if (++engine.steps > STEPS_MAX)
        explore_fail("livelock: no end after %u steps", STEPS_MAX);
    do {
        self->pending = (struct step){address, bytes, kind};
        yield();
    } while (machine_interrupted());
    self->done = self->pending;
}

/* ---- one execution ---- */

enum outcome execute(void)
{
    memory_reset();
    machine_reset();
    reduce_reset();
    engine.trail_position = 0;
    engine.sleeping = 0;
    engine.preemptions = 0;
    engine.stale = 0;
    engine.steps = 0;
    engine.reports = 0;
    engine.outcome = RUN_ENDED;
    engine.message[0] = '\0';
    engine.live = true;

    /* Each thread comes to its first step; at that of the last one the choices begin. */
    engine.starting = true;
    engine.first = true;
    for (unsigned i = engine.thread_count; engine.live && i-- > 0;) {
        engine.starting = i > 0;
        engine.current = &engine.thread[i];
        engine.cpu[engine.current->cpu].running = engine.current;
        coroutine_switch(&engine.main, &engine.current->coroutine);
    }
    engine.live = false;
    return engine.outcome;
}
