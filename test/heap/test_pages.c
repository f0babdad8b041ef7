/*
 * test_pages.c - growth and shrinking: pages come when they are needed, and go back.
 */
#include "heap_test.h"

static struct mm_heap heap;
static struct pool pool;
static unsigned char lent[4096];

TEST(pages_come_when_the_heap_is_full_and_go_back)
{
    static unsigned char *p[1000];

    grown_heap(&heap, &pool, 16 * PAGE);
    CHECK_EQ(pool.allocs, 0); /* init takes none */
    for (size_t i = 0; i < 1000; i++) {
        p[i] = mm_heap_alloc(&heap, PAGE);
        CHECK(p[i] != NULL);
        memset(p[i], (int)i, PAGE);
    }
    CHECK(pool.out_bytes > 1000 * PAGE);
    CHECK_EQ(heap.page_bytes, pool.out_bytes);
    CHECK_EQ(stats_of(&heap).page_bytes, pool.out_bytes);
    CHECK_EQ(pool.out_bytes, pool.allocs * 16 * PAGE); /* each growth is what was configured */
    for (size_t i = 0; i < 1000; i++)
        CHECK(p[i][0] == (unsigned char)i && p[i][PAGE - 1] == (unsigned char)i);
    for (size_t i = 0; i < 1000; i++)
        CHECK_OK(mm_heap_free(&heap, p[i]));
    CHECK_EQ(pool.out_bytes, 16 * PAGE); /* one stays */
    CHECK_EQ(heap.page_bytes, pool.out_bytes);
    end_heap(&heap, &pool);
}

TEST(pages_for_a_large_block_are_as_many_as_it_needs)
{
    void *p;

    grown_heap(&heap, &pool, PAGE);
    p = mm_heap_alloc(&heap, 100 * PAGE - OVERHEAD - HEADER);
    CHECK_EQ(pool.out_bytes, 100 * PAGE);
    CHECK_EQ(stats_of(&heap).free_bytes, 0);
    CHECK_OK(mm_heap_free(&heap, p));
    p = mm_heap_alloc(&heap, 100 * PAGE - OVERHEAD - HEADER + 1); /* one byte more */
    CHECK(p != NULL);
    CHECK_EQ(pool.most_bytes, 201 * PAGE);
    CHECK_OK(mm_heap_free(&heap, p));
    CHECK_EQ(pool.out_bytes, 101 * PAGE); /* the one that emptied last stays */
    end_heap(&heap, &pool);
}

TEST(pages_default_growth_is_64_kib_and_odd_ones_are_rounded_up)
{
    const size_t grow[][2] = {{0, 65536}, {1, PAGE}, {PAGE, PAGE}, {PAGE + 1, 2 * PAGE}};
    void *p;

    for (size_t i = 0; i < 4; i++) {
        grown_heap(&heap, &pool, grow[i][0]);
        p = mm_heap_alloc(&heap, 8);
        CHECK_EQ(pool.out_bytes, grow[i][1]);
        CHECK_OK(mm_heap_free(&heap, p));
        end_heap(&heap, &pool);
    }
    grown_heap(&heap, &pool, SIZE_MAX); /* more than there is: what is needed will do */
    p = mm_heap_alloc(&heap, 8);
    CHECK_EQ(pool.out_bytes, PAGE);
    CHECK_OK(mm_heap_free(&heap, p));
    end_heap(&heap, &pool);
}

TEST(pages_the_least_will_do_when_more_is_refused)
{
    void *p;

    grown_heap(&heap, &pool, 64 * PAGE);
    pool.page_count = 3; /* one run of one page, with its gaps */
    p = mm_heap_alloc(&heap, 100);
    CHECK(p != NULL);
    CHECK_EQ(pool.out_bytes, PAGE);
    CHECK(mm_heap_alloc(&heap, PAGE) == NULL);
    CHECK_EQ(stats_of(&heap).fail_count, 1);
    CHECK_EQ(heap.page_bytes, PAGE); /* what was refused is not counted */
    CHECK_OK(mm_heap_free(&heap, p));
    end_heap(&heap, &pool);
}

TEST(pages_beyond_the_limit_are_not_asked_for)
{
    struct mm_heap_config config = {.limit_bytes = 10 * PAGE, .grow_bytes = 4 * PAGE};
    void *p[20];
    size_t count = 0;

    pool_init(&pool);
    config.source = pool_source(&pool);
    CHECK_OK(mm_heap_init(&heap, &config));
    while ((p[count] = mm_heap_alloc(&heap, PAGE / 2)) != NULL)
        count++;
    CHECK(count >= 14);
    CHECK_EQ(pool.out_bytes, 10 * PAGE); /* 4, 4, and the two that the limit leaves */
    CHECK_EQ(pool.refused, 0);
    while (count > 0)
        CHECK_OK(mm_heap_free(&heap, p[--count]));
    CHECK(mm_heap_alloc(&heap, 10 * PAGE) == NULL); /* by a few bytes too much */
    CHECK_EQ(mm_heap_trim(&heap), pool.most_bytes - 6 * PAGE);
    p[0] = mm_heap_alloc(&heap, 10 * PAGE - OVERHEAD - HEADER);
    CHECK(p[0] != NULL);
    CHECK_OK(mm_heap_free(&heap, p[0]));
    end_heap(&heap, &pool);
}

