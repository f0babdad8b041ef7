/*
 * test_faults.c - sixteen faults that were found in small kernels, none of which may be here.
 *
 * Problem     Memory managers of hobby kernels fail in the same few ways, and most of them do not
 *             show in a demonstration.
 * Idea        Each test asks for exactly what went wrong there, of all layers together on a
 *             simulated machine that was started from real boot information.
 */
#include "../start/boot_machine.h"

static struct boot_machine m;
static struct mm mm;

static void begin(unsigned dump)
{
    boot_from_dump(&m, &boot_dumps[dump]);
}

static void start(void)
{
    struct mm_start_failure why = MM_ZERO;
    enum mm_err err;

    memset(&mm, 0, sizeof mm);
    fake_interrupts(false);
    err = mm_start(&mm, &m.info, &why);
    fake_interrupts(true);
    if (err != MM_OK)
        print_message("%s, %#llx\n", why.what, (unsigned long long)why.address);
    CHECK_OK(err);
}

#define BIOS_64M  0u
#define BIOS_512M 1u
#define BIOS_12G  4u
#define UEFI_512M 7u

/* What the text beside the dump calls available, in whole frames, low memory included. */
static bool usable(uint64_t phys, uint64_t end)
{
    return phys < 0x9f000 || (phys >= MIB(1) && phys < end);
}

static uint64_t take_all(void (*look)(uint64_t phys))
{
    const struct mm_frame_request low = {.highest = MM_HIGHEST_1M};
    const struct mm_frame_request last = {.flags = MM_FRAME_RESERVE}; /* floors, too */
    uint64_t count = 0;
    mm_phys_t frame;

    for (; mm_pmm_alloc_frame(&mm.pmm, &frame) == MM_OK; count++)
        look(frame.raw);
    for (; mm_pmm_alloc(&mm.pmm, &last, &frame) == MM_OK; count++)
        look(frame.raw);
    for (; mm_pmm_alloc(&mm.pmm, &low, &frame) == MM_OK; count++)
        look(frame.raw);
    return count;
}

/* ---- frames ---- */

static void is_in_the_map(uint64_t phys)
{
    CHECK(usable(phys, 0x1ffe0000));
}

TEST(frames_that_the_machine_does_not_have_are_never_handed_out)
{
    begin(BIOS_512M);
    start();
    CHECK(take_all(is_in_the_map) < MIB(512) / PAGE);
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), 0);
}

#define RESERVED_HEAP 0x180000u /* inside usable memory, 512 KiB */

static void is_not_reserved(uint64_t phys)
{
    CHECK(phys < RESERVED_HEAP || phys >= RESERVED_HEAP + KIB(512));
    CHECK(phys < MIB(8) || phys >= MIB(8) + KIB(512));
    CHECK(phys < TEXT_PHYS || phys >= IMAGE_END);
}

TEST(reservations_hold_from_the_first_allocation_on)
{
    static const struct mm_phys_range reserve[] = {{MM_PHYS(RESERVED_HEAP), KIB(512)},
                                                   {MM_PHYS(MIB(8)), KIB(512)}};
    uint64_t hash;

    begin(BIOS_64M);
    m.info.reserve = reserve;
    m.info.reserve_count = 2;
    boot_fill(MIB(8), KIB(512));
    hash = boot_hash(MIB(8), KIB(512));
    start();
    CHECK_EQ(boot_hash(MIB(8), KIB(512)), hash); /* nor did start-up itself take any */
    take_all(is_not_reserved);
}

