/*
 * port_entries.h - what a port's literals look like; the last line chooses the port.
 *
 * A new port writes entries_<port>.h from its manual, with numbers typed out and nothing computed,
 * and every test in test_port_pte.c applies to it. A table that a port has no use for stays empty
 * but for its `end` row (level 0, or `what` NULL).
 */
#ifndef PORT_ENTRIES_H
#define PORT_ENTRIES_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"
#include "mm_pte.h"

/* mm_pte_leaf(phys, prot, type, flags, level) is `bits`, and decodes back. */
struct leaf_row {
    uint64_t bits, phys;
    unsigned level, prot;
    enum mm_memtype type;
    unsigned flags;
};

/* mm_pte_table(phys, user) is `bits`. */
struct table_row {
    uint64_t bits, phys;
    unsigned level; /* lowest level at which such an entry may stand */
    bool user;
};

/* What `bits`, at `level`, means: as the hardware leaves it, with software bits in it. */
struct decode_row {
    uint64_t bits;
    unsigned level;
    uint64_t phys;
    unsigned prot;
    enum mm_memtype type;
    bool accessed, dirty, global;
};

/* Not present; `none` if it also carries nothing. */
struct absent_row {
    uint64_t bits;
    unsigned level;
    bool none;
};

struct reserved_row {
    uint64_t bits;
    unsigned level, phys_bits;
    bool nx;
    uint64_t reserved;
};

struct geometry_row {
    unsigned level, shift;
    uint64_t bytes;
};

struct index_row {
    uint64_t virt;
    unsigned level, index;
};

struct canonical_row {
    uint64_t virt;
    unsigned level; /* levels of the paging mode */
    bool canonical, kernel;
};

struct split_row {
    uint64_t leaf;
    unsigned level, index;
    uint64_t child;
};

struct prot_row {
    uint64_t before;
    unsigned level, prot;
    uint64_t after;
};

/* Constants of the port that hardware reads. */
struct value_row {
    const char *what;
    uint64_t value, literal;
};

#include "entries_x86_64.h"

#endif
