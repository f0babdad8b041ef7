/*
 * pool.c - the frames of a pool: taken from the fullest chunk that fits, and put back.
 *
 * Problem     Which free frame is handed out decides whether 2 MiB blocks are still there next
 *             week.
 * Idea        Single frames come from the fullest chunk that has any; small blocks from chunks that
 *             have blocks already; only when there is none from a whole chunk. So chunks that are
 *             nearly empty become empty, and the whole ones stay. Each transition changes bits,
 *             tails, kind, sets and counts together, and nothing else does.
 * Invariants  P1 to P6 of pmm_internal.h before and after each function
 * Locking     The pool's lock; runs across pools: the locks of all.
 * Cost        Singles about 1 ns each from one chunk; order 9 and its failure O(1); others as in
 *             mm/pmm.h.
 * Rejected    Address order within a zone: it breaks up whole chunks one after another.
 */
#include "pmm/pmm_internal.h"

/* How many frames ahead the lines of bits and records are fetched: random frames miss the cache. */
#define PREFETCH_AHEAD 12u

struct mm_pools_guard mm_pools_lock(struct mm_pmm *pmm)
{
    struct mm_pools_guard guard = {.count = 0};

    if (mm_load_relaxed_u32(&pmm->pool_count) == 0) /* never built: nothing to lock */
        return guard;
    guard.first = mm_lock_take(&pmm->pool[0].lock);
    guard.count = mm_load_relaxed_u32(&pmm->pool_count); /* grows under the first lock */
    guard.rest = guard.first;
    for (uint32_t i = 1; i < guard.count; i++)
        guard.rest = mm_lock_take(&pmm->pool[i].lock); /* interrupts are off already */
    return guard;
}

void mm_pools_unlock(struct mm_pmm *pmm, struct mm_pools_guard guard)
{
    for (uint32_t i = guard.count; i-- > 1;)
        mm_lock_release(&pmm->pool[i].lock, guard.rest);
    if (guard.count != 0)
        mm_lock_release(&pmm->pool[0].lock, guard.first);
}

/* The chunk's bits, to be changed: those of a whole chunk are not kept (P7). */
static uint64_t *bits_open(struct mm_pmm *pmm, uint32_t chunk)
{
    uint64_t *bits = pmm->bitmap[chunk];

    if (pmm->record[chunk].free == MM_CHUNK_FRAMES)
        __builtin_memset(bits, 0xff, sizeof pmm->bitmap[chunk]);
    MM_RACE_WRITE(bits, sizeof pmm->bitmap[chunk]);
    return bits;
}

/* ---- single frames ---- */

/* The set to take single frames from, or MM_SET_NONE. Leftovers of chunks with blocks are kept for
 * blocks while there are whole chunks in plenty. */
static unsigned fullest_set(const struct mm_pmm *pmm, const struct mm_pmm_pool *pool)
{
    uint32_t sets = pool->sets.not_empty;

    if (sets == 0)
        return MM_SET_NONE;
    if ((sets & ((1u << MM_SET_WHOLE) - 1)) == 0 && mm_load_relaxed_u8(&pmm->scarce) != 0 &&
        sets >> MM_SET_MIXED != 0)
        sets &= ~(1u << MM_SET_WHOLE);
    return mm_lowest_bit(sets);
}

/* Up to `want` of the chunk's free frames, lowest first. */
static unsigned bits_take(struct mm_pmm *pmm, uint32_t chunk, unsigned want, mm_phys_t *out)
{
    uint64_t base = mm_chunk_frame(pmm, chunk);
    uint64_t *words = bits_open(pmm, chunk);
    unsigned got = 0;

    for (unsigned word = 0; word < MM_CHUNK_WORDS && got < want; word++) {
        uint64_t bits = words[word];

        for (; bits != 0 && got < want; bits &= bits - 1)
            out[got++] = mm_frame_phys(base + word * 64 + mm_lowest_bit(bits));
        words[word] = bits;
    }
    return got;
}

