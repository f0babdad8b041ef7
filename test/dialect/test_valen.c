/*
 * test_valen.c - a kernel written for Valen's interface (valen_kernel.c), on a started machine.
 *
 * Problem     Its manual frees four pages by the address of the first, adds a constant to reach
 *             memory, marks frames by address, and maps with calls that have no result.
 * Idea        The kernel does what the manual shows; here its effects are read from the frames,
 *             the PMM and the simulated MMU. What the manual gets wrong has a test of its own.
 */
#include "mm/dialect/entry.h"

#include "../start/boot_machine.h"
#include "valen_kernel.h"

#define KERNEL_FLAGS (MM_ENTRY_PRESENT | MM_ENTRY_WRITE)

static struct boot_machine m;

static void begin(void)
{
    boot_from_dump(&m, &boot_dumps[0]); /* bios-64M */
    memset(&mm_default, 0, sizeof mm_default);
    CHECK_OK(mm_start(&mm_default, &m.info, NULL));
    valen_memory_init(KERNEL_BASE + IMAGE_END, MIB(64));
}

static uint64_t free_frames(void)
{
    return mm_pmm_free_frames(&mm_default.pmm);
}

static struct mm_frame_info frame_info(uint64_t phys)
{
    struct mm_frame_info info;

    mm_pmm_query(&mm_default.pmm, mm_phys(phys), &info);
    return info;
}

TEST(memory_of_three_kinds_is_taken_used_and_given_back)
{
    struct valen_first first;
    uint64_t before, after;

    begin();
    CHECK(valen_take(&first, 8)); /* the first time takes tables of the kernel area, too */
    CHECK_EQ(fake_write64(mm_virt_of(first.memory), 1).fault, FAKE_OK); /* for the next owner */
    valen_drop(&first);
    before = free_frames();
    CHECK(valen_take(&first, 8));
    CHECK_TEXT(first.text, "Hello from the heap!");
    CHECK_EQ(fake_read64(mm_virt_of(first.memory)).value, 0);
    for (uint64_t i = 0; i < 8; i++)
        CHECK_EQ(fake_write64(mm_virt_add(mm_virt_of(first.memory), i * PAGE), i).fault, FAKE_OK);
    CHECK_EQ(*boot_words(valen_physical(first.memory) + 7 * PAGE), 7); /* contiguous */
    *(uint64_t *)valen_pointer(first.page) = 42;
    CHECK_EQ(*boot_words((uintptr_t)first.page), 42);
    valen_drop(&first);
    after = free_frames();
    CHECK_EQ(after, before);
    CHECK_EQ(fake_read64(mm_virt_of(first.memory)).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}

TEST(start_that_was_forgotten_is_said_four_times)
{
    struct valen_first first;

    boot_from_dump(&m, &boot_dumps[0]);
    memset(&mm_default, 0, sizeof mm_default);
    valen_memory_init(KERNEL_BASE + IMAGE_END, MIB(64));
    CHECK_EQ(mm_test_report_count(), 4);
    CHECK(!valen_take(&first, 1));
    CHECK(valen_pages(1) == NULL);
    CHECK(valen_memory(1, KERNEL_FLAGS) == NULL);
    mm_test_reports_clear();
}

TEST(start_writes_no_bitmap_behind_the_kernel)
{
    uint64_t hash;

    boot_from_dump(&m, &boot_dumps[0]);
    hash = boot_hash_kept(&m);
    memset(&mm_default, 0, sizeof mm_default);
    CHECK_OK(mm_start(&mm_default, &m.info, NULL));
    valen_memory_init(KERNEL_BASE + IMAGE_END, MIB(64));
    CHECK_EQ(boot_hash_kept(&m), hash);
}

TEST(contiguous_pages_are_freed_by_the_address_of_the_first)
{
    static const uint64_t counts[] = {1, 2, 4, 7, 9, 512, 1000};
    uint64_t before;

    begin();
    before = free_frames();
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        void *pages = valen_pages(counts[i]);

        mm_test_row("row", i);
        CHECK(pages != NULL);
        CHECK_EQ(free_frames(), before - counts[i]);
        CHECK_EQ(frame_info((uintptr_t)pages + (counts[i] - 1) * PAGE).state, MM_FRAME_ALLOCATED);
        valen_free_page(pages);
        CHECK_EQ(free_frames(), before);
    }
    CHECK(valen_pages(0) == NULL);
    CHECK(valen_pages(UINT64_C(1) << 40) == NULL);
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}

