/*
 * pool.c - single frames of a pool: taken from the fullest chunk, and put back.
 *
 * Problem     Which free frame is handed out decides whether 2 MiB blocks are still there next
 *             week; and 64 frames at a time must cost little more than the lines of cache that they
 *             touch.
 * Idea        Single frames come from the fullest chunk that has any, and from a whole one only
 *             when there is no other: chunks that are nearly empty become empty, and the whole ones
 *             stay. Bits, sets and counts change together; what changes by one for each frame of a
 *             batch is counted once.
 * Invariants  P1 to P7 of pmm_internal.h before and after each function
 * Locking     The pool's lock.
 * Cost        About 1 ns a frame from one chunk; random frames back 4 to 5.
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

/* ---- single frames ---- */

/* The set to take single frames from, or MM_SET_NONE: by fullness, then a whole chunk. Frames of
 * chunks with holes cost a lock each when they are freed, and leftovers of chunks with blocks are good
 * for blocks, so both come last; but before a whole one while much of memory is in broken chunks. */
static unsigned fullest_set(const struct mm_pmm *pmm, const struct mm_pmm_pool *pool)
{
    const uint32_t spoiled = 1u << MM_SET_SPOILED;
    const uint32_t whole = 1u << MM_SET_WHOLE;
    uint32_t sets = pool->sets.not_empty;
    uint32_t later = mm_load_relaxed_u8(&pmm->scarce) != 0 ? whole : spoiled;

    if (sets == 0)
        return MM_SET_NONE;
    if (later == spoiled && (sets & (2 * whole - 1) & ~spoiled) == 0)
        later = 0; /* no singles, none whole: holes, then leftovers */
    return mm_lowest_bit((sets & ~later) != 0 ? sets & ~later : sets);
}

/* Up to `want` of the chunk's free frames, lowest first. */
static unsigned bits_take(struct mm_pmm *pmm, uint32_t chunk, unsigned want, mm_phys_t *out)
{
    uint64_t base = mm_chunk_frame(pmm, chunk);
    uint64_t *words = mm_bits_open(pmm, chunk);
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
    mm_store_relaxed_u64(&pool->loose_frames, pool->loose_frames - loose);
    return got;
}

/* Is the frame the whole of its allocation? One that is the first of a run and the last of its
 * region does not exist: a run has at least two frames in the pool where it begins. */
static bool is_single(const struct mm_pmm *pmm, const struct mm_place *place)
{
    uint64_t next = mm_chunk_frame(pmm, place->chunk) + place->index + 1;

    if (mm_is_tail(pmm, place->chunk, place->index))
        return false;
    return next >= place->region->end || !mm_is_tail(pmm, mm_region_chunk(place->region, next),
                                                     (unsigned)(next % MM_CHUNK_FRAMES));
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
            mm_retire(pool, hole, place->index);
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
    mm_store_relaxed_u64(&pool->loose_frames, pool->loose_frames + batch.loose);
    return at;
}
