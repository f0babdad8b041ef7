/*
 * watch.c (fake) - walkers at the worst moment, and where stores go.
 *
 * Problem     Between any two instructions of the code under test each CPU may translate any
 *             address, set A and D, and keep what it found. A list of addresses to watch is never
 *             the one that a soak needs.
 * Idea        Around each store every CPU translates the watched addresses, and those that the
 *             stored entry covers: from its root and from every table that it may still have cached.
 *             Which those are is found by climbing from the table to a root; each frame remembers
 *             which entry linked it, and the climb checks that this is still so.
 * Invariants  I1 a place is believed only if each entry on the way down leads there now
 *             I2 a table that no root and no cache of a CPU leads to has no place, and its stores
 *             cost no walk
 *             I3 with a seed the schedule is the same in each run
 * Locking     None; one host thread at a time.
 * Cost        CPUs x addresses walks per store, twice; the climb a load per level; a search of the
 *             upper tables when the memory of a frame is wrong.
 * Rejected    Walkers on threads of the host: no run would be like the one before.
 *             A copy of all tables kept beside them: what tests write by hand would not be in it.
 * Source      Intel SDM vol. 3A, 4.10.2 to 4.10.4, 4.8; Arm ARM D8.16.1 (break-before-make).
 */
#include "machine.h"

/* ---- one walker ---- */

static void walker_found(unsigned cpu, const struct fake_watch *watch, struct fake_walk *walk)
{
    if (walk->fault == FAKE_NO_TABLE)
        fake_fail("a walker at %#llx was led to a level %u table outside RAM",
                  (unsigned long long)watch->virt, walk->level);
    if (walk->fault == FAKE_OK && (watch->how & FAKE_WATCH_WRITE) != 0 && !walk->leaf.dirty &&
        (walk->leaf.prot & MM_PROT_WRITE) != 0)
        fake_walk_set_dirty(walk);
    fake_cache_walk(cpu, walk);
}

static bool on_the_way(const struct fake_walk *walk, const struct fake_cached *table)
{
    for (unsigned i = 0; i < walk->step_count; i++)
        if (walk->step[i].level == table->level)
            return walk->step[i].phys == table->phys && walk->step[i].prot == table->prot;
    return false;
}

/* From cached tables first: what they lead to is older. Those that the root leads to as well give
 * what the walk from the root gives. */
static void walker_run(unsigned cpu, const struct fake_watch *watch)
{
    const struct fake_set *set = &fake_machine.caches[cpu].table;
    struct fake_walk from_root, walk;

    fake_walk_root(cpu, watch->virt, FAKE_WALK_TOUCH, &from_root);
    for (unsigned level = 2; level <= fake_format.levels_max && set->count > 0; level++)
        for (uint32_t i = fake_set_first(set, fake_level_start(watch->virt, level), level);
             i != FAKE_NO_INDEX; i = fake_set_next(set, i)) {
            struct fake_cached table = set->entry[i];

            if (on_the_way(&from_root, &table))
                continue;
            fake_walk_from(cpu, watch->virt, table.phys, level - 1, table.prot, FAKE_WALK_TOUCH,
                           &walk);
            walker_found(cpu, watch, &walk);
        }
    walker_found(cpu, watch, &from_root);
}

static void walkers_at(const struct fake_watch *watch, uint64_t cpus)
{
    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++)
        if ((cpus >> cpu % 64 & 1) != 0 && fake_machine.cpu[cpu].root_loaded &&
            fake_canonical(cpu, watch->virt))
            walker_run(cpu, watch);
}

/* ---- when ---- */

