/*
 * check.c - is everything as it should be?
 *
 * Problem     When memory is corrupted, the allocator's own tables are the first thing to look at,
 *             and the looker must not fall over what it looks for.
 * Idea        Sizes and pointers are verified first, by laying the metadata out again; then
 *             regions, pools and their sets, each chunk's bits against its counts, kind and set,
 *             side tables against who uses them, and what is in stock. Faults are collected a few
 *             at a time, so that the sink runs without a lock.
 * Invariants  Nothing is changed. No index is used before its bounds are known to hold.
 * Locking     None, since locks are among what may be damaged; interrupts off during a walk.
 * Cost        O(RAM / 2 MiB + stock^2).
 * Rejected    Stopping at the first fault: what else is wrong tells what happened.
 */
#include "base/report.h"
#include "pmm/stock.h"

#define BATCH 8u

/* A walk notes up to BATCH faults behind the first `skip`, and counts all. */
struct findings {
    size_t skip, count;
    struct {
        const char *what;
        uint64_t address, found, expected;
    } kept[BATCH];
};

static MM_COLD void note(struct findings *findings, const char *what, uint64_t address,
                         uint64_t found, uint64_t expected)
{
    size_t at = findings->count - findings->skip;

    if (findings->count >= findings->skip && at < BATCH) {
        findings->kept[at].what = what;
        findings->kept[at].address = address;
        findings->kept[at].found = found;
        findings->kept[at].expected = expected;
    }
    findings->count++;
}

static MM_COLD void expect(struct findings *findings, const char *what, uint64_t address,
                           uint64_t found, uint64_t expected)
{
    if (found != expected)
        note(findings, what, address, found, expected);
}

static MM_COLD void expect_at_most(struct findings *findings, const char *what, uint64_t address,
                                   uint64_t found, uint64_t most)
{
    if (found > most)
        note(findings, what, address, found, most);
}

/* ---- the object ---- */

/* A part of the metadata. They lie one behind the other in this order. */
struct part {
    const char *what;
    const void *pointer;
    uint64_t bytes, align;
};

static void check_part(const struct mm_pmm *pmm, const struct part *part, struct findings *findings)
{
    uint64_t start = (uintptr_t)pmm->meta;
    uint64_t at = (uintptr_t)part->pointer;

    if (!mm_is_aligned(at, part->align) || at < start || at - start > pmm->meta_bytes ||
        part->bytes > pmm->meta_bytes - (at - start))
        note(findings, part->what, at, part->bytes, pmm->meta_bytes);
}

static void check_parts(const struct mm_pmm *pmm, struct findings *findings)
{
    uint64_t chunks = pmm->chunk_capacity;
    const struct part part[] = {
        {"pmm: where CPU records lie", pmm->cpu, pmm->cpu_count * sizeof *pmm->cpu, 128},
        {"pmm: where pools lie", pmm->pool, pmm->pool_count * sizeof *pmm->pool, 128},
        {"pmm: where nodes lie", pmm->node, pmm->node_count * sizeof *pmm->node, 128},
        {"pmm: where watermarks lie", pmm->watch, MM_ZONES * sizeof *pmm->watch, 64},
        {"pmm: where regions lie", pmm->region, pmm->region_capacity * sizeof *pmm->region, 8},
        {"pmm: where sections lie", pmm->section,
         (pmm->section_count + UINT64_C(1)) * sizeof *pmm->section, 8},
        {"pmm: where kinds lie", pmm->kind, chunks, 64},
        {"pmm: where the directory of tags lies", pmm->tag_directory,
         (chunks / MM_CHUNK_FRAMES + 1) * sizeof *pmm->tag_directory, 8},
        {"pmm: where records lie", pmm->record, chunks * sizeof *pmm->record, 64},
        {"pmm: where bitmaps lie", pmm->bitmap, chunks * sizeof *pmm->bitmap, 64},
        {"pmm: where side tables lie", pmm->side, mm_side_own_bytes(), 64},
    };

    if (!mm_is_aligned((uintptr_t)pmm->meta, sizeof(uint64_t)))
        note(findings, "pmm: where the metadata lie", (uintptr_t)pmm, (uintptr_t)pmm->meta, 0);
    expect(findings, "pmm: where the metadata lie", (uintptr_t)pmm, (uintptr_t)pmm->cpu,
           mm_align_down((uintptr_t)pmm->meta + 127, 128)); /* the first part */
    for (unsigned i = 0; i < sizeof part / sizeof part[0]; i++) {
        check_part(pmm, &part[i], findings);
        if (i > 0 && findings->count == 0 &&
            (uintptr_t)part[i].pointer < (uintptr_t)part[i - 1].pointer + part[i - 1].bytes)
            note(findings, part[i].what, (uintptr_t)part[i].pointer, i,
                 (uintptr_t)part[i - 1].pointer + part[i - 1].bytes);
    }
    if (MM_PMM_OWNERS)
        check_part(pmm,
                   &(struct part){"pmm: where owners' bytes lie", pmm->owner,
                                  chunks * MM_CHUNK_FRAMES, 64},
                   findings);
    else
        expect(findings, "pmm: owners' bytes", (uintptr_t)pmm, (uintptr_t)pmm->owner, 0);
}

