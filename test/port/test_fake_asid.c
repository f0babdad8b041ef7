/*
 * test_fake_asid.c - address-space ids: who keeps what, and which flush reaches it.
 *
 * Problem     With ids a flush that was enough reaches one space of many, and what it missed shows
 *             when that space is loaded again.
 * Idea        SDM vol. 3A, 4.10.4.1, sentence by sentence: for each instruction what it drops, and what
 *             stays though one may believe that it goes.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Nothing.
 */
#include "hand_tables.h"

/* ROOT and ROOT_B share TABLE3 and all below it; page 2 is global. */
static void ids(void)
{
    four_levels();
    table(ROOT_B)[0] = 0x101007;
    table(TABLE1)[2] = NX | 0x201103;
    fake_cpu(0)->has_asid = true;
    fake_cpu(0)->has_asid_flush = true;
    mm_mmu_asid_enable();
    mm_mmu_load_root_asid(mm_phys(ROOT), 1, 0);
}

static void both_pages(void)
{
    CHECK(get(0x1000).fault == FAKE_OK && get(0x2000).fault == FAKE_OK);
}

static void unmap_both(void)
{
    table(TABLE1)[1] = 0;
    table(TABLE1)[2] = 0;
}

TEST(fake_id_keeps_its_translations_while_another_is_loaded)
{
    ids();
    both_pages();
    CHECK(fake_tlb_entries(0) == 2 && fake_table_entries(0) == 3);
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    CHECK(fake_tlb_entries(0) == 1 && fake_table_entries(0) == 0); /* the global one */
    CHECK_EQ(fake_parked_entries(0), 4);
    CHECK(!get(0x1000).cached && get(0x2000).cached);
    mm_mmu_load_root_asid(mm_phys(ROOT), 1, MM_MMU_KEEP);
    CHECK_EQ(mm_mmu_asid(), 1);
    CHECK(get(0x1000).cached);
    CHECK_EQ(fake_cpu_counts(0).roots_kept, 1);
}

TEST(fake_load_without_keep_drops_its_own_id_and_no_other)
{
    ids();
    both_pages();
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    (void)get(0x1000);
    mm_mmu_load_root_asid(mm_phys(ROOT), 1, 0);
    CHECK(!get(0x1000).cached);
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, MM_MMU_KEEP);
    CHECK(get(0x1000).cached);
}

TEST(fake_kept_translation_is_stale_as_soon_as_its_id_is_loaded)
{
    ids();
    both_pages();
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    table(TABLE1)[1] = 0;
    CHECK_EQ(fake_stale_entries(), 0); /* nobody can use it now */
    CHECK(!fake_frame_in_use(mm_phys(DATA)));
    mm_mmu_load_root_asid(mm_phys(ROOT), 1, MM_MMU_KEEP);
    CHECK_EQ(fake_stale_entries(), 1);
    CHECK(get(0x1000).fault == FAKE_OK && fake_frame_in_use(mm_phys(DATA)));
    mm_mmu_load_root_asid(mm_phys(ROOT), 1, 0);
    CHECK_EQ(fake_stale_entries(), 0);
}

TEST(fake_invlpg_reaches_its_own_id_and_global_pages_only)
{
    ids();
    both_pages();
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    both_pages();
    unmap_both();
    mm_mmu_flush_page(mm_virt(0x1000));
    mm_mmu_flush_page(mm_virt(0x2000));
    CHECK(fake_tlb_entries(0) == 0 && fake_table_entries(0) == 0);
    mm_mmu_load_root_asid(mm_phys(ROOT), 1, MM_MMU_KEEP);
    CHECK_EQ(get(0x1000).fault, FAKE_OK); /* id 1 has it still */
    CHECK_EQ(fake_table_entries(0), 3);
    CHECK_EQ(get(0x2000).fault, FAKE_NOT_PRESENT);
}

