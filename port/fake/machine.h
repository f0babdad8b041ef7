/*
 * machine.h - the insides of the simulated machine, shared by the files of port/fake.
 */
#ifndef FAKE_MACHINE_H
#define FAKE_MACHINE_H

#include "fake.h"
#include "fake_port.h"

/* A translation in a TLB. `virt` and `phys` are aligned to the size of `level`. */
struct fake_tlb {
    uint64_t virt, phys;
    unsigned level, prot;
    enum mm_memtype type;
    bool global, dirty;
};

/* A cached upper entry: below `virt`, the table at `table` is of level `level`; `prot` is what
 * the levels above it grant together. */
struct fake_psc {
    uint64_t virt, table;
    unsigned level, prot;
};

struct fake_caches {
    struct fake_tlb *tlb;
    size_t tlb_count, tlb_room;
    struct fake_psc *psc;
    size_t psc_count, psc_room;
};

struct fake_watch {
    uint64_t virt;
    unsigned how;
};

struct fake_machine {
    struct fake_cpu cpu[FAKE_CPUS_MAX];
    struct fake_caches caches[FAKE_CPUS_MAX];
    struct fake_watch watch[FAKE_WATCHES_MAX];
    unsigned watch_count;
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

/* Between enter and leave the machine works: no interrupt there. leave is a point for one. */
void fake_enter(void);
void fake_leave(void);
unsigned fake_depth(void);

_Noreturn void fake_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What one walk found, and the entries it went through. */
struct fake_walk {
    enum fake_fault fault;
    struct fake_tlb leaf;    /* if fault is FAKE_OK */
    uint64_t leaf_entry;     /* physical address of the leaf's entry */
    unsigned level;          /* where it ended */
    unsigned step_count;     /* tables that it went down to */
    struct fake_psc step[5]; /* the children, highest first */
};

/* Walk the tables of `cpu` from a table of `level` at `table`, granted `prot` so far. With
 * FAKE_WALK_TOUCH it sets A in each entry that it uses, as hardware does. */
#define FAKE_WALK_TOUCH 1u
void fake_walk_from(unsigned cpu, uint64_t virt, uint64_t table, unsigned level, unsigned prot,
                    unsigned how, struct fake_walk *walk);
void fake_walk_root(unsigned cpu, uint64_t virt, unsigned how, struct fake_walk *walk);
void fake_walk_set_dirty(struct fake_walk *walk);

/* Do the tables still grant, or link, what is cached? */
bool fake_walk_grants(unsigned cpu, const struct fake_tlb *cached);
bool fake_walk_links(unsigned cpu, const struct fake_psc *cached);

bool fake_canonical(unsigned cpu, uint64_t virt);
uint64_t fake_level_bytes(unsigned level);

/* caches.c */
void fake_cache_walk(unsigned cpu, const struct fake_walk *walk);
const struct fake_tlb *fake_cache_find(unsigned cpu, uint64_t virt);
const struct fake_psc *fake_cache_table(unsigned cpu, uint64_t virt);
void fake_cache_drop_page(unsigned cpu, uint64_t virt);
void fake_cache_drop_space(unsigned cpu);
void fake_cache_drop_all(unsigned cpu);
void fake_caches_free(void);
bool fake_cache_table_covers(const struct fake_psc *entry, uint64_t virt);
bool fake_cpu_walks_frame(unsigned cpu, uint64_t start, uint64_t bytes);

/* ram.c */
void fake_ram_release(void);

#endif
