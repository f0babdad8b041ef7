/*
 * fake.h - the simulated machine, as tests use it.
 *
 * One machine per program: memory, CPUs, and an MMU that keeps every translation it ever made
 * until the manual says that it is gone. fake_reset() makes it new; test/host does that before
 * each test. Typical use:
 *
 *     fake_ram_add(mm_phys(0x100000), 16 << 20);      RAM at 1 MiB
 *     struct mm_window *window = fake_window();       all RAM is in it
 *     ... build page tables with libmm, mm_mmu_load_root(root) ...
 *     struct fake_access got = fake_read64(virt);     as the current CPU's MMU does it
 *     CHECK(got.fault == FAKE_OK && got.value == 42);
 *     CHECK(fake_stale_entries() == 0);
 *
 * Entries are decoded by code of its own (walk.c), typed from the manual, never by mm_pte.h.
 * The MMU is for one host thread at a time; guard, index and frame counters are for any number.
 */
#ifndef FAKE_H
#define FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mm/types.h"
#include "mm/window.h"

#define FAKE_CPUS_MAX    64u
#define FAKE_ANCHORS_MAX 5u
#define FAKE_WATCHES_MAX 64u

/* ---- the machine ---- */

/* A new machine: no RAM, one kind of CPU (4 levels, 46 address bits, 4K/2M/1G, NX, global, PAT),
 * each with interrupts on, as found after power-on otherwise (NXE, WP, PGE off, no root). CPU 0
 * is current. */
void fake_reset(void);

/* The machine found something that no test may let pass (a wild store, a triple fault). The
 * default prints `what` and aborts; test/host fails the test. Must not return. */
void fake_set_failure(void (*fail)(const char *what));

/* ---- memory ---- */

/* RAM at [start, start + bytes): frame-aligned, disjoint from other RAM. Its pages cost the host
 * memory when touched, so terabytes are fine. It appears in fake_window() at an address that is
 * congruent to `start` modulo 1 GiB, as in a kernel's direct map. Filled with zero, unlike real
 * RAM: fake_ram_poison() helps. */
void fake_ram_add(mm_phys_t start, uint64_t bytes);

/* All RAM. Owned by the machine; up to 16 ranges. */
struct mm_window *fake_window(void);

/* The host's address of `phys`; NULL where there is no RAM for `bytes` bytes. */
void *fake_ram(mm_phys_t phys, uint64_t bytes);

/* The way back. False if `pointer` is not in simulated RAM. */
bool fake_ram_phys(const void *pointer, mm_phys_t *out);

/* Fill frames with garbage that decodes as present entries leading nowhere. */
void fake_ram_poison(mm_phys_t start, uint64_t bytes);

/* ---- CPUs ---- */

/* What a CPU has, and what was switched on in it. Change it before the code under test looks. */
struct fake_cpu {
    /* features */
    uint32_t levels;      /* 4 or 5: the mode it runs in */
    uint32_t phys_bits;   /* MAXPHYADDR */
    uint32_t leaf_levels; /* bit n: leaves at level n; 1 << 3 is 1 GiB */
    bool has_nx, has_global, has_pat, long_mode;
    /* state */
    bool nxe, wp, pge;
    bool tce; /* INVLPG drops only those upper-level entries that lead to the page (EFER.TCE) */
    uint64_t pat;
    mm_phys_t root;
    bool root_loaded;
    bool interrupts_on;
};

struct fake_cpu *fake_cpu(unsigned cpu);

/* Which CPU the calling host thread is. */
void fake_cpu_set(unsigned cpu);
unsigned fake_cpu_current(void);

/* Switch on what mm_port_cpu_init() switches on, on every CPU: for tests without start-up. */
void fake_cpus_prepare(void);

/* The simulated interrupt flag of the current CPU, set without any interrupt being taken. */
void fake_interrupts(bool on);

/*
 * What the CPU cannot do without, as mm_port_cpu_anchors() tells it. With `must_survive`, loading
 * a root under which an anchor lacks its rights is a triple fault: the machine fails.
 */
struct fake_anchor {
    mm_virt_t virt;
    uint64_t bytes;
    unsigned prot; /* MM_PROT_EXEC for code, MM_PROT_WRITE for the stack, MM_PROT_READ for tables */
};
void fake_anchors(const struct fake_anchor *anchor, unsigned count, bool must_survive);

/* ---- memory accesses of programs on the current CPU ---- */

