/*
 * baseline_stack.c - the stack of free frames of the textbooks, behind a spinlock.
 *
 * Problem     The fastest simple allocator of single frames is what libmm must beat.
 * Idea        An array of free frame numbers and its height.
 * Invariants  frame[0 .. height) are free, no two alike.
 * Locking     One lock for everything.
 * Cost        One locked exchange per call; 4 bytes of metadata per frame. Bulk calls take the lock
 *             once. No blocks, no memory of whole chunks, and double frees go unnoticed.
 * Rejected    64-bit entries: twice the cache misses.
 */
#include "allocator.h"

#include "../common/spinlock.h"

struct stack {
    struct spinlock lock;
    uint32_t height, first, count;
    uint32_t *frame;
};

static size_t stack_bytes(const struct ram *ram, unsigned cpus)
{
    (void)cpus;
    return sizeof(struct stack) + (size_t)ram->count * sizeof(uint32_t);
}

static void *stack_prepare(const struct memory *memory, const struct ram *ram, unsigned cpus)
{
    struct stack *stack = memory->start;

    (void)cpus;
    *stack =
        (struct stack){.first = ram->first, .count = ram->count, .frame = (uint32_t *)(stack + 1)};
    return stack;
}

/* The lowest frame on top. */
static void stack_build(void *self)
{
    struct stack *stack = self;

    for (uint32_t i = 0; i < stack->count; i++)
        stack->frame[i] = stack->first + stack->count - 1 - i;
    stack->height = stack->count;
}

__attribute__((noipa)) static bool stack_alloc(struct stack *stack, mm_phys_t *out)
{
    bool found;

    spinlock_take(&stack->lock);
    found = stack->height > 0;
    if (found)
        *out = mm_frame_phys(stack->frame[--stack->height]);
    spinlock_release(&stack->lock);
    return found;
}

__attribute__((noipa)) static void stack_free(struct stack *stack, mm_phys_t frame)
{
    spinlock_take(&stack->lock);
    stack->frame[stack->height++] = (uint32_t)mm_frame_of(frame);
    spinlock_release(&stack->lock);
}

__attribute__((noipa)) static bool stack_alloc_bulk(struct stack *stack, size_t count,
                                                    mm_phys_t *out)
{
    bool found;

    spinlock_take(&stack->lock);
    found = stack->height >= count;
    if (found)
        for (size_t i = 0; i < count; i++)
            out[i] = mm_frame_phys(stack->frame[--stack->height]);
    spinlock_release(&stack->lock);
    return found;
}

__attribute__((noipa)) static void stack_free_bulk(struct stack *stack, const mm_phys_t *frame,
                                                   size_t count)
{
    spinlock_take(&stack->lock);
    for (size_t i = 0; i < count; i++)
        stack->frame[stack->height++] = (uint32_t)mm_frame_of(frame[i]);
    spinlock_release(&stack->lock);
}

#define LOOP_SELF                     struct stack
#define LOOP_ALLOC(self, out)         stack_alloc(self, out)
#define LOOP_FREE(self, phys)         stack_free(self, phys)
#define LOOP_ALLOC_BULK(self, n, out) stack_alloc_bulk(self, n, out)
#define LOOP_FREE_BULK(self, phys, n) stack_free_bulk(self, phys, n)
#include "loops.h"

const struct allocator baseline_stack = {.name = "free stack",
                                         .bytes = stack_bytes,
                                         .metadata_bytes = stack_bytes,
                                         .prepare = stack_prepare,
                                         .build = stack_build,
                                         LOOPS};
