/*
 * pmm_check.c - walk everything, trust nothing.
 *
 * Problem     After a wild write a checker that follows a damaged bound crashes instead of telling.
 * Idea        From the outside in: the object's own fields, which are kept twice; then the regions;
 *             only when their bounds hold, the chunks; then the sums. Every number that can be
 *             computed again is. Faults are gathered a few at a time under the lock and told after
 *             it is released; if there are more, the walk is repeated for the next few.
 * Invariants  I1 no chunk is read before R1 and R2 are known to hold
 *             I2 nothing is changed
 * Locking     mm_pmm.lock, one hold per four faults.
 * Cost        O(chunks) per hold.
 * Rejected    Telling from inside the walk: the sink may print, which may allocate.
 */
#include "base/lock.h"
#include "base/report.h"
#include "pmm/pmm_internal.h"

#define BATCH 4u

struct fault {
    const char *what;
    uint64_t address, found, expected;
};

/* One walk: counts all faults, keeps those from number `skip` on. */
struct findings {
    size_t count;
    size_t skip;
    struct fault kept[BATCH];
};

/* What the chunks add up to. */
struct sums {
    uint64_t zone_managed[MM_ZONES];
    uint64_t zone_free[MM_ZONES];
    uint64_t managed, free;
};

static void note(struct findings *findings, const char *what, uint64_t address, uint64_t found,
                 uint64_t expected)
{
    if (findings->count >= findings->skip && findings->count - findings->skip < BATCH)
        findings->kept[findings->count - findings->skip] =
            (struct fault){what, address, found, expected};
    findings->count++;
}

static void expect(struct findings *findings, const char *what, uint64_t address, uint64_t found,
                   uint64_t expected)
{
    if (found != expected)
        note(findings, what, address, found, expected);
}

/* The object's fields against each other: `meta` is where the regions are, the chunks follow. */
static void check_object(const struct mm_pmm *pmm, struct findings *findings)
{
    uint64_t meta = (uintptr_t)pmm->meta;
    uint64_t region_bytes = (uint64_t)pmm->region_count * sizeof(struct mm_pmm_region);

    expect(findings, "pmm: regions are not at the metadata", meta, (uintptr_t)pmm->region, meta);
    expect(findings, "pmm: chunks do not follow the regions", meta, (uintptr_t)pmm->chunk,
           meta + region_bytes);
    expect(findings, "pmm: size of the metadata", meta, pmm->meta_bytes,
           region_bytes + pmm->chunk_count * sizeof(struct mm_pmm_chunk));
    if (pmm->cpu_count == 0 || pmm->cpu_count > MM_CPUS_MAX)
        note(findings, "pmm: number of CPUs", meta, pmm->cpu_count, MM_CPUS_MAX);
    for (size_t i = 0; i < sizeof pmm->unused / sizeof pmm->unused[0]; i++)
        expect(findings, "pmm: unused field is not zero", meta, (uintptr_t)pmm->unused[i], 0);
}

static void check_regions(const struct mm_pmm *pmm, struct findings *findings)
{
    uint64_t chunks = 0;

    for (uint32_t i = 0; i < pmm->region_count; i++) {
        const struct mm_pmm_region *region = &pmm->region[i];
        uint64_t address = mm_frame_phys(region->start).raw;

        if (!mm_is_aligned(region->start | region->end, MM_CHUNK_FRAMES))
            note(findings, "pmm: region is not chunk-aligned", address, region->start, region->end);
        if (region->start >= region->end || region->end > UINT64_MAX >> MM_FRAME_SHIFT)
            note(findings, "pmm: region is empty or wraps", address, region->start, region->end);
        if (i > 0 && region->start <= pmm->region[i - 1].end)
            note(findings, "pmm: region is not above the one before", address, region->start,
                 pmm->region[i - 1].end);
        expect(findings, "pmm: first chunk of region", address, region->chunk_idx, chunks);
        chunks += (region->end - region->start) / MM_CHUNK_FRAMES;
    }
    expect(findings, "pmm: number of chunks", 0, pmm->chunk_count, chunks);
}

/* Bitmaps against their counts and against each other. */
static void check_bitmaps(const struct mm_pmm_chunk *chunk, uint64_t address,
                          struct findings *findings)
{
    static const char what[MM_CHUNK_BITMAPS][32] = {
        "chunk: count of RAM frames", "chunk: count of managed frames",
        "chunk: count of free frames", "chunk: count of allocations"};

