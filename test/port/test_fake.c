/*
 * test_fake.c - the simulated machine, against page tables built by hand.
 *
 * Problem     Every other test believes the simulated MMU; who checks it?
 * Idea        Tables are written as literals into simulated RAM, no line of libmm between, and the
 *             machine must do what the manual says. Then the reverse: it must notice.
 * Invariants  Tables are literals; mm_pte.h is used in one test only, as the second opinion.
 * Locking     None.
 * Cost        A second under sanitizers.
 * Rejected    Testing it through the VMM: two unknowns.
 */
#include "mm_test.h"

#include <pthread.h>
#include <string.h>

#include "base/lock.h"
#include "frames.h"
#include "mm_cpu.h"
#include "mm_frame.h"
#include "mm_mmu.h"

/* Hand-built tables at 1 MiB: root, then one table per level below it. Data frames at 2 MiB. */
#define ROOT   UINT64_C(0x100000)
#define TABLE3 UINT64_C(0x101000)
#define TABLE2 UINT64_C(0x102000)
#define TABLE1 UINT64_C(0x103000)
#define TOP5   UINT64_C(0x104000)
#define ROOT_B UINT64_C(0x105000)
#define DATA   UINT64_C(0x200000)

#define NX UINT64_C(0x8000000000000000)

/* 512 GiB into the upper half, and so below index 257, 0, 0, 0. */
#define UPPER UINT64_C(0xffff808000000000)

static volatile uint64_t *table(uint64_t phys)
{
    return fake_ram(mm_phys(phys), MM_FRAME_BYTES);
}

static struct fake_access get(uint64_t virt)
{
    return fake_read64(mm_virt(virt));
}

static struct fake_access put(uint64_t virt, uint64_t value)
{
    return fake_write64(mm_virt(virt), value);
}

/*
 *   ROOT[0], ROOT[257] -> TABLE3[0] -> TABLE2[0] -> TABLE1, all P W U
 *   TABLE1[1] = DATA, user RW not executable
 */
static void four_levels(void)
{
    fake_ram_add(mm_phys(0x100000), 8 << 20);
    fake_cpus_prepare();
    table(ROOT)[0] = 0x101007;
    table(ROOT)[257] = 0x101007;
    table(TABLE3)[0] = 0x102007;
    table(TABLE2)[0] = 0x103007;
    table(TABLE1)[1] = NX | 0x200007;
    mm_mmu_load_root(mm_phys(ROOT));
}

/* ---- walks ---- */

TEST(fake_walk_of_four_levels_reaches_a_small_page)
{
    struct fake_access got;

    four_levels();
    *(uint64_t *)fake_ram(mm_phys(0x200010), 8) = 42;
    got = get(0x1010);
    CHECK_EQ(got.fault, FAKE_OK);
    CHECK_EQ(got.value, 42);
    CHECK_EQ(got.phys.raw, 0x200010);
    CHECK_EQ(got.level, 1);
    CHECK_EQ(got.prot, MM_PROT_RW | MM_PROT_USER);
    CHECK(got.type == MM_MEMTYPE_WB && !got.global && !got.cached);
    CHECK_EQ(get(UPPER + 0x1010).value, 42);
}

TEST(fake_walk_reaches_large_and_huge_pages)
{
    four_levels();
    table(TABLE2)[1] = 0x400083; /* 2 MiB at 4 MiB */
    table(TABLE3)[1] = 0x83;     /* 1 GiB at 0 */
    CHECK_EQ(get(0x200000 + 0x12348).phys.raw, 0x412348);
    CHECK_EQ(get(0x200000).level, 2);
    CHECK_EQ(get(0x40000000 + 0x200010).phys.raw, 0x200010);
    CHECK_EQ(get(0x40000000).level, 3);
    CHECK_EQ(put(0x40000000 + 0x200010, 7).fault, FAKE_OK);
    CHECK_EQ(get(0x1010).value, 7);
    CHECK_EQ(table(TABLE3)[1], 0xe3); /* A and D */
}

