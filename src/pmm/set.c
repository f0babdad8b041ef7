/*
 * set.c - sets of chunks that answer "which is the first" in O(1).
 *
 * Problem     Thousands of chunks change their set all the time; the first member, the next one and
 *             gaps between members are wanted at once, whatever the size of the machine.
 * Idea        One bit for each chunk, and above it levels of summary: one bit for each word below
 *             that is not zero. A lower bound for the first word with members makes the common case
 *             one load.
 * Invariants  S1 a bit of level n + 1 is set exactly if its word of level n is not zero
 *             S2 no word of level 0 below `first[set]` has members
 *             S3 bit s of not_empty is set exactly if set s has members
 * Locking     The pool's lock.
 * Cost        2.8 bytes a chunk for all sets; changes touch one word, rarely one per level.
 * Rejected    Lists: 8 bytes a chunk, each change touches two neighbours that lie anywhere, and the
 *             order is that of frees, not of addresses.
 */
#include "pmm/pmm_internal.h"

static uint32_t words_for(uint64_t bits)
{
    return (uint32_t)((bits + 63) / 64);
}

/* Fill in start[] and levels; returns the words of one set. */
static uint32_t levels_of(uint64_t chunks, uint32_t *start, uint32_t *levels)
{
    uint64_t bits = chunks;
    uint32_t words = 0;

    for (*levels = 0; *levels < MM_SET_LEVELS; (*levels)++) {
        start[*levels] = words;
        words += words_for(bits);
        if (bits <= 64) {
            (*levels)++;
            break;
        }
        bits = words_for(bits);
    }
    return words;
}

MM_COLD uint64_t mm_sets_words(uint64_t chunks)
{
    uint32_t start[MM_SET_LEVELS];
    uint32_t levels;

    return (uint64_t)levels_of(chunks, start, &levels) * MM_SETS;
}

MM_COLD void mm_sets_init(struct mm_pmm_sets *sets, uint64_t *word, uint32_t chunks)
{
    *sets = (struct mm_pmm_sets){.word = word, .chunks = chunks};
    sets->words = levels_of(chunks, sets->start, &sets->levels);
}

static uint64_t *set_level(const struct mm_pmm_sets *sets, unsigned set, unsigned level)
{
    return &sets->word[(size_t)set * sets->words + sets->start[level]];
}

void mm_set_add(struct mm_pmm_sets *sets, unsigned set, uint32_t member)
{
    uint32_t at = member;

    if (member / 64 < sets->first[set])
        sets->first[set] = member / 64;
    for (unsigned level = 0; level < sets->levels; level++, at /= 64) {
        uint64_t *word = set_level(sets, set, level) + at / 64;
        uint64_t before = *word;

        *word = before | UINT64_C(1) << (at % 64);
        if (before != 0)
            return;
    }
    mm_store_relaxed_u32(&sets->not_empty, sets->not_empty | 1u << set);
}

void mm_set_add_range(struct mm_pmm_sets *sets, unsigned set, uint32_t from, uint32_t count)
{
    uint64_t first = from;
    uint64_t end = (uint64_t)from + count;

    if (count == 0)
        return;
    if (from / 64 < sets->first[set])
        sets->first[set] = from / 64;
    for (unsigned level = 0; level < sets->levels; level++) {
        uint64_t *words = set_level(sets, set, level);

        for (uint64_t at = first; at < end; at = mm_align_down(at, 64) + 64)
            words[at / 64] |= mm_bit_mask(at % 64, (unsigned)mm_min_u64(64 - at % 64, end - at));
        first /= 64;
        end = (end + 63) / 64;
    }
    mm_store_relaxed_u32(&sets->not_empty, sets->not_empty | 1u << set);
}

void mm_set_remove(struct mm_pmm_sets *sets, unsigned set, uint32_t member)
{
    uint32_t at = member;

    for (unsigned level = 0; level < sets->levels; level++, at /= 64) {
        uint64_t *word = set_level(sets, set, level) + at / 64;

        *word &= ~(UINT64_C(1) << (at % 64));
        if (*word != 0)
            return;
    }
    mm_store_relaxed_u32(&sets->not_empty, sets->not_empty & ~(1u << set));
}

