/*
 * machine.h - the insides of the simulated machine, shared by the files of port/fake.
 */
#ifndef FAKE_MACHINE_H
#define FAKE_MACHINE_H

#include "fake.h"
#include "fake_port.h"
#include "format.h"

/* ---- what a CPU remembers ---- */

/* What one entry said about [virt, + what its level covers). */
struct fake_cached {
    uint64_t virt;
    uint64_t phys;  /* leaf: the frame; table: the table below */
    uint64_t order; /* the smaller is the older */
    uint32_t next;  /* in its bucket */
    uint16_t asid;
    uint8_t level; /* of the entry */
    uint8_t kind;  /* enum fake_kind: LEAF, TABLE, ABSENT */
    uint8_t prot;  /* with all levels above it */
    uint8_t type;
    uint8_t counted; /* where: FAKE_COUNTED_* */
    bool global, dirty;
};

#define FAKE_COUNTED_NOT    0u
#define FAKE_COUNTED_FRAME  1u /* in the record of its first frame */
#define FAKE_COUNTED_PARTLY 2u /* in RAM, but its first frame is not */

/* Found by (virt, level). */
struct fake_set {
    struct fake_cached *entry;
    uint32_t *bucket; /* 2 * room of them */
    uint32_t count, room;
};

struct fake_caches {
    struct fake_set leaf, table; /* of the address-space id that is loaded, and global ones */
    uint32_t absent;             /* entries of `leaf` that say "absent" */
    struct fake_cached *parked;  /* of the other ids: the CPU cannot use them now */
    uint32_t parked_count, parked_room;
};

/* ---- frames ---- */

enum fake_frame_state {
    FAKE_FRAME_UNTOLD, /* nobody told */
    FAKE_FRAME_GIVEN,
    FAKE_FRAME_FREED
};

/* One per frame of RAM. */
struct fake_frame {
    uint32_t tables;                    /* cached upper entries that lead to it */
    uint32_t leaf[FAKE_LEVELS_MAX + 1]; /* cached leaves, by level, that begin at it */
    uint64_t linked_at;                 /* a hint: physical address of the entry that links it */
    uint64_t nowhere;                   /* at this epoch no root led to it */
    uint32_t next_free;                 /* of a source: number + 1 */
    uint16_t tag;                       /* of a source */
    uint8_t state;
};
struct fake_frame *fake_frame_record(uint64_t phys); /* NULL: no RAM */

/* ---- walkers ---- */

struct fake_watch {
    uint64_t virt;
    unsigned how;
};

/* Where an entry stands: it covers `virt` and on, at `level`. */
struct fake_place {
    uint64_t virt;
    unsigned level;
};

#define FAKE_CHANGES_MAX 4096u

/* A store of an entry, from before it to after it. */
struct fake_change {
    void *at;
    uint64_t phys;
    uint64_t software; /* before the walkers, */
    uint64_t before;   /* and after them */
    bool placed;
    struct fake_place place;
};
void fake_change_begin(struct fake_change *change, void *entry, uint64_t phys);
void fake_change_end(struct fake_change *change, uint64_t after);
/* The frame that an entry `bits` at change->phys leads to remembers it. */
void fake_change_link(const struct fake_change *change, uint64_t bits);

/* Does a root lead to this table, by what was stored through mm_mmu.h? */
bool fake_table_linked(uint64_t table);

/* Of an address put together from indices. */
uint64_t fake_sign_extended(uint64_t virt);

/* After a flush or the load of a root. */
void fake_walkers_after(void);

struct fake_switches {
    enum fake_schedule schedule;
    unsigned one_in;
    uint64_t random;
    unsigned changes; /* FAKE_WATCH_*: for addresses whose entries are stored */
    bool break_before_make, absence, free_unmapped, one_size, broadcasts;
};

struct fake_machine {
    struct fake_cpu cpu[FAKE_CPUS_MAX];
    struct fake_caches caches[FAKE_CPUS_MAX];
    struct fake_cpu_counts counts[FAKE_CPUS_MAX];
    unsigned cpus; /* those from here on were never asked for */
    struct fake_watch watch[FAKE_WATCHES_MAX];
    unsigned watch_count;
    struct fake_switches on;
    struct fake_place changed[FAKE_CHANGES_MAX]; /* since nothing was stale */
    unsigned changed_count;
    bool changed_all;
    uint64_t epoch; /* of the links between tables, from 1 */
    uint64_t order;
    uint64_t leaves_partly; /* FAKE_COUNTED_PARTLY */
    struct mm_virt_range always[FAKE_ALWAYS_MAX];
    unsigned always_count;
    struct fake_anchor anchor[FAKE_ANCHORS_MAX];
    unsigned anchor_count;
    bool must_survive;
    bool user;
    struct fake_counts count;
    int64_t frame_map_fail; /* -1 = never */
    bool frame_map_fails_on;
    void (*interrupt)(void *arg);
    void *interrupt_arg;
    int64_t interrupt_skip; /* -1 = at each point */
};

