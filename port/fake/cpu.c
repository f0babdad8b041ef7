/*
 * cpu.c (fake) - simulated CPUs: features, interrupt flags, injected interrupts.
 *
 * Problem     "Works if no interrupt comes just here" is what tests on a laptop never see.
 * Idea        Each CPU has a flag that guard and unguard switch. Where it is on, an interrupt may
 *             come: at each port call, and (step.c) at each instruction.
 * Invariants  I1 a handler runs with the flag off, on the CPU that was interrupted, and leaves both
 *             as it found them
 *             I2 no interrupt comes while the machine itself works (depth > 0)
 * Locking     A CPU belongs to the host thread that is it; counters are atomic.
 * Cost        A few loads per port call; counts are summed when asked for.
 * Rejected    Timer signals: they come at other places in each run.
 */
#include "mm_cpu.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

/* What the manual gives as the power-on value of IA32_PAT: WB, WT, UC-, UC, twice. */
#define PAT_POWER_ON UINT64_C(0x0007040600070406)

/* Longer than any lock is held; a scheduling quantum of the host costs a handful. */
#define RELAX_MAX 5000000u

struct fake_machine fake_machine;
static void (*failure)(const char *what);
static _Thread_local unsigned current;
static _Thread_local volatile unsigned depth;
static _Thread_local unsigned relaxed;

_Noreturn void fake_fail(const char *format, ...)
{
    static char what[200];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    depth = 0;
    if (failure != NULL)
        failure(what);
    fprintf(stderr, "simulated machine: %s\n", what);
    abort();
}

void fake_set_failure(void (*fail)(const char *what))
{
    failure = fail;
}

void fake_reset(void)
{
    fake_ram_release();
    fake_caches_free();
    memset(&fake_machine, 0, sizeof fake_machine);
    fake_machine.frame_map_fail = -1;
    fake_machine.cpus = 1;
    fake_machine.epoch = 1;
    fake_machine.on.one_in = 1;
    for (unsigned i = 0; i < FAKE_CPUS_MAX; i++)
        fake_machine.cpu[i] = (struct fake_cpu){
            .levels = fake_format.cpu_levels,
            .phys_bits = fake_format.cpu_phys_bits,
            .leaf_levels = fake_format.cpu_leaf_levels,
            .has_nx = true,
            .has_global = true,
            .has_pat = true,
            .long_mode = true,
            .pat = PAT_POWER_ON,
            .interrupts_on = true,
        };
    current = 0;
    depth = 0;
    relaxed = 0;
}

struct fake_cpu *fake_cpu(unsigned cpu)
{
    if (cpu >= FAKE_CPUS_MAX)
        fake_fail("no CPU %u", cpu);
    if (cpu >= fake_machine.cpus)
        fake_machine.cpus = cpu + 1;
    return &fake_machine.cpu[cpu];
}

void fake_cpu_set(unsigned cpu)
{
    (void)fake_cpu(cpu);
    current = cpu;
}

unsigned fake_cpu_current(void)
{
    return current;
}

void fake_cpu_off(unsigned cpu)
{
    fake_cpu(cpu)->root_loaded = false;
    fake_cache_drop_all(cpu);
}

void fake_interrupts(bool on)
{
    fake_machine.cpu[current].interrupts_on = on;
}

void fake_cpus_prepare(void)
{
    for (unsigned i = 0; i < FAKE_CPUS_MAX; i++) {
        struct fake_cpu *cpu = &fake_machine.cpu[i];

        cpu->nxe = cpu->has_nx;
        cpu->wp = true;
        cpu->pge = cpu->has_global;
        cpu->pat = cpu->has_pat ? fake_format_pat() : cpu->pat;
    }
}

/* ---- interrupts ---- */

static void interrupt_deliver(void)
{
    void (*handler)(void *arg) = fake_machine.interrupt;
    unsigned cpu = current;

    if (fake_machine.interrupt_skip > 0) {
        fake_machine.interrupt_skip--;
        return;
    }
    if (fake_machine.interrupt_skip == 0)
        fake_machine.interrupt = NULL;
    fake_machine.count.interrupts++;
    fake_machine.cpu[cpu].interrupts_on = false;
    handler(fake_machine.interrupt_arg);
    if (fake_machine.cpu[cpu].interrupts_on || current != cpu)
        fake_fail("an interrupt handler left interrupts on, or the CPU");
    fake_machine.cpu[cpu].interrupts_on = true;
}

static void interrupt_point(void)
{
    if (fake_machine.interrupt != NULL && depth == 0 && fake_machine.cpu[current].interrupts_on)
        interrupt_deliver();
}

void fake_enter(void)
{
    depth++;
}

void fake_leave(void)
{
    depth--;
    interrupt_point();
}

unsigned fake_depth(void)
{
    return depth;
}

/* Become another CPU for an interrupt there: its flag goes off and comes back. */
void fake_ipi(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    unsigned from = current;
    bool on = fake_cpu(cpu)->interrupts_on;

    current = cpu;
    fake_machine.counts[cpu].ipis++;
    fake_machine.cpu[cpu].interrupts_on = false;
    fn(arg);
    fake_machine.cpu[cpu].interrupts_on = on;
    current = from;
}

void fake_interrupt_set(void (*handler)(void *arg), void *arg)
{
    fake_machine.interrupt_skip = -1;
    fake_machine.interrupt_arg = arg;
    fake_machine.interrupt = handler;
}