bool mm_set_has(const struct mm_pmm_sets *sets, unsigned set, uint32_t member)
{
    return (set_level(sets, set, 0)[member / 64] >> (member % 64) & 1) != 0;
}

uint32_t mm_set_first(struct mm_pmm_sets *sets, unsigned set)
{
    const uint64_t *words = set_level(sets, set, 0);
    uint32_t word = sets->first[set];

    MM_ASSERT2((sets->not_empty >> set & 1) != 0, set, sets->not_empty);
    if (words[word] == 0) {
        word = 0;
        for (unsigned level = sets->levels; level-- > 1;)
            word = word * 64 + mm_lowest_bit(set_level(sets, set, level)[word]);
        sets->first[set] = word;
    }
    return word * 64 + mm_lowest_bit(words[word]);
}

uint32_t mm_set_next(const struct mm_pmm_sets *sets, unsigned set, uint32_t from)
{
    unsigned level = 0;
    uint64_t at = from; /* bit of `level`; nothing below it is wanted */

    if (from >= sets->chunks)
        return MM_CHUNK_NONE;
    for (;;) {
        uint64_t word = set_level(sets, set, level)[at / 64] & ~mm_bit_mask(0, at % 64);

        if (word != 0) {
            at = (at & ~UINT64_C(63)) + mm_lowest_bit(word);
            break;
        }
        if (++level == sets->levels)
            return MM_CHUNK_NONE;
        at = at / 64 + 1;
        if (at / 64 >=
            (level + 1 == sets->levels ? 1u : sets->start[level + 1] - sets->start[level]))
            return MM_CHUNK_NONE;
    }
    while (level-- > 0)
        at = at * 64 + mm_lowest_bit(set_level(sets, set, level)[at]);
    return (uint32_t)at;
}

uint32_t mm_set_gap(const struct mm_pmm_sets *sets, unsigned set, uint32_t from, uint32_t end)
{
    const uint64_t *words = set_level(sets, set, 0);
    uint64_t seen = mm_bit_mask(0, from % 64);

    for (uint32_t word = from / 64; word * 64 < end; word++, seen = 0) {
        uint64_t gap = ~words[word] & ~seen;

        if (gap != 0) {
            uint32_t at = word * 64 + mm_lowest_bit(gap);

            return at < end ? at : end;
        }
    }
    return end;
}

static bool set_is_sound(const struct mm_pmm_sets *sets, unsigned set)
{
    uint64_t bits = sets->chunks;

    for (unsigned level = 0; level < sets->levels; level++) {
        const uint64_t *words = set_level(sets, set, level);
        uint32_t count = words_for(bits);

        if (bits % 64 != 0 && words[count - 1] >> (bits % 64) != 0)
            return false; /* no such member */
        for (uint32_t i = 0; level + 1 < sets->levels && i < count; i++)
            if ((words[i] != 0) != ((set_level(sets, set, level + 1)[i / 64] >> (i % 64) & 1) != 0))
                return false;
        if (level == 0)
            for (uint32_t i = 0; i < count && i < sets->first[set]; i++)
                if (words[i] != 0)
                    return false;
        bits = count;
    }
    return (set_level(sets, set, sets->levels - 1)[0] != 0) ==
               ((sets->not_empty >> set & 1) != 0) &&
           sets->first[set] < words_for(sets->chunks);
}

MM_COLD bool mm_sets_are_sound(const struct mm_pmm_sets *sets)
{
    uint32_t start[MM_SET_LEVELS];
    uint32_t levels;

    if (levels_of(sets->chunks, start, &levels) != sets->words || levels != sets->levels ||
        sets->not_empty >> MM_SETS != 0)
        return false;
    for (unsigned level = 0; level < levels; level++)
        if (sets->start[level] != start[level])
            return false;
    for (unsigned set = 0; set < MM_SETS; set++)
        if (!set_is_sound(sets, set))
            return false;
    return true;
}
