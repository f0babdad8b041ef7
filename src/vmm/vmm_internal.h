/*
 * vmm_internal.h - what the files of the VMM share.
 *
 * Problem     Range calls, start-up and checkers all descend the same tables, take and free tables
 *             by the same rules, and fill the same failure record.
 * Idea        One walker for everything that visits what is there (walker.c), one reserve of tables
 *             for everything that may need one (table.c), one way to lock tables (subtree.h), one
 *             gather for everything that takes away (gather.c). What must be fast (map.c, change.h)
 *             descends by itself: one function per level, in which the level is a constant.
 * Invariants  Ranges are [first, last], both ends included: an end at 2^64 needs no special case.
 * Locking     subtree.h.
 * Cost        See each file.
 * Rejected    Descending from the root for every page: it costs levels x pages.
 */
#ifndef MM_VMM_INTERNAL_H
#define MM_VMM_INTERNAL_H

#include "base/assert.h"
#include "base/bits.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "base/lock.h"
#include "base/mm_atomic.h"
#include "mm/memmap.h"
#include "mm/vmm.h"
#include "mm_frame.h"
#include "mm_mmu.h"

/* struct mm_space.state; every other number means that the space was never created */
#define MM_SPACE_LIVE 0x6c697665u /* "live" */
#define MM_SPACE_GONE 0x676f6e65u /* "gone" */
#define MM_SPACE_GOES 0x676f6573u /* "goes": it is gone for all, but the struct is still used */

/* struct mm_space.holds: no more holds are given */
#define MM_SPACE_CLOSED (UINT64_C(1) << 63)

/* struct mm_vmm.state */
#define MM_VMM_FROZEN     1u /* a user space was made: the kernel's top-level entries are fixed */
#define MM_VMM_CPU_KNOWN  2u /* a CPU was prepared: `paging` says what it has */
#define MM_VMM_LOW_GLOBAL 4u /* the adopted kernel space has global leaves in its lower half */

#define MM_VMM_TAGGED 8u /* the frames of tables have tags: one without is refused */

#define MM_VMM_WITHOUT_ASIDS 16u /* MM_VMM_NO_ASIDS */

/* Tables that one section may visit. */
#define MM_PIECE_TABLES 64u

/* An entry up to this level that a range covers wholly is removed with one store: below it hang a
 * table and at most MM_PT_ENTRIES more, which are counted in one hold of the lock. Not one of a root:
 * the tables of the kernel area stay. */
#define MM_REMOVE_LEVEL_MAX (MM_PT_LEVELS_MIN > 3 ? 3u : MM_PT_LEVELS_MIN - 1)

/* 1: each space has one lock for all its tables. For ports without a 16-bit compare-and-swap, and to
 * compare with. */
#ifndef MM_VMM_ONE_LOCK
#define MM_VMM_ONE_LOCK 0
#endif

/* From this length on a protect finds out whether any CPU can write the entries meanwhile. */
#define MM_REWRITE_BYTES UINT64_C(0x10000)

#define MM_PROT_ALL (MM_PROT_READ | MM_PROT_WRITE | MM_PROT_EXEC | MM_PROT_USER)

struct mm_span {
    uint64_t first, last;
};

/* Fill the caller's record, if there is one, and return `err`. */
static inline enum mm_err mm_fail(struct mm_space_fail *fail, enum mm_err err, uint64_t virt,
                                  unsigned level, mm_pte_t entry)
{
    if (fail != NULL) {
        fail->virt = mm_virt(virt);
        fail->entry = entry.bits;
        fail->level = level;
        fail->err = err;
    }
    return err;
}

/* ---- sets of CPUs ---- */

static inline void mm_cpuset_add(struct mm_cpuset *set, unsigned cpu)
{
    (void)mm_fetch_or_acq_rel_u64(&set->bits[cpu / 64], UINT64_C(1) << cpu % 64);
}

static inline void mm_cpuset_remove(struct mm_cpuset *set, unsigned cpu)
{
    (void)mm_fetch_and_acq_rel_u64(&set->bits[cpu / 64], ~(UINT64_C(1) << cpu % 64));
}

