/*
 * test_heap.c - taking, resizing and freeing: what each call promises.
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

/* ---- looking ---- */

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