    for (unsigned which = 0; which < MM_CHUNK_BITMAPS; which++) {
        uint64_t ones = 0;

        for (unsigned word = 0; word < MM_CHUNK_WORDS; word++)
            ones += mm_count_bits(chunk->bits[which][word]);
        expect(findings, what[which], address, chunk->count[which], ones);
    }
    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++) {
        uint64_t managed = mm_chunk_word(chunk, MM_SET_MANAGED, word);
        uint64_t at = address + word * 64 * MM_FRAME_BYTES;

        expect(findings, "chunk: managed frame that is no RAM", at,
               managed & mm_chunk_word(chunk, MM_SET_NOT_RAM, word), 0);
        expect(findings, "chunk: free frame that is not managed", at,
               chunk->bits[MM_BITS_FREE][word] & ~managed, 0);
        expect(findings, "chunk: first frame that is not allocated", at,
               chunk->bits[MM_BITS_FIRST][word] & ~mm_chunk_word(chunk, MM_SET_ALLOCATED, word), 0);
    }
    if (chunk->node >= MM_NODES_MAX && chunk->node != MM_NODE_MIXED)
        note(findings, "chunk: node", address, chunk->node, MM_NODES_MAX);
    expect(findings, "chunk: unused field is not zero", address,
           (uint64_t)chunk->unused[0] | chunk->unused[1] | chunk->unused[2], 0);
}

/* Each run of allocated frames begins with a first frame. `before`: was the frame below this chunk
 * allocated? Returns the same for the next chunk. */
static bool check_runs(const struct mm_pmm_chunk *chunk, uint64_t address, bool before,
                       struct findings *findings)
{
    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++) {
        uint64_t allocated = mm_chunk_word(chunk, MM_SET_ALLOCATED, word);
        uint64_t begins = allocated & ~(allocated << 1 | (before ? 1 : 0));

        expect(findings, "chunk: allocation without a first frame",
               address + word * 64 * MM_FRAME_BYTES,
               begins & ~mm_chunk_word(chunk, MM_SET_FIRST, word), 0);
        before = allocated >> 63 != 0;
    }
    return before;
}

/* Add the chunk's frames to their zones. Zone borders are multiples of 64 frames. */
static void sum_chunk(const struct mm_pmm *pmm, const struct mm_pmm_chunk *chunk, uint64_t frame,
                      struct sums *sums, struct findings *findings)
{
    for (unsigned word = 0; word < MM_CHUNK_WORDS; word++) {
        enum mm_zone zone = mm_zone_of(frame + word * 64);
        unsigned managed = mm_count_bits(chunk->bits[MM_BITS_MANAGED][word]);
        unsigned free = mm_count_bits(chunk->bits[MM_BITS_FREE][word]);

        sums->managed += managed;
        sums->free += free;
        sums->zone_managed[zone] += managed;
        sums->zone_free[zone] += free;
        if (free != 0 && frame / MM_CHUNK_FRAMES < pmm->zone_hint[zone])
            note(findings, "pmm: free frame below the hint of its zone", mm_frame_phys(frame).raw,
                 frame / MM_CHUNK_FRAMES, pmm->zone_hint[zone]);
    }
}

static void check_chunks(const struct mm_pmm *pmm, struct sums *sums, struct findings *findings)
{
    for (uint32_t i = 0; i < pmm->region_count; i++) {
        const struct mm_pmm_region *region = &pmm->region[i];
        bool before = false;

        for (uint64_t frame = region->start; frame < region->end; frame += MM_CHUNK_FRAMES) {
            const struct mm_pmm_chunk *chunk = mm_region_chunk(pmm, region, frame);
            uint64_t address = mm_frame_phys(frame).raw;

            check_bitmaps(chunk, address, findings);
            before = check_runs(chunk, address, before, findings);
            sum_chunk(pmm, chunk, frame, sums, findings);
        }
    }
}

static void check_sums(const struct mm_pmm *pmm, const struct sums *sums, struct findings *findings)
{
    expect(findings, "pmm: managed frames", 0, pmm->managed_frames, sums->managed);
    expect(findings, "pmm: free frames", 0, pmm->free_frames, sums->free);
    for (unsigned zone = 0; zone < MM_ZONES; zone++) {
        uint64_t address = mm_frame_phys(mm_zone_start(zone)).raw;

        expect(findings, "pmm: managed frames of zone", address, pmm->zone_managed[zone],
               sums->zone_managed[zone]);
        expect(findings, "pmm: free frames of zone", address, pmm->zone_free[zone],
               sums->zone_free[zone]);
    }
}

static void check_all(const struct mm_pmm *pmm, struct findings *findings)
{
    struct sums sums = {.managed = 0};

    check_object(pmm, findings);
    if (findings->count != 0)
        return;
    check_regions(pmm, findings);
    if (findings->count != 0)
        return;
    check_chunks(pmm, &sums, findings);
    check_sums(pmm, &sums, findings);
}

size_t mm_pmm_check(struct mm_pmm *pmm, const struct mm_check_sink *sink)
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
        mm_lock_guard_t guard = mm_lock_take(&pmm->lock);

        findings.count = 0;
        findings.skip = told;
        check_all(pmm, &findings);
        mm_lock_release(&pmm->lock, guard);
        if (first_walk)
            total = findings.count;
        for (size_t i = 0; i < BATCH && told < findings.count; i++, told++)
            mm_check_fault(sink, &counted, findings.kept[i].what, "mm_pmm_check", pmm,
                           findings.kept[i].address, findings.kept[i].found,
                           findings.kept[i].expected);
    }
    return total;
}
