/*
 * vmm_ops.c - the interpreter: numbers, the choice of operations, what is told of a failure.
 *
 * Problem     Random calls in equal parts leave a space half full for ever.
 * Idea        Phases of growth and of shrinking weigh the same operations differently. The last
 *             operations are kept as numbers and turned into words only when something fails.
 * Invariants  I1 an operation takes its numbers from (seed, its own number) and nothing else decides
 * Locking     One thread.
 * Cost        The whole comparison costs a hundred operations, and is made every COMPARE.
 * Rejected    Comparing everything each time: a hundredth of the operations in the same time.
 */
#include "vmm_ops.h"

#include <stdio.h>
#include <string.h>

#include "vmm_ops_internal.h"

#define HISTORY 24u
#define PHASE   300u /* operations */
#define COMPARE 700u

struct machine machine;

static struct vmm_ops_record history[HISTORY];
static bool verbose;

/* ---- numbers ---- */

/* splitmix64 (Steele, Lea, Flood 2014): any state is a good one. */
uint64_t ops_random(void)
{
    uint64_t x = machine.random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t ops_below(uint64_t bound)
{
    return (ops_random() >> 16) % bound;
}

/* ---- words ---- */

static void tell(const struct vmm_ops_record *r)
{
    if (r->name == NULL)
        return;
    fprintf(stderr, "  %llu: cpu %u: space %u: %s", (unsigned long long)r->op, r->cpu, r->space,
            r->name);
    if (r->pages != 0)
        fprintf(stderr, " %#llx, %llu pages", (unsigned long long)(r->first << MM_FRAME_SHIFT),
                (unsigned long long)r->pages);
    if (r->frame != 0)
        fprintf(stderr, " to %#llx", (unsigned long long)(r->frame << MM_FRAME_SHIFT));
    fprintf(stderr, ", prot %u type %u flags %#x", r->prot, r->type, r->flags);
    if (r->fail_after >= 0)
        fprintf(stderr, ", %lld tables and no more", (long long)r->fail_after);
    fprintf(stderr, ": %s", mm_err_name(r->err));
    if (r->err != r->expected)
        fprintf(stderr, ", the model says %s", mm_err_name(r->expected));
    fprintf(stderr, "%s\n", r->done ? "" : " (being judged or not finished)");
}

void vmm_ops_tell(void)
{
    fprintf(
        stderr,
        "machine %#llx: %u levels, leaves at %#x, %u CPUs, %s root, %s frames, walkers %s%s%s%s\n",
        (unsigned long long)machine.seed, machine.levels, machine.leaf_levels, machine.cpus,
        machine.adopted ? "adopted" : "own", machine.untagged ? "untagged" : "tagged",
        machine.schedule, machine.tce ? ", TCE" : "", machine.asids ? ", ids" : "",
        machine.broadcasts ? ", broadcasts" : "");
    for (uint64_t n = HISTORY; n > 0; n--)
        tell(&history[(machine.op + 1 + HISTORY - n) % HISTORY]);
}

void vmm_ops_verbose(bool on)
{
    verbose = on;
}

void vmm_ops_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    vmm_ops_tell();
    if (a != b)
        fprintf(stderr, "%#llx, %#llx: ", (unsigned long long)a, (unsigned long long)b);
    fprintf(stderr, "operation %llu: %s\n", (unsigned long long)machine.op, what);
    machine.failed(file, line, what);
    __builtin_trap(); /* it does not return */
}

struct vmm_ops_record *ops_record(void)
{
    return &history[machine.op % HISTORY];
}

/* ---- operations ---- */

static const struct {
    const char *name;
    void (*run)(void);
    uint8_t growing, shrinking; /* of 256 each */
} operation[] = {
    {"map", op_map, 51, 14},
    {"map pieces", op_map_pieces, 14, 5},
    {"map owned", op_map_owned, 5, 3},
    {"map (wrong request)", op_map_wrong, 4, 4},
    {"populate", op_populate, 14, 6},
    {"map by cursor", op_cursor_map, 12, 5},
    {"unmap", op_unmap, 18, 56},
    {"unmap much", op_unmap_many, 1, 6},
    {"protect", op_protect, 20, 25},
    {"unmap or protect (wrong)", op_change_wrong, 3, 3},
    {"gather", op_gathered, 8, 16},
    {"harvest", op_harvest, 10, 10},
    {"promote", op_promote, 16, 16},
    {"unmap by cursor", op_cursor_unmap, 5, 12},
    {"access", op_touch, 42, 42},
    {"query", op_query, 8, 8},
    {"translate", op_translate, 12, 12},
    {"activate", op_activate, 5, 5},
    {"restart", op_restart, 1, 1},
    {"create", op_create, 2, 1},
    {"destroy", op_destroy, 1, 2},
    {"limit", op_limit, 4, 4},
};
#define OPERATIONS (sizeof operation / sizeof operation[0])

static uint8_t choice[2][256];

static void choices_build(void)
{
    unsigned at[2] = {0, 0};

    for (uint8_t i = 0; i < OPERATIONS; i++) {
        OPS_CHECK(at[0] + operation[i].shrinking <= 256 && at[1] + operation[i].growing <= 256);
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
    struct vmm_ops_record *record = ops_record();
    unsigned i, cpu;

    machine.tables_left = -1;
    machine.random = machine.seed + (machine.op + 1) * UINT64_C(0xd1342543de82ef95);
    i = choice[growing][ops_below(256)];
    cpu = (unsigned)ops_below(machine.cpus);
    fake_cpu_set(cpu);
    *record = (struct vmm_ops_record){
        .op = machine.op, .name = operation[i].name, .cpu = cpu, .fail_after = -1};
    operation[i].run();
    machine.frames.fail_after = -1;
    record->done = true;
    ops_compare_cheap(record);
    if (verbose)
        tell(record);
}

void vmm_ops_round(uint64_t seed, uint64_t ops, const uint8_t *skip, struct vmm_ops_result *result,
                   void (*failed)(const char *file, int line, const char *what))
{
    machine.failed = failed;
    machine.result = result;
    machine.random = seed;
    machine.seed = ops_random(); /* seeds in a row are nothing alike */
    machine.random = machine.seed;
    machine.op = 0;
    memset(history, 0, sizeof history);
    choices_build();
    ops_machine_build();
    for (; machine.op < ops; machine.op++) {
        if (skip == NULL || (skip[machine.op / 8] >> machine.op % 8 & 1) == 0)
            operation_run();
        if (machine.op % COMPARE == COMPARE - 1)
            ops_compare_all();
        result->ops++;
    }
    ops_machine_end();
}
