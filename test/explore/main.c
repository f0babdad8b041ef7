/*
 * main.c - runs the scenarios of a program and says what was found.
 *
 *     explore_x [--list] [--find] [SCENARIO...]
 *
 * Without a name all of them. Exit 0: nothing was found. With --find, for mutants, it is the other
 * way round: 0 when each scenario found something. 3: the explorer itself cannot go on.
 *
 *     MM_REPLAY=SCENARIO:TRAIL    repeat one execution and show its steps
 *     MM_EXPLORE=long             the longer bounds, where a scenario has them
 *     MM_EXPLORE_BOUNDS=P,S       P preemptions ("all" = no bound) and S stale loads for all of them
 *     MM_EXPLORE_SECONDS=N        stop each scenario after N seconds, and say so
 */
#include "engine.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static uint64_t executions, repeats;
static bool long_run, find;
static double seconds_max;
static volatile sig_atomic_t heard; /* of progress, by the last look */
static volatile unsigned progress;

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* 1234567 as 1,234,567. */
static const char *number(uint64_t value)
{
    static char text[4][32];
    static unsigned turn;
    char *end = text[turn++ % 4] + 31;
    unsigned digits = 0;

    *end = '\0';
    do {
        if (digits != 0 && digits % 3 == 0)
            *--end = ',';
        *--end = (char)('0' + value % 10);
        digits++;
    } while ((value /= 10) != 0);
    return end;
}

/* ---- what stops an execution from outside ---- */

static void on_signal(int number_of_signal)
{
    static char stuck[] = "endless loop: no step for seconds";

    if (number_of_signal == SIGALRM && progress != (unsigned)heard) {
        heard = (sig_atomic_t)progress;
        return;
    }
    if (number_of_signal == SIGALRM)
        memcpy(engine.message, stuck, sizeof stuck);
    else
        snprintf(engine.message, sizeof engine.message, "signal: %s", strsignal(number_of_signal));
    engine.live = false;
    engine.outcome = RUN_FAILED;
    longjmp(engine.direct, 1);
}

