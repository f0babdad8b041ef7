/*
 * mm_pte.h (fake_odd) - entries of machines that do not exist: other geometry, other bits.
 *
 * Problem     Code that was only ever compiled for one format of entries knows things of it that
 *             nobody sees: 512, 8 bytes, bit 0, four levels or five.
 * Idea        A codec for a family of formats. The build names the index bits of each level, lowest
 *             first, and the size of an entry; the bits in an entry are nowhere where x86_64 has
 *             them, and rights are granted, not denied.
 *
 *                 entry of 4 bytes    frame number 12..31    the rest as below
 *                 entry of 8 bytes    frame number 20..63    12..19 are zero
 *                 0 X   1 U   2 W   3 leaf (above level 1)   4 valid   5 D   6 A   7 G   8..10 type
 *                 11 owned, for software
 *
 * Invariants  I1 encode then decode gives back what went in, for every level
 *             I2 an all-zero entry is none; hardware-set A and D bits do not change that
 *             I3 addresses are extended by their highest bit to 64
 * Locking     None: no state.
 * Cost        A few instructions each; folded where the level is constant.
 * Rejected    A real second architecture: it has one geometry, and a manual to be right about.
 */
#ifndef MM_PTE_H
#define MM_PTE_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"

#if MM_ODD_ENTRY_BYTES == 4
typedef uint32_t mm_odd_word_t;
#define MM_ODD_FRAME_AT 12u
#else
typedef uint64_t mm_odd_word_t;
#define MM_ODD_FRAME_AT 20u
#endif

typedef struct {
    mm_odd_word_t bits;
} mm_pte_t;

#define MM_PT_LEVELS_MIN     MM_ODD_LEVELS
#define MM_PT_LEVELS_MAX     MM_ODD_LEVELS
#define MM_PT_LEAF_LEVEL_MAX MM_ODD_LEAF_LEVEL_MAX
#define MM_PT_ENTRIES        MM_ODD_ENTRIES_MAX /* of the largest table */

#define MM_PTE_X    0x01u
#define MM_PTE_U    0x02u
#define MM_PTE_W    0x04u
#define MM_PTE_LEAF 0x08u
#define MM_PTE_V    0x10u
#define MM_PTE_D    0x20u
#define MM_PTE_A    0x40u
#define MM_PTE_G    0x80u

#define MM_PTE_TYPE_AT 8u
#define MM_PTE_TYPE    0x700u
#define MM_PTE_OWNED   0x800u /* software */

/* ---- geometry ---- */

/* Levels that the machine does not have translate nothing. */
static inline unsigned mm_pt_index_bits(unsigned level)
{
    static const unsigned char bits[] = {0, MM_ODD_INDEX_BITS};

    return level <= MM_ODD_LEVELS ? bits[level] : 0;
}

static inline unsigned mm_pt_shift(unsigned level)
{
    unsigned shift = MM_FRAME_SHIFT;

    for (unsigned below = 1; below < level; below++)
        shift += mm_pt_index_bits(below);
    return shift;
}

static inline uint64_t mm_pt_bytes(unsigned level)
{
    return UINT64_C(1) << mm_pt_shift(level);
}

static inline unsigned mm_pt_entries(unsigned level)
{
    return 1u << mm_pt_index_bits(level);
}

static inline unsigned mm_pt_index(mm_virt_t virt, unsigned level)
{
    return (unsigned)(virt.raw >> mm_pt_shift(level)) & (mm_pt_entries(level) - 1);
}

/* The lowest level whose tables can have all of [first, last] inside one of them: a range that is all
 * that a table covers belongs to the table above it. */
static inline unsigned mm_pt_level_over(uint64_t first, uint64_t last)
{
    unsigned level = 1;

    while ((first ^ last) >= mm_pt_bytes(level + 1) - 1)
        level++;
    return level;
}

static inline bool mm_pt_canonical(mm_virt_t virt, unsigned levels)
{
    uint64_t high = virt.raw >> (mm_pt_shift(levels + 1) - 1);

    return high == 0 || high == UINT64_MAX >> (mm_pt_shift(levels + 1) - 1);
}

static inline bool mm_pt_kernel_half(mm_virt_t virt)
{
    return virt.raw >> 63 != 0;
}

static inline unsigned mm_pt_kernel_index(void)
{
    return mm_pt_entries(MM_ODD_LEVELS) / 2;
}

/* ---- encoding ---- */

#define MM_LEAF_GLOBAL 1u
#define MM_LEAF_OWNED  2u

static inline mm_pte_t mm_pte_of(uint64_t bits)
{
    return (mm_pte_t){(mm_odd_word_t)bits};
}

static inline mm_pte_t mm_pte_empty(void)
{
    return mm_pte_of(0);
}

