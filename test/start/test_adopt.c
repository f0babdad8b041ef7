/*
 * test_adopt.c - mm_start() that goes on with the page tables it finds.
 *
 * Problem     Tables that somebody else made must stay what they are, must never be handed out, and
 *             may show only a part of the RAM.
 * Idea        The boot stub's tables in the image, and in memory that the map calls usable; a window
 *             smaller than the RAM; every frame taken and filled, and the old mappings used again.
 */
#include "boot_machine.h"

static struct boot_machine m;
static struct mm mm;
static struct mm_start_failure why;

static enum mm_err start(void)
{
    enum mm_err err;

    memset(&mm, 0, sizeof mm);
    fake_interrupts(false);
    err = mm_start(&mm, &m.info, &why);
    fake_interrupts(true);
    if (err != MM_OK)
        print_message("%s: %s, %s, %#llx\n", mm_start_stage_name(why.stage), mm_err_name(err),
                      why.what, (unsigned long long)why.address);
    return err;
}

static void begin(uint64_t tables)
{
    boot_from_dump(&m, &boot_dumps[0]); /* bios-64M */
    boot_tables(tables);
    m.info.root = MM_ROOT_ADOPT;
}

static void take_and_fill_all(void)
{
    const struct mm_frame_request request = {.flags = MM_FRAME_RESERVE};
    struct mm_pmm_stats stats;
    mm_phys_t frame;

    while (mm_pmm_alloc_frame(&mm.pmm, &frame) == MM_OK ||
           mm_pmm_alloc(&mm.pmm, &request, &frame) == MM_OK)
        memset(fake_ram(frame, PAGE), 0xee, PAGE);
    mm_pmm_get_stats(&mm.pmm, &stats);
    CHECK_EQ(stats.free_frames, stats.zone_free_frames[MM_ZONE_LOW]);
}

TEST(adopted_root_stays_loaded_and_keeps_its_mappings)
{
    begin(TABLES_PHYS);
    CHECK_OK(start());
    CHECK_EQ(fake_cpu(0)->root.raw, TABLES_PHYS);
    CHECK_EQ(mm.kernel.root.raw, TABLES_PHYS);
    CHECK_EQ(mm.window.count, 1);
    CHECK_EQ(mm.window.piece[0].virt.raw, m.info.window.piece[0].virt.raw);
    CHECK_EQ(fake_read64(mm_virt(MIB(5))).phys.raw, MIB(5));
    CHECK_EQ(fake_read64(mm_virt(KERNEL_BASE + MIB(5))).phys.raw, MIB(5));
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

/* Something is mapped where the kernel area is to be; the lower half is global, used and written. */
TEST(adopting_start_that_fails_leaves_the_tables_as_they_were)
{
    uint64_t *low;
    uint64_t hash;

    begin(TABLES_PHYS);
    low = boot_words(TABLES_PHYS + 3 * PAGE);
    for (unsigned i = 0; i < 512; i++)
        low[i] |= 0x160;
    boot_words(TABLES_PHYS)[448] = (TABLES_PHYS + PAGE) | 3;
    hash = boot_hash(TABLES_PHYS, BOOT_TABLES * PAGE);
    CHECK_ERR(start(), MM_ERR_EXISTS);
    CHECK_EQ(why.stage, MM_START_ROOT);
    CHECK_EQ(boot_hash(TABLES_PHYS, BOOT_TABLES * PAGE), hash);
}

TEST(adopted_tables_are_never_handed_out)
{
    static const uint64_t places[] = {TABLES_PHYS, 0x500000, 0x3fdb000, 0x10000};

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        mm_test_row("tables at", places[i]);
        begin(places[i]);
        CHECK_OK(start());
        take_and_fill_all();
        CHECK_EQ(fake_read64(mm_virt(MIB(5))).phys.raw, MIB(5));
        CHECK_EQ(fake_read64(mm_virt(KERNEL_BASE + TEXT_PHYS)).phys.raw, TEXT_PHYS);
        CHECK_EQ(mm_check(&mm, NULL), 0);
    }
}

TEST(adopted_tables_are_not_freed_when_they_become_empty)
{
    uint64_t free;

    begin(0x500000);
    CHECK_OK(start());
    free = mm_pmm_free_frames(&mm.pmm);
    CHECK_OK(mm_space_unmap(&mm.kernel, mm_virt(0), GIB(1), 0, NULL, NULL));
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), free);
    CHECK(fake_read64(mm_virt(MIB(5))).fault != FAKE_OK);
    CHECK_EQ(mm_test_report_count(), 0);
    CHECK_EQ(mm_pmm_check(&mm.pmm, NULL), 0);
}