/* Nobody is in there, so nobody has the lock. */
static void check_lock(const struct mm_lock *lock, struct findings *findings)
{
    if (lock->ticket != lock->serving || lock->owner != 0 || lock->unused != 0)
        note(findings, "lock: held, or torn", (uintptr_t)lock, lock->ticket, lock->serving);
}

static void check_object(const struct mm_pmm *pmm, struct findings *findings)
{
    uint64_t chunks = pmm->chunk_capacity;
    uint64_t address = (uintptr_t)pmm;

    expect_at_most(findings, "pmm: number of CPUs", address, pmm->cpu_count - 1u, MM_CPUS_MAX - 1);
    expect_at_most(findings, "pmm: number of chunks", address, pmm->chunk_count, chunks);
    expect_at_most(findings, "pmm: number of regions", address, pmm->region_count,
                   pmm->region_capacity);
    expect_at_most(findings, "pmm: regions known at init", address, pmm->sorted_count,
                   pmm->region_count);
    expect_at_most(findings, "pmm: number of nodes", address, pmm->node_count - 1u,
                   MM_NODES_MAX - 1);
    expect_at_most(findings, "pmm: number of pools", address, pmm->pool_count - 1u,
                   MM_NODES_MAX * MM_ZONES + MM_REGIONS_ADDED_MAX - 1);
    expect_at_most(findings, "pmm: size of a magazine", address, pmm->magazine_frames - 1u,
                   MM_MAGAZINE_MAX - 1);
    if ((unsigned)pmm->pin > MM_PIN_NONE || (pmm->pin == MM_PIN_PREEMPT && !MM_PIN_PREEMPT_BUILT))
        note(findings, "pmm: pin", address, (unsigned)pmm->pin, MM_PIN_NONE);
    expect_at_most(findings, "pmm: section size", address, pmm->section_shift, 63);
    expect_at_most(findings, "pmm: mode", address, pmm->mode, MM_MODE_CLOSED);
    expect(findings, "pmm: nobody drains, but it is closed", address, pmm->closers, 0);
    expect(findings, "pmm: frames below which memory is low", address, pmm->low_frames,
           (uint64_t)pmm->cpu_count * 4 * pmm->magazine_frames + pmm->reserve_frames);
    expect_at_most(findings, "pmm: low", address, pmm->low, 1);
    expect_at_most(findings, "pmm: scarce", address, pmm->scarce, 1);
    expect_at_most(findings, "pmm: watched zones", address, pmm->watched, (1u << MM_ZONES) - 1);
    if (pmm->cache_mask != MM_KIND_CACHED && pmm->cache_mask != UINT8_MAX)
        note(findings, "pmm: mask of kinds in stock", address, pmm->cache_mask, MM_KIND_CACHED);
    for (size_t i = 0; i < sizeof pmm->unused / sizeof pmm->unused[0]; i++)
        expect(findings, "pmm: unused field is not zero", address, (uintptr_t)pmm->unused[i], 0);
    check_parts(pmm, findings);
    check_lock(&pmm->mode_lock, findings);
    check_lock(&pmm->add_lock, findings);
}

static void check_watch(const struct mm_pmm *pmm, unsigned zone, struct findings *findings)
{
    const struct mm_pmm_watch *watch = &pmm->watch[zone];
    bool on = (pmm->watched >> zone & 1) != 0;

    if (on ? watch->level > MM_MEMORY_MIN : watch->level != MM_WATCH_OFF)
        note(findings, "watermark: level", zone, watch->level, on);
    expect(findings, "watermark: unused field is not zero", zone, watch->unused, 0);
    if (on && (watch->mark.fn == NULL || watch->mark.min_frames > watch->mark.low_frames ||
               watch->mark.low_frames > watch->mark.high_frames))
        note(findings, "watermark: marks", zone, watch->mark.low_frames, watch->mark.high_frames);
}

