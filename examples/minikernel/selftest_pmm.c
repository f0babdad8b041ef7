/*
 * selftest_pmm.c - frames.
 *
 * Problem     Whoever gets a frame must be its only owner, and gets what was asked for.
 * Idea        Take in every shape, ask the PMM about each frame, give back, compare all frames by
 *             address. Refused frees must change nothing.
 */
#include "image.h"
#include "selftest_tools.h"
#include "snapshot.h"

#define MANY 200
#define BULK 1000

static enum mm_err take(const struct mm_frame_request *request, uint64_t *out)
{
    mm_phys_t first = mm_phys(0x5a5a5000);
    enum mm_err err = mm_pmm_alloc(&mm_default.pmm, request, &first);

    if (err != MM_OK)
        CHECK_EQUAL(first.raw, 0x5a5a5000); /* untouched on error */
    *out = first.raw;
    return err;
}

SELFTEST(pmm_gives_blocks_of_all_orders)
{
    snapshot_take(&snapshot_before);
    for (unsigned order = 0; order <= MM_ORDER_2M; order++) {
        uint64_t bytes = MM_FRAME_BYTES << order;
        uint64_t first = test_block(order);

        CHECK_EQUAL(first % bytes, 0);
        test_owned(first, UINT64_C(1) << order);
        test_direct(first)[0] = first;
        test_direct(first + bytes - MM_FRAME_BYTES)[511] = ~first;
        test_free(first, UINT64_C(1) << order);
    }
    CHECK(snapshot_unchanged());
}

SELFTEST(pmm_gives_no_frame_twice)
{
    static uint64_t frames[MANY];

    snapshot_take(&snapshot_before);
    for (uint64_t i = 0; i < MANY; i++) {
        frames[i] = test_frame();
        CHECK(frames[i] >= MIB);
        test_direct(frames[i])[0] = i;
        test_owned(frames[i], 1);
    }
    for (uint64_t i = 0; i < MANY; i++)
        CHECK_EQUAL(test_direct(frames[i])[0], i);
    for (uint64_t i = 0; i < MANY; i += 2)
        test_free(frames[i], 1);
    for (uint64_t i = 1; i < MANY; i += 2)
        test_owned(frames[i], 1);
    for (uint64_t i = 1; i < MANY; i += 2)
        test_free(frames[i], 1);
    CHECK(snapshot_unchanged());
}

SELFTEST(pmm_gives_runs_of_any_length)
{
    static const uint64_t lengths[] = {1, 2, 3, 7, 63, 64, 65, 511, 512, 513, 700};

    snapshot_take(&snapshot_before);
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint64_t first = test_run(lengths[i]);

        CHECK_EQUAL(first % MM_FRAME_BYTES, 0);
        test_owned(first, lengths[i]);
        test_free(first, lengths[i]);
    }
    CHECK(snapshot_unchanged());
}

SELFTEST(pmm_respects_limits)
{
    static const uint64_t highest[] = {0xfffff, 0xffffff, 0xffffffff, 0x7fffff};
    enum mm_err low = test_has_low_run(3) ? MM_OK : MM_ERR_NO_MEMORY;

    snapshot_take(&snapshot_before);
    for (unsigned i = 0; i < sizeof(highest) / sizeof(highest[0]); i++) {
        struct mm_frame_request request = {.count_frames = 3, .highest = mm_phys(highest[i])};
        uint64_t first;
        enum mm_err err = take(&request, &first);

        CHECK_EQUAL(err, highest[i] < MIB ? low : MM_OK);
        if (err != MM_OK)
            continue;
        CHECK(first + 3 * MM_FRAME_BYTES - 1 <= highest[i]);
        CHECK((first < MIB) == (highest[i] < MIB));
        test_free(first, 3);
    }
    CHECK(snapshot_unchanged());
}

