/*
 * mm/paging.h - what the paging hardware of a machine can do.
 */
#ifndef MM_PAGING_H
#define MM_PAGING_H

#include "types.h"

/* Filled by the port from the CPU that runs; part of struct mm_vmm (mm/vmm.h). */
struct mm_paging {
    uint32_t levels;      /* 4 or 5 on x86_64 */
    uint32_t phys_bits;   /* width of physical addresses */
    uint32_t leaf_levels; /* bit n: a level-n entry may map memory itself (1: 4K, 2: 2M, 3: 1G) */
    uint32_t flags;       /* MM_PAGING_* */
};
#define MM_PAGING_NX     1u
#define MM_PAGING_GLOBAL 2u
#define MM_PAGING_WC     4u /* the CPU's memory types cover MM_MEMTYPE_WC and WP */
#define MM_PAGING_ASIDS  8u /* cached translations carry an address-space id: PCIDs of x86_64 */

#endif