TEST(neighbours_are_freed_one_by_one)
{
    char *first, *second;
    uint64_t before;

    begin();
    first = valen_pages(4);
    second = valen_pages(4);
    before = free_frames();
    valen_free_page(first);
    CHECK_EQ(free_frames(), before + 4);
    CHECK_EQ(frame_info((uintptr_t)second).count_frames, 4);
    valen_free_page(second);
    CHECK_EQ(free_frames(), before + 8);
}

TEST(address_that_begins_no_allocation_is_refused)
{
    char *pages;
    uint64_t before;

    if (MM_LEVEL == MM_LEVEL_RELEASE)
        return; /* it need not see that a frame is a part of more */
    begin();
    pages = valen_pages(4);
    before = free_frames();
    valen_free_page(pages + PAGE);
    valen_free_page(pages + 8);
    valen_free_page((void *)(uintptr_t)TEXT_PHYS);
    valen_free_page(valen_pointer(pages)); /* virtual: what such kernels lose memory with */
    valen_free_page(NULL);
    CHECK_EQ(mm_test_report_count(), 5);
    CHECK_EQ(free_frames(), before);
    valen_free_page(pages);
    valen_free_page(pages);
    CHECK_EQ(mm_test_report_count(), 6);
    CHECK_EQ(free_frames(), before + 4);
    mm_test_reports_clear();
}

TEST(kilobytes_are_those_of_usable_memory)
{
    struct valen_kb kb;
    uint64_t free_before;

    begin();
    kb = valen_statistics();
    CHECK_EQ(kb.total, kb.used + kb.free);
    CHECK(kb.total > KIB(56) && kb.total < KIB(64)); /* 64 MiB, less what was in use at boot */
    CHECK_EQ(kb.free, free_frames() * 4);
    CHECK(kb.percent < 10);
    free_before = kb.free;
    CHECK(valen_pages(256) != NULL);
    kb = valen_statistics();
    CHECK_EQ(kb.free, free_before - 1024);
    CHECK_EQ(kb.total, kb.used + kb.free);
}

TEST(marked_frame_is_never_handed_out_and_keeps_its_bytes)
{
    const uint64_t marked[] = {MIB(32), MIB(40) + 5 * PAGE, 0x8000, MIB(16) - PAGE};
    uint64_t before, hash[4], near, page;

    begin();
    before = free_frames();
    for (unsigned i = 0; i < 4; i++) {
        mm_test_row("frame", i);
        CHECK_EQ(frame_info(marked[i]).state, MM_FRAME_FREE);
        boot_fill(marked[i], PAGE);
        hash[i] = boot_hash(marked[i], PAGE);
        valen_mark(marked[i] + i * 8, true); /* any address of it will do */
        CHECK_EQ(frame_info(marked[i]).state, MM_FRAME_ALLOCATED);
        CHECK_EQ(free_frames(), before - i - 1);
        boot_fill(marked[i] - PAGE, PAGE); /* is free, would be in the way */
        near = boot_hash(marked[i] - PAGE, PAGE);
        valen_mark(marked[i], true); /* is so already: nothing to look for */
        CHECK_EQ(boot_hash(marked[i] - PAGE, PAGE), near);
    }
    CHECK_EQ(free_frames(), before - 4);
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
    while ((page = (uintptr_t)valen_pages(1)) != 0)
        for (unsigned i = 0; i < 4; i++)
            CHECK(page != marked[i]);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t now = free_frames();

        CHECK_EQ(boot_hash(marked[i], PAGE), hash[i]);
        valen_mark(marked[i], false);
        CHECK_EQ(free_frames(), now + 1);
        valen_mark(marked[i], false); /* is so already */
        CHECK_EQ(free_frames(), now + 1);
    }
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}

/* The pages behind the first one that was taken are free, and in this CPU's stock, but for two with
 * the tags of the first tables. */
TEST(page_in_stock_can_be_marked_used)
{
    struct mm_pmm_stats stats;
    uint64_t before;
    uintptr_t page;

    begin();
    page = (uintptr_t)valen_pages(1);
    mm_pmm_get_stats(&mm_default.pmm, &stats);
    CHECK(page != 0 && stats.magazine_frames > 1);
    CHECK_EQ(frame_info(page + 3 * PAGE).state, MM_FRAME_FREE);
    before = free_frames();
    valen_mark(page + 3 * PAGE, true);
    CHECK_EQ(frame_info(page + 3 * PAGE).state, MM_FRAME_ALLOCATED);
    CHECK_EQ(free_frames(), before - 1);
    mm_pmm_get_stats(&mm_default.pmm, &stats);
    CHECK_EQ(stats.magazine_frames, 0); /* that is where it was */
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
    valen_mark(page + 3 * PAGE, false);
    CHECK_EQ(free_frames(), before);
    CHECK_EQ(mm_test_report_count(), 0);
}

