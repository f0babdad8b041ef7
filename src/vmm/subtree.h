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

#define MM_TAG_LIVE        (2 * MM_PT_ENTRIES - 1) /* entries that are not empty */
#define MM_TAG_LOCK        (2 * MM_PT_ENTRIES)     /* only its holder writes the tag */
#define MM_TAG_STRAY       (4 * MM_PT_ENTRIES)     /* taken off: start again from the root */
#define MM_TAG_LEVEL_SHIFT (MM_PT_ENTRIES > 512 ? 13u : 12u) /* of the table; 0 = none */
#define MM_TAG_OWNED       0x8000u /* some leaves may be of frames that the space owns */

_Static_assert((MM_PT_ENTRIES & (MM_PT_ENTRIES - 1)) == 0 &&
                   MM_TAG_STRAY >> MM_TAG_LEVEL_SHIFT == 0 &&
                   MM_PT_LEVELS_MAX <= (MM_TAG_OWNED - 1) >> MM_TAG_LEVEL_SHIFT,
               "a tag has room");

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

static inline unsigned mm_tag_level(unsigned word)
{
    return (word & (MM_TAG_OWNED - 1)) >> MM_TAG_LEVEL_SHIFT;
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

    return tag != NULL && mm_tag_level(mm_load_relaxed_u16(tag)) == level ? tag : NULL;
}

/* Entries of a table of `level` that are not empty. */
unsigned mm_table_search(const mm_pte_t *entry, unsigned level);

static inline unsigned mm_table_live(const struct mm_table *table, unsigned level)
{
    return table->tag != NULL ? table->word & MM_TAG_LIVE : mm_table_search(table->entry, level);
}

/* A table without a tag may. */
static inline bool mm_table_may_own(const struct mm_table *table)
{
    return table->tag == NULL || (table->word & MM_TAG_OWNED) != 0;
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
    struct mm_vmm_cpu *cpu; /* this one; NULL: the section is inside another one */
    mm_guard_t guard;
    mm_lock_guard_t lock_guard;
    bool locked; /* the lock of the space is held */
};

/* Lock the space's lock for this section, if it is not. */
void mm_section_lock(struct mm_section *section);

static inline void mm_section_end(struct mm_section *section)
{
    if (section->locked)
        mm_lock_release(&section->space->lock, section->lock_guard);
    if (section->cpu != NULL)
        mm_store_release_u64(&section->cpu->section, 0); /* pairs with mm_sections_wait() */
    mm_cpu_unguard(section->guard);
}

/* The rare ways out of mm_section_begin(). */
enum mm_err mm_section_refuse(struct mm_section *section, enum mm_err err);
enum mm_err mm_section_nest(struct mm_section *section, bool walk);

/*
 * Begin: from here on tables that are read stay tables. `walk`: nothing will be locked, so it may
 * interrupt another section (NMI).
 * Returns  MM_OK | MM_ERR_BAD_ARG (not a space, unknown CPU) | MM_ERR_GONE | MM_ERR_BUSY (interrupts
 *          another section)
 */
static inline enum mm_err mm_section_begin(struct mm_section *section, struct mm_space *space,
                                           bool walk)
{
    enum mm_err err = mm_space_alive(space);
    struct mm_vmm *vmm;
    unsigned cpu;

    if (err != MM_OK)
        return err;
    vmm = space->vmm;
    section->space = space;
    section->locked = false;
    section->guard = mm_cpu_guard();
    cpu = mm_cpu_index();
    section->cpu = cpu < vmm->cpu_count ? mm_vmm_cpu(vmm, cpu) : NULL;
    if (section->cpu == NULL)
        return mm_section_refuse(section, MM_ERR_BAD_ARG);
    if (mm_load_relaxed_u64(&section->cpu->section) != 0)
        err = mm_section_nest(section, walk);
    else
        mm_store_fence_u64(&section->cpu->section, mm_load_acquire_u64(&vmm->epoch)); /* S2 */
    if (err != MM_OK)
        return err;
    if ((mm_load_acquire_u64(&space->holds) & MM_SPACE_CLOSED) != 0)
        return mm_section_refuse(section, MM_ERR_GONE); /* destroy waits for this, or is seen */
    if (space->one_lock != 0 && !walk)
        mm_section_lock(section);
    return MM_OK;
}

