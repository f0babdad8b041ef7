/*
 * live.c - start-up: what the CPU runs on now, and what it will run on.
 *
 * Problem     The page tables, stack and descriptor tables that a boot loader left lie somewhere in
 *             memory that the map calls usable; and the first load of a new root is fatal if
 *             anything that the CPU needs at once translates differently.
 * Idea        Find the first by walking the loaded root and asking the CPU, and reserve it. Check
 *             the second before loading: each address that the CPU cannot do without is translated
 *             under both roots.
 *             The CPU tells one address of its stack and no size: what is mapped around it, as far
 *             as stacks of boot code reach, is taken for stack.
 * Invariants  I1 the direct map holds RAM and nothing else: no device is ever cached through it
 *             I2 mm_space_verify() writes nothing
 * Locking     Boot CPU, interrupts off; the calls on the space lock as they do.
 * Cost        O(tables x 512); O(ranges) mappings.
 * Rejected    Mapping everything up to the highest address: devices in the holes would be cached,
 *             and so would be what the CPU reads ahead from them.
 */
#include "mm_cpu.h"
#include "vmm_internal.h"

/*
 * How far the stack in use may reach from the page of the stack pointer, up to the frames of the
 * callers and down to what is pushed next. Boot stubs have 4 to 32 KiB, and 64 KiB is the least
 * that Limine gives; a larger stack is named by the caller. Twice 64 KiB lost until they are
 * reclaimed is cheap, a stack that is handed out is not.
 */
#define STACK_REACH_PAGES (UINT64_C(0x10000) / MM_FRAME_BYTES)

struct reserving {
    struct mm_memmap *map;
    const struct mm_window *window;
    struct mm_space_fail *fail;
    struct mm_paging paging;
};

static enum mm_err reserve_enter(struct mm_walker *walker, struct mm_visit *visit)
{
    struct reserving *r = walker->context;
    mm_phys_t table = mm_pte_phys(visit->entry, visit->level);
    enum mm_err err;

    if (mm_pte_reserved(visit->entry, visit->level, r->paging.phys_bits,
                        (r->paging.flags & MM_PAGING_NX) != 0) != 0)
        return mm_fail(walker->fail, MM_ERR_MALFORMED, visit->virt, visit->level, visit->entry);
    for (unsigned level = visit->level; level <= walker->levels; level++) {
        if (walker->path[level].raw == table.raw)
            visit->skip = true; /* the tables map themselves: nothing new is below */
    }
    err = mm_memmap_reserve(r->map, table, MM_FRAME_BYTES, MM_USE_BOOT);
    if (err != MM_OK)
        return mm_fail(walker->fail, err, visit->virt, visit->level, visit->entry);
    return MM_OK;
}

/* A page that faults keeps nothing from being used; what is no page may be meant as a table. */
static enum mm_err reserve_damaged(struct mm_walker *walker, struct mm_visit *visit)
{
    if (mm_pte_is_leaf(visit->entry, visit->level))
        return MM_OK;
    return mm_fail(walker->fail, MM_ERR_MALFORMED, visit->virt, visit->level, visit->entry);
}

static enum mm_err reserve_tables(struct reserving *r, mm_phys_t root)
{
    uint64_t low_last = mm_pt_bytes(r->paging.levels) * mm_pt_kernel_index() - 1;
    struct mm_walker walker = {
        .window = r->window,
        .context = r,
        .fail = r->fail,
        .root = root,
        .paging = &r->paging,
        .levels = r->paging.levels,
        .enter = reserve_enter,
        .damaged = reserve_damaged,
    };
    enum mm_err err = mm_memmap_reserve(r->map, root, MM_FRAME_BYTES, MM_USE_BOOT);

    if (err != MM_OK)
        return mm_fail(r->fail, err, 0, 0, mm_pte_empty());
    walker.last = low_last;
    err = mm_walker_run_all(&walker);
    if (err != MM_OK)
        return err;
    walker.virt = ~low_last;
    walker.last = UINT64_MAX;
    return mm_walker_run_all(&walker);
}

/* Pages that an anchor touches, and the first of them. */
static uint64_t anchor_pages(const struct mm_virt_range *anchor, uint64_t *first)
{
    *first = mm_align_down(anchor->start.raw, MM_FRAME_BYTES);
    return mm_frames_for(anchor->start.raw - *first + anchor->bytes);
}

