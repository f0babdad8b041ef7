/*
 * stale.c (fake) - the oracles: is anything cached that the tables do not say, or say no more?
 *
 * Problem     After each call of the code under test, nothing may be cached that grants more than
 *             the tables do, and no frame may be free that a CPU can still reach. A soak asks that
 *             millions of times.
 * Idea        Each cached entry is compared with a walk that nobody sees. fake_stale_changed() walks
 *             for those only whose tables a store has changed: mmu.c says which addresses.
 *             Frames count what leads to them (caches.c), so that "in use" is a look-up.
 * Invariants  I1 an oracle changes nothing
 *             I2 what fake_stale_changed() found stale it finds again, until it is flushed
 * Locking     None.
 * Cost        fake_stale_entries(): a walk per cached entry; fake_stale_changed(): a few look-ups per
 *             CPU and store; "in use": O(CPUs + levels).
 * Rejected    A count of flushes that were due: right ones and wrong ones look alike.
 */
#include "machine.h"

#include <stdio.h>

static char told[256]; /* two entries and 90 characters around them */

const char *fake_stale_why(void)
{
    return told;
}

/* ---- what is stale ---- */

const char *fake_described(const struct fake_cached *cached, char *text, size_t room)
{
    if (cached->kind == FAKE_TABLE)
        snprintf(text, room, "table %#llx", (unsigned long long)cached->phys);
    else
        snprintf(text, room, "%#llx level %u %s%s%s%s type %u", (unsigned long long)cached->phys,
                 cached->level, (cached->prot & MM_PROT_WRITE) != 0 ? "w" : "-",
                 (cached->prot & MM_PROT_EXEC) != 0 ? "x" : "-",
                 (cached->prot & MM_PROT_USER) != 0 ? "u" : "-", cached->dirty ? "d" : "-",
                 cached->type);
    return text;
}

/* About the first one; what an earlier call told is gone by then. */
static void tell(unsigned cpu, const struct fake_cached *cached)
{
    char was[80], is[80];
    struct fake_walk now;
    const struct fake_cached *there = NULL;

    fake_walk_root(cpu, cached->virt, 0, &now);
    for (unsigned i = 0; cached->kind == FAKE_TABLE && i < now.step_count; i++)
        if (now.step[i].level == cached->level)
            there = &now.step[i];
    if (cached->kind == FAKE_LEAF && now.fault == FAKE_OK)
        there = &now.leaf;
    snprintf(told, sizeof told, "CPU %u, %#llx: cached %s, the tables say %s%s", cpu,
             (unsigned long long)cached->virt, fake_described(cached, was, sizeof was),
             there != NULL ? fake_described(there, is, sizeof is) : "nothing",
             there != NULL && there->level != cached->level ? ": two sizes for one address" : "");
}

static size_t stale_one(unsigned cpu, const struct fake_cached *cached)
{
    bool right =
        cached->kind == FAKE_ABSENT ||
        (cached->kind == FAKE_LEAF ? fake_walk_grants(cpu, cached) : fake_walk_links(cpu, cached));

    if (!right && told[0] == '\0')
        tell(cpu, cached);
    return right ? 0 : 1;
}

static size_t stale_set(unsigned cpu, const struct fake_set *set)
{
    size_t stale = 0;

    for (uint32_t i = 0; i < set->count; i++)
        stale += stale_one(cpu, &set->entry[i]);
    return stale;
}

size_t fake_stale_entries(void)
{
    size_t stale = 0;

    told[0] = '\0';
    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++)
        stale += stale_set(cpu, &fake_machine.caches[cpu].leaf) +
                 stale_set(cpu, &fake_machine.caches[cpu].table);
    fake_machine.changed_all = stale != 0;
    if (stale == 0)
        fake_machine.changed_count = 0;
    return stale;
}

/* ---- only where something was stored ---- */

void fake_stale_store(const struct fake_place *place)
{
    unsigned count = fake_machine.changed_count;

    if (fake_machine.changed_all)
        return;
    if (count > 0 && fake_machine.changed[count - 1].virt == place->virt &&
        fake_machine.changed[count - 1].level == place->level)
        return;
    if (count == FAKE_CHANGES_MAX)
        fake_machine.changed_all = true;
    else
        fake_machine.changed[fake_machine.changed_count++] = *place;
}

static size_t stale_in_chain(unsigned cpu, const struct fake_set *set, uint64_t virt,
                             unsigned level)
{
    size_t stale = 0;

    for (uint32_t i = fake_set_first(set, virt, level); i != FAKE_NO_INDEX;
         i = fake_set_next(set, i))
        stale += stale_one(cpu, &set->entry[i]);
    return stale;
}

/* What covers the place, and what lies in it. */
static size_t stale_at(unsigned cpu, const struct fake_set *set, const struct fake_place *place)
{
    uint64_t bytes = fake_level_bytes(place->level);
    size_t stale = 0;

    for (unsigned level = place->level; level <= fake_format.levels_max; level++)
        stale += stale_in_chain(cpu, set, fake_level_start(place->virt, level), level);
    for (uint32_t i = 0; place->level > 1 && i < set->count; i++)
        if (set->entry[i].level < place->level && set->entry[i].virt - place->virt < bytes)
            stale += stale_one(cpu, &set->entry[i]);
    return stale;
}

