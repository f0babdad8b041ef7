/*
 * test_limine.c - responses to Limine's memory map request, seen through an offset.
 *
 *     physical 0x10000 ...                        0x13000           0x20000 0x21000
 *     | response | array of pointers | entries    | (not in window)   | an entry |
 */
#include "memory.h"

#define START  (FIRST + 8)
#define LIST   (FIRST + 0x200)
#define ENTRY  (FIRST + 0x1000)
#define BEYOND (HIGH + 0x800) /* the last entry lies in the other piece */

static unsigned entries;

/* A pointer as the loader writes it: the virtual address of physical memory. */
static uint64_t pointer(uint64_t phys)
{
    return mm_virt_of(at(phys)).raw;
}

static void add_entry_at(uint64_t where, uint64_t start, uint64_t bytes, uint64_t type)
{
    set64(where, start);
    set64(where + 8, bytes);
    set64(where + 16, type);
    set64(LIST + 8 * entries, pointer(where));
    entries++;
    set64(START + 8, entries);
}

static void add_entry(uint64_t start, uint64_t bytes, uint64_t type)
{
    add_entry_at(ENTRY + 40 * entries, start, bytes, type); /* not an array */
}

static void build_empty(void)
{
    memory_build();
    entries = 0;
    set64(START, 0);
    set64(START + 8, 0);
    set64(START + 16, pointer(LIST));
}

static void build(void)
{
    build_empty();
    add_entry(0x1000, 0x9e000, 0);
    add_entry(MIB(1), MIB(1), 6);
    add_entry(MIB(2), MIB(61), 0);
    add_entry_at(BEYOND, MIB(63), MIB(1), 5);
}

static enum mm_err read_start(void)
{
    return memory_read(mm_boot_read_limine, START);
}

static void refused(enum mm_err err, const char *what, uint64_t offset)
{
    memory_refused(mm_boot_read_limine, START, err, what, offset);
}

TEST(limine_response_is_read_and_all_it_points_to_reserved)
{
    build();
    CHECK_OK(read_start());
    MAP_IS(&m.map, {{0x1000, 0x10000, MM_MEM_USABLE, 0, 0},
                    {0x10000, 0x12000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x12000, 0x20000, MM_MEM_USABLE, 0, 0},
                    {0x20000, 0x21000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x21000, 0x9f000, MM_MEM_USABLE, 0, 0},
                    {MIB(1), MIB(2), MM_MEM_USABLE, MM_USE_MODULE, 0},
                    {MIB(2), MIB(63), MM_MEM_USABLE, 0, 0},
                    {MIB(63), MIB(64), MM_MEM_BOOT_RECLAIM, 0, 0}});
    CHECK_EQ(info.block.raw, START);
    CHECK_EQ(info.block_bytes, 24);
    CHECK_EQ(info.map_entries, 4);
}

/* The image wins over what the loader says of the whole range. */
TEST(limine_image_segments_win_over_modules)
{
    build();
    CHECK_OK(read_start());
    CHECK_OK(mm_memmap_reserve(&m.map, mm_phys(MIB(1)), 0x8000, MM_USE_IMAGE));
    CHECK_OK(mm_memmap_finish(&m.map));
    map_keeps(&m.map, MIB(1), MIB(2));
    CHECK_EQ(m.map.range[5].use, MM_USE_IMAGE);
    CHECK_EQ(m.map.range[6].use, MM_USE_MODULE);
}

TEST(limine_what_the_caller_knows_from_elsewhere_stays)
{
    struct mm_boot_module module[1];

    build();
    (void)map_init(&m, ROOM, BITS);
    info = (struct mm_boot_info){.module = module,
                                 .module_capacity = 1,
                                 .module_count = 1,
                                 .rsdp = mm_phys(0x1234),
                                 .rsdp_bytes = 36,
                                 .map_entries = 99};
    CHECK_OK(mm_boot_read_limine(&window, mm_phys(START), &m.map, &info, NULL));
    CHECK_EQ(info.module_count, 1);
    CHECK_EQ(info.rsdp.raw, 0x1234);
    CHECK_EQ(info.map_entries, 4);
}

