/*
 * test_unmap.c - taking away: ranges, splits, flushes, who is told, what is freed and when.
 */
#include "vmm_fixture.h"

static struct mm_space_stats stats_of(struct mm_space *space)
{
    struct mm_space_stats stats;

    mm_space_get_stats(space, &stats);
    return stats;
}

/* ---- ranges ---- */

#define TOP  UINT64_C(0x0000800000000000)
#define UPPR UINT64_C(0xffff800000000000)

static const struct {
    uint64_t virt, bytes;
    enum mm_err err;
} endpoint_rows[] = {
    {LOW, 0, MM_ERR_BAD_ARG},          {LOW, 1, MM_ERR_BAD_ARG},
    {LOW + 1, K4, MM_ERR_BAD_ARG},     {LOW, K4 + 1, MM_ERR_BAD_ARG},
    {LOW, UINT64_MAX, MM_ERR_BAD_ARG}, {0 - K4, 2 * K4, MM_ERR_RANGE},
    {LOW, 0 - K4, MM_ERR_RANGE},       {K4, 0 - K4, MM_ERR_RANGE},
    {TOP - K4, 2 * K4, MM_ERR_RANGE},  {TOP, K4, MM_ERR_RANGE},
    {UPPR - K4, 2 * K4, MM_ERR_RANGE}, {TOP - K4, UPPR - TOP + 2 * K4, MM_ERR_RANGE},
    {0 - K4, K4, MM_ERR_NOT_FOUND},    {TOP - K4, K4, MM_ERR_NOT_FOUND},
    {UPPR, K4, MM_ERR_NOT_FOUND},      {0, K4, MM_ERR_NOT_FOUND},
    {0, TOP, MM_ERR_NOT_FOUND},        {UPPR, 0 - UPPR, MM_ERR_NOT_FOUND},
};

TEST(unmap_and_protect_check_both_ends_of_their_ranges)
{
    struct state before, after;

    fixture_start(4, true, 1);
    before = state_of(&fx.kernel);
    for (unsigned i = 0; i < sizeof endpoint_rows / sizeof endpoint_rows[0]; i++) {
        mm_virt_t virt = mm_virt(endpoint_rows[i].virt);
        uint64_t bytes = endpoint_rows[i].bytes;
        enum mm_err holes = endpoint_rows[i].err == MM_ERR_NOT_FOUND ? MM_OK : endpoint_rows[i].err;
        struct mm_space_fail why = {.err = MM_OK};

        mm_test_row("endpoint", i);
        CHECK_ERR(mm_space_unmap(&fx.kernel, virt, bytes, 0, NULL, &why), endpoint_rows[i].err);
        CHECK_EQ(why.err, endpoint_rows[i].err);
        CHECK_EQ(why.virt.raw, virt.raw);
        CHECK_ERR(mm_space_protect(&fx.kernel, virt, bytes, MM_PROT_READ, 0, NULL, NULL),
                  endpoint_rows[i].err);
        CHECK_ERR(mm_space_unmap(&fx.kernel, virt, bytes, MM_RANGE_HOLES, NULL, NULL), holes);
        CHECK_ERR(
            mm_space_protect(&fx.kernel, virt, bytes, MM_PROT_READ, MM_RANGE_HOLES, NULL, NULL),
            holes);
    }
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
    CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(LOW), K4, MM_RANGE_WX, NULL, NULL),
              MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(LOW), K4, 4, NULL, NULL), MM_ERR_BAD_ARG);
    fixture_sound(&fx.kernel);
}

TEST(unmap_of_a_range_with_a_hole_says_where_and_changes_nothing)
{
    struct state before, after;
    struct mm_space_fail why;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, GIB, 700 * K4, MM_PROT_RW));
    CHECK_OK(unmap(&fx.kernel, LOW + 600 * K4, K4));
    before = state_of(&fx.kernel);
    CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(LOW), 700 * K4, 0, NULL, &why), MM_ERR_NOT_FOUND);
    CHECK_EQ(why.virt.raw, LOW + 600 * K4);
    CHECK_EQ(why.level, 1);
    CHECK_EQ(why.entry, 0);
    CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(LOW - K4), 2 * K4, 0, NULL, &why),
              MM_ERR_NOT_FOUND);
    CHECK_EQ(why.virt.raw, LOW - K4);
    CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(LOW + 699 * K4), 2 * K4, 0, NULL, &why),
              MM_ERR_NOT_FOUND);
    CHECK_EQ(why.virt.raw, LOW + 700 * K4);
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), 700 * K4, MM_RANGE_HOLES, NULL, NULL));
    CHECK_EQ(stats_of(&fx.kernel).mapped_frames, 0);
    fixture_sound(&fx.kernel);
}

