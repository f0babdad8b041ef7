/*
 * pmm_ops_rest.c - operations other than taking and giving: stocks, memory that comes and goes,
 * watermarks, tags, questions.
 *
 * Problem     What is rarely called is rarely right.
 * Idea        Each call with arguments near what is so now; what it must answer is known before.
 * Invariants  As in pmm_ops.c.
 * Locking     One thread. Watermark callbacks come within any call.
 * Cost        As the calls.
 * Rejected    Nothing.
 */
#include "pmm_ops_internal.h"

static void record(enum mm_err err, uint64_t address, uint64_t count)
{
    ops_record()->err = err;
    ops_record()->address = address;
    ops_record()->count = count;
}

/* ---- CPUs and their stocks ---- */

void op_cpu(void)
{
    fake_cpu_set(ops_byte() % machine.cpus);
    record(MM_OK, fake_cpu_current(), 1);
}

/* Some CPUs no longer answer mm_host_run_on(), or all do again. */
void op_answering(void)
{
    uint8_t how = ops_byte();

    machine.answering = how % 2 == 0 ? machine.cpus : how / 2 % machine.cpus;
    machine.host->cpus_answer(machine.answering);
    record(MM_OK, machine.answering, 1);
}

void op_interrupt(void)
{
    machine.interrupt_armed = true;
    for (unsigned i = 0; i < sizeof machine.interrupt_plan; i++)
        machine.interrupt_plan[i] = ops_byte();
}

void op_drain(void)
{
    unsigned flags = ops_byte() % 2 == 0 ? MM_DRAIN_WAIT : 0;
    bool others = false;
    struct mm_pmm_stats stats;
    enum mm_err err;

    ops_call_begin(flags == 0);
    err = mm_pmm_drain(&machine.pmm, flags);
    ops_call_end();
    record(err, flags, 1);
    if (machine.interrupt_ran || machine.callback_ran)
        return;
    for (unsigned cpu = flags != 0 ? machine.answering : 0; cpu < machine.cpus; cpu++)
        others |= cpu != fake_cpu_current(); /* it may be asked, whether it has any or not */
    mm_pmm_get_stats(&machine.pmm, &stats);
    if (err != MM_OK) {
        OPS_EQ(err, MM_ERR_BUSY);
        OPS_CHECK(others);
    } else {
        OPS_EQ(stats.magazine_frames + stats.zeroed_frames, 0);
    }
    OPS_EQ(stats.depot_frames, 0);
}

void op_park(void)
{
    mm_pmm_park(&machine.pmm);
    machine.parked[fake_cpu_current()] = true;
}

void op_serve(void)
{
    ops_call_begin(true);
    mm_pmm_serve(&machine.pmm);
    ops_call_end();
}

void op_zero_ahead(void)
{
    unsigned times = 1 + ops_byte() % 24;
    enum mm_err err = MM_OK;

    ops_call_begin(true);
    for (unsigned n = 0; n < times && err == MM_OK; n++)
        err = mm_pmm_zero_ahead(&machine.pmm);
    ops_call_end();
    record(err, 0, times);
    if (machine.config.window == NULL)
        OPS_EQ(err, MM_ERR_UNSUPPORTED);
    else if (err == MM_ERR_WINDOW)
        OPS_CHECK(machine.window_part);
    else if (err == MM_ERR_BUSY) /* in the middle of something of this CPU's */
        OPS_CHECK(machine.interrupt_ran);
    else
        OPS_CHECK(err == MM_OK || err == MM_ERR_EXISTS || err == MM_ERR_NO_MEMORY);
}

/* ---- memory that goes and comes ---- */

#define HOLES_SPARE 16u /* chunks without holes in which frames can be retired */

/* What retiring a frame in this state answers. */
static enum mm_err retire_answer(uint32_t cell)
{
    switch (cell == MODEL_NONE ? CELL_OUT : (enum cell_state)model.cell[cell].state) {
    case CELL_FREE:
        return MM_OK;
    case CELL_TAKEN:
        return MM_ERR_BUSY;
    default:
        return MM_ERR_NOT_FOUND;
    }
}

