/*
 * baseline_scan.c - the bitmap of the first tutorial: looked through bit by bit from frame 0.
 *
 * Problem     What a kernel has that followed a tutorial and went on to other things.
 * Idea        Bit 1 = in use; the lowest free frame is the next one.
 * Invariants  None but the bits.
 * Locking     One lock for everything.
 * Cost        Allocation O(frames below the lowest free one), so filling memory is quadratic.
 * Rejected    -
 */
#include "allocator.h"

#include <string.h>

#include "../common/spinlock.h"

struct scan {
    struct spinlock lock;
    uint32_t first, count;
    uint8_t *byte;
};

static size_t scan_bytes(const struct ram *ram, unsigned cpus)
{
    (void)cpus;
    return sizeof(struct scan) + ((size_t)ram->count + 7) / 8;
}

static void *scan_prepare(const struct memory *memory, const struct ram *ram, unsigned cpus)
{
    struct scan *scan = memory->start;

    (void)cpus;
    *scan = (struct scan){.first = ram->first, .count = ram->count, .byte = (uint8_t *)(scan + 1)};
    return scan;
}

static void scan_build(void *self)
{
    struct scan *scan = self;

    memset(scan->byte, 0, ((size_t)scan->count + 7) / 8);
}

static void scan_assume(void *self, uint32_t *frame, size_t count)
{
    struct scan *scan = self;

    for (uint32_t bit = 0; bit < count; bit++) {
        scan->byte[bit / 8] |= (uint8_t)(1u << bit % 8);
        frame[bit] = scan->first + bit;
    }
}

__attribute__((noipa)) static bool scan_alloc(struct scan *scan, mm_phys_t *out)
{
    uint32_t bit;
    bool found;

    spinlock_take(&scan->lock);
    for (bit = 0; bit < scan->count; bit++)
        if ((scan->byte[bit / 8] & 1u << bit % 8) == 0)
            break;
    found = bit < scan->count;
    if (found) {
        scan->byte[bit / 8] |= (uint8_t)(1u << bit % 8);
        *out = mm_frame_phys(scan->first + bit);
    }
    spinlock_release(&scan->lock);
    return found;
}

__attribute__((noipa)) static void scan_free(struct scan *scan, mm_phys_t frame)
{
    uint32_t bit = (uint32_t)mm_frame_of(frame) - scan->first;

    spinlock_take(&scan->lock);
    scan->byte[bit / 8] &= (uint8_t) ~(1u << bit % 8);
    spinlock_release(&scan->lock);
}

#define LOOP_SELF             struct scan
#define LOOP_ALLOC(self, out) scan_alloc(self, out)
#define LOOP_FREE(self, phys) scan_free(self, phys)
#include "loops.h"

const struct allocator baseline_scan = {.name = "bit scan",
                                        .bytes = scan_bytes,
                                        .metadata_bytes = scan_bytes,
                                        .prepare = scan_prepare,
                                        .build = scan_build,
                                        .assume = scan_assume,
                                        LOOPS};
