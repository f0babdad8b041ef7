/*
 * test_start.c - mm_start() with its own root, from what GRUB really passes.
 *
 * Problem     A start-up that forgets a reservation works until memory runs out; one that maps a
 *             page too much works until a device is there.
 * Idea        Twelve real information blocks, each in a simulated machine that triple-faults where
 *             a real one does. What must hold is checked page by page against what the dump says,
 *             not against what the library thinks.
 */
#include "boot_machine.h"

static struct boot_machine m;
static struct mm mm;
static struct mm_start_failure why;

static enum mm_err start(void)
{
    enum mm_err err;

    memset(&mm, 0, sizeof mm);
    memset(&why, 0, sizeof why);
    fake_interrupts(false);
    err = mm_start(&mm, &m.info, &why);
    fake_interrupts(true);
    if (err != MM_OK)
        print_message("%s: %s, %s, %#llx\n", mm_start_stage_name(why.stage), mm_err_name(err),
                      why.what, (unsigned long long)why.address);
    return err;
}

static void start_dump(const char *name)
{
    size_t i = 0;

    while (i < BOOT_DUMPS && strcmp(boot_dumps[i].name, name) != 0)
        i++;
    CHECK(i < BOOT_DUMPS);
    boot_from_dump(&m, &boot_dumps[i]);
}

static struct fake_access direct(uint64_t phys)
{
    return fake_probe(mm_virt_add(m.layout.direct_map.start, phys));
}

/* What tag 6 of a BIOS dump calls RAM: `end` of memory below 4 GiB, and above it. */
static bool bios_ram(uint64_t phys, uint64_t low_end, uint64_t high_end)
{
    return phys < 0x9f000 || (phys >= MIB(1) && phys < low_end) ||
           (phys >= GIB(4) && phys < high_end);
}

TEST(start_brings_up_what_every_dump_describes)
{
    for (size_t i = 0; i < BOOT_DUMPS; i++) {
        uint64_t hash, free;
        void *pointer;

        mm_test_row("dump", i);
        boot_from_dump(&m, &boot_dumps[i]);
        hash = boot_hash_kept(&m);
        CHECK_OK(start());
        CHECK_EQ(fake_cpu(0)->root.raw, mm.kernel.root.raw);
        CHECK(mm.kernel.root.raw != TABLES_PHYS);
        CHECK_EQ(mm_check(&mm, NULL), 0);
        CHECK_EQ(fake_stale_entries(), 0);
        free = mm_pmm_free_frames(&mm.pmm);
        CHECK(free > MIB(32) / PAGE && free < m.ram_bytes / PAGE);
        pointer = mm_heap_array(&mm.heap, 100, sizeof(int));
        CHECK(pointer != NULL);
        CHECK_EQ(fake_probe(mm_virt_of(pointer)).fault, FAKE_OK);
        CHECK_OK(mm_heap_free(&mm.heap, pointer));
        CHECK_EQ(boot_hash_kept(&m), hash);
        CHECK_EQ(mm.boot.module_count, 2);
    }
}

/* Text and rodata of the image are not to be written by way of the direct map either. */
static uint32_t direct_prot(uint64_t phys)
{
    return phys >= TEXT_PHYS && phys < DATA_PHYS ? MM_PROT_READ : MM_PROT_RW;
}

TEST(direct_map_shows_what_the_image_may_not_write_read_only)
{
    uint64_t alias;

    start_dump("bios-64M");
    m.segment[1].bytes -= 100; /* rounded up, as in the image */
    CHECK_OK(start());
    alias = m.layout.direct_map.start.raw;
    for (uint64_t phys = TEXT_PHYS; phys <= DATA_PHYS; phys += PAGE) {
        mm_test_row("physical", phys);
        CHECK_EQ(direct(phys).prot, direct_prot(phys));
        CHECK_EQ(fake_write64(mm_virt(alias + phys), 1).fault,
                 direct_prot(phys) == MM_PROT_READ ? FAKE_WRITE_DENIED : FAKE_OK);
    }
    CHECK_EQ(mm_check(&mm, NULL), 0);
    CHECK_EQ(fake_stale_entries(), 0);
}

