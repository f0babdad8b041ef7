/*
 * test_multiboot2.c - blocks built by hand: their framing and their memory maps.
 */
#include "multiboot2_test.h"

TEST(multiboot2_smallest_block_with_a_map_is_read)
{
    begin();
    block_end(&b);
    CHECK_OK(read_block());
    MAP_IS(&m.map, {{0, 0x9fc00, MM_MEM_USABLE, 0, 0},
                    {MIB(1), 0x33c000, MM_MEM_USABLE, 0, 0},
                    {0x33c000, 0x33d000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x33d000, MIB(64), MM_MEM_USABLE, 0, 0}});
    CHECK_EQ(info.block.raw, AT);
    CHECK_EQ(info.block_bytes, b.n);
    CHECK_EQ(info.map_entries, 2);
    CHECK_EQ(fault.what == NULL, 1);
}

TEST(multiboot2_arguments_are_checked)
{
    begin();
    block_end(&b);
    (void)map_init(&m, ROOM, BITS);
    CHECK_ERR(mm_boot_read_multiboot2(NULL, b.n, mm_phys(AT), &m.map, &info, &fault),
              MM_ERR_BAD_ARG);
    CHECK_TEXT(fault.what, "argument out of its domain");
    CHECK_ERR(mm_boot_read_multiboot2(b.bytes, b.n, mm_phys(AT), NULL, &info, NULL),
              MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_multiboot2(b.bytes, b.n, mm_phys(AT), &m.map, NULL, NULL),
              MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_multiboot2(b.bytes + 4, b.n - 4, mm_phys(AT), &m.map, &info, NULL),
              MM_ERR_BAD_ARG);
    CHECK_EQ(m.map.count, 0);
}

TEST(multiboot2_total_size_is_checked)
{
    static const struct {
        uint32_t total;
        enum mm_err err;
        const char *what;
    } row[] = {
        {0, MM_ERR_MALFORMED, "total size below 16"},
        {7, MM_ERR_MALFORMED, "total size below 16"},
        {8, MM_ERR_MALFORMED, "total size below 16"},
        {15, MM_ERR_MALFORMED, "total size below 16"},
        {17, MM_ERR_MALFORMED, "total size is not a multiple of 8"},
        {UINT32_MAX, MM_ERR_MALFORMED, "total size is not a multiple of 8"},
        {UINT32_MAX - 7, MM_ERR_TRUNCATED, "total size exceeds the buffer"},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        mm_test_row("row", i);
        begin();
        block_end(&b);
        patch32(&b, 0, row[i].total);
        refused(row[i].err, row[i].what, 0, 0);
    }
    mm_test_row("8 more", 0);
    begin();
    block_end(&b);
    patch32(&b, 0, b.n + 8);
    refused(MM_ERR_TRUNCATED, "total size exceeds the buffer", 0, 0);
    b.n = 7;
    refused(MM_ERR_TRUNCATED, "buffer smaller than the header", 0, 0);
    b.n = 0;
    refused(MM_ERR_TRUNCATED, "buffer smaller than the header", 0, 0);
}

TEST(multiboot2_end_tag_is_checked)
{
    uint32_t end;

    begin(); /* none */
    patch32(&b, 0, b.n);
    refused(MM_ERR_MALFORMED, "no end tag", 0, b.n);
    begin(); /* too large */
    end = b.n;
    tag_begin(&b, 0);
    put64(&b, 0);
    tag_end(&b);
    patch32(&b, 0, b.n);
    refused(MM_ERR_MALFORMED, "end tag size is not 8", 0, end);
    b.n = 16; /* nothing but an end tag */
    patch32(&b, 0, 16);
    patch32(&b, 8, 0);
    patch32(&b, 12, 8);
    refused(MM_ERR_NOT_FOUND, "no memory map tag", 0, 8);
    begin(); /* what follows it is not looked at */
    block_end(&b);
    put64(&b, UINT64_MAX);
    patch32(&b, 0, b.n);
    CHECK_OK(read_block());
}

TEST(multiboot2_tag_size_is_checked)
{
    for (uint32_t bytes = 0; bytes < 8; bytes++) {
        mm_test_row("size", bytes);
        begin();
        tag_begin(&b, 77);
        tag_end(&b);
        patch32(&b, b.tag + 4, bytes);
        block_end(&b);
        refused(MM_ERR_MALFORMED, "tag size below 8", 77, 72);
    }
}

