/*
 * stack_area.c - kernel stacks: stocks, and the calls that use them.
 *
 * Problem     See stack_area.h, which has the structure and its invariants.
 * Idea        A stack comes from the CPU's own stock, then from that of all, eight at a time; then it
 *             is mapped; if that fails, it is taken from the stock of any CPU. So a call fails only
 *             when there is nothing in stock.
 * Invariants  S1, S3
 * Locking     As stack_area.h. Which CPU runs this is only a hint: the lock keeps a stock whole.
 * Cost        Two locks for a stack made and dropped, each the CPU's own.
 * Rejected    Unmapping in mm_stack_free() what is too much: it would have to wait for other CPUs,
 *             and threads end with interrupts off.
 */
#include "stack_area.h"

#include "base/checked.h"
#include "base/report.h"
#include "mm_cpu.h"

/* ---- lists ---- */

void mm_stack_list_push(struct mm_stacks *stacks, struct mm_stack_list *list, uint32_t slot)
{
    MM_ASSERT_LOCKED(&stacks->lock);
    stacks->slot[slot].next = 0;
    if (list->count++ == 0)
        list->first = slot + 1;
    else
        stacks->slot[list->last - 1].next = slot + 1;
    list->last = slot + 1;
}

uint32_t mm_stack_list_take(struct mm_stacks *stacks, struct mm_stack_list *list, uint32_t *slot,
                            uint32_t count)
{
    uint32_t taken = 0;

    MM_ASSERT_LOCKED(&stacks->lock);
    while (taken < count && list->count != 0) {
        uint32_t first = list->first - 1;

        MM_ASSERT2(first < stacks->slot_count, (uintptr_t)list, first);
        slot[taken++] = first;
        list->first = stacks->slot[first].next;
        list->count--;
    }
    return taken;
}

/* ---- stocks ---- */

/* The stock of the CPU that runs this, or of the one that did a moment ago; NULL = it has none. */
static struct mm_stack_cpu *stock_mine(const struct mm_stacks *stacks)
{
    mm_guard_t guard = mm_cpu_guard();
    unsigned cpu = mm_cpu_index();

    mm_cpu_unguard(guard);
    return cpu < stacks->cpu_count ? &stacks->cpu[cpu] : NULL;
}

static void stock_of_all_push(struct mm_stacks *stacks, const uint32_t *slot, uint32_t count)
{
    mm_lock_guard_t guard = mm_lock_take(&stacks->lock);

    for (uint32_t i = 0; i < count; i++)
        mm_stack_list_push(stacks, &stacks->stock, slot[i]);
    mm_lock_release(&stacks->lock, guard);
}

/* The last given back; its memory is the likeliest to be in a cache. `hit` = 1 counts it. */
static bool stock_pop(const struct mm_stacks *stacks, struct mm_stack_cpu *cpu, unsigned hit,
                      uint32_t *out)
{
    mm_lock_guard_t guard = mm_lock_take(&cpu->lock);
    bool any = cpu->count != 0;

    if (any) {
        MM_ASSERT2(cpu->count <= MM_STACK_STOCK, (uintptr_t)cpu, cpu->count);
        *out = cpu->slot[--cpu->count];
        MM_ASSERT2(*out < stacks->slot_count, (uintptr_t)cpu, *out);
        cpu->hits += hit;
    }
    mm_lock_release(&cpu->lock, guard);
    return any;
}

/* Up to `count`, the oldest first: what the others use stays where it is. */
static uint32_t stock_take_oldest(struct mm_stack_cpu *cpu, uint32_t *slot, uint32_t count)
{
    MM_ASSERT_LOCKED(&cpu->lock);
    MM_ASSERT2(cpu->count <= MM_STACK_STOCK, (uintptr_t)cpu, cpu->count);
    count = (uint32_t)mm_min_u64(count, cpu->count);
    for (uint32_t i = 0; i < count; i++)
        slot[i] = cpu->slot[i];
    cpu->count -= count;
    for (uint32_t i = 0; i < cpu->count; i++)
        cpu->slot[i] = cpu->slot[i + count];
    return count;
}

