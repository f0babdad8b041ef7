/*
 * replay_firmware.c - docs/integrating.md, "What mm.boot names", run as it stands.
 *
 * tools/check-docs puts the code of the document in front of this file. A PC whose firmware calls
 * the last 64 KiB of the first MiB reserved, and 64 KiB at 8 MiB ACPI tables.
 */
#include "../start/boot_machine.h"

#define ROM  UINT64_C(0xf5a10) /* somewhere in a page, as a BIOS does it */
#define ACPI UINT64_C(0x800000)

struct mm mm;

static void start(void)
{
    static struct boot_machine m;
    struct mm_start_failure why;

    boot_begin(&m, MIB(64));
    CHECK_OK(mm_memmap_init(&mm.map, mm.range, MM_MAP_RANGES, 46));
    CHECK_OK(mm_memmap_add(&mm.map, mm_phys(0x100000), MIB(63), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(&mm.map, mm_phys(0xf0000), KIB(64), MM_MEM_RESERVED));
    CHECK_OK(mm_memmap_add(&mm.map, mm_phys(ACPI), KIB(64), MM_MEM_ACPI_RECLAIM));
    fake_interrupts(false);
    CHECK_OK(mm_start(&mm, &m.info, &why));
    fake_interrupts(true);
}

TEST(docs_firmware_table_reaches_ram_and_what_is_reserved)
{
    const void *ram, *rom;

    start();
    CHECK((ram = firmware_table(mm_phys(ACPI + 100), 36)) != NULL);
    CHECK_EQ(fake_probe(mm_virt_of(ram)).phys.raw, ACPI + 100);
    CHECK(ram == mm_phys_pointer(&mm, mm_phys(ACPI + 100)));
    CHECK(mm_phys_pointer(&mm, mm_phys(ROM)) == NULL);
    CHECK((rom = firmware_table(mm_phys(ROM), 36)) != NULL);
    CHECK_EQ(fake_probe(mm_virt_of(rom)).phys.raw, ROM);
    CHECK(firmware_table(mm_phys(ROM), 0) == NULL);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}
