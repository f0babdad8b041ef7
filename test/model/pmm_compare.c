/*
 * pmm_compare.c - the PMM and the model, side by side.
 *
 * Problem     Counts that agree may count different frames.
 * Idea        After each operation the sums; now and then every frame, by address, through
 *             mm_pmm_walk() and mm_pmm_query(), every count that is kept or computed, and
 *             mm_pmm_check().
 * Invariants  I1 free frames of the PMM + `lost` = free cells. The frames that the PMM takes for its
 *             side tables, and gives up again, are no business of a caller: they count as free here,
 *             and are looked for, by asking, only while it matters where they are.
 * Locking     One thread.
 * Cost        O(frames) for everything.
 * Rejected    Knowing when a side table is made: that is the PMM's own business.
 */
#include <stdio.h>
#include <string.h>

#include "pmm_ops_internal.h"

/* ---- the PMM's own frames ---- */

bool ops_is_own(uint32_t i)
{
    struct mm_frame_info info;

    mm_pmm_query(&machine.pmm, mm_frame_phys(model.cell[i].frame), &info);
    return info.state == MM_FRAME_ALLOCATED;
}

/* Between these two, nothing is lost and cells are CELL_OWN. */
static void own_find(void)
{
    for (uint32_t i = 0; i < model.cells && machine.lost > 0; i++)
        if (model.cell[i].state == CELL_FREE && ops_is_own(i)) {
            OPS_CHECK(model_keep(i));
            machine.lost--;
        }
    OPS_EQ(machine.lost, 0);
}

static void own_forget(void)
{
    machine.lost += model.own;
    for (uint32_t i = 0; i < model.cells && model.own > 0; i++)
        if (model.cell[i].state == CELL_OWN)
            OPS_CHECK(model_unkeep(i));
}

/* ---- sums ---- */

static uint64_t stock_of(const struct mm_pmm_stats *stats)
{
    return stats->magazine_frames + stats->zeroed_frames + stats->depot_frames;
}

static void compare_stats(void)
{
    uint64_t free = 0, managed = 0, missing = 0;
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    machine.reserve_used |= stats.side_frames - model.own > machine.lost; /* it may, for itself */
    machine.lost = stats.side_frames - model.own;
    OPS_EQ(stats.free_frames, model.free - machine.lost);
    OPS_EQ(stats.managed_frames, model.managed);
    OPS_EQ(stats.misuse_count, machine.misuses);
    OPS_EQ(stats.meta_bytes, machine.start.meta_bytes);
    OPS_CHECK(stock_of(&stats) <= stats.free_frames);
    for (unsigned zone = 0; zone < MM_ZONES; zone++) {
        OPS_EQ(stats.zone_managed_frames[zone], model.zone_managed[zone]);
        OPS_CHECK(stats.zone_free_frames[zone] <= model.zone_free[zone]);
        missing += model.zone_free[zone] - stats.zone_free_frames[zone];
        free += stats.zone_free_frames[zone];
        managed += stats.zone_managed_frames[zone];
    }
    OPS_EQ(free + stock_of(&stats), stats.free_frames);
    OPS_EQ(managed, stats.managed_frames);
    OPS_EQ(missing, machine.lost + stock_of(&stats));
}

void ops_compare_counts(void)
{
    if (mm_pmm_free_frames(&machine.pmm) != model.free - machine.lost || machine.op % 16 == 0)
        compare_stats();
    OPS_EQ(mm_pmm_free_frames(&machine.pmm), model.free - machine.lost);
}

/* ---- by address ---- */

void ops_compare_frame(uint64_t frame)
{
    uint32_t i = model_find(frame);
    const struct model_cell *cell = i == MODEL_NONE ? NULL : &model.cell[i];
    enum mm_frame_state state = MM_FRAME_UNMANAGED;
    uint64_t first = frame, count = 1;
    struct mm_frame_info info;

    mm_pmm_query(&machine.pmm, mm_phys_add(mm_frame_phys(frame), frame % MM_FRAME_BYTES), &info);
    if (cell != NULL && cell->state == CELL_FREE)
        state = MM_FRAME_FREE;
    if (cell != NULL && (cell->state == CELL_TAKEN || cell->state == CELL_OWN))
        state = MM_FRAME_ALLOCATED;
    if (cell != NULL && cell->state == CELL_TAKEN) {
        first = model.cell[cell->first].frame;
        count = model.cell[cell->first].count;
    }
    if (state == MM_FRAME_FREE && info.state == MM_FRAME_ALLOCATED && machine.lost > 0)
        state = MM_FRAME_ALLOCATED; /* that may be one of those */
    OPS_EQ(info.state, state);
    OPS_EQ(info.zone, model_zone(frame));
    OPS_EQ(mm_frame_of(info.first), first);
    OPS_EQ(info.count_frames, count);
}

