/*
 * pmm_ops_alloc.c - operations that take frames, and when they may fail.
 *
 * Problem     "No memory" is an answer that is always safe, so a test must know when it is wrong.
 * Idea        A frame that is out of reach (in the stock of a CPU that was not, or could not be,
 *             asked; kept back as a reserve) spoils at most one of the disjoint places that a
 *             request fits into. So a failure is right only if there are no more such places than
 *             frames out of reach: none at all on a quiet machine.
 * Invariants  A call that fails leaves its result alone.
 * Locking     One thread.
 * Cost        A failure costs a search through the model.
 * Rejected    Asking the PMM which frames are in whose stock: it is what is judged.
 */
#include <string.h>

#include "pmm_ops_internal.h"

#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)
#define BULK_MAX  300u

/* ---- around calls ---- */

static uint64_t plan_below(unsigned i, uint64_t bound)
{
    return machine.interrupt_plan[i] % bound;
}

static void interrupt_alloc(unsigned order)
{
    struct mm_frame_request request = {.order = (uint8_t)order};
    struct model_need need = model_need_of(&request);
    mm_phys_t out;

    /* No memory: the code below may be about to take, or to give, the last of it. */
    if (mm_pmm_alloc(&machine.pmm, &request, &out) == MM_OK)
        ops_received(&need, mm_frame_of(out), false);
}

/* As a driver's handler does: takes a few, gives a few back. */
static void interrupt(void *arg)
{
    unsigned cpu = fake_cpu_current();

    (void)arg;
    machine.interrupt_ran = true;
    machine.used[cpu] = true;
    machine.parked[cpu] = false;
    ops_record()->interrupted = true;
    machine.result->interrupted++;
    for (uint64_t n = plan_below(1, 12); n > 0; n--)
        interrupt_alloc(n % 5 == 4 ? (unsigned)plan_below(2, 4) : 0);
    for (uint64_t n = plan_below(3, 12); n > 0 && model.live_count > 0; n--) {
        uint64_t first, count;

        ops_give((uint32_t)((machine.op * 31 + n * 17) % model.live_count), &first, &count);
        OPS_EQ(mm_pmm_free(&machine.pmm, mm_frame_phys(first), count), MM_OK);
    }
}

void ops_call_begin(bool interruptible)
{
    unsigned cpu = fake_cpu_current();

    machine.used[cpu] = true;
    machine.parked[cpu] = false;
    machine.interrupt_ran = false;
    machine.callback_ran = false;
    if (interruptible && machine.interrupt_armed)
        fake_interrupt_once(interrupt, NULL, machine.interrupt_plan[0] % 48);
}

void ops_call_end(void)
{
    fake_interrupt_set(NULL, NULL);
    if (machine.interrupt_ran)
        machine.interrupt_armed = false;
}

/* ---- results ---- */

static void record_result(enum mm_err err, uint64_t first, uint64_t count)
{
    struct ops_record *record = ops_record();

    record->err = err;
    record->address = err == MM_OK ? first * MM_FRAME_BYTES : 0;
    record->count = err == MM_OK ? count : 0;
}

void ops_received(const struct model_need *need, uint64_t first, bool zeroed)
{
    uint32_t cell = model_find(first);

    OPS_CHECK(cell != MODEL_NONE);
    OPS_CHECK(model_fits(need, cell));
    for (uint64_t n = 0; n < need->count; n++)
        OPS_CHECK(!model.cell[cell + n].doomed);
    OPS_CHECK(model_take(first, need->count));
    if (zeroed)
        ops_frames_zeroed(first, need->count);
    ops_frames_mark(first, need->count);
    for (unsigned zone = 0; zone < MM_ZONES; zone++)
        machine.mark[zone].settled |= need->count > 1 && model.cell[cell].zone == zone;
}

static bool has_floors(const struct mm_frame_request *request)
{
    return (machine.config.flags & MM_PMM_NO_FLOORS) == 0 &&
           (request->flags & MM_FRAME_RESERVE) == 0;
}

static uint64_t some_fit(const struct model_need *need)
{
    for (uint32_t i = 0; i < model.cells; i++)
        if (model_fits(need, i))
            return model.cell[i].frame;
    return UINT64_MAX;
}

