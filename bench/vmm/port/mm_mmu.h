/*
 * mm_mmu.h (bench) - the MMU of a process that has none: entries are memory, flushes are counted.
 *
 * Problem     Page tables are to be measured without a kernel. invlpg and a move to cr3 fault in a
 *             process, and cost what the machine takes for them, not what libmm does.
 * Idea        Entries are read and written by the instructions of port/x86_64. What would flush or
 *             load a root adds one to a counter of the thread that stands for the CPU.
 * Invariants  Nothing here is translated: no walker, no TLB. test/vmm has one that is hostile.
 * Locking     As port/x86_64/mm_mmu.h. A counter belongs to one thread.
 * Cost        A flush: one add to memory.
 * Rejected    Flushes that do nothing: how many there are is half of what is to be known.
 */
#ifndef MM_MMU_H
#define MM_MMU_H

#include <stdbool.h>
#include <stdint.h>

#include "../cpus.h"
#include "mm/types.h"
#include "mm_entry.h"
#include "mm_pte.h"

/* As on x86_64. */
#define MM_MMU_FLUSH_CEILING 32u

static inline void mm_mmu_published(void)
{
}

static inline void mm_mmu_flush_page(mm_virt_t virt)
{
    __asm__ volatile("" : : "r"(virt.raw) : "memory"); /* as invlpg: a barrier, an address wanted */
    bench_flushes.page++;
}

static inline mm_phys_t mm_mmu_root(void)
{
    return mm_phys(bench_flushes.root);
}

static inline uint32_t mm_mmu_asid(void)
{
    return 0;
}

static inline void mm_mmu_load_root(mm_phys_t root)
{
    __asm__ volatile("" : : : "memory");
    bench_flushes.root = root.raw;
    bench_flushes.load++;
}

#define MM_MMU_KEEP 1u

static inline void mm_mmu_load_root_asid(mm_phys_t root, uint32_t asid, uint32_t flags)
{
    (void)asid, (void)flags; /* machine.c has no ids */
    mm_mmu_load_root(root);
}

static inline bool mm_mmu_broadcast(const struct mm_virt_range *page, uint32_t count, bool global)
{
    (void)page, (void)count, (void)global;
    return false;
}

static inline void mm_mmu_flush_space(void)
{
    __asm__ volatile("" : : : "memory");
    bench_flushes.full++;
}

static inline void mm_mmu_flush_all(void)
{
    __asm__ volatile("" : : : "memory");
    bench_flushes.full++;
}

/* There is no memory behind a virtual address here. */
static inline void mm_mmu_zero(mm_virt_t virt, uint64_t bytes)
{
    (void)virt, (void)bytes;
    __builtin_trap();
}

/* As on x86_64. */
#define MM_PORT_USER_END          UINT64_C(0x0000800000000000)
#define MM_PORT_DIRECT_MAP        UINT64_C(0xffff900000000000)
#define MM_PORT_DIRECT_MAP_BYTES  UINT64_C(0x0000400000000000)
#define MM_PORT_KERNEL_AREA       UINT64_C(0xffffe00000000000)
#define MM_PORT_KERNEL_AREA_BYTES UINT64_C(0x0000010000000000)

#endif