/* A range inside a reserved range, one that overlaps its end, one that equals it. */
TEST(frames_reserved_twice_are_counted_once)
{
    static const struct mm_phys_range reserve[] = {{MM_PHYS(MIB(8)), MIB(1)},
                                                   {MM_PHYS(MIB(8) + KIB(64)), KIB(128)},
                                                   {MM_PHYS(MIB(9) - KIB(4)), KIB(8)},
                                                   {MM_PHYS(MIB(8)), MIB(1)}};
    uint64_t plain, walked = 0, free = 0;
    enum mm_frame_state state;
    struct mm_phys_range run;
    mm_phys_t cursor = mm_phys(0);
    struct mm_pmm_stats stats;

    begin(BIOS_64M);
    start();
    mm_pmm_get_stats(&mm.pmm, &stats);
    plain = stats.managed_frames;
    begin(BIOS_64M);
    m.info.reserve = reserve;
    m.info.reserve_count = 4;
    start();
    mm_pmm_get_stats(&mm.pmm, &stats);
    CHECK(plain - stats.managed_frames >= MIB(1) / PAGE + 1);
    CHECK(plain - stats.managed_frames <= MIB(1) / PAGE + 2); /* more ranges, more metadata */
    while (mm_pmm_walk(&mm.pmm, &cursor, &run, &state) == MM_OK) {
        CHECK(run.start.raw + run.bytes <= MIB(8) || run.start.raw >= MIB(9) + KIB(4));
        walked += run.bytes / PAGE;
        free += state == MM_FRAME_FREE ? run.bytes / PAGE : 0;
    }
    CHECK_EQ(walked, stats.managed_frames);
    CHECK_EQ(free, stats.free_frames);
    CHECK_EQ(free, mm_pmm_free_frames(&mm.pmm));
}

static void is_no_zero(uint64_t phys)
{
    CHECK(phys != 0);
}

TEST(out_of_memory_is_an_error_and_never_an_address)
{
    mm_phys_t frame = mm_phys(0x1234);

    begin(BIOS_64M);
    start();
    take_all(is_no_zero);
    CHECK_ERR(mm_pmm_alloc_frame(&mm.pmm, &frame), MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_pmm_alloc(&mm.pmm, &(struct mm_frame_request){.order = 9}, &frame),
              MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_pmm_alloc_bulk(&mm.pmm, NULL, 1, &frame), MM_ERR_NO_MEMORY);
    CHECK_EQ(frame.raw, 0x1234);
}

/* ---- page tables ---- */

/* The boot code mapped one GiB; tables made later lie in memory far above it. */
TEST(table_outside_the_boot_mappings_is_reached)
{
    struct mm_map_request request = {.virt = MM_VIRT(0x100000000000 - MIB(2)),
                                     .bytes = PAGE,
                                     .phys = MM_PHYS(MIB(64)),
                                     .prot = MM_PROT_RW};
    struct mm_walk_step steps[MM_WALK_STEPS];
    struct mm_window none = MM_ZERO;
    unsigned count;
    bool high = false;

    begin(BIOS_12G);
    start();
    request.virt = mm_virt(UINT64_C(0xffffff0000000000));
    CHECK_OK(mm_space_map(&mm.kernel, &request, NULL));
    count = mm_space_walk(&mm.kernel, request.virt, steps);
    CHECK_EQ(count, 4);
    for (unsigned i = 0; i < count; i++)
        high = high || steps[i].table.raw >= GIB(1);
    CHECK(high);
    CHECK_EQ(fake_write64(request.virt, 7).phys.raw, MIB(64));
    /* and where a table cannot be reached that is an error, not an access */
    mm_vmm_set_window(&mm.vmm, &none);
    request.virt = mm_virt(UINT64_C(0xffffff8000000000));
    CHECK_ERR(mm_space_map(&mm.kernel, &request, NULL), MM_ERR_WINDOW);
    mm_vmm_set_window(&mm.vmm, &mm.window);
}

