/*
 * test_pmm_chunk.c - 512 bits: fill, find, fit, and what the kind of a chunk says of its frames.
 */
#include "fixture.h"

static struct fixture machine;

static bool bit(const uint64_t *bits, unsigned index)
{
    return (bits[index / 64] >> (index % 64) & 1) != 0;
}

/* ---- bits, against a loop over each ---- */

static unsigned naive_next(const uint64_t *bits, bool set, unsigned from)
{
    while (from < MM_CHUNK_FRAMES && bit(bits, from) != set)
        from++;
    return from;
}

static bool naive_block_is_free(const uint64_t *bits, unsigned first, unsigned order)
{
    for (unsigned i = 0; i < 1u << order; i++)
        if (!bit(bits, first + i))
            return false;
    return true;
}

static unsigned naive_find(const uint64_t *bits, unsigned order)
{
    unsigned first = 0;

    while (first < MM_CHUNK_FRAMES && !naive_block_is_free(bits, first, order))
        first += 1u << order;
    return first < MM_CHUNK_FRAMES ? first : MM_CHUNK_FRAMES;
}

static unsigned naive_fit(const uint64_t *bits)
{
    unsigned order = MM_CHUNK_ORDER;

    while (order > 0 && naive_find(bits, order) == MM_CHUNK_FRAMES)
        order--;
    return order;
}

static void compare(const uint64_t *bits)
{
    for (unsigned from = 0; from < MM_CHUNK_FRAMES; from += 1 + (unsigned)mm_test_below(40))
        for (unsigned set = 0; set < 2; set++)
            CHECK_EQ(mm_bits_next(bits, set != 0, from), naive_next(bits, set != 0, from));
    for (unsigned order = 0; order < MM_CHUNK_ORDER; order++)
        CHECK_EQ(mm_chunk_find(bits, order), naive_find(bits, order));
    if (naive_next(bits, true, 0) != MM_CHUNK_FRAMES)
        CHECK_EQ(mm_chunk_fit(bits), naive_fit(bits));
}

TEST(chunk_bits_are_filled_and_cleared_exactly)
{
    for (unsigned round = 0; round < 2000; round++) {
        unsigned first = (unsigned)mm_test_below(MM_CHUNK_FRAMES);
        unsigned count = (unsigned)mm_test_below(MM_CHUNK_FRAMES - first + 1);
        uint64_t ones[MM_CHUNK_WORDS], zeros[MM_CHUNK_WORDS] = {0};

        memset(ones, 0xff, sizeof ones);
        mm_test_row("range", (uint64_t)first << 32 | count);
        mm_bits_fill(zeros, first, count);
        mm_bits_clear(ones, first, count);
        for (unsigned i = 0; i < MM_CHUNK_FRAMES; i++) {
            CHECK_EQ(bit(zeros, i), i >= first && i < first + count);
            CHECK_EQ(bit(ones, i), i < first || i >= first + count);
        }
    }
}

/* Each aligned block alone, and with one frame missing at either end. */
TEST(chunk_fit_and_find_see_each_block_of_each_order)
{
    for (unsigned order = 0; order <= MM_CHUNK_ORDER; order++)
        for (unsigned first = 0; first < MM_CHUNK_FRAMES; first += 1u << order) {
            uint64_t bits[MM_CHUNK_WORDS] = {0};

            mm_test_row("block", (uint64_t)order << 32 | first);
            mm_bits_fill(bits, first, 1u << order);
            CHECK_EQ(mm_chunk_fit(bits), order);
            if (order < MM_CHUNK_ORDER)
                CHECK_EQ(mm_chunk_find(bits, order), first);
            if (order < MM_CHUNK_ORDER - 1)
                CHECK_EQ(mm_chunk_find(bits, order + 1), MM_CHUNK_FRAMES);
            if (order == 0)
                continue;
            mm_bits_clear(bits, first + (1u << order) - 1, 1);
            CHECK_EQ(mm_chunk_fit(bits), order - 1);
            mm_bits_fill(bits, first + (1u << order) - 1, 1);
            mm_bits_clear(bits, first, 1);
            CHECK_EQ(mm_chunk_fit(bits), order - 1);
            CHECK_EQ(mm_chunk_find(bits, order - 1), first + (1u << (order - 1)));
        }
}

TEST(chunk_fit_and_find_agree_with_naive_ones_on_random_bits)
{
    for (unsigned round = 0; round < 3000; round++) {
        uint64_t bits[MM_CHUNK_WORDS] = {0};
        unsigned pieces = (unsigned)mm_test_below(12);

        for (unsigned i = 0; i < pieces; i++) {
            unsigned first = (unsigned)mm_test_below(MM_CHUNK_FRAMES);

            mm_bits_fill(bits, first, (unsigned)mm_test_below(MM_CHUNK_FRAMES - first + 1));
            first = (unsigned)mm_test_below(MM_CHUNK_FRAMES);
            mm_bits_clear(bits, first,
                          (unsigned)mm_test_below(mm_min_u64(9, MM_CHUNK_FRAMES - first)));
        }
        mm_test_row("round", round);
        compare(bits);
    }
}

/* ---- kinds ---- */