/* In fragmented memory a chunk gives one frame or two: leaving its set is most of the work, and the
 * pool's counts are changed once for all of them. */
unsigned mm_pool_take_singles(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned want,
                              mm_phys_t *out)
{
    unsigned emptied = 0; /* frames of chunks that have none left */
    unsigned loose = 0;   /* of them, such as loose_frames counts */
    unsigned got = 0;
    unsigned set;

    MM_ASSERT_LOCKED(&pool->lock);
    while (got < want && (set = fullest_set(pmm, pool)) != MM_SET_NONE) {
        uint32_t member = mm_set_first(&pool->sets, set);
        struct mm_pmm_record *record = &pmm->record[pool->chunk_first + member];
        unsigned before = record->free;
        unsigned taken = bits_take(pmm, pool->chunk_first + member,
                                   before < want - got ? before : want - got, out + got);

        got += taken;
        record->free = (uint16_t)(before - taken);
        if (taken < before || set == MM_SET_WHOLE) {
            mm_chunk_changed(pmm, pool, pool->chunk_first + member, before);
            continue;
        }
        MM_RACE_WRITE(record, sizeof *record);
        mm_set_remove(&pool->sets, set, member);
        record->set = MM_SET_NONE;
        emptied += taken;
        loose += set >= MM_SET_FULLEST && set <= MM_SET_EMPTIEST ? taken : 0;
    }
    mm_store_relaxed_u64(&pool->free_frames, pool->free_frames - emptied);
    mm_store_relaxed_u32(&pool->loose_frames, pool->loose_frames - loose);
    return got;
}

static bool is_tail(const struct mm_pmm *pmm, uint32_t chunk, unsigned index)
{
    return (mm_chunk_tails(pmm, chunk, index / 64) >> (index % 64) & 1) != 0;
}

/* Is the frame the whole of its allocation? One that is the first of a run and the last of its
 * region does not exist: a run has at least two frames in the pool where it begins. */
static bool is_single(const struct mm_pmm *pmm, const struct mm_place *place)
{
    uint64_t next = mm_chunk_frame(pmm, place->chunk) + place->index + 1;

    if (is_tail(pmm, place->chunk, place->index))
        return false;
    return next >= place->region->end ||
           !is_tail(pmm, mm_region_chunk(place->region, next), (unsigned)(next % MM_CHUNK_FRAMES));
}

/* A frame that is to retire: it was RAM once, and is managed until its owner gives it up. */
static void retire(struct mm_pmm_pool *pool, struct mm_pmm_hole *hole, unsigned index)
{
    mm_bits_clear(hole->managed, index, 1);
    mm_store_relaxed_u64(&pool->managed_frames, pool->managed_frames - 1);
}

/* What the rare kinds of chunk have against a single frame, or NULL. */
static const char *single_fault(const struct mm_pmm *pmm, const struct mm_place *place)
{
    unsigned kind = mm_kind_of(pmm, place->chunk);
    uint64_t bit = UINT64_C(1) << (place->index % 64);

    if ((mm_chunk_managed(pmm, place->chunk, place->index / 64) & bit) == 0)
        return "freed frame is not managed";
    if ((mm_chunk_bits(pmm, place->chunk)[place->index / 64] & bit) != 0)
        return "freed frame is free already";
    if (mm_kind_base(kind) != MM_KIND_PLAIN && !is_single(pmm, place))
        return "freed with a wrong number of frames";
    return NULL;
}

