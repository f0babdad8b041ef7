/*
 * test_model.c - random calls against a shadow that only remembers what it was given.
 *
 * The shadow knows address, size and pattern of each block. Every block that comes must overlap no
 * other, every block that goes must hold its pattern; sources fail now and then. The counters of
 * the heap must be those of the shadow.
 */
#include "heap_test.h"

#define SLOTS 200u
#define STEPS 350000u

static struct mm_heap heap;
static struct pool pool;
static unsigned char lent[20000];

static struct slot {
    unsigned char *at;
    size_t bytes;
    unsigned char pattern;
} slot[SLOTS];
static size_t live;
static uint64_t allocs, frees, fails, refusals;

static size_t random_size(void)
{
    const uint64_t kind = mm_test_below(100);

    if (kind < 70)
        return (size_t)mm_test_below(200);
    if (kind < 99)
        return (size_t)mm_test_below(3000);
    return (size_t)mm_test_below(90000);
}

static void adopt(struct slot *s, void *at, size_t bytes)
{
    const size_t usable = mm_heap_usable(&heap, at);
    const uintptr_t start = (uintptr_t)at;

    CHECK(usable >= bytes && start % MM_HEAP_ALIGN == 0);
    for (size_t i = 0; i < SLOTS; i++)
        if (slot[i].at != NULL && &slot[i] != s)
            CHECK(start + usable <= (uintptr_t)slot[i].at ||
                  (uintptr_t)slot[i].at + slot[i].bytes <= start);
    if (s->at == NULL)
        live++;
    s->at = at;
    s->bytes = bytes;
    s->pattern = (unsigned char)mm_test_random();
    memset(at, s->pattern, bytes);
}

static void holds(const unsigned char *at, size_t bytes, unsigned char pattern)
{
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != pattern)
            CHECK(at[i] == pattern);
}

static void take(struct slot *s)
{
    const size_t bytes = random_size();
    const size_t align = (size_t)1 << mm_test_below(13);
    const uint64_t how = mm_test_below(6);
    unsigned char *at;

    if (how == 0)
        at = mm_heap_zeroed(&heap, bytes);
    else if (how == 1)
        at = mm_heap_array(&heap, bytes, 1);
    else if (how == 2)
        at = mm_heap_aligned(&heap, align, bytes);
    else if (how == 3)
        at = mm_heap_realloc(&heap, NULL, bytes);
    else
        at = mm_heap_alloc(&heap, bytes);
    if (at == NULL) {
        fails++;
        return;
    }
    allocs++;
    if (how <= 1)
        holds(at, bytes, 0);
    CHECK(how != 2 || (uintptr_t)at % align == 0);
    adopt(s, at, bytes);
}

static void give(struct slot *s)
{
    holds(s->at, s->bytes, s->pattern);
    if (mm_test_below(2) == 0)
        CHECK_OK(mm_heap_free(&heap, s->at));
    else
        CHECK_OK(mm_heap_free_sized(&heap, s->at, s->bytes));
    if (mm_test_below(8) == 0) {
        CHECK_ERR(mm_heap_free(&heap, s->at), MM_ERR_MISUSE);
        mm_test_reports_clear();
        refusals++;
    }
    s->at = NULL;
    live--;
    frees++;
}

static void resize(struct slot *s)
{
    const size_t bytes = random_size();
    unsigned char *at = mm_heap_realloc(&heap, s->at, bytes);

    if (at == NULL) {
        fails++;
        holds(s->at, s->bytes, s->pattern);
        return;
    }
    if (at != s->at) {
        CHECK(bytes > s->bytes);
        allocs++;
        frees++;
    }
    holds(at, bytes < s->bytes ? bytes : s->bytes, s->pattern);
    adopt(s, at, bytes);
}

/* A pointer that is none, near one that is. */
static void misuse(const struct slot *s)
{
    unsigned char *wrong = s->at + 1 + mm_test_below(s->bytes + 7);

    CHECK(mm_heap_free(&heap, wrong) == MM_ERR_MISUSE || mm_heap_owns(&heap, wrong));
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
    refusals++;
}

static void compare(void)
{
    const struct mm_heap_stats stats = stats_of(&heap);

    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    CHECK_EQ(stats.live_blocks, live);
    CHECK_EQ(stats.alloc_count, allocs);
    CHECK_EQ(stats.free_count, frees);
    CHECK_EQ(stats.fail_count, fails);
    CHECK_EQ(stats.misuse_count, refusals);
    CHECK_EQ(heap.page_bytes, pool.out_bytes);
}

static void step(void)
{
    struct slot *s = &slot[mm_test_below(SLOTS)];
    const uint64_t what = mm_test_below(1000);

    if (what == 0)
        (void)mm_heap_trim(&heap);
    else if (what < 10)
        pool.fail_after = (size_t)mm_test_below(4);
    else if (s->at == NULL)
        take(s);
    else if (what < 300)
        resize(s);
    else if (what < 320)
        misuse(s);
    else
        give(s);
}

static void run(const struct mm_heap_config *config, unsigned steps)
{
    memset(slot, 0, sizeof slot);
    live = 0;
    allocs = frees = fails = refusals = 0;
    CHECK_OK(mm_heap_init(&heap, config));
    pool.heap = NULL; /* its statistics at each growth cost too much here */
    for (unsigned i = 0; i < steps; i++) {
        mm_test_row("step", i);
        step();
        if (i % 512 == 0)
            compare();
    }
    for (size_t i = 0; i < SLOTS; i++)
        if (slot[i].at != NULL)
            give(&slot[i]);
    compare();
    CHECK(stats_of(&heap).regions <= 2);
    CHECK(fails != 0 && refusals != 0); /* it has seen both */
    end_heap(&heap, &pool);
}

TEST(model_of_a_growing_heap_agrees)
{
    struct mm_heap_config config = {.secret = mm_test_random(), .limit_bytes = 1 << 20};

    pool_init(&pool);
    config.source = pool_source(&pool);
    run(&config, STEPS);
}

TEST(model_of_a_heap_of_pages_and_a_lent_block_agrees)
{
    struct mm_heap_config config = {.secret = mm_test_random(), .grow_bytes = PAGE, .block = lent};

    pool_init(&pool);
    pool.page_count = 100;
    config.source = pool_source(&pool);
    config.block_bytes = sizeof lent;
    run(&config, STEPS / 4);
}

TEST(model_of_a_lent_block_alone_agrees)
{
    struct mm_heap_config config = {.block = lent + 1, .block_bytes = sizeof lent - 1};

    pool_init(&pool);
    run(&config, STEPS / 4);
}
