/*
 * side.c - side tables: tails and holes of the chunks that have them.
 *
 * Problem     Few chunks have blocks in them, or frames that are not managed; but any chunk may,
 *             and running out of tables must not fail a request while memory is free.
 * Idea        Tables of tails are 64 bytes, 64 to a page. Some pages lie in the metadata; when all
 *             are used the next page is a frame of the PMM's own, reached through the window. Hole
 *             records are counted at init; a few are spare, for frames that retire.
 * Invariants  D1 bit t of unused[page] is set exactly if table t of that page belongs to no chunk
 *             D2 a page is in the metadata, or an allocated single frame, or absent with unused 0
 * Locking     side->lock, below the pools' locks. A table's contents belong to its chunk's pool.
 * Cost        O(1) but for the search of a page with an unused table: O(chunks / 64), from a hint.
 * Rejected    Tails for every chunk: 28 KiB per GiB more. Chunks for one order each: with all
 *             memory in such chunks, single frames fail while half of it is free.
 */
#include "mm_frame.h"
#include "pmm/pmm_internal.h"

#define TABLES_PER_PAGE 64u
#define HOLES_SPARE     16u

struct mm_pmm_side {
    struct mm_lock lock;
    uint64_t *unused; /* of each page */
    uint64_t *home;   /* of each page: its frame; not looked at for those in the metadata */
    uint64_t (**page)[MM_CHUNK_WORDS];
    struct mm_pmm_hole *hole;
    uint32_t page_count;   /* enough for a table of every chunk, and one more */
    uint32_t lent_pages;   /* in the metadata: the first ones */
    uint32_t unused_count; /* tables */
    uint32_t promised;     /* of them */
    uint32_t first;        /* no page below this one has an unused table */
    uint32_t hole_count, hole_capacity;
    uint32_t idle_pages; /* (A) frames whose tables are all unused */
    uint32_t frames;     /* (A) the PMM's own: pages, tags */
    uint32_t pad;        /* 0 */
};

/* A sixteenth of the chunks, all of small machines; all if the tables cannot grow. */
static uint64_t lent_tables(uint64_t chunks, bool can_grow)
{
    uint64_t tables = can_grow ? mm_max_u64(mm_min_u64(chunks, TABLES_PER_PAGE), chunks / 16)
                               : chunks + TABLES_PER_PAGE;

    return mm_align_down(tables + TABLES_PER_PAGE - 1, TABLES_PER_PAGE);
}

/* One more than all chunks need: what is promised and then not used. */
static uint64_t pages_for(uint64_t chunks)
{
    return (chunks + TABLES_PER_PAGE - 1) / TABLES_PER_PAGE + 1;
}

MM_COLD uint64_t mm_side_bytes(uint64_t chunks, uint64_t holes, bool can_grow)
{
    return sizeof(struct mm_pmm_side) + pages_for(chunks) * 3 * sizeof(uint64_t) +
           lent_tables(chunks, can_grow) * sizeof(uint64_t[MM_CHUNK_WORDS]) +
           (holes + HOLES_SPARE) * sizeof(struct mm_pmm_hole);
}

MM_COLD void mm_side_init(struct mm_pmm *pmm, void *memory, uint64_t chunks, uint64_t holes,
                          bool can_grow)
{
    struct mm_pmm_side *side = memory;
    uint64_t(*table)[MM_CHUNK_WORDS];

    *side = (struct mm_pmm_side){
        .page_count = (uint32_t)pages_for(chunks),
        .lent_pages = (uint32_t)(lent_tables(chunks, can_grow) / TABLES_PER_PAGE),
        .hole_capacity = (uint32_t)(holes + HOLES_SPARE),
    };
    side->unused = (uint64_t *)(side + 1);
    side->home = side->unused + side->page_count;
    side->page = (void *)(side->home + side->page_count);
    table = (void *)(side->page + side->page_count);
    for (uint32_t page = 0; page < side->lent_pages; page++, table += TABLES_PER_PAGE) {
        side->page[page] = table;
        side->unused[page] = UINT64_MAX;
    }
    for (uint32_t page = side->lent_pages; page < side->page_count; page++) {
        side->page[page] = NULL;
        side->unused[page] = 0;
    }
    side->unused_count = side->lent_pages * TABLES_PER_PAGE;
    side->hole = (void *)table;
    pmm->side = side;
}

