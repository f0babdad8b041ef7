/*
 * pmm_ops.c - the interpreter: bytes, the choice of operations, what is told of a failure.
 *
 * Problem     Random calls in equal parts leave memory half full for ever.
 * Idea        Phases of growth and of shrinking weigh the same operations differently, so that
 *             memory is full and nearly empty by turns. The last operations are kept as numbers and
 *             turned into words only when something fails.
 * Invariants  I1 an operation takes all that it needs from the stream, and nothing else decides
 * Locking     One thread.
 * Cost        Formatting only for those who look.
 * Rejected    Formatting each operation: a third of the time of a soak run.
 */
#include "pmm_ops.h"

#include <stdio.h>
#include <string.h>

#include "pmm_ops_internal.h"

#define HISTORY 20u
#define PHASE   700u /* operations */

static struct ops_record history[HISTORY];
static bool verbose;

/* ---- the stream ---- */

static uint8_t generated(struct ops_source *source)
{
    uint64_t x = source->random += UINT64_C(0x9e3779b97f4a7c15);
    uint8_t byte;

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    byte = (uint8_t)(x >> 56);
    if (source->kept_bytes < source->kept_max)
        source->kept[source->kept_bytes++] = byte;
    return byte;
}

uint8_t ops_byte(void)
{
    struct ops_source *source = machine.source;

    if (source->data == NULL)
        return generated(source);
    return source->at < source->bytes ? source->data[source->at++] : 0;
}

static bool stream_ended(void)
{
    return machine.source->data != NULL && machine.source->at >= machine.source->bytes;
}

uint64_t ops_number(unsigned bytes)
{
    uint64_t x = 0;

    for (unsigned i = 0; i < bytes; i++)
        x = x << 8 | ops_byte();
    return x;
}

uint64_t ops_below(uint64_t bound)
{
    return ops_number(bound <= 0x100 ? 1 : bound <= 0x10000 ? 2 : 3) % bound;
}

/* ---- words ---- */

static const char *const pins[] = {"irq", "preempt", "lock", "none"};

static void tell_request(const struct mm_frame_request *request)
{
    fprintf(stderr, " {");
    if (request->count_frames != 0)
        fprintf(stderr, "run %llu", (unsigned long long)request->count_frames);
    else
        fprintf(stderr, "order %u", request->order);
    if (request->lowest.raw != 0)
        fprintf(stderr, ", lowest %#llx", (unsigned long long)request->lowest.raw);
    if (request->highest.raw != 0)
        fprintf(stderr, ", highest %#llx", (unsigned long long)request->highest.raw);
    if (request->align_bytes != 0)
        fprintf(stderr, ", align %#llx", (unsigned long long)request->align_bytes);
    if (request->boundary_bytes != 0)
        fprintf(stderr, ", boundary %#llx", (unsigned long long)request->boundary_bytes);
    if (request->mobility != 0)
        fprintf(stderr, ", mobility %u", request->mobility);
    if ((request->flags & MM_FRAME_NODE) != 0)
        fprintf(stderr, ", node %u", request->node);
    fprintf(stderr, "%s%s%s%s%s}", (request->flags & MM_FRAME_ZERO) != 0 ? ", zero" : "",
            (request->flags & MM_FRAME_NODE_ONLY) != 0 ? ", node only" : "",
            (request->flags & MM_FRAME_TRY_HARD) != 0 ? ", try hard" : "",
            (request->flags & MM_FRAME_RESERVE) != 0 ? ", reserve" : "",
            (request->flags & MM_FRAME_NO_WAIT) != 0 ? ", no wait" : "");
}

static void tell_operation(const struct ops_record *record)
{
    fprintf(stderr, "%llu: cpu %u: %s", (unsigned long long)record->op, record->cpu, record->name);
    if (record->has_request)
        tell_request(&record->request);
    if (record->count != 0)
        fprintf(stderr, " %#llx x %llu", (unsigned long long)record->address,
                (unsigned long long)record->count);
}

static void tell(const struct ops_record *record)
{
    if (record->name == NULL)
        return;
    fprintf(stderr, "  ");
    tell_operation(record);
    fprintf(stderr, "%s: %s%s\n", record->interrupted ? ", interrupted" : "",
            mm_err_name(record->err), record->done ? "" : ", being judged or not finished");
}

void pmm_ops_tell(void)
{
    const struct mm_pmm_config *config = &machine.config;

    fprintf(stderr,
            "machine: %s, %u frames of RAM, %u CPUs, %u nodes, pin %s, window %s, floors %s, "
            "reserve %llu, room to plug in %llu chunks\n",
            machine.kind, model.cells, machine.cpus, machine.nodes, pins[config->pin],
            config->window == NULL ? "none"
            : machine.window_part  ? "part"
                                   : "all",
            (config->flags & MM_PMM_NO_FLOORS) != 0 ? "no" : "yes",
            (unsigned long long)config->reserve_frames, (unsigned long long)machine.hot_chunks);
    fprintf(stderr, "the model: %llu frames managed, %llu free, %u allocations, %llu side tables\n",
            (unsigned long long)model.managed, (unsigned long long)model.free, model.live_count,
            (unsigned long long)(model.own + machine.lost));
    for (uint64_t n = HISTORY; n > 0; n--)
        tell(&history[(machine.op + 1 + HISTORY - n) % HISTORY]);
}

void pmm_ops_verbose(bool on)
{
    verbose = on;
}

