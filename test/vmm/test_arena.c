/*
 * test_arena.c - the arena against a model that has one byte per page.
 *
 * Problem     Range arithmetic is wrong at its ends: at 2^64, at one frame, at alignments larger
 *             than the range.
 * Idea        A table of ends, and random takes and gives compared page by page with a model that
 *             tries every place from below.
 */
#include "mm_test.h"

#include "frames.h"
#include "mm/arena.h"

#define PAGE     MM_FRAME_BYTES
#define GIB      UINT64_C(0x40000000)
#define PAGES    192u
#define SPANS    64u
#define TOP_BASE (UINT64_C(0) - PAGES * PAGE) /* a range that ends at 2^64 */

static struct mm_arena arena;
static struct mm_arena_span span[SPANS];
static struct mm_test_frames frames;

static void arena_begin(uint64_t base, uint64_t pages, uint32_t spans)
{
    struct mm_arena_config config = {
        .range = {mm_virt(base), pages * PAGE},
        .span = span,
        .span_count = spans,
    };

    CHECK_OK(mm_arena_init(&arena, &config));
}

static enum mm_err take(uint64_t pages, uint64_t *out)
{
    struct mm_arena_request request = {.bytes = pages * PAGE};
    mm_virt_t virt = mm_virt(*out);
    enum mm_err err = mm_arena_take(&arena, &request, &virt);

    *out = virt.raw;
    return err;
}

static void check_reported(const char *what, uint64_t address)
{
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->what, what);
    CHECK_EQ(mm_test_report(0)->address, address);
    CHECK(mm_test_report(0)->caller != NULL);
    mm_test_reports_clear();
}

/* ---- the model ---- */

struct model_span {
    bool live;
    uint64_t first, pages, before, after, cookie; /* in pages of the range; guards included */
};

static struct model {
    uint64_t base;
    uint8_t taken[PAGES];
    struct model_span span[SPANS];
    uint64_t live;
} model;

/* Lowest place, by trying each. PAGES = none. */
static uint64_t model_place(uint64_t pages, uint64_t before, uint64_t after, uint64_t align,
                            uint64_t phase)
{
    for (uint64_t user = before; user + pages + after <= PAGES; user++) {
        bool free = true;

        if ((model.base + user * PAGE) % align != phase)
            continue;
        for (uint64_t i = user - before; i < user + pages + after && free; i++)
            free = model.taken[i] == 0;
        if (free)
            return user - before;
    }
    return PAGES;
}

static void model_mark(const struct model_span *it, uint8_t value)
{
    for (uint64_t i = 0; i < it->pages; i++) {
        CHECK(model.taken[it->first + i] != value);
        model.taken[it->first + i] = value;
    }
}

static uint64_t model_user(const struct model_span *it)
{
    return model.base + (it->first + it->before) * PAGE;
}

static void model_take(void)
{
    uint64_t pages = 1 + mm_test_below(12), align = PAGE << mm_test_below(6);
    struct mm_arena_request request = {
        .bytes = pages * PAGE - mm_test_below(PAGE),
        .align_bytes = align,
        .phase_bytes = mm_test_below(align / PAGE) * PAGE,
        .cookie = mm_test_random(),
        .guard_before_frames = (uint32_t)mm_test_below(3),
        .guard_after_frames = (uint32_t)mm_test_below(3),
    };
    uint64_t before = request.guard_before_frames, after = request.guard_after_frames;
    uint64_t place = model_place(pages, before, after, align, request.phase_bytes);
    mm_virt_t virt = mm_virt(42);
    enum mm_err err = mm_arena_take(&arena, &request, &virt);

    if (place == PAGES || model.live == SPANS) {
        CHECK_ERR(err, place == PAGES ? MM_ERR_NO_ADDRESS : MM_ERR_NO_MEMORY);
        CHECK_EQ(virt.raw, 42);
        return;
    }
    CHECK_OK(err);
    CHECK_EQ(virt.raw, model.base + (place + before) * PAGE);
    for (unsigned i = 0; i < SPANS; i++) {
        if (model.span[i].live)
            continue;
        model.span[i] =
            (struct model_span){true, place, before + pages + after, before, after, request.cookie};
        model_mark(&model.span[i], 1);
        model.live++;
        return;
    }
}

