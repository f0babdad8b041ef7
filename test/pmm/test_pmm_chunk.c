/*
 * test_pmm_chunk.c - one chunk: word tricks compared with loops over 512 frames.
 */
#include "fixture.h"

static const enum mm_frame_set sets[] = {
    MM_SET_MANAGED,   MM_SET_NOT_MANAGED,   MM_SET_NOT_RAM, MM_SET_FREE,          MM_SET_NOT_FREE,
    MM_SET_ALLOCATED, MM_SET_NOT_ALLOCATED, MM_SET_FIRST,   MM_SET_ALLOCATION_END};

static bool in_set(const struct mm_pmm_chunk *chunk, enum mm_frame_set set, unsigned i)
{
    bool ram = mm_chunk_has(chunk, MM_BITS_RAM, i), free = mm_chunk_has(chunk, MM_BITS_FREE, i);
    bool managed = mm_chunk_has(chunk, MM_BITS_MANAGED, i);
    bool first = mm_chunk_has(chunk, MM_BITS_FIRST, i);

    switch (set) {
    case MM_SET_MANAGED:
        return managed;
    case MM_SET_NOT_MANAGED:
        return !managed;
    case MM_SET_NOT_RAM:
        return !ram;
    case MM_SET_FREE:
        return free;
    case MM_SET_NOT_FREE:
        return !free;
    case MM_SET_ALLOCATED:
        return managed && !free;
    case MM_SET_NOT_ALLOCATED:
        return !managed || free;
    case MM_SET_FIRST:
        return first;
    case MM_SET_ALLOCATION_END:
        return !managed || free || first;
    }
    return false;
}

/* Bits in bitmap `which`: dense, sparse, or in long runs. */
static void chunk_random(struct mm_pmm_chunk *chunk)
{
    memset(chunk, 0, sizeof *chunk);
    for (unsigned which = 0; which < MM_CHUNK_BITMAPS; which++) {
        uint64_t kind = mm_test_below(3);
        bool on = mm_test_below(2) == 0;

        for (unsigned i = 0; i < MM_CHUNK_FRAMES; i++) {
            if (mm_test_below(kind == 0 ? 2 : 100) == 0)
                on = !on;
            if (kind == 1 ? mm_test_below(60) == 0 : on)
                mm_chunk_fill(chunk, (enum mm_chunk_bits)which, i, 1);
        }
    }
}

TEST(chunk_scans_find_what_a_loop_finds)
{
    struct mm_pmm_chunk chunk;

    for (unsigned round = 0; round < 30; round++) {
        chunk_random(&chunk);
        for (unsigned from = 0; from < MM_CHUNK_FRAMES; from++) {
            unsigned i = from;

            for (unsigned s = 0; s < sizeof sets / sizeof sets[0]; s++) {
                for (i = from; i < MM_CHUNK_FRAMES && !in_set(&chunk, sets[s], i);)
                    i++;
                CHECK_EQ(mm_chunk_next(&chunk, sets[s], from), i);
            }
            for (i = from + 1; i-- > 0;)
                if (in_set(&chunk, MM_SET_FIRST, i))
                    break;
            CHECK_EQ(mm_chunk_last_first(&chunk, from), i == UINT32_MAX ? MM_CHUNK_FRAMES : i);
        }
    }
}

TEST(chunk_fill_and_clear_change_exactly_their_range)
{
    for (unsigned round = 0; round < 3000; round++) {
        unsigned first = (unsigned)mm_test_below(MM_CHUNK_FRAMES);
        unsigned count = (unsigned)mm_test_below(MM_CHUNK_FRAMES - first + 1);
        struct mm_pmm_chunk chunk = {.node = 7}, empty = chunk;

        mm_chunk_fill(&chunk, MM_BITS_FREE, first, count);
        CHECK_EQ(chunk.count[MM_BITS_FREE], count);
        for (unsigned i = 0; i < MM_CHUNK_FRAMES; i++)
            CHECK_EQ(mm_chunk_has(&chunk, MM_BITS_FREE, i), i >= first && i < first + count);
        mm_chunk_clear(&chunk, MM_BITS_FREE, first, count);
        CHECK(memcmp(&chunk, &empty, sizeof chunk) == 0);
    }
}

TEST(chunk_counts_blocks_as_a_loop_does)
{
    for (unsigned round = 0; round < 400; round++) {
        uint64_t counted[10] = {0}, expected[10] = {0};
        struct mm_pmm_chunk chunk;

        chunk_random(&chunk);
        if (round == 0)
            memset(&chunk, 0, sizeof chunk);
        if (round == 1 || round % 10 == 2) { /* whole, or whole but for one frame */
            memset(&chunk, 0, sizeof chunk);
            mm_chunk_fill(&chunk, MM_BITS_FREE, 0, MM_CHUNK_FRAMES);
            if (round != 1)
                mm_chunk_clear(&chunk, MM_BITS_FREE, (unsigned)mm_test_below(512), 1);
        }
        for (unsigned order = 0; order <= 9; order++)
            for (unsigned first = 0; first < MM_CHUNK_FRAMES; first += 1u << order) {
                unsigned i = first;

                while (i < first + (1u << order) && mm_chunk_has(&chunk, MM_BITS_FREE, i))
                    i++;
                expected[order] += i == first + (1u << order) ? 1 : 0;
            }
        CHECK_EQ(mm_chunk_count_blocks(&chunk, counted), expected[9] == 1);
        for (unsigned order = 0; order <= 9; order++)
            CHECK_EQ(counted[order], expected[order]);
    }
}
