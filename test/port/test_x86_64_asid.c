/*
 * test_x86_64_asid.c - what the x86_64 port loads into CR3, and on which CPUs it uses no PCIDs.
 *
 * Problem     No emulator that runs the port's own tests has PCIDs.
 * Idea        Values typed from the manual: Intel SDM vol. 3A, table 4-12 (CR3 with CR4.PCIDE = 1) and
 *             4.10.4.1 (bit 63 of what is moved to CR3); signatures as CPUID leaf 1 gives them in EAX
 *             (SDM vol. 2A, figure 3-6: stepping in bits 3:0, model 7:4, family 11:8, extended model
 *             19:16), with the models that Intel's specification updates name.
 * Invariants  None.
 * Locking     None.
 * Cost        Nothing.
 * Rejected    Nothing.
 */
#include "mm_test.h"

#include "mm_asid.h"

/* Bits 11:0 the PCID, bits M-1:12 the root, bit 63 no invalidation. */
TEST(cr3_has_the_root_the_id_and_in_bit_63_whether_to_keep)
{
    static const struct {
        uint64_t root;
        uint32_t asid;
        bool keep;
        uint64_t cr3;
    } row[] = {
        {0x0000000000000000, 0, false, 0x0000000000000000},
        {0x0000000000001000, 0, false, 0x0000000000001000},
        {0x0000000000001000, 1, false, 0x0000000000001001},
        {0x0000000000001000, 1, true, 0x8000000000001001},
        {0x0000000012345000, 0, true, 0x8000000012345000},
        {0x0000000012345000, 6, true, 0x8000000012345006},
        {0x0000000012345000, 0x018, false, 0x0000000012345018}, /* 3 and 4 are not PWT and PCD */
        {0x000ffffffffff000, 0xfff, false, 0x000fffffffffffff},
        {0x000ffffffffff000, 0xfff, true, 0x800fffffffffffff},
    };

    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("row", i);
        CHECK_EQ(mm_cr3_of(mm_phys(row[i].root), row[i].asid, row[i].keep), row[i].cr3);
    }
}

/* The root that CR3 names, whatever the id: bits 51:12. */
TEST(cr3_gives_its_root_back)
{
    CHECK_EQ(UINT64_C(0x000fffffffffffff) & MM_CR3_ADDR, 0x000ffffffffff000);
    CHECK_EQ(UINT64_C(0x8000000012345006) & MM_CR3_ADDR, 0x12345000);
    CHECK_EQ(MM_CR3_KEEP, 0x8000000000000000);
    CHECK_EQ(MM_MMU_ASIDS, 4096);
}

TEST(cpus_whose_invlpg_misses_global_pages_are_those_that_intel_names)
{
    static const struct {
        uint32_t signature;
        bool misses;
    } row[] = {
        {0x00090672, true},  /* Alder Lake S, 6-97 */
        {0x00090675, true},  /* the same, another stepping */
        {0x000906a3, true},  /* Alder Lake P, 6-9a */
        {0x000906a4, true},  /* Alder Lake U */
        {0x000b0671, true},  /* Raptor Lake S, 6-b7 */
        {0x000b06a2, true},  /* Raptor Lake P, 6-ba */
        {0x000b06e0, true},  /* Alder Lake N, 6-be */
        {0x000b06f2, true},  /* Raptor Lake S, 6-bf */
        {0x000906ea, false}, /* Coffee Lake, 6-9e: next to 97 and 9a */
        {0x000806c1, false}, /* Tiger Lake, 6-8c */
        {0x000a0671, false}, /* Rocket Lake, 6-a7 */
        {0x000806f8, false}, /* Sapphire Rapids, 6-8f */
        {0x000a06a4, false}, /* Meteor Lake, 6-aa */
        {0x000206a7, false}, /* Sandy Bridge, 6-2a */
        {0x000006fb, false}, /* no extended model */
        {0x00000970, false}, /* not family 6 */
        {0x00090f72, false}, /* family 15 */
        {0x00000000, false},
    };

    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("row", i);
        CHECK_EQ(mm_invlpg_misses_globals(row[i].signature), row[i].misses);
    }
}