/* The loop of such kernels over "available" memory; here it is free already. */
TEST(marking_all_memory_free_after_the_start_gives_nothing_away)
{
    uint64_t before, phys;
    void *memory;

    if (MM_LEVEL == MM_LEVEL_RELEASE)
        return; /* it need not see that a frame is free already */
    begin();
    before = free_frames();
    for (phys = 0; phys < MIB(64); phys += PAGE)
        valen_mark(phys, false);
    CHECK_EQ(free_frames(), before);
    CHECK(mm_test_report_count() > (IMAGE_END - TEXT_PHYS) / PAGE);
    mm_test_reports_clear();
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
    memory = valen_memory(4, KERNEL_FLAGS);
    CHECK_EQ(fake_write64(mm_virt_of(memory), 1).fault, FAKE_OK);
}

TEST(part_of_a_run_is_not_marked_free)
{
    char *pages;
    uint64_t before;

    begin();
    pages = valen_pages(4);
    before = free_frames();
    valen_mark((uintptr_t)pages, false);
    valen_mark((uintptr_t)pages + PAGE, false);
    CHECK_EQ(mm_test_report_count(), 2);
    CHECK_EQ(free_frames(), before);
    mm_test_reports_clear();
}

TEST(pages_and_ranges_are_mapped_with_their_rights)
{
    uintptr_t page;

    begin();
    page = (uintptr_t)valen_pages(16);
    valen_map(0x1000000, page, 0x1000, true, false);
    CHECK_EQ(fake_write64(mm_virt(0x1000000), 3).phys.raw, page);
    CHECK_EQ(fake_fetch(mm_virt(0x1000000)).fault, FAKE_FETCH_DENIED);
    valen_map(0x1001000, page, 0x1000, false, false);
    CHECK_EQ(fake_read64(mm_virt(0x1001000)).value, 3);
    CHECK_EQ(fake_write64(mm_virt(0x1001000), 4).fault, FAKE_WRITE_DENIED);
    CHECK_EQ(fake_fetch(mm_virt(0x1001000)).fault, FAKE_OK);
    valen_map(0x1002000, page, 0x1000, true, true);
    fake_user(true);
    CHECK_EQ(fake_write64(mm_virt(0x1002000), 5).phys.raw, page);
    CHECK_EQ(fake_read64(mm_virt(0x1001000)).fault, FAKE_USER_DENIED);
    fake_user(false);
    valen_map(0x2000000, page, 0x10000, true, false);
    CHECK_EQ(fake_write64(mm_virt(0x200f000), 6).phys.raw, page + 0xf000);
    CHECK_EQ(fake_read64(mm_virt(0x2010000)).fault, FAKE_NOT_PRESENT);
    valen_map(0x3000000, page, 0x1001, true, false); /* rounded up */
    CHECK_EQ(fake_probe(mm_virt(0x3001000)).phys.raw, page + 0x1000);
    CHECK_EQ(valen_physical((void *)0x200f008), page + 0xf008);
    CHECK_EQ(valen_physical((void *)0x2010000), 0);
}

TEST(device_registers_are_not_cached)
{
    begin();
    valen_map_device(0xfed00000, 0x400);
    CHECK_EQ(fake_probe(mm_virt(0xF0000000)).phys.raw, 0xfed00000);
    CHECK_EQ(fake_probe(mm_virt(0xF0000000)).type, MM_MEMTYPE_UC);
    CHECK_EQ(fake_probe(mm_virt(0xF0000000)).prot, MM_PROT_RW);
    CHECK(valen_pointer((void *)0xfed00000) == NULL); /* no RAM: no address without a mapping */
    valen_map_flags(0xF0001000, 0xfed00000, KERNEL_FLAGS | MM_ENTRY_THROUGH);
    CHECK_EQ(fake_probe(mm_virt(0xF0001000)).type, MM_MEMTYPE_WT);
}

