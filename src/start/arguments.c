/*
 * arguments.c - is what mm_start() is asked for possible at all?
 *
 * Problem     A segment list with a hole or an overlap shows itself as a triple fault after the new
 *             root is loaded, where nobody can print any more.
 * Idea        Everything that can be seen in the struct alone is checked before anything is touched,
 *             and named: which list, which address.
 * Invariants  After mm_start_arguments(): mappings are frame-aligned and disjoint from each other,
 *             from the direct map and from the kernel area; the image is W^X and no frame of it is
 *             in two segments.
 * Locking     None.
 * Cost        O(mappings squared); there are a handful.
 * Rejected    Leaving overlaps to the page tables: they answer "something is mapped", not what.
 */
#include "start/start_internal.h"

#include "base/bits.h"
#include "base/checked.h"

struct mm_keep mm_start_mapping(const struct mm_start_info *info, uint64_t index)
{
    const struct mm_image_segment *segment;

    if (index >= info->segment_count)
        return info->keep[index - info->segment_count];
    segment = &info->segment[index];
    return (struct mm_keep){
        .virt = segment->virt,
        .phys = segment->phys,
        .bytes = segment->bytes,
        .prot = segment->prot,
        .type = MM_MEMTYPE_WB,
    };
}

/* Half-open ranges that passed mm_range_ok(). */
static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a_bytes != 0 && b_bytes != 0 && a <= mm_range_last(b, b_bytes) &&
           b <= mm_range_last(a, a_bytes);
}

static uint64_t frames_bytes(uint64_t bytes)
{
    return mm_frames_for(bytes) << MM_FRAME_SHIFT;
}

static enum mm_err check_lists(struct start *s)
{
    const struct mm_start_info *info = s->info;

    if ((info->segment == NULL && info->segment_count != 0) ||
        (info->keep == NULL && info->keep_count != 0) ||
        (info->reserve == NULL && info->reserve_count != 0) ||
        (info->distance == NULL && info->distance_nodes != 0))
        return start_note(s, MM_ERR_BAD_ARG, "a list is NULL but its count is not 0", 0);
    if (info->cpu_count > MM_CPUS_MAX)
        return start_note(s, MM_ERR_BAD_ARG, "more CPUs than MM_CPUS_MAX", info->cpu_count);
    if (info->root != MM_ROOT_OWN && info->root != MM_ROOT_ADOPT)
        return start_note(s, MM_ERR_BAD_ARG, "unknown root mode", (uint64_t)info->root);
    if ((unsigned)info->pin > MM_PIN_NONE) /* whether it is built the PMM knows */
        return start_note(s, MM_ERR_BAD_ARG, "unknown pin", (uint64_t)info->pin);
    if ((info->pmm_flags & ~MM_PMM_NO_FLOORS) != 0)
        return start_note(s, MM_ERR_BAD_ARG, "unknown flag of the PMM", info->pmm_flags);
    if ((info->vmm_flags & ~MM_VMM_NO_ASIDS) != 0)
        return start_note(s, MM_ERR_BAD_ARG, "unknown flag of the VMM", info->vmm_flags);
    if (info->distance_nodes > MM_NODES_MAX)
        return start_note(s, MM_ERR_BAD_ARG, "distances of more than MM_NODES_MAX nodes",
                          info->distance_nodes);
    if (info->window.count == 0 || info->window.count > MM_WINDOW_PIECES)
        return start_note(s, MM_ERR_BAD_ARG, "the window is empty", 0);
    return MM_OK;
}

static enum mm_err check_protocol(struct start *s)
{
    const struct mm_start_info *info = s->info;

    switch (info->protocol) {
    case MM_BOOT_MULTIBOOT2:
        if (info->magic != MM_MULTIBOOT2_MAGIC)
            return start_note(s, MM_ERR_BAD_ARG, "magic is not that of Multiboot2", info->magic);
        return MM_OK;
    case MM_BOOT_MULTIBOOT1:
        if (info->magic != MM_MULTIBOOT1_MAGIC)
            return start_note(s, MM_ERR_BAD_ARG, "magic is not that of Multiboot", info->magic);
        return MM_OK;
    case MM_BOOT_NONE:
    case MM_BOOT_PVH:
    case MM_BOOT_LIMINE:
    case MM_BOOT_EFI: /* its reader checks the sizes */
        return MM_OK;
    case MM_BOOT_E820:
        if (info->entry_bytes < 20 || info->info_bytes % info->entry_bytes != 0)
            return start_note(s, MM_ERR_BAD_ARG,
                              "E820 needs entry_bytes, and info_bytes in whole "
                              "entries",
                              info->info.raw);
        return MM_OK;
    }
    return start_note(s, MM_ERR_BAD_ARG, "unknown boot protocol", (uint64_t)info->protocol);
}

static enum mm_err check_mapping(struct start *s, const struct mm_keep *it, bool image)
{
    uint64_t bytes = frames_bytes(it->bytes);

