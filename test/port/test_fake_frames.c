/*
 * test_fake_frames.c - frames that are freed too early, or used after that, are noticed.
 *
 * Problem     Reusing a frame is the harm that every missing flush does in the end.
 * Idea        Each thing that can still lead to a frame, alone, must stop its free; each use of a free
 *             frame must be told. Then the same without the fault.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    Nothing.
 */
#include "hand_tables.h"

#include <string.h>

#include "fake_frames.h"

#define FRAME mm_phys(0x300000)

static bool said(const char *what)
{
    return strstr(mm_test_machine(), what) != NULL;
}

/* ---- what keeps a frame from being free ---- */

TEST(fake_free_of_a_root_is_refused)
{
    four_levels();
    CHECK_MACHINE_FAILS(fake_frame_freed(mm_phys(ROOT), 1));
    CHECK(said("CPU 0 has it as its root"));
    mm_mmu_load_root(mm_phys(ROOT_B));
    fake_frame_freed(mm_phys(ROOT), 1);
    CHECK(fake_ram_poisoned(mm_phys(ROOT), MM_FRAME_BYTES));
}

TEST(fake_free_of_a_cached_table_is_refused)
{
    four_levels();
    table(TABLE2)[1] = 0x400083;
    (void)get(0x1000);
    table(TABLE2)[0] = 0;
    mm_mmu_flush_page(mm_virt(0x1000));
    (void)get(0x200000); /* walks TABLE2, not TABLE1 */
    fake_frame_freed(mm_phys(TABLE1), 1);
    table(TABLE3)[0] = 0;
    CHECK_MACHINE_FAILS(fake_frame_freed(mm_phys(TABLE2), 1));
    CHECK(said("a CPU may still reach it"));
    mm_mmu_flush_all();
    fake_frame_freed(mm_phys(TABLE2), 1);
}

TEST(fake_free_of_a_cached_page_is_refused_on_any_cpu_and_of_any_size)
{
    four_levels();
    table(TABLE2)[1] = 0x400083;
    fake_cpu_set(3);
    mm_mmu_load_root(mm_phys(ROOT));
    (void)get(0x200000);
    fake_cpu_set(0);
    table(TABLE2)[1] = 0;
    CHECK_MACHINE_FAILS(fake_frame_freed(mm_phys(0x5ff000), 1));
    CHECK_MACHINE_FAILS(fake_frame_freed(mm_phys(0x3ff000), 2));
    fake_frame_freed(mm_phys(0x3fe000), 2);
    fake_frame_freed(mm_phys(0x600000), 1);
    fake_cpu_set(3);
    mm_mmu_flush_page(mm_virt(0x2ff000));
    fake_frame_freed(mm_phys(0x400000), 512);
}

/* A leaf whose first frame is no RAM, and the last is. */
TEST(fake_free_under_a_leaf_that_is_partly_ram_is_refused)
{
    four_levels();
    fake_ram_add(mm_phys(0x40100000), 0x100000);
    table(TABLE2)[1] = 0x40000083;
    (void)get(0x200000);
    CHECK_MACHINE_FAILS(fake_frame_freed(mm_phys(0x40180000), 1));
    mm_mmu_flush_page(mm_virt(0x200000));
    fake_frame_freed(mm_phys(0x40180000), 1);
}

TEST(fake_free_of_a_direct_map_frame_is_no_fault)
{
    four_levels();
    fake_always_map(mm_virt(0x40000000), 0x40000000);
    fake_always_map(mm_virt(UPPER + 0x40000000), 0x40000000); /* ROOT has two ways there */
    table(TABLE3)[1] = 0x83;                                  /* all RAM */
    (void)get(0x40000000 + 0x300000);
    fake_free_means_unmapped(true);
    fake_frame_freed(FRAME, 1);
    CHECK_EQ(get(0x40000000 + 0x300000).fault, FAKE_OK);
    CHECK_EQ(fake_dangling_entries(), 0);
}

TEST(fake_free_of_a_frame_that_an_entry_leads_to_is_refused_if_asked_for)
{
    four_levels();
    table(TABLE1)[5] = 0x300003;
    CHECK_EQ(fake_entries_to(FRAME, MM_FRAME_BYTES), 2); /* ROOT has two ways there */
    fake_free_means_unmapped(true);
    CHECK_MACHINE_FAILS(fake_frame_freed(FRAME, 1));
    CHECK(said("an entry leads to it"));
    CHECK_MACHINE_FAILS(fake_frame_freed(mm_phys(TABLE1), 1));
    table(TABLE1)[5] = 0;
    fake_frame_freed(FRAME, 1);
}

TEST(fake_entry_that_dangles_is_counted)
{
    four_levels();
    fake_frame_freed(FRAME, 1);
    CHECK_EQ(fake_dangling_entries(), 0);
    table(TABLE1)[5] = 0x300003;
    CHECK_EQ(fake_dangling_entries(), 2);
    table(TABLE2)[7] = 0x300003; /* as a table, not followed */
    CHECK_EQ(fake_dangling_entries(), 4);
    fake_frame_given(FRAME, 1);
    table(TABLE2)[7] = 0;
    CHECK_EQ(fake_dangling_entries(), 0);
}

