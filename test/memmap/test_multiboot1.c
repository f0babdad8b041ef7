/*
 * test_multiboot1.c - Multiboot version 1 information in a window over a buffer.
 *
 *     physical 0x10000 ...                 0x13000           0x20000 0x21000
 *     | struct | map | modules | texts     | (not in window)   | loader |
 */
#include "memory.h"

#define START  FIRST
#define MAP    (FIRST + 0x100)
#define LIST   (FIRST + 0x800)
#define TEXTS  UINT64_C(0x12f00)
#define LOADER (HIGH + 0x10)

#define FLAGS 0x24du /* memory, command line, modules, memory map, loader: what QEMU sets */

static uint32_t map_bytes;

static void add_entry(uint32_t size, uint64_t start, uint64_t bytes, uint32_t type)
{
    uint64_t to = MAP + map_bytes;

    set32(to, size);
    set64(to + 4, start);
    set64(to + 12, bytes);
    set32(to + 20, type);
    map_bytes += size + 4;
    set32(START + 44, map_bytes);
}

static void set_module(unsigned i, uint32_t start, uint32_t end, uint64_t text)
{
    set32(LIST + 16 * i, start);
    set32(LIST + 16 * i + 4, end);
    set32(LIST + 16 * i + 8, (uint32_t)text);
}

/* Two entries, two modules, texts; whatever has no flag is 0x77 and must not be looked at. */
static void build(void)
{
    memory_build();
    set32(START, FLAGS);
    set32(START + 4, 639);
    set32(START + 8, 0xfff00000); /* upper memory, a lie: nothing may come of it */
    set32(START + 16, TEXTS);
    set32(START + 20, 2);
    set32(START + 24, LIST);
    set32(START + 48, MAP);
    set32(START + 64, LOADER);
    map_bytes = 0;
    add_entry(20, 0, 0x9fc00, 1);
    add_entry(20, MIB(1), MIB(127), 1);
    set_module(0, (uint32_t)MIB(8), (uint32_t)MIB(8) + 5000, TEXTS + 16);
    set_module(1, (uint32_t)MIB(16), (uint32_t)MIB(16) + 1, 0);
    memcpy(at(TEXTS), "kernel a=b", 11);
    memcpy(at(TEXTS + 16), "initrd", 7);
    memcpy(at(LOADER), "qemu", 5);
}

static enum mm_err read_start(void)
{
    return memory_read(mm_boot_read_multiboot1, START);
}

static void refused(enum mm_err err, const char *what, uint64_t offset)
{
    memory_refused(mm_boot_read_multiboot1, START, err, what, offset);
}

TEST(multiboot1_information_is_read_and_all_it_points_to_reserved)
{
    struct mm_boot_module module[2];

    build();
    (void)map_init(&m, ROOM, BITS);
    info = (struct mm_boot_info){.module = module, .module_capacity = 2};
    CHECK_OK(mm_boot_read_multiboot1(&window, mm_phys(START), &m.map, &info, NULL));
    MAP_IS(&m.map, {{0, 0x10000, MM_MEM_USABLE, 0, 0},
                    {0x10000, 0x11000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x11000, 0x12000, MM_MEM_USABLE, 0, 0},
                    {0x12000, 0x13000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x13000, 0x20000, MM_MEM_USABLE, 0, 0},
                    {0x20000, 0x21000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x21000, 0x9fc00, MM_MEM_USABLE, 0, 0},
                    {MIB(1), MIB(8), MM_MEM_USABLE, 0, 0},
                    {MIB(8), MIB(8) + 0x2000, MM_MEM_USABLE, MM_USE_MODULE, 0},
                    {MIB(8) + 0x2000, MIB(16), MM_MEM_USABLE, 0, 0},
                    {MIB(16), MIB(16) + 0x1000, MM_MEM_USABLE, MM_USE_MODULE, 0},
                    {MIB(16) + 0x1000, MIB(128), MM_MEM_USABLE, 0, 0}});
    CHECK_EQ(info.block.raw, START);
    CHECK_EQ(info.block_bytes, 68);
    CHECK_EQ(info.map_entries, 2);
    CHECK_EQ(info.ebda.raw, 0x9fc00);
    CHECK_EQ(info.module_count, 2);
    CHECK_EQ(module[0].start.raw, MIB(8));
    CHECK_EQ(module[0].bytes, 5000);
    CHECK_TEXT(mm_boot_text_pointer(&window, module[0].text), "initrd");
    CHECK_TEXT(mm_boot_text_pointer(&window, module[1].text), "");
    CHECK_TEXT(mm_boot_text_pointer(&window, info.command_line), "kernel a=b");
    CHECK_TEXT(mm_boot_text_pointer(&window, info.loader), "qemu");
}