static void model_give(void)
{
    struct model_span *it = &model.span[mm_test_below(SPANS)];

    if (!it->live)
        return;
    CHECK_OK(mm_arena_give(&arena, mm_virt(model_user(it))));
    model_mark(it, 0);
    it->live = false;
    model.live--;
}

static void model_compare(void)
{
    uint64_t taken = 0, largest = 0, run = 0;
    struct mm_arena_stats stats;

    for (unsigned i = 0; i < PAGES; i++) {
        run = model.taken[i] != 0 ? 0 : run + 1;
        largest = run > largest ? run : largest;
        taken += model.taken[i];
    }
    mm_arena_get_stats(&arena, &stats);
    CHECK_EQ(stats.spans, model.live);
    CHECK_EQ(stats.taken_bytes, taken * PAGE);
    CHECK_EQ(stats.free_bytes, (PAGES - taken) * PAGE);
    CHECK_EQ(stats.largest_free_bytes, largest * PAGE);
    CHECK_EQ(mm_arena_check(&arena, NULL), 0);
}

/* Each page, through find. */
static void model_compare_pages(void)
{
    for (uint64_t page = 0; page < PAGES; page++) {
        mm_virt_t virt = mm_virt(model.base + page * PAGE + mm_test_below(PAGE));
        const struct model_span *owner = NULL;
        struct mm_arena_info info;

        for (unsigned i = 0; i < SPANS; i++)
            if (model.span[i].live && page >= model.span[i].first &&
                page - model.span[i].first < model.span[i].pages)
                owner = &model.span[i];
        CHECK_ERR(mm_arena_find(&arena, virt, &info), owner == NULL ? MM_ERR_NOT_FOUND : MM_OK);
        if (owner == NULL)
            continue;
        CHECK_EQ(info.start.raw, model_user(owner));
        CHECK_EQ(info.bytes, (owner->pages - owner->before - owner->after) * PAGE);
        CHECK_EQ(info.cookie, owner->cookie);
        CHECK_EQ(info.guard, page < owner->first + owner->before ||
                                 page >= owner->first + owner->pages - owner->after);
    }
}

static void model_run(uint64_t base, unsigned steps)
{
    model = (struct model){.base = base};
    arena_begin(base, PAGES, SPANS);
    for (unsigned i = 0; i < steps; i++) {
        mm_test_row("step", i);
        if (mm_test_below(5) < 3)
            model_take();
        else
            model_give();
        model_compare();
        if (i % 64 == 0)
            model_compare_pages();
    }
}

TEST(arena_agrees_with_a_model)
{
    model_run(UINT64_C(0xffffe00000000000), 2000);
}

TEST(arena_that_ends_at_the_top_agrees_with_a_model)
{
    model_run(TOP_BASE, 2000);
}

TEST(arena_that_starts_at_zero_agrees_with_a_model)
{
    model_run(0, 2000);
}

/* ---- ends ---- */

struct row {
    uint64_t base, pages; /* of the arena */
    struct mm_arena_request request;
    enum mm_err err;
    uint64_t start;
};

#define WANT(n) .bytes = (n)*PAGE
#define MAX     UINT64_MAX

