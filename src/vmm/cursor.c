/*
 * cursor.c - many changes of single pages, one after the other.
 *
 * Problem     A call on one page costs two locked instructions and a descent, twenty times what the
 *             page itself does. Who maps frame by frame, as they come, has no range to give.
 * Idea        The section and the lock of the table in hand stay from call to call. A page in that
 *             table is a check and a store; a page elsewhere lets go of the table and looks for the
 *             other one. What needs tables, or splits a page, lets go of everything and is an ordinary
 *             call; the next page finds the table that it made.
 * Invariants  C1 a table is locked exactly while `bytes` is not 0, the section is on while `open`
 *             C2 a table that became empty is taken off when it is let go of: the gather has room
 *             C3 nothing is flushed while the section is on: who flushes the gather lets go first
 *             C4 after BATCH pages all is let go of, so that nobody waits longer, nor an interrupt
 * Locking     subtree.h.
 * Cost        A page in the table in hand: one load, one store.
 * Rejected    Keeping the section over flushes: it must not wait. A list of pages to do at the end: the
 *             caller has one already, mm_map_request.piece.
 */
#include "base/report.h"
#include "change.h"

#define BATCH 512u

struct __attribute__((may_alias)) cursor {
    struct mm_subtree subtree;
    struct mm_space *space;   /* NULL: not begun */
    struct mm_gather *gather; /* or NULL */
    struct mm_map_request request;
    mm_pte_t leaf;     /* of the level in hand, frame 0 */
    uint64_t first;    /* address of the first entry of the table in hand */
    uint64_t bytes;    /* of an entry there; 0: no table in hand */
    uint64_t span;     /* of the whole table; 0: none in hand */
    uint64_t map_span; /* the same if the request is one that may be made in this table, else 0 */
    uint64_t reserved; /* bits of a leaf there */
    uint64_t phys_end;
    uint32_t left;     /* pages of this batch */
    enum mm_err found; /* by table_enter(): why there is no table for such leaves */
    bool open;         /* the section is on */
};

_Static_assert(sizeof(struct cursor) <= sizeof(struct mm_cursor), "a cursor has room");

static struct cursor *cursor_of(struct mm_cursor *cursor)
{
    return (struct cursor *)(void *)cursor->word;
}

/* ---- the table in hand ---- */

static void table_leave(struct cursor *c)
{
    if (c->bytes == 0)
        return;
    c->bytes = c->span = c->map_span = 0;
    if (c->gather != NULL)
        mm_subtree_prune(&c->subtree, c->first, c->gather);
    else
        mm_subtree_unlock(&c->subtree);
}

static void let_go(struct cursor *c)
{
    table_leave(c);
    if (c->open)
        mm_section_end(&c->subtree.section);
    c->open = false;
}

static enum mm_err section_enter(struct cursor *c)
{
    enum mm_err err;

    if (c->left == 0 || (c->gather != NULL && mm_gather_is_crowded(c->gather)))
        let_go(c);
    if (c->open)
        return MM_OK;
    err = c->gather != NULL ? mm_gather_make_room(c->gather) : MM_OK;
    if (err == MM_OK)
        err = mm_section_begin(&c->subtree.section, c->space, false);
    c->open = err == MM_OK;
    c->left = BATCH;
    return err;
}

static unsigned level_of(uint64_t bytes)
{
    for (unsigned level = 1; level <= MM_PT_LEAF_LEVEL_MAX; level++)
        if (mm_pt_bytes(level) == bytes)
            return level;
    return 0;
}

/* What is in the way of unmapping one leaf of `bytes`; the subtree is locked. MM_ERR_AGAIN: a larger page,
 * which is to be split first, or it was split just now. */
static enum mm_err unmap_obstacle(const struct cursor *c, uint64_t bytes, mm_pte_t entry)
{
    unsigned level = c->subtree.level;

    if (mm_entry_is_damaged(&c->space->vmm->paging, entry, level))
        return MM_ERR_CORRUPT;
    return mm_pt_bytes(level) > bytes && mm_pte_is_present(entry) ? MM_ERR_AGAIN : MM_ERR_NOT_FOUND;
}

/* Take the table with the leaf of `bytes` at `virt` in hand, if there is one. MM_ERR_AGAIN: an ordinary
 * call has to do it. */