/* The frames of one anchor, page by page: they need not be contiguous. */
static enum mm_err reserve_anchor(struct reserving *r, mm_phys_t root,
                                  const struct mm_virt_range *anchor)
{
    uint64_t first;
    uint64_t pages = anchor_pages(anchor, &first);

    for (uint64_t i = 0; i < pages; i++) {
        mm_virt_t virt = mm_virt(first + i * MM_FRAME_BYTES);
        struct mm_translation at;
        enum mm_err err = mm_translate_root(r->window, root, &r->paging, virt, &at, r->fail);

        if (err != MM_OK)
            return err;
        err = mm_memmap_reserve(r->map, at.phys, MM_FRAME_BYTES, MM_USE_BOOT);
        if (err != MM_OK)
            return mm_fail(r->fail, err, virt.raw, 0, mm_pte_empty());
    }
    return MM_OK;
}

/* Does the page at `virt`, which is mapped, lie in the image? Then so does all of the stack. Of a
 * kept range that cannot be said: it may be a few bytes that happen to share the frame. */
static bool stack_in_image(struct reserving *r, mm_phys_t root, mm_virt_t virt)
{
    struct mm_translation at;
    struct mm_mem_range range;

    return mm_translate_root(r->window, root, &r->paging, virt, &at, NULL) == MM_OK &&
           mm_memmap_find(r->map, at.phys, &range) == MM_OK && range.use == MM_USE_IMAGE;
}

/* The frames of `count` pages, from `virt` on in steps of `step`, until one is not mapped. Not an
 * error: frames that were taken early (nobody else gets them), addresses that do not exist. */
static enum mm_err reserve_beside(struct reserving *r, mm_phys_t root, uint64_t virt, uint64_t step,
                                  uint64_t count)
{
    for (; count > 0; count--, virt += step) {
        struct mm_translation at;
        enum mm_err err;

        if (mm_translate_root(r->window, root, &r->paging, mm_virt(virt), &at, NULL) != MM_OK)
            return MM_OK;
        err = mm_memmap_reserve(r->map, at.phys, MM_FRAME_BYTES, MM_USE_BOOT);
        if (err == MM_ERR_NO_ROOM)
            return mm_fail(r->fail, err, virt, 0, mm_pte_empty());
    }
    return MM_OK;
}

static enum mm_err reserve_stack(struct reserving *r, mm_phys_t root,
                                 const struct mm_virt_range *anchor)
{
    uint64_t first;
    uint64_t end = anchor_pages(anchor, &first) * MM_FRAME_BYTES + first; /* 0 = 2^64 */
    enum mm_err err = reserve_anchor(r, root, anchor);

    if (err != MM_OK || stack_in_image(r, root, anchor->start))
        return err;
    err = reserve_beside(r, root, first - MM_FRAME_BYTES, 0 - MM_FRAME_BYTES,
                         mm_min_u64(STACK_REACH_PAGES, first / MM_FRAME_BYTES));
    if (err == MM_OK)
        err = reserve_beside(r, root, end, MM_FRAME_BYTES,
                             mm_min_u64(STACK_REACH_PAGES, (0 - end) / MM_FRAME_BYTES));
    return err;
}

enum mm_err mm_vmm_reserve_live(struct mm_memmap *map, const struct mm_window *window,
                                struct mm_space_fail *fail)
{
    struct mm_virt_range anchor[MM_CPU_ANCHORS];
    struct reserving r = {.map = map, .window = window, .fail = fail};
    mm_phys_t root = mm_mmu_root();
    unsigned anchors;
    enum mm_err err;

    if (map == NULL || window == NULL)
        return mm_fail(fail, MM_ERR_BAD_ARG, 0, 0, mm_pte_empty());
    mm_port_cpu_paging(&r.paging);
    err = reserve_tables(&r, root);
    anchors = mm_port_cpu_anchors(anchor);
    if (err == MM_OK && anchors > MM_ANCHOR_STACK)
        err = reserve_stack(&r, root, &anchor[MM_ANCHOR_STACK]);
    for (unsigned i = MM_ANCHOR_STACK + 1; err == MM_OK && i < anchors; i++)
        err = reserve_anchor(&r, root, &anchor[i]);
    return err;
}

/* ---- the direct map ---- */

/* The next stretch of RAM at or behind range `*at`: neighbours of different type are one. */
static bool next_ram(const struct mm_memmap *map, uint32_t *at, struct mm_phys_range *out)
{
    uint32_t i = *at;

    while (i < map->count && !mm_mem_type_is_ram(map->range[i].type))
        i++;
    if (i == map->count) {
        *at = i;
        return false;
    }
    out->start = map->range[i].start;
    out->bytes = map->range[i].bytes;
    for (i++; i < map->count && mm_mem_type_is_ram(map->range[i].type) &&
              map->range[i].start.raw == out->start.raw + out->bytes;
         i++)
        out->bytes += map->range[i].bytes;
    *at = i;
    return true;
}

