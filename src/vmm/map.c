/*
 * map.c - making mappings.
 *
 * Problem     A mapping may need any number of tables and may meet something that is mapped
 *             already; half a mapping is worse than none. And a gigabyte is 262,144 entries.
 * Idea        Two descents over the same range. The first (plan) only reads: it finds conflicts and
 *             counts the tables that are missing, following the same rule for page sizes as the
 *             second. Then all tables are taken, and the second descent (build) cannot fail. A leaf
 *             table that is covered wholly is not cleared first: each entry is stored once, one add
 *             apart from the one before, and then the table is linked. There is one function per
 *             level, so that shifts and masks are constants.
 * Invariants  I1 plan and build choose the same leaf sizes: both ask leaf_fits()
 *             I2 a new table is filled, with all below it, and counted, before one store links it: a
 *                walker finds nothing or all of it
 *             I3 entries that are in use are never written
 *             I4 last_table is a leaf table that is linked in the space, and nothing above it denies
 *                a right
 * Locking     The space's lock for plan and build: a neighbour that frees a table in between would
 *             make the count wrong. Tables are taken without it, and then the plan is made again.
 * Cost        Plan: entries of the tables that exist, and one step per table that does not. Build:
 *             one store per page.
 * Rejected    Rolling back a half-built mapping: other CPUs may have cached it by then, and
 *             flushing may have to wait where mapping must not. Clearing each table before it is
 *             filled: a third of the time. A switch on the level in each step: twice the time for
 *             ranges of a few pages.
 */
#include "base/report.h"
#include "vmm_internal.h"

struct mapping {
    struct mm_space *space;
    const struct mm_window *window;
    struct mm_reserve reserve;
    struct mm_space_fail *fail;
    struct mm_way way;                         /* through one piece */
    uint64_t offset;                           /* phys - virt, modulo 2^64 */
    uint64_t tables;                           /* missing, counted by plan */
    uint64_t missing[MM_PT_LEVELS_MAX + 1];    /* of each level: the last that was counted, + 1 */
    mm_pte_t leaf[MM_PT_LEAF_LEVEL_MAX + 1];   /* of each level: one of frame 0 */
    uint64_t leaves[MM_PT_LEAF_LEVEL_MAX + 1]; /* made */
    uint32_t leaf_levels;                      /* bit n: leaves at level n may be used */
    unsigned prot;
};

static inline bool leaf_fits(const struct mapping *m, unsigned level)
{
    return level <= MM_PT_LEAF_LEVEL_MAX && (m->leaf_levels >> level & 1) != 0 &&
           mm_way_has_whole(&m->way, level) &&
           mm_is_aligned(m->way.virt + m->offset, mm_pt_bytes(level));
}

/* ---- plan ---- */

/* Tables under an entry of `level` that is empty. A piece may begin where the one before ended:
 * in a table that is counted already. */
static void plan_missing(struct mapping *m, unsigned level)
{
    uint64_t last = m->way.virt | (mm_pt_bytes(level) - 1);
    uint64_t base = mm_align_down(m->way.virt, mm_pt_bytes(level));

    if (m->missing[level] != base + 1) {
        m->missing[level] = base + 1;
        m->tables++;
    }
    if (level == 2) {
        mm_way_step_over(&m->way, 2);
        return;
    }
    while (mm_way_goes_on(&m->way, last)) {
        if (leaf_fits(m, level - 1))
            mm_way_advance(&m->way, mm_pt_bytes(level - 1));
        else
            plan_missing(m, level - 1);
    }
}

static MM_COLD enum mm_err plan_refuse(const struct mapping *m, mm_pte_t entry, unsigned level)
{
    enum mm_err err = MM_ERR_EXISTS;

    if (mm_entry_is_damaged(&m->space->vmm->paging, entry, level))
        err = MM_ERR_CORRUPT;
    return mm_fail(m->fail, err, m->way.virt, level, entry);
}

static enum mm_err plan_1(struct mapping *m, const mm_pte_t *table)
{
    unsigned first = mm_pt_index(mm_virt(m->way.virt), 1);
    unsigned pages = mm_way_pages(&m->way, first);

