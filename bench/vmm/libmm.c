/*
 * libmm.c - the VMM of one build of libmm, as a mapper of the bench.
 *
 * Problem     The same calls must be measured for several builds of libmm in one program.
 * Idea        This file is compiled with each build's definitions, BENCH_LIBMM naming the result. A
 *             machine as a kernel has it: RAM in a memory map, a PMM over it, which is where page
 *             tables come from, a kernel space with a direct map, CPUs that are prepared.
 * Invariants  The struct and the PMM's metadata lie in the memory that the machine got, in this order.
 * Locking     MM_PIN_NONE: one thread for each CPU index, as the cases have it.
 * Cost        -
 * Rejected    A stack of frames as the source of tables: faster than any kernel has it.
 */
#include "libmm.h"

#include "../common/host.h"
#include "mm/arena.h"
#include "mm/memmap.h"
#include "mm/vmm.h"

#define MAP_RANGES 8u
#define PHYS_BITS  48u

struct machine;

struct space {
    struct mm_space space; /* first: a pointer to one is a pointer to the other */
    struct machine *machine;
    bool used;
};

struct machine {
    struct mm_vmm vmm;
    _Alignas(64) struct mm_vmm_cpu cpu[CPUS];
    struct mm_pmm pmm;
    struct mm_window window;
    struct mm_memmap map;
    struct mm_mem_range range[MAP_RANGES];
    struct mm_space kernel;
    struct space space[SPACES_MAX];
};

/* Of the PMM's metadata behind it. */
#define MACHINE_BYTES \
    ((sizeof(struct machine) + MM_FRAME_BYTES - 1) / MM_FRAME_BYTES * MM_FRAME_BYTES)

static void must(enum mm_err err, const char *what)
{
    if (err != MM_OK)
        die("%s: error %d", what, (int)err);
}

/* ---- the machine ---- */

static struct mm_pmm_config map_build(struct machine *m, const struct ram *ram)
{
    mm_phys_t start = mm_phys(ram->first);

    must(mm_memmap_init(&m->map, m->range, MAP_RANGES, PHYS_BITS), "mm_memmap_init");
    must(mm_memmap_add(&m->map, start, ram->size, MM_MEM_USABLE), "mm_memmap_add");
    must(mm_memmap_finish(&m->map), "mm_memmap_finish");
    m->window = (struct mm_window){.count = 0};
    must(mm_window_add(&m->window, start, ram->size, mm_virt_of(ram->bytes)), "mm_window_add");
    return (struct mm_pmm_config){
        .map = &m->map, .window = &m->window, .cpu_count = CPUS, .pin = MM_PIN_NONE};
}

static uint64_t metadata_bytes(struct machine *m, const struct ram *ram)
{
    struct mm_pmm_config config = map_build(m, ram);
    uint64_t bytes;

    must(mm_pmm_meta_bytes(&config, &bytes), "mm_pmm_meta_bytes");
    return bytes;
}

static size_t machine_bytes(const struct ram *ram)
{
    static struct machine scratch;

    return MACHINE_BYTES + metadata_bytes(&scratch, ram);
}

static void pmm_start(struct machine *m, const struct memory *memory, const struct ram *ram)
{
    struct mm_pmm_config config = map_build(m, ram);

    config.meta = (char *)memory->start + MACHINE_BYTES;
    config.meta_bytes = memory->bytes - MACHINE_BYTES;
    must(mm_pmm_init(&m->pmm, &config), "mm_pmm_init");
}

static void cpus_start(struct machine *m)
{
    for (unsigned cpu = CPUS; cpu-- > 0;) { /* at last this thread is CPU 0 again */
        host_cpu_set(cpu);
        must(mm_cpu_init(&m->vmm, cpu), "mm_cpu_init");
        must(mm_space_activate(&m->kernel), "mm_space_activate");
    }
}

static void *machine_open(const struct memory *memory, const struct ram *ram)
{
    struct machine *m = memory->start;
    struct mm_vmm_config config = {
        .window = &m->window, .pmm = &m->pmm, .cpu_count = CPUS, .cpu = m->cpu};

    pmm_start(m, memory, ram);
    config.tables = mm_pmm_frame_source(&m->pmm);
    must(mm_vmm_init(&m->vmm, &config), "mm_vmm_init");
    must(mm_space_create(&m->vmm, &m->kernel, MM_SPACE_KERNEL), "mm_space_create");
    must(mm_space_map_ram(&m->kernel, &m->map, NULL), "mm_space_map_ram");
    cpus_start(m);
    return m;
}

/* ---- spaces ---- */

static struct space *space_create(struct machine *m)
{
    struct space *s = m->space;