static inline uint64_t mm_pte_frame_bits(mm_phys_t phys)
{
    return phys.raw >> MM_FRAME_SHIFT << MM_ODD_FRAME_AT;
}

static inline uint64_t mm_pte_prot_bits(unsigned prot)
{
    return ((prot & MM_PROT_EXEC) != 0 ? MM_PTE_X : 0) |
           ((prot & MM_PROT_USER) != 0 ? MM_PTE_U : 0) |
           ((prot & MM_PROT_WRITE) != 0 ? MM_PTE_W : 0);
}

static inline mm_pte_t mm_pte_leaf(mm_phys_t phys, unsigned prot, enum mm_memtype type,
                                   unsigned flags, unsigned level)
{
    return mm_pte_of(MM_PTE_V | (level > 1 ? MM_PTE_LEAF : 0) | mm_pte_frame_bits(phys) |
                     mm_pte_prot_bits(prot) | (uint64_t)type << MM_PTE_TYPE_AT |
                     ((flags & MM_LEAF_GLOBAL) != 0 ? MM_PTE_G : 0) |
                     ((flags & MM_LEAF_OWNED) != 0 ? MM_PTE_OWNED : 0));
}

static inline mm_pte_t mm_pte_to(mm_pte_t leaf, mm_phys_t phys)
{
    return mm_pte_of(leaf.bits | mm_pte_frame_bits(phys));
}

static inline mm_pte_t mm_pte_next(mm_pte_t leaf, unsigned level)
{
    return mm_pte_of(leaf.bits + mm_pte_frame_bits(mm_phys(mm_pt_bytes(level))));
}

static inline mm_pte_t mm_pte_table(mm_phys_t table, bool user)
{
    return mm_pte_of(MM_PTE_V | MM_PTE_X | MM_PTE_W | (user ? MM_PTE_U : 0) |
                     mm_pte_frame_bits(table));
}

/* ---- decoding ---- */

static inline bool mm_pte_is_none(mm_pte_t entry)
{
    return (entry.bits & ~(mm_odd_word_t)(MM_PTE_A | MM_PTE_D)) == 0;
}

static inline bool mm_pte_is_present(mm_pte_t entry)
{
    return (entry.bits & MM_PTE_V) != 0;
}

static inline bool mm_pte_is_leaf(mm_pte_t entry, unsigned level)
{
    return mm_pte_is_present(entry) &&
           (level == 1 || ((entry.bits & MM_PTE_LEAF) != 0 && level <= MM_PT_LEAF_LEVEL_MAX));
}

static inline bool mm_pte_is_table(mm_pte_t entry, unsigned level)
{
    return mm_pte_is_present(entry) && level > 1 && (entry.bits & MM_PTE_LEAF) == 0;
}

static inline mm_phys_t mm_pte_phys(mm_pte_t entry, unsigned level)
{
    uint64_t phys = (uint64_t)entry.bits >> MM_ODD_FRAME_AT << MM_FRAME_SHIFT;

    return mm_phys(mm_pte_is_leaf(entry, level) ? phys & ~(mm_pt_bytes(level) - 1) : phys);
}

static inline unsigned mm_pte_prot(mm_pte_t entry)
{
    if (!mm_pte_is_present(entry))
        return MM_PROT_NONE;
    return MM_PROT_READ | ((entry.bits & MM_PTE_X) != 0 ? MM_PROT_EXEC : 0) |
           ((entry.bits & MM_PTE_U) != 0 ? MM_PROT_USER : 0) |
           ((entry.bits & MM_PTE_W) != 0 ? MM_PROT_WRITE : 0);
}

static inline enum mm_memtype mm_pte_type(mm_pte_t leaf, unsigned level)
{
    (void)level;
    return (enum mm_memtype)((leaf.bits & MM_PTE_TYPE) >> MM_PTE_TYPE_AT);
}

static inline bool mm_pte_accessed(mm_pte_t leaf)
{
    return (leaf.bits & MM_PTE_A) != 0;
}

static inline bool mm_pte_dirty(mm_pte_t leaf)
{
    return (leaf.bits & MM_PTE_D) != 0;
}

static inline bool mm_pte_global(mm_pte_t leaf)
{
    return (leaf.bits & MM_PTE_G) != 0;
}

/* What must be zero in a leaf of `level`. */
static inline uint64_t mm_pt_reserved_leaf(unsigned level, unsigned phys_bits)
{
    uint64_t beyond = mm_pte_frame_bits(mm_phys(~((UINT64_C(1) << phys_bits) - 1)));

    return beyond | ((UINT64_C(1) << MM_ODD_FRAME_AT) - 0x1000) |
           mm_pte_frame_bits(mm_phys(mm_pt_bytes(level) - 1));
}

