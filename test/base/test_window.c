/*
 * test_window.c - tests of window.c.
 *
 * Problem     A wrong join or a range across two pieces gives a pointer that is wild and not NULL.
 * Idea        Each refusal and each join once by hand; then random pieces against an array of
 *             pages.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Random pieces alone: they never lie at the end of the address space.
 */
#include "mm/window.h"

#include <string.h>

#include "mm_test.h"

#define PAGE UINT64_C(0x1000)

static enum mm_err add(struct mm_window *window, uint64_t first, uint64_t bytes, uint64_t virt)
{
    return mm_window_add(window, mm_phys(first), bytes, mm_virt(virt));
}

/* Where `phys` appears; 0 if it does not. */
static uint64_t find(const struct mm_window *window, uint64_t phys, uint64_t bytes)
{
    void *out = NULL;

    return mm_window_find(window, mm_phys(phys), bytes, &out) == MM_OK ? (uintptr_t)out : 0;
}

TEST(window_that_is_empty_finds_nothing)
{
    struct mm_window window = {.count = 0};
    mm_phys_t phys = mm_phys(7);
    void *out = &window;

    CHECK_ERR(mm_window_find(&window, mm_phys(0), 1, &out), MM_ERR_WINDOW);
    CHECK_ERR(mm_window_phys(&window, &window, &phys), MM_ERR_WINDOW);
    CHECK(out == &window && phys.raw == 7);
}

TEST(window_finds_the_first_and_last_byte_and_not_one_beyond)
{
    struct mm_window window = {.count = 0};
    void *out = &window;

    CHECK_OK(add(&window, 0x100000, 0x10000, 0x7000000));
    CHECK_EQ(find(&window, 0x100000, 1), 0x7000000);
    CHECK_EQ(find(&window, 0x10ffff, 1), 0x700ffff);
    CHECK_EQ(find(&window, 0x100000, 0x10000), 0x7000000);
    CHECK_ERR(mm_window_find(&window, mm_phys(0x0fffff), 1, &out), MM_ERR_WINDOW);
    CHECK_ERR(mm_window_find(&window, mm_phys(0x110000), 1, &out), MM_ERR_WINDOW);
    CHECK_ERR(mm_window_find(&window, mm_phys(0x100000), 0x10001, &out), MM_ERR_WINDOW);
    CHECK_ERR(mm_window_find(&window, mm_phys(0x10ffff), 2, &out), MM_ERR_WINDOW);
    CHECK_ERR(mm_window_find(&window, mm_phys(0x100000), 0xfffffffffff00000, &out), MM_ERR_WINDOW);
    CHECK(out == &window);
}

TEST(window_refuses_a_question_that_is_empty_or_wraps)
{
    struct mm_window window = {.count = 0};
    void *out = &window;

    CHECK_OK(add(&window, 0xffffffffffff0000, 0x10000, 0x10000));
    CHECK_ERR(mm_window_find(&window, mm_phys(0xffffffffffff0000), 0, &out), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_window_find(&window, mm_phys(UINT64_MAX), 2, &out), MM_ERR_BAD_ARG);
    CHECK(out == &window);
    CHECK_EQ(find(&window, UINT64_MAX, 1), 0x1ffff);
}

TEST(window_refuses_a_piece_that_is_unaligned_empty_or_wraps)
{
    static const struct {
        uint64_t first, bytes, virt;
    } row[] = {
        {0x1001, 0x1000, 0x1000},
        {0x1000, 0x1001, 0x1000},
        {0x1000, 0x1000, 0x1001},
        {0x1000, 0x0fff, 0x1000},
        {0x1000, 0, 0x1000},
        {0xfffffffffffff000, 0x2000, 0x1000},
        {0x1000, 0x2000, 0xfffffffffffff000},
        {0x2000, 0xfffffffffffff000, 0x1000},
    };
    struct mm_window window = {.count = 0}, before = window;

    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("row", i);
        CHECK_ERR(add(&window, row[i].first, row[i].bytes, row[i].virt), MM_ERR_BAD_ARG);
        CHECK(memcmp(&window, &before, sizeof window) == 0);
    }
}