/* Tails and managed frames of the chunk with frame `first`, from what query says of each frame. */
static void check_chunk(uint64_t first)
{
    struct mm_place place;

    CHECK(mm_place_of(&machine.pmm, first, &place));
    for (unsigned i = 0; i < MM_CHUNK_FRAMES; i++) {
        struct mm_frame_info info;
        uint64_t mask = UINT64_C(1) << (i % 64);

        mm_test_row("frame", first + i);
        mm_pmm_query(&machine.pmm, at(first + i), &info);
        CHECK_EQ((mm_chunk_managed(&machine.pmm, place.chunk, i / 64) & mask) != 0,
                 info.state != MM_FRAME_UNMANAGED);
        CHECK_EQ((mm_chunk_bits(&machine.pmm, place.chunk)[i / 64] & mask) != 0,
                 info.state == MM_FRAME_FREE);
        CHECK_EQ((mm_chunk_tails(&machine.pmm, place.chunk, i / 64) & mask) != 0,
                 info.state == MM_FRAME_ALLOCATED && mm_frame_of(info.first) != first + i);
    }
}

static unsigned kind_at(uint64_t frame)
{
    struct mm_place place;

    CHECK(mm_place_of(&machine.pmm, frame, &place));
    return machine.pmm.kind[place.chunk];
}

static void take_at(uint64_t first, uint64_t count)
{
    const struct mm_frame_request request = {.lowest = at(first), .count_frames = count};
    mm_phys_t out;

    CHECK_OK(mm_pmm_alloc(&machine.pmm, &request, &out));
    CHECK_EQ(mm_frame_of(out), first);
}

TEST(chunk_kinds_say_what_their_frames_are)
{
    /* 0x100000: whole chunks; 0x100800: a hole of one frame in the middle */
    FIXTURE(&machine, NULL, RAM(0x1000, 0x200), RAM(0x100000, 0x900),
            {0x900 + 0x100000, 1, MM_MEM_RESERVED, 0, 0}, RAM(0x100901, 0xff),
            {0x100a00, 0x200, MM_MEM_USABLE, MM_USE_KEEP, 0});
    CHECK_EQ(kind_at(0x1000), MM_KIND_CACHED);
    CHECK_EQ(kind_at(0x100000), MM_KIND_CACHED);
    CHECK_EQ(kind_at(0x100800), MM_KIND_PLAIN | MM_KIND_HOLES);
    CHECK_EQ(kind_at(0x100a00), MM_KIND_UNUSED);
    check_chunk(0x100000);
    check_chunk(0x100800);
    check_chunk(0x100a00);

    take_at(0x100001, 0x5fe); /* 0x100001 to 0x1005fe, over three chunks */
    CHECK_EQ(kind_at(0x100000), MM_KIND_MIXED);
    CHECK_EQ(kind_at(0x100200), MM_KIND_TAIL);
    CHECK_EQ(kind_at(0x100400), MM_KIND_MIXED);
    take_at(0x1005ff, 1);
    take_at(0x100600, 0x200);
    CHECK_EQ(kind_at(0x100600), MM_KIND_HEAD);
    take_at(0x1008fe, 2); /* up to the hole */
    take_at(0x100901, 3); /* behind it */
    CHECK_EQ(kind_at(0x100800), MM_KIND_MIXED | MM_KIND_HOLES);
    for (uint64_t first = 0x100000; first < 0x100c00; first += 0x200)
        check_chunk(first);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);

    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100001), 0x5fe));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x1005ff), 1));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100600), 0x200));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x1008fe), 2));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100901), 3));
    CHECK_OK(mm_pmm_drain(&machine.pmm, 0)); /* 0x1005ff went into the magazine */
    CHECK_EQ(kind_at(0x100400), MM_KIND_CACHED);
    CHECK_EQ(kind_at(0x100600), MM_KIND_CACHED);
    CHECK_EQ(kind_at(0x100800), MM_KIND_PLAIN | MM_KIND_HOLES);
    for (uint64_t first = 0x100000; first < 0x100c00; first += 0x200)
        check_chunk(first);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* Which set a chunk of singles is in, at each border of the documented bins. */
TEST(chunk_is_in_the_set_of_its_number_of_free_frames)
{
    static const struct {
        unsigned free, set;
    } row[] = {
        {1, 1},
        {4, 1},
        {5, 2},
        {16, 2},
        {17, 3},
        {32, 3},
        {33, 4},
        {96, 4},
        {97, 5},
        {160, 5},
        {161, 6},
        {224, 6},
        {225, 7},
        {288, 7},
        {289, 8},
        {352, 8},
        {353, 9},
        {416, 9},
        {417, 10},
        {480, 10},
        {481, 11},
        {511, 11},
        {512, MM_SET_WHOLE},
    };
    static mm_phys_t frame[0x200];
    unsigned given = 0;

    FIXTURE(&machine, NULL, RAM(0x200, 0x200));
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, 0x200, frame));
    CHECK_EQ(machine.pmm.record[0].set, MM_SET_NONE);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("free", row[i].free);
        for (; given < row[i].free; given++)
            CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame[given]));
        CHECK_EQ(machine.pmm.record[0].free, given);
        CHECK_EQ(machine.pmm.record[0].set, row[i].set);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}
