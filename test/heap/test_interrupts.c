/*
 * test_interrupts.c - an interrupt that uses the heap, in the middle of a call that uses it.
 *
 * The lock must keep interrupts off while the heap is between two states, and must be free, with
 * interrupts as they were, while the source works. An interrupt that finds the lock taken by its
 * own CPU panics, one that finds a half-done heap fails a check.
 */
#include "heap_test.h"

#include "fake_port.h"

static struct mm_heap heap;
static struct pool pool;

/* A source that is as quick as can be, since each of its instructions may be stepped through, and
 * that an interrupt may find at work. */
#define RUNS      24u
#define RUN_BYTES (4 * (size_t)PAGE)

static unsigned char run_memory[RUNS][RUN_BYTES] __attribute__((aligned(4096)));
static size_t run_out_bytes[RUNS];

static size_t runs_out_bytes(void)
{
    size_t total = 0;

    for (unsigned i = 0; i < RUNS; i++)
        total += run_out_bytes[i];
    return total;
}

static enum mm_err run_alloc(void *context, size_t bytes, void **out)
{
    const bool interrupts_on = fake_port_guard();
    unsigned i = 0;

    (void)context;
    while (i < RUNS && run_out_bytes[i] != 0)
        i++;
    if (i < RUNS && bytes <= RUN_BYTES) {
        run_out_bytes[i] = bytes;
        *out = run_memory[i];
    }
    fake_port_unguard(interrupts_on);
    return i < RUNS && bytes <= RUN_BYTES ? MM_OK : MM_ERR_NO_MEMORY;
}

static void run_free(void *context, void *pages, size_t bytes)
{
    const size_t i = (size_t)((unsigned char *)pages - run_memory[0]) / RUN_BYTES;

    (void)context;
    CHECK(i < RUNS && run_out_bytes[i] == bytes);
    run_out_bytes[i] = 0;
}

#define KEPT 8u

/* Fits in no gap, and two of it in no page; less than what the host fills with one instruction that
 * is stepped through byte by byte. */
#define LARGE 2040u

static unsigned char *filler;     /* the rest of the pages */
static unsigned char *kept[KEPT]; /* blocks of the interrupted code, filled with their number */
static unsigned char *mine[4];    /* blocks of the interrupt */
static unsigned turn, interrupts;

/* What a driver does: take some, give some back, now and then resize or look. */
static void interrupt(void *arg)
{
    unsigned char **p = &mine[turn++ % 4];

    (void)arg;
    interrupts++;
    CHECK(mm_heap_free(&heap, *p) == MM_OK);
    *p = mm_heap_alloc(&heap, 40 + turn * 700 % 5000);
    if (*p != NULL)
        memset(*p, 0xdd, 40);
    if (turn % 3 == 0) {
        unsigned char *q = mm_heap_realloc(&heap, *p, 90);

        if (q != NULL)
            *p = q;
    }
}

static void begin(void *arg)
{
    const struct mm_heap_config config = {
        .source = {run_alloc, run_free, NULL}, .grow_bytes = PAGE, .secret = SECRET};

    (void)arg;
    memset(mine, 0, sizeof mine);
    memset(run_out_bytes, 0, sizeof run_out_bytes);
    turn = interrupts = 0;
    CHECK_OK(mm_heap_init(&heap, &config));
    for (unsigned i = 0; i < KEPT; i++) {
        kept[i] = mm_heap_alloc(&heap, 300 + i * 100);
        CHECK(kept[i] != NULL);
        memset(kept[i], (int)i, 300 + i * 100);
    }
    filler = mm_heap_alloc(&heap, stats_of(&heap).largest_free_bytes);
    CHECK(stats_of(&heap).largest_free_bytes < LARGE); /* so that LARGE needs pages */
    for (unsigned i = 0; i < KEPT; i += 2) {
        CHECK_OK(mm_heap_free(&heap, kept[i]));
        kept[i] = NULL;
    }
}

static void end(void *arg)
{
    (void)arg;
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    for (unsigned i = 0; i < KEPT; i++) {
        for (size_t j = 0; kept[i] != NULL && j < 300; j++)
            CHECK_EQ(kept[i][j], i);
        CHECK_OK(mm_heap_free(&heap, kept[i]));
    }
    for (unsigned i = 0; i < 4; i++)
        CHECK_OK(mm_heap_free(&heap, mine[i]));
    CHECK_OK(mm_heap_free(&heap, filler));
    CHECK_EQ(stats_of(&heap).live_blocks, 0);
    CHECK_EQ(heap.page_bytes, runs_out_bytes());
    end_heap(&heap, NULL);
    CHECK_EQ(runs_out_bytes(), 0);
}

static void keep(unsigned i, unsigned char *p, size_t bytes)
{
    CHECK(p != NULL);
    memset(p, (int)i, bytes);
    kept[i] = p;
}

