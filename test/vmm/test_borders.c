/*
 * test_borders.c - the ends of things: of halves, of the address space, of the physical width, of counts.
 *
 * Problem     An end that is computed as the address behind it is 0 at the top of all addresses, a sum
 *             wraps, a count of bytes or pages does not fit, and each of them shows at one length only.
 * Idea        Not chosen borders but all powers of two, from below, at and above, with lengths that
 *             matter there. What is right is said by the manual's definition in 128-bit arithmetic.
 * Invariants  None.
 * Locking     None.
 * Cost        A second or so under sanitizers.
 * Rejected    Random addresses: nearly all are in the hole.
 */
#include "vmm_fixture.h"

/* ---- addresses ---- */

__extension__ typedef unsigned __int128 wide;

/* Bits above those translated equal the highest of them (SDM vol. 1, 3.3.7.1). */
static bool is_canonical(wide virt, unsigned levels)
{
    unsigned unused = 64 - (12 + 9 * levels);

    return virt >> 64 == 0 &&
           (uint64_t)((int64_t)((uint64_t)virt << unused) >> unused) == (uint64_t)virt;
}

static enum mm_err expected(uint64_t virt, uint64_t bytes, unsigned levels)
{
    wide last = (wide)virt + bytes - 1;

    if (bytes == 0)
        return MM_ERR_BAD_ARG;
    if (!is_canonical(virt, levels) || !is_canonical(last, levels) || virt >> 63 != last >> 63)
        return MM_ERR_RANGE;
    return MM_OK;
}

static void check_byte(uint64_t virt, unsigned levels)
{
    struct mm_translation got;
    struct mm_walk_step steps[MM_WALK_STEPS];
    bool canonical = is_canonical(virt, levels);

    CHECK_ERR(mm_space_translate(&fx.kernel, mm_virt(virt), &got, NULL),
              canonical ? MM_ERR_NOT_FOUND : MM_ERR_RANGE);
    CHECK_EQ(mm_space_walk(&fx.kernel, mm_virt(virt), steps) != 0, canonical);
    CHECK_EQ(fake_probe(mm_virt(virt)).fault, canonical ? FAKE_NOT_PRESENT : FAKE_NON_CANONICAL);
}

/* Its first and its last byte are there, for libmm and for a CPU, and nothing is stale afterwards. */
static void check_mapped(uint64_t virt, uint64_t phys, uint64_t bytes)
{
    const uint64_t offset[] = {0, bytes - 8};
    struct mm_translation got;

    for (unsigned i = 0; i < 2; i++) {
        CHECK_OK(mm_space_translate(&fx.kernel, mm_virt(virt + offset[i]), &got, NULL));
        CHECK_EQ(got.phys.raw, phys + offset[i]);
        CHECK_EQ(fake_read64(mm_virt(virt + offset[i])).phys.raw, phys + offset[i]);
    }
    CHECK_OK(protect(&fx.kernel, virt, bytes, MM_PROT_READ));
    CHECK_OK(unmap(&fx.kernel, virt, bytes));
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(fake_read64(mm_virt(virt + offset[i])).fault, FAKE_NOT_PRESENT);
}

/* The same page through a cursor, there and gone. */
static void check_cursor(uint64_t virt, enum mm_err right)
{
    struct mm_gather gather;
    struct mm_cursor cursor;
    mm_phys_t phys;

    mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(mm_cursor_begin(&cursor, &fx.kernel, MM_PROT_RW, MM_MEMTYPE_WB, MM_MAP_NULL, &gather));
    CHECK_ERR(mm_cursor_unmap(&cursor, mm_virt(virt), K4, &phys),
              right == MM_OK ? MM_ERR_NOT_FOUND : right);
    CHECK_ERR(mm_cursor_map(&cursor, mm_virt(virt), mm_phys(DATA), K4), right);
    if (right == MM_OK) {
        CHECK_EQ(fake_read64(mm_virt(virt)).phys.raw, DATA);
        CHECK_OK(mm_cursor_unmap(&cursor, mm_virt(virt), K4, &phys));
        CHECK_EQ(phys.raw, DATA);
    }
    mm_cursor_end(&cursor);
    mm_gather_end(&gather);
    CHECK_EQ(fake_stale_changed(), 0);
    CHECK(fake_read64(mm_virt(virt)).fault ==
          (right == MM_OK ? FAKE_NOT_PRESENT : FAKE_NON_CANONICAL));
}

static void check_range(uint64_t virt, uint64_t bytes, unsigned levels)
{
    const uint64_t phys = virt & (GIB - 1); /* congruent: the largest pages */
    enum mm_err right = expected(virt, bytes, levels);
    struct mm_map_request request = request_of(virt, phys, bytes, MM_PROT_RW);

    request.flags = MM_MAP_NULL;
    CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(virt), bytes, MM_RANGE_HOLES, NULL, NULL), right);
    CHECK_ERR(mm_space_protect(&fx.kernel, mm_virt(virt), bytes, MM_PROT_READ, MM_RANGE_HOLES, NULL,
                               NULL),
              right);
    CHECK_ERR(mm_space_harvest(&fx.kernel, mm_virt(virt), bytes, 0, NULL, NULL, NULL), right);
    if (bytes == K4)
        check_cursor(virt, right);
    if (right == MM_OK && bytes > GIB)
        return; /* thousands of pages, under walkers */
    CHECK_ERR(mm_space_map(&fx.kernel, &request, NULL), right);
    if (right == MM_OK)
        check_mapped(virt, phys, bytes);
}

