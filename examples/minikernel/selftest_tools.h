/*
 * selftest_tools.h - what several files of tests need. All of it may fail the running test.
 */
#ifndef SELFTEST_TOOLS_H
#define SELFTEST_TOOLS_H

#include <stdint.h>

#include <mm/names.h>

#include "host.h"
#include "selftest.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)

/* Addresses where nothing is, aligned to 1 GiB, so that tests choose how the page-table slots fall:
 * in the low half, and in the kernel's half above the image. */
#define TEST_LOW  UINT64_C(0x0000123400000000)
#define TEST_HIGH UINT64_C(0xffffffffc0000000)

/* The call is refused with `error`, and exactly one report came of it. */
#define CHECK_REPORTED(call, error)              \
    do {                                         \
        unsigned long long answer_;              \
        reports_begin();                         \
        answer_ = (unsigned long long)(call);    \
        CHECK_EQUAL(reports_end(NULL), 1);       \
        CHECK_EQUAL(answer_, (unsigned)(error)); \
    } while (0)

/* A frame, a block or a run that must be available. */
uint64_t test_frame(void);
uint64_t test_block(unsigned order);
uint64_t test_run(uint64_t frames);
void test_free(uint64_t phys, uint64_t frames);

/* A request that must succeed; its frames are the caller's. */
uint64_t test_take(const struct mm_frame_request *request);

/* The PMM knows [first, first + frames) as one allocation. */
void test_owned(uint64_t first, uint64_t frames);

/* Frames that a test has retired: nobody may get them any more. 0 = none. */
extern uint64_t test_retired[2];

/* Is there a free run of so many frames below 1 MiB? Firmware and boot loader may have it all. */
bool test_has_low_run(uint64_t frames);

/* The direct map. */
volatile uint64_t *test_direct(uint64_t phys);

/* The arena takes a frame for its books when it is first used, and keeps it: use it once, before a
 * snapshot. */
void test_use_arena(void);

/* The kernel space. */
enum mm_err test_try_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t prot);
void test_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t prot);
void test_unmap(uint64_t virt, uint64_t bytes);
void test_protect(uint64_t virt, uint64_t bytes, uint32_t prot);

/* Tables that a page at `virt`, where nothing is mapped, would need: depends on the number of levels,
 * and on what the boot code has mapped where its tables are adopted. */
unsigned test_tables_missing(uint64_t virt);

/* Any space. */
void test_map_in(struct mm_space *space, uint64_t virt, uint64_t phys, uint64_t bytes,
                 uint32_t prot);
void test_unmap_in(struct mm_space *space, uint64_t virt, uint64_t bytes);

/* What a memory access through `virt` reads. */
static inline uint64_t test_read(uint64_t virt)
{
    return *(volatile uint64_t *)(uintptr_t)virt;
}

static inline void test_write(uint64_t virt, uint64_t value)
{
    *(volatile uint64_t *)(uintptr_t)virt = value;
}

/* Accesses that must fault at `virt` with exactly this error code. */
void test_read_faults(uint64_t virt, uint64_t code);
void test_write_faults(uint64_t virt, uint64_t code);
void test_fetch_faults(uint64_t virt, uint64_t code);

/* Numbers that look random, the same in every run. */
uint64_t test_random(uint64_t *state);

#endif
