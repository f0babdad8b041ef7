/*
 * test_fake_caches.c - the simulated MMU keeps what it walked until it is flushed, and tells.
 *
 * Problem     The oracles "stale" and "in use" decide whether a flush is missing anywhere in libmm;
 *             one that never speaks makes every test pass.
 * Idea        For each rule of invalidation one case that it covers and one that it does not, and
 *             for each thing that can become stale a change that makes it so.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Counting flushes alone: a flush of the wrong address counts, too.
 */
#include "hand_tables.h"

#include "frames.h"

/* ---- what is cached, and until when ---- */

TEST(fake_translation_is_stale_until_flushed)
{
    struct fake_access got;

    four_levels();
    (void)put(0x1000, 5);
    table(TABLE1)[1] = 0;
    got = get(0x1000);
    CHECK(got.fault == FAKE_OK && got.cached && got.value == 5);
    CHECK(fake_stale_entries() == 1 && fake_frame_in_use(mm_phys(DATA)));
    mm_mmu_flush_page(mm_virt(0x1ff8));
    CHECK_EQ(get(0x1000).fault, FAKE_NOT_PRESENT);
    CHECK(fake_stale_entries() == 0 && !fake_frame_in_use(mm_phys(DATA)));
}

TEST(fake_absent_page_is_not_cached)
{
    four_levels();
    CHECK_EQ(get(0x2000).fault, FAKE_NOT_PRESENT);
    table(TABLE1)[2] = 0x201003;
    CHECK_EQ(get(0x2000).fault, FAKE_OK);
}

TEST(fake_flush_of_another_page_keeps_the_translation)
{
    four_levels();
    (void)get(0x1000);
    table(TABLE1)[1] = 0;
    mm_mmu_flush_page(mm_virt(0x2000));
    CHECK_EQ(get(0x1000).fault, FAKE_OK);
}

/* 0x1000 and 0x200000 share all tables but the lowest, 0x8000000000 shares the root only. */
TEST(fake_flush_with_tce_keeps_the_tables_that_do_not_lead_to_the_page)
{
    four_levels();
    fake_cpu(0)->tce = true;
    (void)get(0x1000);
    CHECK_EQ(fake_table_entries(0), 3);
    mm_mmu_flush_page(mm_virt(0x8000000000));
    CHECK_EQ(fake_table_entries(0), 3);
    mm_mmu_flush_page(mm_virt(0x200000));
    CHECK_EQ(fake_table_entries(0), 1);
    mm_mmu_flush_page(mm_virt(0x1ff000));
    CHECK_EQ(fake_table_entries(0), 0);
}

TEST(fake_flush_of_no_canonical_address_does_nothing)
{
    four_levels();
    (void)get(0x1000);
    mm_mmu_flush_page(mm_virt(0x0000800000001000));
    CHECK(fake_tlb_entries(0) == 1 && fake_table_entries(0) == 3);
}

TEST(fake_flush_of_any_address_in_a_large_page_drops_it)
{
    four_levels();
    table(TABLE2)[1] = 0x400083;
    (void)get(0x200000);
    table(TABLE2)[1] = 0;
    CHECK_EQ(get(0x3ffff8).fault, FAKE_OK);
    mm_mmu_flush_page(mm_virt(0x312000));
    CHECK_EQ(get(0x200000).fault, FAKE_NOT_PRESENT);
}

TEST(fake_global_translation_survives_a_root_load_but_not_its_flush)
{
    four_levels();
    table(TABLE1)[1] = NX | 0x200107;
    (void)get(0x1000);
    table(TABLE1)[1] = 0;
    mm_mmu_load_root(mm_phys(ROOT));
    mm_mmu_flush_space();
    CHECK(get(0x1000).fault == FAKE_OK && get(0x1000).global);
    mm_mmu_flush_page(mm_virt(0x1000));
    CHECK_EQ(get(0x1000).fault, FAKE_NOT_PRESENT);
}

