/*
 * stack_area_check.c - are kernel stacks as they should be?
 *
 * Problem     A slot in two lists is one stack for two threads, and nothing faults.
 * Idea        Mark each slot where a list has it: twice is a fault, and a list that runs in a circle
 *             ends there. Then each slot must have the mark, the state and the pages that go
 *             together.
 * Invariants  No number is used before it is compared with its bound. Marks are gone afterwards.
 * Locking     None: quiet stacks.
 * Cost        O(slots x pages).
 * Rejected    Locks around it: the sink is called in the middle.
 */
#include "base/report.h"
#include "stack_area.h"

struct audit {
    struct mm_stacks *stacks;
    const struct mm_check_sink *sink;
    size_t faults;
    uint32_t mapped;
};

static void expect(struct audit *audit, const char *what, uint64_t address, uint64_t found,
                   uint64_t expected)
{
    if (found != expected)
        mm_check_fault(audit->sink, &audit->faults, what, "mm_stacks_check", audit->stacks, address,
                       found, expected);
}

/* A list has this slot. False if it cannot go on behind it. */
static bool check_listed(struct audit *audit, uint32_t slot, uint8_t state)
{
    struct mm_stack_slot *at;

    if (slot >= audit->stacks->slot_count) {
        expect(audit, "a list has a slot that there is not", 0, slot, audit->stacks->slot_count);
        return false;
    }
    at = &audit->stacks->slot[slot];
    if (at->marked != 0) {
        expect(audit, "a slot is listed twice", mm_stack_low(audit->stacks, slot).raw, 2, 1);
        return false;
    }
    at->marked = 1;
    expect(audit, "state of a slot in a list", mm_stack_low(audit->stacks, slot).raw, at->state,
           state);
    return true;
}

static void check_list(struct audit *audit, const struct mm_stack_list *list, uint8_t state)
{
    uint32_t next = list->first, last = 0, count = 0;

    for (; count < list->count && check_listed(audit, next - 1, state); count++) {
        last = next;
        next = audit->stacks->slot[next - 1].next;
    }
    if (count == list->count && count != 0) {
        expect(audit, "end of a list", 0, list->last, last);
        expect(audit, "a list goes on", 0, next, 0);
    }
}

static void check_stocks(struct audit *audit)
{
    for (uint32_t i = 0; i < audit->stacks->cpu_count; i++) {
        const struct mm_stack_cpu *cpu = &audit->stacks->cpu[i];

        if (cpu->count > MM_STACK_STOCK)
            expect(audit, "stock of a CPU", 0, cpu->count, MM_STACK_STOCK);
        for (uint32_t k = 0; k < cpu->count && k < MM_STACK_STOCK; k++)
            (void)check_listed(audit, cpu->slot[k], MM_STACK_STOCKED);
    }
}

/* `count` frames from `virt` on are mapped, or none. */
static void check_pages(struct audit *audit, mm_virt_t virt, uint32_t count, bool mapped)
{
    for (uint32_t i = 0; i < count; i++) {
        mm_virt_t page = mm_virt_add(virt, (uint64_t)i << MM_FRAME_SHIFT);
        struct mm_translation to;
        enum mm_err err = mm_space_translate(audit->stacks->area->space, page, &to, NULL);

        expect(audit, mapped ? "page of a stack is not mapped" : "page is mapped", page.raw,
               err == MM_OK, mapped);
        if (err == MM_OK && mapped)
            expect(audit, "rights of a stack", page.raw, to.prot, MM_PROT_RW);
    }
}

static void check_slot(struct audit *audit, uint32_t slot)
{
    struct mm_stacks *stacks = audit->stacks;
    struct mm_stack_slot *at = &stacks->slot[slot];
    bool mapped = at->state == MM_STACK_USED || at->state == MM_STACK_STOCKED;
    mm_virt_t low = mm_stack_low(stacks, slot);

    if (!mapped && at->state != MM_STACK_EMPTY)
        expect(audit, "state of a slot", low.raw, at->state, MM_STACK_EMPTY);
    expect(audit, at->marked != 0 ? "slot in use is listed" : "slot is in no list", low.raw,
           at->marked, at->state != MM_STACK_USED);
    at->marked = 0;
    audit->mapped += mapped;
    check_pages(audit, low, stacks->stack_frames, mapped);
    check_pages(audit, mm_virt_add(low, mm_stack_bytes(stacks)), stacks->guard_frames, false);
}

size_t mm_stacks_check(struct mm_stacks *stacks, const struct mm_check_sink *sink)
{
    struct audit audit = {.stacks = stacks, .sink = sink};

    if (!mm_stacks_ok(stacks)) {
        mm_check_fault(sink, &audit.faults, "no stacks given", "mm_stacks_check", stacks, 0, 0, 0);
        return audit.faults;
    }
    check_list(&audit, &stacks->empty, MM_STACK_EMPTY);
    check_list(&audit, &stacks->stock, MM_STACK_STOCKED);
    check_stocks(&audit);
    check_pages(&audit, stacks->start, stacks->guard_frames, false);
    for (uint32_t i = 0; i < stacks->slot_count; i++)
        check_slot(&audit, i);
    expect(&audit, "stacks with frames", 0, stacks->mapped, audit.mapped);
    return audit.faults;
}
