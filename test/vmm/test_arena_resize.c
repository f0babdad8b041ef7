/*
 * test_arena_resize.c - spans that grow and are cut, ranges that are added.
 *
 * Problem     A cut makes one span of two or none; a guard must neither be lost nor be given away,
 *             and what fails must leave the span as it was.
 * Idea        Small arenas that fit a picture, drawn above each test: `u` used, `g` guard, `.` free.
 */
#include "arena_fixture.h"

#define BASE     UINT64_C(0x10000)
#define AT(page) (BASE + (page)*PAGE)

static struct arena_fixture t;

static uint64_t take_guarded(uint64_t pages, uint32_t before, uint32_t after)
{
    struct mm_arena_request request = {.bytes = pages * PAGE,
                                       .cookie = 7,
                                       .guard_before_frames = before,
                                       .guard_after_frames = after};
    mm_virt_t virt = mm_virt(0);

    CHECK_OK(mm_arena_take(&t.arena, &request, &virt));
    return virt.raw;
}

static enum mm_err cut(uint64_t page, uint64_t pages)
{
    return mm_arena_cut(&t.arena, mm_virt(AT(page)), pages * PAGE);
}

static enum mm_err grow(uint64_t page, uint64_t pages)
{
    return mm_arena_grow(&t.arena, mm_virt(AT(page)), pages * PAGE);
}

/* The whole arena, one letter per page: u and g of spans, Q of quarantine, '.' of nobody. */
static void check_picture(const char *picture)
{
    for (uint64_t page = 0; picture[page] != '\0'; page++) {
        struct mm_arena_info info;
        char is = '.';

        mm_test_row("page", page);
        if (mm_arena_find(&t.arena, mm_virt(AT(page)), &info) == MM_OK) {
            is = info.state == MM_ARENA_QUARANTINED ? 'Q' : info.guard ? 'g' : 'u';
            CHECK_EQ(info.cookie, 7);
        }
        CHECK_EQ(is, picture[page]);
    }
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

static void check_span(uint64_t page, uint64_t pages)
{
    struct mm_arena_info info;

    CHECK_OK(mm_arena_find(&t.arena, mm_virt(AT(page)), &info));
    CHECK_EQ(info.start.raw, AT(page));
    CHECK_EQ(info.bytes, pages * PAGE);
    CHECK_EQ(info.state, MM_ARENA_TAKEN);
}

/* ---- cut ---- */

TEST(arena_cut_at_the_front_leaves_the_rest_with_its_guards)
{
    fixture_lend(&t, BASE, 10, 4);
    CHECK_EQ(take_guarded(6, 1, 1), AT(1));
    check_picture("guuuuuug..");
    CHECK_OK(cut(1, 2));
    check_picture("..guuuug..");
    check_span(3, 4);
    CHECK_EQ(t.arena.span_count, 1);
    CHECK_EQ(t.arena.taken_bytes, 6 * PAGE);
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(AT(3))));
    check_picture("..........");
}

TEST(arena_cut_at_the_end_leaves_the_rest_with_its_guards)
{
    fixture_lend(&t, BASE, 10, 4);
    CHECK_EQ(take_guarded(6, 1, 1), AT(1));
    CHECK_OK(cut(5, 2));
    check_picture("guuuug....");
    check_span(1, 4);
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(AT(1))));
    check_picture("..........");
}

TEST(arena_cut_in_the_middle_leaves_two_spans)
{
    fixture_lend(&t, BASE, 10, 4);
    CHECK_EQ(take_guarded(6, 1, 1), AT(1));
    CHECK_OK(cut(3, 2));
    check_picture("guu..uug..");
    check_span(1, 2);
    check_span(5, 2);
    CHECK_EQ(t.arena.span_count, 2);
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(AT(1))));
    check_picture(".....uug..");
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(AT(5))));
    check_picture("..........");
}

TEST(arena_cut_of_all_gives_the_span_back)
{
    fixture_lend(&t, BASE, 10, 4);
    CHECK_EQ(take_guarded(6, 1, 1), AT(1));
    CHECK_OK(cut(1, 6));
    check_picture("..........");
    CHECK_EQ(t.arena.span_count, 0);
}

TEST(arena_cut_goes_into_quarantine)
{
    fixture_grow(&t, BASE, 10, 4, 100);
    CHECK_EQ(take_guarded(6, 1, 1), AT(1));
    CHECK_OK(cut(3, 1));
    check_picture("guuQuuug..");
    CHECK_OK(cut(1, 1));
    check_picture("QguQuuug..");
    CHECK_OK(cut(5, 2));
    check_picture("QguQugQQ..");
    mm_arena_drain(&t.arena);
    check_picture(".gu.ug....");
}

