/*
 * test_model.c - random calls against a flat model: virtual page -> frame, rights, type.
 *
 *     area 0   lower half                         each area: 8 MiB | 1 GiB, aligned | 8 MiB
 *     area 1   upper half, far away
 *     area 2   the last 1 GiB + 8 MiB of all: ends at 2^64
 *
 * After each call the tables and every CPU's view through its TLB are compared with the model at
 * some hundred watched pages, no stale translation is left anywhere, and the checker is content.
 */
#include "vmm_fixture.h"

#define AREAS      3u
#define EDGE       (8 * MIB)
#define AREA_PAGES ((GIB + 2 * EDGE) / K4)
#define WATCHED    72u /* per area */
#define CPUS       3u

struct page {
    uint32_t frame; /* number; pages are compared by it */
    uint8_t prot;   /* 0 = not mapped */
    uint8_t type;
};

static struct page model[AREAS][AREA_PAGES];
static uint32_t watched[AREAS][WATCHED];
static const uint64_t area_start[AREAS] = {LOW - EDGE, HIGH - EDGE,
                                           UINT64_C(0xffffffffc0000000) - EDGE};

static uint64_t area_pages(unsigned area)
{
    return area == 2 ? AREA_PAGES - EDGE / K4 : AREA_PAGES;
}

static void model_begin(void)
{
    static const uint64_t edge[] = {0,    1,    511,  512,    513,    2047,        2048,
                                    2049, 2560, 2559, 264191, 264190, 264192 - 512};

    memset(model, 0, sizeof model);
    for (unsigned a = 0; a < AREAS; a++) {
        for (unsigned i = 0; i < WATCHED; i++)
            watched[a][i] = (uint32_t)mm_test_below(area_pages(a));
        for (unsigned i = 0; i < sizeof edge / sizeof edge[0]; i++)
            watched[a][i] = (uint32_t)edge[i];
        for (unsigned i = 20; i < 44; i++) /* a crowd where small ranges meet */
            watched[a][i] = (uint32_t)(EDGE / K4 + mm_test_below(2048));
    }
}

/* A range of an area: some size, its start aligned to some page size. */
struct extent {
    unsigned area;
    uint64_t first, pages;
};

static struct extent extent_random(bool small)
{
    static const uint64_t unit[] = {1, 1, 1, 512, 1, 1, 512, 512, 512, 262144};
    unsigned which = (unsigned)mm_test_below(small ? 4 : 10);
    uint64_t step = unit[which];
    struct extent e = {.area = (unsigned)mm_test_below(AREAS)};
    uint64_t limit = area_pages(e.area);

    if (step == 262144) {
        e.first = EDGE / K4;
        e.pages = step + (mm_test_below(4) == 0 ? mm_test_below(3) : 0);
    } else if (mm_test_below(2) == 0) {
        e.first = EDGE / K4 + mm_test_below(2048 / step) * step;
        e.pages = (1 + mm_test_below(6)) * step;
    } else {
        e.first = mm_test_below(limit / step) * step;
        e.pages = (1 + mm_test_below(small ? 100 : 3000)) * step;
    }
    if (small && e.pages > 1200)
        e.pages = 1200;
    if (e.pages > limit - e.first)
        e.pages = limit - e.first;
    return e;
}

static uint64_t mapped_in(const struct extent *e)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < e->pages; i++)
        count += model[e->area][e->first + i].prot != 0;
    return count;
}

static mm_virt_t extent_virt(const struct extent *e)
{
    return mm_virt(area_start[e->area] + e->first * K4);
}

static unsigned prot_random(unsigned area)
{
    static const unsigned prot[] = {MM_PROT_READ, MM_PROT_RW, MM_PROT_RX, MM_PROT_RW};
    unsigned p = prot[mm_test_below(4)];

    return area == 0 && mm_test_below(2) == 0 ? p | MM_PROT_USER : p;
}

static void step_map(bool small)
{
    struct extent e = extent_random(small);
    struct mm_map_request request = request_of(extent_virt(&e).raw, 0, e.pages * K4, 0);
    uint64_t frame = (mm_test_below(64) + 1) * 262144; /* 1 GiB-aligned */

    frame += mm_test_below(3) == 0 ? mm_test_below(262144) : (e.first - EDGE / K4) & 262143;
    request.phys = mm_phys(frame * K4);
    request.prot = prot_random(e.area);
    request.type = (enum mm_memtype)mm_test_below(6);
    request.flags = mm_test_below(8) == 0 && e.pages < 4096 ? MM_MAP_SMALL : 0;
    if (mapped_in(&e) != 0) {
        CHECK_ERR(mm_space_map(&fx.kernel, &request, NULL), MM_ERR_EXISTS);
        return;
    }
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    for (uint64_t i = 0; i < e.pages; i++)
        model[e.area][e.first + i] = (struct page){.frame = (uint32_t)(frame + i),
                                                   .prot = (uint8_t)request.prot,
                                                   .type = (uint8_t)request.type};
}

static void step_unmap(bool small)
{
    struct extent e = extent_random(small);
    uint64_t mapped = mapped_in(&e);
    uint32_t flags = mm_test_below(4) != 0 ? MM_RANGE_HOLES : 0;

    if (flags == 0 && mapped != e.pages) {
        CHECK_ERR(mm_space_unmap(&fx.kernel, extent_virt(&e), e.pages * K4, flags, NULL, NULL),
                  MM_ERR_NOT_FOUND);
        return;
    }
    CHECK_OK(mm_space_unmap(&fx.kernel, extent_virt(&e), e.pages * K4, flags, NULL, NULL));
    memset(&model[e.area][e.first], 0, e.pages * sizeof(struct page));
}

