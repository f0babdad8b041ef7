/*
 * pmm_ops_free.c - operations that give frames back, rightly and wrongly.
 *
 * Problem     A free that is refused must change nothing, and a right one must never be refused.
 * Idea        Wrong frees are made from right ones: another length, another address, a second time.
 *             What by luck is right is done as such.
 * Invariants  The release build is not asked about a single frame freed twice: it does not promise
 *             to see it.
 * Locking     One thread.
 * Cost        As the calls.
 * Rejected    Random addresses alone: nearly all of them are no memory at all.
 */
#include "pmm_ops_internal.h"

#define BULK_MAX 300u

static const bool sees_double_free = MM_LEVEL > MM_LEVEL_RELEASE;

void ops_give(uint32_t live, uint64_t *first, uint64_t *count)
{
    uint32_t cell = model.live[live];

    *first = model.cell[cell].frame;
    *count = model.cell[cell].count;
    ops_frames_verify(*first, *count);
    for (unsigned zone = 0; zone < MM_ZONES; zone++)
        machine.mark[zone].settled |= *count > 1 && model.cell[cell].zone == zone;
    OPS_CHECK(model_give(cell));
}

void ops_refused(enum mm_err err, uint64_t address, unsigned reports)
{
    const bool together = !sees_double_free; /* the release build tells several in one report */
    const struct mm_report *report;

    OPS_EQ(err, MM_ERR_MISUSE);
    OPS_CHECK(machine.host->report_count() == reports || (together && reports > 1));
    report = machine.host->report_last();
    OPS_EQ(report->kind, MM_REPORT_MISUSE);
    OPS_EQ(report->err, MM_ERR_MISUSE);
    OPS_CHECK(report->address == address || (together && reports > 1));
    OPS_CHECK(report->object == &machine.pmm);
    OPS_CHECK(report->caller != NULL && report->what != NULL && report->where != NULL);
    machine.host->reports_clear();
    machine.misuses += reports;
    machine.result->misuses += reports;
}

static void record(enum mm_err err, uint64_t address, uint64_t count)
{
    ops_record()->err = err;
    ops_record()->address = address;
    ops_record()->count = count;
}

/* An allocation of one frame near number `from` of the list; MODEL_NONE if there is none. */
static uint32_t some_single(uint32_t from)
{
    for (uint32_t n = 0; n < 16 && n < model.live_count; n++) {
        uint32_t live = (from + n) % model.live_count;

        if (model.cell[model.live[live]].count == 1)
            return live;
    }
    return MODEL_NONE;
}

/* ---- right ---- */

void op_free(void)
{
    uint64_t first, count;
    enum mm_err err;

    if (model.live_count == 0)
        return;
    ops_give((uint32_t)ops_below(model.live_count), &first, &count);
    record(MM_OK, first * MM_FRAME_BYTES, count);
    ops_call_begin(true);
    err = count == 1 && first % 2 == 0 ? mm_pmm_free_frame(&machine.pmm, mm_frame_phys(first))
                                       : mm_pmm_free(&machine.pmm, mm_frame_phys(first), count);
    ops_call_end();
    ops_record()->err = err;
    OPS_EQ(err, MM_OK);
}

/* Single frames, more than a magazine holds: neighbours in the list, or scattered. */
void op_free_burst(void)
{
    uint64_t wanted = 1 + ops_byte() * 2u, done = 0;
    uint32_t stride = ops_byte() % 2 == 0 ? 0 : 37;
    uint32_t from = model.live_count > 0 ? (uint32_t)ops_below(model.live_count) : 0;

    ops_call_begin(true);
    for (; done < wanted && model.live_count > 0; done++) {
        uint32_t live = some_single((from += stride) % model.live_count);
        uint64_t first, count;

        if (live == MODEL_NONE)
            break;
        ops_give(live, &first, &count);
        record(MM_OK, first * MM_FRAME_BYTES, done + 1);
        OPS_EQ(mm_pmm_free_frame(&machine.pmm, mm_frame_phys(first)), MM_OK);
    }
    ops_call_end();
}

void op_free_bulk(void)
{
    uint64_t wanted = ops_below(BULK_MAX + 1), done = 0;
    uint32_t from = model.live_count > 0 ? (uint32_t)ops_below(model.live_count) : 0;
    mm_phys_t frame[BULK_MAX];

    for (; done < wanted && model.live_count > 0; done++) {
        uint32_t live = some_single(from);
        uint64_t first, count;

        if (live == MODEL_NONE)
            break;
        ops_give(live, &first, &count);
        frame[done] = mm_frame_phys(first);
    }
    record(MM_OK, done > 0 ? frame[0].raw : 0, done);
    ops_call_begin(true);
    OPS_EQ(mm_pmm_free_bulk(&machine.pmm, frame, done), MM_OK);
    ops_call_end();
}

void op_free_no_wait(void)
{
    uint32_t live =
        model.live_count == 0 ? MODEL_NONE : some_single((uint32_t)ops_below(model.live_count));
    uint64_t first, count;
    enum mm_err err;

    if (live == MODEL_NONE)
        return;
    ops_give(live, &first, &count);
    record(MM_OK, first * MM_FRAME_BYTES, 1);
    ops_call_begin(false);
    err = mm_pmm_free_no_wait(&machine.pmm, mm_frame_phys(first));
    ops_call_end();
    ops_record()->err = err;
    OPS_EQ(err, MM_OK); /* nobody holds a lock */
}