TEST(pages_of_one_empty_region_stay_so_that_a_loop_does_not_move_pages)
{
    for (size_t bytes = 1; bytes < 100000; bytes = bytes * 3 + 1) {
        grown_heap(&heap, &pool, 0);
        for (unsigned i = 0; i < 50; i++)
            CHECK_OK(mm_heap_free(&heap, mm_heap_alloc(&heap, bytes)));
        CHECK_EQ(pool.allocs, 1);
        CHECK_EQ(pool.frees, 0);
        end_heap(&heap, &pool);
    }
}

/* Blocks of 128 KiB between blocks of 512 bytes: when all are freed, nothing is held. */
TEST(pages_go_back_when_large_and_small_blocks_were_mixed)
{
    void *large[40], *small[40];

    grown_heap(&heap, &pool, 0);
    for (unsigned i = 0; i < 40; i++) {
        large[i] = mm_heap_alloc(&heap, 128 * 1024);
        small[i] = mm_heap_alloc(&heap, 512);
        CHECK(large[i] != NULL && small[i] != NULL);
    }
    for (unsigned i = 0; i < 40; i++)
        CHECK_OK(mm_heap_free(&heap, large[i]));
    for (unsigned i = 0; i < 40; i++)
        CHECK_OK(mm_heap_free(&heap, small[i]));
    CHECK_EQ(stats_of(&heap).regions, 1);
    CHECK_EQ(mm_heap_trim(&heap), 33 * PAGE); /* 128 KiB and what a region needs */
    CHECK_EQ(pool.out_bytes, 0);
    CHECK_EQ(mm_heap_trim(&heap), 0);
    end_heap(&heap, &pool);
}

TEST(pages_are_kept_until_trim_when_the_flag_says_so)
{
    struct mm_heap_config config = {.flags = MM_HEAP_KEEP_PAGES, .grow_bytes = PAGE};
    void *p[10];

    pool_init(&pool);
    config.source = pool_source(&pool);
    CHECK_OK(mm_heap_init(&heap, &config));
    for (unsigned i = 0; i < 10; i++)
        p[i] = mm_heap_alloc(&heap, 3000);
    for (unsigned i = 0; i < 10; i++)
        CHECK_OK(mm_heap_free(&heap, p[i]));
    CHECK_EQ(pool.frees, 0);
    CHECK_EQ(heap.idle_bytes, 10 * PAGE);
    p[0] = mm_heap_alloc(&heap, 3000);
    CHECK_EQ(mm_heap_trim(&heap), 9 * PAGE); /* not the one in use */
    CHECK_EQ(pool.out_bytes, PAGE);
    CHECK_OK(mm_heap_free(&heap, p[0]));
    CHECK_EQ(pool.out_bytes, PAGE);
    end_heap(&heap, &pool); /* destroy gives the last one back */
}

TEST(pages_are_taken_after_the_lent_block_and_that_never_goes)
{
    struct mm_heap_config config = {.block = lent, .block_bytes = sizeof lent, .grow_bytes = PAGE};
    void *p[3];

    pool_init(&pool);
    config.source = pool_source(&pool);
    CHECK_OK(mm_heap_init(&heap, &config));
    p[0] = mm_heap_alloc(&heap, 2000);
    CHECK_EQ(pool.allocs, 0);
    p[1] = mm_heap_alloc(&heap, 3000);
    p[2] = mm_heap_alloc(&heap, 3000);
    CHECK_EQ(pool.allocs, 2);
    for (unsigned i = 0; i < 3; i++)
        CHECK_OK(mm_heap_free(&heap, p[i]));
    CHECK_EQ(pool.frees, 1);
    CHECK_EQ(mm_heap_trim(&heap), PAGE);
    CHECK_EQ(stats_of(&heap).regions, 1);
    CHECK_EQ(stats_of(&heap).page_bytes, sizeof lent);
    end_heap(&heap, &pool);
}

/* ---- sources that fail, or worse ---- */