static void signals_catch(void)
{
    static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGALRM};
    static char stack[64 << 10];
    struct itimerval every = {{4, 0}, {4, 0}};
    struct sigaction action;
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK | SA_NODEFER; /* the handler is left by a jump */
    sigaltstack(&other, NULL);
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
        sigaction(caught[i], &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

/* ---- trails as text: picks, "n*" before one that is repeated, without the zeros at the end ---- */

static void trail_print(void)
{
    unsigned end = engine.trail_position, i = 0;

    while (end > 0 && engine.trail[end - 1].pick == 0)
        end--;
    printf("  MM_REPLAY=%s:", engine.scenario->name);
    while (i < end) {
        unsigned same = 1;

        while (i + same < end && engine.trail[i + same].pick == engine.trail[i].pick)
            same++;
        if (same > 1)
            printf("%u*", same);
        printf("%u", engine.trail[i].pick);
        i += same;
        if (i < end)
            putchar(',');
    }
    putchar('\n');
}

static void trail_append(unsigned long pick)
{
    if (engine.trail_length == TRAIL_MAX || pick > UINT16_MAX)
        cannot("MM_REPLAY is no trail");
    engine.trail[engine.trail_length++].pick = (uint16_t)pick;
}

static void trail_read(const char *text)
{
    engine.trail_length = 0;
    while (*text != '\0') {
        char *end;
        unsigned long same = 1, pick = strtoul(text, &end, 10);

        if (end != text && *end == '*') {
            same = pick;
            text = end + 1;
            pick = strtoul(text, &end, 10);
        }
        if (end == text || (*end != ',' && *end != '\0'))
            cannot("MM_REPLAY is no trail: %s", text);
        for (unsigned long i = 0; i < same; i++)
            trail_append(pick);
        text = *end == ',' ? end + 1 : end;
    }
}

/* ---- one scenario ---- */

static void thread_add(const struct explore_thread *what, unsigned cpu)
{
    struct thread *thread = &engine.thread[engine.thread_count++];

    thread->what = what;
    thread->cpu = cpu;
    thread->moves = 0;
}

static void threads_make(const struct explore_scenario *scenario)
{
    unsigned on[EXPLORE_CPUS] = {0};

    engine.thread_count = 0;
    engine.shared = false;
    for (unsigned i = 0; i < EXPLORE_THREADS && scenario->thread[i].run != NULL; i++) {
        const struct explore_thread *thread = &scenario->thread[i];

        if (thread->cpu >= scenario->cpus)
            cannot("thread %u is on CPU %u of %u", i, thread->cpu, scenario->cpus);
        thread_add(thread, thread->cpu);
        engine.shared |= thread->moves != 0 || ++on[thread->cpu] > 1;
    }
    for (unsigned cpu = 0; cpu < scenario->cpus; cpu++)
        if (on[cpu] == 0 || engine.shared)
            thread_add(NULL, cpu);
}

static void bounds_choose(const struct explore_scenario *scenario)
{
    const char *text = getenv("MM_EXPLORE_BOUNDS");
    const struct explore_bounds *longer = &scenario->longer;
    char *end;

    engine.bounds = scenario->bounds;
    if (long_run && (longer->preemptions != 0 || longer->stale != 0 || longer->executions != 0))
        engine.bounds = *longer;
    if (text == NULL)
        return;
    engine.bounds.executions = 0;
    engine.bounds.preemptions = (uint32_t)strtoul(text, &end, 10);
    if (strncmp(text, "all", 3) == 0) {
        engine.bounds.preemptions = EXPLORE_ALL;
        end = (char *)(uintptr_t)text + 3;
    }
    if (end == text || *end != ',')
        cannot("MM_EXPLORE_BOUNDS is not like 2,1 or all,1: %s", text);
    engine.bounds.stale = (uint32_t)strtoul(end + 1, NULL, 10);
}

static void scenario_start(const struct explore_scenario *scenario)
{
    engine.scenario = scenario;
    if (scenario->cpus == 0 || scenario->cpus > EXPLORE_CPUS)
        cannot("%u CPUs", scenario->cpus);
    bounds_choose(scenario);
    engine.live = engine.trace = false;
    threads_make(scenario);
    engine.replaying = false;
    executions = repeats = 0;
}

void explore_without_reduction(void)
{
    engine.reduce = false;
}

static void memory_set_up(void)
{
    engine.trail_length = 0;
    engine.reduce = engine.bounds.preemptions == EXPLORE_ALL && !engine.shared &&
                    (engine.scenario->flags & EXPLORE_PLAIN_STEPS) == 0;
    regions_forget();
    if (engine.scenario->set_up != NULL)
        engine.scenario->set_up();
    regions_keep();
}

static void run_one(void)
{
    progress++;
    engine.in_execution = true;
    if (execute() == RUN_REPEATS)
        repeats++;
    else
        executions++;
    if (engine.outcome == RUN_ENDED && engine.scenario->check != NULL)
        engine.scenario->check();
    engine.in_execution = engine.outcome == RUN_FAILED;
}

/* Returns false when it was stopped before everything was tried. */
static bool search(double start)
{
    uint64_t limit = engine.bounds.executions;

    do {
        run_one();
        if (engine.outcome == RUN_FAILED)
            return true;
        if (!trail_next()) {
            if (engine.scenario->again == NULL || !engine.scenario->again())
                return true;
            memory_set_up();
        }
        if (limit != 0 && executions + repeats >= limit)
            return false;
    } while (seconds_max == 0 || (executions + repeats) % 1024 != 0 ||
             seconds_now() - start < seconds_max);
    return false;
}

static void bounds_print(void)
{
    if (engine.bounds.preemptions == EXPLORE_ALL)
        printf("all orders");
    else
        printf("%u preemptions", engine.bounds.preemptions);
    printf(", %u stale load%s", engine.bounds.stale, engine.bounds.stale == 1 ? "" : "s");
}

/* The execution that failed once more, step by step. */
static void show(void)
{
    fflush(stdout);
    if (setjmp(engine.direct) == 0) {
        engine.trail_length = engine.trail_position;
        engine.replaying = true;
        engine.trace = true;
        run_one();
    }
    engine.trace = false;
    printf("  -> %s\n", engine.outcome == RUN_FAILED ? engine.message : "no fault");
}

static bool as_expected(bool failed, bool complete)
{
    const struct explore_scenario *scenario = engine.scenario;

    if (scenario->finds != NULL)
        return failed && engine.in_execution && strstr(engine.message, scenario->finds) != NULL;
    if (find)
        return failed && engine.in_execution; /* not in set_up */
    return !failed && (scenario->count == 0 || (complete && executions == scenario->count));
}

static bool scenario_run(const struct explore_scenario *scenario)
{
    volatile double start = seconds_now();
    volatile bool complete = true;
    bool failed, good;

    engine.outcome = RUN_ENDED;
    engine.in_execution = false;
    if (setjmp(engine.direct) == 0) {
        scenario_start(scenario);
        memory_set_up();
        complete = search(start);
    }
    failed = engine.outcome == RUN_FAILED;
    good = as_expected(failed, complete);
    printf("%-28s ", scenario->name);
    if (failed)
        printf("%s at execution %s: %s\n", good ? "found" : "FAULT", number(executions + repeats),
               engine.message);
    else
        printf("%s%s, %s executions, %s cut as repeats, %.2f s; within ",
               good ? "" : "WRONG: ", complete ? "clean, all" : "clean so far, STOPPED",
               number(executions), number(repeats), seconds_now() - start);
    if (!failed) {
        bounds_print();
        putchar('\n');
    }
    if (failed && !good && engine.in_execution) {
        trail_print();
        show();
    } else if (failed && !good) {
        printf("  not in an execution: in set_up, or when all had been tried\n");
    } else if (!good) {
        printf("  a failure should have been found, or the number of executions is not the known "
               "one\n");
    }
    fflush(stdout);
    return good;
}

static int replay(const char *text)
{
    for (const struct explore_scenario *s = explore_scenarios; s->name != NULL; s++) {
        size_t length = strlen(s->name);

        if (strncmp(text, s->name, length) == 0 && text[length] == ':') {
            scenario_start(s);
            if (setjmp(engine.direct) == 0)
                memory_set_up();
            else
                cannot("set_up: %s", engine.message);
            trail_read(text + length + 1);
            engine.trail_position = engine.trail_length;
            show();
            return engine.outcome == RUN_FAILED ? 1 : 0;
        }
    }
    printf("explorer: no scenario of this program in MM_REPLAY\n");
    return 2;
}

static bool chosen(const struct explore_scenario *scenario, int count, char **names)
{
    bool any = false;

    for (int i = 1; i < count; i++) {
        any |= names[i][0] != '-';
        if (strcmp(names[i], scenario->name) == 0)
            return true;
    }
    return !any;
}

int main(int count, char **arguments)
{
    const char *text = getenv("MM_EXPLORE");
    bool good = true, list = false;
    unsigned run = 0;

    long_run = text != NULL && strcmp(text, "long") == 0;
    text = getenv("MM_EXPLORE_SECONDS");
    seconds_max = text != NULL ? atof(text) : 0;
    for (int i = 1; i < count; i++) {
        find |= strcmp(arguments[i], "--find") == 0;
        list |= strcmp(arguments[i], "--list") == 0;
    }
    signals_catch();
    text = getenv("MM_REPLAY");
    if (text != NULL && !list)
        return replay(text);
    for (const struct explore_scenario *s = explore_scenarios; s->name != NULL; s++) {
        if (!chosen(s, count, arguments))
            continue;
        run++;
        if (list)
            printf("%s\n", s->name);
        else
            good &= scenario_run(s);
    }
    if (run == 0)
        printf("explorer: no such scenario\n");
    return run == 0 ? 2 : good ? 0 : 1;
}
