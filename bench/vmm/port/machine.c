/*
 * machine.c (bench) - the paging of a CPU that does not exist: 4 levels, all leaf sizes.
 *
 * Problem     Figures of two machines can be compared only if the tables are the same.
 * Idea        One answer everywhere, whatever the processor under the process has.
 * Invariants  Every CPU answers alike.
 * Locking     None.
 * Cost        -
 * Rejected    Asking CPUID: a processor with 5 levels would not use them either, the kernel decides.
 */
#include "mm_cpu.h"

#define PHYS_BITS 48u

void mm_port_cpu_paging(struct mm_paging *out)
{
    out->levels = 4;
    out->phys_bits = PHYS_BITS;
    out->leaf_levels = 1u << 1 | 1u << 2 | 1u << 3;
    out->flags = MM_PAGING_NX | MM_PAGING_GLOBAL | MM_PAGING_WC;
}

enum mm_err mm_port_cpu_init(struct mm_paging *out, uint32_t wanted)
{
    (void)wanted;
    mm_port_cpu_paging(out);
    return MM_OK;
}

/* Nothing that a change of root could take away. */
unsigned mm_port_cpu_anchors(struct mm_virt_range *out)
{
    (void)out;
    return 0;
}
