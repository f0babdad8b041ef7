/*
 * block.c - free blocks: orders 1 to 8 inside a chunk, 9 and more as whole chunks.
 *
 * Problem     A block must not break up a whole chunk while another one has room; and to know that
 *             there is none must not mean to look at all.
 * Idea        Small blocks come from chunks that have blocks already, whose greatest free block is
 *             known exactly; then, if whole chunks are scarce, from chunks of singles, emptiest
 *             first, which note what they could not hold; then from a whole chunk. Large blocks are
 *             runs in the set of whole chunks.
 * Invariants  P1 to P7 of pmm_internal.h before and after each function
 * Locking     The pool's lock.
 * Cost        Order 9 and its failure O(1); others as in mm/pmm.h.
 * Rejected    A chunk for one order each: with all memory in such chunks, single frames fail while
 *             half of it is free.
 */
#include "pmm/pmm_internal.h"

/* A chunk of singles, emptiest first, with a free block of `order`. What a chunk cannot hold is
 * noted, until a frame is freed in it. */
static uint32_t plain_chunk_with(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned order)
{
    for (unsigned set = MM_SET_EMPTIEST + 1; set-- > MM_SET_SPOILED;) {
        uint32_t at = mm_set_next(&pool->sets, set, 0);

        for (; at != MM_CHUNK_NONE; at = mm_set_next(&pool->sets, set, at + 1)) {
            struct mm_pmm_record *record = &pmm->record[pool->chunk_first + at];

            if ((record->fit & 0xfu) < order)
                continue;
            if (mm_chunk_find(mm_chunk_bits(pmm, pool->chunk_first + at), order) < MM_CHUNK_FRAMES)
                return pool->chunk_first + at;
            record->fit = (uint8_t)((record->fit & 0xf0u) | (order - 1));
        }
    }
    return MM_CHUNK_NONE;
}

static uint32_t chunk_for_block(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned order)
{
    uint32_t mixed = pool->sets.not_empty >> (MM_SET_MIXED + order);
    bool whole = (pool->sets.not_empty >> MM_SET_WHOLE & 1) != 0;
    uint32_t chunk = MM_CHUNK_NONE;

    if (mixed != 0)
        return pool->chunk_first +
               mm_set_first(&pool->sets, MM_SET_MIXED + order + mm_lowest_bit(mixed));
    if (!whole || mm_load_relaxed_u8(&pmm->scarce) != 0)
        chunk = plain_chunk_with(pmm, pool, order);
    if (chunk == MM_CHUNK_NONE && whole)
        chunk = pool->chunk_first + mm_set_first(&pool->sets, MM_SET_WHOLE);
    return chunk;
}

bool mm_pool_take_small(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned order,
                        uint64_t count, uint64_t *first)
{
    uint32_t chunk = chunk_for_block(pmm, pool, order);
    unsigned tables = 0;
    uint64_t block;

    MM_ASSERT_LOCKED(&pool->lock);
    if (chunk == MM_CHUNK_NONE)
        return false;
    block = mm_chunk_frame(pmm, chunk) + mm_chunk_find(mm_chunk_bits(pmm, chunk), order);
    if (mm_needs_table(pmm, chunk)) {
        if (!mm_side_reserve(pmm, pool, 1, block, UINT64_C(1) << order))
            return false;
        tables = 1;
    }
    *first = block;
    mm_side_release(pmm, tables - mm_frames_take(pmm, block, count));
    return true;
}

/* Number in the pool of the first of 2^order / 512 whole chunks in a row, aligned. */
static uint32_t find_large(const struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned order)
{
    uint32_t count = 1u << (order - MM_CHUNK_ORDER);
    uint32_t at = 0;

    if (pool->whole_chunks < count)
        return MM_CHUNK_NONE;
    if (count == 1)
        return mm_set_first(&pool->sets, MM_SET_WHOLE);
    while ((at = mm_set_next(&pool->sets, MM_SET_WHOLE, at)) != MM_CHUNK_NONE) {
        uint64_t frame = mm_chunk_frame(pmm, pool->chunk_first + at);
        const struct mm_pmm_region *region = mm_region_of(pmm, frame);
        uint32_t region_end = mm_region_chunk(region, region->end - 1) + 1 - pool->chunk_first;
        uint32_t start = at + ((0 - pmm->record[pool->chunk_first + at].number) & (count - 1));

        if (start >= region_end || count > region_end - start) {
            at = region_end; /* the rest of this region is too short */
            continue;
        }
        at = mm_set_gap(&pool->sets, MM_SET_WHOLE, start, start + count);
        if (at == start + count)
            return start;
    }
    return MM_CHUNK_NONE;
}

/* A whole chunk becomes an allocation, or part of one; its bits are not touched (P7). */
static void whole_take(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t at,
                       enum mm_chunk_kind kind)
{
    struct mm_pmm_record *record = &pmm->record[pool->chunk_first + at];

    MM_RACE_WRITE(record, sizeof *record);
    mm_kind_set(pmm, pool->chunk_first + at, kind);
    record->free = 0;
    record->set = MM_SET_NONE;
    mm_set_remove(&pool->sets, MM_SET_WHOLE, at);
}

static void whole_give(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t at)
{
    struct mm_pmm_record *record = &pmm->record[pool->chunk_first + at];

    MM_RACE_WRITE(record, sizeof *record);
    mm_kind_set(pmm, pool->chunk_first + at, mm_chunk_plain_kind(pool, false));
    record->free = MM_CHUNK_FRAMES;
    record->set = MM_SET_WHOLE;
    mm_set_add(&pool->sets, MM_SET_WHOLE, at);
}

/* `chunks` more of the pool's chunks are whole, or if it is negative, fewer. */
static void count_whole(struct mm_pmm_pool *pool, int64_t chunks)
{
    mm_store_relaxed_u32(&pool->whole_chunks, pool->whole_chunks + (uint32_t)chunks);
    mm_store_relaxed_u64(&pool->free_frames,
                         pool->free_frames + (uint64_t)chunks * MM_CHUNK_FRAMES);
}

bool mm_pool_take_large(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned order,
                        uint64_t *first)
{
    uint32_t count = 1u << (order - MM_CHUNK_ORDER);
    uint32_t at;

    MM_ASSERT_LOCKED(&pool->lock);
    at = find_large(pmm, pool, order);
    if (at == MM_CHUNK_NONE)
        return false;
    *first = mm_chunk_frame(pmm, pool->chunk_first + at);
    for (uint32_t i = 0; i < count; i++)
        whole_take(pmm, pool, at + i, i == 0 ? MM_KIND_HEAD : MM_KIND_TAIL);
    count_whole(pool, -(int64_t)count);
    return true;
}

bool mm_pool_give_large(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t chunk,
                        uint32_t count)
{
    uint32_t at = chunk - pool->chunk_first;

    MM_ASSERT_LOCKED(&pool->lock);
    if (at >= pool->sets.chunks || count > pool->sets.chunks - at ||
        mm_kind_of(pmm, chunk) != MM_KIND_HEAD)
        return false;
    for (uint32_t i = 1; i < count; i++)
        if (mm_kind_of(pmm, chunk + i) != MM_KIND_TAIL)
            return false;
    /* What comes behind must begin something else; at the end of a region that is not known
     * here. */
    if (at + count == pool->sets.chunks ||
        pmm->record[chunk + count].number != pmm->record[chunk].number + count ||
        mm_is_tail(pmm, chunk + count, 0))
        return false;
    for (uint32_t i = 0; i < count; i++)
        whole_give(pmm, pool, at + i);
    count_whole(pool, count);
    return true;
}