/* The struct at the end of the window with the fields that its flags promise, and one byte less. */
TEST(multiboot1_flags_say_how_long_the_struct_is)
{
    static const struct {
        uint32_t flags, bytes;
    } row[] = {{0x40, 52},  {0x41, 52},  {0x4d, 52},  {0x60, 52},    {0xc0, 68},
               {0x240, 68}, {0x440, 88}, {0x840, 88}, {0x1040, 118}, {0x1fff & ~0x4u, 118}};

    for (size_t i = 0; i < LENGTH(row); i++) {
        uint64_t start = FIRST_END - row[i].bytes;

        mm_test_row("row", i);
        build();
        memset(at(start), 0, row[i].bytes);
        set32(start, row[i].flags);
        set32(start + 44, map_bytes);
        set32(start + 48, MAP);
        CHECK_OK(memory_read(mm_boot_read_multiboot1, start));
        CHECK_EQ(info.block_bytes, row[i].bytes);
        CHECK_EQ(info.module_count | info.command_line.bytes | info.loader.bytes, 0);
        memmove(at(start + 1), at(start), row[i].bytes - 1);
        memory_refused(mm_boot_read_multiboot1, start + 1, MM_ERR_WINDOW,
                       "information outside the window", start + 1);
    }
}

TEST(multiboot1_fields_without_a_flag_are_not_looked_at)
{
    build();
    set32(START, 0x40);
    set32(START + 16, 0xffffffff);
    set32(START + 20, 0xffffffff);
    set32(START + 24, 0xffffffff);
    set32(START + 64, 0xffffffff);
    CHECK_OK(read_start());
    CHECK_EQ(info.module_count | info.command_line.bytes | info.loader.bytes, 0);
    CHECK_EQ(info.ebda.raw, 0);
    CHECK_EQ(info.framebuffer.pixels, MM_BOOT_PIXELS_NONE);
}

TEST(multiboot1_without_a_map_is_not_sized_by_upper_memory)
{
    build();
    set32(START, FLAGS & ~0x40u);
    refused(MM_ERR_NOT_FOUND, "no memory map", START);
    CHECK_EQ(m.map.count, 1); /* only what was read is reserved */
    build();
    set32(START + 44, 0);
    refused(MM_ERR_NOT_FOUND, "no memory map", MAP);
}