TEST(multiboot2_tag_that_ends_beyond_the_block_is_malformed)
{
    static const uint32_t bytes[] = {25, 32, 0x10000, UINT32_MAX - 7, UINT32_MAX};

    for (size_t i = 0; i < LENGTH(bytes); i++) {
        mm_test_row("row", i);
        begin();
        tag_begin(&b, 77); /* 16 bytes, then the end tag: 24 to the end */
        put64(&b, 0);
        tag_end(&b);
        block_end(&b);
        patch32(&b, 72 + 4, bytes[i]);
        refused(MM_ERR_MALFORMED, "tag ends beyond the block", 77, 72);
    }
    mm_test_row("up to the end",
                0); /* its alignment ends exactly at the end: no room for another */
    patch32(&b, 72 + 4, 23);
    refused(MM_ERR_MALFORMED, "no end tag", 0, b.n);
}

TEST(multiboot2_reserved_words_and_unknown_tags_are_ignored)
{
    begin();
    patch32(&b, 4, 0xffffffff); /* of the header */
    patch32(&b, 16 + 4 + 24 - 4, 0xffffffff);
    tag_begin(&b, 4711);
    put64(&b, UINT64_MAX);
    tag_end(&b);
    tag_begin(&b, 9); /* ELF sections reserve nothing, whatever they say */
    put32(&b, UINT32_MAX);
    put32(&b, UINT32_MAX);
    tag_end(&b);
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_EQ(m.map.count, 4);
}

/* ---- the memory map ---- */

TEST(multiboot2_memory_map_framing_is_checked)
{
    static const struct {
        uint32_t entry_bytes;
        const char *what;
    } row[] = {
        {0, "memory map entry size below 24"},
        {8, "memory map entry size below 24"},
        {23, "memory map entry size below 24"},
        {25, "memory map entry size is not a multiple of 8"},
        {32, "memory map ends inside an entry"},
        {56, "memory map ends inside an entry"}, /* above the tag */
        {0xfffffff8, "memory map ends inside an entry"},
        {UINT32_MAX, "memory map entry size is not a multiple of 8"},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        mm_test_row("row", i);
        begin();
        block_end(&b);
        patch32(&b, 16, row[i].entry_bytes);
        refused(MM_ERR_MALFORMED, row[i].what, 6, 8);
    }
    for (uint32_t bytes = 8; bytes < 16; bytes++) {
        mm_test_row("bytes", bytes);
        block_begin(&b);
        tag_begin(&b, 6);
        put64(&b, 24);
        tag_cut(&b, bytes);
        block_end(&b);
        refused(MM_ERR_MALFORMED, "memory map tag size below 16", 6, 8);
    }
}

TEST(multiboot2_memory_map_of_a_later_version_is_stepped_by_its_entry_size)
{
    block_begin(&b);
    tag_begin(&b, 6);
    put32(&b, 40);
    put32(&b, 9); /* later versions stay compatible */
    for (uint64_t i = 0; i < 3; i++) {
        map_entry(&b, MIB(4 * i), MIB(1), i == 1 ? 2 : 1);
        put64(&b, UINT64_MAX);
        put64(&b, UINT64_MAX);
    }
    tag_end(&b);
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_OK(mm_memmap_finish(&m.map));
    MAP_IS(&m.map, {{0, MIB(1), MM_MEM_USABLE, 0, 0},
                    {0x33c000, 0x33d000, MM_MEM_NONE, MM_USE_BOOTINFO, 0},
                    {MIB(4), MIB(5), MM_MEM_RESERVED, 0, 0},
                    {MIB(8), MIB(9), MM_MEM_USABLE, 0, 0}});
}

TEST(multiboot2_second_map_of_a_kind_is_malformed)
{
    begin();
    map_begin(&b);
    tag_end(&b);
    block_end(&b);
    refused(MM_ERR_MALFORMED, "second memory map tag", 6, 72);
    begin();
    efi_begin(&b, 48);
    tag_end(&b);
    efi_begin(&b, 48);
    tag_end(&b);
    block_end(&b);
    refused(MM_ERR_MALFORMED, "second EFI map tag", 17, 72 + 16);
}

TEST(multiboot2_without_a_map_is_not_found)
{
    block_begin(&b);
    tag_begin(&b, 4); /* basic memory information is none */
    put32(&b, 639);
    put32(&b, 65536);
    tag_end(&b);
    block_end(&b);
    refused(MM_ERR_NOT_FOUND, "no memory map tag", 0, 24);
}

