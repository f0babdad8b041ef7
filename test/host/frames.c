/*
 * frames.c - a frame source for tests that trusts nobody.
 *
 * Problem     "Freed before flushed" and "linked before filled" do no harm until the frame is used
 *             again by somebody else.
 * Idea        Freed frames are filled with entries that lead nowhere, handed out again first, and
 *             at each free the simulated CPUs are asked whether they still refer to the frame.
 * Invariants  I1 out[i] <=> frame i is not on the free list
 * Locking     None; the caller's.
 * Cost        O(cached translations) per free.
 * Rejected    A PMM: its own faults would mix with those of what is tested.
 */
#include "frames.h"

#include <stdio.h>

#include "host_internal.h"

static void fail(const char *what, mm_phys_t frame)
{
    static char text[120];

    snprintf(text, sizeof text, "frame source: %s: %#llx", what, (unsigned long long)frame.raw);
    mm_test_failed(__FILE__, __LINE__, text);
}

void mm_test_frames_init(struct mm_test_frames *frames, mm_phys_t start, uint32_t count)
{
    CHECK(count <= MM_TEST_FRAMES_MAX && fake_ram(start, count * MM_FRAME_BYTES) != NULL);
    *frames = (struct mm_test_frames){.start = start, .count = count, .fail_after = -1};
    for (uint32_t i = count; i > 0; i--)
        frames->free_frame[frames->free_count++] = (uint16_t)(i - 1);
    fake_ram_poison(start, count * MM_FRAME_BYTES);
}

static bool owns(void *context, mm_phys_t frame)
{
    const struct mm_test_frames *frames = context;

    return frame.raw >= frames->start.raw &&
           mm_frame_of(frame) - mm_frame_of(frames->start) < frames->count;
}

static enum mm_err alloc(void *context, mm_phys_t *out)
{
    struct mm_test_frames *frames = context;
    uint32_t i;

    if (frames->empty || frames->free_count == 0)
        return MM_ERR_NO_MEMORY;
    if (frames->fail_after >= 0 && frames->fail_after-- == 0)
        return MM_ERR_NO_MEMORY;
    i = frames->free_frame[--frames->free_count];
    frames->out[i] = true;
    frames->used++;
    frames->allocs++;
    *out = mm_phys_add(frames->start, i * MM_FRAME_BYTES);
    return MM_OK;
}

static void give_back(void *context, mm_phys_t frame)
{
    struct mm_test_frames *frames = context;
    uint64_t i = mm_frame_of(frame) - mm_frame_of(frames->start);

    if (!owns(frames, frame) || frame.raw % MM_FRAME_BYTES != 0)
        fail("freed, but not from here", frame);
    if (!frames->out[i])
        fail("freed twice", frame);
    if (fake_frame_in_use(frame))
        fail("freed while a CPU may still reach it", frame);
    if (frames->tag[i] != 0)
        fail("freed with a tag", frame);
    frames->out[i] = false;
    frames->used--;
    frames->frees++;
    frames->free_frame[frames->free_count++] = (uint16_t)i;
    fake_ram_poison(frame, MM_FRAME_BYTES);
}

static enum mm_err tag(void *context, mm_phys_t frame, uint16_t **out)
{
    struct mm_test_frames *frames = context;

    if (frames->untagged || !owns(frames, frame))
        return MM_ERR_NOT_FOUND;
    *out = &frames->tag[mm_frame_of(frame) - mm_frame_of(frames->start)];
    return MM_OK;
}

struct mm_frame_source mm_test_frame_source(struct mm_test_frames *frames)
{
    return (struct mm_frame_source){
        .alloc = alloc, .free = give_back, .owns = owns, .tag = tag, .context = frames};
}

bool mm_test_frame_out(const struct mm_test_frames *frames, mm_phys_t frame)
{
    return frame.raw >= frames->start.raw &&
           mm_frame_of(frame) - mm_frame_of(frames->start) < frames->count &&
           frames->out[mm_frame_of(frame) - mm_frame_of(frames->start)];
}