TEST(fake_flush_all_drops_global_translations)
{
    four_levels();
    table(TABLE1)[1] = NX | 0x200107;
    (void)get(0x1000);
    table(TABLE1)[1] = 0;
    mm_mmu_flush_all();
    CHECK_EQ(get(0x1000).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(fake_tlb_entries(0), 0);
}

TEST(fake_global_bit_means_nothing_while_pge_is_off)
{
    four_levels();
    fake_cpu(0)->pge = false;
    table(TABLE1)[1] = NX | 0x200107;
    (void)get(0x1000);
    table(TABLE1)[1] = 0;
    mm_mmu_load_root(mm_phys(ROOT));
    CHECK_EQ(get(0x1000).fault, FAKE_NOT_PRESENT);
}

TEST(fake_root_load_drops_what_is_not_global)
{
    four_levels();
    (void)get(0x1000);
    CHECK(fake_tlb_entries(0) == 1 && fake_table_entries(0) == 3);
    mm_mmu_load_root(mm_phys(ROOT_B));
    CHECK(fake_tlb_entries(0) == 0 && fake_table_entries(0) == 0);
    CHECK_EQ(get(0x1000).fault, FAKE_NOT_PRESENT);
    CHECK(!fake_frame_in_use(mm_phys(ROOT)) && fake_frame_in_use(mm_phys(ROOT_B)));
}

TEST(fake_removed_table_is_walked_until_an_invlpg)
{
    four_levels();
    (void)get(0x1000);
    table(TABLE2)[0] = 0;                     /* TABLE1 is unlinked ... */
    table(TABLE1)[3] = 0x202003;              /* ... and reused */
    CHECK_EQ(get(0x3000).phys.raw, 0x202000); /* walked from the cached entry */
    CHECK(fake_frame_in_use(mm_phys(TABLE1)));
    CHECK(fake_stale_entries() >= 1);
    mm_mmu_flush_page(mm_virt(UPPER + 0x40000000)); /* of any address */
    CHECK_EQ(fake_table_entries(0), 0);
    CHECK_EQ(get(0x4000).fault, FAKE_NOT_PRESENT);
    CHECK(!fake_frame_in_use(mm_phys(TABLE1)));
}

TEST(fake_cached_table_keeps_the_rights_it_was_found_with)
{
    four_levels();
    table(TABLE1)[2] = 0x201003;
    (void)get(0x1000);
    table(TABLE2)[0] = 0x103025; /* W gone */
    CHECK_EQ(put(0x2000, 1).fault, FAKE_OK);
    CHECK(fake_stale_entries() > 0);
    mm_mmu_flush_all();
    CHECK_EQ(put(0x2000, 1).fault, FAKE_WRITE_DENIED);
}

TEST(fake_cached_table_with_more_rights_than_the_entry_has_now_is_stale)
{
    four_levels();
    table(TABLE1)[1] = NX | 0x200005;
    (void)get(0x1000);
    table(TABLE2)[0] = 0x103025; /* W gone; the page was read-only before */
    CHECK_EQ(fake_stale_entries(), 1);
    mm_mmu_flush_page(mm_virt(0x1000));
    CHECK_EQ(fake_stale_entries(), 0);
}

TEST(fake_right_that_was_added_faults_once_more)
{
    struct fake_access got;

    four_levels();
    table(TABLE1)[1] = NX | 0x200005;
    (void)get(0x1000);
    table(TABLE1)[1] = NX | 0x200027;
    got = put(0x1000, 1);
    CHECK(got.fault == FAKE_WRITE_DENIED && got.spurious);
    CHECK_EQ(put(0x1000, 1).fault, FAKE_OK); /* the fault dropped it */
}

TEST(fake_cpus_cache_for_themselves)
{
    four_levels();
    fake_cpu_set(1);
    mm_mmu_load_root(mm_phys(ROOT));
    (void)get(0x1000);
    fake_cpu_set(0);
    (void)get(0x1000);
    table(TABLE1)[1] = 0;
    mm_mmu_flush_page(mm_virt(0x1000));
    CHECK_EQ(get(0x1000).fault, FAKE_NOT_PRESENT);
    CHECK(fake_frame_in_use(mm_phys(DATA)) && fake_stale_entries() > 0);
    fake_cpu_set(1);
    CHECK_EQ(get(0x1000).fault, FAKE_OK);
    mm_mmu_flush_page(mm_virt(0x1000));
    CHECK_EQ(fake_stale_entries(), 0);
}

/* ---- the oracle: what is stale and what is not ---- */

TEST(fake_stale_is_each_thing_that_the_tables_grant_no_more)
{
    static const struct {
        uint64_t before, after;
        bool stale;
    } row[] = {
        {NX | 0x200003, 0, true},
        {NX | 0x200003, NX | 0x200001, true},  /* W */
        {0x200003, NX | 0x200003, true},       /* X */
        {NX | 0x200007, NX | 0x200003, true},  /* U */
        {NX | 0x200003, NX | 0x201003, true},  /* frame */
        {NX | 0x200003, NX | 0x20001b, true},  /* type */
        {NX | 0x200103, NX | 0x200003, true},  /* global */
        {NX | 0x200001, NX | 0x200003, false}, /* more */
        {NX | 0x200003, 0x200003, false},
        {NX | 0x200003, NX | 0x200007, false},
        {NX | 0x200003, NX | 0x200063, false},
        {NX | 0x200003, NX | 0x200603, false}, /* software bits */
    };

    four_levels();
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("row", i);
        mm_mmu_flush_all();
        table(TABLE1)[1] = row[i].before;
        (void)get(0x1000);
        CHECK_EQ(fake_stale_entries(), 0);
        table(TABLE1)[1] = row[i].after;
        CHECK_EQ(fake_stale_entries() != 0, row[i].stale);
    }
}

TEST(fake_split_of_a_large_page_into_the_same_frames_is_not_stale)
{
    four_levels();
    table(TABLE2)[1] = 0x400083;
    (void)get(0x200000);
    for (unsigned i = 0; i < 512; i++)
        table(ROOT_B)[i] = (0x400000 + i * UINT64_C(0x1000)) | 3;
    table(TABLE2)[1] = ROOT_B | 7;
    CHECK_EQ(fake_stale_entries(), 0);
    table(ROOT_B)[511] = 0; /* one page of 512 */
    CHECK_EQ(fake_stale_entries(), 1);
    mm_mmu_flush_page(mm_virt(0x200000));
    CHECK_EQ(fake_stale_entries(), 0);
}

