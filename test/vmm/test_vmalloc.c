/*
 * test_vmalloc.c - memory in one piece of addresses, of frames from anywhere.
 *
 * Problem     Three allocators, a list of frames and a mapping in steps: each failure must give back
 *             what came before, and nothing may be freed before its flush.
 * Idea        Every page is written and read through the simulated MMU; each frame that is taken
 *             fails in turn; at the moment of the flush all frames must still be allocated.
 */
#include "area_fixture.h"

static struct fake_access page(const void *memory, uint64_t i)
{
    return fake_probe(mm_virt(raw(memory) + i * PAGE));
}

/* Mapped in full, each page to a frame of its own that is allocated; guards on either side. */
static void check_memory(const void *memory, uint64_t pages)
{
    CHECK_EQ(raw(memory) % PAGE, 0);
    for (uint64_t i = 0; i < pages; i++) {
        mm_virt_t virt = mm_virt(raw(memory) + i * PAGE + 8);

        mm_test_row("page", i);
        CHECK_EQ(fake_write64(virt, i).fault, FAKE_OK);
        CHECK_EQ(page(memory, i).prot, MM_PROT_RW);
        CHECK_EQ(page(memory, i).type, MM_MEMTYPE_WB);
    }
    for (uint64_t i = 0; i < pages; i++) {
        struct mm_frame_info info;

        mm_test_row("page", i);
        CHECK_EQ(fake_read64(mm_virt(raw(memory) + i * PAGE + 8)).value, i);
        mm_pmm_query(&t.pmm, page(memory, i).phys, &info);
        CHECK_EQ(info.state, MM_FRAME_ALLOCATED);
    }
    CHECK_EQ(fake_fetch(mm_virt_of(memory)).fault, FAKE_FETCH_DENIED);
    CHECK_EQ(page(memory, UINT64_MAX).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(page(memory, pages).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(mapped_now(), pages);
}

/* Of each 2 MiB piece of RAM one frame is in use: there are no blocks. */
static void fragment(void)
{
    static mm_phys_t frame[MIB(16) / PAGE];
    size_t count = 0;

    while (mm_pmm_alloc_frame(&t.pmm, &frame[count]) == MM_OK)
        count++;
    for (size_t i = 0; i < count; i++)
        if (frame[i].raw / PAGE % 512 != 77)
            CHECK_OK(mm_pmm_free_frame(&t.pmm, frame[i]));
}

TEST(vmalloc_maps_every_size)
{
    static const struct {
        uint64_t bytes, pages, leaf_2m;
    } rows[] = {
        {1, 1, 0},          {PAGE, 1, 0},
        {PAGE + 1, 2, 0},   {64 * PAGE, 64, 0},
        {65 * PAGE, 65, 0}, {MIB(2) - PAGE, 511, 0},
        {MIB(2), 512, 1},   {MIB(4) + 5 * PAGE, 1029, 2},
        {MIB(9), 2304, 4},
    };

    for (size_t i = 0; i < 2 * (sizeof rows / sizeof rows[0]); i++) {
        bool whole = i % 2 == 0;
        struct mm_space_stats stats;
        struct state before;
        void *memory = NULL;

        begin(GIB(1));
        if (!whole)
            fragment();
        before = state_now();
        CHECK_OK(mm_vmalloc(&t.area, rows[i / 2].bytes, 0, &memory));
        check_memory(memory, rows[i / 2].pages);
        mm_space_get_stats(&t.space, &stats);
        CHECK_EQ(stats.leaf_2m, whole ? rows[i / 2].leaf_2m : 0);
        CHECK_OK(mm_vfree(&t.area, memory));
        check_same(&before);
    }
}

/* More than one frame of list. */
TEST(vmalloc_of_many_single_frames_goes_and_comes_back)
{
    struct state before;
    void *memory = NULL;

    begin(GIB(1));
    fragment();
    before = state_now();
    CHECK_OK(mm_vmalloc(&t.area, 3000 * PAGE, 0, &memory));
    check_memory(memory, 3000);
    CHECK_EQ(mm_pmm_free_frames(&t.pmm),
             before.free_frames - 3000 - 6 - (t.space.table_count - before.tables));
    CHECK_OK(mm_vfree(&t.area, memory));
    check_same(&before);
}

TEST(vmalloc_without_large_pages_takes_single_frames)
{
    struct mm_space_stats stats;
    void *memory = NULL;

    begin(GIB(1));
    t.vmm.paging.leaf_levels = 1u << 1;
    CHECK_OK(mm_vmalloc(&t.area, MIB(2), 0, &memory));
    mm_space_get_stats(&t.space, &stats);
    CHECK_EQ(stats.leaf_4k, 512);
    CHECK_OK(mm_vfree(&t.area, memory));
    check_all();
}

/* No place that is aligned to 2 MiB: the frames are the same, the pages small. */
TEST(vmalloc_falls_back_to_small_pages_when_addresses_are_tight)
{
    struct mm_space_stats stats;
    void *memory = NULL;

    begin(MIB(2) + 3 * PAGE);
    CHECK_OK(mm_vmalloc(&t.area, MIB(2), 0, &memory));
    check_memory(memory, 512);
    mm_space_get_stats(&t.space, &stats);
    CHECK_EQ(stats.leaf_4k, 512);
    CHECK_OK(mm_vfree(&t.area, memory));
    check_all();
}

TEST(vmalloc_zeroes_when_asked_only)
{
    void *memory = NULL;

    for (unsigned i = 0; i < 2; i++) {
        begin(GIB(1));
        for (uint64_t at = MIB(1); at < MIB(16); at += PAGE) {
            struct mm_frame_info info;

            mm_pmm_query(&t.pmm, mm_phys(at), &info);
            if (info.state == MM_FRAME_FREE)
                memset(fake_ram(mm_phys(at), PAGE), 0xa5, PAGE);
        }
        CHECK_OK(mm_vmalloc(&t.area, 70 * PAGE, i == 0 ? MM_FRAME_ZERO : 0, &memory));
        for (uint64_t at = 0; at < 70 * PAGE; at += 8)
            CHECK_EQ(fake_read64(mm_virt(raw(memory) + at)).value,
                     i == 0 ? 0 : UINT64_C(0xa5a5a5a5a5a5a5a5));
        CHECK_OK(mm_vfree(&t.area, memory));
    }
}

TEST(vmalloc_of_what_there_is_not_changes_nothing)
{
    static const struct {
        uint64_t bytes;
        uint32_t flags;
        enum mm_err err;
    } rows[] = {
        {0, 0, MM_ERR_BAD_ARG},
        {PAGE, MM_FRAME_TRY_HARD, MM_ERR_BAD_ARG},
        {MIB(16), 0, MM_ERR_NO_MEMORY},
        {UINT64_MAX, 0, MM_ERR_NO_MEMORY},
        {MIB(4), 0, MM_ERR_NO_ADDRESS},
        {MIB(4) - PAGE, 0, MM_ERR_NO_ADDRESS}, /* no room for both guards */
    };
    struct mm_kernel_area none = MM_ZERO;
    struct state before;
    void *memory = &t;

    begin(MIB(4));
    before = state_now();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mm_test_row("row", i);
        CHECK_ERR(mm_vmalloc(&t.area, rows[i].bytes, rows[i].flags, &memory), rows[i].err);
        CHECK(memory == &t);
        check_same(&before);
    }
    CHECK_ERR(mm_vmalloc(NULL, 1, 0, &memory), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_vmalloc(&none, 1, 0, &memory), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_vmalloc(&t.area, 1, 0, NULL), MM_ERR_BAD_ARG);
    t.area.pmm = NULL;
    CHECK_ERR(mm_vmalloc(&t.area, 1, 0, &memory), MM_ERR_BAD_ARG);
}

/* Each frame for lists, spans and tables fails once. */
TEST(vmalloc_that_runs_out_of_tables_changes_nothing)
{
    unsigned failures = 0;

    for (int64_t n = 0;; n++) {
        struct state before;
        void *memory = NULL;
        enum mm_err err;

        mm_test_row("failing allocation", (uint64_t)n);
        begin(GIB(16));
        fragment();
        before = state_now();
        t.fail_after = n;
        err = mm_vmalloc(&t.area, MIB(5), 0, &memory);
        if (err == MM_OK)
            break;
        failures++;
        CHECK_ERR(err, MM_ERR_NO_MEMORY);
        CHECK(memory == NULL);
        check_same(&before);
    }
    CHECK(failures >= 3 + 4); /* lists; tables of two levels */
}

/* There are `left` frames and no more: nothing is left out, and the last number is enough. */
TEST(vmalloc_that_runs_out_of_frames_changes_nothing)
{
    static mm_phys_t frame[MIB(16) / PAGE];
    uint64_t need = 0;

    for (uint64_t left = 0; need == 0; left++) {
        struct state before;
        void *memory = NULL;
        size_t count = 0;

        mm_test_row("frames left", left);
        begin(GIB(1));
        while (mm_pmm_alloc_frame(&t.pmm, &frame[count]) == MM_OK)
            count++;
        for (uint64_t i = 0; i < left; i++)
            CHECK_OK(mm_pmm_free_frame(&t.pmm, frame[(i * 37 + 5) % count]));
        before = state_now();
        CHECK_EQ(before.free_frames, left);
        if (mm_vmalloc(&t.area, 100 * PAGE, 0, &memory) == MM_OK)
            need = left;
        else
            check_same(&before);
    }
    CHECK_EQ(need, 100 + 1 + 2); /* a list, and tables of two levels: the third is there */
}

TEST(vmalloc_over_what_somebody_mapped_past_the_arena_is_refused)
{
    struct mm_map_request foreign = {.virt = mm_virt(AREA + 300 * PAGE),
                                     .phys = mm_phys(GIB(1)),
                                     .bytes = PAGE,
                                     .prot = MM_PROT_RW};
    struct state before;
    void *memory = &t;

    begin(MIB(16));
    fragment();
    CHECK_OK(mm_space_map(&t.space, &foreign, NULL));
    before = state_now();
    CHECK_ERR(mm_vmalloc(&t.area, MIB(2), 0, &memory), MM_ERR_EXISTS);
    CHECK(memory == &t);
    check_same(&before);
}

TEST(vfree_of_anything_else_is_refused)
{
    static const char text[] = "not what mm_vmalloc() gave";
    struct mm_dma_request request = {.bytes = PAGE};
    struct state before;
    struct mm_dma dma;
    char *memory = NULL;
    void *device = NULL;

    begin(MIB(16));
    CHECK_OK(mm_vmalloc(&t.area, 3 * PAGE, 0, (void **)&memory));
    CHECK_OK(mm_kmap(&t.area, mm_phys(GIB(1)), PAGE, MM_MEMTYPE_UC, &device));
    CHECK_OK(mm_dma_alloc(&t.area, &request, &dma));
    before = state_now();
    void *wrong[] = {NULL,          memory + 1,        memory + PAGE,
                     memory - PAGE, memory - 2 * PAGE, memory + 3 * PAGE,
                     device,        dma.pointer};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        mm_test_row("pointer", i);
        CHECK_ERR(mm_vfree(&t.area, wrong[i]), MM_ERR_MISUSE);
        check_reported(text);
        check_same(&before);
    }
    CHECK_ERR(mm_kunmap(&t.area, memory), MM_ERR_MISUSE);
    check_reported("not what mm_kmap() gave");
    CHECK_OK(mm_vfree(&t.area, memory));
    CHECK_ERR(mm_vfree(&t.area, memory), MM_ERR_MISUSE);
    check_reported(text);
    CHECK_ERR(mm_vfree(NULL, memory), MM_ERR_BAD_ARG);
    check_reported("no kernel area given");
}

