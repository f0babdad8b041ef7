/*
 * mm_pte.h (x86_64) - page-table entries: geometry, encoding, changes. Pure functions.
 *
 * Problem     Which bit means what differs per level and per architecture, and wrong bits are
 *             silent until the hardware walks them.
 * Idea        All knowledge of the format is here: the VMM never tests a bit. No instruction and no
 *             state, so it compiles and is tested on any host, against entries typed from the
 *             manual; the simulated machine decodes the same entries with code of its own.
 * Invariants  I1 encode then decode gives back what went in, for every level
 *             I2 an all-zero entry is none; hardware-set A and D bits do not change that
 *             I3 a leaf that loses the write right never keeps D with W = 0 (that is a shadow-stack
 *                page once CET is on): D moves to the saved-dirty bit
 * Locking     None: no state.
 * Cost        A few instructions each; folded where the level is constant.
 * Rejected    Bit-field structs: layout is the compiler's, and masks are what the manual shows.
 * Source      Intel SDM vol. 3A chapter 4 (tables 4-14 to 4-20), 11.12 (PAT); AMD APM vol. 2, 5.3.
 */
#ifndef MM_PTE_H
#define MM_PTE_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"

typedef struct {
    uint64_t bits;
} mm_pte_t;

/* Geometry: 512 entries of 8 bytes at each of up to 5 levels; level 1 maps 4 KiB. */
#define MM_PT_LEVELS_MIN     4u
#define MM_PT_LEVELS_MAX     5u
#define MM_PT_LEAF_LEVEL_MAX 3u   /* 1 GiB */
#define MM_PT_ENTRIES        512u /* of the largest table */
#define MM_PT_INDEX_BITS     9u

/* Hardware bits, the same at all levels unless said. */
#define MM_PTE_P       (UINT64_C(1) << 0)
#define MM_PTE_W       (UINT64_C(1) << 1)
#define MM_PTE_U       (UINT64_C(1) << 2)
#define MM_PTE_PWT     (UINT64_C(1) << 3)
#define MM_PTE_PCD     (UINT64_C(1) << 4)
#define MM_PTE_A       (UINT64_C(1) << 5)
#define MM_PTE_D_BIT   6u
#define MM_PTE_D       (UINT64_C(1) << MM_PTE_D_BIT)
#define MM_PTE_PS      (UINT64_C(1) << 7) /* levels 2 and 3: a leaf */
#define MM_PTE_PAT_4K  (UINT64_C(1) << 7) /* level 1: third bit of the memory type */
#define MM_PTE_G       (UINT64_C(1) << 8)
#define MM_PTE_PAT_BIG (UINT64_C(1) << 12) /* levels 2 and 3: third bit of the memory type */
#define MM_PTE_NX      (UINT64_C(1) << 63)
#define MM_PTE_ADDR    UINT64_C(0x000ffffffffff000) /* bits 12 to 51 */

/* Bits that the hardware ignores in a present leaf and libmm uses. */
#define MM_PTE_OWN_SHIFT       9u                 /* bits 9, 10: whose frame it is; 0 = borrowed */
#define MM_PTE_OWNED           (UINT64_C(1) << 9) /* software: the frame is the space's */
#define MM_PTE_SAVED_DIRTY_BIT 58u
#define MM_PTE_SAVED_DIRTY     (UINT64_C(1) << MM_PTE_SAVED_DIRTY_BIT) /* D while W = 0 (I3) */

/* ---- geometry ---- */

static inline unsigned mm_pt_shift(unsigned level)
{
    return MM_FRAME_SHIFT + MM_PT_INDEX_BITS * (level - 1);
}

/* Bytes that one entry of `level` covers. */
static inline uint64_t mm_pt_bytes(unsigned level)
{
    return UINT64_C(1) << mm_pt_shift(level);
}

static inline unsigned mm_pt_index(mm_virt_t virt, unsigned level)
{
    return (unsigned)(virt.raw >> mm_pt_shift(level)) & (MM_PT_ENTRIES - 1);
}

/* Entries of a table of `level`. */
static inline unsigned mm_pt_entries(unsigned level)
{
    (void)level;
    return MM_PT_ENTRIES;
}

/* The lowest level whose tables can have all of [first, last] inside one of them: a range that is all
 * that a table covers belongs to the table above it. The range is frame-aligned and in one half. */