size_t fake_stale_changed(void)
{
    unsigned kept = 0;
    size_t stale = 0;

    if (fake_machine.changed_all || !fake_follows())
        return fake_stale_entries();
    told[0] = '\0';
    for (unsigned c = 0; c < fake_machine.changed_count; c++) {
        struct fake_place place = fake_machine.changed[c];
        size_t here = 0;

        for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++)
            here += stale_at(cpu, &fake_machine.caches[cpu].leaf, &place) +
                    stale_at(cpu, &fake_machine.caches[cpu].table, &place);
        if (here != 0)
            fake_machine.changed[kept++] = place;
        stale += here;
    }
    fake_machine.changed_count = kept;
    return stale;
}

void fake_stale_none(void)
{
    size_t stale = fake_stale_entries();

    if (stale != 0)
        fake_fail("%zu stale translations. %s", stale, told);
}

/* ---- two sizes for one address ---- */

/* Does one of them say something else about the pages of the small one? With `older`, which is one of
 * them, it may have fewer rights. */
static bool differ(const struct fake_cached *small, const struct fake_cached *large,
                   const struct fake_cached *older)
{
    unsigned rights = (unsigned)(small->prot ^ large->prot);

    if (older != NULL)
        rights &= older->prot;
    return small->kind == FAKE_LEAF && large->kind == FAKE_LEAF &&
           (small->phys - large->phys != small->virt - large->virt || rights != 0 ||
            small->type != large->type || small->global != large->global);
}

const struct fake_cached *fake_mixed_with(const struct fake_set *set,
                                          const struct fake_cached *leaf)
{
    uint64_t bytes = fake_level_bytes(leaf->level);

    for (unsigned level = leaf->level + 1u; level <= fake_format.levels_max; level++)
        for (uint32_t i = fake_set_first(set, fake_level_start(leaf->virt, level), level);
             i != FAKE_NO_INDEX; i = fake_set_next(set, i))
            if (differ(leaf, &set->entry[i], &set->entry[i]))
                return &set->entry[i];
    for (uint32_t i = 0; leaf->level > 1 && i < set->count; i++)
        if (set->entry[i].level < leaf->level && set->entry[i].virt - leaf->virt < bytes &&
            differ(&set->entry[i], leaf, &set->entry[i]))
            return &set->entry[i];
    return NULL;
}

size_t fake_mixed_entries(void)
{
    size_t mixed = 0;

    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++) {
        const struct fake_set *set = &fake_machine.caches[cpu].leaf;

        for (uint32_t i = 0; i < set->count; i++) {
            const struct fake_cached *small = &set->entry[i];

            for (unsigned level = small->level + 1u; level <= fake_format.levels_max; level++)
                for (uint32_t k = fake_set_first(set, fake_level_start(small->virt, level), level);
                     k != FAKE_NO_INDEX; k = fake_set_next(set, k))
                    mixed += differ(small, &set->entry[k], NULL);
        }
    }
    return mixed;
}

/* ---- absence that is none ---- */

size_t fake_stale_absences(unsigned cpu)
{
    const struct fake_set *set = &fake_machine.caches[cpu].leaf;
    size_t stale = 0;

    for (uint32_t i = 0; i < set->count; i++) {
        struct fake_walk now;

        if (set->entry[i].kind != FAKE_ABSENT)
            continue;
        fake_walk_root(cpu, set->entry[i].virt, 0, &now);
        stale += now.fault == FAKE_NOT_PRESENT && now.level >= set->entry[i].level ? 0 : 1;
    }
    return stale;
}

/* ---- in use ---- */

static bool overlaps(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

static bool is_root(uint64_t start, uint64_t bytes)
{
    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++)
        if (fake_machine.cpu[cpu].root_loaded &&
            overlaps(fake_machine.cpu[cpu].root.raw, MM_FRAME_BYTES, start, bytes))
            return true;
    return false;
}

/* By the records of caches.c: is this table one that a CPU may walk, by its root or from a cache? */
bool fake_walked_by_any(uint64_t frame)
{
    const struct fake_frame *record = fake_frame_record(frame);

    return (record != NULL && record->tables != 0) || is_root(frame, MM_FRAME_BYTES);
}

static bool frame_in_use(uint64_t frame)
{
    if (fake_walked_by_any(frame))
        return true;
    for (unsigned level = 1; level <= fake_format.levels_max; level++) {
        const struct fake_frame *record = fake_frame_record(fake_level_start(frame, level));

        if (record != NULL && record->leaf[level] != 0)
            return true;
    }
    return false;
}

static bool set_leads_to(const struct fake_set *set, uint64_t start, uint64_t bytes)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct fake_cached *entry = &set->entry[i];
        uint64_t size = entry->kind == FAKE_LEAF ? fake_level_bytes(entry->level) : MM_FRAME_BYTES;

        if (entry->kind != FAKE_ABSENT &&
            !(entry->kind == FAKE_LEAF && fake_always_mapped(entry->virt)) &&
            overlaps(entry->phys, size, start, bytes))
            return true;
    }
    return false;
}

bool fake_range_in_use(mm_phys_t start, uint64_t bytes)
{
    if (fake_machine.leaves_partly == 0 && bytes == MM_FRAME_BYTES &&
        fake_frame_record(start.raw) != NULL)
        return frame_in_use(start.raw);
    if (is_root(start.raw, bytes))
        return true;
    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++)
        if (set_leads_to(&fake_machine.caches[cpu].table, start.raw, bytes) ||
            set_leads_to(&fake_machine.caches[cpu].leaf, start.raw, bytes))
            return true;
    return false;
}

bool fake_frame_in_use(mm_phys_t frame)
{
    return fake_range_in_use(frame, MM_FRAME_BYTES);
}
