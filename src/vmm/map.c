/*
 * map.c - making mappings.
 *
 * Problem     A mapping may need any number of tables and may meet something that is mapped
 *             already; half a mapping is worse than none. And a gigabyte is 262,144 entries.
 * Idea        Two descents over the same range. The first (plan) only reads: it locks the tables that
 *             are there, finds conflicts and counts the tables that are missing, following the same
 *             rule for page sizes as the second. Then all tables are taken, and the second descent
 *             (build) cannot fail. A leaf table that is covered wholly is not cleared first: each
 *             entry is stored once, one add apart from the one before, and then the table is linked.
 *             Levels 1 and 2, where the work is, have functions of their own, in which shifts and masks
 *             are constants.
 * Invariants  I1 plan and build choose the same leaf sizes: both ask leaf_fits()
 *             I2 a new table is filled, with all below it, and counted, before one store links it: a
 *                walker finds nothing or all of it
 *             I3 entries that are in use are never written
 *             I4 build lets go of locks and takes none: to others the call happens at one instant
 * Locking     subtree.h. Tables are taken without any lock, outside the section, and then the plan is
 *             made again.
 * Cost        Plan: entries of the tables that exist, and one step per table that does not. Build:
 *             one store per page.
 * Rejected    Rolling back a half-built mapping: other CPUs may have cached it by then, and
 *             flushing may have to wait where mapping must not. Clearing each table before it is
 *             filled: a third of the time. A switch on the level in each step: twice the time for
 *             ranges of a few pages.
 */
#include "base/report.h"
#include "subtree.h"

struct mapping {
    struct mm_subtree subtree;
    const struct mm_map_request *request;
    struct mm_space_fail *fail;
    struct mm_reserve reserve;
    struct mm_way way;
    uint64_t piece_last; /* of the piece of the request that is here */
    uint64_t offset;     /* phys - virt, modulo 2^64, in it */
    uint32_t piece;
    uint32_t leaf_levels; /* bit n: leaves at level n may be used */
    uint64_t tables;      /* missing, counted by plan */
    bool user;            /* the half is the user's */
    bool stopped;         /* plan ended before the table that is here, which is not locked */
    mm_pte_t leaf[MM_PT_LEAF_LEVEL_MAX + 1]; /* of each level: one of frame 0 */
};

/* ---- the way through the pieces of the request ---- */

static uint32_t mapping_pieces(const struct mm_map_request *request)
{
    return request->piece_count != 0 ? request->piece_count : 1;
}

static void piece_set(struct mapping *m, uint32_t piece, uint64_t virt)
{
    const struct mm_map_request *request = m->request;
    bool whole = request->piece_count == 0;
    uint64_t bytes = whole ? request->bytes : request->piece[piece].bytes;

    m->piece = piece;
    m->piece_last = virt + (bytes - 1);
    m->offset = (whole ? request->phys.raw : request->piece[piece].start.raw) - virt;
}

static void way_begin(struct mapping *m)
{
    uint64_t first = m->request->virt.raw;

    m->way = (struct mm_way){.virt = first, .last = mm_range_last(first, m->request->bytes)};
    piece_set(m, 0, first);
}

static inline void step(struct mapping *m, uint64_t bytes)
{
    mm_way_advance(&m->way, bytes);
    while (!m->way.done && m->way.virt > m->piece_last)
        piece_set(m, m->piece + 1, m->piece_last + 1);
}

static inline bool leaf_fits(const struct mapping *m, unsigned level)
{
    uint64_t virt = m->way.virt;

    return level == 1 || (level <= MM_PT_LEAF_LEVEL_MAX && (m->leaf_levels >> level & 1) != 0 &&
                          mm_is_aligned(virt | (virt + m->offset), mm_pt_bytes(level)) &&
                          m->piece_last - virt >= mm_pt_bytes(level) - 1);
}

/* Leaves of `level` from here on that lie in the piece and in the table; at least one, if one fits. */
static inline unsigned run_of(const struct mapping *m, unsigned first, unsigned level)
{
    uint64_t fit = (m->piece_last - m->way.virt + 1) >> mm_pt_shift(level);

    return (unsigned)mm_min_u64(mm_pt_entries(level) - first, fit);
}

