/*
 * test_stacks_failures.c - kernel stacks: misuse, failures, interrupts, damage.
 *
 * Problem     One stack must never be two threads', and each failure must give back what came
 *             before it.
 * Idea        Each frame that is taken fails once; each call that takes a lock is interrupted by
 *             another; a long random run knows who has which stack; each bit of the lists is
 *             flipped.
 */
#include "stacks_fixture.h"

/* ---- misuse ---- */

TEST(stack_given_back_twice_is_refused)
{
    struct mm_stack stack, other;

    begin_stacks();
    stack = must_alloc();
    other = must_alloc();
    must_free(stack);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        fake_cpu_set(cpu);
        CHECK_ERR(mm_stack_free(&stacks, &stack), MM_ERR_MISUSE);
        CHECK_EQ(mm_test_report(0)->address, raw(stack.low));
        check_reported("stack is not in use");
    }
    fake_cpu_set(0);
    CHECK_EQ(mm_stacks_trim(&stacks, 0), 1);
    CHECK_ERR(mm_stack_free(&stacks, &stack), MM_ERR_MISUSE); /* unmapped */
    check_reported("stack is not in use");
    CHECK(must_alloc().low != other.low);
    check_stacks();
}

TEST(stack_free_of_anything_else_is_refused)
{
    struct mm_stack stack, never;
    void *device = NULL;

    begin_stacks();
    stack = must_alloc();
    CHECK_OK(mm_kmap(&t.area, mm_phys(GIB(1)), BYTES, MM_MEMTYPE_UC, &device));
    uint64_t low = raw(stack.low), top = raw(stack.top), stride = BYTES + PAGE;
    const uint64_t wrong[][2] = {
        {0, 0},
        {0, BYTES},
        {low + 8, top + 8},
        {low + PAGE, top + PAGE},
        {low, top - PAGE},
        {low, top + PAGE},
        {top, low},
        {low - PAGE, top - PAGE},
        {low - stride, top - stride},
        {low + SLOTS * stride, top + SLOTS * stride},
        {raw(device), raw(device) + BYTES},
        {low - AREA, top - AREA},
        {UINT64_MAX - BYTES + 1, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        mm_test_row("row", i);
        never = stack_at(wrong[i][0], wrong[i][1]);
        CHECK_ERR(mm_stack_free(&stacks, &never), MM_ERR_MISUSE);
        check_reported("not a stack of these");
    }
    never = stack_at(low + stride, top + stride);
    CHECK_ERR(mm_stack_free(&stacks, &never), MM_ERR_MISUSE);
    check_reported("stack is not in use");
    CHECK_ERR(mm_stack_free(NULL, &stack), MM_ERR_BAD_ARG);
    check_reported("no stacks or no stack given");
    CHECK_ERR(mm_stack_free(&stacks, NULL), MM_ERR_BAD_ARG);
    check_reported("no stacks or no stack given");
    CHECK_ERR(mm_kunmap(&t.area, mm_virt_pointer(mm_virt(AREA))), MM_ERR_MISUSE);
    check_reported("not what mm_kmap() gave");
    CHECK_ERR(mm_vfree(&t.area, mm_virt_pointer(mm_virt(AREA))), MM_ERR_MISUSE);
    check_reported("not what mm_vmalloc() gave");
    CHECK_ERR(mm_stack_alloc(NULL, &stack), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_stack_alloc(&stacks, NULL), MM_ERR_BAD_ARG);
    check_stacks();
}

TEST(stack_that_somebody_unmapped_is_lost_and_told)
{
    struct mm_stack stack, other;

    begin_stacks();
    stack = must_alloc();
    other = must_alloc();
    CHECK_OK(mm_space_unmap(&t.space, mm_virt(raw(stack.low) + PAGE), PAGE, 0, NULL, NULL));
    must_free(stack);
    must_free(other);
    CHECK_EQ(mm_stacks_trim(&stacks, 0), 1);
    CHECK_EQ(mm_test_report(0)->address, raw(stack.low));
    check_reported("stack was unmapped behind its back");
    CHECK_EQ(stats_now().in_stock, 0);
    CHECK_EQ(stats_now().in_use, 0);
    for (unsigned i = 0; i < SLOTS - 1; i++)
        CHECK(must_alloc().low != stack.low);
    CHECK_ERR(mm_stack_alloc(&stacks, &stack), MM_ERR_NO_ROOM);
    check_all();
}

TEST(stacks_init_refuses_what_cannot_work)
{
    struct mm_kernel_area none = MM_ZERO, no_pmm;
    struct mm_stacks_config good = config_now(), config;
    mm_virt_t virt;

    begin(MIB(64));
    no_pmm = t.area;
    no_pmm.pmm = NULL;
    for (unsigned i = 0; i < 9; i++) {
        mm_test_row("row", i);
        config = good;
        config.area = i == 0 ? NULL : i == 1 ? &none : i == 2 ? &no_pmm : config.area;
        config.slot = i == 3 ? NULL : config.slot;
        config.slot_count = i == 4 ? 0 : config.slot_count;
        config.cpu = i == 5 ? NULL : config.cpu;
        config.bytes = i == 6   ? 0
                       : i == 7 ? PAGE + 8
                       : i == 8 ? MM_STACK_BYTES_MAX + PAGE
                                : config.bytes;
        CHECK_ERR(mm_stacks_init(&stacks, &config), MM_ERR_BAD_ARG);
    }
    CHECK_ERR(mm_stacks_init(NULL, &good), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_stacks_init(&stacks, NULL), MM_ERR_BAD_ARG);
    config = good;
    config.guard_frames = MM_ARENA_GUARD_MAX + 1;
    CHECK_ERR(mm_stacks_init(&stacks, &config), MM_ERR_BAD_ARG);
    /* addresses for all but the last guard */
    begin(SLOTS * (BYTES + PAGE));
    CHECK_ERR(mm_stacks_init(&stacks, &good), MM_ERR_NO_ADDRESS);
    CHECK_ERR(mm_stack_alloc(&stacks, &(struct mm_stack)MM_ZERO), MM_ERR_BAD_ARG);
    begin(SLOTS * (BYTES + PAGE) + PAGE);
    CHECK_OK(mm_stacks_init(&stacks, &good));
    struct mm_arena_request request = {.bytes = 1};
    CHECK_ERR(mm_arena_take(&t.arena, &request, &virt), MM_ERR_NO_ADDRESS);
}

/* ---- failures ---- */

TEST(stack_alloc_that_runs_out_of_tables_changes_nothing)
{
    for (int64_t n = 0;; n++) {
        struct mm_stack stack = {&t, &t};
        struct state before;
        enum mm_err err;

        mm_test_row("failing allocation", (uint64_t)n);
        begin_stacks();
        before = state_now();
        t.fail_after = n;
        err = mm_stack_alloc(&stacks, &stack);
        if (err == MM_OK) {
            CHECK(n >= 2);
            break;
        }
        CHECK_ERR(err, MM_ERR_NO_MEMORY);
        CHECK(stack.low == &t && stack.top == &t);
        check_same(&before);
        check_stacks();
        (void)must_alloc();
        check_stacks();
    }
}

TEST(stack_alloc_that_runs_out_of_frames_changes_nothing)
{
    static mm_phys_t frame[MIB(16) / PAGE];
    bool enough = false;

    for (uint64_t left = 0; !enough; left++) {
        struct mm_stack stack;
        struct state before;
        size_t count = 0;

        mm_test_row("frames left", left);
        begin_stacks();
        while (mm_pmm_alloc_frame(&t.pmm, &frame[count]) == MM_OK)
            count++;
        for (uint64_t i = 0; i < left; i++)
            CHECK_OK(mm_pmm_free_frame(&t.pmm, frame[(i * 37 + 5) % count]));
        before = state_now();
        enough = mm_stack_alloc(&stacks, &stack) == MM_OK;
        CHECK_EQ(enough, left == 4 + 2); /* and tables of two levels */
        if (!enough)
            check_same(&before);
        check_stacks();
    }
}

TEST(stack_alloc_without_memory_takes_what_another_cpu_has)
{
    struct mm_stack stack, more;

    begin_stacks();
    fake_cpu_set(1);
    stack = must_alloc();
    must_free(stack);
    fake_cpu_set(0);
    while (mm_pmm_alloc_frame(&t.pmm, &(mm_phys_t){0}) == MM_OK)
        ;
    CHECK(must_alloc().low == stack.low);
    CHECK_ERR(mm_stack_alloc(&stacks, &more), MM_ERR_NO_MEMORY);
    check_stacks();
}

TEST(stack_alloc_over_what_somebody_mapped_tries_other_addresses_next)
{
    struct mm_map_request foreign = {.virt = mm_virt(AREA + PAGE + PAGE),
                                     .phys = mm_phys(GIB(1)),
                                     .bytes = PAGE,
                                     .prot = MM_PROT_RW};
    struct mm_stack stack;
    struct state before;

    begin_stacks();
    CHECK_OK(mm_space_map(&t.space, &foreign, NULL));
    before = state_now();
    CHECK_ERR(mm_stack_alloc(&stacks, &stack), MM_ERR_EXISTS);
    check_same(&before);
    CHECK(raw(must_alloc().low) > AREA + PAGE + BYTES);
}

/* ---- interrupts ---- */

static struct mm_stack inner;

static void interrupt_alloc(void *arg)
{
    (void)arg;
    inner = must_alloc();
}

static void interrupt_alloc_free(void *arg)
{
    (void)arg;
    must_free(must_alloc());
}

/* `fill` stacks are in stock. */
static bool interrupted(uint64_t skip, unsigned fill)
{
    struct mm_stack stack[MM_STACK_STOCK + 1], outer;
    bool pending;

    begin_stacks();
    for (unsigned i = 0; i < fill; i++)
        stack[i] = must_alloc();
    for (unsigned i = 0; i < fill; i++)
        must_free(stack[i]);
    if (fill == MM_STACK_STOCK)
        mm_stacks_cpu_exit(&stacks, 0); /* all are in the stock of all */
    inner = (struct mm_stack){NULL, NULL};
    fake_interrupt_once(interrupt_alloc, NULL, skip);
    outer = must_alloc();
    pending = fake_interrupt_pending();
    fake_interrupt_set(NULL, NULL);
    CHECK(pending || (inner.low != NULL && inner.low != outer.low));
    check_stacks();
    fake_interrupt_once(interrupt_alloc_free, NULL, skip);
    must_free(outer);
    fake_interrupt_set(NULL, NULL);
    check_stacks();
    CHECK_EQ(stats_now().in_use, pending ? 0 : 1);
    return !pending;
}

static struct mm_stack many[MM_STACK_STOCK];

static void interrupt_fill(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < MM_STACK_STOCK; i++)
        must_free(many[i]);
}