static const struct row rows[] = {
    /* bytes */
    {0, 4, {.bytes = 0}, MM_ERR_BAD_ARG, 0},
    {0, 4, {.bytes = 1}, MM_OK, 0},
    {0, 4, {.bytes = 3 * PAGE + 1}, MM_OK, 0},
    {0, 4, {.bytes = 4 * PAGE + 1}, MM_ERR_NO_ADDRESS, 0},
    {0, 4, {.bytes = MAX}, MM_ERR_NO_ADDRESS, 0},
    {0, 4, {.bytes = MAX - PAGE + 1}, MM_ERR_NO_ADDRESS, 0},
    {0, 4, {.bytes = MAX - PAGE + 2}, MM_ERR_NO_ADDRESS, 0},
    /* a range of one frame */
    {0x5000, 1, {WANT(1)}, MM_OK, 0x5000},
    {0x5000, 1, {WANT(2)}, MM_ERR_NO_ADDRESS, 0},
    {0x5000, 1, {WANT(1), .guard_before_frames = 1}, MM_ERR_NO_ADDRESS, 0},
    {0x5000, 1, {WANT(1), .guard_after_frames = 1}, MM_ERR_NO_ADDRESS, 0},
    {0x5000, 1, {WANT(1), .at = MM_VIRT(0x5000), .flags = MM_ARENA_EXACT}, MM_OK, 0x5000},
    /* the range ends at 2^64 */
    {MAX - PAGE + 1, 1, {WANT(1)}, MM_OK, MAX - PAGE + 1},
    {MAX - PAGE + 1, 1, {WANT(2)}, MM_ERR_NO_ADDRESS, 0},
    {MAX - 4 * PAGE + 1, 4, {WANT(4)}, MM_OK, MAX - 4 * PAGE + 1},
    {MAX - 4 * PAGE + 1, 4, {WANT(5)}, MM_ERR_NO_ADDRESS, 0},
    {MAX - 4 * PAGE + 1, 4, {WANT(1), .align_bytes = 4 * PAGE}, MM_OK, MAX - 4 * PAGE + 1},
    {MAX - 3 * PAGE + 1, 3, {WANT(1), .align_bytes = 4 * PAGE}, MM_ERR_NO_ADDRESS, 0},
    {MAX - 4 * PAGE + 1, 4, {WANT(1), .align_bytes = UINT64_C(1) << 63}, MM_ERR_NO_ADDRESS, 0},
    {MAX - 4 * PAGE + 1,
     4,
     {WANT(1), .align_bytes = 4 * PAGE, .phase_bytes = 3 * PAGE},
     MM_OK,
     MAX - PAGE + 1},
    {MAX - 4 * PAGE + 1,
     4,
     {WANT(1), .align_bytes = 4 * PAGE, .phase_bytes = 3 * PAGE, .guard_after_frames = 1},
     MM_ERR_NO_ADDRESS,
     0},
    {MAX - 4 * PAGE + 1,
     4,
     {WANT(1), .at = MM_VIRT(MAX - PAGE + 1), .flags = MM_ARENA_EXACT},
     MM_OK,
     MAX - PAGE + 1},
    {MAX - 4 * PAGE + 1,
     4,
     {WANT(2), .at = MM_VIRT(MAX - PAGE + 1), .flags = MM_ARENA_EXACT},
     MM_ERR_NO_ADDRESS,
     0},
    /* all there is */
    {0, MAX >> 12, {.bytes = MAX - PAGE + 1}, MM_OK, 0},
    {0, MAX >> 12, {.bytes = MAX - PAGE + 1, .guard_after_frames = 1}, MM_ERR_NO_ADDRESS, 0},
    {PAGE, MAX >> 12, {WANT(1), .align_bytes = UINT64_C(1) << 63}, MM_OK, UINT64_C(1) << 63},
    /* alignment and phase */
    {0x1000, 4, {WANT(1), .align_bytes = 3 * PAGE}, MM_ERR_BAD_ARG, 0},
    {0x1000, 4, {WANT(1), .align_bytes = 1}, MM_OK, 0x1000},
    {0x1000, 4, {WANT(1), .align_bytes = 0x10000}, MM_ERR_NO_ADDRESS, 0},
    {0x1000, 4, {WANT(1), .align_bytes = 0x10000, .phase_bytes = 0x3000}, MM_OK, 0x3000},
    {0x1000, 4, {WANT(1), .align_bytes = 0x4000, .phase_bytes = 0x4000}, MM_ERR_BAD_ARG, 0},
    {0x1000, 4, {WANT(1), .align_bytes = 0x4000, .phase_bytes = MAX}, MM_ERR_BAD_ARG, 0},
    {0x1000, 4, {WANT(1), .align_bytes = 0x4000, .phase_bytes = 0x800}, MM_ERR_BAD_ARG, 0},
    {0x1000, 4, {WANT(1), .phase_bytes = 0x1000}, MM_ERR_BAD_ARG, 0},
    {0x1000, 4, {WANT(1), .align_bytes = UINT64_C(1) << 63, .phase_bytes = 0x2000}, MM_OK, 0x2000},
    /* guards */
    {0x1000, 4, {WANT(2), .guard_before_frames = 1, .guard_after_frames = 1}, MM_OK, 0x2000},
    {0x1000, 4, {WANT(3), .guard_before_frames = 1, .guard_after_frames = 1}, MM_ERR_NO_ADDRESS, 0},
    {0x1000, 4, {WANT(1), .guard_before_frames = UINT32_MAX}, MM_ERR_NO_ADDRESS, 0},
    {0x1000,
     4,
     {.bytes = MAX - 2 * PAGE, .guard_before_frames = UINT32_MAX, .guard_after_frames = UINT32_MAX},
     MM_ERR_NO_ADDRESS,
     0},
    /* exact */
    {0x1000, 4, {WANT(1), .at = MM_VIRT(0x2800), .flags = MM_ARENA_EXACT}, MM_ERR_BAD_ARG, 0},
    {0x1000, 4, {WANT(1), .at = MM_VIRT(0), .flags = MM_ARENA_EXACT}, MM_ERR_NO_ADDRESS, 0},
    {0x1000, 4, {WANT(1), .at = MM_VIRT(0x5000), .flags = MM_ARENA_EXACT}, MM_ERR_NO_ADDRESS, 0},
    {0x1000, 4, {WANT(4), .at = MM_VIRT(0x1000), .flags = MM_ARENA_EXACT}, MM_OK, 0x1000},
    {0x1000,
     4,
     {WANT(1), .at = MM_VIRT(0x1000), .guard_before_frames = 1, .flags = MM_ARENA_EXACT},
     MM_ERR_NO_ADDRESS,
     0},
    {0x1000,
     4,
     {WANT(1), .at = MM_VIRT(0x1000), .guard_before_frames = 9, .flags = MM_ARENA_EXACT},
     MM_ERR_NO_ADDRESS,
     0},
    {0x1000,
     4,
     {WANT(1), .at = MM_VIRT(0x2000), .align_bytes = 0x4000, .flags = MM_ARENA_EXACT},
     MM_ERR_BAD_ARG,
     0},
    {0x1000, 4, {WANT(1), .flags = 2}, MM_ERR_BAD_ARG, 0},
};

