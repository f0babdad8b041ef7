/*
 * table.c - tables as memory: reached, taken, set aside, recognised as empty.
 *
 * Problem     A call that needs tables half-way through its work, and does not get them, has
 *             already changed something.
 * Idea        A call counts first, takes all it may need into a reserve, and only then changes
 *             entries. The reserve is a list through the frames themselves, which nobody else sees
 *             yet, so it needs no storage however long it is.
 * Invariants  I1 a frame in a reserve is linked nowhere and belongs to the call that holds it
 *             I2 a table leaves the reserve with all entries empty
 *             I3 every frame that went through a reserve was reachable through the window
 * Locking     Taking for a space: its lock. Giving back: no lock, the source may have its own.
 * Cost        One call of the source per table; clearing 512 entries when one is used.
 * Rejected    Tables in an array on the stack: a mapping of 1 GiB of 4 KiB pages needs 514.
 *             Freeing them here after use: they may be cached by then; only a gather frees.
 */
#include "vmm_internal.h"

mm_pte_t *mm_table_map_known(const struct mm_window *window, mm_phys_t table)
{
    mm_pte_t *pointer = NULL;
    enum mm_err err = mm_table_map(window, table, &pointer);

    MM_ASSERT2(err == MM_OK, table.raw, err);
    return pointer;
}

bool mm_table_is_empty(const mm_pte_t *table)
{
    for (unsigned i = 0; i < MM_PT_ENTRIES; i++) {
        if (!mm_pte_is_none(mm_pte_load(&table[i])))
            return false;
    }
    return true;
}

static bool in_kernel_area(const struct mm_vmm *vmm, uint64_t virt, uint64_t slot_bytes)
{
    uint64_t first = mm_align_down(vmm->layout.kernel_area.start.raw, slot_bytes);
    uint64_t bytes = vmm->layout.kernel_area.bytes;

    return bytes != 0 && virt >= first &&
           virt <= mm_range_last(vmm->layout.kernel_area.start.raw, bytes);
}

bool mm_table_is_kept(const struct mm_space *space, uint64_t virt, unsigned level)
{
    const struct mm_vmm *vmm = space->vmm;

    if (level != vmm->paging.levels || !mm_pt_kernel_half(mm_virt(virt)))
        return false;
    return (vmm->state & MM_VMM_FROZEN) != 0 || in_kernel_area(vmm, virt, mm_pt_bytes(level));
}

bool mm_table_is_ours(const struct mm_vmm *vmm, mm_phys_t table)
{
    const struct mm_frame_source *source = &vmm->tables;

    return source->owns == NULL || source->owns(source->context, table);
}

/* Put `frame` at the head of the list, if it can be reached. */
static enum mm_err reserve_push(struct mm_vmm *vmm, struct mm_reserve *reserve, mm_phys_t frame)
{
    mm_pte_t *table;
    enum mm_err err = mm_table_map(vmm->window, frame, &table);

    if (err != MM_OK)
        return err;
    mm_pte_store_fresh(&table[0], (mm_pte_t){reserve->first.raw});
    mm_table_unmap(vmm->window, table);
    reserve->first = frame;
    reserve->count++;
    return MM_OK;
}

static mm_phys_t reserve_unlink(struct mm_reserve *reserve, const mm_pte_t *table)
{
    mm_phys_t frame = reserve->first;

    reserve->first = mm_phys(mm_pte_load(&table[0]).bits);
    reserve->count--;
    return frame;
}

enum mm_err mm_reserve_take(struct mm_vmm *vmm, struct mm_reserve *reserve, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
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

enum mm_err mm_reserve_for(struct mm_space *space, struct mm_reserve *reserve, uint64_t count)
{
    enum mm_err err;

    MM_ASSERT_LOCKED(&space->lock);
    if (space->table_limit != 0 && count > space->table_limit - space->table_count)
        return MM_ERR_LIMIT;
    err = mm_reserve_take(space->vmm, reserve, count);
    if (err == MM_OK)
        space->table_count += count;
    return err;
}

mm_pte_t *mm_reserve_pop(struct mm_vmm *vmm, struct mm_reserve *reserve, mm_phys_t *out)
{
    mm_pte_t *table;

    MM_ASSERT(reserve->count > 0);
    table = mm_table_map_known(vmm->window, reserve->first);
    *out = reserve_unlink(reserve, table);
    for (unsigned i = 0; i < MM_PT_ENTRIES; i++)
        mm_pte_store_fresh(&table[i], mm_pte_empty());
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
