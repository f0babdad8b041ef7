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
 * Entries are decoded by code of its own (format.c), typed from the manual, never by mm_pte.h.
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
#define FAKE_ALWAYS_MAX  8u
#define FAKE_ASIDS       4096u

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

/* Fill frames with poison: entries that decode as valid and lead to frames that are not there. A
 * walk of the hardware that reads one fails the machine. */
void fake_ram_poison(mm_phys_t start, uint64_t bytes);

/* Is it still there, untouched? */
bool fake_ram_poisoned(mm_phys_t start, uint64_t bytes);

/* ---- CPUs ---- */

/* What a CPU has, and what was switched on in it. Change it before the code under test looks. */
struct fake_cpu {
    /* features */
    uint32_t levels;      /* 4 or 5: the mode it runs in */
    uint32_t phys_bits;   /* MAXPHYADDR */
    uint32_t leaf_levels; /* bit n: leaves at level n; 1 << 3 is 1 GiB */
    bool has_nx, has_global, has_pat, long_mode;
    bool has_asid, has_asid_flush; /* address-space ids: PCID, INVPCID. Off as found */
    /* state */
    bool nxe, wp, pge;
    bool tce; /* INVLPG drops only those upper-level entries that lead to the page (EFER.TCE) */
    uint64_t pat;
    bool asid_on; /* CR4.PCIDE */
    uint32_t asid;
    mm_phys_t root;
    bool root_loaded;
    bool interrupts_on;
};

struct fake_cpu *fake_cpu(unsigned cpu);

/* Which CPU the calling host thread is. */
void fake_cpu_set(unsigned cpu);
unsigned fake_cpu_current(void);

/* Halt a CPU for good, or until it gets a root: it has none, and nothing cached. */
void fake_cpu_off(unsigned cpu);

/* Does one CPU's flush reach all of them, if it asks for that (mm_mmu_broadcast())? Off as found. */
void fake_broadcasts(bool on);

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

/* The same, around each store, for addresses that the stored entry covers: its first page, its last
 * and one between. No list is needed; a store into a table that no CPU can reach costs nothing.
 * `how` as above, 0 = off. The hardware writes before the store, not after it: a page is read for all
 * its life and becomes dirty at the last moment. */
void fake_watch_changes(unsigned how);

/* When they run: at each such moment (the default), at one in `one_in` on some of the CPUs, chosen by
 * `seed`, or never. */
enum fake_schedule {
    FAKE_ALWAYS,
    FAKE_RANDOM,
    FAKE_NEVER
};
void fake_schedule(enum fake_schedule schedule, unsigned one_in, uint64_t seed);

/* Let the walkers of all watched addresses run now. */
void fake_walkers_run(void);

/* ---- stricter machines ---- */

/* As on Arm: a valid entry may change its frame, its memory type or its size only by way of an
 * invalid one and a flush on all CPUs that have it cached; else the machine fails. */
void fake_break_before_make(bool on);

/* As on RISC-V: absence is cached, too, until a flush or, on the CPU that makes the call,
 * mm_mmu_published(). A page fault does not drop it: its handler has to. */
void fake_cache_absence(bool on);

/* A CPU that caches a translation while it has one of another size for the same address, with another
 * frame or type or with more rights, fails the machine: which of them it uses is its choice (SDM vol.
 * 3A, 4.10.2.3). Fewer rights in the older one are what a grant without a flush leaves: at worst a
 * spurious fault. */
void fake_one_size(bool on);

/* ---- frames that come and go ---- */

/*
 * Tell the machine which frames are free: a frame source of yours calls these, or fake_frames.h is
 * one. Given frames are full of poison. The machine fails at a free if the frame is free already, or
 * a CPU may still reach it through its root, a cached table or a cached translation; and later, when a
 * walk of the hardware goes through a table in a free frame.
 */
void fake_frame_given(mm_phys_t first, uint64_t count);
void fake_frame_freed(mm_phys_t first, uint64_t count);