/* `wanted` places were asked for: 1, or the number of frames in bulk. */
static void judge_no_memory(const struct mm_frame_request *request, uint64_t wanted)
{
    struct model_need need = model_need_of(request);

    machine.result->no_memory++;
    if (machine.interrupt_ran || has_floors(request) || machine.window_part)
        return;                     /* side tables must be in the window */
    need.one_pool = need.count > 1; /* across a border: perhaps */
    if (need.on_node && need.count == 1)
        need.one_pool = true; /* as in chunks that several nodes share */
    if (ops_fits_remain(request, &need, wanted))
        pmm_ops_failed(__FILE__, __LINE__,
                       "no memory, though it fits: at this frame, so many times", some_fit(&need),
                       model_count_fits(&need, UINT64_MAX));
}

/* A request that may has taken of the reserve, perhaps: what comes back of that may go to anybody,
 * through the stock, until the pools are full again. */
static void reserve_note(const struct mm_frame_request *request)
{
    machine.reserve_used |= machine.reserve != 0 && (request->flags & MM_FRAME_RESERVE) != 0;
}

/* What was received is not what should have been kept for others. */
static void judge_choice(const struct mm_frame_request *request, uint64_t first)
{
    uint64_t low = model.zone_free[MM_ZONE_LOW];
    struct model_need need = model_need_of(request);
    uint64_t hidden;

    reserve_note(request);
    if (machine.interrupt_ran || need.low)
        return;
    if ((request->flags & MM_FRAME_RESERVE) == 0 && !machine.reserve_used &&
        model.free - low < machine.reserve)
        pmm_ops_failed(__FILE__, __LINE__, "too few are left: free frames, the reserve",
                       model.free - low, machine.reserve);
    if (has_floors(request) || machine.window_part)
        return;
    hidden = ops_out_of_reach(&(struct mm_frame_request){.flags = MM_FRAME_NO_WAIT});
    if ((request->flags & MM_FRAME_NODE) != 0 &&
        model.cell[model_find(first)].node != request->node) {
        struct model_need there = need; /* nothing was left */

        there.on_node = there.one_pool = true;
        OPS_CHECK(model_count_fits(&there, hidden + 1) <= hidden);
    }
    /* The highest zone first. With nodes, which comes first is another matter, and of single
     * frames, what is in stock does. */
    if (machine.nodes > 1 || need.count == 1 || machine.config.reserve_frames != 0)
        return;
    need.one_pool = true;
    need.zone_min = model_zone(first + need.count - 1) + 1;
    if (need.zone_min < MM_ZONES && model_count_fits(&need, hidden + 1) > hidden)
        pmm_ops_failed(__FILE__, __LINE__, "a higher zone has it, too: at this frame; out of reach",
                       some_fit(&need), hidden);
}

/* Which errors other than NO_MEMORY this request may end with. */
static void judge_other(const struct mm_frame_request *request, enum mm_err err)
{
    bool zero = (request->flags & MM_FRAME_ZERO) != 0;

    OPS_EQ(err, zero && machine.config.window == NULL ? MM_ERR_UNSUPPORTED : MM_ERR_WINDOW);
    OPS_CHECK(zero && (machine.config.window == NULL || machine.window_part));
}

static void alloc(const struct mm_frame_request *request, bool interruptible)
{
    struct model_need need = model_need_of(request);
    mm_phys_t out = mm_phys(UNTOUCHED);
    enum mm_err err;

    ops_record()->has_request = true;
    ops_record()->request = *request;
    ops_call_begin(interruptible);
    err = mm_pmm_alloc(&machine.pmm, request, &out);
    ops_call_end();
    record_result(err, mm_frame_of(out), need.count);
    if (err == MM_OK) {
        OPS_EQ(out.raw % MM_FRAME_BYTES, 0);
        ops_received(&need, mm_frame_of(out), (request->flags & MM_FRAME_ZERO) != 0);
        judge_choice(request, mm_frame_of(out));
        machine.result->allocated++;
        return;
    }
    OPS_EQ(out.raw, UNTOUCHED);
    if (err == MM_ERR_NO_MEMORY)
        judge_no_memory(request, 1);
    else
        judge_other(request, err);
}

/* ---- requests ---- */

/* Anywhere in memory, on a frame or near one. */
static uint64_t some_address(void)
{
    uint64_t frame = model.cells > 0 ? model.cell[ops_below(model.cells)].frame : 0;
    uint8_t near = ops_byte();

    return frame * MM_FRAME_BYTES + (near < 0x80 ? 0 : near * UINT64_C(17));
}

