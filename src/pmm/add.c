/*
 * add.c - frames that join, and frames that go.
 *
 * Problem     Boot memory is handed over later, RAM is found or plugged in later, a frame turns out
 *             to be bad; all while other CPUs allocate and look chunks up without a lock.
 * Idea        What the map knew has chunks from the start, with a record of holes; joining fills
 *             it. New RAM gets a region, a pool and chunks from room that was set aside, and the
 *             region is published last. A bad frame loses its "good RAM" bit: what is free goes at
 *             once, what is allocated when it is freed.
 * Invariants  A1 a region is published after its chunks are in place, its pool before it is
 *                reachable
 *             A2 a frame that is managed and not RAM leaves when it is freed (P2)
 * Locking     The pools' locks; around them add_lock for all but mm_pmm_add().
 * Cost        O(frames / 64), or O(chunks).
 * Rejected    Sorting new regions in: readers without a lock would need a second table.
 */
#include "base/checked.h"
#include "base/report.h"
#include "pmm/stock.h"

/* ---- memory that the map knew ---- */

static bool bit_is_set(const uint64_t *bits, unsigned index)
{
    return (bits[index / 64] >> (index % 64) & 1) != 0;
}

/* May frames [index, index + count) of a chunk join? */
static enum mm_err piece_may_join(const struct mm_pmm *pmm, uint32_t chunk, unsigned index,
                                  unsigned count)
{
    const struct mm_pmm_hole *hole = mm_hole_of(pmm, chunk);

    if (hole == NULL)
        return mm_kind_base(mm_kind_of(pmm, chunk)) == MM_KIND_UNUSED ? MM_ERR_UNSUPPORTED
                                                                      : MM_ERR_EXISTS;
    for (unsigned i = mm_bits_next(hole->ram, false, index); i < index + count;
         i = mm_bits_next(hole->ram, false, i + 1))
        if (!bit_is_set(hole->managed, i))
            return MM_ERR_UNSUPPORTED;
    return mm_bits_next(hole->managed, true, index) < index + count ? MM_ERR_EXISTS : MM_OK;
}

/* Is each frame of [first, end) in a region, RAM, and not managed? What is no RAM weighs more. */
static enum mm_err may_join(const struct mm_pmm *pmm, uint64_t first, uint64_t end)
{
    enum mm_err err = MM_OK;

    while (first < end) {
        struct mm_place place;
        enum mm_err piece_err;
        uint64_t piece;

        if (!mm_place_of(pmm, first, &place))
            return MM_ERR_UNSUPPORTED;
        piece =
            mm_min_u64(MM_CHUNK_FRAMES - place.index, mm_min_u64(end, place.region->end) - first);
        piece_err = piece_may_join(pmm, place.chunk, place.index, (unsigned)piece);
        if (piece_err == MM_ERR_UNSUPPORTED)
            return piece_err;
        if (piece_err != MM_OK)
            err = piece_err;
        first += piece;
    }
    return err;
}

MM_COLD enum mm_err mm_pmm_add(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes)
{
    uint64_t first = mm_frame_of(start);
    uint64_t end = first + bytes / MM_FRAME_BYTES;
    struct mm_pools_guard guard;
    enum mm_err err;

    if (pmm == NULL || bytes == 0 || !mm_is_aligned(start.raw | bytes, MM_FRAME_BYTES) ||
        !mm_range_ok(start.raw, bytes))
        return MM_ERR_BAD_ARG;
    guard = mm_pools_lock(pmm);
    err = may_join(pmm, first, end);
    if (err == MM_OK)
        mm_frames_add(pmm, first, end - first, false);
    mm_pools_unlock(pmm, guard);
    if (err != MM_OK)
        return err;
    mm_mode_update(pmm);
    mm_watch_zones(pmm);
    return MM_OK;
}

/* ---- memory that it did not know ---- */

/* Does a region touch one of the 2 MiB pieces of [first, end)? */
static bool is_known(const struct mm_pmm *pmm, uint64_t first, uint64_t end)
{
    const struct mm_pmm_region *region = mm_region_from(pmm, first);

    return region != NULL && mm_align_down(region->start, MM_CHUNK_FRAMES) < end;
}

/* A region and a pool of [first, end), which lies in one zone. Its locks: add_lock and all
 * pools'. */
