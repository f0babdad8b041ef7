/*
 * test_efi.c - EFI memory descriptors alone, as GetMemoryMap() gives them.
 */
#include "block.h"

#define BITS 48u
#define AT   UINT64_C(0x1f8010) /* firmware promises no alignment of the buffer */

static struct map m;
static struct mm_boot_info info;
static struct mm_boot_fault fault;
static struct block b; /* only its bytes */

static void descriptor(uint32_t step, uint32_t type, uint64_t start, uint64_t pages,
                       uint64_t attributes)
{
    uint32_t end = b.n + step;

    put32(&b, type);
    put32(&b, 0xdeadbeef);
    put64(&b, start);
    put64(&b, UINT64_C(0xffff800000000000));
    put64(&b, pages);
    put64(&b, attributes);
    while (b.n < end)
        b.bytes[b.n++] = 0xa5;
}

/* From memory of exactly the size that is told. */
static enum mm_err read_efi(uint64_t bytes, uint32_t step, uint32_t version, uint32_t flags)
{
    struct mm_boot_efi_map efi = {.bytes = bytes,
                                  .at = mm_phys(AT),
                                  .descriptor_bytes = step,
                                  .descriptor_version = version,
                                  .flags = flags};
    void *copy = malloc(bytes > 0 ? bytes : 1);
    enum mm_err err;

    CHECK(copy != NULL && bytes <= sizeof b.bytes);
    memcpy(copy, b.bytes, bytes);
    efi.descriptors = copy;
    memset(&info, 0, sizeof info);
    memset(&fault, 0, sizeof fault);
    (void)map_init(&m, ROOM, BITS);
    err = mm_boot_read_efi(&efi, &m.map, &info, &fault);
    free(copy);
    return err;
}

static void refused(uint64_t bytes, uint32_t step, uint32_t version, const char *what,
                    uint64_t offset)
{
    static const struct mm_boot_info none;

    CHECK_ERR(read_efi(bytes, step, version, 0), MM_ERR_MALFORMED);
    CHECK_TEXT(fault.what, what);
    CHECK_EQ(fault.offset, offset);
    CHECK_EQ(fault.tag, 0);
    CHECK(memcmp(&info, &none, sizeof info) == 0);
    CHECK_EQ(map_faults(&m.map), 0);
}

TEST(efi_descriptors_are_read_and_reserved)
{
    b.n = 0;
    descriptor(48, 3, 0, 1, 15);
    descriptor(48, 7, 0x1000, 0x9f, 15);
    descriptor(48, 2, MIB(1), 256, 15); /* the loader, and in it this map */
    descriptor(48, 7, MIB(2), 256, 15);
    descriptor(48, 5, MIB(3), 256, UINT64_C(1) << 63 | 15);
    CHECK_OK(read_efi(b.n, 48, 1, 0));
    MAP_IS(&m.map, {{0, 0xa0000, MM_MEM_USABLE, 0, 0},
                    {MIB(1), 0x1f8000, MM_MEM_BOOT_RECLAIM, 0, 0},
                    {0x1f8000, 0x1f9000, MM_MEM_BOOT_RECLAIM, MM_USE_BOOTINFO, 0},
                    {0x1f9000, MIB(2), MM_MEM_BOOT_RECLAIM, 0, 0},
                    {MIB(2), MIB(3), MM_MEM_USABLE, 0, 0},
                    {MIB(3), MIB(4), MM_MEM_RUNTIME, 0, 0}});
    CHECK_EQ(info.block.raw, AT);
    CHECK_EQ(info.block_bytes, 5 * 48);
    CHECK_EQ(info.map_entries, 5);
    CHECK_EQ(info.flags, 0);
}

