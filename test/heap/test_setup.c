/*
 * test_setup.c - init, destroy, and what lies before the one and after the other.
 */
#include "heap_test.h"

static struct mm_heap heap;
static struct pool pool;
static unsigned char lent[4096 + 64] __attribute__((aligned(64)));

TEST(setup_refuses_what_cannot_be_a_heap_and_leaves_it_alone)
{
    const struct mm_page_source source = {pool_alloc, pool_free, &pool};
    const struct mm_page_source no_free = {pool_alloc, NULL, &pool};
    const struct mm_page_source no_alloc = {NULL, pool_free, &pool};
    const struct mm_heap_config bad[] = {
        {.grow_bytes = PAGE},                                         /* neither source nor block */
        {.source = no_free},                                          /* half a source */
        {.source = no_alloc, .block = lent, .block_bytes = 1024},     /* the other half */
        {.source = source, .block_bytes = 1024},                      /* bytes of no block */
        {.block = lent, .block_bytes = 255},                          /* too small */
        {.source = source, .block = lent},                            /* much too small */
        {.source = source, .flags = 2},                               /* unknown flag */
        {.block = lent, .block_bytes = SIZE_MAX},                     /* wraps */
        {.block = (void *)(UINTPTR_MAX - 1023), .block_bytes = 1024}, /* ends at 2^64 */
    };
    struct mm_heap before;

    memset(&heap, 0x77, sizeof heap);
    before = heap;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        mm_test_row("config", i);
        CHECK_ERR(mm_heap_init(&heap, &bad[i]), MM_ERR_BAD_ARG);
        CHECK(memcmp(&heap, &before, sizeof heap) == 0);
    }
    CHECK_ERR(mm_heap_init(&heap, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_heap_init(NULL, &bad[0]), MM_ERR_BAD_ARG);
}

TEST(setup_takes_a_block_of_any_alignment_and_stays_inside)
{
    for (size_t offset = 0; offset < 64; offset++)
        for (size_t bytes = 256; bytes < 256 + 40; bytes++) {
            void *p;

            mm_test_row("offset", offset);
            memset(lent, 0xc3, sizeof lent);
            lent_heap(&heap, lent + offset, bytes);
            p = mm_heap_alloc(&heap, stats_of(&heap).largest_free_bytes);
            CHECK(p != NULL && (uintptr_t)p % 16 == 0);
            CHECK((unsigned char *)p >= lent + offset);
            CHECK((unsigned char *)p + mm_heap_usable(&heap, p) <= lent + offset + bytes);
            memset(p, 0, mm_heap_usable(&heap, p));
            CHECK(mm_heap_usable(&heap, p) >= bytes - OVERHEAD - HEADER - 30);
            CHECK_OK(mm_heap_free(&heap, p));
            end_heap(&heap, NULL);
            for (size_t i = 0; i < sizeof lent; i++)
                CHECK(lent[i] == 0xc3 || (i >= offset && i < offset + bytes));
        }
}

TEST(setup_of_two_heaps_keeps_them_apart)
{
    static unsigned char second_lent[4096];
    struct mm_heap second;
    void *a, *b;

    lent_heap(&heap, lent, 4096);
    lent_heap(&second, second_lent, sizeof second_lent);
    a = mm_heap_alloc(&heap, 100);
    b = mm_heap_alloc(&second, 200);
    CHECK(mm_heap_owns(&heap, a) && !mm_heap_owns(&second, a));
    CHECK(mm_heap_owns(&second, b) && !mm_heap_owns(&heap, b));
    CHECK_OK(mm_heap_free(&heap, a));
    CHECK_EQ(stats_of(&second).live_blocks, 1);
    CHECK_OK(mm_heap_free(&second, b));
    end_heap(&heap, NULL);
    end_heap(&second, NULL);
}

static __attribute__((noinline)) enum mm_err destroy_here(void)
{
    enum mm_err volatile err = mm_heap_destroy(&heap);

    return err;
}

