/*
 * frames.c - runs of frames become allocations, and free again.
 *
 * Problem     A run may begin and end anywhere, cross chunks and pools; bits, tails, kinds, sets
 *             and counts must follow together, or the next free is judged wrongly.
 * Idea        A run is cut into pieces of one chunk each. A piece that is a whole chunk needs its
 *             kind alone; another one its bits, and a table of tails if it is the chunk's first.
 *             Nothing else changes them.
 * Invariants  P1 to P7 of pmm_internal.h before and after each function
 * Locking     The locks of all pools that the run lies in.
 * Cost        O(frames / 64).
 * Rejected    Telling pieces apart by what is free around them: it says nothing of what was one
 *             allocation.
 */
#include "pmm/pmm_internal.h"

/* Would tails in this chunk be the first? */
bool mm_needs_table(const struct mm_pmm *pmm, uint32_t chunk)
{
    unsigned kind = mm_kind_of(pmm, chunk);

    return mm_kind_base(kind) == MM_KIND_PLAIN && !mm_kind_has_holes(kind);
}

bool mm_frames_need_tables(const struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    return count > 1 && (mm_needs_table(pmm, mm_place_that_exists(pmm, first).chunk) ||
                         mm_needs_table(pmm, mm_place_that_exists(pmm, first + count - 1).chunk));
}

/* The part of [frame, end) that lies in the chunk of `frame`. */
static unsigned part_in_chunk(uint64_t frame, uint64_t end)
{
    return (unsigned)mm_min_u64(MM_CHUNK_FRAMES - frame % MM_CHUNK_FRAMES, end - frame);
}

/* Does the chunk's last frame begin a run? It has no tail here to tell. */
static bool last_begins_run(const struct mm_pmm *pmm, const struct mm_place *place)
{
    uint64_t behind = mm_chunk_frame(pmm, place->chunk) + MM_CHUNK_FRAMES;

    return behind < place->region->end &&
           pmm->bitmap[place->chunk][MM_CHUNK_WORDS - 1] >> 63 == 0 && /* counted later */
           !mm_is_tail(pmm, place->chunk, MM_CHUNK_FRAMES - 1) &&
           mm_is_tail(pmm, place->chunk + 1, 0);
}

/* Frames [index, index + count) of a chunk, free, become part of an allocation that begins before
 * them (`continues`) or with them, and may go on behind them. Returns how many tables that took. A
 * chunk in which a run begins is no chunk of singles, even if only the run's first frame is
 * there. */
static unsigned piece_take(struct mm_pmm *pmm, const struct mm_place *place, unsigned count,
                           bool continues, bool goes_on)
{
    struct mm_pmm_pool *pool = mm_pool_of(pmm, place->region);
    struct mm_pmm_record *record = &pmm->record[place->chunk];
    unsigned kind = mm_kind_of(pmm, place->chunk);
    unsigned before = record->free;
    unsigned head = continues ? 0 : 1;
    unsigned tables = 0;

    MM_ASSERT_LOCKED(&pool->lock);
    if (count == MM_CHUNK_FRAMES) {
        mm_kind_set(pmm, place->chunk, continues ? MM_KIND_TAIL : MM_KIND_HEAD);
    } else if (count > head || goes_on) {
        if (mm_kind_base(kind) == MM_KIND_PLAIN) {
            if (!mm_kind_has_holes(kind)) {
                record->side = mm_side_take(pmm);
                tables = 1;
            }
            mm_kind_set(pmm, place->chunk,
                        MM_KIND_MIXED | (mm_kind_has_holes(kind) ? MM_KIND_HOLES : 0));
        }
        mm_bits_fill(mm_chunk_tail_bits(pmm, place->chunk), place->index + head, count - head);
    }
    if (count < MM_CHUNK_FRAMES)
        mm_bits_clear(mm_bits_open(pmm, place->chunk), place->index, count);
    record->free = (uint16_t)(before - count);
    mm_chunk_changed(pmm, pool, place->chunk, before);
    return tables;
}

/* Every frame of the chunk is managed, good and single: its record of holes says nothing any
 * more. */
static bool hole_is_done(const struct mm_pmm_hole *hole)
{
    return mm_bits_next(hole->managed, false, 0) == MM_CHUNK_FRAMES &&
           mm_bits_next(hole->ram, false, 0) == MM_CHUNK_FRAMES &&
           mm_bits_next(hole->tails, true, 0) == MM_CHUNK_FRAMES;
}

/* No tails are left: singles only. */
static void unmix(struct mm_pmm *pmm, struct mm_pmm_pool *pool, const struct mm_place *place)
{
    uint32_t chunk = place->chunk;
    const uint64_t *tails = mm_chunk_tail_bits(pmm, chunk);
    bool has_holes = mm_kind_has_holes(mm_kind_of(pmm, chunk));

    if (mm_bits_next(tails, true, 0) != MM_CHUNK_FRAMES || last_begins_run(pmm, place))
        return;
    if (!has_holes)
        mm_side_give(pmm, pmm->record[chunk].side);
    else if (hole_is_done(mm_hole_of(pmm, chunk)))
        has_holes = false;
    if (!has_holes)
        pmm->record[chunk].side = 0;
    mm_kind_set(pmm, chunk, mm_chunk_plain_kind(pool, has_holes));
}

