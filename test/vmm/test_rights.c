/*
 * test_rights.c - rights over all levels: what the entries of tables grant, and what a page then has.
 *
 * Problem     What a page grants is cut down by every entry above it, which the first mapping below it
 *             made, for other rights than those of its neighbours. And an entry of a table that grants a
 *             user what is the kernel's is one forgotten bit away from a hole.
 * Idea        Pages of all kinds of rights meet in one table of each level, in every order. Entries on
 *             the way to them are read as raw memory and judged by the manual's bits.
 * Invariants  None.
 * Locking     None.
 * Cost        A second under sanitizers.
 * Rejected    None.
 */
#include "vmm_fixture.h"

#include "mm_mmu.h"

#define RIGHTS 8u /* of a leaf: read and any of write, execute, user */

static uint32_t rights_of(unsigned i)
{
    static const uint32_t right[] = {MM_PROT_WRITE, MM_PROT_EXEC, MM_PROT_USER};
    uint32_t prot = MM_PROT_READ;

    for (unsigned bit = 0; bit < 3; bit++)
        prot |= (i >> bit & 1) != 0 ? right[bit] : 0;
    return prot;
}

static bool is_allowed(uint64_t virt, uint32_t prot)
{
    return virt < HIGH || (prot & MM_PROT_USER) == 0;
}

static void map_as(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t prot)
{
    struct mm_map_request request = request_of(virt, phys, bytes, prot);

    request.flags = MM_MAP_WX;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
}

/* For libmm and for a CPU, a page has what it was given, no less and no more. */
static void check_rights(uint64_t virt, uint32_t prot)
{
    struct mm_translation got;
    struct mm_space_run run;
    mm_virt_t cursor = mm_virt(virt);

    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(virt), &got, NULL));
    CHECK_EQ(got.prot, prot);
    CHECK_OK(mm_space_query(&fx.kernel, &cursor, mm_virt(virt + K4), &run));
    CHECK_EQ(run.virt.raw, virt);
    CHECK_EQ(run.prot, prot);
    CHECK_EQ(fake_probe(mm_virt(virt)).prot, prot);
}

/* The first page of a place makes the tables; the second is in the same table of `level`. */
TEST(pages_of_all_rights_share_tables_of_every_level_in_either_order)
{
    static const uint64_t apart[] = {K4, M2, GIB, 512 * GIB};
    static const uint64_t place[] = {LOW + 512 * GIB, HIGH};

    fixture_start(4, true, 2);
    for (unsigned row = 0; row < 2 * 4 * RIGHTS * RIGHTS; row++) {
        const uint64_t first = place[row / (4 * RIGHTS * RIGHTS)];
        const uint64_t second = first + apart[row / (RIGHTS * RIGHTS) % 4];
        const uint32_t a = rights_of(row / RIGHTS % RIGHTS), b = rights_of(row % RIGHTS);

        mm_test_row("place, level, first, second", row);
        if (!is_allowed(first, a) || !is_allowed(first, b))
            continue;
        map_as(first, DATA, K4, a);
        map_as(second, DATA + K4, K4, b);
        check_rights(first, a);
        check_rights(second, b);
        CHECK_OK(unmap(&fx.kernel, first, K4)); /* and the tables of the second stay as they are */
        check_rights(second, b);
        CHECK_OK(unmap(&fx.kernel, second, K4));
    }
    fixture_sound(&fx.kernel);
}

/* ---- entries that lead to tables ---- */

/*
 * Each entry on the way to `virt` but the last, by the bits of the manual (SDM vol. 3A, tables 4-14 to
 * 4-19): P and W, U in the lower half only; PS, G (reserved on CPUs of AMD) and XD clear.
 */
static void check_way(uint64_t virt, unsigned leaf_level)
{
    const uint64_t fixed = UINT64_C(0x8000000000000187);
    const uint64_t right = virt >> 63 != 0 ? 0x3 : 0x7;
    struct mm_walk_step step[MM_WALK_STEPS];
    unsigned count = mm_space_walk(&fx.kernel, mm_virt(virt), step);

    CHECK_EQ(count, fx.levels - leaf_level + 1);
    for (unsigned i = 0; i + 1 < count; i++) {
        const uint64_t *table = (const uint64_t *)fake_ram(step[i].table, K4);

        mm_test_row("level", fx.levels - i);
        CHECK_EQ(table[step[i].index] & fixed, right);
    }
}

static void check_ways(unsigned levels)
{
    static const uint64_t place[] = {LOW, HIGH, MM_PORT_KERNEL_AREA, 0 - GIB};

    fixture_start(levels, true, 2);
    for (unsigned i = 0; i < sizeof place / sizeof place[0]; i++) {
        const uint64_t at = place[i];
        const uint32_t few = MM_PROT_READ | (at < HIGH ? MM_PROT_USER : 0);

        map_as(at, DATA, GIB, few); /* made by a map, ... */
        check_way(at, 3);
        CHECK_OK(unmap(&fx.kernel, at, K4)); /* ... by a split of 1 GiB, and of 2 MiB, ... */
        check_way(at + K4, 1);
        check_way(at + M2, 2);
        map_as(at, DATA, K4, few);
        check_way(at, 1);
        CHECK_OK(protect(&fx.kernel, at, GIB, MM_PROT_RX)); /* ... and left alone by a protect */
        check_way(at, 1);
        check_way(at + M2, 2);
        CHECK_OK(protect(&fx.kernel, at, M2, few));
        check_rights(at, few);
        CHECK_OK(unmap(&fx.kernel, at, GIB));
    }
    fixture_sound(&fx.kernel);
}

