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
    struct fake_frame *frame; /* one per frame, costs memory where it is touched */
    size_t frame_bytes;
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
    range->frame_bytes = range->bytes / MM_FRAME_BYTES * sizeof *range->frame;
    range->frame = mmap(NULL, range->frame_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range->frame == MAP_FAILED)
        fake_fail("no address space for %#llx bytes of RAM", (unsigned long long)range->bytes);
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

struct fake_frame *fake_frame_record(uint64_t phys)
{
    for (unsigned i = 0; i < ram.count; i++) {
        const struct range *range = &ram.range[i];

        if (phys >= range->start && phys - range->start < range->bytes)
            return &range->frame[(phys - range->start) / MM_FRAME_BYTES];
    }
    return NULL;
}

bool fake_ram_overlaps(uint64_t start, uint64_t bytes)
{
    for (unsigned i = 0; i < ram.count; i++)
        if (start < ram.range[i].start + ram.range[i].bytes && ram.range[i].start < start + bytes)
            return true;
    return false;
}

/* ---- poison ---- */

#define CANARIES 512u

/* At the top of the physical address space, where tests put no RAM. */
static uint64_t canary(uint64_t i)
{
    return (UINT64_C(1) << fake_machine.cpu[0].phys_bits) - (i % CANARIES + 1) * MM_FRAME_BYTES;
}

/* Marks that a walk has set in it since are no part of it. */
bool fake_is_poison(uint64_t entry, uint64_t phys)
{
    return phys >= canary(CANARIES - 1) && phys <= canary(0) && fake_frame_record(phys) == NULL &&
           (entry & ~(fake_format.accessed | fake_format.dirty)) == fake_poison_entry(phys);
}

/* A frame of poison; made anew when the machine's width has changed. */
static const uint64_t *poison_frame(void)
{
    static uint64_t frame[MM_FRAME_BYTES / 8];
    uint64_t low = fake_poison_entry(canary(0));

    if ((frame[0] & (fake_format.entry_bytes == 8 ? UINT64_MAX : UINT32_MAX)) == low)
        return frame;
    for (uint64_t i = 0; i < MM_FRAME_BYTES / 8; i++) {
        frame[i] = fake_poison_entry(canary(i));
        if (fake_format.entry_bytes == 4)
            frame[i] |= fake_poison_entry(canary(i + 1)) << 32;
    }
    return frame;
}

static unsigned char *poison_place(mm_phys_t start, uint64_t bytes)
{
    unsigned char *at = fake_ram(start, bytes);

    if (at == NULL || bytes % MM_FRAME_BYTES != 0)
        fake_fail("poison of no frames, or outside RAM: %#llx", (unsigned long long)start.raw);
    return at;
}

void fake_ram_poison(mm_phys_t start, uint64_t bytes)
{
    unsigned char *at = poison_place(start, bytes);

    for (uint64_t done = 0; done < bytes; done += MM_FRAME_BYTES)
        memcpy(at + done, poison_frame(), MM_FRAME_BYTES);
}

bool fake_ram_poisoned(mm_phys_t start, uint64_t bytes)
{
    const unsigned char *at = poison_place(start, bytes);

    for (uint64_t done = 0; done < bytes; done += MM_FRAME_BYTES)
        if (memcmp(at + done, poison_frame(), MM_FRAME_BYTES) != 0)
            return false;
    return true;
}

void fake_ram_release(void)
{
    for (unsigned i = 0; i < ram.count; i++) {
        munmap(ram.range[i].reserved, ram.range[i].reserved_bytes);
        munmap(ram.range[i].frame, ram.range[i].frame_bytes);
    }
    memset(&ram, 0, sizeof ram);
}