/* ---- plan ---- */

/* Tables under an entry of `level` that is empty. */
static void plan_missing(struct mapping *m, unsigned level)
{
    uint64_t last = m->way.virt | (mm_pt_bytes(level) - 1);

    m->tables++;
    if (level == 2) {
        step(m, last - m->way.virt + 1);
        return;
    }
    while (mm_way_goes_on(&m->way, last)) {
        if (leaf_fits(m, level - 1))
            step(m, (uint64_t)run_of(m, mm_pt_index(mm_virt(m->way.virt), level - 1), level - 1)
                        << mm_pt_shift(level - 1));
        else
            plan_missing(m, level - 1);
    }
}

static MM_COLD enum mm_err plan_refuse(const struct mapping *m, mm_pte_t entry, unsigned level)
{
    const struct mm_space *space = m->subtree.section.space;
    enum mm_err err = MM_ERR_EXISTS;

    if (mm_entry_is_damaged(&space->vmm->paging, entry, level))
        err = MM_ERR_CORRUPT;
    return mm_fail(m->fail, err, m->way.virt, level, entry);
}

static enum mm_err plan_1(struct mapping *m, const mm_pte_t *table);
static enum mm_err plan_2(struct mapping *m, const mm_pte_t *table);
static enum mm_err plan_upper(struct mapping *m, const mm_pte_t *table, unsigned level);

static inline enum mm_err plan_table(struct mapping *m, const mm_pte_t *table, unsigned level)
{
    if (level == 1)
        return plan_1(m, table);
    return level == 2 ? plan_2(m, table) : plan_upper(m, table, level);
}

/* The child stays locked, unless nothing of it was looked at. */
static inline enum mm_err plan_descend(struct mapping *m, mm_pte_t entry, unsigned level)
{
    const struct mm_window *window = m->subtree.section.space->vmm->window;
    struct mm_table child = {.frame = mm_pte_phys(entry, level)};
    uint64_t here = m->way.virt;
    enum mm_err err = MM_ERR_POLICY;

    if ((m->request->prot & ~mm_pte_prot(entry)) == 0)
        err = mm_table_map(window, child.frame, &child.entry);
    if (err != MM_OK) {
        m->stopped = true;
        return mm_fail(m->fail, err, here, level, entry);
    }
    mm_table_lock(&m->subtree.section, &child, level - 1);
    err = plan_table(m, child.entry, level - 1);
    mm_table_unmap(window, child.entry);
    if (m->stopped && m->way.virt == here)
        mm_table_unlock(&child); /* who unlocks will not come here */
    return err;
}

/* What is not shared yet cannot be made once roots were copied. */
static inline bool is_frozen(const struct mapping *m, unsigned level)
{
    const struct mm_vmm *vmm = m->subtree.section.space->vmm;

    return level == vmm->paging.levels && !m->user && (vmm->state & MM_VMM_FROZEN) != 0;
}

/* Step over leaves that can be stored; false if there was none. */
MM_INLINE bool plan_run(struct mapping *m, const mm_pte_t *entry, unsigned first,
                        const unsigned level)
{
    unsigned run = run_of(m, first, level);
    unsigned i = 0;

    while (i < run && mm_pte_is_none(mm_pte_load(&entry[first + i])))
        i++;
    if (i == 0)
        return false;
    step(m, (uint64_t)i << mm_pt_shift(level));
    return true;
}

MM_INLINE enum mm_err plan_level(struct mapping *m, const mm_pte_t *table, const unsigned level)
{
    uint64_t end = mm_way_table_last(&m->way, level);
    enum mm_err err = MM_OK;

    while (err == MM_OK && mm_way_goes_on(&m->way, end)) {
        unsigned index = mm_pt_index(mm_virt(m->way.virt), level);
        mm_pte_t entry;

        if (leaf_fits(m, level) && plan_run(m, table, index, level))
            continue;
        entry = mm_pte_load(&table[index]);
        if (level > 1 && mm_pte_is_none(entry)) {
            if (is_frozen(m, level))
                err = mm_fail(m->fail, MM_ERR_POLICY, m->way.virt, level, entry);
            else
                plan_missing(m, level);
        } else if (level > 1 && mm_pte_is_table(entry, level) &&
                   !mm_entry_is_damaged(&m->subtree.section.space->vmm->paging, entry, level)) {
            err = plan_descend(m, entry, level);
        } else {
            err = plan_refuse(m, entry, level);
        }
    }
    return err;
}