void fake_interrupt_once(void (*handler)(void *arg), void *arg, uint64_t skip)
{
    fake_machine.interrupt_skip = (int64_t)skip;
    fake_machine.interrupt_arg = arg;
    fake_machine.interrupt = handler;
}

bool fake_interrupt_pending(void)
{
    return fake_machine.interrupt != NULL;
}

/* ---- what mm_cpu.h calls ---- */

bool fake_port_guard(void)
{
    struct fake_cpu *cpu = &fake_machine.cpu[current];
    bool on;

    interrupt_point();
    depth++;
    relaxed = 0;
    on = cpu->interrupts_on;
    cpu->interrupts_on = false;
    __atomic_fetch_add(&fake_machine.count.guards, 1, __ATOMIC_RELAXED);
    depth--;
    return on;
}

void fake_port_unguard(bool on)
{
    depth++;
    relaxed = 0;
    fake_machine.cpu[current].interrupts_on = on;
    depth--;
    interrupt_point();
}

bool fake_port_interrupts_on(void)
{
    return fake_machine.cpu[current].interrupts_on;
}

/* Whoever waits gives the host's other threads a chance; without any it would wait for ever. */
void fake_port_relax(void)
{
    if (++relaxed == RELAX_MAX)
        fake_fail("CPU %u waits for ever", current);
    fake_enter();
    sched_yield();
    fake_leave();
}

bool fake_port_frame_map_fails(void)
{
    if (fake_machine.frame_map_fail < 0)
        return false;
    if (fake_machine.frame_map_fail > 0 || !fake_machine.frame_map_fails_on)
        return fake_machine.frame_map_fail-- == 0;
    return true;
}

void fake_frame_map_fail(uint64_t skip)
{
    fake_machine.frame_map_fail = (int64_t)skip;
    fake_machine.frame_map_fails_on = false;
}

void fake_frame_map_fail_on(uint64_t skip)
{
    fake_machine.frame_map_fail = (int64_t)skip;
    fake_machine.frame_map_fails_on = true;
}

void fake_frame_map_works(void)
{
    fake_machine.frame_map_fail = -1;
}

void fake_port_frame_mapped(void)
{
    __atomic_fetch_add(&fake_machine.count.frame_maps, 1, __ATOMIC_RELAXED);
}

void fake_port_frame_unmapped(const void *pointer)
{
    mm_phys_t phys;

    if (!fake_ram_phys(pointer, &phys) || phys.raw % MM_FRAME_BYTES != 0)
        fake_fail("unmap of %p, which is no frame", pointer);
    if (__atomic_add_fetch(&fake_machine.count.frame_unmaps, 1, __ATOMIC_RELAXED) >
        __atomic_load_n(&fake_machine.count.frame_maps, __ATOMIC_RELAXED))
        fake_fail("more frames unmapped than mapped");
}

/* ---- features and anchors, as the x86_64 port's cpu.c has them ---- */

void mm_port_cpu_paging(struct mm_paging *out)
{
    const struct fake_cpu *cpu = &fake_machine.cpu[current];

    out->levels = cpu->levels;
    out->phys_bits = cpu->phys_bits;
    out->leaf_levels = cpu->leaf_levels;
    out->flags = (cpu->nxe ? MM_PAGING_NX : 0) | (cpu->asid_on ? MM_PAGING_ASIDS : 0) |
                 (cpu->pge ? MM_PAGING_GLOBAL : 0) |
                 (cpu->has_pat && cpu->pat == fake_format_pat() ? MM_PAGING_WC : 0);
}

enum mm_err mm_port_cpu_init(struct mm_paging *out, uint32_t wanted)
{
    struct fake_cpu *cpu = &fake_machine.cpu[current];

    if (!cpu->long_mode || !cpu->has_nx)
        return MM_ERR_CPU;
    cpu->nxe = true;
    cpu->wp = true;
    cpu->pge = cpu->has_global;
    cpu->pat = cpu->has_pat ? fake_format_pat() : cpu->pat;
    if ((wanted & MM_PAGING_ASIDS) != 0 && cpu->has_asid && cpu->has_global && !cpu->asid_on)
        fake_port_asid_enable();
    mm_port_cpu_paging(out);
    return MM_OK;
}

unsigned mm_port_cpu_anchors(struct mm_virt_range *out)
{
    for (unsigned i = 0; i < fake_machine.anchor_count; i++)
        out[i] = (struct mm_virt_range){fake_machine.anchor[i].virt, fake_machine.anchor[i].bytes};
    return fake_machine.anchor_count;
}

/* ---- counts ---- */

struct fake_counts fake_counts(void)
{
    struct fake_counts sum = fake_machine.count;

    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++) {
        const struct fake_cpu_counts *one = &fake_machine.counts[cpu];

        sum.flush_page += one->flush_page;
        sum.flush_space += one->flush_space;
        sum.flush_all += one->flush_all;
        sum.flush_asid_page += one->flush_asid_page;
        sum.flush_asid += one->flush_asid;
        sum.flush_asids += one->flush_asids;
        sum.root_loads += one->root_loads;
        sum.ipis += one->ipis;
        sum.walks += one->walks;
    }
    return sum;
}

struct fake_cpu_counts fake_cpu_counts(unsigned cpu)
{
    (void)fake_cpu(cpu);
    return fake_machine.counts[cpu];
}

void fake_counts_clear(void)
{
    fake_machine.count = (struct fake_counts){0};
    memset(fake_machine.counts, 0, sizeof fake_machine.counts);
}