    if (!mm_is_aligned(it->virt.raw | it->phys.raw, MM_FRAME_BYTES) ||
        (!image && !mm_is_aligned(it->bytes, MM_FRAME_BYTES)))
        return start_note(s, MM_ERR_BAD_ARG,
                          image ? "image segment is not frame-aligned"
                                : "entry of the keep list is not frame-aligned",
                          it->virt.raw);
    if (!mm_range_ok(it->virt.raw, bytes) || !mm_range_ok(it->phys.raw, bytes))
        return start_note(s, MM_ERR_BAD_ARG,
                          image ? "image segment wraps"
                                : "entry of the keep list is empty or wraps",
                          it->virt.raw);
    return MM_OK;
}

/* An adopted root has rights already: only what no kernel should want is refused there. */
static enum mm_err check_rights(struct start *s, const struct mm_keep *it, bool image)
{
    if ((it->prot & MM_PROT_WRITE) != 0 && (it->prot & MM_PROT_EXEC) != 0)
        return start_note(s, MM_ERR_POLICY,
                          image ? "image segment is writable and executable"
                                : "entry of the keep list is writable and executable",
                          it->virt.raw);
    if (s->root == MM_ROOT_ADOPT)
        return MM_OK;
    if ((it->prot & MM_PROT_READ) == 0)
        return start_note(s, MM_ERR_BAD_ARG,
                          image ? "image segment has not the right to be read"
                                : "entry of the keep list has not the right to be read",
                          it->virt.raw);
    if ((it->prot & ~(MM_PROT_RW | MM_PROT_EXEC | MM_PROT_USER)) != 0)
        return start_note(s, MM_ERR_BAD_ARG,
                          image ? "image segment has an unknown right"
                                : "entry of the keep list has an unknown right",
                          it->virt.raw);
    if ((unsigned)it->type > MM_MEMTYPE_WC)
        return start_note(s, MM_ERR_BAD_ARG, "entry of the keep list has an unknown memory type",
                          it->virt.raw);
    return MM_OK;
}

/* Against the ranges that libmm fills itself. */
static enum mm_err check_layout(struct start *s, const struct mm_keep *it)
{
    const struct mm_virt_range *direct = &s->layout.direct_map;
    const struct mm_virt_range *area = &s->layout.kernel_area;
    uint64_t bytes = frames_bytes(it->bytes);

    if (s->root == MM_ROOT_OWN && overlap(it->virt.raw, bytes, direct->start.raw, direct->bytes))
        return start_note(s, MM_ERR_EXISTS, "image or keep list overlaps the direct map",
                          it->virt.raw);
    if (overlap(it->virt.raw, bytes, area->start.raw, area->bytes))
        return start_note(s, MM_ERR_EXISTS, "image or keep list overlaps the kernel area",
                          it->virt.raw);
    return MM_OK;
}

static enum mm_err check_pair(struct start *s, const struct mm_keep *a, const struct mm_keep *b,
                              bool a_image, bool b_image)
{
    uint64_t a_bytes = frames_bytes(a->bytes), b_bytes = frames_bytes(b->bytes);

    if (overlap(a->virt.raw, a_bytes, b->virt.raw, b_bytes))
        return start_note(s, MM_ERR_EXISTS,
                          a_image && b_image   ? "image segments overlap"
                          : a_image || b_image ? "keep list overlaps the image"
                                               : "entries of the keep list overlap",
                          mm_max_u64(a->virt.raw, b->virt.raw));
    if (a_image && b_image && overlap(a->phys.raw, a_bytes, b->phys.raw, b_bytes))
        return start_note(s, MM_ERR_EXISTS, "image segments share a frame",
                          mm_max_u64(a->phys.raw, b->phys.raw));
    return MM_OK;
}

static enum mm_err check_mappings(struct start *s)
{
    const struct mm_start_info *info = s->info;
    uint64_t count = start_mapping_count(info);

    for (uint64_t i = 0; i < count; i++) {
        struct mm_keep it = mm_start_mapping(info, i);
        bool image = i < info->segment_count;
        enum mm_err err;

        if (image && it.bytes == 0)
            continue;
        err = check_mapping(s, &it, image);
        if (err == MM_OK)
            err = check_rights(s, &it, image);
        if (err == MM_OK)
            err = check_layout(s, &it);
        for (uint64_t j = 0; j < i && err == MM_OK; j++) {
            struct mm_keep other = mm_start_mapping(info, j);

            err = check_pair(s, &other, &it, j < info->segment_count, image);
        }
        if (err != MM_OK)
            return err;
    }
    return MM_OK;
}

enum mm_err mm_start_arguments(struct start *s)
{
    enum mm_err err;

    s->why.stage = MM_START_ARGUMENTS;
    err = check_lists(s);
    if (err == MM_OK)
        err = check_protocol(s);
    if (err == MM_OK)
        err = check_mappings(s);
    return err;
}
