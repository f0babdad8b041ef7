/*
 * test_check.c - the checker finds every damaged word, and survives them all.
 */
#include "heap_test.h"

#include "base/lock.h"
#include "heap/region.h"

static struct mm_heap heap;
static struct pool pool;
static unsigned char lent[2048] __attribute__((aligned(64)));

/* Live and free blocks alternate: 0 free, 1 live, 2 free, ...; three in the free list. */
static void mixed_heap(unsigned char **p)
{
    lent_heap(&heap, lent, sizeof lent);
    for (unsigned i = 0; i < 6; i++)
        p[i] = mm_heap_zeroed(&heap, 48);
    CHECK_OK(mm_heap_free(&heap, p[2]));
    CHECK_OK(mm_heap_free(&heap, p[0]));
    CHECK_EQ(stats_of(&heap).free_blocks, 3);
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
}

struct heard {
    size_t faults;
    const char *what;
    const void *object;
};

static void hear(void *context, const struct mm_report *report)
{
    struct heard *heard = context;

    heard->faults++;
    heard->what = report->what;
    heard->object = report->object;
    CHECK_EQ(report->kind, MM_REPORT_CORRUPT);
}

static void flip(unsigned char *byte, unsigned bit)
{
    *byte = (unsigned char)(*byte ^ 1u << bit);
}

/* Each bit of [from, from + bytes) matters: one flip, and the checker says so. */
static void every_flip_is_found(unsigned char *from, size_t bytes)
{
    for (size_t i = 0; i < bytes * 8; i++) {
        struct heard heard = {0, NULL, NULL};
        const struct mm_check_sink sink = {hear, &heard};

        mm_test_row("bit", i);
        flip(from + i / 8, i % 8);
        CHECK(mm_heap_check(&heap, &sink) != 0);
        CHECK(heard.faults != 0 && heard.what != NULL && heard.object == &heap);
        CHECK_EQ(mm_heap_check(&heap, NULL), heard.faults);
        flip(from + i / 8, i % 8);
    }
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
}

TEST(check_finds_each_flipped_bit_of_a_region_header)
{
    unsigned char *p[6];

    mixed_heap(p);
    every_flip_is_found((unsigned char *)heap.region, sizeof(struct mm_heap_region));
}

TEST(check_finds_each_flipped_bit_of_each_block_header)
{
    unsigned char *p[6];

    mixed_heap(p);
    for (unsigned i = 0; i < 6; i++)
        every_flip_is_found(p[i] - HEADER, HEADER);
    every_flip_is_found(p[5] + 48, HEADER);                   /* the free block at the end */
    every_flip_is_found(lent + sizeof lent - HEADER, HEADER); /* the end mark */
}

TEST(check_finds_each_flipped_bit_of_the_links_of_free_blocks)
{
    unsigned char *p[6];

    mixed_heap(p);
    every_flip_is_found(p[0], 2 * sizeof(void *));
    every_flip_is_found(p[2], 2 * sizeof(void *));
    every_flip_is_found(p[5] + 48 + HEADER, 2 * sizeof(void *));
}

/* Harmless, and so not found: payload, live or free, because it is nobody's bookkeeping. */
TEST(check_does_not_mind_what_lies_in_payload)
{
    unsigned char *p[6];

    mixed_heap(p);
    memset(p[1], 0xff, 48);
    memset(p[0] + 2 * sizeof(void *), 0xff, 48 - 2 * sizeof(void *));
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
}

TEST(check_finds_counters_that_are_wrong)
{
    unsigned char *p[6];

    mixed_heap(p);
    every_flip_is_found((unsigned char *)&heap.used_bytes, sizeof heap.used_bytes);
    every_flip_is_found((unsigned char *)&heap.live_blocks, sizeof heap.live_blocks);
    every_flip_is_found((unsigned char *)&heap.idle_bytes, sizeof heap.idle_bytes);
    every_flip_is_found((unsigned char *)&heap.state, sizeof heap.state);
    every_flip_is_found((unsigned char *)&heap.secret, sizeof heap.secret);

    grown_heap(&heap, &pool, PAGE);
    CHECK(mm_heap_alloc(&heap, 100) != NULL);
    heap.page_bytes -= PAGE;
    CHECK_EQ(mm_heap_check(&heap, NULL), 1);
    heap.page_bytes += PAGE;
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    mm_test_reports_clear();
}

/* What no flip makes, because the seal would be wrong: well-sealed nonsense, as a bug of the heap
 * itself would leave it. */