void op_retire(void)
{
    uint32_t cell = (uint32_t)ops_below(model.cells);
    uint64_t frame = model.cell[cell].frame + ops_byte() / 0xf0;
    enum mm_err err, expected;

    if (ops_byte() % 4 != 0) /* rarely: it never comes back */
        return;
    cell = model_find(frame);
    if (cell != MODEL_NONE && model.cell[cell].state == CELL_FREE && ops_is_own(cell))
        return; /* it would go when the PMM gives it up, and nobody sees when that is */
    expected = retire_answer(cell);
    machine.host->cpus_answer(machine.cpus);
    ops_call_begin(false);
    err = mm_pmm_retire(&machine.pmm, mm_frame_phys(frame));
    ops_call_end();
    machine.host->cpus_answer(machine.answering);
    record(err, frame * MM_FRAME_BYTES, 1);
    if (err == MM_ERR_NO_ROOM && machine.retired >= HOLES_SPARE)
        return; /* each in another chunk, perhaps */
    OPS_EQ(err, expected);
    if (err == MM_ERR_NOT_FOUND)
        return;
    machine.retired++;
    OPS_CHECK(model_retire(cell));
}

/* What adding [frame, frame + count) answers. */
static enum mm_err add_answer(uint64_t frame, uint64_t count)
{
    enum mm_err err = MM_OK;

    for (uint64_t n = 0; n < count; n++) {
        uint32_t cell = model_find(frame + n);

        if (cell == MODEL_NONE)
            return MM_ERR_UNSUPPORTED;
        if (model.cell[cell].state != CELL_OUT)
            err = MM_ERR_EXISTS;
    }
    return err;
}

static bool has_gone(uint64_t frame, uint64_t count)
{
    for (uint64_t n = 0; n < count; n++) {
        uint32_t cell = model_find(frame + n);

        if (cell != MODEL_NONE && model.cell[cell].state == CELL_GONE)
            return true;
    }
    return false;
}

void op_add(void)
{
    uint32_t cell = (uint32_t)ops_below(model.cells);
    uint8_t how = ops_byte();
    uint64_t count = 1 + how % 12, frame;
    enum mm_err err, expected;

    for (unsigned n = 0; n < 64 && cell + 1 < model.cells; n++) /* often where it may go well */
        cell += model.cell[cell].state != CELL_OUT ? 1 : 0;
    frame = model.cell[cell].frame;
    if (how % 4 == 0) /* all that lies there */
        for (count = 1; cell + count < model.cells && count < 4096 &&
                        model.cell[cell + count].frame == frame + count &&
                        model.cell[cell + count].state == CELL_OUT;)
            count++;
    expected = add_answer(frame, count);
    ops_call_begin(false);
    err = mm_pmm_add(&machine.pmm, mm_frame_phys(frame), count * MM_FRAME_BYTES);
    ops_call_end();
    record(err, frame * MM_FRAME_BYTES, count);
    if (has_gone(frame, count)) /* RAM that is bad: refused in whatever words */
        OPS_CHECK(err != MM_OK);
    else
        OPS_EQ(err, expected);
    if (err == MM_OK)
        OPS_CHECK(model_add(cell, count));
}

void op_add_ram(void)
{
    uint64_t chunks = 1 + ops_byte() % 3, frame = machine.hot_next;
    unsigned node = model.cell[ops_below(model.cells)].node;
    enum mm_err err, expected = MM_OK;

    if (machine.window_part)
        return;
    if (chunks > machine.hot_chunks) {
        chunks += 1024; /* room for a few more may be left by chance */
        expected = MM_ERR_NO_ROOM;
    }
    if (ops_byte() % 4 == 0 && model.cells > 0) { /* known already */
        frame = model.cell[model.cells - 1].frame / MODEL_CHUNK * MODEL_CHUNK;
        expected = MM_ERR_EXISTS;
    }
    ops_call_begin(false);
    err = mm_pmm_add_ram(&machine.pmm, mm_frame_phys(frame), chunks * MODEL_CHUNK * MM_FRAME_BYTES,
                         node);
    ops_call_end();
    record(err, frame * MM_FRAME_BYTES, chunks * MODEL_CHUNK);
    OPS_EQ(err, expected);
    if (err != MM_OK)
        return;
    OPS_CHECK(model_add_ram(frame, chunks * MODEL_CHUNK, node));
    machine.hot_next += chunks * MODEL_CHUNK;
    machine.hot_chunks -= chunks;
    machine.reserve_pools++;
}

/* ---- watermarks ---- */

static bool change_is_right(const struct ops_mark *it, enum mm_memory_level level, uint64_t free)
{
    if (level == it->level)
        return false;
    if (level == MM_MEMORY_MIN)
        return free < it->mark.min_frames;
    if (level == MM_MEMORY_PLENTY)
        return free > it->mark.high_frames;
    return it->level == MM_MEMORY_MIN ? free > it->mark.low_frames : free < it->mark.low_frames;
}

