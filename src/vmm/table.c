/*
 * table.c - tables as memory: reached, taken, counted, given back.
 *
 * Problem     A call that needs tables half-way through its work, and does not get them, has
 *             already changed something. And finding out that a table has become empty by looking
 *             at 512 entries costs more than removing them did.
 * Idea        A call counts first, takes all it may need into a reserve, and only then changes
 *             entries: it lets go of the lock to take them, and counts again. The reserve is a list through the frames themselves, which nobody else sees
 *             yet, so it needs no storage however long it is. Each table's entries are counted in
 *             the tag of its frame, where the source of frames has tags.
 * Invariants  I1 a frame in a reserve is linked nowhere and belongs to the call that holds it
 *             I2 every frame that went through a reserve was reachable through the window, and its
 *                tag can be had
 *             I3 the tag of a linked table says its level and how many of its entries are not
 *                empty; the tag of a frame that is no table is 0
 * Locking     Tags of linked tables: subtree.h. Frames are taken and given back without any:
 *             the source has its own, and may tell the kernel that memory is low.
 * Cost        One call of the source per table; one more for its tag.
 * Rejected    Tables in an array on the stack: a mapping of 1 GiB of 4 KiB pages needs 514.
 *             Freeing them here after use: they may be cached by then; only a gather frees. Keeping
 *             a table that has become empty, to use it again without clearing it: a call that makes a
 *             table and one that drops it are 7 % faster together (281 for 306 ns), and a frame for
 *             each CPU belongs to no space. Counts
 *             in the parent's entry: the hardware writes that word, and a root has no parent.
 */
#include "subtree.h"

mm_pte_t *mm_table_map_known(const struct mm_window *window, mm_phys_t table)
{
    mm_pte_t *pointer = NULL;
    enum mm_err err = mm_table_map(window, table, &pointer);

    MM_ASSERT2(err == MM_OK, table.raw, err);
    return pointer;
}

unsigned mm_table_search(const mm_pte_t *entry, unsigned level)
{
    unsigned live = 0;

    for (unsigned i = 0; i < mm_pt_entries(level); i++)
        live += mm_pte_is_none(mm_pte_load(&entry[i])) ? 0 : 1;
    return live;
}

void mm_table_recount(const struct mm_vmm *vmm, mm_phys_t frame, const mm_pte_t *entry,
                      unsigned level)
{
    uint16_t *tag = mm_frame_tag(vmm, frame);
    unsigned word = mm_tag_of(level, mm_table_search(entry, level));

    if (tag == NULL)
        return;
    for (unsigned i = 0; level == 1 && i < mm_pt_entries(1); i++) {
        mm_pte_t leaf = mm_pte_load(&entry[i]);

        if (mm_pte_is_present(leaf) && mm_pte_is_owned(leaf))
            word |= MM_TAG_OWNED;
    }
    mm_store_relaxed_u16(tag, (uint16_t)word);
}

/* The tags of this frame will be those of the first tables: who maps a page, unmaps it and counts frames
 * does not miss one. */
bool mm_tables_have_tags(const struct mm_vmm *vmm)
{
    const struct mm_frame_source *source = &vmm->tables;
    mm_phys_t frame;
    uint16_t *tag;
    enum mm_err err;

    if (source->tag == NULL)
        return false;
    if (source->alloc(source->context, &frame) != MM_OK)
        return true;
    err = source->tag(source->context, frame, &tag);
    source->free(source->context, frame);
    return err != MM_ERR_NOT_FOUND;
}

static bool in_kernel_area(const struct mm_vmm *vmm, uint64_t virt, uint64_t slot_bytes)
{
    uint64_t first = mm_align_down(vmm->layout.kernel_area.start.raw, slot_bytes);
    uint64_t bytes = vmm->layout.kernel_area.bytes;

    return bytes != 0 && virt >= first &&
           virt <= mm_range_last(vmm->layout.kernel_area.start.raw, bytes);
}

bool mm_table_is_kept(const struct mm_space *space, const uint16_t *tag, uint64_t virt,
                      unsigned level)
{
    const struct mm_vmm *vmm = space->vmm;

    if (tag == NULL && space->one_lock == 0) /* nobody could be told that it is stray */
        return true;
    if (level != vmm->paging.levels || !mm_pt_kernel_half(mm_virt(virt)))
        return false;
    return (vmm->state & MM_VMM_FROZEN) != 0 ||
           in_kernel_area(vmm, mm_align_down(virt, mm_pt_bytes(level)), mm_pt_bytes(level));
}

bool mm_table_is_ours(const struct mm_vmm *vmm, mm_phys_t table)
{
    const struct mm_frame_source *source = &vmm->tables;

    return source->owns == NULL || source->owns(source->context, table);
}

