/*
 * test_arena_check.c - the check against overwritten bookkeeping.
 *
 * Problem     A check that runs when something is wrong must neither miss it nor follow it.
 * Idea        An arena with spans in every state, in lent memory and in frames. Each bit of it is
 *             flipped once: the check finds it, except in what callers choose freely. Then several
 *             words at a time are overwritten: whatever it finds, it ends, and touches no memory
 *             that is not the arena's (the sanitizer and the simulated RAM see to that).
 */
#include "arena_fixture.h"

#include <string.h>

#define BASE  UINT64_C(0xffffe00000000000)
#define PAGES 400u
#define LENT  4u
#define NODES (MM_FRAME_BYTES / sizeof(struct mm_arena_span))

static struct arena_fixture t, image; /* as it was */
static char frame_image[2][MM_FRAME_BYTES];

static char *grown(unsigned i)
{
    return (char *)(i == 0 ? t.arena.grown.child[0] : t.arena.grown.child[1]);
}

/* Taken, in quarantine, spent, spare and a hole; two frames, one of them with room. */
static void begin(void)
{
    uint64_t at = 0;

    fixture_grow(&t, BASE, PAGES, LENT, PAGES);
    for (unsigned i = 0; i < 100; i++) {
        struct mm_arena_request request = {.bytes = (1 + i % 3) * PAGE,
                                           .cookie = i,
                                           .guard_before_frames = i % 2,
                                           .guard_after_frames = i % 5 == 0};
        mm_virt_t virt;

        CHECK_OK(mm_arena_take(&t.arena, &request, &virt));
        at = i == 50 ? virt.raw : at;
        if (i % 4 == 0)
            CHECK_OK(mm_arena_give(&t.arena, virt));
    }
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(at)));
    CHECK_OK(take_at(&t, at, 1)); /* one is spent */
    CHECK_EQ(t.arena.spent_count, 1);
    CHECK_EQ(t.arena.grown_frames, 2);
    CHECK(t.arena.spare_count > 0);
    CHECK(t.arena.grown.child[0] != NULL && t.arena.grown.child[1] != NULL);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    image = t;
    for (unsigned i = 0; i < 2; i++)
        memcpy(frame_image[i], grown(i), MM_FRAME_BYTES);
}

/* Bits of a span that say nothing about another, while somebody has it or had it. */
static bool is_chosen_freely(const void *node, size_t bit)
{
    struct mm_arena_span span, mask;

    memset(&mask, 0, sizeof mask);
    mask.cookie = UINT64_MAX;
    mask.guard_before = MM_ARENA_GUARD_MAX;
    mask.guard_after = MM_ARENA_GUARD_MAX;
    memcpy(&span, node, sizeof span);
    return (span.state == MM_ARENA_TAKEN || span.state == MM_ARENA_QUARANTINED) &&
           (((unsigned char *)&mask)[bit / 8] >> bit % 8 & 1) != 0;
}

static void flip(char *memory, size_t bit)
{
    memory[bit / 8] = (char)(memory[bit / 8] ^ 1 << bit % 8);
}

static void check_flips(char *memory, size_t bytes, bool is_node)
{
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        bool free = is_node && is_chosen_freely(memory, bit);

        mm_test_row("bit", bit);
        flip(memory, bit);
        CHECK(mm_arena_check(&t.arena, NULL) != 0 || free);
        flip(memory, bit);
    }
}

