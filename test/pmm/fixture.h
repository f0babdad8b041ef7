/*
 * fixture.h - a machine's memory in a few lines, and a PMM over it.
 *
 * Frames are named by number here: frame 0x100 is at 1 MiB, 0x1000 at 16 MiB, 0x100000 at 4 GiB.
 */
#ifndef TEST_PMM_FIXTURE_H
#define TEST_PMM_FIXTURE_H

#include "mm_test.h"

#include <stdlib.h>
#include <string.h>

#include "mm/pmm.h"
#include "pmm/pmm_internal.h"

#define FIXTURE_RANGES 256u

struct fixture_range {
    uint64_t first, frames;
    uint8_t type; /* enum mm_mem_type */
    uint8_t use;  /* enum mm_mem_use */
    uint16_t node;
};

struct fixture {
    struct mm_memmap map;
    struct mm_mem_range storage[FIXTURE_RANGES];
    struct mm_pmm pmm;
    void *meta; /* exactly as long as asked for, so that the sanitizer sees one byte too far */
    uint64_t meta_bytes;
};

static inline mm_phys_t at(uint64_t frame)
{
    return mm_frame_phys(frame);
}

static inline void fixture_map(struct fixture *f, const struct fixture_range *range, size_t count)
{
    CHECK_OK(mm_memmap_init(&f->map, f->storage, FIXTURE_RANGES, 52));
    for (size_t i = 0; i < count; i++) {
        mm_phys_t start = at(range[i].first);
        uint64_t bytes = range[i].frames * MM_FRAME_BYTES;

        CHECK_OK(mm_memmap_add(&f->map, start, bytes, (enum mm_mem_type)range[i].type));
        CHECK_OK(mm_memmap_set_node(&f->map, start, bytes, range[i].node));
        if (range[i].use != MM_USE_FREE && range[i].use != MM_USE_EARLY)
            CHECK_OK(mm_memmap_reserve(&f->map, start, bytes, (enum mm_mem_use)range[i].use));
    }
    CHECK_OK(mm_memmap_finish(&f->map));
    for (size_t i = 0; i < count; i++) {
        struct mm_memmap_request request = {
            .bytes = range[i].frames * MM_FRAME_BYTES,
            .highest = mm_phys(at(range[i].first + range[i].frames).raw - 1),
        };
        mm_phys_t taken;

        if (range[i].use != MM_USE_EARLY)
            continue;
        CHECK_OK(mm_memmap_take(&f->map, &request, &taken));
        CHECK_EQ(taken.raw, at(range[i].first).raw);
    }
}

/* A PMM over the map, as `wanted` says; map and meta are the fixture's. */
static inline void fixture_start_as(struct fixture *f, const struct mm_pmm_config *wanted)
{
    struct mm_pmm_config config = *wanted;

    config.map = &f->map;
    free(f->meta);
    CHECK_OK(mm_pmm_meta_bytes(&config, &f->meta_bytes));
    f->meta = malloc(f->meta_bytes);
    CHECK(f->meta != NULL);
    memset(f->meta, 0xa5, f->meta_bytes);
    memset(&f->pmm, 0xa5, sizeof f->pmm);
    config.meta = f->meta;
    config.meta_bytes = f->meta_bytes;
    CHECK_OK(mm_pmm_init(&f->pmm, &config));
    CHECK_EQ(mm_pmm_check(&f->pmm, NULL), 0);
}

/* One CPU, and no floors: all of memory can be had. */
static inline void fixture_start(struct fixture *f, const struct mm_window *window)
{
    fixture_start_as(
        f, &(struct mm_pmm_config){.window = window, .cpu_count = 1, .flags = MM_PMM_NO_FLOORS});
}

#define FIXTURE(f, window, ...)                                     \
    do {                                                            \
        static const struct fixture_range range_[] = {__VA_ARGS__}; \
        fixture_map((f), range_, sizeof range_ / sizeof range_[0]); \
        fixture_start((f), (window));                               \
    } while (0)

/* Usable memory, free. */
#define RAM(first, frames)                               \
    {                                                    \
        (first), (frames), MM_MEM_USABLE, MM_USE_FREE, 0 \
    }

/* The same, of a node. */
#define RAM_OF(node, first, frames)                           \
    {                                                         \
        (first), (frames), MM_MEM_USABLE, MM_USE_FREE, (node) \
    }

static inline uint64_t hash_word(uint64_t hash, uint64_t word)
{
    return (hash ^ word) * UINT64_C(0x100000001b3);
}

/* All that a PMM knows of its frames: which are managed, and who has which together with which
 * others. What is in stock is free; where it is kept is nobody's business. */
static inline uint64_t state_hash(struct fixture *f)
{
    uint64_t hash = hash_word(UINT64_C(0xcbf29ce484222325), mm_pmm_free_frames(&f->pmm));
    mm_phys_t cursor = mm_phys(0);
    struct mm_phys_range run;
    enum mm_frame_state state;
    struct mm_frame_info info;
    uint64_t managed_end = 0;

    while (mm_pmm_walk(&f->pmm, &cursor, &run, &state) == MM_OK) {
        uint64_t end = run.start.raw + run.bytes;

        if (run.start.raw != managed_end)
            hash = hash_word(hash_word(hash, managed_end), run.start.raw);
        managed_end = end;
        for (uint64_t at = run.start.raw; state == MM_FRAME_ALLOCATED && at < end;
             at += info.count_frames * MM_FRAME_BYTES) {
            mm_pmm_query(&f->pmm, mm_phys(at), &info);
            if (info.state == MM_FRAME_ALLOCATED)
                hash = hash_word(hash_word(hash, at), info.count_frames);
        }
    }
    return hash_word(hash, managed_end);
}

static inline enum mm_frame_state state_of(struct fixture *f, uint64_t frame)
{
    struct mm_frame_info info;

    mm_pmm_query(&f->pmm, at(frame), &info);
    return info.state;
}

/* An allocation that must succeed. */
static inline uint64_t take_run(struct fixture *f, uint64_t count)
{
    struct mm_frame_request request = {.count_frames = count};
    mm_phys_t out;

    CHECK_OK(mm_pmm_alloc(&f->pmm, &request, &out));
    return mm_frame_of(out);
}

static inline uint64_t take_order(struct fixture *f, unsigned order)
{
    struct mm_frame_request request = {.order = (uint8_t)order};
    mm_phys_t out;

    CHECK_OK(mm_pmm_alloc(&f->pmm, &request, &out));
    return mm_frame_of(out);
}

#endif
