/*
 * test_arena.c - take and give at every end, misuse, and where spans come from.
 *
 * Problem     Range arithmetic is wrong at its ends: at 2^64, at one frame, at alignments larger
 *             than the range. What fails must leave nothing behind.
 * Idea        A table of ends. Each frame for spans fails once; each instruction that takes a lock
 *             is interrupted by another take. (The rest is compared with a model:
 *             test_arena_model.c.)
 */
#include "arena_fixture.h"

#define GIB      UINT64_C(0x40000000)
#define PAGES    192u
#define SPANS    64u
#define TOP_BASE (UINT64_C(0) - PAGES * PAGE) /* a range that ends at 2^64 */

static struct arena_fixture t;

/* ---- ends ---- */

struct row {
    uint64_t base, pages; /* of the arena */
    struct mm_arena_request request;
    enum mm_err err;
    uint64_t start;
};

#define WANT(n) .bytes = (n)*PAGE

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
    {0, 4, {WANT(1), .guard_before_frames = MM_ARENA_GUARD_MAX}, MM_ERR_NO_ADDRESS, 0},
    {0, 2048, {WANT(1), .guard_before_frames = MM_ARENA_GUARD_MAX}, MM_OK, 2047 * PAGE},
    {0, 2048, {WANT(1), .guard_after_frames = MM_ARENA_GUARD_MAX}, MM_OK, 0},
    {0, 4096, {WANT(1), .guard_before_frames = MM_ARENA_GUARD_MAX + 1}, MM_ERR_BAD_ARG, 0},
    {0, 4096, {WANT(1), .guard_after_frames = UINT32_MAX}, MM_ERR_BAD_ARG, 0},
    {0x1000,
     4,
     {.bytes = MAX - 2 * PAGE, .guard_before_frames = 2047, .guard_after_frames = 2047},
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
        fixture_lend(&t, rows[i].base, rows[i].pages, 1);
        CHECK_ERR(mm_arena_take(&t.arena, &rows[i].request, &virt), rows[i].err);
        CHECK_EQ(virt.raw, rows[i].err == MM_OK ? rows[i].start : 42);
        CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    }
}

TEST(arena_init_refuses_what_cannot_work)
{
    struct mm_window window = MM_ZERO;
    struct mm_arena_config good = {.range = {mm_virt(PAGE), PAGE}, .span = t.span, .span_count = 1};
    struct mm_arena_config config;

    CHECK_ERR(mm_arena_init(NULL, &good), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_init(&t.arena, NULL), MM_ERR_BAD_ARG);
    config = good;
    config.range.bytes = 0;
    CHECK_ERR(mm_arena_init(&t.arena, &config), MM_ERR_BAD_ARG);
    config.range.bytes = PAGE + 1;
    CHECK_ERR(mm_arena_init(&t.arena, &config), MM_ERR_BAD_ARG);
    config.range = (struct mm_virt_range){mm_virt(PAGE + 8), PAGE};
    CHECK_ERR(mm_arena_init(&t.arena, &config), MM_ERR_BAD_ARG);
    config.range = (struct mm_virt_range){mm_virt(TOP_BASE), (PAGES + 1) * PAGE};
    CHECK_ERR(mm_arena_init(&t.arena, &config), MM_ERR_BAD_ARG);
    config = good;
    config.span = NULL;
    CHECK_ERR(mm_arena_init(&t.arena, &config), MM_ERR_BAD_ARG);
    config.span_count = 0; /* and no frames */
    CHECK_ERR(mm_arena_init(&t.arena, &config), MM_ERR_BAD_ARG);
    fake_ram_add(mm_phys(0x100000), 16 * PAGE);
    mm_test_frames_init(&t.frames, mm_phys(0x100000), 16);
    config.frames = mm_test_frame_source(&t.frames); /* but no window */
    CHECK_ERR(mm_arena_init(&t.arena, &config), MM_ERR_BAD_ARG);
    config.window = &window;
    CHECK_OK(mm_arena_init(&t.arena, &config));
}

/* ---- order of search ---- */

/* pages 0 1 2 3 4 5 6 7
 *       a a . b . . c c     one page fits first between a and b, two only behind b */
