/*
 * walk.c (fake) - the page walk.
 *
 * Problem     Walkers of many CPUs, programs, oracles and the search for a table's address all
 *             descend the same tables, some as hardware and some unseen.
 * Idea        One loop over the levels that asks format.c for the meaning of each entry.
 * Invariants  I1 a walk without FAKE_WALK_TOUCH changes nothing and never fails the machine
 *             I2 a walk of the hardware that meets a freed frame or poison fails it: there is no
 *             moment at which that is right
 * Locking     None.
 * Cost        One load per level.
 * Rejected    Reading poison as "not present": the fault would show somewhere else, later.
 */
#include "machine.h"

uint64_t fake_entry_read(const void *at)
{
    if (fake_format.entry_bytes == 8)
        return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
    return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);
}

static void entry_set(void *at, uint64_t bits)
{
    if (fake_format.entry_bytes == 8)
        __atomic_fetch_or((uint64_t *)at, bits, __ATOMIC_ACQ_REL);
    else
        __atomic_fetch_or((uint32_t *)at, (uint32_t)bits, __ATOMIC_ACQ_REL);
}

/* NULL where there is no RAM. */
void *fake_entry_at(uint64_t table, unsigned level, uint64_t virt, uint64_t *phys)
{
    uint64_t index = virt / fake_format.bytes[level] % fake_format.entries[level];

    *phys = table + index * fake_format.entry_bytes;
    return fake_ram(mm_phys(*phys), fake_format.entry_bytes);
}

/* What hardware must never read: poison, and what somebody has freed. */
static void forbidden(unsigned cpu, uint64_t virt, uint64_t at, unsigned level, uint64_t bits,
                      const struct fake_entry *entry)
{
    const struct fake_frame *table = fake_frame_record(at);
    const struct fake_frame *frame;
    uint64_t phys = entry->phys;

    if (table != NULL && table->state == FAKE_FRAME_FREED)
        fake_fail("CPU %u walks %#llx through a level %u table at %#llx, which is free", cpu,
                  (unsigned long long)virt, level,
                  (unsigned long long)(at & ~(MM_FRAME_BYTES - 1)));
    if (entry->kind != FAKE_LEAF && entry->kind != FAKE_TABLE)
        return;
    if (fake_is_poison(bits, phys))
        fake_fail("CPU %u walks %#llx and reads poison, at %#llx: a level %u table was linked "
                  "before it was filled, or freed too early",
                  cpu, (unsigned long long)virt, (unsigned long long)at, level);
    if (!fake_machine.on.free_unmapped || entry->kind != FAKE_LEAF)
        return;
    phys += virt & (fake_level_bytes(level) - 1) & ~(MM_FRAME_BYTES - 1);
    frame = fake_frame_record(phys);
    if (frame != NULL && frame->state == FAKE_FRAME_FREED && !fake_always_mapped(virt))
        fake_fail("CPU %u walks %#llx to frame %#llx, which is free", cpu, (unsigned long long)virt,
                  (unsigned long long)phys);
}

static void cached_fill(struct fake_cached *cached, uint64_t virt, unsigned level, unsigned prot,
                        const struct fake_entry *entry)
{
    *cached = (struct fake_cached){
        .virt = fake_level_start(virt, level),
        .phys = entry->phys,
        .level = (uint8_t)level,
        .kind = (uint8_t)entry->kind,
        .prot = (uint8_t)prot,
        .type = (uint8_t)entry->type,
        .global = entry->global,
        .dirty = entry->dirty,
    };
}

