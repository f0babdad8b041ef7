/*
 * baseline_nothing.c - no allocator: gives the frame that was freed last.
 *
 * Problem     Part of each figure is the loop, its table of frames, and the call.
 * Idea        Measure them with calls that do next to nothing, in the same loops.
 * Invariants  None: frames are handed out more than once.
 * Locking     None.
 * Cost        The lower bound of every figure for single frames.
 * Rejected    Subtracting it: loop and allocator overlap in an out-of-order CPU.
 */
#include "allocator.h"

struct nothing {
    uint32_t first, last;
};

static size_t nothing_bytes(const struct ram *ram, unsigned cpus)
{
    (void)ram, (void)cpus;
    return sizeof(struct nothing);
}

static void *nothing_prepare(const struct memory *memory, const struct ram *ram, unsigned cpus)
{
    struct nothing *nothing = memory->start;

    (void)cpus;
    nothing->first = ram->first;
    return nothing;
}

static void nothing_build(void *self)
{
    struct nothing *nothing = self;

    nothing->last = nothing->first;
}

__attribute__((noipa)) static bool nothing_alloc(struct nothing *nothing, mm_phys_t *out)
{
    *out = mm_frame_phys(nothing->last);
    return true;
}

__attribute__((noipa)) static void nothing_free(struct nothing *nothing, mm_phys_t frame)
{
    nothing->last = (uint32_t)mm_frame_of(frame);
}

#define LOOP_SELF             struct nothing
#define LOOP_ALLOC(self, out) nothing_alloc(self, out)
#define LOOP_FREE(self, phys) nothing_free(self, phys)
#include "loops.h"

const struct allocator baseline_nothing = {.name = "empty calls",
                                           .bytes = nothing_bytes,
                                           .metadata_bytes = nothing_bytes,
                                           .prepare = nothing_prepare,
                                           .build = nothing_build,
                                           LOOPS};
