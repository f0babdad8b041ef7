/*
 * mm_cpu.h (explorer) - the simulated CPU that a thread of a scenario is on.
 *
 * Problem     Guards and waiting must be seen by the explorer: interrupts come where the flag is on,
 *             and a thread that waits cannot go on by itself.
 * Idea        The same names and signatures as port/x86_64, each a call of the explorer.
 * Invariants  mm_cpu_unguard() restores exactly the interrupt flag that its guard found.
 * Locking     None.
 * Cost        A function call each.
 * Rejected    port/fake's: its CPUs are threads of the host, whose order nobody chooses.
 */
#ifndef MM_CPU_H
#define MM_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/host.h"
#include "mm/paging.h"
#include "mm/types.h"
#include "../explore_port.h"

typedef struct {
    bool on; /* interrupts were on when the guard was taken */
} mm_guard_t;

static inline mm_guard_t mm_cpu_guard(void)
{
    return (mm_guard_t){explore_guard()};
}

static inline void mm_cpu_unguard(mm_guard_t guard)
{
    explore_unguard(guard.on);
}

static inline bool mm_cpu_interrupts_on(void)
{
    return explore_interrupts_on();
}

static inline void mm_cpu_relax(void)
{
    explore_relax();
}

static inline unsigned mm_cpu_index(void)
{
    return explore_cpu();
}

/* As in a kernel whose MM_CPU_HEADER can keep a thread on its CPU without switching interrupts off. */
#define MM_HOST_PREEMPT 1
static inline void mm_host_preempt_off(void)
{
    explore_preempt_off();
}

static inline void mm_host_preempt_on(void)
{
    explore_preempt_on();
}

/* mmu.c; only programs with page tables have them. */
MM_NODISCARD enum mm_err mm_port_cpu_init(struct mm_paging *out, uint32_t wanted);
void mm_port_cpu_paging(struct mm_paging *out);

#define MM_CPU_ANCHORS 4u
unsigned mm_port_cpu_anchors(struct mm_virt_range *out);

#endif