TEST(vfree_of_memory_that_somebody_unmapped_is_refused)
{
    struct state before;
    char *memory = NULL;

    begin(MIB(16));
    CHECK_OK(mm_vmalloc(&t.area, 3 * PAGE, 0, (void **)&memory));
    CHECK_OK(mm_space_unmap(&t.space, mm_virt_of(memory + PAGE), PAGE, 0, NULL, NULL));
    before = state_now();
    CHECK_ERR(mm_vfree(&t.area, memory), MM_ERR_MISUSE);
    check_reported("memory was unmapped behind its back");
    check_same(&before);
}

TEST(vfree_believes_no_list_that_is_overwritten)
{
    struct mm_arena_info info;
    struct state before;
    void *memory = NULL;
    uint64_t *list;

    begin(MIB(16));
    CHECK_OK(mm_vmalloc(&t.area, 3 * PAGE, 0, &memory));
    CHECK_OK(mm_arena_find(&t.arena, mm_virt_of(memory), &info));
    list = fake_ram(mm_phys(info.cookie >> 3), PAGE);
    CHECK_EQ(list[0], raw(memory));
    before = state_now();
    list[0] ^= 1;
    CHECK_ERR(mm_vfree(&t.area, memory), MM_ERR_CORRUPT);
    check_reported("list of frames is overwritten");
    check_same(&before);
    list[0] ^= 1;
    CHECK_OK(mm_vfree(&t.area, memory));
    check_all();
}

