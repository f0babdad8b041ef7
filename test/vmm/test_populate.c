/*
 * test_populate.c - frames that a space owns: given back by whatever takes the pages away, counted,
 * limited, and never given back twice.
 */
#include "vmm_fixture.h"

#define META (UINT64_C(64) << 10)

static struct mm_pmm pmm;
static struct mm_memmap memmap;
static struct mm_mem_range range[8];
static struct mm_space user;
static uint64_t meta[META / 8];
static uint64_t free_before;

/* Frames for pages come from a PMM over RAM of their own; tables from the fixture's source. */
static void start(unsigned cpus)
{
    struct mm_pmm_config config = {.map = &memmap,
                                   .window = fake_window(),
                                   .cpu_count = cpus,
                                   .meta = meta,
                                   .meta_bytes = sizeof meta};
    struct mm_frame_source tables;

    user = (struct mm_space)MM_ZERO;
    fixture_start(4, true, cpus);
    fake_ram_add(mm_phys(256 * MIB), 16 * MIB);
    CHECK_OK(mm_memmap_init(&memmap, range, 8, 46));
    CHECK_OK(mm_memmap_add(&memmap, mm_phys(256 * MIB), 16 * MIB, MM_MEM_USABLE));
    CHECK_OK(mm_memmap_finish(&memmap));
    CHECK_OK(mm_pmm_init(&pmm, &config));
    tables = mm_test_frame_source(&fx.frames);
    mm_vmm_set_sources(&fx.vmm, &tables, &pmm);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    free_before = mm_pmm_free_frames(&pmm);
}

static uint64_t used(void)
{
    return free_before - mm_pmm_free_frames(&pmm);
}

static void check_all(void)
{
    struct mm_space_stats stats;

    CHECK_EQ(space_faults(&user), 0);
    CHECK_EQ(mm_pmm_check(&pmm, NULL), 0);
    mm_space_get_stats(&user, &stats);
    CHECK_EQ(stats.owned_frames, used());
}

static void end(void)
{
    CHECK_EQ(used(), 0);
    CHECK_EQ(mm_pmm_check(&pmm, NULL), 0);
    CHECK_EQ(mm_space_check(&fx.kernel, NULL), 0);
    CHECK_EQ(fake_stale_entries(), 0);
}

static enum mm_err populate(uint64_t virt, uint64_t pages)
{
    return mm_space_populate(&user, mm_virt(virt), pages * K4, MM_PROT_RW | MM_PROT_USER, 0, NULL);
}

TEST(populated_memory_is_zero_writable_and_given_back_by_unmap)
{
    start(2);
    CHECK_OK(populate(LOW, 700));
    CHECK_EQ(used(), 700);
    check_all();
    fixture_activate(0, &user);
    fixture_activate(1, &user);
    for (uint64_t i = 0; i < 700; i++) {
        CHECK_EQ(fake_read64(mm_virt(LOW + i * K4 + i * 8 % K4)).value, 0);
        CHECK_EQ(fake_write64(mm_virt(LOW + i * K4), i).fault, FAKE_OK);
    }
    for (uint64_t i = 0; i < 700; i++)
        CHECK_EQ(fake_read64(mm_virt(LOW + i * K4)).value, i);
    CHECK_OK(unmap(&user, LOW + 3 * K4, K4));
    CHECK_EQ(used(), 699);
    CHECK_OK(unmap(&user, LOW + 100 * K4, 300 * K4)); /* more than a gather holds */
    CHECK_EQ(used(), 399);
    check_all();
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), 4 * M2, MM_RANGE_HOLES, NULL, NULL)); /* whole */
    CHECK_EQ(used(), 0);
    check_all();
    fixture_activate(0, &fx.kernel);
    fixture_activate(1, &fx.kernel);
    CHECK_OK(mm_space_destroy(&user));
    end();
}

TEST(destroy_gives_back_what_the_space_owns_and_nothing_else)
{
    mm_phys_t borrowed;

    start(1);
    CHECK_OK(mm_pmm_alloc_frame(&pmm, &borrowed));
    CHECK_OK(populate(LOW, 5));
    CHECK_OK(map(&user, LOW + 5 * K4, borrowed.raw, K4, MM_PROT_RW | MM_PROT_USER));
    CHECK_OK(populate(LOW + 6 * K4, 600));
    CHECK_OK(populate(LOW + 9 * GIB, 1));
    CHECK_EQ(used(), 607);
    CHECK_OK(mm_space_destroy(&user));
    CHECK_EQ(used(), 1);
    CHECK_OK(mm_pmm_free_frame(&pmm, borrowed));
    end();
}