    while (s->used)
        if (++s == m->space + SPACES_MAX)
            die("more than %u spaces", SPACES_MAX);
    must(mm_space_create(&m->vmm, &s->space, 0), "mm_space_create");
    s->machine = m;
    s->used = true;
    return s;
}

static void space_destroy(struct space *s)
{
    must(mm_space_destroy(&s->space), "mm_space_destroy");
    s->used = false;
}

static void *mapper_create(void *self)
{
    return space_create(self);
}

static void mapper_destroy(void *space)
{
    space_destroy(space);
}

static void mapper_load(void *space)
{
    struct space *s = space;

    must(mm_space_activate(&s->space), "mm_space_activate");
}

static void mapper_leave(void *space)
{
    struct space *s = space;

    must(mm_space_activate(&s->machine->kernel), "mm_space_activate");
}

/* ---- what is timed ---- */

static inline void space_map(struct space *s, uint64_t virt, uint64_t phys, uint64_t bytes,
                             unsigned level)
{
    struct mm_map_request request = {.virt = mm_virt(virt),
                                     .bytes = bytes,
                                     .phys = mm_phys(phys),
                                     .prot = MM_PROT_RW | MM_PROT_USER,
                                     .flags = level == 1 ? MM_MAP_SMALL : 0};

    must(mm_space_map(&s->space, &request, NULL), "mm_space_map");
}

static inline void space_unmap(struct space *s, uint64_t virt, uint64_t bytes)
{
    must(mm_space_unmap(&s->space, mm_virt(virt), bytes, 0, NULL, NULL), "mm_space_unmap");
}

static inline uint64_t space_translate(struct space *s, uint64_t virt)
{
    struct mm_translation out;

    must(mm_space_translate(&s->space, mm_virt(virt), &out, NULL), "mm_space_translate");
    return out.phys.raw;
}

#define LOOP_SELF                                 struct machine
#define LOOP_SPACE                                struct space
#define LOOP_CREATE(self)                         space_create(self)
#define LOOP_DESTROY(space)                       space_destroy(space)
#define LOOP_MAP(space, virt, phys, bytes, level) space_map(space, virt, phys, bytes, level)
#define LOOP_UNMAP(space, virt, bytes)            space_unmap(space, virt, bytes)
#define LOOP_TRANSLATE(space, virt)               space_translate(space, virt)
#include "loops.h"

static void mapper_unmap_gathered(void *space, const uint64_t *virt, size_t count, uint64_t bytes)
{
    struct mm_gather gather;
    struct space *s = space;

    mm_gather_begin(&gather, &s->space);
    for (size_t i = 0; i < count; i++)
        must(mm_space_unmap(&s->space, mm_virt(virt[i]), bytes, 0, &gather, NULL),
             "mm_space_unmap");
    mm_gather_end(&gather);
}

static void mapper_map_cursor(void *space, const uint64_t *virt, size_t count, uint64_t bytes,
                              unsigned level)
{
    struct mm_cursor cursor;
    struct space *s = space;

    (void)level;
    must(mm_cursor_begin(&cursor, &s->space, MM_PROT_RW | MM_PROT_USER, MM_MEMTYPE_WB, 0, NULL),
         "mm_cursor_begin");
    for (size_t i = 0; i < count; i++)
        must(mm_cursor_map(&cursor, mm_virt(virt[i]), mm_phys(phys_of(virt[i])), bytes),
             "mm_cursor_map");
    mm_cursor_end(&cursor);
}

static void mapper_unmap_cursor(void *space, const uint64_t *virt, size_t count, uint64_t bytes)
{
    struct mm_cursor cursor;
    struct mm_gather gather;
    struct space *s = space;

    mm_gather_begin(&gather, &s->space);
    must(mm_cursor_begin(&cursor, &s->space, MM_PROT_READ, MM_MEMTYPE_WB, 0, &gather),
         "mm_cursor_begin");
    for (size_t i = 0; i < count; i++)
        must(mm_cursor_unmap(&cursor, mm_virt(virt[i]), bytes, NULL), "mm_cursor_unmap");
    mm_cursor_end(&cursor);
    mm_gather_end(&gather);
}

static void mapper_protect(void *space, const struct stretch *stretch, bool writable)
{
    struct space *s = space;
    uint32_t prot = MM_PROT_READ | MM_PROT_USER | (writable ? MM_PROT_WRITE : 0);

    must(mm_space_protect(&s->space, mm_virt(stretch->virt), stretch->bytes, prot, 0, NULL, NULL),
         "mm_space_protect");
}

/* ---- looking ---- */

