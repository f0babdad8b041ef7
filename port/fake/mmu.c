/*
 * mmu.c (fake) - what programs do, and how the code under test reads and writes entries.
 *
 * Problem     Programs see old translations until somebody flushes; entries change under the code
 *             that handles them.
 * Idea        Accesses go through the caches first and use the oldest that fits. Each store of an
 *             entry tells watch.c, before it and after it.
 * Invariants  I1 a store to an entry that no table in RAM holds is a failure of the machine
 *             I2 a fresh store into a table that a CPU may walk is one, too
 * Locking     None; one host thread at a time. Stores are atomic all the same.
 * Cost        A look-up per access; for a store, what watch.c costs.
 * Rejected    Accesses that walk each time: no missing flush would show.
 * Source      Intel SDM vol. 3A, 4.10.2 to 4.10.4, 4.8.
 */
#include "machine.h"

/* ---- accesses of programs ---- */

enum access_kind {
    ACCESS_READ,
    ACCESS_WRITE,
    ACCESS_FETCH
};

/* SDM vol. 3A, 4.6: what the accumulated rights deny. Present is readable. */
static enum fake_fault denied(unsigned cpu, unsigned prot, enum access_kind kind)
{
    const struct fake_machine *m = &fake_machine;

    if (m->user && (prot & MM_PROT_USER) == 0)
        return FAKE_USER_DENIED;
    if (kind == ACCESS_WRITE && (prot & MM_PROT_WRITE) == 0 && (m->user || m->cpu[cpu].wp))
        return FAKE_WRITE_DENIED;
    if (kind == ACCESS_FETCH && (prot & MM_PROT_EXEC) == 0)
        return FAKE_FETCH_DENIED;
    return FAKE_OK;
}

static struct fake_access granted(uint64_t virt, const struct fake_cached *leaf, bool cached)
{
    return (struct fake_access){
        .phys = mm_phys(leaf->phys + (virt - leaf->virt)),
        .level = leaf->level,
        .prot = leaf->prot,
        .type = (enum mm_memtype)leaf->type,
        .global = leaf->global,
        .cached = cached,
    };
}

/* A page fault drops what is cached for its address (SDM vol. 3A, 4.10.4.1). It was spurious if
 * the tables permit the access. */
static struct fake_access faulted(unsigned cpu, uint64_t virt, enum access_kind kind,
                                  struct fake_access result, enum fake_fault fault)
{
    struct fake_walk now;

    fake_walk_root(cpu, virt, 0, &now);
    result.fault = fault;
    result.phys = mm_phys(0);
    result.spurious = now.fault == FAKE_OK && denied(cpu, now.leaf.prot, kind) == FAKE_OK;
    fake_cache_drop_fault(cpu, virt);
    return result;
}

static struct fake_access walk_access(unsigned cpu, uint64_t virt, enum access_kind kind,
                                      const struct fake_cached *from)
{
    struct fake_access result = {.fault = FAKE_NO_TABLE};
    struct fake_walk walk;

    if (from != NULL)
        fake_walk_from(cpu, virt, from->phys, from->level - 1u, from->prot, FAKE_WALK_TOUCH, &walk);
    else
        fake_walk_root(cpu, virt, FAKE_WALK_TOUCH, &walk);
    result.level = walk.level;
    if (walk.fault == FAKE_NOT_PRESENT && fake_machine.on.absence)
        fake_cache_walk(cpu, &walk);
    if (walk.fault != FAKE_OK)
        return faulted(cpu, virt, kind, result, walk.fault);
    result = granted(virt, &walk.leaf, false);
    result.fault = denied(cpu, walk.leaf.prot, kind);
    if (result.fault == FAKE_OK && kind == ACCESS_WRITE && !walk.leaf.dirty)
        fake_walk_set_dirty(&walk);
    fake_cache_walk(cpu, &walk);
    return result.fault == FAKE_OK ? result : faulted(cpu, virt, kind, result, result.fault);
}