/* Single frames and blocks, of every zone: nobody gets memory that a device cannot reach. */
SELFTEST(pmm_serves_each_zone_from_below_its_limit)
{
    static const uint64_t limits[] = {MIB, 16 * MIB, UINT64_C(1) << 32};

    snapshot_take(&snapshot_before);
    for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        for (unsigned order = 0; order <= 4; order++) {
            struct mm_frame_request request = {.order = (uint8_t)order,
                                               .highest = mm_phys(limits[i] - 1),
                                               .flags = MM_FRAME_RESERVE};
            struct mm_frame_info info;
            uint64_t first;

            if (take(&request, &first) != MM_OK) {
                CHECK(limits[i] == MIB && !test_has_low_run(UINT64_C(2) << order));
                continue;
            }
            CHECK(first + (MM_FRAME_BYTES << order) <= limits[i]);
            mm_pmm_query(&mm_default.pmm, mm_phys(first), &info);
            CHECK(info.zone <= i && (info.zone == MM_ZONE_LOW) == (i == 0));
            test_free(first, UINT64_C(1) << order);
        }
    }
    CHECK(snapshot_unchanged());
}

/* Ordinary requests are served from above: memory that few can use is kept for them. */
SELFTEST(pmm_spares_the_lower_zones)
{
    struct mm_pmm_stats stats;
    struct mm_frame_info info;
    unsigned best = MM_ZONE_HIGH;
    uint64_t block = test_block(4);

    mm_pmm_get_stats(&mm_default.pmm, &stats);
    while (stats.zone_free_frames[best] < 16)
        best--;
    mm_pmm_query(&mm_default.pmm, mm_phys(block), &info);
    CHECK_EQUAL(info.zone, best);
    test_free(block, 16);
}

SELFTEST(pmm_respects_alignment_and_boundary)
{
    snapshot_take(&snapshot_before);
    for (uint64_t align = MM_FRAME_BYTES; align <= MIB; align *= 2) {
        struct mm_frame_request request = {.count_frames = 5, .align_bytes = align};
        uint64_t first;

        CHECK_EQUAL(take(&request, &first), MM_OK);
        CHECK_EQUAL(first % align, 0);
        test_free(first, 5);
    }
    for (uint64_t boundary = 32 * KIB; boundary <= MIB; boundary *= 2) {
        struct mm_frame_request request = {.count_frames = 7, .boundary_bytes = boundary};
        uint64_t first;

        CHECK_EQUAL(take(&request, &first), MM_OK);
        CHECK_EQUAL(first / boundary, (first + 7 * MM_FRAME_BYTES - 1) / boundary);
        test_free(first, 7);
    }
    CHECK(snapshot_unchanged());
}

SELFTEST(pmm_zeroes_on_request)
{
    struct mm_frame_request request = {.order = 3, .flags = MM_FRAME_ZERO};
    uint64_t first = test_block(3);

    for (unsigned i = 0; i < 8 * 512; i++)
        test_direct(first)[i] = ~UINT64_C(0);
    test_free(first, 8);
    for (unsigned round = 0; round < 4; round++) {
        CHECK_EQUAL(take(&request, &first), MM_OK);
        for (unsigned i = 0; i < 8 * 512; i++)
            CHECK_EQUAL(test_direct(first)[i], 0);
        test_free(first, 8);
    }
}

SELFTEST(pmm_refuses_bad_requests)
{
    static const struct mm_frame_request bad[] = {
        {.order = MM_ORDER_MAX + 1},
        {.align_bytes = 3 * MM_FRAME_BYTES},
        {.count_frames = 4, .order = 2},
        {.order = 2, .boundary_bytes = 2 * MM_FRAME_BYTES},
    };
    struct mm_frame_request all = {.count_frames = UINT64_C(1) << 50};
    uint64_t first;

    snapshot_take(&snapshot_before);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_EQUAL(take(&bad[i], &first), MM_ERR_BAD_ARG);
    CHECK_EQUAL(take(&all, &first), MM_ERR_NO_MEMORY);
    CHECK(snapshot_unchanged());
}

