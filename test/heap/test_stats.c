/*
 * test_stats.c - figures and walks.
 */
#include "heap_test.h"

static struct mm_heap heap;
static struct pool pool;
static unsigned char lent[8192] __attribute__((aligned(64)));

TEST(stats_add_up_to_all_pages)
{
    struct mm_heap_stats stats;
    void *p[40];

    grown_heap(&heap, &pool, 2 * PAGE);
    for (unsigned i = 0; i < 40; i++)
        p[i] = mm_heap_alloc(&heap, i * 50);
    for (unsigned i = 0; i < 40; i += 3)
        CHECK_OK(mm_heap_free(&heap, p[i]));
    stats = stats_of(&heap);
    CHECK_EQ(stats.page_bytes, pool.out_bytes);
    CHECK_EQ(stats.used_bytes + stats.free_bytes + OVERHEAD * stats.regions, stats.page_bytes);
    CHECK_EQ(stats.live_blocks, 26);
    CHECK_EQ(stats.alloc_count, 40);
    CHECK_EQ(stats.free_count, 14);
    CHECK_EQ(stats.fail_count + stats.misuse_count, 0);
    for (unsigned i = 0; i < 40; i++)
        if (i % 3 != 0)
            CHECK_OK(mm_heap_free(&heap, p[i]));
    stats = stats_of(&heap);
    CHECK_EQ(stats.used_bytes, 0);
    CHECK_EQ(stats.live_blocks, 0);
    end_heap(&heap, &pool);
}

TEST(stats_largest_is_what_can_be_had_without_growth)
{
    size_t largest;
    void *p, *q;

    lent_heap(&heap, lent, sizeof lent);
    p = mm_heap_alloc(&heap, 1000);
    CHECK(mm_heap_alloc(&heap, 1) != NULL);
    CHECK_OK(mm_heap_free(&heap, p));
    largest = stats_of(&heap).largest_free_bytes;
    CHECK(mm_heap_alloc(&heap, largest + 1) == NULL);
    q = mm_heap_alloc(&heap, largest);
    CHECK(q != NULL);
    CHECK_EQ(stats_of(&heap).largest_free_bytes, 1008);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

struct visits {
    unsigned count;
    size_t bytes;
    void *last;
};

static void visit(void *context, void *pointer, size_t bytes)
{
    struct visits *visits = context;

    CHECK(pointer > visits->last); /* rising, so each once */
    visits->last = pointer;
    visits->count++;
    visits->bytes += bytes;
    memset(pointer, 0x44, bytes); /* it is all payload */
}

TEST(stats_walk_visits_each_live_block_once)
{
    struct visits visits = {0, 0, NULL};
    void *p[50];
    size_t usable = 0;

    grown_heap(&heap, &pool, PAGE);
    for (unsigned i = 0; i < 50; i++)
        p[i] = mm_heap_alloc(&heap, i * 30);
    for (unsigned i = 0; i < 50; i += 2)
        CHECK_OK(mm_heap_free(&heap, p[i]));
    for (unsigned i = 1; i < 50; i += 2)
        usable += mm_heap_usable(&heap, p[i]);
    mm_heap_walk(&heap, visit, &visits);
    CHECK_EQ(visits.count, 25);
    CHECK_EQ(visits.bytes, usable);
    for (unsigned i = 1; i < 50; i += 2)
        CHECK_OK(mm_heap_free(&heap, p[i]));
    visits = (struct visits){0, 0, NULL};
    mm_heap_walk(&heap, visit, &visits);
    CHECK_EQ(visits.count, 0);
    end_heap(&heap, &pool);
}

static void visit_and_alloc(void *context, void *pointer, size_t bytes)
{
    (void)context, (void)pointer, (void)bytes;
    (void)mm_heap_alloc(&heap, 1);
}

TEST(stats_walk_whose_function_uses_the_heap_panics_instead_of_hanging)
{
    lent_heap(&heap, lent, sizeof lent);
    CHECK(mm_heap_alloc(&heap, 1) != NULL);
    CHECK_PANICS(mm_heap_walk(&heap, visit_and_alloc, NULL));
}
