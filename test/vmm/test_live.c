/*
 * test_live.c - start-up: reserving what the CPU runs on, the direct map, and verifying a root
 * before it is loaded.
 */
#include "vmm_fixture.h"

#include "mm/memmap.h"

#define FOREIGN UINT64_C(0x4000000) /* tables of the loader, in usable memory */

static struct mm_mem_range ranges[64];
static struct mm_memmap memmap;

static uint64_t *foreign(unsigned table)
{
    return (uint64_t *)fake_ram(mm_phys(FOREIGN + table * K4), K4);
}

/* Identity map of 1 GiB by a 1 GiB page, and 2 MiB of 4 KiB pages at the top of the lower half. */
static void foreign_start(void)
{
    fake_reset();
    fixture_machine(4, true, 1);
    fake_ram_add(mm_phys(FOREIGN), 16 * K4);
    foreign(0)[0] = (FOREIGN + 1 * K4) | 3;
    foreign(0)[255] = (FOREIGN + 3 * K4) | 3;
    foreign(1)[0] = 0x83;
    foreign(3)[511] = (FOREIGN + 5 * K4) | 3;
    foreign(5)[511] = (FOREIGN + 9 * K4) | 3;
    for (unsigned i = 0; i < 512; i++)
        foreign(9)[i] = (16 * MIB + i * K4) | 3;
    fake_cpu(0)->root = mm_phys(FOREIGN);
    fake_cpu(0)->root_loaded = true;
}

static void memmap_begin(void)
{
    CHECK_OK(mm_memmap_init(&memmap, ranges, 64, 46));
}

static void add(uint64_t start, uint64_t bytes, enum mm_mem_type type)
{
    CHECK_OK(mm_memmap_add(&memmap, mm_phys(start), bytes, type));
}

static unsigned use_of(uint64_t phys)
{
    struct mm_mem_range range;

    CHECK_OK(mm_memmap_find(&memmap, mm_phys(phys), &range));
    return range.use;
}

/* ---- reserve ---- */

#define TOP_PAGES UINT64_C(0x00007fffffe00000) /* the 4 KiB pages above */

TEST(reserve_live_keeps_tables_stack_and_descriptor_tables)
{
    const struct fake_anchor anchor[] = {
        {mm_virt(0x200010), 1, MM_PROT_EXEC},
        {mm_virt(TOP_PAGES + 8 * K4 + 0xff8), 8, MM_PROT_WRITE},
        {mm_virt(0x300ff0), 0x20, MM_PROT_READ}, /* two frames */
        {mm_virt(TOP_PAGES + 40 * K4), 16 * 256, MM_PROT_READ},
    };

    foreign_start();
    fake_anchors(anchor, 4, false);
    memmap_begin();
    add(0, 256 * MIB, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_finish(&memmap));
    CHECK_OK(mm_vmm_reserve_live(&memmap, fake_window(), NULL));
    for (unsigned i = 0; i < 16; i++) {
        bool table = i == 0 || i == 1 || i == 3 || i == 5 || i == 9;

        mm_test_row("frame", i);
        CHECK_EQ(use_of(FOREIGN + i * K4), table ? MM_USE_BOOT : MM_USE_FREE);
    }
    CHECK_EQ(use_of(16 * MIB + 8 * K4), MM_USE_BOOT);
    CHECK_EQ(use_of(0x300000), MM_USE_BOOT);
    CHECK_EQ(use_of(0x301000), MM_USE_BOOT);
    CHECK_EQ(use_of(0x302000), MM_USE_FREE);
    CHECK_EQ(use_of(16 * MIB + 39 * K4), MM_USE_FREE);
    CHECK_EQ(use_of(16 * MIB + 40 * K4), MM_USE_BOOT);
    CHECK_EQ(use_of(16 * MIB + 41 * K4), MM_USE_FREE);
    CHECK_EQ(use_of(0x200000), MM_USE_FREE); /* code is the image's, reserved as such */
}

