/*
 * test_pmm_model.c - random calls, each answer compared with a model that keeps a byte per frame.
 *
 * The model knows the contract of mm/pmm.h and nothing of bitmaps: it lists every frame of RAM in
 * the finished map with its state, and looks for fits by trying every start.
 */
#include "fixture.h"

#define FRAMES_MAX 16384u
#define LIVE_MAX   8192u
#define ROUNDS     60u
#define OPS        5500u /* per round: 330,000 in all */

enum {
    OUT,
    FREE,
    TAKEN
}; /* RAM not managed, free, allocated */

struct cell {
    uint64_t frame;
    uint64_t first, count; /* its allocation */
    uint16_t node;
    uint8_t state;
};

static struct {
    struct cell cell[FRAMES_MAX];
    size_t cells;
    struct {
        uint64_t first, count;
    } live[LIVE_MAX];
    size_t live_count;
    uint64_t free, managed, misuse;
} model;

static struct fixture machine;

/* ---- the model ---- */

static void model_build(const struct mm_memmap *map)
{
    memset(&model, 0, sizeof model);
    for (uint32_t i = 0; i < map->count; i++) {
        const struct mm_mem_range *range = &map->range[i];
        uint64_t first = mm_frame_of(range->start);

        if (!mm_mem_type_is_ram(range->type))
            continue;
        for (uint64_t n = 0; n < range->bytes / MM_FRAME_BYTES; n++) {
            struct cell *cell = &model.cell[model.cells++];
            bool usable = range->type == MM_MEM_USABLE;

            CHECK(model.cells < FRAMES_MAX);
            *cell = (struct cell){first + n, first + n, 1, range->node, OUT};
            if (usable && range->use == MM_USE_FREE) {
                cell->state = FREE;
                model.free++;
            } else if (usable && range->use == MM_USE_EARLY) {
                cell->state = TAKEN;
                model.live[model.live_count].first = first + n;
                model.live[model.live_count++].count = 1;
            }
            model.managed += cell->state != OUT ? 1 : 0;
        }
    }
}

/* Index of the cell of `frame`, or of the next one. */
static size_t cell_of(uint64_t frame)
{
    size_t low = 0, high = model.cells;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (model.cell[middle].frame < frame)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool holds(size_t i, uint64_t frame)
{
    return i < model.cells && model.cell[i].frame == frame;
}

struct need {
    uint64_t count, align, boundary;
    uint64_t lowest_frame, highest_frame; /* first and last that may be used */
    bool low, node_only;
    uint16_t node;
};

static unsigned zone_of(uint64_t frame)
{
    return frame < 0x100 ? 0 : frame < 0x1000 ? 1 : frame < 0x100000 ? 2 : 3;
}

static bool frame_fits(const struct need *need, const struct cell *cell)
{
    return cell->state == FREE && cell->frame >= need->lowest_frame &&
           cell->frame <= need->highest_frame && need->low == (zone_of(cell->frame) == 0) &&
           (!need->node_only || cell->node == need->node);
}

/* May an allocation begin at cell i? */
static bool fits(const struct need *need, size_t i)
{
    uint64_t first = model.cell[i].frame;
    uint64_t last = first + need->count - 1;

    if (first % need->align != 0 || need->count > model.cells - i ||
        (need->boundary != 0 && first / need->boundary != last / need->boundary))
        return false;
    for (uint64_t n = 0; n < need->count; n++)
        if (!holds(i + n, first + n) || !frame_fits(need, &model.cell[i + n]))
            return false;
    return true;
}

/* The highest zone that wholly holds a fit; -1 if none does, -2 if nothing fits at all. */
static int best_zone(const struct need *need)
{
    int best = -2;

    for (size_t i = 0; i < model.cells; i++) {
        int zone;

        if (model.cell[i].state != FREE || !fits(need, i))
            continue;
        zone = zone_of(model.cell[i].frame) == zone_of(model.cell[i].frame + need->count - 1)
                   ? (int)zone_of(model.cell[i].frame)
                   : -1;
        best = zone > best ? zone : best;
    }
    return best;
}

static void model_take(uint64_t first, uint64_t count)
{
    size_t i = cell_of(first);

    for (uint64_t n = 0; n < count; n++) {
        CHECK(holds(i + n, first + n) && model.cell[i + n].state == FREE);
        model.cell[i + n].state = TAKEN;
        model.cell[i + n].first = first;
        model.cell[i + n].count = count;
    }
    model.free -= count;
    CHECK(model.live_count < LIVE_MAX);
    model.live[model.live_count].first = first;
    model.live[model.live_count++].count = count;
}

static void model_give(size_t live)
{
    uint64_t first = model.live[live].first;
    size_t i = cell_of(first);

    for (uint64_t n = 0; n < model.live[live].count; n++)
        model.cell[i + n] = (struct cell){first + n, first + n, 1, model.cell[i + n].node, FREE};
    model.free += model.live[live].count;
    model.live[live] = model.live[--model.live_count];
}

/* ---- random machines ---- */

static uint64_t pick(uint64_t low, uint64_t high)
{
    return low + mm_test_below(high - low + 1);
}

/* Ranges that begin and end near the borders that matter, in chunks and out of step with them. */
static void machine_random(void)
{
    static const uint64_t place[] = {0, 0x100, 0x300, 0x1000, 0x40000, 0x100000, 0x7000000};
    static const uint8_t type[] = {MM_MEM_USABLE,   MM_MEM_USABLE,  MM_MEM_USABLE,
                                   MM_MEM_USABLE,   MM_MEM_USABLE,  MM_MEM_BOOT_RECLAIM,
                                   MM_MEM_RESERVED, MM_MEM_ACPI_NVS};
    static const uint8_t use[] = {MM_USE_FREE, MM_USE_FREE,  MM_USE_FREE,
                                  MM_USE_FREE, MM_USE_IMAGE, MM_USE_KEEP};
    struct fixture_range range[32] = {RAM(0x3000, 0x40)};
    size_t count = 1;
    mm_phys_t taken;

    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++)
        for (uint64_t n = mm_test_below(4), frame = place[i]; n > 0; n--) {
            uint64_t before = frame > 0x80 ? mm_test_below(0x80) : 0;
            uint64_t frames = mm_test_below(8) == 0 ? 1 : pick(2, 700);

            range[count++] =
                (struct fixture_range){frame - before, frames, type[mm_test_below(sizeof type)],
                                       use[mm_test_below(sizeof use)], (uint16_t)mm_test_below(3)};
            frame += frames + mm_test_below(0x200);
        }
    fixture_map(&machine, range, count);
    for (unsigned i = 0; i < 3; i++) {
        struct mm_memmap_request early = {.bytes = pick(1, 5) * MM_FRAME_BYTES};

        (void)!mm_memmap_take(&machine.map, &early, &taken);
    }
    fixture_start(&machine, NULL);
    model_build(&machine.map);
}