/* ---- splits ---- */

static const struct {
    uint64_t first, bytes; /* of what is unmapped, from a 1 GiB page at LOW */
    unsigned tables;       /* that the split takes */
} split_rows[] = {
    {0, GIB, 0},           {0, K4, 2},       {GIB - K4, K4, 2},    {0, M2, 1},
    {GIB - M2, M2, 1},     {4 * M2, M2, 1},  {4 * M2 + K4, K4, 2}, {M2 - K4, 2 * K4, 3},
    {K4, GIB - 2 * K4, 3}, {K4, M2 - K4, 2}, {M2, K4, 2},          {K4, M2 - 2 * K4, 2},
};

/* Remove a part of one 1 GiB page; the rest stays as it was, also for a CPU that has the whole
 * page cached. */
static void check_split(uint64_t base, unsigned row)
{
    uint64_t first = split_rows[row].first, end = first + split_rows[row].bytes;
    uint64_t probe[] = {0, first - K4, first, end - K4, end, GIB - K4};
    uint64_t allocs = fx.frames.allocs;
    uint64_t all = base;

    CHECK_OK(map(&fx.kernel, base, 4 * GIB, GIB, MM_PROT_RW));
    allocs = fx.frames.allocs;
    touch(&all, 1);
    CHECK_OK(unmap(&fx.kernel, base + first, end - first));
    CHECK_EQ(fx.frames.allocs - allocs, split_rows[row].tables);
    for (unsigned cpu = 0; cpu < fx.cpus; cpu++) {
        fake_cpu_set(cpu);
        for (unsigned i = 0; i < sizeof probe / sizeof probe[0]; i++) {
            bool gone = probe[i] >= first && probe[i] < end;
            struct fake_access got = fake_read64(mm_virt(base + probe[i]));

            if (probe[i] >= GIB)
                continue;
            CHECK_EQ(got.fault, gone ? FAKE_NOT_PRESENT : FAKE_OK);
            CHECK_EQ(got.phys.raw, gone ? 0 : 4 * GIB + probe[i]);
        }
    }
    fake_cpu_set(0);
    CHECK_EQ(stats_of(&fx.kernel).mapped_frames, (GIB - (end - first)) / K4);
    CHECK_EQ(space_faults(&fx.kernel), 0);
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(base), GIB, MM_RANGE_HOLES, NULL, NULL));
}

TEST(unmap_of_a_part_of_a_large_page_leaves_the_rest)
{
    uint64_t tables;

    fixture_start(4, true, 2);
    tables = stats_of(&fx.kernel).tables;
    for (unsigned i = 0; i < sizeof split_rows / sizeof split_rows[0]; i++) {
        mm_test_row("split", i);
        check_split(LOW, i);
        check_split(HIGH, i);
    }
    CHECK_EQ(stats_of(&fx.kernel).tables, tables);
    fixture_sound(&fx.kernel);
}

TEST(unmap_changes_nothing_whichever_table_for_a_split_cannot_be_had)
{
    struct state before, after;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, 2 * GIB, MM_PROT_RW));
    for (unsigned k = 0; k < 4; k++) {
        for (unsigned call = 0; call < 2; call++) {
            mm_test_row("allocation", 2 * k + call);
            before = state_of(&fx.kernel);
            fx.frames.fail_after = k;
            if (call == 0)
                CHECK_ERR(unmap(&fx.kernel, LOW + K4, 2 * GIB - 2 * K4), MM_ERR_NO_MEMORY);
            else
                CHECK_ERR(protect(&fx.kernel, LOW + K4, 2 * GIB - 2 * K4, MM_PROT_READ),
                          MM_ERR_NO_MEMORY);
            fx.frames.fail_after = -1;
            after = state_of(&fx.kernel);
            check_same_state(&before, &after);
        }
    }
    fx.frames.fail_after = 4;
    CHECK_OK(unmap(&fx.kernel, LOW + K4, 2 * GIB - 2 * K4));
    fx.frames.fail_after = -1;
    fixture_sound(&fx.kernel);
}

