/*
 * step.c (fake) - an interrupt at every instruction.
 *
 * Problem     A counter that is loaded and stored without its guard loses an update only if an
 *             interrupt comes between the two instructions.
 * Idea        The host's trap flag: after each instruction the host sends SIGTRAP, and its handler
 *             runs the interrupt at the n-th boundary, for every n in turn.
 * Invariants  I1 boundaries inside the machine (depth > 0) and with the simulated flag off do not
 *             count and get no interrupt
 *             I2 after the interrupt the rest of the run is at full speed
 * Locking     None; the host thread that calls it.
 * Cost        n boundaries: about n^2 / 2 traps of about 10 us.
 * Rejected    ptrace() from another process: the same, with two context switches more per step.
 */
#define _GNU_SOURCE /* REG_EFL */
#include "machine.h"

#if defined(__x86_64__) && defined(__linux__)

#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100

static struct {
    volatile bool active, fired;
    volatile uint64_t seen;
    uint64_t target;
    const struct fake_step *step;
} now;

static void interrupt_take(void)
{
    struct fake_cpu *cpu = &fake_machine.cpu[fake_cpu_current()];
    unsigned index = fake_cpu_current();

    cpu->interrupts_on = false;
    fake_machine.count.interrupts++;
    now.step->inner(now.step->arg);
    if (cpu->interrupts_on || fake_cpu_current() != index)
        fake_fail("an interrupt handler left interrupts on, or the CPU");
    cpu->interrupts_on = true;
}

static void trapped(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *interrupted = context;

    (void)signal_number;
    (void)info;
    if (now.active && (fake_depth() != 0 || !fake_machine.cpu[fake_cpu_current()].interrupts_on ||
                       now.seen++ != now.target))
        return;
    interrupted->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    if (!now.active)
        return;
    now.fired = true;
    interrupt_take();
}

/* The stack below the pointer may be in use (red zone), so step over it. */
static inline __attribute__((always_inline)) void trap_flag(bool on)
{
    if (on)
        __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
                         "lea 128(%%rsp), %%rsp" ::
                             : "memory", "cc");
    else
        __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\t"
                         "lea 128(%%rsp), %%rsp" ::
                             : "memory", "cc");
}

static bool run(struct fake_step *step, uint64_t target)
{
    now.step = step;
    now.target = target;
    now.seen = 0;
    now.fired = false;
    if (step->begin != NULL)
        step->begin(step->arg);
    now.active = true;
    trap_flag(true);
    step->outer(step->arg);
    now.active = false;
    trap_flag(false);
    if (step->end != NULL)
        step->end(step->arg);
    return now.fired;
}

bool fake_interrupt_each_instruction(struct fake_step *step)
{
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction before;
    uint64_t stride = step->stride == 0 ? 1 : step->stride;

    if (sigaction(SIGTRAP, &action, &before) != 0)
        return false;
    step->runs = 0;
    for (uint64_t n = step->first; step->runs_max == 0 || step->runs < step->runs_max;
         n += stride) {
        if (!run(step, n))
            break;
        step->runs++;
    }
    sigaction(SIGTRAP, &before, NULL);
    return true;
}

#else

bool fake_interrupt_each_instruction(struct fake_step *step)
{
    step->runs = 0;
    return false;
}

#endif