/* The counts of side tables against each other; their arrays were found by mm_side_init(). */
static void check_side(const struct mm_pmm *pmm, struct findings *findings)
{
    const struct mm_side_facts facts = mm_side_facts(pmm);
    uint64_t address = (uintptr_t)pmm->side;
    uint64_t tables = 0;
    uint32_t idle = 0;
    const struct part part[] = {
        {"side: where the bitmap of unused tables lies", facts.unused,
         facts.page_count * sizeof(uint64_t), 8},
        {"side: where pages lie", facts.page, facts.page_count * sizeof(uint64_t), 8},
        {"side: where records of holes lie", facts.hole,
         facts.hole_capacity * sizeof(struct mm_pmm_hole), 8},
    };

    for (unsigned i = 0; i < sizeof part / sizeof part[0]; i++)
        check_part(pmm, &part[i], findings);
    expect_at_most(findings, "side: records of holes", address, facts.hole_count,
                   facts.hole_capacity);
    expect_at_most(findings, "side: pages in the metadata", address, facts.lent_pages,
                   facts.page_count);
    expect(findings, "side: promised tables", address, facts.promised, 0);
    expect(findings, "side: unused field is not zero", address, facts.unused_field, 0);
    if (findings->count != 0)
        return;
    for (uint32_t page = 0; page < facts.page_count; page++) {
        tables += mm_count_bits(facts.unused[page]);
        if (page >= facts.lent_pages && facts.unused[page] == UINT64_MAX)
            idle++;
        if (facts.unused[page] != 0 && (page < facts.first || facts.page[page] == NULL))
            note(findings, "side: unused tables of a page", address, page, facts.first);
    }
    expect(findings, "side: unused tables", address, facts.unused_count, tables);
    expect(findings, "side: idle pages", address, facts.idle_pages, idle);
}

/* Tables that chunks use, against those that are not unused. */
static void check_side_use(const struct mm_pmm *pmm, uint32_t tables, uint32_t holes,
                           struct findings *findings)
{
    const struct mm_side_facts facts = mm_side_facts(pmm);
    uint64_t address = (uintptr_t)pmm->side;
    uint64_t all = 0;

    for (uint32_t page = 0; page < facts.page_count; page++)
        all += facts.page[page] != NULL ? 64 : 0;
    expect(findings, "side: tables in use", address, all - facts.unused_count, tables);
    expect_at_most(findings, "side: records of holes in use", address, holes, facts.hole_count);
}

/* ---- regions and pools ---- */

static bool pool_is_sound(const struct mm_pmm *pmm, const struct mm_pmm_pool *pool,
                          struct findings *findings)
{
    size_t before = findings->count;
    uint64_t address = (uintptr_t)pool;

    expect(findings, "pool: unused field is not zero", address, pool->unused, 0);
    expect_at_most(findings, "pool: zone", address, pool->zone, MM_ZONES - 1);
    expect_at_most(findings, "pool: node", address, pool->node, pmm->node_count - 1u);
    expect_at_most(findings, "pool: its first chunk", address, pool->chunk_first,
                   pmm->chunk_count - 1u);
    expect_at_most(findings, "pool: its number of chunks", address, pool->sets.chunks - 1u,
                   pmm->chunk_count - pool->chunk_first - 1u);
    if (pool->next != MM_POOL_NONE)
        expect_at_most(findings, "pool: next of its zone", address, pool->next,
                       pmm->pool_count - 1u);
    if (findings->count != before)
        return false;
    expect(findings, "pool: words of a set", address, (uint64_t)pool->sets.words * MM_SETS,
           mm_sets_words(pool->sets.chunks));
    check_part(pmm,
               &(struct part){"pool: where its sets lie", pool->sets.word,
                              mm_sets_words(pool->sets.chunks) * sizeof(uint64_t), 8},
               findings);
    check_lock(&pool->lock, findings);
    if (findings->count == before && !mm_sets_are_sound(&pool->sets))
        note(findings, "pool: summaries of its sets", address, pool->sets.not_empty, 0);
    return findings->count == before;
}

