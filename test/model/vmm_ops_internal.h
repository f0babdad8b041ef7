/*
 * vmm_ops_internal.h - one round: the machine, its model, and what operations share.
 */
#ifndef TEST_MODEL_VMM_OPS_INTERNAL_H
#define TEST_MODEL_VMM_OPS_INTERNAL_H

#include "fake.h"
#include "fake_frames.h"
#include "mm/vmm.h"

#include "vmm_model.h"
#include "vmm_ops.h"

#define SPACES     4u /* the first is the kernel's */
#define CPUS_MAX   4u
#define DIRTY_MAX  32u
#define PLACES_MAX 4u

#define GIB_PAGES UINT64_C(0x40000)
#define M2_PAGES  UINT64_C(0x200)

/* A page that some CPU wrote to, and nobody has cleaned since. */
struct dirty_page {
    unsigned space;
    uint64_t page;
    bool used;
};

struct machine {
    struct fake_frames frames;
    struct mm_vmm vmm;
    struct mm_vmm_cpu cpu[CPUS_MAX];
    struct mm_space space[SPACES];
    struct model_space model[SPACES];
    bool lives[SPACES];
    uint64_t table_limit[SPACES], frame_limit[SPACES];
    unsigned loaded[CPUS_MAX]; /* the space of each CPU */
    struct mm_pmm pmm;
    struct mm_memmap memmap;
    struct mm_mem_range range[4];
    uint64_t pmm_free; /* at the start */
    struct dirty_page dirty[DIRTY_MAX];
    unsigned cpus, levels, leaf_levels, foreign_tables;
    bool adopted, low_global, frozen, untagged, tce, asids, broadcasts;
    int64_t tables_left; /* that the source gives before it refuses one; -1: it does not */
    uint64_t tables_of[SPACES], owned_of[SPACES]; /* by the models, as last summed up */
    const char *schedule;
    uint64_t place[PLACES_MAX]; /* pages around which things are mapped; the first is the user's */
    unsigned places;
    uint64_t seed, random;
    uint64_t op;
    struct vmm_ops_result *result;
    void (*failed)(const char *file, int line, const char *what);
};
extern struct machine machine;

/* ---- numbers ---- */

uint64_t ops_random(void);
uint64_t ops_below(uint64_t bound);
static inline bool ops_one_in(unsigned n)
{
    return ops_below(n) == 0;
}

/* ---- judging ---- */

_Noreturn void vmm_ops_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b);
#define OPS_CHECK(condition) \
    ((condition) ? (void)0 : vmm_ops_failed(__FILE__, __LINE__, #condition, 0, 0))
#define OPS_EQ(a, b)                                                               \
    do {                                                                           \
        uint64_t a_ = (uint64_t)(a), b_ = (uint64_t)(b);                           \
                                                                                   \
        if (a_ != b_)                                                              \
            vmm_ops_failed(__FILE__, __LINE__, #a " is what " #b " says", a_, b_); \
    } while (0)

/* What is told of an operation. */
struct vmm_ops_record {
    uint64_t op;
    const char *name;
    unsigned cpu, space;
    uint64_t first, pages, frame;
    uint32_t prot, type, flags;
    int64_t fail_after;
    enum mm_err err, expected;
    bool done;
};
struct vmm_ops_record *ops_record(void);

/* The call answered `err`, the model says `expected`, which began at page `where`. */
void ops_judge(enum mm_err err, enum mm_err expected, uint64_t where,
               const struct mm_space_fail *fail);

/* ---- what operations ask of the model ---- */

/* A range to do something with: a space that lives, and pages that it may map or not. */
struct extent {
    unsigned space;
    uint64_t first, pages;
};
unsigned ops_space(void);
struct extent ops_extent(void);
struct extent ops_mapped_extent(void); /* begins, and perhaps ends, where a piece does */
uint64_t ops_page(unsigned space);     /* one that is worth a look */
uint8_t ops_prot(uint64_t page);

/* Would the source of frames refuse `tables` more? The next one that the source refuses is set by
 * ops_tables_fail(), for one operation. */
void ops_tables_fail(void);
bool ops_tables_refused(uint64_t tables);

/* What makes the pages part of `space`: MM_OK, or why not, and where. */
enum mm_err ops_map_obstacle(unsigned space, uint64_t first, uint64_t pages, uint64_t *where);
bool ops_limited(unsigned space, uint64_t tables_more);

/* Make the pages, tables permitting: MM_OK, MM_ERR_LIMIT or MM_ERR_NO_MEMORY, and then nothing. */
enum mm_err ops_model_map(unsigned space, const struct model_piece *piece, unsigned count,
                          unsigned leaf_levels);

/* Split what the edges cut, tables permitting. */
enum mm_err ops_model_cut(unsigned space, uint64_t first, uint64_t end);

static inline mm_virt_t ops_virt(uint64_t page)
{
    return mm_virt(page << MM_FRAME_SHIFT);
}

static inline bool ops_kernel_half(uint64_t page)
{
    return page >> 51 != 0;
}

void ops_dirty_add(unsigned space, uint64_t page);
void ops_dirty_drop(unsigned space, uint64_t first, uint64_t end);

/* ---- vmm_machine.c ---- */
void ops_machine_build(void);
void ops_machine_end(void);

/* ---- vmm_compare.c ---- */
void ops_compare_page(unsigned space, uint64_t page);
void ops_compare_cheap(const struct vmm_ops_record *record);
void ops_compare_all(void);
void ops_access(unsigned cpu, uint64_t page);

/* ---- operations ---- */
void op_map(void);
void op_map_pieces(void);
void op_map_owned(void);
void op_map_wrong(void);
void op_populate(void);
void op_cursor_map(void);
void op_unmap(void);
void op_unmap_many(void);
void op_protect(void);
void op_change_wrong(void);
void op_gathered(void);
void op_harvest(void);
void op_promote(void);
void op_cursor_unmap(void);
void op_touch(void);
void op_query(void);
void op_translate(void);
void op_activate(void);
void op_restart(void);
void op_create(void);
void op_destroy(void);
void op_limit(void);

#endif
