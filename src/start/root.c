/*
 * root.c - the page tables that the kernel goes on with.
 *
 * Problem     Between the boot loader's mappings and the kernel's own lies one instruction. What is
 *             not mapped alike on both sides of it is a triple fault without a word.
 * Idea        Build the whole root first, in memory that both sides reach; then compare, for all
 *             that is used across the load (code, stack, descriptor tables, struct mm), where it
 *             leads under both roots; then load, and only then reach memory through the new direct
 *             map. The way back is one load of the old root.
 * Invariants  I1 until the load the caller's tables are only read (MM_ROOT_OWN)
 *             I2 mm->window is always one under which the loaded root's tables can be reached
 * Locking     None: boot CPU, interrupts off.
 * Cost        O(tables of the direct map): two or three with 1 GiB pages, one per GiB without.
 * Rejected    One window piece from 0 to the end of RAM: addresses of devices would look like
 *             memory to mm_phys_pointer().
 */
#include "start/start_internal.h"

#include "base/bits.h"
#include "base/checked.h"
#include "mm_mmu.h"
#include "vmm/vmm_internal.h"

/* ---- building ---- */

static enum mm_err map_one(struct start *s, const struct mm_keep *it, bool image)
{
    struct mm_map_request request = {
        .virt = it->virt,
        .bytes = mm_frames_for(it->bytes) << MM_FRAME_SHIFT,
        .phys = it->phys,
        .prot = it->prot,
        .type = it->type,
    };
    struct mm_space_fail fail = {.virt = it->virt};
    enum mm_err err;

    if (image && it->bytes == 0)
        return MM_OK;
    err = mm_space_map(&s->mm->kernel, &request, &fail);
    return start_note(s, err,
                      err == MM_ERR_NO_MEMORY ? "no memory inside the window for page tables"
                      : image                 ? "cannot map an image segment"
                                              : "cannot map an entry of the keep list",
                      fail.virt.raw);
}

/*
 * The direct map shows the frames of the image as well. What may not be written at its own address
 * may not be written there. Holes: the image need not lie in RAM.
 */
static enum mm_err alias_protect(struct start *s, const struct mm_image_segment *segment)
{
    const struct mm_virt_range *direct = &s->layout.direct_map;
    struct mm_space_fail fail = MM_ZERO;
    mm_virt_t alias = mm_virt_add(direct->start, segment->phys.raw);
    uint64_t bytes = mm_frames_for(segment->bytes) << MM_FRAME_SHIFT;
    enum mm_err err;

    if ((segment->prot & MM_PROT_WRITE) != 0 || bytes == 0 || segment->phys.raw >= direct->bytes)
        return MM_OK;
    bytes = mm_min_u64(bytes, direct->bytes - segment->phys.raw);
    err = mm_space_protect(&s->mm->kernel, alias, bytes, MM_PROT_READ, MM_RANGE_HOLES, NULL, &fail);
    return start_note(s, err,
                      err == MM_ERR_NO_MEMORY ? "no memory inside the window for page tables"
                                              : "cannot make the image read-only in the direct map",
                      fail.virt.raw);
}

static enum mm_err build_own(struct start *s)
{
    struct mm *mm = s->mm;
    struct mm_space_fail fail = MM_ZERO;
    enum mm_err err = mm_space_create(&mm->vmm, &mm->kernel, MM_SPACE_KERNEL);

    if (err != MM_OK)
        return start_note(s, err,
                          "cannot make the kernel space: no memory for tables inside the "
                          "window",
                          0);
    err = mm_space_map_ram(&mm->kernel, &mm->map, &fail);
    if (err != MM_OK)
        return start_note(s, err,
                          err == MM_ERR_NO_MEMORY    ? "no memory inside the window for page tables"
                          : err == MM_ERR_NO_ADDRESS ? "the direct map has no room for all RAM"
                                                     : "cannot build the direct map",
                          fail.virt.raw);
    for (uint64_t i = 0; i < start_mapping_count(s->info) && err == MM_OK; i++) {
        struct mm_keep it = mm_start_mapping(s->info, i);

        err = map_one(s, &it, i < s->info->segment_count);
    }
    for (uint32_t i = 0; i < s->info->segment_count && err == MM_OK; i++)
        err = alias_protect(s, &s->info->segment[i]);
    return err;
}

enum mm_err mm_start_note_live(struct start *s, enum mm_err err, const struct mm_space_fail *fail)
{
    mm_pte_t entry = {fail->entry};

