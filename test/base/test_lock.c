/*
 * test_lock.c - tests of lock.h.
 *
 * Problem     A lock that lets an interrupt in hangs the machine once a month.
 * Idea        The flag before, within and after; then an interrupt that takes the same lock at
 *             every instruction.
 * Invariants  None.
 * Locking     None.
 * Cost        A quarter of a second, nearly all of it single steps.
 * Rejected    A timer signal: it comes where it likes.
 */
#include "base/lock.h"

#include "mm_test.h"

TEST(lock_keeps_interrupts_off_while_it_is_held)
{
    struct mm_lock lock = {0};
    mm_lock_guard_t guard;

    CHECK(mm_cpu_interrupts_on() && !mm_lock_is_mine(&lock));
    guard = mm_lock_take(&lock);
    CHECK(!mm_cpu_interrupts_on() && mm_lock_is_mine(&lock));
    mm_lock_release(&lock, guard);
    CHECK(mm_cpu_interrupts_on() && !mm_lock_is_mine(&lock));
}

TEST(lock_leaves_interrupts_off_that_were_off)
{
    struct mm_lock lock = {0};

    fake_interrupts(false);
    mm_lock_release(&lock, mm_lock_take(&lock));
    CHECK(!mm_cpu_interrupts_on());
    fake_interrupts(true);
}

TEST(lock_inside_another_restores_interrupts_only_with_the_outer_one)
{
    struct mm_lock outer = {0}, inner = {0};
    mm_lock_guard_t outer_guard, inner_guard;

    outer_guard = mm_lock_take(&outer);
    inner_guard = mm_lock_take(&inner);
    CHECK(mm_lock_is_mine(&outer) && mm_lock_is_mine(&inner));
    mm_lock_release(&inner, inner_guard);
    CHECK(!mm_cpu_interrupts_on() && mm_lock_is_mine(&outer) && !mm_lock_is_mine(&inner));
    mm_lock_release(&outer, outer_guard);
    CHECK(mm_cpu_interrupts_on());
}

TEST(lock_taken_twice_by_one_cpu_panics_with_its_address)
{
    struct mm_lock lock = {0};
    mm_lock_guard_t guard;

    fake_cpu_set(3);
    guard = mm_lock_take(&lock);
    CHECK_PANICS((void)mm_lock_take(&lock));
    CHECK_EQ(mm_test_panic()->value[0], (uintptr_t)&lock);
    CHECK_EQ(mm_test_panic()->value[1], 3);
    CHECK_EQ(lock.ticket, 1); /* no ticket was drawn: the others go on */
    mm_lock_release(&lock, guard);
    mm_lock_release(&lock, mm_lock_take(&lock));
    CHECK(mm_cpu_interrupts_on());
}

TEST(lock_belongs_to_the_cpu_that_took_it)
{
    struct mm_lock lock = {0};
    mm_lock_guard_t guard = mm_lock_take(&lock);

    fake_cpu_set(1);
    CHECK(!mm_lock_is_mine(&lock));
    fake_cpu_set(0);
    CHECK(mm_lock_is_mine(&lock));
    mm_lock_release(&lock, guard);
}

TEST(lock_is_demanded_by_those_who_need_it)
{
    struct mm_lock lock = {0};
    mm_lock_guard_t guard;

    if (MM_LEVEL >= MM_LEVEL_DEBUG)
        CHECK_PANICS(MM_ASSERT_LOCKED(&lock));
    guard = mm_lock_take(&lock);
    MM_ASSERT_LOCKED(&lock);
    mm_lock_release(&lock, guard);
}

TEST(lock_goes_on_when_its_tickets_wrap)
{
    struct mm_lock lock = {.ticket = UINT32_MAX, .serving = UINT32_MAX};

    for (unsigned i = 0; i < 3; i++)
        mm_lock_release(&lock, mm_lock_take(&lock));
    CHECK(lock.ticket == 2 && lock.serving == 2);
}

struct allocator {
    struct mm_lock lock;
    unsigned inside, interrupts;
    bool broken_into;
};

static void use(struct allocator *allocator)
{
    mm_lock_guard_t guard = mm_lock_take(&allocator->lock);

    allocator->broken_into |= allocator->inside != 0;
    allocator->inside++;
    allocator->inside--;
    mm_lock_release(&allocator->lock, guard);
}

static void interrupt(void *arg)
{
    struct allocator *allocator = arg;

    allocator->interrupts++;
    use(allocator);
}

static void use_outer(void *arg)
{
    use(arg);
}

/* The handler takes the same lock: it would panic, or hang, if it came while the lock is held. */
TEST(lock_may_be_taken_in_an_interrupt_that_comes_at_any_instruction)
{
    struct allocator allocator = {.interrupts = 0};
    struct fake_step step = {NULL, use_outer, interrupt, NULL, &allocator, 0, 1, 0, 0};

    fake_interrupt_set(interrupt, &allocator);
    use(&allocator);
    fake_interrupt_set(NULL, NULL);
    CHECK_EQ(allocator.interrupts, 2); /* before the guard and after it */
    if (!fake_interrupt_each_instruction(&step))
        return; /* not an x86-64 Linux host */
    CHECK(step.runs > 10 && allocator.interrupts == 2 + step.runs);
    CHECK(!allocator.broken_into);
    CHECK_EQ(allocator.lock.ticket, allocator.lock.serving);
}
