/*
 * mm_entry.h (x86_64) - entries as memory that the hardware reads and writes, too.
 *
 * Problem     The hardware walks page tables, and sets accessed and dirty, behind the program's back;
 *             each access must be one that the compiler cannot split, merge or reorder.
 * Idea        The VMM touches entries through these functions only.
 * Invariants  Each load and store of an entry is one 8-byte access (SDM vol. 3A, 8.1.1).
 * Locking     None; callers hold the lock of the table for stores.
 * Cost        Load and store as plain moves; compare and swap 20 times that.
 * Rejected    Plain C accesses: a compiler may tear or repeat them.
 */
#ifndef MM_ENTRY_H
#define MM_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "mm_pte.h"

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

/* Store `value` if the entry still equals *expected; else load it into *expected. Atomic against the
 * hardware setting A and D. */
static inline bool mm_pte_compare_swap(mm_pte_t *entry, mm_pte_t *expected, mm_pte_t value)
{
    uint64_t before = expected->bits; /* stays in a register: the exchange waits for stores */
    bool done = __atomic_compare_exchange_n(&entry->bits, &before, value.bits, false,
                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);

    expected->bits = before;
    return done;
}

#endif
