/*
 * test_fake_walk.c - the simulated MMU walks page tables as the manual says.
 *
 * Problem     Every other test believes the simulated MMU; who checks it?
 * Idea        Tables are written as literals into simulated RAM, no line of libmm between, and the
 *             machine must do what the manual says. mm_pte.h comes in at the end, as the second
 *             reading of the same manual: on random entries both must agree.
 * Invariants  None.
 * Locking     None.
 * Cost        Half a second under sanitizers.
 * Rejected    Testing it through the VMM: two unknowns.
 */
#include "hand_tables.h"

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

/* Any 2 MiB or 1 GiB leaf (rights, memory type, global, marks, software's bits), into all its parts: the
 * machine finds the same frames, rights and type below the table as before in the leaf. Accessed, dirty,
 * 9, 10 and 58 of the leaf are in each part. */
TEST(fake_reads_the_same_in_every_part_of_every_leaf_that_is_split)
{
    static const uint64_t leaf_place[] = {0, 0, TABLE2, TABLE3},
                          part_place[] = {0, 0, TABLE1, TABLE2};
    static const uint64_t bits[] = {
        2, 4, NX, 8, 0x10, 0x1000, 0x100, 0x20, 0x40, 0x600, UINT64_C(1) << 58};
    const uint64_t marks = 0x660 | UINT64_C(1) << 58;

    four_levels();
    for (unsigned level = 2; level <= 3; level++) {
        const uint64_t part_bytes = mm_pt_bytes(level - 1);
        volatile uint64_t *slot = &table(leaf_place[level])[7],
                          *part_slot = &table(part_place[level])[3];

        for (unsigned set = 0; set < 1u << 11; set++) {
            mm_pte_t leaf = {0x40000081};
            struct fake_access whole, part;

            for (unsigned i = 0; i < 11; i++)
                leaf.bits |= (set >> i & 1) != 0 ? bits[i] : 0;
            mm_test_row("leaf", leaf.bits);
            *slot = leaf.bits;
            whole = fake_probe(mm_virt(7 * mm_pt_bytes(level)));
            CHECK_EQ(whole.fault, FAKE_OK);
            for (unsigned i = 0; i < MM_PT_ENTRIES; i += set % 16 == 0 ? 1 : 73) {
                *part_slot = mm_pte_split(leaf, level, i).bits;
                part = fake_probe(mm_virt(3 * part_bytes));
                CHECK_EQ(part.level, level - 1);
                CHECK_EQ(part.phys.raw, whole.phys.raw + i * part_bytes);
                CHECK_EQ(part.prot, whole.prot);
                CHECK_EQ(part.type, whole.type);
                CHECK_EQ(part.global, whole.global);
                CHECK_EQ(*part_slot & marks, leaf.bits & marks);
            }
        }
    }
}

/* Parts of a leaf, if they are joined, say what the leaf said; accessed and dirty are the caller's. */
TEST(fake_reads_the_same_in_every_leaf_that_is_joined_again)
{
    static const uint64_t place[] = {0, 0, TABLE2, TABLE3};
    static const uint64_t bits[] = {2,      4,     NX,   8,    0x10,
                                    0x1000, 0x100, 0x20, 0x40, UINT64_C(1) << 58};

    four_levels();
    for (unsigned level = 2; level <= 3; level++) {
        volatile uint64_t *slot = &table(place[level])[7];

        for (unsigned set = 0; set < 2u << 10; set++) {
            const bool dirty = set >> 10 != 0;
            mm_pte_t leaf = {0x40000081};
            struct fake_access before, after;

            for (unsigned i = 0; i < 10; i++)
                leaf.bits |= (set >> i & 1) != 0 ? bits[i] : 0;
            mm_test_row("leaf", leaf.bits);
            *slot = leaf.bits;
            before = fake_probe(mm_virt(7 * mm_pt_bytes(level)));
            *slot = mm_pte_joined(mm_pte_split(leaf, level, 0), level, dirty).bits;
            after = fake_probe(mm_virt(7 * mm_pt_bytes(level)));
            CHECK_EQ(after.fault, FAKE_OK);
            CHECK_EQ(after.level, level);
            CHECK_EQ(after.phys.raw, before.phys.raw);
            CHECK_EQ(after.prot, before.prot);
            CHECK_EQ(after.type, before.type);
            CHECK_EQ(after.global, before.global);
            CHECK_EQ(*slot & 0x20, 0x20);
            CHECK_EQ(mm_pte_dirty((mm_pte_t){*slot}), dirty);
            CHECK((*slot & 0x42) != 0x40); /* dirty, and not writable: a shadow stack */
        }
    }
}

/* Other rights that mm_pte_loses() lets pass without a flush must leave nothing stale. */
TEST(fake_and_classifier_agree_about_random_changes)
{
    unsigned free_of_flush = 0;

    four_levels();
    for (unsigned i = 0; i < 20000; i++) {
        unsigned rights[] = {MM_PROT_WRITE, MM_PROT_EXEC, MM_PROT_USER};
        struct mm_pte_change to;
        unsigned prot = MM_PROT_READ;
        mm_pte_t before = {(mm_test_random() & (NX | 0xfff)) | 0x200001};

        if ((before.bits & 2) == 0)
            before.bits &= ~UINT64_C(0x40); /* no leaf of libmm has D without W */
        for (unsigned j = 0; j < 3; j++)
            prot |= mm_test_below(2) != 0 ? rights[j] : 0;
        to = mm_pte_change_to(prot);
        mm_mmu_flush_all();
        mm_test_row("before", before.bits);
        table(TABLE1)[1] = before.bits;
        (void)get(0x1000);
        before.bits = table(TABLE1)[1];
        table(TABLE1)[1] = mm_pte_changed(before, &to).bits;
        if (mm_pte_loses(before, &to))
            continue;
        CHECK_EQ(fake_stale_entries(), 0);
        free_of_flush++;
    }
    CHECK(free_of_flush > 1000);
}