TEST(frames_given_to_a_space_are_its_own)
{
    struct mm_map_request request = request_of(LOW, 0, K4, MM_PROT_RW | MM_PROT_USER);
    struct mm_gather gather;

    start(1);
    CHECK_OK(mm_pmm_alloc_frame(&pmm, &request.phys));
    request.flags = MM_MAP_OWNED;
    CHECK_OK(mm_space_map(&user, &request, NULL));
    check_all();
    CHECK_OK(protect(&user, LOW, K4, MM_PROT_READ | MM_PROT_USER));
    check_all();
    mm_gather_begin(&gather, &user);
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), K4, 0, &gather, NULL));
    CHECK_EQ(used(), 1); /* not before the flush */
    mm_gather_end(&gather);
    CHECK_EQ(used(), 0);
    CHECK_OK(mm_space_destroy(&user));
    end();
}

TEST(frames_are_limited)
{
    struct mm_space_fail why;

    start(1);
    CHECK_OK(mm_space_set_frame_limit(&user, 100));
    CHECK_OK(populate(LOW, 100));
    CHECK_ERR(populate(LOW + 200 * K4, 1), MM_ERR_LIMIT);
    CHECK_ERR(mm_space_set_frame_limit(&user, 99), MM_ERR_LIMIT);
    CHECK_OK(unmap(&user, LOW, 30 * K4));
    CHECK_ERR(mm_space_populate(&user, mm_virt(LOW + GIB), 70 * K4, MM_PROT_RW, 0, &why),
              MM_ERR_LIMIT);
    CHECK_EQ(why.err, MM_ERR_LIMIT);
    CHECK_EQ(used(), 70);
    CHECK_OK(populate(LOW + GIB, 30));
    CHECK_OK(mm_space_set_frame_limit(&user, 0));
    CHECK_OK(populate(LOW + 2 * GIB, 300));
    check_all();
    CHECK_OK(mm_space_destroy(&user));
    end();
}

/* Whatever fails, and wherever: nothing is there, nothing is lost. */
TEST(populate_is_all_or_nothing)
{
    struct mm_space_fail why;
    uint32_t tables;

    start(2);
    tables = fx.frames.used;
    CHECK_ERR(populate(LOW, 5000), MM_ERR_NO_MEMORY); /* there are 4096 */
    CHECK_EQ(used(), 0);
    CHECK_EQ(fx.frames.used, tables);
    CHECK_OK(map(&user, LOW + 200 * K4, DATA, K4, MM_PROT_READ | MM_PROT_USER));
    CHECK_ERR(mm_space_populate(&user, mm_virt(LOW), 300 * K4, MM_PROT_RW, 0, &why), MM_ERR_EXISTS);
    CHECK_EQ(why.virt.raw, LOW + 200 * K4);
    CHECK_EQ(used(), 0);
    CHECK_OK(unmap(&user, LOW + 200 * K4, K4));
    for (int64_t i = 0; i < 6; i++) {
        mm_test_row("table", (uint64_t)i);
        fx.frames.fail_after = i;
        CHECK_ERR(populate(LOW + M2 - 70 * K4, 140 + 600), i < 5 ? MM_ERR_NO_MEMORY : MM_OK);
        CHECK_EQ(used(), i < 5 ? 0 : 740);
        check_all();
    }
    fx.frames.fail_after = -1;
    CHECK_OK(mm_space_destroy(&user));
    end();
}

TEST(populate_refuses_what_map_refuses)
{
    start(1);
    CHECK_ERR(populate(LOW + 8, 1), MM_ERR_BAD_ARG);
    CHECK_ERR(populate(LOW, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(populate(0, 1), MM_ERR_POLICY);
    CHECK_ERR(mm_space_populate(&user, mm_virt(LOW), K4, MM_PROT_RW, MM_MAP_SMALL, NULL),
              MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_populate(&user, mm_virt(LOW), K4, MM_PROT_RW | MM_PROT_EXEC, 0, NULL),
              MM_ERR_POLICY);
    CHECK_ERR(mm_space_populate(NULL, mm_virt(LOW), K4, MM_PROT_RW, 0, NULL), MM_ERR_BAD_ARG);
    CHECK_EQ(used(), 0);
    CHECK_OK(mm_space_destroy(&user));
    CHECK_ERR(populate(LOW, 1), MM_ERR_GONE);
    end();
}