static inline bool mm_cpuset_has(const struct mm_cpuset *set, unsigned cpu)
{
    return (mm_load_acquire_u64(&set->bits[cpu / 64]) >> cpu % 64 & 1) != 0;
}

/* Copy `set`, in which there are only CPUs below `cpus`; true if anybody is in it. */
static inline bool mm_cpuset_read(const struct mm_cpuset *set, unsigned cpus, struct mm_cpuset *out)
{
    unsigned words = (cpus + 63) / 64;
    uint64_t any = 0;

    for (unsigned i = 0; i < words; i++) {
        out->bits[i] = mm_load_acquire_u64(&set->bits[i]);
        any |= out->bits[i];
    }
    for (unsigned i = words; any != 0 && i < MM_CPUS_MAX / 64; i++)
        out->bits[i] = 0;
    return any != 0;
}

/* ---- space.c ---- */

/* False for NULL and for zeroes: mm_vmm_init() was not called. */
static inline bool mm_vmm_is_made(const struct mm_vmm *vmm)
{
    return vmm != NULL && vmm->cpu_count != 0;
}

static inline struct mm_vmm_cpu *mm_vmm_cpu(const struct mm_vmm *vmm, unsigned cpu)
{
    return &vmm->cpu[cpu & vmm->cpu_mask];
}

/* May leaves of the space be marked as owned? In an adopted one the mark is somebody else's. */
static inline bool mm_space_may_own(const struct mm_space *space)
{
    return space->vmm->pmm != NULL && (space->flags & MM_SPACE_ADOPTED) == 0;
}

static inline bool mm_space_is_kernel(const struct mm_space *space)
{
    return (space->flags & MM_SPACE_KERNEL) != 0;
}

/* MM_OK for a live space, MM_ERR_GONE for a destroyed one, MM_ERR_BAD_ARG for anything else,
 * NULL included. */
static inline enum mm_err mm_space_alive(const struct mm_space *space)
{
    uint32_t state;

    if (space == NULL)
        return MM_ERR_BAD_ARG;
    state = mm_load_relaxed_u32(&space->state);
    if (state == MM_SPACE_LIVE)
        return MM_OK;
    return state == MM_SPACE_GONE || state == MM_SPACE_GOES ? MM_ERR_GONE : MM_ERR_BAD_ARG;
}

/* Keep the space from being destroyed until mm_space_unhold(). MM_OK, else as mm_space_alive(). No
 * lock, any context. */
enum mm_err mm_space_hold(struct mm_space *space);
void mm_space_unhold(struct mm_space *space);

/* Set the fields of a space whose root is ready; counts start at zero, but for the root. */
void mm_space_begin(struct mm_space *space, struct mm_vmm *vmm, mm_phys_t root, uint32_t flags);

/* May CPUs still have the parts of a large page that was joined just now? They are not dropped by a flush
 * of that page. Who saw the page sees that, too: it is counted before, and until the flush is over. */
static inline bool mm_space_joins(const struct mm_space *space)
{
    return mm_load_acquire_u64(&space->joins) != 0;
}

/* One more of `count`, which is joins, larges or splits: before the store that makes it so, which
 * releases. */
static inline void mm_space_resizes(struct mm_space *space, uint64_t *count)
{
    (void)mm_fetch_add_relaxed_u64(count, 1);
    (void)mm_fetch_add_relaxed_u64(&space->resizes, 1);
}

/* And may they still have a large page of which the parts are there already? */
static inline bool mm_space_splits(const struct mm_space *space)
{
    return mm_load_acquire_u64(&space->splits) != 0;
}

/* From now on no table comes from a frame without a tag; or any frame will do. */
static inline void mm_vmm_note_tags(struct mm_vmm *vmm, bool tagged)
{
    vmm->state = tagged ? vmm->state | MM_VMM_TAGGED : vmm->state & ~MM_VMM_TAGGED;
}

/* Give the kernel space tables for the top-level entries of the kernel area that have none. */
enum mm_err mm_space_preallocate(struct mm_space *space, struct mm_space_fail *fail);

/* Count all tables into the tags that the frame source has now. Nobody else uses the space. */
void mm_space_recount(struct mm_space *space);