TEST(arena_take_is_right_at_every_end)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mm_virt_t virt = mm_virt(42);

        mm_test_row("row", i);
        arena_begin(rows[i].base, rows[i].pages, 1);
        CHECK_ERR(mm_arena_take(&arena, &rows[i].request, &virt), rows[i].err);
        CHECK_EQ(virt.raw, rows[i].err == MM_OK ? rows[i].start : 42);
        CHECK_EQ(mm_arena_check(&arena, NULL), 0);
    }
}

TEST(arena_init_refuses_what_cannot_work)
{
    struct mm_window window = MM_ZERO;
    struct mm_arena_config good = {.range = {mm_virt(PAGE), PAGE}, .span = span, .span_count = 1};
    struct mm_arena_config config;

    CHECK_ERR(mm_arena_init(NULL, &good), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_init(&arena, NULL), MM_ERR_BAD_ARG);
    config = good;
    config.range.bytes = 0;
    CHECK_ERR(mm_arena_init(&arena, &config), MM_ERR_BAD_ARG);
    config.range.bytes = PAGE + 1;
    CHECK_ERR(mm_arena_init(&arena, &config), MM_ERR_BAD_ARG);
    config.range = (struct mm_virt_range){mm_virt(PAGE + 8), PAGE};
    CHECK_ERR(mm_arena_init(&arena, &config), MM_ERR_BAD_ARG);
    config.range = (struct mm_virt_range){mm_virt(TOP_BASE), (PAGES + 1) * PAGE};
    CHECK_ERR(mm_arena_init(&arena, &config), MM_ERR_BAD_ARG);
    config = good;
    config.span = NULL;
    CHECK_ERR(mm_arena_init(&arena, &config), MM_ERR_BAD_ARG);
    config.span_count = 0; /* and no frames */
    CHECK_ERR(mm_arena_init(&arena, &config), MM_ERR_BAD_ARG);
    fake_ram_add(mm_phys(0x100000), 16 * PAGE);
    mm_test_frames_init(&frames, mm_phys(0x100000), 16);
    config.frames = mm_test_frame_source(&frames); /* but no window */
    CHECK_ERR(mm_arena_init(&arena, &config), MM_ERR_BAD_ARG);
    config.window = &window;
    CHECK_OK(mm_arena_init(&arena, &config));
}

