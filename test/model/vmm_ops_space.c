/*
 * vmm_ops_space.c - operations on spaces as objects, and those that only look.
 *
 * Problem     Spaces come and go while CPUs load them, and a look must tell what the model has.
 * Idea        Who is where is an array. A refusal is as good as an answer.
 * Invariants  I1 the kernel's space lives for the whole round
 * Locking     One thread.
 * Cost        As the calls.
 * Rejected    Nothing.
 */
#include <string.h>

#include "vmm_ops_internal.h"

static void compare_loaded(unsigned space)
{
    struct mm_cpuset on;

    mm_space_loaded_on(&machine.space[space], &on);
    for (unsigned cpu = 0; cpu < machine.cpus; cpu++)
        OPS_EQ(on.bits[0] >> cpu & 1, machine.loaded[cpu] == space);
}

void op_activate(void)
{
    unsigned cpu = fake_cpu_current(), space = (unsigned)ops_below(SPACES);

    ops_record()->space = space;
    if (!machine.lives[space]) {
        enum mm_err err = mm_space_activate(&machine.space[space]);

        OPS_CHECK(err == MM_ERR_GONE || err == MM_ERR_BAD_ARG); /* BAD_ARG: never made */
        return;
    }
    for (unsigned i = 0; i < 3;
         i++) /* what it has cached must not outlive the way to another space */
        ops_access(cpu, ops_page(machine.loaded[cpu]));
    OPS_EQ(mm_space_activate(&machine.space[space]), MM_OK);
    machine.loaded[cpu] = space;
    if (fake_stale_entries() != 0)
        vmm_ops_failed(__FILE__, __LINE__, fake_stale_why(), 0, 0);
    OPS_CHECK(mm_space_current(&machine.vmm) == &machine.space[space]);
    for (unsigned i = 0; i < SPACES; i++)
        if (machine.lives[i])
            compare_loaded(i);
}

/* A CPU goes off-line and comes back. */
void op_restart(void)
{
    unsigned cpu = fake_cpu_current();

    fake_interrupts(false);
    OPS_EQ(mm_cpu_exit(&machine.vmm, cpu), MM_OK);
    fake_cpu_off(cpu);
    OPS_CHECK(mm_space_current(&machine.vmm) == NULL);
    OPS_EQ(mm_cpu_init(&machine.vmm, cpu), MM_OK);
    OPS_EQ(mm_space_activate(&machine.space[0]), MM_OK);
    fake_interrupts(true);
    machine.loaded[cpu] = 0;
    compare_loaded(0);
}

/* What the kernel has in its half is fixed from the first user space on. */
static void freeze(void)
{
    struct model_space *model = &machine.model[0];

    for (uint32_t i = 0; i < model->count && !machine.frozen; i++) {
        const struct model_piece *piece = &model->piece[i];

        if (!ops_kernel_half(piece->first))
            continue;
        for (unsigned slot = model_slot(model, piece->first);
             slot <= model_slot(model, piece->first + piece->pages - 1); slot++)
            model->kept[slot] = true;
    }
    machine.frozen = true;
}

void op_create(void)
{
    unsigned space = 1 + (unsigned)ops_below(SPACES - 1);
    enum mm_err expected = MM_OK;

    ops_record()->space = space;
    ops_tables_fail();
    if (machine.lives[space])
        expected = MM_ERR_EXISTS;
    else if (ops_tables_refused(1))
        expected = MM_ERR_NO_MEMORY;
    ops_judge(mm_space_create(&machine.vmm, &machine.space[space], 0), expected, 0, NULL);
    if (expected != MM_OK)
        return;
    freeze();
    model_begin(&machine.model[space], machine.levels);
    machine.lives[space] = true;
    machine.table_limit[space] = machine.frame_limit[space] = 0;
}

/* At once, or by another CPU's hand. */
static enum mm_err space_destroy(unsigned space, bool later)
{
    unsigned self = fake_cpu_current();
    enum mm_err err;

    if (!later)
        return mm_space_destroy(&machine.space[space]);
    err = mm_space_destroy_later(&machine.space[space]);
    if (err == MM_OK)
        OPS_EQ(mm_space_create(&machine.vmm, &machine.space[space], 0), MM_ERR_EXISTS);
    fake_cpu_set((unsigned)ops_below(machine.cpus));
    OPS_EQ(mm_reap(&machine.vmm), err == MM_OK ? 1 : 0);
    fake_cpu_set(self);
    return err;
}

void op_destroy(void)
{
    unsigned space = (unsigned)ops_below(SPACES);
    enum mm_err expected = machine.lives[space] ? MM_OK : MM_ERR_GONE;
    struct mm_translation at;

    ops_record()->space = space;
    for (unsigned cpu = 0; cpu < machine.cpus; cpu++)
        if (machine.loaded[cpu] == space)
            expected = MM_ERR_BUSY;
    if (space == 0 && expected == MM_OK) {
        bool users = machine.lives[1] || machine.lives[2] || machine.lives[3];

        if (!users)
            return; /* it would go */
        expected = MM_ERR_BUSY;
    }
    if (expected == MM_ERR_GONE && machine.space[space].vmm == NULL)
        expected = MM_ERR_BAD_ARG;
    ops_judge(space_destroy(space, ops_one_in(2)), expected, 0, NULL);
    if (expected != MM_OK)
        return;
    machine.lives[space] = false;
    machine.model[space].count = 0;
    ops_dirty_drop(space, 0, UINT64_MAX);
    OPS_EQ(mm_space_translate(&machine.space[space], ops_virt(machine.place[0]), &at, NULL),
           MM_ERR_GONE);
}