static uint64_t next_random(void)
{
    uint64_t x = fake_machine.on.random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* The CPUs whose walkers run at this moment. */
static uint64_t cpus_now(void)
{
    if (fake_machine.on.schedule == FAKE_ALWAYS)
        return UINT64_MAX;
    if (fake_machine.on.schedule == FAKE_NEVER || next_random() % fake_machine.on.one_in != 0)
        return 0;
    return next_random();
}

void fake_schedule(enum fake_schedule schedule, unsigned one_in, uint64_t seed)
{
    fake_machine.on.schedule = schedule;
    fake_machine.on.one_in = one_in != 0 ? one_in : 1;
    fake_machine.on.random = seed;
}

static void watched_run(uint64_t cpus)
{
    for (unsigned i = 0; cpus != 0 && i < fake_machine.watch_count; i++)
        walkers_at(&fake_machine.watch[i], cpus);
}

void fake_walkers_run(void)
{
    watched_run(UINT64_MAX);
}

void fake_walkers_after(void)
{
    if (fake_machine.watch_count > 0)
        watched_run(cpus_now());
}

void fake_watch(mm_virt_t virt, unsigned how)
{
    if (fake_machine.watch_count == FAKE_WATCHES_MAX)
        fake_fail("more than %u watched addresses", FAKE_WATCHES_MAX);
    fake_machine.watch[fake_machine.watch_count++] = (struct fake_watch){virt.raw, how};
    fake_walkers_run();
}

void fake_watch_changes(unsigned how)
{
    fake_machine.on.changes = how;
    fake_machine.changed_all = true;
}

void fake_break_before_make(bool on)
{
    fake_machine.on.break_before_make = on;
    fake_machine.changed_all = true;
}

void fake_one_size(bool on)
{
    fake_machine.on.one_size = on;
}

void fake_cache_absence(bool on)
{
    fake_machine.on.absence = on;
}

/* ---- where an entry stands ---- */

static bool entry_links(const void *at, unsigned level, uint64_t table)
{
    struct fake_entry entry;

    if (at == NULL || level < 2)
        return false;
    fake_decode(&fake_machine.cpu[fake_cpu_current()], fake_entry_read(at), level, &entry);
    return entry.kind == FAKE_TABLE && entry.phys == table;
}

/* The level of a table that a CPU has as its root; 0 if none has. */
static unsigned root_level(uint64_t table)
{
    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++)
        if (fake_machine.cpu[cpu].root_loaded && fake_machine.cpu[cpu].root.raw == table)
            return fake_machine.cpu[cpu].levels;
    return 0;
}

/* Addresses have as many bits as the levels translate; the highest is repeated above them where the
 * format wants it. */
uint64_t fake_sign_extended(uint64_t virt)
{
    unsigned cpu = fake_cpu_current();
    unsigned levels = fake_machine.cpu[cpu].levels;
    uint64_t span = fake_format.bytes[levels] * fake_format.entries[levels];

    return span == 0 || fake_canonical(cpu, virt) ? virt : virt | ~(span - 1);
}

/* Follow the frames' memory of who links them, up to a root. */
static bool climb(uint64_t table, unsigned depth, struct fake_place *place)
{
    const struct fake_frame *frame = fake_frame_record(table);
    unsigned level = root_level(table);
    uint64_t parent, index;

    *place = (struct fake_place){.virt = 0, .level = level};
    if (level != 0)
        return true;
    if (frame == NULL || frame->linked_at == 0 || depth == FAKE_LEVELS_MAX)
        return false;
    parent = frame->linked_at & ~(MM_FRAME_BYTES - 1);
    if (!climb(parent, depth + 1, place) ||
        !entry_links(fake_ram(mm_phys(frame->linked_at), fake_format.entry_bytes), place->level,
                     table))
        return false;
    index = (frame->linked_at - parent) / fake_format.entry_bytes;
    place->virt += index * fake_level_bytes(place->level);
    place->level--;
    return index < fake_format.entries[place->level + 1];
}

bool fake_table_linked(uint64_t table)
{
    struct fake_place place;

    return climb(table, 0, &place);
}

/* Look for it in all upper tables below `from`. */
static bool search(uint64_t from, unsigned level, uint64_t virt, uint64_t table,
                   struct fake_place *place)
{
    const struct fake_cpu *cpu = &fake_machine.cpu[fake_cpu_current()];