TEST(user_pages_work_large_pages_are_no_tables_and_empty_tables_are_freed)
{
    struct mm_map_request page = {
        .virt = MM_VIRT(0x400000), .bytes = PAGE, .prot = MM_PROT_RW | MM_PROT_USER};
    struct mm_map_request large = {.virt = MM_VIRT(0x40000000),
                                   .bytes = MIB(2),
                                   .phys = MM_PHYS(MIB(32)),
                                   .prot = MM_PROT_READ};
    struct mm_space_fail fail = MM_ZERO;
    struct mm_space user;
    uint64_t free;

    begin(BIOS_64M);
    start();
    free = mm_pmm_free_frames(&mm.pmm);
    boot_allow_user_spaces(&mm);
    CHECK_OK(mm_space_create(&mm.vmm, &user, 0));
    page.phys = mm_phys(MIB(34));
    CHECK_OK(mm_space_map(&user, &page, NULL));
    CHECK_OK(mm_space_map(&user, &large, NULL));
    fake_interrupts(false);
    CHECK_OK(mm_space_activate(&user));
    fake_user(true);
    CHECK_EQ(fake_write64(page.virt, 1).fault, FAKE_OK); /* every level grants it */
    CHECK_EQ(fake_fetch(page.virt).fault, FAKE_FETCH_DENIED);
    CHECK_EQ(fake_read64(large.virt).fault, FAKE_USER_DENIED);
    fake_user(false);
    /* a 4 KiB page into the 2 MiB page is refused, not written into its frame */
    page.virt = mm_virt(large.virt.raw + 5 * PAGE);
    CHECK_ERR(mm_space_map(&user, &page, &fail), MM_ERR_EXISTS);
    CHECK_EQ(fail.level, 2);
    CHECK_OK(mm_space_unmap(&user, mm_virt(0x400000), PAGE, 0, NULL, NULL));
    CHECK_OK(mm_space_unmap(&user, large.virt, MIB(2), 0, NULL, NULL));
    CHECK_EQ(user.table_count, 1);
    CHECK_OK(mm_space_activate(&mm.kernel));
    fake_interrupts(true);
    CHECK_OK(mm_space_destroy(&user));
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), free);
    CHECK_EQ(fake_cpu(0)->root.raw % PAGE, 0);
}

TEST(virtual_address_taken_for_a_physical_one_is_refused)
{
    struct mm_map_request request = {.virt = MM_VIRT(0x400000), .bytes = PAGE, .prot = MM_PROT_RW};
    void *block;

    begin(BIOS_64M);
    start();
    block = mm_heap_alloc(&mm.heap, 4096);
    request.phys = mm_phys(mm_virt_of(block).raw & ~(PAGE - 1));
    request.phys.raw |= UINT64_C(0xffff) << 48; /* as in a kernel: the upper half */
    CHECK_ERR(mm_space_map(&mm.kernel, &request, NULL), MM_ERR_RANGE);
    request.phys = mm_phys(UINT64_C(1) << 46); /* the first address that this CPU has not */
    CHECK_ERR(mm_space_map(&mm.kernel, &request, NULL), MM_ERR_RANGE);
    CHECK_EQ(fake_probe(request.virt).fault, FAKE_NOT_PRESENT);
}

TEST(every_frame_is_reachable_however_much_memory_there_is)
{
    uint64_t above_1g = 0, above_2g = 0, above_4g = 0;

    begin(BIOS_12G);
    start();
    for (unsigned i = 0; i < 4000; i++) {
        struct mm_frame_request request = {.count_frames = 512};
        uint64_t *pointer;
        mm_phys_t first;

        if (mm_pmm_alloc(&mm.pmm, &request, &first) != MM_OK)
            break;
        above_1g += first.raw >= GIB(1);
        above_2g += first.raw >= GIB(2);
        above_4g += first.raw >= GIB(4);
        pointer = mm_phys_pointer(&mm, first);
        CHECK(pointer != NULL);
        *pointer = first.raw;
        CHECK_EQ(fake_read64(mm_virt_of(pointer)).value, first.raw);
        CHECK_EQ(fake_read64(mm_virt_of(pointer)).phys.raw, first.raw);
        CHECK_EQ(fake_probe(mm_virt_add(mm_virt_of(pointer), MIB(2) - 8)).phys.raw,
                 first.raw + MIB(2) - 8);
    }
    CHECK(above_1g > 0 && above_2g > 0 && above_4g > 0);
}