TEST(multiboot1_arguments_are_checked)
{
    build();
    (void)map_init(&m, ROOM, BITS);
    CHECK_ERR(mm_boot_read_multiboot1(NULL, mm_phys(START), &m.map, &info, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_multiboot1(&window, mm_phys(START), NULL, &info, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_multiboot1(&window, mm_phys(START), &m.map, NULL, &fault),
              MM_ERR_BAD_ARG);
    CHECK_TEXT(fault.what, "argument out of its domain");
    CHECK_EQ(m.map.count, 0);
}

TEST(multiboot1_struct_outside_the_window_is_named)
{
    static const uint64_t outside[] = {
        0, FIRST - 1, FIRST_END - 3, FIRST_END, HIGH_END - 3, UINT64_MAX, UINT64_MAX - 3};

    for (size_t i = 0; i < LENGTH(outside); i++) {
        mm_test_row("row", i);
        build();
        memory_refused(mm_boot_read_multiboot1, outside[i], MM_ERR_WINDOW,
                       "information outside the window", outside[i]);
    }
}

TEST(multiboot1_entries_are_stepped_by_their_own_size)
{
    build();
    map_bytes = 0;
    add_entry(20, 0, MIB(1), 1);
    add_entry(24, MIB(4), MIB(1), 2); /* as loaders with attributes do */
    add_entry(21, MIB(8), MIB(1), 1); /* and after this one nothing is aligned */
    add_entry(200, MIB(12), MIB(1), 3);
    add_entry(20, MIB(16), MIB(1), 1);
    CHECK_OK(read_start());
    CHECK_EQ(info.map_entries, 5);
    CHECK_OK(mm_memmap_finish(&m.map));
    for (unsigned i = 0; i < 5; i++) {
        static const unsigned type[] = {MM_MEM_USABLE, MM_MEM_RESERVED, MM_MEM_USABLE,
                                        MM_MEM_ACPI_RECLAIM, MM_MEM_USABLE};
        struct mm_mem_range found;

        CHECK_OK(mm_memmap_find(&m.map, mm_phys(MIB(4 * i) + 0x80000), &found));
        CHECK_EQ(found.type, type[i]);
    }
}

TEST(multiboot1_entry_sizes_are_checked)
{
    static const struct {
        uint32_t size;
        const char *what;
    } row[] = {
        {0, "memory map entry size below 20"},
        {4, "memory map entry size below 20"},
        {19, "memory map entry size below 20"},
        {21, "memory map entry ends beyond the map"},
        {24, "memory map entry ends beyond the map"},
        {0xfffffff0, "memory map entry ends beyond the map"},
        {UINT32_MAX - 3, "memory map entry ends beyond the map"},
        {UINT32_MAX, "memory map entry ends beyond the map"},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        mm_test_row("row", i);
        build();
        set32(MAP + 24, row[i].size); /* of the last entry */
        refused(MM_ERR_MALFORMED, row[i].what, MAP + 24);
    }
    build(); /* the first one takes in the second but for 1 to 23 bytes */
    for (uint32_t rest = 1; rest < 24; rest++) {
        mm_test_row("rest", rest);
        set32(MAP, 20 + 24 - rest);
        refused(MM_ERR_MALFORMED, "memory map ends inside an entry", MAP + 48 - rest);
    }
    set32(MAP, 20 + 24);
    CHECK_OK(read_start());
    CHECK_EQ(info.map_entries, 1);
    for (uint32_t bytes = 1; bytes < 24; bytes++) {
        mm_test_row("bytes", bytes);
        build();
        set32(START + 44, bytes);
        refused(MM_ERR_MALFORMED, "memory map ends inside an entry", MAP);
    }
}

TEST(multiboot1_map_outside_the_window_is_named)
{
    build();
    set32(START + 48, FIRST_END - 47);
    refused(MM_ERR_WINDOW, "memory map outside the window", FIRST_END - 47);
    set32(START + 48, UINT32_MAX);
    refused(MM_ERR_WINDOW, "memory map outside the window", UINT32_MAX);
    set32(START + 48, 0);
    refused(MM_ERR_WINDOW, "memory map outside the window", 0);
    build();
    set32(START + 44, 65536 * 24);
    refused(MM_ERR_WINDOW, "memory map outside the window", MAP);
    set32(START + 44, 65536 * 24 + 1);
    refused(MM_ERR_MALFORMED, "memory map longer than can be", MAP);
    set32(START + 44, UINT32_MAX);
    refused(MM_ERR_MALFORMED, "memory map longer than can be", MAP);
}

TEST(multiboot1_strange_entries_are_made_safe)
{
    build();
    map_bytes = 0;
    add_entry(20, MIB(32), MIB(32), 1); /* unsorted */
    add_entry(20, MIB(1), MIB(15), 1);
    add_entry(20, MIB(1), MIB(15), 1);                      /* twice */
    add_entry(20, MIB(8), 0, 2);                            /* empty */
    add_entry(20, MIB(9) + 1, 1, 2);                        /* one byte */
    add_entry(20, MIB(10), MIB(1), 20);                     /* unknown */
    add_entry(20, MIB(11), MIB(1), 0);                      /* unknown */
    add_entry(20, MIB(12), MIB(1), 5);                      /* faulty */
    add_entry(20, UINT64_MAX - FRAME, UINT64_MAX, 2);       /* wraps */
    add_entry(20, UINT64_C(1) << BITS, MIB(1), 1);          /* beyond the width */
    add_entry(20, (UINT64_C(1) << BITS) - FRAME, FRAME, 1); /* the last frame */
    set32(START, 0x40);
    CHECK_OK(read_start());
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(m.map.dropped_bytes, MIB(1));
    CHECK_OK(mm_memmap_finish(&m.map));
    MAP_IS(&m.map, {{0x10000, 0x11000, MM_MEM_NONE, MM_USE_BOOTINFO, 0},
                    {MIB(1), MIB(9), MM_MEM_USABLE, 0, 0},
                    {MIB(9), MIB(9) + FRAME, MM_MEM_RESERVED, 0, 0},
                    {MIB(9) + FRAME, MIB(10), MM_MEM_USABLE, 0, 0},
                    {MIB(10), MIB(12), MM_MEM_RESERVED, 0, 0},
                    {MIB(12), MIB(13), MM_MEM_BAD, 0, 0},
                    {MIB(13), MIB(16), MM_MEM_USABLE, 0, 0},
                    {MIB(32), MIB(64), MM_MEM_USABLE, 0, 0},
                    {(UINT64_C(1) << BITS) - FRAME, UINT64_C(1) << BITS, MM_MEM_USABLE, 0, 0}});
}

TEST(multiboot1_modules_are_checked)
{
    build();
    set_module(1, 0x5000, 0x4fff, 0);
    refused(MM_ERR_MALFORMED, "module ends before it starts", LIST + 16);
    build();
    set_module(1, 0x5000, 0x5000, 0); /* empty: reserves nothing */
    CHECK_OK(read_start());
    CHECK_EQ(info.module_count, 2);
    build();
    set_module(0, 0x5000, 0x6000, FIRST_END - 1);
    refused(MM_ERR_WINDOW, "text outside the window", FIRST_END - 1);
    build();
    set32(START + 24, FIRST_END - 31);
    refused(MM_ERR_WINDOW, "list of modules outside the window", FIRST_END - 31);
    set32(START + 20, 65537);
    refused(MM_ERR_MALFORMED, "more modules than can be", FIRST_END - 31);
    set32(START + 20, 0);
    CHECK_OK(read_start());
    CHECK_EQ(info.module_count, 0);
}

TEST(multiboot1_texts_must_end_in_the_window)
{
    build();
    set32(START + 16, FIRST_END - 1);
    refused(MM_ERR_WINDOW, "text outside the window", FIRST_END - 1);
    build();
    set32(START + 64, HIGH_END);
    refused(MM_ERR_WINDOW, "text outside the window", HIGH_END);
    build();
    set32(START + 16, 0);
    set32(START + 64, 0);
    CHECK_OK(read_start());
    CHECK_EQ(info.command_line.bytes | info.loader.bytes, 0);
}

/* `skip`: 0 as the specification draws it, 2 as its structure, and so GRUB, has it. */
static void set_framebuffer(uint64_t phys, unsigned pixels, unsigned skip)
{
    set32(START, FLAGS | 0x1000);
    set64(START + 88, phys);
    set32(START + 96, 3200);
    set32(START + 100, 800);
    set32(START + 104, 600);
    *at(START + 108) = 32;
    *at(START + 109) = (uint8_t)pixels;
    memset(at(START + 110), 0, 8);
    memcpy(at(START + 110 + skip), "\x10\x08\x09\x07\x01\x06", 6);
}

TEST(multiboot1_framebuffer_is_noted_and_reserved)
{
    for (unsigned skip = 0; skip < 4; skip += 2) {
        mm_test_row("skip", skip);
        build();
        set_framebuffer(0xfd000000, 1, skip);
        CHECK_OK(read_start());
        CHECK_EQ(info.framebuffer.at.raw, 0xfd000000);
        CHECK_EQ(info.framebuffer.pitch_bytes, 3200);
        CHECK_EQ(info.framebuffer.width, 800);
        CHECK_EQ(info.framebuffer.height, 600);
        CHECK_EQ(info.framebuffer.bits_per_pixel, 32);
        CHECK_EQ(info.framebuffer.pixels, MM_BOOT_PIXELS_RGB);
        CHECK_EQ(info.framebuffer.red_shift, 16);
        CHECK_EQ(info.framebuffer.red_bits, 8);
        CHECK_EQ(info.framebuffer.green_shift, 9);
        CHECK_EQ(info.framebuffer.green_bits, 7);
        CHECK_EQ(info.framebuffer.blue_shift, 1);
        CHECK_EQ(info.framebuffer.blue_bits, 6);
        map_keeps(&m.map, 0xfd000000, 0xfd000000 + 3200 * 600);
        CHECK_EQ(m.map.range[m.map.count - 1].use, MM_USE_FRAMEBUFFER);
    }
    for (unsigned pixels = 0; pixels < 4; pixels += 2) {
        build();
        set_framebuffer(0xb8000, pixels, 0);
        CHECK_OK(read_start());
        CHECK_EQ(info.framebuffer.pixels, pixels + 1);
        CHECK_EQ(info.framebuffer.red_bits, 0);
    }
    set_framebuffer(0xb8000, 3, 0);
    refused(MM_ERR_MALFORMED, "framebuffer of an unknown type", START);
    set_framebuffer((UINT64_C(1) << BITS) - 4096, 1, 0);
    refused(MM_ERR_MALFORMED, "framebuffer beyond the physical addresses", START);
}

/* What the kernel may want to read later lies in memory that the map calls available. */
TEST(multiboot1_tables_that_are_not_read_are_reserved)
{
    build();
    set32(START, FLAGS | 0xca0);
    set32(START + 28, 40); /* section headers: count, size, address */
    set32(START + 32, 64);
    set32(START + 36, (uint32_t)MIB(20));
    set32(START + 52, 5000); /* drives */
    set32(START + 56, (uint32_t)MIB(21));
    set32(START + 68, (uint32_t)MIB(22) - 1); /* APM */
    set32(START + 72, (uint32_t)MIB(23));     /* VBE */
    set32(START + 76, (uint32_t)MIB(24));
    CHECK_OK(read_start());
    map_keeps(&m.map, MIB(20), MIB(20) + 40 * 64);
    map_keeps(&m.map, MIB(21), MIB(21) + 5000);
    map_keeps(&m.map, MIB(22) - 1, MIB(22) + 19);
    map_keeps(&m.map, MIB(23), MIB(23) + 512);
    map_keeps(&m.map, MIB(24), MIB(24) + 256);
    set32(START + 28, UINT32_MAX); /* a product that is no range */
    set32(START + 32, UINT32_MAX);
    refused(MM_ERR_MALFORMED, "boot information beyond the physical addresses", MIB(20));
    for (unsigned field = 28; field < 80; field += 4)
        if (field != 44 && field != 48 && field != 64)
            set32(START + field, 0);
    CHECK_OK(read_start()); /* nowhere: nothing is reserved at 0 */
    CHECK_EQ(m.map.range[0].start.raw, 0);
    CHECK_EQ(m.map.range[0].use, MM_USE_FREE);
}

TEST(multiboot1_map_that_does_not_fit_says_so)
{
    build();
    for (uint32_t capacity = 0; capacity < 12; capacity++) {
        mm_test_row("capacity", capacity);
        (void)map_init(&m, capacity, BITS);
        CHECK_ERR(mm_boot_read_multiboot1(&window, mm_phys(START), &m.map, &info, &fault),
                  MM_ERR_NO_ROOM);
        CHECK_TEXT(fault.what, "no room left in the memory map");
        CHECK_EQ(map_faults(&m.map), 0);
    }
    (void)map_init(&m, 12, BITS);
    CHECK_OK(mm_boot_read_multiboot1(&window, mm_phys(START), &m.map, &info, &fault));
    CHECK_OK(mm_memmap_finish(&m.map));
    CHECK_ERR(mm_boot_read_multiboot1(&window, mm_phys(START), &m.map, &info, &fault), MM_ERR_BUSY);
    CHECK_TEXT(fault.what, "the memory map is not collecting");
}

TEST(multiboot1_with_one_byte_changed_is_harmless)
{
    memory_bytes_are_harmless(mm_boot_read_multiboot1, START, build, START, START + 118);
    memory_bytes_are_harmless(mm_boot_read_multiboot1, START, build, MAP, MAP + 48);
    memory_bytes_are_harmless(mm_boot_read_multiboot1, START, build, LIST, LIST + 32);
}
