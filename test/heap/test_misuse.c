/*
 * test_misuse.c - frees and resizes that are wrong: each class, with its twin that is right and silent.
 *
 * Each is refused with the report that fits, names the pointer and the caller, and leaves every byte
 * of the heap and of its memory as it was.
 */
#include "heap_test.h"

#include "heap/block.h"

static struct mm_heap heap;
static unsigned char lent[16384] __attribute__((aligned(64)));

static enum mm_err result;

static __attribute__((noinline)) void free_here(void *p)
{
    result = mm_heap_free(&heap, p);
}

static __attribute__((noinline)) void free_sized_here(void *p, size_t bytes)
{
    result = mm_heap_free_sized(&heap, p, bytes);
}

static void *volatile kept;

static __attribute__((noinline)) void realloc_here(void *p, size_t bytes)
{
    kept = mm_heap_realloc(&heap, p, bytes);
}

static volatile size_t kept_bytes;

static __attribute__((noinline)) void usable_here(const void *p)
{
    kept_bytes = mm_heap_usable(&heap, p);
}

#define FOREIGN           "pointer is not from this heap"
#define INTERIOR          "pointer is not the start of a heap block"
#define FREED             "heap block is already free"
#define HEADER_DAMAGED    "header of a heap block overwritten"
#define NEIGHBOUR_DAMAGED "heap overwritten next to the block"

/* Every call that takes a block refuses `p` in the same way and changes nothing. */
static void check_refused(void *p, enum mm_err err, const char *what)
{
    const enum mm_report_kind kind = err == MM_ERR_CORRUPT ? MM_REPORT_CORRUPT : MM_REPORT_MISUSE;
    const uint64_t before = heap_hash(&heap, lent, sizeof lent);
    const uint64_t counted = stats_of(&heap).misuse_count;

    free_here(p);
    CHECK_ERR(result, err);
    expect_report(kind, err, what, "mm_heap_free", &heap, p, (void (*)(void))free_here);
    free_sized_here(p, 1);
    CHECK_ERR(result, err);
    expect_report(kind, err, what, "mm_heap_free_sized", &heap, p, (void (*)(void))free_sized_here);
    for (size_t bytes = 0; bytes <= 2 * sizeof lent; bytes += sizeof lent / 2) {
        realloc_here(p, bytes);
        CHECK(kept == NULL);
        expect_report(kind, err, what, "mm_heap_realloc", &heap, p, (void (*)(void))realloc_here);
    }
    if (strcmp(what, NEIGHBOUR_DAMAGED) != 0) {
        usable_here(p);
        CHECK_EQ(kept_bytes, 0);
        expect_report(kind, err, what, "mm_heap_usable", &heap, p, (void (*)(void))usable_here);
        CHECK(!mm_heap_owns(&heap, p));
        CHECK_EQ(mm_test_report_count(), 0);
    }
    CHECK_EQ(heap_hash(&heap, lent, sizeof lent), before);
    CHECK(stats_of(&heap).misuse_count >= counted + 7);
}

TEST(heap_free_of_null_does_nothing)
{
    uint64_t before;

    lent_heap(&heap, lent, sizeof lent);
    before = heap_hash(&heap, lent, sizeof lent);
    CHECK_OK(mm_heap_free(&heap, NULL));
    CHECK_OK(mm_heap_free_sized(&heap, NULL, 100));
    CHECK_EQ(mm_heap_usable(&heap, NULL), 0);
    CHECK(!mm_heap_owns(&heap, NULL));
    CHECK_EQ(heap_hash(&heap, lent, sizeof lent), before);
    end_heap(&heap, NULL);
}