/* The reverse of piece_take(). Frames that are to retire do not become free. */
static void piece_give(struct mm_pmm *pmm, const struct mm_place *place, unsigned count)
{
    struct mm_pmm_pool *pool = mm_pool_of(pmm, place->region);
    struct mm_pmm_record *record = &pmm->record[place->chunk];
    struct mm_pmm_hole *hole = mm_hole_of(pmm, place->chunk);
    uint64_t *bits = pmm->bitmap[place->chunk];
    unsigned before = record->free;
    unsigned given = count;

    MM_ASSERT_LOCKED(&pool->lock);
    if (count == MM_CHUNK_FRAMES && hole == NULL) {
        mm_kind_set(pmm, place->chunk, mm_chunk_plain_kind(pool, false));
    } else {
        mm_bits_fill(bits, place->index, count);
        if (mm_kind_base(mm_kind_of(pmm, place->chunk)) == MM_KIND_MIXED) {
            mm_bits_clear(mm_chunk_tail_bits(pmm, place->chunk), place->index, count);
            unmix(pmm, pool, place);
        }
    }
    for (unsigned i = place->index; hole != NULL && i < place->index + count; i++)
        if ((hole->ram[i / 64] >> (i % 64) & 1) == 0) {
            mm_retire(pool, hole, i);
            mm_bits_clear(bits, i, 1);
            given--;
        }
    record->fit = (uint8_t)((record->fit & 0xf0u) | MM_FIT_UNKNOWN);
    record->free = (uint16_t)(before + given);
    mm_chunk_changed(pmm, pool, place->chunk, before);
}

unsigned mm_frames_take(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    unsigned tables = 0;

    for (uint64_t frame = first; frame < first + count;) {
        struct mm_place place = mm_place_that_exists(pmm, frame);
        uint64_t end = mm_min_u64(first + count, place.region->end);
        unsigned piece = part_in_chunk(frame, end);

        tables += piece_take(pmm, &place, piece, frame != first, frame + piece < first + count);
        frame += piece;
    }
    return tables;
}

void mm_frames_give(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    for (uint64_t frame = first; frame < first + count;) {
        struct mm_place place = mm_place_that_exists(pmm, frame);
        uint64_t end = mm_min_u64(first + count, place.region->end);
        unsigned piece = part_in_chunk(frame, end);

        piece_give(pmm, &place, piece);
        frame += piece;
    }
}

/* ---- memory that joins ---- */

/* Frames of one chunk, not managed so far, become managed, and free unless `taken`. */
static void piece_add(struct mm_pmm *pmm, const struct mm_place *place, unsigned count, bool taken)
{
    struct mm_pmm_pool *pool = mm_pool_of(pmm, place->region);
    struct mm_pmm_record *record = &pmm->record[place->chunk];
    struct mm_pmm_hole *hole = mm_hole_of(pmm, place->chunk);
    uint64_t *bits = pmm->bitmap[place->chunk];
    unsigned before = record->free;

    MM_ASSERT2(hole != NULL, place->chunk, place->index);
    mm_bits_fill(hole->managed, place->index, count);
    if (!taken) {
        mm_bits_fill(bits, place->index, count);
        record->free = (uint16_t)(before + count);
    }
    record->fit = (uint8_t)((record->fit & 0xf0u) | MM_FIT_UNKNOWN);
    if (hole_is_done(hole)) {
        record->side = 0;
        mm_kind_set(pmm, place->chunk, mm_chunk_plain_kind(pool, false));
    }
    mm_store_relaxed_u64(&pool->managed_frames, pool->managed_frames + count);
    mm_chunk_changed(pmm, pool, place->chunk, before);
}

MM_COLD void mm_frames_add(struct mm_pmm *pmm, uint64_t first, uint64_t count, bool taken)
{
    for (uint64_t frame = first; frame < first + count;) {
        struct mm_place place = mm_place_that_exists(pmm, frame);
        uint64_t end = mm_min_u64(first + count, place.region->end);
        unsigned piece = part_in_chunk(frame, end);

        piece_add(pmm, &place, piece, taken);
        frame += piece;
    }
}

/* A range of records; the same kind for all; the set WHOLE a word at a time. */
void mm_chunks_add(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t chunk, uint32_t count,
                   uint32_t number)
{
    for (uint32_t i = 0; i < count; i++)
        pmm->record[chunk + i] = (struct mm_pmm_record){
            .number = number + i,
            .free = MM_CHUNK_FRAMES,
            .set = MM_SET_WHOLE,
            .fit = MM_FIT_UNKNOWN,
        };
    __builtin_memset(&pmm->kind[chunk], (int)mm_chunk_plain_kind(pool, false), count);
    mm_set_add_range(&pool->sets, MM_SET_WHOLE, chunk - pool->chunk_first, count);
    mm_store_relaxed_u64(&pool->free_frames, pool->free_frames + (uint64_t)count * MM_CHUNK_FRAMES);
    mm_store_relaxed_u64(&pool->managed_frames,
                         pool->managed_frames + (uint64_t)count * MM_CHUNK_FRAMES);
    mm_store_relaxed_u32(&pool->whole_chunks, pool->whole_chunks + count);
}