static enum mm_err map_page(uint64_t virt, uint64_t phys)
{
    struct mm_map_request request = {
        .virt = mm_virt(virt), .phys = mm_phys(phys), .bytes = PAGE, .prot = MM_PROT_RW};

    return mm_space_map(&mm.kernel, &request, NULL);
}

TEST(part_of_a_large_page_can_be_unmapped_and_a_failed_table_changes_nothing)
{
    const struct mm_frame_request last = {.flags = MM_FRAME_RESERVE};
    uint64_t virt, tables;
    mm_phys_t frame;

    begin(BIOS_64M);
    start();
    /* a page out of the middle of a 2 MiB page of the direct map */
    virt = m.layout.direct_map.start.raw + MIB(16) + 5 * PAGE;
    CHECK_EQ(fake_read64(mm_virt(virt)).level, 2);
    CHECK_OK(mm_space_unmap(&mm.kernel, mm_virt(virt), PAGE, 0, NULL, NULL));
    CHECK_EQ(fake_read64(mm_virt(virt)).fault, FAKE_NOT_PRESENT); /* flushed, too */
    CHECK_EQ(fake_read64(mm_virt(virt - PAGE)).phys.raw, MIB(16) + 4 * PAGE);
    CHECK_EQ(fake_read64(mm_virt(virt + PAGE)).phys.raw, MIB(16) + 6 * PAGE);
    CHECK_OK(map_page(virt, MIB(16) + 5 * PAGE));
    while (mm_pmm_alloc(&mm.pmm, &last, &frame) == MM_OK) /* tables may use all that is kept back */
        ;
    tables = mm.kernel.table_count;
    CHECK_ERR(map_page(UINT64_C(0xffffff0000000000), MIB(2)), MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_space_unmap(&mm.kernel, mm_virt_add(m.layout.direct_map.start, MIB(24)), PAGE, 0,
                             NULL, NULL),
              MM_ERR_NO_MEMORY);
    CHECK_EQ(mm.kernel.table_count, tables);
    CHECK_EQ(fake_probe(mm_virt_add(m.layout.direct_map.start, MIB(24))).phys.raw, MIB(24));
    CHECK_EQ(mm_space_check(&mm.kernel, NULL), 0);
    CHECK_EQ(fake_stale_entries(), 0);
}

/* ---- giving back ---- */

TEST(frame_that_is_given_back_is_free_and_a_pointer_is_no_frame)
{
    mm_phys_t frame;
    uint64_t free;

    begin(BIOS_64M);
    start();
    free = mm_pmm_free_frames(&mm.pmm);
    for (unsigned i = 0; i < 1000; i++) {
        CHECK_OK(mm_pmm_alloc_frame(&mm.pmm, &frame));
        CHECK_OK(mm_pmm_free_frame(&mm.pmm, frame));
        CHECK_EQ(mm_pmm_free_frames(&mm.pmm), free);
    }
    CHECK_OK(mm_pmm_alloc_frame(&mm.pmm, &frame));
    CHECK_ERR(mm_pmm_free_frame(&mm.pmm, mm_phys(mm_virt_of(mm_phys_pointer(&mm, frame)).raw)),
              MM_ERR_MISUSE);
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), free - 1);
}

static bool holds(const uint64_t *runs, unsigned count, uint64_t phys)
{
    for (unsigned i = 0; i < count; i++)
        if (phys >= runs[i] && phys < runs[i] + 4 * PAGE)
            return true;
    return false;
}

static mm_phys_t taken[MIB(64) / PAGE];

