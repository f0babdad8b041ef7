/*
 * test_damage.c - entries that a wild write left: refused, reported once, followed by nobody.
 *
 *     LOW          4 KiB page (level 1)
 *     LOW + GIB    2 MiB page (level 2)
 *     LOW + 2 GIB  1 GiB page (level 3)
 *
 * Tables are found as raw memory: address in bits 12 to 51.
 */
#include "vmm_fixture.h"

#include "mm_mmu.h"

#define ADDRESS UINT64_C(0x000ffffffffff000)
#define AREA    (3 * GIB) /* of all three pages */

static void damage_start(unsigned levels)
{
    fixture_start(levels, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + GIB, DATA, M2, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + 2 * GIB, DATA, GIB, MM_PROT_RW));
}

static uint64_t *entry_at(struct mm_space *space, uint64_t virt, unsigned level)
{
    uint64_t table = space->root.raw;

    for (unsigned at = fx.levels;; at--) {
        uint64_t *entry = fake_ram(mm_phys(table), K4);

        CHECK(entry != NULL);
        entry += virt >> (12 + 9 * (at - 1)) & 511;
        if (at == level)
            return entry;
        table = *entry & ADDRESS;
    }
}

static const struct {
    uint64_t virt;
    unsigned levels, level;
    uint64_t set; /* bits, in the entry of `level` */
} damage_rows[] = {
    {LOW, 4, 4, 0x80},                        /* PS in a PML4E */
    {LOW, 5, 4, 0x80},                        /* with 5 levels */
    {LOW, 5, 5, 0x80},                        /* PS in a PML5E */
    {LOW, 4, 1, UINT64_C(1) << 51},           /* beyond the physical width, 46 bits */
    {LOW, 4, 2, UINT64_C(1) << 46},           /* of a table */
    {LOW, 4, 3, UINT64_C(1) << 50},           /* of a table */
    {LOW + GIB, 4, 2, UINT64_C(1) << 13},     /* below the address of a 2 MiB page */
    {LOW + 2 * GIB, 4, 3, UINT64_C(1) << 29}, /* below the address of a 1 GiB page */
};

#define DAMAGE_ROWS (sizeof damage_rows / sizeof damage_rows[0])

/* Said with the place in `why`, and once to the host. */
static void check_said(const struct mm_space_fail *why, unsigned row, uint64_t entry,
                       const char *where)
{
    CHECK_EQ(why->err, MM_ERR_CORRUPT);
    CHECK_EQ(why->level, damage_rows[row].level);
    CHECK_EQ(why->entry, entry);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(mm_test_report(0)->kind, MM_REPORT_CORRUPT);
    CHECK_EQ(mm_test_report(0)->address, why->virt.raw);
    CHECK(strcmp(mm_test_report(0)->where, where) == 0);
    mm_test_reports_clear();
}

TEST(calls_on_a_range_refuse_a_damaged_entry_and_change_nothing)
{
    for (unsigned i = 0; i < DAMAGE_ROWS; i++) {
        struct mm_map_request request = request_of(damage_rows[i].virt, DATA, K4, MM_PROT_RW);
        mm_virt_t first = mm_virt(LOW), cursor = mm_virt(damage_rows[i].virt);
        struct state before, after;
        struct mm_space_fail why;
        struct mm_space_run run;
        uint64_t *entry, good;

        mm_test_row("damage", i);
        fake_reset();
        damage_start(damage_rows[i].levels);
        entry = entry_at(&fx.kernel, damage_rows[i].virt, damage_rows[i].level);
        good = *entry;
        before = state_of(&fx.kernel);
        *entry |= damage_rows[i].set;
        /* at release, leaf tables that go whole are not looked at */
        if (MM_LEVEL != MM_LEVEL_RELEASE || damage_rows[i].level > 1) {
            CHECK_ERR(mm_space_unmap(&fx.kernel, first, AREA, MM_RANGE_HOLES, NULL, &why),
                      MM_ERR_CORRUPT);
            check_said(&why, i, *entry, "mm_space_unmap");
        }
        CHECK_ERR(
            mm_space_protect(&fx.kernel, first, AREA, MM_PROT_READ, MM_RANGE_HOLES, NULL, &why),
            MM_ERR_CORRUPT);
        check_said(&why, i, *entry, "mm_space_protect");
        CHECK_ERR(mm_space_map(&fx.kernel, &request, &why), MM_ERR_CORRUPT);
        check_said(&why, i, *entry, "mm_space_map");
        CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run), MM_ERR_CORRUPT);
        CHECK_EQ(cursor.raw, damage_rows[i].virt);
        check_said(&why, i, *entry, "mm_space_query");
        CHECK_ERR(unmap(&fx.kernel, damage_rows[i].virt, K4), MM_ERR_CORRUPT); /* no record */
        CHECK_EQ(mm_test_report_count(), 1);
        mm_test_reports_clear();
        CHECK(mm_space_check(&fx.kernel, NULL) > 0);
        *entry = good;
        after = state_of(&fx.kernel);
        check_same_state(&before, &after);
        fixture_sound(&fx.kernel);
    }
}