/* The part of the address space that is this space's own: one span, or both halves. */
unsigned mm_space_halves(const struct mm_space *space, struct mm_span *out);

/* Tell the host of the damage that `fail` names. No lock held. */
void mm_space_report_damage(struct mm_space *space, const struct mm_space_fail *fail,
                            const char *where, const void *caller);

/* ---- entries ---- */

/* Would the hardware fault on this entry? Then it is no table, no page and no hole, but what a wild
 * write left. (No-execute is always on where libmm writes it.) */
static inline bool mm_entry_is_damaged(const struct mm_paging *paging, mm_pte_t entry,
                                       unsigned level)
{
    return mm_pte_reserved(entry, level, paging->phys_bits, true) != 0 ||
           (mm_pte_is_leaf(entry, level) && (paging->leaf_levels >> level & 1) == 0);
}

/* Are the next four of `count` entries leaves of `level` without bits of `reserved`? One branch for all
 * of them: one for each takes longer than the loads. */
static inline bool mm_are_leaves(const mm_pte_t *entry, unsigned count, uint64_t reserved,
                                 unsigned level)
{
    return count >= 4 && (mm_pte_unsound(mm_pte_load(&entry[0]), reserved, level) |
                          mm_pte_unsound(mm_pte_load(&entry[1]), reserved, level) |
                          mm_pte_unsound(mm_pte_load(&entry[2]), reserved, level) |
                          mm_pte_unsound(mm_pte_load(&entry[3]), reserved, level)) == 0;
}

/* ---- table.c: tables as memory ---- */

static inline enum mm_err mm_table_map(const struct mm_window *window, mm_phys_t table,
                                       mm_pte_t **out)
{
    void *pointer;
    enum mm_err err = mm_frame_map(window, table, &pointer);

    if (err == MM_OK)
        *out = (mm_pte_t *)pointer;
    return err;
}

static inline void mm_table_unmap(const struct mm_window *window, mm_pte_t *table)
{
    mm_frame_unmap(window, table);
}

/* Map a table that was reached before, so that it cannot fail. */
mm_pte_t *mm_table_map_known(const struct mm_window *window, mm_phys_t table);

struct mm_table;

/* Have the frames of the source tags? Without a frame to ask for, who has the call has them. */
bool mm_tables_have_tags(const struct mm_vmm *vmm);

/* Count a table that libmm did not fill into its tag, if it has one. */
void mm_table_recount(const struct mm_vmm *vmm, mm_phys_t frame, const mm_pte_t *entry,
                      unsigned level);

/* Must the table under the entry of `level` at `virt` stay although it is empty? */
bool mm_table_is_kept(const struct mm_space *space, const uint16_t *tag, uint64_t virt,
                      unsigned level);

/* Is the frame one that may go back to the source of tables? */
bool mm_table_is_ours(const struct mm_vmm *vmm, mm_phys_t table);

/* Give the frame of a table back, its tag cleared, unless it is somebody else's. False, and nothing
 * is given back, if its tag says another level; 0 = any. No lock held. */
bool mm_table_free(struct mm_vmm *vmm, mm_phys_t frame, unsigned level);

/* Tables taken and not linked yet, each naming the next in its first entry. */
struct mm_reserve {
    mm_phys_t first;
    uint64_t count;
};

/* Take tables until there are `count`. On failure some may be in the reserve: drop it, as in every
 * case. No lock held: the source of frames may call back into the kernel. */
enum mm_err mm_reserve_fill(struct mm_vmm *vmm, struct mm_reserve *reserve, uint64_t count);

/* May the space have `count` tables more, and are they in the reserve? MM_OK: table_count has grown.
 * MM_ERR_LIMIT, or MM_ERR_AGAIN: fill the reserve first. */
enum mm_err mm_reserve_claim(struct mm_space *space, const struct mm_reserve *reserve,
                             uint64_t count);

/* One of them, mapped. All entries, and the tag, are to be stored. */
struct mm_table mm_reserve_pop(struct mm_vmm *vmm, struct mm_reserve *reserve);

/* One of `level`, with all entries empty and counted as such. */
struct mm_table mm_reserve_pop_empty(struct mm_vmm *vmm, struct mm_reserve *reserve,
                                     unsigned level);

