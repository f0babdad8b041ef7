/*
 * pmm_model.c - the reference model of the PMM; see pmm_model.h.
 *
 * Problem     Every answer of the PMM needs a second opinion.
 * Idea        Loops over cells.
 * Invariants  As in pmm_model.h.
 * Locking     One thread.
 * Cost        A take or give is O(its frames), a search O(frames of RAM).
 * Rejected    Keeping anything that could be recomputed, but for the sums and live[].
 */
#include "pmm_model.h"

#include <string.h>

static struct model_cell cells[MODEL_CELLS_MAX];
static uint32_t lives[MODEL_CELLS_MAX];
static uint64_t free_bits[MODEL_CELLS_MAX / 64];

struct model model;

/* ---- building ---- */

void model_reset(void)
{
    memset(free_bits, 0, (model.cells + 63) / 64 * sizeof free_bits[0]);
    memset(&model, 0, sizeof model);
    model.cell = cells;
    model.live = lives;
    model.free_bits = free_bits;
}

unsigned model_zone(uint64_t frame)
{
    return frame < 0x100      ? MM_ZONE_LOW
           : frame < 0x1000   ? MM_ZONE_DMA
           : frame < 0x100000 ? MM_ZONE_DMA32
                              : MM_ZONE_HIGH;
}

static bool is_managed(enum cell_state state)
{
    return state == CELL_FREE || state == CELL_TAKEN || state == CELL_OWN;
}

/* The only place where a cell changes its state: M2. */
static void cell_set(uint32_t i, enum cell_state state)
{
    struct model_cell *cell = &model.cell[i];

    if (cell->state == CELL_FREE) {
        model.free--;
        model.zone_free[cell->zone]--;
        model.free_bits[i / 64] &= ~(UINT64_C(1) << i % 64);
    }
    if (state == CELL_FREE) {
        model.free++;
        model.zone_free[cell->zone]++;
        model.free_bits[i / 64] |= UINT64_C(1) << i % 64;
    }
    if (is_managed(cell->state)) {
        model.managed--;
        model.zone_managed[cell->zone]--;
    }
    if (is_managed(state)) {
        model.managed++;
        model.zone_managed[cell->zone]++;
    }
    model.own -= cell->state == CELL_OWN ? 1 : 0;
    model.own += state == CELL_OWN ? 1 : 0;
    cell->state = (uint8_t)state;
}

/* A new allocation of cells whose state is set already. */
static void live_add(uint32_t first, uint64_t count)
{
    model.cell[first].count = (uint32_t)count;
    model.cell[first].live = model.live_count;
    model.live[model.live_count++] = first;
    for (uint64_t n = 0; n < count; n++)
        model.cell[first + n].first = first;
}

static bool span_add(uint64_t frame, uint64_t count)
{
    struct model_span *last = &model.span[model.spans];

    if (model.spans > 0 && last[-1].frame + last[-1].count == frame) {
        last[-1].count += count;
        return true;
    }
    if (model.spans == MODEL_SPANS_MAX)
        return false;
    *last = (struct model_span){frame, count, model.cells};
    model.spans++;
    return true;
}

bool model_add_range(uint64_t frame, uint64_t count, unsigned node, enum cell_state state)
{
    if (count > MODEL_CELLS_MAX - model.cells || !span_add(frame, count))
        return false;
    for (uint64_t n = 0; n < count; n++) {
        uint32_t i = model.cells++;

        model.cell[i] = (struct model_cell){.frame = frame + n,
                                            .node = (uint16_t)node,
                                            .zone = (uint8_t)model_zone(frame + n),
                                            .state = CELL_OUT};
        cell_set(i, state);
        if (state == CELL_TAKEN)
            live_add(i, 1);
    }
    return true;
}

static bool same_chunk(uint32_t a, uint32_t b)
{
    return model.cell[a].frame / MODEL_CHUNK == model.cell[b].frame / MODEL_CHUNK;
}

