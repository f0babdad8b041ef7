/*
 * test_stacks.c - kernel stacks: guards, stocks, trimming.
 *
 * Problem     The stock must be as good as new stacks; what is unmapped must be flushed before its
 *             frames are free.
 * Idea        Stacks are written and read through the simulated MMU, taken and given back on two
 *             CPUs; what the machine counts shows that nothing is mapped or flushed.
 */
#include "stacks_fixture.h"

/* ---- what a stack is ---- */

TEST(stack_is_mapped_in_full_between_two_guards)
{
    static const struct {
        uint64_t bytes;
        uint32_t guard;
    } rows[] = {{PAGE, 0}, {BYTES, 1}, {BYTES, 3}, {MM_STACK_BYTES_MAX, 0}, {3 * PAGE, 0}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mm_stacks_config config = config_now();
        uint64_t guard = rows[i].guard == 0 ? PAGE : rows[i].guard * PAGE;
        struct mm_stack stack[3];

        mm_test_row("row", i);
        begin(MIB(64));
        config.bytes = rows[i].bytes;
        config.guard_frames = rows[i].guard;
        CHECK_OK(mm_stacks_init(&stacks, &config));
        for (unsigned k = 0; k < 3; k++) {
            stack[k] = must_alloc();
            CHECK_EQ(raw(stack[k].top) - raw(stack[k].low), rows[i].bytes);
            for (uint64_t at = raw(stack[k].low); at < raw(stack[k].top); at += 8)
                CHECK_EQ(fake_write64(mm_virt(at), at).fault, FAKE_OK);
        }
        for (unsigned k = 0; k < 3; k++) {
            for (uint64_t at = raw(stack[k].low); at < raw(stack[k].top); at += 8)
                CHECK_EQ(fake_read64(mm_virt(at)).value, at);
            for (uint64_t at = 1; at <= guard; at += PAGE - 1) {
                CHECK_EQ(fault_at(raw(stack[k].low) - at), FAKE_NOT_PRESENT);
                CHECK_EQ(fault_at(raw(stack[k].top) + at - 1), FAKE_NOT_PRESENT);
            }
            CHECK_EQ(fake_fetch(mm_virt_of(stack[k].low)).fault, FAKE_FETCH_DENIED);
            CHECK_EQ(fake_probe(mm_virt_of(stack[k].low)).prot, MM_PROT_RW);
        }
        check_stacks();
        for (unsigned k = 0; k < 3; k++)
            must_free(stack[k]);
        CHECK_OK(mm_stacks_destroy(&stacks));
        CHECK_EQ(t.arena.span_count, 0);
        CHECK_EQ(mapped_now(), 0);
        check_all();
    }
}

TEST(stack_find_tells_every_address)
{
    struct mm_stack_info info = MM_ZERO;
    struct mm_stack a, b;

    begin_stacks();
    a = must_alloc();
    b = must_alloc();
    must_free(b);
    CHECK_EQ(raw(b.low), raw(a.top) + PAGE);
    for (uint64_t at = raw(a.low) - PAGE; at < raw(b.top); at += PAGE / 2) {
        mm_test_row("address", at);
        CHECK_OK(mm_stack_find(&stacks, mm_virt(at), &info));
        CHECK(info.stack.low == (at < raw(a.top) ? a.low : b.low));
        CHECK(info.stack.top == (at < raw(a.top) ? a.top : b.top));
        CHECK_EQ(info.in_use, at < raw(a.top));
        CHECK_EQ(info.guard, at < raw(a.low) || (at >= raw(a.top) && at < raw(b.low)));
    }
    CHECK_ERR(mm_stack_find(&stacks, mm_virt(raw(a.low) - PAGE - 1), &info), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_stack_find(&stacks, mm_virt(0), &info), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_stack_find(&stacks, mm_virt(UINT64_MAX), &info), MM_ERR_NOT_FOUND);
    /* the guard behind the last, and what is behind that */
    uint64_t end = AREA + SLOTS * (BYTES + PAGE);
    CHECK_OK(mm_stack_find(&stacks, mm_virt(end), &info));
    CHECK_EQ(raw(info.stack.top), end);
    CHECK(info.guard && !info.in_use);
    CHECK_OK(mm_stack_find(&stacks, mm_virt(end + PAGE - 1), &info));
    CHECK_ERR(mm_stack_find(&stacks, mm_virt(end + PAGE), &info), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_stack_find(NULL, mm_virt(end), &info), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_stack_find(&stacks, mm_virt(end), NULL), MM_ERR_BAD_ARG);
}