TEST(fake_invpcid_of_a_page_drops_it_from_one_id_but_not_if_global)
{
    ids();
    both_pages();
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    both_pages();
    unmap_both();
    mm_mmu_flush_asid_page(1, mm_virt(0x1ff8));
    mm_mmu_flush_asid_page(1, mm_virt(0x2000));
    CHECK(get(0x1000).fault == FAKE_OK && get(0x2000).fault == FAKE_OK);
    mm_mmu_load_root_asid(mm_phys(ROOT), 1, MM_MMU_KEEP);
    CHECK_EQ(get(0x1000).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(get(0x2000).fault, FAKE_OK);
    mm_mmu_flush_asid_page(1, mm_virt(0x2000)); /* the loaded id: the same */
    CHECK_EQ(get(0x2000).fault, FAKE_OK);
}

TEST(fake_invpcid_of_an_id_drops_all_of_it_but_global_pages)
{
    ids();
    both_pages();
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    both_pages();
    mm_mmu_flush_asid(1);
    CHECK(fake_parked_entries(0) == 0 && fake_tlb_entries(0) == 2);
    mm_mmu_flush_asid(2);
    CHECK(fake_tlb_entries(0) == 1 && get(0x2000).cached);
}

TEST(fake_invpcid_of_all_ids_spares_global_pages)
{
    ids();
    both_pages();
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    both_pages();
    mm_mmu_flush_asids();
    CHECK(fake_parked_entries(0) == 0 && fake_tlb_entries(0) == 1 && fake_table_entries(0) == 0);
    CHECK(get(0x2000).cached);
}

TEST(fake_flush_all_drops_every_id_and_global_pages)
{
    ids();
    both_pages();
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    both_pages();
    mm_mmu_flush_all();
    CHECK(fake_parked_entries(0) == 0 && fake_tlb_entries(0) == 0);
}

TEST(fake_flush_space_drops_the_loaded_id_only)
{
    ids();
    both_pages();
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    both_pages();
    mm_mmu_flush_space();
    CHECK(fake_parked_entries(0) == 4 && fake_tlb_entries(0) == 1);
    CHECK_EQ(mm_mmu_asid(), 2);
    mm_mmu_load_root(mm_phys(ROOT)); /* id 0 */
    CHECK(mm_mmu_asid() == 0 && fake_parked_entries(0) == 4);
}

TEST(fake_id_that_the_cpu_does_not_have_is_refused)
{
    four_levels();
    fake_cpu(0)->has_asid = false;
    CHECK_MACHINE_FAILS(mm_mmu_asid_enable());
    CHECK_MACHINE_FAILS(mm_mmu_load_root_asid(mm_phys(ROOT), 1, 0));
    CHECK_MACHINE_FAILS(mm_mmu_load_root_asid(mm_phys(ROOT), 0, MM_MMU_KEEP));
    CHECK_MACHINE_FAILS(mm_mmu_flush_asids());
    fake_cpu(0)->has_asid = true;
    mm_mmu_asid_enable();
    mm_mmu_load_root_asid(mm_phys(ROOT), MM_MMU_ASIDS - 1, 0);
    CHECK_MACHINE_FAILS(mm_mmu_load_root_asid(mm_phys(ROOT), MM_MMU_ASIDS, 0));
    CHECK_MACHINE_FAILS(mm_mmu_flush_asid(1)); /* no INVPCID */
    fake_cpu(0)->has_asid_flush = true;
    mm_mmu_flush_asid(1);
    CHECK_MACHINE_FAILS(mm_mmu_flush_asid_page(1, mm_virt(0x0000800000000000)));
}

TEST(fake_walkers_cache_for_the_loaded_id)
{
    ids();
    fake_watch_changes(FAKE_WATCH_READ);
    mm_pte_store((mm_pte_t *)&table(TABLE1)[3], (mm_pte_t){NX | 0x203003});
    mm_mmu_load_root_asid(mm_phys(ROOT_B), 2, 0);
    CHECK_EQ(fake_tlb_entries(0), 0);
    mm_mmu_load_root_asid(mm_phys(ROOT), 1, MM_MMU_KEEP);
    CHECK(get(0x3000).cached);
}
