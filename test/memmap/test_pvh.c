/*
 * test_pvh.c - start_info structs in a window over a buffer.
 *
 *     physical 0x10000 ...                 0x13000           0x20000 0x21000
 *     | start_info | map | modules | texts | (not in window)   | RSDP  |
 */
#include "memory.h"

#define TEXTS UINT64_C(0x12f00)
#define RSDP  UINT64_C(0x20010)

#define START FIRST
#define MAP   (FIRST + 0x100)
#define LIST  (FIRST + 0x800)

static void set_entry(unsigned i, uint64_t start, uint64_t bytes, uint32_t type)
{
    set64(MAP + 24 * i, start);
    set64(MAP + 24 * i + 8, bytes);
    set32(MAP + 24 * i + 16, type);
    set32(MAP + 24 * i + 20, 0xffffffff); /* reserved: ignored */
}

static void set_module(unsigned i, uint64_t start, uint64_t bytes, uint64_t text)
{
    set64(LIST + 32 * i, start);
    set64(LIST + 32 * i + 8, bytes);
    set64(LIST + 32 * i + 16, text);
}

/* A good start_info: two entries, two modules, a command line, a new root pointer. */
static void build(void)
{
    memory_build();
    set32(START, 0x336ec578);
    set32(START + 4, 1);
    set32(START + 8, 0);
    set32(START + 12, 2);
    set64(START + 16, LIST);
    set64(START + 24, TEXTS);
    set64(START + 32, RSDP);
    set64(START + 40, MAP);
    set32(START + 48, 2);
    set_entry(0, 0, 0xa0000, 1);
    set_entry(1, MIB(1), MIB(127), 1);
    set_module(0, MIB(8), 5000, TEXTS + 16);
    set_module(1, MIB(16), 1, 0);
    memcpy(at(TEXTS), "console=ttyS0", 14);
    memcpy(at(TEXTS + 16), "initrd", 7);
    memcpy(at(RSDP), "RSD PTR ", 8);
    *at(RSDP + 15) = 2;
}

static enum mm_err read_start(void)
{
    return memory_read(mm_boot_read_pvh, START);
}

static void refused(enum mm_err err, const char *what, uint64_t offset)
{
    memory_refused(mm_boot_read_pvh, START, err, what, offset);
}

TEST(pvh_start_info_is_read_and_all_it_points_to_reserved)
{
    struct mm_boot_module module[2];

    build();
    (void)map_init(&m, ROOM, BITS);
    info = (struct mm_boot_info){.module = module, .module_capacity = 2};
    CHECK_OK(mm_boot_read_pvh(&window, mm_phys(START), &m.map, &info, NULL));
    MAP_IS(&m.map, {{0, 0x10000, MM_MEM_USABLE, 0, 0},
                    {0x10000, 0x11000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x11000, 0x12000, MM_MEM_USABLE, 0, 0},
                    {0x12000, 0x13000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x13000, 0x20000, MM_MEM_USABLE, 0, 0},
                    {0x20000, 0x21000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x21000, 0xa0000, MM_MEM_USABLE, 0, 0},
                    {MIB(1), MIB(8), MM_MEM_USABLE, 0, 0},
                    {MIB(8), MIB(8) + 0x2000, MM_MEM_USABLE, MM_USE_MODULE, 0},
                    {MIB(8) + 0x2000, MIB(16), MM_MEM_USABLE, 0, 0},
                    {MIB(16), MIB(16) + 0x1000, MM_MEM_USABLE, MM_USE_MODULE, 0},
                    {MIB(16) + 0x1000, MIB(128), MM_MEM_USABLE, 0, 0}});
    CHECK_EQ(info.block.raw, START);
    CHECK_EQ(info.block_bytes, 56);
    CHECK_EQ(info.map_entries, 2);
    CHECK_EQ(info.module_count, 2);
    CHECK_EQ(module[0].start.raw, MIB(8));
    CHECK_EQ(module[0].bytes, 5000);
    CHECK_TEXT(mm_boot_text_pointer(&window, module[0].text), "initrd");
    CHECK_TEXT(mm_boot_text_pointer(&window, module[1].text), "");
    CHECK_TEXT(mm_boot_text_pointer(&window, info.command_line), "console=ttyS0");
    CHECK_EQ(info.rsdp.raw, RSDP);
    CHECK_EQ(info.rsdp_bytes, 36);
}

