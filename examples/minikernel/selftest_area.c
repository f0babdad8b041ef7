/*
 * selftest_area.c - device mappings and DMA memory.
 *
 * Problem     A device's registers begin anywhere in a page, and a device cannot follow page tables
 *             or reach every address.
 * Idea        Map a device that every PC has (the local APIC), memory with a known content, and ask
 *             for DMA buffers with every kind of limit.
 */
#include "cpu.h"
#include "fault.h"
#include "selftest_tools.h"
#include "snapshot.h"
#include "walk.h"

#define MSR_APIC_BASE  0x1bu
#define APIC_VERSION   0x30u
#define ENTRY_UNCACHED (UINT64_C(3) << 3) /* PWT and PCD: uncached in every setting of the PAT */

SELFTEST(area_maps_device_registers)
{
    uint64_t phys = (read_msr(MSR_APIC_BASE) & ~UINT64_C(0xfff)) + APIC_VERSION;
    void *pointer = NULL;
    struct walk walk;
    uint32_t version;

    CHECK_EQUAL(mm_kmap(&mm_default.area, mm_phys(phys), 4, MM_MEMTYPE_UC, &pointer), MM_OK);
    CHECK_EQUAL((uintptr_t)pointer % MM_FRAME_BYTES, APIC_VERSION);
    walk_tables((uintptr_t)pointer, &walk);
    CHECK(walk.mapped && walk.write && !walk.execute && !walk.user);
    CHECK_EQUAL(walk.entry[1] & ENTRY_UNCACHED, ENTRY_UNCACHED);
    version = *(volatile uint32_t *)pointer;
    CHECK((version & 0xf0) == 0x10); /* 0x1X: an integrated APIC */
    CHECK_EQUAL(mm_kunmap(&mm_default.area, pointer), MM_OK);
    CHECK(probe_read((uintptr_t)pointer & ~UINT64_C(7)).hit);
}

SELFTEST(area_keeps_the_offset_and_a_guard)
{
    uint64_t run = test_run(2);
    uint64_t phys = run + MM_FRAME_BYTES - 24;
    void *pointer = NULL;
    uint64_t end;

    test_direct(run)[510] = 1;
    test_direct(run)[511] = 2;
    test_direct(run + MM_FRAME_BYTES)[0] = 3;
    CHECK_EQUAL(mm_kmap(&mm_default.area, mm_phys(phys), 40, MM_MEMTYPE_WB, &pointer), MM_OK);
    CHECK_EQUAL((uintptr_t)pointer % MM_FRAME_BYTES, phys % MM_FRAME_BYTES);
    CHECK_EQUAL(test_read((uintptr_t)pointer + 8), 1);
    CHECK_EQUAL(test_read((uintptr_t)pointer + 16), 2);
    CHECK_EQUAL(test_read((uintptr_t)pointer + 24), 3);
    end = ((uintptr_t)pointer & ~(MM_FRAME_BYTES - 1)) + 2 * MM_FRAME_BYTES;
    CHECK(!probe_read(end - 8).hit && probe_read(end).hit);
    CHECK_EQUAL(mm_kunmap(&mm_default.area, pointer), MM_OK);
    CHECK(probe_read(end - 8).hit);
    test_free(run, 2);
}

SELFTEST(area_refuses_bad_requests)
{
    void *pointer = &pointer;
    struct mm_kernel_area *area = &mm_default.area;

    CHECK_EQUAL(mm_kmap(area, mm_phys(0), 0, MM_MEMTYPE_UC, &pointer), MM_ERR_BAD_ARG);
    CHECK_EQUAL(mm_kmap(area, mm_phys(~UINT64_C(0) - 7), 16, MM_MEMTYPE_UC, &pointer),
                MM_ERR_RANGE);
    CHECK_EQUAL(mm_kmap(area, mm_phys(UINT64_C(1) << 60), 16, MM_MEMTYPE_UC, &pointer),
                MM_ERR_RANGE);
    CHECK(pointer == &pointer);
    CHECK_REPORTED(mm_kunmap(area, &pointer), MM_ERR_MISUSE);
}

