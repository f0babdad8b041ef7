/*
 * selftest_start.c - what holds right after mm_start().
 *
 * Problem     A start that leaves the image writable, the old mappings in place or a reserved frame
 *             in the pool works for a long time.
 * Idea        Ask the MMU (touch and see), the tables (walk.c) and the PMM, each independently.
 */
#include "cpu.h"
#include "fault.h"
#include "image.h"
#include "selftest_tools.h"
#include "taken.h"
#include "walk.h"

/* Rights of every page in [start, end), according to the tables. */
static void check_rights(uint64_t start, uint64_t end, bool write, bool execute)
{
    for (uint64_t at = start; at < end; at += MM_FRAME_BYTES) {
        struct walk walk;

        walk_tables(at, &walk);
        CHECK(walk.mapped && !walk.user);
        CHECK_EQUAL(walk.write, write);
        CHECK_EQUAL(walk.execute, execute);
        CHECK_EQUAL(walk.phys, at - IMAGE_OFFSET);
    }
}

SELFTEST(start_reserves_what_is_in_use)
{
    for (size_t i = 0; i < taken_count(); i++) {
        const struct taken *taken = taken_get(i);
        struct mm_frame_info info;
        struct mm_mem_range range;

        mm_pmm_query(&mm_default.pmm, mm_phys(taken->phys), &info);
        CHECK_EQUAL(info.state, MM_FRAME_UNMANAGED);
        mm_pmm_query(&mm_default.pmm, mm_phys(taken->phys + taken->bytes - 1), &info);
        CHECK_EQUAL(info.state, MM_FRAME_UNMANAGED);
        CHECK(mm_memmap_find(&mm_default.map, mm_phys(taken->phys), &range) == MM_OK);
        CHECK(range.use != MM_USE_FREE && range.use != MM_USE_EARLY);
    }
}

SELFTEST(start_keeps_low_memory_of_the_firmware)
{
    struct mm_frame_info info;

    mm_pmm_query(&mm_default.pmm, mm_phys(0), &info);
    CHECK_EQUAL(info.state, MM_FRAME_UNMANAGED);
    for (uint64_t at = 0xa0000; at < 0x100000; at += MM_FRAME_BYTES) {
        mm_pmm_query(&mm_default.pmm, mm_phys(at), &info);
        CHECK_EQUAL(info.state, MM_FRAME_UNMANAGED);
    }
}

SELFTEST(start_harms_no_boot_data)
{
    CHECK(taken_changed() == NULL);
}

SELFTEST(start_switches_the_cpu_on)
{
    CHECK(read_cr0() & CR0_WP);
    CHECK(read_msr(MSR_EFER) & EFER_NXE);
    CHECK(read_flags() & RFLAGS_IF);
    CHECK_EQUAL(read_cr3() & ~(MM_FRAME_BYTES - 1), mm_default.kernel.root.raw);
}

SELFTEST_OWN_ROOT(start_gives_the_image_its_rights)
{
    check_rights(image_virt(image_text_start), image_virt(image_text_end), false, true);
    check_rights(image_virt(image_rodata_start), image_virt(image_rodata_end), false, false);
    check_rights(image_virt(image_data_start), image_virt(image_data_end), true, false);
}

SELFTEST_OWN_ROOT(start_rights_are_enforced)
{
    static const uint8_t constant_ret = 0xc3;
    static volatile uint8_t variable_ret = 0xc3;
    uint64_t text = image_virt(image_text_start);
    uint64_t constant = image_virt(&constant_ret);

    test_write_faults(text, FAULT_PRESENT | FAULT_WRITE);
    test_write_faults(constant, FAULT_PRESENT | FAULT_WRITE);
    test_fetch_faults(constant, FAULT_PRESENT | FAULT_FETCH);
    test_fetch_faults(image_virt((const void *)&variable_ret), FAULT_PRESENT | FAULT_FETCH);
    test_fetch_faults(mm_virt_of((const void *)test_direct(image_phys(&constant_ret))).raw,
                      FAULT_PRESENT | FAULT_FETCH);
}