/* The bytes that were used since `from`, as a text for test_pmm_replay.c. */
static void tell_bytes(size_t from)
{
    for (size_t i = from; i < machine.source->at && machine.source->data != NULL; i++)
        fprintf(stderr, "%02x", machine.source->data[i]);
    fprintf(stderr, "  # ");
}

void pmm_ops_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    pmm_ops_tell();
    if (a != b)
        fprintf(stderr, "%#llx, %#llx: ", (unsigned long long)a, (unsigned long long)b);
    fprintf(stderr, "operation %llu: %s\n", (unsigned long long)machine.op, what);
    machine.host->failed(file, line, what);
}

struct ops_record *ops_record(void)
{
    return &history[machine.op % HISTORY];
}

/* ---- operations ---- */

static const struct {
    const char *name;
    void (*run)(void);
    uint8_t growing, shrinking; /* of 256 each */
} operation[] = {
    {"alloc frame", op_alloc_frame, 40, 22},
    {"alloc zeroed", op_alloc_zeroed, 8, 6},
    {"alloc block", op_alloc_block, 32, 14},
    {"alloc", op_alloc_request, 26, 16},
    {"alloc (wrong request)", op_alloc_wrong, 3, 3},
    {"alloc frames", op_alloc_burst, 6, 2},
    {"alloc bulk", op_alloc_bulk, 10, 4},
    {"alloc no-wait", op_alloc_no_wait, 6, 4},
    {"free", op_free, 40, 78},
    {"free frames", op_free_burst, 2, 8},
    {"free bulk", op_free_bulk, 5, 14},
    {"free no-wait", op_free_no_wait, 4, 8},
    {"free (wrong)", op_free_wrong, 10, 12},
    {"free bulk (wrong)", op_free_bulk_wrong, 2, 3},
    {"cpu", op_cpu, 14, 14},
    {"answering", op_answering, 2, 2},
    {"interrupt", op_interrupt, 6, 6},
    {"drain", op_drain, 3, 3},
    {"park", op_park, 4, 4},
    {"serve", op_serve, 3, 3},
    {"zero ahead", op_zero_ahead, 10, 10},
    {"retire", op_retire, 2, 2},
    {"add", op_add, 3, 3},
    {"add RAM", op_add_ram, 1, 1},
    {"watermark", op_mark, 3, 3},
    {"tag", op_tag, 6, 6},
    {"query", op_query, 4, 4},
    {"compare", op_compare, 1, 1},
};
#define OPERATIONS (sizeof operation / sizeof operation[0])

static uint8_t choice[2][256];

/* 256 bytes mean 256 choices, in these parts. */
static void choices_build(void)
{
    unsigned at[2] = {0, 0};

    for (uint8_t i = 0; i < OPERATIONS; i++) {
        memset(&choice[0][at[0]], i, operation[i].shrinking);
        memset(&choice[1][at[1]], i, operation[i].growing);
        at[0] += operation[i].shrinking;
        at[1] += operation[i].growing;
    }
    OPS_EQ(at[0], 256);
    OPS_EQ(at[1], 256);
}

static void operation_run(void)
{
    bool growing = machine.op / PHASE % 2 == 0;
    size_t from = machine.source->at;
    unsigned i = choice[growing][ops_byte()];
    struct ops_record *record = ops_record();

    *record =
        (struct ops_record){.op = machine.op, .name = operation[i].name, .cpu = fake_cpu_current()};
    operation[i].run();
    record->done = true;
    ops_compare_counts();
    if (!verbose)
        return;
    tell_bytes(from);
    tell_operation(record);
    fprintf(stderr, "\n");
    ops_check(); /* who looks on wants to know where it began */
}

/* Sparser where comparing costs more. */
static uint64_t compare_interval(void)
{
    return 800 + model.cells / 4;
}

/* All goes back; whole blocks come back, but for what side tables and retired frames spoil. */
static void give_all_back(void)
{
    struct mm_pmm_blocks blocks;

    fake_cpu_set(0);
    while (model.live_count > 0) {
        uint64_t first, count;

        ops_give(model.live_count - 1, &first, &count);
        OPS_EQ(mm_pmm_free(&machine.pmm, mm_frame_phys(first), count), MM_OK);
    }
    ops_compare_all(true);
    mm_pmm_get_blocks(&machine.pmm, &blocks);
    if (machine.lost == 0 && model.managed == machine.start.managed_frames)
        OPS_CHECK(memcmp(blocks.free_blocks, machine.start_blocks.free_blocks,
                         sizeof blocks.free_blocks) == 0 ||
                  machine.start.free_frames != machine.start.managed_frames);
}

void pmm_ops_run(struct ops_source *source, uint64_t ops_max, const struct ops_host *host,
                 struct ops_result *result)
{
    memset(&machine, 0, sizeof machine);
    memset(history, 0, sizeof history);
    machine.host = host;
    machine.source = source;
    machine.result = result;
    choices_build();
    ops_machine_start();
    if (verbose) {
        tell_bytes(0);
        fprintf(stderr, "%s, %u frames, %u CPUs\n", machine.kind, model.cells, machine.cpus);
    }
    ops_compare_all(true);
    for (; machine.op < ops_max && !stream_ended(); machine.op++) {
        operation_run();
        result->ops++;
        if (machine.op % compare_interval() == compare_interval() - 1)
            ops_compare_all(machine.op % 2 == 0);
    }
    give_all_back();
    ops_machine_end();
}