static mm_phys_t some_highest(void)
{
    static const uint64_t highest[] = {0xfffff,    0x4ffff,    0xffffff,    0x100fff,
                                       0xffffffff, 0x11ffffff, 0xffffff000, UINT64_MAX};
    uint8_t which = ops_byte();

    if (which % 16 < 8)
        return mm_phys(highest[which % 8]);
    return mm_phys(some_address() + (which % 16 < 12 ? 0x1fffff : 0xfff));
}

static void shape_decode(struct mm_frame_request *request)
{
    uint8_t shape = ops_byte();

    if (shape < 0x60)
        request->order = shape % 6;
    else if (shape < 0x80)
        request->order = shape % (MM_ORDER_MAX + 1);
    else if (shape < 0xc0)
        request->count_frames = 1 + shape % 64;
    else if (shape < 0xf0)
        request->count_frames = 1 + ops_below(1500);
    else
        request->count_frames = 1 + ops_number(shape < 0xf8 ? 2 : 3);
}

static void limits_decode(struct mm_frame_request *request)
{
    uint8_t limits = ops_byte();
    uint64_t count =
        request->count_frames != 0 ? request->count_frames : UINT64_C(1) << request->order;

    if (limits % 4 == 1 || limits % 8 == 7)
        request->highest = some_highest();
    if (limits % 8 >= 6)
        request->lowest = mm_phys(some_address());
    if (limits / 8 % 4 == 1)
        request->align_bytes = UINT64_C(1) << (ops_byte() % 31);
    if (limits / 8 % 4 == 2) {
        uint8_t larger = ops_byte() % 4;

        for (request->boundary_bytes = 1; request->boundary_bytes < count * MM_FRAME_BYTES;)
            request->boundary_bytes *= 2;
        request->boundary_bytes <<= larger;
    }
}

static void flags_decode(struct mm_frame_request *request)
{
    uint8_t flags = ops_byte();

    if (flags % 16 < 5) {
        request->flags |= MM_FRAME_NODE;
        request->node = (uint16_t)(ops_byte() % (machine.nodes + 1));
        if (flags % 16 < 2)
            request->flags |= MM_FRAME_NODE_ONLY;
    }
    if (flags / 16 < 3)
        request->flags |= MM_FRAME_TRY_HARD;
    if (flags / 16 == 3 || flags / 16 == 4)
        request->flags |= MM_FRAME_RESERVE;
    if (flags / 16 == 5 && request->order < 10 && request->count_frames < 1024)
        request->flags |= MM_FRAME_ZERO;
    request->mobility = flags % 3;
}

/* ---- operations ---- */

void op_alloc_frame(void)
{
    static const struct mm_frame_request one;
    struct model_need need = model_need_of(&one);
    mm_phys_t out = mm_phys(UNTOUCHED);
    enum mm_err err;

    ops_call_begin(true);
    err = mm_pmm_alloc_frame(&machine.pmm, &out);
    ops_call_end();
    record_result(err, mm_frame_of(out), 1);
    if (err != MM_OK) {
        OPS_EQ(err, MM_ERR_NO_MEMORY);
        OPS_EQ(out.raw, UNTOUCHED);
        judge_no_memory(&one, 1);
        return;
    }
    ops_received(&need, mm_frame_of(out), false);
    judge_choice(&one, mm_frame_of(out));
    machine.result->allocated++;
}

void op_alloc_zeroed(void)
{
    static const struct mm_frame_request zeroed = {.flags = MM_FRAME_ZERO};
    struct model_need need = model_need_of(&zeroed);
    mm_phys_t out = mm_phys(UNTOUCHED);
    enum mm_err err;

    ops_call_begin(true);
    err = mm_pmm_alloc_zeroed(&machine.pmm, &out);
    ops_call_end();
    record_result(err, mm_frame_of(out), 1);
    if (err == MM_OK) {
        ops_received(&need, mm_frame_of(out), true);
        judge_choice(&zeroed, mm_frame_of(out));
        machine.result->allocated++;
        return;
    }
    OPS_EQ(out.raw, UNTOUCHED);
    if (err == MM_ERR_NO_MEMORY)
        judge_no_memory(&zeroed, 1);
    else
        judge_other(&zeroed, err);
}

/* A block of any order with nothing else asked: what pools are made for. */
void op_alloc_block(void)
{
    uint8_t shape = ops_byte();
    struct mm_frame_request request = {.order = shape < 0xe0   ? shape % 6
                                                : shape < 0xfc ? shape % 11
                                                               : ops_byte() % (MM_ORDER_MAX + 1)};

    alloc(&request, true);
}