    for (unsigned i = 0; i < pages; i++) {
        mm_pte_t entry = mm_pte_load(&table[first + i]);

        if (!mm_pte_is_none(entry)) {
            m->way.virt += (uint64_t)i << MM_FRAME_SHIFT;
            return plan_refuse(m, entry, 1);
        }
    }
    mm_way_advance_pages(&m->way, pages);
    return MM_OK;
}

typedef enum mm_err plan_fn(struct mapping *m, const mm_pte_t *table);

static inline enum mm_err plan_descend(struct mapping *m, mm_pte_t entry, unsigned level,
                                       plan_fn *below)
{
    mm_pte_t *child;
    enum mm_err err;

    if ((m->prot & ~mm_pte_prot(entry)) != 0)
        return mm_fail(m->fail, MM_ERR_POLICY, m->way.virt, level, entry);
    err = mm_table_map(m->window, mm_pte_phys(entry, level), &child);
    if (err != MM_OK)
        return mm_fail(m->fail, err, m->way.virt, level, entry);
    err = below(m, child);
    mm_table_unmap(m->window, child);
    return err;
}

/* What is not shared yet cannot be made once roots were copied. */
static inline bool is_frozen(const struct mapping *m, unsigned level)
{
    const struct mm_vmm *vmm = m->space->vmm;

    return level == vmm->paging.levels && mm_pt_kernel_half(mm_virt(m->way.virt)) &&
           (vmm->state & MM_VMM_FROZEN) != 0;
}

MM_INLINE enum mm_err plan_level(struct mapping *m, const mm_pte_t *table, const unsigned level,
                                 plan_fn *below)
{
    uint64_t end = mm_way_table_last(&m->way, level);
    enum mm_err err = MM_OK;

    while (err == MM_OK && mm_way_goes_on(&m->way, end)) {
        mm_pte_t entry = mm_pte_load(&table[mm_pt_index(mm_virt(m->way.virt), level)]);

        if (mm_pte_is_none(entry)) {
            if (leaf_fits(m, level))
                mm_way_advance(&m->way, mm_pt_bytes(level));
            else if (is_frozen(m, level))
                err = mm_fail(m->fail, MM_ERR_POLICY, m->way.virt, level, entry);
            else
                plan_missing(m, level);
        } else if (mm_pte_is_table(entry, level) &&
                   !mm_entry_is_damaged(&m->space->vmm->paging, entry, level)) {
            err = plan_descend(m, entry, level, below);
        } else {
            err = plan_refuse(m, entry, level);
        }
    }
    return err;
}

static enum mm_err plan_2(struct mapping *m, const mm_pte_t *table)
{
    return plan_level(m, table, 2, plan_1);
}

static enum mm_err plan_3(struct mapping *m, const mm_pte_t *table)
{
    return plan_level(m, table, 3, plan_2);
}

static enum mm_err plan_4(struct mapping *m, const mm_pte_t *table)
{
    return plan_level(m, table, 4, plan_3);
}

static enum mm_err plan_5(struct mapping *m, const mm_pte_t *table)
{
    return plan_level(m, table, 5, plan_4);
}

