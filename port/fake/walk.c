/*
 * walk.c (fake) - the page walk, decoding entries by itself.
 *
 * Problem     A simulated MMU that used mm_pte.h would agree with every mistake in it.
 * Idea        The bits are typed a second time, from the tables of the manual, in another shape:
 *             bit numbers, not masks of the library.
 * Invariants  I1 no name of mm_pte.h appears here
 *             I2 a walk without FAKE_WALK_TOUCH changes nothing
 * Locking     None.
 * Cost        One load per level.
 * Rejected    Sharing the geometry: a wrong shift would be wrong twice.
 * Source      Intel SDM vol. 3A, 4.5.4 and tables 4-14 to 4-20 (entries), 4.6 (rights),
 *             4.8 (accessed and dirty), table 11-12 (PAT index).
 */
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

static bool has(uint64_t entry, int bit)
{
    return (entry >> bit & 1) != 0;
}

uint64_t fake_level_bytes(unsigned level)
{
    static const uint64_t bytes[] = {0,          0x1000,       0x200000,
                                     0x40000000, 0x8000000000, 0x1000000000000};

    return bytes[level];
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

    for (unsigned bit = cpu->phys_bits; bit < 52; bit++)
        if (has(entry, (int)bit))
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

static unsigned grants(uint64_t entry)
{
    return MM_PROT_READ | (has(entry, BIT_WRITE) ? MM_PROT_WRITE : 0) |
           (has(entry, BIT_USER) ? MM_PROT_USER : 0) |
           (has(entry, BIT_NO_EXECUTE) ? 0 : MM_PROT_EXEC);
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

static void fill_leaf(unsigned cpu, uint64_t virt, uint64_t entry, unsigned level, unsigned prot,
                      struct fake_tlb *leaf)
{
    uint64_t offset = fake_level_bytes(level) - 1;

    leaf->virt = virt & ~offset;
    leaf->phys = entry & UINT64_C(0x000ffffffffff000) & ~offset;
    leaf->level = level;
    leaf->prot = prot;
    leaf->type = memtype(&fake_machine.cpu[cpu], entry, level);
    leaf->global = has(entry, BIT_GLOBAL) && fake_machine.cpu[cpu].pge;
    leaf->dirty = has(entry, BIT_DIRTY);
}

/* The entry for `virt` in a table; false where there is no RAM. */
static uint64_t *entry_at(uint64_t table, unsigned level, uint64_t virt, uint64_t *phys)
{
    *phys = table + virt / fake_level_bytes(level) % 512 * 8;
    return fake_ram(mm_phys(*phys), 8);
}

void fake_walk_from(unsigned cpu, uint64_t virt, uint64_t table, unsigned level, unsigned prot,
                    unsigned how, struct fake_walk *walk)
{
    *walk = (struct fake_walk){.fault = FAKE_NO_TABLE};
    fake_machine.count.walks++;
    for (;; level--) {
        uint64_t phys, entry;
        uint64_t *at = entry_at(table, level, virt, &phys);

        walk->level = level;
        if (at == NULL)
            return;
        entry = __atomic_load_n(at, __ATOMIC_ACQUIRE);
        walk->fault = has(entry, BIT_PRESENT) ? FAKE_RESERVED : FAKE_NOT_PRESENT;
        if (!has(entry, BIT_PRESENT) || reserved_set(&fake_machine.cpu[cpu], entry, level))
            return;
        if ((how & FAKE_WALK_TOUCH) != 0 && !has(entry, BIT_ACCESSED))
            __atomic_fetch_or(at, BIT(BIT_ACCESSED), __ATOMIC_ACQ_REL);
        prot &= grants(entry);
        if (level == 1 || has(entry, BIT_LARGE)) {
            walk->fault = FAKE_OK;
            walk->leaf_entry = phys;
            fill_leaf(cpu, virt, entry, level, prot, &walk->leaf);
            return;
        }
        walk->fault = FAKE_NO_TABLE;
        table = entry & UINT64_C(0x000ffffffffff000);
        walk->step[walk->step_count++] = (struct fake_psc){
            .virt = virt & ~(fake_level_bytes(level) - 1),
            .table = table,
            .level = level - 1,
            .prot = prot,
        };
    }
}

#define PROT_ALL (MM_PROT_READ | MM_PROT_WRITE | MM_PROT_EXEC | MM_PROT_USER)

void fake_walk_root(unsigned cpu, uint64_t virt, unsigned how, struct fake_walk *walk)
{
    const struct fake_cpu *c = &fake_machine.cpu[cpu];

    if (c->root_loaded)
        fake_walk_from(cpu, virt, c->root.raw, c->levels, PROT_ALL, how, walk);
    else
        *walk = (struct fake_walk){.fault = FAKE_NO_TABLE};
}

void fake_walk_set_dirty(struct fake_walk *walk)
{
    uint64_t *at = fake_ram(mm_phys(walk->leaf_entry), 8);

    __atomic_fetch_or(at, BIT(BIT_DIRTY), __ATOMIC_ACQ_REL);
    walk->leaf.dirty = true;
}

/* ---- is what is cached still what the tables say? ---- */

static bool leaf_grants(const struct fake_tlb *now, const struct fake_tlb *cached)
{
    uint64_t start = now->virt > cached->virt ? now->virt : cached->virt;

    return now->phys + (start - now->virt) == cached->phys + (start - cached->virt) &&
           (cached->prot & ~now->prot) == 0 && cached->type == now->type &&
           (!cached->global || now->global) && (!cached->dirty || now->dirty);
}

/* Every page of the cached translation, however small the tables have it now. */
static bool table_grants(unsigned cpu, uint64_t table, unsigned level, unsigned prot, uint64_t virt,
                         const struct fake_tlb *cached)
{
    unsigned entries = level < cached->level ? 512 : 1;

    for (unsigned i = 0; i < entries; i++, virt += fake_level_bytes(level)) {
        uint64_t phys, entry;
        const uint64_t *at = entry_at(table, level, virt, &phys);
        struct fake_tlb now;

        if (at == NULL)
            return false;
        entry = *at;
        if (!has(entry, BIT_PRESENT) || reserved_set(&fake_machine.cpu[cpu], entry, level))
            return false;
        if (level > 1 && !has(entry, BIT_LARGE)) {
            if (!table_grants(cpu, entry & UINT64_C(0x000ffffffffff000), level - 1,
                              prot & grants(entry), virt, cached))
                return false;
            continue;
        }
        fill_leaf(cpu, virt, entry, level, prot & grants(entry), &now);
        if (!leaf_grants(&now, cached))
            return false;
    }
    return true;
}

bool fake_walk_grants(unsigned cpu, const struct fake_tlb *cached)
{
    const struct fake_cpu *c = &fake_machine.cpu[cpu];

    return c->root_loaded &&
           table_grants(cpu, c->root.raw, c->levels, PROT_ALL, cached->virt, cached);
}

/* The table is still linked where it was, below no fewer rights. */
bool fake_walk_links(unsigned cpu, const struct fake_psc *cached)
{
    struct fake_walk walk;

    fake_walk_root(cpu, cached->virt, 0, &walk);
    for (unsigned i = 0; i < walk.step_count; i++)
        if (walk.step[i].level == cached->level)
            return walk.step[i].table == cached->table && (cached->prot & ~walk.step[i].prot) == 0;
    return false;
}