/* ---- tails ---- */

/* A free frame of the pool that is not one of [first, first + count). */
static MM_COLD bool page_frame(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint64_t first,
                               uint64_t count, mm_phys_t *out)
{
    struct mm_frame_want want = {.count = 1, .align = 1, .end = first};
    uint64_t frame;

    if (mm_pool_take_singles(pmm, pool, 1, out) == 0)
        return false;
    if (mm_frame_of(*out) - first >= count)
        return true;
    mm_frames_give(pmm, mm_frame_of(*out), 1);
    if (!mm_frames_find(pmm, &want, pool, &frame)) {
        want.start = first + count;
        want.end = UINT64_MAX;
        if (!mm_frames_find(pmm, &want, pool, &frame))
            return false;
    }
    (void)mm_frames_take(pmm, frame, 1);
    *out = mm_frame_phys(frame);
    return true;
}

static MM_COLD bool page_grow(struct mm_pmm *pmm, struct mm_pmm_pool *pool, uint64_t first,
                              uint64_t count)
{
    struct mm_pmm_side *side = pmm->side;
    uint32_t page = side->lent_pages;
    mm_phys_t frame;
    void *table;

    while (page < side->page_count && side->page[page] != NULL)
        page++;
    if (page >= side->page_count || pmm->window == NULL ||
        !page_frame(pmm, pool, first, count, &frame))
        return false;
    if (mm_frame_map(pmm->window, frame, &table) != MM_OK) {
        mm_frames_give(pmm, mm_frame_of(frame), 1);
        return false;
    }
    mm_owner_set(pmm, mm_frame_of(frame), 1, MM_OWNER_PMM);
    side->page[page] = table;
    side->home[page] = mm_frame_of(frame);
    side->unused[page] = UINT64_MAX;
    side->unused_count += TABLES_PER_PAGE;
    if (page < side->first)
        side->first = page;
    mm_store_relaxed_u32(&side->idle_pages, side->idle_pages + 1);
    mm_store_relaxed_u32(&side->frames, side->frames + 1);
    return true;
}

bool mm_side_reserve(struct mm_pmm *pmm, struct mm_pmm_pool *pool, unsigned tables, uint64_t first,
                     uint64_t count)
{
    struct mm_pmm_side *side = pmm->side;
    mm_lock_guard_t guard = mm_lock_take(&side->lock);
    bool enough =
        side->unused_count >= side->promised + tables || page_grow(pmm, pool, first, count);

    if (enough)
        side->promised += tables;
    mm_lock_release(&side->lock, guard);
    return enough;
}

void mm_side_release(struct mm_pmm *pmm, unsigned count)
{
    mm_lock_guard_t guard;

    if (count == 0)
        return;
    guard = mm_lock_take(&pmm->side->lock);
    pmm->side->promised -= count;
    mm_lock_release(&pmm->side->lock, guard);
}

static void note_idle(struct mm_pmm_side *side, uint32_t page, uint32_t difference)
{
    if (page >= side->lent_pages && side->unused[page] == UINT64_MAX)
        mm_store_relaxed_u32(&side->idle_pages, side->idle_pages + difference);
}

uint32_t mm_side_take(struct mm_pmm *pmm)
{
    struct mm_pmm_side *side = pmm->side;
    mm_lock_guard_t guard = mm_lock_take(&side->lock);
    uint32_t page = side->first;
    uint32_t table;

    MM_ASSERT2(side->promised > 0 && side->unused_count > 0, side->promised, side->unused_count);
    while (page < side->page_count && side->unused[page] == 0)
        page++;
    MM_ASSERT2(page < side->page_count, page, side->page_count);
    side->first = page;
    note_idle(side, page, UINT32_MAX);
    table = mm_lowest_bit(side->unused[page]);
    side->unused[page] &= side->unused[page] - 1;
    side->unused_count--;
    side->promised--;
    mm_lock_release(&side->lock, guard);
    __builtin_memset(side->page[page][table], 0, sizeof side->page[page][table]);
    return page * TABLES_PER_PAGE + table;
}

void mm_side_give(struct mm_pmm *pmm, uint32_t table)
{
    struct mm_pmm_side *side = pmm->side;
    uint32_t page = table / TABLES_PER_PAGE;
    mm_lock_guard_t guard = mm_lock_take(&side->lock);

    side->unused[page] |= UINT64_C(1) << (table % TABLES_PER_PAGE);
    side->unused_count++;
    if (page < side->first)
        side->first = page;
    note_idle(side, page, 1);
    mm_lock_release(&side->lock, guard);
}