static enum mm_err plan(struct mapping *m, const mm_pte_t *root)
{
    return m->space->vmm->paging.levels == 4 ? plan_4(m, root) : plan_5(m, root);
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

static inline mm_pte_t leaf_here(const struct mapping *m, unsigned level)
{
    return mm_pte_to(m->leaf[level], mm_phys(m->way.virt + m->offset));
}

/* The pages of the piece that lie in this leaf table. */
static inline unsigned fill(struct mapping *m, mm_pte_t *entry, unsigned first, bool fresh)
{
    unsigned pages = mm_way_pages(&m->way, first);
    mm_pte_t leaf = leaf_here(m, 1);

    for (unsigned i = 0; i < pages; i++) {
        put(&entry[first + i], leaf, fresh);
        leaf = mm_pte_next(leaf, 1);
    }
    m->leaves[1] += pages;
    mm_way_advance_pages(&m->way, pages);
    return pages;
}

static unsigned fill_fresh(struct mapping *m, mm_pte_t *entry)
{
    unsigned first = mm_pt_index(mm_virt(m->way.virt), 1);
    unsigned pages = fill(m, entry, first, true);

    mm_pte_clear_fresh(entry, first);
    mm_pte_clear_fresh(&entry[first + pages], mm_pt_entries(1) - first - pages);
    return pages;
}

/* Each returns how many entries were added to the table itself. */
typedef unsigned build_fn(struct mapping *m, mm_pte_t *table, bool fresh);

static unsigned build_1(struct mapping *m, mm_pte_t *table, bool fresh)
{
    return fresh ? fill_fresh(m, table)
                 : fill(m, table, mm_pt_index(mm_virt(m->way.virt), 1), false);
}

/* A table where there was none. */
static inline void build_child(struct mapping *m, mm_pte_t *slot, unsigned level, bool fresh,
                               build_fn *below)
{
    struct mm_vmm *vmm = m->space->vmm;
    uint64_t start = m->way.virt;
    struct mm_table child = mm_reserve_pop(vmm, &m->reserve);

    if (level > 2)
        mm_pte_clear_fresh(child.entry, mm_pt_entries(level - 1));
    child.tag = mm_frame_tag(vmm, child.frame);
    mm_table_set_live(child, level - 1, below(m, child.entry, true));
    put(slot, mm_pte_table(child.frame, !mm_pt_kernel_half(mm_virt(start))), fresh);
    if (level == 2)
        mm_space_remember(m->space, &child, start);
    mm_table_unmap(m->window, child.entry);
}

static inline void build_descend(struct mapping *m, mm_pte_t entry, unsigned level, build_fn *below)
{
    struct mm_vmm *vmm = m->space->vmm;
    uint64_t start = m->way.virt;
    struct mm_table child = {.frame = mm_pte_phys(entry, level)};
    unsigned more;

    child.entry = mm_table_map_known(m->window, child.frame);
    more = below(m, child.entry, false);
    if (more != 0) {
        child.tag = mm_table_tag(vmm, child.frame, level - 1);
        mm_table_count(child, more);
        if (level == 2)
            mm_space_remember(m->space, &child, start);
    }
    mm_table_unmap(m->window, child.entry);
}

MM_INLINE unsigned build_level(struct mapping *m, mm_pte_t *table, bool fresh, const unsigned level,
                               build_fn *below)
{
    uint64_t end = mm_way_table_last(&m->way, level);
    unsigned more = 0;

    while (mm_way_goes_on(&m->way, end)) {
        mm_pte_t *slot = &table[mm_pt_index(mm_virt(m->way.virt), level)];
        mm_pte_t entry = fresh ? mm_pte_empty() : mm_pte_load(slot);

        if (!mm_pte_is_none(entry)) {
            build_descend(m, entry, level, below);
            continue;
        }
        more++;
        if (leaf_fits(m, level)) {
            put(slot, leaf_here(m, level), fresh);
            m->leaves[level]++;
            mm_way_advance(&m->way, mm_pt_bytes(level));
        } else {
            build_child(m, slot, level, fresh, below);
        }
    }
    return more;
}

static unsigned build_2(struct mapping *m, mm_pte_t *table, bool fresh)
{
    return build_level(m, table, fresh, 2, build_1);
}

static unsigned build_3(struct mapping *m, mm_pte_t *table, bool fresh)
{
    return build_level(m, table, fresh, 3, build_2);
}

static unsigned build_4(struct mapping *m, mm_pte_t *table, bool fresh)
{
    return build_level(m, table, fresh, 4, build_3);
}

static unsigned build_5(struct mapping *m, mm_pte_t *table, bool fresh)
{
    return build_level(m, table, fresh, 5, build_4);
}

static unsigned build(struct mapping *m, mm_pte_t *root)
{
    return m->space->vmm->paging.levels == 4 ? build_4(m, root, false) : build_5(m, root, false);
}

/* ---- the call ---- */

static void counts_add(struct mapping *m)
{
    struct mm_space *space = m->space;

    for (unsigned level = 1; level <= MM_PT_LEAF_LEVEL_MAX; level++) {
        space->leaf_count[level - 1] += m->leaves[level];
        space->mapped_frames += m->leaves[level] * (mm_pt_bytes(level) >> MM_FRAME_SHIFT);
    }
}

/* All of it lies in the leaf table that was used last, where nothing is mapped yet. */
static bool map_in_last_table(struct mapping *m)
{
    struct mm_space *space = m->space;
    mm_pte_t *table = mm_space_recall(space, m->way.virt, m->way.last);
    unsigned first = mm_pt_index(mm_virt(m->way.virt), 1);
    struct mm_table last = {.entry = table, .tag = space->last_table.tag};
    unsigned pages;

    if (table == NULL)
        return false;
    pages = mm_way_pages(&m->way, first);
    for (unsigned i = 0; i < pages; i++)
        if (!mm_pte_is_none(mm_pte_load(&table[first + i])))
            return false; /* what is there is told the general way */
    mm_table_count(last, fill(m, table, first, false));
    counts_add(m);
    return true;
}

/* Set the cursor on piece `i` of the request; without pieces there is one. */
static void piece_begin(struct mapping *m, const struct mm_map_request *request, uint32_t i,
                        uint64_t virt)
{
    const struct mm_phys_range *piece = request->piece_count != 0 ? &request->piece[i] : NULL;
    uint64_t phys = piece != NULL ? piece->start.raw : request->phys.raw;

    m->way.virt = virt;
    m->way.last = virt + ((piece != NULL ? piece->bytes : request->bytes) - 1);
    m->offset = phys - virt;
    m->way.done = false;
}

static uint32_t pieces(const struct mm_map_request *request)
{
    return request->piece_count != 0 ? request->piece_count : 1;
}

static enum mm_err plan_pieces(struct mapping *m, const struct mm_map_request *request,
                               const mm_pte_t *root)
{
    uint64_t virt = request->virt.raw;
    enum mm_err err = MM_OK;

    m->tables = 0;
    __builtin_memset(m->missing, 0, sizeof m->missing);
    for (uint32_t i = 0; err == MM_OK && i < pieces(request); i++) {
        piece_begin(m, request, i, virt);
        virt = m->way.last + 1;
        err = plan(m, root);
    }
    if (err != MM_OK)
        return err;
    err = mm_reserve_claim(m->space, &m->reserve, m->tables);
    if (err == MM_ERR_LIMIT)
        return mm_fail(m->fail, err, request->virt.raw, 0, mm_pte_empty());
    return err;
}

static void build_pieces(struct mapping *m, const struct mm_map_request *request, mm_pte_t *root)
{
    struct mm_table table = {.entry = root, .frame = m->space->root};
    uint64_t before = m->reserve.count;
    uint64_t virt = request->virt.raw;
    unsigned more = 0;

    for (uint32_t i = 0; i < pieces(request); i++) {
        piece_begin(m, request, i, virt);
        virt = m->way.last + 1;
        more += build(m, root);
    }
    if (more != 0) {
        table.tag = mm_table_tag(m->space->vmm, table.frame, m->space->vmm->paging.levels);
        mm_table_count(table, more);
    }
    MM_ASSERT2(m->reserve.count == before - m->tables, m->reserve.count, m->tables);
    counts_add(m);
    mm_mmu_published();
}

static enum mm_err map_locked(struct mapping *m, const struct mm_map_request *request)
{
    struct mm_space *space = m->space;
    mm_pte_t *root;
    enum mm_err err = mm_space_alive(space);

