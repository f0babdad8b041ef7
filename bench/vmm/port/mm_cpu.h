/*
 * mm_cpu.h (bench) - the CPU of a process (port/user), and the paging that it says it has.
 *
 * Problem     The VMM asks the CPU for its paging mode; a process has no CPU to ask.
 * Idea        Guard, index and relax are port/user's; the rest is an x86_64 with 4 levels and all
 *             leaf sizes (machine.c).
 * Invariants  As in port/x86_64/mm_cpu.h.
 * Locking     None.
 * Cost        That of port/user: the guard costs nothing. In a kernel it is pushfq, cli, popfq.
 * Rejected    These functions in port/user: it is for what runs in a process, which page tables do
 *             not.
 */
#ifndef BENCH_VMM_MM_CPU_H
#define BENCH_VMM_MM_CPU_H

#include "../../../port/user/mm_cpu.h"
#include "mm/paging.h"
#include "mm/types.h"

MM_NODISCARD enum mm_err mm_port_cpu_init(struct mm_paging *out, uint32_t wanted);
void mm_port_cpu_paging(struct mm_paging *out);

#define MM_CPU_ANCHORS 4u
unsigned mm_port_cpu_anchors(struct mm_virt_range *out);

#endif
