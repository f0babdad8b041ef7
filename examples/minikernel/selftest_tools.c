/*
 * selftest_tools.c - what several files of tests need.
 *
 * Problem     Each test takes frames, maps and touches them; the checks around that would hide
 *             what the test is about.
 * Idea        One function per step that fails the test itself when the step does not work.
 * Invariants  Nothing here keeps state, but for the frames that nobody may see again.
 * Locking     None.
 * Cost        None to speak of.
 * Rejected    Fixtures: which frames a test owns should be seen in the test.
 */
#include "selftest_tools.h"

#include "fault.h"
#include "idt.h"
#include "walk.h"

uint64_t test_retired[2];

uint64_t test_frame(void)
{
    mm_phys_t frame = mm_phys(0);

    CHECK(mm_pmm_alloc_frame(&mm_default.pmm, &frame) == MM_OK);
    return frame.raw;
}

uint64_t test_block(unsigned order)
{
    struct mm_frame_request request = {.order = (uint8_t)order};
    mm_phys_t first = mm_phys(0);

    CHECK(mm_pmm_alloc(&mm_default.pmm, &request, &first) == MM_OK);
    return first.raw;
}

uint64_t test_run(uint64_t frames)
{
    struct mm_frame_request request = {.count_frames = frames};
    mm_phys_t first = mm_phys(0);

    CHECK(mm_pmm_alloc(&mm_default.pmm, &request, &first) == MM_OK);
    return first.raw;
}

void test_free(uint64_t phys, uint64_t frames)
{
    CHECK(mm_pmm_free(&mm_default.pmm, mm_phys(phys), frames) == MM_OK);
}

uint64_t test_take(const struct mm_frame_request *request)
{
    mm_phys_t first = mm_phys(0);

    CHECK_EQUAL(mm_pmm_alloc(&mm_default.pmm, request, &first), MM_OK);
    return first.raw;
}

void test_owned(uint64_t first, uint64_t frames)
{
    for (uint64_t i = 0; i < frames; i++) {
        struct mm_frame_info info;

        mm_pmm_query(&mm_default.pmm, mm_phys(first + i * MM_FRAME_BYTES), &info);
        CHECK_EQUAL(info.state, MM_FRAME_ALLOCATED);
        CHECK_EQUAL(info.first.raw, first);
        CHECK_EQUAL(info.count_frames, frames);
    }
}

bool test_has_low_run(uint64_t frames)
{
    mm_phys_t cursor = mm_phys(0);
    struct mm_phys_range run;
    enum mm_frame_state state;

    while (mm_pmm_walk(&mm_default.pmm, &cursor, &run, &state) == MM_OK && run.start.raw < MIB) {
        uint64_t end = run.start.raw + run.bytes;

        if (state == MM_FRAME_FREE &&
            (end < MIB ? end : MIB) - run.start.raw >= frames * MM_FRAME_BYTES)
            return true;
    }
    return false;
}

volatile uint64_t *test_direct(uint64_t phys)
{
    void *pointer = mm_phys_pointer(&mm_default, mm_phys(phys));

    CHECK(pointer != NULL);
    return pointer;
}

void test_use_arena(void)
{
    uint64_t frame = test_frame();
    void *pointer = NULL;

    CHECK(mm_kmap(&mm_default.area, mm_phys(frame), 8, MM_MEMTYPE_WB, &pointer) == MM_OK);
    CHECK(mm_kunmap(&mm_default.area, pointer) == MM_OK);
    test_free(frame, 1);
}

static enum mm_err try_map(struct mm_space *space, uint64_t virt, uint64_t phys, uint64_t bytes,
                           uint32_t prot)
{
    struct mm_map_request request = {
        .virt = mm_virt(virt), .bytes = bytes, .phys = mm_phys(phys), .prot = prot};

    return mm_space_map(space, &request, NULL);
}

enum mm_err test_try_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t prot)
{
    return try_map(&mm_default.kernel, virt, phys, bytes, prot);
}

void test_map_in(struct mm_space *space, uint64_t virt, uint64_t phys, uint64_t bytes,
                 uint32_t prot)
{
    CHECK_EQUAL(try_map(space, virt, phys, bytes, prot), MM_OK);
}

void test_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t prot)
{
    test_map_in(&mm_default.kernel, virt, phys, bytes, prot);
}

void test_unmap_in(struct mm_space *space, uint64_t virt, uint64_t bytes)
{
    CHECK_EQUAL(mm_space_unmap(space, mm_virt(virt), bytes, 0, NULL, NULL), MM_OK);
}

void test_unmap(uint64_t virt, uint64_t bytes)
{
    test_unmap_in(&mm_default.kernel, virt, bytes);
}

void test_protect(uint64_t virt, uint64_t bytes, uint32_t prot)
{
    CHECK_EQUAL(mm_space_protect(&mm_default.kernel, mm_virt(virt), bytes, prot, 0, NULL, NULL),
                MM_OK);
}

unsigned test_tables_missing(uint64_t virt)
{
    struct walk walk;

    walk_tables(virt, &walk);
    CHECK(!walk.mapped && !walk.unreachable);
    return walk.last - 1;
}

static void check_fault(const struct fault_seen *seen, uint64_t virt, uint64_t code)
{
    CHECK(seen->hit);
    CHECK_EQUAL(seen->vector, VECTOR_PAGE_FAULT);
    CHECK_EQUAL(seen->address, virt);
    CHECK_EQUAL(seen->code, code);
}

void test_read_faults(uint64_t virt, uint64_t code)
{
    struct fault_seen seen = probe_read(virt);

    check_fault(&seen, virt, code);
}

void test_write_faults(uint64_t virt, uint64_t code)
{
    struct fault_seen seen = probe_write(virt, 0);

    check_fault(&seen, virt, code);
}

void test_fetch_faults(uint64_t virt, uint64_t code)
{
    struct fault_seen seen = probe_fetch(virt);

    check_fault(&seen, virt, code);
}

/* splitmix64 */
uint64_t test_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