TEST(kernel_area_works_under_an_adopted_root)
{
    struct mm_dma_request request = {.bytes = 3 * PAGE, .type = MM_MEMTYPE_UC};
    struct mm_space user;
    struct mm_dma dma;
    void *device;

    begin(TABLES_PHYS);
    CHECK_OK(start());
    CHECK_OK(mm_space_create(&mm.vmm, &user, 0));
    CHECK_OK(mm_kmap(&mm.area, mm_phys(0xfed00000), 1024, MM_MEMTYPE_UC, &device));
    CHECK_OK(mm_dma_alloc(&mm.area, &request, &dma));
    fake_interrupts(false);
    CHECK_OK(mm_space_activate(&user)); /* the area is seen in every space */
    CHECK_EQ(fake_probe(mm_virt_of(device)).phys.raw, 0xfed00000);
    CHECK_OK(mm_space_activate(&mm.kernel));
    fake_interrupts(true);
    CHECK_OK(mm_dma_free(&mm.area, &dma));
    CHECK_OK(mm_kunmap(&mm.area, device));
    CHECK_OK(mm_space_destroy(&user));
    CHECK_EQ(mm_space_check(&mm.kernel, NULL), 0);
    CHECK_EQ(fake_stale_entries(), 0);
}

/* The window shows 16 of 64 MiB: tables, spans and the heap must stay inside it. */
TEST(heap_and_tables_stay_inside_a_window_smaller_than_the_ram)
{
    uint64_t end = MIB(16), blocks = 0;
    mm_phys_t frame;
    void *device;

    begin(TABLES_PHYS);
    m.info.window.piece[0].bytes = end;
    CHECK_OK(start());
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(mm_kmap(&mm.area, mm_phys(0xfed00000 + i * MIB(1)), 8, MM_MEMTYPE_UC, &device));
    for (void *block; (block = mm_heap_alloc(&mm.heap, 10000)) != NULL; blocks++) {
        mm_phys_t phys;

        CHECK(fake_ram_phys(block, &phys));
        CHECK(phys.raw + 10000 <= end);
    }
    CHECK(blocks > MIB(8) / 10000);
    CHECK_OK(mm_pmm_alloc_frame(&mm.pmm, &frame)); /* the rest is there, for who needs no pointer */
    CHECK(mm_phys_pointer(&mm, mm_phys(end)) == NULL);
    CHECK(mm_phys_pointer(&mm, mm_phys(end - 1)) != NULL);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

/* The PMM's best frames lie outside the window, which the zeroing must not need. */
TEST(zeroed_dma_memory_may_lie_outside_a_window_smaller_than_the_ram)
{
    struct mm_dma_request request = {.bytes = 3 * PAGE, .flags = MM_FRAME_ZERO};
    struct mm_dma dma;

    boot_from_dump(&m, &boot_dumps[3]); /* bios-4G: the window shows the first GiB */
    m.info.root = MM_ROOT_ADOPT;
    CHECK_OK(start());
    CHECK_OK(mm_dma_alloc(&mm.area, &request, &dma));
    CHECK(dma.phys.raw >= GIB(4));
    CHECK(mm_phys_pointer(&mm, dma.phys) == NULL);
    CHECK_EQ(fake_read64(mm_virt_of(dma.pointer)).phys.raw, dma.phys.raw);
    CHECK_OK(mm_dma_free(&mm.area, &dma));
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

/* 0 to 4 MiB and 32 to 48 MiB of 64: frames lie free in front of, between and behind the pieces. */
TEST(heap_uses_every_piece_of_a_window_with_several)
{
    const struct mm_window_piece *all = &fake_window()->piece[0];
    uint64_t bytes = 0, inside[2] = {0, 0}, free = 0;
    void *block;

    begin(TABLES_PHYS);
    memset(&m.info.window, 0, sizeof m.info.window);
    CHECK_OK(mm_window_add(&m.info.window, mm_phys(0), MIB(4), all->virt));
    CHECK_OK(
        mm_window_add(&m.info.window, mm_phys(MIB(32)), MIB(16), mm_virt_add(all->virt, MIB(32))));
    CHECK_OK(start());
    while ((block = mm_heap_alloc(&mm.heap, 60000)) != NULL) {
        mm_phys_t phys;

        CHECK(fake_ram_phys(block, &phys));
        CHECK(phys.raw + 60000 <= MIB(4) || (phys.raw >= MIB(32) && phys.raw + 60000 <= MIB(48)));
        inside[phys.raw >= MIB(32)]++;
        bytes += 60000;
    }
    CHECK(bytes > MIB(14));
    CHECK(inside[0] > 0 && inside[1] > 0);
    while (mm_heap_alloc(&mm.heap, 1) != NULL)
        ;
    for (uint64_t at = MIB(1); at < MIB(48); at = at == MIB(4) - PAGE ? MIB(32) : at + PAGE) {
        struct mm_frame_info info;

        mm_pmm_query(&mm.pmm, mm_phys(at), &info);
        free += info.state == MM_FRAME_FREE ? 1 : 0;
    }
    CHECK_EQ(free, 0); /* the last page of the window was found */
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(adopted_root_that_maps_something_in_the_kernel_area_is_refused)
{
    struct mm_start_failure *w = &why;
    uint64_t *root;

    begin(TABLES_PHYS);
    root = boot_words(TABLES_PHYS);
    root[448] = (TABLES_PHYS + PAGE) | 3; /* 0xffffe00000000000, the same as at 0 */
    CHECK_ERR(start(), MM_ERR_EXISTS);
    CHECK_EQ(w->stage, MM_START_ROOT);
    CHECK_EQ(w->address, UINT64_C(0xffffe00000000000));
    CHECK_EQ(fake_cpu(0)->root.raw, TABLES_PHYS);
    CHECK_EQ(root[448], (TABLES_PHYS + PAGE) | 3);
}

TEST(adopted_root_that_refers_to_itself_is_refused)
{
    begin(TABLES_PHYS);
    boot_words(TABLES_PHYS)[300] = TABLES_PHYS | 3;
    CHECK_ERR(start(), MM_ERR_MALFORMED);
    CHECK_EQ(why.stage, MM_START_ROOT);
    CHECK_EQ(fake_cpu(0)->root.raw, TABLES_PHYS);
}

/* ---- boot memory ---- */

static uint64_t added, kept;

static enum mm_err reclaim(uint32_t what)
{
    added = kept = 42;
    return mm_reclaim_boot(&mm, what, &added, &kept);
}

TEST(reclaim_keeps_the_tables_of_an_adopted_root)
{
    begin(0x500000);
    CHECK_OK(start());
    CHECK_ERR(reclaim(MM_RECLAIM_LOADER), MM_ERR_BUSY);
    CHECK_EQ(added, 42);
    CHECK_OK(reclaim(MM_RECLAIM_LOADER | MM_RECLAIM_MODULES));
    CHECK_EQ(kept, BOOT_TABLES * PAGE +
                       PAGE); /* and the page that the information shares with a module */
    take_and_fill_all();
    CHECK_EQ(fake_read64(mm_virt(MIB(5))).phys.raw, MIB(5));
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(reclaim_later_adds_what_was_kept)
{
    begin(0x500000);
    CHECK_OK(start());
    CHECK_OK(reclaim(MM_RECLAIM_LOADER | MM_RECLAIM_MODULES));
    /* the lower mappings go, and with them two of the five tables */
    CHECK_OK(mm_space_unmap(&mm.kernel, mm_virt(0), GIB(1), 0, NULL, NULL));
    CHECK_OK(reclaim(MM_RECLAIM_LOADER));
    CHECK_EQ(added, 2 * PAGE);
    CHECK_EQ(kept, 3 * PAGE);
    CHECK_OK(reclaim(MM_RECLAIM_INFO | MM_RECLAIM_MODULES));
    CHECK_EQ(kept, 0);
    CHECK_EQ(added, PAGE); /* the shared page */
    CHECK_OK(reclaim(MM_RECLAIM_INFO | MM_RECLAIM_MODULES));
    CHECK_EQ(added + kept, 0);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

/* 0x33b000 to 0x33c388 and 0x33d000 to 0x3556a0, in whole pages; the information from 0x33c390 */
TEST(reclaim_of_modules_spares_the_boot_information_in_the_same_page)
{
    uint64_t hash;
    mm_phys_t scratch;

    begin(TABLES_PHYS);
    CHECK_OK(start());
    CHECK_OK(mm_pmm_alloc_frame(&mm.pmm, &scratch));
    hash = boot_hash(m.block.raw, m.block_bytes);
    CHECK_OK(reclaim(MM_RECLAIM_MODULES));
    CHECK_EQ(added, PAGE + 0x19000);
    CHECK_EQ(kept, PAGE);
    take_and_fill_all();
    CHECK_EQ(boot_hash(m.block.raw, m.block_bytes), hash);
    CHECK_ERR(reclaim(MM_RECLAIM_INFO | MM_RECLAIM_MODULES), MM_ERR_NO_MEMORY);
    CHECK_OK(mm_pmm_free_frame(&mm.pmm, scratch));
    CHECK_OK(reclaim(MM_RECLAIM_INFO | MM_RECLAIM_MODULES));
    CHECK_EQ(added, PAGE);
    CHECK_EQ(mm_pmm_check(&mm.pmm, NULL), 0);
}

TEST(reclaim_of_the_information_spares_a_module_in_the_same_page)
{
    uint64_t hash;

    begin(TABLES_PHYS);
    CHECK_OK(start());
    hash = boot_hash(m.module[0].start.raw, m.module[0].bytes);
    CHECK_ERR(reclaim(MM_RECLAIM_INFO), MM_ERR_BUSY); /* it is all in that page */
    take_and_fill_all();
    CHECK_EQ(boot_hash(m.module[0].start.raw, m.module[0].bytes), hash);
}

/* ---- what the boot information points to, in frames of a module ---- */

#define PVH_INFO   UINT64_C(0x500000)
#define PVH_MAP    UINT64_C(0x600800) /* in the first frame of the module */
#define PVH_LIST   UINT64_C(0x604100) /* in its last one, as the texts */
#define PVH_LINE   UINT64_C(0x604200)
#define PVH_TEXT   UINT64_C(0x604300)
#define PVH_MODULE UINT64_C(0x600900) /* to 0x604100 */

static void begin_pvh(void)
{
    uint64_t *start, *map, *list;

    boot_begin(&m, MIB(64));
    start = boot_words(PVH_INFO);
    map = fake_ram(mm_phys(PVH_MAP), 24);
    list = fake_ram(mm_phys(PVH_LIST), 32);
    memset(start, 0, PAGE);
    start[0] = UINT64_C(1) << 32 | 0x336ec578; /* version, magic */
    start[1] = UINT64_C(1) << 32;              /* one module */
    start[2] = PVH_LIST;
    start[3] = PVH_LINE;
    start[5] = PVH_MAP;
    start[6] = 1;
    map[0] = 0;
    map[1] = MIB(64);
    map[2] = 1;
    list[0] = PVH_MODULE;
    list[1] = PVH_LIST - PVH_MODULE;
    list[2] = PVH_TEXT;
    list[3] = 0;
    strcpy(fake_ram(mm_phys(PVH_LINE), 16), "root=/dev/ram");
    strcpy(fake_ram(mm_phys(PVH_TEXT), 16), "initrd");
    m.info.protocol = MM_BOOT_PVH;
    m.info.info = mm_phys(PVH_INFO);
}

TEST(reclaim_of_modules_spares_lists_and_texts_in_their_frames)
{
    begin_pvh();
    CHECK_OK(start());
    CHECK_OK(reclaim(MM_RECLAIM_MODULES));
    CHECK_EQ(added, 3 * PAGE);
    CHECK_EQ(kept, 2 * PAGE); /* the first and the last of five */
    take_and_fill_all();
    CHECK_TEXT(mm_boot_text_pointer(&mm.window, mm.boot.command_line), "root=/dev/ram");
    CHECK_TEXT(mm_boot_text_pointer(&mm.window, mm.module[0].text), "initrd");
    CHECK_EQ(*(uint64_t *)fake_ram(mm_phys(PVH_MAP + 8), 8), MIB(64));
    CHECK_EQ(*(uint64_t *)fake_ram(mm_phys(PVH_LIST), 8), PVH_MODULE);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(reclaim_of_the_information_spares_modules_that_lists_and_texts_share_frames_with)
{
    uint64_t hash;

    begin_pvh();
    CHECK_OK(start());
    hash = boot_hash(PVH_MODULE, PVH_LIST - PVH_MODULE);
    CHECK_OK(reclaim(MM_RECLAIM_INFO));
    CHECK_EQ(added, PAGE); /* of start_info alone */
    CHECK_EQ(kept, 2 * PAGE);
    take_and_fill_all();
    CHECK_EQ(boot_hash(PVH_MODULE, PVH_LIST - PVH_MODULE), hash);
}

TEST(reclaim_of_modules_and_information_takes_the_frames_of_both)
{
    begin_pvh();
    CHECK_OK(start());
    CHECK_OK(reclaim(MM_RECLAIM_INFO | MM_RECLAIM_MODULES));
    CHECK_EQ(added, 6 * PAGE);
    CHECK_EQ(kept, 0);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

/* A frame that was handed over may be a page table now, and so in use: it is the PMM's. */
TEST(reclaim_again_does_not_count_what_the_pmm_got_before)
{
    struct mm_map_request request = {.virt = mm_virt(UINT64_C(0xffffa00000000000)),
                                     .phys = mm_phys(GIB(8)),
                                     .bytes = PAGE,
                                     .prot = MM_PROT_RW};
    mm_phys_t frame, table;

    begin(0x500000);
    m.info.root = MM_ROOT_OWN;
    CHECK_OK(start());
    while (mm_pmm_alloc_frame(&mm.pmm, &frame) == MM_OK)
        table = frame; /* the last one goes back for the scratch map */
    CHECK_OK(mm_pmm_free_frame(&mm.pmm, table));
    CHECK_OK(reclaim(MM_RECLAIM_INFO | MM_RECLAIM_MODULES));
    CHECK(added > 4 * PAGE && kept == 0);
    CHECK_OK(mm_pmm_alloc_frame(&mm.pmm, &frame));
    CHECK_OK(mm_space_map(&mm.kernel, &request, NULL)); /* tables from what was reclaimed */
    CHECK_OK(reclaim(MM_RECLAIM_INFO | MM_RECLAIM_MODULES));
    CHECK_EQ(added + kept, 0);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

/* The image ends at 0x32f000, and a module begins at 0x33b000. */
TEST(reclaim_on_a_stack_at_the_end_of_the_image_keeps_nothing_beside_it)
{
    static const struct fake_anchor anchor[] = {
        {MM_VIRT(KERNEL_BASE + TEXT_PHYS), 1, MM_PROT_EXEC},
        {MM_VIRT(KERNEL_BASE + IMAGE_END - 16), 8, MM_PROT_WRITE},
        {MM_VIRT(KERNEL_BASE + GDT_PHYS), 40, MM_PROT_READ},
    };

    begin(TABLES_PHYS);
    fake_anchors(anchor, 3, false);
    CHECK_OK(start());
    CHECK_OK(reclaim(MM_RECLAIM_INFO | MM_RECLAIM_MODULES));
    CHECK_EQ(kept, 0);
    CHECK_OK(reclaim(MM_RECLAIM_LOADER));
    CHECK_EQ(added + kept, 0);
}

/* The stack of the boot code in memory that the loader owns: in use while it is used. */
TEST(reclaim_keeps_the_stack_in_use)
{
    struct fake_anchor anchor[] = {
        {mm_virt(KERNEL_BASE + TEXT_PHYS), 1, MM_PROT_EXEC},
        {mm_virt(0x600ff0), 8, MM_PROT_WRITE},
        {mm_virt(KERNEL_BASE + GDT_PHYS), 40, MM_PROT_READ},
    };

    begin(TABLES_PHYS);
    fake_anchors(anchor, 3, false);
    CHECK_OK(start());
    CHECK_ERR(reclaim(MM_RECLAIM_LOADER), MM_ERR_BUSY);
    anchor[1].virt = mm_virt(KERNEL_BASE + STACK_PHYS + 0xff0);
    fake_anchors(anchor, 3, false);
    CHECK_OK(reclaim(MM_RECLAIM_LOADER));
    CHECK_EQ(added, 33 * PAGE); /* 64 KiB on either side of the page */
    CHECK_EQ(kept, 0);
}

/* A stack of the loader, 16 KiB at 40 MiB, its pointer in the second page. */
#define LOADER_STACK UINT64_C(0x2800000)

static void begin_on_loader_stack(enum mm_mem_type type)
{
    static const struct fake_anchor anchor[] = {
        {MM_VIRT(KERNEL_BASE + TEXT_PHYS), 1, MM_PROT_EXEC},
        {MM_VIRT(LOADER_STACK + 0x1ff0), 8, MM_PROT_WRITE},
        {MM_VIRT(KERNEL_BASE + GDT_PHYS), 40, MM_PROT_READ},
    };

    boot_begin(&m, MIB(64));
    fake_anchors(anchor, 3, false);
    memset(&mm, 0, sizeof mm);
    CHECK_OK(mm_memmap_init(&mm.map, mm.range, MM_MAP_RANGES, 46));
    CHECK_OK(mm_memmap_add(&mm.map, mm_phys(0), MIB(64), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(&mm.map, mm_phys(LOADER_STACK), KIB(16), type));
    m.info.root = MM_ROOT_ADOPT;
}

static enum mm_err start_with_map(void)
{
    enum mm_err err;

    fake_interrupts(false);
    err = mm_start(&mm, &m.info, &why);
    fake_interrupts(true);
    return err;
}

static void stack_is_kept(void)
{
    uint64_t hash = boot_hash(LOADER_STACK, KIB(16));

    take_and_fill_all();
    CHECK_EQ(boot_hash(LOADER_STACK, KIB(16)), hash);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

/* The frames of those who called mm_start() lie in other pages than the stack pointer. */
TEST(start_on_a_stack_in_usable_memory_hands_out_no_page_of_it)
{
    begin_on_loader_stack(MM_MEM_USABLE);
    CHECK_OK(start_with_map());
    stack_is_kept();
}

TEST(reclaim_on_a_stack_of_the_loader_hands_out_no_page_of_it)
{
    begin_on_loader_stack(MM_MEM_BOOT_RECLAIM);
    CHECK_OK(start_with_map());
    CHECK_ERR(reclaim(MM_RECLAIM_LOADER), MM_ERR_BUSY);
    stack_is_kept();
}

/* 1 MiB, which no rule about stacks covers: the keep list is for it, under an adopted root too. */
TEST(keep_list_keeps_a_large_stack_under_an_adopted_root)
{
    const uint64_t start = LOADER_STACK - MIB(1) + KIB(16), bytes = MIB(1);
    const struct mm_keep keep = {
        .virt = mm_virt(start), .phys = mm_phys(start), .bytes = bytes, .prot = MM_PROT_RW};
    uint64_t hash;

    begin_on_loader_stack(MM_MEM_BOOT_RECLAIM);
    m.info.keep = &keep;
    m.info.keep_count = 1;
    CHECK_OK(start_with_map());
    /* There is nothing else of the loader's but what may be stack behind the list. */
    CHECK_ERR(reclaim(MM_RECLAIM_LOADER), MM_ERR_BUSY);
    hash = boot_hash(start, bytes);
    take_and_fill_all();
    CHECK_EQ(boot_hash(start, bytes), hash);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(reclaim_of_acpi_tables_adds_them_once)
{
    uint64_t free;

    boot_from_dump(&m, &boot_dumps[6]); /* uefi-64M */
    CHECK_OK(start());
    free = mm_pmm_free_frames(&mm.pmm);
    CHECK_OK(reclaim(MM_RECLAIM_ACPI));
    CHECK(added > 0 && kept == 0);
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), free + added / PAGE);
    CHECK_OK(reclaim(MM_RECLAIM_ACPI));
    CHECK_EQ(added, 0);
}

/* The tables end 256 bytes into a frame of which the rest is a hole. */
TEST(reclaim_of_acpi_tables_adds_no_frame_that_is_memory_in_part)
{
    struct mm_frame_info info;

    begin_on_loader_stack(MM_MEM_BOOT_RECLAIM);
    CHECK_OK(mm_memmap_init(&mm.map, mm.range, MM_MAP_RANGES, 46));
    CHECK_OK(mm_memmap_add(&mm.map, mm_phys(0), MIB(48), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(&mm.map, mm_phys(MIB(48)), 0x1100, MM_MEM_ACPI_RECLAIM));
    m.info.root = MM_ROOT_OWN;
    boot_anchors();
    CHECK_OK(start_with_map());
    CHECK(mm_phys_pointer(&mm, mm_phys(MIB(48) + 0x10ff)) != NULL); /* to be read */
    CHECK_OK(reclaim(MM_RECLAIM_ACPI));
    CHECK_EQ(added, PAGE);
    CHECK_EQ(kept, 0);
    mm_pmm_query(&mm.pmm, mm_phys(MIB(48) + PAGE), &info);
    CHECK_EQ(info.state, MM_FRAME_UNMANAGED);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(reclaim_of_nothing_or_of_unknown_words_is_refused)
{
    static struct mm zero;

    begin(TABLES_PHYS);
    CHECK_OK(start());
    CHECK_ERR(reclaim(0), MM_ERR_BAD_ARG);
    CHECK_ERR(reclaim(16), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_reclaim_boot(NULL, 1, NULL, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_reclaim_boot(&zero, 1, NULL, NULL), MM_ERR_BAD_ARG);
    CHECK_OK(mm_reclaim_boot(&mm, MM_RECLAIM_INFO | MM_RECLAIM_MODULES, NULL, NULL));
}
