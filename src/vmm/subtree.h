/*
 * subtree.h - who may change which tables, and when one may be freed.
 *
 * Problem     Calls on different parts of a space should not wait for each other; a walk, which takes
 *             no lock, must never read a table that is somebody else's memory by then.
 * Idea        A call locks the lowest table that has all of its range, and those below it that it
 *             touches. The lock is a bit in the tag of the table's frame, beside the count of
 *             entries: taking it reads the count, letting go stores it. Descending needs no lock: a
 *             CPU announces that it is in here (a section), and a table that was taken off is marked
 *             stray, flushed, and freed when every section that may have seen it has ended.
 * Invariants  U1 a locked table that is not stray is linked, and so is all above it, until it is
 *                unlocked
 *             U2 a table is taken off with its parent locked and either itself locked and empty, or
 *                all of it locked and wholly in the range of the call
 *             U3 all tables of a subtree that was taken off are stray before their locks go
 *             U4 the count of a table agrees with its entries whenever its lock is free
 *             U5 every lock is taken, and every table read, inside a section
 *             U6 parent before child; upwards only by trying; no two subtrees at once. So nobody
 *                waits in a circle
 *             U7 in a section nothing is waited for but these locks
 *             U8 a table without a lock of its own has none above it that has one
 * Locking     Tables whose frames have no tags (those from before the PMM) share the lock of the
 *             space. Where that breaks U8, or nothing has tags, the space's lock is taken for the whole
 *             section: `one_lock`.
 * Cost        A section: one locked exchange; a table: one compare-and-swap, and a plain store.
 * Rejected    One lock for each space: two threads are three times slower than one. A lock in the
 *             parent's entry: the hardware writes there. Freeing after the flush alone: a walk in a
 *             space that its CPU has not loaded is asked by no flush.
 */
#ifndef MM_VMM_SUBTREE_H
#define MM_VMM_SUBTREE_H

#include "vmm_internal.h"

/* ---- tags: what a table's frame says ---- */

#define MM_TAG_LIVE        0x3ffu /* entries that are not empty */
#define MM_TAG_LOCK        0x400u /* only its holder writes the tag */
#define MM_TAG_STRAY       0x800u /* taken off: start again from the root */
#define MM_TAG_LEVEL_SHIFT 12u    /* of the table; 0 = none */

_Static_assert(MM_PT_ENTRIES <= MM_TAG_LIVE && MM_PT_LEVELS_MAX < 8, "a tag has room");

/* A table in hand. */
struct mm_table {
    mm_pte_t *entry;
    mm_phys_t frame;
    uint16_t *tag; /* NULL: its entries are not counted, it is searched for them */
    uint16_t word; /* what the tag will say when it is unlocked */
};

static inline uint16_t mm_tag_of(unsigned level, unsigned live)
{
    return (uint16_t)(level << MM_TAG_LEVEL_SHIFT | live);
}

/* The tag of a frame, whatever it says; NULL if there is none. */
static inline uint16_t *mm_frame_tag(const struct mm_vmm *vmm, mm_phys_t frame)
{
    uint16_t *tag;

    if (vmm->tables.tag == NULL || vmm->tables.tag(vmm->tables.context, frame, &tag) != MM_OK)
        return NULL;
    return tag;
}

/* The tag of a linked table of `level`; NULL if it was never counted into one. */
static inline uint16_t *mm_table_tag(const struct mm_vmm *vmm, mm_phys_t frame, unsigned level)
{
    uint16_t *tag = mm_frame_tag(vmm, frame);

    return tag != NULL && mm_load_relaxed_u16(tag) >> MM_TAG_LEVEL_SHIFT == level ? tag : NULL;
}

/* Entries of a table of `level` that are not empty. */
unsigned mm_table_search(const mm_pte_t *entry, unsigned level);

static inline unsigned mm_table_live(const struct mm_table *table, unsigned level)
{
    return table->tag != NULL ? table->word & MM_TAG_LIVE : mm_table_search(table->entry, level);
}

/* Count a table that is not linked yet. */
static inline void mm_table_begin(struct mm_table *table, unsigned level, unsigned live)
{
    table->word = mm_tag_of(level, live);
    if (table->tag != NULL)
        mm_store_relaxed_u16(table->tag, table->word); /* the linking store publishes it */
}

/* `more` may be negative, as unsigned numbers are. */
static inline void mm_table_count(struct mm_table *table, unsigned more)
{
    table->word = (uint16_t)(table->word + more);
}

/* ---- sections ---- */

struct mm_section {
    struct mm_space *space;
    uint64_t *slot; /* of this CPU; NULL: the section is inside another one */
    mm_guard_t guard;
    mm_lock_guard_t lock_guard;
    bool locked; /* the lock of the space is held */
};

