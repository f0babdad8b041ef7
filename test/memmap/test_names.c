/*
 * test_names.c - numbers of the firmware, names, and lines.
 */
#include "map_test.h"

#include "mm/boot.h"

TEST(names_of_types_and_uses_are_distinct_and_end)
{
    for (unsigned a = 0; a <= MM_MEM_BAD; a++)
        for (unsigned b = 0; b < a; b++)
            CHECK(strcmp(mm_mem_type_name(a), mm_mem_type_name(b)) != 0);
    for (unsigned a = 0; a <= MM_USE_KEEP; a++)
        for (unsigned b = 0; b < a; b++)
            CHECK(strcmp(mm_mem_use_name(a), mm_mem_use_name(b)) != 0);
    CHECK_TEXT(mm_mem_type_name(MM_MEM_USABLE), "usable");
    CHECK_TEXT(mm_mem_type_name(MM_MEM_ACPI_NVS), "ACPI NVS");
    CHECK_TEXT(mm_mem_use_name(MM_USE_FREE), "free");
    CHECK_TEXT(mm_mem_use_name(MM_USE_MODULE_INFO), "module and boot information");
    CHECK_TEXT(mm_mem_use_name(MM_USE_IMAGE), "image");
    CHECK_TEXT(mm_mem_type_name(MM_MEM_BAD + 1), "?");
    CHECK_TEXT(mm_mem_use_name(MM_USE_KEEP + 1), "?");
    CHECK_TEXT(mm_mem_type_name(UINT32_MAX), "?");
}

TEST(names_ram_is_what_may_be_cached)
{
    for (unsigned type = 0; type < 20; type++)
        CHECK_EQ(mm_mem_type_is_ram(type), type == MM_MEM_USABLE || type == MM_MEM_BOOT_RECLAIM ||
                                               type == MM_MEM_ACPI_RECLAIM ||
                                               type == MM_MEM_ACPI_NVS);
}

TEST(names_line_of_a_range_and_its_cut)
{
    struct mm_mem_range range = {.start = {0x100000}, .bytes = 0x7ee0000, .type = MM_MEM_USABLE};
    const char *line = "0x0000000000100000 - 0x0000000007fdffff  usable, free";
    size_t length = strlen(line);
    char buf[100];

    CHECK_EQ(mm_mem_range_format(NULL, 0, &range), length);
    CHECK_EQ(mm_mem_range_format(buf, sizeof buf, &range), length);
    CHECK_TEXT(buf, line);
    for (size_t bytes = 1; bytes <= length + 1; bytes++) {
        memset(buf, '#', sizeof buf);
        CHECK_EQ(mm_mem_range_format(buf, bytes, &range), length);
        CHECK_EQ(strlen(buf), bytes - 1);
        CHECK(memcmp(buf, line, bytes - 1) == 0);
        CHECK_EQ(buf[bytes], '#');
    }
    range = (struct mm_mem_range){{UINT64_C(1) << 63}, UINT64_C(1) << 63, 200, 200, 0, 0};
    (void)mm_mem_range_format(buf, sizeof buf, &range);
    CHECK_TEXT(buf, "0x8000000000000000 - 0xffffffffffffffff  ?, ?");
}

TEST(names_line_calls_free_only_what_may_be_handed_out)
{
    struct mm_mem_range range = {.bytes = 0x1000, .type = MM_MEM_RESERVED};
    char buf[100];

    (void)mm_mem_range_format(buf, sizeof buf, &range);
    CHECK_TEXT(buf, "0x0000000000000000 - 0x0000000000000fff  reserved");
    range.type = MM_MEM_BOOT_RECLAIM;
    (void)mm_mem_range_format(buf, sizeof buf, &range);
    CHECK_TEXT(buf, "0x0000000000000000 - 0x0000000000000fff  boot loader");
    range.use = MM_USE_MODULE;
    (void)mm_mem_range_format(buf, sizeof buf, &range);
    CHECK_TEXT(buf, "0x0000000000000000 - 0x0000000000000fff  boot loader, module");
}

TEST(names_of_e820_numbers)
{
    CHECK_EQ(mm_mem_type_of_e820(1), MM_MEM_USABLE);
    CHECK_EQ(mm_mem_type_of_e820(2), MM_MEM_RESERVED);
    CHECK_EQ(mm_mem_type_of_e820(3), MM_MEM_ACPI_RECLAIM);
    CHECK_EQ(mm_mem_type_of_e820(4), MM_MEM_ACPI_NVS);
    CHECK_EQ(mm_mem_type_of_e820(5), MM_MEM_BAD);
    CHECK_EQ(mm_mem_type_of_e820(7), MM_MEM_PERSISTENT);
    /* 20 is what GRUB makes of EFI runtime code */
    for (uint32_t number = 0; number < 70000; number++)
        if (number < 1 || number > 7 || number == 6)
            CHECK_EQ(mm_mem_type_of_e820(number), MM_MEM_RESERVED);
    CHECK_EQ(mm_mem_type_of_e820(UINT32_MAX), MM_MEM_RESERVED);
}

TEST(names_of_efi_numbers)
{
    static const enum mm_mem_type type[] = {
        MM_MEM_RESERVED, MM_MEM_BOOT_RECLAIM, MM_MEM_BOOT_RECLAIM, MM_MEM_USABLE,
        MM_MEM_USABLE,   MM_MEM_RUNTIME,      MM_MEM_RUNTIME,      MM_MEM_USABLE,
        MM_MEM_BAD,      MM_MEM_ACPI_RECLAIM, MM_MEM_ACPI_NVS,     MM_MEM_DEVICE,
        MM_MEM_DEVICE,   MM_MEM_RESERVED,     MM_MEM_PERSISTENT,   MM_MEM_RESERVED,
        MM_MEM_RESERVED,
    };

    for (uint32_t number = 0; number < LENGTH(type); number++) {
        bool service = number == 3 || number == 4;

        CHECK_EQ(mm_mem_type_of_efi(number, false), type[number]);
        CHECK_EQ(mm_mem_type_of_efi(number, true), service ? MM_MEM_BOOT_RECLAIM : type[number]);
    }
    CHECK_EQ(mm_mem_type_of_efi(0x70000000, false), MM_MEM_RESERVED); /* OEM */
    CHECK_EQ(mm_mem_type_of_efi(UINT32_MAX, false), MM_MEM_RESERVED);
}