/* Comes within any call. It may use the PMM, and does. */
static void level_changed(void *arg, enum mm_zone zone, enum mm_memory_level level,
                          uint64_t free_frames)
{
    struct ops_mark *it = arg;
    mm_phys_t frame;

    OPS_CHECK(it == &machine.mark[zone] && it->set);
    it->unsure |= machine.interrupt_ran; /* what the code below is about to tell may be older */
    if (!it->unsure && !change_is_right(it, level, free_frames))
        pmm_ops_failed(__FILE__, __LINE__, "a level that is not so: new level, frames in the pools",
                       level, free_frames);
    it->level = level;
    it->settled = true;
    machine.result->level_changes++;
    if (++it->changes % 4 != 0 || mm_pmm_alloc_frame(&machine.pmm, &frame) != MM_OK)
        return;
    OPS_EQ(mm_pmm_free_frame(&machine.pmm, frame), MM_OK);
    machine.callback_ran = true;
}

void op_mark(void)
{
    unsigned zone = ops_byte() % MM_ZONES;
    struct ops_mark *it = &machine.mark[zone];
    struct mm_pmm_watermark mark = {.fn = level_changed, .arg = it};
    uint8_t how = ops_byte();
    enum mm_err err;

    mark.min_frames = ops_below(model.zone_managed[zone] + 1);
    mark.low_frames = mark.min_frames + ops_byte();
    mark.high_frames = mark.low_frames + ops_byte();
    if (how % 8 == 0) { /* refused */
        mark.min_frames = mark.high_frames + 1;
        err = mm_pmm_set_watermark(&machine.pmm, (enum mm_zone)zone, &mark);
        record(err, zone, 1);
        OPS_EQ(err, MM_ERR_BAD_ARG);
        return;
    }
    *it = (struct ops_mark){.set = how % 8 != 1, .mark = mark};
    err = mm_pmm_set_watermark(&machine.pmm, (enum mm_zone)zone, it->set ? &mark : NULL);
    record(err, mark.min_frames, mark.high_frames);
    OPS_EQ(err, MM_OK);
}

/* ---- tags ---- */

/* Of a chunk that nodes share, each has its own table, or none: not known. */
static void tag_made(uint32_t cell)
{
    uint64_t chunk = model.cell[cell].frame / MODEL_CHUNK;

    model.cell[cell].has_table = true;
    if (model.cell[cell].mixed)
        return;
    while (cell > 0 && model.cell[cell - 1].frame / MODEL_CHUNK == chunk)
        cell--;
    for (; cell < model.cells && model.cell[cell].frame / MODEL_CHUNK == chunk; cell++)
        model.cell[cell].has_table = true;
}

void op_tag(void)
{
    uint32_t cell = (uint32_t)ops_below(model.cells);
    bool create = ops_byte() % 2 == 0;
    struct model_cell *it = &model.cell[cell];
    bool managed = it->state == CELL_FREE || it->state == CELL_TAKEN;
    uint16_t *tag = NULL, value = (uint16_t)ops_number(2);
    enum mm_err err;

    ops_call_begin(false);
    err = mm_pmm_tag(&machine.pmm, mm_frame_phys(it->frame), create, &tag);
    ops_call_end();
    record(err, it->frame * MM_FRAME_BYTES, 1);
    if (machine.config.window == NULL) {
        OPS_EQ(err, MM_ERR_UNSUPPORTED);
    } else if (!managed) {
        OPS_EQ(err, MM_ERR_NOT_FOUND);
    } else if (err == MM_ERR_NOT_FOUND) {
        OPS_CHECK(!create && !it->has_table); /* one for a neighbour may serve this chunk, too */
    } else if (err == MM_ERR_NO_MEMORY) {
        OPS_CHECK(!it->has_table && create);
        OPS_CHECK((machine.config.flags & MM_PMM_NO_FLOORS) == 0 ||
                  model.free - model.zone_free[MM_ZONE_LOW] <=
                      2 + ops_out_of_reach(&(struct mm_frame_request){.order = 0}));
    } else if (err == MM_ERR_WINDOW) {
        OPS_CHECK(!it->has_table && create && machine.window_part);
    } else {
        OPS_EQ(err, MM_OK);
    }
    if (err != MM_OK) {
        OPS_CHECK(tag == NULL);
        return;
    }
    OPS_EQ(*tag, it->tag);
    if (!it->has_table)
        tag_made(cell);
    *tag = it->tag = value;
}

/* ---- questions ---- */

void op_query(void)
{
    uint8_t how = ops_byte();
    uint64_t frame = how < 0xe0 ? model.cell[ops_below(model.cells)].frame + how % 2
                                : ops_number(6) & ((UINT64_C(1) << 52) - 1);

    record(MM_OK, frame * MM_FRAME_BYTES, 1);
    ops_compare_frame(frame);
}

void op_compare(void)
{
    if (ops_byte() % 8 == 0)
        ops_compare_all(ops_byte() % 2 == 0);
}
