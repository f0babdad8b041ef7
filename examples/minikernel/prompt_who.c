/*
 * prompt_who.c - all that is known of an address.
 *
 * Problem     An address in a register or a table entry means nothing until it is known what it
 *             points to, and each layer knows a part.
 * Idea        Ask them all. What lies in the kernel's half is virtual; what is lower is physical,
 *             and if something is mapped there, virtual as well.
 * Invariants  Nothing is changed here.
 * Locking     None.
 * Cost        A walk of all page tables and of all blocks of the heap.
 * Rejected    Stopping at the first answer: it is the second that surprises.
 */
#include <stddef.h>

#include <mm/names.h>

#include "image.h"
#include "print.h"
#include "prompt_commands.h"
#include "taken.h"
#include "walk.h"

struct block_wanted {
    uint64_t address;
    uint64_t start, bytes; /* bytes 0: not found */
};

static void look_at_block(void *context, void *pointer, size_t bytes)
{
    struct block_wanted *wanted = context;
    uint64_t start = mm_virt_of(pointer).raw;

    if (wanted->address - start < bytes) {
        wanted->start = start;
        wanted->bytes = bytes;
    }
}

static void tell_block(uint64_t virt)
{
    struct block_wanted wanted = {.address = virt};
    const struct grant *grant = grant_find(virt, false);

    mm_heap_walk(&mm_default.heap, look_at_block, &wanted);
    if (!wanted.bytes)
        return;
    kprintf("  heap block of %lu bytes at %016lx, byte %lu", wanted.bytes, wanted.start,
            virt - wanted.start);
    if (grant)
        kprintf("; %lu byte%s asked for by alloc", grant->count, words_plural(grant->count));
    kprintf("\n");
}

static void tell_image(uint64_t virt)
{
    static const struct {
        const char *name, *start, *end;
    } segments[] = {{"text", image_text_start, image_text_end},
                    {"rodata", image_rodata_start, image_rodata_end},
                    {"data", image_data_start, image_data_end}};

    for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++) {
        if (virt >= image_virt(segments[i].start) && virt < image_virt(segments[i].end))
            kprintf("  image: segment %s + 0x%lx\n", segments[i].name,
                    virt - image_virt(segments[i].start));
    }
}

static void tell_area(uint64_t virt)
{
    const struct mm_virt_range *area = &mm_default.vmm.layout.kernel_area;
    struct mm_arena_info info;

    if (virt - area->start.raw >= area->bytes)
        return;
    if (mm_arena_find(&mm_default.arena, mm_virt(virt), &info) != MM_OK)
        kprintf("  kernel area: free addresses\n");
    else
        kprintf("  kernel area: %s span of %lu bytes at %016lx\n",
                info.guard ? "guard of the" : "in the", info.bytes, info.start.raw);
}

static void tell_map(uint64_t phys)
{
    struct mm_mem_range range;
    char line[100];

    if (mm_memmap_find(&mm_default.map, mm_phys(phys), &range) != MM_OK) {
        kprintf("  memory map: nothing is described here\n");
        return;
    }
    (void)mm_mem_range_format(line, sizeof(line), &range);
    kprintf("  memory map: %s\n", line);
}

static void tell_frame(uint64_t phys)
{
    static const char *const zones[MM_ZONES] = {"below 1 MiB", "below 16 MiB", "below 4 GiB",
                                                "above 4 GiB"};
    const struct grant *grant = grant_find(phys, true);
    struct mm_frame_info info;

    mm_pmm_query(&mm_default.pmm, mm_phys(phys), &info);
    if (info.state == MM_FRAME_UNMANAGED)
        kprintf("  PMM: not managed\n");
    else if (info.state == MM_FRAME_FREE)
        kprintf("  PMM: free, zone %s\n", zones[info.zone]);
    else
        kprintf("  PMM: allocated, %lu frame%s from %lx, zone %s\n", info.count_frames,
                words_plural(info.count_frames), info.first.raw, zones[info.zone]);
    if (grant)
        kprintf("  taken by alloc: %lu frame%s\n", grant->count, words_plural(grant->count));
}

/* What the frame is used for, as far as anybody has noted it. */
static void tell_use(uint64_t phys)
{
    uint64_t frame = phys & ~(MM_FRAME_BYTES - 1);
    const struct taken *taken = taken_find(phys, 1);
    const char *pointer = phys_to_virt(phys);
    const char *meta = mm_default.pmm.meta;
    uint64_t virt;
    unsigned level = walk_find_table(frame, &virt);

    if (taken)
        kprintf("  in use from the start: %s\n", taken->what);
    if (level)
        kprintf("  page table of level %u for %016lx\n", level, virt);
    if (pointer && pointer >= meta && pointer < meta + mm_default.pmm.meta_bytes)
        kprintf("  metadata of the PMM\n");
}

static void tell_phys(uint64_t phys)
{
    const void *direct = phys_to_virt(phys);

    kprintf("physical %lx:\n", phys);
    tell_map(phys);
    tell_frame(phys);
    tell_use(phys);
    if (direct)
        kprintf("  direct map: %016lx\n", mm_virt_of(direct).raw);
    else
        kprintf("  not in the direct map\n");
    if (direct)
        tell_block(mm_virt_of(direct).raw);
}

/* True, and the physical address, if the address is mapped. */
static bool tell_virt(uint64_t virt, uint64_t *phys)
{
    mm_phys_t shown;
    bool mapped;

    kprintf("virtual %016lx:\n  ", virt);
    mapped = walk_print_translation(virt, phys);
    if (mm_window_phys(&mm_default.window, mm_virt_pointer(mm_virt(virt)), &shown) == MM_OK)
        kprintf("  direct map of physical memory\n");
    tell_image(virt);
    tell_area(virt);
    return mapped;
}

void command_who(const struct words *words)
{
    uint64_t address, phys;

    if (!words_address(words, 1, &address))
        return;
    if (address >> mm_default.map.phys_bits) {
        if (tell_virt(address, &phys))
            tell_phys(phys);
        return;
    }
    tell_phys(address);
    if (vmm_translate(address, &phys) == MM_OK && tell_virt(address, &phys) && phys != address)
        tell_phys(phys);
}