void op_alloc_request(void)
{
    struct mm_frame_request request = {.order = 0};

    shape_decode(&request);
    limits_decode(&request);
    flags_decode(&request);
    alloc(&request, (request.flags & MM_FRAME_TRY_HARD) == 0);
}

/* One thing is wrong with each. */
void op_alloc_wrong(void)
{
    struct mm_frame_request request = {.order = 0};
    mm_phys_t out = mm_phys(UNTOUCHED);
    enum mm_err err;

    shape_decode(&request);
    limits_decode(&request);
    switch (ops_byte() % 8) {
    case 0:
        request.count_frames = 0;
        request.order = (uint8_t)(MM_ORDER_MAX + 1 + ops_byte() % 200);
        break;
    case 1:
        request.order = 1;
        request.count_frames = 1 + ops_byte();
        break;
    case 2:
        request.align_bytes = 3 + 2 * ops_number(2);
        break;
    case 3:
        request.boundary_bytes = 3 * MM_FRAME_BYTES << ops_byte() % 20;
        break;
    case 4:
        request.order = 0;
        request.count_frames = 2 + ops_byte();
        request.boundary_bytes = MM_FRAME_BYTES;
        break;
    case 5:
        request.flags = MM_FRAME_NODE_ONLY;
        break;
    case 6:
        request.order = 0;
        request.count_frames = 2;
        request.flags = MM_FRAME_NO_WAIT;
        break;
    default:
        request.flags = MM_FRAME_NO_WAIT | MM_FRAME_TRY_HARD;
        request.order = 0;
        request.count_frames = 0;
        break;
    }
    ops_record()->has_request = true;
    ops_record()->request = request;
    err = mm_pmm_alloc(&machine.pmm, &request, &out);
    record_result(err, 0, 0);
    OPS_EQ(err, MM_ERR_BAD_ARG);
    OPS_EQ(out.raw, UNTOUCHED);
}

/* More than a magazine holds, one by one. */
void op_alloc_burst(void)
{
    static const struct mm_frame_request one;
    struct model_need need = model_need_of(&one);
    uint64_t count = 1 + ops_byte() * 2u, n;
    enum mm_err err = MM_OK;
    mm_phys_t out;

    ops_call_begin(true);
    for (n = 0; n < count; n++) {
        err = mm_pmm_alloc_frame(&machine.pmm, &out);
        if (err != MM_OK)
            break;
        ops_received(&need, mm_frame_of(out), false);
    }
    ops_call_end();
    record_result(MM_OK, 0, n);
    ops_record()->err = err;
    if (err != MM_OK) {
        OPS_EQ(err, MM_ERR_NO_MEMORY);
        judge_no_memory(&one, 1);
    } else {
        machine.result->allocated++;
    }
}

void op_alloc_bulk(void)
{
    struct mm_frame_request request = {.order = 0};
    uint64_t count = ops_below(BULK_MAX + 1);
    mm_phys_t out[BULK_MAX];
    struct model_need need;
    enum mm_err err;

    limits_decode(&request);
    request.align_bytes = request.boundary_bytes = 0;
    flags_decode(&request);
    need = model_need_of(&request);
    memset(out, 0x5a, sizeof out);
    ops_record()->has_request = true;
    ops_record()->request = request;
    ops_call_begin((request.flags & MM_FRAME_TRY_HARD) == 0);
    err = mm_pmm_alloc_bulk(&machine.pmm, &request, count, out);
    ops_call_end();
    record_result(err, 0, count);
    for (uint64_t n = 0; n < BULK_MAX; n++)
        if (n >= count)
            OPS_EQ(out[n].raw, UNTOUCHED);
    if (err == MM_OK) {
        for (uint64_t n = 0; n < count; n++)
            ops_received(&need, mm_frame_of(out[n]), (request.flags & MM_FRAME_ZERO) != 0);
        reserve_note(&request);
        machine.result->allocated++;
    } else if (err == MM_ERR_NO_MEMORY) {
        judge_no_memory(&request, count);
    } else {
        judge_other(&request, err);
    }
}

/* As from an NMI, which comes at a moment when nobody holds a lock here. */
void op_alloc_no_wait(void)
{
    struct mm_frame_request request = {.flags = MM_FRAME_NO_WAIT};

    if (ops_byte() % 4 == 0)
        request.flags |= MM_FRAME_RESERVE;
    alloc(&request, false);
}
