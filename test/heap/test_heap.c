/*
 * test_heap.c - taking, resizing and freeing: what each call promises, and what it refuses.
 */
#include "heap_test.h"

static struct mm_heap heap;
static struct pool pool;
static unsigned char lent[16384] __attribute__((aligned(64)));

/* ---- taking ---- */

TEST(heap_alloc_gives_aligned_blocks_that_do_not_overlap)
{
    unsigned char *block[64];

    grown_heap(&heap, &pool, 0);
    for (size_t i = 0; i < 64; i++) {
        block[i] = mm_heap_alloc(&heap, i * 7);
        CHECK(block[i] != NULL && (uintptr_t)block[i] % MM_HEAP_ALIGN == 0);
        CHECK(mm_heap_usable(&heap, block[i]) >= i * 7);
        memset(block[i], (int)i, i * 7);
    }
    for (size_t i = 0; i < 64; i++) {
        for (size_t j = 0; j < i * 7; j++)
            CHECK_EQ(block[i][j], i);
        CHECK_OK(mm_heap_free(&heap, block[i]));
    }
    CHECK_EQ(pool.allocs, 1);
    end_heap(&heap, &pool);
}

TEST(heap_alloc_of_nothing_is_a_block_of_its_own)
{
    void *a, *b;

    lent_heap(&heap, lent, sizeof lent);
    a = mm_heap_alloc(&heap, 0);
    b = mm_heap_alloc(&heap, 0);
    CHECK(a != NULL && b != NULL && a != b);
    CHECK(mm_heap_owns(&heap, a) && mm_heap_usable(&heap, a) >= 1);
    CHECK(mm_heap_zeroed(&heap, 0) != b);
    CHECK_EQ(stats_of(&heap).live_blocks, 3);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

TEST(heap_sizes_that_cannot_be_are_null_and_change_nothing)
{
    const size_t size[] = {SIZE_MAX,
                           SIZE_MAX - 7,
                           SIZE_MAX - 14,
                           SIZE_MAX - 15,
                           SIZE_MAX - 16,
                           SIZE_MAX - 31,
                           SIZE_MAX - 32,
                           SIZE_MAX - 4096,
                           SIZE_MAX / 2,
                           PTRDIFF_MAX,
                           (size_t)PTRDIFF_MAX + 1,
                           SIZE_MAX / 16,
                           (size_t)1 << 36,
                           ((size_t)1 << 36) - 16,
                           ((size_t)1 << 36) - 31,
                           (size_t)1 << 32,
                           sizeof lent};
    const size_t sizes = sizeof size / sizeof size[0];
    uint64_t before;
    void *block;

    lent_heap(&heap, lent, sizeof lent);
    block = mm_heap_alloc(&heap, 100);
    before = heap_hash(&heap, lent, sizeof lent);
    for (size_t i = 0; i < sizes; i++) {
        mm_test_row("size", size[i]);
        CHECK(mm_heap_alloc(&heap, size[i]) == NULL);
        CHECK(mm_heap_zeroed(&heap, size[i]) == NULL);
        CHECK(mm_heap_aligned(&heap, 64, size[i]) == NULL);
        CHECK(mm_heap_array(&heap, 1, size[i]) == NULL);
        CHECK(mm_heap_realloc(&heap, block, size[i]) == NULL);
        CHECK(mm_heap_realloc(&heap, NULL, size[i]) == NULL);
    }
    CHECK_EQ(heap_hash(&heap, lent, sizeof lent), before);
    CHECK_EQ(stats_of(&heap).fail_count, 6 * sizes);
    CHECK_EQ(mm_test_report_count(), 0);
    CHECK_OK(mm_heap_free(&heap, block));
    end_heap(&heap, NULL);
}

TEST(heap_sizes_that_cannot_be_do_not_reach_the_source)
{
    grown_heap(&heap, &pool, 0);
    CHECK(mm_heap_alloc(&heap, SIZE_MAX) == NULL);
    CHECK(mm_heap_alloc(&heap, (size_t)1 << 37) == NULL);
    CHECK(mm_heap_aligned(&heap, (size_t)1 << 63, 1) == NULL);
    CHECK(mm_heap_aligned(&heap, (size_t)1 << 37, 1) == NULL);
    CHECK_EQ(pool.refused, 0);
    CHECK_EQ(stats_of(&heap).fail_count, 4);
    end_heap(&heap, &pool);
}

TEST(heap_zeroed_and_array_are_zero_also_in_used_memory)
{
    unsigned char *p;

    grown_heap(&heap, &pool, 0); /* the pool's pages are garbage */
    for (unsigned round = 0; round < 2; round++) {
        p = round == 0 ? mm_heap_zeroed(&heap, 1000) : mm_heap_array(&heap, 10, 100);
        for (size_t i = 0; i < 1000; i++)
            CHECK_EQ(p[i], 0);
        memset(p, 0xee, 1000);
        CHECK_OK(mm_heap_free(&heap, p));
    }
    end_heap(&heap, &pool);
}

TEST(heap_array_whose_product_overflows_is_null)
{
    const size_t half = (size_t)1 << 32;
    void *empty, *none;

    lent_heap(&heap, lent, sizeof lent);
    CHECK(mm_heap_array(&heap, half, half) == NULL);
    CHECK(mm_heap_array(&heap, half, half + 1) == NULL); /* wraps to 2^32 */
    CHECK(mm_heap_array(&heap, half + 1, half) == NULL);
    CHECK(mm_heap_array(&heap, SIZE_MAX, 2) == NULL);
    CHECK(mm_heap_array(&heap, 2, (size_t)1 << 63) == NULL);  /* wraps to 0 */
    CHECK(mm_heap_array(&heap, 3, SIZE_MAX / 3 + 6) == NULL); /* wraps to 17 */
    CHECK(mm_heap_array(&heap, SIZE_MAX, SIZE_MAX) == NULL);  /* wraps to 1 */
    CHECK_EQ(stats_of(&heap).fail_count, 7);
    empty = mm_heap_array(&heap, 0, SIZE_MAX);
    none = mm_heap_array(&heap, SIZE_MAX, 0);
    CHECK(empty != NULL && none != NULL && empty != none);
    CHECK_OK(mm_heap_free(&heap, empty));
    CHECK_OK(mm_heap_free(&heap, none));
    end_heap(&heap, NULL);
}

TEST(heap_aligned_serves_each_power_of_two_and_returns_the_pads)
{
    grown_heap(&heap, &pool, 0);
    for (size_t align = 1; align <= (size_t)2 << 20; align *= 2) {
        void *first = mm_heap_alloc(&heap, 1);
        void *block = mm_heap_aligned(&heap, align, 100);
        void *other = mm_heap_aligned(&heap, align, 3000);

        mm_test_row("align", align);
        CHECK(block != NULL && (uintptr_t)block % align == 0 && (uintptr_t)block % 16 == 0);
        CHECK(other != NULL && (uintptr_t)other % align == 0);
        memset(block, 1, 100);
        memset(other, 2, 3000);
        CHECK_EQ(mm_heap_check(&heap, NULL), 0);
        CHECK_EQ(stats_of(&heap).live_blocks, 3);
        CHECK(stats_of(&heap).used_bytes < 4000); /* no pad is in it */
        CHECK_OK(mm_heap_free(&heap, block));
        CHECK_OK(mm_heap_free(&heap, first));
        CHECK_OK(mm_heap_free(&heap, other));
        CHECK_EQ(stats_of(&heap).free_blocks, stats_of(&heap).regions); /* all merged again */
    }
    end_heap(&heap, &pool);
}

TEST(heap_aligned_pads_are_blocks_that_can_be_taken)
{
    void *block, *pad;

    lent_heap(&heap, lent, sizeof lent);
    block = mm_heap_aligned(&heap, 4096, 16);
    CHECK(block != NULL && (uintptr_t)block % 4096 == 0);
    CHECK_EQ(stats_of(&heap).free_blocks, 2);
    while ((pad = mm_heap_alloc(&heap, 1)) != NULL && pad > block)
        ;
    CHECK(pad != NULL && pad < block);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

static __attribute__((noinline)) void *aligned_here(size_t align)
{
    void *volatile p = mm_heap_aligned(&heap, align, 8);

    return p;
}

TEST(heap_alignment_that_is_no_power_of_two_is_refused)
{
    const size_t align[] = {0, 3, 24, 48, 4097, SIZE_MAX, ((size_t)1 << 63) + 1};
    uint64_t before;

    lent_heap(&heap, lent, sizeof lent);
    before = heap_hash(&heap, lent, sizeof lent);
    for (size_t i = 0; i < sizeof align / sizeof align[0]; i++) {
        CHECK(aligned_here(align[i]) == NULL);
        expect_report(MM_REPORT_MISUSE, MM_ERR_MISUSE, "alignment is not a power of two",
                      "mm_heap_aligned", &heap, (void *)align[i], (void (*)(void))aligned_here);
    }
    CHECK_EQ(heap_hash(&heap, lent, sizeof lent), before);
    CHECK_EQ(stats_of(&heap).misuse_count, 7);

    CHECK(aligned_here((size_t)1 << 63) == NULL); /* a power of two that memory lacks: no report */
    CHECK_EQ(mm_test_report_count(), 0);
    end_heap(&heap, NULL);
}

/* ---- resizing ---- */

static void fill(unsigned char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(i * 131 + 7);
}

static bool filled(const unsigned char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != (unsigned char)(i * 131 + 7))
            return false;
    return true;
}

TEST(heap_realloc_of_null_allocates_and_to_nothing_keeps_a_block)
{
    void *p;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_realloc(&heap, NULL, 500);
    CHECK(p != NULL && mm_heap_usable(&heap, p) >= 500);
    CHECK(mm_heap_realloc(&heap, p, 0) == p);
    CHECK(mm_heap_owns(&heap, p));
    CHECK_EQ(stats_of(&heap).used_bytes, 32);
    CHECK_OK(mm_heap_free(&heap, p));
    p = mm_heap_realloc(&heap, NULL, 0);
    CHECK(p != NULL);
    CHECK_OK(mm_heap_free(&heap, p));
    end_heap(&heap, NULL);
}

TEST(heap_realloc_shrinks_in_place_and_frees_the_rest)
{
    unsigned char *p, *fence;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_alloc(&heap, 1000);
    fence = mm_heap_alloc(&heap, 8);
    fill(p, 1000);
    CHECK(mm_heap_realloc(&heap, p, 100) == p);
    CHECK(filled(p, 100));
    CHECK_EQ(stats_of(&heap).used_bytes, HEADER + 112 + 32);
    CHECK_EQ(stats_of(&heap).free_blocks, 2);
    CHECK(mm_heap_realloc(&heap, p, 96) == p); /* 16 bytes less are no block */
    CHECK_EQ(stats_of(&heap).used_bytes, HEADER + 112 + 32);
    CHECK_OK(mm_heap_free(&heap, fence));
    CHECK_OK(mm_heap_free(&heap, p));
    CHECK_EQ(stats_of(&heap).free_blocks, 1);
    end_heap(&heap, NULL);
}

TEST(heap_realloc_grows_into_the_free_block_behind)
{
    unsigned char *p, *gap, *fence;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_alloc(&heap, 100);
    gap = mm_heap_alloc(&heap, 200);
    fence = mm_heap_alloc(&heap, 8);
    fill(p, 100);
    CHECK_OK(mm_heap_free(&heap, gap));
    CHECK(mm_heap_realloc(&heap, p, 200) == p);                /* a part of the gap */
    CHECK(mm_heap_realloc(&heap, p, 112 + HEADER + 208) == p); /* the rest of it, to the byte */
    CHECK(filled(p, 100));
    CHECK_EQ(stats_of(&heap).free_blocks, 1);
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    CHECK(mm_heap_realloc(&heap, p, 112 + HEADER + 208 + 1) != p); /* one more: it moves */
    CHECK_EQ(stats_of(&heap).live_blocks, 2);
    CHECK_OK(mm_heap_free(&heap, fence));
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

TEST(heap_realloc_moves_the_contents_when_the_place_is_too_small)
{
    unsigned char *p, *q;

    grown_heap(&heap, &pool, PAGE);
    p = mm_heap_alloc(&heap, 1000);
    CHECK(mm_heap_alloc(&heap, 8) > (void *)p);
    fill(p, 1000);
    q = mm_heap_realloc(&heap, p, 50000);
    CHECK(q != NULL && q != p && filled(q, 1000));
    CHECK(!mm_heap_owns(&heap, p));
    CHECK_EQ(stats_of(&heap).live_blocks, 2);
    CHECK_EQ(stats_of(&heap).alloc_count, 3);
    CHECK_EQ(stats_of(&heap).free_count, 1);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    CHECK_EQ(pool.out_bytes, 0);
    mm_test_reports_clear();
}

TEST(heap_realloc_that_fails_leaves_the_block_alone)
{
    unsigned char *p;
    uint64_t before;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_alloc(&heap, 1000);
    CHECK(mm_heap_alloc(&heap, 8) != NULL);
    fill(p, 1000);
    before = heap_hash(&heap, lent, sizeof lent);
    CHECK(mm_heap_realloc(&heap, p, sizeof lent) == NULL);
    CHECK_EQ(heap_hash(&heap, lent, sizeof lent), before);
    CHECK(filled(p, 1000));
    CHECK_EQ(stats_of(&heap).fail_count, 1);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

TEST(heap_realloc_of_many_growing_blocks_keeps_all_contents)
{
    unsigned char *p[16] = {NULL};

    grown_heap(&heap, &pool, 0);
    for (size_t bytes = 1; bytes < 3000; bytes += 1 + bytes / 16)
        for (size_t i = 0; i < 16; i++) {
            size_t had = p[i] == NULL ? 0 : bytes - 1 - (bytes - 1) / 17;

            p[i] = mm_heap_realloc(&heap, p[i], bytes);
            CHECK(p[i] != NULL);
            CHECK(filled(p[i], had < bytes ? had : bytes));
            fill(p[i], bytes);
        }
    for (size_t i = 0; i < 16; i++)
        CHECK_OK(mm_heap_free(&heap, p[i]));
    end_heap(&heap, &pool);
}

/* ---- misuse: each class, with its twin that is right and silent ---- */

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
    check_refused(lent - 1, MM_ERR_MISUSE, FOREIGN);
    check_refused(lent - 16, MM_ERR_MISUSE, FOREIGN);
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
    check_refused(b, MM_ERR_MISUSE, FREED); /* its old header is there still */
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
        if (bytes >= 64) {
            CHECK_ERR(mm_heap_free_sized(&heap, p, bytes - 48), MM_ERR_MISUSE);
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

TEST(heap_owns_and_usable_know_live_blocks_alone)
{
    unsigned char *p;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_alloc(&heap, 100);
    CHECK(mm_heap_owns(&heap, p));
    CHECK_EQ(mm_heap_usable(&heap, p), 112);
    memset(p, 0xff, 112); /* all of it is the caller's */
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    CHECK(!mm_heap_owns(&heap, p + 16) && !mm_heap_owns(&heap, &heap));
    CHECK_OK(mm_heap_free(&heap, p));
    CHECK(!mm_heap_owns(&heap, p));
    end_heap(&heap, NULL);
}

TEST(heap_debug_build_poisons_what_is_freed)
{
    unsigned char *p;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_alloc(&heap, 100);
    memset(p, 7, 100);
    CHECK_OK(mm_heap_free(&heap, p));
    for (size_t i = 16; i < 100; i++) /* behind the links */
        CHECK_EQ(p[i], MM_LEVEL >= MM_LEVEL_DEBUG ? 0xa5 : 7);
    end_heap(&heap, NULL);
}
