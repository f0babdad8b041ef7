/*
 * format.c (fake) - entries of x86_64, decoded a second time.
 *
 * Problem     A simulated MMU that used mm_pte.h would agree with every mistake in it.
 * Idea        The bits are typed a second time, from the tables of the manual, in another shape:
 *             bit numbers, not masks of the library.
 * Invariants  I1 no name of mm_pte.h appears here
 * Locking     None: no state.
 * Cost        A few tests of bits.
 * Rejected    Sharing the geometry: a wrong shift would be wrong twice.
 * Source      Intel SDM vol. 3A, 4.5.4 and tables 4-14 to 4-20 (entries), 4.6 (rights),
 *             4.8 (accessed and dirty), table 11-12 (PAT index).
 */
#include "format.h"

#include "machine.h"

#define BIT(n) (UINT64_C(1) << (n))

enum {
    BIT_PRESENT = 0,
    BIT_WRITE = 1,
    BIT_USER = 2,
    BIT_PWT = 3,
    BIT_PCD = 4,
    BIT_ACCESSED = 5,
    BIT_DIRTY = 6,
    BIT_LARGE = 7,
    BIT_PAT_OF_4K = 7,
    BIT_GLOBAL = 8,
    BIT_PAT_OF_LARGE = 12,
    BIT_NO_EXECUTE = 63
};

/* WB, WT, UC-, UC, WP, WC, UC-, UC: the order that libmm promises in mm/vmm.h. */
#define PAT_LIBMM UINT64_C(0x0007010500070406)

const struct fake_format fake_format = {
    .entry_bytes = 8,
    .levels_max = 5,
    .bytes = {0, 0x1000, 0x200000, 0x40000000, 0x8000000000, 0x1000000000000},
    .entries = {0, 512, 512, 512, 512, 512},
    .accessed = BIT(BIT_ACCESSED),
    .dirty = BIT(BIT_DIRTY),
    .cpu_levels = 4,
    .cpu_phys_bits = 46,
    .cpu_leaf_levels = 1u << 1 | 1u << 2 | 1u << 3,
};

uint64_t fake_format_pat(void)
{
    return PAT_LIBMM;
}

static bool has(uint64_t entry, int bit)
{
    return (entry >> bit & 1) != 0;
}

bool fake_canonical(unsigned cpu, uint64_t virt)
{
    int unused = fake_machine.cpu[cpu].levels == 5 ? 64 - 57 : 64 - 48;

    return (uint64_t)((int64_t)(virt << unused) >> unused) == virt;
}

/* Bits that make a present entry fault (SDM 4.5.4, last paragraphs of each format). */
static bool reserved_set(const struct fake_cpu *cpu, uint64_t entry, unsigned level)
{
    bool large = level > 1 && has(entry, BIT_LARGE);

    if ((entry & UINT64_C(0x000fffffffffffff)) >> cpu->phys_bits != 0)
        return true;
    if (has(entry, BIT_NO_EXECUTE) && !cpu->nxe)
        return true;
    if (large && (level > 3 || (cpu->leaf_levels >> level & 1) == 0))
        return true;
    if (large && level == 2)
        return (entry & UINT64_C(0x1fe000)) != 0; /* bits 13 to 20 */
    if (large && level == 3)
        return (entry & UINT64_C(0x3fffe000)) != 0; /* bits 13 to 29 */
    return false;
}

/* The memory type that the CPU's PAT has at the index which the entry's three bits form. */
static enum mm_memtype memtype(const struct fake_cpu *cpu, uint64_t entry, unsigned level)
{
    int pat_bit = level == 1 ? BIT_PAT_OF_4K : BIT_PAT_OF_LARGE;
    unsigned index = (has(entry, BIT_PWT) ? 1u : 0) + (has(entry, BIT_PCD) ? 2u : 0) +
                     (cpu->has_pat && has(entry, pat_bit) ? 4u : 0);

    switch (cpu->pat >> (8 * index) & 0xff) {
    case 0:
        return MM_MEMTYPE_UC;
    case 1:
        return MM_MEMTYPE_WC;
    case 4:
        return MM_MEMTYPE_WT;
    case 5:
        return MM_MEMTYPE_WP;
    case 6:
        return MM_MEMTYPE_WB;
    case 7:
        return MM_MEMTYPE_UC_MINUS;
    }
    fake_fail("the PAT has a reserved type at index %u", index);
}

void fake_decode(const struct fake_cpu *cpu, uint64_t bits, unsigned level,
                 struct fake_entry *entry)
{
    *entry = (struct fake_entry){.kind = FAKE_ABSENT};
    if (!has(bits, BIT_PRESENT))
        return;
    entry->kind = FAKE_RESERVED_BITS;
    if (reserved_set(cpu, bits, level))
        return;
    entry->kind = level == 1 || has(bits, BIT_LARGE) ? FAKE_LEAF : FAKE_TABLE;
    entry->prot = MM_PROT_READ | (has(bits, BIT_WRITE) ? MM_PROT_WRITE : 0) |
                  (has(bits, BIT_USER) ? MM_PROT_USER : 0) |
                  (has(bits, BIT_NO_EXECUTE) ? 0 : MM_PROT_EXEC);
    entry->phys = bits & UINT64_C(0x000ffffffffff000);
    entry->accessed = has(bits, BIT_ACCESSED);
    if (entry->kind == FAKE_TABLE)
        return;
    entry->phys &= ~(fake_format.bytes[level] - 1);
    entry->type = memtype(cpu, bits, level);
    entry->global = has(bits, BIT_GLOBAL) && cpu->pge;
    entry->dirty = has(bits, BIT_DIRTY);
}

/* Present, writable, user. */
uint64_t fake_poison_entry(uint64_t phys)
{
    return phys | BIT(BIT_PRESENT) | BIT(BIT_WRITE) | BIT(BIT_USER);
}
