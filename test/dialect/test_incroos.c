/*
 * test_incroos.c - a kernel written for IncroOS's interface.
 *
 * Problem     Its manual knows integers, a bool and nine bits of a table entry; its kernels rely on
 *             0 for "none" and on init functions in a fixed order.
 * Idea        The calls as its manual shows them. Flags are checked by accesses of the simulated
 *             MMU, each row against rights and memory type typed by hand.
 */
#define MM_DEFAULT_INSTANCE
#include "mm/dialect/incroos.h"

#include "../start/boot_machine.h"

#define HEAP_START UINT64_C(0x10000000) /* where the manual puts its heap: free here */

static struct boot_machine m;

static void begin(void)
{
    boot_from_dump(&m, &boot_dumps[0]); /* bios-64M */
    memset(&mm_default, 0, sizeof mm_default);
    CHECK_OK(mm_start(&mm_default, &m.info, NULL));
    pmm_init();
    vmm_init();
    heap_init();
}

TEST(init_functions_before_the_start_say_so_and_nothing_works)
{
    boot_from_dump(&m, &boot_dumps[0]);
    memset(&mm_default, 0, sizeof mm_default);
    pmm_init();
    vmm_init();
    heap_init();
    CHECK_EQ(mm_test_report_count(), 3);
    CHECK_TEXT(mm_test_report(2)->where, "pmm_init");
    CHECK_TEXT(mm_test_report(0)->where, "heap_init");
    CHECK_EQ(mm_test_report(0)->kind, MM_REPORT_MISUSE);
    CHECK_EQ(pmm_alloc_page(), 0);
    CHECK_EQ(pmm_get_total_pages(), 0);
    CHECK(!vmm_map_page(0x400000, 0x200000, PTE_PRESENT));
    CHECK_EQ(vmm_get_physical(0x400000), 0);
    CHECK(kmalloc(1) == NULL);
    mm_test_reports_clear();
}

TEST(pages_are_counted_and_come_back)
{
    size_t free_pages;
    uint64_t page;

    begin();
    free_pages = pmm_get_free_pages();
    CHECK(pmm_get_total_pages() >= free_pages && pmm_get_total_pages() < MIB(64) / PAGE);
    page = pmm_alloc_page();
    CHECK(page != 0 && page % PAGE == 0 && page < MIB(64));
    CHECK_EQ(pmm_get_free_pages(), free_pages - 1);
    pmm_free_page(page);
    CHECK_EQ(pmm_get_free_pages(), free_pages);
    if (MM_LEVEL == MM_LEVEL_RELEASE)
        return; /* it need not see the next one */
    pmm_free_page(page);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(pmm_get_free_pages(), free_pages);
    mm_test_reports_clear();
}

TEST(all_memory_is_handed_out_once_and_none_that_is_reserved)
{
    static uint8_t seen[MIB(64) / PAGE];
    size_t count = 0, free_pages;
    uint64_t page;

    begin();
    memset(seen, 0, sizeof seen);
    free_pages = pmm_get_free_pages();
    while ((page = pmm_alloc_page()) != 0) {
        CHECK(page < MIB(64) && seen[page / PAGE] == 0);
        CHECK(page < TEXT_PHYS || page >= IMAGE_END);
        seen[page / PAGE] = 1;
        count++;
    }
    CHECK(count > MIB(32) / PAGE); /* the manual's limit is none here */
    CHECK_EQ(count + pmm_get_free_pages(), free_pages);
}