TEST(arena_takes_the_lowest_gap_that_fits)
{
    uint64_t a = 0, b = 0, c = 0, one = 0, two = 0;

    fixture_lend(&t, 0, 8, SPANS);
    CHECK_OK(take(&t, 2, &a));
    CHECK_OK(take(&t, 1, &one));
    CHECK_OK(take(&t, 1, &b));
    CHECK_OK(take(&t, 2, &two));
    CHECK_OK(take(&t, 2, &c));
    CHECK_EQ(c, 6 * PAGE);
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(one)));
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(two)));
    CHECK_OK(take(&t, 2, &two));
    CHECK_EQ(two, 4 * PAGE);
    CHECK_OK(take(&t, 1, &one));
    CHECK_EQ(one, 2 * PAGE);
    CHECK_ERR(take(&t, 1, &one), MM_ERR_NO_ADDRESS);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

/* 70 gaps of one page that are aligned to nothing, one at 280 that is aligned to four pages, and four
 * pages that begin at 301: */
static void begin_misaligned_gaps(bool far)
{
    fixture_grow(&t, 0, 400, 8, 0);
    for (uint64_t page = 0; page < 400; page++) {
        bool gap =
            (page < 280 && page % 4 == 1) || page == 280 || (far && page >= 301 && page < 305);

        if (!gap)
            CHECK_OK(take_at(&t, page * PAGE, 1));
    }
}

TEST(arena_take_looks_at_64_gaps_and_then_for_a_longer_one)
{
    struct mm_arena_request request = {.bytes = PAGE, .align_bytes = 4 * PAGE};
    mm_virt_t virt = mm_virt(0);

    begin_misaligned_gaps(true);
    CHECK_OK(mm_arena_take(&t.arena, &request, &virt));
    CHECK_EQ(virt.raw, 304 * PAGE);
    CHECK_OK(mm_arena_take(&t.arena, &request, &virt)); /* none is longer now */
    CHECK_EQ(virt.raw, 280 * PAGE);
    CHECK_ERR(mm_arena_take(&t.arena, &request, &virt), MM_ERR_NO_ADDRESS);
    begin_misaligned_gaps(false);
    CHECK_OK(mm_arena_take(&t.arena, &request, &virt));
    CHECK_EQ(virt.raw, 280 * PAGE);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_take_exact_fails_where_a_guard_lies)
{
    struct mm_arena_request guarded = {
        .bytes = PAGE, .guard_before_frames = 1, .guard_after_frames = 1};
    struct mm_arena_request exact = {.bytes = PAGE, .flags = MM_ARENA_EXACT};
    mm_virt_t virt = mm_virt(0);

    fixture_lend(&t, 0, 8, SPANS); /* g u g . . . . . */
    CHECK_OK(mm_arena_take(&t.arena, &guarded, &virt));
    CHECK_EQ(virt.raw, PAGE);
    for (uint64_t page = 0; page < 3; page++) {
        exact.at = mm_virt(page * PAGE);
        CHECK_ERR(mm_arena_take(&t.arena, &exact, &virt), MM_ERR_EXISTS);
    }
    exact.at = mm_virt(3 * PAGE);
    exact.guard_before_frames = 1;
    CHECK_ERR(mm_arena_take(&t.arena, &exact, &virt), MM_ERR_EXISTS);
    exact.guard_before_frames = 0;
    CHECK_OK(mm_arena_take(&t.arena, &exact, &virt));
    CHECK_EQ(virt.raw, 3 * PAGE);
}

/* ---- misuse ---- */

