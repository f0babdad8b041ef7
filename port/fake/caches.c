/*
 * caches.c (fake) - TLBs and paging-structure caches that forget nothing.
 *
 * Problem     Real caches lose entries at any time, which hides missing flushes; a test needs the
 *             machine on which each of them shows.
 * Idea        Not a cache of some size: everything that could be cached, found by address and level.
 *             An entry leaves only by the rules for invalidation. Where several fit an address, the
 *             oldest decides. What belongs to an address-space id that is not loaded is parked
 *             aside: the CPU cannot use it, and nothing but its id's own flushes reach it.
 * Invariants  I1 no two equal entries in a set
 *             I2 the sets hold what the id that is loaded can use, global entries included; upper
 *             entries are never global
 *             I3 a frame's record counts the entries of all sets that lead to it
 * Locking     None; one host thread at a time.
 * Cost        O(levels) per look-up, O(entries) per flush of more than a page.
 * Rejected    Random replacement: a failure would need luck and a seed.
 * Source      Intel SDM vol. 3A, 4.10.1 (ids), 4.10.2, 4.10.3 (what may be cached), 4.10.4.1
 *             (invalidation); AMD APM vol. 2, 3.1.7 (EFER.TCE).
 */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

/* ---- frames know what leads to them ---- */

static void count_entry(struct fake_cached *entry)
{
    struct fake_frame *frame = fake_frame_record(entry->phys);

    entry->counted = FAKE_COUNTED_NOT;
    if (entry->kind == FAKE_ABSENT || (entry->kind == FAKE_LEAF && fake_always_mapped(entry->virt)))
        return;
    if (frame != NULL) {
        entry->counted = FAKE_COUNTED_FRAME;
        if (entry->kind == FAKE_TABLE)
            frame->tables++;
        else
            frame->leaf[entry->level]++;
    } else if (fake_ram_overlaps(entry->phys, fake_level_bytes(entry->level))) {
        entry->counted = FAKE_COUNTED_PARTLY;
        fake_machine.leaves_partly++;
    }
}

static void uncount_entry(const struct fake_cached *entry)
{
    struct fake_frame *frame = fake_frame_record(entry->phys);

    if (entry->counted == FAKE_COUNTED_PARTLY)
        fake_machine.leaves_partly--;
    if (entry->counted != FAKE_COUNTED_FRAME)
        return;
    if (entry->kind == FAKE_TABLE)
        frame->tables--;
    else
        frame->leaf[entry->level]--;
}

/* ---- sets ---- */

static uint32_t *bucket_of(const struct fake_set *set, uint64_t virt, unsigned level)
{
    uint64_t key = (virt ^ level) * UINT64_C(0x9e3779b97f4a7c15);

    return &set->bucket[(key >> 32) & (2 * set->room - 1)];
}

static void set_grow(struct fake_set *set)
{
    set->room = set->room == 0 ? 64 : 2 * set->room;
    set->entry = realloc(set->entry, set->room * sizeof *set->entry);
    free(set->bucket);
    set->bucket = malloc(2 * set->room * sizeof *set->bucket);
    if (set->entry == NULL || set->bucket == NULL)
        fake_fail("no memory for cached translations");
    memset(set->bucket, 0xff, 2 * set->room * sizeof *set->bucket);
    for (uint32_t i = 0; i < set->count; i++) {
        uint32_t *bucket = bucket_of(set, set->entry[i].virt, set->entry[i].level);

        set->entry[i].next = *bucket;
        *bucket = i;
    }
}

static uint32_t chain_find(const struct fake_set *set, uint32_t i, uint64_t virt, unsigned level)
{
    while (i != FAKE_NO_INDEX && (set->entry[i].virt != virt || set->entry[i].level != level))
        i = set->entry[i].next;
    return i;
}

uint32_t fake_set_first(const struct fake_set *set, uint64_t virt, unsigned level)
{
    return set->count == 0 ? FAKE_NO_INDEX
                           : chain_find(set, *bucket_of(set, virt, level), virt, level);
}