static bool is_listed(uint32_t i)
{
    return model.cell[i].state != CELL_OUT && model.cell[i].state != CELL_GONE;
}

/* One run of the walk against the cells from *i on. Returns free frames that look allocated. */
static uint64_t compare_run(const struct mm_phys_range *run, enum mm_frame_state state, uint32_t *i)
{
    uint64_t first = mm_frame_of(run->start), hidden = 0;

    OPS_CHECK(run->bytes > 0 && (run->start.raw | run->bytes) % MM_FRAME_BYTES == 0);
    for (uint64_t n = 0; n < run->bytes / MM_FRAME_BYTES; n++, (*i)++) {
        while (*i < model.cells && !is_listed(*i))
            (*i)++;
        OPS_CHECK(*i < model.cells);
        OPS_EQ(first + n, model.cell[*i].frame);
        if (state == MM_FRAME_FREE)
            OPS_EQ(model.cell[*i].state, CELL_FREE);
        else if (model.cell[*i].state == CELL_FREE)
            hidden++;
    }
    return hidden;
}

/* Runs ascend, are maximal, and hold each managed frame once. */
static uint64_t compare_walk(void)
{
    mm_phys_t cursor = mm_phys(0);
    struct mm_phys_range run;
    enum mm_frame_state state, last_state = MM_FRAME_UNMANAGED;
    uint64_t last_end = 0, hidden = 0;
    uint32_t i = 0;

    while (mm_pmm_walk(&machine.pmm, &cursor, &run, &state) == MM_OK) {
        OPS_CHECK(state == MM_FRAME_FREE || state == MM_FRAME_ALLOCATED);
        OPS_CHECK(run.start.raw >= last_end);
        OPS_CHECK(run.start.raw != last_end || state != last_state);
        OPS_EQ(cursor.raw, run.start.raw + run.bytes);
        hidden += compare_run(&run, state, &i);
        last_end = cursor.raw;
        last_state = state;
    }
    while (i < model.cells && !is_listed(i))
        i++;
    OPS_EQ(i, model.cells);
    return hidden;
}

/* ---- computed numbers ---- */

/* In tenths of a percent, rounded either way. */
static void compare_unusable(const struct mm_pmm_blocks *blocks, unsigned order)
{
    uint64_t in_blocks = blocks->free_blocks[order] << order;
    uint64_t unusable = 0;

    if (blocks->free_frames > 0)
        unusable = (blocks->free_frames - in_blocks) * 1000 / blocks->free_frames;
    OPS_CHECK(blocks->unusable_permille[order] >= unusable &&
              blocks->unusable_permille[order] <= unusable + 1 &&
              blocks->unusable_permille[order] <= 1000);
}

static void compare_blocks(void)
{
    struct mm_pmm_blocks blocks;
    struct mm_pmm_stats stats;

    mm_pmm_get_blocks(&machine.pmm, &blocks);
    mm_pmm_get_stats(&machine.pmm, &stats);
    OPS_EQ(blocks.free_frames, model.free);
    for (unsigned order = 0; order <= MM_ORDER_MAX; order++) {
        /* Whether a block across a border of zones or nodes counts is nobody's promise. */
        OPS_CHECK(blocks.free_blocks[order] <= model_blocks(order, false));
        OPS_CHECK(blocks.free_blocks[order] >= model_blocks(order, true));
        compare_unusable(&blocks, order);
    }
    OPS_CHECK(stats.whole_chunks <= model_blocks(MM_ORDER_2M, false));
    OPS_CHECK(stats.whole_chunks >= model_blocks(MM_ORDER_2M, true));
}

static void compare_nodes(void)
{
    uint64_t managed[OPS_NODES_MAX] = {0}, free[OPS_NODES_MAX] = {0};
    uint64_t all_managed = 0, all_free = 0, pmm_managed, pmm_free;
    struct mm_pmm_stats stats;
    bool mixed = false;

    for (uint32_t i = 0; i < model.cells; i++) {
        const struct model_cell *cell = &model.cell[i];

        mixed |= cell->mixed;
        managed[cell->node] += is_listed(i) ? 1 : 0;
        free[cell->node] += cell->state == CELL_FREE ? 1 : 0;
    }
    for (unsigned node = 0; node < MM_NODES_MAX; node++) {
        mm_pmm_get_node_stats(&machine.pmm, node, &pmm_managed, &pmm_free);
        all_managed += pmm_managed;
        all_free += pmm_free;
        if (mixed) /* to which node such a chunk is counted is nobody's promise */
            continue;
        OPS_EQ(pmm_managed, node < OPS_NODES_MAX ? managed[node] : 0);
        OPS_CHECK(pmm_free <= (node < OPS_NODES_MAX ? free[node] : 0));
    }
    OPS_EQ(all_managed, model.managed);
    mm_pmm_get_stats(&machine.pmm, &stats);
    OPS_EQ(all_free + stock_of(&stats), model.free);
}