/* One for the caller, and what fits for the CPU. */
static bool stock_refill(struct mm_stacks *stacks, struct mm_stack_cpu *cpu, uint32_t *out)
{
    uint32_t slot[MM_STACK_MOVE], count;
    mm_lock_guard_t guard = mm_lock_take(&stacks->lock);

    count = mm_stack_list_take(stacks, &stacks->stock, slot, cpu != NULL ? MM_STACK_MOVE : 1);
    stacks->moves += count != 0;
    mm_lock_release(&stacks->lock, guard);
    if (count == 0)
        return false;
    *out = slot[--count];
    if (count == 0)
        return true;
    guard = mm_lock_take(&cpu->lock);
    while (count > 0 && cpu->count < MM_STACK_STOCK)
        cpu->slot[cpu->count++] = slot[--count];
    mm_lock_release(&cpu->lock, guard);
    stock_of_all_push(stacks, slot, count); /* an interrupt has filled it meanwhile */
    return true;
}

/* From whoever has one. */
static bool stock_steal(struct mm_stacks *stacks, uint32_t *out)
{
    bool any = stock_refill(stacks, NULL, out);

    for (uint32_t i = 0; !any && i < stacks->cpu_count; i++) {
        mm_lock_guard_t guard;

        any = stock_pop(stacks, &stacks->cpu[i], 0, out);
        if (!any)
            continue;
        guard = mm_lock_take(&stacks->lock);
        stacks->moves++;
        mm_lock_release(&stacks->lock, guard);
    }
    return any;
}

static void stock_push(struct mm_stacks *stacks, uint32_t slot)
{
    struct mm_stack_cpu *cpu = stock_mine(stacks);
    uint32_t moved[MM_STACK_MOVE], count = 0;
    mm_lock_guard_t guard;

    if (cpu == NULL) {
        guard = mm_lock_take(&stacks->lock);
        mm_stack_list_push(stacks, &stacks->stock, slot);
        stacks->frees++;
        mm_lock_release(&stacks->lock, guard);
        return;
    }
    guard = mm_lock_take(&cpu->lock);
    if (cpu->count == MM_STACK_STOCK)
        count = stock_take_oldest(cpu, moved, MM_STACK_MOVE);
    cpu->slot[cpu->count++] = slot;
    cpu->frees++;
    mm_lock_release(&cpu->lock, guard);
    if (count != 0)
        stock_of_all_push(stacks, moved, count);
}

uint32_t mm_stack_cpu_take(struct mm_stack_cpu *cpu, uint32_t *slot, uint32_t count)
{
    mm_lock_guard_t guard = mm_lock_take(&cpu->lock);

    count = stock_take_oldest(cpu, slot, count);
    mm_lock_release(&cpu->lock, guard);
    return count;
}

/* ---- calls ---- */

static struct mm_stack stack_of(const struct mm_stacks *stacks, uint32_t slot)
{
    mm_virt_t low = mm_stack_low(stacks, slot);

    return (struct mm_stack){mm_virt_pointer(low),
                             mm_virt_pointer(mm_virt_add(low, mm_stack_bytes(stacks)))};
}

enum mm_err mm_stack_alloc(struct mm_stacks *stacks, struct mm_stack *out)
{
    struct mm_stack_cpu *cpu;
    enum mm_err err = MM_OK;
    uint32_t slot;

    if (!mm_stacks_ok(stacks) || out == NULL)
        return MM_ERR_BAD_ARG;
    cpu = stock_mine(stacks);
    if (cpu == NULL || !stock_pop(stacks, cpu, 1, &slot)) {
        if (!stock_refill(stacks, cpu, &slot))
            err = mm_stack_map(stacks, &slot);
        if (err != MM_OK && !stock_steal(stacks, &slot))
            return err;
    }
    MM_ASSERT2(mm_load_relaxed_u8(&stacks->slot[slot].state) == MM_STACK_STOCKED, (uintptr_t)stacks,
               slot);
    mm_store_relaxed_u8(&stacks->slot[slot].state, MM_STACK_USED);
    *out = stack_of(stacks, slot);
    return MM_OK;
}

