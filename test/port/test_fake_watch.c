/*
 * test_fake_watch.c - walkers that need no list of addresses, their schedule, and what they leave.
 *
 * Problem     A soak believes that whatever it changes is being translated meanwhile. If the machine
 *             does not find where a store goes, the soak passes for any code.
 * Idea        Each classic fault is made by hand, under fake_watch_changes() alone, and must be told;
 *             the right order of the same steps must pass.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Faults in libmm: they would show that some test fails, not which rule of the machine.
 */
#include "hand_tables.h"

#include <string.h>

static mm_pte_t *entry(uint64_t table_at, unsigned i)
{
    return (mm_pte_t *)&table(table_at)[i];
}

static void store(uint64_t table_at, unsigned i, uint64_t bits)
{
    mm_pte_store(entry(table_at, i), (mm_pte_t){bits});
}

/* Two CPUs with one root. */
static void watched(unsigned how)
{
    four_levels();
    fake_cpu_set(1);
    mm_mmu_load_root(mm_phys(ROOT));
    fake_cpu_set(0);
    fake_watch_changes(how);
}

/* ---- where a store goes ---- */

TEST(fake_changed_page_is_cached_by_each_cpu_before_and_after)
{
    watched(FAKE_WATCH_READ);
    CHECK(fake_tlb_entries(0) == 0 && fake_tlb_entries(1) == 0);
    store(TABLE1, 1, 0);
    CHECK(fake_tlb_entries(0) == 1 && fake_tlb_entries(1) == 1);
    CHECK_EQ(fake_stale_entries(), 2 * 1);
    mm_mmu_flush_page(mm_virt(0x1000));
    CHECK_EQ(fake_stale_entries(), 1); /* the other CPU */
    CHECK(strstr(fake_stale_why(), "CPU 1, 0x1000: cached 0x200000 level 1 w-u- type 0, the tables "
                                   "say nothing") != NULL);
    CHECK_MACHINE_FAILS(fake_stale_none());
    fake_cpu_set(1);
    mm_mmu_flush_page(mm_virt(0x1000));
    fake_stale_none();
    CHECK_TEXT(fake_stale_why(), "");
}

TEST(fake_changed_upper_entry_is_walked_at_its_first_and_last_page)
{
    watched(FAKE_WATCH_READ);
    table(TABLE1)[0] = 0x201003;
    table(TABLE1)[511] = 0x202003;
    store(TABLE2, 0, 0);
    CHECK(fake_frame_in_use(mm_phys(0x201000)) && fake_frame_in_use(mm_phys(0x202000)));
    CHECK(fake_frame_in_use(mm_phys(TABLE1)));
    store(TABLE3, 0, 0); /* of 1 GiB, from which the tables below are gone */
    CHECK(fake_frame_in_use(mm_phys(TABLE2)));
}

TEST(fake_store_in_the_upper_half_is_walked_by_canonical_addresses)
{
    watched(FAKE_WATCH_READ);
    table(ROOT)[0] = 0;
    store(TABLE1, 7, 0x207003);
    CHECK_EQ(fake_tlb_entries(1), 1);
    CHECK(fake_frame_in_use(mm_phys(0x207000)));
    fake_cpu_set(1);
    CHECK(get(UPPER + 0x7000).cached);
}

TEST(fake_store_into_an_unreachable_table_costs_no_walk)
{
    watched(FAKE_WATCH_READ);
    table(TABLE2)[0] = 0;
    fake_counts_clear();
    for (unsigned i = 0; i < 512; i++)
        store(TABLE1, i, (0x200000 + i * UINT64_C(0x1000)) | 3);
    CHECK_EQ(fake_counts().walks, 0);
    store(TABLE2, 0, TABLE1 | 7); /* linked: from here on it is reachable */
    CHECK(fake_counts().walks > 0);
    fake_counts_clear();
    store(TABLE1, 5, 0);
    CHECK(fake_counts().walks > 0);
}

TEST(fake_store_into_a_table_that_was_unlinked_but_not_flushed_is_walked)
{
    watched(FAKE_WATCH_READ);
    (void)get(0x1000);
    store(TABLE2, 0, 0);
    store(TABLE1, 9, 0x209003);
    CHECK(fake_frame_in_use(mm_phys(0x209000))); /* from the cached entry */
    fake_cpu_set(1);
    mm_mmu_flush_all();
    fake_cpu_set(0);
    mm_mmu_flush_all();
    store(TABLE1, 10, 0x20a003);
    CHECK(!fake_frame_in_use(mm_phys(0x20a000)));
}