/* The stack pointer in page 40 of 512 at the top of the lower half; frames run backwards there, so
 * that neither order nor contiguity of frames matters. Pages `low` and `high` are not mapped. */
static void stack_start(uint64_t page, unsigned low, unsigned high)
{
    const struct fake_anchor anchor[] = {
        {mm_virt(0x200010), 1, MM_PROT_EXEC},
        {mm_virt(TOP_PAGES + page * K4 + 0x800), 8, MM_PROT_WRITE},
    };

    foreign_start();
    for (unsigned i = 0; i < 512; i++)
        foreign(9)[i] = i == low || i == high ? 0 : (16 * MIB + (511 - i) * K4) | 3;
    fake_anchors(anchor, 2, false);
    memmap_begin();
    add(0, 256 * MIB, MM_MEM_USABLE);
}

/* Exactly the frames of pages [first, last] are reserved. */
static void stack_is(unsigned first, unsigned last)
{
    for (unsigned i = 0; i < 512; i++) {
        mm_test_row("page", i);
        CHECK_EQ(use_of(16 * MIB + (511 - i) * K4),
                 i >= first && i <= last ? MM_USE_BOOT : MM_USE_FREE);
    }
    CHECK_EQ(mm_memmap_check(&memmap, NULL), 0);
}

TEST(reserve_live_keeps_what_is_mapped_around_the_stack_pointer)
{
    static const struct {
        unsigned page, low, high; /* of the stack pointer; not mapped */
        unsigned first, last;     /* reserved */
    } row[] = {
        {40, 512, 512, 24, 56}, /* 64 KiB on either side */
        {40, 24, 56, 25, 55},   /* up to a gap, the last page of the reach */
        {40, 39, 41, 40, 40},   /* guard pages */
        {40, 30, 512, 31, 56},    {3, 512, 512, 0, 19}, /* below is nothing */
        {505, 512, 512, 489, 511} /* above begins the hole between the halves */
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        stack_start(row[i].page, row[i].low, row[i].high);
        CHECK_OK(mm_memmap_finish(&memmap));
        CHECK_OK(mm_vmm_reserve_live(&memmap, fake_window(), NULL));
        stack_is(row[i].first, row[i].last);
    }
}

/* A kept frame may be a few bytes of something else that share a frame with the stack. */
TEST(reserve_live_takes_a_stack_in_the_image_as_it_is_and_no_other)
{
    static const enum mm_mem_use use[] = {MM_USE_IMAGE, MM_USE_KEEP, MM_USE_MODULE};

    for (unsigned i = 0; i < 3; i++) {
        stack_start(40, 512, 512);
        CHECK_OK(mm_memmap_reserve(&memmap, mm_phys(16 * MIB + 471 * K4), K4, use[i]));
        CHECK_OK(mm_memmap_finish(&memmap));
        CHECK_OK(mm_vmm_reserve_live(&memmap, fake_window(), NULL));
        CHECK_EQ(use_of(16 * MIB + 471 * K4), use[i]);
        CHECK_EQ(use_of(16 * MIB + 472 * K4), i == 0 ? MM_USE_FREE : MM_USE_BOOT);
        CHECK_EQ(use_of(16 * MIB + 470 * K4), i == 0 ? MM_USE_FREE : MM_USE_BOOT);
    }
}

/* With any room: all of the stack is reserved, or the call says that it is not. */
TEST(reserve_live_says_when_the_map_has_no_room_for_all_of_the_stack)
{
    uint32_t refused = 0;

    for (uint32_t room = 0; room < 40; room++) {
        enum mm_err err;

        mm_test_row("room", room);
        stack_start(40, 512, 512);
        foreign(9)[39] = (32 * MIB) | 3; /* apart, so that each page needs entries */
        foreign(9)[41] = (33 * MIB) | 3;
        CHECK_OK(mm_memmap_finish(&memmap));
        memmap.capacity = memmap.count + room;
        err = mm_vmm_reserve_live(&memmap, fake_window(), NULL);
        CHECK(err == MM_OK || err == MM_ERR_NO_ROOM);
        refused += err == MM_ERR_NO_ROOM;
        CHECK(err != MM_OK || use_of(32 * MIB) == MM_USE_BOOT);
        CHECK(err != MM_OK || use_of(33 * MIB) == MM_USE_BOOT);
    }
    CHECK(refused > 0 && refused < 40);
}