/* No entry may lead to a free frame: at each free all tables of all loaded roots are read, and later a
 * walk of the hardware to a free frame fails the machine. Slow; for code that maps nothing for good
 * but what fake_always_map() names. */
void fake_free_means_unmapped(bool on);

/* Addresses where all memory is mapped for good, as a direct map is: translations and leaves there do
 * not keep a frame from being free. Before anything is mapped there. */
void fake_always_map(mm_virt_t start, uint64_t bytes);

/* ---- oracles ---- */

/* Cached translations, on any CPU, that grant something that the tables of its root do not:
 * another frame, a right, another memory type, a cached D, a table that is no longer linked. Those
 * of address-space ids that are not loaded do not count until they are. */
size_t fake_stale_entries(void);

/* About the first that the last call found: CPU, address, what is cached, what the tables say, and
 * whether they have another size of page there. "" if there was none. */
const char *fake_stale_why(void);

/* The machine fails, and says why, if there is one. */
void fake_stale_none(void);

/* As fake_stale_entries(), but where entries were stored since the last call only; the cost is that
 * of the stores. Needs fake_watch_changes(), else it looks everywhere. It sees what went through
 * mm_mmu.h, not what a test wrote into a table by hand. */
size_t fake_stale_changed(void);

/* Pairs of cached translations of one address on one CPU with two sizes, and with another frame,
 * right or type: which of them the CPU uses is its choice (SDM vol. 3A, 4.10.2.3). */
size_t fake_mixed_entries(void);

/* Cached absences on `cpu` where the tables have something now: mm_mmu_published() was not called
 * there. */
size_t fake_stale_absences(unsigned cpu);

/* Does a CPU still refer to [start, start + bytes): as a root, a cached table or a translation?
 * A frame for which this is true must not be freed. */
bool fake_range_in_use(mm_phys_t start, uint64_t bytes);
bool fake_frame_in_use(mm_phys_t frame);

/* Entries in tables of loaded roots that lead to [start, start + bytes); that lead to a free frame. A
 * root that several CPUs have counts once. Reads all tables. */
size_t fake_entries_to(mm_phys_t start, uint64_t bytes);
size_t fake_dangling_entries(void);

/* Entries cached on one CPU; `parked`: of address-space ids that are not loaded. */
size_t fake_tlb_entries(unsigned cpu);
size_t fake_table_entries(unsigned cpu);
size_t fake_parked_entries(unsigned cpu);

/* ---- counts ---- */

/* What one CPU did. */
struct fake_cpu_counts {
    uint64_t flush_page, flush_space, flush_all;
    uint64_t flush_asid_page, flush_asid, flush_asids;
    uint64_t published;              /* calls of mm_mmu_published() */
    uint64_t root_loads, roots_kept; /* kept: loaded with MM_MMU_KEEP */
    uint64_t ipis;                   /* fake_ipi() to it */
    uint64_t walks;
};
struct fake_cpu_counts fake_cpu_counts(unsigned cpu);

/* All of them together. */
struct fake_counts {
    uint64_t flush_page, flush_space, flush_all, root_loads;
    uint64_t flush_asid_page, flush_asid, flush_asids;
    uint64_t loads, stores, fresh_stores, swaps; /* of entries; compare-and-swaps */
    /* Set by a walker just before a plain store undid it: of an entry that stays present, and of one
     * that does not. */
    uint64_t lost_accessed, lost_dirty;
    uint64_t dropped_accessed, dropped_dirty;
    uint64_t frame_maps, frame_unmaps;
    uint64_t guards, interrupts, ipis, broadcasts;
    uint64_t walks;
};
struct fake_counts fake_counts(void);
void fake_counts_clear(void);

/* ---- failure ---- */

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

/* Run fn(arg) as an interrupt on `cpu`, whatever its flag is, and count it there: what a shootdown of
 * a test is made of. */
void fake_ipi(unsigned cpu, void (*fn)(void *arg), void *arg);

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