static MM_COLD enum mm_err table_enter(struct cursor *c, uint64_t virt, uint64_t bytes)
{
    struct mm_space *space = c->space;
    unsigned level = level_of(bytes);
    struct mm_space_fail fail;
    struct mm_span span;
    enum mm_err err;

    table_leave(c);
    if (level == 0 || !mm_is_aligned(virt, bytes))
        return MM_ERR_BAD_ARG;
    err = mm_range_check(space, mm_virt(virt), bytes, &span, &fail);
    if (err == MM_OK)
        err = section_enter(c);
    if (err != MM_OK)
        return err;
    c->found = MM_ERR_NOT_FOUND;
    if ((space->vmm->paging.leaf_levels >> level & 1) == 0)
        return MM_ERR_AGAIN;
    err = mm_subtree_lock(&c->subtree, virt, virt + (bytes - 1), &fail);
    if (err != MM_OK)
        return err;
    if (c->subtree.level != level) {
        unsigned index = mm_pt_index(mm_virt(virt), c->subtree.level);

        c->found = unmap_obstacle(c, bytes, mm_pte_load(&c->subtree.top.entry[index]));
        mm_subtree_unlock(&c->subtree);
        return MM_ERR_AGAIN;
    }
    c->span = mm_pt_bytes(level + 1);
    c->first = mm_align_down(virt, c->span);
    if (!mm_space_is_kernel(space)) /* the last table of the user's half may be used in part */
        c->span = mm_min_u64(c->span, space->vmm->layout.user_end.raw - c->first);
    c->span = mm_align_down(c->span, bytes); /* a large page may begin below that and stick out */
    c->bytes = bytes;
    c->reserved = mm_pt_reserved_leaf(level, space->vmm->paging.phys_bits);
    c->map_span = 0;
    return MM_OK;
}

static MM_COLD void damage_report(struct cursor *c, mm_virt_t virt, const char *where,
                                  const void *caller)
{
    struct mm_space_fail fail = {.virt = virt};

    let_go(c); /* no lock is held */
    mm_space_report_damage(c->space, &fail, where, caller);
}

/* ---- mapping ---- */

/* Do the checks of an ordinary call once for the table in hand: they give the same for all of it. */
static enum mm_err map_allow(struct cursor *c, uint64_t virt, uint64_t phys, uint64_t bytes)
{
    enum mm_err err;

    c->request.virt = mm_virt(virt);
    c->request.phys = mm_phys(phys);
    c->request.bytes = bytes;
    err = mm_map_check(c->space, &c->request, NULL);
    if (err == MM_OK && (c->request.prot & ~c->subtree.rights) != 0)
        err = MM_ERR_POLICY;
    if (err != MM_OK)
        return err;
    c->leaf = mm_map_leaf(c->space, &c->request, c->subtree.level);
    /* page 0, and frames that are to be counted, are matters of their own */
    c->map_span = c->first != 0 && (c->request.flags & MM_MAP_OWNED) == 0 ? c->span : 0;
    return MM_OK;
}

static enum mm_err map_generally(struct cursor *c, uint64_t virt, uint64_t phys, uint64_t bytes)
{
    let_go(c);
    c->request.virt = mm_virt(virt);
    c->request.phys = mm_phys(phys);
    c->request.bytes = bytes;
    return mm_space_map(c->space, &c->request, NULL);
}

/* Elsewhere, or the first one here; or the cursor was not begun. */
static MM_COLD enum mm_err map_move(struct cursor *c, uint64_t virt, uint64_t phys, uint64_t bytes)
{
    bool small = (c->request.flags & (MM_MAP_SMALL | MM_MAP_OWNED)) != 0;
    enum mm_err err = MM_ERR_BAD_ARG;

    if (c->space != NULL && bytes != 0 && !(small && bytes > MM_FRAME_BYTES))
        err = table_enter(c, virt, bytes);
    if (err == MM_OK)
        err = map_allow(c, virt, phys, bytes);
    if (err == MM_ERR_AGAIN || (err == MM_OK && c->map_span == 0))
        err = map_generally(c, virt, phys, bytes);
    return err;
}

static MM_COLD enum mm_err map_refuse(struct cursor *c, mm_virt_t virt, mm_pte_t before,
                                      const void *caller)
{
    if (!mm_entry_is_damaged(&c->space->vmm->paging, before, c->subtree.level))
        return MM_ERR_EXISTS;
    damage_report(c, virt, "mm_cursor_map", caller);
    return MM_ERR_CORRUPT;
}

enum mm_err mm_cursor_map(struct mm_cursor *cursor, mm_virt_t virt, mm_phys_t phys, uint64_t bytes)
{
    struct cursor *c;
    mm_pte_t *slot, before;
    enum mm_err err;

    if (cursor == NULL || ((virt.raw | phys.raw) & (bytes - 1)) != 0)
        return MM_ERR_BAD_ARG;
    c = cursor_of(cursor);
    if (virt.raw - c->first >= c->map_span || c->bytes != bytes || c->left == 0) {
        err = map_move(c, virt.raw, phys.raw, bytes);
        if (err != MM_OK || c->map_span == 0)
            return err;
    }
    if (phys.raw >= c->phys_end)
        return MM_ERR_RANGE;
    slot = &c->subtree.top.entry[mm_pt_index(virt, c->subtree.level)];
    before = mm_pte_load(slot);
    if (!mm_pte_is_none(before))
        return map_refuse(c, virt, before, MM_CALLER);
    mm_pte_store(slot, mm_pte_to(c->leaf, phys));
    mm_table_count(&c->subtree.top, 1);
    mm_mmu_published();
    c->left--;
    return MM_OK;
}

/* ---- unmapping ---- */

static enum mm_err unmap_here(struct cursor *c, uint64_t virt, mm_phys_t *phys)
{
    unsigned level = c->subtree.level;
    mm_pte_t *slot = &c->subtree.top.entry[mm_pt_index(mm_virt(virt), level)];
    mm_pte_t before = mm_pte_load(slot);