TEST(limine_every_type_and_revision)
{
    static const struct {
        uint64_t number;
        unsigned type, use;
    } row[] = {
        {0, MM_MEM_USABLE, MM_USE_FREE},
        {1, MM_MEM_RESERVED, MM_USE_FREE},
        {2, MM_MEM_ACPI_RECLAIM, MM_USE_FREE},
        {3, MM_MEM_ACPI_NVS, MM_USE_FREE},
        {4, MM_MEM_BAD, MM_USE_FREE},
        {5, MM_MEM_BOOT_RECLAIM, MM_USE_FREE},
        {6, MM_MEM_USABLE, MM_USE_MODULE},
        {7, MM_MEM_RESERVED, MM_USE_FRAMEBUFFER},
        {8, MM_MEM_RESERVED, MM_USE_FREE},
        {9, MM_MEM_RESERVED, MM_USE_FREE},
        {UINT64_C(1) << 32, MM_MEM_RESERVED, MM_USE_FREE}, /* not the low half alone */
        {UINT64_MAX, MM_MEM_RESERVED, MM_USE_FREE},
    };

    for (uint64_t revision = 0; revision < 3; revision++) {
        build_empty();
        set64(START, revision);
        for (size_t i = 0; i < LENGTH(row); i++)
            add_entry(MIB(16 + 2 * i), MIB(1), row[i].number);
        CHECK_OK(read_start());
        for (size_t i = 0; i < LENGTH(row); i++) {
            struct mm_mem_range found;

            mm_test_row("row", i);
            CHECK_OK(mm_memmap_find(&m.map, mm_phys(MIB(16 + 2 * i)), &found));
            CHECK_EQ(found.bytes, MIB(1));
            CHECK_EQ(found.type, row[i].type);
            CHECK_EQ(found.use, row[i].use);
        }
    }
}

