/*
 * vmm_ops_change.c - operations on what is mapped: unmap, protect, harvest, promote, gathers.
 *
 * Problem     Each must do all or nothing over holes, edges of large pages and frames that are owned,
 *             with its flush at once or in a gather of several calls.
 * Idea        One function for each kind, with or without a gather, judged by holes first, then by the
 *             tables that the edges need. What is stale is asked when the operation has ended: within a
 *             gather it may be.
 * Invariants  I1 between begin and end of a gather nothing is mapped and no CPU accesses memory
 * Locking     One thread.
 * Cost        O(pages) of a harvest, else O(pieces).
 * Rejected    Nothing.
 */
#include <string.h>

#include "vmm_ops_internal.h"

#define HARVEST_MAX 2048u

static void record_extent(const struct extent *e, uint32_t flags)
{
    struct vmm_ops_record *record = ops_record();

    record->space = e->space;
    record->first = e->first;
    record->pages = e->pages;
    record->flags = flags;
}

/* A hole, if that matters, or why the edges cannot be split. */
static enum mm_err change_predict(const struct extent *e, bool holes, uint64_t *where)
{
    uint64_t end = e->first + e->pages;
    uint64_t hole = holes ? end : model_first_hole(&machine.model[e->space], e->first, end);

    *where = hole != end ? hole : e->first;
    return hole != end ? MM_ERR_NOT_FOUND : ops_model_cut(e->space, e->first, end);
}

static void unmap_extent(const struct extent *e, uint32_t flags, struct mm_gather *gather)
{
    struct mm_space_fail fail;
    uint64_t where;
    enum mm_err expected = change_predict(e, (flags & MM_RANGE_HOLES) != 0, &where);

    record_extent(e, flags);
    ops_judge(mm_space_unmap(&machine.space[e->space], ops_virt(e->first),
                             e->pages << MM_FRAME_SHIFT, flags, gather, &fail),
              expected, where, &fail);
    if (expected != MM_OK)
        return;
    model_unmap(&machine.model[e->space], e->first, e->first + e->pages);
    ops_dirty_drop(e->space, e->first, e->first + e->pages);
}

static void protect_extent(const struct extent *e, uint32_t flags, struct mm_gather *gather)
{
    uint8_t prot = ops_prot(e->first);
    struct mm_space_fail fail;
    uint64_t where;
    enum mm_err expected = change_predict(e, (flags & MM_RANGE_HOLES) != 0, &where);

    record_extent(e, flags);
    ops_record()->prot = prot;
    ops_judge(mm_space_protect(&machine.space[e->space], ops_virt(e->first),
                               e->pages << MM_FRAME_SHIFT, prot, flags, gather, &fail),
              expected, where, &fail);
    if (expected == MM_OK)
        model_protect(&machine.model[e->space], e->first, e->first + e->pages, prot);
}

static struct extent extent_to_change(void)
{
    return ops_one_in(3) ? ops_extent() : ops_mapped_extent();
}

void op_unmap(void)
{
    struct extent e = extent_to_change();

    ops_tables_fail();
    unmap_extent(&e, ops_one_in(2) ? MM_RANGE_HOLES : 0, NULL);
}

void op_protect(void)
{
    struct extent e = extent_to_change();

    ops_tables_fail();
    protect_extent(&e, ops_one_in(2) ? MM_RANGE_HOLES : 0, NULL);
}

/* A whole crowd, or all around a place. */
void op_unmap_many(void)
{
    struct extent e = ops_extent();
    uint64_t pages = ops_one_in(2) ? 4 * M2_PAGES : 2 * GIB_PAGES;
    uint64_t end = ops_kernel_half(e.first) ? UINT64_C(1) << 52 : UINT64_C(1) << 35;

    e.pages = pages < end - e.first ? pages : end - e.first;
    ops_tables_fail();
    unmap_extent(&e, MM_RANGE_HOLES, NULL);
}

void op_change_wrong(void)
{
    struct extent e = {ops_space(), machine.place[0], 1 + ops_below(4)};
    struct mm_space *space = &machine.space[e.space];
    struct mm_space_fail fail;
    mm_virt_t virt = ops_virt(e.first);
    uint64_t bytes = e.pages << MM_FRAME_SHIFT;
    uint32_t prot = MM_PROT_READ, flags = MM_RANGE_HOLES;
    enum mm_err expected = MM_ERR_BAD_ARG;
    bool protects = ops_one_in(2);

    switch (ops_below(protects ? 7 : 5)) {
    case 0:
        virt.raw += 1;
        break;
    case 1:
        bytes = 0;
        break;
    case 2:
        flags = 16;
        break;
    case 3:
        virt.raw = (UINT64_C(1) << (12 + 9 * machine.levels - 1)) - MM_FRAME_BYTES;
        bytes = 2 * MM_FRAME_BYTES;
        expected = MM_ERR_RANGE;
        break;
    case 4:
        if (e.space == 0)
            virt.raw += 1;
        else
            virt = ops_virt(machine.place[3]), expected = MM_ERR_POLICY;
        break;
    case 5:
        prot = MM_PROT_WRITE;
        break;
    default:
        prot = MM_PROT_RW | MM_PROT_EXEC;
        expected = MM_ERR_POLICY;
        break;
    }
    record_extent(&e, flags);
    ops_judge(protects ? mm_space_protect(space, virt, bytes, prot, flags, NULL, &fail)
                       : mm_space_unmap(space, virt, bytes, flags, NULL, &fail),
              expected, virt.raw >> MM_FRAME_SHIFT, &fail);
}