    for (unsigned i = 0; i < fake_format.entries[level]; i++, virt += fake_level_bytes(level)) {
        uint64_t phys = from + i * fake_format.entry_bytes;
        const void *at = fake_ram(mm_phys(phys), fake_format.entry_bytes);
        struct fake_frame *below;
        struct fake_entry entry;

        if (at == NULL)
            return false;
        fake_decode(cpu, fake_entry_read(at), level, &entry);
        below = entry.kind == FAKE_TABLE ? fake_frame_record(entry.phys) : NULL;
        if (below == NULL)
            continue;
        below->linked_at = phys;
        if (entry.phys == table) {
            *place = (struct fake_place){.virt = virt, .level = level - 1};
            return true;
        }
        if (level > 2 && search(entry.phys, level - 1, virt, table, place))
            return true;
    }
    return false;
}

static bool search_roots(uint64_t table, struct fake_place *place)
{
    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++) {
        const struct fake_cpu *c = &fake_machine.cpu[cpu];
        bool seen = !c->root_loaded;

        for (unsigned before = 0; before < cpu && !seen; before++)
            seen = fake_machine.cpu[before].root_loaded &&
                   fake_machine.cpu[before].root.raw == c->root.raw;
        if (!seen && search(c->root.raw, c->levels, 0, table, place))
            return true;
    }
    return false;
}

/* It was unlinked, but a CPU may still walk it. */
static bool search_caches(uint64_t table, struct fake_place *place)
{
    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++) {
        const struct fake_set *set = &fake_machine.caches[cpu].table;

        for (uint32_t i = 0; i < set->count; i++) {
            if (set->entry[i].phys != table)
                continue;
            *place = (struct fake_place){set->entry[i].virt, set->entry[i].level - 1u};
            return true;
        }
    }
    return false;
}

/* What the first entry of a table covers. */
static bool table_place(uint64_t table, struct fake_place *place)
{
    struct fake_frame *frame = fake_frame_record(table);

    if (climb(table, 0, place))
        return true;
    if (frame == NULL)
        return false;
    if (frame->nowhere != fake_machine.epoch && search_roots(table, place))
        return true;
    frame->nowhere = fake_machine.epoch;
    return frame->tables != 0 && search_caches(table, place);
}

static bool entry_place(uint64_t phys, struct fake_place *place)
{
    uint64_t table = phys & ~(MM_FRAME_BYTES - 1);
    uint64_t index = (phys - table) / fake_format.entry_bytes;

    if (!table_place(table, place) || index >= fake_format.entries[place->level])
        return false;
    place->virt = fake_sign_extended(place->virt + index * fake_level_bytes(place->level));
    return true;
}

/* A frame that an entry leads to remembers which. Of an entry without a place the level is unknown:
 * read as one of level 2 it is either not a table or rightly one. */
void fake_change_link(const struct fake_change *change, uint64_t bits)
{
    unsigned level = change->placed ? change->place.level : 2;
    struct fake_frame *frame;
    struct fake_entry entry;

    if (level < 2)
        return;
    fake_decode(&fake_machine.cpu[fake_cpu_current()], bits, level, &entry);
    frame = entry.kind == FAKE_TABLE ? fake_frame_record(entry.phys) : NULL;
    if (frame == NULL)
        return;
    frame->linked_at = change->phys;
    fake_machine.epoch += change->placed ? 1 : 0; /* what had no place may have one now */
}

/* ---- break before make ---- */

static void decoded(const struct fake_change *change, uint64_t bits, struct fake_entry *entry)
{
    fake_decode(&fake_machine.cpu[fake_cpu_current()], bits, change->place.level, entry);
}

static bool present(const struct fake_entry *entry)
{
    return entry->kind == FAKE_LEAF || entry->kind == FAKE_TABLE;
}

static bool conflicts(const struct fake_cached *cached, const struct fake_place *place,
                      const struct fake_entry *entry)
{
    if (cached->kind == FAKE_ABSENT)
        return false;
    if (cached->kind == FAKE_TABLE)
        return cached->level == place->level &&
               (entry->kind != FAKE_TABLE || entry->phys != cached->phys);
    return entry->kind != FAKE_LEAF || cached->level != place->level ||
           cached->phys != entry->phys || cached->type != entry->type;
}

