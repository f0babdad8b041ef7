/*
 * machine.c - the simulated CPUs: interrupt flags, interrupts, threads that share and change CPUs,
 * and the host layer that libmm asks for.
 *
 * Problem     Code that is right between CPUs may still be wrong when an interrupt uses it in the
 *             middle of itself, or when the thread is moved between two of its lines.
 * Idea        Before each step and at each end of a guard the CPU may take an interrupt: a handler
 *             of the scenario or one that another CPU sent. It runs on the stack of the interrupted
 *             thread, and each of its steps is a step like others. Where a CPU could switch threads,
 *             another of its threads may run, or the thread may be moved.
 * Invariants  I1 a handler leaves the interrupt flag and the CPU as it found them
 *             I2 an interrupt that was sent is taken before the execution ends
 *             I3 a thread is switched or moved only with interrupts on, preemption on, and outside
 *             of handlers
 * Locking     None.
 * Cost        A choice for each point at which something may come.
 * Rejected    Handlers as threads: they would not have to end before the interrupted code goes on.
 */
#include "engine.h"

#include <stdio.h>
#include <string.h>

#include "mm/host.h"

static bool direct_interrupts_on = true;
static uint32_t answered[IPIS_MAX];
static unsigned answers;

static struct cpu *here(void)
{
    return &engine.cpu[engine.current->cpu];
}

static bool ipi_waits(const struct cpu *cpu)
{
    bool on = cpu->interrupts_on || (engine.scenario->flags & EXPLORE_IPI_NMI) != 0;

    return cpu->ipi_first != cpu->ipi_end && on && cpu->in_nmi == 0;
}

static bool may_switch(const struct cpu *cpu)
{
    return cpu->interrupts_on && cpu->preempt_off == 0 && cpu->in_irq == 0 && cpu->in_nmi == 0;
}

bool machine_can_run(const struct thread *thread)
{
    const struct cpu *cpu = &engine.cpu[thread->cpu];

    if (cpu->running != thread && cpu->running != NULL && !may_switch(cpu))
        return false;
    if (thread->finished)
        return ipi_waits(cpu);
    if (thread->waits)
        return thread->runs_on || ipi_waits(cpu) || memory_changed(&thread->watches);
    return true;
}

bool machine_quiet(void)
{
    for (unsigned i = 0; i < engine.thread_count; i++)
        if (!engine.thread[i].finished)
            return false;
    for (unsigned i = 0; i < engine.scenario->cpus; i++)
        if (engine.cpu[i].ipi_first != engine.cpu[i].ipi_end)
            return false;
    return true;
}

/* ---- interrupts ---- */

static void handle(void (*fn)(void *arg), void (*run)(void), void *arg, unsigned *depth)
{
    struct thread *self = engine.current;
    struct watches watches = self->watches;
    struct cpu *cpu = here();
    bool waits = self->waits, finished = self->finished, on = cpu->interrupts_on;

    self->waits = self->finished = false;
    self->watches.count = 0;
    cpu->interrupts_on = false;
    (*depth)++;
    trace("interrupt");
    if (run != NULL)
        run();
    else
        fn(arg);
    if (cpu != here() || cpu->interrupts_on)
        explore_fail("a handler left its CPU, or interrupts on");
    trace("end of interrupt");
    (*depth)--;
    cpu->interrupts_on = on;
    self->watches = watches;
    self->waits = waits;
    self->finished = finished;
}

static void ipi_run(void *arg)
{
    struct ipi *ipi = arg;

    if ((engine.scenario->flags & EXPLORE_IPI_UNORDERED) == 0)
        memory_acquire(engine.current->cpu, ipi->release);
    ipi->fn(ipi->arg);
    if (ipi->finished != NULL)
        explore_store(ipi->finished, sizeof *ipi->finished, 1, EXPLORE_RELEASE);
}

static void ipi_take(struct cpu *cpu)
{
    struct ipi *ipi = &cpu->ipi[cpu->ipi_first++];

    reduce_enabled_by(ipi->event);
    handle(ipi_run, NULL, ipi,
           (engine.scenario->flags & EXPLORE_IPI_NMI) != 0 ? &cpu->in_nmi : &cpu->in_irq);
}

static bool may_come(const struct cpu *cpu, unsigned number)
{
    const struct explore_handler *handler = &engine.scenario->handler[number];

    if (cpu->times[number] == 0 || cpu->in_nmi != 0)
        return false;
    return handler->kind == EXPLORE_NMI || cpu->interrupts_on;
}

static void handler_run(struct cpu *cpu, unsigned number)
{
    const struct explore_handler *handler = &engine.scenario->handler[number];

    cpu->times[number]--;
    handle(NULL, handler->run, NULL, handler->kind == EXPLORE_NMI ? &cpu->in_nmi : &cpu->in_irq);
}

static bool may_move(const struct cpu *from, const struct cpu *to)
{
    return to != from && (to->running == NULL || may_switch(to));
}

