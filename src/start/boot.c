/*
 * boot.c - from the boot loader's information to a finished map.
 *
 * Problem     Loaders say where memory is, and nearly nothing of what already lies in it: neither
 *             the kernel nor their own information is excluded from what they call available.
 * Idea        Read through the caller's window; then reserve all that is known to be in use before
 *             the first frame is handed out. Reservations may overlap: the greater use wins.
 * Invariants  Nothing is taken from the map before the last reservation is made.
 * Locking     None: boot CPU, interrupts off.
 * Cost        O(entries x ranges).
 * Rejected    Trusting the end of the image as the start of free memory: modules and the
 *             information itself lie right behind it.
 */
#include "start/start_internal.h"

#include "base/checked.h"

/* How far the caller's window reaches from the start of the information. */
static uint64_t window_rest(const struct mm_window *window, mm_phys_t phys)
{
    for (uint32_t i = 0; i < window->count; i++) {
        const struct mm_window_piece *piece = &window->piece[i];

        if (phys.raw >= piece->first.raw && phys.raw - piece->first.raw < piece->bytes)
            return piece->bytes - (phys.raw - piece->first.raw);
    }
    return 0;
}

static enum mm_err read_multiboot2(struct start *s)
{
    struct mm *mm = s->mm;
    uint64_t limit = window_rest(&mm->window, s->info->info);
    void *block;

    if (limit == 0 || mm_window_find(&mm->window, s->info->info, 1, &block) != MM_OK)
        return MM_ERR_WINDOW;
    return mm_boot_read_multiboot2(block, limit, s->info->info, &mm->map, &mm->boot, &s->why.boot);
}

/* The array is the loader's or the boot code's: kept like any boot information. */
static enum mm_err read_e820(struct start *s)
{
    const struct mm_start_info *info = s->info;
    struct mm *mm = s->mm;
    void *entries;
    enum mm_err err;

    if (info->info_bytes == 0)
        return MM_ERR_NOT_FOUND;
    err = mm_window_find(&mm->window, info->info, info->info_bytes, &entries);
    if (err != MM_OK)
        return err;
    err = mm_boot_read_e820(entries, info->info_bytes / info->entry_bytes, info->entry_bytes,
                            &mm->map, &mm->boot, &s->why.boot);
    if (err == MM_OK)
        err = mm_memmap_reserve(&mm->map, info->info, info->info_bytes, MM_USE_BOOTINFO);
    return err;
}

static enum mm_err read_efi(struct start *s)
{
    const struct mm_start_info *info = s->info;
    struct mm *mm = s->mm;
    struct mm_boot_efi_map efi = {
        .bytes = info->info_bytes,
        .at = info->info,
        .descriptor_bytes = info->entry_bytes,
        .descriptor_version = info->entry_version,
    };
    void *descriptors;
    enum mm_err err;

    if (info->info_bytes == 0)
        return MM_ERR_NOT_FOUND;
    err = mm_window_find(&mm->window, info->info, info->info_bytes, &descriptors);
    if (err != MM_OK)
        return err;
    efi.descriptors = descriptors;
    return mm_boot_read_efi(&efi, &mm->map, &mm->boot, &s->why.boot);
}

static enum mm_err read_protocol(struct start *s)
{
    struct mm *mm = s->mm;
    mm_phys_t at = s->info->info;

    switch (s->info->protocol) {
    case MM_BOOT_MULTIBOOT2:
        return read_multiboot2(s);
    case MM_BOOT_PVH:
        return mm_boot_read_pvh(&mm->window, at, &mm->map, &mm->boot, &s->why.boot);
    case MM_BOOT_E820:
        return read_e820(s);
    case MM_BOOT_MULTIBOOT1:
        return mm_boot_read_multiboot1(&mm->window, at, &mm->map, &mm->boot, &s->why.boot);
    case MM_BOOT_EFI:
        return read_efi(s);
    case MM_BOOT_LIMINE:
        return mm_boot_read_limine(&mm->window, at, &mm->map, &mm->boot, &s->why.boot);
    case MM_BOOT_NONE:
        break;
    }
    return MM_ERR_BAD_ARG; /* mm_start_arguments() refused it */
}

enum mm_err mm_start_boot_info(struct start *s)
{
    struct mm *mm = s->mm;
    enum mm_err err;

    s->why.stage = MM_START_BOOT_INFO;
    if (s->info->protocol == MM_BOOT_NONE) {
        err = mm->map.range == NULL ? MM_ERR_BAD_ARG : MM_OK;
        return start_note(s, err, "no boot protocol, and mm.map was not filled", 0);
    }
    mm->boot = (struct mm_boot_info){.module = mm->module, .module_capacity = MM_BOOT_MODULES};
    err = mm_memmap_init(&mm->map, mm->range, MM_MAP_RANGES, mm->vmm.paging.phys_bits);
    if (err == MM_OK)
        err = read_protocol(s);
    return start_note(s, err,
                      err == MM_ERR_WINDOW       ? "boot information lies outside the window"
                      : s->why.boot.what != NULL ? s->why.boot.what
                                                 : "boot information cannot be read",
                      s->info->info.raw);
}

/* ---- reservations ---- */

static enum mm_err reserve_lists(struct start *s)
{
    const struct mm_start_info *info = s->info;
    enum mm_err err = MM_OK;

    for (uint64_t i = 0; i < start_mapping_count(info) && err == MM_OK; i++) {
        struct mm_keep it = mm_start_mapping(info, i);

        err = mm_memmap_reserve(&s->mm->map, it.phys, it.bytes,
                                i < info->segment_count ? MM_USE_IMAGE : MM_USE_KEEP);
        (void)start_note(s, err, "cannot reserve the image or the keep list", it.phys.raw);
    }
    for (uint32_t i = 0; i < info->reserve_count && err == MM_OK; i++) {
        err = mm_memmap_reserve(&s->mm->map, info->reserve[i].start, info->reserve[i].bytes,
                                MM_USE_KEEP);
        (void)start_note(s, err, "cannot reserve an entry of the reserve list",
                         info->reserve[i].start.raw);
    }
    return err;
}

enum mm_err mm_start_map(struct start *s)
{
    struct mm *mm = s->mm;
    struct mm_space_fail fail = MM_ZERO;
    enum mm_err err;

    s->why.stage = MM_START_MAP;
    err = reserve_lists(s);
    if (err != MM_OK)
        return err;
    err = mm_memmap_reserve_pc(&mm->map, mm->boot.ebda);
    if (err != MM_OK)
        return start_note(s, err, "cannot reserve the first megabyte of a PC", mm->boot.ebda.raw);
    err = mm_memmap_finish(&mm->map);
    if (err != MM_OK)
        return start_note(s, err,
                          err == MM_ERR_NOT_FOUND ? "the map has no usable memory"
                                                  : "the map cannot be finished",
                          0);
    err = mm_vmm_reserve_live(&mm->map, &mm->window, &fail);
    return err == MM_OK ? MM_OK : mm_start_note_live(s, err, &fail);
}