static inline uint64_t mm_pte_reserved(mm_pte_t entry, unsigned level, unsigned phys_bits, bool nx)
{
    (void)nx;
    if (!mm_pte_is_present(entry))
        return 0;
    return entry.bits & (mm_pt_reserved_leaf(mm_pte_is_leaf(entry, level) ? level : 1, phys_bits) |
                         (level > MM_PT_LEAF_LEVEL_MAX ? MM_PTE_LEAF : 0));
}

static inline bool mm_pte_is_owned(mm_pte_t leaf)
{
    return (leaf.bits & MM_PTE_OWNED) != 0;
}

static inline uint64_t mm_pte_unsound(mm_pte_t entry, uint64_t reserved, unsigned level)
{
    uint64_t leaf = MM_PTE_V | (level > 1 ? MM_PTE_LEAF : 0);

    return (entry.bits & (leaf | reserved)) ^ leaf;
}

static inline bool mm_pte_is_sound_leaf(mm_pte_t entry, uint64_t reserved, unsigned level)
{
    return mm_pte_unsound(entry, reserved, level) == 0;
}

static inline bool mm_pte_settled(mm_pte_t leaf)
{
    return (leaf.bits & MM_PTE_A) != 0 && (leaf.bits & (MM_PTE_D | MM_PTE_W)) != MM_PTE_W;
}

/* ---- changing ---- */

struct mm_pte_change {
    mm_odd_word_t rights;
};

static inline struct mm_pte_change mm_pte_change_to(unsigned prot)
{
    return (struct mm_pte_change){(mm_odd_word_t)mm_pte_prot_bits(prot)};
}

static inline mm_pte_t mm_pte_changed(mm_pte_t leaf, const struct mm_pte_change *change)
{
    return mm_pte_of((leaf.bits & ~(mm_odd_word_t)(MM_PTE_X | MM_PTE_U | MM_PTE_W)) |
                     change->rights);
}

static inline bool mm_pte_loses(mm_pte_t leaf, const struct mm_pte_change *change)
{
    return (leaf.bits & ~change->rights & (MM_PTE_X | MM_PTE_U | MM_PTE_W)) != 0;
}

struct mm_pte_kind {
    uint64_t look, like, flip;
};

static inline struct mm_pte_kind mm_pte_kind_of(mm_pte_t leaf, const struct mm_pte_change *change,
                                                uint64_t reserved, bool watched)
{
    uint64_t marks = watched ? MM_PTE_A | ((leaf.bits & MM_PTE_W) != 0 ? MM_PTE_D : 0) : 0;
    uint64_t look = MM_PTE_V | MM_PTE_X | MM_PTE_U | MM_PTE_W | reserved | marks;

    return (struct mm_pte_kind){look, leaf.bits & look,
                                leaf.bits ^ mm_pte_changed(leaf, change).bits};
}

static inline bool mm_pte_is_of_kind(mm_pte_t entry, const struct mm_pte_kind *kind)
{
    return (entry.bits & kind->look) == kind->like;
}

static inline mm_pte_t mm_pte_turned(mm_pte_t leaf, const struct mm_pte_kind *kind)
{
    return mm_pte_of(leaf.bits ^ kind->flip);
}

static inline mm_pte_t mm_pte_cleaned(mm_pte_t leaf, bool accessed, bool dirty)
{
    mm_odd_word_t marks = (mm_odd_word_t)((accessed ? MM_PTE_A : 0) | (dirty ? MM_PTE_D : 0));

    return mm_pte_of(leaf.bits & ~marks);
}

static inline mm_pte_t mm_pte_joined(mm_pte_t part, unsigned level, bool dirty)
{
    (void)level;
    return mm_pte_of(mm_pte_cleaned(part, true, true).bits | MM_PTE_LEAF | MM_PTE_A |
                     (dirty ? MM_PTE_D : 0));
}

static inline mm_pte_t mm_pte_split(mm_pte_t leaf, unsigned level, unsigned index)
{
    uint64_t part = leaf.bits + mm_pte_frame_bits(mm_phys(index * mm_pt_bytes(level - 1)));

    return mm_pte_of(level == 2 ? part & ~(uint64_t)MM_PTE_LEAF : part);
}

/* ---- the default layout, for as many bits as there are ---- */

#define MM_ODD_HALF               (UINT64_C(1) << (MM_ODD_VIRT_BITS - 1))
#define MM_PORT_USER_END          MM_ODD_HALF
#define MM_PORT_DIRECT_MAP        (0 - MM_ODD_HALF)
#define MM_PORT_DIRECT_MAP_BYTES  (MM_ODD_HALF / 4)
#define MM_PORT_KERNEL_AREA       (0 - MM_ODD_HALF / 4)
#define MM_PORT_KERNEL_AREA_BYTES (MM_ODD_HALF / 4)

#endif