/* Give back what is left. No lock held. */
void mm_reserve_drop(struct mm_vmm *vmm, struct mm_reserve *reserve);

/* ---- the way of a call through its range ---- */

struct mm_way {
    uint64_t virt; /* here; unchanged at the end */
    uint64_t last;
    bool done;
};

/* Behind `bytes` more. */
static inline void mm_way_advance(struct mm_way *way, uint64_t bytes)
{
    way->done = way->last - way->virt < bytes;
    if (!way->done)
        way->virt += bytes;
}

/* Behind the entry of `level` that is here. */
static inline void mm_way_step_over(struct mm_way *way, unsigned level)
{
    mm_way_advance(way, mm_pt_bytes(level) - (way->virt & (mm_pt_bytes(level) - 1)));
}

/* The last address of the table of `level` that is here. */
static inline uint64_t mm_way_table_last(const struct mm_way *way, unsigned level)
{
    return way->virt | (mm_pt_bytes(level + 1) - 1);
}

static inline bool mm_way_goes_on(const struct mm_way *way, uint64_t table_last)
{
    return !way->done && way->virt <= table_last;
}

/* Does the range have all of the entry of `level` that is here? */
static inline bool mm_way_has_whole(const struct mm_way *way, unsigned level)
{
    return mm_is_aligned(way->virt, mm_pt_bytes(level)) &&
           way->last - way->virt >= mm_pt_bytes(level) - 1;
}

/* Entries of the table that is here, from `first` on, which the range has and of which it has all. */
static inline unsigned mm_way_whole(const struct mm_way *way, unsigned first, unsigned level)
{
    return (unsigned)mm_min_u64(mm_pt_entries(level) - first,
                                (way->last - way->virt + 1) >> mm_pt_shift(level));
}

/* Entries of the leaf table that is here, from `first` on, that the range has. */
static inline unsigned mm_way_pages(const struct mm_way *way, unsigned first)
{
    return (unsigned)mm_min_u64(mm_pt_entries(1) - first,
                                ((way->last - way->virt) >> MM_FRAME_SHIFT) + 1);
}

static inline void mm_way_advance_pages(struct mm_way *way, unsigned pages)
{
    mm_way_advance(way, (uint64_t)pages << MM_FRAME_SHIFT);
}

/* ---- walker.c: visiting what is there ---- */

enum mm_walker_progress {
    MM_WALKER_ON,
    MM_WALKER_PAUSED,
    MM_WALKER_DONE
};

struct mm_visit {
    mm_pte_t *slot;
    mm_pte_t entry;  /* what was in it */
    uint64_t virt;   /* first address that the entry covers */
    unsigned level;  /* of the entry */
    unsigned rights; /* what the levels above grant */
    bool skip;       /* set by enter(): do not descend */
};

struct mm_walker {
    /* filled by the caller */
    const struct mm_window *window;
    void *context;
    struct mm_space_fail *fail; /* may be NULL */
    /* Each may be NULL. An error ends the walk; setting progress to DONE ends it with MM_OK. They
     * are fields, not a constant table: a table of pointers needs relocation. */
    enum mm_err (*leaf)(struct mm_walker *walker, struct mm_visit *visit);
    enum mm_err (*hole)(struct mm_walker *walker, struct mm_visit *visit); /* not present */
    /* mm_entry_is_damaged(); without this operation the walk ends with MM_ERR_CORRUPT */
    enum mm_err (*damaged)(struct mm_walker *walker, struct mm_visit *visit);
    enum mm_err (*enter)(struct mm_walker *walker, struct mm_visit *visit); /* a table, before */
    void (*leave)(struct mm_walker *walker, struct mm_visit *visit, mm_pte_t *child); /* after */
    const struct mm_paging *paging;
    mm_phys_t root;
    unsigned levels;
    uint64_t virt;   /* where to go on */
    uint64_t last;   /* in the same half as `virt` */
    unsigned budget; /* tables below the root that may be entered before a pause, >= levels */
    /* filled by the walk */
    enum mm_walker_progress progress;
    mm_phys_t path[MM_PT_LEVELS_MAX + 1]; /* the table in hand at each level */
};