/* The slot whose stack this is, exactly. */
static bool slot_of(const struct mm_stacks *stacks, const struct mm_stack *stack, uint32_t *out)
{
    uint64_t offset = mm_virt_of(stack->low).raw - mm_stack_low(stacks, 0).raw;
    uint64_t slot = offset / mm_stacks_stride(stacks);

    if (offset % mm_stacks_stride(stacks) != 0 || slot >= stacks->slot_count ||
        mm_virt_of(stack->top).raw - mm_virt_of(stack->low).raw != mm_stack_bytes(stacks))
        return false;
    *out = (uint32_t)slot;
    return true;
}

enum mm_err mm_stack_free(struct mm_stacks *stacks, const struct mm_stack *stack)
{
    uint8_t state = MM_STACK_USED;
    uint32_t slot;

    if (!mm_stacks_ok(stacks) || stack == NULL)
        return mm_report_misuse(MM_ERR_BAD_ARG, "no stacks or no stack given", "mm_stack_free",
                                stacks, 0, MM_CALLER);
    if (!slot_of(stacks, stack, &slot))
        return mm_report_misuse(MM_ERR_MISUSE, "not a stack of these", "mm_stack_free", stacks,
                                mm_virt_of(stack->low).raw, MM_CALLER);
    if (!mm_compare_swap_acq_rel_u8(&stacks->slot[slot].state, &state, MM_STACK_STOCKED))
        return mm_report_misuse_of(MM_ERR_MISUSE, "stack is not in use", "mm_stack_free", stacks,
                                   mm_virt_of(stack->low).raw, state, MM_STACK_USED, MM_CALLER);
    stock_push(stacks, slot);
    return MM_OK;
}

void mm_stacks_cpu_exit(struct mm_stacks *stacks, unsigned cpu)
{
    uint32_t slot[MM_STACK_STOCK];

    if (!mm_stacks_ok(stacks) || cpu >= stacks->cpu_count)
        return;
    stock_of_all_push(stacks, slot, mm_stack_cpu_take(&stacks->cpu[cpu], slot, MM_STACK_STOCK));
}

/* ---- queries ---- */

enum mm_err mm_stack_find(const struct mm_stacks *stacks, mm_virt_t virt, struct mm_stack_info *out)
{
    uint64_t offset, slot, guard;

    if (!mm_stacks_ok(stacks) || out == NULL)
        return MM_ERR_BAD_ARG;
    offset = virt.raw - stacks->start.raw;
    slot = offset / mm_stacks_stride(stacks);
    guard = (uint64_t)stacks->guard_frames << MM_FRAME_SHIFT;
    if (slot > stacks->slot_count ||
        (slot == stacks->slot_count && offset % mm_stacks_stride(stacks) >= guard))
        return MM_ERR_NOT_FOUND;
    out->guard = offset % mm_stacks_stride(stacks) < guard;
    slot -= slot == stacks->slot_count; /* behind the last */
    out->stack = stack_of(stacks, (uint32_t)slot);
    out->in_use = mm_load_relaxed_u8(&stacks->slot[slot].state) == MM_STACK_USED;
    return MM_OK;
}

void mm_stacks_get_stats(struct mm_stacks *stacks, struct mm_stacks_stats *out)
{
    mm_lock_guard_t guard;
    uint32_t mapped;

    if (out == NULL)
        return;
    *out = (struct mm_stacks_stats)MM_ZERO;
    if (!mm_stacks_ok(stacks))
        return;
    for (uint32_t i = 0; i < stacks->cpu_count; i++) {
        guard = mm_lock_take(&stacks->cpu[i].lock);
        out->in_stock += stacks->cpu[i].count;
        out->hits += stacks->cpu[i].hits;
        out->frees += stacks->cpu[i].frees;
        mm_lock_release(&stacks->cpu[i].lock, guard);
    }
    guard = mm_lock_take(&stacks->lock);
    mapped = stacks->mapped;
    out->in_stock += stacks->stock.count;
    out->mapped_most = stacks->mapped_most;
    out->moves = stacks->moves;
    out->frees += stacks->frees;
    out->maps = stacks->maps;
    out->unmaps = stacks->unmaps;
    mm_lock_release(&stacks->lock, guard);
    out->slots = stacks->slot_count;
    out->in_use = mapped > out->in_stock ? mapped - out->in_stock : 0;
}