uint32_t fake_set_next(const struct fake_set *set, uint32_t i)
{
    return chain_find(set, set->entry[i].next, set->entry[i].virt, set->entry[i].level);
}

static void set_put(struct fake_set *set, const struct fake_cached *entry)
{
    uint32_t *bucket;

    if (set->count == set->room)
        set_grow(set);
    bucket = bucket_of(set, entry->virt, entry->level);
    set->entry[set->count] = *entry;
    set->entry[set->count].next = *bucket;
    *bucket = set->count;
    count_entry(&set->entry[set->count++]);
}

/* The place in the chain that names entry i. */
static uint32_t *link_of(struct fake_set *set, uint32_t i)
{
    uint32_t *link = bucket_of(set, set->entry[i].virt, set->entry[i].level);

    while (*link != i)
        link = &set->entry[*link].next;
    return link;
}

/* The last entry takes its place. */
static void set_remove(struct fake_set *set, uint32_t i)
{
    uncount_entry(&set->entry[i]);
    *link_of(set, i) = set->entry[i].next;
    if (i != set->count - 1) {
        *link_of(set, set->count - 1) = i;
        set->entry[i] = set->entry[set->count - 1];
    }
    set->count--;
}

static bool same(const struct fake_cached *a, const struct fake_cached *b)
{
    return a->phys == b->phys && a->prot == b->prot && a->kind == b->kind && a->type == b->type &&
           a->global == b->global;
}

static void check_size(unsigned cpu, const struct fake_set *set, const struct fake_cached *entry)
{
    const struct fake_cached *other = fake_mixed_with(set, entry);
    char was[80], is[80];

    if (other != NULL)
        fake_fail("CPU %u caches %#llx with two sizes that differ: %s, and now %s", cpu,
                  (unsigned long long)entry->virt, fake_described(other, was, sizeof was),
                  fake_described(entry, is, sizeof is));
}

static void set_add(unsigned cpu, struct fake_set *set, const struct fake_cached *found)
{
    struct fake_cached entry = *found;

    for (uint32_t i = fake_set_first(set, entry.virt, entry.level); i != FAKE_NO_INDEX;
         i = fake_set_next(set, i)) {
        if (!same(&set->entry[i], &entry))
            continue;
        set->entry[i].dirty |= entry.dirty;
        return;
    }
    if (fake_machine.on.one_size && entry.kind == FAKE_LEAF)
        check_size(cpu, set, &entry);
    entry.order = fake_machine.order++;
    entry.asid = (uint16_t)fake_machine.cpu[cpu].asid;
    set_put(set, &entry);
    if (entry.kind == FAKE_ABSENT)
        fake_machine.caches[cpu].absent++;
}

void fake_cache_walk(unsigned cpu, const struct fake_walk *walk)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];

    for (unsigned i = 0; i < walk->step_count; i++)
        set_add(cpu, &caches->table, &walk->step[i]);
    if (walk->fault == FAKE_OK || (walk->fault == FAKE_NOT_PRESENT && fake_machine.on.absence))
        set_add(cpu, &caches->leaf, &walk->leaf);
}

/* ---- look-up ---- */

const struct fake_cached *fake_cache_find(unsigned cpu, uint64_t virt)
{
    const struct fake_set *set = &fake_machine.caches[cpu].leaf;
    const struct fake_cached *oldest = NULL;

    for (unsigned level = 1; level <= fake_format.levels_max && set->count > 0; level++)
        for (uint32_t i = fake_set_first(set, fake_level_start(virt, level), level);
             i != FAKE_NO_INDEX; i = fake_set_next(set, i))
            if (oldest == NULL || set->entry[i].order < oldest->order)
                oldest = &set->entry[i];
    return oldest;
}