/* ---- wrong ---- */

/* Would this free be right? */
static bool is_allocation(uint64_t address, uint64_t count)
{
    uint32_t cell =
        address % MM_FRAME_BYTES == 0 ? model_find(address / MM_FRAME_BYTES) : MODEL_NONE;

    return cell != MODEL_NONE && model.cell[cell].state == CELL_TAKEN &&
           model.cell[cell].first == cell && model.cell[cell].count == count;
}

/* May it go unnoticed? */
static bool is_unseen(uint64_t address, uint64_t count)
{
    uint32_t cell = model_find(address / MM_FRAME_BYTES);

    return !sees_double_free && address % MM_FRAME_BYTES == 0 && count == 1 && cell != MODEL_NONE &&
           model.cell[cell].state == CELL_FREE;
}

static uint64_t another_count(uint64_t count)
{
    switch (ops_byte() % 6) {
    case 0:
        return count + 1;
    case 1:
        return count - 1;
    case 2:
        return 0;
    case 3:
        return count * 2;
    case 4:
        return UINT64_MAX - ops_byte();
    default:
        return 1;
    }
}

static uint64_t another_address(uint64_t address, uint64_t count)
{
    static const uint64_t far[] = {0, UINT64_C(1) << 63, UINT64_C(0xfffffffffffff000),
                                   UINT64_C(0xffffffffff000), UINT64_C(0x10000000000000)};
    uint8_t how = ops_byte();

    switch (how % 5) {
    case 0:
        return address + 1 + ops_number(2) % (MM_FRAME_BYTES - 1);
    case 1:
        return address + (1 + how / 5) % count * MM_FRAME_BYTES;
    case 2:
        return address - MM_FRAME_BYTES;
    case 3:
        return address + count * MM_FRAME_BYTES;
    default:
        return far[how / 5 % (sizeof far / sizeof far[0])];
    }
}

/* A right free to begin with; else any frame. */
static void some_free(uint64_t *address, uint64_t *count)
{
    uint32_t cell;

    *count = 1;
    if (ops_byte() % 4 != 0 && model.live_count > 0) {
        cell = model.live[ops_below(model.live_count)];
        *count = model.cell[cell].count;
    } else {
        cell = (uint32_t)ops_below(model.cells);
    }
    *address = model.cell[cell].frame * MM_FRAME_BYTES;
}

static void free_by(unsigned how, uint64_t address, uint64_t count)
{
    uint32_t cell = model_find(address / MM_FRAME_BYTES);
    enum mm_err err;

    ops_call_begin(false);
    if (how == 0 && count == 1)
        err = mm_pmm_free_frame(&machine.pmm, mm_phys(address));
    else if (how == 1 && count == 1)
        err = mm_pmm_free_no_wait(&machine.pmm, mm_phys(address));
    else
        err = mm_pmm_free(&machine.pmm, mm_phys(address), count);
    ops_call_end();
    ops_record()->err = err;
    if (err != MM_ERR_MISUSE && cell != MODEL_NONE)
        pmm_ops_failed(__FILE__, __LINE__, "a wrong free: the frame's state in the model, result",
                       model.cell[cell].state, err);
    ops_refused(err, address, 1);
}

void op_free_wrong(void)
{
    uint8_t how = ops_byte();
    uint64_t address, count;

    some_free(&address, &count);
    if (how % 3 == 0)
        count = another_count(count);
    else if (how % 3 == 1)
        address = another_address(address, count);
    if (is_allocation(address, count) || is_unseen(address, count))
        return;
    record(MM_OK, address, count);
    free_by(how / 3 % 3, address, count);
    if (how / 9 % 2 == 0 && address % MM_FRAME_BYTES == 0)
        ops_compare_frame(address / MM_FRAME_BYTES & ((UINT64_C(1) << 52) - 1));
}

/* Right ones and wrong ones, and the same one twice. */
void op_free_bulk_wrong(void)
{
    uint64_t wanted = 1 + ops_byte() % 20, done = 0, bad = 0, last_bad = 0;
    mm_phys_t frame[2 * 20];

    for (uint64_t n = 0; n < wanted && model.live_count > 0; n++) {
        uint32_t live = (uint32_t)ops_below(model.live_count);
        bool right = model.cell[model.live[live]].count == 1;
        uint64_t first = model.cell[model.live[live]].frame, count;

        frame[done++] = mm_frame_phys(first);
        if (right)
            ops_give(live, &first, &count);
        if (!right || (sees_double_free && ops_byte() % 4 == 0)) {
            if (right)
                frame[done++] = mm_frame_phys(first);
            bad++;
            last_bad = first;
        }
    }
    record(MM_OK, done > 0 ? frame[0].raw : 0, done);
    ops_call_begin(false);
    ops_record()->err = mm_pmm_free_bulk(&machine.pmm, frame, done);
    ops_call_end();
    if (bad == 0)
        OPS_EQ(ops_record()->err, MM_OK);
    else
        ops_refused(ops_record()->err, last_bad * MM_FRAME_BYTES, (unsigned)bad);
}