    if (!mm_pte_is_sound_leaf(before, c->reserved, level))
        return unmap_obstacle(c, c->bytes, before);
    if (mm_pte_is_owned(before) && mm_space_may_own(c->space)) {
        c->gather->owned[c->gather->owned_count++] = mm_pte_phys(before, level);
        (void)mm_fetch_add_relaxed_u64(&c->space->frame_count, 0 - UINT64_C(1));
    }
    mm_pte_store(slot, mm_pte_empty());
    mm_table_count(&c->subtree.top, 0u - 1);
    if (level > 1 && mm_space_joins(c->space))
        mm_gather_everything(c->gather);
    if ((c->gather->flags & MM_GATHER_EVERYTHING) == 0)
        mm_gather_page(c->gather, virt, c->bytes);
    c->left--;
    *phys = mm_pte_phys(before, level);
    return MM_OK;
}

/* Make pages of `bytes` of the larger one at `virt`. */
static MM_COLD enum mm_err unmap_split(struct cursor *c, uint64_t virt, uint64_t bytes)
{
    struct mm_space_fail fail;
    struct mm_change change;

    let_go(c);
    change.space = c->space;
    change.gather = c->gather;
    change.fail = &fail;
    change.span = (struct mm_span){virt, virt + (bytes - 1)};
    return mm_range_split(&change);
}

/* Elsewhere, or part of a larger page: as often as others put such a page there. */
static MM_COLD enum mm_err unmap_move(struct cursor *c, uint64_t virt, uint64_t bytes,
                                      mm_phys_t *phys)
{
    enum mm_err err;

    do {
        err = table_enter(c, virt, bytes);
        if (err == MM_OK)
            err = unmap_here(c, virt, phys);
        else if (err == MM_ERR_AGAIN)
            err = c->found;
        if (err == MM_ERR_AGAIN) {
            err = unmap_split(c, virt, bytes);
            if (err == MM_OK)
                err = MM_ERR_AGAIN;
        }
    } while (err == MM_ERR_AGAIN);
    return err;
}

enum mm_err mm_cursor_unmap(struct mm_cursor *cursor, mm_virt_t virt, uint64_t bytes,
                            mm_phys_t *phys)
{
    enum mm_err err = MM_OK;
    mm_phys_t was;
    struct cursor *c;

    if (cursor == NULL || cursor_of(cursor)->space == NULL || cursor_of(cursor)->gather == NULL)
        return MM_ERR_BAD_ARG;
    c = cursor_of(cursor);
    if (bytes == 0 || (virt.raw & (bytes - 1)) != 0)
        return MM_ERR_BAD_ARG;
    if (c->bytes != bytes || virt.raw - c->first >= c->span || c->left == 0 ||
        c->gather->owned_count == MM_GATHER_OWNED)
        err = unmap_move(c, virt.raw, bytes, &was);
    else
        err = unmap_here(c, virt.raw, &was);
    if (err == MM_ERR_CORRUPT)
        damage_report(c, virt, "mm_cursor_unmap", MM_CALLER);
    if (err == MM_OK && phys != NULL)
        *phys = was;
    return err;
}

/* ---- begin and end ---- */

enum mm_err mm_cursor_begin(struct mm_cursor *cursor, struct mm_space *space, uint32_t prot,
                            enum mm_memtype type, uint32_t flags, struct mm_gather *gather)
{
    enum mm_err err = mm_space_alive(space);
    struct cursor *c;

    if (cursor == NULL)
        return MM_ERR_BAD_ARG;
    c = cursor_of(cursor);
    *c = (struct cursor){.space = NULL};
    if (err == MM_OK && gather != NULL)
        err = mm_range_check_gather(gather, space, mm_virt(0), NULL);
    if (err == MM_OK && gather != NULL && gather->cursor != NULL)
        err = MM_ERR_BUSY;
    if (err == MM_OK)
        err = mm_space_hold(space);
    if (err != MM_OK)
        return err;
    err = mm_section_begin(&c->subtree.section, space, false);
    if (err != MM_OK) {
        mm_space_unhold(space);
        return err;
    }
    c->open = true;
    c->left = BATCH;
    c->space = space;
    c->gather = gather;
    c->request = (struct mm_map_request){.prot = prot, .type = type, .flags = flags};
    c->phys_end = UINT64_C(1) << space->vmm->paging.phys_bits;
    if (gather != NULL)
        gather->cursor = cursor;
    return MM_OK;
}

void mm_cursor_let_go(struct mm_cursor *cursor)
{
    let_go(cursor_of(cursor));
}

void mm_cursor_detach(struct mm_cursor *cursor)
{
    cursor_of(cursor)->gather = NULL;
}

void mm_cursor_end(struct mm_cursor *cursor)
{
    struct cursor *c;

    if (cursor == NULL || cursor_of(cursor)->space == NULL)
        return;
    c = cursor_of(cursor);
    let_go(c);
    if (c->gather != NULL && c->gather->cursor == cursor)
        c->gather->cursor = NULL;
    mm_space_unhold(c->space);
    c->space = NULL;
}
