/*
 * replay_migrating.c - the code of docs/migrating.md, run as it stands.
 *
 * test/docs/replay puts all C blocks of the document in front of this file. The first one starts the
 * instance of a dialect; the others use an instance of the kernel's own.
 */
#include "../start/boot_machine.h"

#define RESERVED mm_phys(0x2000000)
#define THERE    mm_virt(0x400000)

struct mm mm;
static struct boot_machine m;

static uint64_t begin(void)
{
    boot_from_dump(&m, &boot_dumps[0]); /* bios-64M */
    memset(&mm, 0, sizeof mm);
    CHECK_OK(start_with_reservation(&m.info));
    return mm_pmm_free_frames(&mm.pmm);
}

TEST(docs_dialect_starts)
{
    boot_from_dump(&m, &boot_dumps[0]);
    CHECK(memory_start(&m.info));
    CHECK(pmm_alloc_page() != 0);
    CHECK(!memory_start(&m.info)); /* it runs already */
}

TEST(docs_reservation_is_kept)
{
    struct mm_frame_info info;

    begin();
    mm_pmm_query(&mm.pmm, RESERVED, &info);
    CHECK_EQ(info.state, MM_FRAME_UNMANAGED);
    mm_pmm_query(&mm.pmm, mm_phys_add(RESERVED, 0x100000), &info);
    CHECK_EQ(info.state, MM_FRAME_FREE);
}

TEST(docs_frames_are_written_counted_and_freed_by_address)
{
    uint64_t before = begin(), frames = 0;
    mm_phys_t frame;

    CHECK_OK(write_into_frame(&frame));
    CHECK_EQ(*boot_words(frame.raw), 42);
    CHECK_OK(free_by_address(frame));
    CHECK_OK(buffer_of(3 * PAGE + 1, &frame, &frames));
    CHECK_EQ(frames, 4);
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), before - 4);
    CHECK_ERR(free_by_address(mm_phys_add(frame, PAGE)), MM_ERR_MISUSE);
    CHECK_OK(free_by_address(frame));
    CHECK_ERR(free_by_address(frame), MM_ERR_MISUSE);
    mm_test_reports_clear();
    CHECK_ERR(buffer_of(0, &frame, &frames), MM_ERR_BAD_ARG);
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), before);
    CHECK(total_kib() > before * 4 && total_kib() < KIB(64));
}

TEST(docs_page_is_mapped_sealed_and_given_back)
{
    uint64_t before = begin();
    mm_phys_t frame;

    CHECK_OK(map_new_page(THERE));
    CHECK_EQ(fake_write64(THERE, 1).fault, FAKE_OK);
    frame = fake_probe(THERE).phys;
    CHECK_ERR(map_new_page(THERE), MM_ERR_EXISTS);
    CHECK_OK(seal_code(&mm.kernel, THERE, PAGE));
    fake_user(true);
    CHECK_EQ(fake_fetch(THERE).fault, FAKE_OK);
    CHECK_EQ(fake_write64(THERE, 2).fault, FAKE_WRITE_DENIED);
    fake_user(false);
    CHECK_OK(unmap_and_free(&mm.kernel, THERE, frame));
    CHECK_EQ(fake_read64(THERE).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), before);
}

TEST(docs_entry_bits_become_rights_and_types)
{
    static const struct {
        uint64_t entry;
        uint32_t prot;
        enum mm_memtype type;
    } rows[] = {
        {0, MM_PROT_EXEC, MM_MEMTYPE_WB}, /* not present: mm_space_map() refuses it */
        {1, MM_PROT_RX, MM_MEMTYPE_WB},
        {3, MM_PROT_RW, MM_MEMTYPE_WB},
        {7, MM_PROT_RW | MM_PROT_USER, MM_MEMTYPE_WB},
        {11, MM_PROT_RW, MM_MEMTYPE_WT},
        {27, MM_PROT_RW, MM_MEMTYPE_UC},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mm_map_request request = MM_ZERO;

        mm_test_row("row", i);
        request_from_entry(&request, rows[i].entry);
        CHECK_EQ(request.prot, rows[i].prot);
        CHECK_EQ(request.type, rows[i].type);
    }
}

TEST(docs_trampoline_runs_at_its_own_address)
{
    mm_phys_t frame;

    begin();
    CHECK_OK(trampoline(&frame));
    CHECK(frame.raw < 0x100000);
    CHECK_EQ(fake_fetch(mm_virt(frame.raw)).phys.raw, frame.raw);
    CHECK_EQ(fake_write64(mm_virt(frame.raw), 1).fault, FAKE_WRITE_DENIED);
}

/* The heap writes to the addresses of this program; the simulated tables lead to frames. */
TEST(docs_heap_lies_where_it_was_wanted)
{
    static uint8_t room[65536] __attribute__((aligned(4096)));
    struct mm_heap heap = MM_ZERO, other = MM_ZERO;
    mm_virt_t start = mm_virt_of(room);
    uint64_t before = begin(), taken;
    uint8_t *block;

    CHECK_OK(heap_at(&heap, start, sizeof room));
    taken = before - mm_pmm_free_frames(&mm.pmm) - sizeof room / PAGE;
    CHECK(taken >= 3 && taken <= 6); /* tables; where the host put the room, a border may be */
    CHECK_EQ(fake_probe(mm_virt_add(start, sizeof room - 8)).prot, MM_PROT_RW);
    block = mm_heap_alloc(&heap, 60000);
    CHECK(block >= room && block + 60000 <= room + sizeof room);
    CHECK(mm_heap_alloc(&heap, 60000) == NULL);
    before = mm_pmm_free_frames(&mm.pmm);
    CHECK_ERR(heap_at(&other, start, sizeof room), MM_ERR_EXISTS);
    CHECK_ERR(heap_at(&other, THERE, 100), MM_ERR_BAD_ARG); /* too small for a heap */
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), before);
    CHECK_EQ(fake_read64(THERE).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}