/* A leaf in the range of a table entry that was not there before is old, whatever it says. */
static void set_conflicts(unsigned cpu, const struct fake_set *set, const struct fake_place *place,
                          const struct fake_entry *entry)
{
    uint64_t bytes = fake_level_bytes(place->level);

    for (unsigned level = place->level; level <= fake_format.levels_max; level++)
        for (uint32_t i = fake_set_first(set, fake_level_start(place->virt, level), level);
             i != FAKE_NO_INDEX; i = fake_set_next(set, i))
            if ((set->entry[i].kind == FAKE_LEAF || level == place->level) &&
                conflicts(&set->entry[i], place, entry))
                fake_fail("break before make: %#llx, level %u, is valid again while CPU %u still "
                          "has what was there before",
                          (unsigned long long)place->virt, place->level, cpu);
    for (uint32_t i = 0; place->level > 1 && i < set->count; i++)
        if (set->entry[i].level < place->level && set->entry[i].kind == FAKE_LEAF &&
            set->entry[i].virt - place->virt < bytes)
            fake_fail("break before make: %#llx, level %u, is valid again while CPU %u still has "
                      "a page of it",
                      (unsigned long long)place->virt, place->level, cpu);
}

static void check_break(const struct fake_change *change, uint64_t after)
{
    struct fake_entry was, is;

    decoded(change, change->before, &was);
    decoded(change, after, &is);
    if (!present(&is))
        return;
    if (present(&was) && (was.kind != is.kind || was.phys != is.phys ||
                          (is.kind == FAKE_LEAF && was.type != is.type)))
        fake_fail("break before make: %#llx, level %u, changes from %#llx to %#llx in place",
                  (unsigned long long)change->place.virt, change->place.level,
                  (unsigned long long)change->before, (unsigned long long)after);
    for (unsigned cpu = 0; !present(&was) && cpu < fake_machine.cpus; cpu++) {
        set_conflicts(cpu, &fake_machine.caches[cpu].leaf, &change->place, &is);
        set_conflicts(cpu, &fake_machine.caches[cpu].table, &change->place, &is);
    }
}

/* ---- around a store ---- */

/* The first and the last page that the entry covers, and one between. */
static void walkers_at_place(const struct fake_place *place, unsigned how)
{
    uint64_t cpus = cpus_now();
    uint64_t pages = fake_level_bytes(place->level) / MM_FRAME_BYTES;
    struct fake_watch watch = {.virt = place->virt, .how = how};

    if (cpus == 0 || watch.how == 0)
        return;
    walkers_at(&watch, cpus);
    if (pages == 1)
        return;
    watch.virt = place->virt + (pages - 1) * MM_FRAME_BYTES;
    walkers_at(&watch, cpus);
    watch.virt = place->virt + next_random() % pages * MM_FRAME_BYTES;
    walkers_at(&watch, cpus);
}

void fake_change_begin(struct fake_change *change, void *entry, uint64_t phys)
{
    change->at = entry;
    change->phys = phys;
    change->software = fake_entry_read(entry);
    change->placed = fake_follows() && entry_place(phys, &change->place);
    if (fake_machine.watch_count > 0)
        watched_run(cpus_now());
    if (change->placed)
        walkers_at_place(&change->place, fake_machine.on.changes);
    change->before = fake_entry_read(entry);
}

void fake_change_end(struct fake_change *change, uint64_t after)
{
    if (fake_follows() && after != change->before) {
        if (change->placed && fake_machine.on.break_before_make)
            check_break(change, after);
        if (change->placed)
            fake_stale_store(&change->place);
        fake_change_link(change, after);
    }
    if (fake_machine.watch_count > 0)
        watched_run(cpus_now());
    if (change->placed)
        walkers_at_place(&change->place, fake_machine.on.changes != 0 ? FAKE_WATCH_READ : 0);
}
