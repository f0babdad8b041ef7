/*
 * test_region.c - the list of regions: order, and finding whose a pointer is.
 */
#include "heap_test.h"

#include "heap/region.h"

static struct mm_heap heap;
static unsigned char memory[8 * PAGE] __attribute__((aligned(4096)));
static size_t next_page[8], next;

/* Pages in the order that next_page[] says. */
static enum mm_err ordered_alloc(void *context, size_t bytes, void **out)
{
    (void)context;
    CHECK_EQ(bytes, PAGE);
    *out = &memory[next_page[next++] * PAGE];
    return MM_OK;
}

static void ordered_free(void *context, void *pages, size_t bytes)
{
    (void)context, (void)pages, (void)bytes;
}

static void ordered_heap(void)
{
    struct mm_heap_config config = {
        .source = {ordered_alloc, ordered_free, NULL}, .grow_bytes = PAGE, .secret = SECRET};

    next = 0;
    CHECK_OK(mm_heap_init(&heap, &config));
}

static void shuffle(void)
{
    for (size_t i = 0; i < 8; i++)
        next_page[i] = i;
    for (size_t i = 7; i > 0; i--) {
        size_t j = (size_t)mm_test_below(i + 1);
        size_t t = next_page[i];

        next_page[i] = next_page[j];
        next_page[j] = t;
    }
}

TEST(region_list_is_sorted_whatever_order_pages_come_and_go_in)
{
    for (unsigned round = 0; round < 200; round++) {
        void *p[8];

        mm_test_row("round", round);
        shuffle();
        ordered_heap();
        for (unsigned i = 0; i < 8; i++) {
            p[i] = mm_heap_alloc(&heap, 3000);
            CHECK_EQ((uintptr_t)p[i] / PAGE, (uintptr_t)&memory[next_page[i] * PAGE] / PAGE);
            CHECK_EQ(mm_heap_check(&heap, NULL), 0); /* it looks at the order */
        }
        shuffle();
        for (unsigned i = 0; i < 8; i++) {
            CHECK(mm_heap_owns(&heap, p[next_page[i]]));
            CHECK_OK(mm_heap_free(&heap, p[next_page[i]]));
            CHECK_EQ(mm_heap_check(&heap, NULL), 0);
            CHECK_EQ(stats_of(&heap).regions, i == 0 ? 8 : 8 - i);
        }
        end_heap(&heap, NULL);
    }
}

TEST(region_of_low_addresses_is_used_first)
{
    void *p[3];

    next_page[0] = 5;
    next_page[1] = 1;
    next_page[2] = 3;
    ordered_heap();
    for (unsigned i = 0; i < 3; i++)
        p[i] = mm_heap_alloc(&heap, 3000);
    CHECK((uintptr_t)mm_heap_alloc(&heap, 100) - (uintptr_t)&memory[PAGE] < PAGE);
    CHECK(p[0] != NULL && p[2] != NULL);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

TEST(region_that_came_back_holds_no_block_of_its_first_life)
{
    void *p, *q, *r;

    next_page[0] = next_page[2] = 2;
    next_page[1] = 4;
    ordered_heap();
    p = mm_heap_alloc(&heap, 3000);
    q = mm_heap_alloc(&heap, 3000);
    CHECK_OK(mm_heap_free(&heap, p));
    CHECK_OK(mm_heap_free(&heap, q)); /* the first region leaves */
    CHECK_ERR(mm_heap_free(&heap, p), MM_ERR_MISUSE);
    CHECK_TEXT(mm_test_report(0)->what, "pointer is not from this heap");
    q = mm_heap_alloc(&heap, 3000);
    r = mm_heap_aligned(&heap, 1024, 2000); /* the same page, cut differently */
    CHECK(r != NULL && r != p);
    CHECK_ERR(mm_heap_free(&heap, p), MM_ERR_MISUSE);
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    CHECK_OK(mm_heap_free(&heap, r));
    CHECK_OK(mm_heap_free(&heap, q));
    end_heap(&heap, NULL);
    mm_test_reports_clear();
}

/* A damaged region header hides what lies behind it; the heap goes on with what lies in front. */
TEST(region_header_that_was_overwritten_is_reported_and_not_followed)
{
    struct mm_heap_region *second;
    void *p[3];

    for (size_t i = 0; i < 8; i++)
        next_page[i] = i;
    next_page[3] = 6;
    ordered_heap();
    for (unsigned i = 0; i < 3; i++)
        p[i] = mm_heap_alloc(&heap, 3000);
    second = heap.region->next;
    second->next = (struct mm_heap_region *)(uintptr_t)0x4141414141414140;

    CHECK(mm_heap_owns(&heap, p[0]) && !mm_heap_owns(&heap, p[1]));
    CHECK_OK(mm_heap_free(&heap, p[0]));
    CHECK_EQ(mm_test_report_count(), 0);
    CHECK_ERR(mm_heap_free(&heap, p[1]), MM_ERR_CORRUPT);
    CHECK_TEXT(mm_test_report(0)->what, "region header of the heap overwritten");
    CHECK_EQ(mm_test_report(0)->address, (uintptr_t)second);
    CHECK_ERR(mm_heap_free(&heap, p[2]), MM_ERR_CORRUPT);
    CHECK(mm_heap_realloc(&heap, p[2], 10) == NULL);
    CHECK_EQ(mm_heap_usable(&heap, p[2]), 0);
    CHECK_EQ(mm_test_report_count(), 4);
    CHECK(mm_heap_check(&heap, NULL) != 0);

    p[0] = mm_heap_alloc(&heap, 3000); /* from the first */
    CHECK_EQ(mm_test_report_count(), 4);
    p[1] = mm_heap_alloc(&heap, 3000); /* from a new one, which goes in front of the damage */
    CHECK(p[0] != NULL && p[1] != NULL);
    CHECK_EQ(mm_test_report_count(), 5);
    CHECK_OK(mm_heap_free(&heap, p[1]));
    CHECK_OK(mm_heap_free(&heap, p[0]));

    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_CORRUPT);
    CHECK_EQ(mm_test_report(1)->kind, MM_REPORT_LEAK);
    CHECK_EQ(mm_test_report(0)->kind, MM_REPORT_CORRUPT);
    mm_test_reports_clear();
}
