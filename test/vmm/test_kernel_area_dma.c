/*
 * test_kernel_area_dma.c - DMA memory, and what is left when a step fails.
 *
 * Problem     Three allocators in a row: each failure must give back what the others gave.
 * Idea        As test_kernel_area.c; frames are looked at again at the moment of the flush.
 */
#include "area_fixture.h"

#define HPET UINT64_C(0xfed00000)

TEST(dma_alloc_obeys_each_limit)
{
    static const struct mm_dma_request rows[] = {
        {.bytes = 1},
        {.bytes = 3 * PAGE + 1},
        {.bytes = PAGE, .align_bytes = 0x10000},
        {.bytes = 0x9000, .boundary_bytes = 0x10000},
        {.bytes = PAGE, .highest = MM_PHYS(MIB(2) - 1)},
        {.bytes = 5 * PAGE,
         .align_bytes = 0x8000,
         .boundary_bytes = 0x8000,
         .highest = MM_PHYS(MIB(8) - 1),
         .type = MM_MEMTYPE_UC},
        {.bytes = MIB(2), .align_bytes = MIB(2), .type = MM_MEMTYPE_WC},
    };
    uint64_t free;

    begin(MIB(64));
    free = mm_pmm_free_frames(&t.pmm);
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            const struct mm_dma_request *want = &rows[i];
            struct fake_access got;
            struct mm_dma dma;

            mm_test_row("row", i);
            CHECK_OK(mm_dma_alloc(&t.area, want, &dma));
            CHECK_EQ(dma.bytes, mm_frames_for(want->bytes) * PAGE);
            CHECK_EQ(dma.phys.raw % (want->align_bytes != 0 ? want->align_bytes : PAGE), 0);
            if (want->boundary_bytes != 0)
                CHECK_EQ(dma.phys.raw / want->boundary_bytes,
                         (dma.phys.raw + dma.bytes - 1) / want->boundary_bytes);
            if (want->highest.raw != 0)
                CHECK(dma.phys.raw + dma.bytes - 1 <= want->highest.raw);
            for (uint64_t at = 0; at < dma.bytes; at += PAGE) {
                got = fake_probe(mm_virt(raw(dma.pointer) + at));
                CHECK_EQ(got.phys.raw, dma.phys.raw + at);
                CHECK_EQ(got.type, want->type);
                CHECK_EQ(got.prot, MM_PROT_RW);
            }
            CHECK_EQ(fake_probe(mm_virt(raw(dma.pointer) + dma.bytes)).fault, FAKE_NOT_PRESENT);
            CHECK_OK(mm_dma_free(&t.area, &dma));
        }
    }
    CHECK_EQ(mm_pmm_free_frames(&t.pmm), free);
    CHECK_EQ(t.arena.span_count, 0);
    check_all();
}

static void dirty_free_frames(bool check)
{
    for (uint64_t at = MIB(1); at < MIB(16); at += PAGE) {
        uint8_t *bytes = fake_ram(mm_phys(at), PAGE);
        struct mm_frame_info info;

        mm_pmm_query(&t.pmm, mm_phys(at), &info);
        if (info.state == MM_FRAME_FREE && check)
            CHECK(bytes[0] == 0xa5 && bytes[PAGE - 1] == 0xa5);
        else if (info.state == MM_FRAME_FREE)
            memset(bytes, 0xa5, PAGE);
    }
}

/* The PMM's window shows the frames, or others, or there is none: each type, each time. */
TEST(dma_alloc_zeroes_when_asked)
{
    struct mm_dma_request request = {.bytes = 3 * PAGE, .flags = MM_FRAME_ZERO};

    for (unsigned i = 0; i < 9; i++) {
        struct mm_window low = MM_ZERO;
        struct fake_counts before;
        struct mm_dma dma;

        mm_test_row("window and type", i);
        begin(MIB(16));
        CHECK_OK(mm_window_add(&low, mm_phys(0), MIB(1), fake_window()->piece[0].virt));
        t.pmm.window = i % 3 == 0 ? fake_window() : i % 3 == 1 ? &low : NULL;
        request.type = i < 3 ? MM_MEMTYPE_WB : i < 6 ? MM_MEMTYPE_UC : MM_MEMTYPE_WC;
        dirty_free_frames(false);
        before = fake_counts();
        CHECK_OK(mm_dma_alloc(&t.area, &request, &dma));
        for (uint64_t at = 0; at < dma.bytes; at += 8)
            CHECK_EQ(fake_read64(mm_virt(raw(dma.pointer) + at)).value, 0);
        dirty_free_frames(true); /* and nothing else is zeroed */
        CHECK_EQ(fake_counts().frame_maps - before.frame_maps,
                 fake_counts().frame_unmaps - before.frame_unmaps);
        CHECK_OK(mm_dma_free(&t.area, &dma));
    }
}

TEST(dma_alloc_does_not_zero_unasked)
{
    struct mm_dma_request request = {.bytes = PAGE};
    struct mm_dma dma;

    begin(MIB(16));
    dirty_free_frames(false);
    CHECK_OK(mm_dma_alloc(&t.area, &request, &dma));
    CHECK_EQ(fake_read64(mm_virt_of(dma.pointer)).value, UINT64_C(0xa5a5a5a5a5a5a5a5));
}