/* ---- stocks ---- */

TEST(stack_made_and_dropped_maps_and_flushes_nothing)
{
    struct mm_stack first;
    struct fake_counts before;
    struct mm_stacks_stats stats;
    uint64_t free;

    begin_stacks();
    first = must_alloc();
    must_free(first);
    before = fake_counts();
    free = mm_pmm_free_frames(&t.pmm);
    for (unsigned i = 0; i < 1000; i++) {
        struct mm_stack stack = must_alloc();

        CHECK(stack.low == first.low);
        must_free(stack);
    }
    CHECK_EQ(fake_counts().stores + fake_counts().swaps, before.stores + before.swaps);
    CHECK_EQ(fake_counts().loads, before.loads);
    CHECK_EQ(fake_counts().flush_page + fake_counts().flush_all,
             before.flush_page + before.flush_all);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    CHECK_EQ(mm_pmm_free_frames(&t.pmm), free);
    stats = stats_now();
    CHECK_EQ(stats.in_use, 0);
    CHECK_EQ(stats.in_stock, 1);
    CHECK_EQ(stats.hits, 1000);
    CHECK_EQ(stats.frees, 1001);
    CHECK_EQ(stats.maps, 1);
    CHECK_EQ(stats.moves, 0);
    CHECK_EQ(stats.unmaps, 0);
    CHECK_EQ(stats.slots, SLOTS);
    CHECK_EQ(stats.mapped_most, 1);
    check_stacks();
}

/* One CPU makes them, the other drops them: they come back eight at a time. */
TEST(stacks_dropped_on_another_cpu_come_back)
{
    struct mm_stacks_stats stats;

    begin_stacks();
    for (unsigned i = 0; i < 400; i++) {
        struct mm_stack stack;

        fake_cpu_set(0);
        stack = must_alloc();
        fake_cpu_set(1);
        must_free(stack);
        if (i % 16 == 0)
            check_stacks();
    }
    fake_cpu_set(0);
    stats = stats_now();
    CHECK_EQ(stats.in_use, 0);
    CHECK(stats.maps <= MM_STACK_STOCK + MM_STACK_STOCK / 2 + 1);
    CHECK(stats.moves >= 300 / (MM_STACK_STOCK / 2) && stats.moves <= 400 / 4);
    CHECK_EQ(stats.in_stock, stats.maps);
    CHECK_EQ(stats.hits + stats.moves + stats.maps, 400);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    check_stacks();
}

TEST(stack_alloc_fails_only_when_nothing_is_in_stock)
{
    struct mm_stack stack[SLOTS], more = {&t, &t};

    begin_stacks();
    for (unsigned i = 0; i < SLOTS; i++)
        stack[i] = must_alloc();
    CHECK_ERR(mm_stack_alloc(&stacks, &more), MM_ERR_NO_ROOM);
    CHECK(more.low == &t && more.top == &t);
    fake_cpu_set(1);
    must_free(stack[7]); /* in the stock of CPU 1 */
    fake_cpu_set(0);
    more = must_alloc();
    CHECK(more.low == stack[7].low);
    CHECK_ERR(mm_stack_alloc(&stacks, &stack[7]), MM_ERR_NO_ROOM);
    check_stacks();
    for (unsigned i = 0; i < SLOTS; i++)
        must_free(stack[i]);
    CHECK_EQ(stats_now().in_stock, SLOTS);
    CHECK_EQ(stats_now().mapped_most, SLOTS);
    check_stacks();
}

/* CPUs beyond those that were lent a stock use that of all. */
TEST(stacks_work_without_stocks_of_cpus)
{
    struct mm_stacks_config config = config_now();
    struct mm_stack stack, other;

    begin(MIB(64));
    config.cpu = NULL;
    config.cpu_count = 0;
    CHECK_OK(mm_stacks_init(&stacks, &config));
    stack = must_alloc();
    other = must_alloc();
    must_free(stack);
    must_free(other);
    CHECK(must_alloc().low == stack.low);
    CHECK_EQ(stats_now().frees, 2);
    CHECK_EQ(stats_now().moves, 1);
    CHECK_EQ(stats_now().in_use, 1);
    check_stacks();
}

