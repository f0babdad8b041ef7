/*
 * test_pmm_watermark.c - told once when a zone runs low, and once when it recovers.
 */
#include "fixture.h"

static struct fixture machine;

static struct {
    unsigned calls;
    enum mm_zone zone;
    enum mm_memory_level level;
    uint64_t free_frames;
    unsigned frees; /* frames that the callback gives back when memory is at its minimum */
    void *arg;
} told;

/* Zone DMA has no stock, so each frame counts at once. */
#define FRAMES 0x400u
static mm_phys_t held[FRAMES];
static unsigned held_count;

static void tell(void *arg, enum mm_zone zone, enum mm_memory_level level, uint64_t free_frames)
{
    CHECK(fake_cpu(fake_cpu_current())->interrupts_on);
    for (uint32_t i = 0; i < machine.pmm.pool_count; i++)
        CHECK_EQ(machine.pmm.pool[i].lock.owner, 0);
    told.calls++;
    told.arg = arg;
    told.zone = zone;
    told.level = level;
    told.free_frames = free_frames;
    while (level == MM_MEMORY_MIN && told.frees != 0) {
        told.frees--;
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, held[--held_count]));
    }
}

static const struct mm_pmm_watermark marks = {100, 200, 300, tell, &held_count};

static void start(void)
{
    memset(&told, 0, sizeof told);
    held_count = 0;
    FIXTURE(&machine, NULL, RAM(0x200, FRAMES));
}

static void take_to(uint64_t free_frames)
{
    while (mm_pmm_free_frames(&machine.pmm) > free_frames)
        CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &held[held_count++]));
}

static void give_to(uint64_t free_frames)
{
    while (mm_pmm_free_frames(&machine.pmm) < free_frames)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, held[--held_count]));
}

static void check_told(unsigned calls, enum mm_memory_level level, uint64_t free_frames)
{
    CHECK_EQ(told.calls, calls);
    CHECK_EQ(told.level, level);
    CHECK_EQ(told.free_frames, free_frames);
    CHECK_EQ(told.zone, MM_ZONE_DMA);
    CHECK(told.arg == &held_count);
}

TEST(watermark_tells_each_change_of_level_once)
{
    start();
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &marks));
    take_to(200);
    CHECK_EQ(told.calls, 0);
    take_to(199);
    check_told(1, MM_MEMORY_LOW, 199);
    give_to(300); /* until above high */
    take_to(100);
    CHECK_EQ(told.calls, 1);
    take_to(99);
    check_told(2, MM_MEMORY_MIN, 99);
    give_to(200); /* until above low */
    take_to(0);
    CHECK_EQ(told.calls, 2);
    give_to(201);
    check_told(3, MM_MEMORY_LOW, 201);
    give_to(300);
    CHECK_EQ(told.calls, 3);
    give_to(301);
    check_told(4, MM_MEMORY_PLENTY, 301);
    take_to(200);
    give_to(FRAMES);
    CHECK_EQ(told.calls, 4);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

static unsigned wrongly_told;

static void tell_wrongly(void *arg, enum mm_zone zone, enum mm_memory_level level,
                         uint64_t free_frames)
{
    (void)arg;
    (void)zone;
    (void)level;
    (void)free_frames;
    wrongly_told++;
}

/* CPU 1, while CPU 0 is in the call that goes below the old mark. */
static void replace_marks(void *arg)
{
    static const struct mm_pmm_watermark far = {1, 2, 3, tell_wrongly, NULL};

    (void)arg;
    fake_cpu_set(1);
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &far));
    fake_cpu_set(0);
}

/* Nobody is told a level by marks that are not his. */
TEST(watermark_is_replaced_while_the_level_changes)
{
    uint64_t skip = 0;
    unsigned in_time = 0;

    do {
        mm_test_row("after points", skip);
        start();
        wrongly_told = 0;
        CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &marks));
        take_to(200);
        fake_interrupt_once(replace_marks, NULL, skip++);
        CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &held[held_count++]));
        if (told.calls != 0)
            check_told(1, MM_MEMORY_LOW, 199);
        in_time += told.calls == 0;
        CHECK_EQ(wrongly_told, 0);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    } while (!fake_interrupt_pending());
    fake_interrupt_set(NULL, NULL);
    CHECK_EQ(told.calls, 1); /* when it came too late */
    CHECK(in_time > 0);
}

TEST(watermark_jumps_over_a_level)
{
    start();
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &marks));
    CHECK_EQ(take_run(&machine, FRAMES - 50), 0x200);
    check_told(1, MM_MEMORY_MIN, 50);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x200), FRAMES - 50));
    check_told(2, MM_MEMORY_PLENTY, FRAMES);
    CHECK_EQ(take_run(&machine, FRAMES - 150), 0x200);
    check_told(3, MM_MEMORY_LOW, 150);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x200), FRAMES - 150));
    check_told(4, MM_MEMORY_PLENTY, FRAMES);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, FRAMES - 50, held));
    check_told(5, MM_MEMORY_MIN, 50);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(watermark_callback_may_use_the_pmm)
{
    mm_phys_t last;

    start();
    told.frees = 250;
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &marks));
    take_to(100);
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &last));
    /* the callback freed 250; its frees made the calls for LOW and PLENTY inside */
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 349);
    CHECK_EQ(told.calls, 4);
    CHECK_EQ(told.level, MM_MEMORY_PLENTY);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(watermark_of_a_zone_that_is_low_already_is_told_at_once)
{
    start();
    take_to(150);
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &marks));
    check_told(1, MM_MEMORY_LOW, 150);
    take_to(90);
    CHECK_EQ(told.calls, 2);
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, NULL));
    give_to(FRAMES);
    take_to(0);
    CHECK_EQ(told.calls, 2);
    CHECK_EQ(machine.pmm.watched, 0);
}

TEST(watermark_of_each_zone_is_its_own)
{
    struct mm_pmm_watermark high = marks;

    memset(&told, 0, sizeof told);
    FIXTURE(&machine, NULL, RAM(0x200, FRAMES), RAM(0x100000, FRAMES));
    high.arg = &told;
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &marks));
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_HIGH, &high));
    CHECK_EQ(take_run(&machine, FRAMES - 10), 0x100000);
    CHECK_EQ(told.calls, 1);
    CHECK_EQ(told.zone, MM_ZONE_HIGH);
    CHECK(told.arg == &told);
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA32, &marks)); /* it has no memory */
    CHECK_EQ(told.calls, 2);
    CHECK_EQ(told.zone, MM_ZONE_DMA32);
    CHECK_EQ(told.level, MM_MEMORY_MIN);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(watermark_refuses_marks_in_disorder)
{
    static const struct mm_pmm_watermark wrong[] = {
        {1, 2, 3, NULL, NULL}, {3, 2, 4, tell, NULL}, {1, 4, 3, tell, NULL}};
    struct mm_pmm_watermark same = {5, 5, 5, tell, NULL};

    start();
    for (unsigned i = 0; i < 3; i++)
        CHECK_ERR(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &wrong[i]), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_set_watermark(&machine.pmm, (enum mm_zone)MM_ZONES, &marks), MM_ERR_BAD_ARG);
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &same));
    CHECK_EQ(told.calls, 0);
}