enum fake_fault {
    FAKE_OK = 0,
    FAKE_NOT_PRESENT,   /* #PF, P = 0 */
    FAKE_WRITE_DENIED,  /* #PF, P and W */
    FAKE_USER_DENIED,   /* #PF, P and U: a supervisor page */
    FAKE_FETCH_DENIED,  /* #PF, P and I */
    FAKE_RESERVED,      /* #PF, P and RSVD */
    FAKE_NON_CANONICAL, /* #GP */
    FAKE_NO_TABLE       /* a table lies where there is no RAM, or no root was ever loaded */
};

struct fake_access {
    enum fake_fault fault;
    mm_phys_t phys;       /* what was reached; 0 on a fault */
    uint64_t value;       /* read: the eight bytes; all ones where there is no RAM */
    unsigned level;       /* of the leaf, or of the entry that faulted */
    unsigned prot;        /* MM_PROT_*: the AND over all levels */
    enum mm_memtype type; /* through the CPU's own PAT */
    bool global;
    bool cached;   /* a translation from the TLB decided, not the tables */
    bool spurious; /* it faulted by a cached translation; the tables permit it. Try again: the
                    * fault dropped what was cached for this address */
};

/* Eight bytes, aligned. In supervisor mode, or in user mode between fake_user(true) and false. */
struct fake_access fake_read64(mm_virt_t virt);
struct fake_access fake_write64(mm_virt_t virt, uint64_t value);
struct fake_access fake_fetch(mm_virt_t virt);
void fake_user(bool on);

/* What the tables of the current root say, now: no cache is asked or filled, no bit is set. */
struct fake_access fake_probe(mm_virt_t virt);

/* ---- walkers at the worst moment ---- */

#define FAKE_WATCH_READ  1u
#define FAKE_WATCH_WRITE 2u /* the hardware also writes there, setting D, when it may */

/* Before and after each store of an entry and after each flush, every CPU translates `virt`, from
 * its root and from every table it may still have cached. */
void fake_watch(mm_virt_t virt, unsigned how);

/* Let the walkers run now. */
void fake_walkers_run(void);

/* ---- oracles ---- */

/* Cached translations, on any CPU, that grant something that the tables of its root do not:
 * another frame, a right, another memory type, a cached D, a table that is no longer linked. */
size_t fake_stale_entries(void);

/* Does a CPU still refer to [start, start + bytes): as a root, a cached table or a translation?
 * A frame for which this is true must not be freed. */
bool fake_range_in_use(mm_phys_t start, uint64_t bytes);
bool fake_frame_in_use(mm_phys_t frame);

/* Entries cached on one CPU. */
size_t fake_tlb_entries(unsigned cpu);
size_t fake_table_entries(unsigned cpu);

struct fake_counts {
    uint64_t flush_page, flush_space, flush_all, root_loads;
    uint64_t loads, stores, fresh_stores, swaps; /* of entries; swaps: compare-and-swaps, too */
    uint64_t frame_maps, frame_unmaps;
    uint64_t guards, interrupts;
    uint64_t walks;
};
struct fake_counts fake_counts(void);
void fake_counts_clear(void);

/* Let the map of a frame fail once, after `skip` more that succeed. */
void fake_frame_map_fail(uint64_t skip);

/* Let that one fail, and all after it until fake_frame_map_works(). */
void fake_frame_map_fail_on(uint64_t skip);
void fake_frame_map_works(void);

/* ---- interrupts ---- */

/*
 * `handler` runs as an interrupt on the current CPU, with its interrupt flag off, at each point
 * where the flag is on: at the end of a guard that switches it on and at each port call. It is
 * not interrupted itself. NULL stops that.
 */
void fake_interrupt_set(void (*handler)(void *arg), void *arg);

/* The same, once, at the point after `skip` others. */
void fake_interrupt_once(void (*handler)(void *arg), void *arg, uint64_t skip);

/* Has the handler of fake_interrupt_once() not run yet? Then the code has `skip` points at most. */
bool fake_interrupt_pending(void);

/*
 * An interrupt at every instruction (x86-64 Linux; elsewhere nothing runs and false is returned):
 * for n = first, first + stride, ...: begin(); outer(), with inner() run as an interrupt at its
 * n-th instruction boundary at which the simulated flag is on; end(). Stops when outer() ends
 * before boundary n, or after `runs_max` runs (0 = no limit). begin and end may be NULL. The
 * instructions of the simulated machine itself are no boundaries: they stand for one instruction.
 * inner() must not allocate from the C library. Cost: about a microsecond per instruction stepped.
 */
struct fake_step {
    void (*begin)(void *arg);
    void (*outer)(void *arg);
    void (*inner)(void *arg);
    void (*end)(void *arg);
    void *arg;
    uint64_t first, stride, runs_max; /* stride 0 = 1 */
    uint64_t runs;                    /* receives how many runs were interrupted */
};
bool fake_interrupt_each_instruction(struct fake_step *step);

#endif