TEST(page_is_mapped_used_translated_and_unmapped)
{
    uint64_t virt = UINT64_C(0x40000000), phys;

    begin();
    phys = pmm_alloc_page();
    CHECK(vmm_map_page(virt, phys, PTE_PRESENT | PTE_WRITABLE));
    CHECK_EQ(fake_write64(mm_virt(virt + 8), 42).fault, FAKE_OK);
    CHECK_EQ(boot_words(phys)[1], 42);
    CHECK_EQ(vmm_get_physical(virt + 8), phys + 8);
    CHECK_EQ(vmm_get_cr3(), fake_cpu(0)->root.raw);
    vmm_unmap_page(virt);
    CHECK_EQ(vmm_get_physical(virt), 0);
    CHECK_EQ(fake_read64(mm_virt(virt)).fault, FAKE_NOT_PRESENT);
    pmm_free_page(phys);
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}

TEST(flags_mean_what_the_manual_says_of_them)
{
    static const struct {
        uint64_t flags;
        unsigned prot;
        enum mm_memtype type;
    } rows[] = {
        {PTE_PRESENT, MM_PROT_RX, MM_MEMTYPE_WB},
        {PTE_PRESENT | PTE_USER, MM_PROT_RX | MM_PROT_USER, MM_MEMTYPE_WB},
        {PTE_PRESENT | PTE_WRITABLE, MM_PROT_RW, MM_MEMTYPE_WB},
        {PTE_PRESENT | PTE_WRITABLE | PTE_USER, MM_PROT_RW | MM_PROT_USER, MM_MEMTYPE_WB},
        {PTE_PRESENT | PTE_WRITABLE | PTE_WRITETHROUGH, MM_PROT_RW, MM_MEMTYPE_WT},
        {PTE_PRESENT | PTE_WRITABLE | PTE_NOCACHE, MM_PROT_RW, MM_MEMTYPE_UC},
        {PTE_PRESENT | PTE_NOCACHE | PTE_WRITETHROUGH, MM_PROT_RX, MM_MEMTYPE_UC},
        {PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY | PTE_GLOBAL, MM_PROT_RX, MM_MEMTYPE_WB},
    };
    uint64_t virt = HEAP_START;

    begin();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++, virt += PAGE) {
        bool writable = (rows[i].prot & MM_PROT_WRITE) != 0;
        bool user = (rows[i].prot & MM_PROT_USER) != 0;
        struct fake_access got;

        mm_test_row("row", i);
        CHECK(vmm_map_page(virt, pmm_alloc_page(), rows[i].flags));
        got = fake_read64(mm_virt(virt));
        CHECK_EQ(got.prot, rows[i].prot);
        CHECK_EQ(got.type, rows[i].type);
        CHECK_EQ(got.global, false); /* the lower half is not the kernel's alone */
        CHECK_EQ(fake_write64(mm_virt(virt), 1).fault, writable ? FAKE_OK : FAKE_WRITE_DENIED);
        CHECK_EQ(fake_fetch(mm_virt(virt)).fault, writable ? FAKE_FETCH_DENIED : FAKE_OK);
        fake_user(true);
        CHECK_EQ(fake_read64(mm_virt(virt)).fault, user ? FAKE_OK : FAKE_USER_DENIED);
        fake_user(false);
    }
}

TEST(what_cannot_be_mapped_answers_false_and_changes_nothing)
{
    uint64_t virt = HEAP_START, page, free_pages;

    begin();
    page = pmm_alloc_page();
    free_pages = pmm_get_free_pages();
    CHECK(!vmm_map_page(virt, page, PTE_WRITABLE)); /* not present */
    CHECK(!vmm_map_page(virt, page, PTE_PRESENT | UINT64_C(0x200)));
    CHECK(!vmm_map_page(virt, 0, PTE_PRESENT)); /* what a failed allocation gave */
    CHECK(!vmm_map_page(virt + 8, page, PTE_PRESENT));
    CHECK(!vmm_map_page(virt, page + 8, PTE_PRESENT));
    CHECK(!vmm_map_page(UINT64_C(1) << 60, page, PTE_PRESENT)); /* no address */
    CHECK(!vmm_map_page(virt, UINT64_C(1) << 60, PTE_PRESENT)); /* no memory */
    CHECK(!vmm_map_page(KERNEL_BASE + GIB(1), page, PTE_PRESENT | PTE_USER));
    CHECK(!vmm_map_page(KERNEL_BASE + DATA_PHYS, page, PTE_PRESENT | PTE_WRITABLE));
    CHECK_EQ(vmm_get_physical(KERNEL_BASE + DATA_PHYS), DATA_PHYS);
    CHECK_EQ(vmm_get_physical(virt), 0);
    CHECK_EQ(pmm_get_free_pages(), free_pages);
}