/*
 * Visit the entries that cover [virt, last], once. Ends with progress DONE or, when the budget is
 * used up, PAUSED: refill the budget and call again.
 * Returns  MM_OK | MM_ERR_WINDOW | MM_ERR_CORRUPT | what the operations return
 */
enum mm_err mm_walker_run(struct mm_walker *walker);

/* A walker over `span` of a space, without operations. */
struct mm_walker mm_walker_over(struct mm_space *space, struct mm_span span, void *context,
                                struct mm_space_fail *fail);

/* Run to the end without a lock or a budget. */
enum mm_err mm_walker_run_all(struct mm_walker *walker);

/* Run to the end, in sections of MM_PIECE_TABLES tables each. The space is held: between two pieces
 * nobody destroys it. */
enum mm_err mm_walker_run_pieces(struct mm_walker *walker, struct mm_space *space);

/* ---- range.c: what the calls on ranges check and prepare ---- */

/* Alignment, canonical form, halves and the rules of the space; fills `out`. */
enum mm_err mm_range_check(const struct mm_space *space, mm_virt_t virt, uint64_t bytes,
                           struct mm_span *out, struct mm_space_fail *fail);

/* Is the gather one that may be used for the space: of it, and begun while it lived? */
enum mm_err mm_range_check_gather(const struct mm_gather *gather, const struct mm_space *space,
                                  mm_virt_t virt, struct mm_space_fail *fail);

/* Rights that exist and that the space allows at `virt`. */
enum mm_err mm_range_check_prot(const struct mm_space *space, uint64_t virt, uint32_t prot,
                                bool allow_wx, struct mm_space_fail *fail);

/* ---- map.c ---- */

/* All that can be said of a request without looking at tables. */
enum mm_err mm_map_check(const struct mm_space *space, const struct mm_map_request *request,
                         struct mm_space_fail *fail);

/* The leaf of `level` that the request makes, of frame 0. */
mm_pte_t mm_map_leaf(const struct mm_space *space, const struct mm_map_request *request,
                     unsigned level);

/* ---- gather.c ---- */

#define MM_GATHER_EVERYTHING 1u
#define MM_GATHER_HOLDS      2u   /* its space: from begin to end */
#define MM_GATHER_KERNEL     4u   /* of the kernel space */
#define MM_GATHER_OWNS       8u   /* the space may own frames */
#define MM_GATHER_FREES      16u  /* at this moment: takes nothing in */
#define MM_GATHER_DEFERRED   32u  /* must not wait: its end queues it */
#define MM_GATHER_ADOPTED    64u  /* of an adopted space */
#define MM_GATHER_LARGE      128u /* counted in `larges` of the space, which it holds */

/* A gather that holds nothing: for a call that flushes before it returns. */
void mm_gather_start(struct mm_gather *gather, struct mm_space *space);

static inline bool mm_gather_has_work(const struct mm_gather *gather)
{
    return gather->page_count != 0 || gather->table_count != 0 || gather->run_count != 0 ||
           gather->owned_count != 0 || (gather->flags & MM_GATHER_EVERYTHING) != 0;
}

static inline void mm_gather_everything(struct mm_gather *gather)
{
    gather->flags |= MM_GATHER_EVERYTHING;
}

/* One translation of whatever size: flushing any address in it drops it. */
static inline void mm_gather_page(struct mm_gather *gather, uint64_t virt, uint64_t bytes)
{
    if (gather->page_count == MM_MMU_FLUSH_CEILING) {
        mm_gather_everything(gather);
        return;
    }
    gather->page[gather->page_count].start = mm_virt(virt);
    gather->page[gather->page_count].bytes = bytes;
    gather->page_count++;
}

/* A table that is linked nowhere any more and covered [virt, virt + bytes), with all below it:
 * `level` is its own, or 0 if no table hangs below it. */
void mm_gather_table(struct mm_gather *gather, mm_phys_t table, unsigned level, uint64_t virt,
                     uint64_t bytes);

/* Tables that a section may put in: it may prune some above its subtree, too. */
static inline unsigned mm_gather_room(const struct mm_gather *gather)
{
    return MM_GATHER_TABLES - gather->table_count - MM_PT_LEVELS_MAX;
}