/* The frames of text and rodata appear a second time, in the direct map. */
SELFTEST_OWN_ROOT(start_protects_the_image_in_the_direct_map_too)
{
    static const uint8_t constant = 1;
    uint64_t direct = mm_default.vmm.layout.direct_map.start.raw;
    uint64_t end = image_phys(image_rodata_end);

    test_write_faults(direct + image_phys(image_text_start), FAULT_PRESENT | FAULT_WRITE);
    test_write_faults(direct + image_phys(&constant), FAULT_PRESENT | FAULT_WRITE);
    for (uint64_t at = image_phys(image_text_start); at < end; at += MM_FRAME_BYTES) {
        struct walk walk;

        walk_tables(direct + at, &walk);
        CHECK(walk.mapped && !walk.write && !walk.execute && !walk.user);
        CHECK_EQUAL(walk.phys, at);
    }
}

SELFTEST_OWN_ROOT(start_leaves_no_boot_mapping)
{
    test_read_faults(0, 0);
    test_read_faults(0x100000, 0);
    test_read_faults(IMAGE_OFFSET, 0);
    test_read_faults(image_virt(image_data_end), 0);
    test_read_faults(IMAGE_OFFSET + IMAGE_BOOT_MAPPED - 8, 0);
}

static bool is_read_only(uint64_t phys)
{
    return phys >= image_phys(image_text_start) && phys < image_phys(image_rodata_end);
}

/* Every RAM range is in the direct map, unexecutable; nothing else is. */
SELFTEST_OWN_ROOT(start_maps_all_ram_directly)
{
    for (uint32_t i = 0; i < mm_default.map.count; i++) {
        const struct mm_mem_range *range = &mm_default.map.range[i];
        uint64_t last = range->start.raw + range->bytes - MM_FRAME_BYTES;
        bool ram = mm_mem_type_is_ram(range->type);
        uint64_t ends[2] = {range->start.raw, last};

        for (unsigned j = 0; j < 2; j++) {
            const void *pointer = mm_phys_pointer(&mm_default, mm_phys(ends[j]));
            struct walk walk;

            CHECK_EQUAL(pointer != NULL, ram);
            walk_tables(mm_default.vmm.layout.direct_map.start.raw + ends[j], &walk);
            CHECK_EQUAL(walk.mapped, ram);
            CHECK(!ram || (walk.phys == ends[j] && !walk.execute && !walk.user));
            CHECK(!ram || walk.write == !is_read_only(ends[j]));
        }
    }
}

/* The whole kernel half: nothing is both writable and executable, nothing is for user mode. */
SELFTEST_OWN_ROOT(start_maps_nothing_writable_and_executable)
{
    mm_virt_t cursor = mm_virt(0);
    struct mm_space_run run;
    unsigned runs = 0;

    while (mm_space_query(&mm_default.kernel, &cursor, mm_virt(0), &run) == MM_OK) {
        runs++;
        CHECK((run.prot & (MM_PROT_WRITE | MM_PROT_EXEC)) != (MM_PROT_WRITE | MM_PROT_EXEC));
        CHECK(!(run.prot & MM_PROT_USER));
    }
    CHECK(runs >= 4); /* three segments and the direct map */
}

SELFTEST(start_totals_agree)
{
    struct mm_memmap_totals totals;
    struct mm_pmm_stats stats;

    mm_memmap_get_totals(&mm_default.map, &totals);
    mm_pmm_get_stats(&mm_default.pmm, &stats);
    CHECK(totals.usable_bytes > 8 * MIB);
    CHECK(stats.managed_frames <= totals.usable_bytes / MM_FRAME_BYTES);
    CHECK(stats.free_frames <= stats.managed_frames);
    CHECK(stats.free_frames >= stats.managed_frames * 9 / 10);
}
