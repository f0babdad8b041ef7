/*
 * test_protocols.c - mm_start() from each boot protocol, on one simulated machine.
 *
 *     256 MiB of RAM, usable but for 0xa0000 - 1 MiB; the information at 0x8000, texts and lists
 *     behind it
 */
#include "boot_machine.h"

#define INFO     UINT64_C(0x8000)
#define RAM      MIB(256)
#define LOADER   MIB(200) /* 1 MiB of the boot loader's own, where it can say so */
#define MODULE   MIB(100)
#define MODULES  UINT64_C(8192)
#define TEXT     "quiet"
#define TEXT_AT  (INFO + 0x800)
#define LIST_AT  (INFO + 0x900)
#define ENTRY_AT (INFO + 0xa00)

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

static void set32(uint64_t phys, uint32_t x)
{
    memcpy(fake_ram(mm_phys(phys), 4), &x, 4);
}

static void set64(uint64_t phys, uint64_t x)
{
    memcpy(fake_ram(mm_phys(phys), 8), &x, 8);
}

static void begin(enum mm_boot_protocol protocol)
{
    boot_begin(&m, RAM);
    m.info.protocol = protocol;
    m.info.info = mm_phys(INFO);
    memset(fake_ram(mm_phys(INFO), 0x1000), 0, 0x1000);
    memcpy(fake_ram(mm_phys(TEXT_AT), 6), TEXT, 6);
}

/* It runs on its own root, everything is sound, and the information is not handed out. */
static void started(void)
{
    struct mm_frame_info found;
    uint64_t free;

    CHECK_OK(start());
    CHECK_EQ(fake_cpu(0)->root.raw, mm.kernel.root.raw);
    CHECK_EQ(mm_check(&mm, NULL), 0);
    free = mm_pmm_free_frames(&mm.pmm);
    CHECK(free > MIB(200) / PAGE && free < RAM / PAGE);
    mm_pmm_query(&mm.pmm, mm_phys(INFO), &found);
    CHECK(found.state != MM_FRAME_FREE);
    CHECK_EQ(mm.boot.block.raw, INFO);
}

static void multiboot1_build(void)
{
    begin(MM_BOOT_MULTIBOOT1);
    m.info.magic = 0x2badb002;
    set32(INFO, 0x4c); /* command line, modules, memory map */
    set32(INFO + 16, TEXT_AT);
    set32(INFO + 20, 1);
    set32(INFO + 24, LIST_AT);
    set32(INFO + 44, 2 * 24);
    set32(INFO + 48, ENTRY_AT);
    set32(LIST_AT, (uint32_t)MODULE);
    set32(LIST_AT + 4, (uint32_t)(MODULE + MODULES));
    set32(ENTRY_AT, 20);
    set64(ENTRY_AT + 12, 0xa0000);
    set32(ENTRY_AT + 20, 1);
    set32(ENTRY_AT + 24, 20);
    set64(ENTRY_AT + 28, MIB(1));
    set64(ENTRY_AT + 36, RAM - MIB(1));
    set32(ENTRY_AT + 44, 1);
}

TEST(start_from_multiboot1)
{
    uint64_t added = 0;

    multiboot1_build();
    started();
    CHECK_TEXT(mm_boot_text_pointer(&mm.window, mm.boot.command_line), TEXT);
    CHECK_EQ(mm.boot.module_count, 1);
    CHECK_EQ(mm.module[0].start.raw, MODULE);
    fake_interrupts(false);
    CHECK_OK(mm_reclaim_boot(&mm, MM_RECLAIM_MODULES, &added, NULL));
    fake_interrupts(true);
    CHECK_EQ(added, MODULES);
}

static void efi_entry(unsigned i, uint32_t type, uint64_t at, uint64_t end)
{
    set32(INFO + 48 * i, type);
    set64(INFO + 48 * i + 8, at);
    set64(INFO + 48 * i + 24, (end - at) / PAGE);
    set64(INFO + 48 * i + 32, 15);
}

static void efi_build(void)
{
    begin(MM_BOOT_EFI);
    m.info.info_bytes = 4 * 48;
    m.info.entry_bytes = 48;
    m.info.entry_version = 1;
    efi_entry(0, 7, 0, 0xa0000);
    efi_entry(1, 4, MIB(1), LOADER); /* boot services: over, so free */
    efi_entry(2, 2, LOADER, LOADER + MIB(1));
    efi_entry(3, 7, LOADER + MIB(1), RAM);
}

TEST(start_from_efi_descriptors)
{
    uint64_t added = 0;

    efi_build();
    started();
    CHECK_EQ(mm.boot.block_bytes, 4 * 48);
    fake_interrupts(false);
    CHECK_OK(mm_reclaim_boot(&mm, MM_RECLAIM_LOADER, &added, NULL));
    fake_interrupts(true);
    CHECK(added >= MIB(1));
}

