/*
 * test_asid.c - address-space ids: what a CPU keeps of the spaces that it has left, and what not.
 *
 * Problem     Whoever keeps too much uses memory that is somebody else's; who keeps nothing passes all
 *             tests of that kind.
 * Idea        Both are counted: loads that keep, and stale translations once an id is loaded again.
 *             Around each store every CPU walks (vmm_fixture.h), so all that may be cached is.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Looking at mm_vmm_cpu.root[]: what the CPU does is what counts.
 */
#include "asid_fixture.h"

/* ---- keeping ---- */

TEST(a_space_that_comes_back_finds_its_translations)
{
    size_t cached;

    spaces_start(1);
    CHECK(!keeps(0, &user));
    CHECK_EQ(reads(0, LOW).phys.raw, DATA + M2);
    cached = fake_tlb_entries(0);
    CHECK(!keeps(0, &other));
    CHECK(!reads(0, LOW).cached);
    CHECK(keeps(0, &fx.kernel));
    CHECK(keeps(0, &user));
    CHECK_EQ(fake_tlb_entries(0), cached);
    CHECK(reads(0, LOW).cached && reads(0, LOW).phys.raw == DATA + M2);
    CHECK(keeps(0, &other));
    CHECK(reads(0, LOW).cached && reads(0, LOW).phys.raw == DATA + 2 * M2);
    spaces_end();
}

TEST(a_space_that_is_loaded_again_at_once_keeps_its_translations)
{
    spaces_start(1);
    fixture_activate(0, &user);
    (void)reads(0, LOW);
    CHECK(keeps(0, &user));
    CHECK(reads(0, LOW).cached);
    spaces_end();
}

/* ---- what changes while the space is not loaded ---- */

static void change_unmap(void)
{
    CHECK_OK(unmap(&user, LOW, K4));
}

static void change_protect(void)
{
    CHECK_OK(protect(&user, LOW, K4, MM_PROT_READ));
}

static void change_harvest(void)
{
    CHECK_OK(mm_space_harvest(&user, mm_virt(LOW), 2 * K4, MM_MARK_ACCESSED | MM_MARK_DIRTY, NULL,
                              NULL, NULL));
}

static void change_unmap_all(void)
{
    CHECK_OK(unmap(&user, LOW, 2 * K4));
}

/* The CPU writes to LOW, which it has loaded now: as the tables say. */
static void check_changed(void (*change)(void), unsigned cpu)
{
    struct fake_access got;
    uint8_t marks[2];

    fake_cpu_set(cpu);
    got = fake_write64(mm_virt(LOW), 1);
    fake_cpu_set(0);
    if (change == change_protect)
        CHECK(got.fault == FAKE_WRITE_DENIED && !got.spurious);
    else if (change != change_harvest)
        CHECK(got.fault == FAKE_NOT_PRESENT);
    if (change != change_harvest)
        return;
    CHECK_EQ(got.fault, FAKE_OK);
    CHECK_OK(mm_space_harvest(&user, mm_virt(LOW), 2 * K4, 0, marks, NULL, NULL));
    CHECK_EQ(marks[0], MM_MARK_MAPPED | MM_MARK_ACCESSED | MM_MARK_DIRTY);
}

TEST(what_changed_while_a_space_was_not_loaded_is_not_stale_when_it_is)
{
    static void (*const change[])(void) = {change_unmap, change_protect, change_harvest,
                                           change_unmap_all};

    for (unsigned i = 0; i < 8; i++) {
        unsigned maker = i % 2;

        mm_test_row("change", i);
        fake_reset();
        spaces_start(2);
        fixture_activate(1, &user);
        fake_cpu_set(1);
        CHECK_EQ(fake_write64(mm_virt(LOW), 7).fault, FAKE_OK);
        fixture_activate(1, &fx.kernel);
        fake_cpu_set(maker);
        fake_counts_clear();
        change[i / 2]();
        CHECK_EQ(fake_counts().ipis, 0); /* nobody is asked, nobody flushes */
        CHECK_EQ(fake_counts().flush_page + fake_counts().flush_space + fake_counts().flush_all, 0);
        fake_cpu_set(0);
        CHECK(!keeps(1, &user));
        check_changed(change[i / 2], 1);
        CHECK(keeps(1, &fx.kernel));
        CHECK(keeps(1, &user)); /* it has forgotten nothing else */
        spaces_end();
    }
}

