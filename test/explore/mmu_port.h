/*
 * mmu_port.h - what port/mm_entry.h and port/mm_mmu.h call. Scenarios use mmu.h.
 */
#ifndef MMU_PORT_H
#define MMU_PORT_H

#include <stdbool.h>
#include <stdint.h>

/* Of tables that walkers may reach: acquire, release, both. */
uint64_t mmu_entry_load(const uint64_t *entry);
void mmu_entry_store(uint64_t *entry, uint64_t value);
bool mmu_entry_compare_swap(uint64_t *entry, uint64_t *expected, uint64_t value);

/* Of tables that none can reach yet: plain. */
void mmu_entry_store_fresh(uint64_t *entry, uint64_t value);
void mmu_entry_clear_fresh(uint64_t *first, unsigned count);

/* The translations that this CPU remembers. */
void mmu_flush_page(uint64_t virt);
void mmu_flush_space(void); /* of the id that is loaded */
void mmu_flush_all(void);
void mmu_load_root(uint64_t root, uint32_t asid, bool keep);
uint64_t mmu_root(void);
uint32_t mmu_asid(void);

#endif