static void check_powers(unsigned levels)
{
    struct state before, after;

    for (unsigned i = 0; i < FAKE_CPUS_MAX; i++)
        fake_cpu(i)->phys_bits = 52;
    fixture_start(levels, true, 2);
    before = state_of(&fx.kernel);
    for (unsigned k = 12; k < 65; k++) {
        const uint64_t power = k == 64 ? 0 : UINT64_C(1) << k;
        const uint64_t start[] = {power - K4, power, power + K4, 0 - power - K4, 0 - power};

        for (unsigned i = 0; i < sizeof start / sizeof start[0]; i++) {
            const uint64_t at = start[i];
            const uint64_t half = UINT64_C(1) << (12 + 9 * levels - 1);
            const uint64_t bytes[] = {0,          K4,          2 * K4,         power,
                                      power + K4, half - at,   half - at + K4, 0 - at - K4,
                                      0 - at,     0 - at + K4, 0 - half - at,  0 - half - at + K4};

            mm_test_row("power, start", k * 10 + i);
            check_byte(at, levels);
            check_byte(at + K4 - 1, levels);
            for (unsigned n = 0; n < sizeof bytes / sizeof bytes[0]; n++)
                check_range(at, bytes[n], levels);
        }
    }
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
    fixture_sound(&fx.kernel);
}

TEST(ranges_at_every_power_of_two_are_right_with_4_levels)
{
    check_powers(4);
}

TEST(ranges_at_every_power_of_two_are_right_with_5_levels)
{
    check_powers(5);
}

/* ---- physical addresses ---- */

/* Each width that there is, on a machine of its own. */
TEST(the_last_page_of_each_physical_width_and_size_is_mapped_and_the_next_refused)
{
    static const uint64_t size[] = {K4, M2, GIB};

    for (unsigned bits = 32; bits <= 52; bits++) {
        const uint64_t end = UINT64_C(1) << bits;

        mm_test_row("bits", bits);
        fake_reset();
        fx = (struct fixture){.cpus = 0};
        fake_cpu(0)->phys_bits = bits;
        fixture_start(4, true, 1);
        for (unsigned i = 0; i < 3; i++) {
            CHECK_OK(map(&fx.kernel, LOW, end - size[i], size[i], MM_PROT_RW));
            CHECK_EQ(fake_read64(mm_virt(LOW + size[i] - 8)).phys.raw, end - 8);
            CHECK_EQ(fake_read64(mm_virt(LOW)).level, i + 1);
            CHECK_OK(unmap(&fx.kernel, LOW, size[i]));
            CHECK_ERR(map(&fx.kernel, LOW, end, size[i], MM_PROT_RW), MM_ERR_RANGE);
            CHECK_ERR(map(&fx.kernel, LOW, end - size[i], 2 * size[i], MM_PROT_RW), MM_ERR_RANGE);
        }
        fixture_sound(&fx.kernel);
    }
}

/* ---- counts ---- */

/* 2^47 bytes are 2^35 pages: neither fits in 32 bits. All of the lower half, from page 0 on. */
TEST(all_of_the_lower_half_is_mapped_looked_at_and_unmapped_as_one_range)
{
    const uint64_t half = UINT64_C(1) << 47;
    struct mm_map_request request = request_of(0, 0, half, MM_PROT_RW);
    struct mm_space_stats stats;
    struct mm_space_run run;
    mm_virt_t cursor = mm_virt(0);

    fake_cpu(0)->phys_bits = 48;
    fixture_start(4, true, 1);
    fake_watch_changes(0); /* seconds, and nothing here is about them */
    request.flags = MM_MAP_NULL;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.mapped_frames, half / K4);
    CHECK_EQ(stats.leaf_1g, half / GIB);
    CHECK_EQ(fake_read64(mm_virt(0)).phys.raw, 0);
    CHECK_EQ(fake_read64(mm_virt(half - 8)).phys.raw, half - 8);
    CHECK_OK(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run));
    CHECK_EQ(run.virt.raw, 0);
    CHECK_EQ(run.bytes, half);
    CHECK_EQ(cursor.raw, half);
    CHECK_OK(unmap(&fx.kernel, 0, half));
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.mapped_frames, 0);
    fixture_sound(&fx.kernel);
}

/* As small pages: 2^32 bytes, whose count of pages fits, and whose count of bytes does not. */
TEST(exactly_4_gib_of_small_pages_are_mapped_and_unmapped_whole)
{
    struct mm_map_request request = request_of(HIGH, DATA, 4 * GIB, MM_PROT_RW);
    struct mm_space_stats stats;

    fixture_start(4, true, 1);
    request.flags = MM_MAP_SMALL;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.leaf_4k, 4 * GIB / K4);
    CHECK_EQ(fake_read64(mm_virt(HIGH + 4 * GIB - 8)).phys.raw, DATA + 4 * GIB - 8);
    CHECK_OK(unmap(&fx.kernel, HIGH, 4 * GIB));
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.mapped_frames, 0);
    CHECK_EQ(fake_read64(mm_virt(HIGH + 4 * GIB - 8)).fault, FAKE_NOT_PRESENT);
    fixture_sound(&fx.kernel);
}