TEST(fake_walk_of_five_levels_starts_one_higher)
{
    four_levels();
    table(TOP5)[1] = ROOT | 7;
    table(TOP5)[511] = ROOT | 7;
    fake_cpu(0)->levels = 5;
    mm_mmu_load_root(mm_phys(TOP5));
    CHECK_EQ(get(0x0001000000001000).fault, FAKE_OK);
    CHECK_EQ(get(0x0001000000001000).phys.raw, 0x200000);
    CHECK_EQ(get(0x1000).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(get(0x1000).level, 5);
    CHECK_EQ(get(0xffff808000001000).phys.raw, 0x200000); /* 5: 511, 4: 257 */
}

TEST(fake_walk_says_at_which_level_it_ended)
{
    four_levels();
    CHECK_EQ(get(0x8000000000).level, 4);
    CHECK_EQ(get(0x40000000).level, 3);
    CHECK_EQ(get(0x200000).level, 2);
    CHECK_EQ(get(0x2000).level, 1);
    CHECK_EQ(get(0x2000).fault, FAKE_NOT_PRESENT);
    table(TABLE2)[2] = 0x70000000 | 7; /* no RAM there */
    CHECK_EQ(get(0x400000).fault, FAKE_NO_TABLE);
}

TEST(fake_address_in_the_hole_faults)
{
    four_levels();
    CHECK_EQ(get(0x0000800000000000).fault, FAKE_NON_CANONICAL);
    CHECK_EQ(get(0xffff7ffffffffff8).fault, FAKE_NON_CANONICAL);
    CHECK_EQ(get(0x00007ffffffffff8).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(get(0xffff800000000000).fault, FAKE_NOT_PRESENT);
    fake_cpu(0)->levels = 5;
    CHECK_EQ(get(0x0100000000000000).fault, FAKE_NON_CANONICAL);
    CHECK_EQ(get(0xfefffffffffffff8).fault, FAKE_NON_CANONICAL);
    CHECK_EQ(get(0x00fffffffffffff8).fault, FAKE_NOT_PRESENT);
}

TEST(fake_cpu_without_a_root_reaches_nothing)
{
    CHECK_EQ(get(0x1000).fault, FAKE_NO_TABLE);
}

TEST(fake_device_memory_reads_as_ones)
{
    four_levels();
    table(TABLE1)[2] = NX | 0xfee0001b;
    CHECK_EQ(get(0x2000).value, UINT64_MAX);
    CHECK_EQ(get(0x2000).type, MM_MEMTYPE_UC);
    CHECK_EQ(put(0x2000, 1).fault, FAKE_OK);
}

/* ---- rights ---- */

/* A right exists only if each level grants it: take it away at one level in turn. */
TEST(fake_right_needs_every_level)
{
    static const uint64_t place[] = {ROOT, TABLE3, TABLE2, TABLE1};

    four_levels();
    table(TABLE1)[0] = 0x200007; /* everything */
    for (unsigned i = 0; i < 4; i++) {
        uint64_t before = table(place[i])[0];

        mm_test_row("level", 4 - i);
        table(place[i])[0] = before & ~UINT64_C(2);
        mm_mmu_flush_all();
        CHECK_EQ(put(0, 1).fault, FAKE_WRITE_DENIED);
        table(place[i])[0] = before & ~UINT64_C(4);
        mm_mmu_flush_all();
        fake_user(true);
        CHECK_EQ(get(0).fault, FAKE_USER_DENIED);
        fake_user(false);
        CHECK_EQ(get(0).fault, FAKE_OK);
        table(place[i])[0] = before | NX;
        mm_mmu_flush_all();
        CHECK_EQ(fake_fetch(mm_virt(0)).fault, FAKE_FETCH_DENIED);
        table(place[i])[0] = before;
        mm_mmu_flush_all();
        fake_user(true);
        CHECK(put(0, 1).fault == FAKE_OK && fake_fetch(mm_virt(0)).fault == FAKE_OK);
        fake_user(false);
    }
}

TEST(fake_supervisor_writes_read_only_pages_while_wp_is_off)
{
    four_levels();
    table(TABLE1)[2] = 0x201005;
    CHECK_EQ(put(0x2000, 1).fault, FAKE_WRITE_DENIED);
    fake_cpu(0)->wp = false;
    CHECK_EQ(put(0x2000, 1).fault, FAKE_OK);
    fake_user(true);
    CHECK_EQ(put(0x2000, 1).fault, FAKE_WRITE_DENIED);
}

TEST(fake_reserved_bits_fault)
{
    static const struct {
        uint64_t place, entry, virt;
        unsigned level;
    } row[] = {
        {TABLE1, 0x0000400000200003, 0x0, 1}, /* address bit 46 of 46 */
        {TABLE2, 0x0000400000103003, 0x0, 2},
        {ROOT, 0x0008000000101003, 0x0, 4},
        {ROOT, 0x101083, 0x0, 4},   /* PS at level 4 */
        {TABLE2, 0x202083, 0x0, 2}, /* address below 2 MiB */
        {TABLE2, 0x300083, 0x0, 2},
        {TABLE3, 0x200083, 0x0, 3}, /* address below 1 GiB */
        {TABLE3, 0x20000083, 0x0, 3},
    };

    four_levels();
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint64_t before = table(row[i].place)[0];

        mm_test_row("row", i);
        table(row[i].place)[0] = row[i].entry;
        mm_mmu_flush_all();
        CHECK_EQ(get(row[i].virt).fault, FAKE_RESERVED);
        CHECK_EQ(get(row[i].virt).level, row[i].level);
        table(row[i].place)[0] = row[i].entry & ~UINT64_C(1); /* not present: all bits are free */
        CHECK_EQ(get(row[i].virt).fault, FAKE_NOT_PRESENT);
        table(row[i].place)[0] = before;
    }
}

TEST(fake_features_that_are_off_make_their_bits_reserved)
{
    four_levels();
    CHECK_EQ(get(0x1000).fault, FAKE_OK); /* bit 63 */
    fake_cpu(0)->nxe = false;
    mm_mmu_flush_all();
    CHECK_EQ(get(0x1000).fault, FAKE_RESERVED);
    table(TABLE3)[1] = 0x83;
    CHECK_EQ(get(0x40000000).fault, FAKE_OK);
    fake_cpu(0)->leaf_levels = 1u << 1 | 1u << 2;
    mm_mmu_flush_all();
    CHECK_EQ(get(0x40000000).fault, FAKE_RESERVED);
}

TEST(fake_memory_type_comes_through_the_pat)
{
    static const enum mm_memtype libmm[8] = {
        MM_MEMTYPE_WB, MM_MEMTYPE_WT, MM_MEMTYPE_UC_MINUS, MM_MEMTYPE_UC,
        MM_MEMTYPE_WP, MM_MEMTYPE_WC, MM_MEMTYPE_UC_MINUS, MM_MEMTYPE_UC};

    four_levels();
    for (unsigned i = 0; i < 8; i++) {
        uint64_t low = (i & 1 ? 0x08u : 0) | (i & 2 ? 0x10u : 0);

        mm_test_row("PAT index", i);
        table(TABLE1)[2] = 0x200003 | low | (i & 4 ? 0x80u : 0);
        table(TABLE2)[1] = 0x200083 | low | (i & 4 ? 0x1000u : 0);
        table(TABLE3)[1] = 0x000083 | low | (i & 4 ? 0x1000u : 0);
        mm_mmu_flush_all();
        CHECK_EQ(get(0x2000).type, libmm[i]);
        CHECK_EQ(get(0x200000).type, libmm[i]);
        CHECK_EQ(get(0x40000000).type, libmm[i]);
        CHECK_EQ(get(0x200000).phys.raw, 0x200000);
    }
    fake_cpu(0)->pat = 0x0007040600070406; /* as after power-on: index 5 is WT */
    table(TABLE1)[2] = 0x20008b;
    mm_mmu_flush_all();
    CHECK_EQ(get(0x2000).type, MM_MEMTYPE_WT);
}

/* ---- accessed and dirty ---- */

TEST(fake_walk_sets_accessed_in_every_entry_and_dirty_on_a_write)
{
    four_levels();
    CHECK_EQ(fake_probe(mm_virt(0x1000)).fault, FAKE_OK);
    CHECK_EQ(table(ROOT)[0], 0x101007); /* a probe leaves no trace */
    (void)get(0x1000);
    CHECK_EQ(table(ROOT)[0], 0x101027);
    CHECK_EQ(table(TABLE3)[0], 0x102027);
    CHECK_EQ(table(TABLE2)[0], 0x103027);
    CHECK_EQ(table(TABLE1)[1], NX | 0x200027);
    (void)put(0x1000, 1);
    CHECK_EQ(table(TABLE1)[1], NX | 0x200067);
    CHECK_EQ(table(TABLE2)[0], 0x103027);
}

TEST(fake_denied_write_does_not_set_dirty)
{
    four_levels();
    table(TABLE1)[1] = NX | 0x200005;
    CHECK_EQ(put(0x1000, 1).fault, FAKE_WRITE_DENIED);
    CHECK_EQ(table(TABLE1)[1] & 0x40, 0);
}

TEST(fake_cleared_accessed_bit_stays_clear_while_the_translation_is_cached)
{
    four_levels();
    (void)get(0x1000);
    table(TABLE1)[1] = NX | 0x200007;
    (void)get(0x1000);
    CHECK_EQ(table(TABLE1)[1], NX | 0x200007);
    mm_mmu_flush_page(mm_virt(0x1000));
    (void)get(0x1000);
    CHECK_EQ(table(TABLE1)[1], NX | 0x200027);
}

TEST(fake_cleared_dirty_bit_misses_writes_until_flushed)
{
    four_levels();
    (void)put(0x1000, 1);
    table(TABLE1)[1] = NX | 0x200027;
    (void)put(0x1000, 2);
    CHECK_EQ(table(TABLE1)[1], NX | 0x200027); /* the TLB remembers that D was set */
    CHECK(fake_stale_entries() > 0);
    mm_mmu_flush_page(mm_virt(0x1000));
    (void)put(0x1000, 3);
    CHECK_EQ(table(TABLE1)[1], NX | 0x200067);
}

TEST(fake_first_write_walks_again_and_sees_that_the_page_is_gone)
{
    four_levels();
    (void)get(0x1000);
    table(TABLE1)[1] = 0;
    CHECK_EQ(get(0x1000).fault, FAKE_OK); /* stale */
    CHECK_EQ(put(0x1000, 1).fault, FAKE_NOT_PRESENT);
}

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
    mm_mmu_flush_page(mm_virt(0x0000800000001000)); /* not canonical: INVLPG does nothing */
    CHECK_EQ(get(0x1000).fault, FAKE_OK);
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

TEST(fake_walker_goes_on_in_a_table_that_was_unlinked)
{
    four_levels();
    fake_watch(mm_virt(0x3000), FAKE_WATCH_READ);
    mm_pte_store((mm_pte_t *)&table(TABLE2)[0], (mm_pte_t){0});
    mm_pte_store((mm_pte_t *)&table(TABLE1)[3], (mm_pte_t){0x202003});
    CHECK(fake_frame_in_use(mm_phys(0x202000)));
    CHECK(fake_stale_entries() > 0);
}

TEST(fake_walker_writes_between_load_and_store)
{
    mm_pte_t before;

    four_levels();
    before = mm_pte_load((mm_pte_t *)&table(TABLE1)[1]);
    fake_watch(mm_virt(0x1000), FAKE_WATCH_WRITE);
    CHECK_EQ(before.bits, NX | 0x200007);
    before = mm_pte_swap((mm_pte_t *)&table(TABLE1)[1], (mm_pte_t){0});
    CHECK_EQ(before.bits, NX | 0x200067); /* a swap sees D, the load before did not */
}

TEST(fake_compare_swap_fails_when_the_hardware_was_faster)
{
    mm_pte_t expected = {NX | 0x200007};

    four_levels();
    fake_watch(mm_virt(0x1000), FAKE_WATCH_WRITE);
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

/* ---- misuse of the machine ---- */

TEST(fake_store_outside_ram_is_refused)
{
    mm_pte_t here = {0};

    four_levels();
    CHECK_MACHINE_FAILS(mm_pte_store(&here, (mm_pte_t){1}));
    CHECK_MACHINE_FAILS((void)mm_pte_load(&here));
}

TEST(fake_fresh_store_into_a_table_in_use_is_refused)
{
    four_levels();
    mm_pte_store_fresh((mm_pte_t *)&table(ROOT_B)[0], (mm_pte_t){0x101007});
    CHECK_EQ(table(ROOT_B)[0], 0x101007);
    CHECK_MACHINE_FAILS(mm_pte_store_fresh((mm_pte_t *)&table(ROOT)[5], (mm_pte_t){0}));
    (void)get(0x1000);
    CHECK_MACHINE_FAILS(mm_pte_store_fresh((mm_pte_t *)&table(TABLE1)[5], (mm_pte_t){0}));
}

TEST(fake_root_that_the_cpu_cannot_load_is_refused)
{
    four_levels();
    CHECK_MACHINE_FAILS(mm_mmu_load_root(mm_phys(ROOT + 1)));
    CHECK_MACHINE_FAILS(mm_mmu_load_root(mm_phys(UINT64_C(1) << 46)));
}

TEST(fake_root_without_the_running_code_is_a_triple_fault)
{
    static const struct fake_anchor anchor[] = {
        {{0x1000}, 8, MM_PROT_EXEC},
        {{UPPER + 0x1000}, 8, MM_PROT_WRITE},
    };
    struct mm_virt_range range[MM_CPU_ANCHORS];

    four_levels();
    table(TABLE1)[1] = 0x200003;
    fake_anchors(anchor, 2, true);
    CHECK_EQ(mm_port_cpu_anchors(range), 2);
    CHECK_EQ(range[1].start.raw, UPPER + 0x1000);
    mm_mmu_load_root(mm_phys(ROOT));
    table(TABLE1)[1] = NX | 0x200003;
    CHECK_MACHINE_FAILS(mm_mmu_load_root(mm_phys(ROOT)));
    CHECK(strstr(mm_test_machine(), "triple fault") != NULL);
    CHECK_MACHINE_FAILS(mm_mmu_load_root(mm_phys(ROOT_B)));
}

/* ---- memory, frames, features ---- */

TEST(fake_ram_appears_at_congruent_addresses_and_nowhere_else)
{
    mm_phys_t phys;
    void *high;

    fake_ram_add(mm_phys(0x1000), 0x3000);
    fake_ram_add(mm_phys(UINT64_C(0xc0000000000)), UINT64_C(1) << 40); /* a terabyte at 12 TiB */
    high = fake_ram(mm_phys(UINT64_C(0xcffffffffff)), 1);
    CHECK(high != NULL && fake_ram(mm_phys(UINT64_C(0xcffffffffff)), 2) == NULL);
    *(volatile char *)high = 1;
    CHECK(fake_ram_phys(high, &phys) && phys.raw == UINT64_C(0xcffffffffff));
    CHECK_EQ(((uintptr_t)high ^ phys.raw) & 0x3fffffff, 0);
    CHECK(fake_ram(mm_phys(0xfff), 1) == NULL && fake_ram(mm_phys(0x4000), 1) == NULL);
    CHECK(fake_ram(mm_phys(0x3fff), 2) == NULL && fake_ram(mm_phys(0x3fff), 1) != NULL);
    CHECK(!fake_ram_phys(&phys, &phys));
    CHECK_EQ(fake_window()->count, 2);
    CHECK_MACHINE_FAILS(fake_ram_add(mm_phys(0x3000), 0x1000));
}

TEST(fake_frame_maps_are_counted_and_can_fail)
{
    void *first, *second = NULL;

    fake_ram_add(mm_phys(0x1000), 0x3000);
    CHECK_ERR(mm_frame_map(fake_window(), mm_phys(0x4000), &second), MM_ERR_WINDOW);
    fake_frame_map_fail(1);
    CHECK_OK(mm_frame_map(fake_window(), mm_phys(0x1000), &first));
    CHECK_ERR(mm_frame_map(fake_window(), mm_phys(0x2000), &second), MM_ERR_WINDOW);
    CHECK(second == NULL);
    CHECK_OK(mm_frame_map(fake_window(), mm_phys(0x2000), &second));
    mm_frame_unmap(fake_window(), first);
    CHECK(fake_counts().frame_maps == 2 && fake_counts().frame_unmaps == 1);
    CHECK_MACHINE_FAILS(mm_frame_unmap(fake_window(), (char *)second + 8));
    mm_frame_unmap(fake_window(), second);
    CHECK_MACHINE_FAILS(mm_frame_unmap(fake_window(), second));
}

TEST(fake_cpu_refuses_what_libmm_needs_and_is_not_there)
{
    struct {
        uint32_t words[4];
    } before = {{7, 7, 7, 7}};
    struct mm_paging *paging = (struct mm_paging *)&before;

    fake_cpu(0)->has_nx = false;
    CHECK_ERR(mm_port_cpu_init(paging), MM_ERR_CPU);
    CHECK(before.words[0] == 7 && !fake_cpu(0)->wp);
    fake_cpu(0)->has_nx = true;
    CHECK_OK(mm_port_cpu_init(paging));
    CHECK(fake_cpu(0)->wp && fake_cpu(0)->nxe && fake_cpu(0)->pge && !fake_cpu(1)->wp);
    CHECK_EQ(fake_cpu(0)->pat, 0x0007010500070406);
}

TEST(fake_counts_what_was_asked_for)
{
    struct fake_counts got;

    four_levels();
    fake_counts_clear();
    mm_mmu_flush_page(mm_virt(0));
    mm_mmu_flush_page(mm_virt(0));
    mm_mmu_flush_space();
    mm_mmu_flush_all();
    mm_mmu_load_root(mm_phys(ROOT));
    mm_pte_store((mm_pte_t *)&table(TABLE1)[9], (mm_pte_t){0});
    (void)mm_pte_load((mm_pte_t *)&table(TABLE1)[9]);
    (void)mm_pte_swap((mm_pte_t *)&table(TABLE1)[9], (mm_pte_t){0});
    got = fake_counts();
    CHECK(got.flush_page == 2 && got.flush_space == 1 && got.flush_all == 1);
    CHECK(got.root_loads == 1 && got.stores == 1 && got.loads == 1 && got.swaps == 1);
    CHECK_EQ(mm_mmu_root().raw, ROOT);
}

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

/* ---- the machine and mm_pte.h: two readings of one manual ---- */

/* Any 64 bits at any level: both find the same entry absent, reserved, leaf or table, and the same
 * frame, rights and type in it. */
TEST(fake_and_codec_agree_about_random_entries)
{
    static const uint64_t place[] = {0, TABLE1, TABLE2, TABLE3, ROOT};

    four_levels();
    for (unsigned i = 0; i < 20000; i++) {
        unsigned level = 1 + (unsigned)mm_test_below(4);
        uint64_t bits = mm_test_random();
        mm_pte_t entry;
        struct fake_access got;

        /* mostly present, mostly without reserved bits, so that all cases are met */
        bits |= mm_test_below(8) != 0 ? 1 : 0;
        if (mm_test_below(4) != 0)
            bits &= ~UINT64_C(0x000fc00000000000);
        if (level > 1 && level < 4 && mm_test_below(4) != 0)
            bits &= ~(mm_pt_bytes(level) - 1) | 0x1fff;
        entry.bits = bits;
        mm_test_row("entry", bits);
        table(place[level])[3] = bits;
        got = fake_probe(mm_virt(3 * mm_pt_bytes(level)));
        if (!mm_pte_is_present(entry)) {
            CHECK_EQ(got.fault, FAKE_NOT_PRESENT);
        } else if (mm_pte_reserved(entry, level, 46, true) != 0) {
            CHECK_EQ(got.fault, FAKE_RESERVED);
        } else if (mm_pte_is_leaf(entry, level)) {
            CHECK_EQ(got.fault, FAKE_OK);
            CHECK_EQ(got.level, level);
            CHECK_EQ(got.phys.raw, mm_pte_phys(entry, level).raw);
            CHECK_EQ(got.prot, mm_pte_prot(entry));
            CHECK_EQ(got.type, mm_pte_type(entry, level));
            CHECK_EQ(got.global, mm_pte_global(entry));
        } else {
            CHECK(mm_pte_is_table(entry, level) && got.fault != FAKE_RESERVED);
            CHECK(got.fault == FAKE_OK || got.level < level);
        }
    }
}

/* A change that mm_pte_transition() lets pass without a flush must leave nothing stale. */
TEST(fake_and_classifier_agree_about_random_changes)
{
    unsigned free_of_flush = 0;

    four_levels();
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t toggled = UINT64_C(1) << mm_test_below(64) | UINT64_C(1) << mm_test_below(64);
        mm_pte_t before = {(mm_test_random() & (NX | 0xfff)) | 0x200001};
        mm_pte_t after = {before.bits ^ toggled};

        if (mm_test_below(8) == 0)
            before.bits &= ~UINT64_C(1);
        mm_mmu_flush_all();
        mm_test_row("before", before.bits);
        table(TABLE1)[1] = before.bits;
        (void)get(0x1000);
        before.bits = table(TABLE1)[1];
        table(TABLE1)[1] = after.bits;
        if ((mm_pte_transition(before, after, 1) & MM_TRANSITION_FLUSH) != 0)
            continue;
        CHECK_EQ(fake_stale_entries(), 0);
        free_of_flush++;
    }
    CHECK(free_of_flush > 1000);
}

/* ---- interrupts ---- */

struct handled {
    unsigned count;
    bool flag_seen;
};

static void handler(void *arg)
{
    struct handled *handled = arg;

    handled->count++;
    handled->flag_seen |= mm_cpu_interrupts_on();
    mm_cpu_unguard(mm_cpu_guard());
    handled->flag_seen |= mm_cpu_interrupts_on();
}

TEST(fake_interrupt_comes_where_the_flag_is_on)
{
    struct handled handled = {0};
    mm_guard_t outer, inner;

    four_levels();
    fake_interrupt_set(handler, &handled);
    (void)mm_pte_load((mm_pte_t *)&table(TABLE1)[0]);
    CHECK_EQ(handled.count, 1);
    outer = mm_cpu_guard(); /* just before it */
    CHECK_EQ(handled.count, 2);
    inner = mm_cpu_guard();
    (void)mm_pte_load((mm_pte_t *)&table(TABLE1)[0]);
    mm_cpu_unguard(inner);
    CHECK_EQ(handled.count, 2);
    CHECK(!mm_cpu_interrupts_on());
    mm_cpu_unguard(outer);
    CHECK_EQ(handled.count, 3);
    CHECK(!handled.flag_seen && mm_cpu_interrupts_on());
    fake_interrupt_set(NULL, NULL);
}

TEST(fake_interrupt_once_comes_at_the_chosen_point)
{
    struct handled handled = {0};

    fake_interrupt_once(handler, &handled, 2);
    mm_cpu_unguard(mm_cpu_guard()); /* two points: before the guard, after it */
    CHECK(handled.count == 0 && fake_interrupt_pending());
    mm_cpu_unguard(mm_cpu_guard());
    CHECK(handled.count == 1 && !fake_interrupt_pending());
    mm_cpu_unguard(mm_cpu_guard());
    CHECK_EQ(handled.count, 1);
}

struct counters {
    volatile uint64_t plain, guarded;
    uint64_t lost_plain, lost_guarded;
};

static void counters_begin(void *arg)
{
    struct counters *c = arg;

    c->plain = 0;
    c->guarded = 0;
}

/* A load and a store, with room for an interrupt between them whatever the compiler. */
static void increment(volatile uint64_t *at)
{
    volatile uint64_t value = *at;

    *at = value + 1;
}

static void count_up(void *arg)
{
    struct counters *c = arg;
    mm_guard_t guard;

    increment(&c->plain);
    guard = mm_cpu_guard();
    increment(&c->guarded);
    mm_cpu_unguard(guard);
}

static void counters_end(void *arg)
{
    struct counters *c = arg;

    c->lost_plain += c->plain == 1;
    c->lost_guarded += c->guarded == 1;
}

TEST(fake_interrupt_at_each_instruction_finds_the_gap_and_only_that)
{
    struct counters c = {0};
    struct fake_step step = {counters_begin, count_up, count_up, counters_end, &c, 0, 1, 0, 0};

    if (!fake_interrupt_each_instruction(&step))
        return; /* not an x86-64 Linux host */
    CHECK(step.runs > 10);
    c.lost_guarded--; /* the last run, in which no interrupt came */
    c.lost_plain--;
    CHECK(c.lost_plain > 0);
    CHECK_EQ(c.lost_guarded, 0);
    CHECK_EQ(fake_counts().interrupts, step.runs);
}

/* ---- host threads ---- */

struct race {
    struct mm_lock lock;
    uint64_t count;
};

static void *race_run(void *arg)
{
    struct race *race = arg;

    fake_cpu_set(1);
    for (unsigned i = 0; i < 2000; i++) {
        mm_lock_guard_t guard = mm_lock_take(&race->lock);

        race->count++;
        mm_lock_release(&race->lock, guard);
    }
    return NULL;
}

TEST(fake_host_threads_are_cpus_of_their_own)
{
    struct race race = {.count = 0};
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, race_run, &race) == 0);
    for (unsigned i = 0; i < 2000; i++) {
        mm_lock_guard_t guard = mm_lock_take(&race.lock);

        race.count++;
        mm_lock_release(&race.lock, guard);
    }
    pthread_join(thread, NULL);
    CHECK_EQ(race.count, 4000);
    CHECK_EQ(fake_cpu_current(), 0);
}