/* An image part that is no RAM, or lies beyond the direct map, has no alias. */
TEST(image_in_no_ram_starts)
{
    start_dump("bios-64M");
    m.segment[1] = (struct mm_image_segment){mm_virt(KERNEL_BASE + MIB(512)), mm_phys(GIB(3)),
                                             MIB(4), MM_PROT_READ};
    m.segment[0].bytes = DATA_PHYS - TEXT_PHYS;
    CHECK_OK(start());
    CHECK_EQ(direct(GIB(3)).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(direct_map_holds_every_page_of_ram_and_no_other)
{
    static const struct {
        const char *name;
        uint64_t low_end, high_end;
    } rows[] = {
        {"bios-64M", 0x3fe0000, 0},
        {"bios-512M", 0x1ffe0000, 0},
        {"bios-12G", 0xbffe0000, GIB(13)},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t edge[] = {0x9f000, MIB(1),     rows[i].low_end, GIB(1),
                           GIB(3),  0xfd000000, GIB(4),          rows[i].high_end};
        uint64_t step = rows[i].high_end == 0 ? PAGE : MIB(2) - PAGE;

        start_dump(rows[i].name);
        CHECK_OK(start());
        for (uint64_t phys = 0; phys < m.ram_bytes + MIB(4); phys += step) {
            struct fake_access got = direct(phys);

            mm_test_row("physical", phys);
            CHECK_EQ(got.fault == FAKE_OK, bios_ram(phys, rows[i].low_end, rows[i].high_end));
            CHECK(got.fault != FAKE_OK || (got.phys.raw == phys && got.prot == direct_prot(phys) &&
                                           got.type == MM_MEMTYPE_WB));
        }
        for (size_t e = 0; e < sizeof edge / sizeof edge[0]; e++)
            for (uint64_t n = 0; n < 16; n++) {
                uint64_t phys = edge[e] + n * PAGE - 8 * PAGE;

                mm_test_row("physical", phys);
                CHECK_EQ(edge[e] == 0 || (direct(phys).fault == FAKE_OK) ==
                                             bios_ram(phys, rows[i].low_end, rows[i].high_end),
                         1);
            }
    }
}

/* No hole and no device under UEFI either: the framebuffer lies at the end of RAM there. */
TEST(direct_map_holds_no_device)
{
    static const struct {
        const char *name;
        uint64_t device;
    } rows[] = {
        {"uefi-512M-fb", 0x80000000}, {"uefi-q35-4G", 0xc0000000}, {"bios-512M-fb", 0xfd000000},
        {"uefi-64M", 0xa0000},        {"uefi-4G", 0xfee00000},     {"bios-q35-4G", 0xb0000000},
        {"bios-64M", 0xb8000},        {"bios-64M", 0xfffc0000},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mm_test_row("row", i);
        start_dump(rows[i].name);
        CHECK_OK(start());
        CHECK(direct(rows[i].device).fault != FAKE_OK);
        CHECK(mm_phys_pointer(&mm, mm_phys(rows[i].device)) == NULL);
    }
}

TEST(direct_map_uses_the_largest_pages)
{
    struct mm_space_stats stats;

    start_dump("bios-12G");
    CHECK_OK(start());
    mm_space_get_stats(&mm.kernel, &stats);
    CHECK_EQ(stats.leaf_1g, 1 + 9); /* 1 to 2 GiB, 4 to 13 GiB; RAM ends below 3 GiB */
    CHECK(stats.tables < 24);
    start_dump("bios-12G");
    fake_cpu(0)->leaf_levels = 1u << 1 | 1u << 2;
    CHECK_OK(start());
    mm_space_get_stats(&mm.kernel, &stats);
    CHECK_EQ(stats.leaf_1g, 0);
    CHECK(stats.leaf_2m > 12 * 500);
}

/* Every run of the kernel space, and the image page by page. */
TEST(nothing_but_text_is_executable_and_text_is_not_writable)
{
    mm_virt_t cursor = mm_virt(0);
    struct mm_space_run run;
    unsigned executable = 0;

    start_dump("bios-64M");
    CHECK_OK(start());
    while (mm_space_query(&mm.kernel, &cursor, mm_virt(0), &run) == MM_OK) {
        CHECK_EQ(run.prot & MM_PROT_USER, 0);
        if ((run.prot & MM_PROT_EXEC) == 0)
            continue;
        executable++;
        CHECK_EQ(run.virt.raw, KERNEL_BASE + TEXT_PHYS);
        CHECK_EQ(run.bytes, RODATA_PHYS - TEXT_PHYS);
        CHECK_EQ(run.prot, MM_PROT_RX);
    }
    CHECK_EQ(executable, 1);
    for (uint64_t phys = TEXT_PHYS - PAGE; phys <= IMAGE_END; phys += PAGE) {
        struct fake_access got = fake_probe(mm_virt(KERNEL_BASE + phys));

        mm_test_row("image", phys);
        if (phys < TEXT_PHYS || phys == IMAGE_END)
            CHECK_EQ(got.fault, FAKE_NOT_PRESENT);
        else
            CHECK_EQ(got.prot, phys < RODATA_PHYS ? MM_PROT_RX
                               : phys < DATA_PHYS ? MM_PROT_READ
                                                  : MM_PROT_RW);
        CHECK(got.fault != FAKE_OK || got.phys.raw == phys);
    }
    CHECK_EQ(fake_probe(mm_virt(TEXT_PHYS)).fault, FAKE_NOT_PRESENT); /* one to one is gone */
}

/* Take every frame there is, fill it, and the heap until it is full. */
static void exhaust(void)
{
    const struct mm_frame_request reserve = {.flags = MM_FRAME_RESERVE};
    const struct mm_frame_request low = {.highest = MM_HIGHEST_1M, .flags = MM_FRAME_RESERVE};
    mm_phys_t frame;

    for (unsigned i = 0; i < 1000; i++) {
        uint8_t *block = mm_heap_alloc(&mm.heap, 5000);

        if (block != NULL)
            memset(block, 0xee, 5000);
    }
    while (mm_pmm_alloc_frame(&mm.pmm, &frame) == MM_OK ||
           mm_pmm_alloc(&mm.pmm, &reserve, &frame) == MM_OK) {
        void *pointer = mm_phys_pointer(&mm, frame);

        CHECK(pointer != NULL);
        memset(pointer, 0xee, PAGE);
    }
    while (mm_pmm_alloc(&mm.pmm, &low, &frame) == MM_OK) {
        CHECK(frame.raw >= PAGE && frame.raw < MIB(1));
        memset(fake_ram(frame, PAGE), 0xee, PAGE);
    }
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), 0);
    CHECK(mm_heap_alloc(&mm.heap, 1 << 20) == NULL);
}