/*
 * Begin: from here on tables that are read stay tables. `walk`: nothing will be locked, so it may
 * interrupt another section (NMI).
 * Returns  MM_OK | MM_ERR_BAD_ARG (not a space, unknown CPU) | MM_ERR_GONE | MM_ERR_BUSY (interrupts
 *          another section)
 */
enum mm_err mm_section_begin(struct mm_section *section, struct mm_space *space, bool walk);
void mm_section_end(struct mm_section *section);

/* Wait for all sections on other CPUs that began before. Not in a section. */
void mm_sections_wait(struct mm_vmm *vmm);

/* Lock the space's lock for this section, if it is not. */
void mm_section_lock(struct mm_section *section);

/* ---- locks of tables ---- */

static inline uint16_t mm_tag_lock(uint16_t *tag)
{
    uint16_t word = mm_load_relaxed_u16(tag);

    for (;;) {
        if ((word & MM_TAG_LOCK) != 0) {
            mm_cpu_relax();
            word = mm_load_relaxed_u16(tag);
        } else if (mm_compare_swap_acq_rel_u16(tag, &word, (uint16_t)(word | MM_TAG_LOCK))) {
            return word; /* pairs with mm_table_unlock() */
        }
    }
}

/* Lock a table of `level` that was reached in this section. Its tag is looked up. */
static inline void mm_table_lock(struct mm_section *section, struct mm_table *table, unsigned level)
{
    table->tag = mm_table_tag(section->space->vmm, table->frame, level);
    table->word = 0;
    if (table->tag == NULL)
        mm_section_lock(section);
    else if (section->space->one_lock != 0)
        table->word = mm_load_relaxed_u16(table->tag);
    else
        table->word = mm_tag_lock(table->tag);
}

/* The same for a table that this section locked before and has not changed. */
static inline void mm_table_locked(const struct mm_section *section, struct mm_table *table,
                                   unsigned level)
{
    table->tag = mm_table_tag(section->space->vmm, table->frame, level);
    table->word =
        table->tag != NULL ? (uint16_t)(mm_load_relaxed_u16(table->tag) & ~MM_TAG_LOCK) : 0;
}

/* Publishes the count. The lock of the space stays until the section ends. */
static inline void mm_table_unlock(const struct mm_table *table)
{
    if (table->tag != NULL)
        mm_store_release_u16(table->tag, table->word); /* pairs with mm_tag_lock() */
}

static inline void mm_table_unlock_stray(const struct mm_table *table)
{
    if (table->tag != NULL)
        mm_store_release_u16(table->tag, table->word | MM_TAG_STRAY);
}

/* Lock a table above one that is locked, if that needs no waiting. */
bool mm_table_try_lock(struct mm_section *section, struct mm_table *table, unsigned level);

/* ---- subtrees ---- */

struct mm_subtree {
    struct mm_section section;
    struct mm_table top;                   /* locked, mapped */
    unsigned level;                        /* of it */
    unsigned rights;                       /* what the entries above it grant */
    mm_phys_t above[MM_PT_LEVELS_MAX + 1]; /* tables passed on the way, by level */
};

/*
 * Lock the lowest table that is there and has all of [first, last]. In a section that has locked
 * nothing.
 * Returns  MM_OK | MM_ERR_WINDOW (`fail`: the entry that leads there)
 */
enum mm_err mm_subtree_lock(struct mm_subtree *subtree, uint64_t first, uint64_t last,
                            struct mm_space_fail *fail);

/* An entry above the top denies one of `prot`: name it, MM_ERR_POLICY. */
enum mm_err mm_fail_denied(const struct mm_subtree *subtree, uint64_t virt, unsigned prot,
                           struct mm_space_fail *fail);

void mm_subtree_unlock(struct mm_subtree *subtree);

/* Unlock the tables below the top that have a part of [first, last]: all of them are locked. */
void mm_subtree_unlock_below(struct mm_subtree *subtree, uint64_t first, uint64_t last);

/* Unlock the top; if it is empty take it off, and tables above it that become empty. `virt` is an
 * address in it. They go into the gather, which has room for them. */
void mm_subtree_prune(struct mm_subtree *subtree, uint64_t virt, struct mm_gather *gather);

/* ---- tables that are taken off whole ---- */

/* Lock a table of `level` and all below it; with `locked` they are. Counts them. */
uint64_t mm_tables_lock_all(struct mm_section *section, mm_phys_t frame, unsigned level,
                            bool locked);
/* And let go of them: they are not linked any more. */
void mm_tables_unlock_stray(struct mm_section *section, mm_phys_t frame, unsigned level);

#endif