TEST(huge_page_is_one_entry)
{
    struct mm_frame_request request = {.order = MM_ORDER_2M};
    mm_phys_t frames;

    begin();
    CHECK_OK(mm_pmm_alloc(&mm_default.pmm, &request, &frames));
    valen_map_huge(0x40000000, frames.raw);
    CHECK_EQ(fake_write64(mm_virt(0x401ff000), 8).level, 2);
    CHECK_EQ(*boot_words(frames.raw + 0x1ff000), 8);
    valen_map_huge(0x40200000, frames.raw + PAGE);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(valen_physical((void *)0x40200000), 0);
    mm_test_reports_clear();
}

TEST(mapping_that_fails_is_reported_and_replaces_nothing)
{
    uintptr_t page;

    begin();
    page = (uintptr_t)valen_pages(2);
    valen_map_flags(0x1000000, page, KERNEL_FLAGS);
    valen_map_flags(0x1000000, page + PAGE, KERNEL_FLAGS);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(mm_test_report(0)->err, MM_ERR_EXISTS);
    CHECK_EQ(mm_test_report(0)->address, 0x1000000);
    CHECK_EQ(valen_physical((void *)0x1000000), page);
    valen_map_flags(0x1001000, page, MM_ENTRY_WRITE); /* not present */
    valen_map_flags(0x1001000, 0, KERNEL_FLAGS);      /* a failed allocation */
    valen_map_flags(0x1001001, page, KERNEL_FLAGS);
    valen_map_flags(0x1001000, page, KERNEL_FLAGS | UINT64_C(1) << 63);
    CHECK_EQ(mm_test_report_count(), 5);
    CHECK_EQ(valen_physical((void *)0x1001000), 0);
    mm_test_reports_clear();
}

TEST(virtual_allocations_obey_their_flags)
{
    uint64_t *memory;

    begin();
    memory = valen_memory(2, MM_ENTRY_PRESENT);
    CHECK_EQ(fake_read64(mm_virt_of(memory)).value, 0);
    CHECK_EQ(fake_write64(mm_virt_of(memory), 1).fault, FAKE_WRITE_DENIED);
    CHECK_EQ(fake_fetch(mm_virt_of(memory)).fault, FAKE_FETCH_DENIED);
    valen_memory_free(memory);
    memory = valen_memory(512, KERNEL_FLAGS | MM_ENTRY_LARGE);
    CHECK_EQ(fake_write64(mm_virt_of(memory), 1).level, 2);
    valen_memory_free(memory);
    memory = valen_memory(1, KERNEL_FLAGS | MM_ENTRY_NOCACHE);
    CHECK_EQ(fake_probe(mm_virt_of(memory)).type, MM_MEMTYPE_UC);
    valen_memory_free(memory);
    CHECK(valen_memory(0, KERNEL_FLAGS) == NULL);
    CHECK(valen_memory(1, MM_ENTRY_WRITE) == NULL);
    CHECK(valen_memory(1, KERNEL_FLAGS | MM_ENTRY_USER) == NULL);
    CHECK(valen_memory((UINT64_C(1) << 52) + 1, KERNEL_FLAGS) == NULL);
    CHECK(valen_memory(MIB(64) / PAGE, KERNEL_FLAGS) == NULL);
    CHECK_EQ(mm_check(&mm_default, NULL), 0);
}

TEST(virtual_memory_is_freed_once_and_by_its_first_address)
{
    char *memory;

    begin();
    memory = valen_memory(4, KERNEL_FLAGS);
    valen_memory_free(memory + PAGE);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(fake_write64(mm_virt_of(memory), 1).fault, FAKE_OK);
    valen_memory_free(memory);
    valen_memory_free(memory);
    CHECK_EQ(mm_test_report_count(), 2);
    CHECK_EQ(fake_write64(mm_virt_of(memory), 1).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(fake_stale_entries(), 0);
    mm_test_reports_clear();
}

/* 12 GiB: the manual's macro wraps at 2 GiB. */
TEST(all_memory_has_an_address)
{
    uint64_t *word;
    uintptr_t page;

    boot_from_dump(&m, &boot_dumps[4]); /* bios-12G */
    memset(&mm_default, 0, sizeof mm_default);
    CHECK_OK(mm_start(&mm_default, &m.info, NULL));
    valen_memory_init(KERNEL_BASE + IMAGE_END, GIB(13));
    page = (uintptr_t)valen_pages(1);
    CHECK(page >= GIB(2));
    word = valen_pointer((void *)page);
    *word = 77;
    CHECK_EQ(fake_read64(mm_virt_of(word)).value, 77);
    CHECK_EQ(*boot_words(page), 77);
    CHECK_EQ(valen_physical(word), page);
    CHECK(valen_statistics().total > 12 * UINT64_C(1048576) - 65536);
}