TEST(boot_information_modules_and_image_survive_when_all_memory_is_used)
{
    static const char *const names[] = {"bios-64M", "uefi-64M", "bios-512M-fb", "uefi-512M-fb"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint64_t hash, bios;

        mm_test_row("dump", i);
        start_dump(names[i]);
        hash = boot_hash_kept(&m);
        bios = boot_hash(0, PAGE);
        CHECK_OK(start());
        exhaust();
        CHECK_EQ(boot_hash_kept(&m), hash);
        CHECK_EQ(boot_hash(0, PAGE), bios);
        CHECK(memcmp(fake_ram(m.block, m.block_bytes), m.copy, m.block_bytes) == 0);
        CHECK_TEXT(mm_boot_text_pointer(&mm.window, mm.boot.command_line), "t=mbi");
        CHECK_EQ(mm.module[0].start.raw, m.module[0].start.raw);
        CHECK_EQ(mm.module[1].bytes, m.module[1].bytes);
        CHECK_EQ(mm_check(&mm, NULL), 0);
        CHECK_EQ(fake_probe(mm_virt(KERNEL_BASE + TEXT_PHYS)).phys.raw, TEXT_PHYS);
    }
}

TEST(keep_list_is_mapped_with_its_type_and_its_ram_is_reserved)
{
    static const struct mm_keep keep[] = {
        {MM_VIRT(0xffffff0000000000), MM_PHYS(0xb8000), 0x8000, MM_PROT_RW, MM_MEMTYPE_UC},
        {MM_VIRT(0x8000), MM_PHYS(0x8000), 0x1000, MM_PROT_RX, MM_MEMTYPE_WB},
        {MM_VIRT(0xffffff0000100000), MM_PHYS(0x2000000), 0x10000, MM_PROT_RW, MM_MEMTYPE_WB},
    };
    static const struct mm_phys_range reserve[] = {{MM_PHYS(0x1800123), 0x4000}};
    uint64_t hash;

    start_dump("bios-64M");
    m.info.keep = keep;
    m.info.keep_count = 3;
    m.info.reserve = reserve;
    m.info.reserve_count = 1;
    boot_fill(0x2000000, 0x10000);
    boot_fill(0x1800000, 0x5000);
    hash = boot_hash(0x2000000, 0x10000) ^ boot_hash(0x1800000, 0x5000) ^ boot_hash(0x8000, PAGE);
    CHECK_OK(start());
    for (size_t i = 0; i < 3; i++)
        for (uint64_t at = 0; at < keep[i].bytes; at += PAGE) {
            struct fake_access got = fake_probe(mm_virt_add(keep[i].virt, at));

            CHECK_EQ(got.phys.raw, keep[i].phys.raw + at);
            CHECK_EQ(got.type, keep[i].type);
            CHECK_EQ(got.prot, keep[i].prot);
        }
    exhaust();
    CHECK_EQ(boot_hash(0x2000000, 0x10000) ^ boot_hash(0x1800000, 0x5000) ^ boot_hash(0x8000, PAGE),
             hash);
}