static inline unsigned mm_pt_level_over(uint64_t first, uint64_t last)
{
    unsigned bit = 63u - (unsigned)__builtin_clzll((first ^ last) + 1);

    return (bit - MM_FRAME_SHIFT) / MM_PT_INDEX_BITS + 1;
}

/* Canonical: the bits above the ones translated equal the highest of them (SDM vol. 1, 3.3.7.1). */
static inline bool mm_pt_canonical(mm_virt_t virt, unsigned levels)
{
    unsigned width = mm_pt_shift(levels) + MM_PT_INDEX_BITS;
    uint64_t high = virt.raw >> (width - 1);

    return high == 0 || high == UINT64_MAX >> (width - 1);
}

/* In the half that the kernel keeps to itself: the upper one. */
static inline bool mm_pt_kernel_half(mm_virt_t virt)
{
    return virt.raw >> 63 != 0;
}

/* First entry of a root that belongs to the kernel's half. */
static inline unsigned mm_pt_kernel_index(void)
{
    return MM_PT_ENTRIES / 2;
}

/* ---- memory types: index into the PAT that mm_cpu.c programs ---- */

/* PAT entries 0 to 3 keep their power-on meaning, so tables made by others read right:
 * 0 WB, 1 WT, 2 UC-, 3 UC, 4 WP, 5 WC, 6 UC-, 7 UC. Bytes of IA32_PAT, entry 0 lowest:
 * 6 = WB, 4 = WT, 7 = UC-, 0 = UC, 5 = WP, 1 = WC (SDM vol. 3A, table 11-10). */
#define MM_PAT_VALUE UINT64_C(0x0007010500070406)

static inline unsigned mm_pat_index(enum mm_memtype type)
{
    return (unsigned)type;
}

static inline enum mm_memtype mm_pat_type(unsigned index)
{
    return index <= 5 ? (enum mm_memtype)index : (index == 6 ? MM_MEMTYPE_UC_MINUS : MM_MEMTYPE_UC);
}

_Static_assert(MM_MEMTYPE_WB == 0 && MM_MEMTYPE_WT == 1 && MM_MEMTYPE_UC_MINUS == 2 &&
                   MM_MEMTYPE_UC == 3 && MM_MEMTYPE_WP == 4 && MM_MEMTYPE_WC == 5,
               "the PAT index of a memory type is its number");

static inline uint64_t mm_pte_pat_bit(unsigned level)
{
    return level == 1 ? MM_PTE_PAT_4K : MM_PTE_PAT_BIG;
}

static inline uint64_t mm_pte_type_bits(enum mm_memtype type, unsigned level)
{
    unsigned index = mm_pat_index(type);

    return ((index & 1) != 0 ? MM_PTE_PWT : 0) | ((index & 2) != 0 ? MM_PTE_PCD : 0) |
           ((index & 4) != 0 ? mm_pte_pat_bit(level) : 0);
}

/* ---- encoding ---- */

/* flags of mm_pte_leaf() */
#define MM_LEAF_GLOBAL 1u /* kept across a change of root */
#define MM_LEAF_OWNED  2u /* the frame is the space's */

/* The entry that was kept as a number. */
static inline mm_pte_t mm_pte_of(uint64_t bits)
{
    return (mm_pte_t){bits};
}

/* The entry that means nothing. */
static inline mm_pte_t mm_pte_empty(void)
{
    return (mm_pte_t){0};
}

static inline uint64_t mm_pte_prot_bits(unsigned prot)
{
    return ((prot & MM_PROT_WRITE) != 0 ? MM_PTE_W : 0) |
           ((prot & MM_PROT_USER) != 0 ? MM_PTE_U : 0) |
           ((prot & MM_PROT_EXEC) != 0 ? 0 : MM_PTE_NX);
}

/* A present leaf. `phys` is aligned to the size of the level and below 2^52; `prot` has READ.
 * Without MM_PROT_EXEC the CPU needs EFER.NXE = 1, or bit 63 is reserved. */
