/*
 * mm_mmu.h (explorer) - the simulated MMU of the CPU that a thread of a scenario is on.
 *
 * Problem     Which CPU remembers what of the tables decides whether they may be freed.
 * Idea        The names of port/x86_64/mm_mmu.h; each changes what mmu.c remembers for this CPU.
 * Invariants  None.
 * Locking     None.
 * Cost        A function call each.
 * Rejected    port/fake's: its walkers run at each store, here they run in each order.
 */
#ifndef MM_MMU_H
#define MM_MMU_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"
#include "mm_entry.h"
#include "mm_pte.h"

#define MM_MMU_FLUSH_CEILING 32u

static inline void mm_mmu_published(void)
{
}

static inline void mm_mmu_flush_page(mm_virt_t virt)
{
    mmu_flush_page(virt.raw);
}

static inline mm_phys_t mm_mmu_root(void)
{
    return mm_phys(mmu_root());
}

static inline uint32_t mm_mmu_asid(void)
{
    return mmu_asid();
}

static inline void mm_mmu_load_root(mm_phys_t root)
{
    mmu_load_root(root.raw, 0, false);
}

#define MM_MMU_KEEP 1u

static inline void mm_mmu_load_root_asid(mm_phys_t root, uint32_t asid, uint32_t flags)
{
    mmu_load_root(root.raw, asid, (flags & MM_MMU_KEEP) != 0);
}

static inline bool mm_mmu_broadcast(const struct mm_virt_range *page, uint32_t count, bool global)
{
    (void)page, (void)count, (void)global;
    return false;
}

static inline void mm_mmu_flush_space(void)
{
    mmu_flush_space();
}

static inline void mm_mmu_flush_all(void)
{
    mmu_flush_all();
}

static inline void mm_mmu_zero(mm_virt_t virt, uint64_t bytes)
{
    __builtin_memset(mm_virt_pointer(virt), 0, bytes);
}

#define MM_PORT_USER_END          UINT64_C(0x0000800000000000)
#define MM_PORT_DIRECT_MAP        UINT64_C(0xffff900000000000)
#define MM_PORT_DIRECT_MAP_BYTES  UINT64_C(0x0000400000000000)
#define MM_PORT_KERNEL_AREA       UINT64_C(0xffffe00000000000)
#define MM_PORT_KERNEL_AREA_BYTES UINT64_C(0x0000010000000000)

#endif