/* The CPU's stock fills while it is being filled: what does not fit goes back to that of all. */
TEST(stack_refill_may_be_interrupted_by_what_fills_the_stock)
{
    bool pending = false;

    for (uint64_t skip = 0; !pending; skip++) {
        struct mm_stack stack[MM_STACK_STOCK];

        mm_test_row("point", skip);
        begin_stacks();
        for (unsigned i = 0; i < MM_STACK_STOCK; i++)
            stack[i] = must_alloc();
        for (unsigned i = 0; i < MM_STACK_STOCK; i++)
            many[i] = must_alloc();
        for (unsigned i = 0; i < MM_STACK_STOCK; i++)
            must_free(stack[i]);
        mm_stacks_cpu_exit(&stacks, 0);
        fake_interrupt_once(interrupt_fill, NULL, skip);
        (void)must_alloc();
        pending = fake_interrupt_pending();
        fake_interrupt_set(NULL, NULL);
        check_stacks();
        CHECK_EQ(stats_now().in_use, pending ? 1 + MM_STACK_STOCK : 1);
    }
}

TEST(stack_alloc_and_free_may_be_interrupted_by_themselves)
{
    static const unsigned fills[] = {0, 1, 3, MM_STACK_STOCK};
    uint64_t skip;

    for (unsigned i = 0; i < 4; i++) {
        mm_test_row("in stock", fills[i]);
        for (skip = 0; interrupted(skip, fills[i]); skip++)
            ;
        CHECK(skip >= 2);
    }
}