TEST(unmap_of_exactly_what_was_mapped_needs_no_memory)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW - M2 - K4, 4 * GIB - M2 - K4, GIB + 2 * M2, MM_PROT_RW));
    fx.frames.empty = true;
    CHECK_OK(unmap(&fx.kernel, LOW - M2 - K4, GIB + 2 * M2));
    fx.frames.empty = false;
    CHECK_EQ(stats_of(&fx.kernel).mapped_frames, 0);
    fixture_sound(&fx.kernel);
}

TEST(a_split_stops_at_the_limit_of_tables)
{
    struct state before, after;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, 4 * GIB, GIB, MM_PROT_RW));
    CHECK_OK(mm_space_set_limit(&fx.kernel, stats_of(&fx.kernel).tables + 1));
    before = state_of(&fx.kernel);
    CHECK_ERR(unmap(&fx.kernel, LOW, K4), MM_ERR_LIMIT);
    CHECK_ERR(protect(&fx.kernel, LOW, K4, MM_PROT_READ), MM_ERR_LIMIT);
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
    CHECK_OK(unmap(&fx.kernel, LOW, M2));
    CHECK_EQ(space_faults(&fx.kernel), 0);
}

TEST(a_split_keeps_rights_type_accessed_and_dirty)
{
    struct mm_map_request request = request_of(LOW, 4 * GIB, GIB, MM_PROT_RX | MM_PROT_USER);
    struct mm_translation got;

    fixture_start(4, true, 1);
    request.type = MM_MEMTYPE_WC;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    CHECK_OK(
        mm_space_protect(&fx.kernel, mm_virt(LOW), GIB, MM_PROT_RW | MM_PROT_USER, 0, NULL, NULL));
    CHECK_EQ(fake_write64(mm_virt(LOW + 100 * M2), 1).fault, FAKE_OK);
    CHECK_OK(unmap(&fx.kernel, LOW + 3 * M2 + K4, K4));
    for (uint64_t offset = 0; offset < GIB; offset += 97 * M2 + K4) {
        CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(LOW + offset), &got, NULL));
        CHECK_EQ(got.phys.raw, 4 * GIB + offset);
        CHECK_EQ(got.prot, MM_PROT_RW | MM_PROT_USER);
        CHECK_EQ(got.type, MM_MEMTYPE_WC);
        CHECK(got.accessed && got.dirty);
    }
    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(LOW + 3 * M2), &got, NULL));
    CHECK_EQ(got.leaf_bytes, K4);
    CHECK_EQ(got.type, MM_MEMTYPE_WC);
    CHECK(got.accessed && got.dirty);
    fixture_sound(&fx.kernel);
}

/* ---- flushes ---- */

static struct fake_counts flushes;

static void count_flushes(void)
{
    flushes = fake_counts();
}

static uint64_t page_flushes(void)
{
    return fake_counts().flush_page - flushes.flush_page;
}

static uint64_t full_flushes(void)
{
    return fake_counts().flush_space + fake_counts().flush_all - flushes.flush_space -
           flushes.flush_all;
}

TEST(unmap_flushes_page_by_page_up_to_the_ceiling_and_everything_once_above)
{
    uint64_t full;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, GIB, 400 * K4, MM_PROT_RW));
    count_flushes();
    CHECK_OK(unmap(&fx.kernel, LOW, 32 * K4));
    CHECK_EQ(page_flushes(), 32);
    CHECK_EQ(full_flushes(), 0);
    full = fx.vmm.full_flushes;
    count_flushes();
    CHECK_OK(unmap(&fx.kernel, LOW + 32 * K4, 33 * K4));
    CHECK_EQ(page_flushes(), 0);
    CHECK_EQ(full_flushes(), 1);
    CHECK_EQ(fx.vmm.full_flushes, full + 1);
    count_flushes();
    CHECK_OK(unmap(&fx.kernel, LOW + 65 * K4, 335 * K4));
    CHECK_EQ(page_flushes(), 0);
    CHECK_EQ(full_flushes(), 1);
    fixture_sound(&fx.kernel);
}

TEST(unmap_of_nothing_flushes_nothing)
{
    fixture_start(4, true, 2);
    count_flushes();
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), GIB, MM_RANGE_HOLES, NULL, NULL));
    CHECK_EQ(page_flushes() + full_flushes(), 0);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    fixture_sound(&fx.kernel);
}

TEST(a_whole_large_page_is_flushed_once)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, GIB, GIB, MM_PROT_RW));
    count_flushes();
    CHECK_OK(unmap(&fx.kernel, LOW, GIB));
    CHECK_EQ(page_flushes(), 1);
    CHECK_EQ(full_flushes(), 0);
    fixture_sound(&fx.kernel);
}

