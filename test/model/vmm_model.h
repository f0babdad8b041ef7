/*
 * vmm_model.h - an address space that cannot be wrong: a sorted list of what is mapped.
 *
 * Problem     Every answer of the VMM, and the number of its tables, needs a second opinion.
 * Idea        A piece is a stretch of pages with continuing frames, equal rights, type and page size.
 *             Nothing else is kept: which tables there must be follows from the pieces, because a
 *             table exists as long as something is mapped below it.
 * Invariants  M1 pieces are sorted, disjoint, and no two neighbours could be one
 *             M2 first and frame of a piece are aligned to its page size, and so is its length
 * Locking     One thread.
 * Cost        O(pieces) for a change, O(log pieces) for a look.
 * Rejected    An array with a cell for each page: a page of 1 GiB is 262,144 of them. A tree of tables:
 *             the thing under test, written twice.
 */
#ifndef TEST_MODEL_VMM_MODEL_H
#define TEST_MODEL_VMM_MODEL_H

#include "mm/types.h"

#define MODEL_PIECES_MAX 8192u
#define MODEL_SLOTS      512u /* entries of a root */

/* Pages and frames are numbers: address >> 12. */
struct model_piece {
    uint64_t first, pages;
    uint64_t frame;
    uint8_t prot;
    uint8_t type;
    uint8_t level; /* of the leaves: 1 = 4 KiB */
    bool owned;
    bool global; /* the loader's mark on its pages in the lower half */
};

struct model_space {
    struct model_piece piece[MODEL_PIECES_MAX];
    uint32_t count;
    unsigned levels;
    bool kept[MODEL_SLOTS]; /* top-level entries whose tables stay when they are empty */
};

static inline uint64_t model_leaf_pages(unsigned level)
{
    return UINT64_C(1) << 9 * (level - 1);
}

void model_begin(struct model_space *space, unsigned levels);

/* The piece that has `page`, or NULL; the first one that ends behind `page`: index, may be `count`. */
const struct model_piece *model_at(const struct model_space *space, uint64_t page);
uint32_t model_from(const struct model_space *space, uint64_t page);

/* The first page in [first, end) that is mapped; that is not. `end` if there is none. */
uint64_t model_first_mapped(const struct model_space *space, uint64_t first, uint64_t end);
uint64_t model_first_hole(const struct model_space *space, uint64_t first, uint64_t end);

/* Nothing is mapped there. Leaves of the largest sizes in `leaf_levels` that fit. */
void model_map(struct model_space *space, const struct model_piece *piece, unsigned leaf_levels);

/* Large pages over the edge of [first, end) become smaller ones. False: none was cut. */
bool model_cut(struct model_space *space, uint64_t first, uint64_t end);
bool model_cuts(const struct model_space *space, uint64_t page);

/* No large page is cut by these. */
void model_unmap(struct model_space *space, uint64_t first, uint64_t end);
void model_protect(struct model_space *space, uint64_t first, uint64_t end, uint8_t prot);

/* Tables, the root included; owned pages; pages by size. */
struct model_sums {
    uint64_t tables, owned, pages;
    uint64_t leaves[3];
};
struct model_sums model_sums(const struct model_space *space);

/* The root's slot of a page. */
unsigned model_slot(const struct model_space *space, uint64_t page);

#endif