/* One CPU has the space loaded and is asked, the other has left it. */
TEST(a_flush_that_others_were_asked_for_is_not_missed_by_who_has_left)
{
    spaces_start(3);
    used_and_left(2, &user, LOW);
    fixture_activate(1, &user);
    (void)reads(1, LOW);
    CHECK_OK(unmap(&user, LOW, K4));
    CHECK_EQ(fake_cpu_counts(2).ipis, 0);
    CHECK(!keeps(2, &user));
    CHECK_EQ(reads(2, LOW).fault, FAKE_NOT_PRESENT);
    CHECK(keeps(1, &fx.kernel));
    CHECK(keeps(1, &user)); /* it has flushed when it was asked */
    spaces_end();
}

TEST(a_space_that_grew_keeps_its_translations)
{
    spaces_start(2);
    used_and_left(1, &user, LOW);
    CHECK_OK(map(&user, LOW + M2, DATA, K4, MM_PROT_RW));
    CHECK_OK(protect(&user, LOW + M2, K4, MM_PROT_RW));
    CHECK(keeps(1, &user));
    CHECK_EQ(reads(1, LOW + M2).fault, FAKE_OK);
    spaces_end();
}

/* ---- the kernel's half ---- */

TEST(a_kernel_page_that_is_unmapped_costs_no_space_its_translations)
{
    spaces_start(2);
    used_and_left(1, &user, LOW);
    used_and_left(1, &other, LOW);
    fixture_activate(1, &user);
    CHECK_EQ(reads(1, AREA).fault, FAKE_OK);
    CHECK_OK(unmap(&fx.kernel, AREA, K4)); /* its table stays */
    CHECK_EQ(reads(1, AREA).fault, FAKE_NOT_PRESENT);
    CHECK(keeps(1, &other));
    CHECK_EQ(reads(1, AREA).fault, FAKE_NOT_PRESENT);
    CHECK(keeps(1, &user));
    CHECK(keeps(1, &fx.kernel));
    spaces_end();
}

/* With INVLPG that drops only what leads to the page, and of the id that is loaded. */
TEST(a_kernel_table_that_is_freed_is_forgotten_with_the_ids_that_may_know_it)
{
    spaces_start(2);
    fixture_activate(1, &user);
    fake_cpu_set(1);
    mm_mmu_flush_page(mm_virt(AREA)); /* so that it walks, and has the tables with this id */
    CHECK_EQ(fake_read64(mm_virt(AREA)).fault, FAKE_OK);
    fake_cpu_set(0);
    fixture_activate(1, &other);
    CHECK_OK(unmap(&fx.kernel, AREA, 2 * K4));
    CHECK(!keeps(1, &user));
    CHECK(keeps(1, &other)); /* it was loaded, and flushed */
    CHECK(!keeps(1, &fx.kernel));
    spaces_end();
}

TEST(a_full_flush_of_the_kernel_space_leaves_nothing_of_any_id)
{
    spaces_start(2);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 200 * K4, MM_PROT_RW));
    fixture_activate(1, &fx.kernel);
    (void)reads(1, LOW + 100 * K4);
    fixture_activate(1, &user);
    (void)reads(1, LOW);
    fixture_activate(1, &other);
    CHECK(fake_parked_entries(1) > 0);
    CHECK_OK(unmap(&fx.kernel, LOW, 199 * K4));
    CHECK_EQ(fake_parked_entries(1), 0);
    (void)keeps(1, &fx.kernel);
    CHECK_EQ(reads(1, LOW + 100 * K4).fault, FAKE_NOT_PRESENT);
    spaces_end();
}

TEST(a_page_of_the_kernels_lower_half_is_forgotten_with_the_kernels_own_id)
{
    for (unsigned i = 0; i < 2; i++) {
        mm_test_row("protect", i);
        fake_reset();
        spaces_start(2);
        CHECK_OK(map(&fx.kernel, 2 * LOW, DATA, 2 * K4, MM_PROT_RW));
        CHECK_EQ(reads(1, 2 * LOW).fault, FAKE_OK);
        fixture_activate(1, &user);
        if (i == 0)
            CHECK_OK(unmap(&fx.kernel, 2 * LOW, K4)); /* its table stays */
        else
            CHECK_OK(protect(&fx.kernel, 2 * LOW, K4, MM_PROT_READ));
        CHECK(!keeps(1, &fx.kernel));
        CHECK_EQ(reads(1, 2 * LOW).fault, i == 0 ? FAKE_NOT_PRESENT : FAKE_OK);
        spaces_end();
    }
}