static void check_region(const struct mm_pmm *pmm, uint32_t i, struct findings *findings)
{
    const struct mm_pmm_region *region = &pmm->region[i];
    uint64_t address = mm_frame_phys(region->start).raw;
    const struct mm_pmm_pool *pool;
    uint64_t chunks;

    if (region->start >= region->end || region->end > UINT64_MAX >> MM_FRAME_SHIFT) {
        note(findings, "region: empty or wraps", address, region->start, region->end);
        return;
    }
    if (i > 0 && i < pmm->sorted_count && region->start < region[-1].end)
        note(findings, "region: not above the one before", address, region->start, region[-1].end);
    expect(findings, "region: unused field is not zero", address, region->unused, 0);
    if (region->pool >= pmm->pool_count) {
        note(findings, "region: its pool", address, region->pool, pmm->pool_count);
        return;
    }
    pool = &pmm->pool[region->pool];
    chunks = (region->end - 1) / MM_CHUNK_FRAMES - region->start / MM_CHUNK_FRAMES + 1;
    if (region->chunk < pool->chunk_first ||
        region->chunk - pool->chunk_first + chunks > pool->sets.chunks)
        note(findings, "region: its chunks are not its pool's", address, region->chunk, chunks);
    expect(findings, "region: its zone", address, pool->zone, mm_zone_of(region->start));
    expect(findings, "region: its last frame is of another zone", address, pool->zone,
           mm_zone_of(region->end - 1));
}

static void check_sections(const struct mm_pmm *pmm, struct findings *findings)
{
    for (uint32_t i = 0; i <= pmm->section_count; i++) {
        uint64_t start = (uint64_t)i << pmm->section_shift;
        struct mm_pmm_section right;
        uint32_t region = 0;

        while (region < pmm->sorted_count && pmm->region[region].end <= start)
            region++;
        right = mm_section_of(pmm, start, region);
        expect(findings, "pmm: region of a section", start, pmm->section[i].region, right.region);
        expect(findings, "pmm: chunks of a section", start, pmm->section[i].bias, right.bias);
    }
    if (pmm->sorted_count != 0)
        expect(findings, "pmm: number of sections", 0, pmm->section_count,
               ((pmm->region[pmm->sorted_count - 1].end - 1) >> pmm->section_shift) + 1);
}

/* ---- chunks ---- */

struct sums {
    uint64_t free, managed, loose, whole;
    uint32_t tables, holes; /* side tables that are in use */
};

static unsigned count_of(const uint64_t *bits)
{
    unsigned count = 0;

    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++)
        count += mm_count_bits(bits[word]);
    return count;
}

/* Is the kind one that exists, and are its side tables there? */
static bool kind_is_sound(const struct mm_pmm *pmm, const struct mm_pmm_pool *pool, uint32_t chunk,
                          uint64_t address, struct findings *findings)
{
    const struct mm_side_facts facts = mm_side_facts(pmm);
    const struct mm_pmm_record *record = &pmm->record[chunk];
    unsigned kind = pmm->kind[chunk];
    size_t before = findings->count;

    if ((kind & MM_KIND_CACHED) != 0 || kind == MM_KIND_PLAIN)
        expect(findings, "chunk: kind", address, kind, mm_chunk_plain_kind(pool, false));
    else if ((kind & ~(MM_KIND_MASK | MM_KIND_HOLES)) != 0 ||
             (kind & MM_KIND_MASK) > MM_KIND_UNUSED ||
             ((kind & MM_KIND_HOLES) != 0 && (kind & MM_KIND_MASK) > MM_KIND_MIXED))
        note(findings, "chunk: kind", address, kind, 0);
    else if ((kind & MM_KIND_HOLES) != 0)
        expect_at_most(findings, "chunk: its record of holes", address, record->side + UINT64_C(1),
                       facts.hole_count);
    else if (kind == MM_KIND_MIXED && !mm_side_is_used(pmm, record->side))
        note(findings, "chunk: its table of tails is not in use", address, record->side, 0);
    return findings->count == before;
}

static void check_kinds(const struct mm_pmm *pmm, const struct mm_pmm_pool *pool,
                        struct findings *findings)
{
    for (uint32_t i = 0; i < pool->sets.chunks; i++) {
        uint32_t chunk = pool->chunk_first + i;

        (void)kind_is_sound(pmm, pool, chunk, mm_frame_phys(mm_chunk_frame(pmm, chunk)).raw,
                            findings);
        expect_at_most(findings, "chunk: free frames",
                       mm_frame_phys(mm_chunk_frame(pmm, chunk)).raw, pmm->record[chunk].free,
                       MM_CHUNK_FRAMES);
    }
}