    MM_ASSERT_LOCKED(&space->lock);
    if (err == MM_OK && request->piece_count == 0 && map_in_last_table(m))
        return MM_OK;
    if (err == MM_OK)
        err = mm_table_map(m->window, space->root, &root);
    if (err != MM_OK)
        return mm_fail(m->fail, err, request->virt.raw, 0, mm_pte_empty());
    err = plan_pieces(m, request, root);
    if (err == MM_OK)
        build_pieces(m, request, root);
    mm_table_unmap(m->window, root);
    return err;
}

/* Frame-aligned, within the physical width, and together as long as the range. */
static enum mm_err check_frames(const struct mm_space *space, const struct mm_map_request *request)
{
    const struct mm_phys_range all = {request->phys, request->bytes};
    const struct mm_phys_range *piece = request->piece_count != 0 ? request->piece : &all;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < pieces(request); i++) {
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

static enum mm_err check_request(const struct mm_space *space, const struct mm_map_request *request,
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
    if ((request->flags & (MM_MAP_OWNED | MM_MAP_REPLACE)) != 0 ||
        (combining && (space->vmm->paging.flags & MM_PAGING_WC) == 0))
        return mm_fail(fail, MM_ERR_UNSUPPORTED, virt, 0, mm_pte_empty());
    return MM_OK;
}

static unsigned leaf_flags(const struct mm_space *space, uint64_t virt)
{
    bool global =
        mm_pt_kernel_half(mm_virt(virt)) && (space->vmm->paging.flags & MM_PAGING_GLOBAL) != 0;

    return global ? MM_PTE_GLOBAL : 0;
}

static void mapping_begin(struct mapping *m, const struct mm_map_request *request)
{
    const struct mm_paging *paging = &m->space->vmm->paging;
    unsigned flags = leaf_flags(m->space, request->virt.raw);
    bool small = (request->flags & MM_MAP_SMALL) != 0;

    m->window = m->space->vmm->window;
    m->prot = request->prot;
    m->leaf_levels = small ? 1u << 1 : paging->leaf_levels | 1u << 1;
    for (unsigned level = 1; level <= MM_PT_LEAF_LEVEL_MAX; level++)
        m->leaf[level] = mm_pte_leaf(mm_phys(0), request->prot, request->type, flags, level);
    piece_begin(m, request, 0, request->virt.raw);
}

/* Tables are missing. The space is held, so it stays while its lock is not. */
static enum mm_err map_with_tables(struct mapping *m, const struct mm_map_request *request)
{
    struct mm_space *space = m->space;
    struct mm_vmm *vmm = space->vmm;
    mm_lock_guard_t guard;
    enum mm_err err;

    do { /* again, if others have taken tables off meanwhile */
        err = mm_reserve_fill(vmm, &m->reserve, m->tables);
        if (err != MM_OK) {
            (void)mm_fail(m->fail, err, request->virt.raw, 0, mm_pte_empty());
            break;
        }
        guard = mm_lock_take(&space->lock);
        err = map_locked(m, request);
        mm_lock_release(&space->lock, guard);
    } while (err == MM_ERR_AGAIN);
    mm_space_unhold(space);
    mm_reserve_drop(vmm, &m->reserve);
    return err;
}

enum mm_err mm_space_map(struct mm_space *space, const struct mm_map_request *request,
                         struct mm_space_fail *fail)
{
    struct mm_space_fail why;
    struct mapping m = {.space = space, .fail = fail != NULL ? fail : &why};
    enum mm_err again = MM_OK;
    mm_lock_guard_t guard;
    enum mm_err err;

    if (request == NULL)
        return mm_fail(fail, MM_ERR_BAD_ARG, 0, 0, mm_pte_empty());
    err = check_request(space, request, fail);
    if (err != MM_OK)
        return err;
    mapping_begin(&m, request);
    guard = mm_lock_take(&space->lock);
    err = map_locked(&m, request);
    if (err == MM_ERR_AGAIN)
        again = mm_space_hold(space);
    mm_lock_release(&space->lock, guard);
    if (err == MM_ERR_AGAIN)
        err = again == MM_OK ? map_with_tables(&m, request)
                             : mm_fail(fail, again, request->virt.raw, 0, mm_pte_empty());
    if (err == MM_ERR_CORRUPT)
        mm_space_report_damage(space, m.fail, "mm_space_map", MM_CALLER);
    return err;
}