TEST(entries_to_tables_are_open_to_users_in_the_lower_half_only_with_4_levels)
{
    check_ways(4);
}

TEST(entries_to_tables_are_open_to_users_in_the_lower_half_only_with_5_levels)
{
    check_ways(5);
}

/* ---- changes of rights ---- */

/* From any rights to any others, in pages of each size: who cached the old ones is flushed if there was
 * one right that the new ones have not, whichever it is. */
TEST(a_change_of_rights_flushes_exactly_when_one_of_them_is_lost)
{
    static const uint64_t size[] = {K4, M2, GIB};

    fixture_start(4, true, 2);
    for (unsigned row = 0; row < 3 * RIGHTS * RIGHTS; row++) {
        const uint64_t bytes = size[row / (RIGHTS * RIGHTS)];
        const uint32_t from = rights_of(row / RIGHTS % RIGHTS), to = rights_of(row % RIGHTS);
        const bool lost = (from & ~to) != 0;
        const uint64_t virt[] = {LOW + bytes - K4};

        mm_test_row("size, from, to", row);
        map_as(LOW, 16 * GIB, bytes, from);
        touch(virt, 1);
        fake_counts_clear();
        CHECK_OK(mm_space_protect(&fx.kernel, mm_virt(LOW), bytes, to, MM_RANGE_WX, NULL, NULL));
        CHECK_EQ(fake_stale_changed(), 0);
        if (bytes == K4 || from == to || lost) /* large ones are flushed whatever changes */
            for (unsigned cpu = 0; cpu < 2; cpu++)
                CHECK_EQ(fake_cpu_counts(cpu).flush_page, lost ? 1 : 0);
        check_rights(LOW, to);
        CHECK_OK(unmap(&fx.kernel, LOW, bytes));
    }
    fixture_sound(&fx.kernel);
}

/* ---- shadow stacks ---- */

/* Present leaves that are dirty (bit 6) and not writable (bit 1): with CET such a page is one of a shadow
 * stack (SDM vol. 1, 17). PS = 7 at levels 2 and 3. */
static unsigned shadow_pages(uint64_t table, unsigned level)
{
    const uint64_t *entry = (const uint64_t *)fake_ram(mm_phys(table), K4);
    unsigned found = 0;

    CHECK(entry != NULL);
    for (unsigned i = 0; i < 512; i++) {
        if ((entry[i] & 1) != 0 && level > 1 && (entry[i] & 0x80) == 0)
            found += shadow_pages(entry[i] & UINT64_C(0x000ffffffffff000), level - 1);
        else
            found += (entry[i] & 0x43) == 0x41 ? 1 : 0;
    }
    return found;
}

#define AREA (4 * M2)

static void change_something(void)
{
    const uint64_t unit = mm_test_below(2) == 0 ? K4 : M2;
    const uint64_t first = mm_test_below(AREA / unit) * unit;
    const uint64_t left = (AREA - first) / unit;
    const uint64_t bytes = (1 + mm_test_below(left < 40 ? left : 40)) * unit;
    const mm_virt_t virt = mm_virt(LOW + first);
    const uint32_t prot = mm_test_below(2) == 0 ? MM_PROT_READ : MM_PROT_RW;
    struct mm_map_request request = request_of(virt.raw, 4 * GIB + first, bytes, prot);
    enum mm_err err = MM_OK; /* something is there, or nothing, as it comes */

    (void)fake_write64(mm_virt(LOW + mm_test_below(AREA / K4) * K4), 1);
    switch (mm_test_below(8)) {
    case 0:
        CHECK_OK(mm_space_unmap(&fx.kernel, virt, bytes, MM_RANGE_HOLES, NULL, NULL));
        break;
    case 1:
        err = mm_space_promote(&fx.kernel, mm_virt(LOW + first / M2 * M2), M2, NULL, NULL);
        break;
    case 2:
        CHECK_OK(mm_space_harvest(&fx.kernel, virt, bytes,
                                  mm_test_below(2) == 0 ? MM_MARK_DIRTY : MM_MARK_ACCESSED, NULL,
                                  NULL, NULL));
        break;
    case 3:
    case 4:
        err = mm_space_map(&fx.kernel, &request, NULL);
        break;
    default:
        CHECK_OK(mm_space_protect(&fx.kernel, virt, bytes, prot, MM_RANGE_HOLES, NULL, NULL));
    }
    CHECK(err == MM_OK || err == MM_ERR_EXISTS || err == MM_ERR_NOT_FOUND);
}

/* CPUs write at the last moment before each store, so there is always a mark to be moved. */
TEST(no_call_leaves_a_page_dirty_that_cannot_be_written)
{
    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, AREA, MM_PROT_RW));
    for (unsigned i = 0; i < 400; i++) {
        mm_test_row("step", i);
        change_something();
        CHECK_EQ(shadow_pages(fx.kernel.root.raw, 4), 0);
        CHECK_EQ(fake_stale_changed(), 0);
    }
    fixture_sound(&fx.kernel);
}