TEST(setup_destroy_tells_the_leak_and_gives_all_pages_back)
{
    void *first;

    grown_heap(&heap, &pool, PAGE);
    first = mm_heap_alloc(&heap, 100);
    CHECK(mm_heap_alloc(&heap, 10000) != NULL);
    CHECK(mm_heap_alloc(&heap, 48) != NULL);
    CHECK_ERR(destroy_here(), MM_ERR_BUSY);
    CHECK_EQ(pool.out_bytes, 0);
    CHECK_EQ(mm_test_report(0)->value[0], 3);
    CHECK_EQ(mm_test_report(0)->value[1], 112 + 16 + 10000 + 16 + 48 + 16);
    expect_report(MM_REPORT_LEAK, MM_ERR_BUSY, "heap blocks still live", "mm_heap_destroy", &heap,
                  first, (void (*)(void))destroy_here);

    grown_heap(&heap, &pool, PAGE); /* the twin */
    CHECK_OK(mm_heap_free(&heap, mm_heap_alloc(&heap, 100)));
    CHECK_OK(destroy_here());
    CHECK_EQ(mm_test_report_count(), 0);
    CHECK_EQ(pool.out_bytes, 0);
}

static void check_no_heap(void)
{
    static const char what[] = "heap is not initialised";
    struct mm_heap_stats stats;
    struct mm_heap before = heap;
    unsigned calls = 0;

    CHECK(mm_heap_alloc(&heap, 1) == NULL && ++calls);
    CHECK(mm_heap_zeroed(&heap, 1) == NULL && ++calls);
    CHECK(mm_heap_array(&heap, 1, 1) == NULL && ++calls);
    CHECK(mm_heap_aligned(&heap, 64, 1) == NULL && ++calls);
    CHECK(mm_heap_aligned(&heap, 3, 1) == NULL && ++calls);
    CHECK(mm_heap_realloc(&heap, NULL, 1) == NULL && ++calls);
    CHECK(mm_heap_realloc(&heap, lent, 1) == NULL && ++calls);
    CHECK(mm_heap_free(&heap, lent + 64) == MM_ERR_MISUSE && ++calls);
    CHECK(mm_heap_free_sized(&heap, lent + 64, 1) == MM_ERR_MISUSE && ++calls);
    CHECK(mm_heap_usable(&heap, lent + 64) == 0 && ++calls);
    CHECK(mm_heap_trim(&heap) == 0 && ++calls);
    CHECK(mm_heap_destroy(&heap) == MM_ERR_MISUSE && ++calls);
    memset(&stats, 0xff, sizeof stats);
    mm_heap_get_stats(&heap, &stats);
    calls++;
    CHECK(stats.page_bytes == 0 && stats.misuse_count == 0);
    mm_heap_walk(&heap, NULL, NULL);
    calls++;
    CHECK_EQ(mm_test_report_count(), calls);
    for (unsigned i = 0; i < calls; i++) {
        CHECK_TEXT(mm_test_report(i)->what, what);
        CHECK_EQ(mm_test_report(i)->kind, MM_REPORT_MISUSE);
    }
    CHECK(!mm_heap_owns(&heap, lent + 64));
    CHECK_EQ(mm_heap_check(&heap, NULL), 1);
    CHECK_EQ(mm_test_report_count(), calls);
    CHECK(memcmp(&heap, &before, sizeof heap) == 0); /* not even the lock */
    mm_test_reports_clear();
}

TEST(setup_calls_before_init_are_refused)
{
    memset(&heap, 0, sizeof heap);
    check_no_heap();
    memset(&heap, 0xa7, sizeof heap);
    check_no_heap();
}

TEST(setup_calls_after_destroy_are_refused)
{
    lent_heap(&heap, lent, 4096);
    CHECK_OK(mm_heap_destroy(&heap));
    check_no_heap();
    lent_heap(&heap, lent, 4096); /* it may begin again */
    end_heap(&heap, NULL);
}

/* The same bytes, the same secret: a pointer from the first life must not pass in the second. */
TEST(setup_again_over_the_same_block_knows_no_old_block)
{
    void *p[4];

    lent_heap(&heap, lent, 4096);
    for (unsigned i = 0; i < 4; i++)
        p[i] = mm_heap_alloc(&heap, 48);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    lent_heap(&heap, lent, 4096);
    for (unsigned i = 0; i < 4; i++)
        CHECK_ERR(mm_heap_free(&heap, p[i]), MM_ERR_MISUSE);
    mm_test_reports_clear();
    end_heap(&heap, NULL);
}
