/*
 * chunk.c - 512 frames: what their bits say, and which set they belong in.
 *
 * Problem     Blocks are found in, and counted from, a bitmap of eight words; which frames belong
 *             together must be known, though one bit a frame says only free or not.
 * Idea        Work on words. A frame that continues an allocation is a tail; the kind of a chunk
 *             says at once that none is, or all are, and only a chunk of kind MIXED has a bitmap of
 *             them.
 * Invariants  P2 to P5 of pmm_internal.h
 * Locking     The pool's lock.
 * Cost        At most 8 words each.
 * Rejected    A summary bit for each word: with 8 words it saves nothing.
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

void mm_bits_fill(uint64_t *bits, unsigned first, unsigned count)
{
    for (unsigned word = first / 64; word * 64 < first + count; word++)
        bits[word] |= word_mask(word, first, count);
}

void mm_bits_clear(uint64_t *bits, unsigned first, unsigned count)
{
    for (unsigned word = first / 64; word * 64 < first + count; word++)
        bits[word] &= ~word_mask(word, first, count);
}

unsigned mm_bits_next(const uint64_t *bits, bool set, unsigned from)
{
    uint64_t flip = set ? 0 : UINT64_MAX;
    uint64_t seen = mm_bit_mask(0, from % 64);

    for (unsigned word = from / 64; word < MM_CHUNK_WORDS;
         word++, seen = 0) { /* none from 512 on */
        uint64_t found = (bits[word] ^ flip) & ~seen;

        if (found != 0)
            return word * 64 + mm_lowest_bit(found);
    }
    return MM_CHUNK_FRAMES;
}

const uint64_t *mm_chunk_bits(const struct mm_pmm *pmm, uint32_t chunk)
{
    static const uint64_t none[MM_CHUNK_WORDS] = {0};
    static const uint64_t all[MM_CHUNK_WORDS] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
                                                 UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};

    if (pmm->record[chunk].free == 0)
        return none;
    return pmm->record[chunk].free == MM_CHUNK_FRAMES ? all : pmm->bitmap[chunk];
}

uint64_t *mm_bits_open(struct mm_pmm *pmm, uint32_t chunk)
{
    uint64_t *bits = pmm->bitmap[chunk];

    if (pmm->record[chunk].free == MM_CHUNK_FRAMES)
        __builtin_memset(bits, 0xff, sizeof pmm->bitmap[chunk]);
    MM_RACE_WRITE(bits, sizeof pmm->bitmap[chunk]);
    return bits;
}

void mm_retire(struct mm_pmm_pool *pool, struct mm_pmm_hole *hole, unsigned index)
{
    mm_bits_clear(hole->managed, index, 1);
    mm_store_relaxed_u64(&pool->managed_frames, pool->managed_frames - 1);
}

struct mm_pmm_hole *mm_hole_of(const struct mm_pmm *pmm, uint32_t chunk)
{
    return mm_kind_has_holes(mm_kind_of(pmm, chunk)) ? mm_hole_at(pmm, pmm->record[chunk].side)
                                                     : NULL;
}

uint64_t *mm_chunk_tail_bits(const struct mm_pmm *pmm, uint32_t chunk)
{
    struct mm_pmm_hole *hole = mm_hole_of(pmm, chunk);

    if (hole != NULL)
        return hole->tails;
    return mm_kind_base(mm_kind_of(pmm, chunk)) == MM_KIND_MIXED
               ? mm_side_tails(pmm, pmm->record[chunk].side)
               : NULL;
}

uint64_t mm_chunk_tails(const struct mm_pmm *pmm, uint32_t chunk, unsigned word)
{
    switch (mm_kind_base(mm_kind_of(pmm, chunk))) {
    case MM_KIND_MIXED:
        return mm_chunk_tail_bits(pmm, chunk)[word];
    case MM_KIND_HEAD:
        return word == 0 ? ~UINT64_C(1) : UINT64_MAX;
    case MM_KIND_TAIL:
        return UINT64_MAX;
    case MM_KIND_PLAIN:
    case MM_KIND_UNUSED:
        break;
    }
    return 0;
}

uint64_t mm_chunk_managed(const struct mm_pmm *pmm, uint32_t chunk, unsigned word)
{
    const struct mm_pmm_hole *hole = mm_hole_of(pmm, chunk);

    if (hole != NULL)
        return hole->managed[word];
    return mm_kind_base(mm_kind_of(pmm, chunk)) == MM_KIND_UNUSED ? 0 : UINT64_MAX;
}

bool mm_chunk_is_good(const struct mm_pmm *pmm, const struct mm_place *place)
{
    const struct mm_pmm_hole *hole = mm_hole_of(pmm, place->chunk);

    return hole == NULL || (hole->ram[place->index / 64] >> (place->index % 64) & 1) != 0;
}

/* ---- blocks ---- */

