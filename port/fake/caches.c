/*
 * caches.c (fake) - TLBs and paging-structure caches that forget nothing.
 *
 * Problem     Real caches lose entries at any time, which hides missing flushes; a test needs the
 *             machine on which each of them shows.
 * Idea        Not a cache of some size: the list of everything that could be cached. An entry
 *             leaves only by the rules for invalidation (SDM vol. 3A, 4.10.4.1). Where several
 *             fit an address, the oldest decides.
 * Invariants  I1 no two equal entries on one CPU
 *             I2 entries are in the order in which they were made
 * Locking     None; one host thread at a time.
 * Cost        O(entries) per lookup.
 * Rejected    Random replacement: a failure would need luck and a seed.
 */
#include "machine.h"

#include <stdlib.h>

static void *grow(void *list, size_t count, size_t *room, size_t bytes)
{
    if (count < *room)
        return list;
    *room = *room == 0 ? 64 : 2 * *room;
    list = realloc(list, *room * bytes);
    if (list == NULL)
        fake_fail("no memory for cached translations");
    return list;
}

static bool tlb_same(const struct fake_tlb *a, const struct fake_tlb *b)
{
    return a->virt == b->virt && a->level == b->level && a->phys == b->phys && a->prot == b->prot &&
           a->type == b->type && a->global == b->global;
}

static void tlb_add(struct fake_caches *caches, const struct fake_tlb *entry)
{
    for (size_t i = 0; i < caches->tlb_count; i++) {
        if (!tlb_same(&caches->tlb[i], entry))
            continue;
        caches->tlb[i].dirty |= entry->dirty;
        return;
    }
    caches->tlb = grow(caches->tlb, caches->tlb_count, &caches->tlb_room, sizeof *caches->tlb);
    caches->tlb[caches->tlb_count++] = *entry;
}

static void psc_add(struct fake_caches *caches, const struct fake_psc *entry)
{
    for (size_t i = 0; i < caches->psc_count; i++) {
        const struct fake_psc *old = &caches->psc[i];

        if (old->virt == entry->virt && old->level == entry->level && old->table == entry->table &&
            old->prot == entry->prot)
            return;
    }
    caches->psc = grow(caches->psc, caches->psc_count, &caches->psc_room, sizeof *caches->psc);
    caches->psc[caches->psc_count++] = *entry;
}

void fake_cache_walk(unsigned cpu, const struct fake_walk *walk)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];

    for (unsigned i = 0; i < walk->step_count; i++)
        psc_add(caches, &walk->step[i]);
    if (walk->fault == FAKE_OK)
        tlb_add(caches, &walk->leaf);
}

static bool tlb_covers(const struct fake_tlb *entry, uint64_t virt)
{
    return virt - entry->virt < fake_level_bytes(entry->level);
}

const struct fake_tlb *fake_cache_find(unsigned cpu, uint64_t virt)
{
    const struct fake_caches *caches = &fake_machine.caches[cpu];

    for (size_t i = 0; i < caches->tlb_count; i++)
        if (tlb_covers(&caches->tlb[i], virt))
            return &caches->tlb[i];
    return NULL;
}

bool fake_cache_table_covers(const struct fake_psc *entry, uint64_t virt)
{
    return virt - entry->virt < fake_level_bytes(entry->level + 1);
}

/* The lowest level is used first: it is the one that skips most of the tables. */
const struct fake_psc *fake_cache_table(unsigned cpu, uint64_t virt)
{
    const struct fake_caches *caches = &fake_machine.caches[cpu];
    const struct fake_psc *best = NULL;

    for (size_t i = 0; i < caches->psc_count; i++)
        if (fake_cache_table_covers(&caches->psc[i], virt) &&
            (best == NULL || caches->psc[i].level < best->level))
            best = &caches->psc[i];
    return best;
}

/* INVLPG, and what a page fault does: the page whatever its size, global or not, and of the
 * paging-structure cache all, or with EFER.TCE = 1 what leads to the page. */
void fake_cache_drop_page(unsigned cpu, uint64_t virt)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];
    size_t kept = 0;

    for (size_t i = 0; i < caches->tlb_count; i++)
        if (!tlb_covers(&caches->tlb[i], virt))
            caches->tlb[kept++] = caches->tlb[i];
    caches->tlb_count = kept;
    kept = 0;
    for (size_t i = 0; fake_machine.cpu[cpu].tce && i < caches->psc_count; i++)
        if (!fake_cache_table_covers(&caches->psc[i], virt))
            caches->psc[kept++] = caches->psc[i];
    caches->psc_count = kept;
}

/* MOV to CR3: all that is not global. */
void fake_cache_drop_space(unsigned cpu)
{
    struct fake_caches *caches = &fake_machine.caches[cpu];
    size_t kept = 0;

    for (size_t i = 0; i < caches->tlb_count; i++)
        if (caches->tlb[i].global)
            caches->tlb[kept++] = caches->tlb[i];
    caches->tlb_count = kept;
    caches->psc_count = 0;
}

void fake_cache_drop_all(unsigned cpu)
{
    fake_machine.caches[cpu].tlb_count = 0;
    fake_machine.caches[cpu].psc_count = 0;
}

void fake_caches_free(void)
{
    for (unsigned cpu = 0; cpu < FAKE_CPUS_MAX; cpu++) {
        free(fake_machine.caches[cpu].tlb);
        free(fake_machine.caches[cpu].psc);
    }
}

/* ---- oracles ---- */

size_t fake_stale_entries(void)
{
    size_t stale = 0;

    for (unsigned cpu = 0; cpu < FAKE_CPUS_MAX; cpu++) {
        const struct fake_caches *caches = &fake_machine.caches[cpu];

        for (size_t i = 0; i < caches->tlb_count; i++)
            stale += fake_walk_grants(cpu, &caches->tlb[i]) ? 0 : 1;
        for (size_t i = 0; i < caches->psc_count; i++)
            stale += fake_walk_links(cpu, &caches->psc[i]) ? 0 : 1;
    }
    return stale;
}

static bool overlaps(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

bool fake_cpu_walks_frame(unsigned cpu, uint64_t start, uint64_t bytes)
{
    const struct fake_caches *caches = &fake_machine.caches[cpu];
    const struct fake_cpu *c = &fake_machine.cpu[cpu];

    if (c->root_loaded && overlaps(c->root.raw, MM_FRAME_BYTES, start, bytes))
        return true;
    for (size_t i = 0; i < caches->psc_count; i++)
        if (overlaps(caches->psc[i].table, MM_FRAME_BYTES, start, bytes))
            return true;
    return false;
}

bool fake_range_in_use(mm_phys_t start, uint64_t bytes)
{
    for (unsigned cpu = 0; cpu < FAKE_CPUS_MAX; cpu++) {
        const struct fake_caches *caches = &fake_machine.caches[cpu];

        if (fake_cpu_walks_frame(cpu, start.raw, bytes))
            return true;
        for (size_t i = 0; i < caches->tlb_count; i++)
            if (overlaps(caches->tlb[i].phys, fake_level_bytes(caches->tlb[i].level), start.raw,
                         bytes))
                return true;
    }
    return false;
}

bool fake_frame_in_use(mm_phys_t frame)
{
    return fake_range_in_use(frame, MM_FRAME_BYTES);
}

size_t fake_tlb_entries(unsigned cpu)
{
    return fake_machine.caches[cpu].tlb_count;
}

size_t fake_table_entries(unsigned cpu)
{
    return fake_machine.caches[cpu].psc_count;
}