static struct fake_access translate(uint64_t virt, enum access_kind kind)
{
    unsigned cpu = fake_cpu_current();
    const struct fake_cached *cached;
    struct fake_access result = {.fault = FAKE_NON_CANONICAL};

    if (virt % 8 != 0)
        fake_fail("unaligned access at %#llx", (unsigned long long)virt);
    if (!fake_canonical(cpu, virt))
        return result;
    result.fault = FAKE_NO_TABLE;
    if (!fake_machine.cpu[cpu].root_loaded)
        return result;
    cached = fake_cache_find(cpu, virt);
    if (cached == NULL)
        return walk_access(cpu, virt, kind, fake_cache_table(cpu, virt));
    if (cached->kind == FAKE_ABSENT) {
        result.level = cached->level;
        result.cached = true;
        return faulted(cpu, virt, kind, result, FAKE_NOT_PRESENT);
    }
    result = granted(virt, cached, true);
    result.fault = denied(cpu, cached->prot, kind);
    if (result.fault != FAKE_OK)
        return faulted(cpu, virt, kind, result, result.fault);
    if (kind == ACCESS_WRITE && !cached->dirty) /* D must be set in memory first: walk again */
        return walk_access(cpu, virt, kind, NULL);
    return result;
}

struct fake_access fake_read64(mm_virt_t virt)
{
    struct fake_access result;
    const uint64_t *at;

    fake_enter();
    result = translate(virt.raw, ACCESS_READ);
    at = result.fault == FAKE_OK ? fake_ram(result.phys, 8) : NULL;
    if (result.fault == FAKE_OK)
        result.value = at != NULL ? *at : UINT64_MAX;
    fake_leave();
    return result;
}

struct fake_access fake_write64(mm_virt_t virt, uint64_t value)
{
    struct fake_access result;
    uint64_t *at;

    fake_enter();
    result = translate(virt.raw, ACCESS_WRITE);
    at = result.fault == FAKE_OK ? fake_ram(result.phys, 8) : NULL;
    if (at != NULL)
        *at = value;
    fake_leave();
    return result;
}

/* A page at a time; addresses and length are those of pages. */
void fake_port_zero(mm_virt_t virt, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += MM_FRAME_BYTES) {
        struct fake_access first = fake_write64(mm_virt_add(virt, at), 0);
        void *page = first.fault == FAKE_OK ? fake_ram(first.phys, MM_FRAME_BYTES) : NULL;

        if (page == NULL)
            fake_fail("zeroing %#llx: not mapped writable to RAM",
                      (unsigned long long)(virt.raw + at));
        __builtin_memset(page, 0, MM_FRAME_BYTES);
    }
}

struct fake_access fake_fetch(mm_virt_t virt)
{
    struct fake_access result;

    fake_enter();
    result = translate(virt.raw & ~UINT64_C(7), ACCESS_FETCH);
    fake_leave();
    return result;
}

void fake_user(bool on)
{
    fake_machine.user = on;
}

struct fake_access fake_probe(mm_virt_t virt)
{
    unsigned cpu = fake_cpu_current();
    struct fake_access result = {.fault = FAKE_NON_CANONICAL};
    struct fake_walk walk;

    if (!fake_canonical(cpu, virt.raw))
        return result;
    fake_walk_root(cpu, virt.raw, 0, &walk);
    if (walk.fault == FAKE_OK)
        return granted(virt.raw, &walk.leaf, false);
    result.fault = walk.fault;
    result.level = walk.level;
    return result;
}

/* ---- entries, as mm_mmu.h accesses them ---- */

static uint64_t entry_check(const void *entry, unsigned bytes)
{
    mm_phys_t phys = mm_phys(0);

    if (!fake_ram_phys(entry, &phys))
        fake_fail("an entry at %p, which is not in simulated RAM", entry);
    if (bytes != fake_format.entry_bytes)
        fake_fail("an entry of %u bytes; the machine's have %u", bytes, fake_format.entry_bytes);
    if (phys.raw % bytes != 0)
        fake_fail("an unaligned entry at %#llx", (unsigned long long)phys.raw);
    return phys.raw;
}

