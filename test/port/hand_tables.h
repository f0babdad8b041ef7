/*
 * hand_tables.h - page tables written as literals, for tests of the simulated machine.
 */
#ifndef HAND_TABLES_H
#define HAND_TABLES_H

#include "mm_mmu.h"
#include "mm_test.h"

/* Hand-built tables at 1 MiB: root, then one table per level below it. Data frames at 2 MiB. */
#define ROOT   UINT64_C(0x100000)
#define TABLE3 UINT64_C(0x101000)
#define TABLE2 UINT64_C(0x102000)
#define TABLE1 UINT64_C(0x103000)
#define TOP5   UINT64_C(0x104000)
#define ROOT_B UINT64_C(0x105000)
#define DATA   UINT64_C(0x200000)

#define NX UINT64_C(0x8000000000000000)

/* 512 GiB into the upper half, and so below index 257, 0, 0, 0. */
#define UPPER UINT64_C(0xffff808000000000)

static inline volatile uint64_t *table(uint64_t phys)
{
    return fake_ram(mm_phys(phys), MM_FRAME_BYTES);
}

static inline struct fake_access get(uint64_t virt)
{
    return fake_read64(mm_virt(virt));
}

static inline struct fake_access put(uint64_t virt, uint64_t value)
{
    return fake_write64(mm_virt(virt), value);
}

/*
 *   ROOT[0], ROOT[257] -> TABLE3[0] -> TABLE2[0] -> TABLE1, all P W U
 *   TABLE1[1] = DATA, user RW not executable
 */
static inline void four_levels(void)
{
    fake_ram_add(mm_phys(0x100000), 8 << 20);
    fake_cpus_prepare();
    table(ROOT)[0] = 0x101007;
    table(ROOT)[257] = 0x101007;
    table(TABLE3)[0] = 0x102007;
    table(TABLE2)[0] = 0x103007;
    table(TABLE1)[1] = NX | 0x200007;
    mm_mmu_load_root(mm_phys(ROOT));
}

#endif
