/*
 * test_names.c - the short names, used as a kernel uses them, in two files.
 *
 * Problem     Inlined wrappers are code of the kernel: nobody compiles them before the kernel does.
 * Idea        The usual first steps of a kernel, word for word, over a started machine; addresses
 *             are followed by the simulated MMU. The default instance is asked for after an include
 *             that did not ask for it, as happens through other headers.
 */
#include "mm/names.h"

#define MM_DEFAULT_INSTANCE
#include "mm/names.h"

#include "../start/boot_machine.h"
#include "names_other.h"

static struct boot_machine m;

static void begin(void)
{
    boot_from_dump(&m, &boot_dumps[0]); /* bios-64M */
    memset(&mm_default, 0, sizeof mm_default);
    CHECK_OK(mm_start(&mm_default, &m.info, NULL));
}

TEST(frame_is_mapped_written_and_given_back)
{
    uint64_t virt = UINT64_C(0xdeadbeef000), phys, free, found = 0;

    begin();
    free = pmm_free_count();
    phys = pmm_alloc_frame();
    CHECK(phys != 0);
    CHECK_EQ(pmm_free_count(), free - 1);
    CHECK_OK(vmm_map_page(virt, phys, VMM_WRITE));
    CHECK_EQ(fake_write64(mm_virt(virt + 8), 42).fault, FAKE_OK);
    CHECK_EQ(((uint64_t *)phys_to_virt(phys))[1], 42);
    CHECK_OK(vmm_translate(virt + 8, &found));
    CHECK_EQ(found, phys + 8);
    CHECK_OK(vmm_unmap_page(virt));
    CHECK_ERR(vmm_translate(virt, &found), MM_ERR_NOT_FOUND);
    CHECK_EQ(found, phys + 8);
    CHECK_EQ(fake_read64(mm_virt(virt)).fault, FAKE_NOT_PRESENT);
    pmm_free_frame(phys);
    CHECK_EQ(pmm_free_count(), free);
}

TEST(frames_come_in_runs_and_below_a_limit)
{
    uint64_t run, low;

    begin();
    run = pmm_alloc_frames(7);
    CHECK(run != 0 && run % PAGE == 0);
    low = pmm_alloc_frame_below(0xffffff);
    CHECK(low != 0 && low <= 0xffffff);
    CHECK_EQ(pmm_alloc_frame_below(0), 0);
    CHECK_EQ(pmm_alloc_frame_below(0xfff), 0); /* frame 0 is nobody's */
    CHECK_EQ(pmm_alloc_frames(0), 0);
    CHECK_EQ(pmm_alloc_frames(UINT64_C(1) << 40), 0);
    pmm_free_frames(run, 7);
    pmm_free_frame(low);
    CHECK(pmm_total_count() > pmm_free_count());
    CHECK(pmm_total_count() < MIB(64) / PAGE);
}

TEST(zero_means_none_when_memory_is_out)
{
    uint64_t virt = UINT64_C(0xdeadbeef000);

    begin();
    while (pmm_alloc_frame() != 0)
        ;
    CHECK_EQ(pmm_alloc_frames(1), 0);
    CHECK_ERR(vmm_map_page(virt, pmm_alloc_frame(), VMM_WRITE), MM_ERR_BAD_ARG);
    CHECK(kmalloc(1 << 20) == NULL);
    CHECK(phys_to_virt(UINT64_C(0xfd000000)) == NULL);
}

