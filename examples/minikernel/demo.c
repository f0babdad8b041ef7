/*
 * demo.c - the classic first steps of a kernel with memory management.
 *
 * Problem     Show in one page that all three layers work: frames, page tables, heap.
 * Idea        The story that every tutorial ends with, in the short names of mm/names.h, and each
 *             step looked at from a second side: what is written through the new mapping must be
 *             read through the direct map, what is freed must be free at its address.
 * Invariants  Leaves no frame, mapping or block behind.
 * Locking     None.
 * Cost        Negligible.
 * Rejected    Comparing counters of free frames: two errors can cancel out.
 */
#include "demo.h"

#include <stdint.h>

#include <mm/names.h>

#include "fault.h"
#include "power.h"
#include "print.h"
#include "snapshot.h"

#define VIRT     UINT64_C(0xDEADBEEF000)
#define ELEMENTS 100

static bool say(bool right, const char *what)
{
    kprintf("  %s: %s\n", right ? "yes" : "NO ", what);
    return right;
}

static bool use_mapping(uint64_t frame)
{
    volatile uint64_t *mapped = (volatile uint64_t *)(uintptr_t)VIRT;
    volatile uint64_t *direct = phys_to_virt(frame);
    uint64_t phys = 0;
    bool right = true;

    mapped[0] = 50;
    direct[511] = 51;
    right &= say(mapped[0] == 50, "what was written through it is read back");
    right &= say(direct[0] == 50 && mapped[511] == 51, "the direct map shows the same frame");
    right &= say(vmm_translate(VIRT + 8, &phys) == 0 && phys == frame + 8, "it translates back");
    return right;
}

static bool use_frame(void)
{
    uint64_t frame = pmm_alloc_frame();
    bool right = say(frame != 0, "a frame is there");

    if (!right)
        return false;
    kprintf("  frame %lx, to be mapped at %lx\n", frame, VIRT);
    if (!say(vmm_map_page(VIRT, frame, VMM_WRITE) == 0, "the page is mapped"))
        return false;
    right &= use_mapping(frame);
    right &= say(vmm_unmap_page(VIRT) == 0, "the page is unmapped");
    right &= say(probe_read(VIRT).hit, "touching it now faults");
    pmm_free_frame(frame);
    return right;
}

static bool use_heap(void)
{
    int *array = kmalloc(ELEMENTS * sizeof(*array));
    bool right = say(array != NULL, "the heap gives an array of 100 ints");

    if (!right)
        return false;
    for (int i = 0; i < ELEMENTS; i++)
        array[i] = i * i;
    for (int i = 0; i < ELEMENTS; i++)
        right &= array[i] == i * i;
    kfree(array);
    return say(right, "each holds what was put into it");
}

bool demo_run(void)
{
    bool right;

    kprintf("demonstration:\n");
    snapshot_take(&snapshot_before);
    right = use_frame();
    right &= use_heap();
    right &= say(snapshot_unchanged(), "every frame is back, by address");
    return right;
}

void demo_fault(void)
{
    uint64_t frame = pmm_alloc_frame();

    if (vmm_map_page(VIRT, frame, 0) == MM_OK)
        *(volatile uint64_t *)(uintptr_t)(VIRT + 0x48) = 1;
    panic("the write to %lx did not fault", VIRT + 0x48);
}