TEST(multiboot2_strange_entries_are_made_safe)
{
    block_begin(&b);
    map_begin(&b);
    map_entry(&b, MIB(32), MIB(32), 1); /* unsorted */
    map_entry(&b, 0, MIB(16), 1);
    map_entry(&b, 0, MIB(16), 1);       /* twice */
    map_entry(&b, MIB(8), 0, 2);        /* empty */
    map_entry(&b, MIB(9) + 1, 1, 2);    /* one byte */
    map_entry(&b, MIB(10), MIB(1), 20); /* unknown */
    map_entry(&b, MIB(11), MIB(1), 0);
    map_entry(&b, MIB(12), MIB(1), UINT32_MAX);
    map_entry(&b, MIB(13), MIB(1), 5);
    map_entry(&b, MIB(14), MIB(1), 7);
    map_entry(&b, UINT64_MAX - FRAME, UINT64_MAX, 2);       /* wraps */
    map_entry(&b, UINT64_C(1) << BITS, MIB(1), 1);          /* beyond the width */
    map_entry(&b, (UINT64_C(1) << BITS) - FRAME, FRAME, 1); /* the last frame */
    tag_end(&b);
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(info.map_entries, 13);
    CHECK_EQ(m.map.dropped_bytes, MIB(1));
    CHECK_OK(mm_memmap_finish(&m.map));
    MAP_IS(&m.map, {{0, 0x33c000, MM_MEM_USABLE, 0, 0},
                    {0x33c000, 0x33d000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x33d000, MIB(9), MM_MEM_USABLE, 0, 0},
                    {MIB(9), MIB(9) + FRAME, MM_MEM_RESERVED, 0, 0},
                    {MIB(9) + FRAME, MIB(10), MM_MEM_USABLE, 0, 0},
                    {MIB(10), MIB(13), MM_MEM_RESERVED, 0, 0},
                    {MIB(13), MIB(14), MM_MEM_BAD, 0, 0},
                    {MIB(14), MIB(15), MM_MEM_PERSISTENT, 0, 0},
                    {MIB(15), MIB(16), MM_MEM_USABLE, 0, 0},
                    {MIB(32), MIB(64), MM_MEM_USABLE, 0, 0},
                    {(UINT64_C(1) << BITS) - FRAME, UINT64_C(1) << BITS, MM_MEM_USABLE, 0, 0}});
}

TEST(multiboot2_map_that_does_not_fit_says_so)
{
    begin();
    block_end(&b);
    for (uint32_t capacity = 0; capacity < 4; capacity++) {
        (void)map_init(&m, capacity, BITS);
        CHECK_ERR(mm_boot_read_multiboot2(b.bytes, b.n, mm_phys(AT), &m.map, &info, &fault),
                  MM_ERR_NO_ROOM);
        CHECK_TEXT(fault.what, "no room left in the memory map");
        CHECK_EQ(map_faults(&m.map), 0);
    }
    (void)map_init(&m, 4, BITS);
    CHECK_OK(mm_boot_read_multiboot2(b.bytes, b.n, mm_phys(AT), &m.map, &info, &fault));
    CHECK_OK(mm_memmap_finish(&m.map));
    CHECK_ERR(mm_boot_read_multiboot2(b.bytes, b.n, mm_phys(AT), &m.map, &info, &fault),
              MM_ERR_BUSY);
    CHECK_TEXT(fault.what, "the memory map is not collecting");
}

TEST(multiboot2_block_beyond_the_physical_addresses_is_malformed)
{
    begin();
    block_end(&b);
    (void)map_init(&m, ROOM, BITS);
    CHECK_ERR(mm_boot_read_multiboot2(b.bytes, b.n, mm_phys((UINT64_C(1) << BITS) - 8), &m.map,
                                      &info, &fault),
              MM_ERR_MALFORMED);
    CHECK_TEXT(fault.what, "information beyond the physical addresses");
    CHECK_ERR(mm_boot_read_multiboot2(b.bytes, b.n, mm_phys(UINT64_MAX), &m.map, &info, &fault),
              MM_ERR_MALFORMED);
}

/* ---- the EFI map ---- */

TEST(multiboot2_efi_map_framing_is_checked)
{
    static const struct {
        uint32_t descriptor_bytes, version;
        const char *what;
    } row[] = {
        {0, 1, "EFI descriptor size below 40"},
        {39, 1, "EFI descriptor size below 40"},
        {41, 1, "EFI descriptor size is not a multiple of 8"},
        {48, 0, "EFI descriptor version is not 1"},
        {48, 2, "EFI descriptor version is not 1"},
        {56, 1, "EFI map ends inside a descriptor"},
        {40, 1, "EFI map ends inside a descriptor"},
        {4096, 1, "EFI map ends inside a descriptor"},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        mm_test_row("row", i);
        block_begin(&b);
        efi_begin(&b, 48);
        efi_entry(&b, 7, MIB(1), 256, 15);
        efi_entry(&b, 7, MIB(2), 256, 15);
        tag_end(&b);
        patch32(&b, 16, row[i].descriptor_bytes);
        patch32(&b, 20, row[i].version);
        block_end(&b);
        refused(MM_ERR_MALFORMED, row[i].what, 17, 8);
    }
    block_begin(&b);
    tag_begin(&b, 17);
    put32(&b, 48);
    tag_end(&b);
    block_end(&b);
    refused(MM_ERR_MALFORMED, "EFI map tag size below 16", 17, 8);
}

