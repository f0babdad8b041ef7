/*
 * heap_test.h - a page source that trusts nobody, and a heap over it.
 *
 * Pages come from one block of memory, lowest first, filled with garbage and with a page between
 * runs that nobody may touch; what was given back may not be touched either (AddressSanitizer). The
 * source fails the test when anything but an earlier result comes back, or when it is called with
 * the heap's lock held.
 */
#ifndef HEAP_TEST_H
#define HEAP_TEST_H

#include <string.h>

#include "mm/heap.h"
#include "mm_test.h"

#if defined(__SANITIZE_ADDRESS__)
#define MM_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MM_TEST_ASAN 1
#endif
#endif

#ifdef MM_TEST_ASAN
#include <sanitizer/asan_interface.h>
#define POOL_HIDE(pointer, bytes) __asan_poison_memory_region(pointer, bytes)
#define POOL_SHOW(pointer, bytes) __asan_unpoison_memory_region(pointer, bytes)
#else
#define POOL_HIDE(pointer, bytes) ((void)(pointer), (void)(bytes))
#define POOL_SHOW(pointer, bytes) ((void)(pointer), (void)(bytes))
#endif

#define UNUSED __attribute__((unused))

#define PAGE       4096u
#define POOL_PAGES 4096u
#define HEADER     16u /* bytes in front of each block */
#define OVERHEAD   64u /* of a region: its header and the mark at its end */

struct pool {
    bool used[POOL_PAGES];
    size_t run_pages[POOL_PAGES]; /* at the first page of each run that is out */
    size_t gap_pages;             /* between runs */
    size_t page_count;            /* how many there are to give */
    size_t allocs, frees, refused;
    size_t out_bytes, most_bytes;
    size_t fail_after; /* so many more succeed; then one fails, or all */
    bool fail_for_ever;
    struct mm_heap *heap; /* served by it: its lock must be free */
};

static unsigned char pool_memory[POOL_PAGES * (size_t)PAGE] __attribute__((aligned(4096)));

static UNUSED void pool_init(struct pool *pool)
{
    memset(pool, 0, sizeof *pool);
    pool->gap_pages = 1;
    pool->page_count = POOL_PAGES;
    pool->fail_after = SIZE_MAX;
    POOL_HIDE(pool_memory, sizeof pool_memory);
}

static size_t pool_free_run(const struct pool *pool, size_t pages)
{
    size_t length = 0;

    for (size_t i = 0; i < pool->page_count; i++) {
        length = pool->used[i] ? 0 : length + 1;
        if (length == pages + 2 * pool->gap_pages)
            return i + 1 - pages - pool->gap_pages;
    }
    return SIZE_MAX;
}

static enum mm_err pool_alloc(void *context, size_t bytes, void **out)
{
    struct pool *pool = context;
    struct mm_heap_stats stats;
    size_t first;

    CHECK(bytes != 0 && bytes % PAGE == 0);
    if (pool->heap != NULL)
        mm_heap_get_stats(pool->heap, &stats); /* panics if this CPU holds the lock */
    if (pool->fail_after == 0) {
        pool->fail_after = pool->fail_for_ever ? 0 : SIZE_MAX;
        pool->refused++;
        return MM_ERR_NO_MEMORY;
    }
    first = pool_free_run(pool, bytes / PAGE);
    if (first == SIZE_MAX) {
        pool->refused++;
        return MM_ERR_NO_MEMORY;
    }
    if (pool->fail_after != SIZE_MAX)
        pool->fail_after--;
    memset(&pool->used[first], true, bytes / PAGE);
    pool->run_pages[first] = bytes / PAGE;
    pool->allocs++;
    pool->out_bytes += bytes;
    if (pool->out_bytes > pool->most_bytes)
        pool->most_bytes = pool->out_bytes;
    *out = &pool_memory[first * PAGE];
    POOL_SHOW(*out, bytes);
    memset(*out, 0xd7, bytes);
    return MM_OK;
}

static void pool_free(void *context, void *pages, size_t bytes)
{
    struct pool *pool = context;
    size_t first = (size_t)((unsigned char *)pages - pool_memory) / PAGE;
    struct mm_heap_stats stats;

    CHECK((unsigned char *)pages >= pool_memory && first < POOL_PAGES);
    CHECK(pool->used[first] && pool->run_pages[first] == bytes / PAGE);
    if (pool->heap != NULL)
        mm_heap_get_stats(pool->heap, &stats);
    memset(&pool->used[first], false, bytes / PAGE);
    pool->run_pages[first] = 0;
    pool->frees++;
    pool->out_bytes -= bytes;
    POOL_HIDE(pages, bytes);
}

static UNUSED struct mm_page_source pool_source(struct pool *pool)
{
    return (struct mm_page_source){pool_alloc, pool_free, pool};
}

#define SECRET UINT64_C(0x5ec4e7f00dfeed01)

/* A new pool, and a heap that grows out of it by `grow_bytes`. */
static UNUSED void grown_heap(struct mm_heap *heap, struct pool *pool, size_t grow_bytes)
{
    struct mm_heap_config config = {.grow_bytes = grow_bytes, .secret = SECRET};

    pool_init(pool);
    config.source = pool_source(pool);
    CHECK_OK(mm_heap_init(heap, &config));
    pool->heap = heap;
}

static UNUSED void lent_heap(struct mm_heap *heap, void *block, size_t bytes)
{
    struct mm_heap_config config = {.block = block, .block_bytes = bytes, .secret = SECRET};

    CHECK_OK(mm_heap_init(heap, &config));
}

/* Nothing live, nothing damaged, every page back. */
static UNUSED void end_heap(struct mm_heap *heap, struct pool *pool)
{
    CHECK_EQ(mm_heap_check(heap, NULL), 0);
    CHECK_OK(mm_heap_destroy(heap));
    if (pool != NULL) {
        CHECK_EQ(pool->out_bytes, 0);
        CHECK_EQ(pool->allocs, pool->frees);
    }
}

/* All that a refused call must leave alone: every field but the lock and the counters of refusals,
 * and [memory, memory + bytes). */
static UNUSED uint64_t heap_hash(const struct mm_heap *heap, const void *memory, size_t bytes)
{
    struct mm_heap copy = *heap;
    const unsigned char *byte = memory;
    uint64_t h = 14695981039346656037u; /* FNV-1a */

    memset(&copy.lock, 0, sizeof copy.lock);
    copy.fail_count = 0;
    copy.misuse_count = 0;
    for (size_t i = 0; i < sizeof copy; i++)
        h = (h ^ ((unsigned char *)&copy)[i]) * 1099511628211u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ byte[i]) * 1099511628211u;
    return h;
}

/* Exactly one report since the last look, and it says exactly this. `function` is what called the
 * heap and is not inlined. */
static UNUSED void expect_report(enum mm_report_kind kind, enum mm_err err, const char *what,
                                 const char *where, const void *object, const void *address,
                                 void (*function)(void))
{
    const struct mm_report *report;

    CHECK_EQ(mm_test_report_count(), 1);
    report = mm_test_report(0);
    CHECK_TEXT(report->what, what);
    CHECK_TEXT(report->where, where);
    CHECK_EQ(report->kind, kind);
    CHECK_EQ(report->err, err);
    CHECK_EQ(report->address, (uintptr_t)address);
    CHECK(report->object == object);
    CHECK((uintptr_t)report->caller - (uintptr_t)function < 512);
    mm_test_reports_clear();
}

static UNUSED struct mm_heap_stats stats_of(struct mm_heap *heap)
{
    struct mm_heap_stats stats;

    mm_heap_get_stats(heap, &stats);
    return stats;
}

#endif
