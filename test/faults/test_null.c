/*
 * test_null.c - NULL for an object or a result: the rule of mm/error.h, for the layers beside the
 * VMM (test/vmm/test_refused.c has that one).
 *
 * Each call is made once with each pointer NULL that its comment does not allow to be.
 */
#include "../start/boot_machine.h"

static struct boot_machine m;
static struct mm mm;

static void begin(void)
{
    boot_from_dump(&m, &boot_dumps[0]);
    memset(&mm, 0, sizeof mm);
    fake_interrupts(false);
    CHECK_OK(mm_start(&mm, &m.info, NULL));
    fake_interrupts(true);
}

#define REFUSED(call) CHECK_ERR(call, MM_ERR_BAD_ARG)

/* A free: refused, and told. */
#define REFUSED_ALOUD(call)                               \
    do {                                                  \
        REFUSED(call);                                    \
        CHECK_EQ(mm_test_report_count(), 1);              \
        CHECK_EQ(mm_test_report(0)->err, MM_ERR_BAD_ARG); \
        CHECK(mm_test_report(0)->what != NULL);           \
        mm_test_reports_clear();                          \
    } while (0)

/* Faults that a checker tells of nothing. */
#define ONE_FAULT(check) CHECK_EQ(check, 1)

TEST(null_is_refused_by_the_memory_map)
{
    struct mm_memmap_request request = {.bytes = PAGE};
    struct mm_memmap_totals totals = {.ram_bytes = 42};
    struct mm_mem_range range;
    struct mm_memmap map;
    mm_phys_t at;

    REFUSED(mm_memmap_init(NULL, &range, 1, 52));
    REFUSED(mm_memmap_init(&map, NULL, 1, 52));
    REFUSED(mm_memmap_add(NULL, mm_phys(0), PAGE, MM_MEM_USABLE));
    REFUSED(mm_memmap_set_node(NULL, mm_phys(0), PAGE, 0));
    REFUSED(mm_memmap_reserve(NULL, mm_phys(0), PAGE, MM_USE_KEEP));
    REFUSED(mm_memmap_reserve_pc(NULL, mm_phys(0)));
    REFUSED(mm_memmap_finish(NULL));
    REFUSED(mm_memmap_find(NULL, mm_phys(0), &range));
    REFUSED(mm_memmap_take(NULL, &request, &at));
    begin();
    REFUSED(mm_memmap_find(&mm.map, mm_phys(0), NULL));
    REFUSED(mm_memmap_take(&mm.map, NULL, &at));
    REFUSED(mm_memmap_take(&mm.map, &request, NULL));
    REFUSED_ALOUD(mm_memmap_give(NULL, mm_phys(0), PAGE));
    mm_memmap_get_totals(NULL, &totals);
    CHECK_EQ(totals.ram_bytes, 0);
    mm_memmap_get_totals(&mm.map, NULL);
    CHECK_EQ(mm_mem_range_format(NULL, 0, NULL), 0);
    ONE_FAULT(mm_memmap_check(NULL, NULL));
}

TEST(null_is_refused_by_the_window)
{
    struct mm_window window = MM_ZERO;
    void *pointer = &m;
    mm_phys_t phys;

    CHECK_OK(mm_window_add(&window, mm_phys(0), PAGE, mm_virt(PAGE)));
    REFUSED(mm_window_add(NULL, mm_phys(0), PAGE, mm_virt(PAGE)));
    REFUSED(mm_window_find(NULL, mm_phys(0), 1, &pointer));
    REFUSED(mm_window_find(&window, mm_phys(0), 1, NULL));
    REFUSED(mm_window_phys(NULL, (void *)PAGE, &phys));
    REFUSED(mm_window_phys(&window, (void *)PAGE, NULL));
    CHECK(pointer == &m);
}