/* ---- comparing ---- */

static void compare_frame(const struct cell *cell)
{
    static const enum mm_frame_state state[] = {MM_FRAME_UNMANAGED, MM_FRAME_FREE,
                                                MM_FRAME_ALLOCATED};
    struct mm_frame_info info;

    mm_test_row("frame", cell->frame);
    mm_pmm_query(&machine.pmm, mm_phys_add(at(cell->frame), mm_test_below(MM_FRAME_BYTES)), &info);
    CHECK_EQ(info.state, state[cell->state]);
    CHECK_EQ(info.zone, zone_of(cell->frame));
    CHECK_EQ(mm_frame_of(info.first), cell->first);
    CHECK_EQ(info.count_frames, cell->count);
}

static void compare_walk(void)
{
    mm_phys_t cursor = mm_phys(0);
    struct mm_phys_range run;
    enum mm_frame_state state;
    size_t i = 0;

    for (;;) {
        uint64_t frame;

        while (i < model.cells && model.cell[i].state == OUT)
            i++;
        if (i == model.cells)
            break;
        CHECK_OK(mm_pmm_walk(&machine.pmm, &cursor, &run, &state));
        frame = mm_frame_of(run.start);
        for (; frame < mm_frame_of(cursor); i++, frame++) {
            CHECK(holds(i, frame));
            CHECK_EQ(model.cell[i].state, state == MM_FRAME_FREE ? FREE : TAKEN);
        }
        CHECK_EQ(run.start.raw + run.bytes, cursor.raw);
        /* maximal: what follows differs */
        CHECK(!holds(i, frame) || model.cell[i].state != model.cell[i - 1].state);
    }
    CHECK_ERR(mm_pmm_walk(&machine.pmm, &cursor, &run, &state), MM_ERR_NOT_FOUND);
}

/* Aligned blocks of `order` that are wholly free: lengths of free runs, from the end. */
static uint64_t blocks_of(unsigned order)
{
    uint64_t run = 0, blocks = 0, size = UINT64_C(1) << order;

    for (size_t i = model.cells; i-- > 0;) {
        uint64_t frame = model.cell[i].frame;

        if (model.cell[i].state != FREE)
            run = 0;
        else
            run = holds(i + 1, frame + 1) && run > 0 ? run + 1 : 1;
        blocks += run >= size && frame % size == 0 ? 1 : 0;
    }
    return blocks;
}