/* ---- order ---- */

static uint64_t watched_pages, allocated_at_flush;

static bool look(void *arg, unsigned cpu)
{
    const mm_phys_t *phys = arg;

    (void)cpu;
    for (uint64_t i = 0; i < watched_pages; i++) {
        struct mm_frame_info info;

        mm_pmm_query(&t.pmm, phys[i], &info);
        allocated_at_flush += info.state == MM_FRAME_ALLOCATED;
    }
    return true;
}

TEST(vfree_flushes_once_and_frees_after_it)
{
    static mm_phys_t phys[1100];
    void *memory = NULL;

    begin(GIB(1));
    fragment();
    CHECK_OK(mm_vmalloc(&t.area, 1100 * PAGE, 0, &memory));
    watched_pages = 1100;
    allocated_at_flush = 0;
    for (unsigned i = 0; i < 1100; i++)
        phys[i] = page(memory, i).phys;
    fake_cpu_set(1);
    CHECK_EQ(fake_write64(mm_virt_of(memory), 42).fault, FAKE_OK);
    fake_cpu_set(0);
    mm_test_shootdown_hook(look, phys);
    CHECK_OK(mm_vfree(&t.area, memory));
    mm_test_shootdown_hook(NULL, NULL);
    CHECK_EQ(mm_test_shootdowns().count, 1);
    CHECK_EQ(allocated_at_flush, 1100);
    for (unsigned i = 0; i < 1100; i++)
        CHECK(!fake_frame_in_use(phys[i]));
    check_all();
}