static inline mm_pte_t mm_pte_leaf(mm_phys_t phys, unsigned prot, enum mm_memtype type,
                                   unsigned flags, unsigned level)
{
    uint64_t bits = MM_PTE_P | (phys.raw & MM_PTE_ADDR) | mm_pte_prot_bits(prot) |
                    mm_pte_type_bits(type, level);

    bits |= level > 1 ? MM_PTE_PS : 0;
    bits |= (flags & MM_LEAF_GLOBAL) != 0 ? MM_PTE_G : 0;
    bits |= (flags & MM_LEAF_OWNED) != 0 ? MM_PTE_OWNED : 0;
    return (mm_pte_t){bits};
}

/* A leaf of frame 0, to be another's: `phys` is aligned to the size of its level. */
static inline mm_pte_t mm_pte_to(mm_pte_t leaf, mm_phys_t phys)
{
    return (mm_pte_t){leaf.bits | (phys.raw & MM_PTE_ADDR)};
}

/* The same leaf for the frames right behind. */
static inline mm_pte_t mm_pte_next(mm_pte_t leaf, unsigned level)
{
    return (mm_pte_t){leaf.bits + mm_pt_bytes(level)};
}

/* An entry that refers to a table. It grants everything; the leaf decides (`user`: also U). */
static inline mm_pte_t mm_pte_table(mm_phys_t table, bool user)
{
    return (mm_pte_t){MM_PTE_P | MM_PTE_W | (user ? MM_PTE_U : 0) | (table.raw & MM_PTE_ADDR)};
}

/* ---- decoding ---- */

/* Nothing there. Some CPUs set A or D in a non-present entry (Knights Landing erratum KNL4). */
static inline bool mm_pte_is_none(mm_pte_t entry)
{
    return (entry.bits & ~(MM_PTE_A | MM_PTE_D)) == 0;
}

static inline bool mm_pte_is_present(mm_pte_t entry)
{
    return (entry.bits & MM_PTE_P) != 0;
}

/* PS above the largest leaf makes neither a leaf nor a table: there it is reserved. */
static inline bool mm_pte_is_leaf(mm_pte_t entry, unsigned level)
{
    return mm_pte_is_present(entry) &&
           (level == 1 || ((entry.bits & MM_PTE_PS) != 0 && level <= MM_PT_LEAF_LEVEL_MAX));
}

static inline bool mm_pte_is_table(mm_pte_t entry, unsigned level)
{
    return mm_pte_is_present(entry) && level > 1 && (entry.bits & MM_PTE_PS) == 0;
}

/* Frame of a leaf or table entry. In large leaves bit 12 is a memory-type bit, no address. */
static inline mm_phys_t mm_pte_phys(mm_pte_t entry, unsigned level)
{
    uint64_t low = mm_pte_is_leaf(entry, level) ? mm_pt_bytes(level) - 1 : MM_FRAME_BYTES - 1;

    return mm_phys(entry.bits & MM_PTE_ADDR & ~low);
}

/* What this entry alone grants; the effective rights are the AND over all levels. */
static inline unsigned mm_pte_prot(mm_pte_t entry)
{
    if (!mm_pte_is_present(entry))
        return MM_PROT_NONE;
    return MM_PROT_READ | ((entry.bits & MM_PTE_W) != 0 ? MM_PROT_WRITE : 0) |
           ((entry.bits & MM_PTE_U) != 0 ? MM_PROT_USER : 0) |
           ((entry.bits & MM_PTE_NX) != 0 ? 0 : MM_PROT_EXEC);
}

static inline enum mm_memtype mm_pte_type(mm_pte_t leaf, unsigned level)
{
    return mm_pat_type(((leaf.bits & MM_PTE_PWT) != 0 ? 1u : 0) |
                       ((leaf.bits & MM_PTE_PCD) != 0 ? 2u : 0) |
                       ((leaf.bits & mm_pte_pat_bit(level)) != 0 ? 4u : 0));
}

static inline bool mm_pte_accessed(mm_pte_t leaf)
{
    return (leaf.bits & MM_PTE_A) != 0;
}

static inline bool mm_pte_dirty(mm_pte_t leaf)
{
    return (leaf.bits & (MM_PTE_D | MM_PTE_SAVED_DIRTY)) != 0;
}

static inline bool mm_pte_global(mm_pte_t leaf)
{
    return (leaf.bits & MM_PTE_G) != 0;
}