/* What a kernel does in its first second, with pages that run out at the n-th request. */
static bool scenario(bool *complete)
{
    unsigned char *p[12] = {NULL};
    const size_t bytes[12] = {10, 5000, 70000, 1, 4096, 20000, 300, 9000, 4000, 65536, 12, 33000};

    *complete = true;
    for (unsigned i = 0; i < 12; i++) {
        p[i] = i % 3 == 0 ? mm_heap_aligned(&heap, 4096, bytes[i]) : mm_heap_alloc(&heap, bytes[i]);
        if (p[i] != NULL)
            memset(p[i], (int)i, bytes[i]);
        else
            *complete = false;
        CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    }
    for (unsigned i = 0; i < 12; i += 2) {
        unsigned char *q = p[i] == NULL ? NULL : mm_heap_realloc(&heap, p[i], bytes[i] * 3);

        if (q != NULL)
            p[i] = q;
        else
            *complete = false;
        CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    }
    for (unsigned i = 0; i < 12; i++) {
        for (size_t j = 0; p[i] != NULL && j < bytes[i]; j++)
            if (p[i][j] != i)
                return false;
        CHECK_OK(mm_heap_free(&heap, p[i]));
    }
    return true;
}

TEST(pages_refused_at_any_request_leave_a_sound_heap)
{
    for (unsigned for_ever = 0; for_ever < 2; for_ever++) {
        bool complete = false;

        for (size_t k = 0; pool.refused != 0 || k == 0; k++) {
            mm_test_row("request", k);
            grown_heap(&heap, &pool, 0);
            pool.fail_after = k;
            pool.fail_for_ever = for_ever != 0;
            CHECK(scenario(&complete));
            CHECK(complete || pool.refused != 0);
            CHECK_EQ(heap.page_bytes, pool.out_bytes);
            CHECK(stats_of(&heap).regions <= 1);
            end_heap(&heap, &pool);
        }
        CHECK(complete); /* the last k was beyond the last request */
        pool.refused = 1;
    }
}

static void *wrong_pages;

static enum mm_err wrong_alloc(void *context, size_t bytes, void **out)
{
    (void)context, (void)bytes;
    *out = wrong_pages;
    return MM_OK;
}

static __attribute__((noinline)) void *alloc_here(size_t bytes)
{
    void *volatile p = mm_heap_alloc(&heap, bytes);

    return p;
}

TEST(pages_that_the_heap_has_already_are_refused)
{
    unsigned char *p;

    grown_heap(&heap, &pool, 2 * PAGE);
    p = mm_heap_alloc(&heap, 8000);
    memset(p, 0x3c, 8000);
    heap.source.alloc = wrong_alloc;
    for (unsigned i = 0; i < 3; i++) {
        wrong_pages = (unsigned char *)heap.region +
                      ((ptrdiff_t)i - 1) * (ptrdiff_t)PAGE; /* in front, on, in */
        CHECK(alloc_here(6000) == NULL);
        expect_report(MM_REPORT_MISUSE, MM_ERR_MISUSE, "page source gave memory that cannot be",
                      "mm_heap_alloc", &heap, wrong_pages, (void (*)(void))alloc_here);
    }
    wrong_pages = (void *)(UINTPTR_MAX - PAGE + 1); /* it would end at 2^64 */
    CHECK(alloc_here(6000) == NULL);
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
    wrong_pages = NULL;
    CHECK(alloc_here(6000) == NULL);
    CHECK_EQ(mm_test_report_count(), 0);

    CHECK_EQ(heap.page_bytes, 2 * PAGE);
    for (size_t i = 0; i < 8000; i++)
        CHECK_EQ(p[i], 0x3c);
    CHECK_OK(mm_heap_free(&heap, p));
    end_heap(&heap, &pool);
}

/* ---- heaps on heaps ---- */

static struct mm_heap outer;

static enum mm_err outer_alloc(void *context, size_t bytes, void **out)
{
    *out = mm_heap_aligned(context, PAGE, bytes);
    return *out != NULL ? MM_OK : MM_ERR_NO_MEMORY;
}

static void outer_free(void *context, void *pages, size_t bytes)
{
    CHECK_OK(mm_heap_free_sized(context, pages, bytes));
}

TEST(pages_can_come_from_another_heap)
{
    struct mm_heap_config config = {.source = {outer_alloc, outer_free, &outer},
                                    .grow_bytes = PAGE};
    unsigned char *p[100];

    grown_heap(&outer, &pool, 0);
    CHECK_OK(mm_heap_init(&heap, &config));
    for (unsigned i = 0; i < 100; i++) {
        p[i] = mm_heap_alloc(&heap, 100 * i);
        CHECK(p[i] != NULL && !mm_heap_owns(&outer, p[i]));
        memset(p[i], (int)i, 100 * i);
    }
    CHECK_EQ(mm_heap_check(&heap, NULL) + mm_heap_check(&outer, NULL), 0);
    CHECK_EQ(mm_heap_free(&outer, p[50]), MM_ERR_MISUSE); /* not the outer one's to free */
    mm_test_reports_clear();
    for (unsigned i = 0; i < 100; i++) {
        for (unsigned j = 0; j < 100 * i; j++)
            CHECK_EQ(p[i][j], i);
        CHECK_OK(mm_heap_free(&heap, p[i]));
    }
    end_heap(&heap, NULL);
    CHECK_EQ(stats_of(&outer).live_blocks, 0);
    end_heap(&outer, &pool);
}