bool mm_table_free(struct mm_vmm *vmm, mm_phys_t frame, unsigned level)
{
    uint16_t *tag = mm_frame_tag(vmm, frame);

    if (tag == NULL && !mm_table_is_ours(vmm, frame)) /* what has a tag is the source's */
        return true;
    if (tag != NULL && level != 0 && mm_tag_level(mm_load_relaxed_u16(tag)) != level)
        return false;
    if (tag != NULL)
        mm_store_relaxed_u16(tag, 0);
    vmm->tables.free(vmm->tables.context, frame);
    return true;
}

/* ---- reserves ---- */

/* Can a table be in this frame? Its tag, if there are tags, is made now. Frames with and without tags
 * from one source would put a table without a lock below one that has one. */
static enum mm_err frame_try(struct mm_vmm *vmm, mm_phys_t frame, mm_pte_t **table)
{
    uint16_t *tag;
    enum mm_err err = MM_OK;

    if (vmm->tables.tag != NULL)
        err = vmm->tables.tag(vmm->tables.context, frame, &tag);
    if (err == MM_ERR_NOT_FOUND)
        err = (vmm->state & MM_VMM_TAGGED) != 0 ? MM_ERR_UNSUPPORTED : MM_OK;
    if (err == MM_OK)
        err = mm_table_map(vmm->window, frame, table);
    return err;
}

/* Put `frame` at the head of the list. */
static enum mm_err reserve_push(struct mm_vmm *vmm, struct mm_reserve *reserve, mm_phys_t frame)
{
    mm_pte_t *table;
    enum mm_err err = frame_try(vmm, frame, &table);

    if (err != MM_OK)
        return err;
    mm_pte_store_fresh(&table[0], mm_pte_table(reserve->first, false));
    mm_table_unmap(vmm->window, table);
    reserve->first = frame;
    reserve->count++;
    return MM_OK;
}

static mm_phys_t reserve_unlink(struct mm_reserve *reserve, const mm_pte_t *table)
{
    mm_phys_t frame = reserve->first;

    reserve->first = mm_pte_phys(mm_pte_load(&table[0]), MM_PT_LEVELS_MAX);
    reserve->count--;
    return frame;
}

enum mm_err mm_reserve_fill(struct mm_vmm *vmm, struct mm_reserve *reserve, uint64_t count)
{
    while (reserve->count < count) {
        mm_phys_t frame;
        enum mm_err err = vmm->tables.alloc(vmm->tables.context, &frame);

        if (err != MM_OK)
            return err;
        err = reserve_push(vmm, reserve, frame);
        if (err != MM_OK) {
            vmm->tables.free(vmm->tables.context, frame);
            return err;
        }
    }
    return MM_OK;
}

/* May there be `count` more than `before`? A limit of 0 is none. */
static bool is_within(uint64_t before, uint64_t count, uint64_t limit)
{
    return limit == 0 || (before <= limit && count <= limit - before);
}

enum mm_err mm_reserve_claim(struct mm_space *space, const struct mm_reserve *reserve,
                             uint64_t count)
{
    uint64_t limit = mm_load_relaxed_u64(&space->table_limit);
    uint64_t before;

    if (count == 0)
        return MM_OK;
    if (reserve->count < count) { /* not counted yet: others write there, too */
        before = mm_load_relaxed_u64(&space->table_count);
        return is_within(before, count, limit) ? MM_ERR_AGAIN : MM_ERR_LIMIT;
    }
    before = mm_fetch_add_relaxed_u64(&space->table_count, count);
    if (is_within(before, count, limit))
        return MM_OK;
    (void)mm_fetch_add_relaxed_u64(&space->table_count, 0 - count);
    return MM_ERR_LIMIT;
}

struct mm_table mm_reserve_pop(struct mm_vmm *vmm, struct mm_reserve *reserve)
{
    struct mm_table table = {.frame = reserve->first};

    MM_ASSERT(reserve->count > 0);
    table.entry = mm_table_map_known(vmm->window, table.frame);
    table.tag = mm_frame_tag(vmm, table.frame);
    (void)reserve_unlink(reserve, table.entry);
    return table;
}

struct mm_table mm_reserve_pop_empty(struct mm_vmm *vmm, struct mm_reserve *reserve, unsigned level)
{
    struct mm_table table = mm_reserve_pop(vmm, reserve);

    mm_pte_clear_fresh(table.entry, mm_pt_entries(level));
    mm_table_begin(&table, level, 0);
    return table;
}

void mm_reserve_drop(struct mm_vmm *vmm, struct mm_reserve *reserve)
{
    while (reserve->count > 0) {
        mm_pte_t *table = mm_table_map_known(vmm->window, reserve->first);
        mm_phys_t frame = reserve_unlink(reserve, table);

        mm_table_unmap(vmm->window, table);
        vmm->tables.free(vmm->tables.context, frame);
    }
}