TEST(window_piece_may_end_at_the_top_of_both_spaces)
{
    struct mm_window window = {.count = 0};
    mm_phys_t phys;

    CHECK_OK(add(&window, 0xfffffffffffff000, 0x1000, 0xfffffffffffff000));
    CHECK_EQ(find(&window, UINT64_MAX, 1), UINT64_MAX);
    CHECK_OK(mm_window_phys(&window, mm_virt_pointer(mm_virt(UINT64_MAX)), &phys));
    CHECK_EQ(phys.raw, UINT64_MAX);
    CHECK_ERR(add(&window, 0xfffffffffffff000, 0x1000, 0x1000), MM_ERR_EXISTS);
    CHECK_OK(add(&window, 0xffffffffffffe000, 0x1000, 0xffffffffffffe000));
    CHECK_EQ(window.count, 1);
}

/*
 *   have      [2000 ......... 5000)
 *   refused   [1000 .. 3000) [4000 .. 6000) [3000 .. 4000) [1000 .... 6000) the same
 */
TEST(window_refuses_every_way_to_overlap)
{
    static const struct {
        uint64_t first, bytes;
    } row[] = {{0x1000, 0x2000}, {0x4000, 0x2000}, {0x3000, 0x1000}, {0x1000, 0x5000},
               {0x2000, 0x3000}, {0x2000, 0x1000}, {0x4000, 0x1000}, {0x2000, 0x4000}};
    struct mm_window window = {.count = 0}, before;

    CHECK_OK(add(&window, 0x2000, 0x3000, 0x82000));
    before = window;
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("row", i);
        CHECK_ERR(add(&window, row[i].first, row[i].bytes, 0x80000 + row[i].first), MM_ERR_EXISTS);
        CHECK(memcmp(&window, &before, sizeof window) == 0);
    }
}

TEST(window_joins_pieces_that_continue_each_other)
{
    struct mm_window window = {.count = 0};

    CHECK_OK(add(&window, 0x1000, 0x1000, 0x81000));
    CHECK_OK(add(&window, 0x2000, 0x1000, 0x82000)); /* behind */
    CHECK_EQ(window.count, 1);
    CHECK_OK(add(&window, 0x5000, 0x1000, 0x85000));
    CHECK_OK(add(&window, 0x4000, 0x1000, 0x84000)); /* before */
    CHECK_EQ(window.count, 2);
    CHECK_OK(add(&window, 0x3000, 0x1000, 0x83000)); /* between: all three */
    CHECK_EQ(window.count, 1);
    CHECK_EQ(find(&window, 0x1000, 0x5000), 0x81000);
}

TEST(window_keeps_neighbours_apart_that_do_not_continue_virtually)
{
    struct mm_window window = {.count = 0};
    void *out;

    CHECK_OK(add(&window, 0x1000, 0x1000, 0x91000));
    CHECK_OK(add(&window, 0x2000, 0x1000, 0xa2000));
    CHECK_OK(add(&window, 0x3000, 0x1000, 0xb3000));
    CHECK_EQ(window.count, 3);
    CHECK_EQ(find(&window, 0x2fff, 1), 0xa2fff);
    CHECK_ERR(mm_window_find(&window, mm_phys(0x1ff8), 16, &out), MM_ERR_WINDOW);
}

/* Joined they would wrap: the first page of the address space follows its last one. */
TEST(window_does_not_join_around_the_end_of_the_address_space)
{
    struct mm_window window = {.count = 0};
    mm_phys_t phys;
    void *out;

    CHECK_OK(add(&window, 0x1000, 0x1000, 0xfffffffffffff000));
    CHECK_OK(add(&window, 0x2000, 0x1000, 0));
    CHECK_EQ(window.count, 2);
    CHECK_ERR(mm_window_find(&window, mm_phys(0x1ff8), 16, &out), MM_ERR_WINDOW);
    CHECK_OK(mm_window_phys(&window, mm_virt_pointer(mm_virt(8)), &phys));
    CHECK_EQ(phys.raw, 0x2008);
}