SELFTEST(pmm_refuses_bad_frees)
{
    struct mm_pmm *pmm = &mm_default.pmm;
    uint64_t block = test_block(2);
    uint64_t frame = test_frame();

    snapshot_take(&snapshot_before);
    CHECK_REPORTED(mm_pmm_free(pmm, mm_phys(block + 8), 4), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free(pmm, mm_phys(block), 3), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free(pmm, mm_phys(block), 5), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free(pmm, mm_phys(block), 0), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free_frame(pmm, mm_phys(block)), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free_frame(pmm, mm_phys(block + MM_FRAME_BYTES)), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free_frame(pmm, mm_phys(0xb8000)), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free_frame(pmm, mm_phys(0)), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free_frame(pmm, mm_phys(image_phys(image_text_start))), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free_frame(pmm, mm_phys(~(MM_FRAME_BYTES - 1))), MM_ERR_MISUSE);
    CHECK(snapshot_unchanged());
    test_free(block, 4);
    test_free(frame, 1);
    CHECK_REPORTED(mm_pmm_free_frame(pmm, mm_phys(frame)), MM_ERR_MISUSE);
    CHECK_REPORTED(mm_pmm_free(pmm, mm_phys(block), 4), MM_ERR_MISUSE);
    CHECK_EQUAL(mm_pmm_check(pmm, &fault_printer), 0);
}

SELFTEST(pmm_gives_and_takes_in_bulk)
{
    mm_phys_t frames[48];
    mm_phys_t bad;

    snapshot_take(&snapshot_before);
    CHECK_EQUAL(mm_pmm_alloc_bulk(&mm_default.pmm, NULL, 48, frames), MM_OK);
    for (unsigned i = 0; i < 48; i++)
        test_owned(frames[i].raw, 1);
    bad = frames[20];
    test_free(bad.raw, 1);
    CHECK_REPORTED(mm_pmm_free_bulk(&mm_default.pmm, frames, 48), MM_ERR_MISUSE);
    CHECK(snapshot_unchanged());
}

SELFTEST(pmm_gives_many_frames_at_once_or_none)
{
    static mm_phys_t frames[BULK];
    struct mm_frame_request low = {.highest = MM_HIGHEST_16M};
    uint64_t free;

    snapshot_take(&snapshot_before);
    free = mm_pmm_free_frames(&mm_default.pmm);
    CHECK_EQUAL(mm_pmm_alloc_bulk(&mm_default.pmm, &low, BULK, frames), MM_OK);
    CHECK_EQUAL(mm_pmm_free_frames(&mm_default.pmm), free - BULK);
    for (unsigned i = 0; i < BULK; i++) {
        CHECK(frames[i].raw >= MIB && frames[i].raw < 16 * MIB);
        test_owned(frames[i].raw, 1);
        test_direct(frames[i].raw)[0] = i;
    }
    for (unsigned i = 0; i < BULK; i++)
        CHECK_EQUAL(test_direct(frames[i].raw)[0], i); /* each is there once */
    CHECK_EQUAL(mm_pmm_free_bulk(&mm_default.pmm, frames, BULK), MM_OK);
    low.highest = mm_phys(MIB + 100 * MM_FRAME_BYTES - 1);
    low.lowest = mm_phys(MIB);
    CHECK_EQUAL(mm_pmm_alloc_bulk(&mm_default.pmm, &low, 101, frames), MM_ERR_NO_MEMORY);
    CHECK(snapshot_unchanged());
}

/* Blocks and runs in random order, against a list of what is owned. */
SELFTEST(pmm_survives_random_use)
{
    static struct {
        uint64_t first, frames;
    } owned[64];
    uint64_t seed = 1;

    snapshot_take(&snapshot_before);
    for (unsigned step = 0; step < 4000; step++) {
        unsigned i = (unsigned)(test_random(&seed) % 64);

        if (owned[i].frames) {
            test_owned(owned[i].first, owned[i].frames);
            test_free(owned[i].first, owned[i].frames);
            owned[i].frames = 0;
        } else if (test_random(&seed) % 2) {
            unsigned order = (unsigned)(test_random(&seed) % 5);

            owned[i].first = test_block(order);
            owned[i].frames = UINT64_C(1) << order;
        } else {
            owned[i].frames = 1 + test_random(&seed) % 20;
            owned[i].first = test_run(owned[i].frames);
        }
    }
    CHECK_EQUAL(mm_pmm_check(&mm_default.pmm, &fault_printer), 0);
    for (unsigned i = 0; i < 64; i++) {
        if (owned[i].frames)
            test_free(owned[i].first, owned[i].frames);
    }
    CHECK(snapshot_unchanged());
}