TEST(limine_arguments_are_checked)
{
    build();
    (void)map_init(&m, ROOM, BITS);
    CHECK_ERR(mm_boot_read_limine(NULL, mm_phys(START), &m.map, &info, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_limine(&window, mm_phys(START), NULL, &info, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_limine(&window, mm_phys(START), &m.map, NULL, &fault), MM_ERR_BAD_ARG);
    CHECK_TEXT(fault.what, "argument out of its domain");
    CHECK_EQ(m.map.count, 0);
}

TEST(limine_response_outside_the_window_is_named)
{
    static const uint64_t outside[] = {0,         FIRST - 1,  FIRST_END - 23,
                                       FIRST_END, UINT64_MAX, UINT64_MAX - 23};

    for (size_t i = 0; i < LENGTH(outside); i++) {
        mm_test_row("row", i);
        build();
        memory_refused(mm_boot_read_limine, outside[i], MM_ERR_WINDOW,
                       "response outside the window", outside[i]);
    }
}

TEST(limine_entry_count_is_checked)
{
    build();
    set64(START + 8, 0);
    refused(MM_ERR_NOT_FOUND, "no memory map", START);
    set64(START + 8, 65537);
    refused(MM_ERR_MALFORMED, "more memory map entries than can be", START);
    set64(START + 8, UINT64_MAX / 8 + 2);
    refused(MM_ERR_MALFORMED, "more memory map entries than can be", START);
    set64(START + 8, UINT64_MAX);
    refused(MM_ERR_MALFORMED, "more memory map entries than can be", START);
    set64(START + 8, (FIRST_END - LIST) / 8 + 1); /* one pointer beyond the piece */
    refused(MM_ERR_WINDOW, "list of entries outside the window", LIST);
}

/* Null, physical instead of virtual, just outside a piece, not canonical. */
TEST(limine_pointers_are_checked)
{
    build();
    for (unsigned i = 0; i < 5; i++) {
        const uint64_t bad[] = {0, ENTRY, pointer(FIRST) - 1, pointer(FIRST) + FIRST_END - FIRST,
                                UINT64_C(0x8000000000000000)};

        mm_test_row("row", i);
        build();
        set64(START + 16, bad[i]);
        refused(MM_ERR_WINDOW, "list of entries outside the window", bad[i]);
        build();
        set64(LIST + 16, bad[i]);
        refused(MM_ERR_WINDOW, "memory map entry outside the window", bad[i]);
    }
    build();
    set64(LIST + 8, pointer(FIRST) + FIRST_END - FIRST - 23);
    refused(MM_ERR_WINDOW, "memory map entry outside the window", FIRST_END - 23);
    build();
    set64(START + 16, pointer(FIRST) + FIRST_END - FIRST - 31);
    refused(MM_ERR_WINDOW, "list of entries outside the window", FIRST_END - 31);
}

TEST(limine_all_entries_may_be_one)
{
    build();
    for (unsigned i = 0; i < 4; i++)
        set64(LIST + 8 * i, pointer(ENTRY));
    CHECK_OK(read_start());
    CHECK_EQ(info.map_entries, 4);
    CHECK_OK(mm_memmap_finish(&m.map));
}

TEST(limine_strange_entries_are_made_safe)
{
    build_empty();
    add_entry(MIB(32), MIB(32), 0); /* unsorted */
    add_entry(MIB(1), MIB(15), 0);
    add_entry(MIB(1), MIB(15), 0);                      /* twice */
    add_entry(MIB(8), 0, 1);                            /* empty */
    add_entry(MIB(9) + 1, 1, 1);                        /* one byte, in the middle */
    add_entry(UINT64_MAX - FRAME, UINT64_MAX, 1);       /* wraps */
    add_entry(UINT64_C(1) << BITS, MIB(1), 0);          /* beyond the width */
    add_entry((UINT64_C(1) << BITS) - FRAME, FRAME, 0); /* the last frame */
    CHECK_OK(read_start());
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(m.map.dropped_bytes, MIB(1));
    CHECK_OK(mm_memmap_finish(&m.map));
    MAP_IS(&m.map, {{0x10000, 0x12000, MM_MEM_NONE, MM_USE_BOOTINFO, 0},
                    {MIB(1), MIB(9), MM_MEM_USABLE, 0, 0},
                    {MIB(9), MIB(9) + FRAME, MM_MEM_RESERVED, 0, 0},
                    {MIB(9) + FRAME, MIB(16), MM_MEM_USABLE, 0, 0},
                    {MIB(32), MIB(64), MM_MEM_USABLE, 0, 0},
                    {(UINT64_C(1) << BITS) - FRAME, UINT64_C(1) << BITS, MM_MEM_USABLE, 0, 0}});
    build();
    add_entry(UINT64_C(1) << BITS, MIB(1), 6);
    refused(MM_ERR_MALFORMED, "kernel or modules beyond the physical addresses", ENTRY + 160);
    build();
    add_entry((UINT64_C(1) << BITS) - 1, 2, 7);
    CHECK_ERR(read_start(), MM_ERR_MALFORMED);
    CHECK_TEXT(fault.what, "framebuffer beyond the physical addresses");
    CHECK_EQ(mm_test_report_count(), 2);
}

TEST(limine_map_that_does_not_fit_says_so)
{
    build();
    for (uint32_t capacity = 0; capacity < 8; capacity++) {
        mm_test_row("capacity", capacity);
        (void)map_init(&m, capacity, BITS);
        CHECK_ERR(mm_boot_read_limine(&window, mm_phys(START), &m.map, &info, &fault),
                  MM_ERR_NO_ROOM);
        CHECK_TEXT(fault.what, "no room left in the memory map");
        CHECK_EQ(map_faults(&m.map), 0);
    }
    (void)map_init(&m, 8, BITS);
    CHECK_OK(mm_boot_read_limine(&window, mm_phys(START), &m.map, &info, &fault));
    CHECK_OK(mm_memmap_finish(&m.map));
    CHECK_ERR(mm_boot_read_limine(&window, mm_phys(START), &m.map, &info, &fault), MM_ERR_BUSY);
    CHECK_TEXT(fault.what, "the memory map is not collecting");
}

TEST(limine_with_one_byte_changed_is_harmless)
{
    memory_bytes_are_harmless(mm_boot_read_limine, START, build, START, START + 24);
    memory_bytes_are_harmless(mm_boot_read_limine, START, build, LIST, LIST + 32);
    memory_bytes_are_harmless(mm_boot_read_limine, START, build, ENTRY, ENTRY + 24);
    memory_bytes_are_harmless(mm_boot_read_limine, START, build, BEYOND, BEYOND + 24);
}
