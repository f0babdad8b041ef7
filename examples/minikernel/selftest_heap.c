/*
 * selftest_heap.c - blocks of any size.
 *
 * Problem     Blocks must not overlap, keep what was put into them, and come back; wrong frees must
 *             be refused without harm.
 * Idea        Fill every block with bytes of its own and look again later. Growth and shrinking are
 *             watched on a second heap, which takes its pages from the same PMM.
 */
#include "selftest_tools.h"
#include "snapshot.h"

#define HEAP (&mm_default.heap)

static void fill(void *block, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)block)[i] = (uint8_t)(seed + i * 7);
}

static bool holds(const void *block, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++) {
        if (((const uint8_t *)block)[i] != (uint8_t)(seed + i * 7))
            return false;
    }
    return true;
}

static bool is_zero(const void *block, size_t bytes)
{
    size_t i = 0;

    while (i < bytes && ((const uint8_t *)block)[i] == 0)
        i++;
    return i == bytes;
}

static struct mm_heap_stats stats_of(struct mm_heap *heap)
{
    struct mm_heap_stats stats;

    mm_heap_get_stats(heap, &stats);
    return stats;
}

SELFTEST(heap_gives_every_size)
{
    static const size_t sizes[] = {0,    1,    8,    15,   16,   17,   31,   32,    33,    63,
                                   64,   65,   100,  127,  128,  200,  256,  500,   512,   1000,
                                   1024, 2048, 3000, 4095, 4096, 4097, 8192, 10000, 65536, 100000};
    void *blocks[sizeof(sizes) / sizeof(sizes[0])];
    unsigned count = sizeof(sizes) / sizeof(sizes[0]);

    snapshot_take(&snapshot_before);
    for (unsigned i = 0; i < count; i++) {
        blocks[i] = mm_heap_alloc(HEAP, sizes[i]);
        CHECK(blocks[i] != NULL);
        CHECK_EQUAL((uintptr_t)blocks[i] % MM_HEAP_ALIGN, 0);
        CHECK(mm_heap_usable(HEAP, blocks[i]) >= sizes[i]);
        CHECK(mm_heap_owns(HEAP, blocks[i]));
        fill(blocks[i], sizes[i], i);
    }
    for (unsigned i = 0; i < count; i++)
        CHECK(holds(blocks[i], sizes[i], i));
    CHECK_EQUAL(mm_heap_check(HEAP, &fault_printer), 0);
    for (unsigned i = 0; i < count; i++)
        CHECK_EQUAL(mm_heap_free(HEAP, blocks[i]), MM_OK);
    CHECK(snapshot_unchanged());
}

SELFTEST(heap_zeroes)
{
    uint8_t *dirty = mm_heap_alloc(HEAP, 3000);
    uint8_t *clean;

    CHECK(dirty != NULL);
    fill(dirty, 3000, 1);
    CHECK_EQUAL(mm_heap_free(HEAP, dirty), MM_OK);
    clean = mm_heap_zeroed(HEAP, 3000);
    CHECK(clean != NULL && is_zero(clean, 3000));
    fill(clean, 3000, 2);
    CHECK_EQUAL(mm_heap_free(HEAP, clean), MM_OK);
    clean = mm_heap_array(HEAP, 100, 30);
    CHECK(clean != NULL && is_zero(clean, 3000));
    CHECK_EQUAL(mm_heap_free(HEAP, clean), MM_OK);
}

SELFTEST(heap_refuses_what_cannot_exist)
{
    snapshot_take(&snapshot_before);
    CHECK(mm_heap_alloc(HEAP, SIZE_MAX) == NULL);
    CHECK(mm_heap_alloc(HEAP, SIZE_MAX - 15) == NULL);
    CHECK(mm_heap_alloc(HEAP, SIZE_MAX / 2) == NULL);
    CHECK(mm_heap_zeroed(HEAP, SIZE_MAX - 4096) == NULL);
    CHECK(mm_heap_array(HEAP, SIZE_MAX / 2, 3) == NULL);
    CHECK(mm_heap_array(HEAP, (size_t)1 << 32, (size_t)1 << 32) == NULL);
    CHECK(mm_heap_aligned(HEAP, 4096, SIZE_MAX - 100) == NULL);
    CHECK_EQUAL(mm_heap_check(HEAP, &fault_printer), 0);
    CHECK(snapshot_unchanged());
}

