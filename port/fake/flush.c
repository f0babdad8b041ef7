/*
 * flush.c (fake) - roots, address-space ids and invalidation, as mm_mmu.h asks for them.
 *
 * Problem     Each way to flush reaches some cached entries and not others; code that confuses two of
 *             them works until the CPU is another one.
 * Idea        Each instruction drops exactly what its manual promises, and what is not promised
 *             stays. What a CPU would refuse with a fault fails the machine.
 * Invariants  I1 walkers run after each flush: what is dropped may be cached again at once
 * Locking     None; the CPU that the calling host thread is.
 * Cost        O(entries that the CPU has cached), for one page O(levels).
 * Rejected    Dropping more than is promised, as real CPUs do.
 * Source      Intel SDM vol. 3A, 4.10.1 (PCIDs), 4.10.4.1 (INVLPG, INVPCID, MOV to CR3, MOV to CR4).
 */
#include "machine.h"

static struct fake_cpu_counts *counts(void)
{
    return &fake_machine.counts[fake_cpu_current()];
}

static struct fake_cpu *self(void)
{
    return &fake_machine.cpu[fake_cpu_current()];
}

/* ---- flushes ---- */

void fake_port_flush_page(mm_virt_t virt)
{
    fake_enter();
    counts()->flush_page++;
    if (fake_canonical(fake_cpu_current(), virt.raw)) /* else INVLPG does nothing */
        fake_cache_drop_page(fake_cpu_current(), virt.raw);
    fake_walkers_after();
    fake_leave();
}

void fake_port_flush_space(void)
{
    fake_enter();
    counts()->flush_space++;
    fake_cache_drop_space(fake_cpu_current());
    fake_walkers_after();
    fake_leave();
}

void fake_port_flush_all(void)
{
    fake_enter();
    counts()->flush_all++;
    fake_cache_drop_all(fake_cpu_current());
    fake_walkers_after();
    fake_leave();
}

/* One instruction that reaches all CPUs, and whatever ids they have. */
bool fake_port_broadcast(const struct mm_virt_range *page, uint32_t count, bool global)
{
    if (!fake_machine.on.broadcasts)
        return false;
    fake_enter();
    fake_machine.count.broadcasts++;
    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++) {
        if (global && count == 0)
            fake_cache_drop_all(cpu);
        else if (count == 0)
            fake_cache_drop_asids(cpu);
        for (uint32_t i = 0; i < count; i++)
            fake_cache_drop_page_asids(cpu, page[i].start.raw);
    }
    fake_walkers_after();
    fake_leave();
    return true;
}

void fake_broadcasts(bool on)
{
    fake_machine.on.broadcasts = on;
}

/* Entries became present: a CPU that caches absence forgets it. */
void fake_port_published(void)
{
    fake_enter();
    counts()->published++;
    fake_cache_drop_absence(fake_cpu_current());
    fake_leave();
}

static void check_asid(const char *what, uint32_t asid)
{
    const struct fake_cpu *cpu = self();

    if (!cpu->has_asid_flush)
        fake_fail("%s on a CPU without INVPCID", what);
    if (asid >= FAKE_ASIDS || (asid != 0 && !cpu->asid_on))
        fake_fail("%s of id %u, while ids are %s", what, asid, cpu->asid_on ? "on" : "off");
}

void fake_port_flush_asid_page(uint32_t asid, mm_virt_t virt)
{
    fake_enter();
    check_asid("flush of a page", asid);
    if (!fake_canonical(fake_cpu_current(), virt.raw))
        fake_fail("INVPCID of %#llx, which is not canonical", (unsigned long long)virt.raw);
    counts()->flush_asid_page++;
    fake_cache_drop_asid(fake_cpu_current(), asid, virt.raw);
    fake_walkers_after();
    fake_leave();
}

void fake_port_flush_asid(uint32_t asid)
{
    fake_enter();
    check_asid("flush", asid);
    counts()->flush_asid++;
    fake_cache_drop_asid(fake_cpu_current(), asid, FAKE_EACH_PAGE);
    fake_walkers_after();
    fake_leave();
}

void fake_port_flush_asids(void)
{
    fake_enter();
    check_asid("flush", 0);
    counts()->flush_asids++;
    fake_cache_drop_asids(fake_cpu_current());
    fake_walkers_after();
    fake_leave();
}

/* ---- roots ---- */

mm_phys_t fake_port_root(void)
{
    return self()->root;
}

uint32_t fake_port_asid(void)
{
    return self()->asid;
}

/* CR4.PCIDE from 0 to 1 drops nothing; entries so far are those of id 0. */
void fake_port_asid_enable(void)
{
    struct fake_cpu *cpu = self();

    if (!cpu->has_asid || !cpu->long_mode)
        fake_fail("address-space ids on a CPU that has none");
    cpu->asid_on = true;
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

void fake_port_load_root(mm_phys_t root, uint32_t asid, bool keep)
{
    struct fake_cpu *cpu = self();

    fake_enter();
    if (root.raw % MM_FRAME_BYTES != 0 || root.raw >> cpu->phys_bits != 0)
        fake_fail("a root that the CPU refuses: %#llx", (unsigned long long)root.raw);
    if (asid >= FAKE_ASIDS || ((asid != 0 || keep) && !cpu->asid_on))
        fake_fail("a root with id %u, while ids are %s", asid, cpu->asid_on ? "on" : "off");
    counts()->root_loads++;
    counts()->roots_kept += keep ? 1 : 0;
    fake_cache_switch(fake_cpu_current(), cpu->asid, asid, keep);
    cpu->root = root;
    cpu->asid = asid;
    cpu->root_loaded = true;
    fake_machine.epoch++;
    fake_machine.changed_all = true;
    if (fake_machine.must_survive)
        survive();
    fake_walkers_after();
    fake_leave();
}

/* ---- anchors ---- */

void fake_anchors(const struct fake_anchor *anchor, unsigned count, bool must_survive)
{
    if (count > FAKE_ANCHORS_MAX)
        fake_fail("more than %u anchors", FAKE_ANCHORS_MAX);
    for (unsigned i = 0; i < count; i++)
        fake_machine.anchor[i] = anchor[i];
    fake_machine.anchor_count = count;
    fake_machine.must_survive = must_survive;
}