static void check_holes(const struct mm_pmm *pmm, uint32_t chunk, uint64_t address,
                        struct findings *findings)
{
    const struct mm_pmm_hole *hole = mm_hole_of(pmm, chunk);
    const uint64_t *bits = mm_chunk_bits(pmm, chunk);

    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++) {
        expect(findings, "chunk: free frame that is not managed", address,
               bits[word] & ~hole->managed[word], 0);
        expect(findings, "chunk: free frame that is no RAM", address, bits[word] & ~hole->ram[word],
               0);
        expect(findings, "chunk: tail that is not managed", address,
               hole->tails[word] & ~hole->managed[word], 0);
    }
    if (mm_kind_base(pmm->kind[chunk]) == MM_KIND_PLAIN)
        expect(findings, "chunk: tails in a chunk of singles", address,
               mm_bits_next(hole->tails, true, 0), MM_CHUNK_FRAMES);
}

static bool last_is_allocated(const struct mm_pmm *pmm, uint64_t frame)
{
    struct mm_place place;

    return mm_place_of(pmm, frame, &place) &&
           (mm_chunk_managed(pmm, place.chunk, place.index / 64) &
            ~mm_chunk_bits(pmm, place.chunk)[place.index / 64] &
            UINT64_C(1) << (place.index % 64)) != 0;
}

/* Where a frame continues an allocation that lies in another chunk: the chunk's own first frame, or
 * that of a region which begins in the middle of it. */
static uint64_t first_frame(const struct mm_pmm *pmm, uint32_t chunk)
{
    uint64_t first = mm_chunk_frame(pmm, chunk);

    if (mm_kind_has_holes(pmm->kind[chunk]))
        for (uint32_t i = 0; i < pmm->region_count; i++)
            if (pmm->region[i].chunk == chunk)
                return pmm->region[i].start;
    return first;
}

/* Does the allocation of this frame go on behind it? */
static bool begins_run(const struct mm_pmm *pmm, uint64_t frame)
{
    struct mm_place behind;

    return last_is_allocated(pmm, frame) && mm_place_of(pmm, frame + 1, &behind) &&
           mm_is_tail(pmm, behind.chunk, behind.index);
}

/* Bits against tails. */
static void check_tails(const struct mm_pmm *pmm, uint32_t chunk, uint64_t address,
                        struct findings *findings)
{
    uint64_t first = first_frame(pmm, chunk);
    bool goes_on = first > 0 && last_is_allocated(pmm, first - 1);
    bool before = false;
    const uint64_t *bits = mm_chunk_bits(pmm, chunk);
    bool any = false;

    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++) {
        uint64_t tails = mm_chunk_tails(pmm, chunk, word);
        uint64_t allocated = mm_chunk_managed(pmm, chunk, word) & ~bits[word];
        uint64_t allowed = allocated << 1 | (before ? 1 : 0);

        any = any || tails != 0;
        expect(findings, "chunk: tail that is free", address, tails & bits[word], 0);
        if (goes_on && word == first % MM_CHUNK_FRAMES / 64)
            allowed |= UINT64_C(1) << (first % 64);
        expect(findings, "chunk: tail behind a frame that is not allocated", address,
               tails & ~allowed, 0);
        before = allocated >> 63 != 0;
    }
    if (mm_kind_base(pmm->kind[chunk]) == MM_KIND_MIXED && !any &&
        !begins_run(pmm, mm_chunk_frame(pmm, chunk) + MM_CHUNK_FRAMES - 1))
        note(findings, "chunk: no tails in a chunk of blocks", address, 0, 1);
}

static void check_owners(const struct mm_pmm *pmm, uint32_t chunk, uint64_t address,
                         struct findings *findings)
{
    const uint8_t *owner = &pmm->owner[(uint64_t)chunk * MM_CHUNK_FRAMES];
    const uint64_t *bits = mm_chunk_bits(pmm, chunk);

