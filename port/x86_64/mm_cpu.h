/*
 * mm_cpu.h (x86_64) - this CPU: interrupts off and on, its index, its features.
 *
 * Problem     Locks need interrupts off and the CPU's number; start-up needs to know and set what
 *             paging depends on. Each is a few instructions that no other file should contain.
 * Idea        Inlined where it is hot (guard, relax, index), functions in cpu.c where it is not.
 * Invariants  mm_cpu_unguard() restores exactly the interrupt flag that its guard found.
 * Locking     None.
 * Cost        guard + unguard: pushfq, cli, popfq; about 5 to 10 ns.
 * Rejected    sti in unguard: it would enable interrupts that were off before.
 * Source      Intel SDM vol. 2 (PUSHF, CLI, PAUSE), vol. 3A 2.2.1, 2.5, 4.1.
 */
#ifndef MM_CPU_H
#define MM_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/paging.h"
#include "mm/types.h"

#ifdef MM_CPU_HEADER
#include MM_CPU_HEADER
#endif
#include "mm/host.h"

typedef struct {
    uint64_t rflags;
} mm_guard_t;

#define MM_RFLAGS_IF (UINT64_C(1) << 9)

/* Interrupts off; returns what to restore. The memory clobber keeps accesses inside. */
static inline mm_guard_t mm_cpu_guard(void)
{
    mm_guard_t guard;

    __asm__ volatile("pushfq\n\tpopq %0\n\tcli" : "=r"(guard.rflags) : : "memory");
    return guard;
}

static inline void mm_cpu_unguard(mm_guard_t guard)
{
    __asm__ volatile("pushq %0\n\tpopfq" : : "r"(guard.rflags) : "memory", "cc");
}

static inline bool mm_cpu_interrupts_on(void)
{
    uint64_t rflags;

    __asm__ volatile("pushfq\n\tpopq %0" : "=r"(rflags));
    return (rflags & MM_RFLAGS_IF) != 0;
}

static inline void mm_cpu_relax(void)
{
    __asm__ volatile("pause" : : : "memory");
}

/* Index of this CPU; called with interrupts off. */
static inline unsigned mm_cpu_index(void)
{
    return mm_host_cpu();
}

/*
 * Set what the port needs on this CPU (EFER.NXE, CR0.WP, CR4.PGE, PAT) and describe its paging.
 * `wanted`: MM_PAGING_ASIDS = switch on address-space ids too, where they work; or 0.
 * MM_OK | MM_ERR_CPU: not in long mode, or no NX. Interrupts off. port/x86_64/cpu.c
 */
MM_NODISCARD enum mm_err mm_port_cpu_init(struct mm_paging *out, uint32_t wanted);

/* Describe the paging of this CPU without changing anything. */
void mm_port_cpu_paging(struct mm_paging *out);

/* Addresses that this CPU cannot do without: code, stack, GDT, and IDT if one is loaded. Fills at
 * most MM_CPU_ANCHORS ranges, code first, stack second; returns how many. */
#define MM_CPU_ANCHORS 4u
unsigned mm_port_cpu_anchors(struct mm_virt_range *out);

#endif
