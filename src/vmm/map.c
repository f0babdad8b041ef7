/*
 * map.c - making mappings.
 *
 * Problem     A mapping may need any number of tables and may meet something that is mapped
 *             already; half a mapping is worse than none.
 * Idea        Two descents over the same range. The first (plan) only reads: it finds conflicts and
 *             counts the tables that are missing, following the same rule for page sizes as the
 *             second. Then all tables are taken, and the second descent (build) cannot fail.
 * Invariants  I1 plan and build choose the same leaf sizes: both ask leaf_fits()
 *             I2 a new table is filled, with all below it, before one store links it: a walker
 *                finds nothing or all of it
 *             I3 entries that are in use are never written
 * Locking     The space's lock for the whole call: a neighbour that frees a table between plan and
 *             build would make the count wrong.
 * Cost        Plan: entries of the tables that exist, and one step per table that does not. Build:
 *             one store per page.
 * Rejected    Rolling back a half-built mapping: other CPUs may have cached it by then, and
 *             flushing may have to wait where mapping must not.
 */
#include "base/report.h"
#include "vmm_internal.h"

struct mapping {
    struct mm_space *space;
    struct mm_reserve *reserve;
    struct mm_space_fail *fail;
    uint64_t first, last; /* addresses; unchanged */
    uint64_t virt;        /* the cursor */
    uint64_t offset;      /* phys - virt, modulo 2^64 */
    uint64_t tables;      /* missing, counted by plan */
    uint32_t leaf_levels; /* bit n: leaves at level n may be used */
    unsigned prot;
    unsigned leaf_flags;
    enum mm_memtype type;
    bool done;
};

static bool leaf_fits(const struct mapping *m, unsigned level)
{
    uint64_t bytes = mm_pt_bytes(level);

    return (m->leaf_levels >> level & 1) != 0 &&
           mm_is_aligned(m->virt | (m->virt + m->offset), bytes) && m->last - m->virt >= bytes - 1;
}

static void step_over(struct mapping *m, unsigned level)
{
    uint64_t entry_last = m->virt | (mm_pt_bytes(level) - 1);

    m->done = entry_last >= m->last;
    if (!m->done)
        m->virt = entry_last + 1;
}

/* ---- plan ---- */

static enum mm_err plan_table(struct mapping *m, const mm_pte_t *table, unsigned level);

static enum mm_err plan_descend(struct mapping *m, mm_pte_t entry, unsigned level)
{
    const struct mm_window *window = m->space->vmm->window;
    mm_pte_t *child;
    enum mm_err err;

    if ((m->prot & ~mm_pte_prot(entry)) != 0)
        return mm_fail(m->fail, MM_ERR_POLICY, m->virt, level, entry);
    err = mm_table_map(window, mm_pte_phys(entry, level), &child);
    if (err != MM_OK)
        return mm_fail(m->fail, err, m->virt, level, entry);
    err = plan_table(m, child, level - 1);
    mm_table_unmap(window, child);
    return err;
}

/* The table under an entry that has none: it and what is below must be made. */
static enum mm_err plan_missing(struct mapping *m, unsigned level)
{
    const struct mm_vmm *vmm = m->space->vmm;

    if (level == vmm->paging.levels && mm_pt_kernel_half(mm_virt(m->virt)) &&
        (vmm->state & MM_VMM_FROZEN) != 0)
        return mm_fail(m->fail, MM_ERR_POLICY, m->virt, level, mm_pte_empty());
    m->tables++;
    return plan_table(m, NULL, level - 1);
}

static enum mm_err plan_entry(struct mapping *m, mm_pte_t entry, unsigned level)
{
    if (mm_entry_is_damaged(&m->space->vmm->paging, entry, level))
        return mm_fail(m->fail, MM_ERR_CORRUPT, m->virt, level, entry);
    if (mm_pte_is_table(entry, level))
        return plan_descend(m, entry, level);
    if (!mm_pte_is_none(entry))
        return mm_fail(m->fail, MM_ERR_EXISTS, m->virt, level, entry);
    if (!leaf_fits(m, level))
        return plan_missing(m, level);
    step_over(m, level);
    return MM_OK;
}

/* `table` NULL: one that is not there yet, so all its entries are empty. */
static enum mm_err plan_table(struct mapping *m, const mm_pte_t *table, unsigned level)
{
    uint64_t table_last = m->virt | (mm_pt_bytes(level + 1) - 1);
    enum mm_err err = MM_OK;

    if (table == NULL && level == 1) {
        step_over(m, 2);
        return MM_OK;
    }
    while (err == MM_OK && !m->done && m->virt <= table_last) {
        unsigned index = mm_pt_index(mm_virt(m->virt), level);

        err = plan_entry(m, table != NULL ? mm_pte_load(&table[index]) : mm_pte_empty(), level);
    }
    return err;
}

/* ---- build ---- */

static void build_table(struct mapping *m, mm_pte_t *table, unsigned level, bool fresh);

/* `fresh`: no walker can reach the table yet. */
static void put(mm_pte_t *slot, mm_pte_t value, bool fresh)
{
    if (fresh)
        mm_pte_store_fresh(slot, value);
    else
        mm_pte_store(slot, value);
}

static void build_descend(struct mapping *m, mm_pte_t *slot, mm_pte_t entry, unsigned level,
                          bool fresh)
{
    struct mm_vmm *vmm = m->space->vmm;
    bool user = !mm_pt_kernel_half(mm_virt(m->virt));
    mm_phys_t frame;
    mm_pte_t *child;

    if (mm_pte_is_table(entry, level)) {
        child = mm_table_map_known(vmm->window, mm_pte_phys(entry, level));
        build_table(m, child, level - 1, false);
    } else {
        child = mm_reserve_pop(vmm, m->reserve, &frame);
        build_table(m, child, level - 1, true);
        put(slot, mm_pte_table(frame, user), fresh);
    }
    mm_table_unmap(vmm->window, child);
}