    for (unsigned i = 0; i < MM_CHUNK_FRAMES; i++) {
        uint64_t bit = UINT64_C(1) << (i % 64);
        bool managed = (mm_chunk_managed(pmm, chunk, i / 64) & bit) != 0;
        bool free = (bits[i / 64] & bit) != 0;
        uint64_t at = address + i * MM_FRAME_BYTES;

        expect_at_most(findings, "frame: byte of its owner", at, owner[i], MM_OWNER_PMM);
        if ((!managed || free) && owner[i] != 0)
            note(findings, "frame: free, but a caller's", at, owner[i], 0);
        else if (managed && !free && owner[i] == 0 && !mm_stock_holds(pmm, mm_phys(at)))
            note(findings, "frame: neither free nor a caller's", at, owner[i], 1);
    }
}

static void check_chunk(const struct mm_pmm *pmm, const struct mm_pmm_pool *pool, uint32_t chunk,
                        struct sums *sums, struct findings *findings)
{
    const struct mm_pmm_record *record = &pmm->record[chunk];
    uint64_t address = mm_frame_phys(mm_chunk_frame(pmm, chunk)).raw;
    unsigned managed = 0;
    unsigned set;

    expect(findings, "chunk: count of free frames", address, record->free,
           count_of(mm_chunk_bits(pmm, chunk)));
    if (pmm->kind[chunk] == MM_KIND_HEAD || pmm->kind[chunk] == MM_KIND_TAIL ||
        pmm->kind[chunk] == MM_KIND_UNUSED)
        expect(findings, "chunk: free frames where there are none", address, record->free, 0);
    expect(findings, "chunk: unused bits", address, record->fit >> 4, 0);
    expect_at_most(findings, "chunk: greatest free block", address, record->fit & 0xfu,
                   MM_FIT_UNKNOWN);
    set = mm_set_for(pmm, chunk);
    expect(findings, "chunk: its set", address, record->set, set);
    for (unsigned i = 0; i < MM_SETS; i++)
        if (mm_set_has(&pool->sets, i, chunk - pool->chunk_first) != (i == set))
            note(findings, "chunk: member of a set", address, i, set);
    if (set != MM_SET_NONE && (record->fit & 0xfu) < mm_chunk_fit(mm_chunk_bits(pmm, chunk)))
        note(findings, "chunk: has greater free blocks than noted", address, record->fit,
             mm_chunk_fit(mm_chunk_bits(pmm, chunk)));
    if (mm_hole_of(pmm, chunk) != NULL) {
        check_holes(pmm, chunk, address, findings);
        sums->holes++;
    } else if (pmm->kind[chunk] == MM_KIND_MIXED) {
        sums->tables++;
    } else {
        expect(findings, "chunk: side table without need", address, record->side, 0);
    }
    check_tails(pmm, chunk, address, findings);
    if (MM_PMM_OWNERS)
        check_owners(pmm, chunk, address, findings);
    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++)
        managed += mm_count_bits(mm_chunk_managed(pmm, chunk, word));
    sums->free += record->free;
    sums->managed += managed;
    sums->loose += set >= MM_SET_FULLEST && set <= MM_SET_EMPTIEST ? record->free : 0;
    sums->whole += set == MM_SET_WHOLE;
}

static void check_pool(const struct mm_pmm *pmm, const struct mm_pmm_pool *pool,
                       struct sums *tables, struct findings *findings)
{
    struct sums sums = {0, 0, 0, 0, 0, 0};
    uint64_t address = (uintptr_t)pool;

    for (uint32_t i = 0; i < pool->sets.chunks; i++) {
        const struct mm_pmm_record *record = &pmm->record[pool->chunk_first + i];

        if (i > 0 && record->number < record[-1].number)
            note(findings, "chunk: not above the one before", address, record->number,
                 record[-1].number);
        check_chunk(pmm, pool, pool->chunk_first + i, &sums, findings);
    }
    expect(findings, "pool: free frames", address, pool->free_frames, sums.free);
    expect(findings, "pool: managed frames", address, pool->managed_frames, sums.managed);
    expect(findings, "pool: loose frames", address, pool->loose_frames, sums.loose);
    expect(findings, "pool: whole chunks", address, pool->whole_chunks, sums.whole);
    tables->tables += sums.tables;
    tables->holes += sums.holes;
}

/* Each region's frames are where its chunks' numbers say. */
static void check_numbers(const struct mm_pmm *pmm, const struct mm_pmm_region *region,
                          struct findings *findings)
{
    uint64_t first = region->start / MM_CHUNK_FRAMES;
    uint64_t end = (region->end - 1) / MM_CHUNK_FRAMES + 1;

