/*
 * pmm_ops_internal.h - what the files of the interpreter share: the machine under test.
 */
#ifndef TEST_MODEL_PMM_OPS_INTERNAL_H
#define TEST_MODEL_PMM_OPS_INTERNAL_H

#include "fake.h"
#include "mm/memmap.h"
#include "mm/pmm.h"
#include "pmm_model.h"
#include "pmm_ops.h"

#define OPS_CPUS_MAX   4u
#define OPS_RANGES_MAX 512u
#define OPS_NODES_MAX  4u

/* What is expected of a watermark, per zone. */
struct ops_mark {
    bool set;
    bool settled; /* the PMM has had reason to look since it was set */
    bool unsure;  /* an interrupt may have told a newer level before an older one */
    struct mm_pmm_watermark mark;
    enum mm_memory_level level;
    unsigned changes;
};

struct ops_machine {
    struct mm_pmm pmm;
    struct mm_memmap map;
    struct mm_mem_range storage[OPS_RANGES_MAX];
    void *meta;
    const char *kind;
    struct mm_pmm_config config;
    struct mm_pmm_stats start; /* when nothing was allocated but what start-up took */
    struct mm_pmm_blocks start_blocks;
    uint64_t hot_next, hot_chunks; /* frame where memory may be plugged in next; room for it */
    uint64_t lost;                 /* frames that the PMM has taken for itself, not known which */
    uint64_t reserve;              /* frames that ordinary requests leave */
    uint64_t retired;              /* frames, gone or doomed */
    uint64_t misuses;              /* that the PMM should have counted */
    unsigned cpus, nodes, answering;
    unsigned reserve_pools; /* that keep a part of it */
    bool reserve_used;
    bool window_part; /* the window does not show all RAM */
    bool used[OPS_CPUS_MAX], parked[OPS_CPUS_MAX];
    struct ops_mark mark[MM_ZONES];

    /* an interrupt that will come into the next operation that may be interrupted */
    bool interrupt_armed, interrupt_ran;
    bool callback_ran; /* one of a watermark, which put frames into stock */
    uint8_t interrupt_plan[4];

    const struct ops_host *host;
    struct ops_source *source;
    struct ops_result *result;
    uint64_t op; /* number of the current one */
};

extern struct ops_machine machine;

/* What an operation was, for people. Operations fill it in as they go. */
struct ops_record {
    uint64_t op;
    const char *name;
    unsigned cpu;
    enum mm_err err;
    bool done, has_request, interrupted;
    struct mm_frame_request request;
    uint64_t address, count; /* what was asked for or received; count 0 = nothing to tell */
};

/* The current one. */
struct ops_record *ops_record(void);

/* ---- the stream ---- */

uint8_t ops_byte(void);
uint64_t ops_number(unsigned bytes);

/* Below `bound`, from as many bytes as that needs. */
uint64_t ops_below(uint64_t bound);

/* ---- faults ---- */

#define OPS_CHECK(condition) \
    ((condition) ? (void)0 : pmm_ops_failed(__FILE__, __LINE__, #condition, 0, 0))
#define OPS_EQ(a, b)                                                          \
    do {                                                                      \
        uint64_t ops_a_ = (uint64_t)(a);                                      \
        uint64_t ops_b_ = (uint64_t)(b);                                      \
                                                                              \
        if (ops_a_ != ops_b_)                                                 \
            pmm_ops_failed(__FILE__, __LINE__, #a " == " #b, ops_a_, ops_b_); \
    } while (0)

void pmm_ops_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b);

/* ---- operations ---- */

void op_alloc_frame(void);
void op_alloc_zeroed(void);
void op_alloc_block(void);
void op_alloc_request(void);
void op_alloc_wrong(void);
void op_alloc_burst(void);
void op_alloc_bulk(void);
void op_alloc_no_wait(void);
void op_free(void);
void op_free_burst(void);
void op_free_bulk(void);
void op_free_no_wait(void);
void op_free_wrong(void);
void op_free_bulk_wrong(void);
void op_cpu(void);
void op_answering(void);
void op_interrupt(void);
void op_drain(void);
void op_park(void);
void op_serve(void);
void op_zero_ahead(void);
void op_retire(void);
void op_add(void);
void op_add_ram(void);
void op_mark(void);
void op_tag(void);
void op_query(void);
void op_compare(void);

/* Around each call of the PMM: which CPU has used it, and where an interrupt may come. */
void ops_call_begin(bool interruptible);
void ops_call_end(void);

/* Give an allocation back to the model, before the PMM gets it: an interrupt may take it again. */
void ops_give(uint32_t live, uint64_t *first, uint64_t *count);

/* Frames were handed out for `need`: are they right? They are the model's and marked then. */
void ops_received(const struct model_need *need, uint64_t first, bool zeroed);

/* A wrong free: refused with this, told once for each of `reports`, and nothing changed. */
void ops_refused(enum mm_err err, uint64_t address, unsigned reports);

/* ---- pmm_machine.c ---- */

void ops_machine_start(void);
void ops_machine_end(void);

/* ---- pmm_compare.c ---- */

/* After each operation. */
void ops_compare_counts(void);

/* mm_pmm_check(), with its faults told. */
void ops_check(void);

/* Everything. With `drain` the stocks are brought home first, so that nothing is left to guess. */
void ops_compare_all(bool drain);

/* One frame, or address that is none. */
void ops_compare_frame(uint64_t frame);

/* Has the PMM taken this free cell for a side table? */
bool ops_is_own(uint32_t cell);

/* How many frames may be where the current CPU cannot get them for this request. */
uint64_t ops_out_of_reach(const struct mm_frame_request *request);

/* Are there more disjoint places that fit than frames out of reach, by `wanted` at least? */
bool ops_fits_remain(const struct mm_frame_request *request, const struct model_need *need,
                     uint64_t wanted);

/* ---- pmm_frames.c: contents ---- */

/* Frames handed out are written to, and must come back unchanged. */
void ops_frames_mark(uint64_t first, uint64_t count);
void ops_frames_verify(uint64_t first, uint64_t count);
void ops_frames_zeroed(uint64_t first, uint64_t count);

#endif