TEST(heap_pointers_that_are_not_its_own_are_refused)
{
    static unsigned char other_lent[1024];
    struct mm_heap other;
    unsigned char local[64];
    void *theirs, *ours;

    lent_heap(&heap, lent, sizeof lent);
    lent_heap(&other, other_lent, sizeof other_lent);
    ours = mm_heap_alloc(&heap, 8);
    theirs = mm_heap_alloc(&other, 8);
    check_refused(theirs, MM_ERR_MISUSE, FOREIGN);
    check_refused(local, MM_ERR_MISUSE, FOREIGN);
    check_refused((void *)((uintptr_t)lent - 1), MM_ERR_MISUSE, FOREIGN);
    check_refused((void *)((uintptr_t)lent - 16), MM_ERR_MISUSE, FOREIGN);
    check_refused(lent + sizeof lent, MM_ERR_MISUSE, FOREIGN);
    check_refused((void *)1, MM_ERR_MISUSE, FOREIGN);
    check_refused((void *)16, MM_ERR_MISUSE, FOREIGN);
    check_refused((void *)UINTPTR_MAX, MM_ERR_MISUSE, FOREIGN);
    check_refused((void *)(UINTPTR_MAX - 15), MM_ERR_MISUSE, FOREIGN);
    CHECK_OK(mm_heap_free(&heap, ours)); /* the twin: each to its own */
    CHECK_OK(mm_heap_free(&other, theirs));
    CHECK_EQ(mm_heap_check(&other, NULL), 0);
    end_heap(&heap, NULL);
}

