/*
 * mm_mmu.h (fake) - the simulated MMU: entries in memory, translations in caches, the root.
 *
 * Problem     A missing flush or a torn entry works on most machines most of the time.
 * Idea        The same names and signatures as port/x86_64. Each access is told to the simulated
 *             machine, which lets its walkers run before and after every store.
 * Invariants  Each load and store of an entry is one 8-byte access.
 * Locking     None; one host thread at a time.
 * Cost        A function call each; with watched addresses a walk of each by every CPU.
 * Rejected    Mapping tables read-only and catching the stores: misses their order.
 */
#ifndef MM_MMU_H
#define MM_MMU_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"
#include "mm_pte.h"
#include "fake_port.h"

/* As on x86_64: the choice between single and full flushes is under test, too. */
#define MM_MMU_FLUSH_CEILING 32u

static inline mm_pte_t mm_pte_load(const mm_pte_t *entry)
{
    return (mm_pte_t){fake_port_load(&entry->bits)};
}

static inline void mm_pte_store(mm_pte_t *entry, mm_pte_t value)
{
    fake_port_store(&entry->bits, value.bits);
}

static inline void mm_pte_store_fresh(mm_pte_t *entry, mm_pte_t value)
{
    fake_port_store_fresh(&entry->bits, value.bits);
}

static inline void mm_pte_clear_fresh(mm_pte_t *first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fake_port_store_fresh(&first[i].bits, 0);
}

static inline mm_pte_t mm_pte_swap(mm_pte_t *entry, mm_pte_t value)
{
    return (mm_pte_t){fake_port_swap(&entry->bits, value.bits)};
}

static inline bool mm_pte_compare_swap(mm_pte_t *entry, mm_pte_t *expected, mm_pte_t value)
{
    return fake_port_compare_swap(&entry->bits, &expected->bits, value.bits);
}

static inline void mm_mmu_published(void)
{
}

static inline void mm_mmu_flush_page(mm_virt_t virt)
{
    fake_port_flush_page(virt);
}

static inline mm_phys_t mm_mmu_root(void)
{
    return fake_port_root();
}

static inline void mm_mmu_load_root(mm_phys_t root)
{
    fake_port_load_root(root);
}

static inline void mm_mmu_flush_space(void)
{
    fake_port_flush_space();
}

static inline void mm_mmu_flush_all(void)
{
    fake_port_flush_all();
}

static inline void mm_mmu_zero(mm_virt_t virt, uint64_t bytes)
{
    fake_port_zero(virt, bytes);
}

#define MM_PORT_USER_END          UINT64_C(0x0000800000000000)
#define MM_PORT_DIRECT_MAP        UINT64_C(0xffff900000000000)
#define MM_PORT_DIRECT_MAP_BYTES  UINT64_C(0x0000400000000000) /* 64 TiB */
#define MM_PORT_KERNEL_AREA       UINT64_C(0xffffe00000000000)
#define MM_PORT_KERNEL_AREA_BYTES UINT64_C(0x0000010000000000) /* 1 TiB */

#endif