uint64_t *mm_side_tails(const struct mm_pmm *pmm, uint32_t table)
{
    return pmm->side->page[table / TABLES_PER_PAGE][table % TABLES_PER_PAGE];
}

/* Detach a page whose tables are all unused and not promised. */
static MM_COLD bool page_detach(struct mm_pmm *pmm, uint64_t *frame)
{
    struct mm_pmm_side *side = pmm->side;
    mm_lock_guard_t guard = mm_lock_take(&side->lock);
    uint32_t page = side->lent_pages;
    bool found = false;

    if (side->unused_count >= side->promised + TABLES_PER_PAGE)
        for (; page < side->page_count && !found; page++)
            found = side->page[page] != NULL && side->unused[page] == UINT64_MAX;
    if (found) {
        page--;
        *frame = side->home[page];
        mm_frame_unmap(pmm->window, side->page[page]);
        side->page[page] = NULL;
        side->home[page] = 0;
        side->unused[page] = 0;
        side->unused_count -= TABLES_PER_PAGE;
        mm_store_relaxed_u32(&side->idle_pages, side->idle_pages - 1);
        mm_store_relaxed_u32(&side->frames, side->frames - 1);
    }
    mm_lock_release(&side->lock, guard);
    return found;
}

void mm_side_trim(struct mm_pmm *pmm)
{
    uint64_t frame = 0;

    while (pmm->side != NULL && mm_load_relaxed_u32(&pmm->side->idle_pages) != 0 &&
           page_detach(pmm, &frame)) {
        struct mm_place place;
        bool found = mm_place_of(pmm, frame, &place);
        mm_lock_guard_t guard;

        MM_ASSERT2(found, frame, 0);
        guard = mm_lock_take(&mm_pool_of(pmm, place.region)->lock);
        mm_owner_set(pmm, frame, 1, MM_OWNER_NONE);
        mm_frames_give(pmm, frame, 1);
        mm_lock_release(&mm_pool_of(pmm, place.region)->lock, guard);
    }
}

uint64_t mm_side_frames(const struct mm_pmm *pmm)
{
    return pmm->side != NULL ? mm_load_relaxed_u32(&pmm->side->frames) : 0;
}

void mm_side_frame_added(struct mm_pmm *pmm, mm_phys_t frame)
{
    mm_lock_guard_t guard = mm_lock_take(&pmm->side->lock);

    mm_owner_set(pmm, mm_frame_of(frame), 1, MM_OWNER_PMM);
    mm_store_relaxed_u32(&pmm->side->frames, pmm->side->frames + 1);
    mm_lock_release(&pmm->side->lock, guard);
}

/* ---- holes ---- */

struct mm_pmm_hole *mm_hole_at(const struct mm_pmm *pmm, uint32_t number)
{
    return &pmm->side->hole[number];
}

uint32_t mm_hole_take(struct mm_pmm *pmm)
{
    struct mm_pmm_side *side = pmm->side;

    if (side->hole_count == side->hole_capacity)
        return MM_CHUNK_NONE;
    return side->hole_count++;
}

/* ---- for the checker ---- */

size_t mm_side_own_bytes(void)
{
    return sizeof(struct mm_pmm_side);
}

MM_COLD struct mm_side_facts mm_side_facts(const struct mm_pmm *pmm)
{
    const struct mm_pmm_side *side = pmm->side;

    return (struct mm_side_facts){
        .page_count = side->page_count,
        .lent_pages = side->lent_pages,
        .unused_count = side->unused_count,
        .promised = side->promised,
        .idle_pages = side->idle_pages,
        .first = side->first,
        .hole_count = side->hole_count,
        .hole_capacity = side->hole_capacity,
        .unused_field = side->pad,
        .unused = side->unused,
        .page = (void *const *)side->page,
        .hole = side->hole,
    };
}

bool mm_side_is_used(const struct mm_pmm *pmm, uint32_t table)
{
    const struct mm_pmm_side *side = pmm->side;
    uint32_t page = table / TABLES_PER_PAGE;

    return page < side->page_count && side->page[page] != NULL &&
           (side->unused[page] >> (table % TABLES_PER_PAGE) & 1) == 0;
}