TEST(old_page_tables_outside_the_image_are_not_handed_out_before_they_are_reclaimed)
{
    uint64_t added = 0, kept = 42, before;

    start_dump("bios-64M");
    boot_tables(0x3000000);
    CHECK_OK(start());
    for (uint64_t i = 0; i < BOOT_TABLES; i++) {
        struct mm_frame_info info;

        mm_pmm_query(&mm.pmm, mm_phys(0x3000000 + i * PAGE), &info);
        CHECK_EQ(info.state, MM_FRAME_UNMANAGED);
    }
    before = mm_pmm_free_frames(&mm.pmm);
    CHECK_OK(mm_reclaim_boot(&mm, MM_RECLAIM_LOADER, &added, &kept));
    CHECK_EQ(added, BOOT_TABLES * PAGE);
    CHECK_EQ(kept, 0);
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), before + BOOT_TABLES);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(kernel_area_is_ready_after_start)
{
    struct mm_dma_request request = {.bytes = 8 * PAGE, .highest = MM_HIGHEST_16M};
    struct mm_space user;
    struct mm_dma dma;
    void *device;

    start_dump("bios-512M");
    CHECK_OK(start());
    CHECK_ERR(mm_space_create(&mm.vmm, &user, 0), MM_ERR_UNSUPPORTED);
    boot_allow_user_spaces(&mm);
    CHECK_OK(mm_space_create(&mm.vmm, &user, 0)); /* from now on top-level entries are fixed */
    CHECK_OK(mm_kmap(&mm.area, mm_phys(0xfed00000), 1024, MM_MEMTYPE_UC, &device));
    CHECK_EQ(fake_probe(mm_virt_of(device)).phys.raw, 0xfed00000);
    CHECK_OK(mm_dma_alloc(&mm.area, &request, &dma));
    CHECK(dma.phys.raw + dma.bytes <= MIB(16));
    CHECK_OK(mm_dma_free(&mm.area, &dma));
    CHECK_OK(mm_kunmap(&mm.area, device));
    CHECK_OK(mm_space_destroy(&user));
    CHECK_EQ(mm_check(&mm, NULL), 0);
    CHECK_EQ(fake_stale_entries(), 0);
}

TEST(tables_taken_early_are_freed_to_the_pmm_later)
{
    struct mm_frame_info info;

    start_dump("bios-64M");
    CHECK_OK(start());
    mm_pmm_query(&mm.pmm, mm.kernel.root, &info);
    CHECK_EQ(info.state, MM_FRAME_ALLOCATED);
    CHECK_EQ(info.count_frames, 1);
    /* the direct map is dismantled as far as its tables go */
    uint64_t before = mm_pmm_free_frames(&mm.pmm), tables = mm.kernel.table_count;

    CHECK_OK(mm_space_unmap(&mm.kernel, mm_virt(KERNEL_BASE + RODATA_PHYS), IMAGE_END - RODATA_PHYS,
                            0, NULL, NULL));
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm) - before, tables - mm.kernel.table_count);
}