SELFTEST(heap_aligns)
{
    snapshot_take(&snapshot_before);
    for (size_t align = 1; align <= 65536; align *= 2) {
        void *block = mm_heap_aligned(HEAP, align, 100);

        CHECK(block != NULL);
        CHECK_EQUAL((uintptr_t)block % align, 0);
        CHECK_EQUAL((uintptr_t)block % MM_HEAP_ALIGN, 0);
        fill(block, 100, 5);
        CHECK_EQUAL(mm_heap_free(HEAP, block), MM_OK);
    }
    reports_begin();
    CHECK(mm_heap_aligned(HEAP, 48, 100) == NULL);
    CHECK_EQUAL(reports_end(NULL), 1);
    CHECK(snapshot_unchanged());
}

SELFTEST(heap_resizes)
{
    static const size_t sizes[] = {10, 100, 90, 5000, 5100, 70000, 3, 4096, 0, 300};
    size_t had = 0;
    void *block = NULL;

    snapshot_take(&snapshot_before);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        void *new_block = mm_heap_realloc(HEAP, block, sizes[i]);

        CHECK(new_block != NULL);
        block = new_block;
        CHECK(holds(block, had < sizes[i] ? had : sizes[i], 9));
        fill(block, sizes[i], 9);
        had = sizes[i];
    }
    CHECK(mm_heap_realloc(HEAP, block, SIZE_MAX - 64) == NULL);
    CHECK(holds(block, had, 9));
    CHECK_EQUAL(mm_heap_free_sized(HEAP, block, had), MM_OK);
    CHECK(snapshot_unchanged());
}

SELFTEST(heap_refuses_wrong_frees)
{
    static uint64_t foreign[16];
    uint64_t local[16] = {0};
    char *block = mm_heap_alloc(HEAP, 200);
    char *second = mm_heap_alloc(HEAP, 200);

    CHECK(block != NULL && second != NULL);
    fill(block, 200, 3);
    CHECK_EQUAL(mm_heap_free(HEAP, NULL), MM_OK);
    CHECK_REPORTED(mm_heap_free(HEAP, block + 16), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_heap_free(HEAP, block + 1), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_heap_free(HEAP, &foreign[8]), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_heap_free(HEAP, &local[8]), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_heap_free(HEAP, (void *)(uintptr_t)0x1000), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_heap_free_sized(HEAP, block, 100000), MM_ERR_MISUSE);
    CHECK(!mm_heap_owns(HEAP, block + 16) && !mm_heap_owns(HEAP, foreign));
    CHECK(holds(block, 200, 3) && local[7] == 0 && foreign[7] == 0);
    CHECK_EQUAL(mm_heap_free(HEAP, block), MM_OK);
    CHECK_REPORTED(mm_heap_free(HEAP, block), MM_ERR_MISUSE);
    CHECK(!mm_heap_owns(HEAP, block));
    CHECK_EQUAL(mm_heap_free(HEAP, second), MM_OK);
    CHECK_EQUAL(mm_heap_check(HEAP, &fault_printer), 0);
}

static void start_heap(struct mm_heap *heap, size_t limit)
{
    struct mm_heap_config config = {
        .source = mm_direct_page_source(&mm_default.pages), .limit_bytes = limit, .secret = 77};

    *heap = (struct mm_heap){0};
    CHECK_EQUAL(mm_heap_init(heap, &config), MM_OK);
}