TEST(fake_table_that_moves_is_found_again)
{
    watched(FAKE_WATCH_READ);
    store(TABLE1, 1, NX | 0x201007); /* its place is remembered now */
    store(TABLE2, 0, 0);
    mm_mmu_flush_all();
    store(TABLE2, 4, TABLE1 | 7);
    mm_mmu_flush_all();
    store(TABLE1, 2, 0x202003);
    CHECK_EQ(get(0x802000).cached, true); /* below entry 4: 8 MiB */
    CHECK_EQ(get(0x2000).fault, FAKE_NOT_PRESENT);
}

TEST(fake_place_is_found_in_tables_that_were_written_by_hand)
{
    watched(FAKE_WATCH_READ);
    table(TOP5)[3] = 0x20b003;
    table(TABLE2)[8] = TOP5 | 7; /* nobody told the machine */
    mm_mmu_load_root(mm_phys(ROOT));
    store(TOP5, 4, 0x20c003);
    CHECK(get(0x1004000).cached);
}

TEST(fake_page_is_read_after_a_store_and_written_before_the_next)
{
    mm_pte_t seen = {0x203023};

    watched(FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    store(TABLE1, 3, 0x203003);
    CHECK_EQ(table(TABLE1)[3], 0x203023);
    CHECK(!mm_pte_compare_swap(entry(TABLE1, 3), &seen, (mm_pte_t){0x204003}));
    CHECK_EQ(seen.bits, 0x203063);
    CHECK(mm_pte_compare_swap(entry(TABLE1, 3), &seen, (mm_pte_t){0x204003}));
    CHECK_EQ(table(TABLE1)[3], 0x204023);
    CHECK(!mm_pte_compare_swap(entry(TABLE1, 3), &seen, (mm_pte_t){0}));
    CHECK_EQ(seen.bits, 0x204063);
    CHECK_EQ(fake_counts().lost_dirty, 0);
}

TEST(fake_fresh_store_into_a_linked_table_is_refused_before_anybody_walks_it)
{
    watched(FAKE_WATCH_READ);
    fake_schedule(FAKE_NEVER, 0, 0);
    table(ROOT_B)[0] = 0;
    mm_pte_store_fresh(entry(ROOT_B, 0), (mm_pte_t){0x400003});
    store(TABLE2, 3, ROOT_B | 7);
    CHECK_MACHINE_FAILS(mm_pte_store_fresh(entry(ROOT_B, 1), (mm_pte_t){0x401003}));
    CHECK(strstr(mm_test_machine(), "which a CPU may walk") != NULL);
    CHECK_MACHINE_FAILS(mm_pte_clear_fresh(entry(ROOT_B, 1), 3));
    store(TABLE2, 3, 0);
    mm_pte_store_fresh(entry(ROOT_B, 1), (mm_pte_t){0x401003});
}

/* ---- the faults that it is for ---- */

TEST(fake_table_linked_before_it_was_filled_is_noticed_without_a_list)
{
    watched(FAKE_WATCH_READ);
    fake_ram_poison(mm_phys(ROOT_B), MM_FRAME_BYTES);
    CHECK_MACHINE_FAILS(store(TABLE2, 3, ROOT_B | 7));
    CHECK(strstr(mm_test_machine(), "reads poison") != NULL);
}

TEST(fake_table_filled_and_then_linked_passes)
{
    watched(FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    fake_ram_poison(mm_phys(ROOT_B), MM_FRAME_BYTES);
    for (unsigned i = 0; i < 512; i++)
        mm_pte_store_fresh(entry(ROOT_B, i), (mm_pte_t){0x400003 + i * UINT64_C(0x1000)});
    store(TABLE2, 3, ROOT_B | 7);
    CHECK_EQ(get(0x600000).phys.raw, 0x400000);
    CHECK_EQ(fake_stale_entries(), 0);
}

TEST(fake_plain_store_that_undoes_dirty_is_counted)
{
    mm_pte_t seen;

    watched(FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    seen = mm_pte_load(entry(TABLE1, 1));
    mm_pte_store(entry(TABLE1, 1), (mm_pte_t){seen.bits & ~UINT64_C(2)});
    CHECK(fake_counts().lost_dirty == 1 && fake_counts().lost_accessed == 1);
    store(TABLE1, 2, 0x202003);
    seen = (mm_pte_t){0x202063};
    CHECK(mm_pte_compare_swap(entry(TABLE1, 2), &seen, (mm_pte_t){0}));
    CHECK_EQ(fake_counts().lost_dirty, 1);
    CHECK_EQ(fake_counts().dropped_dirty, 0);
    store(TABLE1, 3, 0x203003);
    store(TABLE1, 3, 0);
    CHECK(fake_counts().lost_dirty == 1 && fake_counts().dropped_dirty == 1);
}

TEST(fake_plain_store_over_marks_that_are_set_loses_nothing)
{
    watched(FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    table(TABLE1)[1] = NX | 0x200067;
    store(TABLE1, 1, NX | 0x200025);
    CHECK(fake_counts().lost_dirty == 0 && fake_counts().lost_accessed == 0);
}

/* ---- stale, where something changed ---- */

TEST(fake_stale_changed_finds_what_the_whole_look_finds)
{
    watched(FAKE_WATCH_READ);
    for (unsigned i = 2; i < 100; i++)
        store(TABLE1, i, (0x200000 + i * UINT64_C(0x1000)) | 3);
    CHECK_EQ(fake_stale_changed(), 0);
    store(TABLE1, 50, 0);
    CHECK_EQ(fake_stale_changed(), 2);
    CHECK_EQ(fake_stale_changed(), 2); /* again, until it is flushed */
    CHECK_EQ(fake_stale_entries(), 2);
    mm_mmu_flush_page(mm_virt(50 * 0x1000));
    CHECK_EQ(fake_stale_changed(), 1);
    fake_cpu_set(1);
    mm_mmu_flush_page(mm_virt(50 * 0x1000));
    CHECK_EQ(fake_stale_changed(), 0);
    store(TABLE2, 0, 0);
    CHECK(fake_stale_changed() > 2 * 97);
    CHECK_EQ(fake_stale_changed(), fake_stale_entries());
}

/* Random stores and flushes: the short look and the whole one always agree. */
TEST(fake_stale_changed_agrees_with_the_whole_look)
{
    static const uint64_t tables[] = {TABLE1, TOP5, TABLE2};
    unsigned stale = 0;

    watched(FAKE_WATCH_READ);
    store(TABLE2, 1, TOP5 | 7);
    for (unsigned n = 0; n < 4000; n++) {
        unsigned which = (unsigned)mm_test_below(20);
        unsigned i = (unsigned)mm_test_below(4);
        uint64_t frame = 0x400000 + mm_test_below(4) * 0x200000;
        size_t some;

        fake_cpu_set((unsigned)mm_test_below(2));
        mm_test_row("step", n);
        if (which < 10)
            store(tables[which % 2], i, mm_test_below(3) == 0 ? 0 : frame | 1 | (n & 2));
        else if (which < 12)
            store(TABLE2, 2 + i, mm_test_below(2) == 0 ? 0 : frame | 0x81);
        else if (which == 12)
            store(TABLE2, i % 2, mm_test_below(2) == 0 ? 0 : tables[i % 2] | 7);
        else if (which < 18)
            mm_mmu_flush_page(mm_virt(mm_test_below(6) * 0x200000 + i * 0x1000));
        else
            mm_mmu_flush_all();
        if (n % 3 != 0)
            continue;
        some = fake_stale_changed();
        CHECK_EQ(some != 0, fake_stale_entries() != 0);
        stale += some != 0;
    }
    CHECK(stale > 100 && stale < 1300);
}

/* ---- two sizes ---- */

TEST(fake_two_sizes_with_different_rights_are_told_from_a_clean_split)
{
    four_levels();
    table(TABLE2)[1] = 0x400081;
    (void)get(0x200000);
    for (unsigned i = 0; i < 512; i++)
        table(ROOT_B)[i] = (0x400000 + i * UINT64_C(0x1000)) | 1;
    table(TABLE2)[1] = ROOT_B | 7;
    fake_watch(mm_virt(0x203000), FAKE_WATCH_READ);
    CHECK(fake_tlb_entries(0) == 2 && fake_mixed_entries() == 0);
    table(ROOT_B)[3] = 0x403003; /* more than the large one grants: nothing is stale */
    fake_walkers_run();
    CHECK(fake_stale_entries() == 0 && fake_mixed_entries() == 1);
    table(ROOT_B)[4] = 0;
    CHECK_EQ(fake_stale_entries(), 1);
    CHECK(strstr(fake_stale_why(), "two sizes for one address") != NULL);
    mm_mmu_flush_page(mm_virt(0x200000));
    CHECK(fake_mixed_entries() == 0 && fake_stale_entries() == 0);
}

TEST(fake_two_sizes_fail_a_machine_that_forbids_them)
{
    watched(FAKE_WATCH_READ);
    fake_one_size(true);
    for (unsigned i = 0; i < 512; i++)
        table(ROOT_B)[i] = (0x400000 + i * UINT64_C(0x1000)) | 3;
    store(TABLE2, 1, 0x400083);
    store(TABLE2, 1, ROOT_B | 7); /* a clean split: they agree */
    CHECK(fake_tlb_entries(0) > 3);
    CHECK_MACHINE_FAILS(store(ROOT_B, 3, 0x403001));
    CHECK(strstr(mm_test_machine(), "two sizes that differ: 0x400000 level 2 w") != NULL);
    table(ROOT_B)[3] = 0x403003;
    mm_mmu_flush_all();
    fake_cpu_set(1);
    mm_mmu_flush_all();
    store(ROOT_B, 3, 0x403001);
    CHECK_MACHINE_FAILS(store(TABLE2, 1, 0x600083)); /* from small to large */
    CHECK(strstr(mm_test_machine(), "and now 0x600000 level 2") != NULL);
}

TEST(fake_two_sizes_of_which_the_older_grants_less_are_what_a_grant_leaves)
{
    watched(FAKE_WATCH_READ);
    fake_one_size(true);
    for (unsigned i = 0; i < 512; i++)
        table(ROOT_B)[i] = (0x400000 + i * UINT64_C(0x1000)) | 3;
    store(TABLE2, 1, 0x400081);
    store(TABLE2, 1, 0x400083); /* no flush is due */
    store(TABLE2, 1, ROOT_B | 7);
    CHECK(fake_mixed_entries() > 0);
    CHECK_EQ(fake_stale_entries(), 0);
}

/* ---- when ---- */

static uint64_t walks_of(enum fake_schedule schedule, unsigned one_in, uint64_t seed)
{
    fake_schedule(schedule, one_in, seed);
    fake_counts_clear();
    for (unsigned i = 0; i < 400; i++)
        store(TABLE1, 100 + i, 0x200003);
    return fake_counts().walks;
}

TEST(fake_schedule_decides_how_often_walkers_run)
{
    uint64_t always, some;

    watched(FAKE_WATCH_READ);
    always = walks_of(FAKE_ALWAYS, 0, 0);
    CHECK_EQ(always, 400 * 2 * 2);
    CHECK_EQ(walks_of(FAKE_NEVER, 0, 0), 0);
    some = walks_of(FAKE_RANDOM, 4, 1);
    CHECK(some > 100 && some < 400);
    CHECK_EQ(walks_of(FAKE_RANDOM, 4, 1), some); /* the seed decides */
    CHECK(walks_of(FAKE_RANDOM, 4, 2) != some || walks_of(FAKE_RANDOM, 4, 3) != some);
}

TEST(fake_cpu_that_is_off_walks_and_keeps_nothing)
{
    watched(FAKE_WATCH_READ);
    store(TABLE1, 2, 0x202003);
    CHECK(fake_tlb_entries(1) > 0 && fake_table_entries(1) > 0);
    fake_cpu_off(1);
    CHECK(fake_tlb_entries(1) == 0 && fake_table_entries(1) == 0);
    store(TABLE1, 3, 0x203003);
    CHECK(fake_tlb_entries(1) == 0 && fake_tlb_entries(0) > 0);
    store(TABLE1, 2, 0);
    mm_mmu_flush_page(mm_virt(0x2000));
    CHECK_EQ(fake_stale_entries(), 0);
}

/* ---- counts ---- */

static void flush_there(void *arg)
{
    CHECK(!fake_cpu(1)->interrupts_on);
    mm_mmu_flush_page(*(mm_virt_t *)arg);
}

TEST(fake_counts_flushes_and_interrupts_of_each_cpu)
{
    mm_virt_t virt = mm_virt(0x1000);

    watched(0);
    fake_counts_clear();
    mm_mmu_flush_space();
    mm_mmu_flush_all();
    mm_mmu_published();
    fake_ipi(1, flush_there, &virt);
    CHECK(fake_cpu_current() == 0 && fake_cpu(1)->interrupts_on);
    CHECK(fake_cpu_counts(0).flush_space == 1 && fake_cpu_counts(0).flush_all == 1);
    CHECK(fake_cpu_counts(0).published == 1 && fake_cpu_counts(0).ipis == 0);
    CHECK(fake_cpu_counts(1).flush_page == 1 && fake_cpu_counts(1).ipis == 1);
    CHECK(fake_cpu_counts(1).flush_all == 0 && fake_cpu_counts(2).ipis == 0);
    CHECK(fake_counts().ipis == 1 && fake_counts().flush_page == 1);
}