uint64_t fake_port_load(const void *entry, unsigned bytes)
{
    uint64_t value;

    fake_enter();
    entry_check(entry, bytes);
    fake_machine.count.loads++;
    value = fake_entry_read(entry);
    fake_leave();
    return value;
}

/* What the hardware set since the code last had a chance to see it, and this plain store undid. */
static void count_lost(const struct fake_change *change, uint64_t value)
{
    uint64_t lost = change->before & ~change->software & ~value;
    bool accessed = (lost & fake_format.accessed) != 0;
    bool dirty = (lost & fake_format.dirty) != 0;
    struct fake_entry after;

    if (!accessed && !dirty)
        return;
    fake_decode(&fake_machine.cpu[fake_cpu_current()], value,
                change->placed ? change->place.level : 1, &after);
    fake_machine.count.lost_accessed += accessed && after.kind != FAKE_ABSENT;
    fake_machine.count.lost_dirty += dirty && after.kind != FAKE_ABSENT;
    fake_machine.count.dropped_accessed += accessed && after.kind == FAKE_ABSENT;
    fake_machine.count.dropped_dirty += dirty && after.kind == FAKE_ABSENT;
}

void fake_port_store(void *entry, uint64_t value, unsigned bytes)
{
    struct fake_change change;

    fake_enter();
    fake_machine.count.stores++;
    fake_change_begin(&change, entry, entry_check(entry, bytes));
    count_lost(&change, value);
    if (bytes == 8)
        __atomic_store_n((uint64_t *)entry, value, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint32_t *)entry, (uint32_t)value, __ATOMIC_RELEASE);
    fake_change_end(&change, value);
    fake_leave();
}

static void check_fresh(uint64_t phys)
{
    uint64_t frame = phys & ~(MM_FRAME_BYTES - 1);

    if (fake_walked_by_any(frame) || (fake_follows() && fake_table_linked(frame)))
        fake_fail("a fresh store into table %#llx, which a CPU may walk",
                  (unsigned long long)frame);
}

void fake_port_store_fresh(void *entry, uint64_t value, unsigned bytes)
{
    struct fake_change change = {.at = entry};

    fake_enter();
    change.phys = entry_check(entry, bytes);
    check_fresh(change.phys);
    fake_machine.count.fresh_stores++;
    if (bytes == 8)
        *(volatile uint64_t *)entry = value;
    else
        *(volatile uint32_t *)entry = (uint32_t)value;
    if (fake_follows())
        fake_change_link(&change, value);
    fake_leave();
}

void fake_port_clear_fresh(void *first, unsigned count, unsigned bytes)
{
    uint64_t phys, last;

    if (count == 0)
        return;
    fake_enter();
    phys = entry_check(first, bytes);
    last = entry_check((unsigned char *)first + (size_t)(count - 1) * bytes, bytes);
    if ((phys ^ last) / MM_FRAME_BYTES != 0)
        fake_fail("%u entries from %#llx on are more than a table", count,
                  (unsigned long long)phys);
    check_fresh(phys);
    fake_machine.count.fresh_stores += count;
    __builtin_memset(first, 0, (size_t)count * bytes);
    fake_leave();
}

static bool compare_swap(void *entry, uint64_t *expected, uint64_t value, unsigned bytes)
{
    uint32_t before = (uint32_t)*expected;
    bool done;

    if (bytes == 8)
        return __atomic_compare_exchange_n((uint64_t *)entry, expected, value, false,
                                           __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    done = __atomic_compare_exchange_n((uint32_t *)entry, &before, (uint32_t)value, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    *expected = before;
    return done;
}

bool fake_port_compare_swap(void *entry, uint64_t *expected, uint64_t value, unsigned bytes)
{
    struct fake_change change;
    bool done;

    fake_enter();
    fake_machine.count.swaps++;
    fake_change_begin(&change, entry, entry_check(entry, bytes));
    done = compare_swap(entry, expected, value, bytes);
    fake_change_end(&change, done ? value : change.before);
    fake_leave();
    return done;
}