TEST(window_that_is_full_takes_only_what_joins)
{
    struct mm_window window = {.count = 0}, before;

    for (unsigned i = 0; i < MM_WINDOW_PIECES; i++) /* backwards: each goes to the front */
        CHECK_OK(add(&window, (MM_WINDOW_PIECES - i) * 4 * PAGE, PAGE, (100 + i) * PAGE));
    CHECK_EQ(window.count, MM_WINDOW_PIECES);
    for (unsigned i = 1; i < MM_WINDOW_PIECES; i++)
        CHECK(window.piece[i - 1].first.raw < window.piece[i].first.raw);
    before = window;
    CHECK_ERR(add(&window, 100 * PAGE, PAGE, 500 * PAGE), MM_ERR_NO_ROOM);
    CHECK_ERR(add(&window, 6 * PAGE, PAGE, 500 * PAGE), MM_ERR_NO_ROOM);
    CHECK(memcmp(&window, &before, sizeof window) == 0);
    /* the piece at 4 pages was the last one added */
    CHECK_OK(add(&window, 5 * PAGE, PAGE, (100 + MM_WINDOW_PIECES) * PAGE));
    CHECK_EQ(window.count, MM_WINDOW_PIECES);
}

TEST(window_leads_back_from_pointers)
{
    struct mm_window window = {.count = 0};
    mm_phys_t phys = mm_phys(7);

    CHECK_OK(add(&window, 0x100000, 0x2000, 0x9000));
    CHECK_OK(add(&window, 0x300000, 0x1000, 0x5000));
    CHECK_OK(mm_window_phys(&window, mm_virt_pointer(mm_virt(0xafff)), &phys));
    CHECK_EQ(phys.raw, 0x101fff);
    CHECK_OK(mm_window_phys(&window, mm_virt_pointer(mm_virt(0x5000)), &phys));
    CHECK_EQ(phys.raw, 0x300000);
    CHECK_ERR(mm_window_phys(&window, mm_virt_pointer(mm_virt(0xb000)), &phys), MM_ERR_WINDOW);
    CHECK_ERR(mm_window_phys(&window, mm_virt_pointer(mm_virt(0x4fff)), &phys), MM_ERR_WINDOW);
    CHECK_ERR(mm_window_phys(&window, mm_virt_pointer(mm_virt(0x8fff)), &phys), MM_ERR_WINDOW);
    CHECK_EQ(phys.raw, 0x300000);
}

/* The model: one virtual page number per physical page, 0 = not there. Pages lie at one of three
 * distances, so that some pieces join and some do not. */
#define MODEL_PAGES 64u

static uint64_t piece_page(unsigned phys_page, unsigned distance)
{
    return phys_page + 0x100 + distance * 0x1000u;
}

static void compare_with_model(const struct mm_window *window, const uint64_t *model)
{
    unsigned pieces = 0;

    for (unsigned i = 0; i < MODEL_PAGES; i++) {
        CHECK_EQ(find(window, i * PAGE, PAGE), model[i] * PAGE);
        pieces += model[i] != 0 && (i == 0 || model[i - 1] + 1 != model[i]);
    }
    CHECK_EQ(window->count, pieces);
}

TEST(window_agrees_with_a_naive_model)
{
    for (unsigned round = 0; round < 300; round++) {
        struct mm_window window = {.count = 0};
        uint64_t model[MODEL_PAGES] = {0};

        mm_test_row("round", round);
        for (unsigned step = 0; step < 40; step++) {
            unsigned first = (unsigned)mm_test_below(MODEL_PAGES);
            unsigned count =
                1 + (unsigned)mm_test_below(MODEL_PAGES - first < 4 ? MODEL_PAGES - first : 4);
            unsigned distance = (unsigned)mm_test_below(3);
            enum mm_err err =
                add(&window, first * PAGE, count * PAGE, piece_page(first, distance) * PAGE);
            bool taken = false;

            for (unsigned i = first; i < first + count; i++)
                taken |= model[i] != 0;
            CHECK(taken ? err == MM_ERR_EXISTS : err == MM_OK || err == MM_ERR_NO_ROOM);
            for (unsigned i = first; err == MM_OK && i < first + count; i++)
                model[i] = piece_page(i, distance);
            if (err == MM_ERR_NO_ROOM)
                CHECK_EQ(window.count, MM_WINDOW_PIECES);
        }
        compare_with_model(&window, model);
    }
}
