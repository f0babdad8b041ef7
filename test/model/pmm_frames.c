/*
 * pmm_frames.c - what is in the frames.
 *
 * Problem     A PMM that writes into frames of others, or hands one out twice, may count right.
 * Idea        Each frame handed out gets words made of its own number, at three places, which must
 *             still be there when it is given back. Frames asked for as zeroed are looked at byte
 *             for byte; since all others were written to, zeros do not come by themselves.
 * Invariants  I1 every allocated frame that offset_counts() names and that is RAM of the fake is
 *             marked
 * Locking     One thread.
 * Cost        A page of the host for each frame ever touched; large allocations are marked thinly.
 * Rejected    Filling whole frames: a gigabyte each time the large block comes round.
 */
#include <string.h>

#include "pmm_ops_internal.h"

#define WORDS (MM_FRAME_BYTES / 8)

static const unsigned place[] = {0, WORDS / 2 - 1, WORDS - 1};
#define PLACES (sizeof place / sizeof place[0])

static uint64_t word_of(uint64_t frame, size_t i)
{
    return (frame * 4 + i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static bool offset_counts(uint64_t offset, uint64_t count)
{
    return count <= 64 || offset % 64 == 0 || offset == count - 1;
}

/* NULL where the simulated machine has no RAM, or it is not looked at. */
static uint64_t *words_of(uint64_t first, uint64_t offset, uint64_t count)
{
    return offset_counts(offset, count) ? fake_ram(mm_frame_phys(first + offset), MM_FRAME_BYTES)
                                        : NULL;
}

void ops_frames_mark(uint64_t first, uint64_t count)
{
    for (uint64_t n = 0; n < count; n++) {
        uint64_t *words = words_of(first, n, count);

        for (size_t i = 0; i < PLACES && words != NULL; i++)
            words[place[i]] = word_of(first + n, i);
    }
}

void ops_frames_verify(uint64_t first, uint64_t count)
{
    for (uint64_t n = 0; n < count; n++) {
        const uint64_t *words = words_of(first, n, count);

        for (size_t i = 0; i < PLACES && words != NULL; i++)
            OPS_EQ(words[place[i]], word_of(first + n, i));
    }
}

void ops_frames_zeroed(uint64_t first, uint64_t count)
{
    static const uint64_t zeros[WORDS];

    for (uint64_t n = 0; n < count; n++) {
        const uint64_t *words = words_of(first, n, count);

        OPS_CHECK(words == NULL || memcmp(words, zeros, sizeof zeros) == 0);
    }
}
