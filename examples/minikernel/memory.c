/*
 * memory.c - libmm in this kernel.
 *
 * Problem     libmm must be told how the kernel was booted, where its image lies, with which
 *             rights, and how memory can be reached until its own page tables are loaded.
 * Idea        One struct mm_start_info says all of it; mm_start() does the rest. Trust is good:
 *             before anything is allocated, look whether a frame of the image, the boot information
 *             or a module is among those that libmm would hand out.
 * Invariants  After memory_start() nothing uses the boot mappings.
 * Locking     None: once, with interrupts off.
 * Cost        One query per frame of image and modules.
 * Rejected    Calling the layers one by one: a kernel with special wishes does that.
 */
#include "memory.h"

#include <stddef.h>

#define MM_DEFAULT_INSTANCE
#include <mm/names.h>

#include "image.h"
#include "power.h"
#include "print.h"
#include "taken.h"
#include "walk.h"

#define MAGIC_PVH 0x336ec578u
#define SECRET    UINT64_C(0x9e3779b97f4a7c15) /* no source of randomness here */

static const void *kernel_window(uint64_t phys)
{
    return mm_phys_pointer(&mm_default, mm_phys(phys));
}

/* Words are separated by blanks. */
static bool text_has_word(const char *at, const char *word)
{
    while (*at) {
        size_t length = 0;

        while (*at == ' ')
            at++;
        while (word[length] && at[length] == word[length])
            length++;
        if (length > 0 && !word[length] && (at[length] == ' ' || !at[length]))
            return true;
        while (*at && *at != ' ')
            at++;
    }
    return false;
}

static _Noreturn void give_up(enum mm_err err, const struct mm_start_failure *why)
{
    kprintf("libmm does not start: stage %s, %s (%s), address 0x%lx\n",
            mm_start_stage_name(why->stage), mm_err_name(err), mm_err_text(err), why->address);
    if (why->boot.what)
        kprintf("  boot information: %s, tag %u, offset 0x%lx\n", why->boot.what, why->boot.tag,
                why->boot.offset);
    panic("%s", why->what);
}

/* The boot code's own page is not listed: it is dead, and its frame may be used. */
static void start(enum mm_boot_protocol protocol, uint32_t magic, uint64_t info_phys)
{
    const struct mm_image_segment segments[] = {
        mm_image_part(image_text_start, image_text_end, IMAGE_OFFSET, MM_PROT_RX),
        mm_image_part(image_rodata_start, image_rodata_end, IMAGE_OFFSET, MM_PROT_READ),
        mm_image_part(image_data_start, image_data_end, IMAGE_OFFSET, MM_PROT_RW),
    };
    struct mm_start_info info = {
        .protocol = protocol,
        .magic = magic,
        .info = mm_phys(info_phys),
        .segment = segments,
        .segment_count = sizeof(segments) / sizeof(segments[0]),
        .root = text_has_word(taken_command_line(), "adopt") ? MM_ROOT_ADOPT : MM_ROOT_OWN,
        .secret = SECRET,
    };
    struct mm_start_failure why = {.what = "?"};
    enum mm_err err =
        mm_window_add(&info.window, mm_phys(0), IMAGE_BOOT_MAPPED, mm_virt(IMAGE_OFFSET));

    if (err == MM_OK)
        err = mm_start(&mm_default, &info, &why);
    if (err != MM_OK)
        give_up(err, &why);
}

static void verify_reservations(void)
{
    for (size_t i = 0; i < taken_count(); i++) {
        const struct taken *taken = taken_get(i);
        uint64_t frame = taken->phys & ~(MM_FRAME_BYTES - 1);

        for (; frame < taken->phys + taken->bytes; frame += MM_FRAME_BYTES) {
            struct mm_frame_info info;

            mm_pmm_query(&mm_default.pmm, mm_phys(frame), &info);
            if (info.state != MM_FRAME_UNMANAGED)
                panic("frame %lx of the %s is at the allocator's disposal", frame, taken->what);
        }
    }
}

void memory_start(uint32_t magic, uint32_t info_phys)
{
    enum mm_boot_protocol protocol = MM_BOOT_NONE;

    if (magic == MM_MULTIBOOT2_MAGIC)
        protocol = MM_BOOT_MULTIBOOT2;
    else if (magic == MAGIC_PVH)
        protocol = MM_BOOT_PVH;
    else
        panic("neither Multiboot2 nor PVH: magic %08x", magic);
    taken_note(protocol, info_phys);
    start(protocol, magic, info_phys);
    walk_set_window(kernel_window);
    taken_sum_rest();
    verify_reservations();
}

static void print_range(const struct mm_mem_range *range)
{
    kprintf("  %016lx - %016lx %11lu KiB  %-12s %s\n", range->start.raw,
            range->start.raw + range->bytes - 1, range->bytes / 1024, mm_mem_type_name(range->type),
            range->use == MM_USE_FREE ? "" : mm_mem_use_name(range->use));
}

void memory_print_map(void)
{
    struct mm_memmap_totals totals;
    struct mm_pmm_stats stats;

    kprintf("memory map (%u ranges, from %u entries):\n", mm_default.map.count,
            mm_default.boot.map_entries);
    for (uint32_t i = 0; i < mm_default.map.count; i++)
        print_range(&mm_default.map.range[i]);
    mm_memmap_get_totals(&mm_default.map, &totals);
    kprintf("  usable %lu KiB, of these free %lu KiB (%lu KiB below 1 MiB); all RAM %lu KiB\n",
            totals.usable_bytes / 1024, totals.free_bytes / 1024, totals.low_bytes / 1024,
            totals.ram_bytes / 1024);
    mm_pmm_get_stats(&mm_default.pmm, &stats);
    kprintf("frames: %lu managed, %lu free, %lu with tables of the PMM\n", stats.managed_frames,
            stats.free_frames, stats.side_frames);
}

bool memory_has_word(const char *word)
{
    return text_has_word(mm_boot_text_pointer(&mm_default.window, mm_default.boot.command_line),
                         word);
}