/* ---- harvest ---- */

static void harvest_look(const struct extent *e, const uint8_t *marks)
{
    const struct model_space *model = &machine.model[e->space];

    for (uint64_t i = 0; i < e->pages; i++) {
        bool mapped = model_at(model, e->first + i) != NULL;

        OPS_EQ(marks[i] & MM_MARK_MAPPED, mapped ? MM_MARK_MAPPED : 0);
        OPS_CHECK(mapped || marks[i] == 0);
    }
    OPS_EQ(marks[e->pages], 0xee);
    for (unsigned i = 0; i < DIRTY_MAX; i++) {
        const struct dirty_page *dirty = &machine.dirty[i];

        if (dirty->used && dirty->space == e->space && dirty->page - e->first < e->pages)
            OPS_CHECK((marks[dirty->page - e->first] & MM_MARK_DIRTY) != 0);
    }
}

static void harvest_extent(struct extent *e, struct mm_gather *gather)
{
    static uint8_t marks[HARVEST_MAX + 1];
    uint32_t clear = (uint32_t)ops_below(4) << 1;
    struct mm_space_fail fail;
    bool looks = e->pages <= HARVEST_MAX;

    record_extent(e, clear);
    if (looks)
        memset(marks, 0xee, e->pages + 1);
    ops_judge(mm_space_harvest(&machine.space[e->space], ops_virt(e->first),
                               e->pages << MM_FRAME_SHIFT, clear, looks ? marks : NULL, gather,
                               &fail),
              MM_OK, e->first, &fail);
    if (looks)
        harvest_look(e, marks);
    if ((clear & MM_MARK_DIRTY) != 0)
        ops_dirty_drop(e->space, e->first, e->first + e->pages);
}

void op_harvest(void)
{
    struct extent e = extent_to_change();

    harvest_extent(&e, NULL);
}

/* ---- promote ---- */

/* Are the entries of the table below a leaf of `level` one stretch? */
static enum mm_err stretch_predict(const struct extent *e, unsigned level, uint64_t *where)
{
    const struct model_space *model = &machine.model[e->space];
    const struct model_piece *head = model_at(model, e->first);
    uint64_t part = model_leaf_pages(level - 1);
    uint64_t frame = head != NULL ? head->frame + (e->first - head->first) : 0;

    for (uint64_t page = e->first; page < e->first + e->pages; page += part) {
        const struct model_piece *piece = model_at(model, page);

        *where = page;
        if (model_first_mapped(model, page, page + part) == page + part)
            return MM_ERR_NOT_FOUND;
        if (piece == NULL || piece->level != level - 1 || piece->owned ||
            piece->prot != head->prot || piece->type != head->type ||
            piece->global != head->global || frame % e->pages != 0 ||
            piece->frame + (page - piece->first) != frame + (page - e->first))
            return MM_ERR_EXISTS;
    }
    return MM_OK;
}

static enum mm_err promote_predict(const struct extent *e, unsigned level, uint64_t *where)
{
    struct model_space *model = &machine.model[e->space];
    const struct model_piece *head = model_at(model, e->first);
    struct model_piece whole;
    enum mm_err err;

    *where = e->first;
    if ((machine.leaf_levels >> level & 1) == 0)
        return MM_ERR_UNSUPPORTED;
    if (head != NULL && head->level >= level)
        return MM_OK;
    if (model_first_mapped(model, e->first, e->first + e->pages) == e->first + e->pages)
        return MM_ERR_NOT_FOUND;
    err = stretch_predict(e, level, where);
    if (err != MM_OK)
        return err;
    whole = *head;
    whole.frame += e->first - head->first;
    whole.first = e->first;
    whole.pages = e->pages;
    model_unmap(model, e->first, e->first + e->pages);
    model_map(model, &whole, 1u << level);
    return MM_OK;
}

static void promote_extent(struct extent *e, struct mm_gather *gather)
{
    unsigned level = ops_one_in(6) ? 3 : 2;
    struct mm_space_fail fail;
    enum mm_err expected, err;
    uint64_t where;

    e->pages = model_leaf_pages(level);
    e->first -= e->first % e->pages;
    record_extent(e, 0);
    expected = promote_predict(e, level, &where);
    err = mm_space_promote(&machine.space[e->space], ops_virt(e->first), e->pages << MM_FRAME_SHIFT,
                           gather, &fail);
    ops_judge(err, expected, where, &fail);
}