    switch (err) {
    case MM_ERR_WINDOW:
        return start_note(s, err, "a page table in use lies outside the window",
                          fail->level != 0 ? mm_pte_phys(entry, fail->level).raw : s->old_root.raw);
    case MM_ERR_MALFORMED:
        return start_note(s, err, "the page tables in use have reserved bits or a loop",
                          fail->virt.raw);
    case MM_ERR_NOT_FOUND:
        return start_note(s, err, "the stack, GDT or IDT in use is not mapped", fail->virt.raw);
    case MM_ERR_NO_ROOM:
        return start_note(s, err, "the map has no room to reserve the page tables in use",
                          fail->virt.raw);
    case MM_ERR_NO_MEMORY:
        return start_note(s, err, "no memory inside the window for page tables", fail->virt.raw);
    default:
        return start_note(s, err, "the page tables in use cannot be followed and reserved",
                          fail->virt.raw);
    }
}

/* The tables that are loaded, and nothing of theirs where the kernel area is to be. */
static enum mm_err adopt(struct start *s)
{
    const struct mm_virt_range *area = &s->layout.kernel_area;
    mm_virt_t cursor = area->start;
    struct mm_space_fail fail = MM_ZERO;
    struct mm_space_run run;
    struct mm *mm = s->mm;
    enum mm_err err = mm_space_adopt(&mm->vmm, &mm->kernel, &fail);

    if (err != MM_OK)
        return mm_start_note_live(s, err, &fail);
    s->adopted = true;
    if (area->bytes != 0 &&
        mm_space_query(&mm->kernel, &cursor, mm_virt_add(area->start, area->bytes), &run) == MM_OK)
        return start_note(s, MM_ERR_EXISTS, "the adopted root maps something in the kernel area",
                          run.virt.raw);
    return MM_OK;
}

enum mm_err mm_start_root(struct start *s)
{
    s->why.stage = MM_START_ROOT;
    return s->root == MM_ROOT_ADOPT ? adopt(s) : build_own(s);
}

/* ---- comparing ---- */

/*
 * Each page of `object` that translates under the loaded root must lead to the same frame under
 * the new one, writable unless `read_only` is NULL. What does not translate now is not an address
 * of this machine's (a simulated one reaches *mm by other means).
 */
static enum mm_err check_object(struct start *s, const void *object, uint64_t bytes,
                                const char *elsewhere, const char *read_only)
{
    const struct mm_window *window = &s->mm->window;
    uint64_t first = mm_align_down(mm_virt_of(object).raw, MM_FRAME_BYTES);
    uint64_t pages = mm_frames_for(mm_virt_of(object).raw - first + bytes);

    for (uint64_t i = 0; i < pages; i++) {
        mm_virt_t virt = mm_virt(first + (i << MM_FRAME_SHIFT));
        struct mm_translation before, after;

        if (mm_translate_root(window, s->old_root, &s->mm->vmm.paging, virt, &before, NULL) !=
            MM_OK)
            continue;
        if (mm_space_translate(&s->mm->kernel, virt, &after, NULL) != MM_OK ||
            before.phys.raw != after.phys.raw)
            return start_note(s, MM_ERR_NOT_FOUND, elsewhere, virt.raw);
        if (read_only != NULL && (after.prot & MM_PROT_WRITE) == 0)
            return start_note(s, MM_ERR_POLICY, read_only, virt.raw);
    }
    return MM_OK;
}

static const char *anchor_fault(enum mm_anchor anchor, enum mm_err err)
{
    switch (anchor) {
    case MM_ANCHOR_CODE:
        return err == MM_ERR_POLICY ? "the code would not be executable under the new root"
                                    : "the code would not be mapped alike under the new root";
    case MM_ANCHOR_STACK:
        return err == MM_ERR_POLICY ? "the stack would not be writable under the new root"
                                    : "the stack would not be mapped alike under the new root";
    case MM_ANCHOR_GDT:
        return "the GDT would not be mapped alike under the new root";
    case MM_ANCHOR_IDT:
        break;
    }
    return "the IDT would not be mapped alike under the new root";
}

enum mm_err mm_start_verify(struct start *s)
{
    struct mm *mm = s->mm;
    struct mm_space_fail fail = MM_ZERO;
    enum mm_anchor anchor = MM_ANCHOR_CODE;
    enum mm_err err;