TEST(heap_pointers_into_a_block_are_refused_each_of_them)
{
    unsigned char *p;

    lent_heap(&heap, lent, sizeof lent);
    CHECK(mm_heap_alloc(&heap, 40) != NULL);
    p = mm_heap_zeroed(&heap, 200);
    CHECK(mm_heap_alloc(&heap, 40) != NULL);
    for (size_t i = 1; i < 200; i++)
        check_refused(p + i, MM_ERR_MISUSE, INTERIOR);
    for (size_t i = 1; i <= 15; i++) /* the header is no block either */
        check_refused(p - i, MM_ERR_MISUSE, INTERIOR);
    free_here(p);
    CHECK_OK(result);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

TEST(heap_pointers_to_its_own_bookkeeping_are_refused)
{
    lent_heap(&heap, lent, sizeof lent);
    for (size_t i = 0; i < OVERHEAD; i += 16)
        if (i != 48 + 16) /* the first block's own address is that of a free block */
            check_refused(lent + i, MM_ERR_MISUSE, INTERIOR);
    check_refused(lent + sizeof lent - 16, MM_ERR_MISUSE, INTERIOR);
    check_refused(lent + sizeof lent - 1, MM_ERR_MISUSE, INTERIOR);
    end_heap(&heap, NULL);
}

TEST(heap_free_twice_is_refused_wherever_the_block_went)
{
    void *p[7];

    /* Each of three blocks in each order: merged into what is behind, in front, both. */
    for (unsigned order = 0; order < 6; order++) {
        const unsigned turn[6][3] = {{1, 3, 5}, {1, 5, 3}, {3, 1, 5},
                                     {3, 5, 1}, {5, 1, 3}, {5, 3, 1}};
        const unsigned even[] = {2, 4, 0};

        lent_heap(&heap, lent, sizeof lent);
        for (unsigned i = 0; i < 7; i++)
            p[i] = mm_heap_alloc(&heap, 40);
        for (unsigned i = 0; i < 3; i++) {
            free_here(p[turn[order][i]]);
            CHECK_OK(result);
            check_refused(p[turn[order][i]], MM_ERR_MISUSE, FREED);
        }
        for (unsigned i = 0; i < 3; i++)
            CHECK_OK(mm_heap_free(&heap, p[even[i]]));
        for (unsigned i = 0; i < 6; i++)
            check_refused(p[i], MM_ERR_MISUSE, FREED);
        CHECK_OK(mm_heap_free(&heap, p[6]));
        end_heap(&heap, NULL);
    }
}

TEST(heap_free_twice_of_memory_in_use_again_is_refused)
{
    unsigned char *a, *b, *large;

    lent_heap(&heap, lent, sizeof lent);
    a = mm_heap_alloc(&heap, 40);
    b = mm_heap_alloc(&heap, 40);
    CHECK_OK(mm_heap_free(&heap, b));
    CHECK_OK(mm_heap_free(&heap, a));
    large = mm_heap_alloc(&heap, 400); /* over both */
    CHECK(large == a);
    /* Its old header is there still, unless the debug build poisoned what it handed out. */
    check_refused(b, MM_ERR_MISUSE, MM_LEVEL >= MM_LEVEL_DEBUG ? INTERIOR : FREED);
    memset(large, 0x11, 400);
    check_refused(b, MM_ERR_MISUSE, INTERIOR); /* and now it is not */
    CHECK_OK(mm_heap_free(&heap, large));
    end_heap(&heap, NULL);
}

TEST(heap_block_moved_by_realloc_is_free)
{
    void *p, *q;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_alloc(&heap, 40);
    CHECK(mm_heap_alloc(&heap, 8) != NULL);
    q = mm_heap_realloc(&heap, p, 400);
    CHECK(q != NULL && q != p);
    check_refused(p, MM_ERR_MISUSE, FREED);
    CHECK_OK(mm_heap_free(&heap, q));
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

TEST(heap_block_whose_header_was_overwritten_is_leaked)
{
    unsigned char *before, *p, *behind;
    unsigned char saved[HEADER];

    lent_heap(&heap, lent, sizeof lent);
    before = mm_heap_alloc(&heap, 40);
    p = mm_heap_alloc(&heap, 40);
    behind = mm_heap_alloc(&heap, 40);
    memcpy(saved, p - HEADER, HEADER);

    memset(p - HEADER, 0x41, HEADER); /* as an overflow of `before` does */
    check_refused(p, MM_ERR_CORRUPT, HEADER_DAMAGED);
    check_refused(before, MM_ERR_CORRUPT, NEIGHBOUR_DAMAGED);
    check_refused(behind, MM_ERR_CORRUPT, NEIGHBOUR_DAMAGED);
    CHECK(mm_heap_owns(&heap, behind));
    CHECK(mm_heap_check(&heap, NULL) != 0);

    memset(p - HEADER, 0, HEADER);
    check_refused(p, MM_ERR_CORRUPT, HEADER_DAMAGED);

    memcpy(p - HEADER, saved, HEADER); /* the twin */
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    CHECK_OK(mm_heap_free(&heap, p));
    CHECK_OK(mm_heap_free(&heap, behind));
    CHECK_OK(mm_heap_free(&heap, before));
    end_heap(&heap, NULL);
}

TEST(heap_copy_of_a_block_with_its_header_is_no_block)
{
    unsigned char *a, *b;

    lent_heap(&heap, lent, sizeof lent);
    a = mm_heap_alloc(&heap, 48);
    b = mm_heap_zeroed(&heap, 200);
    memcpy(b, a - HEADER, HEADER + 48);
    check_refused(b + HEADER, MM_ERR_MISUSE, INTERIOR);
    CHECK_OK(mm_heap_free(&heap, a));
    CHECK_OK(mm_heap_free(&heap, b));
    end_heap(&heap, NULL);
}

/* Sealed, but not what the neighbours say: a heap that was damaged by itself. */
TEST(heap_headers_that_contradict_each_other_are_not_merged)
{
    unsigned char *before, *p, *behind;
    struct block *b, saved;

    lent_heap(&heap, lent, sizeof lent);
    before = mm_heap_alloc(&heap, 48);
    p = mm_heap_alloc(&heap, 48);
    behind = mm_heap_alloc(&heap, 48);
    for (unsigned i = 0; i < 2; i++) {
        b = (struct block *)((i == 0 ? behind : p) - HEADER);
        saved = *b;
        block_write(SECRET, b, b->units, b->units_before + 1, BLOCK_LIVE);
        check_refused(i == 0 ? p : before, MM_ERR_CORRUPT, NEIGHBOUR_DAMAGED);
        block_write(SECRET, b, saved.units, 2, BLOCK_LIVE); /* there is none at that distance */
        check_refused((unsigned char *)b + HEADER, MM_ERR_CORRUPT, NEIGHBOUR_DAMAGED);
        *b = saved;
    }
    block_write(SECRET, (struct block *)(before - HEADER), 3, 0, BLOCK_LIVE); /* shorter */
    check_refused(p, MM_ERR_CORRUPT, NEIGHBOUR_DAMAGED);
    block_write(SECRET, (struct block *)(before - HEADER), 4, 0, BLOCK_LIVE);
    CHECK_OK(mm_heap_free(&heap, p));
    CHECK_OK(mm_heap_free(&heap, behind));
    CHECK_OK(mm_heap_free(&heap, before));
    end_heap(&heap, NULL);
}

/* A late write into a freed block hits the links. Whoever needs them next finds it. */
TEST(heap_free_next_to_damaged_links_is_leaked)
{
    unsigned char *p[5];

    for (size_t word = 0; word < 2; word++) {
        const uintptr_t wild[] = {1, 16, (uintptr_t)lent, (uintptr_t)lent + 8, UINTPTR_MAX};

        for (size_t i = 0; i < 5; i++) {
            uintptr_t saved;

            lent_heap(&heap, lent, sizeof lent);
            for (size_t j = 0; j < 5; j++)
                p[j] = mm_heap_alloc(&heap, 40);
            CHECK_OK(mm_heap_free(&heap, p[1]));
            CHECK_OK(mm_heap_free(&heap, p[3]));
            memcpy(&saved, p[1] + word * sizeof saved, sizeof saved);
            memcpy(p[1] + word * sizeof saved, &wild[i], sizeof saved);
            check_refused(p[2], MM_ERR_CORRUPT, NEIGHBOUR_DAMAGED);
            check_refused(p[0], MM_ERR_CORRUPT, NEIGHBOUR_DAMAGED);
            memcpy(p[1] + word * sizeof saved, &saved, sizeof saved);
            CHECK_OK(mm_heap_free(&heap, p[2]));
            CHECK_OK(mm_heap_free(&heap, p[0]));
            CHECK_OK(mm_heap_free(&heap, p[4]));
            end_heap(&heap, NULL);
        }
    }
}

/* A free block in front of the list need not be a neighbour to be written to. */
TEST(heap_free_in_front_of_a_damaged_list_is_leaked)
{
    unsigned char *head, *p;

    lent_heap(&heap, lent, sizeof lent);
    head = mm_heap_alloc(&heap, 48);
    CHECK(mm_heap_alloc(&heap, 48) != NULL);
    p = mm_heap_alloc(&heap, 48);
    CHECK(mm_heap_alloc(&heap, 48) != NULL);
    CHECK_OK(mm_heap_free(&heap, head));
    head[-1] ^= 1;
    check_refused(p, MM_ERR_CORRUPT, NEIGHBOUR_DAMAGED);
    head[-1] ^= 1;
    head[8] ^= 16;
    check_refused(p, MM_ERR_CORRUPT, NEIGHBOUR_DAMAGED);
    CHECK(mm_heap_alloc(&heap, 5000) == NULL); /* looks for room, and cuts the list */
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
    CHECK_OK(mm_heap_free(&heap, p)); /* so that the rest can go on */
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

TEST(heap_free_sized_knows_the_sizes_a_block_can_have_been_asked_with)
{
    lent_heap(&heap, lent, sizeof lent);
    for (size_t bytes = 0; bytes < 300; bytes++) {
        void *p = mm_heap_alloc(&heap, bytes);
        const size_t wrong[] = {bytes + 48, bytes + 1000, SIZE_MAX, SIZE_MAX - 15};

        mm_test_row("bytes", bytes);
        for (size_t i = 0; i < 4; i++) {
            free_sized_here(p, wrong[i]);
            CHECK_ERR(result, MM_ERR_MISUSE);
            expect_report(MM_REPORT_MISUSE, MM_ERR_MISUSE, "size is not that of the heap block",
                          "mm_heap_free_sized", &heap, p, (void (*)(void))free_sized_here);
        }
        CHECK_ERR(mm_heap_free_sized(&heap, p, bytes + 500), MM_ERR_MISUSE);
        CHECK_EQ(mm_test_report(0)->value[0], bytes + 500); /* found */
        CHECK_EQ(mm_test_report(0)->value[1], mm_heap_usable(&heap, p));
        mm_test_reports_clear();
        if (bytes >= 64) {
            CHECK_ERR(mm_heap_free_sized(&heap, p, bytes - 32), MM_ERR_MISUSE);
            mm_test_reports_clear();
        }
        CHECK_OK(mm_heap_free_sized(&heap, p, bytes));
    }
    end_heap(&heap, NULL);
}

TEST(heap_free_sized_takes_the_size_of_the_last_realloc)
{
    void *p, *gap, *fence;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_alloc(&heap, 100);
    gap = mm_heap_alloc(&heap, 100);
    fence = mm_heap_alloc(&heap, 100);
    CHECK(mm_heap_realloc(&heap, fence, 20) == fence);
    CHECK_OK(mm_heap_free_sized(&heap, fence, 20));
    CHECK_OK(mm_heap_free(&heap, gap));
    CHECK(mm_heap_realloc(&heap, p, 150) == p);
    CHECK_OK(mm_heap_free_sized(&heap, p, 150));
    end_heap(&heap, NULL);
}
