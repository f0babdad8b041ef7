/*
 * test_take.c - the early allocator.
 */
#include "map_test.h"

#define BITS 40u

static struct map m;

static struct mm_memmap *fresh(void)
{
    return map_init(&m, ROOM, BITS);
}

static void add(uint64_t start, uint64_t end, enum mm_mem_type type)
{
    CHECK_OK(mm_memmap_add(&m.map, mm_phys(start), end - start, type));
}

static enum mm_err take(const struct mm_memmap_request *request, uint64_t *out)
{
    mm_phys_t at = mm_phys(*out);
    enum mm_err err = mm_memmap_take(&m.map, request, &at);

    if (err != MM_OK)
        CHECK_EQ(at.raw, *out);
    *out = at.raw;
    return err;
}

/* A PC: 640 KiB, 1 to 64 MiB with ACPI tables at the top, 4 to 5 GiB. */
static struct mm_memmap *pc(void)
{
    struct mm_memmap *map = fresh();

    add(0, 0xa0000, MM_MEM_USABLE);
    add(MIB(1), MIB(63), MM_MEM_USABLE);
    add(MIB(63), MIB(64), MM_MEM_ACPI_RECLAIM);
    add(GIB(4), GIB(5), MM_MEM_USABLE);
    CHECK_OK(mm_memmap_reserve_pc(map, mm_phys(0)));
    CHECK_OK(mm_memmap_finish(map));
    return map;
}

TEST(take_comes_from_the_top_and_rounds_up_to_frames)
{
    struct mm_memmap *map = pc();
    struct mm_memmap_request request = {.bytes = 1};
    struct mm_mem_range found;
    uint64_t at = 0;

    CHECK_OK(take(&request, &at));
    CHECK_EQ(at, GIB(5) - FRAME);
    request.bytes = 2 * FRAME + 1;
    CHECK_OK(take(&request, &at));
    CHECK_EQ(at, GIB(5) - 4 * FRAME);
    CHECK_OK(mm_memmap_find(map, mm_phys(at), &found));
    CHECK_EQ(found.use, MM_USE_EARLY);
    CHECK_EQ(found.bytes, 4 * FRAME); /* merged with the first */
    CHECK_EQ(map_faults(map), 0);
}

TEST(take_for_good_is_kept_and_never_given_back)
{
    struct mm_memmap *map = pc();
    struct mm_memmap_request request = {.bytes = FRAME, .use = MM_USE_KEEP};
    struct mm_memmap_totals before, after;
    struct mm_mem_range found;
    uint64_t at = 0;

    mm_memmap_get_totals(map, &before);
    CHECK_OK(take(&request, &at));
    CHECK_OK(mm_memmap_find(map, mm_phys(at), &found));
    CHECK_EQ(found.use, MM_USE_KEEP);
    CHECK_EQ(found.type, MM_MEM_USABLE);
    mm_memmap_get_totals(map, &after);
    CHECK_EQ(after.free_bytes, before.free_bytes - FRAME);
    CHECK_EQ(after.reclaim_bytes, before.reclaim_bytes);
    CHECK_ERR(mm_memmap_give(map, mm_phys(at), FRAME), MM_ERR_MISUSE);
    mm_test_reports_clear();
    CHECK_EQ(map_faults(map), 0);
}

TEST(take_as_anything_else_is_refused)
{
    struct mm_memmap_request request = {.bytes = FRAME};
    uint64_t at = 42;

    (void)pc();
    for (unsigned use = 0; use <= MM_USE_KEEP + 1; use++) {
        mm_test_row("use", use);
        request.use = (enum mm_mem_use)use;
        if (use == MM_USE_FREE || use == MM_USE_EARLY || use == MM_USE_KEEP)
            continue;
        CHECK_ERR(take(&request, &at), MM_ERR_BAD_ARG);
        CHECK_EQ(at, 42);
    }
}