/* Early memory beside the stack is an odd neighbour, but nobody else gets it. */
TEST(reserve_live_passes_by_early_memory_beside_the_stack)
{
    struct mm_memmap_request early = {.bytes = 5 * K4, .highest = mm_phys(16 * MIB + 480 * K4 - 1)};
    mm_phys_t taken;

    stack_start(40, 512, 512);
    CHECK_OK(mm_memmap_finish(&memmap));
    CHECK_OK(mm_memmap_take(&memmap, &early, &taken));
    CHECK_OK(mm_vmm_reserve_live(&memmap, fake_window(), NULL));
    CHECK_EQ(use_of(16 * MIB + 474 * K4), MM_USE_BOOT); /* page 37 */
    CHECK_EQ(use_of(16 * MIB + 475 * K4), MM_USE_EARLY);
    CHECK_EQ(use_of(16 * MIB + 480 * K4), MM_USE_BOOT); /* page 31 */
    CHECK_EQ(mm_memmap_check(&memmap, NULL), 0);
}

/* Page 0 and the last page of all have a neighbour on one side only. */
TEST(reserve_live_finds_the_stack_at_both_ends_of_the_addresses)
{
    static const uint64_t stack[] = {0x800, 0x3800, ~UINT64_C(0xfff) + 0xff8, UINT64_MAX - 0x37ff};

    for (unsigned i = 0; i < 4; i++) {
        const struct fake_anchor anchor[] = {
            {mm_virt(0x200010), 1, MM_PROT_EXEC},
            {mm_virt(stack[i]), 8, MM_PROT_WRITE},
        };

        foreign_start();
        foreign(0)[511] = (FOREIGN + 2 * K4) | 3; /* the last 1 GiB to the second */
        foreign(2)[511] = GIB | 0x83;
        fake_anchors(anchor, 2, false);
        memmap_begin();
        add(0, 4 * GIB, MM_MEM_USABLE);
        CHECK_OK(mm_memmap_finish(&memmap));
        CHECK_OK(mm_vmm_reserve_live(&memmap, fake_window(), NULL));
        CHECK_EQ(use_of(0), i < 2 ? MM_USE_BOOT : MM_USE_FREE);
        CHECK_EQ(use_of(2 * GIB - K4), i < 2 ? MM_USE_FREE : MM_USE_BOOT);
        CHECK_EQ(use_of(GIB), MM_USE_FREE);
        CHECK_EQ(use_of(GIB - K4), MM_USE_FREE);
    }
}

TEST(reserve_live_passes_by_tables_that_map_themselves)
{
    foreign_start();
    foreign(0)[510] = FOREIGN | 3;
    memmap_begin();
    add(0, 256 * MIB, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_finish(&memmap));
    CHECK_OK(mm_vmm_reserve_live(&memmap, fake_window(), NULL));
    CHECK_EQ(use_of(FOREIGN + 9 * K4), MM_USE_BOOT);
}

TEST(reserve_live_refuses_what_it_cannot_follow)
{
    const struct fake_anchor lost = {mm_virt(LOW), 8, MM_PROT_WRITE};
    const struct fake_anchor code = {mm_virt(0), 1, MM_PROT_EXEC};
    const struct fake_anchor both[] = {code, lost};
    struct mm_space_fail why;

    foreign_start();
    memmap_begin();
    add(0, 256 * MIB, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_finish(&memmap));
    foreign(1)[7] = UINT64_C(1) << 50 | 3;
    CHECK_ERR(mm_vmm_reserve_live(&memmap, fake_window(), &why), MM_ERR_MALFORMED);
    CHECK_EQ(why.level, 3);
    CHECK_EQ(why.virt.raw, 7 * GIB);
    foreign(1)[7] = UINT64_C(0x5000003);
    CHECK_ERR(mm_vmm_reserve_live(&memmap, fake_window(), &why), MM_ERR_WINDOW);
    CHECK_EQ(why.entry, 0x5000003);
    foreign(1)[7] = 0;
    fake_anchors(both, 2, false);
    CHECK_ERR(mm_vmm_reserve_live(&memmap, fake_window(), &why), MM_ERR_NOT_FOUND);
    CHECK_EQ(why.virt.raw, LOW);
}