TEST(unmap_in_the_kernel_space_tells_every_cpu_once)
{
    const uint64_t virt[] = {HIGH, LOW};

    fixture_start(4, true, 4);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    touch(virt, 2);
    CHECK_OK(unmap(&fx.kernel, HIGH, K4));
    CHECK_EQ(mm_test_shootdowns().count, 1);
    CHECK_EQ(mm_test_shootdowns().last.bits[0], 0xe); /* not the caller's */
    CHECK_EQ(fx.vmm.shootdowns, 1);
    fake_cpu_set(2);
    CHECK_OK(unmap(&fx.kernel, LOW, K4));
    CHECK_EQ(mm_test_shootdowns().count, 2);
    CHECK_EQ(mm_test_shootdowns().last.bits[0], 0xb);
    fake_cpu_set(0);
    fixture_sound(&fx.kernel);
}

TEST(unmap_in_a_user_space_tells_only_the_cpus_that_have_it_loaded)
{
    struct mm_space user = MM_ZERO;

    fixture_start(4, true, 4);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(map(&user, LOW, DATA, 4 * K4, MM_PROT_RW | MM_PROT_USER));
    CHECK_OK(unmap(&user, LOW + 3 * K4, K4)); /* loaded nowhere */
    CHECK_EQ(mm_test_shootdowns().count, 0);
    fixture_activate(1, &user);
    fixture_activate(3, &user);
    fake_cpu_set(3);
    CHECK_EQ(fake_read64(mm_virt(LOW)).fault, FAKE_OK);
    fake_cpu_set(1);
    CHECK_EQ(fake_read64(mm_virt(LOW)).fault, FAKE_OK);
    CHECK_OK(unmap(&user, LOW, K4)); /* from 1: only 3 is told */
    CHECK_EQ(mm_test_shootdowns().count, 1);
    CHECK_EQ(mm_test_shootdowns().last.bits[0], 0x8);
    fake_cpu_set(0);
    CHECK_OK(unmap(&user, LOW + K4, K4)); /* from 0, where it is not loaded */
    CHECK_EQ(mm_test_shootdowns().last.bits[0], 0xa);
    fixture_activate(3, &fx.kernel);
    CHECK_OK(unmap(&user, LOW + 2 * K4, K4));
    CHECK_EQ(mm_test_shootdowns().last.bits[0], 0x2);
    CHECK_EQ(mm_test_shootdowns().served, 4);
    fixture_sound(&user);
    fixture_activate(1, &fx.kernel);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

static bool lose(void *arg, unsigned cpu)
{
    (void)cpu;
    return *(bool *)arg;
}

/* The oracle of this file can see: with the interrupt lost on another CPU there is a stale page. */
TEST(a_lost_shootdown_shows_as_a_stale_translation)
{
    const uint64_t virt[] = {HIGH};
    bool served = false;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, 2 * K4, MM_PROT_RW));
    touch(virt, 1);
    mm_test_shootdown_hook(lose, &served);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(HIGH), K4, 0, NULL, NULL));
    CHECK(fake_stale_entries() > 0);
}

/* ---- tables and the order of things ---- */

TEST(unmap_frees_tables_that_became_empty_and_no_others)
{
    uint64_t start;

    fixture_start(4, true, 1);
    start = stats_of(&fx.kernel).tables;
    CHECK_OK(map(&fx.kernel, LOW, GIB, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + K4, GIB, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, LOW + M2, GIB, K4, MM_PROT_RW));
    CHECK_EQ(stats_of(&fx.kernel).tables, start + 4);
    CHECK_OK(unmap(&fx.kernel, LOW, K4));
    CHECK_EQ(stats_of(&fx.kernel).tables, start + 4);
    CHECK_OK(unmap(&fx.kernel, LOW + K4, K4));
    CHECK_EQ(stats_of(&fx.kernel).tables, start + 3);
    CHECK_OK(unmap(&fx.kernel, LOW + M2, K4));
    CHECK_EQ(stats_of(&fx.kernel).tables, start);
    CHECK_EQ(fx.frames.used, start);
    fixture_sound(&fx.kernel);
}

/* All CPUs have walked through the tables; walkers come at every store. The frame source fails the
 * test if a table comes back too early. */
