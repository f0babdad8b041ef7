/*
 * mmu.c (fake) - what programs and walkers do, and what the library does to the MMU.
 *
 * Problem     Between any two instructions of the library each CPU may translate any address, set
 *             A and D, and keep what it found.
 * Idea        Accesses go through the caches first and use the oldest that fits. Watched addresses
 *             are translated by all CPUs around every store and after every flush, from the root
 *             and from every table that may still be cached.
 * Invariants  I1 a store to an entry that no table in RAM holds is a failure of the machine
 *             I2 a fresh store into a table that a CPU may walk is one, too
 *             I3 a walker that is led to a table outside RAM is one, too: somebody linked a table
 *             that was not filled, or freed one that was not flushed
 * Locking     None; one host thread at a time.
 * Cost        CPUs x watches x cached tables per store.
 * Rejected    Walkers on threads of the host: no run would be like the one before.
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

static struct fake_access granted(uint64_t virt, const struct fake_tlb *leaf, bool cached)
{
    return (struct fake_access){
        .phys = mm_phys(leaf->phys + (virt - leaf->virt)),
        .level = leaf->level,
        .prot = leaf->prot,
        .type = leaf->type,
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
    fake_cache_drop_page(cpu, virt);
    return result;
}

static struct fake_access walk_access(unsigned cpu, uint64_t virt, enum access_kind kind,
                                      const struct fake_psc *from)
{
    struct fake_access result = {.fault = FAKE_NO_TABLE};
    struct fake_walk walk;

    if (from != NULL)
        fake_walk_from(cpu, virt, from->table, from->level, from->prot, FAKE_WALK_TOUCH, &walk);
    else
        fake_walk_root(cpu, virt, FAKE_WALK_TOUCH, &walk);
    result.level = walk.level;
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
    const struct fake_tlb *cached;
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

/* ---- walkers ---- */

void fake_watch(mm_virt_t virt, unsigned how)
{
    if (fake_machine.watch_count == FAKE_WATCHES_MAX)
        fake_fail("more than %u watched addresses", FAKE_WATCHES_MAX);
    fake_machine.watch[fake_machine.watch_count++] = (struct fake_watch){virt.raw, how};
    fake_walkers_run();
}

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

static void walker_run(unsigned cpu, const struct fake_watch *watch)
{
    size_t tables = fake_machine.caches[cpu].psc_count;
    struct fake_walk walk;

    for (size_t i = 0; i < tables; i++) {
        struct fake_psc from = fake_machine.caches[cpu].psc[i];

        if (!fake_cache_table_covers(&from, watch->virt))
            continue;
        fake_walk_from(cpu, watch->virt, from.table, from.level, from.prot, FAKE_WALK_TOUCH, &walk);
        walker_found(cpu, watch, &walk);
    }
    fake_walk_root(cpu, watch->virt, FAKE_WALK_TOUCH, &walk);
    walker_found(cpu, watch, &walk);
}

void fake_walkers_run(void)
{
    for (unsigned cpu = 0; fake_machine.watch_count > 0 && cpu < FAKE_CPUS_MAX; cpu++)
        for (unsigned i = 0; fake_machine.cpu[cpu].root_loaded && i < fake_machine.watch_count; i++)
            if (fake_canonical(cpu, fake_machine.watch[i].virt))
                walker_run(cpu, &fake_machine.watch[i]);
}

/* ---- entries, as mm_mmu.h accesses them ---- */

static mm_phys_t entry_check(const uint64_t *entry)
{
    mm_phys_t phys = mm_phys(0);

    if (!fake_ram_phys(entry, &phys))
        fake_fail("an entry at %p, which is not in simulated RAM", (const void *)entry);
    if (phys.raw % 8 != 0)
        fake_fail("an unaligned entry at %#llx", (unsigned long long)phys.raw);
    return phys;
}

uint64_t fake_port_load(const uint64_t *entry)
{
    uint64_t value;

    fake_enter();
    entry_check(entry);
    fake_machine.count.loads++;
    value = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
    fake_leave();
    return value;
}