TEST(pages_get_the_rights_and_the_type_that_their_flags_say)
{
    static const struct {
        unsigned flags, prot;
        enum mm_memtype type;
    } rows[] = {
        {0, MM_PROT_READ, MM_MEMTYPE_WB},
        {VMM_WRITE, MM_PROT_RW, MM_MEMTYPE_WB},
        {VMM_EXEC, MM_PROT_RX, MM_MEMTYPE_WB},
        {VMM_WRITE | VMM_USER, MM_PROT_RW | MM_PROT_USER, MM_MEMTYPE_WB},
        {VMM_WRITE | VMM_UNCACHED, MM_PROT_RW, MM_MEMTYPE_UC},
        {VMM_WRITE | VMM_COMBINE, MM_PROT_RW, MM_MEMTYPE_WC},
    };
    uint64_t virt = 0x40000000;

    begin();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fake_access got;
        uint64_t phys = pmm_alloc_frame();

        mm_test_row("row", i);
        CHECK_OK(vmm_map_page(virt, phys, rows[i].flags));
        got = fake_probe(mm_virt(virt));
        CHECK_EQ(got.phys.raw, phys);
        CHECK_EQ(got.prot, rows[i].prot);
        CHECK_EQ(got.type, rows[i].type);
        CHECK_OK(vmm_unmap_page(virt));
    }
    CHECK_ERR(vmm_map_page(virt, MIB(8), VMM_WRITE | VMM_EXEC), MM_ERR_POLICY);
    CHECK_ERR(vmm_map_page(virt, MIB(8), 0x400), MM_ERR_BAD_ARG);
    CHECK_ERR(vmm_map_page(virt + 1, MIB(8), 0), MM_ERR_BAD_ARG);
}

TEST(heap_gives_an_array_of_a_hundred_ints)
{
    int *numbers;

    begin();
    numbers = kmalloc(100 * sizeof *numbers);
    CHECK(numbers != NULL);
    for (int i = 0; i < 100; i++)
        numbers[i] = i * i;
    numbers = krealloc(numbers, 1000 * sizeof *numbers);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(numbers[i], i * i);
    CHECK_EQ(fake_probe(mm_virt_of(numbers)).phys.raw, virt_to_phys(numbers));
    kfree(numbers);
    numbers = kcalloc(100, sizeof *numbers);
    CHECK_EQ(numbers[99], 0);
    kfree(numbers);
    numbers = kzalloc(400);
    CHECK_EQ(numbers[99], 0);
    kfree(numbers);
    CHECK(kcalloc(SIZE_MAX / 2, 4) == NULL);
    numbers = kmalloc_aligned(4096, 100);
    CHECK_EQ((uintptr_t)numbers % 4096, 0);
    kfree(numbers);
    kfree(NULL);
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}

TEST(devices_and_dma_buffers_come_and_go)
{
    uint64_t phys = 0, free;
    uint8_t *registers;
    void *buffer;

    begin();
    free = pmm_free_count();
    registers = vmm_map_device(0xfed00010, 1024);
    CHECK(registers != NULL);
    CHECK_EQ(fake_probe(mm_virt_of(registers)).phys.raw, 0xfed00010);
    CHECK_EQ(fake_probe(mm_virt_of(registers)).type, MM_MEMTYPE_UC);
    vmm_unmap_device(registers);
    CHECK(vmm_map_device(UINT64_MAX, 8) == NULL);
    buffer = dma_alloc(10000, 0xffffff, &phys);
    CHECK(buffer != NULL && phys != 0 && phys + 12288 <= MIB(16));
    CHECK_EQ(fake_read64(mm_virt_of(buffer)).value, 0);
    CHECK_EQ(fake_probe(mm_virt_of(buffer)).phys.raw, phys);
    dma_free(buffer, 10000, phys);
    CHECK(dma_alloc(0, 0, &phys) == NULL);
    CHECK(free - pmm_free_count() <= 4); /* tables and spans of the kernel area stay */
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}

TEST(second_file_shares_the_instance)
{
    uint64_t phys, free;
    char *text;

    begin();
    CHECK(other_instance() == &mm_default);
    free = pmm_free_count();
    phys = other_take_frame();
    CHECK_EQ(pmm_free_count(), free - 1);
    pmm_free_frame(phys);
    phys = pmm_alloc_frame();
    other_give_frame(phys);
    CHECK_EQ(pmm_free_count(), free);
    text = other_copy("one instance");
    CHECK_TEXT(text, "one instance");
    kfree(text);
}

TEST(wrong_frees_are_reported_with_the_line_of_the_kernel)
{
    uint64_t phys;
    void *block;

    begin();
    phys = pmm_alloc_frame();
    block = kmalloc(10);
    pmm_free_frame(phys);
    pmm_free_frame(phys);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(mm_test_report(0)->address, phys);
    CHECK(mm_test_report(0)->caller != NULL);
    kfree(block);
    kfree(block);
    CHECK_EQ(mm_test_report_count(), 2);
    vmm_unmap_device(block);
    CHECK_EQ(mm_test_report_count(), 3);
    mm_test_reports_clear();
}