const char *mm_pool_give_single(struct mm_pmm *pmm, const struct mm_place *place)
{
    struct mm_pmm_pool *pool = mm_pool_of(pmm, place->region);
    struct mm_pmm_record *record = &pmm->record[place->chunk];
    uint64_t *word = &pmm->bitmap[place->chunk][place->index / 64];
    uint64_t bit = UINT64_C(1) << (place->index % 64);

    MM_ASSERT_LOCKED(&pool->lock);
    if ((mm_kind_of(pmm, place->chunk) & MM_KIND_CACHED) == 0) {
        const char *fault = single_fault(pmm, place);
        struct mm_pmm_hole *hole = mm_hole_of(pmm, place->chunk);

        if (fault != NULL)
            return fault;
        if (hole != NULL && (hole->ram[place->index / 64] & bit) == 0) {
            retire(pool, hole, place->index);
            return NULL;
        }
    } else if (record->free == MM_CHUNK_FRAMES || (*word & bit) != 0) {
        return "freed frame is free already";
    }
    MM_RACE_WRITE(word, sizeof *word);
    *word |= bit;
    record->fit = (uint8_t)((record->fit & 0xf0u) | MM_FIT_UNKNOWN);
    record->free++;
    mm_chunk_changed(pmm, pool, place->chunk, record->free - 1u);
    return NULL;
}

void mm_fault_note(struct mm_stock_faults *faults, const char *what, mm_phys_t frame)
{
    if (faults->count++ == 0) {
        faults->what = what;
        faults->first = frame;
    }
}

/* Counts of the pool that a batch changes once, at its end. */
struct batch {
    uint32_t free, loose;
};

/* A frame of a chunk of singles without holes. False if it is free already. */
static inline bool give_cached(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t chunk,
                               unsigned index, struct batch *batch)
{
    struct mm_pmm_record *record = &pmm->record[chunk];
    uint64_t *word = &pmm->bitmap[chunk][index / 64];
    uint64_t bit = UINT64_C(1) << (index % 64);
    unsigned before = record->free;

    if (before == MM_CHUNK_FRAMES || (*word & bit) != 0)
        return false;
    MM_RACE_WRITE(word, sizeof *word);
    *word |= bit;
    record->fit = (uint8_t)((record->fit & 0xf0u) | MM_FIT_UNKNOWN);
    record->free = (uint16_t)(before + 1);
    if (before + 1 != MM_CHUNK_FRAMES && mm_set_by_free(before + 1) == record->set) {
        batch->free++;
        batch->loose++;
    } else {
        mm_chunk_changed(pmm, pool, chunk, before);
    }
    return true;
}

static inline void prefetch(const struct mm_pmm *pmm, mm_phys_t frame)
{
    uint32_t chunk = mm_chunk_of(pmm, mm_frame_of(frame));

    if (chunk == MM_CHUNK_NONE)
        return;
    __builtin_prefetch(&pmm->bitmap[chunk][mm_frame_of(frame) % MM_CHUNK_FRAMES / 64], 1);
    __builtin_prefetch(&pmm->record[chunk], 1);
}

size_t mm_pool_give_batch(struct mm_pmm *pmm, struct mm_pmm_pool *pool, const mm_phys_t *frames,
                          size_t count, struct mm_stock_faults *faults)
{
    struct batch batch = {0, 0};
    uint32_t chunks = pool->sets.chunks;
    size_t at = 0;

    MM_ASSERT_LOCKED(&pool->lock);
    for (size_t i = 0; i < PREFETCH_AHEAD && i < count; i++)
        prefetch(pmm, frames[i]);
    for (; at < count; at++) {
        uint64_t frame = mm_frame_of(frames[at]);
        uint32_t chunk = mm_chunk_of(pmm, frame);
        const char *fault = NULL;
        struct mm_place place;

        if (at + PREFETCH_AHEAD < count)
            prefetch(pmm, frames[at + PREFETCH_AHEAD]);
        if (chunk - pool->chunk_first < chunks && mm_is_aligned(frames[at].raw, MM_FRAME_BYTES) &&
            (mm_kind_of(pmm, chunk) & MM_KIND_CACHED) != 0) {
            if (!give_cached(pmm, pool, chunk, (unsigned)(frame % MM_CHUNK_FRAMES), &batch))
                fault = "freed frame is free already";
        } else {
            if (!mm_place_of(pmm, frame, &place) || mm_pool_of(pmm, place.region) != pool)
                break;
            fault = mm_is_aligned(frames[at].raw, MM_FRAME_BYTES)
                        ? mm_pool_give_single(pmm, &place)
                        : "freed address is not frame-aligned";
        }
        if (fault != NULL)
            mm_fault_note(faults, fault, frames[at]);
    }
    mm_store_relaxed_u64(&pool->free_frames, pool->free_frames + batch.free);
    mm_store_relaxed_u32(&pool->loose_frames, pool->loose_frames + batch.loose);
    return at;
}

