/*
 * ram.c (fake) - simulated physical memory.
 *
 * Problem     Tests want RAM at 1 MiB, above 4 GiB and at 12 TiB, without owning that much.
 * Idea        Each range is one anonymous mapping of the host that costs memory only where it is
 *             touched. A library window over all of them serves the code under test.
 * Invariants  I1 the host's address of a range is congruent to its physical start modulo 1 GiB, so
 *             what is aligned physically is aligned for the library, as in a direct map
 *             I2 ranges are frame-aligned and disjoint (the window refuses others)
 * Locking     None; ranges change only between operations.
 * Cost        O(ranges) per lookup.
 * Rejected    One array indexed by frame: no memory above 4 GiB without paying for the hole.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "machine.h"

#include <string.h>
#include <sys/mman.h>

#define PLACE_ALIGN (UINT64_C(1) << 30)

struct range {
    uint64_t start, bytes;
    unsigned char *host;
    void *reserved;
    size_t reserved_bytes;
};

static struct {
    struct range range[MM_WINDOW_PIECES];
    unsigned count;
    struct mm_window window;
} ram;

/* Address space of the host, with room to move the start to where I1 wants it. */
static void range_place(struct range *range)
{
    uint64_t at;

    range->reserved_bytes = range->bytes + PLACE_ALIGN;
    range->reserved = mmap(NULL, range->reserved_bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range->reserved == MAP_FAILED)
        fake_fail("no address space for %#llx bytes of RAM", (unsigned long long)range->bytes);
    at = (uint64_t)(uintptr_t)range->reserved;
    at += (range->start - at) & (PLACE_ALIGN - 1);
    range->host = (unsigned char *)(uintptr_t)at;
    if (mprotect(range->host, range->bytes, PROT_READ | PROT_WRITE) != 0)
        fake_fail("no memory for %#llx bytes of RAM", (unsigned long long)range->bytes);
}

void fake_ram_add(mm_phys_t start, uint64_t bytes)
{
    struct range *range = &ram.range[ram.count];

    if (ram.count == MM_WINDOW_PIECES)
        fake_fail("more than %u ranges of RAM", MM_WINDOW_PIECES);
    *range = (struct range){.start = start.raw, .bytes = bytes};
    range_place(range);
    ram.count++;
    if (mm_window_add(&ram.window, start, bytes, mm_virt_of(range->host)) != MM_OK)
        fake_fail("RAM at %#llx, %#llx bytes: unaligned, empty or overlapping",
                  (unsigned long long)start.raw, (unsigned long long)bytes);
}

struct mm_window *fake_window(void)
{
    return &ram.window;
}

void *fake_ram(mm_phys_t phys, uint64_t bytes)
{
    for (unsigned i = 0; i < ram.count; i++) {
        const struct range *range = &ram.range[i];
        uint64_t offset = phys.raw - range->start;

        if (phys.raw >= range->start && offset < range->bytes && bytes <= range->bytes - offset)
            return range->host + offset;
    }
    return NULL;
}

bool fake_ram_phys(const void *pointer, mm_phys_t *out)
{
    uintptr_t at = (uintptr_t)pointer;

    for (unsigned i = 0; i < ram.count; i++) {
        const struct range *range = &ram.range[i];
        uintptr_t first = (uintptr_t)range->host;

        if (at >= first && at - first < range->bytes) {
            *out = mm_phys(range->start + (at - first));
            return true;
        }
    }
    return false;
}

/* Present, writable, user, at the top of the physical address space, where tests put no RAM. */
void fake_ram_poison(mm_phys_t start, uint64_t bytes)
{
    uint64_t top = UINT64_C(1) << fake_machine.cpu[0].phys_bits;
    uint64_t *word = fake_ram(start, bytes);

    if (word == NULL)
        fake_fail("poison outside RAM: %#llx", (unsigned long long)start.raw);
    for (uint64_t i = 0; i < bytes / 8; i++)
        word[i] = (top - (i % 512 + 1) * MM_FRAME_BYTES) | 7;
}

void fake_ram_release(void)
{
    for (unsigned i = 0; i < ram.count; i++)
        munmap(ram.range[i].reserved, ram.range[i].reserved_bytes);
    memset(&ram, 0, sizeof ram);
}