/* The lowest level is used first: it is the one that skips most of the tables. Of two, the older. */
const struct fake_cached *fake_cache_table(unsigned cpu, uint64_t virt)
{
    const struct fake_set *set = &fake_machine.caches[cpu].table;
    const struct fake_cached *best = NULL;

    for (unsigned level = 2; level <= fake_format.levels_max && best == NULL; level++)
        for (uint32_t i = fake_set_first(set, fake_level_start(virt, level), level);
             i != FAKE_NO_INDEX; i = fake_set_next(set, i))
            if (best == NULL || set->entry[i].order < best->order)
                best = &set->entry[i];
    return best;
}

/* ---- invalidation ---- */

static void leaf_remove(struct fake_caches *caches, uint32_t i)
{
    caches->absent -= caches->leaf.entry[i].kind == FAKE_ABSENT ? 1 : 0;
    set_remove(&caches->leaf, i);
}

#define DROP_GLOBAL 1u
#define DROP_ABSENT 2u

static void drop_leaves_at(struct fake_caches *caches, uint64_t virt, unsigned what)
{
    for (unsigned level = 1; level <= fake_format.levels_max; level++) {
        uint64_t start = fake_level_start(virt, level);
        uint32_t i = fake_set_first(&caches->leaf, start, level);

        while (i != FAKE_NO_INDEX) {
            const struct fake_cached *entry = &caches->leaf.entry[i];
            bool kept = (entry->global && (what & DROP_GLOBAL) == 0) ||
                        (entry->kind == FAKE_ABSENT && (what & DROP_ABSENT) == 0);

            if (!kept)
                leaf_remove(caches, i);
            i = kept ? fake_set_next(&caches->leaf, i)
                     : fake_set_first(&caches->leaf, start, level);
        }
    }
}

static void drop_tables_at(struct fake_caches *caches, uint64_t virt)
{
    for (unsigned level = 2; level <= fake_format.levels_max; level++) {
        uint64_t start = fake_level_start(virt, level);
        uint32_t i = fake_set_first(&caches->table, start, level);

        for (; i != FAKE_NO_INDEX; i = fake_set_first(&caches->table, start, level))
            set_remove(&caches->table, i);
    }
}

static void drop_tables(struct fake_caches *caches)
{
    while (caches->table.count > 0)
        set_remove(&caches->table, caches->table.count - 1);
}

static void drop_leaves(struct fake_caches *caches, bool globals)
{
    for (uint32_t i = caches->leaf.count; i-- > 0;)
        if (globals || !caches->leaf.entry[i].global)
            leaf_remove(caches, i);
}

/* INVLPG: the page whatever its size, of this id or global, and of the paging-structure cache of
 * this id all, or with EFER.TCE = 1 what leads to the page. */
void fake_cache_drop_page(unsigned cpu, uint64_t virt)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];

    drop_leaves_at(caches, virt, DROP_GLOBAL | DROP_ABSENT);
    if (fake_machine.cpu[cpu].tce)
        drop_tables_at(caches, virt);
    else
        drop_tables(caches);
}

/* A page fault: what would be used for the address. Machines that cache absence (the RISC-V
 * privileged manual, 4.2.1) keep that: it is for the handler to flush. */
void fake_cache_drop_fault(unsigned cpu, uint64_t virt)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];

    drop_leaves_at(caches, virt, DROP_GLOBAL);
    drop_tables_at(caches, virt);
}

/* All of this id that is not global. */
void fake_cache_drop_space(unsigned cpu)
{
    drop_leaves(&fake_machine.caches[cpu], false);
    drop_tables(&fake_machine.caches[cpu]);
}

void fake_cache_drop_all(unsigned cpu)
{
    drop_leaves(&fake_machine.caches[cpu], true);
    drop_tables(&fake_machine.caches[cpu]);
    fake_machine.caches[cpu].parked_count = 0;
}

void fake_cache_drop_absence(unsigned cpu)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];

    for (uint32_t i = caches->leaf.count; caches->absent > 0 && i-- > 0;)
        if (caches->leaf.entry[i].kind == FAKE_ABSENT)
            leaf_remove(caches, i);
}

