/*
 * test_phase5.c - the words of the "phase 5" tutorial, said of this machine.
 *
 * Problem     The text explains and calls nothing; its words must still be true of what runs.
 * Idea        Each word is compared with what the simulated CPU holds and does: entries are read
 *             from the frames of the tables, spaces are switched and looked at from user mode.
 */
#define MM_DEFAULT_INSTANCE
#include "mm/dialect/phase5.h"

#include "../start/boot_machine.h"

#define ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)

static struct boot_machine m;

static void begin(void)
{
    boot_from_dump(&m, &boot_dumps[0]); /* bios-64M */
    memset(&mm_default, 0, sizeof mm_default);
    CHECK_OK(mm_start(&mm_default, &m.info, NULL));
}

TEST(bit_of_a_page_is_one_when_it_is_used)
{
    uint64_t page;

    begin();
    page = pmm_alloc_frame();
    CHECK(page_is_used(page));
    CHECK(page_is_used(page + 4095));
    pmm_free_frame(page);
    CHECK(!page_is_used(page));
    CHECK(page_is_used(TEXT_PHYS)); /* the kernel */
    CHECK(page_is_used(0));
    CHECK(page_is_used(0xb8000));
    CHECK(page_is_used(UINT64_C(0xfd000000))); /* a hole, for hardware */
}

TEST(address_is_split_into_directory_table_and_page)
{
    const uint64_t virt = UINT64_C(0x40403678); /* 1 GiB + 2 x 2 MiB + 3 pages */
    uint64_t page, directory, table;

    begin();
    CHECK_EQ(page_directory_index(virt), 2);
    CHECK_EQ(page_table_index(virt), 3);
    CHECK_EQ(page_directory_index(UINT64_MAX), PAGE_DIRECTORY_ENTRIES - 1);
    CHECK_EQ(page_table_index(UINT64_MAX), PAGE_TABLE_ENTRIES - 1);
    CHECK_EQ(page_entry(virt, 1), 0);
    page = pmm_alloc_frame();
    CHECK_OK(vmm_map_page(virt & ~UINT64_C(0xfff), page, VMM_WRITE));
    directory = page_entry(virt, 2);
    CHECK_EQ(directory & 1, 1);
    CHECK_EQ(directory & 0x80, 0);
    table = boot_words(directory & ENTRY_ADDRESS)[page_table_index(virt)];
    CHECK_EQ(page_entry(virt, 1), table);
    CHECK_EQ(table & ENTRY_ADDRESS, page);
    CHECK_EQ(table & 3, 3);
    CHECK_EQ(page_entry(virt, 0), 0);
    CHECK_OK(vmm_unmap_page(virt & ~UINT64_C(0xfff)));
    CHECK_EQ(page_entry(virt, 1), 0);
}

TEST(cr3_holds_the_address_of_the_topmost_table)
{
    begin();
    CHECK_EQ(cr3_read(), fake_cpu(0)->root.raw);
    CHECK_EQ(cr3_read(), mm_default.kernel.root.raw);
}

TEST(every_process_has_the_same_addresses_for_itself)
{
    static struct mm_space process[2];
    const uint64_t virt = 0x400000;
    uint64_t page[2];

    begin();
    memset(process, 0, sizeof process);
    boot_allow_user_spaces(&mm_default);
    for (unsigned i = 0; i < 2; i++) {
        page[i] = pmm_alloc_frame();
        CHECK_OK(process_create(&process[i]));
        CHECK_OK(process_map_page(&process[i], virt, page[i], VMM_WRITE));
    }
    for (uint64_t i = 0; i < 2; i++) {
        fake_interrupts(false);
        CHECK_OK(cr3_load(&process[i]));
        fake_interrupts(true);
        CHECK_EQ(cr3_read(), process[i].root.raw);
        CHECK_EQ(cr3_read(), fake_cpu(0)->root.raw);
        fake_user(true);
        CHECK_EQ(fake_write64(mm_virt(virt), 100 + i).phys.raw, page[i]);
        CHECK_EQ(fake_fetch(mm_virt(virt)).fault, FAKE_FETCH_DENIED);
        CHECK_EQ(fake_read64(mm_virt(KERNEL_BASE + DATA_PHYS)).fault, FAKE_USER_DENIED);
        fake_user(false);
    }
    CHECK_EQ(*boot_words(page[0]), 100);
    CHECK_EQ(*boot_words(page[1]), 101);
    CHECK_OK(cr3_load(&mm_default.kernel));
    CHECK_EQ(fake_read64(mm_virt(virt)).fault, FAKE_NOT_PRESENT);
    CHECK_ERR(process_map_page(&process[0], virt + PAGE, 0, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(process_map_page(&process[0], virt + PAGE, page[0], VMM_UNCACHED), MM_ERR_BAD_ARG);
    for (unsigned i = 0; i < 2; i++)
        CHECK_OK(mm_space_destroy(&process[i]));
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}

TEST(identity_mapping_makes_virtual_equal_physical)
{
    uint64_t page;

    begin();
    page = pmm_alloc_frame();
    CHECK_EQ(fake_read64(mm_virt(page)).fault, FAKE_NOT_PRESENT); /* none is left by itself */
    CHECK_OK(identity_map(page, PAGE, VMM_WRITE));
    CHECK_EQ(fake_write64(mm_virt(page), 9).phys.raw, page);
    CHECK_EQ(*boot_words(page), 9);
    CHECK_ERR(identity_map(0, PAGE, VMM_WRITE), MM_ERR_BAD_ARG);
    CHECK_OK(vmm_unmap(page, PAGE));
    CHECK_EQ(fake_fetch(mm_virt(KERNEL_BASE + TEXT_PHYS)).fault,
             FAKE_OK); /* the next instruction */
}

TEST(kernel_heap_holds_a_list_of_open_files)
{
    struct file {
        struct file *next;
        uint64_t id;
    } *files = NULL;

    begin();
    for (uint64_t id = 0; id < 100; id++) {
        struct file *file = (struct file *)kmalloc(sizeof *file);

        CHECK(file != NULL);
        *file = (struct file){files, id};
        files = file;
    }
    for (uint64_t id = 100; id-- > 0;) {
        struct file *file = files;

        CHECK_EQ(file->id, id);
        files = file->next;
        kfree(file);
    }
    CHECK(files == NULL);
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}