/* ---- any run of frames ---- */

static void set_kind(struct mm_pmm *pmm, uint32_t chunk, unsigned kind)
{
    mm_store_relaxed_u8(&pmm->kind[chunk], (uint8_t)kind);
}

/* The part of [frame, end) that lies in the chunk of `frame`. */
static unsigned part_in_chunk(uint64_t frame, uint64_t end)
{
    return (unsigned)mm_min_u64(MM_CHUNK_FRAMES - frame % MM_CHUNK_FRAMES, end - frame);
}

/* Frames [index, index + count) of a chunk, free, become part of an allocation that begins before
 * them (`continues`) or with them. Returns how many tables that took. */
static unsigned piece_take(struct mm_pmm *pmm, const struct mm_place *place, unsigned count,
                           bool continues)
{
    struct mm_pmm_pool *pool = mm_pool_of(pmm, place->region);
    struct mm_pmm_record *record = &pmm->record[place->chunk];
    unsigned kind = mm_kind_of(pmm, place->chunk);
    unsigned before = record->free;
    unsigned head = continues ? 0 : 1;
    unsigned tables = 0;

    MM_ASSERT_LOCKED(&pool->lock);
    if (count == MM_CHUNK_FRAMES) {
        set_kind(pmm, place->chunk, continues ? MM_KIND_TAIL : MM_KIND_HEAD);
    } else if (count > head) {
        if (mm_kind_base(kind) == MM_KIND_PLAIN) {
            if (!mm_kind_has_holes(kind)) {
                record->side = mm_side_take(pmm);
                tables = 1;
            }
            set_kind(pmm, place->chunk,
                     MM_KIND_MIXED | (mm_kind_has_holes(kind) ? MM_KIND_HOLES : 0));
        }
        mm_bits_fill(mm_chunk_tail_bits(pmm, place->chunk), place->index + head, count - head);
    }
    if (count < MM_CHUNK_FRAMES)
        mm_bits_clear(bits_open(pmm, place->chunk), place->index, count);
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
static void unmix(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t chunk)
{
    const uint64_t *tails = mm_chunk_tail_bits(pmm, chunk);
    bool has_holes = mm_kind_has_holes(mm_kind_of(pmm, chunk));

    if (mm_bits_next(tails, true, 0) != MM_CHUNK_FRAMES)
        return;
    if (!has_holes)
        mm_side_give(pmm, pmm->record[chunk].side);
    else if (hole_is_done(mm_hole_of(pmm, chunk)))
        has_holes = false;
    if (!has_holes)
        pmm->record[chunk].side = 0;
    set_kind(pmm, chunk, mm_chunk_plain_kind(pool, has_holes));
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
        set_kind(pmm, place->chunk, mm_chunk_plain_kind(pool, false));
    } else {
        mm_bits_fill(bits, place->index, count);
        if (mm_kind_base(mm_kind_of(pmm, place->chunk)) == MM_KIND_MIXED) {
            mm_bits_clear(mm_chunk_tail_bits(pmm, place->chunk), place->index, count);
            unmix(pmm, pool, place->chunk);
        }
    }
    for (unsigned i = place->index; hole != NULL && i < place->index + count; i++)
        if ((hole->ram[i / 64] >> (i % 64) & 1) == 0) {
            retire(pool, hole, i);
            mm_bits_clear(bits, i, 1);
            given--;
        }
    record->fit = (uint8_t)((record->fit & 0xf0u) | MM_FIT_UNKNOWN);
    record->free = (uint16_t)(before + given);
    mm_chunk_changed(pmm, pool, place->chunk, before);
}