SELFTEST(heap_grows_and_shrinks)
{
    static struct mm_heap heap;
    static void *blocks[300];

    snapshot_take(&snapshot_before);
    start_heap(&heap, 0);
    CHECK_EQUAL(stats_of(&heap).page_bytes, 0);
    for (unsigned i = 0; i < 300; i++) {
        blocks[i] = mm_heap_alloc(&heap, 5000);
        CHECK(blocks[i] != NULL);
        fill(blocks[i], 5000, i);
    }
    CHECK(stats_of(&heap).page_bytes >= 300 * 5000);
    CHECK_EQUAL(stats_of(&heap).live_blocks, 300);
    for (unsigned i = 0; i < 300; i++) {
        CHECK(holds(blocks[i], 5000, i));
        CHECK_EQUAL(mm_heap_free(&heap, blocks[i]), MM_OK);
    }
    CHECK(stats_of(&heap).page_bytes < 300 * 5000 / 2); /* most went back by itself */
    (void)mm_heap_trim(&heap);
    CHECK_EQUAL(stats_of(&heap).page_bytes, 0);
    CHECK_EQUAL(mm_heap_destroy(&heap), MM_OK);
    CHECK(snapshot_unchanged());
}

SELFTEST(heap_keeps_to_its_limit)
{
    static struct mm_heap heap;
    unsigned count = 0;

    snapshot_take(&snapshot_before);
    start_heap(&heap, 512 * KIB);
    while (mm_heap_alloc(&heap, 1000))
        count++;
    CHECK(count >= 400 && count < 525);
    CHECK(stats_of(&heap).page_bytes <= 512 * KIB);
    CHECK(stats_of(&heap).fail_count >= 1);
    CHECK_EQUAL(mm_heap_check(&heap, &fault_printer), 0);
    CHECK_REPORTED(mm_heap_destroy(&heap), MM_ERR_BUSY); /* the blocks are a leak */
    CHECK(snapshot_unchanged());
}

SELFTEST(heap_lives_in_a_block_of_bytes)
{
    static uint64_t bytes[2048];
    static struct mm_heap heap;
    struct mm_heap_config config = {.block = bytes, .block_bytes = sizeof(bytes), .secret = 1};
    unsigned count = 0;
    uint8_t *block;

    CHECK_EQUAL(mm_heap_init(&heap, &config), MM_OK);
    while ((block = mm_heap_alloc(&heap, 100)) != NULL) {
        CHECK(block >= (uint8_t *)bytes && block + 100 <= (uint8_t *)bytes + sizeof(bytes));
        count++;
    }
    CHECK(count >= sizeof(bytes) / 100 / 2);
    CHECK_EQUAL(mm_heap_check(&heap, &fault_printer), 0);
}

static void count_block(void *context, void *pointer, size_t bytes)
{
    (void)pointer;
    *(uint64_t *)context += UINT64_C(1) << 32 | bytes;
}

SELFTEST(heap_walks_live_blocks)
{
    static struct mm_heap heap;
    uint64_t seen = 0;
    void *blocks[10];

    start_heap(&heap, 0);
    for (unsigned i = 0; i < 10; i++) {
        blocks[i] = mm_heap_alloc(&heap, 100);
        CHECK(blocks[i] != NULL);
    }
    CHECK_EQUAL(mm_heap_free(&heap, blocks[4]), MM_OK);
    mm_heap_walk(&heap, count_block, &seen);
    CHECK_EQUAL(seen >> 32, 9);
    CHECK((uint32_t)seen >= 900);
    CHECK_REPORTED(mm_heap_destroy(&heap), MM_ERR_BUSY);
}

SELFTEST(heap_survives_random_use)
{
    static struct {
        void *block;
        size_t bytes;
    } live[128];
    uint64_t seed = 3;

    snapshot_take(&snapshot_before);
    for (unsigned step = 0; step < 8000; step++) {
        unsigned i = (unsigned)(test_random(&seed) % 128);
        size_t bytes = (size_t)(test_random(&seed) % (step % 50 == 0 ? 20000 : 300));

        if (live[i].block) {
            CHECK(holds(live[i].block, live[i].bytes, i));
            CHECK_EQUAL(mm_heap_free(HEAP, live[i].block), MM_OK);
            live[i].block = NULL;
        } else {
            live[i].block = mm_heap_alloc(HEAP, bytes);
            live[i].bytes = bytes;
            CHECK(live[i].block != NULL);
            fill(live[i].block, bytes, i);
        }
    }
    CHECK_EQUAL(mm_heap_check(HEAP, &fault_printer), 0);
    for (unsigned i = 0; i < 128; i++)
        CHECK_EQUAL(mm_heap_free(HEAP, live[i].block), MM_OK);
    CHECK(snapshot_unchanged());
}
