/*
 * vmm_compare.c - after each operation: answers, counts, some pages, and nothing stale.
 *
 * Problem     A call that answers right and does wrong.
 * Idea        The pages at the edges of what was just done are looked at in three ways: translated,
 *             walked, and now and then accessed by a CPU through its own TLB. The counts of tables and
 *             frames must be those of the models, and the machine must know of nothing stale.
 * Invariants  I1 what a CPU wrote to an owned page is what any CPU reads there; until then it is zero
 * Locking     One thread.
 * Cost        Some microseconds.
 * Rejected    Nothing.
 */
#include "vmm_ops_internal.h"

void ops_judge(enum mm_err err, enum mm_err expected, uint64_t where,
               const struct mm_space_fail *fail)
{
    struct vmm_ops_record *record = ops_record();

    record->err = err;
    record->expected = expected;
    OPS_EQ(err, expected);
    machine.result->done += err == MM_OK ? 1 : 0;
    machine.result->no_memory += err == MM_ERR_NO_MEMORY ? 1 : 0;
    machine.result->limited += err == MM_ERR_LIMIT ? 1 : 0;
    machine.result->refused +=
        err != MM_OK && err != MM_ERR_NO_MEMORY && err != MM_ERR_LIMIT ? 1 : 0;
    if (err == MM_OK || fail == NULL)
        return;
    OPS_EQ(fail->err, err);
    OPS_EQ(fail->virt.raw >> MM_FRAME_SHIFT, where);
    OPS_CHECK(fail->level <= machine.levels);
    if (err == MM_ERR_EXISTS)
        OPS_CHECK((fail->entry & 1) != 0 && fail->level != 0);
    if (err == MM_ERR_NOT_FOUND && model_at(&machine.model[record->space], where) == NULL)
        OPS_EQ(fail->entry & 1, 0);
}

/* ---- one page ---- */

static void compare_walk(unsigned space, uint64_t page, const struct model_piece *piece)
{
    struct mm_walk_step step[MM_WALK_STEPS];
    unsigned count = mm_space_walk(&machine.space[space], ops_virt(page), step);

    OPS_CHECK(count >= 1 && count <= machine.levels);
    OPS_EQ(step[0].level, machine.levels);
    OPS_EQ(step[0].table.raw, machine.space[space].root.raw);
    for (unsigned i = 1; i < count; i++)
        OPS_EQ(step[i].table.raw, step[i - 1].to.raw);
    OPS_EQ(step[count - 1].leaf, piece != NULL ? 1 : 0);
    if (piece != NULL)
        OPS_EQ(step[count - 1].level, piece->level);
}

void ops_compare_page(unsigned space, uint64_t page)
{
    unsigned of = ops_kernel_half(page) ? 0 : space; /* whose half it is */
    const struct model_piece *piece = model_at(&machine.model[of], page);
    struct mm_translation at;
    struct mm_space_fail fail;
    enum mm_err err = mm_space_translate(&machine.space[space], ops_virt(page), &at, &fail);

    OPS_EQ(err, piece != NULL ? MM_OK : MM_ERR_NOT_FOUND);
    compare_walk(space, page, piece);
    if (piece == NULL) {
        OPS_EQ(fail.err, MM_ERR_NOT_FOUND);
        OPS_CHECK(fail.level >= 1 && fail.level <= machine.levels);
        return;
    }
    OPS_EQ(mm_frame_of(at.phys), piece->frame + (page - piece->first));
    OPS_EQ(at.prot, piece->prot);
    OPS_EQ(at.type, piece->type);
    OPS_EQ(at.leaf_bytes, model_leaf_pages(piece->level) << MM_FRAME_SHIFT);
}

/* ---- through a CPU ---- */

enum how {
    READ,
    WRITE,
    FETCH,
    USER_READ
};

static struct fake_access access_as(mm_virt_t virt, enum how how, uint64_t value)
{
    struct fake_access got;

    if (how == WRITE)
        return fake_write64(virt, value);
    fake_user(how == USER_READ);
    got = how == FETCH ? fake_fetch(virt) : fake_read64(virt);
    fake_user(false);
    return got;
}

static enum fake_fault fault_expected(const struct model_piece *piece, enum how how)
{
    if (piece == NULL)
        return FAKE_NOT_PRESENT;
    if (how == WRITE && (piece->prot & MM_PROT_WRITE) == 0)
        return FAKE_WRITE_DENIED;
    if (how == USER_READ && (piece->prot & MM_PROT_USER) == 0)
        return FAKE_USER_DENIED;
    return how == FETCH && (piece->prot & MM_PROT_EXEC) == 0 ? FAKE_FETCH_DENIED : FAKE_OK;
}