static struct mm_place place_that_exists(const struct mm_pmm *pmm, uint64_t frame)
{
    struct mm_place place = {NULL, 0, 0};
    bool found = mm_place_of(pmm, frame, &place);

    MM_ASSERT2(found, frame, 0);
    return place;
}

unsigned mm_frames_take(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    unsigned tables = 0;

    for (uint64_t frame = first; frame < first + count;) {
        struct mm_place place = place_that_exists(pmm, frame);
        uint64_t end = mm_min_u64(first + count, place.region->end);
        unsigned piece = part_in_chunk(frame, end);

        tables += piece_take(pmm, &place, piece, frame != first);
        frame += piece;
    }
    return tables;
}

void mm_frames_give(struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    for (uint64_t frame = first; frame < first + count;) {
        struct mm_place place = place_that_exists(pmm, frame);
        uint64_t end = mm_min_u64(first + count, place.region->end);
        unsigned piece = part_in_chunk(frame, end);

        piece_give(pmm, &place, piece);
        frame += piece;
    }
}

/* ---- blocks ---- */

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

/* Would tails in this chunk be the first? */
static bool needs_table(const struct mm_pmm *pmm, uint32_t chunk)
{
    unsigned kind = mm_kind_of(pmm, chunk);

    return mm_kind_base(kind) == MM_KIND_PLAIN && !mm_kind_has_holes(kind);
}

bool mm_frames_need_tables(const struct mm_pmm *pmm, uint64_t first, uint64_t count)
{
    return count > 1 && (needs_table(pmm, place_that_exists(pmm, first).chunk) ||
                         needs_table(pmm, place_that_exists(pmm, first + count - 1).chunk));
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

    MM_ASSERT_LOCKED(&pool->lock);
    if (chunk != MM_CHUNK_NONE && needs_table(pmm, chunk)) {
        if (!mm_side_reserve(pmm, pool, 1))
            return false;
        tables = 1;
        chunk = chunk_for_block(pmm, pool, order); /* the table may have taken a frame of it */
    }
    if (chunk != MM_CHUNK_NONE) {
        *first = mm_chunk_frame(pmm, chunk) + mm_chunk_find(mm_chunk_bits(pmm, chunk), order);
        tables -= mm_frames_take(pmm, *first, count);
    }
    mm_side_release(pmm, tables);
    return chunk != MM_CHUNK_NONE;
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
    set_kind(pmm, pool->chunk_first + at, kind);
    record->free = 0;
    record->set = MM_SET_NONE;
    mm_set_remove(&pool->sets, MM_SET_WHOLE, at);
}

static void whole_give(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t at)
{
    struct mm_pmm_record *record = &pmm->record[pool->chunk_first + at];

    MM_RACE_WRITE(record, sizeof *record);
    set_kind(pmm, pool->chunk_first + at, mm_chunk_plain_kind(pool, false));
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
        is_tail(pmm, chunk + count, 0))
        return false;
    for (uint32_t i = 0; i < count; i++)
        whole_give(pmm, pool, at + i);
    count_whole(pool, count);
    return true;
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
        set_kind(pmm, place->chunk, mm_chunk_plain_kind(pool, false));
    }
    mm_store_relaxed_u64(&pool->managed_frames, pool->managed_frames + count);
    mm_chunk_changed(pmm, pool, place->chunk, before);
}

MM_COLD void mm_frames_add(struct mm_pmm *pmm, uint64_t first, uint64_t count, bool taken)
{
    for (uint64_t frame = first; frame < first + count;) {
        struct mm_place place = place_that_exists(pmm, frame);
        uint64_t end = mm_min_u64(first + count, place.region->end);
        unsigned piece = part_in_chunk(frame, end);

        piece_add(pmm, &place, piece, taken);
        frame += piece;
    }
}

/* A range of records; the same kind for all; the set WHOLE a word at a time. */
MM_COLD void mm_chunks_add(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint32_t chunk,
                           uint32_t count, uint32_t number)
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
