/*
 * remove.c - tables that no CPU can reach any more.
 *
 * Problem     What was taken off with one store may be half a thousand tables, and some of them may
 *             be damaged, or somebody else's.
 * Idea        When the flush is over they are memory like any other: go through them, believe no
 *             entry that the hardware would not have followed, give each frame back.
 * Invariants  I1 no table is read after it was given back
 *             I2 a table that is counted is freed only as what its tag says it is
 * Locking     None: nobody else knows of these tables.
 * Cost        One load per entry of the tables above level 1, and of leaf tables with frames that the
 *             space owned; the others are not looked at.
 * Rejected    A list of all tables in the gather: it would be full after 64, and a full gather means
 *             a flush more.
 */
#include "subtree.h"

struct removing {
    struct mm_vmm *vmm;
    struct mm_space_fail *damage;
    bool owns;
};

static MM_COLD void note(struct removing *r, uint64_t virt, unsigned level, mm_pte_t entry)
{
    if (r->damage != NULL && r->damage->err == MM_OK)
        (void)mm_fail(r->damage, MM_ERR_CORRUPT, virt, level, entry);
}

static void remove_table(struct removing *r, mm_phys_t frame, unsigned level, uint64_t virt,
                         mm_pte_t link);

#define OWNED_AT_ONCE 32u

/* The frames of a leaf table that the space owned. */
static void free_owned(struct mm_vmm *vmm, const mm_pte_t *table)
{
    mm_phys_t owned[OWNED_AT_ONCE];
    unsigned count = 0;

    for (unsigned i = 0; i < mm_pt_entries(1); i++) {
        mm_pte_t entry = mm_pte_load(&table[i]);

        if (!mm_pte_is_present(entry) || mm_entry_is_damaged(&vmm->paging, entry, 1) ||
            !mm_pte_is_owned(entry))
            continue;
        owned[count++] = mm_pte_phys(entry, 1);
        if (count == OWNED_AT_ONCE) {
            (void)mm_pmm_free_bulk(vmm->pmm, owned, count);
            count = 0;
        }
    }
    if (count != 0)
        (void)mm_pmm_free_bulk(vmm->pmm, owned, count);
}

static bool may_own(const struct removing *r, mm_phys_t frame)
{
    struct mm_table table = {.tag = mm_table_tag(r->vmm, frame, 1)};

    if (table.tag != NULL)
        table.word = mm_load_relaxed_u16(table.tag);
    return r->owns && mm_table_may_own(&table);
}

/* The first address that entry `i` of a table of `level` covers. The root's upper half is the
 * kernel's. */
static uint64_t address_of(const struct removing *r, uint64_t virt, unsigned i, unsigned level)
{
    uint64_t bytes = mm_pt_bytes(level);

    if (level == r->vmm->paging.levels && i >= mm_pt_kernel_index())
        return 0 - (mm_pt_entries(level) - i) * bytes;
    return virt + i * bytes;
}

/* `live`: as many of them are in use, at the most. */
static void remove_entries(struct removing *r, const mm_pte_t *table, unsigned level, uint64_t virt,
                           struct mm_slots slots, unsigned live)
{
    for (unsigned i = slots.first; i <= slots.last && live > 0; i++) {
        mm_pte_t entry = mm_pte_load(&table[i]);

        if (mm_pte_is_none(entry))
            continue;
        live--;
        if (mm_entry_is_damaged(&r->vmm->paging, entry, level))
            note(r, address_of(r, virt, i, level), level, entry);
        else if (mm_pte_is_table(entry, level))
            remove_table(r, mm_pte_phys(entry, level), level - 1, address_of(r, virt, i, level),
                         entry);
    }
}

/* Entries in use, by the count of the table if it has one. */
static unsigned live_of(const struct mm_vmm *vmm, mm_phys_t frame, unsigned level)
{
    const uint16_t *tag = mm_table_tag(vmm, frame, level);

    return tag != NULL ? mm_load_relaxed_u16(tag) & MM_TAG_LIVE : mm_pt_entries(level);
}

/* `link`: the entry that led here. */
static void remove_table(struct removing *r, mm_phys_t frame, unsigned level, uint64_t virt,
                         mm_pte_t link)
{
    mm_pte_t *table;

    if (level > 1 || may_own(r, frame)) {
        if (mm_table_map(r->vmm->window, frame, &table) != MM_OK) {
            note(r, virt, level + 1, link);
            return;
        }
        if (level > 1)
            remove_entries(r, table, level, virt, (struct mm_slots){0, mm_pt_entries(level) - 1},
                           live_of(r->vmm, frame, level));
        else
            free_owned(r->vmm, table);
        mm_table_unmap(r->vmm->window, table);
    }
    if (!mm_table_free(r->vmm, frame, level))
        note(r, virt, level + 1, link);
}

void mm_tables_free(struct mm_vmm *vmm, mm_phys_t table, unsigned level, bool owns)
{
    struct removing r = {vmm, NULL, owns};

    if (level == 0)
        (void)mm_table_free(vmm, table, 0);
    else
        remove_table(&r, table, level, 0, mm_pte_empty());
}

void mm_tables_free_below(struct mm_space *space, struct mm_slots slots,
                          struct mm_space_fail *damage)
{
    struct mm_vmm *vmm = space->vmm;
    struct removing r = {vmm, damage, mm_space_may_own(space)};
    unsigned level = vmm->paging.levels;
    mm_pte_t *table = mm_table_map_known(vmm->window, space->root);

    remove_entries(&r, table, level, 0, slots, slots.last - slots.first + 1);
    mm_table_unmap(vmm->window, table);
}
