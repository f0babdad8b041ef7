/*
 * test_arena_quarantine.c - what was given back, and who may have it when.
 *
 * Problem     Delayed reuse must end: by what is given back later, by need, or by an order; and it
 *             must never be the reason for a failure.
 * Idea        An arena of 16 pages, 4 of which may be in quarantine.
 */
#include "arena_fixture.h"

#define BASE     UINT64_C(0x10000)
#define AT(page) (BASE + (page)*PAGE)

static struct arena_fixture t;

static uint64_t must_take(uint64_t pages)
{
    uint64_t at = 0;

    CHECK_OK(take(&t, pages, &at));
    return at;
}

static void give(uint64_t page)
{
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(AT(page))));
}

static unsigned state(uint64_t page)
{
    struct mm_arena_info info = MM_ZERO;

    return mm_arena_find(&t.arena, mm_virt(AT(page)), &info) == MM_OK ? info.state : 0;
}

TEST(arena_hands_out_nothing_that_is_in_quarantine)
{
    struct mm_arena_stats stats;

    fixture_grow(&t, BASE, 16, 8, 4);
    CHECK_EQ(must_take(2), AT(0));
    give(0);
    CHECK_EQ(state(0), MM_ARENA_QUARANTINED);
    CHECK_EQ(must_take(2), AT(2));
    mm_arena_get_stats(&t.arena, &stats);
    CHECK_EQ(stats.spans, 1);
    CHECK_EQ(stats.taken_bytes, 2 * PAGE);
    CHECK_EQ(stats.quarantined_spans, 1);
    CHECK_EQ(stats.quarantined_bytes, 2 * PAGE);
    CHECK_EQ(stats.free_bytes, 12 * PAGE);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_quarantine_ends_when_enough_was_given_back_after)
{
    fixture_grow(&t, BASE, 16, 8, 4);
    for (uint64_t page = 0; page < 16; page += 2)
        CHECK_EQ(must_take(2), AT(page));
    give(0);
    give(8);
    CHECK_EQ(state(0), MM_ARENA_QUARANTINED); /* 2 pages after it */
    give(4);
    CHECK_EQ(state(0), 0); /* 4 */
    CHECK_EQ(state(8), MM_ARENA_QUARANTINED);
    give(12);
    CHECK_EQ(state(8), 0);
    CHECK_EQ(state(4), MM_ARENA_QUARANTINED);
    CHECK_EQ(must_take(2), AT(0));
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_give_of_what_is_in_quarantine_is_refused)
{
    fixture_grow(&t, BASE, 16, 8, 4);
    CHECK_EQ(must_take(2), AT(0));
    give(0);
    CHECK_ERR(mm_arena_give(&t.arena, mm_virt(AT(0))), MM_ERR_MISUSE);
    check_reported("address is not the start of a span", AT(0));
    CHECK_ERR(mm_arena_grow(&t.arena, mm_virt(AT(0)), PAGE), MM_ERR_MISUSE);
    check_reported("address is not the start of a span", AT(0));
    CHECK_ERR(mm_arena_cut(&t.arena, mm_virt(AT(0)), PAGE), MM_ERR_MISUSE);
    check_reported("not inside one span", AT(0));
    CHECK_EQ(state(0), MM_ARENA_QUARANTINED);
}