TEST(null_is_refused_by_the_pmm)
{
    struct mm_frame_request request = MM_ZERO;
    struct mm_pmm_stats stats = {.free_frames = 42};
    struct mm_pmm_watermark mark = MM_ZERO;
    struct mm_pmm_config config = MM_ZERO;
    struct mm_phys_range run;
    struct mm_frame_info info = {.state = MM_FRAME_FREE};
    enum mm_frame_state state;
    mm_phys_t frame = mm_phys(42);
    struct mm_pmm_blocks blocks = {.free_frames = 42};
    uint64_t bytes = 42;
    uint16_t *tag = NULL;
    struct mm_pmm pmm;

    begin();
    REFUSED(mm_pmm_meta_bytes(NULL, &bytes));
    REFUSED(mm_pmm_meta_bytes(&config, NULL));
    REFUSED(mm_pmm_init(NULL, &config));
    REFUSED(mm_pmm_init(&pmm, NULL));
    REFUSED(mm_pmm_alloc(NULL, &request, &frame));
    REFUSED(mm_pmm_alloc(&mm.pmm, NULL, &frame));
    REFUSED(mm_pmm_alloc(&mm.pmm, &request, NULL));
    REFUSED(mm_pmm_alloc_frame(NULL, &frame));
    REFUSED(mm_pmm_alloc_frame(&mm.pmm, NULL));
    REFUSED(mm_pmm_alloc_bulk(NULL, NULL, 1, &frame));
    REFUSED(mm_pmm_alloc_bulk(&mm.pmm, NULL, 1, NULL));
    REFUSED(mm_pmm_alloc_zeroed(NULL, &frame));
    REFUSED(mm_pmm_alloc_zeroed(&mm.pmm, NULL));
    REFUSED(mm_pmm_add(NULL, mm_phys(0), PAGE));
    REFUSED(mm_pmm_add_ram(NULL, mm_phys(0), MIB(2), 0));
    REFUSED(mm_pmm_isolate(NULL, mm_phys(0), PAGE));
    REFUSED(mm_pmm_remove(NULL, mm_phys(0), PAGE));
    REFUSED(mm_pmm_drain(NULL, 0));
    REFUSED(mm_pmm_set_cpu_node(NULL, 0, 0));
    REFUSED(mm_pmm_zero_ahead(NULL));
    REFUSED(mm_pmm_tag(NULL, frame, true, &tag));
    REFUSED(mm_pmm_tag(&mm.pmm, frame, true, NULL));
    mm_pmm_serve(NULL);
    mm_pmm_park(NULL);
    REFUSED(mm_pmm_retire(NULL, frame));
    REFUSED(mm_pmm_set_watermark(NULL, MM_ZONE_LOW, &mark));
    REFUSED_ALOUD(mm_pmm_free(NULL, mm_phys(0), 1));
    REFUSED_ALOUD(mm_pmm_free_frame(NULL, mm_phys(0)));
    REFUSED(mm_pmm_free_no_wait(NULL, mm_phys(0))); /* its answer must be looked at */
    REFUSED_ALOUD(mm_pmm_free_bulk(NULL, &frame, 1));
    REFUSED_ALOUD(mm_pmm_free_bulk(&mm.pmm, NULL, 1));
    REFUSED(mm_pmm_walk(NULL, &frame, &run, &state));
    REFUSED(mm_pmm_walk(&mm.pmm, NULL, &run, &state));
    REFUSED(mm_pmm_walk(&mm.pmm, &frame, NULL, &state));
    REFUSED(mm_pmm_walk(&mm.pmm, &frame, &run, NULL));
    CHECK(frame.raw == 42 && bytes == 42);
    mm_pmm_query(NULL, mm_phys(MIB(8)), &info);
    CHECK_EQ(info.state, MM_FRAME_UNMANAGED);
    mm_pmm_query(&mm.pmm, mm_phys(MIB(8)), NULL);
    mm_pmm_get_stats(NULL, &stats);
    CHECK_EQ(stats.free_frames, 0);
    mm_pmm_get_stats(&mm.pmm, NULL);
    mm_pmm_get_blocks(NULL, &blocks);
    CHECK_EQ(blocks.free_frames, 0);
    mm_pmm_get_blocks(&mm.pmm, NULL);
    mm_pmm_get_node_stats(NULL, 0, &bytes, &bytes);
    CHECK_EQ(bytes, 0);
    mm_pmm_get_node_stats(&mm.pmm, 0, NULL, &bytes);
    mm_pmm_get_node_stats(&mm.pmm, 0, &bytes, NULL);
    CHECK_EQ(mm_pmm_free_frames(NULL), 0);
    ONE_FAULT(mm_pmm_check(NULL, NULL));
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(null_is_refused_by_the_arena_and_the_kernel_area)
{
    struct mm_arena_request request = {.bytes = PAGE};
    struct mm_dma_request dma_request = {.bytes = PAGE};
    struct mm_arena_config config = MM_ZERO;
    struct mm_arena_stats stats = {.spans = 42};
    struct mm_kernel_area none = MM_ZERO;
    struct mm_arena_info info;
    struct mm_arena arena;
    mm_virt_t virt = mm_virt(42);
    void *pointer = &m;
    struct mm_dma dma = {.bytes = 42};

    begin();
    REFUSED(mm_arena_init(NULL, &config));
    REFUSED(mm_arena_init(&arena, NULL));
    REFUSED(mm_arena_take(NULL, &request, &virt));
    REFUSED(mm_arena_take(&mm.arena, NULL, &virt));
    REFUSED(mm_arena_take(&mm.arena, &request, NULL));
    REFUSED(mm_arena_find(NULL, virt, &info));
    REFUSED(mm_arena_find(&mm.arena, virt, NULL));
    REFUSED_ALOUD(mm_arena_give(NULL, virt));
    REFUSED(mm_arena_add(NULL, (struct mm_virt_range){virt, PAGE}));
    REFUSED(mm_arena_grow(NULL, virt, PAGE));
    REFUSED(mm_arena_cut(NULL, virt, PAGE));
    REFUSED(mm_arena_walk(NULL, &(struct mm_arena_cursor){0}, &info));
    mm_arena_set_quarantine(NULL, 1);
    mm_arena_drain(NULL);
    mm_arena_get_stats(NULL, &stats);
    CHECK_EQ(stats.spans, 0);
    mm_arena_get_stats(&mm.arena, NULL);
    ONE_FAULT(mm_arena_check(NULL, NULL));

    REFUSED(mm_kmap(NULL, mm_phys(0xfed00000), 1, MM_MEMTYPE_UC, &pointer));
    REFUSED(mm_kmap(&none, mm_phys(0xfed00000), 1, MM_MEMTYPE_UC, &pointer));
    REFUSED(mm_kmap(&mm.area, mm_phys(0xfed00000), 1, MM_MEMTYPE_UC, NULL));
    REFUSED(mm_dma_alloc(NULL, &dma_request, &dma));
    REFUSED(mm_dma_alloc(&none, &dma_request, &dma));
    REFUSED(mm_dma_alloc(&mm.area, NULL, &dma));
    REFUSED(mm_dma_alloc(&mm.area, &dma_request, NULL));
    REFUSED_ALOUD(mm_kunmap(NULL, pointer));
    REFUSED_ALOUD(mm_kunmap(&none, pointer));
    REFUSED_ALOUD(mm_dma_free(NULL, &dma));
    REFUSED_ALOUD(mm_dma_free(&none, &dma));
    REFUSED_ALOUD(mm_dma_free(&mm.area, NULL));
    REFUSED(mm_vmalloc(NULL, 1, 0, &pointer));
    REFUSED(mm_vmalloc(&none, 1, 0, &pointer));
    REFUSED(mm_vmalloc(&mm.area, 1, 0, NULL));
    REFUSED_ALOUD(mm_vfree(NULL, pointer));
    REFUSED_ALOUD(mm_vfree(&none, pointer));
    CHECK(virt.raw == 42 && pointer == &m && dma.bytes == 42);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

static void never(void *context, void *pointer, size_t bytes)
{
    (void)context;
    (void)pointer;
    (void)bytes;
    CHECK(false);
}

/* A heap reports every call on what is none. */
TEST(null_is_refused_by_the_heap)
{
    struct mm_heap_config config = MM_ZERO;
    struct mm_heap_stats stats = {.regions = 42};
    struct mm_heap heap;

    begin();
    REFUSED(mm_heap_init(NULL, &config));
    REFUSED(mm_heap_init(&heap, NULL));
    CHECK_EQ(mm_test_report_count(), 0);
    REFUSED_ALOUD(mm_heap_free(NULL, &m));
    REFUSED_ALOUD(mm_heap_free_sized(NULL, &m, 1));
    REFUSED_ALOUD(mm_heap_destroy(NULL));
    CHECK(mm_heap_alloc(NULL, 1) == NULL && mm_heap_zeroed(NULL, 1) == NULL);
    CHECK(mm_heap_array(NULL, 1, 1) == NULL && mm_heap_aligned(NULL, 16, 1) == NULL);
    CHECK(mm_heap_realloc(NULL, &m, 1) == NULL);
    CHECK(mm_heap_usable(NULL, &m) == 0 && mm_heap_trim(NULL) == 0);
    CHECK(!mm_heap_owns(NULL, &m));
    mm_heap_get_stats(NULL, &stats);
    CHECK_EQ(stats.regions, 0);
    mm_heap_get_stats(&mm.heap, NULL);
    mm_heap_walk(NULL, never, NULL);
    mm_heap_walk(&mm.heap, NULL, NULL);
    ONE_FAULT(mm_heap_check(NULL, NULL));
    mm_test_reports_clear();
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(null_is_refused_by_the_whole)
{
    REFUSED(mm_start(NULL, &m.info, NULL));
    REFUSED(mm_start(&mm, NULL, NULL));
    REFUSED(mm_reclaim_boot(NULL, MM_RECLAIM_LOADER, NULL, NULL));
    CHECK(mm_phys_pointer(NULL, mm_phys(0)) == NULL);
    ONE_FAULT(mm_check(NULL, NULL));
    CHECK_EQ(mm_report_format(NULL, 0, NULL), 0);
}

/* Checkers name themselves, so that a line on a console says whom to ask again. */
static const char *where;

static void hear(void *context, const struct mm_report *report)
{
    (void)context;
    where = report->where;
}

TEST(faults_of_checkers_name_the_public_checker)
{
    const struct mm_check_sink sink = {hear, NULL};

    CHECK_EQ(mm_memmap_check(NULL, &sink), 1);
    CHECK_TEXT(where, "mm_memmap_check");
    CHECK_EQ(mm_pmm_check(NULL, &sink), 1);
    CHECK_TEXT(where, "mm_pmm_check");
    CHECK_EQ(mm_space_check(NULL, &sink), 1);
    CHECK_TEXT(where, "mm_space_check");
    CHECK_EQ(mm_arena_check(NULL, &sink), 1);
    CHECK_TEXT(where, "mm_arena_check");
    CHECK_EQ(mm_heap_check(NULL, &sink), 1);
    CHECK_TEXT(where, "mm_heap_check");
    CHECK_EQ(mm_check(NULL, &sink), 1);
    CHECK_TEXT(where, "mm_check");
}