static void build_leaf(struct mapping *m, mm_pte_t *slot, unsigned level, bool fresh)
{
    mm_phys_t phys = mm_phys(m->virt + m->offset);

    put(slot, mm_pte_leaf(phys, m->prot, m->type, m->leaf_flags, level), fresh);
    m->space->leaf_count[level - 1]++;
    m->space->mapped_frames += mm_pt_bytes(level) / MM_FRAME_BYTES;
    step_over(m, level);
}

static void build_table(struct mapping *m, mm_pte_t *table, unsigned level, bool fresh)
{
    uint64_t table_last = m->virt | (mm_pt_bytes(level + 1) - 1);

    while (!m->done && m->virt <= table_last) {
        mm_pte_t *slot = &table[mm_pt_index(mm_virt(m->virt), level)];
        mm_pte_t entry = mm_pte_load(slot);

        if (mm_pte_is_none(entry) && leaf_fits(m, level))
            build_leaf(m, slot, level, fresh);
        else
            build_descend(m, slot, entry, level, fresh);
    }
}

/* ---- the call ---- */

static enum mm_err map_locked(struct mapping *m)
{
    struct mm_space *space = m->space;
    unsigned levels = space->vmm->paging.levels;
    mm_pte_t *root;
    enum mm_err err = mm_space_alive(space);

    MM_ASSERT_LOCKED(&space->lock);
    if (err == MM_OK)
        err = mm_table_map(space->vmm->window, space->root, &root);
    if (err != MM_OK)
        return mm_fail(m->fail, err, m->virt, 0, mm_pte_empty());
    err = plan_table(m, root, levels);
    if (err == MM_OK) {
        err = mm_reserve_for(space, m->reserve, m->tables);
        if (err != MM_OK)
            (void)mm_fail(m->fail, err, m->first, 0, mm_pte_empty());
    }
    if (err == MM_OK) {
        m->virt = m->first;
        m->done = false;
        build_table(m, root, levels, false);
        mm_mmu_published();
    }
    mm_table_unmap(space->vmm->window, root);
    return err;
}

static enum mm_err check_request(const struct mm_space *space, const struct mm_map_request *request,
                                 struct mm_span *span, struct mm_space_fail *fail)
{
    uint64_t virt = request->virt.raw, phys = request->phys.raw;
    uint32_t known = MM_MAP_SMALL | MM_MAP_WX | MM_MAP_NULL | MM_MAP_OWNED | MM_MAP_REPLACE;
    bool combining = request->type == MM_MEMTYPE_WC || request->type == MM_MEMTYPE_WP;
    const struct mm_paging *paging;
    enum mm_err err;

    if ((request->flags & ~known) != 0 || (unsigned)request->type > MM_MEMTYPE_WC ||
        !mm_is_aligned(phys, MM_FRAME_BYTES))
        return mm_fail(fail, MM_ERR_BAD_ARG, virt, 0, mm_pte_empty());
    err = mm_range_check(space, request->virt, request->bytes, span, fail);
    if (err != MM_OK)
        return err;
    paging = &space->vmm->paging;
    if (!mm_range_ok(phys, request->bytes) ||
        mm_range_last(phys, request->bytes) >> paging->phys_bits != 0)
        return mm_fail(fail, MM_ERR_RANGE, virt, 0, mm_pte_empty());
    err = mm_range_check_prot(space, virt, request->prot, (request->flags & MM_MAP_WX) != 0, fail);
    if (err != MM_OK)
        return err;
    if (virt == 0 && (request->flags & MM_MAP_NULL) == 0)
        return mm_fail(fail, MM_ERR_POLICY, virt, 0, mm_pte_empty());
    if ((request->flags & (MM_MAP_OWNED | MM_MAP_REPLACE)) != 0 ||
        (combining && (paging->flags & MM_PAGING_WC) == 0))
        return mm_fail(fail, MM_ERR_UNSUPPORTED, virt, 0, mm_pte_empty());
    return MM_OK;
}

static unsigned leaf_flags(const struct mm_space *space, uint64_t virt)
{
    bool global =
        mm_pt_kernel_half(mm_virt(virt)) && (space->vmm->paging.flags & MM_PAGING_GLOBAL) != 0;

    return global ? MM_PTE_GLOBAL : 0;
}

enum mm_err mm_space_map(struct mm_space *space, const struct mm_map_request *request,
                         struct mm_space_fail *fail)
{
    struct mm_reserve reserve = {{0}, 0};
    struct mm_space_fail why;
    struct mapping m = {.space = space, .reserve = &reserve, .fail = fail != NULL ? fail : &why};
    mm_lock_guard_t guard;
    struct mm_span span;
    enum mm_err err;

    if (request == NULL)
        return mm_fail(fail, MM_ERR_BAD_ARG, 0, 0, mm_pte_empty());
    err = check_request(space, request, &span, fail);
    if (err != MM_OK)
        return err;
    m.first = m.virt = span.first;
    m.last = span.last;
    m.offset = request->phys.raw - request->virt.raw;
    m.prot = request->prot;
    m.type = request->type;
    m.leaf_flags = leaf_flags(space, span.first);
    m.leaf_levels =
        (request->flags & MM_MAP_SMALL) != 0 ? 1u << 1 : space->vmm->paging.leaf_levels | 1u << 1;
    guard = mm_lock_take(&space->lock);
    err = map_locked(&m);
    mm_lock_release(&space->lock, guard);
    mm_reserve_drop(space->vmm, &reserve);
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, m.fail, "mm_space_map", MM_CALLER);
    return err;
}