TEST(arena_check_finds_each_flipped_bit_of_the_arena)
{
    size_t edge = offsetof(struct mm_arena, edge);

    begin();
    /* Not the lock: a check waits for it. */
    check_flips((char *)&t.arena.root, edge - offsetof(struct mm_arena, root), false);
    for (unsigned i = 0; i < 2; i++)
        check_flips((char *)&t.arena.edge[i], sizeof t.arena.edge[i], true);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

TEST(arena_check_finds_each_flipped_bit_of_its_spans)
{
    begin();
    for (unsigned i = 0; i < LENT; i++)
        check_flips((char *)&t.span[i], sizeof t.span[i], true);
    for (unsigned k = 0; k < 2; k++) {
        mm_test_row("link", k);
        check_flips(grown(k), sizeof(struct mm_arena_grown), false);
        for (size_t i = 1; i < NODES; i++)
            check_flips(grown(k) + i * sizeof(struct mm_arena_span), sizeof(struct mm_arena_span),
                        true);
    }
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

static uint64_t *any_word(void)
{
    size_t arena = offsetof(struct mm_arena, root);
    char *frame[2] = {(char *)image.arena.grown.child[0], (char *)image.arena.grown.child[1]};

    switch (mm_test_below(3)) {
    case 0:
        return (uint64_t *)((char *)&t.arena + arena +
                            8 * mm_test_below((sizeof t.arena - arena) / 8));
    case 1:
        return (uint64_t *)t.span + mm_test_below(LENT * sizeof t.span[0] / 8);
    default:
        return (uint64_t *)frame[mm_test_below(2)] + mm_test_below(MM_FRAME_BYTES / 8);
    }
}

/* Zero, a copy of another word, a word of another by some bytes, or anything. */
static uint64_t any_value(void)
{
    switch (mm_test_below(4)) {
    case 0:
        return 0;
    case 1:
        return *any_word();
    case 2:
        return *any_word() + mm_test_below(128);
    default:
        return mm_test_random();
    }
}

TEST(arena_check_ends_whatever_is_overwritten)
{
    unsigned found = 0;

    begin();
    for (unsigned i = 0; i < 20000; i++) {
        mm_test_row("round", i);
        for (uint64_t words = 1 + mm_test_below(6); words > 0; words--)
            *any_word() = any_value();
        found += mm_arena_check(&t.arena, NULL) != 0;
        t = image;
        for (unsigned k = 0; k < 2; k++)
            memcpy(grown(k), frame_image[k], MM_FRAME_BYTES);
    }
    CHECK(found > 15000);
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
}

/* Spans without frames sort behind themselves. */
TEST(arena_check_ends_in_a_circle)
{
    begin();
    for (unsigned i = 0; i < LENT; i++) {
        mm_test_row("span", i);
        t.span[i].frames = 0;
        t.span[i].child[1] = &t.span[i];
        CHECK(mm_arena_check(&t.arena, NULL) != 0);
        t = image;
    }
}

/* ---- what is told ---- */

static struct mm_report told[16];
static unsigned told_count;

static void tell(void *context, const struct mm_report *report)
{
    CHECK(context == &told_count);
    CHECK_EQ(report->kind, MM_REPORT_CORRUPT);
    CHECK(report->object == &t.arena);
    if (told_count < 16)
        told[told_count] = *report;
    told_count++;
}

static const struct mm_check_sink sink = {tell, &told_count};

TEST(arena_check_tells_where_and_what)
{
    begin();
    told_count = 0;
    t.arena.taken_bytes -= PAGE;
    CHECK_EQ(mm_arena_check(&t.arena, &sink), 1);
    CHECK_EQ(told_count, 1);
    CHECK_TEXT(told[0].what, "bytes taken");
    t.arena.taken_bytes += PAGE;
    t.span[1].child[0] = (struct mm_arena_span *)0x1000;
    CHECK_EQ(mm_arena_check(&t.arena, &sink), 1);
    CHECK_TEXT(told[1].what, "link leads out of the arena's nodes");
    CHECK_EQ(told[1].address, 0x1000);
    CHECK_EQ(told_count, 2);
}

/* A hole that the window covers, the link at the start of a frame, a place between two spans. */
TEST(arena_check_looks_into_no_frame_that_the_arena_did_not_take)
{
    static const uint64_t off[] = {UINT64_C(1) << 30, 0, 8};

    begin();
    fake_window()->piece[0].bytes += UINT64_C(4) << 30;
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        mm_test_row("row", i);
        t.span[1].child[1] = (struct mm_arena_span *)((uintptr_t)grown(0) + off[i]);
        CHECK_EQ(mm_arena_check(&t.arena, NULL), 1);
        t = image;
        t.arena.spare = (struct mm_arena_span *)((uintptr_t)grown(0) + off[i]);
        CHECK(mm_arena_check(&t.arena, NULL) != 0);
        t = image;
    }
    CHECK_EQ(mm_arena_check(NULL, NULL), 1);
}