/* All memory taken but islands of four frames: each run of four is one of them, once. */
TEST(runs_are_found_where_they_are_and_never_twice)
{
    static const uint64_t island[] = {MIB(18) + 0x3000, MIB(20) + 0xe000, MIB(24),
                                      MIB(28) - 0x2000};
    struct mm_frame_request four = {.count_frames = 4}, five = {.count_frames = 5},
                            long_run = {.count_frames = 100}, last = {.flags = MM_FRAME_RESERVE};
    uint64_t got[4];
    size_t count = 0;
    mm_phys_t first;

    begin(BIOS_64M);
    start();
    CHECK_OK(mm_pmm_alloc(&mm.pmm, &long_run, &first)); /* longer than a byte of a bitmap */
    CHECK_OK(mm_pmm_free(&mm.pmm, first, 100));
    while (mm_pmm_alloc(&mm.pmm, &last, &taken[count]) == MM_OK)
        count++;
    for (size_t i = 0; i < count; i++)
        if (holds(island, 4, taken[i].raw))
            CHECK_OK(mm_pmm_free_frame(&mm.pmm, taken[i]));
    CHECK_ERR(mm_pmm_alloc(&mm.pmm, &five, &first), MM_ERR_NO_MEMORY);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_OK(mm_pmm_alloc(&mm.pmm, &four, &first));
        CHECK(holds(island, 4, first.raw) && holds(island, 4, first.raw + 3 * PAGE));
        for (unsigned j = 0; j < i; j++)
            CHECK(got[j] != first.raw);
        got[i] = first.raw;
    }
    CHECK_ERR(mm_pmm_alloc(&mm.pmm, &four, &first), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_check(&mm.pmm, NULL), 0);
}

/* ---- start-up ---- */

static void is_not_boot_information(uint64_t phys)
{
    CHECK(phys + PAGE <= m.block.raw || phys >= m.block.raw + m.block_bytes);
    for (unsigned i = 0; i < 2; i++)
        CHECK(phys + PAGE <= m.module[i].start.raw ||
              phys >= m.module[i].start.raw + m.module[i].bytes);
    CHECK(phys < TEXT_PHYS || phys >= IMAGE_END);
}

TEST(metadata_and_tables_lie_in_free_memory_only)
{
    static const unsigned dumps[] = {BIOS_64M, UEFI_512M};

    for (unsigned i = 0; i < 2; i++) {
        uint64_t hash;

        begin(dumps[i]);
        hash = boot_hash_kept(&m);
        start();
        CHECK_EQ(boot_hash_kept(&m), hash);
        for (uint32_t r = 0; r < mm.map.count; r++) {
            const struct mm_mem_range *range = &mm.map.range[r];

            if (range->use != MM_USE_EARLY)
                continue;
            CHECK_EQ(range->type, MM_MEM_USABLE);
            for (uint64_t at = 0; at < range->bytes; at += PAGE)
                is_not_boot_information(range->start.raw + at);
        }
        take_all(is_not_boot_information);
    }
}

/* bios-64M: 0 to 0x9fc00 and 0x100000 to 0x3fe0000 are available, all else is not. */
TEST(holes_are_not_counted_as_memory)
{
    struct mm_memmap_totals totals;
    struct mm_pmm_stats stats;

    begin(BIOS_64M);
    start();
    mm_memmap_get_totals(&mm.map, &totals);
    CHECK_EQ(totals.usable_bytes, 0x9f000 + 0x3fe0000 - MIB(1));
    mm_pmm_get_stats(&mm.pmm, &stats);
    CHECK(stats.managed_frames * PAGE <= totals.usable_bytes);
    CHECK(stats.managed_frames * PAGE >
          totals.usable_bytes - (IMAGE_END - TEXT_PHYS) - 0x1c000 - stats.meta_bytes - PAGE * 6);
    begin(BIOS_12G);
    start();
    mm_memmap_get_totals(&mm.map, &totals);
    CHECK_EQ(totals.usable_bytes, 0x9f000 + 0xbffe0000 - MIB(1) + GIB(9));
}

