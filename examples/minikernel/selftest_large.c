/*
 * selftest_large.c - blocks of 2 MiB to 1 GiB, as large as the machine has them.
 *
 * Problem     A large block is worth its trouble only if the page tables show it by one entry, and
 *             it is found only where nobody broke it before.
 * Idea        Take one of each order, map it, look at the entries with the kernel's own walk, write
 *             through the mapping and read through the direct map. What is not to be had must be
 *             what the PMM's own count of blocks says there is none of.
 */
#include "print.h"
#include "selftest_tools.h"
#include "snapshot.h"
#include "walk.h"

#define LARGE_BYTES (2 * MIB)
#define LARGEST     (1024 * MIB)

/* Write through the mapping, read through the direct map, at each end and where 2 MiB begin. */
static void use_mapping(uint64_t virt, uint64_t phys, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += LARGE_BYTES)
        test_write(virt + at, phys + at);
    test_write(virt + bytes - 8, ~phys);
    for (uint64_t at = 0; at < bytes; at += LARGE_BYTES)
        CHECK_EQUAL(test_direct(phys + at)[0], phys + at);
    CHECK_EQUAL(test_direct(phys + bytes - 8)[0], ~phys);
}

/* Each leaf of the mapping is as large as the CPU has them. */
static void check_leaves(uint64_t virt, uint64_t phys, uint64_t bytes)
{
    bool has_1g = (mm_default.vmm.paging.leaf_levels & 1u << 3) != 0;
    uint64_t leaf = bytes >= LARGEST && has_1g ? LARGEST : LARGE_BYTES;

    for (uint64_t at = 0; at < bytes; at += leaf) {
        struct walk walk;

        walk_tables(virt + at, &walk);
        CHECK(walk.mapped);
        CHECK_EQUAL(walk.leaf_bytes, leaf);
        CHECK_EQUAL(walk.phys, phys + at);
    }
}

static bool take_large(unsigned order, uint64_t *out)
{
    struct mm_frame_request request = {.order = (uint8_t)order, .flags = MM_FRAME_TRY_HARD};
    struct mm_pmm_blocks blocks;
    mm_phys_t first;
    enum mm_err err = mm_pmm_alloc(&mm_default.pmm, &request, &first);

    if (err == MM_OK) {
        *out = first.raw;
        return true;
    }
    CHECK_EQUAL(err, MM_ERR_NO_MEMORY);
    mm_pmm_get_blocks(&mm_default.pmm, &blocks); /* of lower zones a floor may be in the way */
    CHECK(blocks.free_blocks[order] == 0 || mm_pmm_free_frames(&mm_default.pmm) < 8192);
    return false;
}

static void use_large(unsigned order, uint64_t first)
{
    uint64_t frames = UINT64_C(1) << order;
    uint64_t bytes = frames * MM_FRAME_BYTES;
    struct mm_frame_info info;

    CHECK_EQUAL(first % bytes, 0);
    mm_pmm_query(&mm_default.pmm, mm_phys(first + bytes - 1), &info);
    CHECK_EQUAL(info.state, MM_FRAME_ALLOCATED);
    CHECK_EQUAL(info.first.raw, first);
    CHECK_EQUAL(info.count_frames, frames);
    test_map(TEST_LOW, first, bytes, MM_PROT_RW);
    check_leaves(TEST_LOW, first, bytes);
    use_mapping(TEST_LOW, first, bytes);
    test_unmap(TEST_LOW, bytes);
    test_read_faults(TEST_LOW + bytes - 8, 0);
}

SELFTEST(large_block_is_mapped_by_one_entry)
{
    uint64_t block;

    snapshot_take(&snapshot_before);
    block = test_block(MM_ORDER_2M);
    test_owned(block, 512);
    use_large(MM_ORDER_2M, block);
    for (uint64_t at = 0; at < LARGE_BYTES; at += MM_FRAME_BYTES)
        test_direct(block + at)[0] = at;
    test_map(TEST_LOW, block, LARGE_BYTES, MM_PROT_RW);
    for (uint64_t at = 0; at < LARGE_BYTES; at += MM_FRAME_BYTES)
        CHECK_EQUAL(test_read(TEST_LOW + at), at);
    test_unmap(TEST_LOW, LARGE_BYTES);
    CHECK_REPORTED(mm_pmm_free(&mm_default.pmm, mm_phys(block), 256), MM_ERR_MISUSE);
    test_free(block, 512);
    CHECK(snapshot_unchanged());
}

SELFTEST(large_blocks_of_all_orders_that_are_there)
{
    unsigned greatest = 0;

    snapshot_take(&snapshot_before);
    for (unsigned order = MM_ORDER_2M; order <= MM_ORDER_MAX; order++) {
        uint64_t first;

        if (!take_large(order, &first))
            continue;
        greatest = order;
        use_large(order, first);
        test_free(first, UINT64_C(1) << order);
    }
    CHECK(greatest >= MM_ORDER_2M);
    kprintf("  greatest block: %lu MiB%s\n", (MM_FRAME_BYTES << greatest) / MIB,
            greatest < MM_ORDER_MAX ? "; 1 GiB: no such block here"
            : (mm_default.vmm.paging.leaf_levels & 1u << 3) != 0
                ? ", mapped by one entry"
                : "; the CPU has no pages of 1 GiB");
    CHECK(snapshot_unchanged());
}

/* A run that is no power of two, across many chunks: what is left of them stays usable. */
SELFTEST(large_run_leaves_its_neighbours_alone)
{
    uint64_t run, block;

    snapshot_take(&snapshot_before);
    run = test_run(512 + 100);
    block = test_block(3);
    CHECK(block + 8 * MM_FRAME_BYTES <= run || block >= run + 612 * MM_FRAME_BYTES);
    CHECK_REPORTED(mm_pmm_free(&mm_default.pmm, mm_phys(run), 512), MM_ERR_MISUSE);
    test_free(run, 612);
    test_owned(block, 8);
    test_free(block, 8);
    CHECK(snapshot_unchanged());
}
