/*
 * test_gather.c - what was removed waits for its flush, and only then is freed.
 */
#include "vmm_fixture.h"

#include "mm/memmap.h"
#include "mm/pmm.h"

static unsigned released;
static mm_phys_t released_first;
static uint64_t released_frames;
static uint64_t release_stale;

static void release(void *context, mm_phys_t first, uint64_t count_frames)
{
    CHECK(context == &released);
    released++;
    released_first = first;
    released_frames = count_frames;
    release_stale += fake_stale_entries();
}

TEST(a_gather_flushes_when_it_ends_and_frees_after_that)
{
    const uint64_t virt[] = {LOW, LOW + K4};
    struct mm_gather gather;

    fixture_start(4, true, 2);
    released = 0;
    release_stale = 0;
    CHECK_OK(map(&fx.kernel, LOW, DATA, 2 * K4, MM_PROT_RW));
    touch(virt, 2);
    mm_gather_begin(&gather, &fx.kernel);
    mm_gather_set_release(&gather, release, &released);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), 2 * K4, 0, &gather, NULL));
    mm_gather_frames(&gather, mm_phys(RAM_START), 2);
    CHECK_EQ(released, 0);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    CHECK(fake_stale_entries() > 0);
    mm_gather_end(&gather);
    CHECK_EQ(released, 1);
    CHECK_EQ(released_first.raw, RAM_START);
    CHECK_EQ(released_frames, 2);
    CHECK_EQ(release_stale, 0);
    CHECK_EQ(mm_test_shootdowns().count, 1);
    fixture_sound(&fx.kernel);
}

TEST(a_gather_that_is_full_flushes_and_goes_on)
{
    struct mm_gather gather;

    fixture_start(4, true, 2);
    released = 0;
    release_stale = 0;
    CHECK_OK(map(&fx.kernel, LOW, 8 * GIB, 100 * K4, MM_PROT_RW));
    mm_gather_begin(&gather, &fx.kernel);
    mm_gather_set_release(&gather, release, &released);
    for (unsigned i = 0; i < 100; i++) {
        CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW + i * K4), K4, 0, &gather, NULL));
        mm_gather_frames(&gather, mm_phys(8 * GIB + i * K4), 1);
    }
    CHECK_EQ(released, 96);
    mm_gather_end(&gather);
    CHECK_EQ(released, 100);
    CHECK_EQ(release_stale, 0);
    fixture_sound(&fx.kernel);
}

TEST(frames_for_a_gather_without_a_pmm_are_refused_and_reported)
{
    struct mm_gather gather;

    fixture_start(4, true, 1);
    mm_gather_begin(&gather, &fx.kernel);
    mm_gather_frames(&gather, mm_phys(RAM_START), 1);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(mm_test_report(0)->kind, MM_REPORT_MISUSE);
    CHECK_EQ(mm_test_report(0)->address, RAM_START);
    CHECK_EQ(gather.run_count, 0);
    mm_gather_set_release(&gather, release, &released);
    mm_gather_frames(&gather, mm_phys(RAM_START), UINT64_MAX);
    CHECK_EQ(mm_test_report_count(), 2);
    CHECK_EQ(gather.run_count, 0);
    mm_gather_end(&gather);
}

/* A PMM over 1 MiB of its own; the tables still come from the test's frames. */
static void pmm_start(struct mm_pmm *pmm)
{
    static struct mm_mem_range range[16];
    static struct mm_memmap memmap;
    static uint64_t meta[8192];
    struct mm_pmm_config config = {
        .map = &memmap, .meta = meta, .meta_bytes = sizeof meta, .cpu_count = 1};

    CHECK_OK(mm_memmap_init(&memmap, range, 16, 46));
    CHECK_OK(mm_memmap_add(&memmap, mm_phys(64 * MIB), MIB, MM_MEM_USABLE));
    CHECK_OK(mm_memmap_finish(&memmap));
    CHECK_OK(mm_pmm_init(pmm, &config));
}

TEST(a_gather_gives_frames_back_to_the_pmm)
{
    struct mm_frame_source tables;
    struct mm_gather gather;
    static struct mm_pmm pmm;
    mm_phys_t frame;

    fixture_start(4, true, 1);
    pmm_start(&pmm);
    tables = mm_test_frame_source(&fx.frames);
    mm_vmm_set_sources(&fx.vmm, &tables, &pmm);
    CHECK_OK(mm_pmm_alloc_frame(&pmm, &frame));
    CHECK_EQ(mm_pmm_free_frames(&pmm), 255);
    CHECK_OK(map(&fx.kernel, LOW, frame.raw, K4, MM_PROT_RW));
    mm_gather_begin(&gather, &fx.kernel);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), K4, 0, &gather, NULL));
    mm_gather_frames(&gather, frame, 1);
    CHECK_EQ(mm_pmm_free_frames(&pmm), 255);
    mm_gather_end(&gather);
    CHECK_EQ(mm_pmm_free_frames(&pmm), 256);
    mm_gather_begin(&gather, &fx.kernel);
    mm_gather_frames(&gather, frame, 1); /* twice: the PMM says so when the gather ends */
    CHECK_EQ(mm_test_report_count(), 0);
    mm_gather_end(&gather);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(mm_test_report(0)->address, frame.raw);
    fixture_sound(&fx.kernel);
}

TEST(a_gather_of_another_space_is_refused)
{
    struct mm_space user = MM_ZERO;
    struct mm_gather gather;

    fixture_start(4, true, 1);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(map(&fx.kernel, LOW, GIB, K4, MM_PROT_RW));
    mm_gather_begin(&gather, &user);
    CHECK_ERR(mm_space_unmap(&fx.kernel, mm_virt(LOW), K4, 0, &gather, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_protect(&fx.kernel, mm_virt(LOW), K4, MM_PROT_READ, 0, &gather, NULL),
              MM_ERR_BAD_ARG);
    mm_gather_end(&gather);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}