static void move(struct thread *thread, unsigned to)
{
    trace("moves to CPU %u", to);
    memory_moved(thread->cpu, to);
    engine.cpu[thread->cpu].running = NULL;
    engine.cpu[to].running = thread;
    thread->cpu = to;
    thread->moves--;
}

/* Perhaps take an interrupt, or find this thread on another CPU. */
bool machine_interrupted(void)
{
    struct thread *self = engine.current;
    struct cpu *cpu = here();
    bool moves = self->moves != 0 && may_switch(cpu);
    unsigned count = 0, pick;

    count += ipi_waits(cpu);
    for (unsigned i = 0; i < EXPLORE_HANDLERS; i++)
        count += may_come(cpu, i);
    for (unsigned i = 0; moves && i < engine.scenario->cpus; i++)
        count += may_move(cpu, &engine.cpu[i]);
    pick = choose(1 + count);
    if (pick == 0)
        return false;
    if (ipi_waits(cpu) && --pick == 0) {
        ipi_take(cpu);
        return true;
    }
    for (unsigned i = 0; i < EXPLORE_HANDLERS; i++)
        if (may_come(cpu, i) && --pick == 0) {
            handler_run(cpu, i);
            return true;
        }
    for (unsigned i = 0; i < engine.scenario->cpus; i++)
        if (may_move(cpu, &engine.cpu[i]) && --pick == 0) {
            move(self, i);
            return true;
        }
    return true;
}

void machine_local_point(void)
{
    while (machine_interrupted())
        ;
}

/* ---- what the port calls ---- */

unsigned explore_cpu(void)
{
    return engine.live ? engine.current->cpu : engine.direct_cpu;
}

void explore_as_cpu(unsigned cpu)
{
    engine.direct_cpu = cpu;
}

bool explore_guard(void)
{
    bool *flag = &direct_interrupts_on, on;

    if (engine.live) {
        if (engine.shared)
            step(STEP_GUARD, 0, 0);
        else
            machine_local_point();
        flag = &here()->interrupts_on;
    }
    on = *flag;
    *flag = false;
    return on;
}

void explore_unguard(bool on)
{
    if (!engine.live) {
        direct_interrupts_on = on;
        return;
    }
    here()->interrupts_on = on;
    machine_local_point();
}

bool explore_interrupts_on(void)
{
    return engine.live ? here()->interrupts_on : direct_interrupts_on;
}

void explore_preempt_off(void)
{
    if (!engine.live)
        return;
    if (engine.shared)
        step(STEP_GUARD, 0, 0);
    here()->preempt_off++;
}

void explore_preempt_on(void)
{
    if (!engine.live)
        return;
    if (here()->preempt_off-- == 0)
        explore_fail("explore_preempt_on() without off");
    machine_local_point();
}

void explore_relax(void)
{
    struct thread *self = engine.current;

    if (!engine.live)
        explore_fail("waits for another CPU, and there is none");
    machine_local_point();
    trace("waits");
    self->waits = true;
    for (;;) {
        self->pending = (struct step){0, 0, STEP_RELAX};
        yield();
        if (ipi_waits(here()))
            reduce_waited(self);
        if (self->runs_on || memory_changed(&self->watches))
            break;
        ipi_take(here());
    }
    self->waits = self->runs_on = false;
    self->watches.count = 0;
}

/* ---- interrupts between CPUs, and the host layer ---- */

static void send(unsigned cpu, void (*fn)(void *arg), void *arg, uint32_t *finished)
{
    struct cpu *to = &engine.cpu[cpu];
    struct ipi *ipi;

    step(STEP_SEND, cpu, 0);
    if (to->ipi_end == IPIS_MAX)
        cannot("more than %u interrupts for one CPU", IPIS_MAX);
    trace("sends an interrupt to CPU %u", cpu);
    ipi = &to->ipi[to->ipi_end++];
    reduce_send(cpu);
    *ipi = (struct ipi){fn, arg, finished, reduce_current(), {0}};
    memory_release(engine.current->cpu, ipi->release);
}

static void direct_send(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    unsigned self = engine.direct_cpu;

    engine.direct_cpu = cpu;
    fn(arg);
    engine.direct_cpu = self;
}

void explore_send(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    if (engine.live)
        send(cpu, fn, arg, NULL);
    else
        direct_send(cpu, fn, arg);
}

struct request {
    void (*serve)(const void *what);
    const void *what;
};

static void run_here(void (*fn)(void *arg), void *arg)
{
    bool on = explore_guard();

    fn(arg);
    explore_unguard(on);
}

enum mm_err mm_host_run_on(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    uint32_t *finished;

    if ((engine.scenario->flags & EXPLORE_RUN_ON) == 0 || cpu >= engine.scenario->cpus)
        return MM_ERR_HOST;
    if (!engine.live) {
        direct_send(cpu, fn, arg);
        return MM_OK;
    }
    if (!here()->interrupts_on || here()->in_irq != 0 || here()->in_nmi != 0)
        explore_fail("mm_host_run_on() may wait, and interrupts are off");
    if (cpu == engine.current->cpu) {
        run_here(fn, arg);
        return MM_OK;
    }
    if (answers == IPIS_MAX)
        cannot("more than %u calls of mm_host_run_on()", IPIS_MAX);
    finished = &answered[answers++];
    send(cpu, fn, arg, finished);
    while (explore_load(finished, sizeof *finished, EXPLORE_ACQUIRE) == 0)
        explore_relax();
    return MM_OK;
}

