/*
 * vmm_model.c - the reference model of a space; see vmm_model.h.
 *
 * Problem     Every answer of the VMM needs a second opinion.
 * Idea        Loops over pieces.
 * Invariants  As in vmm_model.h.
 * Locking     One thread.
 * Cost        As in vmm_model.h.
 * Rejected    Sums that are kept up to date: they would have to be right, too.
 */
#include "vmm_model.h"

#include <stdlib.h>
#include <string.h>

void model_begin(struct model_space *space, unsigned levels)
{
    space->count = 0;
    space->levels = levels;
    memset(space->kept, 0, sizeof space->kept);
}

static uint64_t end_of(const struct model_piece *piece)
{
    return piece->first + piece->pages;
}

uint32_t model_from(const struct model_space *space, uint64_t page)
{
    uint32_t low = 0, high = space->count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (end_of(&space->piece[middle]) > page)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

const struct model_piece *model_at(const struct model_space *space, uint64_t page)
{
    uint32_t i = model_from(space, page);

    return i < space->count && space->piece[i].first <= page ? &space->piece[i] : NULL;
}

uint64_t model_first_mapped(const struct model_space *space, uint64_t first, uint64_t end)
{
    uint32_t i = model_from(space, first);

    if (i == space->count || space->piece[i].first >= end)
        return end;
    return space->piece[i].first > first ? space->piece[i].first : first;
}

uint64_t model_first_hole(const struct model_space *space, uint64_t first, uint64_t end)
{
    for (uint32_t i = model_from(space, first); first < end; i++) {
        if (i == space->count || space->piece[i].first > first)
            return first;
        first = end_of(&space->piece[i]);
    }
    return end;
}

/* ---- changes ---- */

static void insert(struct model_space *space, uint32_t at, const struct model_piece *piece)
{
    if (space->count == MODEL_PIECES_MAX)
        abort(); /* the soak maps less than that */
    memmove(&space->piece[at + 1], &space->piece[at], (space->count - at) * sizeof space->piece[0]);
    space->piece[at] = *piece;
    space->count++;
}

static bool continues(const struct model_piece *a, const struct model_piece *b)
{
    return end_of(a) == b->first && a->frame + a->pages == b->frame && a->prot == b->prot &&
           a->type == b->type && a->level == b->level && a->owned == b->owned &&
           a->global == b->global;
}

/* M1, among the pieces of [first, end) and their neighbours. */
static void join(struct model_space *space, uint64_t first, uint64_t end)
{
    uint32_t from = model_from(space, first == 0 ? 0 : first - 1);
    uint32_t to = from, i = from;

    for (; i < space->count && (i == from || space->piece[i].first <= end); i++) {
        if (to != from && continues(&space->piece[to - 1], &space->piece[i]))
            space->piece[to - 1].pages += space->piece[i].pages;
        else
            space->piece[to++] = space->piece[i];
    }
    if (to != i)
        memmove(&space->piece[to], &space->piece[i], (space->count - i) * sizeof space->piece[0]);
    space->count -= i - to;
}

/* A piece begins at `page`, or none is there. M1 is mended by the caller. */
static void break_at(struct model_space *space, uint64_t page)
{
    uint32_t i = model_from(space, page);
    struct model_piece rest;

    if (i == space->count || space->piece[i].first >= page)
        return;
    rest = space->piece[i];
    rest.pages = end_of(&rest) - page;
    rest.frame += page - rest.first;
    rest.first = page;
    space->piece[i].pages -= rest.pages;
    insert(space, i + 1, &rest);
}

bool model_cuts(const struct model_space *space, uint64_t page)
{
    const struct model_piece *piece = model_at(space, page);

    return piece != NULL && page % model_leaf_pages(piece->level) != 0;
}

static bool cut_at(struct model_space *space, uint64_t page)
{
    bool cut = false;

    while (model_cuts(space, page)) {
        uint64_t pages = model_leaf_pages(model_at(space, page)->level);
        uint64_t first = page / pages * pages;

        break_at(space, first);
        break_at(space, first + pages);
        space->piece[model_from(space, first)].level--;
        cut = true;
    }
    return cut;
}

bool model_cut(struct model_space *space, uint64_t first, uint64_t end)
{
    bool cut = cut_at(space, first);

    cut |= cut_at(space, end);
    join(space, first - first % model_leaf_pages(3), end + model_leaf_pages(3));
    return cut;
}

static unsigned level_fitting(const struct model_piece *piece, unsigned leaf_levels)
{
    unsigned level = 3;

    for (; level > 1; level--)
        if ((leaf_levels >> level & 1) != 0 &&
            (piece->first | piece->frame) % model_leaf_pages(level) == 0 &&
            piece->pages >= model_leaf_pages(level))
            break;
    return level;
}

/* Up to where leaves of a larger size would fit, or the piece ends. */
static uint64_t pages_fitting(const struct model_piece *piece, unsigned level, unsigned leaf_levels)
{
    uint64_t pages = piece->pages / model_leaf_pages(level) * model_leaf_pages(level);

    for (unsigned larger = level + 1; larger <= 3; larger++) {
        uint64_t size = model_leaf_pages(larger);
        uint64_t before = (size - piece->first % size) % size;

        if ((leaf_levels >> larger & 1) != 0 && (piece->first ^ piece->frame) % size == 0 &&
            before != 0 && before + size <= piece->pages && before < pages)
            pages = before;
    }
    return pages;
}

void model_map(struct model_space *space, const struct model_piece *piece, unsigned leaf_levels)
{
    struct model_piece rest = *piece;

    while (rest.pages != 0) {
        struct model_piece part = rest;

        part.level = (uint8_t)level_fitting(&rest, leaf_levels);
        part.pages = pages_fitting(&rest, part.level, leaf_levels);
        insert(space, model_from(space, part.first), &part);
        rest.first += part.pages;
        rest.frame += part.pages;
        rest.pages -= part.pages;
    }
    join(space, piece->first, end_of(piece));
}

void model_unmap(struct model_space *space, uint64_t first, uint64_t end)
{
    uint32_t from, to;

    break_at(space, first);
    break_at(space, end);
    from = model_from(space, first);
    to = from;
    while (to < space->count && space->piece[to].first < end)
        to++;
    memmove(&space->piece[from], &space->piece[to], (space->count - to) * sizeof space->piece[0]);
    space->count -= to - from;
}

void model_protect(struct model_space *space, uint64_t first, uint64_t end, uint8_t prot)
{
    break_at(space, first);
    break_at(space, end);
    for (uint32_t i = model_from(space, first); i < space->count && space->piece[i].first < end;
         i++)
        space->piece[i].prot = prot;
    join(space, first, end);
}

/* ---- sums ---- */

unsigned model_slot(const struct model_space *space, uint64_t page)
{
    return (unsigned)(page >> 9 * (space->levels - 1)) & (MODEL_SLOTS - 1);
}

/* Tables of `level` that the pieces need; a slot that is kept needs its own in any case. */
static uint64_t tables_of(const struct model_space *space, unsigned level)
{
    bool top = level == space->levels - 1;
    uint64_t counted = UINT64_MAX; /* the last one */
    uint64_t tables = 0;

    for (uint32_t i = 0; i < space->count; i++) {
        const struct model_piece *piece = &space->piece[i];
        uint64_t first = piece->first >> 9 * level, last = (end_of(piece) - 1) >> 9 * level;

        if (piece->level > level)
            continue;
        for (uint64_t n = first; n <= last; n++) {
            if (n != counted && !(top && space->kept[n % MODEL_SLOTS]))
                tables++;
            counted = n;
        }
    }
    for (unsigned slot = 0; top && slot < MODEL_SLOTS; slot++)
        tables += space->kept[slot] ? 1 : 0;
    return tables;
}

struct model_sums model_sums(const struct model_space *space)
{
    struct model_sums sums = {.tables = 1};

    for (unsigned level = 1; level < space->levels; level++)
        sums.tables += tables_of(space, level);
    for (uint32_t i = 0; i < space->count; i++) {
        const struct model_piece *piece = &space->piece[i];

        sums.pages += piece->pages;
        sums.owned += piece->owned ? piece->pages : 0;
        sums.leaves[piece->level - 1] += piece->pages / model_leaf_pages(piece->level);
    }
    return sums;
}