TEST(arena_give_of_anything_but_a_start_is_refused)
{
    uint64_t at = 0;
    struct mm_arena_request guarded = {.bytes = 2 * PAGE, .guard_before_frames = 1};
    mm_virt_t virt = mm_virt(0);

    fixture_lend(&t, 0x10000, 8, SPANS);
    CHECK_OK(mm_arena_take(&t.arena, &guarded, &virt));
    CHECK_OK(take(&t, 1, &at));
    CHECK_EQ(virt.raw, 0x11000);
    static const uint64_t wrong[] = {0,       0xf000,  0x10000, 0x11008, 0x12000,
                                     0x14000, 0x17000, 0x18000, MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        mm_test_row("address", wrong[i]);
        CHECK_ERR(mm_arena_give(&t.arena, mm_virt(wrong[i])), MM_ERR_MISUSE);
        check_reported("address is not the start of a span", wrong[i]);
    }
    CHECK_OK(mm_arena_give(&t.arena, virt));
    CHECK_ERR(mm_arena_give(&t.arena, virt), MM_ERR_MISUSE);
    check_reported("address is not the start of a span", virt.raw);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_calls_with_null_are_refused)
{
    struct mm_arena_request request = {.bytes = PAGE};
    struct mm_arena_info info;
    mm_virt_t virt = mm_virt(42);

    fixture_lend(&t, 0, 8, SPANS);
    CHECK_ERR(mm_arena_take(NULL, &request, &virt), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_take(&t.arena, NULL, &virt), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_take(&t.arena, &request, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_find(NULL, virt, &info), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_find(&t.arena, virt, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_give(NULL, virt), MM_ERR_BAD_ARG);
    check_reported("no arena given", 42);
}

/* ---- span nodes ---- */

TEST(arena_without_frames_ends_with_its_lent_spans)
{
    uint64_t at = 42, first = 0;

    fixture_lend(&t, PAGE, 8, 2);
    CHECK_OK(take(&t, 1, &first));
    CHECK_OK(take(&t, 1, &at));
    CHECK_ERR(take(&t, 1, &at), MM_ERR_NO_MEMORY);
    CHECK_EQ(at, 2 * PAGE);
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(first)));
    CHECK_OK(take(&t, 1, &at));
    CHECK_EQ(at, first);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_takes_one_frame_for_63_spans)
{
    uint64_t at = 0;

    fixture_grow(&t, 0x100000000, UINT64_C(1) << 20, 2, 0);
    for (unsigned i = 0; i < 2 + 63; i++) {
        CHECK_OK(take(&t, 1, &at));
        CHECK_EQ(t.frames.used, i < 2 ? 0 : 1);
    }
    CHECK_OK(take(&t, 1, &at));
    CHECK_EQ(t.frames.used, 2);
    CHECK_EQ(t.arena.grown_frames, 2);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    for (uint64_t i = 0; i < 2 + 63 + 1; i++)
        CHECK_OK(mm_arena_give(&t.arena, mm_virt(0x100000000 + i * PAGE)));
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    CHECK_EQ(t.arena.span_count, 0);
}

/* Each allocation of the run fails once; the arena stays what it was, and a retry goes through. */
TEST(arena_survives_the_failure_of_each_frame)
{
    for (int64_t n = 0; n < 4; n++) {
        uint64_t at = 42, failures = 0;

        fake_reset();
        fixture_grow(&t, 0x100000000, UINT64_C(1) << 20, 0, 0);
        t.frames.fail_after = n;
        for (unsigned i = 0; i < 3 * 63 + 1; i++) {
            uint64_t before = t.arena.taken_bytes;
            enum mm_err err = take(&t, 1, &at);

            if (err == MM_OK)
                continue;
            CHECK_ERR(err, MM_ERR_NO_MEMORY);
            CHECK_EQ(t.arena.taken_bytes, before);
            CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
            CHECK_OK(take(&t, 1, &at));
            failures++;
        }
        CHECK_EQ(failures, 1);
        CHECK_EQ(at, 0x100000000 + 3 * 63 * PAGE);
        CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    }
}

TEST(arena_gives_back_a_frame_that_it_cannot_reach)
{
    uint64_t at = 42;

    fixture_grow(&t, 0x100000000, UINT64_C(1) << 20, 0, 0);
    fake_frame_map_fail(0);
    CHECK_ERR(take(&t, 1, &at), MM_ERR_WINDOW);
    CHECK_EQ(at, 42);
    CHECK_EQ(t.frames.used, 0);
    CHECK_OK(take(&t, 1, &at));
    CHECK_EQ(t.frames.used, 1);
}

TEST(arena_that_has_no_address_takes_no_frame)
{
    uint64_t at = 42;

    fixture_grow(&t, 0x100000000, UINT64_C(1) << 20, 0, 0);
    CHECK_ERR(take(&t, UINT64_C(1) << 21, &at), MM_ERR_NO_ADDRESS);
    CHECK_EQ(t.frames.allocs, 0);
}

/* ---- interrupts ---- */

static void interrupt_take(void *arg)
{
    uint64_t *at = arg;

    CHECK_OK(take(&t, 1, at));
}

TEST(arena_take_in_an_interrupt_gets_other_addresses)
{
    for (uint64_t skip = 0;; skip++) {
        uint64_t outer = 0, inner = 0;

        fixture_lend(&t, 0, 8, SPANS);
        fake_interrupt_once(interrupt_take, &inner, skip);
        inner = MAX;
        CHECK_OK(take(&t, 1, &outer));
        if (fake_interrupt_pending())
            break;
        CHECK(outer != inner);
        CHECK(inner < 2 * PAGE && outer < 2 * PAGE);
        CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    }
    fake_interrupt_set(NULL, NULL);
}