    for (uint64_t number = first; number < end; number++)
        expect(findings, "chunk: number", number << (MM_FRAME_SHIFT + MM_CHUNK_ORDER),
               pmm->record[region->chunk + (number - first)].number, number);
}

/* ---- stock ---- */

struct slots {
    const struct mm_pmm *pmm;
    struct findings *findings;
};

static void check_slots(const struct slots *s, const mm_phys_t *slot, uint32_t count,
                        const char *what)
{
    for (uint32_t i = 0; i < count; i++) {
        struct mm_place place;

        if (!mm_is_aligned(slot[i].raw, MM_FRAME_BYTES) ||
            !mm_place_of(s->pmm, mm_frame_of(slot[i]), &place) ||
            (mm_chunk_managed(s->pmm, place.chunk, place.index / 64) &
             ~mm_chunk_bits(s->pmm, place.chunk)[place.index / 64] &
             ~mm_chunk_tails(s->pmm, place.chunk, place.index / 64) &
             UINT64_C(1) << (place.index % 64)) == 0)
            note(s->findings, what, slot[i].raw, i, count);
        for (uint32_t j = 0; j < i; j++)
            if (slot[j].raw == slot[i].raw)
                note(s->findings, "stock: a frame twice", slot[i].raw, i, j);
        if (MM_PMM_OWNERS && mm_place_of(s->pmm, mm_frame_of(slot[i]), &place) &&
            s->pmm->owner[(uint64_t)place.chunk * MM_CHUNK_FRAMES + place.index] != 0)
            note(s->findings, "stock: a frame that is a caller's", slot[i].raw, i, count);
    }
}

static void check_cpu(const struct mm_pmm *pmm, uint32_t i, struct findings *findings)
{
    const struct mm_pmm_cpu *cpu = &pmm->cpu[i];
    const struct slots slots = {pmm, findings};

    expect(findings, "CPU: state when free", i, cpu->free,
           pmm->pin == MM_PIN_LOCK ? MM_STOCK_OPEN : MM_STOCK_FREE);
    if (cpu->state != cpu->free && cpu->state != MM_STOCK_PARK)
        note(findings, "CPU: somebody is in its stock", i, cpu->state, cpu->free);
    expect_at_most(findings, "CPU: node", i, cpu->node, pmm->node_count - 1u);
    expect(findings, "CPU: unused field is not zero", i,
           cpu->unused2[0] | cpu->unused2[1] | cpu->zeroed.unused | cpu->magazine[0].unused |
               cpu->magazine[1].unused,
           0);
    for (unsigned j = 0; j < sizeof cpu->unused3 / sizeof cpu->unused3[0]; j++)
        expect(findings, "CPU: unused field is not zero", i, cpu->unused3[j], 0);
    expect(findings, "CPU: kind in stock", i, cpu->accept,
           (MM_KIND_CACHED | cpu->node) & pmm->cache_mask);
    expect(findings, "CPU: room in its magazine", i, cpu->cap,
           pmm->mode == MM_MODE_LIFO ? pmm->magazine_frames : 0);
    expect(findings, "CPU: magazines", i, (uintptr_t)cpu->loaded ^ (uintptr_t)cpu->spare,
           (uintptr_t)&cpu->magazine[0] ^ (uintptr_t)&cpu->magazine[1]);
    if (cpu->loaded != &cpu->magazine[0] && cpu->loaded != &cpu->magazine[1])
        note(findings, "CPU: loaded magazine", i, (uintptr_t)cpu->loaded, 0);
    for (unsigned j = 0; j < 2; j++) {
        uint32_t n = cpu->magazine[j].n;

        expect_at_most(findings, "CPU: frames in a magazine", i, n, pmm->magazine_frames);
        check_slots(&slots, cpu->magazine[j].slot, (uint32_t)mm_min_u64(n, MM_MAGAZINE_MAX),
                    "magazine: a frame that is not free, single and managed");
    }
    expect_at_most(findings, "CPU: zeroed frames", i, cpu->zeroed.n, MM_ZEROED_FRAMES);
    check_slots(&slots, cpu->zeroed.slot, (uint32_t)mm_min_u64(cpu->zeroed.n, MM_ZEROED_FRAMES),
                "zeroed stock: a frame that is not free, single and managed");
}

