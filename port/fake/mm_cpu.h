/*
 * mm_cpu.h (fake) - the simulated CPU that the code runs on: interrupt flag, index, features.
 *
 * Problem     Locks and start-up code must run unchanged on a laptop, where nobody may switch
 *             interrupts off, and tests want to see each switch.
 * Idea        The same names and signatures as port/x86_64; the flag is one of the simulated CPU.
 * Invariants  mm_cpu_unguard() restores exactly the interrupt flag that its guard found.
 * Locking     None; the CPU index is per host thread, so each thread can be a CPU of its own.
 * Cost        A function call each.
 * Rejected    Masking signals of the host: slow, and invisible to the tests.
 */
#ifndef MM_CPU_H
#define MM_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/paging.h"
#include "mm/types.h"
#include "mm/host.h"
#include "fake_port.h"

typedef struct {
    bool on; /* interrupts were on when the guard was taken */
} mm_guard_t;

static inline mm_guard_t mm_cpu_guard(void)
{
    return (mm_guard_t){fake_port_guard()};
}

static inline void mm_cpu_unguard(mm_guard_t guard)
{
    fake_port_unguard(guard.on);
}

static inline bool mm_cpu_interrupts_on(void)
{
    return fake_port_interrupts_on();
}

static inline void mm_cpu_relax(void)
{
    fake_port_relax();
}

static inline unsigned mm_cpu_index(void)
{
    return mm_host_cpu();
}

MM_NODISCARD enum mm_err mm_port_cpu_init(struct mm_paging *out, uint32_t wanted);
void mm_port_cpu_paging(struct mm_paging *out);

#define MM_CPU_ANCHORS 5u
unsigned mm_port_cpu_anchors(struct mm_virt_range *out);

#endif