/* ---- marks ---- */

/* With nothing in stock the pools hold all free frames of a zone, so its level is known. */
static void compare_marks(void)
{
    for (unsigned zone = 0; zone < MM_ZONES; zone++) {
        const struct ops_mark *it = &machine.mark[zone];
        uint64_t free = model.zone_free[zone];

        if (!it->set || !it->settled || it->unsure)
            continue;
        if (free < it->mark.min_frames)
            OPS_EQ(it->level, MM_MEMORY_MIN);
        if (free < it->mark.low_frames)
            OPS_CHECK(it->level != MM_MEMORY_PLENTY);
        if (free > it->mark.low_frames)
            OPS_CHECK(it->level != MM_MEMORY_MIN);
        if (free > it->mark.high_frames)
            OPS_EQ(it->level, MM_MEMORY_PLENTY);
    }
}

/* ---- all ---- */

static uint64_t in_stock(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    return stats.magazine_frames + stats.zeroed_frames + stats.depot_frames;
}

static void compare_drained(void)
{
    machine.host->cpus_answer(machine.cpus);
    do {
        machine.callback_ran = false;
        OPS_EQ(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT), MM_OK);
    } while (machine.callback_ran);
    machine.host->cpus_answer(machine.answering);
    OPS_EQ(in_stock(), 0);
    compare_stats();
    own_find();
    OPS_EQ(compare_walk(), 0);
    OPS_EQ(in_stock(), 0);
    compare_stats();
    compare_blocks();
    compare_nodes();
    compare_marks();
    if (machine.reserve_pools == 1 && model.free - model.zone_free[MM_ZONE_LOW] >= machine.reserve)
        machine.reserve_used = false; /* all of it is where it should be */
    own_forget();
}

static void fault_tell(void *context, const struct mm_report *report)
{
    char line[200];

    (void)context;
    (void)mm_report_format(line, sizeof line, report);
    fprintf(stderr, "mm_pmm_check(): %s\n", line);
}

void ops_check(void)
{
    const struct mm_check_sink sink = {fault_tell, NULL};

    OPS_EQ(mm_pmm_check(&machine.pmm, &sink), 0);
}

void ops_compare_all(bool drain)
{
    OPS_CHECK(model_sound());
    ops_check();
    for (unsigned n = 0; n < 32 && model.cells > 0; n++)
        ops_compare_frame(model.cell[(machine.op * 7919 + n * 104729) % model.cells].frame + n % 2);
    if (drain) {
        compare_drained();
    } else {
        uint64_t hidden = compare_walk(); /* the walk brings home what it can */

        compare_stats();
        OPS_EQ(hidden, in_stock() + machine.lost);
    }
    ops_check();
    machine.result->compared++;
}

/* ---- failures ---- */

/* Other CPUs that may keep frames from a request of the current one. */
static bool others_may_hide(bool hard)
{
    for (unsigned cpu = hard ? machine.answering : 0; cpu < machine.cpus; cpu++)
        if (cpu != fake_cpu_current() && machine.used[cpu] && !machine.parked[cpu])
            return true;
    return false;
}

/* Frames in the stock of others, as far as the request may not have them. */
static uint64_t in_others_stock(const struct mm_frame_request *request)
{
    bool no_wait = (request->flags & MM_FRAME_NO_WAIT) != 0;
    uint64_t frames = 0;
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    if (no_wait || others_may_hide((request->flags & MM_FRAME_TRY_HARD) != 0))
        frames += stats.magazine_frames + stats.zeroed_frames;
    if (no_wait)
        frames += stats.depot_frames;
    return frames;
}

uint64_t ops_out_of_reach(const struct mm_frame_request *request)
{
    uint64_t frames = machine.lost;

    frames += in_others_stock(request);

    if ((request->flags & MM_FRAME_RESERVE) == 0)
        frames += machine.config.reserve_frames;
    return frames;
}

bool ops_fits_remain(const struct mm_frame_request *request, const struct model_need *need,
                     uint64_t wanted)
{
    uint64_t lost = machine.lost, least = ops_out_of_reach(request) + wanted;
    uint64_t fits = model_count_fits(need, least);

    if (fits >= least || fits < wanted || lost == 0)
        return fits >= least;
    own_find(); /* now it matters */
    fits = model_count_fits(need, least);
    own_forget();
    return fits >= least - lost;
}
