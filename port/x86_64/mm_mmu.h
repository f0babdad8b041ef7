/*
 * mm_mmu.h (x86_64) - the MMU: translations in caches, the root register.
 *
 * Problem     What the hardware remembers of page tables outlives them, and each flush must be the
 *             right one.
 * Idea        The VMM touches entries (mm_entry.h) and caches through these functions only. The
 *             simulated machine replaces both files and so sees every access.
 * Invariants  A flush is not moved before the store that it follows: each is a compiler barrier.
 * Locking     None.
 * Cost        invlpg about 100 ns.
 * Rejected    Flushes that decide by themselves between page and all: the caller knows how many.
 * Source      Intel SDM vol. 3A, 4.10.4 (invalidation), 4.5 (CR3).
 */
#ifndef MM_MMU_H
#define MM_MMU_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"
#include "mm_asid.h"
#include "mm_entry.h"
#include "mm_pte.h"

/* Above this many pages a full flush is cheaper than one by one. */
#define MM_MMU_FLUSH_CEILING 32u

/* After entries became present: x86_64 walks again by itself. */
static inline void mm_mmu_published(void)
{
}

/* Drop this CPU's translation of the page at `virt`, global or not, whatever its size, and the
 * cached upper-level entries that lead to it. All others go, too, but on CPUs of AMD with
 * EFER.TCE = 1 (APM vol. 2, 3.1.7): do not count on it. */
static inline void mm_mmu_flush_page(mm_virt_t virt)
{
    __asm__ volatile("invlpg (%0)" : : "r"(virt.raw) : "memory");
}

#define MM_CR4_PGE (UINT64_C(1) << 7)

#define MM_MMU_KEEP 1u

static inline uint64_t mm_cr3_read(void)
{
    uint64_t cr3;

    __asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
    return cr3;
}

static inline void mm_cr3_write(uint64_t cr3)
{
    __asm__ volatile("movq %0, %%cr3" : : "r"(cr3) : "memory");
}

static inline mm_phys_t mm_mmu_root(void)
{
    return mm_phys(mm_cr3_read() & MM_CR3_ADDR);
}

/* The address-space id that is loaded. Only where ids are on. */
static inline uint32_t mm_mmu_asid(void)
{
    return (uint32_t)(mm_cr3_read() & (MM_MMU_ASIDS - 1));
}

/* Load a root with address-space id 0; drops this CPU's translations of that id, which without ids
 * are all that are not global. */
static inline void mm_mmu_load_root(mm_phys_t root)
{
    mm_cr3_write(root.raw);
}

/* Load a root with an id below MM_MMU_ASIDS; MM_MMU_KEEP: what is cached with that id stays. Only
 * where MM_PAGING_ASIDS is on. */
static inline void mm_mmu_load_root_asid(mm_phys_t root, uint32_t asid, uint32_t flags)
{
    mm_cr3_write(mm_cr3_of(root, asid, (flags & MM_MMU_KEEP) != 0));
}

/* Drop this CPU's translations that are not global, of the id that is loaded: reading CR3 gives the id
 * back, and bit 63 as 0. */
static inline void mm_mmu_flush_space(void)
{
    mm_cr3_write(mm_cr3_read());
}

/*
 * For machines that can flush on every CPU without asking it: drop, on all CPUs and whatever their
 * ids, what mm_mmu_flush_page() would for each of `page`; count 0: all that is not global, with `global`
 * all. True when every CPU has. False: nothing was done, the host asks them (AMD's INVLPGB is not used:
 * it names ids, and each CPU gives its own).
 */
static inline bool mm_mmu_broadcast(const struct mm_virt_range *page, uint32_t count, bool global)
{
    (void)page, (void)count, (void)global;
    return false;
}

/* Drop all of this CPU's translations, of all ids: clearing CR4.PGE does (SDM vol. 3A, 4.10.4.1). Where
 * there are no global pages, there are no ids. */
static inline void mm_mmu_flush_all(void)
{
    uint64_t cr4;

    __asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
    if ((cr4 & MM_CR4_PGE) == 0) {
        mm_mmu_flush_space();
        return;
    }
    __asm__ volatile("movq %0, %%cr4" : : "r"(cr4 & ~MM_CR4_PGE) : "memory");
    __asm__ volatile("movq %0, %%cr4" : : "r"(cr4) : "memory");
}

/* Write zeroes to [virt, virt + bytes), which the loaded root maps writable. */
static inline void mm_mmu_zero(mm_virt_t virt, uint64_t bytes)
{
    __builtin_memset(mm_virt_pointer(virt), 0, bytes);
}

/* The highest and the default layout; see mm_layout_default(). Both canonical with 4 levels. */
#define MM_PORT_USER_END          UINT64_C(0x0000800000000000)
#define MM_PORT_DIRECT_MAP        UINT64_C(0xffff900000000000)
#define MM_PORT_DIRECT_MAP_BYTES  UINT64_C(0x0000400000000000) /* 64 TiB */
#define MM_PORT_KERNEL_AREA       UINT64_C(0xffffe00000000000)
#define MM_PORT_KERNEL_AREA_BYTES UINT64_C(0x0000010000000000) /* 1 TiB */

#endif