/* ---- heap ---- */

TEST(heap_refuses_pointers_that_are_not_its_own_and_sizes_that_wrap)
{
    static char foreign[64];
    char *block;

    begin(BIOS_64M);
    start();
    block = mm_heap_alloc(&mm.heap, 100);
    void *wrong[] = {foreign, block + 16, block + 1, mm_phys_pointer(&mm, mm_phys(MIB(3)))};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        mm_test_row("pointer", i);
        CHECK_ERR(mm_heap_free(&mm.heap, wrong[i]), MM_ERR_MISUSE);
        CHECK_EQ(mm_test_report_count(), 1);
        mm_test_reports_clear();
    }
    for (size_t less = 0; less < 64; less++) {
        CHECK(mm_heap_alloc(&mm.heap, SIZE_MAX - less) == NULL);
        CHECK(mm_heap_zeroed(&mm.heap, SIZE_MAX - less) == NULL);
        CHECK(mm_heap_realloc(&mm.heap, block, SIZE_MAX - less) == NULL);
    }
    CHECK(mm_heap_array(&mm.heap, SIZE_MAX / 8 + 2, 8) == NULL);
    CHECK_OK(mm_heap_free(&mm.heap, block));
    CHECK_EQ(mm_heap_check(&mm.heap, NULL), 0);
}

TEST(heap_grows_far_beyond_its_first_pages_and_shrinks_again)
{
    void *block[2000];
    uint64_t free;
    size_t i;

    begin(BIOS_64M);
    start();
    free = mm_pmm_free_frames(&mm.pmm);
    for (i = 0; i < 2000; i++) {
        block[i] = mm_heap_alloc(&mm.heap, 10000);
        CHECK(block[i] != NULL);
    }
    CHECK(free - mm_pmm_free_frames(&mm.pmm) >= 2000 * 10000 / PAGE);
    while (i-- > 0)
        CHECK_OK(mm_heap_free(&mm.heap, block[i]));
    (void)mm_heap_trim(&mm.heap);
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), free);
}

static void *from_interrupt;

static void allocate(void *arg)
{
    (void)arg;
    from_interrupt = mm_heap_alloc(&mm.heap, 48);
}

/* a b c side by side: freeing a and c must not swallow b */
TEST(heap_joins_only_neighbours_and_survives_double_frees_and_interrupts)
{
    char *a, *b, *c;

    begin(BIOS_64M);
    start();
    a = mm_heap_alloc(&mm.heap, 200);
    b = mm_heap_alloc(&mm.heap, 200);
    c = mm_heap_alloc(&mm.heap, 200);
    memset(b, 0x5a, 200);
    CHECK_OK(mm_heap_free(&mm.heap, a));
    CHECK_OK(mm_heap_free(&mm.heap, c));
    CHECK_ERR(mm_heap_free(&mm.heap, a), MM_ERR_MISUSE);
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
    for (unsigned i = 0; i < 100; i++) {
        char *other = mm_heap_zeroed(&mm.heap, 300);

        CHECK(other + 300 <= b || other >= b + 200);
    }
    for (unsigned i = 0; i < 200; i++)
        CHECK_EQ(b[i], 0x5a);
    for (uint64_t skip = 0;; skip++) { /* an interrupt at each point of an allocation */
        char *outer;

        from_interrupt = NULL;
        fake_interrupt_once(allocate, NULL, skip);
        outer = mm_heap_alloc(&mm.heap, 48);
        if (fake_interrupt_pending())
            break;
        CHECK(outer != NULL && from_interrupt != NULL && from_interrupt != outer);
    }
    fake_interrupt_set(NULL, NULL);
    CHECK_EQ(mm_heap_check(&mm.heap, NULL), 0);
    CHECK_EQ(mm_pmm_check(&mm.pmm, NULL), 0);
}