TEST(stacks_of_a_cpu_that_goes_away_are_for_all)
{
    struct mm_stack stack[5];

    begin_stacks();
    fake_cpu_set(1);
    for (unsigned i = 0; i < 5; i++)
        stack[i] = must_alloc();
    for (unsigned i = 0; i < 5; i++)
        must_free(stack[i]);
    fake_cpu_set(0);
    CHECK_EQ(cpus[1].count, 5);
    mm_stacks_cpu_exit(&stacks, 1);
    CHECK_EQ(cpus[1].count, 0);
    CHECK_EQ(stacks.stock.count, 5);
    mm_stacks_cpu_exit(&stacks, 1);
    mm_stacks_cpu_exit(&stacks, CPUS);
    mm_stacks_cpu_exit(NULL, 0);
    check_stacks();
    (void)must_alloc();
    CHECK_EQ(stats_now().maps, 5);
    CHECK_EQ(cpus[0].count, 4);
}

/* ---- trimming ---- */

TEST(stacks_trim_unmaps_what_is_too_much)
{
    static const uint32_t keeps[] = {100, 30, 17, 3, 0};
    struct mm_stack stack[30];
    struct state before;
    uint32_t left = 30;

    begin_stacks();
    before = state_now();
    for (unsigned i = 0; i < 30; i++)
        stack[i] = must_alloc();
    for (unsigned i = 0; i < 30; i++) {
        fake_cpu_set(i % 2);
        must_free(stack[i]);
    }
    fake_cpu_set(0);
    for (size_t i = 0; i < sizeof keeps / sizeof keeps[0]; i++) {
        uint32_t keep = keeps[i] < left ? keeps[i] : left;

        mm_test_row("row", i);
        CHECK_EQ(mm_stacks_trim(&stacks, keeps[i]), left - keep);
        left = keep;
        CHECK_EQ(stats_now().in_stock, left);
        CHECK_EQ(stats_now().unmaps, 30 - left);
        CHECK_EQ(mapped_now(), left * BYTES / PAGE);
        check_stacks();
    }
    check_same(&before);
    CHECK_EQ(mm_stacks_trim(&stacks, 0), 0);
    CHECK_EQ(mm_stacks_trim(NULL, 0), 0);
    CHECK(must_alloc().low != stack[29].low); /* addresses that were unmapped last come last */
}

static mm_phys_t watched[8 * 4];
static unsigned allocated_at_flush;

static bool look(void *arg, unsigned cpu)
{
    (void)arg;
    (void)cpu;
    for (unsigned i = 0; i < 8 * 4; i++) {
        struct mm_frame_info info;

        mm_pmm_query(&t.pmm, watched[i], &info);
        allocated_at_flush += info.state == MM_FRAME_ALLOCATED;
    }
    return true;
}

TEST(stacks_trim_flushes_eight_at_once_and_frees_after_it)
{
    struct mm_stack stack[8];

    begin_stacks();
    for (unsigned i = 0; i < 8; i++)
        stack[i] = must_alloc();
    for (unsigned i = 0; i < 8 * 4; i++) {
        mm_virt_t virt = mm_virt(raw(stack[i / 4].low) + i % 4 * PAGE);

        fake_cpu_set(i % 2);
        CHECK_EQ(fake_write64(virt, i).fault, FAKE_OK);
        watched[i] = fake_probe(virt).phys;
    }
    fake_cpu_set(0);
    for (unsigned i = 0; i < 8; i++)
        must_free(stack[i]);
    allocated_at_flush = 0;
    mm_test_shootdown_hook(look, NULL);
    CHECK_EQ(mm_stacks_trim(&stacks, 0), 8);
    mm_test_shootdown_hook(NULL, NULL);
    CHECK_EQ(mm_test_shootdowns().count, 1);
    CHECK_EQ(allocated_at_flush, 8 * 4);
    for (unsigned i = 0; i < 8 * 4; i++)
        CHECK(!fake_frame_in_use(watched[i]));
    check_stacks();
}

TEST(stacks_destroy_waits_for_nobody)
{
    struct mm_stack stack;

    begin_stacks();
    stack = must_alloc();
    must_free(must_alloc());
    CHECK_ERR(mm_stacks_destroy(&stacks), MM_ERR_BUSY);
    CHECK_EQ(fault_at(raw(stack.low)), FAKE_OK);
    must_free(stack);
    CHECK_EQ(stats_now().in_stock, 1);
    CHECK_OK(mm_stacks_destroy(&stacks));
    CHECK_EQ(t.arena.span_count, 0);
    CHECK_ERR(mm_stacks_destroy(&stacks), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_stack_alloc(&stacks, &stack), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_stack_free(&stacks, &stack), MM_ERR_BAD_ARG);
    check_reported("no stacks or no stack given");
    check_all();
}
