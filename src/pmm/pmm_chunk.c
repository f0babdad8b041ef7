/*
 * pmm_chunk.c - 512 frames in four bitmaps.
 *
 * Problem     Ranges of frames are set, cleared and searched; frame by frame that costs 64 times
 *             too much, and each bitmap has a count that must not drift.
 * Idea        Work on words; the only writers of bitmaps are here and keep the counts. Sets that
 *             are not stored (allocated, not free ...) are computed word by word.
 * Invariants  C3 of pmm_internal.h
 * Locking     The caller's.
 * Cost        At most 8 words each.
 * Rejected    A summary bit per word: with 8 words it saves nothing.
 */
#include "pmm/pmm_internal.h"

/* The bits of word `word` that lie in [first, first + count). */
static uint64_t word_mask(unsigned word, unsigned first, unsigned count)
{
    unsigned base = word * 64;
    unsigned from = first > base ? first - base : 0;
    unsigned to = first + count < base + 64 ? first + count - base : 64;

    return mm_bit_mask(from, to - from);
}

void mm_chunk_fill(struct mm_pmm_chunk *chunk, enum mm_chunk_bits which, unsigned first,
                   unsigned count)
{
    for (unsigned word = first / 64; word * 64 < first + count; word++)
        chunk->bits[which][word] |= word_mask(word, first, count);
    chunk->count[which] = (uint16_t)(chunk->count[which] + count);
}

void mm_chunk_clear(struct mm_pmm_chunk *chunk, enum mm_chunk_bits which, unsigned first,
                    unsigned count)
{
    for (unsigned word = first / 64; word * 64 < first + count; word++)
        chunk->bits[which][word] &= ~word_mask(word, first, count);
    chunk->count[which] = (uint16_t)(chunk->count[which] - count);
}

bool mm_chunk_has(const struct mm_pmm_chunk *chunk, enum mm_chunk_bits which, unsigned index)
{
    return (chunk->bits[which][index / 64] >> (index % 64) & 1) != 0;
}

uint64_t mm_chunk_word(const struct mm_pmm_chunk *chunk, enum mm_frame_set set, unsigned word)
{
    uint64_t managed = chunk->bits[MM_BITS_MANAGED][word];
    uint64_t free = chunk->bits[MM_BITS_FREE][word];

    switch (set) {
    case MM_SET_MANAGED:
        return managed;
    case MM_SET_NOT_MANAGED:
        return ~managed;
    case MM_SET_NOT_RAM:
        return ~chunk->bits[MM_BITS_RAM][word];
    case MM_SET_FREE:
        return free;
    case MM_SET_NOT_FREE:
        return ~free;
    case MM_SET_ALLOCATED:
        return managed & ~free;
    case MM_SET_NOT_ALLOCATED:
        return ~managed | free;
    case MM_SET_FIRST:
        return chunk->bits[MM_BITS_FIRST][word];
    case MM_SET_ALLOCATION_END:
        return ~managed | free | chunk->bits[MM_BITS_FIRST][word];
    }
    return 0;
}

unsigned mm_chunk_next(const struct mm_pmm_chunk *chunk, enum mm_frame_set set, unsigned from)
{
    uint64_t seen = mm_bit_mask(0, from % 64);

    for (unsigned word = from / 64; word < MM_CHUNK_WORDS; word++, seen = 0) {
        uint64_t found = mm_chunk_word(chunk, set, word) & ~seen;

        if (found != 0)
            return word * 64 + mm_lowest_bit(found);
    }
    return MM_CHUNK_FRAMES;
}

unsigned mm_chunk_last_first(const struct mm_pmm_chunk *chunk, unsigned from)
{
    uint64_t wanted = mm_bit_mask(0, from % 64 + 1);

    for (unsigned word = from / 64 + 1; word-- > 0; wanted = UINT64_MAX) {
        uint64_t found = mm_chunk_word(chunk, MM_SET_FIRST, word) & wanted;

        if (found != 0)
            return word * 64 + mm_highest_bit(found);
    }
    return MM_CHUNK_FRAMES;
}

/* From free blocks of order k (a bit where each begins) to those of order k + 1: two neighbours of
 * which the first is aligned to both. */
static uint64_t blocks_join(uint64_t blocks, unsigned k)
{
    static const uint64_t aligned[] = {
        UINT64_C(0x5555555555555555), UINT64_C(0x1111111111111111), UINT64_C(0x0101010101010101),
        UINT64_C(0x0001000100010001), UINT64_C(0x0000000100000001), UINT64_C(0x0000000000000001),
    };

    return blocks & (blocks >> (1u << k)) & aligned[k];
}

bool mm_chunk_count_blocks(const struct mm_pmm_chunk *chunk, uint64_t *free_blocks)
{
    uint64_t whole = 0; /* bit w: word w is free, a block of order 6 */

    if (chunk->count[MM_BITS_FREE] == 0)
        return false;
    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++) {
        uint64_t blocks = chunk->bits[MM_BITS_FREE][word];

        for (unsigned order = 0; order < 6; order++) {
            free_blocks[order] += mm_count_bits(blocks);
            blocks = blocks_join(blocks, order);
        }
        whole |= blocks << word;
    }
    for (unsigned order = 6; order < 9; order++) {
        free_blocks[order] += mm_count_bits(whole);
        whole = blocks_join(whole, order - 6);
    }
    free_blocks[9] += whole;
    return whole != 0;
}