TEST(lock_free_reads_find_nothing_at_a_damaged_entry)
{
    for (unsigned i = 0; i < DAMAGE_ROWS; i++) {
        mm_virt_t virt = mm_virt(damage_rows[i].virt);
        struct mm_walk_step steps[MM_WALK_STEPS];
        const struct mm_walk_step *end;
        struct mm_translation got;
        struct mm_space_fail why;
        unsigned count;
        char line[120];
        uint64_t *entry;

        mm_test_row("damage", i);
        fake_reset();
        damage_start(damage_rows[i].levels);
        entry = entry_at(&fx.kernel, virt.raw, damage_rows[i].level);
        *entry |= damage_rows[i].set;
        mm_mmu_flush_all(); /* walkers had it cached as it was */
        CHECK_EQ(fake_read64(virt).fault, FAKE_RESERVED);
        CHECK_ERR(mm_space_translate(&fx.kernel, virt, &got, &why), MM_ERR_NOT_FOUND);
        CHECK_EQ(why.level, damage_rows[i].level);
        CHECK_EQ(why.entry, *entry);
        count = mm_space_walk(&fx.kernel, virt, steps);
        CHECK_EQ(count, damage_rows[i].levels + 1 - damage_rows[i].level);
        end = &steps[count - 1];
        CHECK_EQ(end->entry, *entry);
        CHECK_EQ(end->prot, MM_PROT_NONE);
        CHECK_EQ(end->leaf, 0);
        CHECK_EQ(end->to.raw, 0);
        mm_walk_format(line, sizeof line, end);
        CHECK(strstr(line, "-> nothing, reserved bits are set") != NULL);
    }
}

TEST(a_query_returns_the_run_before_a_damaged_entry_first)
{
    mm_virt_t cursor = mm_virt(LOW);
    struct mm_space_run run;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 8 * K4, MM_PROT_RW));
    *entry_at(&fx.kernel, LOW + 3 * K4, 1) |= UINT64_C(1) << 51;
    CHECK_OK(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run));
    CHECK_EQ(run.bytes, 3 * K4);
    CHECK_EQ(cursor.raw, LOW + 3 * K4);
    CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run), MM_ERR_CORRUPT);
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
    cursor = mm_virt(LOW + 4 * K4);
    CHECK_OK(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run));
    CHECK_EQ(run.bytes, 4 * K4);
}

/* The hardware has no 1 GiB pages, and somebody wrote one. */
TEST(a_page_of_a_size_that_the_cpu_lacks_is_damage)
{
    fixture_start(4, false, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    *entry_at(&fx.kernel, LOW + GIB, 3) = 4 * GIB | 0x83;
    CHECK_ERR(unmap(&fx.kernel, LOW + GIB, GIB), MM_ERR_CORRUPT);
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
    CHECK(mm_space_check(&fx.kernel, NULL) > 0);
    CHECK_OK(unmap(&fx.kernel, LOW, K4));
}

/* The wild write comes while unmap waits for the flush of a split: some of the work is done. */
static bool overwrite(void *arg, unsigned cpu)
{
    (void)cpu;
    *(uint64_t *)arg |= UINT64_C(1) << 51;
    return true;
}

TEST(damage_that_comes_during_unmap_is_said_with_what_is_done)
{
    struct mm_space_fail why;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 2 * M2, MM_PROT_RW));
    CHECK_OK(unmap(&fx.kernel, LOW + M2, K4)); /* 4 KiB pages there */
    mm_test_shootdown_hook(overwrite, entry_at(&fx.kernel, LOW + M2 + 9 * K4, 1));
    CHECK_ERR(
        mm_space_unmap(&fx.kernel, mm_virt(LOW + K4), 2 * M2 - 2 * K4, MM_RANGE_HOLES, NULL, &why),
        MM_ERR_CORRUPT);
    CHECK_EQ(why.virt.raw, LOW + M2 + 9 * K4);
    mm_test_shootdown_hook(NULL, NULL);
    CHECK_EQ(fake_read64(mm_virt(LOW + M2 + 8 * K4)).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(fake_read64(mm_virt(LOW + M2 + 10 * K4)).fault, FAKE_OK);
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
}

TEST(destroy_loses_what_is_behind_a_damaged_entry_and_says_so)
{
    static const uint64_t wild[] = {0x80, UINT64_C(1) << 50, UINT64_C(0x20000000000)};
    struct mm_space user = MM_ZERO;
    uint32_t used;

    fixture_start(4, true, 1);
    used = fx.frames.used;
    for (unsigned i = 0; i < 3; i++) { /* PS, reserved, a table outside the window */
        mm_test_row("wild write", i);
        CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
        CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
        *entry_at(&user, LOW, 4) |= wild[i];
        CHECK_OK(mm_space_destroy(&user));
        CHECK_EQ(fx.frames.used, used += 3); /* the tables below; the root came back */
        CHECK_EQ(mm_test_report_count(), 1);
        CHECK_EQ(mm_test_report(0)->kind, MM_REPORT_CORRUPT);
        mm_test_reports_clear();
    }
    fixture_sound(&fx.kernel);
}