/* ---- use of what is free ---- */

TEST(fake_walk_through_a_free_table_fails_whatever_it_holds)
{
    four_levels();
    fake_frame_freed(FRAME, 1);
    memset((void *)(uintptr_t)table(FRAME.raw), 0, MM_FRAME_BYTES);
    table(TABLE2)[1] = FRAME.raw | 7;
    CHECK_MACHINE_FAILS((void)get(0x200000));
    CHECK(said("level 1 table at 0x300000, which is free"));
}

TEST(fake_walk_to_a_free_frame_fails_if_asked_for)
{
    four_levels();
    fake_frame_freed(FRAME, 1);
    table(TABLE1)[2] = FRAME.raw | 3;
    CHECK_EQ(get(0x2000).fault, FAKE_OK);
    mm_mmu_flush_all();
    fake_free_means_unmapped(true);
    CHECK_MACHINE_FAILS((void)get(0x2000));
    CHECK(said("frame 0x300000, which is free"));
}

TEST(fake_frame_that_is_freed_or_given_twice_is_noticed)
{
    four_levels();
    fake_frame_given(FRAME, 4);
    CHECK_MACHINE_FAILS(fake_frame_given(mm_phys_add(FRAME, 0x3000), 1));
    fake_frame_freed(FRAME, 4);
    CHECK_MACHINE_FAILS(fake_frame_freed(mm_phys_add(FRAME, 0x1000), 1));
    CHECK_MACHINE_FAILS(fake_frame_freed(mm_phys(0x70000000), 1));
    CHECK_MACHINE_FAILS(fake_frame_freed(mm_phys_add(FRAME, 8), 1));
}

/* At each level: what a walk reads in it looks valid and is noticed. */
TEST(fake_poison_is_noticed_at_every_level)
{
    static const struct {
        uint64_t place, virt;
    } row[] = {{TABLE2, 0x600000}, {TABLE3, 0xc0000000}, {ROOT, 0x18000000000}};

    four_levels();
    fake_ram_poison(FRAME, MM_FRAME_BYTES);
    for (unsigned i = 0; i < 3; i++) {
        mm_test_row("row", i);
        table(row[i].place)[3] = FRAME.raw | 7;
        CHECK_MACHINE_FAILS((void)get(row[i].virt));
        CHECK(said("poison"));
        CHECK(fake_probe(mm_virt(row[i].virt)).fault !=
              FAKE_NOT_PRESENT); /* unseen: it looks only */
    }
}

/* ---- the source ---- */

static struct fake_frames frames;
static struct mm_frame_source source;

static void source_of(uint32_t count)
{
    four_levels();
    fake_frames_init(&frames, FRAME, count);
    source = fake_frame_source(&frames);
}

static mm_phys_t take(void)
{
    mm_phys_t frame;

    CHECK_OK(source.alloc(source.context, &frame));
    return frame;
}

TEST(fake_source_reuses_the_last_frame_first_and_ends)
{
    mm_phys_t a, b, other;

    source_of(3);
    a = take();
    b = take();
    CHECK(a.raw == 0x300000 && b.raw == 0x301000);
    CHECK(fake_ram_poisoned(a, MM_FRAME_BYTES));
    source.free(source.context, a);
    CHECK_EQ(take().raw, a.raw);
    (void)take();
    CHECK_ERR(source.alloc(source.context, &other), MM_ERR_NO_MEMORY);
    CHECK(frames.used == 3 && frames.allocs == 4 && frames.frees == 1);
    CHECK(fake_frame_out(&frames, b) && !fake_frame_out(&frames, mm_phys(0x303000)));
    CHECK(source.owns(source.context, b) && !source.owns(source.context, mm_phys(0x303000)));
}

TEST(fake_source_fails_when_told_to)
{
    mm_phys_t frame = mm_phys(7);

    source_of(8);
    frames.fail_after = 2;
    (void)take();
    (void)take();
    CHECK_ERR(source.alloc(source.context, &frame), MM_ERR_NO_MEMORY);
    CHECK_EQ(frame.raw, 7);
    (void)take();
    frames.empty = true;
    CHECK_ERR(source.alloc(source.context, &frame), MM_ERR_NO_MEMORY);
}

TEST(fake_source_notices_strange_frames_and_writes_after_the_free)
{
    mm_phys_t frame, other;

    source_of(8);
    frame = take();
    CHECK_MACHINE_FAILS(source.free(source.context, mm_phys(0x308000)));
    CHECK(said("not from here"));
    CHECK_MACHINE_FAILS(source.free(source.context, mm_phys_add(frame, 16)));
    source.free(source.context, frame);
    CHECK_MACHINE_FAILS(source.free(source.context, frame));
    CHECK(said("freed twice"));
    table(frame.raw)[77] = 0;
    CHECK_MACHINE_FAILS((void)source.alloc(source.context, &other));
    CHECK(said("written to while it was free"));
}