/* What becomes of a chunk with memory of two nodes is not said: pools of its own. */
void model_pools(void)
{
    uint32_t end;

    for (uint32_t i = 0; i < model.cells; i = end) {
        bool mixed = false;

        for (end = i; end < model.cells && same_chunk(i, end); end++)
            mixed |= model.cell[end].node != model.cell[i].node;
        for (uint32_t n = i; n < end; n++) {
            struct model_cell *cell = &model.cell[n];

            cell->mixed = mixed;
            cell->pool = mixed ? 0x10000u + i * 4 + cell->node : cell->node;
            cell->pool = cell->pool * MM_ZONES + cell->zone;
        }
    }
}

bool model_add_ram(uint64_t frame, uint64_t count, unsigned node)
{
    uint32_t first = model.cells;

    if (!model_add_range(frame, count, node, CELL_FREE))
        return false;
    model.pieces++;
    for (uint32_t i = first; i < model.cells; i++)
        model.cell[i].pool = (0x1000u * model.pieces + node) * MM_ZONES + model.cell[i].zone;
    return true;
}

/* ---- looking ---- */

uint32_t model_find(uint64_t frame)
{
    uint32_t low = 0, high = model.spans;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct model_span *span = &model.span[middle];

        if (frame < span->frame)
            high = middle;
        else if (frame - span->frame >= span->count)
            low = middle + 1;
        else
            return span->cell + (uint32_t)(frame - span->frame);
    }
    return MODEL_NONE;
}

struct model_need model_need_of(const struct mm_frame_request *request)
{
    uint64_t highest = request->highest.raw;
    uint64_t natural = UINT64_C(1) << request->order;
    uint64_t align = request->align_bytes / MM_FRAME_BYTES;

    return (struct model_need){
        .count = request->count_frames != 0 ? request->count_frames : natural,
        .align = align > natural ? align : natural,
        .boundary = request->boundary_bytes / MM_FRAME_BYTES,
        .start = mm_frames_for(request->lowest.raw),
        .end = highest == 0 || highest == UINT64_MAX ? UINT64_MAX : (highest + 1) / MM_FRAME_BYTES,
        .low = highest != 0 && highest <= MM_HIGHEST_1M.raw,
        .on_node = (request->flags & MM_FRAME_NODE_ONLY) != 0,
        .node = request->node,
    };
}

static bool cell_fits(const struct model_need *need, const struct model_cell *cell)
{
    return cell->state == CELL_FREE && cell->frame >= need->start && cell->frame < need->end &&
           (need->everywhere || need->low == (cell->zone == MM_ZONE_LOW)) &&
           cell->zone >= need->zone_min && (!need->on_node || cell->node == need->node);
}

static bool place_fits(const struct model_need *need, uint64_t frame)
{
    return frame % need->align == 0 &&
           (need->boundary == 0 ||
            frame / need->boundary == (frame + need->count - 1) / need->boundary);
}

bool model_fits(const struct model_need *need, uint32_t cell)
{
    uint64_t frame = model.cell[cell].frame;

    if (!place_fits(need, frame) || need->count > model.cells - cell)
        return false;
    for (uint64_t n = 0; n < need->count; n++)
        if (model.cell[cell + n].frame != frame + n || !cell_fits(need, &model.cell[cell + n]) ||
            (need->one_pool && model.cell[cell + n].pool != model.cell[cell].pool))
            return false;
    return true;
}

static bool continues(const struct model_need *need, uint32_t cell)
{
    const struct model_cell *it = &model.cell[cell];

    return cell + 1 < model.cells && it[1].frame == it->frame + 1 &&
           (!need->one_pool || it[1].pool == it->pool);
}

/* The last free cell below `cell`, or MODEL_NONE. */
static uint32_t free_below(uint32_t cell)
{
    while (cell > 0) {
        uint64_t bits = model.free_bits[(cell - 1) / 64] << (63 - (cell - 1) % 64);

        if (bits != 0)
            return cell - 1 - (uint32_t)__builtin_clzll(bits);
        cell = (cell - 1) / 64 * 64;
    }
    return MODEL_NONE;
}

/* From the top: the run of fitting cells that begins here; what was counted belongs to no other
 * run. For pieces of one length this counts as many as there can be. */
