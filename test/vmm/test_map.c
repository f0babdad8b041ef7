/*
 * test_map.c - mapping: which pages are chosen, what is refused, and that a refusal changes
 * nothing.
 */
#include "vmm_fixture.h"

static struct mm_translation at(struct mm_space *space, uint64_t virt)
{
    struct mm_translation got;

    CHECK_OK(mm_space_translate(space, mm_virt(virt), &got, NULL));
    return got;
}

/* ---- sizes ---- */

/* virt and phys offsets from a 1 GiB boundary, bytes, and the leaves that come out. */
struct size_row {
    uint64_t virt, phys, bytes;
    uint32_t flags;
    uint64_t leaf_1g, leaf_2m, leaf_4k;
};

static const struct size_row size_rows[] = {
    {0, 0, K4, 0, 0, 0, 1},
    {0, 0, M2 - K4, 0, 0, 0, 511},
    {0, 0, M2, 0, 0, 1, 0},
    {0, 0, M2 + K4, 0, 0, 1, 1},
    {0, 0, M2, MM_MAP_SMALL, 0, 0, 512},
    {K4, K4, M2, 0, 0, 0, 512},
    {K4, K4, 2 * M2, 0, 0, 1, 512},
    {0, K4, M2, 0, 0, 0, 512},
    {K4, 0, M2, 0, 0, 0, 512},
    {0, M2, GIB, 0, 0, 512, 0},
    {0, 0, GIB - K4, 0, 0, 511, 511},
    {0, 0, GIB, 0, 1, 0, 0},
    {0, 0, GIB + M2 + K4, 0, 1, 1, 1},
    {GIB - M2 - K4, GIB - M2 - K4, GIB + 2 * (M2 + K4), 0, 1, 2, 2},
    {GIB - K4, 2 * GIB - K4, 2 * K4, 0, 0, 0, 2},
    {0, 4 * GIB - M2, 2 * M2, 0, 0, 2, 0},
};
#define SIZE_ROWS (sizeof size_rows / sizeof size_rows[0])

static void check_sizes(uint64_t base, bool one_gib)
{
    for (unsigned i = 0; i < SIZE_ROWS; i++) {
        const struct size_row *row = &size_rows[i];
        struct mm_map_request request =
            request_of(base + row->virt, 8 * GIB + row->phys, row->bytes, MM_PROT_RW);
        struct mm_space_stats stats;

        mm_test_row("size", i);
        request.flags = row->flags;
        CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
        mm_space_get_stats(&fx.kernel, &stats);
        CHECK_EQ(stats.leaf_1g, one_gib ? row->leaf_1g : 0);
        CHECK_EQ(stats.leaf_2m, row->leaf_2m + (one_gib ? 0 : 512 * row->leaf_1g));
        CHECK_EQ(stats.leaf_4k, row->leaf_4k);
        CHECK_EQ(stats.mapped_frames, row->bytes / K4);
        CHECK_EQ(at(&fx.kernel, base + row->virt).phys.raw, 8 * GIB + row->phys);
        CHECK_EQ(at(&fx.kernel, base + row->virt + row->bytes - 1).phys.raw,
                 8 * GIB + row->phys + row->bytes - 1);
        CHECK_EQ(space_faults(&fx.kernel), 0);
        CHECK_OK(unmap(&fx.kernel, base + row->virt, row->bytes));
    }
    fixture_sound(&fx.kernel);
}

TEST(map_uses_the_largest_pages_that_addresses_and_length_allow)
{
    fixture_start(4, true, 1);
    check_sizes(LOW, true);
    check_sizes(HIGH, true);
}

TEST(map_without_1g_pages_in_the_cpu_uses_2m_pages)
{
    fixture_start(5, false, 1);
    check_sizes(LOW, false);
}