TEST(arena_cut_of_anything_but_a_part_of_one_span_is_refused)
{
    static const struct {
        uint64_t start, bytes;
        enum mm_err err;
    } rows[] = {
        {AT(0), PAGE, MM_ERR_MISUSE},                   /* a guard */
        {AT(0), 2 * PAGE, MM_ERR_MISUSE},               /* and a part */
        {AT(3), 2 * PAGE, MM_ERR_MISUSE},               /* a part, and a guard */
        {AT(2), 6 * PAGE, MM_ERR_MISUSE},               /* into the next */
        {AT(9), PAGE, MM_ERR_MISUSE},                   /* free */
        {AT(12), PAGE, MM_ERR_MISUSE},                  /* outside */
        {0, PAGE, MM_ERR_MISUSE},                       /* outside */
        {MAX - PAGE + 1, PAGE, MM_ERR_MISUSE},          /* outside */
        {AT(1), MAX - AT(1) - PAGE + 1, MM_ERR_MISUSE}, /* nearly to the end of all */
        {AT(1), MAX - PAGE + 1, MM_ERR_BAD_ARG},        /* wraps */
        {AT(1), 0, MM_ERR_BAD_ARG},                     /* nothing */
        {AT(1) + 8, PAGE, MM_ERR_BAD_ARG},              /* not aligned */
        {AT(1), PAGE + 8, MM_ERR_BAD_ARG},              /* not aligned */
    };

    fixture_lend(&t, BASE, 10, 4);
    CHECK_EQ(take_guarded(3, 1, 1), AT(1));
    CHECK_EQ(take_guarded(2, 0, 0), AT(5));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mm_test_row("row", i);
        CHECK_ERR(mm_arena_cut(&t.arena, mm_virt(rows[i].start), rows[i].bytes), rows[i].err);
        if (rows[i].err == MM_ERR_MISUSE)
            check_reported("not inside one span", rows[i].start);
        CHECK_EQ(t.arena.taken_bytes, 7 * PAGE);
    }
    check_picture("guuuguu...");
    CHECK_ERR(mm_arena_cut(NULL, mm_virt(AT(1)), PAGE), MM_ERR_BAD_ARG);
}

TEST(arena_cut_without_memory_changes_nothing)
{
    fixture_grow(&t, BASE, 10, 1, 0);
    CHECK_EQ(take_guarded(6, 1, 1), AT(1));
    t.frames.empty = true;
    CHECK_ERR(cut(3, 2), MM_ERR_NO_MEMORY);
    check_picture("guuuuuug..");
    CHECK_EQ(t.arena.span_count, 1);
    CHECK_OK(cut(1, 1)); /* these need no other span */
    CHECK_OK(cut(6, 1));
    check_picture(".guuuug...");
    t.frames.empty = false;
    fake_frame_map_fail(0);
    CHECK_ERR(cut(3, 2), MM_ERR_WINDOW);
    check_picture(".guuuug...");
    CHECK_EQ(t.frames.used, 0);
    CHECK_OK(cut(3, 2));
    check_picture(".gu..ug...");
}

/* A cut needs memory to remember its quarantine; addresses come back without, sooner. */
TEST(arena_cut_without_memory_does_without_quarantine)
{
    fixture_grow(&t, BASE, 10, 1, 100);
    CHECK_EQ(take_guarded(6, 1, 1), AT(1));
    t.frames.empty = true;
    CHECK_OK(cut(1, 2));
    check_picture("..guuuug..");
    CHECK_ERR(cut(4, 1), MM_ERR_NO_MEMORY);
    check_picture("..guuuug..");
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(AT(3)))); /* has a span already */
    check_picture("..QQQQQQ..");
}

/* ---- grow ---- */

TEST(arena_grow_moves_the_guard_along)
{
    fixture_lend(&t, BASE, 10, 4);
    CHECK_EQ(take_guarded(2, 1, 1), AT(1));
    CHECK_OK(mm_arena_grow(&t.arena, mm_virt(AT(1)), 2 * PAGE - 1));
    check_picture("guuuug....");
    check_span(1, 4);
    CHECK_EQ(t.arena.taken_bytes, 6 * PAGE);
    CHECK_OK(grow(1, 4));
    check_picture("guuuuuuuug");
    CHECK_ERR(grow(1, 1), MM_ERR_NO_ADDRESS);
    check_picture("guuuuuuuug");
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(AT(1))));
    check_picture("..........");
}

TEST(arena_grow_stops_at_the_next_span)
{
    fixture_grow(&t, BASE, 10, 4, 100);
    CHECK_EQ(take_guarded(2, 0, 0), AT(0));
    CHECK_EQ(take_guarded(2, 0, 0), AT(2));
    CHECK_EQ(take_guarded(2, 1, 0), AT(5));
    check_picture("uuuuguu...");
    CHECK_ERR(grow(0, 1), MM_ERR_EXISTS);
    CHECK_ERR(grow(2, 1), MM_ERR_EXISTS); /* a guard */
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(AT(2))));
    check_picture("uuQQguu...");
    CHECK_OK(grow(0, 1));
    check_picture("uuu.guu...");
    CHECK_OK(grow(0, 1));
    CHECK_ERR(grow(0, 1), MM_ERR_EXISTS);
    check_picture("uuuuguu...");
}