/* ---- the direct map ---- */

static void ram_start(struct mm_layout *layout)
{
    fixture_machine(4, true, 1);
    fixture_vmm(layout);
    fixture_cpu_init(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    memmap_begin();
    add(0, 0x9f000, MM_MEM_USABLE);
    add(0x9f000, 0x61000, MM_MEM_RESERVED);
    add(MIB, 2 * GIB - 2 * MIB, MM_MEM_USABLE);
    add(2 * GIB - MIB, MIB / 2, MM_MEM_ACPI_RECLAIM); /* touches the usable one: one stretch */
    add(2 * GIB - MIB / 2, MIB / 2, MM_MEM_RUNTIME);
    add(3 * GIB, GIB, MM_MEM_DEVICE);
    add(4 * GIB, 2 * GIB + K4, MM_MEM_USABLE);
    add(8 * GIB, GIB, MM_MEM_PERSISTENT);
    CHECK_OK(mm_memmap_reserve(&memmap, mm_phys(64 * MIB), MIB, MM_USE_IMAGE));
    CHECK_OK(mm_memmap_finish(&memmap));
}

TEST(map_ram_maps_ram_and_nothing_else)
{
    static const struct {
        uint64_t start, bytes;
    } expected[] = {{0, 0x9f000}, {MIB, 2 * GIB - MIB - MIB / 2}, {4 * GIB, 2 * GIB + K4}};
    struct mm_space_stats stats;
    struct mm_space_run run;
    mm_virt_t cursor = mm_virt(0);

    ram_start(NULL);
    CHECK_OK(mm_space_map_ram(&fx.kernel, &memmap, NULL));
    for (unsigned i = 0; i < 3; i++) {
        mm_test_row("stretch", i);
        CHECK_OK(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run));
        CHECK_EQ(run.virt.raw, UINT64_C(0xffff900000000000) + expected[i].start);
        CHECK_EQ(run.phys.raw, expected[i].start);
        CHECK_EQ(run.bytes, expected[i].bytes);
        CHECK_EQ(run.prot, MM_PROT_RW);
        CHECK_EQ(run.type, MM_MEMTYPE_WB);
    }
    CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(0), &run), MM_ERR_NOT_FOUND);
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.leaf_1g, 1 + 1); /* at 4 and 5 GiB; the stretch from 1 MiB ends below 2 GiB */
    CHECK_EQ(stats.leaf_2m, 511 + 511);
    CHECK_EQ(stats.leaf_4k, 0x9f + 256 + 384 + 1);
    CHECK_EQ(space_faults(&fx.kernel), 0);
}

TEST(map_ram_changes_nothing_when_a_later_stretch_does_not_fit)
{
    struct state before, after;
    struct mm_space_fail why;

    ram_start(NULL);
    CHECK_OK(map(&fx.kernel, UINT64_C(0xffff900000000000) + 5 * GIB, DATA, K4, MM_PROT_RW));
    before = state_of(&fx.kernel);
    CHECK_ERR(mm_space_map_ram(&fx.kernel, &memmap, &why), MM_ERR_EXISTS);
    CHECK_EQ(why.virt.raw, UINT64_C(0xffff900000000000) + 5 * GIB);
    after = state_of(&fx.kernel);
    CHECK_EQ(after.stats.mapped_frames, 1);
    CHECK_EQ(after.stats.tables, before.stats.tables);
    CHECK_EQ(after.frames_used, before.frames_used);
    CHECK_EQ(space_faults(&fx.kernel), 0);
}

