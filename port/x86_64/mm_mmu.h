/*
 * mm_mmu.h (x86_64) - the MMU: entries in memory, translations in caches, the root register.
 *
 * Problem     The hardware reads and writes page tables behind the program's back; each access must
 *             be one the compiler cannot split, merge or reorder, and each flush the right one.
 * Idea        The VMM touches entries and caches through these functions only. The simulated
 *             machine replaces this file and so sees every access.
 * Invariants  Each load and store of an entry is one 8-byte access (SDM vol. 3A, 8.1.1).
 * Locking     None; callers hold the space's lock for stores.
 * Cost        Load and store as plain moves; swap 20 times that; invlpg about 100 ns.
 * Rejected    Plain C accesses: a compiler may tear or repeat them.
 * Source      Intel SDM vol. 3A, 4.10.4 (invalidation), 4.5 (CR3).
 */
#ifndef MM_MMU_H
#define MM_MMU_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"
#include "mm_pte.h"

/* Above this many pages a full flush is cheaper than one by one. */
#define MM_MMU_FLUSH_CEILING 32u

static inline mm_pte_t mm_pte_load(const mm_pte_t *entry)
{
    return (mm_pte_t){__atomic_load_n(&entry->bits, __ATOMIC_ACQUIRE)};
}

/* Visible to walkers after everything stored before (x86_64 keeps stores in order). */
static inline void mm_pte_store(mm_pte_t *entry, mm_pte_t value)
{
    __atomic_store_n(&entry->bits, value.bits, __ATOMIC_RELEASE);
}

/* Into a table that no walker can reach yet. */
static inline void mm_pte_store_fresh(mm_pte_t *entry, mm_pte_t value)
{
    *(volatile uint64_t *)&entry->bits = value.bits;
}

/* The same, for `count` entries that are to be empty. */
static inline void mm_pte_clear_fresh(mm_pte_t *first, unsigned count)
{
    __builtin_memset(first, 0, count * sizeof *first);
}

/* Atomic against the hardware setting A and D. Returns the entry before. */
static inline mm_pte_t mm_pte_swap(mm_pte_t *entry, mm_pte_t value)
{
    return (mm_pte_t){__atomic_exchange_n(&entry->bits, value.bits, __ATOMIC_ACQ_REL)};
}

/* Store `value` if the entry still equals *expected; else load it into *expected. */
static inline bool mm_pte_compare_swap(mm_pte_t *entry, mm_pte_t *expected, mm_pte_t value)
{
    return __atomic_compare_exchange_n(&entry->bits, &expected->bits, value.bits, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

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

#define MM_CR3_ADDR UINT64_C(0x000ffffffffff000)
#define MM_CR4_PGE  (UINT64_C(1) << 7)

static inline mm_phys_t mm_mmu_root(void)
{
    uint64_t cr3;

    __asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
    return mm_phys(cr3 & MM_CR3_ADDR);
}

/* Load a root; drops this CPU's translations that are not global. */
static inline void mm_mmu_load_root(mm_phys_t root)
{
    __asm__ volatile("movq %0, %%cr3" : : "r"(root.raw) : "memory");
}

/* Drop all of this CPU's translations that are not global. */
static inline void mm_mmu_flush_space(void)
{
    mm_mmu_load_root(mm_mmu_root());
}

/* Drop all of this CPU's translations: clearing CR4.PGE does (SDM vol. 3A, 4.10.4.1). */
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
