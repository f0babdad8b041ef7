/*
 * test_pieces.c - scattered frames mapped by one call: all of them or none, in order, with large
 * pages where a piece allows them.
 */
#include "vmm_fixture.h"

#define PIECES 5u

/* One frame, two frames, 2 MiB that fall on a boundary, one frame, and the rest of a table. */
static const struct mm_phys_range scattered[PIECES] = {
    {{DATA + 7 * K4}, K4}, {{DATA + 90 * K4}, 511 * K4}, {{DATA + 8 * M2}, M2},
    {{DATA + 3 * K4}, K4}, {{DATA + 16 * M2}, 9 * K4},
};
#define SCATTERED_BYTES (K4 + 511 * K4 + M2 + K4 + 9 * K4)

static struct mm_map_request request_for(uint64_t virt, const struct mm_phys_range *piece,
                                         uint32_t count, uint64_t bytes)
{
    struct mm_map_request request = request_of(virt, 0, bytes, MM_PROT_RW);

    request.piece = piece;
    request.piece_count = count;
    return request;
}

static uint64_t phys_at(struct mm_space *space, uint64_t virt)
{
    struct mm_translation got;

    CHECK_OK(mm_space_translate(space, mm_virt(virt), &got, NULL));
    return got.phys.raw;
}

TEST(scattered_frames_appear_one_behind_the_other)
{
    struct mm_map_request request = request_for(LOW, scattered, PIECES, SCATTERED_BYTES);
    uint64_t virt = LOW;
    struct mm_space_stats stats;

    fixture_start(4, true, 2);
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    for (unsigned i = 0; i < PIECES; i++)
        for (uint64_t offset = 0; offset < scattered[i].bytes; offset += K4, virt += K4)
            CHECK_EQ(phys_at(&fx.kernel, virt), scattered[i].start.raw + offset);
    CHECK_EQ(virt, LOW + SCATTERED_BYTES);
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.leaf_2m, 1);
    CHECK_EQ(stats.leaf_4k, SCATTERED_BYTES / K4 - 512);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    CHECK_OK(unmap(&fx.kernel, LOW, SCATTERED_BYTES));
    fixture_sound(&fx.kernel);
}

/* Many pieces in one table that is there already, and across the end of it. */
TEST(pieces_share_tables_with_each_other_and_with_what_was_mapped)
{
    struct mm_phys_range piece[600];
    struct mm_map_request request = request_for(LOW + 100 * K4, piece, 600, 600 * K4);
    uint64_t tables;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    tables = fx.frames.used;
    for (unsigned i = 0; i < 600; i++)
        piece[i] = (struct mm_phys_range){mm_phys(DATA + (i * 7919 % 1000) * K4), K4};
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    CHECK_EQ(fx.frames.used, tables + 1);
    for (unsigned i = 0; i < 600; i++)
        CHECK_EQ(phys_at(&fx.kernel, LOW + (100 + i) * K4), piece[i].start.raw);
    fixture_sound(&fx.kernel);
}

static void refused(const struct mm_phys_range *piece, uint32_t count, uint64_t bytes,
                    enum mm_err expected)
{
    struct mm_map_request request = request_for(LOW, piece, count, bytes);
    struct state after, before = state_of(&fx.kernel);
    struct mm_space_fail why;

    CHECK_ERR(mm_space_map(&fx.kernel, &request, &why), expected);
    CHECK_EQ(why.err, expected);
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
}

TEST(pieces_that_are_not_the_range_are_refused)
{
    struct mm_phys_range piece[2] = {{{DATA}, K4}, {{DATA + 5 * K4}, K4}};

    fixture_start(4, true, 1);
    refused(piece, 2, 3 * K4, MM_ERR_BAD_ARG);
    refused(piece, 2, K4, MM_ERR_BAD_ARG);
    refused(NULL, 2, 2 * K4, MM_ERR_BAD_ARG);
    piece[1].bytes = 0;
    refused(piece, 2, K4, MM_ERR_BAD_ARG);
    piece[1].bytes = K4 + 8;
    refused(piece, 2, 2 * K4, MM_ERR_BAD_ARG);
    piece[1] = (struct mm_phys_range){mm_phys(DATA + 8), K4};
    refused(piece, 2, 2 * K4, MM_ERR_BAD_ARG);
    piece[1] = (struct mm_phys_range){mm_phys(UINT64_MAX - K4 + 1), K4};
    refused(piece, 2, 2 * K4, MM_ERR_RANGE);
    piece[1] = (struct mm_phys_range){mm_phys(UINT64_C(1) << 46), K4};
    refused(piece, 2, 2 * K4, MM_ERR_RANGE);
    piece[0].bytes = UINT64_MAX - K4 + 1; /* the sum wraps */
    piece[1] = (struct mm_phys_range){mm_phys(DATA), 2 * K4};
    refused(piece, 2, K4, MM_ERR_BAD_ARG);
    fixture_sound(&fx.kernel);
}

TEST(a_conflict_or_a_missing_table_in_the_last_piece_changes_nothing)
{
    struct mm_map_request request = request_for(LOW, scattered, PIECES, SCATTERED_BYTES);
    uint64_t last = LOW + SCATTERED_BYTES - K4;
    uint32_t used;

    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, last, DATA, K4, MM_PROT_READ));
    refused(scattered, PIECES, SCATTERED_BYTES, MM_ERR_EXISTS);
    CHECK_OK(unmap(&fx.kernel, last, K4));
    used = fx.frames.used;
    for (int64_t i = 0; i < 4; i++) {
        mm_test_row("table", (uint64_t)i);
        fx.frames.fail_after = i;
        refused(scattered, PIECES, SCATTERED_BYTES, MM_ERR_NO_MEMORY);
        CHECK_EQ(fx.frames.used, used);
    }
    fx.frames.fail_after = -1;
    CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
    fixture_sound(&fx.kernel);
}