TEST(multiboot2_efi_descriptor_larger_than_the_address_space_is_malformed)
{
    static const uint64_t pages[] = {UINT64_C(1) << 52, (UINT64_C(1) << 52) + 1, UINT64_C(1) << 63,
                                     UINT64_MAX};

    for (size_t i = 0; i < LENGTH(pages); i++) {
        mm_test_row("row", i);
        block_begin(&b);
        efi_begin(&b, 48);
        efi_entry(&b, 7, MIB(1), 256, 15);
        efi_entry(&b, 7, MIB(2), pages[i], 15);
        tag_end(&b);
        block_end(&b);
        refused(MM_ERR_MALFORMED, "EFI descriptor larger than the address space", 17, 8 + 16 + 48);
    }
}

/* Every type, at 1 MiB each, with the size of step that loaders use and others. */
static void efi_types(uint32_t step, bool services, uint64_t attributes)
{
    block_begin(&b);
    efi_begin(&b, step);
    for (uint32_t type = 0; type < 17; type++)
        efi_entry(&b, type, MIB(64 + type), 256, attributes);
    efi_entry(&b, 7, MIB(100), 0, 15); /* no pages */
    tag_end(&b);
    if (services) { /* behind the map: the order of tags does not matter */
        tag_begin(&b, 18);
        tag_end(&b);
    }
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_EQ(info.flags, services ? MM_BOOT_EFI_SERVICES : 0);
    CHECK_EQ(info.map_entries, 18);
    for (uint32_t type = 0; type < 17; type++) {
        struct mm_mem_range found;
        unsigned expected = mm_mem_type_of_efi(type, services);

        mm_test_row("EFI type", type);
        if (attributes >> 63 && expected < MM_MEM_RUNTIME)
            expected = MM_MEM_RUNTIME;
        CHECK_OK(mm_memmap_find(&m.map, mm_phys(MIB(64 + type) + 123), &found));
        CHECK_EQ(found.type, expected);
    }
    CHECK_ERR(mm_memmap_find(&m.map, mm_phys(MIB(100)), &(struct mm_mem_range){.bytes = 0}),
              MM_ERR_NOT_FOUND);
}

TEST(multiboot2_efi_map_of_every_type)
{
    efi_types(40, false, 15);
    efi_types(48, false, 15);
    efi_types(48, true, 15);
    efi_types(248, false, 15);
}

TEST(multiboot2_efi_runtime_attribute_forbids_use_of_any_type)
{
    efi_types(48, false, UINT64_C(1) << 63 | 15);
    efi_types(48, true, UINT64_C(1) << 63);
}

TEST(multiboot2_where_the_maps_contradict_the_more_restrictive_wins)
{
    begin(); /* 1 to 64 MiB are available */
    efi_begin(&b, 48);
    efi_entry(&b, 7, 0, 160, 15);
    efi_entry(&b, 2, MIB(1), 256, 15);
    efi_entry(&b, 3, MIB(2), 256, 15);
    efi_entry(&b, 7, MIB(4), 256, 15);
    efi_entry(&b, 5, MIB(5), 256, 15);
    efi_entry(&b, 7, MIB(64), 256, 15); /* only here */
    tag_end(&b);
    block_end(&b);
    CHECK_OK(read_block());
    MAP_IS(&m.map, {{0, 0xa0000, MM_MEM_USABLE, 0, 0},
                    {MIB(1), MIB(2), MM_MEM_BOOT_RECLAIM, 0, 0},
                    {MIB(2), 0x33c000, MM_MEM_USABLE, 0, 0},
                    {0x33c000, 0x33d000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x33d000, MIB(5), MM_MEM_USABLE, 0, 0},
                    {MIB(5), MIB(6), MM_MEM_RUNTIME, 0, 0},
                    {MIB(6), MIB(65), MM_MEM_USABLE, 0, 0}});
}

TEST(multiboot2_efi_map_alone_is_enough)
{
    block_begin(&b);
    efi_begin(&b, 48);
    efi_entry(&b, 7, MIB(1), 256, 15);
    tag_end(&b);
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_OK(mm_memmap_finish(&m.map));
}
