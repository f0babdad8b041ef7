/*
 * stack_area.h - what the files of kernel stacks share.
 *
 * Problem     A thread is made and dropped in a microsecond; to map its stack, unmap it and flush
 *             every CPU takes longer. And a stack given back twice belongs to two threads.
 * Idea        One span of addresses, cut into slots: guard, stack, guard, stack, ..., guard. Where a
 *             stack is follows from its number, and the number from an address, so that a foreign
 *             pointer is refused by arithmetic, and a fault handler needs no lock. A byte for each
 *             slot says what it is; whoever gives a stack back swaps that byte, so that of two who
 *             do one is refused. Mapped stacks of nobody wait in a stock of the CPU or in a list of
 *             all, slots without frames in another list, the longest unmapped first.
 * Invariants  S1 a slot is EMPTY and in the list of those; or STOCKED and in one stock; or USED; or
 *                CHANGING, or STOCKED and in no list, while a call holds it
 *             S2 USED and STOCKED slots are mapped in full, others and guards not at all
 *             S3 mapped == slots that are neither EMPTY nor CHANGING
 *             S4 frames of a slot are single frames of the PMM that are mapped nowhere else
 * Locking     stacks->lock for lists and counts, cpu->lock for the stock of a CPU, never both, and
 *             nothing is called under them. The state: a swap, or a store by who holds the slot.
 * Cost        8 bytes for each slot, 128 for each CPU. Made and dropped from the stock: 19 ns without
 *             what interrupts off cost; mapped and unmapped: 640 ns, and a flush of every CPU.
 * Rejected    A span of the arena for each stack: its lock would be everybody's. A header in the
 *             stack: a foreign pointer would be followed. The PMM's guard instead of locks: it
 *             saves a few nanoseconds, and others could not take a stack out of a CPU's stock.
 */
#ifndef MM_VMM_STACK_AREA_H
#define MM_VMM_STACK_AREA_H

#include "base/assert.h"
#include "base/lock.h"
#include "kernel_area_internal.h"

enum {
    MM_STACK_EMPTY = 0,
    MM_STACK_CHANGING = 1, /* being mapped or unmapped */
    MM_STACK_STOCKED = 2,
    MM_STACK_USED = 4
};

#define MM_STACK_MOVE       (MM_STACK_STOCK / 2) /* stacks between two stocks at a time */
#define MM_STACK_FRAMES_MAX ((uint32_t)(MM_STACK_BYTES_MAX / MM_FRAME_BYTES))

static inline bool mm_stacks_ok(const struct mm_stacks *stacks)
{
    return stacks != NULL && stacks->area != NULL;
}

/* From a guard to the next. */
static inline uint64_t mm_stacks_stride(const struct mm_stacks *stacks)
{
    return (uint64_t)(stacks->guard_frames + stacks->stack_frames) << MM_FRAME_SHIFT;
}

static inline mm_virt_t mm_stack_low(const struct mm_stacks *stacks, uint32_t slot)
{
    return mm_virt_add(stacks->start, slot * mm_stacks_stride(stacks) +
                                          ((uint64_t)stacks->guard_frames << MM_FRAME_SHIFT));
}

static inline uint64_t mm_stack_bytes(const struct mm_stacks *stacks)
{
    return (uint64_t)stacks->stack_frames << MM_FRAME_SHIFT;
}

/* ---- lists, stack_area.c ---- */

void mm_stack_list_push(struct mm_stacks *stacks, struct mm_stack_list *list, uint32_t slot);

/* At most `count` slots from the start of a list; how many. */
uint32_t mm_stack_list_take(struct mm_stacks *stacks, struct mm_stack_list *list, uint32_t *slot,
                            uint32_t count);

/* At most `count` slots from the stock of a CPU, the oldest first; how many. */
uint32_t mm_stack_cpu_take(struct mm_stack_cpu *cpu, uint32_t *slot, uint32_t count);

/* ---- stack_area_map.c ---- */

/* Map a slot that is EMPTY; it is the caller's, STOCKED. Errors as mm_stack_alloc(). */
MM_NODISCARD enum mm_err mm_stack_map(struct mm_stacks *stacks, uint32_t *out);

#endif