/* Bits that must be zero in this entry and are not (SDM vol. 3A, 4.5.4; phys_bits from CPUID). */
static inline uint64_t mm_pte_reserved(mm_pte_t entry, unsigned level, unsigned phys_bits, bool nx)
{
    uint64_t reserved = MM_PTE_ADDR & ~((UINT64_C(1) << phys_bits) - 1);

    if (!mm_pte_is_present(entry))
        return 0;
    if (!nx)
        reserved |= MM_PTE_NX;
    if (level > MM_PT_LEAF_LEVEL_MAX)
        reserved |= MM_PTE_PS;
    if (level > 1 && mm_pte_is_leaf(entry, level))
        reserved |= (mm_pt_bytes(level) - 1) & ~(MM_PTE_PAT_BIG | (MM_FRAME_BYTES - 1));
    return entry.bits & reserved;
}

static inline bool mm_pte_is_owned(mm_pte_t leaf)
{
    return (leaf.bits & MM_PTE_OWNED) != 0;
}

/* 0 for a present leaf of `level` with none of the bits `reserved` for it set (mm_pt_reserved_leaf()):
 * of several entries, the OR of this is one test. */
static inline uint64_t mm_pte_unsound(mm_pte_t entry, uint64_t reserved, unsigned level)
{
    uint64_t leaf = MM_PTE_P | (level > 1 ? MM_PTE_PS : 0);

    return (entry.bits & (leaf | reserved)) ^ leaf;
}

static inline bool mm_pte_is_sound_leaf(mm_pte_t entry, uint64_t reserved, unsigned level)
{
    return mm_pte_unsound(entry, reserved, level) == 0;
}

/* What mm_pte_reserved() looks for in a leaf of `level`, on a CPU with no-execute. */
static inline uint64_t mm_pt_reserved_leaf(unsigned level, unsigned phys_bits)
{
    uint64_t low =
        level > 1 ? (mm_pt_bytes(level) - 1) & ~(MM_PTE_PAT_BIG | (MM_FRAME_BYTES - 1)) : 0;

    return (MM_PTE_ADDR & ~((UINT64_C(1) << phys_bits) - 1)) | low;
}

/* Has the hardware nothing left to set in this leaf? Then it does not write it (SDM vol. 3A, 4.8). */
static inline bool mm_pte_settled(mm_pte_t leaf)
{
    return (leaf.bits & MM_PTE_A) != 0 && (leaf.bits & (MM_PTE_D | MM_PTE_W)) != MM_PTE_W;
}

/* ---- changing ---- */

/* Other rights for leaves: made once, used for many. Masks and shifts, no branches. */
struct mm_pte_change {
    uint64_t keep, set; /* bits of the leaf, bits of the new rights */
    uint64_t from;      /* the dirty mark of the one kind ... */
    unsigned rotate;    /* ... becomes that of the other (I3) */
    uint64_t denies;    /* rights that are a 1, of which some are taken away */
    uint64_t forbids;   /* no-execute, if it is set */
};

static inline struct mm_pte_change mm_pte_change_to(unsigned prot)
{
    bool writes = (prot & MM_PROT_WRITE) != 0;
    uint64_t set = mm_pte_prot_bits(prot);
    uint64_t from = writes ? MM_PTE_SAVED_DIRTY : MM_PTE_D;

    return (struct mm_pte_change){
        .keep = ~(MM_PTE_W | MM_PTE_U | MM_PTE_NX | from),
        .set = set,
        .from = from,
        .rotate = writes ? 64 + MM_PTE_D_BIT - MM_PTE_SAVED_DIRTY_BIT
                         : MM_PTE_SAVED_DIRTY_BIT - MM_PTE_D_BIT,
        .denies = (MM_PTE_W | MM_PTE_U) & ~set,
        .forbids = MM_PTE_NX & set,
    };
}

/* The same leaf with other rights; type, frame, A, G and software bits stay; D obeys I3. */
static inline mm_pte_t mm_pte_changed(mm_pte_t leaf, const struct mm_pte_change *change)
{
    uint64_t dirty = leaf.bits & change->from;

    dirty = dirty << change->rotate | dirty >> (64 - change->rotate);
    return (mm_pte_t){(leaf.bits & change->keep) | change->set | dirty};
}