/* Has it room for less than two prunings from the bottom to the top, or few frames? */
static inline bool mm_gather_is_crowded(const struct mm_gather *gather)
{
    return MM_GATHER_TABLES - gather->table_count < 3 * MM_PT_LEVELS_MAX ||
           gather->owned_count > MM_GATHER_OWNED / 2;
}

/* Before a section: flush a gather that is. MM_ERR_NO_ROOM if it is deferred. */
enum mm_err mm_gather_make_room(struct mm_gather *gather);

/* Flush, then free what is in it. May wait; no lock held, and not in a section. */
void mm_gather_flush(struct mm_gather *gather);

/* In a section, before a flush outside of it that notes something in the space: keep the space. False: it
 * goes, so nobody will look, and nothing is noted. */
bool mm_gather_hold_large(struct mm_gather *gather);

/* The same in two steps. First on this CPU, in a section of the space: true if `others` must flush,
 * too. Then, outside of it, those (NULL: none), and the frees; the space is not looked at any more. */
bool mm_gather_flush_here(struct mm_gather *gather, struct mm_cpuset *others);
void mm_gather_finish(struct mm_gather *gather, const struct mm_cpuset *others);

/* ---- activate.c: what a CPU has loaded, and what it keeps of what it has left ---- */

/* This CPU comes: it keeps nothing of a space. All of its translations are flushed. */
void mm_cpu_forget(struct mm_vmm *vmm, struct mm_vmm_cpu *cpu);

/* This CPU has a space loaded, although libmm did not do it. */
void mm_cpu_adopt(struct mm_vmm_cpu *cpu, struct mm_space *space);

/* Count a flush, and say which CPUs have the space loaded: false for none. What follows comes after
 * the entries that were stored before, for all. */
bool mm_gather_call(struct mm_gather *gather, struct mm_cpuset *cpus);

/* Flush the gather on this CPU, as far as that is needed. It does not look at the space. */
void mm_gather_flush_cpu(const struct mm_gather *gather);

/* ---- cursor.c ---- */

/* End its section, if one is on; the next page begins another. */
void mm_cursor_let_go(struct mm_cursor *cursor);

/* Its gather ends before it does: it unmaps no more. No section is on. */
void mm_cursor_detach(struct mm_cursor *cursor);

/* ---- remove.c: tables that no CPU can reach any more ---- */

/* Free a table of `level` and all below it; level 0: one that is empty. What damaged entries lead to
 * is lost. `owns`: and the frames that they say the space owns. No lock held. */
void mm_tables_free(struct mm_vmm *vmm, mm_phys_t table, unsigned level, bool owns);

struct mm_slots {
    unsigned first, last;
};

/* The same for all below some entries of the root of a space, which stays. `damage`: the first, if there is any. */
void mm_tables_free_below(struct mm_space *space, struct mm_slots slots,
                          struct mm_space_fail *damage);

/* ---- live.c ---- */

/* What the CPU cannot do without, in the order of mm_port_cpu_anchors(). */
enum mm_anchor {
    MM_ANCHOR_CODE,
    MM_ANCHOR_STACK,
    MM_ANCHOR_GDT,
    MM_ANCHOR_IDT
};

/* mm_space_verify() that says at which of them it ended. */
enum mm_err mm_verify_anchors(struct mm_space *space, enum mm_anchor *out,
                              struct mm_space_fail *fail);

/* ---- translate.c ---- */

/* The entries that a walk of `virt` reads from `root`, as mm_space_walk(). *err is MM_ERR_WINDOW if
 * it ended because a table is not reachable, else MM_OK. */
unsigned mm_walk_root(const struct mm_window *window, mm_phys_t root,
                      const struct mm_paging *paging, mm_virt_t virt, struct mm_walk_step *steps,
                      enum mm_err *err);

/* The walk of `virt` summed up: MM_OK | MM_ERR_NOT_FOUND | MM_ERR_RANGE | MM_ERR_WINDOW. */
enum mm_err mm_translate_root(const struct mm_window *window, mm_phys_t root,
                              const struct mm_paging *paging, mm_virt_t virt,
                              struct mm_translation *out, struct mm_space_fail *fail);

#endif