void fake_walk_from(unsigned cpu, uint64_t virt, uint64_t table, unsigned level, unsigned prot,
                    unsigned how, struct fake_walk *walk)
{
    walk->fault = FAKE_NO_TABLE;
    walk->step_count = 0;
    walk->leaf.phys = 0;
    fake_machine.counts[cpu].walks++;
    for (;; level--) {
        struct fake_entry entry;
        uint64_t phys, bits;
        void *at = fake_entry_at(table, level, virt, &phys);

        walk->level = level;
        walk->fault = FAKE_NO_TABLE;
        if (at == NULL)
            return;
        bits = fake_entry_read(at);
        fake_decode(&fake_machine.cpu[cpu], bits, level, &entry);
        if ((how & FAKE_WALK_TOUCH) != 0)
            forbidden(cpu, virt, phys, level, bits, &entry);
        if (entry.kind == FAKE_ABSENT)
            cached_fill(&walk->leaf, virt, level, 0, &entry);
        walk->fault = entry.kind == FAKE_ABSENT ? FAKE_NOT_PRESENT : FAKE_RESERVED;
        if (entry.kind == FAKE_ABSENT || entry.kind == FAKE_RESERVED_BITS)
            return;
        if ((how & FAKE_WALK_TOUCH) != 0 && !entry.accessed)
            entry_set(at, fake_format.accessed);
        prot &= entry.prot;
        if (entry.kind == FAKE_LEAF) {
            walk->fault = FAKE_OK;
            walk->leaf_entry = phys;
            cached_fill(&walk->leaf, virt, level, prot, &entry);
            return;
        }
        table = entry.phys;
        cached_fill(&walk->step[walk->step_count++], virt, level, prot, &entry);
    }
}

#define PROT_ALL (MM_PROT_READ | MM_PROT_WRITE | MM_PROT_EXEC | MM_PROT_USER)

void fake_walk_root(unsigned cpu, uint64_t virt, unsigned how, struct fake_walk *walk)
{
    const struct fake_cpu *c = &fake_machine.cpu[cpu];

    walk->fault = FAKE_NO_TABLE;
    walk->step_count = 0;
    walk->level = 0;
    if (c->root_loaded)
        fake_walk_from(cpu, virt, c->root.raw, c->levels, PROT_ALL, how, walk);
}

void fake_walk_set_dirty(struct fake_walk *walk)
{
    entry_set(fake_ram(mm_phys(walk->leaf_entry), fake_format.entry_bytes), fake_format.dirty);
    walk->leaf.dirty = true;
}

/* ---- is what is cached still what the tables say? ---- */

static bool leaf_grants(const struct fake_cached *now, const struct fake_cached *cached)
{
    uint64_t start = now->virt > cached->virt ? now->virt : cached->virt;

    return now->phys + (start - now->virt) == cached->phys + (start - cached->virt) &&
           (cached->prot & ~now->prot) == 0 && cached->type == now->type &&
           (!cached->global || now->global) && (!cached->dirty || now->dirty);
}

/* Every page of the cached translation, however small the tables have it now. */
static bool table_grants(unsigned cpu, uint64_t table, unsigned level, unsigned prot, uint64_t virt,
                         const struct fake_cached *cached)
{
    unsigned entries = level < cached->level ? fake_format.entries[level] : 1;

    for (unsigned i = 0; i < entries; i++, virt += fake_level_bytes(level)) {
        struct fake_cached now;
        struct fake_entry entry;
        uint64_t phys;
        const void *at = fake_entry_at(table, level, virt, &phys);

        if (at == NULL)
            return false;
        fake_decode(&fake_machine.cpu[cpu], fake_entry_read(at), level, &entry);
        if (entry.kind == FAKE_TABLE) {
            if (!table_grants(cpu, entry.phys, level - 1, prot & entry.prot, virt, cached))
                return false;
            continue;
        }
        if (entry.kind != FAKE_LEAF)
            return false;
        cached_fill(&now, virt, level, prot & entry.prot, &entry);
        if (!leaf_grants(&now, cached))
            return false;
    }
    return true;
}

bool fake_walk_grants(unsigned cpu, const struct fake_cached *cached)
{
    const struct fake_cpu *c = &fake_machine.cpu[cpu];

    return c->root_loaded &&
           table_grants(cpu, c->root.raw, c->levels, PROT_ALL, cached->virt, cached);
}

/* The table is still linked where it was, below no fewer rights. */
bool fake_walk_links(unsigned cpu, const struct fake_cached *cached)
{
    struct fake_walk walk;

    fake_walk_root(cpu, cached->virt, 0, &walk);
    for (unsigned i = 0; i < walk.step_count; i++)
        if (walk.step[i].level == cached->level)
            return walk.step[i].phys == cached->phys && (cached->prot & ~walk.step[i].prot) == 0;
    return false;
}
