/*
 * format.h - what the hardware reads in an entry: the one part of the machine that knows a bit.
 *
 * The machine asks for meanings and never tests a bit itself, so that it serves any format: the
 * one of x86_64 is format.c here, an invented one is in port/fake_odd. Neither shares a line with
 * the codec that it judges.
 */
#ifndef FAKE_FORMAT_H
#define FAKE_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "fake.h"

#define FAKE_LEVELS_MAX 5u

enum fake_kind {
    FAKE_ABSENT,
    FAKE_RESERVED_BITS, /* present, and the walk faults on it */
    FAKE_TABLE,
    FAKE_LEAF
};

struct fake_entry {
    enum fake_kind kind;
    uint64_t phys; /* of the table, or of the first frame of the leaf */
    unsigned prot; /* MM_PROT_*, what this entry alone grants */
    enum mm_memtype type;
    bool global, accessed, dirty;
};

/* Geometry, the two bits that hardware sets, and what a CPU is like after fake_reset(). Arrays by
 * level; 0 is unused. */
struct fake_format {
    unsigned entry_bytes; /* 4 or 8 */
    unsigned levels_max;
    uint64_t bytes[FAKE_LEVELS_MAX + 1];   /* that one entry covers */
    uint32_t entries[FAKE_LEVELS_MAX + 1]; /* of a table */
    uint64_t accessed, dirty;
    uint32_t cpu_levels, cpu_phys_bits, cpu_leaf_levels;
};
extern const struct fake_format fake_format;

void fake_decode(const struct fake_cpu *cpu, uint64_t bits, unsigned level,
                 struct fake_entry *entry);
bool fake_canonical(unsigned cpu, uint64_t virt);

/* An entry that is valid at every level and refers to `phys`: poison. */
uint64_t fake_poison_entry(uint64_t phys);

/* The memory type table that libmm asks for; 0 where the format has none. */
uint64_t fake_format_pat(void);

static inline uint64_t fake_level_bytes(unsigned level)
{
    return fake_format.bytes[level];
}

static inline uint64_t fake_level_start(uint64_t virt, unsigned level)
{
    return virt & ~(fake_format.bytes[level] - 1);
}

#endif
