/*
 * vmm_choose.c - where operations happen, and what the model says of them beforehand.
 *
 * Problem     Ranges drawn evenly from 2^48 bytes never meet.
 * Idea        A few places at which tables meet, with a crowd around each; large pages further away;
 *             half of all changes at what is mapped already. What a call needs in tables is the
 *             difference between the model's tables before and after, so a refusal is predicted, too.
 * Invariants  I1 a model that a refusal leaves is the one from before
 * Locking     One thread.
 * Cost        O(pieces).
 * Rejected    Judging refusals afterwards: whatever the call had answered would have been right.
 */
#include <string.h>

#include "vmm_ops_internal.h"

static struct model_piece saved[MODEL_PIECES_MAX];

/* ---- ranges ---- */

unsigned ops_space(void)
{
    unsigned i = ops_one_in(3) ? 0 : (unsigned)ops_below(SPACES);

    return machine.lives[i] ? i : 0;
}

static uint64_t place_of(unsigned space)
{
    return machine.place[space == 0 ? ops_below(machine.places) : 0];
}

/* Within the half of the place, and behind the page at 0. */
static void extent_cut(struct extent *e, uint64_t place, uint64_t before, uint64_t after)
{
    bool high = ops_kernel_half(place);
    uint64_t end = high ? UINT64_C(1) << 52 : UINT64_C(1) << 35; /* user_end */
    uint64_t start = high ? 0 : 1;

    e->first = place - start > before ? place - before + after : start + after;
    if (e->first >= end)
        e->first = end - 1;
    if (e->pages > end - e->first)
        e->pages = end - e->first;
}

struct extent ops_extent(void)
{
    struct extent e = {.space = ops_space()};
    uint64_t place = place_of(e.space);
    uint64_t k = ops_below(100);

    if (k < 72) {
        e.pages = 1 + ops_below(ops_one_in(4) ? 64 : 8);
        extent_cut(&e, place, 3 * M2_PAGES, ops_below(6 * M2_PAGES));
    } else if (k < 86) {
        e.pages = (1 + ops_below(3)) * M2_PAGES + (ops_one_in(4) ? ops_below(3) : 0);
        extent_cut(&e, place, 6 * M2_PAGES, ops_below(12) * M2_PAGES);
    } else if (k < 91) {
        e.pages = 1 + ops_below(1200);
        extent_cut(&e, place, 3 * M2_PAGES, ops_below(6 * M2_PAGES));
    } else if (k < 94) {
        e.pages = GIB_PAGES + (ops_one_in(3) ? ops_below(3) : 0);
        extent_cut(&e, place, 2 * GIB_PAGES, ops_below(4) * GIB_PAGES);
    } else {
        e.pages = 1 + ops_below(4);
        extent_cut(&e, place, GIB_PAGES, ops_below(3 * GIB_PAGES));
    }
    return e;
}

struct extent ops_mapped_extent(void)
{
    struct extent e = {.space = ops_space()};
    const struct model_space *model = &machine.model[e.space];
    const struct model_piece *piece;
    uint64_t most;

    if (model->count == 0)
        return ops_extent();
    piece = &model->piece[ops_below(model->count)];
    e.first = piece->first;
    most = piece->pages < 1500 ? piece->pages : 1500;
    if (ops_one_in(2))
        e.first += ops_below(most);
    e.pages = piece->first + piece->pages - e.first;
    if (e.pages > 1500 && piece->level == 1)
        e.pages = 1500;
    if (ops_one_in(2))
        e.pages = 1 + ops_below(e.pages < 700 ? e.pages : 700);
    return e;
}

uint64_t ops_page(unsigned space)
{
    const struct model_space *model = &machine.model[space];
    struct extent e = {.pages = 1};

    if (model->count != 0 && !ops_one_in(4)) {
        const struct model_piece *piece = &model->piece[ops_below(model->count)];

        return piece->first + (ops_one_in(2) ? ops_below(piece->pages) : piece->pages - 1);
    }
    extent_cut(&e, place_of(space), 3 * M2_PAGES, ops_below(6 * M2_PAGES));
    return e.first;
}

uint8_t ops_prot(uint64_t page)
{
    static const uint8_t prot[] = {MM_PROT_READ, MM_PROT_RW, MM_PROT_RW, MM_PROT_RX};
    uint8_t chosen = prot[ops_below(4)];

    return !ops_kernel_half(page) && ops_one_in(2) ? chosen | MM_PROT_USER : chosen;
}