static void region_add(struct mm_pmm *pmm, uint64_t first, uint64_t end, unsigned node)
{
    uint32_t chunks = (uint32_t)((end - first) / MM_CHUNK_FRAMES);
    uint32_t number = mm_load_relaxed_u32(&pmm->pool_count);
    uint32_t regions = mm_load_relaxed_u32(&pmm->region_count);
    struct mm_pmm_pool *pool = &pmm->pool[number];
    uint16_t *link = &pmm->node[node].pool[mm_zone_of(first)];
    uint64_t words = mm_sets_words(chunks);

    *pool = (struct mm_pmm_pool){
        .chunk_first = pmm->chunk_count,
        .next = MM_POOL_NONE,
        .zone = (uint8_t)mm_zone_of(first),
        .node = (uint8_t)node,
    };
    mm_sets_init(&pool->sets, pmm->spare_words, chunks);
    pmm->spare_words += words;
    mm_chunks_add(pmm, pool, pmm->chunk_count, chunks, (uint32_t)(first / MM_CHUNK_FRAMES));
    pmm->region[regions] =
        (struct mm_pmm_region){first, end, pmm->chunk_count, (uint16_t)number, 0};
    pmm->chunk_count += chunks;
    if ((mm_region_of(pmm, first - 1) != NULL && mm_zone_of(first - 1) == pool->zone) ||
        (mm_region_of(pmm, end) != NULL && mm_zone_of(end) == pool->zone))
        mm_store_relaxed_u8(&pmm->odd_borders, 1);
    mm_store_release_u32(&pmm->pool_count, number + 1);    /* pairs with who walks all pools */
    mm_store_release_u32(&pmm->region_count, regions + 1); /* pairs with mm_region_added() */
    while (mm_load_relaxed_u16(link) != MM_POOL_NONE)
        link = &pmm->pool[mm_load_relaxed_u16(link)].next;
    mm_store_release_u16(link, (uint16_t)number); /* pairs with mm_pool_next() */
}

static enum mm_err add_ram(struct mm_pmm *pmm, uint64_t first, uint64_t end, unsigned node)
{
    uint64_t parts = mm_zone_of(end - 1) - mm_zone_of(first) + 1u;

    if (is_known(pmm, first, end))
        return MM_ERR_EXISTS;
    if (first == 0) /* a chunk of two zones */
        return MM_ERR_UNSUPPORTED;
    if ((end - first) / MM_CHUNK_FRAMES > pmm->chunk_capacity - pmm->chunk_count ||
        pmm->region_count + parts > pmm->region_capacity)
        return MM_ERR_NO_ROOM;
    while (first < end) {
        uint64_t part = mm_min_u64(end, mm_zone_start(mm_zone_of(first) + 1u));

        region_add(pmm, first, part, node);
        first = part;
    }
    return MM_OK;
}

MM_COLD enum mm_err mm_pmm_add_ram(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes,
                                   unsigned node)
{
    uint64_t first = mm_frame_of(start);
    uint64_t end = first + bytes / MM_FRAME_BYTES;
    struct mm_pools_guard pools;
    mm_lock_guard_t guard;
    unsigned index = 0;
    enum mm_err err;

    if (pmm == NULL || bytes == 0 ||
        !mm_is_aligned(start.raw | bytes, MM_CHUNK_FRAMES * MM_FRAME_BYTES) ||
        !mm_range_ok(start.raw, bytes) || end / MM_CHUNK_FRAMES >= UINT32_MAX)
        return MM_ERR_BAD_ARG;
    while (index < pmm->node_count && pmm->node[index].id != node)
        index++;
    if (index == pmm->node_count)
        return MM_ERR_BAD_ARG;
    guard = mm_lock_take(&pmm->add_lock);
    pools = mm_pools_lock(pmm);
    err = add_ram(pmm, first, end, index);
    mm_pools_unlock(pmm, pools);
    mm_lock_release(&pmm->add_lock, guard);
    if (err != MM_OK)
        return err;
    mm_mode_update(pmm);
    mm_watch_zones(pmm);
    return MM_OK;
}

/* ---- frames that go ---- */

/* A record of holes for a chunk that had none, or NULL. Its bits and tails are spelt out: what the
 * kind said of all frames is no longer true of each. */
static struct mm_pmm_hole *hole_make(struct mm_pmm *pmm, uint32_t chunk)
{
    struct mm_pmm_record *record = &pmm->record[chunk];
    unsigned kind = mm_kind_of(pmm, chunk);
    uint32_t number = mm_hole_take(pmm);
    struct mm_pmm_hole *hole;

