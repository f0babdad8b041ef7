/*
 * taken.h - memory that is in use before there is an allocator.
 *
 * The kernel's own list, to hold against libmm: none of it may ever be handed out, and what nobody
 * writes must read the same at the end as at the start.
 */
#ifndef TAKEN_H
#define TAKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mm/boot.h>

struct taken {
    const char *what;
    uint64_t phys, bytes;
    bool constant; /* nobody writes it */
    bool summed;   /* `sum` is valid */
    uint64_t sum;
};

/* Notes the image, the boot information and the modules, with checksums as far as they can be
 * reached. Call it before mm_start(). Panics if the boot information cannot be read. */
void taken_note(enum mm_boot_protocol protocol, uint64_t info_phys);

/* The command line as the boot mappings show it: only until mm_start(). */
const char *taken_command_line(void);

size_t taken_count(void);
const struct taken *taken_get(size_t index);

/* The entry that shares a byte with [phys, phys + bytes), or NULL. */
const struct taken *taken_find(uint64_t phys, uint64_t bytes);

/* Checksums what could not be reached earlier; call it right after mm_start(). */
void taken_sum_rest(void);

/* The first entry whose contents have changed, or NULL. */
const struct taken *taken_changed(void);

#endif