/* ---- order of search ---- */

/* pages 0 1 2 3 4 5 6 7
 *       a a . b . . c c     one page fits first between a and b, two only behind b */
TEST(arena_takes_the_lowest_gap_that_fits)
{
    uint64_t a = 0, b = 0, c = 0, one = 0, two = 0;

    arena_begin(0, 8, SPANS);
    CHECK_OK(take(2, &a));
    CHECK_OK(take(1, &one));
    CHECK_OK(take(1, &b));
    CHECK_OK(take(2, &two));
    CHECK_OK(take(2, &c));
    CHECK_EQ(c, 6 * PAGE);
    CHECK_OK(mm_arena_give(&arena, mm_virt(one)));
    CHECK_OK(mm_arena_give(&arena, mm_virt(two)));
    CHECK_OK(take(2, &two));
    CHECK_EQ(two, 4 * PAGE);
    CHECK_OK(take(1, &one));
    CHECK_EQ(one, 2 * PAGE);
    CHECK_ERR(take(1, &one), MM_ERR_NO_ADDRESS);
    CHECK_EQ(mm_arena_check(&arena, NULL), 0);
}

TEST(arena_take_exact_fails_where_a_guard_lies)
{
    struct mm_arena_request guarded = {
        .bytes = PAGE, .guard_before_frames = 1, .guard_after_frames = 1};
    struct mm_arena_request exact = {.bytes = PAGE, .flags = MM_ARENA_EXACT};
    mm_virt_t virt = mm_virt(0);

    arena_begin(0, 8, SPANS); /* g u g . . . . . */
    CHECK_OK(mm_arena_take(&arena, &guarded, &virt));
    CHECK_EQ(virt.raw, PAGE);
    for (uint64_t page = 0; page < 3; page++) {
        exact.at = mm_virt(page * PAGE);
        CHECK_ERR(mm_arena_take(&arena, &exact, &virt), MM_ERR_EXISTS);
    }
    exact.at = mm_virt(3 * PAGE);
    exact.guard_before_frames = 1;
    CHECK_ERR(mm_arena_take(&arena, &exact, &virt), MM_ERR_EXISTS);
    exact.guard_before_frames = 0;
    CHECK_OK(mm_arena_take(&arena, &exact, &virt));
    CHECK_EQ(virt.raw, 3 * PAGE);
}

/* ---- misuse ---- */

TEST(arena_give_of_anything_but_a_start_is_refused)
{
    uint64_t at = 0;
    struct mm_arena_request guarded = {.bytes = 2 * PAGE, .guard_before_frames = 1};
    mm_virt_t virt = mm_virt(0);

    arena_begin(0x10000, 8, SPANS);
    CHECK_OK(mm_arena_take(&arena, &guarded, &virt));
    CHECK_OK(take(1, &at));
    CHECK_EQ(virt.raw, 0x11000);
    static const uint64_t wrong[] = {0,       0xf000,  0x10000, 0x11008, 0x12000,
                                     0x14000, 0x17000, 0x18000, MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        mm_test_row("address", wrong[i]);
        CHECK_ERR(mm_arena_give(&arena, mm_virt(wrong[i])), MM_ERR_MISUSE);
        check_reported("address is not the start of a span", wrong[i]);
    }
    CHECK_OK(mm_arena_give(&arena, virt));
    CHECK_ERR(mm_arena_give(&arena, virt), MM_ERR_MISUSE);
    check_reported("address is not the start of a span", virt.raw);
    CHECK_EQ(mm_arena_check(&arena, NULL), 0);
}