static enum mm_err map_stretch(struct mm_space *space, const struct mm_phys_range *ram,
                               struct mm_space_fail *fail)
{
    const struct mm_virt_range *direct = &space->vmm->layout.direct_map;
    struct mm_map_request request = {
        .virt = mm_virt_add(direct->start, ram->start.raw),
        .bytes = ram->bytes,
        .phys = ram->start,
        .prot = MM_PROT_RW,
    };

    if (ram->start.raw >= direct->bytes || ram->bytes > direct->bytes - ram->start.raw)
        return mm_fail(fail, MM_ERR_NO_ADDRESS, request.virt.raw, 0, mm_pte_empty());
    return mm_space_map(space, &request, fail);
}

/* Undo: exactly what was mapped a moment ago, so it cannot fail. */
static void unmap_before(struct mm_space *space, const struct mm_memmap *map, uint32_t before)
{
    mm_virt_t base = space->vmm->layout.direct_map.start;
    struct mm_phys_range ram;
    uint32_t at = 0;

    while (at < before && next_ram(map, &at, &ram) && at < before) {
        enum mm_err err =
            mm_space_unmap(space, mm_virt_add(base, ram.start.raw), ram.bytes, 0, NULL, NULL);

        MM_ASSERT2(err == MM_OK, ram.start.raw, err);
    }
}

enum mm_err mm_space_map_ram(struct mm_space *space, const struct mm_memmap *map,
                             struct mm_space_fail *fail)
{
    enum mm_err err = mm_space_alive(space);
    struct mm_phys_range ram;
    uint32_t at = 0;

    if (err == MM_OK && map == NULL)
        err = MM_ERR_BAD_ARG;
    if (err != MM_OK)
        return mm_fail(fail, err, 0, 0, mm_pte_empty());
    while (next_ram(map, &at, &ram)) {
        err = map_stretch(space, &ram, fail);

        if (err != MM_OK) {
            unmap_before(space, map, at);
            return err;
        }
    }
    return MM_OK;
}

/* ---- would the CPU survive? ---- */

static unsigned rights_needed(enum mm_anchor anchor)
{
    if (anchor == MM_ANCHOR_CODE)
        return MM_PROT_EXEC;
    return anchor == MM_ANCHOR_STACK ? MM_PROT_WRITE : MM_PROT_READ;
}

static enum mm_err verify_page(struct mm_space *space, mm_virt_t virt, unsigned rights,
                               struct mm_space_fail *fail)
{
    const struct mm_vmm *vmm = space->vmm;
    struct mm_translation now, then;
    enum mm_err err = mm_translate_root(vmm->window, mm_mmu_root(), &vmm->paging, virt, &now, fail);

    if (err == MM_OK)
        err = mm_translate_root(vmm->window, space->root, &vmm->paging, virt, &then, fail);
    if (err != MM_OK)
        return err;
    if (now.phys.raw != then.phys.raw || (rights & ~then.prot) != 0) {
        struct mm_walk_step steps[MM_WALK_STEPS];
        unsigned count = mm_space_walk(space, virt, steps);

        err = now.phys.raw != then.phys.raw ? MM_ERR_NOT_FOUND : MM_ERR_POLICY;
        return mm_fail(fail, err, virt.raw, steps[count - 1].level,
                       mm_pte_of(steps[count - 1].entry));
    }
    return MM_OK;
}

static enum mm_err verify_anchor(struct mm_space *space, const struct mm_virt_range *anchor,
                                 unsigned rights, struct mm_space_fail *fail)
{
    uint64_t first;
    uint64_t pages = anchor_pages(anchor, &first);
    enum mm_err err = MM_OK;

    for (uint64_t i = 0; err == MM_OK && i < pages; i++)
        err = verify_page(space, mm_virt(first + i * MM_FRAME_BYTES), rights, fail);
    return err;
}

enum mm_err mm_verify_anchors(struct mm_space *space, enum mm_anchor *out,
                              struct mm_space_fail *fail)
{
    struct mm_virt_range anchor[MM_CPU_ANCHORS];
    unsigned anchors = mm_port_cpu_anchors(anchor);
    enum mm_err err = mm_space_alive(space);

    if (err != MM_OK)
        return mm_fail(fail, err, 0, 0, mm_pte_empty());
    for (unsigned i = 0; err == MM_OK && i < anchors; i++) {
        *out = (enum mm_anchor)i;
        err = verify_anchor(space, &anchor[i], rights_needed(*out), fail);
    }
    return err;
}

enum mm_err mm_space_verify(struct mm_space *space, struct mm_space_fail *fail)
{
    enum mm_anchor anchor;

    return mm_verify_anchors(space, &anchor, fail);
}