/* Is this CPU in a section already: under a cursor, or in an NMI? */
static inline bool mm_section_is_on(const struct mm_vmm *vmm)
{
    mm_guard_t guard = mm_cpu_guard();
    unsigned cpu = mm_cpu_index();
    bool on = cpu < vmm->cpu_count && mm_load_relaxed_u64(&mm_vmm_cpu(vmm, cpu)->section) != 0;

    mm_cpu_unguard(guard);
    return on;
}

/* Wait for all sections on other CPUs that began before. Not in a section. */
void mm_sections_wait(struct mm_vmm *vmm);

/* No CPU goes to a table of the space by memory any more (NULL: of any space). No section of it is on
 * its way. */
void mm_sections_forget(struct mm_vmm *vmm, struct mm_space *space);

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

/* `tables` of the space were unlinked. */
static inline void mm_tables_removed(struct mm_space *space, uint64_t tables)
{
    (void)mm_fetch_add_relaxed_u64(&space->table_count, 0 - tables);
    (void)mm_fetch_add_release_u64(&space->removals, 1);
}

/* ---- subtrees ---- */

struct mm_subtree {
    struct mm_section section;
    struct mm_table top;                   /* locked, mapped */
    unsigned level;                        /* of it */
    unsigned rights;                       /* what the entries above it grant */
    bool remembered;                       /* its frame, and what is above it, are not known */
    mm_phys_t above[MM_PT_LEVELS_MAX + 1]; /* tables passed on the way, by level */
};

/* The same from the root. */
enum mm_err mm_subtree_find(struct mm_subtree *subtree, uint64_t first, uint64_t last,
                            struct mm_space_fail *fail);

/* Is it a part of the table that this CPU locked last, and not of one below, and is that one still
 * linked? The counter says that no table was taken off since then; what is taken off from now on waits
 * for this section. */
static inline bool mm_subtree_remembered(struct mm_subtree *subtree, uint64_t first, uint64_t last)
{
    struct mm_space *space = subtree->section.space;
    struct mm_vmm_cpu *cpu = subtree->section.cpu;
    uint64_t span = cpu->last.span;
    bool pages = span == mm_pt_bytes(2);

    if (mm_load_relaxed_u64(&cpu->last.space) != (uintptr_t)space ||
        first - cpu->last.first >= span || last - cpu->last.first >= span ||
        last - first == span - 1 || (!pages && last - first < mm_pt_bytes(2) - 1) ||
        mm_load_acquire_u64(&space->removals) != cpu->last.removals)
        return false;
    subtree->top = (struct mm_table){.entry = (mm_pte_t *)cpu->last.entry, .tag = cpu->last.tag};
    subtree->top.word = mm_tag_lock(subtree->top.tag);
    if ((subtree->top.word & MM_TAG_STRAY) != 0) {
        mm_table_unlock(&subtree->top);
        return false;
    }
    subtree->level = pages ? 1 : 2;
    subtree->rights = MM_PROT_ALL;
    subtree->remembered = true;
    return true;
}

/*
 * Lock the lowest table that is there and has all of [first, last]. In a section that has locked
 * nothing.
 * Returns  MM_OK | MM_ERR_WINDOW (`fail`: the entry that leads there)
 */
static inline enum mm_err mm_subtree_lock(struct mm_subtree *subtree, uint64_t first, uint64_t last,
                                          struct mm_space_fail *fail)
{
    if (mm_subtree_remembered(subtree, first, last))
        return MM_OK;
    return mm_subtree_find(subtree, first, last, fail);
}

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

struct mm_tables_count {
    uint64_t tables;
    uint64_t owned; /* frames */
};

/* Lock a table of `level` and all below it; with `locked` they are. Adds to `count`. */
void mm_tables_lock_all(struct mm_section *section, mm_phys_t frame, unsigned level, bool locked,
                        struct mm_tables_count *count);
/* And let go of them, `tables` or fewer: they are not linked any more. */
void mm_tables_unlock_stray(struct mm_section *section, mm_phys_t frame, unsigned level,
                            uint64_t tables);

#endif