TEST(dma_alloc_that_fails_at_any_step_changes_nothing)
{
    struct mm_dma_request request = {.bytes = 5 * PAGE};
    struct mm_dma dma = MM_ZERO;

    for (int64_t n = 0;; n++) {
        struct state before;
        enum mm_err err;

        mm_test_row("failing allocation", (uint64_t)n);
        begin(GIB(1));
        before = state_now();
        t.fail_after = n;
        err = mm_dma_alloc(&t.area, &request, &dma);
        if (err == MM_OK) {
            CHECK(n >= 2);
            break;
        }
        CHECK_ERR(err, MM_ERR_NO_MEMORY);
        CHECK(dma.pointer == NULL);
        check_same(&before);
    }
}

TEST(dma_alloc_of_what_there_is_not_changes_nothing)
{
    static const struct {
        struct mm_dma_request request;
        enum mm_err err;
    } rows[] = {
        {{.bytes = 0}, MM_ERR_BAD_ARG},
        {{.bytes = PAGE, .align_bytes = 3}, MM_ERR_BAD_ARG},
        {{.bytes = PAGE, .boundary_bytes = 3}, MM_ERR_BAD_ARG},
        {{.bytes = PAGE, .flags = MM_FRAME_TRY_HARD}, MM_ERR_BAD_ARG},
        {{.bytes = PAGE, .type = (enum mm_memtype)6}, MM_ERR_BAD_ARG},
        {{.bytes = MIB(16)}, MM_ERR_NO_MEMORY},
        {{.bytes = UINT64_MAX}, MM_ERR_NO_MEMORY},
        {{.bytes = PAGE, .highest = MM_PHYS(0xfffff)}, MM_ERR_NO_MEMORY}, /* no RAM there */
        {{.bytes = MIB(8)}, MM_ERR_NO_ADDRESS},                           /* the area is smaller */
    };
    struct mm_dma dma = MM_ZERO;
    struct state before;

    begin(MIB(4));
    before = state_now();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mm_test_row("row", i);
        CHECK_ERR(mm_dma_alloc(&t.area, &rows[i].request, &dma), rows[i].err);
        CHECK(dma.pointer == NULL);
        check_same(&before);
    }
}

TEST(dma_free_of_anything_else_is_refused)
{
    static const char text[] = "not what mm_dma_alloc() gave";
    struct mm_dma_request request = {.bytes = 2 * PAGE};
    struct mm_dma dma, other, wrong;
    void *device = NULL;
    struct state before;

    begin(MIB(16));
    CHECK_OK(mm_dma_alloc(&t.area, &request, &dma));
    CHECK_OK(mm_dma_alloc(&t.area, &request, &other));
    CHECK_OK(mm_kmap(&t.area, mm_phys(HPET), 2 * PAGE, MM_MEMTYPE_UC, &device));
    before = state_now();
    for (unsigned i = 0; i < 6; i++) {
        mm_test_row("row", i);
        wrong = dma;
        wrong.bytes = i == 0 ? PAGE : i == 1 ? 3 * PAGE : wrong.bytes;
        wrong.phys = i == 2 ? other.phys : i == 3 ? mm_phys(HPET) : wrong.phys;
        wrong.pointer = i == 3   ? device
                        : i == 4 ? (void *)((uintptr_t)wrong.pointer + 8)
                        : i == 5 ? (void *)((uintptr_t)wrong.pointer + PAGE)
                                 : wrong.pointer;
        CHECK_ERR(mm_dma_free(&t.area, &wrong), MM_ERR_MISUSE);
        check_reported(text);
        check_same(&before);
    }
    CHECK_OK(mm_dma_free(&t.area, &dma));
    CHECK_ERR(mm_dma_free(&t.area, &dma), MM_ERR_MISUSE);
    check_reported(text);
    CHECK_ERR(mm_dma_free(&t.area, NULL), MM_ERR_BAD_ARG);
    check_reported("no kernel area or no buffer given");
    check_all();
}

/* The frames may be handed out again only after no CPU can reach them through the old address. */
static bool in_use_at_shootdown;
static mm_phys_t watched;

static bool look_at_frame(void *arg, unsigned cpu)
{
    struct mm_frame_info info;

    (void)arg;
    (void)cpu;
    mm_pmm_query(&t.pmm, watched, &info);
    in_use_at_shootdown = info.state == MM_FRAME_ALLOCATED;
    return true;
}

TEST(dma_free_releases_frames_after_the_flush)
{
    struct mm_dma_request request = {.bytes = PAGE};
    struct mm_frame_info info;
    struct mm_dma dma;

    begin(MIB(16));
    CHECK_OK(mm_dma_alloc(&t.area, &request, &dma));
    fake_cpu_set(1);
    CHECK_EQ(fake_write64(mm_virt_of(dma.pointer), 42).fault, FAKE_OK);
    fake_cpu_set(0);
    watched = dma.phys;
    mm_test_shootdown_hook(look_at_frame, NULL);
    CHECK_OK(mm_dma_free(&t.area, &dma));
    mm_test_shootdown_hook(NULL, NULL);
    CHECK(in_use_at_shootdown);
    mm_pmm_query(&t.pmm, watched, &info);
    CHECK_EQ(info.state, MM_FRAME_FREE);
    CHECK(!fake_frame_in_use(watched));
    check_all();
}