/* ---- model, and damage ---- */

TEST(stacks_at_random)
{
    struct mm_stack live[SLOTS];
    uint64_t value[SLOTS];
    unsigned count = 0;

    begin_stacks();
    for (unsigned step = 0; step < 20000; step++) {
        unsigned what = (unsigned)mm_test_below(100), i;

        mm_test_row("step", step);
        fake_cpu_set((unsigned)mm_test_below(CPUS));
        if (what < 48 + (step / 500 % 2) * 4) {
            struct mm_stack stack;
            enum mm_err err = mm_stack_alloc(&stacks, &stack);

            CHECK_ERR(err, count == SLOTS ? MM_ERR_NO_ROOM : MM_OK);
            if (err != MM_OK)
                continue;
            for (i = 0; i < count; i++)
                CHECK(live[i].low != stack.low);
            live[count] = stack;
            value[count] = mm_test_random();
            CHECK_EQ(fake_write64(mm_virt_of(stack.low), value[count]).fault, FAKE_OK);
            count++;
        } else if (what < 98 && count != 0) {
            i = (unsigned)mm_test_below(count);
            CHECK_EQ(fake_read64(mm_virt_of(live[i].low)).value, value[i]);
            must_free(live[i]);
            live[i] = live[--count];
            value[i] = value[count];
        } else if (what == 98) {
            (void)mm_stacks_trim(&stacks, (uint32_t)mm_test_below(SLOTS));
        } else {
            mm_stacks_cpu_exit(&stacks, (unsigned)mm_test_below(CPUS));
        }
        CHECK_EQ(stats_now().in_use, count);
        if (step % 100 == 0)
            check_stacks();
    }
    fake_cpu_set(0);
    while (count > 0)
        must_free(live[--count]);
    CHECK_OK(mm_stacks_destroy(&stacks));
    CHECK_EQ(mapped_now(), 0);
    check_all();
}