static void check_dma(const struct mm_dma_request *request)
{
    struct mm_dma dma = {0};
    uint64_t last;

    CHECK_EQUAL(mm_dma_alloc(&mm_default.area, request, &dma), MM_OK);
    last = dma.phys.raw + dma.bytes - 1;
    CHECK(dma.bytes >= request->bytes && dma.bytes % MM_FRAME_BYTES == 0);
    CHECK(!request->highest.raw || last <= request->highest.raw);
    CHECK(!request->align_bytes || dma.phys.raw % request->align_bytes == 0);
    CHECK(!request->boundary_bytes ||
          dma.phys.raw / request->boundary_bytes == last / request->boundary_bytes);
    for (uint64_t i = 0; i < dma.bytes; i += MM_FRAME_BYTES) { /* contiguous */
        struct walk walk;

        walk_tables((uintptr_t)dma.pointer + i, &walk);
        CHECK(walk.mapped && walk.phys == dma.phys.raw + i && walk.write && !walk.execute);
        if (request->flags & MM_FRAME_ZERO)
            CHECK_EQUAL(test_read((uintptr_t)dma.pointer + i), 0);
        test_write((uintptr_t)dma.pointer + i, ~i);
    }
    CHECK_EQUAL(mm_dma_free(&mm_default.area, &dma), MM_OK);
    CHECK_REPORTED(mm_dma_free(&mm_default.area, &dma), MM_ERR_MISUSE);
}

SELFTEST(area_gives_dma_memory)
{
    static const struct mm_dma_request requests[] = {
        {.bytes = 1},
        {.bytes = 20 * KIB, .boundary_bytes = 64 * KIB},
        {.bytes = 12 * KIB, .boundary_bytes = 16 * KIB, .flags = MM_FRAME_ZERO},
        {.bytes = 64 * KIB, .boundary_bytes = 64 * KIB},
        {.bytes = 5 * KIB, .align_bytes = 256 * KIB, .flags = MM_FRAME_ZERO},
        {.bytes = 40 * KIB, .highest = MM_PHYS(0xffffff)},
        {.bytes = 8 * KIB, .highest = MM_PHYS(0xfffff)},
        {.bytes = 9 * KIB, .type = MM_MEMTYPE_UC, .highest = MM_PHYS(0xffffffff)},
    };

    test_use_arena();
    snapshot_take(&snapshot_before);
    for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        if (requests[i].highest.raw != 0xfffff || test_has_low_run(2))
            check_dma(&requests[i]);
    CHECK(snapshot_unchanged());
    CHECK_EQUAL(mm_arena_check(&mm_default.arena, &fault_printer), 0);
}

SELFTEST(area_gives_many_mappings)
{
    void *pointers[100];
    uint64_t frame = test_frame();

    for (unsigned i = 0; i < 100; i++) {
        CHECK_EQUAL(
            mm_kmap(&mm_default.area, mm_phys(frame + i * 8), 8, MM_MEMTYPE_WB, &pointers[i]),
            MM_OK);
        *(volatile uint64_t *)pointers[i] = i;
    }
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQUAL(test_direct(frame)[i], i);
    for (unsigned i = 0; i < 100; i += 2)
        CHECK_EQUAL(mm_kunmap(&mm_default.area, pointers[i]), MM_OK);
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQUAL(probe_read((uintptr_t)pointers[i]).hit, i % 2 == 0);
    for (unsigned i = 1; i < 100; i += 2)
        CHECK_EQUAL(mm_kunmap(&mm_default.area, pointers[i]), MM_OK);
    CHECK_EQUAL(mm_arena_check(&mm_default.arena, &fault_printer), 0);
    test_free(frame, 1);
}
