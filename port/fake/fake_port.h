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

uint64_t fake_port_load(const uint64_t *entry);
void fake_port_store(uint64_t *entry, uint64_t value);
void fake_port_store_fresh(uint64_t *entry, uint64_t value);
uint64_t fake_port_swap(uint64_t *entry, uint64_t value);
bool fake_port_compare_swap(uint64_t *entry, uint64_t *expected, uint64_t value);

void fake_port_flush_page(mm_virt_t virt);
void fake_port_flush_space(void);
void fake_port_flush_all(void);
mm_phys_t fake_port_root(void);
void fake_port_load_root(mm_phys_t root);
void fake_port_zero(mm_virt_t virt, uint64_t bytes);

#endif