TEST(fake_large_translation_covers_all_its_frames)
{
    four_levels();
    table(TABLE2)[1] = 0x400083;
    (void)get(0x200000);
    CHECK(fake_frame_in_use(mm_phys(0x400000)) && fake_frame_in_use(mm_phys(0x5ff000)));
    CHECK(!fake_frame_in_use(mm_phys(0x600000)) && !fake_frame_in_use(mm_phys(0x3ff000)));
    CHECK(fake_range_in_use(mm_phys(0x300000), 0x100001));
    CHECK(!fake_range_in_use(mm_phys(0x300000), 0x100000));
}

/* ---- walkers ---- */

TEST(fake_walker_caches_before_and_after_each_store)
{
    four_levels();
    fake_watch(mm_virt(0x1000), FAKE_WATCH_READ);
    CHECK_EQ(fake_tlb_entries(0), 1);
    mm_pte_store((mm_pte_t *)&table(TABLE1)[1], (mm_pte_t){NX | 0x201003});
    CHECK_EQ(fake_tlb_entries(0), 2); /* the old and the new */
    CHECK_EQ(get(0x1000).phys.raw, 0x200000);
    mm_mmu_flush_page(mm_virt(0x1000));
    CHECK_EQ(fake_tlb_entries(0), 1); /* walked again at once */
    CHECK_EQ(get(0x1000).phys.raw, 0x201000);
}

TEST(fake_walker_comes_before_a_store_even_if_nothing_happened_since)
{
    four_levels();
    fake_watch(mm_virt(0x1000), FAKE_WATCH_READ);
    table(TABLE1)[1] = NX | 0x202003; /* behind the machine's back */
    CHECK(!fake_frame_in_use(mm_phys(0x202000)));
    mm_pte_store((mm_pte_t *)&table(TABLE1)[1], (mm_pte_t){0});
    CHECK(fake_frame_in_use(mm_phys(0x202000)));
}

TEST(fake_walker_goes_on_in_a_table_that_was_unlinked)
{
    four_levels();
    fake_watch(mm_virt(0x3000), FAKE_WATCH_READ);
    mm_pte_store((mm_pte_t *)&table(TABLE2)[0], (mm_pte_t){0});
    mm_pte_store((mm_pte_t *)&table(TABLE1)[3], (mm_pte_t){0x202003});
    CHECK(fake_frame_in_use(mm_phys(0x202000)));
    CHECK(fake_stale_entries() > 0);
}

TEST(fake_compare_swap_fails_when_the_hardware_was_faster)
{
    mm_pte_t expected;

    four_levels();
    expected = mm_pte_load((mm_pte_t *)&table(TABLE1)[1]);
    fake_watch(mm_virt(0x1000), FAKE_WATCH_WRITE);
    CHECK_EQ(expected.bits, NX | 0x200007);
    CHECK(!mm_pte_compare_swap((mm_pte_t *)&table(TABLE1)[1], &expected, (mm_pte_t){0}));
    CHECK_EQ(expected.bits, NX | 0x200067);
    CHECK(mm_pte_compare_swap((mm_pte_t *)&table(TABLE1)[1], &expected, (mm_pte_t){0}));
    CHECK_EQ(table(TABLE1)[1], 0);
}

TEST(fake_walker_notices_a_table_that_was_linked_unfilled)
{
    four_levels();
    fake_watch(mm_virt(0x200000), FAKE_WATCH_READ);
    fake_ram_poison(mm_phys(ROOT_B), MM_FRAME_BYTES);
    CHECK_MACHINE_FAILS(mm_pte_store((mm_pte_t *)&table(TABLE3)[0], (mm_pte_t){ROOT_B | 7}));
}

/* ---- the frame source of the tests ---- */

TEST(frame_source_notices_a_frame_freed_before_its_flush)
{
    static struct mm_test_frames frames;
    struct mm_frame_source source;
    mm_phys_t frame;

    four_levels();
    mm_test_frames_init(&frames, mm_phys(0x300000), 4);
    source = mm_test_frame_source(&frames);
    CHECK_OK(source.alloc(source.context, &frame));
    CHECK(mm_test_frame_out(&frames, frame) && frames.used == 1);
    table(TABLE1)[2] = frame.raw | 3;
    (void)get(0x2000);
    table(TABLE1)[2] = 0;
    CHECK(fake_frame_in_use(frame)); /* freeing it now would fail the test */
    mm_mmu_flush_page(mm_virt(0x2000));
    source.free(source.context, frame);
    CHECK(!mm_test_frame_out(&frames, frame) && frames.used == 0);
    frames.fail_after = 1;
    CHECK_OK(source.alloc(source.context, &frame));
    CHECK_ERR(source.alloc(source.context, &frame), MM_ERR_NO_MEMORY);
    CHECK_OK(source.alloc(source.context, &frame));
}