void fake_port_store(uint64_t *entry, uint64_t value)
{
    fake_enter();
    entry_check(entry);
    fake_machine.count.stores++;
    fake_walkers_run();
    __atomic_store_n(entry, value, __ATOMIC_RELEASE);
    fake_walkers_run();
    fake_leave();
}

void fake_port_store_fresh(uint64_t *entry, uint64_t value)
{
    uint64_t frame;

    fake_enter();
    frame = entry_check(entry).raw & ~(MM_FRAME_BYTES - 1);
    fake_machine.count.fresh_stores++;
    for (unsigned cpu = 0; cpu < FAKE_CPUS_MAX; cpu++)
        if (fake_cpu_walks_frame(cpu, frame, MM_FRAME_BYTES))
            fake_fail("a fresh store into table %#llx, which CPU %u may walk",
                      (unsigned long long)frame, cpu);
    *(volatile uint64_t *)entry = value;
    fake_leave();
}

uint64_t fake_port_swap(uint64_t *entry, uint64_t value)
{
    uint64_t before;

    fake_enter();
    entry_check(entry);
    fake_machine.count.swaps++;
    fake_walkers_run();
    before = __atomic_exchange_n(entry, value, __ATOMIC_ACQ_REL);
    fake_walkers_run();
    fake_leave();
    return before;
}

bool fake_port_compare_swap(uint64_t *entry, uint64_t *expected, uint64_t value)
{
    bool done;

    fake_enter();
    entry_check(entry);
    fake_machine.count.swaps++;
    fake_walkers_run();
    done = __atomic_compare_exchange_n(entry, expected, value, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
    fake_walkers_run();
    fake_leave();
    return done;
}

/* ---- invalidation and roots ---- */

void fake_port_flush_page(mm_virt_t virt)
{
    fake_enter();
    fake_machine.count.flush_page++;
    if (fake_canonical(fake_cpu_current(), virt.raw)) /* else INVLPG does nothing */
        fake_cache_drop_page(fake_cpu_current(), virt.raw);
    fake_walkers_run();
    fake_leave();
}

void fake_port_flush_space(void)
{
    fake_enter();
    fake_machine.count.flush_space++;
    fake_cache_drop_space(fake_cpu_current());
    fake_walkers_run();
    fake_leave();
}

void fake_port_flush_all(void)
{
    fake_enter();
    fake_machine.count.flush_all++;
    fake_cache_drop_all(fake_cpu_current());
    fake_walkers_run();
    fake_leave();
}

mm_phys_t fake_port_root(void)
{
    return fake_machine.cpu[fake_cpu_current()].root;
}

static void survive(void)
{
    for (unsigned i = 0; i < fake_machine.anchor_count; i++) {
        const struct fake_anchor *anchor = &fake_machine.anchor[i];
        uint64_t last = anchor->virt.raw + anchor->bytes - 1;
        struct fake_access first_byte = fake_probe(anchor->virt);
        struct fake_access last_byte = fake_probe(mm_virt(last));

        if (first_byte.fault != FAKE_OK || last_byte.fault != FAKE_OK ||
            (anchor->prot & ~first_byte.prot) != 0 || (anchor->prot & ~last_byte.prot) != 0)
            fake_fail("triple fault: the new root does not map %#llx as the CPU needs it",
                      (unsigned long long)anchor->virt.raw);
    }
}

void fake_port_load_root(mm_phys_t root)
{
    struct fake_cpu *cpu = &fake_machine.cpu[fake_cpu_current()];

    fake_enter();
    if (root.raw % MM_FRAME_BYTES != 0 || root.raw >> cpu->phys_bits != 0)
        fake_fail("a root that the CPU refuses: %#llx", (unsigned long long)root.raw);
    fake_machine.count.root_loads++;
    fake_cache_drop_space(fake_cpu_current());
    cpu->root = root;
    cpu->root_loaded = true;
    if (fake_machine.must_survive)
        survive();
    fake_walkers_run();
    fake_leave();
}