/* Sizes, order and lives at random; what each page holds is its own. */
TEST(vmalloc_and_vfree_at_random)
{
    struct {
        void *memory;
        uint64_t pages, seed;
    } live[20];
    struct state before;

    begin(GIB(1));
    memset(live, 0, sizeof live);
    before = state_now();
    for (unsigned step = 0; step < 600; step++) {
        unsigned i = (unsigned)mm_test_below(20);

        mm_test_row("step", step);
        if (live[i].memory == NULL) {
            uint64_t pages = 1 + mm_test_below(mm_test_below(8) == 0 ? 700 : 100);

            if (mm_vmalloc(&t.area, pages * PAGE, 0, &live[i].memory) != MM_OK)
                continue;
            live[i].pages = pages;
            live[i].seed = mm_test_random();
            for (uint64_t k = 0; k < pages; k++)
                (void)fake_write64(mm_virt(raw(live[i].memory) + k * PAGE), live[i].seed + k);
        } else {
            for (uint64_t k = 0; k < live[i].pages; k++)
                CHECK_EQ(fake_read64(mm_virt(raw(live[i].memory) + k * PAGE)).value,
                         live[i].seed + k);
            CHECK_OK(mm_vfree(&t.area, live[i].memory));
            live[i].memory = NULL;
        }
        if (step % 50 == 0)
            check_all();
    }
    for (unsigned i = 0; i < 20; i++)
        if (live[i].memory != NULL)
            CHECK_OK(mm_vfree(&t.area, live[i].memory));
    CHECK_EQ(mm_pmm_free_frames(&t.pmm) + t.arena.grown_frames, before.free_frames);
    CHECK_EQ(mapped_now(), 0);
    check_all();
}