static void check_node(const struct mm_pmm *pmm, uint32_t i, struct findings *findings)
{
    const struct mm_pmm_node *node = &pmm->node[i];
    const struct slots slots = {pmm, findings};
    uint64_t seen = 0;

    expect_at_most(findings, "node: number", i, node->id, MM_NODES_MAX - 1);
    for (unsigned zone = 0; zone < MM_ZONES; zone++) {
        uint16_t pool = node->pool[zone];

        if (pool == MM_POOL_NONE)
            continue;
        if (pool >= pmm->pool_count || pmm->pool[pool].zone != zone || pmm->pool[pool].node != i)
            note(findings, "node: pool of a zone", i, pool, zone);
    }
    for (uint32_t j = 0; j < MM_NODES_MAX; j++)
        if (j < pmm->node_count && node->order[j] < MM_NODES_MAX)
            seen |= UINT64_C(1) << node->order[j];
        else
            expect(findings, "node: order beyond the last", i, node->order[j], 0);
    check_lock(&node->depot.lock, findings);
    expect(findings, "node: order of the others", i, seen, mm_bit_mask(0, pmm->node_count));
    expect(findings, "node: nearest node", i, node->order[0], i);
    expect_at_most(findings, "depot: magazines", i, node->depot.count, MM_DEPOT_MAGAZINES);
    expect(findings, "depot: unused field is not zero", i, node->depot.unused, 0);
    for (uint32_t j = 0; j < mm_min_u64(node->depot.count, MM_DEPOT_MAGAZINES); j++)
        check_slots(&slots, node->depot.slot[j], pmm->magazine_frames,
                    "depot: a frame that is not free, single and managed");
}

/* ---- all ---- */

static void check_all(const struct mm_pmm *pmm, struct findings *findings)
{
    struct sums tables = {0, 0, 0, 0, 0, 0};
    bool sound = true;

    check_object(pmm, findings);
    if (findings->count == 0)
        check_side(pmm, findings);
    if (findings->count != 0)
        return;
    for (uint32_t i = 0; i < pmm->pool_count; i++)
        sound = pool_is_sound(pmm, &pmm->pool[i], findings) && sound;
    for (uint32_t i = 0; sound && i < pmm->region_count; i++)
        check_region(pmm, i, findings);
    if (findings->count == 0)
        check_sections(pmm, findings);
    for (uint32_t i = 0; findings->count == 0 && i < pmm->region_count; i++)
        check_numbers(pmm, &pmm->region[i], findings);
    for (uint32_t i = 0; findings->count == 0 && i < pmm->pool_count; i++)
        check_kinds(pmm, &pmm->pool[i], findings);
    if (findings->count != 0) /* what follows looks at neighbours, too */
        return;
    for (uint32_t i = 0; i < pmm->pool_count; i++)
        check_pool(pmm, &pmm->pool[i], &tables, findings);
    check_side_use(pmm, tables.tables, tables.holes, findings);
    if (findings->count != 0)
        return;
    for (unsigned zone = 0; zone < MM_ZONES; zone++)
        check_watch(pmm, zone, findings);
    for (uint32_t i = 0; i < pmm->node_count; i++)
        check_node(pmm, i, findings);
    for (uint32_t i = 0; i < pmm->cpu_count; i++)
        check_cpu(pmm, i, findings);
}

MM_COLD size_t mm_pmm_check(struct mm_pmm *pmm, const struct mm_check_sink *sink)
{
    struct findings findings = {.count = 0};
    size_t told = 0;
    size_t total = 0;
    size_t counted = 0; /* mm_check_fault() counts too; `total` is the count of one walk */

    if (pmm == NULL) {
        mm_check_fault(sink, &counted, "no PMM given", "mm_pmm_check", NULL, 0, 0, 0);
        return counted;
    }
    for (bool first_walk = true; first_walk || told < findings.count; first_walk = false) {
        mm_guard_t guard = mm_cpu_guard();

        findings.count = 0;
        findings.skip = told;
        check_all(pmm, &findings);
        mm_cpu_unguard(guard);
        if (first_walk)
            total = findings.count;
        for (size_t i = 0; i < BATCH && told < findings.count; i++, told++)
            mm_check_fault(sink, &counted, findings.kept[i].what, "mm_pmm_check", pmm,
                           findings.kept[i].address, findings.kept[i].found,
                           findings.kept[i].expected);
    }
    return total;
}