    s->why.stage = MM_START_VERIFY;
    if (s->root == MM_ROOT_ADOPT)
        return MM_OK;
    err = mm_verify_anchors(&mm->kernel, &anchor, &fail);
    if (err != MM_OK)
        return start_note(s, err, anchor_fault(anchor, err), fail.virt.raw);
    err = check_object(s, mm, sizeof *mm, "struct mm would not be mapped alike under the new root",
                       "struct mm would not be writable under the new root");
    if (err == MM_OK)
        err = check_object(s, mm->map.range, mm->map.capacity * sizeof *mm->map.range,
                           "the memory map would not be mapped alike under the new root",
                           "the memory map would not be writable under the new root");
    if (err == MM_OK)
        err =
            check_object(s, s->distance, (uint64_t)s->distance_nodes * s->distance_nodes,
                         "the nodes' distances would not be mapped alike under the new root", NULL);
    if (err == MM_OK)
        err = check_object(s, s, sizeof *s, anchor_fault(MM_ANCHOR_STACK, MM_ERR_NOT_FOUND),
                           anchor_fault(MM_ANCHOR_STACK, MM_ERR_POLICY));
    return err;
}

/* ---- loading ---- */

/* Close the smallest hole between two pieces: the window then covers it, and one more fits. */
static void window_bridge(struct mm_window *window)
{
    uint64_t smallest = UINT64_MAX;
    uint32_t at = 0;

    for (uint32_t i = 0; i + 1 < window->count; i++) {
        const struct mm_window_piece *piece = &window->piece[i];
        uint64_t hole = piece[1].first.raw - (piece[0].first.raw + piece[0].bytes);

        if (hole < smallest) {
            smallest = hole;
            at = i;
        }
    }
    window->piece[at].bytes += smallest + window->piece[at + 1].bytes;
    window->count--;
    for (uint32_t i = at + 1; i < window->count; i++)
        window->piece[i] = window->piece[i + 1];
}

/* The direct map as a window: RAM exactly, or with its smallest holes where pieces run out. */
static enum mm_err direct_window(const struct mm_memmap *map, mm_virt_t base, struct mm_window *out)
{
    enum mm_err err = MM_OK;

    __builtin_memset(out, 0, sizeof *out); /* clang -O0 copies a large literal from .bss */
    for (uint32_t i = 0; i < map->count && err == MM_OK; i++) {
        const struct mm_mem_range *range = &map->range[i];

        if (!mm_mem_type_is_ram(range->type))
            continue;
        err = mm_window_add(out, range->start, range->bytes, mm_virt_add(base, range->start.raw));
        if (err == MM_ERR_NO_ROOM) {
            window_bridge(out);
            err =
                mm_window_add(out, range->start, range->bytes, mm_virt_add(base, range->start.raw));
        }
    }
    return err;
}

enum mm_err mm_start_load(struct start *s)
{
    struct mm *mm = s->mm;
    enum mm_err err;

    s->why.stage = MM_START_LOAD;
    if (s->root == MM_ROOT_ADOPT)
        return MM_OK;
    err = direct_window(&mm->map, s->layout.direct_map.start, &s->direct);
    if (err != MM_OK)
        return start_note(s, err, "the direct map is no window", s->layout.direct_map.start.raw);
    err = mm_space_activate(&mm->kernel);
    if (err != MM_OK)
        return start_note(s, err, "cannot load the new root", mm->kernel.root.raw);
    mm_mmu_flush_all(); /* boot mappings may be global */
    s->loaded = true;
    s->caller = mm->window;
    mm->window = s->direct;
    mm_vmm_set_window(&mm->vmm, &mm->window);
    return MM_OK;
}

/* Take out of an adopted root the tables that adopting put in: those of early frames. */
static void slots_undo(struct start *s)
{
    const struct mm_vmm *vmm = &s->mm->vmm;
    const struct mm_virt_range *area = &s->layout.kernel_area;
    unsigned levels = vmm->paging.levels;
    unsigned first = mm_pt_index(area->start, levels);
    unsigned last = mm_pt_index(mm_virt(mm_range_last(area->start.raw, area->bytes)), levels);
    mm_pte_t *root = mm_table_map_known(vmm->window, s->old_root);

    for (unsigned i = first; i <= last; i++) {
        mm_pte_t entry = mm_pte_load(&root[i]);
        struct mm_mem_range range;

        if (mm_pte_is_table(entry, levels) &&
            mm_memmap_find(&s->mm->map, mm_pte_phys(entry, levels), &range) == MM_OK &&
            range.use == MM_USE_EARLY)
            mm_pte_store(&root[i], mm_pte_empty());
    }
    mm_table_unmap(vmm->window, root);
    mm_mmu_flush_all();
}

void mm_start_unload(struct start *s)
{
    if (s->adopted && s->layout.kernel_area.bytes != 0)
        slots_undo(s);
    if (!s->loaded)
        return;
    mm_mmu_load_root(s->old_root);
    mm_mmu_flush_all(); /* ours are global */
    s->loaded = false;
    s->mm->window = s->caller;
}
