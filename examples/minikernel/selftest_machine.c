/*
 * selftest_machine.c - the kernel tests itself before it tests the library.
 *
 * Problem     A probe that never faults, a timer that never ticks or a wrong memcmp would make
 *             tests of the library pass for no reason.
 * Idea        Each tool that the other tests lean on is shown to work both ways.
 */
#include <stddef.h>
#include <stdint.h>

#include "cpu.h"
#include "fault.h"
#include "idt.h"
#include "print.h"
#include "selftest.h"
#include "timer.h"

int memcmp(const void *left, const void *right, size_t bytes);
void *memmove(void *dest, const void *src, size_t bytes);
void *memset(void *dest, int byte, size_t bytes);

SELFTEST(machine_prints_numbers)
{
    static const char want[] = "|  7|007|-7 |ffffffffffffffff|18446744073709551615|a|  ab|%|";
    char got[80];
    size_t length = ksnprintf(got, sizeof(got), "|%3d|%03u|%-3d|%lx|%llu|%c|%4s|%%|", 7, 7u, -7,
                              UINT64_MAX, ~0ull, 'a', "ab");

    CHECK_EQUAL(length, sizeof(want) - 1);
    CHECK(memcmp(got, want, sizeof(want)) == 0);
    CHECK_EQUAL(ksnprintf(got, 4, "%d", 12345), 5);
    CHECK(memcmp(got, "123", 4) == 0);
}

SELFTEST(machine_moves_memory_both_ways)
{
    unsigned char bytes[16];

    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    memmove(bytes + 2, bytes, 8); /* overlapping upwards */
    CHECK(bytes[2] == 0 && bytes[9] == 7 && bytes[10] == 10);
    memmove(bytes, bytes + 2, 8); /* and back down */
    CHECK(bytes[0] == 0 && bytes[7] == 7);
    memset(bytes + 1, 0xee, 3);
    CHECK(bytes[0] == 0 && bytes[1] == 0xee && bytes[3] == 0xee && bytes[4] == 4);
    CHECK(memcmp("abc", "abd", 3) < 0 && memcmp("abd", "abc", 3) > 0 && memcmp("x", "y", 0) == 0);
}

SELFTEST(machine_probe_reports_only_real_faults)
{
    static volatile uint64_t word = 42;
    uint64_t hole = UINT64_C(0x00007f0000000000); /* nothing is ever mapped here */
    struct fault_seen seen = probe_read((uint64_t)(uintptr_t)&word);

    CHECK(!seen.hit && seen.value == 42);
    seen = probe_write((uint64_t)(uintptr_t)&word, 43);
    CHECK(!seen.hit && word == 43);

    seen = probe_read(hole + 8);
    CHECK(seen.hit && seen.vector == VECTOR_PAGE_FAULT && seen.address == hole + 8);
    CHECK_EQUAL(seen.code, 0);
    CHECK_EQUAL(probe_write(hole, 1).code, FAULT_WRITE);
    CHECK_EQUAL(probe_fetch(hole).address, hole);
    CHECK_EQUAL(probe_read(UINT64_C(0x8000000000000000)).vector, VECTOR_PROTECTION);
    CHECK(read_flags() & RFLAGS_IF);
}

static volatile unsigned hook_calls;

static void count_call(void)
{
    hook_calls = hook_calls + 1;
}

SELFTEST(machine_timer_interrupts)
{
    uint64_t start = timer_ticks();

    hook_calls = 0;
    timer_set_hook(count_call);
    while (timer_ticks() < start + 5)
        wait_for_interrupt();
    timer_set_hook(NULL);
    CHECK(hook_calls >= 4);
}
