/*
 * format.c (fake_odd) - entries of machines that do not exist, decoded a second time.
 *
 * Problem     As in port/fake/format.c: a simulated MMU that used the codec would agree with every
 *             mistake in it.
 * Idea        The same picture of an entry (mm_pte.h), read in another way: fields are cut out by
 *             position, and sizes are multiplied up from the lowest level.
 * Invariants  I1 no name of mm_pte.h appears here but those by which the build says the geometry
 * Locking     None: no state.
 * Cost        A few tests of bits.
 * Rejected    A file for each geometry: they differ in numbers only.
 */
#include "format.h"

#include "machine.h"

#define FRAME_AT (MM_ODD_ENTRY_BYTES == 4 ? 12 : 20)

static uint64_t field(uint64_t entry, int from, int bits)
{
    return entry >> from & ((UINT64_C(1) << bits) - 1);
}

enum {
    FIELD_X = 0,
    FIELD_U = 1,
    FIELD_W = 2,
    FIELD_LEAF = 3,
    FIELD_VALID = 4,
    FIELD_DIRTY = 5,
    FIELD_ACCESSED = 6,
    FIELD_GLOBAL = 7,
    FIELD_TYPE = 8
};

/* Made by the build from the same list of index bits: entries of a table, bytes of an entry. */
const struct fake_format fake_format = {
    .entry_bytes = MM_ODD_ENTRY_BYTES,
    .levels_max = MM_ODD_LEVELS,
    .bytes = {0, MM_ODD_BYTES},
    .entries = {0, MM_ODD_ENTRIES},
    .accessed = 1u << FIELD_ACCESSED,
    .dirty = 1u << FIELD_DIRTY,
    .cpu_levels = MM_ODD_LEVELS,
    .cpu_phys_bits = MM_ODD_ENTRY_BYTES == 4 ? 32 : 46,
    .cpu_leaf_levels = (2u << MM_ODD_LEAF_LEVEL_MAX) - 2,
};

uint64_t fake_format_pat(void)
{
    return 0;
}

bool fake_canonical(unsigned cpu, uint64_t virt)
{
    uint64_t half = fake_format.bytes[MM_ODD_LEVELS] * fake_format.entries[MM_ODD_LEVELS] / 2;

    (void)cpu;
    return virt < half || virt >= 0 - half;
}

void fake_decode(const struct fake_cpu *cpu, uint64_t bits, unsigned level,
                 struct fake_entry *entry)
{
    bool leaf = level == 1 || field(bits, FIELD_LEAF, 1) != 0;
    uint64_t phys = bits >> FRAME_AT << 12;

    *entry = (struct fake_entry){.kind = FAKE_ABSENT};
    if (field(bits, FIELD_VALID, 1) == 0)
        return;
    entry->kind = FAKE_RESERVED_BITS;
    if (field(bits, 12, FRAME_AT - 12) != 0 || phys >> cpu->phys_bits != 0 ||
        (leaf && (cpu->leaf_levels >> level & 1) == 0) ||
        (leaf && phys % fake_format.bytes[level] != 0))
        return;
    entry->kind = leaf ? FAKE_LEAF : FAKE_TABLE;
    entry->phys = phys;
    entry->prot = MM_PROT_READ | (field(bits, FIELD_X, 1) != 0 ? MM_PROT_EXEC : 0) |
                  (field(bits, FIELD_U, 1) != 0 ? MM_PROT_USER : 0) |
                  (field(bits, FIELD_W, 1) != 0 ? MM_PROT_WRITE : 0);
    entry->accessed = field(bits, FIELD_ACCESSED, 1) != 0;
    if (!leaf)
        return;
    entry->type = (enum mm_memtype)field(bits, FIELD_TYPE, 3);
    entry->global = field(bits, FIELD_GLOBAL, 1) != 0 && cpu->pge;
    entry->dirty = field(bits, FIELD_DIRTY, 1) != 0;
}

/* Valid, with all rights. */
uint64_t fake_poison_entry(uint64_t phys)
{
    return phys >> 12 << FRAME_AT | 1u << FIELD_VALID | 1u << FIELD_X | 1u << FIELD_U |
           1u << FIELD_W;
}
