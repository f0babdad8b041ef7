/*
 * taken.c - memory that is in use before there is an allocator.
 *
 * Problem     An allocator that hands out the kernel, the boot information or a module does damage
 *             that shows much later; asking the allocator itself would prove nothing.
 * Idea        Before libmm starts, note every such range from the linker's symbols and from a
 *             reading of the boot information into a map that is thrown away, with a checksum.
 *             After heavy allocation compare.
 * Invariants  Entries are never changed once noted, except for a missing checksum.
 * Locking     None: noted before interrupts are on.
 * Cost        One pass over the modules at the start and one per comparison.
 * Rejected    A copy of the modules: it would need memory before there is an allocator.
 */
#include "taken.h"

#include <mm/names.h>

#include "image.h"
#include "power.h"

#define TAKEN_MAX (8 + 2 * MM_BOOT_MODULES)

static struct taken list[TAKEN_MAX];
static size_t used;
static struct mm_boot_text command_line;

/* Read once into here, to find out what is where; libmm reads it again for itself. */
static struct mm_mem_range scratch_range[MM_MAP_RANGES];
static struct mm_boot_module scratch_module[MM_BOOT_MODULES];

/* FNV-1a over 64-bit words, then over the bytes that are left. */
static uint64_t checksum(const void *start, uint64_t bytes)
{
    const unsigned char *at = start;
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    uint64_t word;

    for (; bytes >= sizeof(word); at += sizeof(word), bytes -= sizeof(word)) {
        __builtin_memcpy(&word, at, sizeof(word));
        sum = (sum ^ word) * UINT64_C(0x100000001b3);
    }
    for (; bytes > 0; at++, bytes--)
        sum = (sum ^ *at) * UINT64_C(0x100000001b3);
    return sum;
}

static const void *boot_pointer(uint64_t phys, uint64_t bytes)
{
    if (phys >= IMAGE_BOOT_MAPPED || bytes > IMAGE_BOOT_MAPPED - phys)
        return NULL;
    return (const void *)(uintptr_t)(IMAGE_OFFSET + phys);
}

/* Through the window that libmm has by then; a range is contiguous there too. */
static const void *direct_pointer(const struct taken *taken)
{
    if (!mm_phys_pointer(&mm_default, mm_phys(taken->phys + taken->bytes - 1)))
        return NULL;
    return mm_phys_pointer(&mm_default, mm_phys(taken->phys));
}

static void note(const char *what, uint64_t phys, uint64_t bytes, bool constant)
{
    const void *pointer = boot_pointer(phys, bytes);
    struct taken *taken = &list[used];

    if (bytes == 0)
        return;
    if (used == TAKEN_MAX)
        panic("too many ranges to note: %s", what);
    *taken = (struct taken){what, phys, bytes, constant, constant && pointer, 0};
    if (taken->summed)
        taken->sum = checksum(pointer, bytes);
    used++;
}

static void note_text(const char *what, struct mm_boot_text text)
{
    note(what, text.at.raw, text.bytes, true);
}

static enum mm_err read_information(enum mm_boot_protocol protocol, uint64_t phys,
                                    struct mm_boot_info *info, struct mm_boot_fault *fault)
{
    struct mm_window window = {0};
    struct mm_memmap map;
    enum mm_err err = mm_memmap_init(&map, scratch_range, MM_MAP_RANGES, 52);

    if (err == MM_OK)
        err = mm_window_add(&window, mm_phys(0), IMAGE_BOOT_MAPPED, mm_virt(IMAGE_OFFSET));
    if (err != MM_OK)
        return err;
    if (protocol == MM_BOOT_PVH)
        return mm_boot_read_pvh(&window, mm_phys(phys), &map, info, fault);
    return mm_boot_read_multiboot2(boot_pointer(phys, 8), (size_t)(IMAGE_BOOT_MAPPED - phys),
                                   mm_phys(phys), &map, info, fault);
}

void taken_note(enum mm_boot_protocol protocol, uint64_t info_phys)
{
    struct mm_boot_info info = {.module = scratch_module, .module_capacity = MM_BOOT_MODULES};
    struct mm_boot_fault fault = {.what = "?"};
    enum mm_err err = read_information(protocol, info_phys, &info, &fault);

    if (err != MM_OK)
        panic("boot information: %s: %s (tag %u, offset 0x%lx)", mm_err_name(err), fault.what,
              fault.tag, fault.offset);
    note("kernel text", image_phys(image_text_start), image_bytes(image_text), true);
    note("kernel constants", image_phys(image_rodata_start), image_bytes(image_rodata), true);
    note("kernel data", image_phys(image_data_start), image_bytes(image_data), false);
    note("boot information", info.block.raw, info.block_bytes, true);
    note_text("command line", info.command_line);
    command_line = info.command_line;
    note_text("loader name", info.loader);
    for (uint32_t i = 0; i < info.module_count && i < MM_BOOT_MODULES; i++) {
        note("module", scratch_module[i].start.raw, scratch_module[i].bytes, true);
        note_text("module text", scratch_module[i].text);
    }
}

const char *taken_command_line(void)
{
    const char *text = boot_pointer(command_line.at.raw, command_line.bytes + UINT64_C(1));

    return command_line.bytes > 0 && text ? text : "";
}

size_t taken_count(void)
{
    return used;
}

const struct taken *taken_get(size_t index)
{
    return &list[index];
}

const struct taken *taken_find(uint64_t phys, uint64_t bytes)
{
    for (size_t i = 0; i < used; i++) {
        if (phys < list[i].phys + list[i].bytes && list[i].phys < phys + bytes)
            return &list[i];
    }
    return NULL;
}

void taken_sum_rest(void)
{
    for (size_t i = 0; i < used; i++) {
        const void *pointer = direct_pointer(&list[i]);

        if (list[i].constant && !list[i].summed && pointer) {
            list[i].sum = checksum(pointer, list[i].bytes);
            list[i].summed = true;
        }
    }
}

const struct taken *taken_changed(void)
{
    for (size_t i = 0; i < used; i++) {
        const void *pointer = direct_pointer(&list[i]);

        if (list[i].summed && (!pointer || checksum(pointer, list[i].bytes) != list[i].sum))
            return &list[i];
    }
    return NULL;
}