static void step_protect(bool small)
{
    struct extent e = extent_random(small);
    uint64_t mapped = mapped_in(&e);
    unsigned prot = prot_random(e.area);
    uint32_t flags = mm_test_below(4) != 0 ? MM_RANGE_HOLES : 0;

    if (flags == 0 && mapped != e.pages) {
        CHECK_ERR(
            mm_space_protect(&fx.kernel, extent_virt(&e), e.pages * K4, prot, flags, NULL, NULL),
            MM_ERR_NOT_FOUND);
        return;
    }
    CHECK_OK(mm_space_protect(&fx.kernel, extent_virt(&e), e.pages * K4, prot, flags, NULL, NULL));
    for (uint64_t i = 0; i < e.pages; i++) {
        if (model[e.area][e.first + i].prot != 0)
            model[e.area][e.first + i].prot = (uint8_t)prot;
    }
}

static void compare_tables(unsigned area, uint32_t index)
{
    const struct page *page = &model[area][index];
    mm_virt_t virt = mm_virt(area_start[area] + index * K4);
    struct mm_translation got;

    if (page->prot == 0) {
        CHECK_ERR(mm_space_translate(&fx.kernel, virt, &got, NULL), MM_ERR_NOT_FOUND);
        return;
    }
    CHECK_OK(mm_space_translate(&fx.kernel, virt, &got, NULL));
    CHECK_EQ(mm_frame_of(got.phys), page->frame);
    CHECK_EQ(got.prot, page->prot);
    CHECK_EQ(got.type, page->type);
}

static enum fake_fault fault_expected(const struct page *page, unsigned how)
{
    if (page->prot == 0)
        return FAKE_NOT_PRESENT;
    if (how == 1 && (page->prot & MM_PROT_WRITE) == 0)
        return FAKE_WRITE_DENIED;
    return how == 2 && (page->prot & MM_PROT_EXEC) == 0 ? FAKE_FETCH_DENIED : FAKE_OK;
}

static struct fake_access access_as(mm_virt_t virt, unsigned how)
{
    if (how == 0)
        return fake_read64(virt);
    return how == 1 ? fake_write64(virt, 0) : fake_fetch(virt);
}

/* Through the TLB of the CPU; a right that was added may cost one spurious fault. */
static void compare_cpu(unsigned area, uint32_t index)
{
    const struct page *page = &model[area][index];
    mm_virt_t virt = mm_virt(area_start[area] + index * K4);
    unsigned how = (unsigned)mm_test_below(3);
    struct fake_access got = access_as(virt, how);

    if (got.fault != FAKE_OK && got.spurious)
        got = access_as(virt, how);
    CHECK_EQ(got.fault, fault_expected(page, how));
    if (got.fault == FAKE_OK) {
        CHECK_EQ(mm_frame_of(got.phys), page->frame);
        CHECK_EQ(got.type, page->type);
        CHECK(got.global == (area != 0));
    }
}

/* The whole check reads every entry, so not after every step. */
static void compare_all(bool whole)
{
    for (unsigned a = 0; a < AREAS; a++) {
        for (unsigned i = 0; i < WATCHED; i++) {
            compare_tables(a, watched[a][i]);
            fake_cpu_set((unsigned)mm_test_below(CPUS));
            compare_cpu(a, watched[a][i]);
        }
    }
    fake_cpu_set(0);
    CHECK_EQ(fake_stale_entries(), 0);
    if (whole)
        CHECK_EQ(space_faults(&fx.kernel), 0);
}

static void model_end(const struct mm_space_stats *start)
{
    struct mm_space_stats end;

    for (unsigned a = 0; a < AREAS; a++)
        CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(area_start[a]), area_pages(a) * K4,
                                MM_RANGE_HOLES, NULL, NULL));
    mm_space_get_stats(&fx.kernel, &end);
    CHECK_EQ(end.tables, start->tables);
    CHECK_EQ(end.mapped_frames, 0);
    CHECK_EQ(fx.frames.used, start->tables);
    fixture_sound(&fx.kernel);
}

static void run(unsigned levels, bool one_gib, bool small, unsigned steps)
{
    struct mm_space_stats start;

    fixture_start(levels, one_gib, CPUS);
    for (unsigned i = 0; i < CPUS; i++)
        CHECK_EQ(fake_cpu(i)->pge, true);
    mm_space_get_stats(&fx.kernel, &start);
    model_begin();
    for (unsigned i = 0; i < steps; i++) {
        unsigned what = (unsigned)mm_test_below(5);

        mm_test_row("step", i);
        if (what < 2)
            step_map(small);
        else if (what < 4)
            step_unmap(small);
        else
            step_protect(small);
        compare_all(i % 16 == 0);
    }
    model_end(&start);
}

TEST(random_calls_with_4_levels_and_1g_pages_match_the_model)
{
    run(4, true, false, 60);
}

TEST(random_calls_with_4_levels_without_1g_pages_match_the_model)
{
    run(4, false, false, 60);
}

TEST(random_calls_with_5_levels_and_1g_pages_match_the_model)
{
    run(5, true, false, 60);
}

TEST(random_calls_with_5_levels_without_1g_pages_match_the_model)
{
    run(5, false, false, 60);
}

/* Hardware walks at every store of an entry, on every CPU. */
TEST(random_small_calls_under_walkers_match_the_model)
{
    for (unsigned a = 0; a < AREAS; a++) {
        for (unsigned i = 0; i < 4; i++)
            fake_watch(mm_virt(area_start[a] + EDGE + i * 257 * K4),
                       i % 2 == 0 ? FAKE_WATCH_READ : FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    }
    run(4, true, true, 60);
}