    if (number == MM_CHUNK_NONE)
        return NULL;
    hole = mm_hole_at(pmm, number);
    __builtin_memset(hole->managed, 0xff, sizeof hole->managed);
    __builtin_memset(hole->ram, 0xff, sizeof hole->ram);
    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++)
        hole->tails[word] = mm_chunk_tails(pmm, chunk, word);
    if (record->free == 0 || record->free == MM_CHUNK_FRAMES)
        __builtin_memcpy(pmm->bitmap[chunk], mm_chunk_bits(pmm, chunk), sizeof *pmm->bitmap);
    if (mm_kind_base(kind) == MM_KIND_MIXED)
        mm_side_give(pmm, record->side);
    record->side = number;
    kind = mm_kind_base(kind) == MM_KIND_PLAIN ? MM_KIND_PLAIN : MM_KIND_MIXED;
    mm_store_relaxed_u8(&pmm->kind[chunk], (uint8_t)(kind | MM_KIND_HOLES));
    return hole;
}

/* Mark the frame; take it out if it is free in its pool. All pools' locks and add_lock are held. */
static enum mm_err retire_mark(struct mm_pmm *pmm, const struct mm_place *place)
{
    struct mm_pmm_pool *pool = mm_pool_of(pmm, place->region);
    struct mm_pmm_record *record = &pmm->record[place->chunk];
    struct mm_pmm_hole *hole = mm_hole_of(pmm, place->chunk);
    unsigned before = record->free;

    if ((hole != NULL && !bit_is_set(hole->managed, place->index)) ||
        mm_kind_base(mm_kind_of(pmm, place->chunk)) == MM_KIND_UNUSED)
        return MM_ERR_NOT_FOUND;
    if (hole == NULL)
        hole = hole_make(pmm, place->chunk);
    if (hole == NULL)
        return MM_ERR_NO_ROOM;
    mm_bits_clear(hole->ram, place->index, 1);
    if (before != 0 && bit_is_set(pmm->bitmap[place->chunk], place->index)) {
        mm_bits_clear(pmm->bitmap[place->chunk], place->index, 1);
        mm_bits_clear(hole->managed, place->index, 1);
        record->free--;
        mm_store_relaxed_u64(&pool->managed_frames, pool->managed_frames - 1);
    }
    mm_chunk_changed(pmm, pool, place->chunk, before);
    return bit_is_set(hole->managed, place->index) ? MM_ERR_BUSY : MM_OK;
}

static bool is_gone(struct mm_pmm *pmm, const struct mm_place *place)
{
    struct mm_pmm_pool *pool = mm_pool_of(pmm, place->region);
    mm_lock_guard_t guard = mm_lock_take(&pool->lock);
    uint64_t managed = mm_chunk_managed(pmm, place->chunk, place->index / 64);

    mm_lock_release(&pool->lock, guard);
    return (managed >> (place->index % 64) & 1) == 0;
}

MM_COLD enum mm_err mm_pmm_retire(struct mm_pmm *pmm, mm_phys_t frame)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    struct mm_pools_guard pools;
    struct mm_place place;
    mm_lock_guard_t guard;
    enum mm_err err;

    if (pmm == NULL || !mm_is_aligned(frame.raw, MM_FRAME_BYTES))
        return MM_ERR_BAD_ARG;
    if (!mm_place_of(pmm, mm_frame_of(frame), &place))
        return MM_ERR_NOT_FOUND;
    guard = mm_lock_take(&pmm->add_lock);
    pools = mm_pools_lock(pmm);
    err = retire_mark(pmm, &place);
    mm_pools_unlock(pmm, pools);
    mm_lock_release(&pmm->add_lock, guard);
    if (err == MM_ERR_BUSY) { /* with a caller, or in stock: that much can be found out */
        mm_stock_close(pmm);
        (void)mm_drain_all(pmm, true, &faults);
        mm_stock_open(pmm);
        err = is_gone(pmm, &place) ? MM_OK : MM_ERR_BUSY;
    }
    mm_mode_update(pmm);
    mm_stock_report(pmm, &faults, "mm_pmm_retire", MM_CALLER);
    mm_watch_zones(pmm);
    return err;
}

/* ---- not built ---- */

enum mm_err mm_pmm_isolate(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes)
{
    (void)start;
    (void)bytes;
    return pmm == NULL ? MM_ERR_BAD_ARG : MM_ERR_UNSUPPORTED;
}

enum mm_err mm_pmm_remove(struct mm_pmm *pmm, mm_phys_t start, uint64_t bytes)
{
    (void)start;
    (void)bytes;
    return pmm == NULL ? MM_ERR_BAD_ARG : MM_ERR_UNSUPPORTED;
}