TEST(take_honours_the_highest_byte)
{
    static const struct {
        uint64_t highest, bytes, at; /* at 1: no memory */
    } row[] = {
        {0, FRAME, GIB(5) - FRAME},
        {UINT64_MAX, FRAME, GIB(5) - FRAME},
        {GIB(5) - 1, FRAME, GIB(5) - FRAME},
        {GIB(5) - 2, FRAME, GIB(5) - 2 * FRAME}, /* the last frame would go one byte beyond */
        {GIB(4), FRAME, MIB(63) - FRAME},
        {GIB(4) + FRAME - 1, FRAME, GIB(4)},
        {GIB(4) - 1, MIB(62), MIB(1)},
        {GIB(4) - 1, MIB(62) + 1, 1},
        {MIB(1) + FRAME - 1, FRAME, MIB(1)},
        {MIB(1) + FRAME - 2, FRAME, 1}, /* not below 1 MiB: highest is not */
        {MIB(1), FRAME, 1},
        {MIB(1) - 1, FRAME, 0xa0000 - FRAME},
        {0x1fff, FRAME, 0x1000},
        {0x1ffe, FRAME, 1}, /* frame 0 is kept */
        {1, FRAME, 1},
        {MIB(1) - 1, 0x9f000, 0x1000},
        {MIB(1) - 1, 0x9f001, 1},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        struct mm_memmap_request request = {.bytes = row[i].bytes, .highest = {row[i].highest}};
        uint64_t at = 1;

        mm_test_row("row", i);
        (void)pc();
        CHECK_ERR(take(&request, &at), row[i].at == 1 ? MM_ERR_NO_MEMORY : MM_OK);
        CHECK_EQ(at, row[i].at);
    }
}