static enum mm_err plan_1(struct mapping *m, const mm_pte_t *table)
{
    return plan_level(m, table, 1);
}

static enum mm_err plan_2(struct mapping *m, const mm_pte_t *table)
{
    return plan_level(m, table, 2);
}

static enum mm_err plan_upper(struct mapping *m, const mm_pte_t *table, unsigned level)
{
    return plan_level(m, table, level);
}

/* ---- build ---- */

/* `fresh`: no walker can reach the table yet. */
static inline void put(mm_pte_t *slot, mm_pte_t value, bool fresh)
{
    if (fresh)
        mm_pte_store_fresh(slot, value);
    else
        mm_pte_store(slot, value);
}

/* Leaves from here on, as many as there are empty entries for; returns how many. */
MM_INLINE unsigned fill(struct mapping *m, mm_pte_t *entry, unsigned first, const unsigned level,
                        bool fresh)
{
    unsigned run = run_of(m, first, level);
    mm_pte_t leaf = mm_pte_to(m->leaf[level], mm_phys(m->way.virt + m->offset));
    unsigned i;

    for (i = 0; i < run; i++) {
        if (level > 1 && !fresh && !mm_pte_is_none(mm_pte_load(&entry[first + i])))
            break;
        put(&entry[first + i], leaf, fresh);
        leaf = mm_pte_next(leaf, level);
    }
    if (i != 0)
        step(m, (uint64_t)i << mm_pt_shift(level));
    return i;
}

/* Each returns how many entries were added to the table itself. */
static unsigned build_1(struct mapping *m, mm_pte_t *table, bool fresh);
static unsigned build_2(struct mapping *m, mm_pte_t *table, bool fresh);
static unsigned build_upper(struct mapping *m, mm_pte_t *table, bool fresh, unsigned level);

static inline unsigned build_table(struct mapping *m, mm_pte_t *table, bool fresh, unsigned level)
{
    if (level == 1)
        return build_1(m, table, fresh);
    return level == 2 ? build_2(m, table, fresh) : build_upper(m, table, fresh, level);
}

MM_INLINE unsigned build_pages(struct mapping *m, mm_pte_t *table, bool fresh)
{
    uint64_t end = mm_way_table_last(&m->way, 1);
    unsigned more = 0;

    while (mm_way_goes_on(&m->way, end)) /* once for each piece */
        more += fill(m, table, mm_pt_index(mm_virt(m->way.virt), 1), 1, fresh);
    return more;
}

static unsigned build_1(struct mapping *m, mm_pte_t *table, bool fresh)
{
    unsigned first = mm_pt_index(mm_virt(m->way.virt), 1);
    unsigned more;

    if (!fresh)
        return build_pages(m, table, false);
    more = build_pages(m, table, true);
    mm_pte_clear_fresh(table, first);
    mm_pte_clear_fresh(&table[first + more], mm_pt_entries(1) - first - more);
    return more;
}

/* What the tag of a table of `level` says of this request's frames. */
static inline unsigned owned_mark(const struct mapping *m, unsigned level)
{
    return level == 1 && (m->request->flags & MM_MAP_OWNED) != 0 ? MM_TAG_OWNED : 0;
}

/* A table where there was none. */
static inline void build_child(struct mapping *m, mm_pte_t *slot, unsigned level, bool fresh)
{
    struct mm_vmm *vmm = m->subtree.section.space->vmm;
    struct mm_table child = mm_reserve_pop(vmm, &m->reserve);
    unsigned live;

    if (level > 2)
        mm_pte_clear_fresh(child.entry, mm_pt_entries(level - 1));
    live = build_table(m, child.entry, true, level - 1);
    mm_table_begin(&child, level - 1, live | owned_mark(m, level - 1));
    put(slot, mm_pte_table(child.frame, m->user), fresh);
    mm_table_unmap(vmm->window, child.entry);
}

