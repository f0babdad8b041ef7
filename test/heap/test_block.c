/*
 * test_block.c - cutting and merging: what is left stays whole, and only what touches merges.
 */
#include "heap_test.h"

static struct mm_heap heap;
static struct pool pool;
static unsigned char lent[8192] __attribute__((aligned(64)));

TEST(block_free_merges_three_neighbours_in_each_order)
{
    const unsigned turn[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

    for (unsigned order = 0; order < 6; order++) {
        void *p[3], *fence, *all;

        lent_heap(&heap, lent, sizeof lent);
        for (unsigned i = 0; i < 3; i++)
            p[i] = mm_heap_alloc(&heap, 112);
        fence = mm_heap_alloc(&heap, 8);
        for (unsigned i = 0; i < 3; i++) {
            CHECK_OK(mm_heap_free(&heap, p[turn[order][i]]));
            CHECK_EQ(mm_heap_check(&heap, NULL), 0); /* no two free blocks touch */
        }
        CHECK_EQ(stats_of(&heap).free_blocks, 2);
        all = mm_heap_alloc(&heap, 3 * 112 + 2 * HEADER); /* the three and what parted them */
        CHECK(all == p[0]);
        CHECK_OK(mm_heap_free(&heap, all));
        CHECK_OK(mm_heap_free(&heap, fence));
        end_heap(&heap, NULL);
    }
}

/* Neighbours in the free list, with a live block between them in memory, are not neighbours. */
TEST(block_free_does_not_merge_across_a_live_block)
{
    unsigned char *p[5];

    lent_heap(&heap, lent, sizeof lent);
    for (unsigned i = 0; i < 5; i++) {
        p[i] = mm_heap_alloc(&heap, 112);
        memset(p[i], (int)i, 112);
    }
    CHECK_OK(mm_heap_free(&heap, p[0]));
    CHECK_OK(mm_heap_free(&heap, p[2]));
    CHECK_OK(mm_heap_free(&heap, p[4]));
    CHECK_EQ(stats_of(&heap).free_blocks, 3);
    CHECK((unsigned char *)mm_heap_alloc(&heap, 200) > p[4] - 1); /* it fits in no gap */
    for (unsigned i = 0; i < 112; i++)
        CHECK(p[1][i] == 1 && p[3][i] == 3);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

/* Runs of pages that touch stay regions of their own: the source wants each back as it was. */
TEST(block_free_does_not_merge_across_regions_that_touch)
{
    void *p[3];

    grown_heap(&heap, &pool, PAGE);
    pool.gap_pages = 0;
    for (unsigned i = 0; i < 3; i++)
        p[i] = mm_heap_alloc(&heap, PAGE - OVERHEAD - HEADER); /* a whole region */
    CHECK_EQ((uintptr_t)p[1] - (uintptr_t)p[0], PAGE);
    CHECK_EQ((uintptr_t)p[2] - (uintptr_t)p[1], PAGE);
    CHECK_EQ(stats_of(&heap).free_blocks, 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_OK(mm_heap_free(&heap, p[i]));
        CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    }
    CHECK_EQ(pool.frees, 2);
    end_heap(&heap, &pool);
}

TEST(block_that_fits_exactly_is_not_cut)
{
    void *p, *q, *fence;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_alloc(&heap, 112);
    fence = mm_heap_alloc(&heap, 8);
    for (size_t bytes = 81; bytes <= 112; bytes++) { /* 16 bytes more than asked make no block */
        CHECK_OK(mm_heap_free(&heap, p));
        q = mm_heap_alloc(&heap, bytes);
        CHECK(q == p);
        CHECK_EQ(mm_heap_usable(&heap, q), 112);
    }
    CHECK_OK(mm_heap_free(&heap, p));
    p = mm_heap_alloc(&heap, 80); /* 32 are one */
    CHECK_EQ(mm_heap_usable(&heap, p), 80);
    CHECK_EQ(stats_of(&heap).free_blocks, 2);
    CHECK_OK(mm_heap_free(&heap, p));
    CHECK_OK(mm_heap_free(&heap, fence));
    end_heap(&heap, NULL);
}

/* All memory can be handed out, to the last unit, and comes back as one block. */
TEST(block_sizes_use_a_region_up_and_give_it_back_whole)
{
    static void *p[sizeof lent / 32];

    for (size_t bytes = 0; bytes <= 600; bytes += 37) {
        size_t count = 0;
        size_t whole;

        lent_heap(&heap, lent, sizeof lent);
        whole = stats_of(&heap).largest_free_bytes;
        CHECK_EQ(whole, sizeof lent - OVERHEAD - HEADER);
        while ((p[count] = mm_heap_alloc(&heap, bytes)) != NULL)
            count++;
        CHECK(stats_of(&heap).largest_free_bytes < bytes || stats_of(&heap).free_blocks == 0);
        for (size_t i = 0; i < count; i += 2)
            CHECK_OK(mm_heap_free(&heap, p[i]));
        for (size_t i = 1; i < count; i += 2)
            CHECK_OK(mm_heap_free(&heap, p[i]));
        CHECK_EQ(stats_of(&heap).largest_free_bytes, whole);
        end_heap(&heap, NULL);
    }
}

/* ---- damage that an allocation meets ---- */

static __attribute__((noinline)) void *alloc_here(size_t bytes)
{
    void *volatile p = mm_heap_alloc(&heap, bytes);

    return p;
}

/* Five free blocks of 128 bytes in a list, the last freed first; the rest of the heap is taken. */
static void five_free(unsigned char **p)
{
    void *fence;

    grown_heap(&heap, &pool, PAGE);
    for (unsigned i = 0; i < 5; i++) {
        p[i] = mm_heap_alloc(&heap, 112);
        fence = mm_heap_alloc(&heap, 8);
        CHECK(fence != NULL);
    }
    fence = mm_heap_alloc(&heap, stats_of(&heap).largest_free_bytes);
    CHECK(fence != NULL);
    for (unsigned i = 0; i < 5; i++)
        CHECK_OK(mm_heap_free(&heap, p[i]));
    CHECK_EQ(stats_of(&heap).regions, 1);
}

/* The list is p[4], p[3], p[2], ...; the damage is at p[2]: its links, its header, and the header
 * behind it. Whoever would have to write to it, or from it, is the first block that is lost. */
TEST(block_list_that_was_overwritten_is_cut_in_front_of_the_damage)
{
    static const struct {
        ptrdiff_t at;
        unsigned taken;                       /* blocks of the list that can still be had */
    } damage[] = {{0, 2},                     /* p[2]'s next */
                  {8, 1},                     /* p[2]'s back: p[3] cannot leave the list */
                  {-(ptrdiff_t)HEADER, 1},    /* p[2]'s length */
                  {8 - (ptrdiff_t)HEADER, 1}, /* p[2]'s state */
                  {112, 1},                   /* the length of the block behind p[2] */
                  {124, 1}};                  /* its seal */
    unsigned char *p[5];

    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        mm_test_row("damage at", (uint64_t)damage[i].at);
        five_free(p);
        memset(p[2] + damage[i].at, 0x66, 4);

        for (unsigned j = 0; j < damage[i].taken; j++)
            CHECK(alloc_here(112) == p[4 - j]);
        CHECK_EQ(mm_test_report_count(), 0);
        CHECK(alloc_here(112) != NULL); /* grows instead */
        CHECK_EQ(stats_of(&heap).regions, 2);
        expect_report(MM_REPORT_CORRUPT, MM_ERR_CORRUPT, "free list of the heap overwritten",
                      "mm_heap_alloc", &heap, p[4 - damage[i].taken] - HEADER,
                      (void (*)(void))alloc_here);
        CHECK(alloc_here(112) != NULL); /* once is enough */
        CHECK_EQ(mm_test_report_count(), 0);
        CHECK(mm_heap_check(&heap, NULL) != 0);
        CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
        CHECK_EQ(pool.out_bytes, 0);
        mm_test_reports_clear();
    }
}

TEST(block_list_that_was_made_a_ring_ends)
{
    unsigned char *p[5];
    uintptr_t ring;

    five_free(p);
    ring = (uintptr_t)p[4] - HEADER;
    memcpy(p[0], &ring, sizeof ring); /* the last one's next is the first */
    CHECK(alloc_here(500) != NULL);
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
    CHECK(mm_heap_check(&heap, NULL) == 0); /* the cut was at the right place */
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}