static bool is_dirty(unsigned space, uint64_t page)
{
    for (unsigned i = 0; i < DIRTY_MAX; i++)
        if (machine.dirty[i].used && machine.dirty[i].space == space &&
            machine.dirty[i].page == page)
            return true;
    return false;
}

void ops_access(unsigned cpu, uint64_t page)
{
    unsigned space = ops_kernel_half(page) ? 0 : machine.loaded[cpu];
    const struct model_piece *piece = model_at(&machine.model[space], page);
    mm_virt_t virt = mm_virt_add(ops_virt(page), page % 512 * 8);
    uint64_t value = (page * 4 + space) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    enum how how = ops_one_in(4) ? (enum how)ops_below(4) : (enum how)ops_below(2);
    struct fake_access got;

    if (space == 0 && !ops_kernel_half(page) && machine.loaded[cpu] != 0)
        return;
    fake_cpu_set(cpu);
    got = access_as(virt, how, value);
    if (got.fault != FAKE_OK && got.spurious)
        got = access_as(virt, how, value);
    OPS_EQ(got.fault, fault_expected(piece, how));
    machine.result->accesses++;
    machine.result->faults += got.fault != FAKE_OK ? 1 : 0;
    if (got.fault != FAKE_OK)
        return;
    OPS_EQ(mm_frame_of(got.phys), piece->frame + (page - piece->first));
    OPS_EQ(got.type, piece->type);
    if (how == WRITE)
        ops_dirty_add(space, page);
    else if (how != FETCH && piece->owned)
        OPS_CHECK(got.value == value || (got.value == 0 && !is_dirty(space, page)));
}

/* ---- after each operation ---- */

static void compare_sums(unsigned space)
{
    struct model_sums sums = model_sums(&machine.model[space]);
    uint64_t tables = 0, owned = 0;

    machine.tables_of[space] = machine.lives[space] ? sums.tables : 0;
    machine.owned_of[space] = machine.lives[space] ? sums.owned : 0;
    for (unsigned i = 0; i < SPACES; i++) {
        tables += machine.tables_of[i];
        owned += machine.owned_of[i];
    }
    if (machine.lives[space]) {
        OPS_EQ(machine.space[space].table_count, sums.tables);
        OPS_EQ(machine.space[space].frame_count, sums.owned);
    }
    if (machine.adopted) /* some of the loader's tables may be there still */
        OPS_CHECK(machine.frames.used <= tables &&
                  machine.frames.used + machine.foreign_tables >= tables);
    else
        OPS_EQ(machine.frames.used, tables);
    OPS_EQ(mm_pmm_free_frames(&machine.pmm) + owned, machine.pmm_free);
}

static void compare_dirty(void)
{
    const struct dirty_page *dirty = &machine.dirty[ops_below(DIRTY_MAX)];
    struct mm_translation at;

    if (!dirty->used)
        return;
    OPS_EQ(mm_space_translate(&machine.space[dirty->space], ops_virt(dirty->page), &at, NULL),
           MM_OK);
    OPS_CHECK(at.dirty);
}

void ops_compare_cheap(const struct vmm_ops_record *record)
{
    unsigned space = record->space;
    unsigned cpu = (unsigned)ops_below(machine.cpus);

    compare_sums(space);
    if (fake_stale_changed() != 0)
        vmm_ops_failed(__FILE__, __LINE__, fake_stale_why(), 0, 0);
    OPS_EQ(fake_counts().lost_accessed, 0);
    OPS_EQ(fake_counts().lost_dirty, 0);
    if (machine.lives[space] && record->pages != 0 && record->first >> 52 == 0) {
        uint64_t last = record->first + record->pages - 1;

        ops_compare_page(space, record->first);
        ops_compare_page(space, record->first + ops_below(record->pages));
        if (last >> 52 == 0)
            ops_compare_page(space, last);
        if ((last + 1) >> 52 == 0 && ops_kernel_half(last + 1) == ops_kernel_half(last))
            ops_compare_page(space, last + 1);
        if (ops_kernel_half(record->first) || machine.loaded[cpu] == space)
            ops_access(cpu, record->first + ops_below(record->pages));
    }
    space = ops_space();
    ops_compare_page(space, ops_page(space));
    compare_dirty();
    fake_cpu_set(0);
}