static void compare_stats(void)
{
    uint64_t zone_free[MM_ZONES] = {0}, zone_managed[MM_ZONES] = {0};
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.free_frames, model.free);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), model.free);
    CHECK_EQ(stats.managed_frames, model.managed);
    CHECK_EQ(stats.misuse_count, model.misuse);
    CHECK_EQ(stats.meta_bytes, machine.meta_bytes);
    for (size_t i = 0; i < model.cells; i++) {
        zone_free[zone_of(model.cell[i].frame)] += model.cell[i].state == FREE ? 1 : 0;
        zone_managed[zone_of(model.cell[i].frame)] += model.cell[i].state != OUT ? 1 : 0;
    }
    for (unsigned zone = 0; zone < MM_ZONES; zone++) {
        CHECK_EQ(stats.zone_free_frames[zone], zone_free[zone]);
        CHECK_EQ(stats.zone_managed_frames[zone], zone_managed[zone]);
    }
    for (unsigned order = 0; order <= MM_ORDER_MAX; order++)
        CHECK_EQ(stats.free_blocks[order], blocks_of(order));
}

static void compare_all(void)
{
    for (size_t i = 0; i < model.cells; i++)
        compare_frame(&model.cell[i]);
    mm_test_row("whole machine", 0);
    compare_walk();
    compare_stats();
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- operations ---- */

static void request_random(struct mm_frame_request *request, struct need *need)
{
    static const uint64_t highest[] = {0,          0xfffff,    0x4ffff,     0xffffff, 0x100fff,
                                       0xffffffff, 0x11ffffff, 0x100000fff, 0};

    *request = (struct mm_frame_request){.mobility = (uint8_t)mm_test_below(3)};
    if (mm_test_below(2) == 0)
        request->order = (uint8_t)mm_test_below(mm_test_below(8) == 0 ? 10 : 5);
    else if (mm_test_below(2) == 0)
        request->count_frames = pick(1, mm_test_below(8) == 0 ? 1300 : 40);
    if (mm_test_below(3) == 0)
        request->highest = mm_phys(highest[mm_test_below(9)]);
    if (mm_test_below(3) == 0)
        request->lowest =
            mm_phys(model.cell[mm_test_below(model.cells)].frame * 4096 + mm_test_below(3) * 2047);
    if (mm_test_below(4) == 0)
        request->align_bytes = UINT64_C(1) << mm_test_below(23);
    *need = (struct need){
        .count = request->count_frames != 0 ? request->count_frames : UINT64_C(1) << request->order,
        .lowest_frame = (request->lowest.raw + 4095) / 4096,
        .highest_frame =
            request->highest.raw == 0 ? UINT64_MAX : (request->highest.raw + 1) / 4096 - 1,
        .low = request->highest.raw != 0 && request->highest.raw < 0x100000,
    };
    if (mm_test_below(4) == 0)
        for (request->boundary_bytes = 4096; request->boundary_bytes < need->count * 4096;)
            request->boundary_bytes *= 2;
    if (mm_test_below(3) == 0)
        request->boundary_bytes *= 2;
    need->boundary = request->boundary_bytes / 4096;
    need->align = request->align_bytes / 4096 > (1u << request->order)
                      ? request->align_bytes / 4096
                      : UINT64_C(1) << request->order;
    if (mm_test_below(4) == 0) {
        request->flags |= MM_FRAME_NODE;
        request->node = need->node = (uint16_t)mm_test_below(4);
        if (mm_test_below(2) == 0)
            request->flags |= MM_FRAME_NODE_ONLY;
    }
    if (mm_test_below(8) == 0)
        request->flags |= MM_FRAME_TRY_HARD;
}

/* A chunk with memory of two nodes serves neither request for one: mm/pmm.h promises "fail rather
 * than take another node", not the opposite. So a refusal for a node is right if no fit remains
 * that keeps away from such chunks. */
static bool chunk_is_mixed(uint64_t frame)
{
    size_t i = cell_of(frame / 512 * 512);
    uint16_t node = model.cell[i].node;

    for (; i < model.cells && model.cell[i].frame < frame / 512 * 512 + 512; i++)
        if (model.cell[i].node != node)
            return true;
    return false;
}

static bool node_fit_exists(const struct need *need)
{
    for (size_t i = 0; i < model.cells; i++) {
        bool clean = model.cell[i].state == FREE && fits(need, i);

        for (uint64_t n = 0; n < need->count && clean; n += 1)
            clean = !chunk_is_mixed(model.cell[i].frame + n);
        if (clean)
            return true;
    }
    return false;
}

static void op_alloc(void)
{
    struct mm_frame_request request;
    struct need need, on_node;
    mm_phys_t out = mm_phys(77);
    enum mm_err err;
    uint64_t first;

    request_random(&request, &need);
    on_node = need;
    on_node.node_only = true;
    err = mm_pmm_alloc(&machine.pmm, &request, &out);
    if ((request.flags & MM_FRAME_NODE_ONLY) != 0)
        need.node_only = true;
    if (err != MM_OK) {
        CHECK_ERR(err, MM_ERR_NO_MEMORY);
        CHECK_EQ(out.raw, 77);
        if (need.node_only)
            CHECK(!node_fit_exists(&need));
        else
            CHECK_EQ(best_zone(&need), -2);
        return;
    }
    first = mm_frame_of(out);
    CHECK(holds(cell_of(first), first));
    CHECK(fits(&need, cell_of(first)));
    if ((request.flags & MM_FRAME_NODE) == 0) {
        /* the highest zone that can, before runs across borders */
        int zone = zone_of(first) == zone_of(first + need.count - 1) ? (int)zone_of(first) : -1;

        if (zone != 3)
            CHECK_EQ(best_zone(&need), zone);
    } else if (!fits(&on_node, cell_of(first))) {
        CHECK(!node_fit_exists(&on_node));
    }
    model_take(first, need.count);
}

static void op_free(void)
{
    size_t live;

    if (model.live_count == 0)
        return;
    live = mm_test_below(model.live_count);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(model.live[live].first), model.live[live].count));
    model_give(live);
}