void op_limit(void)
{
    unsigned space = ops_space();
    struct model_sums sums = model_sums(&machine.model[space]);
    bool frames = ops_one_in(3);
    uint64_t used = frames ? sums.owned : sums.tables;
    uint64_t value = !ops_one_in(3) ? 0 : used + ops_below(8) - (used > 2 && ops_one_in(4) ? 2 : 0);
    enum mm_err expected = value != 0 && used > value ? MM_ERR_LIMIT : MM_OK;

    ops_record()->space = space;
    ops_judge(frames ? mm_space_set_frame_limit(&machine.space[space], value)
                     : mm_space_set_limit(&machine.space[space], value),
              expected, 0, NULL);
    if (expected != MM_OK)
        return;
    if (frames)
        machine.frame_limit[space] = value;
    else
        machine.table_limit[space] = value;
}

/* ---- looking ---- */

void op_touch(void)
{
    unsigned cpu = fake_cpu_current();
    unsigned space = ops_one_in(2) ? machine.loaded[cpu] : 0;
    uint64_t page = ops_page(space);

    ops_record()->space = space;
    for (unsigned i = 0; i < 4; i++, page = ops_page(space))
        if (space == machine.loaded[cpu] || ops_kernel_half(page))
            ops_access(cpu, page);
}

void op_translate(void)
{
    unsigned space = ops_space();

    ops_record()->space = space;
    for (unsigned i = 0; i < 3; i++)
        ops_compare_page(space, ops_page(space));
}

/* What mm_space_query() finds from `page` on, below `end`. */
static bool run_expected(unsigned space, uint64_t page, uint64_t end, struct mm_space_run *run)
{
    const struct model_space *model = &machine.model[space];
    uint32_t i = model_from(model, page);
    const struct model_piece *piece = &model->piece[i];
    uint64_t first, last;

    if (i == model->count || piece->first >= end)
        return false;
    first = piece->first > page ? piece->first : page;
    last = piece->first + piece->pages;
    *run = (struct mm_space_run){.virt = ops_virt(first),
                                 .phys = mm_frame_phys(piece->frame + (first - piece->first)),
                                 .prot = piece->prot,
                                 .type = (enum mm_memtype)piece->type};
    while (++i < model->count && model->piece[i].first == last &&
           model->piece[i].prot == run->prot && model->piece[i].type == run->type &&
           model->piece[i].frame == mm_frame_of(run->phys) + (last - first))
        last += model->piece[i].pages;
    run->bytes = ((last < end ? last : end) - first) << MM_FRAME_SHIFT;
    return true;
}

static bool query_step(unsigned space, uint64_t *page, uint64_t end)
{
    mm_virt_t cursor = ops_virt(*page);
    struct mm_space_run run, expected;
    bool found = run_expected(space, *page, end, &expected);

    OPS_EQ(mm_space_query(&machine.space[space], &cursor, mm_virt(end << MM_FRAME_SHIFT), &run),
           found ? MM_OK : MM_ERR_NOT_FOUND);
    if (!found)
        return false;
    OPS_EQ(run.virt.raw, expected.virt.raw);
    OPS_EQ(run.bytes, expected.bytes);
    OPS_EQ(run.phys.raw, expected.phys.raw);
    OPS_EQ(run.prot, expected.prot);
    OPS_EQ(run.type, expected.type);
    *page = (run.virt.raw >> MM_FRAME_SHIFT) + (run.bytes >> MM_FRAME_SHIFT);
    OPS_EQ(cursor.raw, *page >> 52 != 0 ? UINT64_MAX : *page << MM_FRAME_SHIFT);
    return *page < end;
}

void op_query(void)
{
    unsigned space = ops_space();
    uint64_t page = ops_page(space);
    uint64_t end = ops_one_in(2) ? UINT64_C(1) << 52 : page + 1 + ops_below(2 * M2_PAGES);

    if (end >> 52 != 0)
        end = UINT64_C(1) << 52;
    ops_record()->space = space;
    for (unsigned i = 0; i < 4 && query_step(space, &page, end); i++)
        ;
}

static void compare_runs(unsigned space)
{
    uint64_t page = 0;

    while (query_step(space, &page, UINT64_C(1) << 52))
        ;
}

/* ---- everything ---- */

static void compare_stats(unsigned space)
{
    struct model_sums sums = model_sums(&machine.model[space]);
    struct mm_space_stats stats;

    mm_space_get_stats(&machine.space[space], &stats);
    OPS_EQ(stats.tables, sums.tables);
    OPS_EQ(stats.owned_frames, sums.owned);
    OPS_EQ(stats.mapped_frames, sums.pages);
    OPS_EQ(stats.leaf_4k, sums.leaves[0]);
    OPS_EQ(stats.leaf_2m, sums.leaves[1]);
    OPS_EQ(stats.leaf_1g, sums.leaves[2]);
}

void ops_compare_all(void)
{
    unsigned cpu = fake_cpu_current();

    for (unsigned i = 0; i < SPACES; i++) {
        machine.tables_of[i] = machine.lives[i] ? model_sums(&machine.model[i]).tables : 0;
        machine.owned_of[i] = machine.lives[i] ? model_sums(&machine.model[i]).owned : 0;
        if (!machine.lives[i])
            continue;
        compare_stats(i);
        compare_runs(i);
        OPS_EQ(mm_space_check(&machine.space[i], NULL), 0);
    }
    OPS_EQ(fake_stale_entries(), 0);
    OPS_EQ(fake_mixed_entries(), 0);
    OPS_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps);
    fake_cpu_set(cpu);
    machine.result->compared++;
}
