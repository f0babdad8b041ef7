/*
 * fake_port.h - what the inlined headers of port/fake call. Tests use fake.h.
 */
#ifndef FAKE_PORT_H
#define FAKE_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"

/* The interrupt flag of the simulated CPU. guard returns how it was. */
bool fake_port_guard(void);
void fake_port_unguard(bool on);
bool fake_port_interrupts_on(void);
void fake_port_relax(void);

bool fake_port_frame_map_fails(void);
void fake_port_frame_mapped(void);
void fake_port_frame_unmapped(const void *pointer);

/* `bytes` is the size of an entry, which must be the one of the machine's format. */
uint64_t fake_port_load(const void *entry, unsigned bytes);
void fake_port_store(void *entry, uint64_t value, unsigned bytes);
void fake_port_store_fresh(void *entry, uint64_t value, unsigned bytes);
void fake_port_clear_fresh(void *first, unsigned count, unsigned bytes); /* of one table */
bool fake_port_compare_swap(void *entry, uint64_t *expected, uint64_t value, unsigned bytes);

void fake_port_published(void);
void fake_port_flush_page(mm_virt_t virt);
void fake_port_flush_space(void);
void fake_port_flush_all(void);
bool fake_port_broadcast(const struct mm_virt_range *page, uint32_t count, bool global);
void fake_port_flush_asid_page(uint32_t asid, mm_virt_t virt);
void fake_port_flush_asid(uint32_t asid);
void fake_port_flush_asids(void);
mm_phys_t fake_port_root(void);
uint32_t fake_port_asid(void);
void fake_port_asid_enable(void);
void fake_port_load_root(mm_phys_t root, uint32_t asid, bool keep);
void fake_port_zero(mm_virt_t virt, uint64_t bytes);

#endif
