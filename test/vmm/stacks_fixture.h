/*
 * stacks_fixture.h - stacks of four pages on a simulated machine with two CPUs.
 */
#ifndef STACKS_FIXTURE_H
#define STACKS_FIXTURE_H

#include "area_fixture.h"

#define SLOTS 40u
#define CPUS  2u
#define BYTES (4 * PAGE)

static struct mm_stacks stacks;
static struct mm_stack_slot slot[SLOTS];
static struct mm_stack_cpu cpus[CPUS];

static inline struct mm_stacks_config config_now(void)
{
    return (struct mm_stacks_config){.area = &t.area,
                                     .slot = slot,
                                     .slot_count = SLOTS,
                                     .cpu = cpus,
                                     .cpu_count = CPUS,
                                     .bytes = BYTES};
}

static inline void begin_stacks(void)
{
    struct mm_stacks_config config = config_now();

    begin(MIB(64));
    CHECK_OK(mm_stacks_init(&stacks, &config));
}

static inline void check_stacks(void)
{
    CHECK_EQ(mm_stacks_check(&stacks, NULL), 0);
    check_all();
}

static inline struct mm_stacks_stats stats_now(void)
{
    struct mm_stacks_stats stats;

    mm_stacks_get_stats(&stacks, &stats);
    return stats;
}

static inline struct mm_stack must_alloc(void)
{
    struct mm_stack stack;

    CHECK_OK(mm_stack_alloc(&stacks, &stack));
    return stack;
}

static inline void must_free(struct mm_stack stack)
{
    CHECK_OK(mm_stack_free(&stacks, &stack));
}

static inline unsigned fault_at(uint64_t virt)
{
    return fake_probe(mm_virt(virt)).fault;
}

static inline struct mm_stack stack_at(uint64_t low, uint64_t top)
{
    return (struct mm_stack){mm_virt_pointer(mm_virt(low)), mm_virt_pointer(mm_virt(top))};
}

#endif
