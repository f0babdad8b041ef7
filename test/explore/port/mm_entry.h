/*
 * mm_entry.h (explorer) - page-table entries as steps of the explorer.
 *
 * Problem     Walks without a lock, hardware walkers included, meet stores in every order.
 * Idea        The names of port/x86_64/mm_entry.h, with the orders that it promises. Entries that no
 *             address of the scenario leads through are no steps (mmu.h): no order of them matters.
 * Invariants  Each load and store of an entry is one 8-byte access.
 * Locking     None.
 * Cost        A function call each, and a switch of threads.
 * Rejected    x86_64's order of all stores: other ports have less.
 */
#ifndef MM_ENTRY_H
#define MM_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "mm_pte.h"
#include "../mmu_port.h"

static inline mm_pte_t mm_pte_load(const mm_pte_t *entry)
{
    return (mm_pte_t){mmu_entry_load(&entry->bits)};
}

static inline void mm_pte_store(mm_pte_t *entry, mm_pte_t value)
{
    mmu_entry_store(&entry->bits, value.bits);
}

static inline void mm_pte_store_fresh(mm_pte_t *entry, mm_pte_t value)
{
    mmu_entry_store_fresh(&entry->bits, value.bits);
}

static inline void mm_pte_clear_fresh(mm_pte_t *first, unsigned count)
{
    mmu_entry_clear_fresh(&first->bits, count);
}

static inline bool mm_pte_compare_swap(mm_pte_t *entry, mm_pte_t *expected, mm_pte_t value)
{
    return mmu_entry_compare_swap(&entry->bits, &expected->bits, value.bits);
}

#endif