/* ---- address-space ids ---- */

static void park(struct fake_caches *caches, const struct fake_cached *entry)
{
    if (caches->parked_count == caches->parked_room) {
        caches->parked_room = caches->parked_room == 0 ? 64 : 2 * caches->parked_room;
        caches->parked = realloc(caches->parked, caches->parked_room * sizeof *caches->parked);
        if (caches->parked == NULL)
            fake_fail("no memory for cached translations");
    }
    caches->parked[caches->parked_count++] = *entry;
}

static void drop_parked(struct fake_caches *caches, uint32_t asid, uint64_t virt)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < caches->parked_count; i++) {
        const struct fake_cached *entry = &caches->parked[i];
        bool hit = virt == FAKE_EACH_PAGE || entry->kind == FAKE_TABLE ||
                   virt - entry->virt < fake_level_bytes(entry->level);

        if (entry->asid != asid || !hit)
            caches->parked[kept++] = *entry;
    }
    caches->parked_count = kept;
}

void fake_cache_drop_asid(unsigned cpu, uint32_t asid, uint64_t virt)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];

    if (asid != fake_machine.cpu[cpu].asid) {
        drop_parked(caches, asid, virt);
    } else if (virt == FAKE_EACH_PAGE) {
        fake_cache_drop_space(cpu);
    } else {
        drop_leaves_at(caches, virt, DROP_ABSENT);
        drop_tables(caches);
    }
}

void fake_cache_drop_page_asids(unsigned cpu, uint64_t virt)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];

    fake_cache_drop_page(cpu, virt);
    for (uint32_t i = 0; i < caches->parked_count;)
        if (caches->parked[i].kind == FAKE_TABLE ||
            virt - caches->parked[i].virt < fake_level_bytes(caches->parked[i].level))
            caches->parked[i] = caches->parked[--caches->parked_count];
        else
            i++;
}

void fake_cache_drop_asids(unsigned cpu)
{
    fake_cache_drop_space(cpu);
    fake_machine.caches[cpu].parked_count = 0;
}

/* Another id is loaded: what is not global of the old one is put aside, what was put aside of the
 * new one comes back, or with `keep` false is gone. */
void fake_cache_switch(unsigned cpu, uint32_t from, uint32_t to, bool keep)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];
    uint32_t kept = 0;

    for (uint32_t i = 0; from != to && i < caches->leaf.count; i++)
        if (!caches->leaf.entry[i].global)
            park(caches, &caches->leaf.entry[i]);
    for (uint32_t i = 0; from != to && i < caches->table.count; i++)
        park(caches, &caches->table.entry[i]);
    if (from != to || !keep)
        fake_cache_drop_space(cpu);
    for (uint32_t i = 0; i < caches->parked_count; i++) {
        struct fake_cached entry = caches->parked[i];

        if (entry.asid != to)
            caches->parked[kept++] = entry;
        else if (keep)
            set_put(entry.kind == FAKE_TABLE ? &caches->table : &caches->leaf, &entry);
        caches->absent += keep && entry.asid == to && entry.kind == FAKE_ABSENT ? 1 : 0;
    }
    caches->parked_count = kept;
}

void fake_caches_free(void)
{
    for (unsigned cpu = 0; cpu < FAKE_CPUS_MAX; cpu++) {
        free(fake_machine.caches[cpu].leaf.entry);
        free(fake_machine.caches[cpu].leaf.bucket);
        free(fake_machine.caches[cpu].table.entry);
        free(fake_machine.caches[cpu].table.bucket);
        free(fake_machine.caches[cpu].parked);
    }
}

size_t fake_tlb_entries(unsigned cpu)
{
    return fake_machine.caches[cpu].leaf.count - fake_machine.caches[cpu].absent;
}

size_t fake_table_entries(unsigned cpu)
{
    return fake_machine.caches[cpu].table.count;
}

size_t fake_parked_entries(unsigned cpu)
{
    return fake_machine.caches[cpu].parked_count;
}
