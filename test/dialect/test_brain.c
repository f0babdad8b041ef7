/*
 * test_brain.c - the tutorial's goal reached, in its own words, and what it leaves unsaid.
 *
 * Problem     The tutorial shows eight lines and expects them to work; its frame is a pointer that
 *             is none, its map call has no result.
 * Idea        Those lines over a started machine; every claim is asked of the simulated MMU.
 */
#define MM_DEFAULT_INSTANCE
#include "mm/dialect/brain.h"

#include "../start/boot_machine.h"

#define THERE UINT64_C(0xDEADBEEF000)

static struct boot_machine m;

static uint64_t begin(void)
{
    boot_from_dump(&m, &boot_dumps[0]); /* bios-64M */
    memset(&mm_default, 0, sizeof mm_default);
    CHECK_OK(mm_start(&mm_default, &m.info, NULL));
    return mm_pmm_free_frames(&mm_default.pmm);
}

/* The goal of the tutorial; it gives nothing back, a test has to. */
TEST(frame_is_mapped_and_numbers_come_from_the_heap)
{
    uint64_t free_frames = begin();
    void *phys_ptr = pmm_alloc_frame();
    int *my_array;

    vmm_map_page(phys_ptr, 0xDEADBEEF000);
    CHECK_EQ(fake_write64(mm_virt(THERE + 16), 50).fault, FAKE_OK);
    CHECK_EQ(fake_read64(mm_virt(THERE + 16)).phys.raw, (uintptr_t)phys_ptr + 16);
    CHECK_EQ(((uint64_t *)frame_memory(phys_ptr))[2], 50);

    my_array = (int *)kmalloc(sizeof(int) * 100);
    my_array[0] = 50;
    my_array[99] = 51;
    CHECK_EQ(fake_read64(mm_virt_of(my_array)).value & 0xffffffff, 50);
    kfree(my_array);

    CHECK_OK(vmm_unmap_page(THERE));
    pmm_free_frame(phys_ptr);
    (void)mm_heap_trim(&mm_default.heap);
    CHECK_EQ(mm_pmm_free_frames(&mm_default.pmm), free_frames);
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}

TEST(no_translation_survives_the_unmapping_of_its_page)
{
    void *first, *second;

    begin();
    first = pmm_alloc_frame();
    second = pmm_alloc_frame();
    CHECK_OK(vmm_map_page(first, THERE));
    CHECK_EQ(fake_write64(mm_virt(THERE), 1).fault, FAKE_OK); /* now the CPU remembers it */
    CHECK_OK(vmm_unmap_page(THERE));
    CHECK_EQ(fake_read64(mm_virt(THERE)).fault, FAKE_NOT_PRESENT);
    CHECK_OK(vmm_map_page(second, THERE));
    CHECK_EQ(fake_write64(mm_virt(THERE), 2).phys.raw, (uintptr_t)second);
    CHECK_EQ(*(uint64_t *)frame_memory(first), 1);
    CHECK_EQ(fake_stale_entries(), 0);
}

TEST(pages_of_programs_are_read_only_or_not_executable)
{
    void *code, *data;

    begin();
    code = pmm_alloc_frame();
    data = pmm_alloc_frame();
    CHECK_OK(vmm_map_page_as(code, 0x400000, MM_PROT_RX | MM_PROT_USER));
    CHECK_OK(vmm_map_page_as(data, 0x401000, MM_PROT_RW | MM_PROT_USER));
    CHECK_OK(vmm_map_page(pmm_alloc_frame(), 0x402000));
    fake_user(true);
    CHECK_EQ(fake_fetch(mm_virt(0x400000)).fault, FAKE_OK);
    CHECK_EQ(fake_write64(mm_virt(0x400000), 1).fault, FAKE_WRITE_DENIED);
    CHECK_EQ(fake_write64(mm_virt(0x401000), 1).fault, FAKE_OK);
    CHECK_EQ(fake_fetch(mm_virt(0x401000)).fault, FAKE_FETCH_DENIED);
    CHECK_EQ(fake_read64(mm_virt(0x402000)).fault, FAKE_USER_DENIED);
    fake_user(false);
    CHECK_EQ(fake_fetch(mm_virt(0x402000)).fault, FAKE_FETCH_DENIED);
}

TEST(frame_that_was_not_there_is_not_mapped)
{
    begin();
    while (pmm_alloc_frame() != NULL)
        ;
    CHECK_ERR(vmm_map_page(pmm_alloc_frame(), THERE), MM_ERR_BAD_ARG);
    CHECK_EQ(fake_read64(mm_virt(THERE)).fault, FAKE_NOT_PRESENT);
    CHECK(kmalloc(MIB(1)) == NULL);
}

TEST(page_that_is_mapped_already_stays)
{
    void *first;

    begin();
    first = pmm_alloc_frame();
    CHECK_OK(vmm_map_page(first, THERE));
    CHECK_ERR(vmm_map_page(pmm_alloc_frame(), THERE), MM_ERR_EXISTS);
    CHECK_EQ(fake_probe(mm_virt(THERE)).phys.raw, (uintptr_t)first);
}

TEST(frame_is_no_pointer_and_memory_is_no_frame)
{
    void *frame;

    begin();
    frame = pmm_alloc_frame();
    CHECK_EQ(fake_read64(mm_virt_of(frame)).fault, FAKE_NOT_PRESENT);
    CHECK(frame_memory((void *)0xfd000000) == NULL);
    pmm_free_frame(frame_memory(frame)); /* a virtual address: refused */
    CHECK_EQ(mm_test_report_count(), 1);
    pmm_free_frame(frame);
    if (MM_LEVEL > MM_LEVEL_RELEASE) { /* which need not see it */
        pmm_free_frame(frame);
        CHECK_EQ(mm_test_report_count(), 2);
        CHECK_EQ(mm_test_report(0)->address, (uintptr_t)frame);
    }
    mm_test_reports_clear();
}