TEST(huge_page_is_mapped_and_unmapped_as_a_whole)
{
    struct mm_frame_request request = {.order = MM_ORDER_2M};
    uint64_t virt = HEAP_START;
    mm_phys_t frames;

    begin();
    CHECK_OK(mm_pmm_alloc(&mm_default.pmm, &request, &frames));
    CHECK(!vmm_map_page(virt + PAGE, frames.raw, PTE_PRESENT | PTE_HUGEPAGE));
    CHECK(!vmm_map_page(virt, frames.raw + PAGE, PTE_PRESENT | PTE_HUGEPAGE));
    CHECK(vmm_map_page(virt, frames.raw, PTE_PRESENT | PTE_WRITABLE | PTE_HUGEPAGE));
    CHECK_EQ(fake_write64(mm_virt(virt + MIB(2) - 8), 7).level, 2);
    CHECK_EQ(boot_words(frames.raw + MIB(2) - PAGE)[511], 7);
    vmm_unmap_page(virt);
    CHECK_EQ(vmm_get_physical(virt + MIB(2) - 8), 0);
    CHECK_EQ(fake_read64(mm_virt(virt + MIB(2) - 8)).fault, FAKE_NOT_PRESENT);
    CHECK(vmm_map_page(virt, frames.raw, PTE_PRESENT | PTE_WRITABLE | PTE_HUGEPAGE));
    vmm_unmap_page(virt + PAGE); /* from within: that page alone */
    CHECK_EQ(vmm_get_physical(virt + PAGE), 0);
    CHECK_EQ(vmm_get_physical(virt + 2 * PAGE), frames.raw + 2 * PAGE);
    CHECK_EQ(vmm_get_physical(virt), frames.raw);
}

TEST(wrong_unmapping_is_reported_and_leaves_the_direct_map)
{
    uint64_t *block;

    begin();
    block = (uint64_t *)kmalloc(8);
    *block = 42;
    vmm_unmap_page(mm_virt_of(block).raw & ~(PAGE - 1));
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(mm_test_report(0)->err, MM_ERR_POLICY);
    CHECK_EQ(fake_read64(mm_virt_of(block)).value, 42);
    vmm_unmap_page(HEAP_START);
    CHECK_EQ(mm_test_report_count(), 2);
    CHECK_EQ(mm_test_report(0)->err, MM_ERR_NOT_FOUND);
    CHECK_EQ(mm_test_report(0)->address, HEAP_START);
    mm_test_reports_clear();
}

TEST(heap_says_what_is_used_and_grows_beyond_the_manuals_limit)
{
    size_t used;
    uint8_t *small, *large;

    begin();
    used = heap_get_used();
    small = (uint8_t *)kmalloc(1000);
    CHECK(heap_get_used() >= used + 1000);
    CHECK(heap_get_free() > 0);
    large = (uint8_t *)kmalloc(MIB(20));
    CHECK(small != NULL && large != NULL);
    memset(large, 0x5a, MIB(20));
    memset(small, 0xa5, 1000);
    CHECK_EQ(large[0] & large[MIB(20) - 1], 0x5a);
    CHECK_EQ(fake_probe(mm_virt_of(large)).prot, MM_PROT_RW);
    kfree(large);
    kfree(small);
    CHECK_EQ(heap_get_used(), used);
    CHECK(kmalloc(SIZE_MAX) == NULL);
}