TEST(efi_arguments_are_checked)
{
    struct mm_boot_efi_map efi = {
        .descriptors = b.bytes, .bytes = 48, .descriptor_bytes = 48, .descriptor_version = 1};

    (void)map_init(&m, ROOM, BITS);
    CHECK_ERR(mm_boot_read_efi(NULL, &m.map, &info, &fault), MM_ERR_BAD_ARG);
    CHECK_TEXT(fault.what, "argument out of its domain");
    CHECK_ERR(mm_boot_read_efi(&efi, NULL, &info, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_efi(&efi, &m.map, NULL, NULL), MM_ERR_BAD_ARG);
    efi.flags = 2;
    CHECK_ERR(mm_boot_read_efi(&efi, &m.map, &info, NULL), MM_ERR_BAD_ARG);
    efi.flags = 0;
    efi.descriptors = NULL;
    CHECK_ERR(mm_boot_read_efi(&efi, &m.map, &info, NULL), MM_ERR_BAD_ARG);
    efi.bytes = 0;
    CHECK_ERR(mm_boot_read_efi(&efi, &m.map, &info, &fault), MM_ERR_NOT_FOUND);
    CHECK_TEXT(fault.what, "no memory map");
    CHECK_EQ(m.map.count, 0);
}

TEST(efi_framing_is_checked)
{
    static const struct {
        uint64_t bytes;
        uint32_t step, version;
        const char *what;
    } row[] = {
        {96, 0, 1, "EFI descriptor size below 40"},
        {96, 39, 1, "EFI descriptor size below 40"},
        {96, 41, 1, "EFI descriptor size is not a multiple of 8"},
        {96, UINT32_MAX, 1, "EFI descriptor size is not a multiple of 8"},
        {96, 48, 0, "EFI descriptor version is not 1"},
        {96, 48, 2, "EFI descriptor version is not 1"},
        {96, 40, 1, "EFI map ends inside a descriptor"},
        {96, 56, 1, "EFI map ends inside a descriptor"},
        {96, 104, 1, "EFI map ends inside a descriptor"},
        {96, 4096, 1, "EFI map ends inside a descriptor"},
        {95, 48, 1, "EFI map ends inside a descriptor"},
        {97, 48, 1, "EFI map ends inside a descriptor"},
        {1, 48, 1, "EFI map ends inside a descriptor"},
    };

    b.n = 0;
    descriptor(48, 7, MIB(1), 256, 15);
    descriptor(48, 7, MIB(2), 256, 15);
    descriptor(48, 7, MIB(3), 256, 15);
    for (size_t i = 0; i < LENGTH(row); i++) {
        mm_test_row("row", i);
        refused(row[i].bytes, row[i].step, row[i].version, row[i].what, 0);
    }
}

TEST(efi_descriptors_are_stepped_by_the_size_that_is_told)
{
    static const uint32_t step[] = {40, 48, 56, 248, 4096};

    for (size_t i = 0; i < LENGTH(step); i++) {
        mm_test_row("step", step[i]);
        b.n = 0;
        descriptor(step[i], 7, MIB(4), 256, 15);
        descriptor(step[i], 0, MIB(5), 256, 15);
        descriptor(step[i], 7, MIB(6), 256, 15);
        CHECK_OK(read_efi(b.n, step[i], 1, 0));
        CHECK_EQ(info.map_entries, 3);
        CHECK_EQ(m.map.count, 4); /* and the information itself, in a hole */
        CHECK_EQ(m.map.range[2].type, MM_MEM_RESERVED);
    }
}

TEST(efi_descriptor_larger_than_the_address_space_is_malformed)
{
    static const uint64_t pages[] = {UINT64_C(1) << 52, (UINT64_C(1) << 52) + 1, UINT64_C(1) << 63,
                                     UINT64_MAX};

    for (size_t i = 0; i < LENGTH(pages); i++) {
        mm_test_row("row", i);
        b.n = 0;
        descriptor(48, 7, MIB(1), 256, 15);
        descriptor(48, 7, MIB(2), pages[i], 15);
        refused(b.n, 48, 1, "EFI descriptor larger than the address space", 48);
    }
}

/* Unsorted, empty, twice, unaligned (which no firmware may), wrapping, beyond the width. */
TEST(efi_strange_descriptors_are_made_safe)
{
    b.n = 0;
    descriptor(48, 7, MIB(32), 16, 15);
    descriptor(48, 7, MIB(4), 256, 15);
    descriptor(48, 7, MIB(4), 256, 15);
    descriptor(48, 6, MIB(4), 0, UINT64_C(1) << 63);
    descriptor(48, 7, MIB(8) + 0x800, 2, 15);
    descriptor(48, 13, MIB(16) + 0x800, 1, 15);
    descriptor(48, 11, UINT64_MAX - 0xfff, 2, 15);
    descriptor(48, 7, (UINT64_C(1) << BITS) - FRAME, 2, 15);
    CHECK_OK(read_efi(b.n, 48, 1, 0));
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(m.map.dropped_bytes, FRAME);
    CHECK_OK(mm_memmap_finish(&m.map));
    MAP_IS(&m.map, {{0x1f8000, 0x1f9000, MM_MEM_NONE, MM_USE_BOOTINFO, 0},
                    {MIB(4), MIB(5), MM_MEM_USABLE, 0, 0},
                    {MIB(8) + 0x1000, MIB(8) + 0x2000, MM_MEM_USABLE, 0, 0},
                    {MIB(16), MIB(16) + 0x2000, MM_MEM_RESERVED, 0, 0},
                    {MIB(32), MIB(32) + 0x10000, MM_MEM_USABLE, 0, 0},
                    {(UINT64_C(1) << BITS) - FRAME, UINT64_C(1) << BITS, MM_MEM_USABLE, 0, 0}});
}

TEST(efi_services_that_still_run_keep_their_memory)
{
    b.n = 0;
    for (uint32_t type = 0; type < 17; type++)
        descriptor(48, type, MIB(64 + type), 256, type == 7 ? UINT64_C(1) << 63 : 15);
    for (uint32_t flags = 0; flags < 2; flags++) {
        CHECK_OK(read_efi(b.n, 48, 1, flags));
        CHECK_EQ(info.flags, flags);
        for (uint32_t type = 0; type < 17; type++) {
            struct mm_mem_range found;

            mm_test_row("EFI type", type);
            CHECK_OK(mm_memmap_find(&m.map, mm_phys(MIB(64 + type) + 123), &found));
            /* the attribute RUNTIME forbids the use of any type */
            CHECK_EQ(found.type, type == 7 ? MM_MEM_RUNTIME : mm_mem_type_of_efi(type, flags != 0));
        }
    }
}

TEST(efi_what_the_caller_knows_from_elsewhere_stays)
{
    struct mm_boot_efi_map efi = {.descriptors = b.bytes,
                                  .bytes = 48,
                                  .at = mm_phys(AT),
                                  .descriptor_bytes = 48,
                                  .descriptor_version = 1};

    b.n = 0;
    descriptor(48, 7, MIB(1), 256, 15);
    (void)map_init(&m, ROOM, BITS);
    info = (struct mm_boot_info){
        .efi_bits = 64, .efi_system_table = mm_phys(0x7e000), .map_entries = 5, .flags = 1};
    CHECK_OK(mm_boot_read_efi(&efi, &m.map, &info, NULL));
    CHECK_EQ(info.efi_bits, 64);
    CHECK_EQ(info.efi_system_table.raw, 0x7e000);
    CHECK_EQ(info.map_entries, 1);
    CHECK_EQ(info.flags, 0);
    efi.at = mm_phys(UINT64_MAX - 8);
    (void)map_init(&m, ROOM, BITS);
    CHECK_ERR(mm_boot_read_efi(&efi, &m.map, &info, &fault), MM_ERR_MALFORMED);
    CHECK_TEXT(fault.what, "information beyond the physical addresses");
}

TEST(efi_map_that_does_not_fit_says_so)
{
    struct mm_boot_efi_map efi = {.descriptors = b.bytes,
                                  .bytes = 2 * 48,
                                  .at = mm_phys(AT),
                                  .descriptor_bytes = 48,
                                  .descriptor_version = 1};

    b.n = 0;
    descriptor(48, 7, MIB(4), 256, 15);
    descriptor(48, 7, MIB(8), 256, 15);
    for (uint32_t capacity = 0; capacity < 3; capacity++) {
        mm_test_row("capacity", capacity);
        (void)map_init(&m, capacity, BITS);
        CHECK_ERR(mm_boot_read_efi(&efi, &m.map, &info, &fault), MM_ERR_NO_ROOM);
        CHECK_TEXT(fault.what, "no room left in the memory map");
        CHECK_EQ(fault.offset, capacity < 2 ? 48 * capacity : 0);
    }
    (void)map_init(&m, 3, BITS);
    CHECK_OK(mm_boot_read_efi(&efi, &m.map, &info, &fault));
    CHECK_OK(mm_memmap_finish(&m.map));
    CHECK_ERR(mm_boot_read_efi(&efi, &m.map, &info, &fault), MM_ERR_BUSY);
    CHECK_TEXT(fault.what, "the memory map is not collecting");
}