static bool mapper_look(void *space, uint64_t virt, uint64_t *phys, bool *writable)
{
    struct space *s = space;
    struct mm_translation out;

    if (mm_space_translate(&s->space, mm_virt(virt), &out, NULL) != MM_OK)
        return false;
    *phys = out.phys.raw;
    *writable = (out.prot & MM_PROT_WRITE) != 0;
    return true;
}

static uint64_t *mapper_leaf_table(void *space, uint64_t virt)
{
    struct space *s = space;
    struct mm_walk_step step[MM_WALK_STEPS];
    unsigned steps = mm_space_walk(&s->space, mm_virt(virt), step);
    void *table;

    if (steps == 0 || step[steps - 1].level != 1)
        die("no 4 KiB page at 0x%llx", (unsigned long long)virt);
    must(mm_window_find(&s->machine->window, step[steps - 1].table, MM_FRAME_BYTES, &table),
         "mm_window_find");
    return table;
}

static uint64_t mapper_tables(void *space)
{
    struct space *s = space;
    struct mm_space_stats stats;

    mm_space_get_stats(&s->space, &stats);
    return stats.tables - 1;
}

static uint64_t mapper_free_frames(void *self)
{
    struct machine *m = self;
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&m->pmm, &stats);
    return stats.free_frames + stats.side_frames;
}

static size_t mapper_faults(void *space)
{
    struct space *s = space;

    return mm_space_check(&s->space, NULL) + mm_space_check(&s->machine->kernel, NULL) +
           mm_pmm_check(&s->machine->pmm, NULL);
}

/* ---- the arena ---- */

#define ARENA_BYTES    (UINT64_C(1) << 40)
#define ARENA_NODES(n) ((n) + 64) /* what an arena may want beside the spans that are taken */

struct arena {
    struct mm_arena arena;
    struct memory memory;
    uint64_t *span; /* where each begins */
};

static uint64_t span_take(struct arena *a, uint64_t pages)
{
    struct mm_arena_request request = {.bytes = pages * MM_FRAME_BYTES};
    mm_virt_t out;

    must(mm_arena_take(&a->arena, &request, &out), "mm_arena_take");
    return out.raw;
}

/* Nodes are lent, so that no frame is taken for them while it is timed. */
static void *arena_open(uint64_t spans, uint32_t pages_max, struct random *random)
{
    size_t nodes = ARENA_NODES(spans) * sizeof(struct mm_arena_span);
    struct memory memory = memory_take(sizeof(struct arena) + nodes + spans * sizeof(uint64_t));
    struct arena *a = memory.start;
    struct mm_arena_config config = {
        .range = {mm_virt(UINT64_C(0xffffe00000000000)), ARENA_BYTES},
        .span = (struct mm_arena_span *)(void *)((char *)(a + 1) + spans * sizeof(uint64_t)),
        .span_count = (uint32_t)ARENA_NODES(spans)};

    a->memory = memory;
    a->span = (uint64_t *)(void *)(a + 1);
    must(mm_arena_init(&a->arena, &config), "mm_arena_init");
    for (uint64_t i = 0; i < spans; i++)
        a->span[i] = span_take(a, 1 + random_below(random, pages_max));
    return a;
}

static void arena_churn(void *arena, const uint32_t *index, const uint32_t *pages, size_t calls)
{
    struct arena *a = arena;

    for (size_t i = 0; i < calls; i++) {
        must(mm_arena_give(&a->arena, mm_virt(a->span[index[i]])), "mm_arena_give");
        a->span[index[i]] = span_take(a, pages[i]);
    }
}

static size_t arena_close(void *arena)
{
    struct arena *a = arena;
    size_t faults = mm_arena_check(&a->arena, NULL);
    struct memory memory = a->memory;

    memory_give(&memory);
    return faults;
}

const struct libmm BENCH_LIBMM = {
    .mapper = {.name = BENCH_LIBMM_NAME,
               .any_thread = true,
               .bytes = machine_bytes,
               .open = machine_open,
               .create = mapper_create,
               .destroy = mapper_destroy,
               .load = mapper_load,
               .leave = mapper_leave,
               .protect = mapper_protect,
               .unmap_each[WAY_GATHERED] = mapper_unmap_gathered,
               .map_each[WAY_CURSOR] = mapper_map_cursor,
               .unmap_each[WAY_CURSOR] = mapper_unmap_cursor,
               .look = mapper_look,
               .leaf_table = mapper_leaf_table,
               .tables = mapper_tables,
               .free_frames = mapper_free_frames,
               .faults = mapper_faults,
               LOOPS},
    .arena_open = arena_open,
    .arena_churn = arena_churn,
    .arena_close = arena_close,
};