/* Addresses, or spans, are needed: the oldest first. */
TEST(arena_quarantine_is_no_reason_to_fail)
{
    uint64_t at = 42;

    fixture_grow(&t, BASE, 16, 8, 100);
    CHECK_EQ(must_take(16), AT(0));
    give(0);
    CHECK_EQ(must_take(1), AT(0));
    CHECK_ERR(take(&t, 16, &at), MM_ERR_NO_ADDRESS);
    CHECK_EQ(at, 42);

    fixture_grow(&t, BASE, 16, 2, 100);
    t.frames.empty = true;
    CHECK_EQ(must_take(1), AT(0));
    CHECK_EQ(must_take(1), AT(1));
    give(1);
    give(0);
    CHECK_EQ(must_take(1), AT(1)); /* its bookkeeping is needed: not page 2 */
    CHECK_EQ(state(0), MM_ARENA_QUARANTINED);
    CHECK_EQ(must_take(1), AT(0));
    CHECK_ERR(take(&t, 1, &at), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_exact_ends_the_quarantine_of_what_is_in_its_way)
{
    fixture_grow(&t, BASE, 16, 8, 100);
    CHECK_EQ(must_take(2), AT(0));
    CHECK_EQ(must_take(2), AT(2));
    CHECK_EQ(must_take(2), AT(4));
    give(0);
    give(2);
    CHECK_ERR(take_at(&t, AT(3), 2), MM_ERR_EXISTS); /* and ends that of 2 */
    CHECK_EQ(state(0), MM_ARENA_QUARANTINED);
    CHECK_EQ(state(2), 0);
    CHECK_EQ(t.arena.spent_count, 1);
    CHECK_OK(take_at(&t, AT(1), 2));
    CHECK_EQ(state(0), 0);
    CHECK_EQ(state(1), MM_ARENA_TAKEN);
    CHECK_EQ(t.arena.spent_count, 2);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    give(4); /* the next that leaves takes the spent ones along */
    CHECK_EQ(t.arena.spent_count, 0);
    CHECK_EQ(state(4), MM_ARENA_QUARANTINED);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_drain_ends_all_quarantine)
{
    struct mm_arena_stats stats;

    fixture_grow(&t, BASE, 300, 1, 1000);
    for (unsigned i = 0; i < 300; i++)
        CHECK_EQ(must_take(1), AT(i));
    for (unsigned i = 0; i < 300; i++)
        give(i * 7 % 300);
    CHECK_EQ(t.arena.quarantine_count, 300);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    mm_arena_drain(&t.arena);
    mm_arena_get_stats(&t.arena, &stats);
    CHECK_EQ(stats.quarantined_spans, 0);
    CHECK_EQ(stats.quarantined_bytes, 0);
    CHECK_EQ(stats.largest_free_bytes, 300 * PAGE);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    mm_arena_drain(NULL);
}

TEST(arena_quarantine_may_change)
{
    fixture_grow(&t, BASE, 16, 8, 0);
    CHECK_EQ(must_take(2), AT(0));
    give(0);
    CHECK_EQ(state(0), 0);
    mm_arena_set_quarantine(&t.arena, 100 * PAGE);
    for (uint64_t page = 0; page < 12; page += 2)
        CHECK_EQ(must_take(2), AT(page));
    for (uint64_t page = 0; page < 10; page += 2)
        give(page);
    CHECK_EQ(t.arena.quarantine_count, 5);
    mm_arena_set_quarantine(&t.arena, 4 * PAGE);
    CHECK_EQ(t.arena.quarantine_count, 5);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    give(10);
    CHECK_EQ(t.arena.quarantine_count, 2);
    CHECK_EQ(state(10), MM_ARENA_QUARANTINED);
    mm_arena_set_quarantine(&t.arena, 0);
    CHECK_EQ(t.arena.quarantine_count, 0);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    mm_arena_set_quarantine(NULL, 0);
}

/* One that is larger than the quarantine stays until the next is given back. */
TEST(arena_keeps_the_last_whatever_its_size)
{
    fixture_grow(&t, BASE, 16, 8, 4);
    CHECK_EQ(must_take(10), AT(0));
    CHECK_EQ(must_take(4), AT(10));
    give(0);
    CHECK_EQ(state(0), MM_ARENA_QUARANTINED);
    give(10);
    CHECK_EQ(state(0), 0);
    CHECK_EQ(state(10), MM_ARENA_QUARANTINED);
}

TEST(arena_walk_tells_what_is_in_quarantine)
{
    struct mm_arena_cursor cursor = MM_ZERO;
    struct mm_arena_info info;

    fixture_grow(&t, BASE, 16, 8, 100);
    CHECK_EQ(must_take(2), AT(0));
    CHECK_EQ(must_take(3), AT(2));
    give(0);
    CHECK_OK(mm_arena_walk(&t.arena, &cursor, &info));
    CHECK_EQ(info.start.raw, AT(0));
    CHECK_EQ(info.state, MM_ARENA_QUARANTINED);
    CHECK_OK(mm_arena_walk(&t.arena, &cursor, &info));
    CHECK_EQ(info.start.raw, AT(2));
    CHECK_EQ(info.bytes, 3 * PAGE);
    CHECK_EQ(info.state, MM_ARENA_TAKEN);
    CHECK_ERR(mm_arena_walk(&t.arena, &cursor, &info), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_arena_walk(NULL, &cursor, &info), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_walk(&t.arena, NULL, &info), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_arena_walk(&t.arena, &cursor, NULL), MM_ERR_BAD_ARG);
}
