/*
 * pmm_model.h - what a PMM must look like from outside: one struct per frame, and patience.
 *
 * Problem     An allocator with magazines, bins and side tables is judged by something that has
 *             none of them, or both are wrong in the same way.
 * Idea        A cell for each frame of RAM says who has it. A fit is looked for by trying every
 *             start. Nothing of the PMM is included here but the words of mm/types.h.
 * Invariants  M1 cells ascend by frame
 *             M2 free, zone_free, managed, zone_managed are the sums over the cells
 *             M3 each allocation is in live[] once: cell[live[n]].live == n
 * Locking     One model, one thread.
 * Cost        40 bytes per frame; a search is O(frames), and skips by 64 where none is free.
 * Rejected    A model that keeps lists of free blocks: faster, and as doubtful as what it judges.
 */
#ifndef TEST_MODEL_PMM_MODEL_H
#define TEST_MODEL_PMM_MODEL_H

#include "mm/pmm.h"
#include "mm/types.h"

#define MODEL_CELLS_MAX (1u << 19) /* 2 GiB */
#define MODEL_NONE      UINT32_MAX
#define MODEL_SPANS_MAX 1024u
#define MODEL_CHUNK     512u /* frames that have one side table */

enum cell_state {
    CELL_OUT,   /* RAM that is not managed (yet) */
    CELL_FREE,  /* the PMM's, in a pool or in some CPU's stock */
    CELL_TAKEN, /* a caller's */
    CELL_OWN,   /* the PMM's own: a side table */
    CELL_GONE   /* retired */
};

struct model_cell {
    uint64_t frame;
    uint32_t first; /* TAKEN: cell of the first frame of its allocation */
    uint32_t count; /* of the first cell: frames of the allocation */
    uint32_t live;  /* of the first cell: place in live[] */
    uint32_t pool;  /* cells of one pool: same zone, same node, neither node nor origin in doubt */
    uint16_t node, tag;
    uint8_t zone, state;
    bool doomed;    /* to be retired when its owner frees it */
    bool has_table; /* of tags */
    bool mixed;     /* its chunk has memory of several nodes */
};

/* Frames that follow each other, and so do their cells. */
struct model_span {
    uint64_t frame, count;
    uint32_t cell;
};

struct model {
    struct model_cell *cell;
    uint32_t cells;
    uint32_t *live; /* first cells of all allocations */
    uint32_t live_count;
    struct model_span span[MODEL_SPANS_MAX];
    uint32_t spans;
    uint64_t *free_bits; /* of each cell: is it FREE? */
    uint64_t free, managed, own;
    uint64_t zone_free[MM_ZONES], zone_managed[MM_ZONES];
    uint32_t pieces; /* times that memory was added from outside the map */
};

/* A request in frames. */
struct model_need {
    uint64_t count, align, boundary; /* boundary 0 = none */
    uint64_t start, end;             /* first frame that may be used, first that may not */
    bool low;                        /* below 1 MiB, and nowhere else; others never */
    bool everywhere;                 /* on either side of 1 MiB, for counting */
    bool one_pool;                   /* all frames of one pool */
    bool on_node;                    /* all frames of `node` */
    unsigned node;
    unsigned zone_min; /* no frame of a lower zone */
};

extern struct model model;

/* ---- building ---- */

void model_reset(void);

/* Ranges in ascending order; `state` is OUT, FREE or TAKEN (single frames). False: too many. */
bool model_add_range(uint64_t frame, uint64_t count, unsigned node, enum cell_state state);

/* All ranges are known: which frames make up one pool. */
void model_pools(void);

/* RAM beyond all cells, free: a piece of its own. */
bool model_add_ram(uint64_t frame, uint64_t count, unsigned node);

/* ---- looking ---- */

unsigned model_zone(uint64_t frame);

/* The cell of a frame, or MODEL_NONE. */
uint32_t model_find(uint64_t frame);

/* What a request of mm/pmm.h means. */
struct model_need model_need_of(const struct mm_frame_request *request);

/* May an allocation lie at `cell`? */
bool model_fits(const struct model_need *need, uint32_t cell);

/* Disjoint places where it may lie, at most `limit`: so many frames would have to be out of reach,
 * plus one, before the request has to fail. */
uint64_t model_count_fits(const struct model_need *need, uint64_t limit);

/* Aligned free blocks of an order: all, or those within one pool. */
uint64_t model_blocks(unsigned order, bool one_pool);

/* ---- transitions; each checks that the cells are as they must be and says false if not ---- */

bool model_take(uint64_t frame, uint64_t count);
bool model_give(uint32_t first_cell);
bool model_add(uint32_t cell, uint64_t count);
bool model_retire(uint32_t cell); /* FREE: gone. TAKEN: doomed */
bool model_keep(uint32_t cell);   /* FREE: the PMM's own */
bool model_unkeep(uint32_t cell); /* the way back */

/* Sums recounted: M2, M3. */
bool model_sound(void);

#endif