static bool is_in(const struct mm_cpuset *cpus, unsigned cpu)
{
    return (cpus->bits[cpu / 64] >> cpu % 64 & 1) != 0;
}

static void request_serve(void *arg)
{
    const struct request *request = arg;

    request->serve(request->what);
}

/* Each waits as often as it is woken, and answers others meanwhile: interrupts are on. */
static void wait_for(const uint32_t *finished)
{
    while (explore_load(finished, sizeof *finished, EXPLORE_ACQUIRE) == 0)
        explore_relax();
}

static void request_send(const struct mm_cpuset *cpus, struct request *to)
{
    uint32_t *finished[EXPLORE_CPUS];
    unsigned self = engine.current->cpu;

    for (unsigned cpu = 0; cpu < engine.scenario->cpus; cpu++)
        if (cpu != self && is_in(cpus, cpu)) {
            if (answers == IPIS_MAX)
                cannot("more than %u answers of other CPUs", IPIS_MAX);
            finished[cpu] = &answered[answers++];
            send(cpu, request_serve, to, finished[cpu]);
        }
    for (unsigned cpu = 0; cpu < engine.scenario->cpus; cpu++)
        if (cpu != self && is_in(cpus, cpu))
            wait_for(finished[cpu]);
    if (is_in(cpus, self))
        run_here(request_serve, to);
}

void mm_host_shootdown(const struct mm_cpuset *cpus, void (*serve)(const void *request),
                       const void *what)
{
    struct request request = {serve, what};

    if ((engine.scenario->flags & EXPLORE_RUN_ON) == 0)
        explore_fail("mm_host_shootdown() is not simulated without EXPLORE_RUN_ON");
    if (engine.live) {
        if (!here()->interrupts_on || here()->in_irq != 0 || here()->in_nmi != 0)
            explore_fail("mm_host_shootdown() may wait, and interrupts are off");
        request_send(cpus, &request);
        return;
    }
    for (unsigned cpu = 0; cpu < engine.scenario->cpus; cpu++)
        if (is_in(cpus, cpu))
            direct_send(cpu, request_serve, &request);
}

unsigned mm_host_cpu(void)
{
    return explore_cpu();
}

void mm_host_report(const struct mm_report *report)
{
    char line[160];

    engine.reports++;
    (void)mm_report_format(line, sizeof line, report);
    trace("report: %s", line);
    if ((engine.scenario->flags & EXPLORE_REPORTS) == 0)
        explore_fail("report: %s", line);
}

void mm_host_panic(const struct mm_report *report)
{
    char line[160];

    (void)mm_report_format(line, sizeof line, report);
    explore_fail("panic: %s", line);
}

unsigned explore_reports(void)
{
    return engine.reports;
}

/* ---- one execution ---- */

/* The body of each coroutine. A CPU whose thread has ended goes on taking interrupts. */
void machine_thread(void)
{
    struct thread *self = engine.current;

    if ((engine.scenario->flags & EXPLORE_RUN_ON) != 0)
        step(STEP_NONE, 0, 0); /* an interrupt may be sent before the thread begins */
    if (self->what != NULL)
        self->what->run();
    if (!here()->interrupts_on || here()->preempt_off != 0)
        explore_fail("a thread ended with interrupts or preemption off");
    machine_local_point();
    self->finished = true;
    self->moves = 0;
    for (;;) {
        self->pending = (struct step){0, 0, STEP_NONE};
        yield();
        ipi_take(here());
    }
}

void machine_reset(void)
{
    const struct explore_scenario *scenario = engine.scenario;

    direct_interrupts_on = true;
    engine.direct_cpu = 0;
    answers = 0;
    memset(answered, 0, sizeof answered);
    for (unsigned i = 0; i < scenario->cpus; i++) {
        struct cpu *cpu = &engine.cpu[i];

        cpu->running = NULL;
        cpu->ipi_first = cpu->ipi_end = 0;
        cpu->preempt_off = cpu->in_irq = cpu->in_nmi = 0;
        cpu->interrupts_on = true;
        for (unsigned h = 0; h < EXPLORE_HANDLERS; h++)
            cpu->times[h] = scenario->handler[h].cpu == i && scenario->handler[h].run != NULL
                                ? scenario->handler[h].times
                                : 0;
    }
    for (unsigned i = 0; i < engine.thread_count; i++) {
        struct thread *thread = &engine.thread[i];

        coroutine_make(&thread->coroutine, machine_thread);
        thread->pending.kind = thread->done.kind = STEP_NONE;
        thread->watches.count = 0;
        thread->waits = thread->runs_on = thread->finished = false;
        if (thread->what != NULL) {
            thread->cpu = thread->what->cpu;
            thread->moves = thread->what->moves;
        }
    }
}