static struct mm_report heard;

static void hear(void *context, const struct mm_report *report)
{
    (void)context;
    heard = *report;
}

/* The frames that say who owns which frame are not the PMM's to hand out. */
TEST(metadata_of_the_pmm_cannot_be_freed_and_handed_out)
{
    mm_phys_t meta;

    start_dump("bios-64M");
    CHECK_OK(start());
    CHECK_OK(mm_window_phys(&mm.window, mm.pmm.meta, &meta));
    CHECK_ERR(mm_pmm_free_frame(&mm.pmm, meta), MM_ERR_MISUSE);
    CHECK_TEXT(mm_test_report(0)->what, "freed frame is not managed");
    CHECK_ERR(mm_memmap_give(&mm.map, meta, PAGE), MM_ERR_BUSY);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(checkers_see_a_table_and_a_heap_block_whose_frames_were_freed)
{
    const struct mm_check_sink sink = {hear, NULL};
    struct mm_walk_step step[MM_WALK_STEPS];
    struct mm_frame_info info;
    mm_phys_t phys;
    void *block;

    start_dump("bios-64M");
    CHECK_OK(start());
    CHECK_OK(mm_pmm_free_frame(&mm.pmm, mm.kernel.root));
    CHECK_EQ(mm_space_check(&mm.kernel, &sink), 1);
    CHECK_TEXT(heard.what, "the frame of the root is free");
    CHECK_TEXT(heard.where, "mm_space_check");

    start_dump("bios-64M");
    CHECK_OK(start());
    CHECK(mm_space_walk(&mm.kernel, m.layout.direct_map.start, step) >= 2);
    phys = step[1].table;
    CHECK_OK(mm_pmm_free_frame(&mm.pmm, phys));
    CHECK_EQ(mm_space_check(&mm.kernel, &sink), 1);
    CHECK_TEXT(heard.what, "the frame of a table is free");
    CHECK_EQ(heard.value[0], phys.raw);

    start_dump("bios-64M");
    CHECK_OK(start());
    block = mm_heap_alloc(&mm.heap, 100);
    CHECK_EQ(mm_check(&mm, &sink), 0);
    CHECK_OK(mm_window_phys(&mm.window, block, &phys));
    mm_pmm_query(&mm.pmm, phys, &info);
    CHECK_OK(mm_pmm_free(&mm.pmm, info.first, info.count_frames));
    CHECK_EQ(mm_check(&mm, &sink), 1);
    CHECK_TEXT(heard.what, "a frame of a heap block is free");
    CHECK_TEXT(heard.where, "mm_check");
}

/* Boot mappings marked global, cached while the new root is built: none may outlive the load. */
TEST(global_boot_mappings_are_forgotten_when_the_new_root_is_loaded)
{
    static const uint64_t at[] = {MIB(5), KERNEL_BASE + MIB(5), KERNEL_BASE + RODATA_PHYS};

    start_dump("bios-64M");
    for (unsigned i = 0; i < 512; i++) {
        boot_words(TABLES_PHYS + 3 * PAGE)[i] |= 0x100;
        boot_words(TABLES_PHYS + 4 * PAGE)[i] |= 0x100;
    }
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        fake_watch(mm_virt(at[i]), FAKE_WATCH_READ);
        CHECK_EQ(fake_read64(mm_virt(at[i])).fault, FAKE_OK);
    }
    CHECK_OK(start());
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_EQ(fake_read64(mm_virt(MIB(5))).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(fake_write64(mm_virt(KERNEL_BASE + RODATA_PHYS), 1).fault, FAKE_WRITE_DENIED);
}

TEST(layout_without_a_kernel_area_starts)
{
    void *device = &m;

    start_dump("bios-64M");
    m.layout.kernel_area.bytes = 0;
    CHECK_OK(start());
    CHECK_ERR(mm_kmap(&mm.area, mm_phys(0xfed00000), 1, MM_MEMTYPE_UC, &device), MM_ERR_BAD_ARG);
    CHECK(device == &m);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

/* ---- other ways in ---- */

TEST(start_from_a_map_that_the_caller_filled)
{
    static struct mm_mem_range storage[32];

    boot_begin(&m, MIB(64));
    memset(&mm, 0, sizeof mm);
    CHECK_OK(mm_memmap_init(&mm.map, storage, 32, 46));
    CHECK_OK(mm_memmap_add(&mm.map, mm_phys(0), MIB(64), MM_MEM_USABLE));
    CHECK_OK(mm_start(&mm, &m.info, NULL));
    CHECK_EQ(mm_check(&mm, NULL), 0);
    CHECK(mm_heap_alloc(&mm.heap, 100000) != NULL);
}

TEST(start_from_an_e820_array_keeps_the_array)
{
    struct {
        uint64_t base, bytes;
        uint32_t type;
    } __attribute__((packed))
    entry[] = {{0, 0x9fc00, 1}, {0x9fc00, 0x400, 2}, {0xf0000, 0x10000, 2}, {MIB(1), MIB(63), 1}};
    struct mm_frame_info info;

    boot_begin(&m, MIB(64));
    memcpy(fake_ram(mm_phys(0x2000ff0), sizeof entry), entry, sizeof entry);
    m.info.protocol = MM_BOOT_E820;
    m.info.info = mm_phys(0x2000ff0);
    m.info.info_bytes = sizeof entry;
    m.info.entry_bytes = 20;
    CHECK_OK(start());
    mm_pmm_query(&mm.pmm, mm_phys(0x2000000), &info);
    CHECK_EQ(info.state, MM_FRAME_UNMANAGED);
    mm_pmm_query(&mm.pmm, mm_phys(0x2001000), &info);
    CHECK_EQ(info.state, MM_FRAME_UNMANAGED);
    exhaust();
    CHECK(memcmp(fake_ram(mm_phys(0x2000ff0), sizeof entry), entry, sizeof entry) == 0);
}

TEST(start_from_pvh_information)
{
    /* hvm_start_info version 1, and its map */
    static const uint32_t head[14] = {0x336ec578, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x2800080, 0, 2, 0};
    static const uint64_t map[6] = {0, 0xa0000, 1, MIB(1), MIB(63), 1};

    boot_begin(&m, MIB(64));
    memcpy(fake_ram(mm_phys(0x2800000), sizeof head), head, sizeof head);
    memcpy(fake_ram(mm_phys(0x2800080), sizeof map), map, sizeof map);
    m.info.protocol = MM_BOOT_PVH;
    m.info.info = mm_phys(0x2800000);
    CHECK_OK(start());
    exhaust();
    CHECK(memcmp(fake_ram(mm_phys(0x2800080), sizeof map), map, sizeof map) == 0);
}

TEST(start_twice_is_refused_and_changes_nothing)
{
    uint64_t free;

    start_dump("bios-64M");
    CHECK_OK(start());
    free = mm_pmm_free_frames(&mm.pmm);
    CHECK_ERR(mm_start(&mm, &m.info, &why), MM_ERR_BUSY);
    CHECK_EQ(why.stage, MM_START_ARGUMENTS);
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), free);
    CHECK_EQ(fake_cpu(0)->root.raw, mm.kernel.root.raw);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(two_instances_can_start_one_after_the_other)
{
    static struct mm second;

    start_dump("bios-64M");
    CHECK_OK(start());
    boot_tables(TABLES_PHYS);
    CHECK_OK(mm_start(&second, &m.info, &why)); /* as if the machine were restarted */
    CHECK_EQ(mm_check(&second, NULL), 0);
    CHECK_EQ(fake_cpu(0)->root.raw, second.kernel.root.raw);
}

TEST(every_stage_has_a_name)
{
    for (unsigned a = MM_START_ARGUMENTS; a <= MM_START_HEAP; a++) {
        CHECK(strcmp(mm_start_stage_name((enum mm_start_stage)a), "?") != 0);
        for (unsigned b = MM_START_ARGUMENTS; b < a; b++)
            CHECK(strcmp(mm_start_stage_name((enum mm_start_stage)a),
                         mm_start_stage_name((enum mm_start_stage)b)) != 0);
    }
    CHECK_TEXT(mm_start_stage_name((enum mm_start_stage)0), "?");
    CHECK_TEXT(mm_start_stage_name((enum mm_start_stage)99), "?");
}