extern struct fake_machine fake_machine;

/* Does the machine have to know where stores go? */
static inline bool fake_follows(void)
{
    return fake_machine.on.changes != 0 || fake_machine.on.break_before_make;
}

/* Between enter and leave the machine works: no interrupt there. leave is a point for one. */
void fake_enter(void);
void fake_leave(void);
unsigned fake_depth(void);

_Noreturn void fake_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- walk.c ---- */

/* What one walk found, and the entries it went through. */
struct fake_walk {
    enum fake_fault fault;
    struct fake_cached leaf;    /* if fault is FAKE_OK; what is absent, if FAKE_NOT_PRESENT */
    uint64_t leaf_entry;        /* physical address of the leaf's entry */
    unsigned level;             /* where it ended */
    unsigned step_count;        /* tables that it went down to */
    struct fake_cached step[5]; /* the entries that link them, highest first */
};

/* Walk the tables of `cpu` from a table of `level` at `table`, granted `prot` so far. With
 * FAKE_WALK_TOUCH it is a walk of the hardware: it sets A in each entry that it uses, and must not
 * meet a frame that was freed. */
#define FAKE_WALK_TOUCH 1u
void fake_walk_from(unsigned cpu, uint64_t virt, uint64_t table, unsigned level, unsigned prot,
                    unsigned how, struct fake_walk *walk);
void fake_walk_root(unsigned cpu, uint64_t virt, unsigned how, struct fake_walk *walk);
void fake_walk_set_dirty(struct fake_walk *walk);

/* Do the tables still grant, or link, what is cached? */
bool fake_walk_grants(unsigned cpu, const struct fake_cached *cached);
bool fake_walk_links(unsigned cpu, const struct fake_cached *cached);

/* The entry at a host pointer, and the place of an entry for `virt` in a table. */
uint64_t fake_entry_read(const void *at);
void *fake_entry_at(uint64_t table, unsigned level, uint64_t virt, uint64_t *phys);

/* ---- caches.c ---- */

void fake_cache_walk(unsigned cpu, const struct fake_walk *walk);
/* The oldest leaf, or absence, that covers `virt`. */
const struct fake_cached *fake_cache_find(unsigned cpu, uint64_t virt);
/* The lowest cached upper entry for it. */
const struct fake_cached *fake_cache_table(unsigned cpu, uint64_t virt);
/* All entries of a set at exactly (virt, level): the first, and the one after `i`. */
#define FAKE_NO_INDEX UINT32_MAX
uint32_t fake_set_first(const struct fake_set *set, uint64_t virt, unsigned level);
uint32_t fake_set_next(const struct fake_set *set, uint32_t i);

void fake_cache_drop_page(unsigned cpu, uint64_t virt);
void fake_cache_drop_fault(unsigned cpu, uint64_t virt);
void fake_cache_drop_space(unsigned cpu);
void fake_cache_drop_all(unsigned cpu);
void fake_cache_drop_absence(unsigned cpu);
/* Of an id that is loaded or not; virt of FAKE_EACH_PAGE: all of it. Global ones stay. */
#define FAKE_EACH_PAGE 1u /* no page begins there */
void fake_cache_drop_asid(unsigned cpu, uint32_t asid, uint64_t virt);
void fake_cache_drop_asids(unsigned cpu);
void fake_cache_drop_page_asids(unsigned cpu, uint64_t virt); /* of each id, and global */
void fake_cache_switch(unsigned cpu, uint32_t from, uint32_t to, bool keep);
void fake_caches_free(void);

bool fake_walked_by_any(uint64_t frame);

/* ---- ram.c ---- */
void fake_ram_release(void);
bool fake_ram_overlaps(uint64_t start, uint64_t bytes);
bool fake_is_poison(uint64_t entry, uint64_t phys);

/* ---- frames.c ---- */
bool fake_always_mapped(uint64_t virt);

/* ---- stale.c ---- */
const char *fake_described(const struct fake_cached *cached, char *text, size_t room);
/* The cached leaf of another size that covers a part of `leaf` and grants something else; or NULL. */
const struct fake_cached *fake_mixed_with(const struct fake_set *set,
                                          const struct fake_cached *leaf);
void fake_stale_store(const struct fake_place *place);

#endif
