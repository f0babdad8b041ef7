/*
 * replay_own_map.c - docs/integrating.md, "A map of your own", run as it stands.
 *
 * tools/check-docs puts the code of the document in front of this file. The machine has 64 MiB and
 * says nothing about them.
 */
#include "../start/boot_machine.h"

struct mm mm;

TEST(docs_map_of_your_own_starts)
{
    static const struct mm_phys_range ram[] = {
        {MM_PHYS(0), 0x9f000},
        {MM_PHYS(0x100000), MIB(63)},
    };
    static struct boot_machine m;
    struct mm_start_failure why;
    struct mm_frame_info info;
    struct mm_mem_range found;

    boot_begin(&m, MIB(64));
    CHECK_EQ(m.info.protocol, MM_BOOT_NONE);
    CHECK_OK(my_map(ram, 2));
    fake_interrupts(false);
    CHECK_OK(mm_start(&mm, &m.info, &why));
    fake_interrupts(true);

    CHECK_OK(mm_memmap_find(&mm.map, mm_phys(TEXT_PHYS), &found));
    CHECK_EQ(found.use, MM_USE_IMAGE);
    CHECK_ERR(mm_memmap_find(&mm.map, mm_phys(MIB(64)), &found), MM_ERR_NOT_FOUND);
    mm_pmm_query(&mm.pmm, mm_phys(IMAGE_END), &info);
    CHECK_EQ(info.state, MM_FRAME_FREE);
    mm_pmm_query(&mm.pmm, mm_phys(STACK_PHYS), &info);
    CHECK_EQ(info.state, MM_FRAME_UNMANAGED);
    CHECK(mm_pmm_free_frames(&mm.pmm) > MIB(55) / PAGE);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}