TEST(take_may_hand_out_frame_0_when_nothing_keeps_it)
{
    struct mm_memmap_request request = {.bytes = FRAME, .highest = {FRAME - 1}};
    uint64_t at = 1;

    CHECK_OK(mm_memmap_add(fresh(), mm_phys(0), MIB(2), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_finish(&m.map));
    CHECK_OK(take(&request, &at));
    CHECK_EQ(at, 0);
}

TEST(take_aligns)
{
    static const struct {
        uint64_t align, bytes, at;
    } row[] = {
        {0, FRAME, GIB(5) - FRAME},
        {1, FRAME, GIB(5) - FRAME},
        {FRAME, FRAME, GIB(5) - FRAME},
        {MIB(2), FRAME, GIB(5) - MIB(2)},
        {GIB(1), FRAME, GIB(4)},
        {GIB(1), GIB(1), GIB(4)},
        {GIB(2), FRAME, GIB(4)},
        {GIB(8), FRAME, 1}, /* only 0 is that aligned, and it is below 1 MiB */
        {UINT64_C(1) << 63, FRAME, 1},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        struct mm_memmap_request request = {.bytes = row[i].bytes, .align_bytes = row[i].align};
        uint64_t at = 1;

        mm_test_row("row", i);
        (void)pc();
        CHECK_ERR(take(&request, &at), row[i].at == 1 ? MM_ERR_NO_MEMORY : MM_OK);
        CHECK_EQ(at, row[i].at);
    }
}

TEST(take_stays_inside_one_piece_of_the_window)
{
    struct mm_window window = MM_ZERO;
    struct mm_memmap_request request = {.bytes = MIB(8), .window = &window};
    uint64_t at = 1;

    (void)pc();
    CHECK_ERR(take(&request, &at), MM_ERR_NO_MEMORY); /* an empty window */
    CHECK_OK(mm_window_add(&window, mm_phys(MIB(4)), MIB(8), mm_virt(MIB(100))));
    CHECK_OK(mm_window_add(&window, mm_phys(MIB(12)), MIB(4), mm_virt(MIB(200))));
    CHECK_OK(mm_window_add(&window, mm_phys(MIB(60)), MIB(40), mm_virt(MIB(300))));
    CHECK_OK(take(&request, &at)); /* 60 to 63 is too small, 8 to 16 two pieces */
    CHECK_EQ(at, MIB(4));
    request.bytes = MIB(3);
    CHECK_OK(take(&request, &at));
    CHECK_EQ(at, MIB(60));
    CHECK_OK(take(&request, &at));
    CHECK_EQ(at, MIB(13));
    CHECK_ERR(take(&request, &at), MM_ERR_NO_MEMORY);
    request.highest = mm_phys(MIB(13) - 1);
    request.bytes = MIB(1);
    CHECK_OK(take(&request, &at));
    CHECK_EQ(at, MIB(12));
}

TEST(take_refuses_bad_requests)
{
    struct mm_memmap_request request = {.bytes = 0};
    uint64_t at = 1;

    (void)pc();
    CHECK_ERR(take(&request, &at), MM_ERR_BAD_ARG);
    request.bytes = FRAME;
    request.align_bytes = 3;
    CHECK_ERR(take(&request, &at), MM_ERR_BAD_ARG);
    request.align_bytes = 0;
    request.bytes = UINT64_MAX;
    CHECK_ERR(take(&request, &at), MM_ERR_NO_MEMORY);
    request.bytes = UINT64_MAX - 4095;
    CHECK_ERR(take(&request, &at), MM_ERR_NO_MEMORY);
    request.bytes = UINT64_C(1) << 63;
    CHECK_ERR(take(&request, &at), MM_ERR_NO_MEMORY);
}

TEST(take_hands_out_nothing_but_usable_free_memory)
{
    struct mm_memmap_request request = {.bytes = FRAME};
    uint64_t at = 1, taken = 0;

    (void)fresh();
    for (unsigned type = MM_MEM_USABLE; type <= MM_MEM_BAD; type++)
        add(MIB(1) + type * 0x10000, MIB(1) + type * 0x10000 + 0x10000, (enum mm_mem_type)type);
    CHECK_OK(mm_memmap_reserve(&m.map, mm_phys(MIB(1) + 0x12345), 1, MM_USE_BOOT));
    CHECK_OK(mm_memmap_finish(&m.map));
    while (take(&request, &at) == MM_OK) {
        CHECK(at >= MIB(1) + 0x10000 && at < MIB(1) + 0x20000 && at != MIB(1) + 0x12000);
        taken++;
    }
    CHECK_EQ(taken, 15);
}

TEST(give_takes_back_any_part_of_what_was_taken)
{
    struct mm_memmap *map = pc();
    struct mm_memmap_request request = {.bytes = 8 * FRAME};
    struct mm_memmap_totals before, after;
    uint64_t at = 1;

    mm_memmap_get_totals(map, &before);
    CHECK_OK(take(&request, &at));
    CHECK_OK(mm_memmap_give(map, mm_phys(at + 2 * FRAME), 3 * FRAME));
    mm_memmap_get_totals(map, &after);
    CHECK_EQ(after.free_bytes, before.free_bytes - 5 * FRAME);
    CHECK_ERR(mm_memmap_give(map, mm_phys(at), 8 * FRAME), MM_ERR_MISUSE);
    CHECK_OK(mm_memmap_give(map, mm_phys(at), 2 * FRAME));
    CHECK_OK(mm_memmap_give(map, mm_phys(at + 5 * FRAME), 3 * FRAME));
    mm_memmap_get_totals(map, &after);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    CHECK_EQ(mm_test_report_count(), 1);
}

TEST(give_of_what_was_not_taken_is_refused_and_reported)
{
    static const struct {
        int64_t start; /* from what was taken: 4 frames */
        uint64_t bytes;
        const char *what;
    } row[] = {
        {0, 0, "memory given back that was not taken"},
        {0, 5 * FRAME, "memory given back that was not taken"},
        {-(int64_t)FRAME, FRAME, "memory given back that was not taken"},
        {-(int64_t)FRAME, 2 * FRAME, "memory given back that was not taken"},
        {1, FRAME, "early memory given back unaligned"},
        {0, FRAME - 1, "early memory given back unaligned"},
        {0, UINT64_C(0) - FRAME, "memory given back that was not taken"}, /* wraps */
        {INT64_C(1) << 40, FRAME, "memory given back that was not taken"},
    };
    struct mm_memmap *map = pc();
    struct mm_memmap_request request = {.bytes = 4 * FRAME, .highest = {MIB(32) - 1}};
    struct map before;
    uint64_t at = 1;

    CHECK_OK(take(&request, &at));
    before = m;
    for (size_t i = 0; i < LENGTH(row); i++) {
        mm_test_row("row", i);
        mm_test_reports_clear();
        CHECK_ERR(mm_memmap_give(map, mm_phys(at + (uint64_t)row[i].start), row[i].bytes),
                  MM_ERR_MISUSE);
        CHECK(memcmp(&before, &m, sizeof m) == 0);
        CHECK_EQ(mm_test_report_count(), 1);
        CHECK_TEXT(mm_test_report(0)->what, row[i].what);
        CHECK_TEXT(mm_test_report(0)->where, "mm_memmap_give");
        CHECK(mm_test_report(0)->object == map && mm_test_report(0)->caller != NULL);
        CHECK_EQ(mm_test_report(0)->address, at + (uint64_t)row[i].start);
    }
    CHECK_OK(mm_memmap_give(map, mm_phys(at), 4 * FRAME));
    CHECK_ERR(mm_memmap_give(map, mm_phys(at), 4 * FRAME), MM_ERR_MISUSE); /* twice */
    CHECK_EQ(mm_test_report_count(), (unsigned)2);
}

TEST(reserve_of_early_memory_is_busy)
{
    struct mm_memmap *map = pc();
    struct mm_memmap_request request = {.bytes = 4 * FRAME, .highest = {MIB(32) - 1}};
    struct map before;
    uint64_t at = 1;

    CHECK_OK(take(&request, &at));
    before = m;
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(at - 1), 2, MM_USE_KEEP), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(at + 4 * FRAME - 1), 2, MM_USE_BOOT), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(0), GIB(8), MM_USE_BOOT), MM_ERR_BUSY);
    CHECK(memcmp(&before, &m, sizeof m) == 0);
    CHECK_OK(mm_memmap_reserve(map, mm_phys(at - 1), 1, MM_USE_KEEP));
    CHECK_OK(mm_memmap_reserve(map, mm_phys(at + 4 * FRAME), 1, MM_USE_KEEP));
    CHECK_EQ(map_faults(map), 0);
    request.highest = mm_phys(MIB(1) - 1); /* and so is keeping the first MiB */
    CHECK_OK(take(&request, &at));
    before = m;
    CHECK_ERR(mm_memmap_reserve_pc(map, mm_phys(at + FRAME)), MM_ERR_BUSY);
    CHECK(memcmp(&before, &m, sizeof m) == 0);
}

