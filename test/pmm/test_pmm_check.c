/*
 * test_pmm_check.c - the checker, attacked: every bit of the metadata is flipped.
 */
#include "fixture.h"

static struct fixture machine;

/* Two regions, holes, boot memory, allocations that touch, that cross chunks, at chunk edges. */
static void start(void)
{
    mm_phys_t out[40];

    FIXTURE(&machine, NULL, {0x10, 0x80, MM_MEM_USABLE, MM_USE_FREE, 1}, RAM(0x100, 0x4ff),
            {0x700, 0x20, MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0}, RAM(0xfff, 2),
            {0x100000, 0x280, MM_MEM_USABLE, MM_USE_FREE, 2}, RAM(0x100280, 0x180));
    (void)take_run(&machine, 0x1ff);
    (void)take_run(&machine, 0x40);
    (void)take_run(&machine, 3);
    (void)take_order(&machine, 3);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, 40, out));
    for (unsigned i = 0; i < 40; i += 3)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, out[i]));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

struct told {
    size_t count;
    bool locked; /* the sink was called with interrupts off */
    struct mm_report last;
};

static void tell(void *context, const struct mm_report *report)
{
    struct told *told = context;

    told->count++;
    told->locked |= machine.pmm.lock.owner != 0 || !fake_cpu(fake_cpu_current())->interrupts_on;
    told->last = *report;
}

/* Everything that only reads, and a free that must not do harm. */
static void use_damaged(uint64_t address)
{
    struct mm_frame_info info;
    struct mm_pmm_stats stats;
    struct mm_phys_range run;
    enum mm_frame_state state;
    mm_phys_t cursor = mm_phys(0);

    mm_pmm_query(&machine.pmm, mm_phys(address), &info);
    mm_pmm_get_stats(&machine.pmm, &stats);
    for (unsigned i = 0; i < 10000; i++)
        if (mm_pmm_walk(&machine.pmm, &cursor, &run, &state) != MM_OK)
            return;
    CHECK(false); /* it does not end */
}

/* Flips that no recomputation can see: nodes are said once. A node that is none is found. */
static bool is_undetectable(const struct mm_pmm_chunk *chunk, size_t byte)
{
    size_t in_chunk = byte % sizeof *chunk;

    return in_chunk / 2 * 2 == offsetof(struct mm_pmm_chunk, node) &&
           (chunk->node < MM_NODES_MAX || chunk->node == MM_NODE_MIXED);
}

TEST(pmm_check_finds_every_flipped_bit_of_a_chunk)
{
    unsigned char *byte;
    size_t bytes, undetectable = 0;

    start();
    byte = (unsigned char *)machine.pmm.chunk;
    bytes = machine.pmm.chunk_count * sizeof(struct mm_pmm_chunk);
    CHECK_EQ(machine.meta_bytes, bytes + machine.pmm.region_count * sizeof(struct mm_pmm_region));
    for (size_t i = 0; i < bytes; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            const struct mm_pmm_chunk *chunk = &machine.pmm.chunk[i / sizeof *chunk];
            struct told told = {.count = 0};
            size_t faults;

            mm_test_row("bit", i * 8 + bit);
            byte[i] ^= (unsigned char)(1u << bit);
            faults = mm_pmm_check(&machine.pmm, &(struct mm_check_sink){tell, &told});
            if (is_undetectable(chunk, i))
                undetectable++;
            else
                CHECK(faults > 0);
            CHECK_EQ(told.count, faults);
            CHECK(!told.locked);
            use_damaged(i * 64 * MM_FRAME_BYTES);
            byte[i] ^= (unsigned char)(1u << bit);
        }
    CHECK(undetectable <= 7 * machine.pmm.chunk_count); /* the six bits of a node, and one mixed */
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_check_finds_every_flipped_bit_of_a_region)
{
    unsigned char *byte;

    start();
    byte = (unsigned char *)machine.pmm.region;
    for (size_t i = 0; i < machine.pmm.region_count * sizeof(struct mm_pmm_region); i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            mm_test_row("bit", i * 8 + bit);
            byte[i] ^= (unsigned char)(1u << bit);
            CHECK(mm_pmm_check(&machine.pmm, NULL) > 0);
            byte[i] ^= (unsigned char)(1u << bit);
        }
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* Fields of the object that the check cannot judge, and why. */
static const struct {
    size_t offset, bytes;
    const char *why;
} unchecked[] = {
#define FIELD(name, why)                                                         \
    {                                                                            \
        offsetof(struct mm_pmm, name), sizeof(((struct mm_pmm *)0)->name), (why) \
    }
    FIELD(lock, "a damaged lock cannot be taken, and the check takes it"),
    FIELD(window, "the kernel's object; only the kernel knows where it is"),
    FIELD(cpu_count, "any number up to the maximum is a right one"),
    FIELD(zone_hint, "a bound: one that is lower than it could be is right, too"),
    FIELD(misuse_count, "a count of past events"),
    FIELD(freed_frames, "a count of past events"),
#undef FIELD
};

static bool is_unchecked(size_t byte)
{
    for (size_t i = 0; i < sizeof unchecked / sizeof unchecked[0]; i++)
        if (byte - unchecked[i].offset < unchecked[i].bytes)
            return true;
    return false;
}

TEST(pmm_check_finds_every_flipped_bit_of_the_object_but_those_listed)
{
    unsigned char *byte = (unsigned char *)&machine.pmm;

    start();
    for (size_t i = 0; i < sizeof machine.pmm; i++)
        for (unsigned bit = 0; bit < 8 && !is_unchecked(i); bit++) {
            mm_test_row("bit", i * 8 + bit);
            byte[i] ^= (unsigned char)(1u << bit);
            CHECK(mm_pmm_check(&machine.pmm, NULL) > 0);
            byte[i] ^= (unsigned char)(1u << bit);
        }
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_check_finds_a_hint_that_hides_free_frames)
{
    start();
    for (unsigned zone = 0; zone < MM_ZONES; zone++) {
        uint64_t hint = machine.pmm.zone_hint[zone];

        if (machine.pmm.zone_free[zone] == 0)
            continue;
        machine.pmm.zone_hint[zone] = UINT64_C(1) << 40;
        CHECK(mm_pmm_check(&machine.pmm, NULL) > 0);
        machine.pmm.zone_hint[zone] = hint;
    }
    machine.pmm.cpu_count = MM_CPUS_MAX + 1;
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 1);
    machine.pmm.cpu_count = 0;
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 1);
}