TEST(pvh_null_pointers_mean_nothing_there)
{
    build();
    set32(START + 12, 0);
    set64(START + 16, 0);
    set64(START + 24, 0);
    set64(START + 32, 0);
    CHECK_OK(read_start());
    CHECK_EQ(info.module_count | info.command_line.bytes | info.rsdp_bytes, 0);
    *at(RSDP + 15) = 0; /* an old root pointer */
    set64(START + 32, RSDP);
    set32(START + 4, 7); /* a later version */
    CHECK_OK(read_start());
    CHECK_EQ(info.rsdp_bytes, 20);
}

TEST(pvh_arguments_are_checked)
{
    build();
    (void)map_init(&m, ROOM, BITS);
    CHECK_ERR(mm_boot_read_pvh(NULL, mm_phys(START), &m.map, &info, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_pvh(&window, mm_phys(START), NULL, &info, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_pvh(&window, mm_phys(START), &m.map, NULL, &fault), MM_ERR_BAD_ARG);
    CHECK_TEXT(fault.what, "argument out of its domain");
}

TEST(pvh_start_info_itself_is_checked)
{
    static const uint64_t outside[] = {0,       FIRST - 1,  FIRST + 3 * 4096 - 39,
                                       0x13000, UINT64_MAX, UINT64_MAX - 20};

    for (size_t i = 0; i < LENGTH(outside); i++) {
        mm_test_row("row", i);
        build();
        (void)map_init(&m, ROOM, BITS);
        CHECK_ERR(mm_boot_read_pvh(&window, mm_phys(outside[i]), &m.map, &info, &fault),
                  MM_ERR_WINDOW);
        CHECK_TEXT(fault.what, "start_info outside the window");
        CHECK_EQ(fault.offset, outside[i]);
    }
    build(); /* its first 40 bytes are in the window, the rest is not */
    memcpy(at(0x13000 - 48), at(START), 40);
    (void)map_init(&m, ROOM, BITS);
    CHECK_ERR(mm_boot_read_pvh(&window, mm_phys(0x13000 - 48), &m.map, &info, &fault),
              MM_ERR_WINDOW);
    build();
    set32(START, 0x336ec579);
    refused(MM_ERR_MALFORMED, "start_info without its magic number", START);
    build();
    set32(START + 4, 0);
    refused(MM_ERR_NOT_FOUND, "start_info of version 0 has no memory map", START);
}

TEST(pvh_memory_map_is_checked)
{
    build();
    set64(START + 40, 0);
    refused(MM_ERR_NOT_FOUND, "no memory map", 0);
    build();
    set32(START + 48, 0);
    refused(MM_ERR_NOT_FOUND, "no memory map", MAP);
    build();
    set32(START + 48, 65537);
    refused(MM_ERR_MALFORMED, "more memory map entries than can be", MAP);
    set32(START + 48, UINT32_MAX);
    refused(MM_ERR_MALFORMED, "more memory map entries than can be", MAP);
    set32(START + 48, 65536);
    refused(MM_ERR_WINDOW, "memory map outside the window", MAP);
    build();
    set64(START + 40, 0x13000 - 47); /* one byte beyond */
    refused(MM_ERR_WINDOW, "memory map outside the window", 0x13000 - 47);
    set64(START + 40, UINT64_MAX - 10);
    refused(MM_ERR_WINDOW, "memory map outside the window", UINT64_MAX - 10);
}

TEST(pvh_modules_are_checked)
{
    build();
    set32(START + 12, 65537);
    refused(MM_ERR_MALFORMED, "more modules than can be", LIST);
    build();
    set64(START + 16, 0x13000 - 63);
    refused(MM_ERR_WINDOW, "list of modules outside the window", 0x13000 - 63);
    set64(START + 16, 0); /* two modules at nowhere */
    refused(MM_ERR_WINDOW, "list of modules outside the window", 0);
    build();
    set_module(1, UINT64_MAX - 100, 200, 0);
    refused(MM_ERR_MALFORMED, "module beyond the physical addresses", LIST + 32);
    build();
    set_module(1, (UINT64_C(1) << BITS) - 100, 101, 0);
    refused(MM_ERR_MALFORMED, "module beyond the physical addresses", LIST + 32);
    build();
    set_module(0, MIB(8), 100, 0x20000 - 1);
    refused(MM_ERR_WINDOW, "text outside the window", 0x20000 - 1);
}

TEST(pvh_text_keeps_the_frame_of_its_nul)
{
    struct mm_mem_range range;

    build();
    set32(START + 12, 0); /* no modules, whose texts lie in that frame */
    set64(START + 24, 0x11ffb);
    memcpy(at(0x11ffb), "quiet", 6);
    CHECK_OK(read_start());
    CHECK_OK(mm_memmap_find(&m.map, mm_phys(0x12000), &range));
    CHECK_EQ(range.use, MM_USE_BOOTINFO);
}

TEST(pvh_text_must_end_inside_one_piece_of_the_window)
{
    build();
    memset(at(TEXTS + 100), 'x', 0x13000 - TEXTS - 100); /* up to the end of the piece */
    set64(START + 24, TEXTS + 100);
    refused(MM_ERR_WINDOW, "text outside the window", TEXTS + 100);
    *at(0x12fff) = 0;
    CHECK_OK(read_start());
    CHECK_EQ(info.command_line.bytes, 0x12fff - TEXTS - 100);
    CHECK_EQ(strlen(mm_boot_text_pointer(&window, info.command_line)), info.command_line.bytes);
    memset(at(FIRST + 0xc00), 'y', 0x12fff - FIRST - 0xc00); /* over three frames */
    set64(START + 24, FIRST + 0xc00);
    set_module(0, MIB(8), 5000, 0);
    CHECK_OK(read_start());
    CHECK_EQ(info.command_line.bytes, 0x23ff);
    map_keeps(&m.map, FIRST, 0x13000);
    set64(START + 24, UINT64_MAX);
    refused(MM_ERR_WINDOW, "text outside the window", UINT64_MAX);
}

TEST(pvh_text_without_an_end_is_malformed)
{
    uint8_t *large = aligned_alloc(4096, 32 * 4096);

    build();
    CHECK(large != NULL);
    memset(large, 'z', 32 * 4096);
    CHECK_OK(mm_window_add(&window, mm_phys(MIB(32)), 32 * 4096, mm_virt_of(large)));
    set64(START + 24, MIB(32) + 5);
    refused(MM_ERR_MALFORMED, "text without an end", MIB(32) + 5);
    large[32 * 4096 - 1] = 0; /* too far away to be a command line */
    refused(MM_ERR_MALFORMED, "text without an end", MIB(32) + 5);
    large[0xf000] = 0;
    CHECK_OK(read_start());
    CHECK_EQ(info.command_line.bytes, 0xf000 - 5);
    free(large);
}

TEST(pvh_root_pointer_is_checked)
{
    build();
    *at(RSDP) = 'r';
    refused(MM_ERR_MALFORMED, "ACPI root pointer without its signature", RSDP);
    build();
    set64(START + 32, 0x21000 - 19);
    refused(MM_ERR_WINDOW, "ACPI root pointer outside the window", 0x21000 - 19);
    memcpy(at(0x21000 - 20), "RSD PTR ", 8);
    *at(0x21000 - 20 + 15) = 2; /* needs 36 bytes */
    set64(START + 32, 0x21000 - 20);
    refused(MM_ERR_WINDOW, "ACPI root pointer outside the window", 0x21000 - 20);
    *at(0x21000 - 20 + 15) = 1;
    CHECK_OK(read_start());
    CHECK_EQ(info.rsdp_bytes, 20);
}

TEST(pvh_text_pointer_gives_nothing_that_is_not_a_text)
{
    struct mm_boot_text text = {.at = {TEXTS}, .bytes = 13};

    build();
    CHECK_TEXT(mm_boot_text_pointer(&window, text), "console=ttyS0");
    CHECK_TEXT(mm_boot_text_pointer(NULL, text), "");
    *at(TEXTS + 13) = '!'; /* the memory was used for something else */
    CHECK_TEXT(mm_boot_text_pointer(&window, text), "");
    text.at = mm_phys(0x13000 - 13); /* its NUL is outside */
    CHECK_TEXT(mm_boot_text_pointer(&window, text), "");
    text.bytes = UINT32_MAX;
    CHECK_TEXT(mm_boot_text_pointer(&window, text), "");
    text.at = mm_phys(UINT64_MAX - 3);
    CHECK_TEXT(mm_boot_text_pointer(&window, text), "");
}

TEST(pvh_with_one_byte_changed_is_harmless)
{
    memory_bytes_are_harmless(mm_boot_read_pvh, START, build, START, START + 56);
    memory_bytes_are_harmless(mm_boot_read_pvh, START, build, MAP, MAP + 48);
    memory_bytes_are_harmless(mm_boot_read_pvh, START, build, LIST, LIST + 64);
    memory_bytes_are_harmless(mm_boot_read_pvh, START, build, RSDP, RSDP + 20);
}