uint64_t mm_blocks_join(uint64_t blocks, unsigned k)
{
    static const uint64_t aligned[] = {
        UINT64_C(0x5555555555555555), UINT64_C(0x1111111111111111), UINT64_C(0x0101010101010101),
        UINT64_C(0x0001000100010001), UINT64_C(0x0000000100000001), UINT64_C(0x0000000000000001),
    };

    return blocks & (blocks >> (1u << k)) & aligned[k];
}

unsigned mm_chunk_fit(const uint64_t *bits)
{
    uint64_t whole = 0; /* bit w: word w is free, a block of order 6 */
    unsigned fit = 0;

    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++) {
        uint64_t blocks = bits[word];
        unsigned order = 0;

        for (; order < 6 && blocks != 0; order++)
            blocks = mm_blocks_join(blocks, order);
        if (blocks != 0)
            whole |= UINT64_C(1) << word;
        else if (order > 0 && order - 1 > fit)
            fit = order - 1;
    }
    for (unsigned order = 6; whole != 0; order++) {
        fit = order;
        whole = mm_blocks_join(whole, order - 6);
        if (order == MM_CHUNK_ORDER)
            break;
    }
    return fit;
}

unsigned mm_chunk_find(const uint64_t *bits, unsigned order)
{
    unsigned words = order > 6 ? 1u << (order - 6) : 1;

    for (unsigned word = 0; word < MM_CHUNK_WORDS; word += words) {
        uint64_t blocks = bits[word];

        for (unsigned more = 1; more < words; more++)
            blocks &= bits[word + more];
        if (order >= 6) {
            if (blocks == UINT64_MAX)
                return word * 64;
            continue;
        }
        for (unsigned k = 0; k < order; k++)
            blocks = mm_blocks_join(blocks, k);
        if (blocks != 0)
            return word * 64 + mm_lowest_bit(blocks);
    }
    return MM_CHUNK_FRAMES;
}

/* ---- sets ---- */

static unsigned set_for(const struct mm_pmm *pmm, uint32_t chunk, struct mm_pmm_record *record)
{
    unsigned kind = mm_kind_of(pmm, chunk);

    if (record->free == 0)
        return MM_SET_NONE;
    if (record->free == MM_CHUNK_FRAMES)
        return MM_SET_WHOLE;
    if (mm_kind_base(kind) == MM_KIND_MIXED) {
        record->fit = (uint8_t)((record->fit & 0xf0u) | mm_chunk_fit(pmm->bitmap[chunk]));
        return MM_SET_MIXED + (record->fit & 0xfu);
    }
    return mm_kind_has_holes(kind) ? MM_SET_SPOILED : mm_set_by_free(record->free);
}

unsigned mm_set_for(const struct mm_pmm *pmm, uint32_t chunk)
{
    struct mm_pmm_record copy = pmm->record[chunk];

    return set_for(pmm, chunk, &copy);
}

static bool set_is_loose(unsigned set)
{
    return set >= MM_SET_FULLEST && set <= MM_SET_EMPTIEST;
}

static void add_loose(struct mm_pmm_pool *pool, uint64_t difference)
{
    mm_store_relaxed_u64(&pool->loose_frames, pool->loose_frames + difference);
}

/* A chunk leaves (-1) or enters (1) a set; differences wrap as they should. */
static void count_set(struct mm_pmm_pool *pool, unsigned set, unsigned free, int sign)
{
    if (set_is_loose(set))
        add_loose(pool, (uint64_t)sign * free);
    else if (set == MM_SET_WHOLE)
        mm_store_relaxed_u32(&pool->whole_chunks, pool->whole_chunks + (uint32_t)sign);
}

void mm_chunk_changed(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t chunk,
                      unsigned free_before)
{
    struct mm_pmm_record *record = &pmm->record[chunk];
    unsigned before = record->set;
    unsigned now = set_for(pmm, chunk, record);

    MM_RACE_WRITE(record, sizeof *record);
    mm_store_relaxed_u64(&pool->free_frames, pool->free_frames + record->free - free_before);
    if (before == now) {
        if (set_is_loose(now))
            add_loose(pool, (uint64_t)record->free - free_before);
        return;
    }
    count_set(pool, before, free_before, -1);
    count_set(pool, now, record->free, 1);
    if (before != MM_SET_NONE)
        mm_set_remove(&pool->sets, before, chunk - pool->chunk_first);
    if (now != MM_SET_NONE)
        mm_set_add(&pool->sets, now, chunk - pool->chunk_first);
    record->set = (uint8_t)now;
}

unsigned mm_chunk_plain_kind(const struct mm_pmm_pool *pool, bool has_holes)
{
    if (has_holes)
        return MM_KIND_HOLES | MM_KIND_PLAIN;
    return pool->zone >= MM_ZONE_DMA32 ? MM_KIND_CACHED | pool->node : MM_KIND_PLAIN;
}