TEST(tables_are_freed_after_every_cpu_has_flushed)
{
    fixture_start(4, true, 3);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 600 * K4, MM_PROT_RW));
    fake_watch(mm_virt(LOW + 5 * K4), FAKE_WATCH_READ);
    fake_watch(mm_virt(LOW + 511 * K4), FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    fake_watch(mm_virt(LOW + 599 * K4), FAKE_WATCH_READ);
    fake_walkers_run();
    CHECK(fake_table_entries(2) > 0);
    CHECK_OK(unmap(&fx.kernel, LOW, 600 * K4));
    CHECK_EQ(stats_of(&fx.kernel).mapped_frames, 0);
    fixture_sound(&fx.kernel);
}

/*
 * A foreign table that was found empty is removed together with a page elsewhere. Every CPU has the
 * way to it cached, and flushing the page does not drop that (EFER.TCE = 1).
 *
 *     LOW -> page           LOW + 5 GiB -> level 2, all empty
 */
TEST(the_way_to_a_table_that_was_found_empty_is_flushed)
{
    uint64_t *root, *upper;
    mm_phys_t empty;
    uint16_t *tag;
    struct mm_frame_source source;

    fixture_start(4, true, 2);
    source = mm_test_frame_source(&fx.frames);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(source.alloc(source.context, &empty));
    memset(fake_ram(empty, K4), 0, K4);
    root = fake_ram(fx.kernel.root, K4);
    upper = fake_ram(mm_phys(root[0] & UINT64_C(0x000ffffffffff000)), K4);
    CHECK_EQ(LOW >> 39, 0);
    upper[(LOW >> 30) + 5] = empty.raw | 3;
    CHECK_OK(source.tag(source.context, mm_phys(root[0] & UINT64_C(0x000ffffffffff000)), &tag));
    (*tag)++;
    CHECK_OK(source.tag(source.context, empty, &tag));
    *tag = 2u << 12; /* a table of level 2 */
    fx.kernel.table_count++;
    fake_watch(mm_virt(LOW), FAKE_WATCH_READ);
    fake_watch(mm_virt(LOW + 5 * GIB), FAKE_WATCH_READ);
    fake_walkers_run();
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), 6 * GIB, MM_RANGE_HOLES, NULL, NULL));
    CHECK_EQ(fx.frames.used, 3);
    fixture_sound(&fx.kernel);
}

TEST(unmap_of_more_tables_than_a_gather_holds_goes_in_pieces)
{
    uint64_t start;

    fixture_start(4, true, 2);
    start = stats_of(&fx.kernel).tables;
    CHECK_OK(map(&fx.kernel, LOW, GIB + K4, 300 * M2, MM_PROT_RW)); /* 301 tables */
    CHECK_EQ(stats_of(&fx.kernel).tables, start + 302);
    CHECK_OK(unmap(&fx.kernel, LOW, 300 * M2));
    CHECK_EQ(stats_of(&fx.kernel).tables, start);
    CHECK(mm_test_shootdowns().count >= 5);
    CHECK(mm_test_shootdowns().count <= 6);
    fixture_sound(&fx.kernel);
}

/* Another CPU puts a large page over the range while the first waits for the flush of a split. */
static bool meddle(void *arg, unsigned cpu)
{
    (void)cpu;
    if (*(unsigned *)arg == 0) {
        (*(unsigned *)arg)++;
        CHECK_OK(unmap(&fx.kernel, LOW, M2));
        CHECK_OK(map(&fx.kernel, LOW, DATA + M2, M2, MM_PROT_RW));
    }
    return true;
}

TEST(a_range_that_another_cpu_changes_meanwhile_is_left_and_said)
{
    struct mm_translation got;
    struct mm_space_fail why;
    unsigned times = 0;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, LOW, DATA, M2, MM_PROT_RW));
    mm_test_shootdown_hook(meddle, &times);
    CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(LOW + K4), K4, 0, NULL, &why), MM_ERR_AGAIN);
    CHECK_EQ(why.err, MM_ERR_AGAIN);
    CHECK_EQ(why.virt.raw, LOW + K4);
    CHECK_EQ(why.level, 2);
    CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(LOW + K4), &got, NULL));
    CHECK_EQ(got.phys.raw, DATA + M2 + K4);
    times = 0;
    CHECK_ERR(protect(&fx.kernel, LOW + K4, K4, MM_PROT_READ), MM_ERR_AGAIN);
    CHECK_OK(unmap(&fx.kernel, LOW + K4, K4)); /* looked again */
    fixture_sound(&fx.kernel);
}