static void limine_entry(unsigned i, uint64_t at, uint64_t end, uint64_t type)
{
    uint64_t direct = m.info.window.piece[0].virt.raw;

    set64(ENTRY_AT + 24 * i, at);
    set64(ENTRY_AT + 24 * i + 8, end - at);
    set64(ENTRY_AT + 24 * i + 16, type);
    set64(LIST_AT + 8 * i, direct + ENTRY_AT + 24 * i);
    set64(INFO + 8, i + 1);
    set64(INFO + 16, direct + LIST_AT);
}

static void limine_build(void)
{
    begin(MM_BOOT_LIMINE);
    limine_entry(0, 0x1000, 0xa0000, 5);
    limine_entry(1, MIB(1), MODULE, 0);
    limine_entry(2, MODULE, MODULE + MODULES, 6);
    limine_entry(3, MODULE + MODULES, RAM, 0);
}

TEST(start_from_limine)
{
    uint64_t added = 0;

    limine_build();
    started();
    fake_interrupts(false);
    CHECK_OK(mm_reclaim_boot(&mm, MM_RECLAIM_MODULES, &added, NULL));
    CHECK_EQ(added, MODULES);
    CHECK_OK(mm_reclaim_boot(&mm, MM_RECLAIM_LOADER, &added, NULL));
    CHECK_EQ(added, 0x9f000 - PAGE); /* without the frame of the information */
    CHECK_OK(mm_reclaim_boot(&mm, MM_RECLAIM_INFO | MM_RECLAIM_LOADER, &added, NULL));
    CHECK_EQ(added, PAGE);
    fake_interrupts(true);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

/* Nodes come between the reading of the map and the start: the kernel does the first two itself. */
TEST(start_from_a_map_with_nodes)
{
    static uint8_t srat[48 + 2 * 40];
    struct mm_numa numa = {.range = NULL};
    uint32_t length = sizeof srat, domain = 5;
    uint64_t half = RAM / 2;

    multiboot1_build();
    memset(srat, 0, sizeof srat);
    memcpy(srat, "SRAT", 4);
    memcpy(srat + 4, &length, 4);
    srat[8] = 3;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *at = srat + 48 + 40 * i;

        at[0] = 1;
        at[1] = 40;
        memcpy(at + 2, &domain, 4);
        domain += 2;
        if (i == 1)
            memcpy(at + 8, &half, 8);
        memcpy(at + 16, &half, 8);
        at[28] = 1;
    }
    for (size_t i = 0; i < sizeof srat; i++)
        if (i != 9)
            srat[9] = (uint8_t)(srat[9] - srat[i]);

    memset(&mm, 0, sizeof mm);
    CHECK_OK(mm_memmap_init(&mm.map, mm.range, MM_MAP_RANGES, 52));
    CHECK_OK(mm_boot_read_multiboot1(&m.info.window, mm_phys(INFO), &mm.map, &mm.boot, NULL));
    CHECK_OK(mm_numa_read_srat(srat, sizeof srat, &mm.map, &numa, NULL));
    m.info.protocol = MM_BOOT_NONE;
    fake_interrupts(false);
    CHECK_OK(mm_start(&mm, &m.info, &why));
    fake_interrupts(true);
    CHECK_EQ(mm_check(&mm, NULL), 0);
    CHECK_EQ(numa.node_count, 2);
    for (uint16_t node = 0; node < 2; node++) {
        struct mm_frame_request request = {.flags = MM_FRAME_NODE | MM_FRAME_NODE_ONLY};
        mm_phys_t frame;

        request.node = node;
        CHECK_OK(mm_pmm_alloc(&mm.pmm, &request, &frame));
        CHECK_EQ(frame.raw >= RAM / 2, node);
        CHECK_OK(mm_pmm_free_frame(&mm.pmm, frame));
    }
}

TEST(start_says_what_is_wrong_with_the_information)
{
    static void (*const build[])(void) = {multiboot1_build, efi_build, limine_build};
    static const char *const malformed[] = {"memory map ends inside an entry",
                                            "EFI descriptor version is not 1",
                                            "more memory map entries than can be"};

    for (unsigned i = 0; i < 3; i++) {
        mm_test_row("protocol", i);
        build[i]();
        m.info.info = mm_phys(RAM + MIB(1));
        CHECK_ERR(start(), MM_ERR_WINDOW);
        CHECK_EQ(why.stage, MM_START_BOOT_INFO);
        CHECK_TEXT(why.what, "boot information lies outside the window");
        CHECK_EQ(why.address, RAM + MIB(1));
        build[i]();
        set32(INFO + (i == 2 ? 8 : 44), 1 << 20 | 1);
        set32(INFO + 44, i == 2 ? 0 : 25);
        m.info.entry_version = 2;
        CHECK_ERR(start(), MM_ERR_MALFORMED);
        CHECK_TEXT(why.what, malformed[i]);
        CHECK_TEXT(why.boot.what, malformed[i]);
    }
    efi_build();
    m.info.info_bytes = 0;
    CHECK_ERR(start(), MM_ERR_NOT_FOUND);
}