/* Does that deny what the leaf granted? */
static inline bool mm_pte_loses(mm_pte_t leaf, const struct mm_pte_change *change)
{
    return ((leaf.bits & change->denies) | (~leaf.bits & change->forbids)) != 0;
}

/* Leaves of level 1 that are changed alike: one compare says which, one exclusive or changes them. */
struct mm_pte_kind {
    uint64_t look, like; /* their bits here are as these */
    uint64_t from;       /* the mark that moves ... */
    uint64_t flip;       /* bits that turn over ... */
    uint64_t flip_dirty; /* ... and those of a leaf that has it */
};

/* Those that differ from `leaf`, which is sound, in nothing that counts for the change. `reserved` of
 * mm_pt_reserved_leaf(). `watched`: nor in whether mm_pte_settled(). */
static inline struct mm_pte_kind mm_pte_kind_of(mm_pte_t leaf, const struct mm_pte_change *change,
                                                uint64_t reserved, bool watched)
{
    uint64_t to = change->from ^ (MM_PTE_D | MM_PTE_SAVED_DIRTY);
    uint64_t marks = watched ? MM_PTE_A | ((leaf.bits & MM_PTE_W) != 0 ? MM_PTE_D : 0) : 0;
    uint64_t look = MM_PTE_P | MM_PTE_W | MM_PTE_U | MM_PTE_NX | reserved | marks | to;
    mm_pte_t clean = {leaf.bits & ~change->from}, dirty = {leaf.bits | change->from};

    return (struct mm_pte_kind){
        .look = look,
        .like = leaf.bits & look,
        .from = change->from,
        .flip = clean.bits ^ mm_pte_changed(clean, change).bits,
        .flip_dirty = dirty.bits ^ mm_pte_changed(dirty, change).bits,
    };
}

static inline bool mm_pte_is_of_kind(mm_pte_t entry, const struct mm_pte_kind *kind)
{
    return (entry.bits & kind->look) == kind->like;
}

/* mm_pte_changed() of a leaf of the kind. */
static inline mm_pte_t mm_pte_turned(mm_pte_t leaf, const struct mm_pte_kind *kind)
{
    return (mm_pte_t){leaf.bits ^ ((leaf.bits & kind->from) != 0 ? kind->flip_dirty : kind->flip)};
}

/* The same leaf without marks. */
static inline mm_pte_t mm_pte_cleaned(mm_pte_t leaf, bool accessed, bool dirty)
{
    uint64_t marks = (accessed ? MM_PTE_A : 0) | (dirty ? MM_PTE_D | MM_PTE_SAVED_DIRTY : 0);

    return (mm_pte_t){leaf.bits & ~marks};
}

/* The leaf of `level` whose first part at level - 1 is `part`; accessed, and dirty if `dirty`. */
static inline mm_pte_t mm_pte_joined(mm_pte_t part, unsigned level, bool dirty)
{
    uint64_t pat = level == 2 && (part.bits & MM_PTE_PAT_4K) != 0 ? MM_PTE_PAT_BIG : 0;
    uint64_t kept =
        part.bits & ~(MM_PTE_A | MM_PTE_D | MM_PTE_SAVED_DIRTY | (level == 2 ? MM_PTE_PAT_4K : 0));
    uint64_t mark = (part.bits & MM_PTE_W) != 0 ? MM_PTE_D : MM_PTE_SAVED_DIRTY;

    return (mm_pte_t){kept | pat | MM_PTE_PS | MM_PTE_A | (dirty ? mark : 0)};
}

/* Child `index` at level - 1 of a leaf that is split: same rights, type, A, D; the memory-type bit
 * moves from 12 to 7 at level 1, where there is no PS bit. */
static inline mm_pte_t mm_pte_split(mm_pte_t leaf, unsigned level, unsigned index)
{
    uint64_t pat = leaf.bits & MM_PTE_PAT_BIG;
    uint64_t frame = mm_pte_phys(leaf, level).raw + index * mm_pt_bytes(level - 1);
    uint64_t bits = (leaf.bits & ~(MM_PTE_ADDR | MM_PTE_PS)) | (frame & MM_PTE_ADDR);

    if (level - 1 > 1)
        bits |= MM_PTE_PS | pat;
    else if (pat != 0)
        bits |= MM_PTE_PAT_4K;
    return (mm_pte_t){bits};
}

#endif