/* Any address near memory, any length: right by luck only. */
static void op_free_wild(void)
{
    uint64_t frame = model.cell[mm_test_below(model.cells)].frame + mm_test_below(2);
    uint64_t count = mm_test_below(2) == 0 ? 1 : mm_test_below(20);
    size_t live = 0;

    while (live < model.live_count &&
           (model.live[live].first != frame || model.live[live].count != count))
        live++;
    if (live < model.live_count) {
        CHECK_OK(mm_pmm_free(&machine.pmm, at(frame), count));
        model_give(live);
        return;
    }
    mm_test_reports_clear();
    CHECK_ERR(mm_pmm_free(&machine.pmm, at(frame), count), MM_ERR_MISUSE);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(mm_test_report(0)->address, at(frame).raw);
    model.misuse++;
}

static void op_bulk(void)
{
    struct mm_frame_request request;
    struct need need;
    mm_phys_t out[64];
    size_t count = mm_test_below(65), fitting = 0;
    enum mm_err err;

    request_random(&request, &need);
    request.order = 0;
    request.count_frames = request.align_bytes = request.boundary_bytes = 0;
    need.count = need.align = 1;
    need.boundary = 0;
    need.node_only = (request.flags & MM_FRAME_NODE_ONLY) != 0;
    for (size_t i = 0; i < model.cells && fitting < count; i++)
        fitting += frame_fits(&need, &model.cell[i]) &&
                           (!need.node_only || !chunk_is_mixed(model.cell[i].frame))
                       ? 1
                       : 0;
    err = mm_pmm_alloc_bulk(&machine.pmm, &request, count, out);
    CHECK_ERR(err, fitting >= count ? MM_OK : MM_ERR_NO_MEMORY);
    for (size_t i = 0; i < count && err == MM_OK; i++) {
        CHECK(holds(cell_of(mm_frame_of(out[i])), mm_frame_of(out[i])));
        CHECK(frame_fits(&need, &model.cell[cell_of(mm_frame_of(out[i]))]));
        model_take(mm_frame_of(out[i]), 1);
    }
}

static void op_add(void)
{
    uint64_t first = model.cell[mm_test_below(model.cells)].frame;
    uint64_t count = pick(1, 8);
    size_t i = cell_of(first);
    enum mm_err expected = MM_OK;

    for (uint64_t n = 0; n < count; n++)
        if (!holds(i + n, first + n))
            expected = MM_ERR_UNSUPPORTED;
    for (uint64_t n = 0; n < count && expected == MM_OK; n++)
        if (model.cell[i + n].state != OUT)
            expected = MM_ERR_EXISTS;
    CHECK_ERR(mm_pmm_add(&machine.pmm, at(first), count * MM_FRAME_BYTES), expected);
    for (uint64_t n = 0; n < count && expected == MM_OK; n++)
        model.cell[i + n].state = FREE;
    if (expected == MM_OK) {
        model.free += count;
        model.managed += count;
    }
}

/* Phases of growth and of shrinking, so that memory is full now and then. */
static void op(bool growing)
{
    uint64_t what = mm_test_below(100);

    if (what < 2)
        op_add();
    else if (what < 8)
        op_free_wild();
    else if (what < 12)
        op_bulk();
    else if (what < (growing ? 70 : 40) && model.live_count < LIVE_MAX - 64)
        op_alloc();
    else
        op_free();
}

TEST(pmm_answers_random_calls_as_a_naive_model_does)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        machine_random();
        for (unsigned i = 0; i < OPS; i++) {
            mm_test_row("operation", (uint64_t)round << 32 | i);
            op(i / 700 % 2 == 0);
            if (i % 512 == 0)
                compare_all();
            else
                compare_frame(&model.cell[mm_test_below(model.cells)]);
        }
        while (model.live_count > 0)
            op_free();
        compare_all();
    }
    mm_test_reports_clear();
}