/* ---- against a model ---- */

#define MODEL_FRAMES 1024u /* 4 MiB, a quarter of it below 1 MiB */

struct frame {
    uint8_t type, use, node;
};

static struct frame model[MODEL_FRAMES];

static bool fits(uint64_t first, uint64_t count, uint64_t end, const struct mm_window *window)
{
    bool inside = window == NULL;

    if (first + count > end)
        return false;
    for (uint64_t f = first; f < first + count; f++)
        if (model[f].type != MM_MEM_USABLE || model[f].use != MM_USE_FREE ||
            model[f].node != model[first].node)
            return false;
    for (uint32_t i = 0; window != NULL && i < window->count; i++)
        inside |= window->piece[i].first.raw <= first * FRAME &&
                  window->piece[i].first.raw + window->piece[i].bytes >= (first + count) * FRAME;
    return inside;
}

/* The first frame of the topmost place, or MODEL_FRAMES. */
static uint64_t model_take(const struct mm_memmap_request *r)
{
    uint64_t count = frame_up(r->bytes) / FRAME;
    uint64_t align = r->align_bytes > FRAME ? r->align_bytes / FRAME : 1;
    uint64_t end = MODEL_FRAMES, low = 256;

    if (r->highest.raw != 0 && (r->highest.raw + 1) / FRAME < end)
        end = (r->highest.raw + 1) / FRAME;
    if (r->highest.raw != 0 && r->highest.raw < MIB(1))
        low = 0;
    for (uint64_t f = MODEL_FRAMES; f-- > low;) {
        if (f % align == 0 && fits(f, count, end, r->window)) {
            for (uint64_t i = f; i < f + count; i++)
                model[i].use = MM_USE_EARLY;
            return f;
        }
    }
    return MODEL_FRAMES;
}

static void model_compare(void)
{
    static struct piece piece[MODEL_FRAMES];
    size_t count = 0;

    for (uint64_t f = 0; f < MODEL_FRAMES; f++) {
        struct frame now = model[f];

        if (now.type == MM_MEM_NONE && now.use == MM_USE_FREE)
            continue;
        if (count > 0 && piece[count - 1].end == f * FRAME &&
            memcmp(&model[f - 1], &model[f], sizeof now) == 0)
            piece[count - 1].end += FRAME;
        else
            piece[count++] =
                (struct piece){f * FRAME, (f + 1) * FRAME, now.type, now.use, now.node};
    }
    map_is(&m.map, piece, count);
}

static bool model_has_usable(void)
{
    for (uint64_t f = 0; f < MODEL_FRAMES; f++)
        if (model[f].type == MM_MEM_USABLE)
            return true;
    return false;
}