/* Into one that plan has locked. */
static inline void build_descend(struct mapping *m, mm_pte_t entry, unsigned level)
{
    const struct mm_window *window = m->subtree.section.space->vmm->window;
    struct mm_table child = {.frame = mm_pte_phys(entry, level)};

    mm_table_locked(&m->subtree.section, &child, level - 1);
    child.entry = mm_table_map_known(window, child.frame);
    mm_table_count(&child, build_table(m, child.entry, false, level - 1));
    child.word = (uint16_t)(child.word | owned_mark(m, level - 1));
    mm_table_unmap(window, child.entry);
    mm_table_unlock(&child);
}

MM_INLINE unsigned build_level(struct mapping *m, mm_pte_t *table, bool fresh, const unsigned level)
{
    uint64_t end = mm_way_table_last(&m->way, level);
    unsigned more = 0;

    while (mm_way_goes_on(&m->way, end)) {
        unsigned index = mm_pt_index(mm_virt(m->way.virt), level);
        mm_pte_t entry;

        if (leaf_fits(m, level)) {
            unsigned filled = fill(m, table, index, level, fresh);

            more += filled;
            if (filled != 0)
                continue;
        }
        entry = fresh ? mm_pte_empty() : mm_pte_load(&table[index]);
        if (!mm_pte_is_none(entry)) {
            build_descend(m, entry, level);
        } else {
            build_child(m, &table[index], level, fresh);
            more++;
        }
    }
    return more;
}

static unsigned build_2(struct mapping *m, mm_pte_t *table, bool fresh)
{
    return build_level(m, table, fresh, 2);
}

static unsigned build_upper(struct mapping *m, mm_pte_t *table, bool fresh, unsigned level)
{
    return build_level(m, table, fresh, level);
}

/* ---- leaves of the request ---- */

mm_pte_t mm_map_leaf(const struct mm_space *space, const struct mm_map_request *request,
                     unsigned level)
{
    bool global =
        mm_pt_kernel_half(request->virt) && (space->vmm->paging.flags & MM_PAGING_GLOBAL) != 0;

    unsigned flags =
        (global ? MM_LEAF_GLOBAL : 0) | ((request->flags & MM_MAP_OWNED) != 0 ? MM_LEAF_OWNED : 0);

    return mm_pte_leaf(mm_phys(0), request->prot, request->type, flags, level);
}

static void leaves_begin(struct mapping *m)
{
    const struct mm_space *space = m->subtree.section.space;
    bool small = (m->request->flags & (MM_MAP_SMALL | MM_MAP_OWNED)) != 0;

    m->user = !mm_pt_kernel_half(m->request->virt);
    m->leaf_levels = small ? 1u << 1 : space->vmm->paging.leaf_levels | 1u << 1;
    for (unsigned level = 1; level <= MM_PT_LEAF_LEVEL_MAX; level++)
        m->leaf[level] = mm_map_leaf(space, m->request, level);
}

/* ---- pages of one leaf table that is there ---- */

/* The commonest call, without a way through tables. */
static enum mm_err map_pages(struct mapping *m)
{
    const struct mm_map_request *request = m->request;
    struct mm_table *table = &m->subtree.top;
    mm_pte_t *entry = &table->entry[mm_pt_index(request->virt, 1)];
    unsigned pages = (unsigned)(request->bytes >> MM_FRAME_SHIFT);
    mm_pte_t leaf = mm_pte_to(mm_map_leaf(m->subtree.section.space, request, 1), request->phys);

    for (unsigned i = 0; i < pages; i++) {
        mm_pte_t before = mm_pte_load(&entry[i]);

        if (!mm_pte_is_none(before)) {
            m->way.virt = request->virt.raw + ((uint64_t)i << MM_FRAME_SHIFT);
            return plan_refuse(m, before, 1);
        }
    }
    for (unsigned i = 0; i < pages; i++, leaf = mm_pte_next(leaf, 1))
        mm_pte_store(&entry[i], leaf);
    mm_table_count(table, pages);
    table->word = (uint16_t)(table->word | owned_mark(m, 1));
    mm_mmu_published();
    return MM_OK;
}