/* Tables by the manual's bits: P = 1, W = 2; root [511] -> [510] -> [0] -> two pages that are not
 * global. */
TEST(a_page_of_an_adopted_root_that_is_not_global_is_forgotten_with_all_ids)
{
    const uint64_t foreign = UINT64_C(0x4000000), image = UINT64_C(0xffffffff80000000);
    uint64_t *table;

    ids(2);
    fixture_machine(4, true, 2);
    fake_ram_add(mm_phys(foreign), 4 * K4);
    table = (uint64_t *)fake_ram(mm_phys(foreign), 4 * K4);
    memset(table, 0, 4 * K4);
    table[511] = (foreign + K4) | 3;
    table[512 + 510] = (foreign + 2 * K4) | 3;
    table[1024] = (foreign + 3 * K4) | 3;
    table[1536] = DATA | 3;
    table[1537] = (DATA + K4) | 3;
    fixture_vmm(NULL);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        fake_cpu(cpu)->root = mm_phys(foreign);
        fake_cpu(cpu)->root_loaded = true;
        fixture_cpu_init(cpu);
    }
    fake_cpu_set(0);
    CHECK_OK(mm_space_adopt(&fx.vmm, &fx.kernel, NULL));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    fixture_activate(1, &fx.kernel);
    fixture_activate(0, &user);
    CHECK(reads(0, image).fault == FAKE_OK && !reads(0, image).global);
    fixture_activate(0, &fx.kernel);
    CHECK(keeps(0, &user));
    CHECK(keeps(0, &fx.kernel));
    CHECK_OK(protect(&fx.kernel, image, K4, MM_PROT_READ));
    CHECK(!keeps(0, &user));
    CHECK_EQ(reads(0, image).fault, FAKE_OK);
    fixture_activate(0, &fx.kernel);
    CHECK_OK(unmap(&fx.kernel, image, K4));
    CHECK(!keeps(0, &user));
    CHECK_EQ(reads(0, image).fault, FAKE_NOT_PRESENT);
    spaces_end();
}

/* ---- another space in the place of one ---- */

TEST(nothing_is_kept_of_a_space_whose_struct_is_another_one)
{
    for (unsigned i = 0; i < 2; i++) {
        mm_phys_t root;

        mm_test_row("with another root", i);
        fake_reset();
        spaces_start(2);
        root = user.root;
        used_and_left(1, &user, LOW);
        CHECK_OK(mm_space_destroy(&user));
        if (i == 1) { /* takes the root's frame, which was freed last */
            CHECK_OK(mm_space_destroy(&other));
            CHECK_OK(mm_space_create(&fx.vmm, &other, 0));
        }
        CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
        CHECK_EQ(i == 0, user.root.raw == root.raw);
        CHECK(!keeps(1, &user));
        CHECK_EQ(reads(1, LOW).fault, FAKE_NOT_PRESENT);
        CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
        CHECK_EQ(reads(1, LOW).phys.raw, DATA);
        spaces_end();
    }
}

/* Whatever the number of flushes of each. */
TEST(a_space_in_the_place_of_another_never_comes_to_a_generation_of_that)
{
    for (unsigned flushes = 0; flushes < 12; flushes++) {
        mm_test_row("flushes", flushes);
        fake_reset();
        spaces_start(2);
        for (unsigned i = 0; i < 5; i++) {
            CHECK_OK(unmap(&user, LOW + K4, K4));
            CHECK_OK(map(&user, LOW + K4, DATA, K4, MM_PROT_RW));
        }
        used_and_left(1, &user, LOW);
        CHECK_OK(mm_space_destroy(&user));
        CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
        for (unsigned i = 0; i < flushes; i++) {
            CHECK_OK(map(&user, LOW + K4, DATA, K4, MM_PROT_RW));
            CHECK_OK(unmap(&user, LOW + K4, K4));
        }
        CHECK(!keeps(1, &user));
        CHECK_EQ(reads(1, LOW).fault, FAKE_NOT_PRESENT);
        spaces_end();
    }
}