TEST(arena_calls_with_null_are_refused)
{
    struct mm_arena_request request = {.bytes = PAGE};
    struct mm_arena_info info;
    mm_virt_t virt = mm_virt(42);

    arena_begin(0, 8, SPANS);
    CHECK_ERR(mm_arena_take(NULL, &request, &virt), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_take(&arena, NULL, &virt), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_take(&arena, &request, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_find(NULL, virt, &info), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_find(&arena, virt, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_give(NULL, virt), MM_ERR_BAD_ARG);
    check_reported("no arena given", 42);
}

/* ---- span nodes ---- */

static void arena_begin_growing(uint32_t lent)
{
    struct mm_arena_config config = {
        .range = {mm_virt(0x100000000), UINT64_C(1) << 32},
        .span = lent != 0 ? span : NULL,
        .span_count = lent,
        .window = fake_window(),
    };

    fake_ram_add(mm_phys(0x100000), 16 * PAGE);
    mm_test_frames_init(&frames, mm_phys(0x100000), 16);
    config.frames = mm_test_frame_source(&frames);
    CHECK_OK(mm_arena_init(&arena, &config));
}

TEST(arena_without_frames_ends_with_its_lent_spans)
{
    uint64_t at = 42, first = 0;

    arena_begin(0, 8, 2);
    CHECK_OK(take(1, &first));
    CHECK_OK(take(1, &at));
    CHECK_ERR(take(1, &at), MM_ERR_NO_MEMORY);
    CHECK_EQ(at, PAGE);
    CHECK_OK(mm_arena_give(&arena, mm_virt(first)));
    CHECK_OK(take(1, &at));
    CHECK_EQ(at, first);
    CHECK_EQ(mm_arena_check(&arena, NULL), 0);
}

TEST(arena_takes_one_frame_for_63_spans)
{
    uint64_t at = 0;

    arena_begin_growing(2);
    for (unsigned i = 0; i < 2 + 63; i++) {
        CHECK_OK(take(1, &at));
        CHECK_EQ(frames.used, i < 2 ? 0 : 1);
    }
    CHECK_OK(take(1, &at));
    CHECK_EQ(frames.used, 2);
    CHECK_EQ(arena.grown_frames, 2);
    CHECK_EQ(mm_arena_check(&arena, NULL), 0);
    for (uint64_t i = 0; i < 2 + 63 + 1; i++)
        CHECK_OK(mm_arena_give(&arena, mm_virt(0x100000000 + i * PAGE)));
    CHECK_EQ(mm_arena_check(&arena, NULL), 0);
    CHECK_EQ(arena.span_count, 0);
}

/* Each allocation of the run fails once; the arena stays what it was, and a retry goes through. */
TEST(arena_survives_the_failure_of_each_frame)
{
    for (int64_t n = 0; n < 4; n++) {
        uint64_t at = 42, failures = 0;

        fake_reset();
        arena_begin_growing(0);
        frames.fail_after = n;
        for (unsigned i = 0; i < 3 * 63 + 1; i++) {
            uint64_t before = arena.taken_bytes;
            enum mm_err err = take(1, &at);

            if (err == MM_OK)
                continue;
            CHECK_ERR(err, MM_ERR_NO_MEMORY);
            CHECK_EQ(arena.taken_bytes, before);
            CHECK_EQ(mm_arena_check(&arena, NULL), 0);
            CHECK_OK(take(1, &at));
            failures++;
        }
        CHECK_EQ(failures, 1);
        CHECK_EQ(at, 0x100000000 + 3 * 63 * PAGE);
        CHECK_EQ(mm_arena_check(&arena, NULL), 0);
    }
}

TEST(arena_gives_back_a_frame_that_it_cannot_reach)
{
    uint64_t at = 42;

    arena_begin_growing(0);
    fake_frame_map_fail(0);
    CHECK_ERR(take(1, &at), MM_ERR_WINDOW);
    CHECK_EQ(at, 42);
    CHECK_EQ(frames.used, 0);
    CHECK_OK(take(1, &at));
    CHECK_EQ(frames.used, 1);
}

TEST(arena_that_has_no_address_takes_no_frame)
{
    uint64_t at = 42;

    arena_begin_growing(0);
    CHECK_ERR(take(UINT64_C(1) << 21, &at), MM_ERR_NO_ADDRESS);
    CHECK_EQ(frames.allocs, 0);
}

/* ---- interrupts and damage ---- */

static void interrupt_take(void *arg)
{
    uint64_t *at = arg;

    CHECK_OK(take(1, at));
}

TEST(arena_take_in_an_interrupt_gets_other_addresses)
{
    for (uint64_t skip = 0;; skip++) {
        uint64_t outer = 0, inner = 0;

        arena_begin(0, 8, SPANS);
        fake_interrupt_once(interrupt_take, &inner, skip);
        inner = MAX;
        CHECK_OK(take(1, &outer));
        if (fake_interrupt_pending())
            break;
        CHECK(outer != inner);
        CHECK(inner < 2 * PAGE && outer < 2 * PAGE);
        CHECK_EQ(mm_arena_check(&arena, NULL), 0);
    }
    fake_interrupt_set(NULL, NULL);
}

static unsigned faults_told;

static void count_fault(void *context, const struct mm_report *report)
{
    (void)context;
    CHECK_EQ(report->kind, MM_REPORT_CORRUPT);
    CHECK(report->object == &arena);
    faults_told++;
}

/* a at 0, b at 2, c at 4 pages; one damage each */
TEST(arena_check_finds_each_damage_and_follows_no_wild_link)
{
    static const struct mm_check_sink sink = {count_fault, NULL};

    for (unsigned damage = 0; damage < 10; damage++) {
        uint64_t at = 0;

        mm_test_row("damage", damage);
        arena_begin(0, 16, 8);
        for (unsigned i = 0; i < 3; i++)
            CHECK_OK(take(2, &at));
        struct mm_arena_span *b = arena.first->next;

        CHECK_EQ(mm_arena_check(&arena, &sink), 0);
        switch (damage) {
        case 0:
            b->next = (struct mm_arena_span *)0x1000;
            break;
        case 1:
            b->next = b;
            break;
        case 2:
            b->prev = NULL;
            break;
        case 3:
            b->start = 0;
            break;
        case 4:
            b->bytes = 0;
            break;
        case 5:
            b->next->bytes = 100 * PAGE;
            break;
        case 6:
            arena.span_count++;
            break;
        case 7:
            arena.taken_bytes -= PAGE;
            break;
        case 8:
            arena.spare = (struct mm_arena_span *)((char *)&span[5] + 8);
            break;
        default:
            arena.spare = arena.spare->next;
            break;
        }
        faults_told = 0;
        CHECK_EQ(mm_arena_check(&arena, &sink), 1);
        CHECK_EQ(faults_told, 1);
        CHECK_EQ(mm_arena_check(&arena, NULL), 1);
    }
}

/* What a wild write makes of an arena with 1 lent span and 2 grown frames, all in use. */
static void grown_damage(unsigned damage)
{
    struct mm_arena_span *lent = arena.first, *node = arena.first->next;
    uintptr_t frame = (uintptr_t)arena.grown.next;

    switch (damage) {
    case 0: /* a hole that the window covers */
        node->next = (struct mm_arena_span *)(frame + GIB);
        break;
    case 1:
        lent->next = (struct mm_arena_span *)(frame + GIB);
        break;
    case 2: /* the link at the start of a frame is no span */
        node->next = (struct mm_arena_span *)frame;
        break;
    case 3:
        node->next = (struct mm_arena_span *)(frame + 8);
        break;
    case 4:
        arena.grown.next = (struct mm_arena_grown *)(frame + GIB);
        break;
    case 5:
        arena.grown.next->next = (struct mm_arena_grown *)(frame + GIB);
        break;
    case 6:
        arena.grown.next->next = arena.grown.next; /* a circle */
        break;
    case 7:
        arena.grown.next->seal ^= 1;
        break;
    case 8:
        arena.grown_frames++;
        break;
    case 9:
        arena.grown_frames--;
        break;
    default:
        arena.spare = (struct mm_arena_span *)(frame + GIB);
        break;
    }
}

TEST(arena_check_looks_into_no_frame_that_the_arena_did_not_take)
{
    static const struct mm_check_sink sink = {count_fault, NULL};

    for (unsigned damage = 0; damage < 11; damage++) {
        uint64_t at = 0;

        mm_test_row("damage", damage);
        fake_reset();
        arena_begin_growing(1);
        fake_window()->piece[0].bytes += 4 * GIB;
        for (unsigned i = 0; i < 1 + 63 + 63; i++)
            CHECK_OK(take(1, &at));
        CHECK_EQ(arena.grown_frames, 2);
        CHECK_EQ(mm_arena_check(&arena, &sink), 0);
        faults_told = 0;
        grown_damage(damage);
        CHECK_EQ(mm_arena_check(&arena, &sink), 1);
        CHECK_EQ(faults_told, 1);
    }
}