/* What is in use or in the stock of a CPU is in no linked list: its link says nothing. */
static bool is_linked(size_t i)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        for (unsigned k = 0; k < cpus[cpu].count; k++)
            if (cpus[cpu].slot[k] == i)
                return false;
    return slot[i].state != 4; /* MM_STACK_USED */
}

TEST(stacks_check_finds_each_flipped_bit_of_lists_and_slots)
{
    struct mm_stack stack[24];
    struct {
        void *start;
        size_t bytes;
    } part[] = {
        {slot, sizeof slot},
        {&cpus[0].count, sizeof cpus[0].count},
        {&cpus[1].count, sizeof cpus[1].count},
        {&cpus[0].slot, 4 * sizeof cpus[0].slot[0]},
        {&stacks.stock, sizeof stacks.stock},
        {&stacks.empty, sizeof stacks.empty},
        {&stacks.mapped, sizeof stacks.mapped},
    };

    begin_stacks();
    for (unsigned i = 0; i < 24; i++)
        stack[i] = must_alloc();
    for (unsigned i = 0; i < 20; i++) {
        fake_cpu_set(i == 0);
        must_free(stack[i]);
    }
    fake_cpu_set(0);
    CHECK_EQ(stacks.stock.count, 8);
    for (size_t p = 0; p < sizeof part / sizeof part[0]; p++) {
        for (size_t bit = 0; bit < 8 * part[p].bytes; bit++) {
            unsigned char *byte = (unsigned char *)part[p].start + bit / 8;
            size_t offset = bit / 8 % sizeof slot[0];
            bool free = p == 0 && (offset >= offsetof(struct mm_stack_slot, marked) ||
                                   (offset < offsetof(struct mm_stack_slot, state) &&
                                    !is_linked(bit / 8 / sizeof slot[0])));

            mm_test_row("bit", bit);
            *byte = (unsigned char)(*byte ^ 1u << bit % 8);
            CHECK(mm_stacks_check(&stacks, NULL) != 0 || free);
            *byte = (unsigned char)(*byte ^ 1u << bit % 8);
            for (unsigned i = 0; i < SLOTS; i++)
                slot[i].marked = 0;
        }
    }
    CHECK_EQ(mm_stacks_check(&stacks, NULL), 0);
    CHECK_EQ(mm_stacks_check(NULL, NULL), 1);
}