static void model_random(void)
{
    memset(model, 0, sizeof model);
    (void)map_init(&m, ROOM, 22);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t start = mm_test_below(MODEL_FRAMES), count = mm_test_below(200);
        uint8_t type = mm_test_below(4) ? MM_MEM_USABLE : MM_MEM_RESERVED;

        if (i == 0) {
            start = 700;
            count = 100;
            type = MM_MEM_USABLE;
        }
        count = count < MODEL_FRAMES - start ? count : MODEL_FRAMES - start;
        CHECK_OK(
            mm_memmap_add(&m.map, mm_phys(start * FRAME), count * FRAME, (enum mm_mem_type)type));
        for (uint64_t f = start; f < start + count; f++)
            model[f].type = model[f].type > type ? model[f].type : type;
    }
    for (uint64_t f = 512; f < MODEL_FRAMES; f++)
        model[f].node = model[f].type != MM_MEM_NONE ? 1 : 0;
    CHECK_OK(mm_memmap_set_node(&m.map, mm_phys(512 * FRAME), 512 * FRAME, 1));
}

static void random_take(const struct mm_window *window)
{
    struct mm_memmap_request r = {.bytes = 1 + mm_test_below(mm_test_below(3) ? 20000 : 300000)};
    uint64_t at = 1, expected;

    if (mm_test_below(3) == 0)
        r.highest = mm_phys(mm_test_below(mm_test_below(2) ? MIB(1) : MIB(4)));
    if (mm_test_below(3) == 0)
        r.align_bytes = UINT64_C(1) << mm_test_below(18);
    if (mm_test_below(3) == 0)
        r.window = window;
    expected = model_take(&r);
    CHECK_ERR(take(&r, &at), expected < MODEL_FRAMES ? MM_OK : MM_ERR_NO_MEMORY);
    CHECK_EQ(at, expected < MODEL_FRAMES ? expected * FRAME : 1);
}

static void random_give(void)
{
    uint64_t start = mm_test_below(MODEL_FRAMES), count = 1 + mm_test_below(6);
    bool early = start + count <= MODEL_FRAMES;

    for (uint64_t f = start; early && f < start + count; f++)
        early = model[f].use == MM_USE_EARLY;
    CHECK_ERR(mm_memmap_give(&m.map, mm_phys(start * FRAME), count * FRAME),
              early ? MM_OK : MM_ERR_MISUSE);
    for (uint64_t f = start; early && f < start + count; f++)
        model[f].use = MM_USE_FREE;
    mm_test_reports_clear();
}

static void random_reserve(void)
{
    uint64_t start = mm_test_below(MODEL_FRAMES - 4), count = mm_test_below(5);
    bool early = false;

    for (uint64_t f = start; f < start + count; f++)
        early |= model[f].use == MM_USE_EARLY;
    CHECK_ERR(mm_memmap_reserve(&m.map, mm_phys(start * FRAME), count * FRAME, MM_USE_MODULE),
              early ? MM_ERR_BUSY : MM_OK);
    for (uint64_t f = start; !early && f < start + count; f++)
        model[f].use = MM_USE_MODULE;
}

TEST(take_and_give_agree_with_a_model)
{
    struct mm_window window = MM_ZERO;

    CHECK_OK(mm_window_add(&window, mm_phys(0x20000), 0x80000, mm_virt(0x20000)));
    CHECK_OK(mm_window_add(&window, mm_phys(MIB(1)), MIB(1), mm_virt(MIB(11))));
    CHECK_OK(mm_window_add(&window, mm_phys(MIB(2)), MIB(1), mm_virt(MIB(22))));
    for (unsigned round = 0; round < 60; round++) {
        mm_test_row("round", round);
        model_random();
        if (!model_has_usable()) { /* once in some 20,000 */
            CHECK_ERR(mm_memmap_finish(&m.map), MM_ERR_NOT_FOUND);
            continue;
        }
        CHECK_OK(mm_memmap_finish(&m.map));
        model_compare();
        for (unsigned i = 0; i < 60; i++) {
            if (mm_test_below(2))
                random_take(&window);
            else if (mm_test_below(4))
                random_give();
            else
                random_reserve();
            if (i % 8 == 0)
                model_compare();
        }
        model_compare();
    }
}