TEST(arena_grow_refuses_what_cannot_be)
{
    fixture_lend(&t, BASE, 10, 4);
    CHECK_EQ(take_guarded(2, 1, 1), AT(1));
    CHECK_ERR(grow(1, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_grow(NULL, mm_virt(AT(1)), PAGE), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_grow(&t.arena, mm_virt(AT(1)), MAX), MM_ERR_NO_ADDRESS);
    for (uint64_t page = 0; page < 11; page++) {
        if (page == 1)
            continue;
        CHECK_ERR(grow(page, 1), MM_ERR_MISUSE);
        check_reported("address is not the start of a span", AT(page));
    }
    CHECK_ERR(mm_arena_grow(&t.arena, mm_virt(AT(1) + 8), PAGE), MM_ERR_MISUSE);
    check_reported("address is not the start of a span", AT(1) + 8);
    check_picture("guug......");
}

/* ---- add ---- */

static enum mm_err add(uint64_t start, uint64_t bytes)
{
    return mm_arena_add(&t.arena, (struct mm_virt_range){mm_virt(start), bytes});
}

TEST(arena_ranges_that_touch_are_one)
{
    uint64_t at = 42;

    fixture_lend(&t, BASE, 4, 4);
    CHECK_ERR(take(&t, 5, &at), MM_ERR_NO_ADDRESS);
    CHECK_OK(add(AT(4), 2 * PAGE));
    CHECK_OK(take(&t, 6, &at));
    CHECK_EQ(at, BASE);
    CHECK_OK(add(BASE - PAGE, PAGE));
    CHECK_OK(take(&t, 1, &at));
    CHECK_EQ(at, BASE - PAGE);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_range_between_two_fills_the_hole)
{
    uint64_t at = 42;

    fixture_lend(&t, BASE, 4, 8);
    CHECK_OK(add(AT(8), 4 * PAGE));
    CHECK_ERR(take(&t, 5, &at), MM_ERR_NO_ADDRESS);
    CHECK_ERR(add(AT(3), 2 * PAGE), MM_ERR_EXISTS);
    CHECK_ERR(add(AT(7), 2 * PAGE), MM_ERR_EXISTS);
    CHECK_ERR(add(AT(3), 6 * PAGE), MM_ERR_EXISTS);
    CHECK_ERR(add(BASE, PAGE), MM_ERR_EXISTS);
    CHECK_EQ(t.arena.range_bytes, 8 * PAGE);
    CHECK_OK(add(AT(4), 4 * PAGE));
    CHECK_OK(take(&t, 12, &at));
    CHECK_EQ(at, BASE);
    CHECK_EQ(t.arena.hole_count, 2);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_range_with_what_is_taken_in_it_exists)
{
    uint64_t at = 0;

    fixture_grow(&t, BASE, 4, 8, 100);
    CHECK_OK(take(&t, 4, &at));
    CHECK_ERR(add(AT(1), PAGE), MM_ERR_EXISTS);
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(at)));
    CHECK_ERR(add(AT(1), PAGE), MM_ERR_EXISTS);
}

TEST(arena_has_room_for_all_addresses_but_one)
{
    uint64_t at = 42;

    fixture_lend(&t, 0, 1, 4);
    CHECK_ERR(add(PAGE, MAX - PAGE + 1), MM_ERR_RANGE); /* 2^64 bytes cannot be counted */
    CHECK_OK(add(2 * PAGE, MAX - 2 * PAGE + 1));
    CHECK_ERR(add(PAGE, PAGE), MM_ERR_RANGE);
    CHECK_OK(take(&t, (UINT64_C(1) << 52) - 2, &at));
    CHECK_EQ(at, 2 * PAGE);
    CHECK_OK(take(&t, 1, &at));
    CHECK_EQ(at, 0);
    CHECK_ERR(take(&t, 1, &at), MM_ERR_NO_ADDRESS);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_add_refuses_what_is_no_range)
{
    fixture_lend(&t, BASE, 1, 4);
    CHECK_ERR(add(AT(4), 0), MM_ERR_BAD_ARG);
    CHECK_ERR(add(AT(4) + 8, PAGE), MM_ERR_BAD_ARG);
    CHECK_ERR(add(AT(4), PAGE + 8), MM_ERR_BAD_ARG);
    CHECK_ERR(add(MAX - PAGE + 1, 2 * PAGE), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_add(NULL, (struct mm_virt_range){mm_virt(AT(4)), PAGE}), MM_ERR_BAD_ARG);
    CHECK_EQ(t.arena.range_bytes, PAGE);
}

TEST(arena_add_without_memory_changes_nothing)
{
    uint64_t at = 42;

    fixture_grow(&t, BASE, 4, 1, 0);
    CHECK_OK(take(&t, 1, &at));
    t.frames.empty = true;
    CHECK_ERR(add(AT(8), PAGE), MM_ERR_NO_MEMORY);
    CHECK_EQ(t.arena.range_bytes, 4 * PAGE);
    CHECK_OK(add(AT(4), PAGE)); /* at the edge of the hole: no span needed */
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    t.frames.empty = false;
    CHECK_OK(add(AT(8), PAGE));
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}
