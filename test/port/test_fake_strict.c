/*
 * test_fake_strict.c - machines that demand more than x86-64: break before make, cached absence.
 *
 * Problem     Code for several architectures must keep rules that the one at hand does not have.
 * Idea        Each change that the stricter machine forbids, and its right order.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Nothing.
 */
#include "hand_tables.h"

#include <string.h>

static void store(uint64_t table_at, unsigned i, uint64_t bits)
{
    mm_pte_store((mm_pte_t *)&table(table_at)[i], (mm_pte_t){bits});
}

static bool said(const char *what)
{
    return strstr(mm_test_machine(), what) != NULL;
}

/* ---- break before make ---- */

static void breaks(void)
{
    four_levels();
    table(TABLE2)[1] = 0x400083;
    fake_break_before_make(true);
}

TEST(fake_change_in_place_is_refused)
{
    static const struct {
        uint64_t place, after;
        unsigned index;
    } row[] = {
        {TABLE1, NX | 0x201007, 1}, /* frame */
        {TABLE1, NX | 0x20001f, 1}, /* type */
        {TABLE2, ROOT_B | 7, 1},    /* size: a leaf becomes a table */
        {TABLE2, 0x400083, 0},      /* a table becomes a leaf */
        {TABLE2, ROOT_B | 7, 0},    /* another table */
    };

    breaks();
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint64_t before = table(row[i].place)[row[i].index];

        mm_test_row("row", i);
        CHECK_MACHINE_FAILS(store(row[i].place, row[i].index, row[i].after));
        CHECK(said("in place"));
        table(row[i].place)[row[i].index] = before;
    }
}

TEST(fake_change_of_rights_and_marks_in_place_is_allowed)
{
    mm_pte_t seen;

    breaks();
    (void)get(0x1000);
    store(TABLE1, 1, NX | 0x200001);
    store(TABLE1, 1, 0x200067);
    store(TABLE2, 0, 0x103025);
    seen = mm_pte_load((mm_pte_t *)&table(TABLE1)[1]);
    CHECK(mm_pte_compare_swap((mm_pte_t *)&table(TABLE1)[1], &seen, (mm_pte_t){0}));
}

TEST(fake_change_through_invalid_needs_the_flush_of_each_cpu)
{
    breaks();
    fake_cpu_set(1);
    mm_mmu_load_root(mm_phys(ROOT));
    (void)get(0x1000);
    fake_cpu_set(0);
    (void)get(0x1000);
    store(TABLE1, 1, 0);
    mm_mmu_flush_page(mm_virt(0x1000));
    CHECK_MACHINE_FAILS(store(TABLE1, 1, NX | 0x201007));
    CHECK(said("while CPU 1 still has"));
    table(TABLE1)[1] = 0;
    fake_cpu_set(1);
    mm_mmu_flush_page(mm_virt(0x1000));
    store(TABLE1, 1, NX | 0x201007);
}

TEST(fake_same_translation_may_come_back_without_a_flush)
{
    breaks();
    (void)get(0x1000);
    store(TABLE1, 1, 0);
    store(TABLE1, 1, NX | 0x200005);
}

TEST(fake_split_and_merge_need_break_and_flush)
{
    breaks();
    (void)get(0x200000);
    for (unsigned i = 0; i < 512; i++)
        mm_pte_store_fresh((mm_pte_t *)&table(ROOT_B)[i],
                           (mm_pte_t){(0x400000 + i * UINT64_C(0x1000)) | 3});
    store(TABLE2, 1, 0);
    CHECK_MACHINE_FAILS(store(TABLE2, 1, ROOT_B | 7));
    table(TABLE2)[1] = 0;
    mm_mmu_flush_page(mm_virt(0x200000));
    store(TABLE2, 1, ROOT_B | 7);
    (void)get(0x209000);
    store(TABLE2, 1, 0);
    mm_mmu_flush_page(mm_virt(0x200000)); /* one page of the 512: not the one that is cached */
    CHECK_MACHINE_FAILS(store(TABLE2, 1, 0x400083));
    CHECK(said("a page of it"));
    table(TABLE2)[1] = 0;
    mm_mmu_flush_page(mm_virt(0x209000));
    store(TABLE2, 1, 0x400083);
}

TEST(fake_table_that_no_cpu_reaches_may_change_at_will)
{
    breaks();
    for (unsigned i = 0; i < 3; i++)
        store(TOP5, 3, (0x200000 + i * UINT64_C(0x1000)) | 3);
}

TEST(fake_x86_machine_lets_changes_in_place_pass)
{
    four_levels();
    fake_watch_changes(FAKE_WATCH_READ);
    store(TABLE1, 1, NX | 0x201007);
    CHECK(fake_stale_entries() > 0);
}

/* ---- cached absence ---- */

static void absences(void)
{
    four_levels();
    fake_cpu_set(1);
    mm_mmu_load_root(mm_phys(ROOT));
    fake_cpu_set(0);
    fake_cache_absence(true);
}

TEST(fake_absence_stays_until_a_flush)
{
    absences();
    CHECK_EQ(get(0x2000).fault, FAKE_NOT_PRESENT);
    store(TABLE1, 2, 0x202003);
    for (unsigned i = 0; i < 2; i++) { /* the fault drops nothing */
        CHECK(get(0x2000).fault == FAKE_NOT_PRESENT && get(0x2000).spurious);
        CHECK(get(0x2000).level == 1 && get(0x2000).cached);
    }
    CHECK_EQ(fake_stale_absences(0), 1);
    CHECK_EQ(fake_stale_entries(), 0);
    mm_mmu_flush_page(mm_virt(0x2000));
    CHECK(get(0x2000).fault == FAKE_OK && fake_stale_absences(0) == 0);
}

TEST(fake_absence_of_a_table_covers_all_below_it)
{
    absences();
    CHECK_EQ(get(0x200000).fault, FAKE_NOT_PRESENT);
    table(ROOT_B)[7] = 0x207003;
    store(TABLE2, 1, ROOT_B | 7);
    CHECK_EQ(get(0x207000).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(get(0x207000).level, 2);
    mm_mmu_flush_page(mm_virt(0x3ff000)); /* any address that it covers */
    CHECK_EQ(get(0x207000).fault, FAKE_OK);
}

TEST(fake_published_forgets_absence_on_the_calling_cpu_only)
{
    absences();
    fake_watch_changes(FAKE_WATCH_READ); /* every CPU has seen that there is nothing */
    store(TABLE1, 2, 0x202003);
    CHECK(fake_stale_absences(0) == 1 && fake_stale_absences(1) == 1);
    mm_mmu_published();
    CHECK(fake_stale_absences(0) == 0 && fake_stale_absences(1) == 1);
    CHECK_EQ(get(0x2000).fault, FAKE_OK);
    fake_cpu_set(1);
    CHECK(get(0x2000).spurious);
    CHECK_EQ(fake_cpu_counts(0).published, 1);
}

TEST(fake_absence_is_no_translation_and_counts_as_none)
{
    absences();
    (void)get(0x2000);
    (void)get(0x1000);
    CHECK_EQ(fake_tlb_entries(0), 1);
    mm_mmu_flush_space();
    CHECK_EQ(fake_tlb_entries(0), 0);
    fake_cache_absence(false);
    (void)get(0x2000);
    store(TABLE1, 2, 0x202003);
    CHECK_EQ(get(0x2000).fault, FAKE_OK);
}
