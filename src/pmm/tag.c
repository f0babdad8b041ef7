/*
 * tag.c - a 16-bit tag for each frame that needs one.
 *
 * Problem     Page tables want a live count and a lock, shared frames a count of owners; two bytes
 *             for each frame of the machine is twelve times what all else here takes.
 * Idea        A table of 512 tags for a chunk is made when the first of them is asked for, four
 *             tables to a frame of the PMM's own, found through one page of pointers for each GiB.
 * Invariants  T1 a pointer, once stored, stays: readers need no lock
 *             T2 a table is zero before the pointer to it is stored
 * Locking     add_lock to store a pointer; the pool's lock if the chunk has holes.
 * Cost        Two dependent loads.
 * Rejected    Tables that go when the chunk is empty: readers without a lock could still be there.
 */
#include "base/checked.h"
#include "mm_frame.h"
#include "pmm/pmm_internal.h"

#define TABLE_BYTES      (MM_CHUNK_FRAMES * sizeof(uint16_t))
#define TABLES_PER_FRAME (MM_FRAME_BYTES / TABLE_BYTES)
#define POINTERS         (MM_FRAME_BYTES / sizeof(uint64_t))

/* Pointers are stored as numbers, so that they are loaded and stored by mm_atomic.h. */
static uint64_t *directory_of(const struct mm_pmm *pmm, uint32_t chunk)
{
    return &pmm->tag_directory[chunk / POINTERS];
}

/* Where the window does not show all memory, or ordinary memory is gone. */
static MM_COLD enum mm_err own_frame_hard(struct mm_pmm *pmm, mm_phys_t *frame)
{
    enum mm_err err = MM_ERR_NO_MEMORY;

    for (uint32_t i = pmm->window->count; err != MM_OK && i-- > 0;) {
        const struct mm_window_piece *piece = &pmm->window->piece[i];
        const struct mm_frame_request request = {
            .flags = MM_FRAME_ZERO | MM_FRAME_RESERVE,
            .lowest = piece->first,
            .highest = mm_phys(mm_range_last(piece->first.raw, piece->bytes)),
        };

        err = mm_pmm_alloc(pmm, &request, frame);
    }
    return err;
}

/* A zeroed frame, as a number that is a pointer to it. */
static enum mm_err own_frame(struct mm_pmm *pmm, mm_phys_t *frame, uint64_t *pointer)
{
    void *mapped;
    enum mm_err err = mm_pmm_alloc_zeroed(pmm, frame);

    if ((err == MM_ERR_WINDOW || err == MM_ERR_NO_MEMORY) && own_frame_hard(pmm, frame) == MM_OK)
        err = MM_OK;
    if (err != MM_OK)
        return err;
    err = mm_frame_map(pmm->window, *frame, &mapped);
    if (err != MM_OK)
        (void)mm_pmm_free_frame(pmm, *frame);
    else
        *pointer = (uintptr_t)mapped;
    return err;
}

/* Store a page of pointers, or the tables of the four chunks that share a frame, unless somebody
 * was faster. add_lock held. */
static bool page_store(uint64_t *slot, uint64_t page)
{
    if (mm_load_relaxed_u64(slot) != 0)
        return false;
    mm_store_release_u64(slot, page); /* T2; pairs with tags_of() */
    return true;
}

static bool tables_store(uint64_t *slot, uint64_t tables)
{
    if (mm_load_relaxed_u64(slot) != 0)
        return false;
    for (unsigned i = 0; i < TABLES_PER_FRAME; i++)
        mm_store_release_u64(slot + i, tables + i * TABLE_BYTES); /* T2; pairs with tags_of() */
    return true;
}

/* One more step towards the chunk's table: the page of pointers, then the table. */
static MM_COLD enum mm_err table_step(struct mm_pmm *pmm, uint32_t chunk)
{
    uint64_t *directory = directory_of(pmm, chunk);
    uint64_t page = mm_load_acquire_u64(directory);
    mm_lock_guard_t guard;
    mm_phys_t frame;
    uint64_t pointer;
    bool stored;
    enum mm_err err = own_frame(pmm, &frame, &pointer);

    if (err != MM_OK)
        return err;
    guard = mm_lock_take(&pmm->add_lock);
    if (page == 0)
        stored = page_store(directory, pointer);
    else
        stored = tables_store((uint64_t *)(uintptr_t)page +
                                  mm_align_down(chunk % POINTERS, TABLES_PER_FRAME),
                              pointer);
    mm_lock_release(&pmm->add_lock, guard);
    if (stored)
        mm_side_frame_added(pmm, frame);
    else
        (void)mm_pmm_free_frame(pmm, frame);
    return MM_OK;
}

/* The chunk's tags, or NULL. */
static uint16_t *tags_of(const struct mm_pmm *pmm, uint32_t chunk)
{
    uint64_t page = mm_load_acquire_u64(directory_of(pmm, chunk));
    const uint64_t *slots = (const uint64_t *)(uintptr_t)page;

    return page == 0 ? NULL : (uint16_t *)(uintptr_t)mm_load_acquire_u64(&slots[chunk % POINTERS]);
}

static bool is_managed(const struct mm_pmm *pmm, const struct mm_place *place)
{
    struct mm_pmm_pool *pool = mm_pool_of(pmm, place->region);
    mm_lock_guard_t guard;
    uint64_t managed;

    if (!mm_kind_has_holes(mm_kind_of(pmm, place->chunk)))
        return mm_kind_base(mm_kind_of(pmm, place->chunk)) != MM_KIND_UNUSED;
    guard = mm_lock_take(&pool->lock);
    managed = mm_chunk_managed(pmm, place->chunk, place->index / 64);
    mm_lock_release(&pool->lock, guard);
    return (managed >> (place->index % 64) & 1) != 0;
}

enum mm_err mm_pmm_tag(struct mm_pmm *pmm, mm_phys_t frame, bool create, uint16_t **out)
{
    struct mm_place place;
    uint16_t *tags;

    if (pmm == NULL || out == NULL)
        return MM_ERR_BAD_ARG;
    if (pmm->window == NULL)
        return MM_ERR_UNSUPPORTED;
    if (!mm_place_of(pmm, mm_frame_of(frame), &place) || !is_managed(pmm, &place))
        return MM_ERR_NOT_FOUND;
    while ((tags = tags_of(pmm, place.chunk)) == NULL) {
        enum mm_err err = create ? table_step(pmm, place.chunk) : MM_ERR_NOT_FOUND;

        if (err != MM_OK)
            return err;
    }
    *out = &tags[place.index];
    return MM_OK;
}