uint64_t model_count_fits(const struct model_need *need, uint64_t limit)
{
    uint64_t run = 0, fits = 0;
    uint32_t last = MODEL_NONE;

    if (need->count > model.free)
        return 0;
    for (uint32_t i = free_below(model.cells); i != MODEL_NONE && fits < limit; i = free_below(i)) {
        const struct model_cell *cell = &model.cell[i];

        if (cell->frame < need->start || cell->zone < need->zone_min)
            break; /* both ascend */
        if (!cell_fits(need, cell) || (need->one_pool && need->on_node && cell->mixed))
            run = 0;
        else
            run = run > 0 && i + 1 == last && continues(need, i) ? run + 1 : 1;
        last = i;
        if (run < need->count || !place_fits(need, cell->frame))
            continue;
        fits++;
        run = 0;
    }
    return fits;
}

uint64_t model_blocks(unsigned order, bool one_pool)
{
    uint64_t size = UINT64_C(1) << order;
    struct model_need block = {
        .count = size, .align = size, .end = UINT64_MAX, .everywhere = true, .one_pool = one_pool};

    return model_count_fits(&block, UINT64_MAX); /* aligned blocks are disjoint */
}

/* ---- transitions ---- */

bool model_take(uint64_t frame, uint64_t count)
{
    uint32_t first = model_find(frame);

    if (first == MODEL_NONE || count > model.cells - first)
        return false;
    for (uint64_t n = 0; n < count; n++)
        if (model.cell[first + n].frame != frame + n || model.cell[first + n].state != CELL_FREE)
            return false;
    for (uint64_t n = 0; n < count; n++)
        cell_set(first + (uint32_t)n, CELL_TAKEN);
    live_add(first, count);
    return true;
}

bool model_give(uint32_t first_cell)
{
    struct model_cell *first = &model.cell[first_cell];
    uint32_t live = first->live, last = model.live[model.live_count - 1];

    if (first->state != CELL_TAKEN || first->first != first_cell || model.live[live] != first_cell)
        return false;
    for (uint32_t n = 0; n < first->count; n++) {
        cell_set(first_cell + n, first[n].doomed ? CELL_GONE : CELL_FREE);
        first[n].doomed = false;
    }
    model.live[live] = last;
    model.cell[last].live = live;
    model.live_count--;
    return true;
}

bool model_add(uint32_t cell, uint64_t count)
{
    for (uint64_t n = 0; n < count; n++)
        if (model.cell[cell + n].state != CELL_OUT)
            return false;
    for (uint64_t n = 0; n < count; n++)
        cell_set(cell + (uint32_t)n, CELL_FREE);
    return true;
}

bool model_retire(uint32_t cell)
{
    if (model.cell[cell].state == CELL_TAKEN) {
        model.cell[cell].doomed = true;
        return true;
    }
    if (model.cell[cell].state != CELL_FREE)
        return false;
    cell_set(cell, CELL_GONE);
    return true;
}

bool model_keep(uint32_t cell)
{
    if (model.cell[cell].state != CELL_FREE)
        return false;
    cell_set(cell, CELL_OWN);
    return true;
}

bool model_unkeep(uint32_t cell)
{
    if (model.cell[cell].state != CELL_OWN)
        return false;
    cell_set(cell, CELL_FREE);
    return true;
}

bool model_sound(void)
{
    uint64_t count[CELL_GONE + 1] = {0};
    uint64_t zone_free[MM_ZONES] = {0}, taken = 0;

    for (uint32_t i = 0; i < model.cells; i++) {
        count[model.cell[i].state]++;
        zone_free[model.cell[i].zone] += model.cell[i].state == CELL_FREE ? 1 : 0;
        if (i > 0 && model.cell[i].frame <= model.cell[i - 1].frame)
            return false;
        if ((model.free_bits[i / 64] >> i % 64 & 1) != (model.cell[i].state == CELL_FREE ? 1u : 0u))
            return false;
    }
    for (uint32_t n = 0; n < model.live_count; n++) {
        if (model.cell[model.live[n]].live != n)
            return false;
        taken += model.cell[model.live[n]].count;
    }
    return count[CELL_FREE] == model.free && count[CELL_OWN] == model.own &&
           count[CELL_TAKEN] == taken &&
           model.managed == count[CELL_FREE] + count[CELL_TAKEN] + count[CELL_OWN] &&
           memcmp(zone_free, model.zone_free, sizeof zone_free) == 0;
}
