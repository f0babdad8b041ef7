/*
 * test_pmm_side.c - tables of tails: used up, grown through the window, given back, not to be had.
 */
#include "fixture.h"

static struct fixture machine;

#define CHUNKS 72u
#define FIRST  UINT64_C(0x100000)
#define FRAMES (CHUNKS * MM_CHUNK_FRAMES)

static void start(bool window)
{
    if (window)
        fake_ram_add(at(FIRST), (uint64_t)FRAMES * MM_FRAME_BYTES);
    FIXTURE(&machine, window ? fake_window() : NULL, RAM(FIRST, FRAMES));
}

static uint64_t side_frames(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    return stats.side_frames;
}

/* Two frames that belong together, in the middle of chunk `chunk`. */
static enum mm_err mix(unsigned chunk)
{
    uint64_t first = FIRST + (uint64_t)chunk * MM_CHUNK_FRAMES + 0x100;
    const struct mm_frame_request request = {.lowest = at(first), .count_frames = 2};
    mm_phys_t out;
    enum mm_err err = mm_pmm_alloc(&machine.pmm, &request, &out);

    if (err == MM_OK)
        CHECK_EQ(mm_frame_of(out), first);
    return err;
}

static void unmix(unsigned chunk)
{
    uint64_t first = FIRST + (uint64_t)chunk * MM_CHUNK_FRAMES + 0x100;

    CHECK_OK(mm_pmm_free(&machine.pmm, at(first), 2));
}

TEST(side_tables_come_from_the_metadata_first)
{
    struct mm_side_facts facts;

    start(true);
    facts = mm_side_facts(&machine.pmm);
    CHECK(facts.page_count >= 2);
    CHECK_EQ(facts.lent_pages, 1);
    CHECK_EQ(facts.unused_count, 64);
    for (unsigned i = 0; i < 63; i++)
        CHECK_OK(mix(i));
    CHECK_EQ(side_frames(), 0);
    CHECK_EQ(fake_counts().frame_maps, 0);
    CHECK_EQ(mm_side_facts(&machine.pmm).unused_count, 1);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES - 126);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    for (unsigned i = 0; i < 63; i++)
        unmix(i);
    CHECK_EQ(mm_side_facts(&machine.pmm).unused_count, 64);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(side_tables_grow_by_a_frame_and_give_it_back)
{
    start(true);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < CHUNKS; i++)
            CHECK_OK(mix((i * 5 + round) % CHUNKS));
        CHECK_EQ(side_frames(), 1);
        CHECK_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps + 1);
        CHECK_EQ(mm_side_facts(&machine.pmm).unused_count, 2 * 64 - CHUNKS);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES - 2 * CHUNKS - 1);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        for (unsigned i = 0; i < CHUNKS; i++)
            unmix((i * 7 + round) % CHUNKS);
        CHECK_EQ(side_frames(), 0);
        CHECK_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* The page's frame is the PMM's own: no caller may give it back, and one that is bad goes when the
 * PMM does not need it any more. */
static void free_single(unsigned chunk, unsigned index)
{
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(FIRST + chunk * MM_CHUNK_FRAMES + index)));
}

/* The fullest chunk gives single frames; here it has the only block or run, too. */
static void leave_one_place_and_some_frames(void)
{
    static mm_phys_t frame[FRAMES];
    uint64_t left;

    start(true);
    for (unsigned i = 0; i < 64; i++)
        CHECK_OK(mix(i));
    left = mm_pmm_free_frames(&machine.pmm);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, left, frame));
    for (unsigned i = 8; i < 12; i++)
        free_single(70, i);
    for (unsigned i = 0; i < 16; i += 2)
        free_single(71, i);
}

TEST(side_page_takes_no_frame_of_the_block_that_it_is_for)
{
    leave_one_place_and_some_frames();
    CHECK_EQ(take_order(&machine, 2), FIRST + 70 * MM_CHUNK_FRAMES + 8);
    CHECK_EQ(side_frames(), 1);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 7);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(side_page_takes_no_frame_of_the_run_that_it_is_for)
{
    const struct mm_frame_request request = {.count_frames = 4, .align_bytes = 0x8000};
    mm_phys_t out;

    leave_one_place_and_some_frames();
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &request, &out));
    CHECK_EQ(mm_frame_of(out), FIRST + 70 * MM_CHUNK_FRAMES + 8);
    CHECK_EQ(side_frames(), 1);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 7);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(side_page_that_is_to_retire_goes_when_it_is_not_needed)
{
    struct mm_pmm_stats stats;
    struct mm_frame_info info;
    uint64_t own = 0;

    start(true);
    for (unsigned i = 0; i < CHUNKS; i++)
        CHECK_OK(mix(i));
    for (uint64_t frame = FIRST; frame < FIRST + FRAMES; frame++) {
        mm_pmm_query(&machine.pmm, at(frame), &info);
        if (info.state == MM_FRAME_ALLOCATED && info.count_frames == 1)
            own = frame;
    }
    CHECK(own != 0);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, at(own)), MM_ERR_BUSY);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    for (unsigned i = 0; i < CHUNKS; i++)
        unmix(i);
    CHECK_EQ(state_of(&machine, own), MM_FRAME_UNMANAGED);
    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.managed_frames, FRAMES - 1);
    CHECK_EQ(stats.free_frames, FRAMES - 1);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(side_tables_for_all_chunks_are_in_the_metadata_without_a_window)
{
    start(false);
    CHECK_EQ(mm_side_facts(&machine.pmm).lent_pages, mm_side_facts(&machine.pmm).page_count);
    for (unsigned i = 0; i < CHUNKS; i++)
        CHECK_OK(mix(i));
    CHECK_EQ(side_frames(), 0);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES - 2 * CHUNKS);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(side_page_that_cannot_be_mapped_fails_the_request_alone)
{
    const struct mm_frame_request block = {.order = 2}, large = {.order = 9};
    uint64_t before;
    mm_phys_t out = mm_phys(77);

    start(true);
    for (unsigned i = 0; i < 63; i++)
        CHECK_OK(mix(i));
    before = state_hash(&machine);
    fake_frame_map_fail_on(0);
    CHECK_ERR(mix(63), MM_ERR_NO_MEMORY); /* a run may end in two chunks: two tables */
    CHECK_EQ(state_hash(&machine), before);
    CHECK_EQ(side_frames(), 0);
    CHECK_EQ(mm_side_facts(&machine.pmm).promised, 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &block, &out)); /* the last table does for a block */
    CHECK_OK(mm_pmm_free(&machine.pmm, out, 4));
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &large, &out)); /* whole chunks need none */
    CHECK_OK(mm_pmm_free(&machine.pmm, out, 512));
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, out));
    CHECK_EQ(state_hash(&machine), before);
    fake_frame_map_works();
    CHECK_OK(mix(63)); /* the last one of the metadata in the end */
    CHECK_EQ(side_frames(), 0);
    CHECK_OK(mix(64));
    CHECK_EQ(side_frames(), 1);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* What another CPU does that has its pool's lock, and will want a table in a moment. */