/* ---- the call ---- */

/* Plan and build in the subtree that is locked. MM_ERR_AGAIN: there are too few tables in the
 * reserve. */
static enum mm_err map_in_subtree(struct mapping *m)
{
    struct mm_space *space = m->subtree.section.space;
    uint64_t first = m->request->virt.raw;
    enum mm_err err = MM_OK;

    if ((m->request->prot & ~m->subtree.rights) != 0)
        return mm_fail_denied(&m->subtree, first, m->request->prot, m->fail);
    m->tables = 0;
    m->stopped = false;
    if (m->subtree.level == 1 && m->request->piece_count == 0)
        return map_pages(m);
    leaves_begin(m);
    way_begin(m);
    err = plan_table(m, m->subtree.top.entry, m->subtree.level);
    if (err == MM_OK)
        err = mm_reserve_claim(space, &m->reserve, m->tables);
    if (err == MM_ERR_LIMIT)
        (void)mm_fail(m->fail, err, first, 0, mm_pte_empty());
    if (err != MM_OK) {
        uint64_t last = m->way.done ? m->way.last : m->way.virt;

        if (!m->stopped || last != first)
            mm_subtree_unlock_below(&m->subtree, first, last - (m->stopped ? 1 : 0));
        return err;
    }
    way_begin(m);
    mm_table_count(&m->subtree.top, build_table(m, m->subtree.top.entry, false, m->subtree.level));
    m->subtree.top.word = (uint16_t)(m->subtree.top.word | owned_mark(m, m->subtree.level));
    mm_mmu_published();
    return MM_OK;
}

/* May the space own `frames` more? Then they are counted. */
static bool frames_claim(struct mm_space *space, uint64_t frames)
{
    uint64_t limit = mm_load_relaxed_u64(&space->frame_limit);
    uint64_t before = mm_fetch_add_relaxed_u64(&space->frame_count, frames);

    if (limit == 0 || (before <= limit && frames <= limit - before))
        return true;
    (void)mm_fetch_add_relaxed_u64(&space->frame_count, 0 - frames);
    return false;
}

/* The same, and the frames are counted if they become the space's. */
static enum mm_err map_subtree(struct mapping *m)
{
    struct mm_space *space = m->subtree.section.space;
    uint64_t frames =
        (m->request->flags & MM_MAP_OWNED) != 0 ? m->request->bytes >> MM_FRAME_SHIFT : 0;
    enum mm_err err = MM_OK;

    if (frames != 0 && !frames_claim(space, frames))
        return mm_fail(m->fail, MM_ERR_LIMIT, m->request->virt.raw, 0, mm_pte_empty());
    err = map_in_subtree(m);
    if (err != MM_OK && frames != 0)
        (void)mm_fetch_add_relaxed_u64(&space->frame_count, 0 - frames);
    return err;
}

/* One section. MM_ERR_AGAIN: tables are missing, and the space is held, so that it stays outside of
 * sections. */
static enum mm_err map_once(struct mapping *m, struct mm_space *space, bool *held)
{
    struct mm_section *section = &m->subtree.section;
    uint64_t first = m->request->virt.raw;
    enum mm_err err = mm_section_begin(section, space, false);

    if (err != MM_OK)
        return mm_fail(m->fail, err, first, 0, mm_pte_empty());
    err = mm_subtree_lock(&m->subtree, first, mm_range_last(first, m->request->bytes), m->fail);
    if (err == MM_OK) {
        err = map_subtree(m);
        mm_subtree_unlock(&m->subtree);
    }
    if (err == MM_ERR_AGAIN && !*held) {
        enum mm_err hold = mm_space_hold(space);

        *held = hold == MM_OK;
        if (hold != MM_OK)
            err = mm_fail(m->fail, hold, first, 0, mm_pte_empty());
    }
    mm_section_end(section);
    return err;
}

