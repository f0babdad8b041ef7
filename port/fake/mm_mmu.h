/*
 * mm_mmu.h (fake) - the simulated MMU: entries in memory, translations in caches, the root.
 *
 * Problem     A missing flush or a torn entry works on most machines most of the time.
 * Idea        The same names and signatures as port/x86_64. Each access is told to the simulated
 *             machine, which lets its walkers run before and after every store.
 * Invariants  Each load and store of an entry is one access of its size.
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

/* The width of an entry is the codec's: this file serves each of them. */
static inline mm_pte_t mm_fake_pte(uint64_t bits)
{
    mm_pte_t entry;

    entry.bits = (__typeof__(entry.bits))bits;
    return entry;
}

static inline mm_pte_t mm_pte_load(const mm_pte_t *entry)
{
    return mm_fake_pte(fake_port_load(entry, sizeof *entry));
}

static inline void mm_pte_store(mm_pte_t *entry, mm_pte_t value)
{
    fake_port_store(entry, value.bits, sizeof *entry);
}

static inline void mm_pte_store_fresh(mm_pte_t *entry, mm_pte_t value)
{
    fake_port_store_fresh(entry, value.bits, sizeof *entry);
}

static inline void mm_pte_clear_fresh(mm_pte_t *first, unsigned count)
{
    fake_port_clear_fresh(first, count, sizeof *first);
}

static inline bool mm_pte_compare_swap(mm_pte_t *entry, mm_pte_t *expected, mm_pte_t value)
{
    uint64_t there = expected->bits;
    bool done = fake_port_compare_swap(entry, &there, value.bits, sizeof *entry);

    *expected = mm_fake_pte(there);
    return done;
}

/* Counted, and on a machine that caches absence (fake_cache_absence()) a flush of that. */
static inline void mm_mmu_published(void)
{
    fake_port_published();
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
    fake_port_load_root(root, 0, false);
}

static inline void mm_mmu_flush_space(void)
{
    fake_port_flush_space();
}

static inline void mm_mmu_flush_all(void)
{
    fake_port_flush_all();
}

/* Address-space ids: PCID and INVPCID on x86_64. */
#define MM_MMU_ASIDS 4096u
#define MM_MMU_KEEP  1u

static inline void mm_mmu_asid_enable(void)
{
    fake_port_asid_enable();
}

static inline uint32_t mm_mmu_asid(void)
{
    return fake_port_asid();
}

static inline void mm_mmu_load_root_asid(mm_phys_t root, uint32_t asid, uint32_t flags)
{
    fake_port_load_root(root, asid, (flags & MM_MMU_KEEP) != 0);
}

static inline bool mm_mmu_broadcast(const struct mm_virt_range *page, uint32_t count, bool global)
{
    return fake_port_broadcast(page, count, global);
}

static inline void mm_mmu_flush_asid_page(uint32_t asid, mm_virt_t virt)
{
    fake_port_flush_asid_page(asid, virt);
}

static inline void mm_mmu_flush_asid(uint32_t asid)
{
    fake_port_flush_asid(asid);
}

static inline void mm_mmu_flush_asids(void)
{
    fake_port_flush_asids();
}

static inline void mm_mmu_zero(mm_virt_t virt, uint64_t bytes)
{
    fake_port_zero(virt, bytes);
}

/* As on x86_64. A codec with other geometry brings a layout of its own. */
#ifndef MM_PORT_USER_END
#define MM_PORT_USER_END          UINT64_C(0x0000800000000000)
#define MM_PORT_DIRECT_MAP        UINT64_C(0xffff900000000000)
#define MM_PORT_DIRECT_MAP_BYTES  UINT64_C(0x0000400000000000) /* 64 TiB */
#define MM_PORT_KERNEL_AREA       UINT64_C(0xffffe00000000000)
#define MM_PORT_KERNEL_AREA_BYTES UINT64_C(0x0000010000000000) /* 1 TiB */
#endif

#endif