static bool promise(unsigned count)
{
    struct mm_pools_guard guard = mm_pools_lock(&machine.pmm);
    bool enough = mm_side_reserve(&machine.pmm, &machine.pmm.pool[0], count, 0, 0);

    mm_pools_unlock(&machine.pmm, guard);
    return enough;
}

/* One table for a block, and that is promised: the block needs a page. */
TEST(side_table_that_is_promised_makes_a_block_grow_a_page)
{
    const struct mm_frame_request block = {.order = 8};
    uint32_t table;
    mm_phys_t out;

    start(true);
    for (unsigned i = 0; i < 63; i++)
        CHECK_OK(mix(i));
    for (unsigned i = 0; i < 63; i++) /* the greatest block in each of them */
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &block, &out));
    CHECK_EQ(side_frames(), 0);
    CHECK(promise(1));
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &block, &out));
    CHECK_EQ(side_frames(), 1);
    table = mm_side_take(&machine.pmm);
    mm_side_give(&machine.pmm, table);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* A page of which nobody has a table, while somebody counts on it. */
TEST(side_page_stays_while_its_tables_are_promised)
{
    uint32_t table[63];

    start(true);
    for (unsigned i = 0; i < 65; i++)
        CHECK_OK(mix(i));
    CHECK_EQ(side_frames(), 1);
    CHECK(promise(63));
    unmix(64); /* the frame could go but for the promise */
    CHECK_EQ(side_frames(), 1);
    for (unsigned i = 0; i < 63; i++)
        table[i] = mm_side_take(&machine.pmm);
    for (unsigned i = 0; i < 63; i++)
        mm_side_give(&machine.pmm, table[i]);
    unmix(0);
    CHECK_EQ(side_frames(), 0); /* now it goes */
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES - 2 * 63);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* The page for a run's tables is the one frame that the run leaves. With one table left it is not
 * needed in the end. */
TEST(side_page_is_not_part_of_the_run_that_needs_it)
{
    const struct mm_frame_request run = {.lowest = at(FIRST), .count_frames = 3};
    const uint64_t lowest = FIRST + 70 * MM_CHUNK_FRAMES + 0x33;
    static mm_phys_t frame[FRAMES];

    for (unsigned left = 0; left < 2; left++) {
        mm_phys_t out;

        mm_test_row("tables left", left);
        fake_reset();
        start(true);
        for (unsigned i = 0; i < 64 - left; i++)
            CHECK_OK(mix(i));
        CHECK_EQ(mm_side_facts(&machine.pmm).unused_count, left);
        CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, mm_pmm_free_frames(&machine.pmm), frame));
        for (unsigned i = 0; i < 4; i++)
            CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(lowest + i)));
        CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &run, &out));
        CHECK_EQ(mm_frame_of(out), lowest);
        CHECK_EQ(side_frames(), 1 - left);
        CHECK_EQ(state_of(&machine, lowest + 3), left == 0 ? MM_FRAME_ALLOCATED : MM_FRAME_FREE);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), left);
        memset(fake_ram(out, 3 * MM_FRAME_BYTES), 0xff, 3 * MM_FRAME_BYTES); /* its owner's */
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        CHECK_OK(mm_pmm_free(&machine.pmm, out, 3));
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 4);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* Nothing is left for a page: the request fails, and what was free stays free. */
TEST(side_page_is_not_taken_for_good_by_a_request_that_fails)
{
    const struct mm_frame_request run = {.count_frames = 2};
    static mm_phys_t frame[FRAMES];
    uint64_t free_frames, before;
    mm_phys_t out;

    start(true);
    for (unsigned i = 0; i < 63; i++)
        CHECK_OK(mix(i));
    free_frames = mm_pmm_free_frames(&machine.pmm);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, free_frames, frame));
    for (unsigned i = 0; i < 3; i++) { /* every other frame: no run of two */
        uint64_t last = FIRST + FRAMES - 1 - 2 * i;

        CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(last)));
    }
    before = state_hash(&machine);
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &run, &out), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 3);
    CHECK_EQ(state_hash(&machine), before);
    CHECK_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