TEST(map_of_exactly_4_gib_and_512_gib_maps_all_of_it)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, 0, 4 * GIB, MM_PROT_RW));
    CHECK_EQ(at(&fx.kernel, LOW + 4 * GIB - 1).phys.raw, 4 * GIB - 1);
    CHECK_OK(map(&fx.kernel, HIGH, 0, 512 * GIB, MM_PROT_RW));
    CHECK_EQ(at(&fx.kernel, HIGH + 512 * GIB - 1).phys.raw, 512 * GIB - 1);
    CHECK_EQ(fake_probe(mm_virt(HIGH + 511 * GIB)).phys.raw, 511 * GIB);
    fixture_sound(&fx.kernel);
}

/* ---- endpoints ---- */

#define TOP4  UINT64_C(0x0000800000000000) /* end of the lower half with 4 levels */
#define HIGH4 UINT64_C(0xffff800000000000)
#define TOP5  UINT64_C(0x0100000000000000)
#define HIGH5 UINT64_C(0xff00000000000000)
#define PHYS  (UINT64_C(1) << 46)

struct endpoint_row {
    uint64_t virt, phys, bytes;
    enum mm_err err4, err5; /* with 4 and with 5 levels */
};

static const struct endpoint_row endpoint_rows[] = {
    {LOW, 0, 0, MM_ERR_BAD_ARG, MM_ERR_BAD_ARG},
    {LOW, 0, 1, MM_ERR_BAD_ARG, MM_ERR_BAD_ARG},
    {LOW + 1, 0, K4, MM_ERR_BAD_ARG, MM_ERR_BAD_ARG},
    {LOW, 1, K4, MM_ERR_BAD_ARG, MM_ERR_BAD_ARG},
    {LOW, 0x800, K4, MM_ERR_BAD_ARG, MM_ERR_BAD_ARG},
    {LOW, 0, K4 + 1, MM_ERR_BAD_ARG, MM_ERR_BAD_ARG},
    {LOW, 0, UINT64_MAX, MM_ERR_BAD_ARG, MM_ERR_BAD_ARG},
    /* the end of the address space */
    {0 - K4, 0, K4, MM_OK, MM_OK},
    {0 - M2, 0, M2, MM_OK, MM_OK},
    {0 - GIB, 0, GIB, MM_OK, MM_OK},
    {0 - K4, 0, 2 * K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {K4, 0, 0 - K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {K4, 0, 0 - 2 * K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {LOW, 0, 0 - K4, MM_ERR_RANGE, MM_ERR_RANGE},
    /* the hole */
    {TOP4 - K4, 0, K4, MM_OK, MM_OK},
    {TOP4 - K4, 0, 2 * K4, MM_ERR_RANGE, MM_OK},
    {TOP4, 0, K4, MM_ERR_RANGE, MM_OK},
    {HIGH4 - K4, 0, K4, MM_ERR_RANGE, MM_OK},
    {HIGH4 - K4, 0, 2 * K4, MM_ERR_RANGE, MM_OK},
    {HIGH4, 0, K4, MM_OK, MM_OK},
    {TOP4 - K4, 0, HIGH4 - TOP4 + 2 * K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {TOP5 - K4, 0, K4, MM_ERR_RANGE, MM_OK},
    {TOP5 - K4, 0, 2 * K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {HIGH5 - K4, 0, 2 * K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {HIGH5, 0, K4, MM_ERR_RANGE, MM_OK},
    {UINT64_C(1) << 62, 0, K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {UINT64_C(1) << 63, 0, K4, MM_ERR_RANGE, MM_ERR_RANGE},
    /* physical: 46 bits */
    {LOW, PHYS - K4, K4, MM_OK, MM_OK},
    {LOW, PHYS - K4, 2 * K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {LOW, PHYS, K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {LOW, PHYS - GIB, GIB, MM_OK, MM_OK},
    {LOW, UINT64_C(1) << 52, K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {LOW, (UINT64_C(1) << 52) - K4, K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {LOW, 0 - K4, K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {LOW, 0 - K4, 2 * K4, MM_ERR_RANGE, MM_ERR_RANGE},
    {LOW, 0, K4, MM_OK, MM_OK},
    /* address 0 */
    {0, 0, K4, MM_ERR_POLICY, MM_ERR_POLICY},
    {0, 0, M2, MM_ERR_POLICY, MM_ERR_POLICY},
    {K4, 0, K4, MM_OK, MM_OK},
};

static void check_endpoints(unsigned levels)
{
    struct state before, after;

    fixture_start(levels, true, 1);
    before = state_of(&fx.kernel);
    for (unsigned i = 0; i < sizeof endpoint_rows / sizeof endpoint_rows[0]; i++) {
        const struct endpoint_row *row = &endpoint_rows[i];
        struct mm_map_request request = request_of(row->virt, row->phys, row->bytes, MM_PROT_RW);
        struct mm_space_fail why = {.err = MM_OK};
        enum mm_err expected = levels == 4 ? row->err4 : row->err5;

        mm_test_row("endpoint", i);
        CHECK_ERR(mm_space_map(&fx.kernel, &request, &why), expected);
        CHECK_EQ(why.err, expected);
        if (expected == MM_OK) {
            CHECK_EQ(at(&fx.kernel, row->virt + row->bytes - 1).phys.raw,
                     row->phys + row->bytes - 1);
            CHECK_OK(unmap(&fx.kernel, row->virt, row->bytes));
        } else {
            CHECK_EQ(why.virt.raw, row->virt);
        }
        after = state_of(&fx.kernel);
        check_same_state(&before, &after);
    }
    fixture_sound(&fx.kernel);
}

TEST(map_checks_both_ends_of_its_ranges_with_4_levels)
{
    check_endpoints(4);
}

TEST(map_checks_both_ends_of_its_ranges_with_5_levels)
{
    check_endpoints(5);
}

/* ---- what is mapped already ---- */

/* Existing: 16 pages at LOW + 1 MiB. Each new range meets some of it. */
static const struct {
    uint64_t first, pages, where; /* in pages from the existing start; where the conflict is */
} overlap_rows[] = {
    {0, 16, 0}, {0, 1, 0}, {15, 1, 15}, {4, 4, 4}, {15, 16, 15}, {16 - 1, 600, 15},
};

TEST(map_over_something_mapped_is_refused_and_says_where)
{
    const uint64_t base = LOW + MIB;
    struct state before, after;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, base, 64 * MIB, 16 * K4, MM_PROT_READ));
    before = state_of(&fx.kernel);
    for (unsigned i = 0; i < sizeof overlap_rows / sizeof overlap_rows[0]; i++) {
        struct mm_map_request request = request_of(base + overlap_rows[i].first * K4, GIB,
                                                   overlap_rows[i].pages * K4, MM_PROT_RW);
        struct mm_space_fail why;

        mm_test_row("overlap", i);
        CHECK_ERR(mm_space_map(&fx.kernel, &request, &why), MM_ERR_EXISTS);
        CHECK_EQ(why.virt.raw, base + overlap_rows[i].where * K4);
        CHECK_EQ(why.level, 1);
        CHECK_EQ(why.err, MM_ERR_EXISTS);
        CHECK_EQ(why.entry & UINT64_C(0x000ffffffffff001),
                 (64 * MIB + overlap_rows[i].where * K4) | 1);
        after = state_of(&fx.kernel);
        check_same_state(&before, &after);
    }
    CHECK_ERR(map(&fx.kernel, base - K4, GIB, 2 * K4, MM_PROT_RW), MM_ERR_EXISTS);
    CHECK_ERR(map(&fx.kernel, base - K4, GIB, 32 * K4, MM_PROT_RW), MM_ERR_EXISTS);
    CHECK_ERR(map(&fx.kernel, LOW, GIB, GIB, MM_PROT_RW), MM_ERR_EXISTS);
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
    CHECK_OK(map(&fx.kernel, base - K4, GIB, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, base + 16 * K4, GIB, K4, MM_PROT_RW));
    fixture_sound(&fx.kernel);
}

TEST(map_inside_a_large_page_is_refused_at_the_level_of_that_page)
{
    struct mm_map_request request = request_of(LOW + 5 * M2, GIB, K4, MM_PROT_RW);
    struct mm_space_fail why;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, 2 * GIB, GIB, MM_PROT_READ));
    CHECK_ERR(mm_space_map(&fx.kernel, &request, &why), MM_ERR_EXISTS);
    CHECK_EQ(why.level, 3);
    CHECK_EQ(why.virt.raw, LOW + 5 * M2);
    CHECK_EQ(why.entry & UINT64_C(0x000fffffc0000081), 2 * GIB | 0x81);
    fixture_sound(&fx.kernel);
}

TEST(map_after_unmapping_small_pages_uses_a_large_page_again)
{
    struct mm_space_stats stats;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, K4, GIB, MM_PROT_RW)); /* misaligned: all small */
    CHECK_OK(unmap(&fx.kernel, LOW, GIB));
    CHECK_OK(map(&fx.kernel, LOW, GIB, GIB, MM_PROT_RW));
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.leaf_1g, 1);
    CHECK_EQ(stats.leaf_4k + stats.leaf_2m, 0);
    fixture_sound(&fx.kernel);
}

/* ---- rules ---- */

struct rule_row {
    uint64_t virt;
    uint32_t prot, flags;
    unsigned type;
    enum mm_err err;
};

static const struct rule_row rule_rows[] = {
    {LOW, MM_PROT_NONE, 0, 0, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_WRITE, 0, 0, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_READ | 16, 0, 0, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_READ, 32, 0, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_READ, 0, 6, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_READ, 0, 0x80000000u, MM_ERR_BAD_ARG},
    {LOW, MM_PROT_READ, MM_MAP_OWNED, 0, MM_ERR_UNSUPPORTED},
    {LOW, MM_PROT_READ, MM_MAP_REPLACE, 0, MM_ERR_UNSUPPORTED},
    {LOW, MM_PROT_RW | MM_PROT_EXEC, 0, 0, MM_ERR_POLICY},
    {LOW, MM_PROT_RW | MM_PROT_EXEC, MM_MAP_WX, 0, MM_OK},
    {HIGH, MM_PROT_RW | MM_PROT_USER, 0, 0, MM_ERR_POLICY},
    {LOW, MM_PROT_RW | MM_PROT_USER, 0, 0, MM_OK},
    {0, MM_PROT_READ, 0, 0, MM_ERR_POLICY},
    {0, MM_PROT_READ, MM_MAP_NULL, 0, MM_OK},
    {LOW, MM_PROT_READ, MM_MAP_SMALL | MM_MAP_WX | MM_MAP_NULL, MM_MEMTYPE_WC, MM_OK},
};

TEST(map_refuses_what_the_rules_forbid)
{
    fixture_start(4, true, 1);
    for (unsigned i = 0; i < sizeof rule_rows / sizeof rule_rows[0]; i++) {
        const struct rule_row *row = &rule_rows[i];
        struct mm_map_request request = request_of(row->virt, GIB, K4, row->prot);

        mm_test_row("rule", i);
        request.flags = row->flags;
        request.type = (enum mm_memtype)row->type;
        CHECK_ERR(mm_space_map(&fx.kernel, &request, NULL), row->err);
        if (row->err == MM_OK) {
            CHECK_EQ(at(&fx.kernel, row->virt).prot, row->prot);
            CHECK_OK(unmap(&fx.kernel, row->virt, K4));
        }
    }
    fixture_sound(&fx.kernel);
}

TEST(map_of_each_memory_type_reaches_the_cpu_as_that_type_in_each_page_size)
{
    static const uint64_t bytes[] = {K4, M2, GIB};

    fixture_start(4, true, 1);
    for (unsigned size = 0; size < 3; size++) {
        for (unsigned type = MM_MEMTYPE_WB; type <= MM_MEMTYPE_WC; type++) {
            struct mm_map_request request = request_of(HIGH, GIB, bytes[size], MM_PROT_RW);
            struct fake_access got;

            request.type = (enum mm_memtype)type;
            CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
            got = fake_read64(mm_virt(HIGH + bytes[size] - 8));
            CHECK_EQ(got.fault, FAKE_OK);
            CHECK_EQ(got.type, type);
            CHECK_EQ(got.level, size + 1);
            CHECK_EQ(got.phys.raw, GIB + bytes[size] - 8);
            CHECK_EQ(at(&fx.kernel, HIGH).type, type);
            CHECK_OK(unmap(&fx.kernel, HIGH, bytes[size]));
        }
    }
    fixture_sound(&fx.kernel);
}

TEST(map_of_combining_types_on_a_cpu_without_them_is_unsupported)
{
    struct mm_map_request request = request_of(LOW, GIB, K4, MM_PROT_RW);

    for (unsigned i = 0; i < FAKE_CPUS_MAX; i++)
        fake_cpu(i)->has_pat = false;
    fixture_start(4, true, 1);
    request.type = MM_MEMTYPE_WC;
    CHECK_ERR(mm_space_map(&fx.kernel, &request, NULL), MM_ERR_UNSUPPORTED);
    request.type = MM_MEMTYPE_WP;
    CHECK_ERR(mm_space_map(&fx.kernel, &request, NULL), MM_ERR_UNSUPPORTED);
    request.type = MM_MEMTYPE_UC;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    fixture_sound(&fx.kernel);
}

TEST(a_user_page_beside_a_kernel_page_in_the_lower_half_works)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + K4, DATA, K4, MM_PROT_RW | MM_PROT_USER));
    fake_user(true);
    CHECK_EQ(fake_read64(mm_virt(LOW)).fault, FAKE_USER_DENIED);
    CHECK_EQ(fake_read64(mm_virt(LOW + K4)).fault, FAKE_OK);
    fake_user(false);
    CHECK_EQ(fake_read64(mm_virt(LOW)).fault, FAKE_OK);
    fixture_sound(&fx.kernel);
}

TEST(pages_of_the_kernel_half_are_global_and_of_the_lower_half_are_not)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    CHECK(!fake_read64(mm_virt(LOW)).global);
    CHECK(fake_read64(mm_virt(HIGH)).global);
    fixture_sound(&fx.kernel);
}

/* ---- tables ---- */

TEST(map_stops_at_the_limit_of_tables_and_changes_nothing)
{
    struct mm_map_request request = request_of(LOW, K4, 4 * M2, MM_PROT_RW);
    struct mm_space_stats stats;
    struct mm_space_fail why;
    struct state before, after;

    fixture_start(4, true, 1);
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_ERR(mm_space_set_limit(&fx.kernel, stats.tables - 1), MM_ERR_LIMIT);
    CHECK_OK(mm_space_set_limit(&fx.kernel, stats.tables + 5)); /* 2 + 4 are needed */
    before = state_of(&fx.kernel);
    CHECK_ERR(mm_space_map(&fx.kernel, &request, &why), MM_ERR_LIMIT);
    CHECK_EQ(why.err, MM_ERR_LIMIT);
    CHECK_EQ(why.virt.raw, LOW);
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
    CHECK_OK(mm_space_set_limit(&fx.kernel, stats.tables + 6));
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    CHECK_OK(mm_space_set_limit(&fx.kernel, 0));
    fixture_sound(&fx.kernel);
}

static void sweep_map(const struct mm_map_request *request, bool forever)
{
    uint64_t needed, k;

    for (k = 0;; k++) {
        struct state before = state_of(&fx.kernel), after;
        struct mm_space_fail why = {.err = MM_OK};
        enum mm_err err;

        mm_test_row("allocation", k);
        fx.frames.fail_after = (int64_t)k;
        needed = fx.frames.allocs;
        err = mm_space_map(&fx.kernel, request, &why);
        needed = fx.frames.allocs - needed;
        if (forever && err != MM_OK) { /* a second try with nothing left fails alike */
            fx.frames.empty = true;
            CHECK_ERR(mm_space_map(&fx.kernel, request, NULL), MM_ERR_NO_MEMORY);
            fx.frames.empty = false;
        }
        fx.frames.fail_after = -1;
        if (err == MM_OK)
            break;
        CHECK_EQ(err, MM_ERR_NO_MEMORY);
        CHECK_EQ(why.err, MM_ERR_NO_MEMORY);
        after = state_of(&fx.kernel);
        check_same_state(&before, &after);
        CHECK_EQ(space_faults(&fx.kernel), 0);
    }
    CHECK_EQ(needed, k);
    CHECK(k > 0);
    CHECK_OK(unmap(&fx.kernel, request->virt.raw, request->bytes));
    fixture_sound(&fx.kernel);
}

TEST(map_changes_nothing_whichever_table_cannot_be_had)
{
    struct mm_map_request request;

    fixture_start(4, true, 2);
    request = request_of(LOW - 3 * M2 - K4, 8 * GIB - 3 * M2 - K4, 6 * M2 + 2 * K4, MM_PROT_RW);
    sweep_map(&request, false);
    sweep_map(&request, true);
    request = request_of(HIGH - 2 * M2, 8 * GIB + K4, 5 * M2, MM_PROT_RW);
    sweep_map(&request, false);
    sweep_map(&request, true);
}

/* A frame of the source that the window does not show is given back. */
TEST(map_with_a_table_outside_the_window_is_refused)
{
    struct mm_window half = MM_ZERO;
    struct state before, after;
    void *pointer;

    fixture_start(4, true, 1);
    CHECK_OK(mm_window_find(fake_window(), mm_phys(RAM_START), K4, &pointer));
    CHECK_OK(mm_window_add(&half, mm_phys(RAM_START), fx.frames.used * K4 + K4,
                           mm_virt_of(pointer))); /* one free frame */
    mm_vmm_set_window(&fx.vmm, &half);
    before = state_of(&fx.kernel);
    CHECK_ERR(map(&fx.kernel, LOW, GIB, K4, MM_PROT_RW), MM_ERR_WINDOW);
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
    mm_vmm_set_window(&fx.vmm, fake_window());
    CHECK_OK(map(&fx.kernel, LOW, GIB, K4, MM_PROT_RW));
    fixture_sound(&fx.kernel);
}

TEST(map_of_what_was_not_present_flushes_nothing)
{
    struct fake_counts before, after;

    fixture_start(4, true, 4);
    for (unsigned i = 0; i < 4; i++) {
        fake_cpu_set(i);
        CHECK_EQ(fake_read64(mm_virt(LOW)).fault, FAKE_NOT_PRESENT);
    }
    fake_cpu_set(0);
    before = fake_counts();
    CHECK_OK(map(&fx.kernel, LOW, GIB, 700 * K4, MM_PROT_RW));
    after = fake_counts();
    CHECK_EQ(after.flush_page + after.flush_space + after.flush_all,
             before.flush_page + before.flush_space + before.flush_all);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    for (unsigned i = 0; i < 4; i++) {
        fake_cpu_set(i);
        CHECK_EQ(fake_read64(mm_virt(LOW)).phys.raw, GIB);
    }
    fake_cpu_set(0);
    fixture_sound(&fx.kernel);
}

/* A walker at every store sees nothing or the whole page, never a table that is not filled: the
 * machine fails when it is led astray by the poison in fresh frames. */
TEST(map_links_tables_only_when_they_are_filled)
{
    fixture_start(4, true, 2);
    fake_watch(mm_virt(LOW), FAKE_WATCH_READ);
    fake_watch(mm_virt(LOW + M2), FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    fake_watch(mm_virt(LOW + 20 * M2), FAKE_WATCH_READ);
    CHECK_OK(map(&fx.kernel, LOW, 9 * GIB + K4, M2 + 5 * K4, MM_PROT_RW));
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK(at(&fx.kernel, LOW).accessed);
    CHECK(!at(&fx.kernel, LOW).dirty);
    CHECK(at(&fx.kernel, LOW + M2).dirty);
    fixture_sound(&fx.kernel);
}

/* Two pages over a border of tables, of which the second table is there and was used last. */
TEST(map_over_a_border_next_to_the_table_that_was_used_last_maps_both_pages)
{
    const uint64_t border = LOW + 2 * GIB;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, border + K4, DATA, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, border - K4, GIB, 2 * K4, MM_PROT_RW));
    CHECK_EQ(at(&fx.kernel, border - K4).phys.raw, GIB);
    CHECK_EQ(at(&fx.kernel, border).phys.raw, GIB + K4);
    fixture_sound(&fx.kernel);
}