TEST(check_finds_sealed_headers_that_contradict_each_other)
{
    unsigned char *p[6];
    struct block *b[6];
    struct block saved;

    mixed_heap(p);
    for (unsigned i = 0; i < 6; i++)
        b[i] = (struct block *)(p[i] - HEADER);

    saved = *b[1];
    block_set_state(SECRET, b[1], BLOCK_FREE); /* free, in no list, beside free blocks */
    CHECK(mm_heap_check(&heap, NULL) >= 4);
    block_set_state(SECRET, b[1], BLOCK_GONE);
    CHECK(mm_heap_check(&heap, NULL) != 0);
    block_set_state(SECRET, b[1], BLOCK_END);
    CHECK(mm_heap_check(&heap, NULL) != 0);
    block_write(SECRET, b[1], 4, 5, BLOCK_LIVE); /* another length in front */
    CHECK_EQ(mm_heap_check(&heap, NULL), 1);
    block_write(SECRET, b[1], 8, 4, BLOCK_LIVE); /* over the next one */
    CHECK(mm_heap_check(&heap, NULL) != 0);
    block_write(SECRET, b[1], 0, 4, BLOCK_LIVE);
    CHECK(mm_heap_check(&heap, NULL) != 0);
    block_write(SECRET, b[1], 1, 4, BLOCK_LIVE);
    CHECK(mm_heap_check(&heap, NULL) != 0);
    block_write(SECRET, b[1], UINT32_MAX, 4, BLOCK_LIVE); /* far out of the region */
    CHECK(mm_heap_check(&heap, NULL) != 0);
    *b[1] = saved;
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);

    saved = *b[0];
    block_set_state(SECRET, b[0], BLOCK_LIVE); /* live, and in the list */
    CHECK(mm_heap_check(&heap, NULL) != 0);
    *b[0] = saved;

    heap.region->free = block_links(heap.region->free)->next; /* one fewer in the list */
    block_links(heap.region->free)->back = NULL;
    mm_lock_guard_t guard = mm_lock_take(&heap.lock);
    mm_region_seal(&heap, heap.region);
    mm_lock_release(&heap.lock, guard);
    CHECK_EQ(mm_heap_check(&heap, NULL), 1);
}

TEST(check_finds_regions_that_are_not_sorted)
{
    struct mm_heap_region *a, *b;

    grown_heap(&heap, &pool, PAGE);
    CHECK(mm_heap_alloc(&heap, 3000) != NULL);
    CHECK(mm_heap_alloc(&heap, 3000) != NULL);
    a = heap.region;
    b = a->next;
    heap.region = b;
    b->next = a;
    a->next = NULL;
    mm_region_seal(&heap, a);
    mm_region_seal(&heap, b);
    CHECK_EQ(mm_heap_check(&heap, NULL), 1);
    heap.region = a;
    a->next = b;
    b->next = NULL;
    mm_region_seal(&heap, a);
    mm_region_seal(&heap, b);
    CHECK_ERR(mm_heap_destroy(&heap), MM_ERR_BUSY);
    CHECK_EQ(pool.out_bytes, 0);
    mm_test_reports_clear();
}

/* Wild writes, then every call: whatever it answers, nothing outside the heap's memory is touched
 * (AddressSanitizer watches: the pages around and behind are forbidden), and all calls return. */
TEST(check_and_all_calls_survive_wild_writes)
{
    for (unsigned round = 0; round < 3000; round++) {
        unsigned char *p[12];
        unsigned char *start;

        mm_test_row("round", round);
        grown_heap(&heap, &pool, PAGE);
        for (unsigned i = 0; i < 12; i++)
            p[i] = mm_heap_zeroed(&heap, (size_t)mm_test_below(1500));
        for (unsigned i = 0; i < 12; i += 2)
            CHECK_OK(mm_heap_free(&heap, p[i]));
        start = (unsigned char *)heap.region;
        for (unsigned i = (unsigned)mm_test_below(6) + 1; i > 0; i--) {
            size_t at = (size_t)mm_test_below(mm_test_below(2) == 0 ? 128 : PAGE - 8);
            uint64_t word =
                mm_test_below(4) == 0 ? (uintptr_t)p[mm_test_below(12)] - HEADER : mm_test_random();

            if (mm_test_below(3) == 0)
                flip(start + at, (unsigned)mm_test_below(8));
            else
                memcpy(start + at, &word, mm_test_below(8) + 1);
        }
        (void)mm_heap_check(&heap, NULL);
        for (unsigned i = 0; i < 12; i++) {
            unsigned char *q = mm_heap_realloc(&heap, p[i], (size_t)mm_test_below(3000));

            (void)mm_heap_usable(&heap, p[i]);
            (void)mm_heap_free(&heap, q != NULL && mm_test_below(2) == 0 ? q : p[i]);
            (void)mm_heap_alloc(&heap, (size_t)mm_test_below(2000));
            (void)mm_heap_owns(&heap, p[i]);
        }
        (void)stats_of(&heap);
        (void)mm_heap_check(&heap, NULL);
        (void)mm_heap_trim(&heap);
        (void)mm_heap_destroy(&heap);
        mm_test_reports_clear();
    }
}