/* The interrupted calls, each alone. */
static void alloc_and_free(void *arg)
{
    unsigned char *p = mm_heap_alloc(&heap, 350);

    (void)arg;
    CHECK(mm_heap_free(&heap, kept[1]) == MM_OK);
    kept[1] = NULL;
    keep(0, p, 350);
}

static void alloc_that_grows(void *arg)
{
    (void)arg;
    keep(0, mm_heap_alloc(&heap, LARGE), 300);
}

static void free_that_shrinks(void *arg)
{
    void *p = mm_heap_alloc(&heap, LARGE);
    void *q = mm_heap_alloc(&heap, LARGE);

    (void)arg;
    CHECK(mm_heap_free(&heap, p) == MM_OK);
    CHECK(mm_heap_free(&heap, q) == MM_OK);
    (void)mm_heap_trim(&heap);
}

static void realloc_each_way(void *arg)
{
    (void)arg;
    kept[1] = mm_heap_realloc(&heap, kept[1], 300);   /* less */
    kept[1] = mm_heap_realloc(&heap, kept[1], 420);   /* in place, or not */
    kept[1] = mm_heap_realloc(&heap, kept[1], LARGE); /* elsewhere */
    CHECK(kept[1] != NULL);
}

static void (*const outer[])(void *arg) = {alloc_and_free, alloc_that_grows, free_that_shrinks,
                                           realloc_each_way};
#define OUTERS (sizeof outer / sizeof outer[0])

TEST(interrupt_at_each_point_of_the_port_finds_a_whole_heap)
{
    for (size_t i = 0; i < OUTERS; i++) {
        bool pending = false;
        uint64_t skip;

        for (skip = 0; !pending; skip++) {
            mm_test_row("point", skip);
            begin(NULL);
            fake_interrupt_once(interrupt, NULL, skip);
            outer[i](NULL);
            pending = fake_interrupt_pending();
            fake_interrupt_set(NULL, NULL);
            end(NULL);
        }
        CHECK(skip > 2); /* there are such points */
    }
}

TEST(interrupt_at_all_points_of_the_port_at_once_finds_a_whole_heap)
{
    for (size_t i = 0; i < OUTERS; i++) {
        begin(NULL);
        fake_interrupt_set(interrupt, NULL);
        outer[i](NULL);
        fake_interrupt_set(NULL, NULL);
        CHECK(interrupts > 2);
        end(NULL);
    }
}

/* Every `stride`-th instruction boundary, beginning anywhere below it, so that many seeds see all:
 * each costs thousands of traps to reach. */
static void step_through(void (*call)(void *arg), void (*first)(void *arg), void (*last)(void *arg),
                         uint64_t stride)
{
    struct fake_step step = {
        .begin = first, .outer = call, .inner = interrupt, .end = last, .stride = stride};

    step.first = mm_test_below(stride);
    if (!fake_interrupt_each_instruction(&step))
        return;
    if (step.runs == 0) { /* the call is shorter than that, as optimised ones are */
        step.first = 0;
        (void)fake_interrupt_each_instruction(&step);
    }
    CHECK(step.runs > 0);
}

TEST(interrupt_at_an_instruction_of_any_call_finds_a_whole_heap)
{
    for (size_t i = 0; i < OUTERS; i++) {
        mm_test_row("call", i);
        step_through(outer[i], begin, end, 1000);
    }
}

/* Nothing but the two calls, so that most boundaries are theirs. */
static unsigned char lent[16384];

static void begin_bare(void *arg)
{
    (void)arg;
    memset(mine, 0, sizeof mine);
    memset(kept, 0, sizeof kept);
    lent_heap(&heap, lent, sizeof lent);
    kept[1] = mm_heap_alloc(&heap, 40);
}

static void bare_alloc(void *arg)
{
    (void)arg;
    kept[0] = mm_heap_alloc(&heap, 40);
}

static void bare_free(void *arg)
{
    (void)arg;
    (void)mm_heap_free(&heap, kept[1]);
}

static void end_bare(void *arg)
{
    (void)arg;
    CHECK_EQ(mm_heap_check(&heap, NULL), 0);
    for (unsigned i = 0; i < 4; i++) /* the interrupt may have what was freed under it */
        kept[1] = kept[1] == mine[i] ? NULL : kept[1];
    if (mm_heap_owns(&heap, kept[1]))
        CHECK_OK(mm_heap_free(&heap, kept[1]));
    CHECK_OK(mm_heap_free(&heap, kept[0]));
    for (unsigned i = 0; i < 4; i++)
        CHECK_OK(mm_heap_free(&heap, mine[i]));
    end_heap(&heap, NULL);
}

TEST(interrupt_at_an_instruction_of_alloc_and_free_finds_a_whole_heap)
{
    step_through(bare_alloc, begin_bare, end_bare, 40);
    step_through(bare_free, begin_bare, end_bare, 40);
}