TEST(pmm_check_tells_each_fault_once_with_what_was_found)
{
    struct told told = {.count = 0};

    start();
    machine.pmm.managed_frames += 5;
    CHECK_EQ(mm_pmm_check(&machine.pmm, &(struct mm_check_sink){tell, &told}), 1);
    CHECK_EQ(told.count, 1);
    CHECK_EQ(told.last.kind, MM_REPORT_CORRUPT);
    CHECK_TEXT(told.last.what, "pmm: managed frames");
    CHECK(told.last.object == &machine.pmm);
    CHECK_EQ(told.last.value[0], told.last.value[1] + 5);
    machine.pmm.managed_frames -= 5;

    /* where a bit is wrong: within the 64 frames of its word */
    told.count = 0;
    CHECK_EQ(state_of(&machine, 0x1fe), MM_FRAME_FREE);
    machine.pmm.chunk[0].bits[MM_BITS_FREE][0x1fe / 64] ^= UINT64_C(1) << 0x1fe % 64;
    machine.pmm.chunk[0].count[MM_BITS_FREE]--;
    machine.pmm.free_frames--;
    machine.pmm.zone_free[MM_ZONE_DMA]--;
    CHECK_EQ(mm_pmm_check(&machine.pmm, &(struct mm_check_sink){tell, &told}), 1);
    CHECK_TEXT(told.last.what, "chunk: allocation without a first frame");
    CHECK_EQ(mm_frame_of(mm_phys(told.last.address)), 0x1c0);
    machine.pmm.chunk[0].bits[MM_BITS_FREE][0x1fe / 64] ^= UINT64_C(1) << 0x1fe % 64;
    machine.pmm.chunk[0].count[MM_BITS_FREE]++;
    machine.pmm.free_frames++;
    machine.pmm.zone_free[MM_ZONE_DMA]++;

    /* more faults than one look under the lock can keep */
    told.count = 0;
    for (unsigned i = 0; i < 3; i++)
        machine.pmm.chunk[i].count[MM_BITS_RAM] ^= 1;
    for (unsigned i = 0; i < 2; i++)
        machine.pmm.chunk[i].unused[2] = 1;
    for (unsigned zone = 0; zone < MM_ZONES; zone++)
        machine.pmm.zone_managed[zone]++;
    CHECK_EQ(mm_pmm_check(&machine.pmm, &(struct mm_check_sink){tell, &told}), 9);
    CHECK_EQ(told.count, 9);
    CHECK_TEXT(told.last.what, "pmm: managed frames of zone");
    CHECK_EQ(mm_pmm_check(&machine.pmm, &(struct mm_check_sink){NULL, NULL}), 9);
    CHECK_EQ(mm_test_report_count(), 0); /* a checker speaks to its sink only */
}