/* Tables are missing; again, if others take tables off meanwhile. */
static MM_COLD enum mm_err map_with_tables(struct mapping *m, struct mm_space *space)
{
    struct mm_vmm *vmm = space->vmm;
    bool held = true;
    enum mm_err err;

    do {
        err = mm_reserve_fill(vmm, &m->reserve, m->tables);
        if (err != MM_OK)
            (void)mm_fail(m->fail, err, m->request->virt.raw, 0, mm_pte_empty());
        else
            err = map_once(m, space, &held);
    } while (err == MM_ERR_AGAIN);
    mm_space_unhold(space);
    mm_reserve_drop(vmm, &m->reserve);
    return err;
}

/* Frame-aligned, within the physical width, and together as long as the range. */
static enum mm_err check_frames(const struct mm_space *space, const struct mm_map_request *request)
{
    const struct mm_phys_range all = {request->phys, request->bytes};
    const struct mm_phys_range *piece = request->piece_count != 0 ? request->piece : &all;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < mapping_pieces(request); i++) {
        uint64_t start = piece[i].start.raw;

        if (!mm_is_aligned(start | piece[i].bytes, MM_FRAME_BYTES) || piece[i].bytes == 0 ||
            piece[i].bytes > request->bytes - bytes)
            return MM_ERR_BAD_ARG;
        if (!mm_range_ok(start, piece[i].bytes) ||
            mm_range_last(start, piece[i].bytes) >> space->vmm->paging.phys_bits != 0)
            return MM_ERR_RANGE;
        bytes += piece[i].bytes;
    }
    return bytes == request->bytes ? MM_OK : MM_ERR_BAD_ARG;
}

enum mm_err mm_map_check(const struct mm_space *space, const struct mm_map_request *request,
                         struct mm_space_fail *fail)
{
    uint32_t known = MM_MAP_SMALL | MM_MAP_WX | MM_MAP_NULL | MM_MAP_OWNED | MM_MAP_REPLACE;
    bool combining = request->type == MM_MEMTYPE_WC || request->type == MM_MEMTYPE_WP;
    uint64_t virt = request->virt.raw;
    struct mm_span span;
    enum mm_err err;

    if ((request->flags & ~known) != 0 || (unsigned)request->type > MM_MEMTYPE_WC ||
        (request->piece_count != 0 && request->piece == NULL))
        return mm_fail(fail, MM_ERR_BAD_ARG, virt, 0, mm_pte_empty());
    err = mm_range_check(space, request->virt, request->bytes, &span, fail);
    if (err != MM_OK)
        return err;
    err = check_frames(space, request);
    if (err != MM_OK)
        return mm_fail(fail, err, virt, 0, mm_pte_empty());
    err = mm_range_check_prot(space, virt, request->prot, (request->flags & MM_MAP_WX) != 0, fail);
    if (err != MM_OK)
        return err;
    if (virt == 0 && (request->flags & MM_MAP_NULL) == 0)
        return mm_fail(fail, MM_ERR_POLICY, virt, 0, mm_pte_empty());
    if ((request->flags & MM_MAP_REPLACE) != 0 ||
        ((request->flags & MM_MAP_OWNED) != 0 && !mm_space_may_own(space)) ||
        (combining && (space->vmm->paging.flags & MM_PAGING_WC) == 0))
        return mm_fail(fail, MM_ERR_UNSUPPORTED, virt, 0, mm_pte_empty());
    return MM_OK;
}

enum mm_err mm_space_map(struct mm_space *space, const struct mm_map_request *request,
                         struct mm_space_fail *fail)
{
    struct mm_space_fail why;
    struct mapping m;
    bool held = false;
    enum mm_err err;

    if (request == NULL)
        return mm_fail(fail, MM_ERR_BAD_ARG, 0, 0, mm_pte_empty());
    err = mm_map_check(space, request, fail);
    if (err != MM_OK)
        return err;
    m.fail = fail != NULL ? fail : &why;
    m.request = request;
    m.reserve = (struct mm_reserve){{0}, 0};
    err = map_once(&m, space, &held);
    if (err == MM_ERR_AGAIN)
        err = map_with_tables(&m, space);
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, m.fail, "mm_space_map", MM_CALLER);
    return err;
}
