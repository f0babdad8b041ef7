/*
 * memory.h - libmm in this kernel.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Starts the default instance (mm/names.h) from what the boot loader left. Panics when it cannot.
 * Interrupts are off. */
void memory_start(uint32_t magic, uint32_t info_phys);

/* Prints the sanitised map and its totals. */
void memory_print_map(void);

/* Is `word` on the kernel's command line? */
bool memory_has_word(const char *word);

#endif