TEST(map_ram_refuses_a_direct_map_that_is_too_small)
{
    struct mm_layout layout = {.direct_map = {{HIGH}, 6 * GIB}};
    struct mm_space_stats stats;

    ram_start(&layout);
    CHECK_ERR(mm_space_map_ram(&fx.kernel, &memmap, NULL), MM_ERR_NO_ADDRESS);
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_EQ(stats.mapped_frames, 0);
    CHECK_EQ(stats.tables, 1);
}

/* ---- verify ---- */

#define CODE  UINT64_C(0x200010)
#define STACK UINT64_C(0x301ffc) /* crosses into the next page */
#define GDT   UINT64_C(0x400000)

static const struct fake_anchor verify_anchor[] = {
    {{CODE}, 1, MM_PROT_EXEC}, {{STACK}, 8, MM_PROT_WRITE}, {{GDT}, 2 * 4096, MM_PROT_READ}};

/* The same addresses under a space of our own; each row leaves out or changes one thing. */
static const struct {
    uint64_t code_phys, code_prot, stack_prot, stack_pages, gdt_phys, gdt_pages;
    enum mm_err err;
    uint64_t where;
} verify_rows[] = {
    {0x200000, MM_PROT_RX, MM_PROT_RW, 2, GDT, 2, MM_OK, 0},
    {0x200000, MM_PROT_READ, MM_PROT_RW, 2, GDT, 2, MM_ERR_POLICY, 0x200000},
    {0x201000, MM_PROT_RX, MM_PROT_RW, 2, GDT, 2, MM_ERR_NOT_FOUND, 0x200000},
    {0x200000, MM_PROT_RX, MM_PROT_READ, 2, GDT, 2, MM_ERR_POLICY, 0x301000},
    {0x200000, MM_PROT_RX, MM_PROT_RW, 1, GDT, 2, MM_ERR_NOT_FOUND, 0x302000},
    {0x200000, MM_PROT_RX, MM_PROT_RW, 2, GDT + K4, 2, MM_ERR_NOT_FOUND, GDT},
    {0x200000, MM_PROT_RX, MM_PROT_RW, 2, GDT, 1, MM_ERR_NOT_FOUND, GDT + K4},
};

TEST(verify_finds_each_thing_that_the_cpu_would_miss)
{
    struct fake_counts before;

    foreign_start();
    fake_anchors(verify_anchor, 3, true);
    fixture_vmm(NULL);
    fixture_cpu_init(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    for (unsigned i = 0; i < sizeof verify_rows / sizeof verify_rows[0]; i++) {
        struct mm_space_fail why = {.err = MM_OK};

        mm_test_row("verify", i);
        CHECK_OK(map(&fx.kernel, 0x200000, verify_rows[i].code_phys, K4,
                     (unsigned)verify_rows[i].code_prot));
        CHECK_OK(map(&fx.kernel, 0x301000, 0x301000, verify_rows[i].stack_pages * K4,
                     (unsigned)verify_rows[i].stack_prot));
        CHECK_OK(map(&fx.kernel, GDT, verify_rows[i].gdt_phys, verify_rows[i].gdt_pages * K4,
                     MM_PROT_READ));
        before = fake_counts();
        CHECK_ERR(mm_space_verify(&fx.kernel, &why), verify_rows[i].err);
        CHECK_EQ(fake_counts().stores + fake_counts().swaps, before.stores + before.swaps);
        CHECK_EQ(why.err, verify_rows[i].err);
        if (why.err != MM_OK)
            CHECK_EQ(why.virt.raw, verify_rows[i].where);
        else
            CHECK_OK(mm_space_activate(&fx.kernel)); /* the machine fails if that was wrong */
        fake_cpu(0)->root = mm_phys(FOREIGN);
        CHECK_OK(
            mm_space_unmap(&fx.kernel, mm_virt(0x200000), 0x400000, MM_RANGE_HOLES, NULL, NULL));
    }
}