/* Often what was cut a moment ago: the rights are mended first. */
void op_promote(void)
{
    struct extent e = ops_mapped_extent();

    if (ops_one_in(2)) {
        const struct model_piece *piece = model_at(&machine.model[e.space], e.first);
        struct extent large = e;

        large.first -= large.first % M2_PAGES;
        large.pages = M2_PAGES;
        if (piece != NULL && piece->level == 1 && !ops_kernel_half(e.first))
            protect_extent(&large, MM_RANGE_HOLES, NULL);
    }
    promote_extent(&e, NULL);
}

/* ---- gathers ---- */

/* A frame that a CPU wrote to goes back to the PMM with the gather that unmaps it. */
static bool frame_lend(struct extent *e, mm_phys_t *frame)
{
    struct mm_map_request request = {.prot = MM_PROT_RW, .bytes = MM_FRAME_BYTES};
    struct model_piece piece = {.prot = MM_PROT_RW, .pages = 1};
    enum mm_err expected, err;
    uint64_t where;

    *e = ops_extent();
    e->pages = 1;
    OPS_EQ(mm_pmm_alloc_frame(&machine.pmm, frame), MM_OK);
    request.virt = ops_virt(e->first);
    request.phys = *frame;
    piece.first = e->first;
    piece.frame = mm_frame_of(*frame);
    expected = ops_map_obstacle(e->space, e->first, 1, &where);
    if (expected == MM_OK)
        expected = ops_model_map(e->space, &piece, 1, machine.leaf_levels);
    err = mm_space_map(&machine.space[e->space], &request, NULL);
    ops_judge(err, expected, where, NULL);
    if (err != MM_OK)
        OPS_EQ(mm_pmm_free_frame(&machine.pmm, *frame), MM_OK);
    else
        ops_access(fake_cpu_current(), e->first);
    return err == MM_OK;
}

void op_gathered(void)
{
    static struct mm_gather gather;
    struct extent lent, e;
    mm_phys_t frame;
    bool lends = ops_one_in(3) && frame_lend(&lent, &frame);
    unsigned space, calls = 1 + (unsigned)ops_below(4);

    e = lends ? lent : extent_to_change();
    space = e.space;
    mm_gather_begin(&gather, &machine.space[space]);
    if (lends) {
        unmap_extent(&lent, 0, &gather);
        mm_gather_frames(&gather, frame, 1);
    }
    for (unsigned i = 0; i < calls; i++) {
        unsigned what = (unsigned)ops_below(8);

        if (e.space == space && !(lends && i == 0)) {
            ops_tables_fail();
            if (what < 4)
                unmap_extent(&e, ops_one_in(2) ? MM_RANGE_HOLES : 0, &gather);
            else if (what < 6)
                protect_extent(&e, MM_RANGE_HOLES, &gather);
            else if (what < 7)
                harvest_extent(&e, &gather);
            else
                promote_extent(&e, &gather);
        }
        machine.tables_left = machine.frames.fail_after = -1;
        e = extent_to_change();
    }
    mm_gather_end(&gather);
}

static void cursor_take(struct mm_cursor *cursor, unsigned space, uint64_t first, unsigned level)
{
    struct model_space *model = &machine.model[space];
    const struct model_piece *piece = model_at(model, first);
    uint64_t pages = model_leaf_pages(level);
    mm_phys_t got = {1};
    mm_phys_t there = {1};
    enum mm_err expected = MM_ERR_NOT_FOUND;

    if (piece != NULL && piece->level >= level && (machine.leaf_levels >> level & 1) != 0) {
        there = mm_frame_phys(piece->frame + (first - piece->first));
        expected = ops_model_cut(space, first, first + pages);
    }
    ops_judge(mm_cursor_unmap(cursor, ops_virt(first), pages << MM_FRAME_SHIFT, &got), expected,
              first, NULL);
    OPS_EQ(got.raw, expected == MM_OK ? there.raw : 1);
    if (expected != MM_OK)
        return;
    model_unmap(model, first, first + pages);
    ops_dirty_drop(space, first, first + pages);
}

void op_cursor_unmap(void)
{
    static struct mm_gather gather;
    struct extent e = ops_mapped_extent();
    uint64_t steps = 1 + ops_below(24);
    struct mm_cursor cursor;

    record_extent(&e, 0);
    mm_gather_begin(&gather, &machine.space[e.space]);
    OPS_EQ(
        mm_cursor_begin(&cursor, &machine.space[e.space], MM_PROT_READ, MM_MEMTYPE_WB, 0, &gather),
        MM_OK);
    ops_tables_fail();
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t page = e.first + (ops_one_in(6) ? ops_below(3 * M2_PAGES) : i);
        unsigned level = ops_one_in(8) ? 2 + (unsigned)ops_below(2) : 1;

        page -= page % model_leaf_pages(level);
        if (page >> 52 == 0 && ops_kernel_half(page) == ops_kernel_half(e.first) &&
            page >> 35 == e.first >> 35)
            cursor_take(&cursor, e.space, page, level);
    }
    mm_cursor_end(&cursor);
    mm_gather_end(&gather);
    OPS_CHECK(fake_cpu(fake_cpu_current())->interrupts_on);
}