/* ---- tables ---- */

void ops_tables_fail(void)
{
    if (!ops_one_in(5))
        return;
    machine.tables_left = machine.frames.fail_after = (int64_t)ops_below(ops_one_in(2) ? 2 : 5);
    ops_record()->fail_after = machine.tables_left;
}

bool ops_tables_refused(uint64_t tables)
{
    if (machine.tables_left < 0)
        return tables > machine.frames.count - machine.frames.used;
    if (tables > (uint64_t)machine.tables_left) {
        machine.tables_left = -1;
        return true;
    }
    machine.tables_left -= (int64_t)tables;
    return false;
}

bool ops_limited(unsigned space, uint64_t tables_more)
{
    uint64_t limit = machine.table_limit[space];

    return tables_more != 0 && limit != 0 &&
           model_sums(&machine.model[space]).tables + tables_more > limit;
}

/* ---- predictions ---- */

/* The first page at or after `first` whose top-level slot is none that user spaces share. */
static uint64_t first_frozen(unsigned space, uint64_t first, uint64_t end)
{
    const struct model_space *model = &machine.model[space];
    uint64_t slot_pages = UINT64_C(1) << 9 * (machine.levels - 1);

    if (!machine.frozen || !ops_kernel_half(first))
        return end;
    while (first < end && model->kept[model_slot(model, first)])
        first = (first / slot_pages + 1) * slot_pages;
    return first < end ? first : end;
}

enum mm_err ops_map_obstacle(unsigned space, uint64_t first, uint64_t pages, uint64_t *where)
{
    uint64_t end = first + pages;
    uint64_t mapped = model_first_mapped(&machine.model[space], first, end);
    uint64_t frozen = first_frozen(space, first, end);

    *where = mapped < frozen ? mapped : frozen;
    if (*where == end) {
        *where = first;
        return MM_OK;
    }
    return mapped < frozen ? MM_ERR_EXISTS : MM_ERR_POLICY;
}

enum mm_err ops_model_map(unsigned space, const struct model_piece *piece, unsigned count,
                          unsigned leaf_levels)
{
    struct model_space *model = &machine.model[space];
    uint64_t before = model_sums(model).tables, more;
    uint64_t limit = machine.table_limit[space];
    uint64_t end = piece[count - 1].first + piece[count - 1].pages;

    for (unsigned i = 0; i < count; i++)
        model_map(model, &piece[i], leaf_levels);
    more = model_sums(model).tables - before;
    if (limit != 0 && more != 0 && before + more > limit) {
        model_unmap(model, piece->first, end);
        return MM_ERR_LIMIT;
    }
    if (ops_tables_refused(more)) {
        model_unmap(model, piece->first, end);
        return MM_ERR_NO_MEMORY;
    }
    return MM_OK;
}

enum mm_err ops_model_cut(unsigned space, uint64_t first, uint64_t end)
{
    struct model_space *model = &machine.model[space];
    uint64_t limit = machine.table_limit[space];
    uint32_t count = model->count;
    uint64_t before, more;
    enum mm_err err = MM_OK;

    if (!model_cuts(model, first) && !model_cuts(model, end))
        return MM_OK;
    memcpy(saved, model->piece, count * sizeof saved[0]);
    before = model_sums(model).tables;
    (void)model_cut(model, first, end);
    more = model_sums(model).tables - before;
    if (ops_tables_refused(more)) /* taken first, then counted */
        err = MM_ERR_NO_MEMORY;
    else if (limit != 0 && before + more > limit)
        err = MM_ERR_LIMIT;
    if (err != MM_OK) {
        memcpy(model->piece, saved, count * sizeof saved[0]);
        model->count = count;
    }
    return err;
}

/* ---- pages that were written to ---- */

void ops_dirty_add(unsigned space, uint64_t page)
{
    machine.dirty[ops_below(DIRTY_MAX)] =
        (struct dirty_page){.space = space, .page = page, .used = true};
}

void ops_dirty_drop(unsigned space, uint64_t first, uint64_t end)
{
    for (unsigned i = 0; i < DIRTY_MAX; i++) {
        struct dirty_page *dirty = &machine.dirty[i];

        if (dirty->space == space && dirty->page >= first && dirty->page < end)
            dirty->used = false;
    }
}