/* The flag is restored, not set: a call with interrupts off leaves them off. */
TEST(interrupt_flag_is_as_it_was_after_each_call)
{
    for (unsigned on = 0; on < 2; on++) {
        begin(NULL);
        fake_interrupts(on != 0);
        for (size_t i = 0; i < OUTERS; i++) {
            if (i == 0 || kept[0] == NULL)
                outer[i](NULL);
            CHECK_EQ(fake_cpu(0)->interrupts_on, on);
        }
        (void)mm_heap_owns(&heap, kept[3]);
        (void)mm_heap_usable(&heap, kept[3]);
        (void)stats_of(&heap);
        (void)mm_heap_check(&heap, NULL);
        CHECK_EQ(fake_cpu(0)->interrupts_on, on);
        fake_interrupts(true);
        end(NULL);
    }
}

/* ---- the lock is free while the source works, and others may come in between ---- */

static unsigned char *taken_inside;

/* Somebody else frees memory while pages are asked for in vain. */
static enum mm_err alloc_that_fails_after_a_free(void *context, size_t bytes, void **out)
{
    (void)context, (void)bytes, (void)out;
    CHECK(fake_cpu(0)->interrupts_on);
    CHECK_OK(mm_heap_free(&heap, taken_inside));
    taken_inside = NULL;
    return MM_ERR_NO_MEMORY;
}

TEST(interrupt_that_frees_while_pages_are_refused_is_seen)
{
    unsigned char *p;

    grown_heap(&heap, &pool, PAGE);
    taken_inside = mm_heap_alloc(&heap, PAGE - OVERHEAD - HEADER);
    heap.source.alloc = alloc_that_fails_after_a_free;
    p = mm_heap_alloc(&heap, 2000); /* full; the source has none; but now there is room */
    CHECK(p != NULL);
    CHECK_OK(mm_heap_free(&heap, p));
    end_heap(&heap, &pool);
}

static unsigned char *nested[8];
static unsigned depth;

/* Somebody else needs memory, too, and is faster. */
static enum mm_err alloc_that_is_overtaken(void *context, size_t bytes, void **out)
{
    enum mm_err err = pool_alloc(context, bytes, out);

    CHECK(fake_cpu(0)->interrupts_on);
    if (err == MM_OK && depth < 8) {
        unsigned i = depth++;

        nested[i] = mm_heap_alloc(&heap, 3000);
    }
    return err;
}

TEST(interrupt_that_grows_at_the_same_time_takes_nobody_elses_pages)
{
    unsigned char *p;

    grown_heap(&heap, &pool, PAGE);
    depth = 0;
    heap.source.alloc = alloc_that_is_overtaken;
    p = mm_heap_alloc(&heap, 3000);
    CHECK(p != NULL);
    CHECK_EQ(depth, 8);
    for (unsigned i = 0; i < 8; i++) {
        CHECK(nested[i] != NULL && nested[i] != p);
        CHECK_OK(mm_heap_free(&heap, nested[i]));
    }
    CHECK_EQ(pool.allocs, 9);
    CHECK_OK(mm_heap_free(&heap, p));
    end_heap(&heap, &pool);
}

TEST(interrupt_that_grows_at_the_same_time_respects_the_limit)
{
    unsigned char *p;

    grown_heap(&heap, &pool, PAGE);
    heap.limit_bytes = 4 * PAGE;
    depth = 0;
    heap.source.alloc = alloc_that_is_overtaken;
    p = mm_heap_alloc(&heap, 3000);
    CHECK(p != NULL);
    CHECK_EQ(pool.most_bytes, 4 * PAGE);
    CHECK_EQ(depth, 4);
    CHECK(nested[3] == NULL);
    for (unsigned i = 0; i < 3; i++)
        CHECK_OK(mm_heap_free(&heap, nested[i]));
    CHECK_OK(mm_heap_free(&heap, p));
    end_heap(&heap, &pool);
}

/* Pages that are on their way back still count: nobody gets others for them. */
static void free_that_is_overtaken(void *context, void *pages, size_t bytes)
{
    CHECK(fake_cpu(0)->interrupts_on);
    CHECK(mm_heap_alloc(&heap, 2 * PAGE) == NULL);
    pool_free(context, pages, bytes);
}

TEST(interrupt_that_grows_while_pages_go_back_respects_the_limit)
{
    unsigned char *p;

    grown_heap(&heap, &pool, PAGE);
    heap.limit_bytes = 3 * PAGE;
    heap.source.free = free_that_is_overtaken;
    p = mm_heap_alloc(&heap, 2 * PAGE);
    CHECK(p != NULL);
    CHECK_OK(mm_heap_free(&heap, p));
    CHECK_EQ(mm_heap_trim(&heap), 3 * PAGE);
    CHECK_EQ(pool.most_bytes, 3 * PAGE);
    heap.source.free = pool_free;
    end_heap(&heap, &pool);
}
