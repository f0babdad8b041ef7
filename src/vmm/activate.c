/*
 * activate.c - which space a CPU has loaded, and what it keeps of those it has left.
 *
 * Problem     Loading a root throws away all that the CPU knew of the space it comes back to. With
 *             address-space ids it need not, but then flushes must reach what is kept of spaces
 *             that are not loaded, without an interrupt for each.
 * Idea        Ids belong to a CPU: it numbers the spaces that it had last. A space counts its
 *             flushes (generation); a CPU notes, for each space that it keeps, the generation up to which it has
 *             flushed. Flushes ask only the CPUs that have the space loaded. One that loads it
 *             again compares, and drops what it kept if it missed any. So does one that is asked: a
 *             flush that a fuller one has covered is skipped, and one that came too early is made
 *             a full one.
 *             What all spaces share is the kernel's; for that, every CPU is asked. Its pages are
 *             global and go from all ids at once. Tables, and pages that are not global, may be
 *             known under ids that are not loaded: those are forgotten.
 * Invariants  A1 root[i] with a generation that is not 0: what is cached with its id comes from that
 *                space, and nothing of it is older than that generation. Id 0 is nobody's: it belongs
 *                to who writes the root register himself
 *             A2 no root but root[0] is used without ids; loading drops everything then
 *             A3 the kernel space has root[0]. Its generation there is KEPT or 0: it is asked always
 *             A4 a request while a root is being loaded (NMI) drops everything: which id it would
 *                reach is not known
 *             A5 a request does not look at its space, which may be gone
 * Order       Maker: entry cleared, generation + 1, fence, mask read. Loader: mask joined, fence,
 *             generation read, root loaded. Either the maker asks this CPU, or it sees the generation.
 * Locking     None; on the CPU itself, interrupts off. A request may come as an NMI.
 * Cost        Loading: two locked instructions, and one look at each of six roots.
 * Rejected    Ids for the whole machine: they run out, and then all CPUs stop. INVPCID of what other
 *             ids keep: what is not loaded again needs no flush. One generation for all spaces: one
 *             word that every unmap writes.
 */
#include "mm_cpu.h"
#include "subtree.h"

#define KEPT 1u /* lower than the generation of any space */

/* ---- what is kept ---- */

static bool uses_asids(const struct mm_vmm *vmm)
{
    return (vmm->paging.flags & MM_PAGING_ASIDS) != 0;
}

/* All but `but`. */
static void forget_roots(struct mm_vmm_cpu *cpu, unsigned but)
{
    for (unsigned i = 0; i < MM_VMM_ROOTS; i++)
        if (i != but)
            mm_store_relaxed_u64(&cpu->root[i].generation, 0);
}

/* A request may come in between (NMI): nothing is called flushed before it is. */
void mm_cpu_forget(struct mm_vmm *vmm, struct mm_vmm_cpu *cpu)
{
    const struct mm_space *kernel = vmm->kernel;
    uint64_t generation =
        mm_load_acquire_u64(kernel != NULL ? &kernel->generation : &vmm->generations);

    forget_roots(cpu, MM_VMM_ROOTS);
    mm_store_relaxed_u64(&cpu->kernel_generation, 0);
    mm_fence_signal();
    mm_mmu_flush_all();
    mm_fence_signal();
    mm_store_relaxed_u64(&cpu->kernel_generation, generation);
}

void mm_cpu_adopt(struct mm_vmm_cpu *cpu, struct mm_space *space)
{
    forget_roots(cpu, MM_VMM_ROOTS);
    cpu->root[0] = (struct mm_vmm_root){(uintptr_t)space, KEPT};
    mm_store_relaxed_u32(&cpu->loaded, 0);
    cpu->active = space;
}

/* The root[] for a space: the one that it had, or the next in turn. */
static unsigned root_of(struct mm_vmm_cpu *cpu, const struct mm_space *space)
{
    if (!uses_asids(space->vmm) || mm_space_is_kernel(space))
        return 0;
    for (unsigned i = 1; i < MM_VMM_ROOTS; i++)
        if (cpu->root[i].space == (uintptr_t)space)
            return i;
    cpu->turn = (uint16_t)(cpu->turn % (MM_VMM_ROOTS - 1) + 1);
    return cpu->turn;
}

/* ---- loading ---- */

static uint32_t asid_of(unsigned root)
{
    return root + 1; /* A1 */
}

/* Is loaded what libmm has loaded last, and with its id? */
static bool is_as_left(const struct mm_vmm_cpu *cpu)
{
    return cpu->active != NULL && mm_mmu_root().raw == cpu->active->root.raw &&
           mm_mmu_asid() == asid_of(mm_load_relaxed_u32(&cpu->loaded));
}

/* Would translations of the lower half stay when this CPU goes from `before` to `space`? A CPU that
 * has loaded nothing through libmm may be on the kernel space's root. */
static bool low_half_stays(const struct mm_space *space, const struct mm_space *before)
{
    return (space->vmm->state & MM_VMM_LOW_GLOBAL) != 0 && !mm_space_is_kernel(space) &&
           (before == NULL || mm_space_is_kernel(before));
}

/* The CPU is in the mask of the space. */
static void root_load(struct mm_vmm_cpu *cpu, struct mm_space *space)
{
    unsigned id = root_of(cpu, space);
    struct mm_vmm_root *root = &cpu->root[id];
    uint64_t generation;
    bool keep;

    mm_store_relaxed_u16(&cpu->loading, 1); /* A4 */
    mm_fence_signal();
    if (uses_asids(space->vmm) && !is_as_left(cpu))
        forget_roots(cpu, MM_VMM_ROOTS); /* somebody else was here, and used ids as he liked */
    generation = mm_space_is_kernel(space) ? KEPT : mm_load_acquire_u64(&space->generation);
    keep = uses_asids(space->vmm) && root->space == (uintptr_t)space &&
           mm_load_relaxed_u64(&root->generation) == generation;
    root->space = (uintptr_t)space;
    mm_store_relaxed_u64(&root->generation, generation);
    mm_store_relaxed_u32(&cpu->loaded, id);
    cpu->active = space;
    if (uses_asids(space->vmm))
        mm_mmu_load_root_asid(space->root, asid_of(id), keep ? MM_MMU_KEEP : 0);
    else
        mm_mmu_load_root(space->root);
    mm_fence_signal();
    mm_store_relaxed_u16(&cpu->loading, 0);
}

/* Load a space that this CPU may load. No interrupts. */
static enum mm_err load_on(struct mm_space *space, struct mm_vmm_cpu *cpu, unsigned index)
{
    struct mm_space *before = cpu->active;
    enum mm_err err = before == space ? MM_OK : mm_space_hold(space);

    if (err != MM_OK)
        return err;
    mm_cpuset_add(&space->cpus, index);
    mm_fence_full(); /* pairs with those in mm_gather_flush_here() and rewrite_begin() */
    while (mm_load_acquire_u32(&space->rewriters) != 0) /* pairs with rewrite_end() */
        mm_cpu_relax();
    root_load(cpu, space);
    if (low_half_stays(space, before))
        mm_mmu_flush_all();
    if (before != NULL && before != space) {
        mm_cpuset_remove(&before->cpus, index);
        mm_space_unhold(before);
    }
    return MM_OK;
}

enum mm_err mm_space_activate(struct mm_space *space)
{
    enum mm_err err = mm_space_alive(space);
    struct mm_vmm *vmm;
    mm_guard_t guard;
    unsigned cpu;

    if (err != MM_OK)
        return err;
    vmm = space->vmm;
    guard = mm_cpu_guard();
    cpu = mm_cpu_index();
    if (cpu >= vmm->cpu_count || !mm_cpuset_has(&vmm->online, cpu))
        err = MM_ERR_BAD_ARG;
    else if (mm_section_is_on(vmm))
        err = MM_ERR_BUSY; /* who rewrites entries may wait for this CPU's cursor */
    else
        err = load_on(space, mm_vmm_cpu(vmm, cpu), cpu);
    mm_cpu_unguard(guard);
    return err;
}

struct mm_space *mm_space_current(struct mm_vmm *vmm)
{
    struct mm_space *space;
    mm_guard_t guard;
    unsigned cpu;

    if (vmm == NULL)
        return NULL;
    guard = mm_cpu_guard();
    cpu = mm_cpu_index();
    space = cpu < vmm->cpu_count ? mm_vmm_cpu(vmm, cpu)->active : NULL;
    mm_cpu_unguard(guard);
    return space;
}

void mm_space_loaded_on(const struct mm_space *space, struct mm_cpuset *out)
{
    if (out == NULL)
        return;
    *out = (struct mm_cpuset)MM_ZERO;
    if (mm_space_alive(space) == MM_OK)
        (void)mm_cpuset_read(&space->cpus, space->vmm->cpu_count, out);
}

/* ---- flushing ---- */

/* May what is removed be cached under ids that are not loaded? Tables may, and pages of the lower half,
 * and with an adopted root those that somebody else made. */
static bool reaches_other_ids(const struct mm_gather *gather)
{
    if (gather->table_count != 0 || (gather->flags & MM_GATHER_ADOPTED) != 0)
        return true;
    for (uint32_t i = 0; i < gather->page_count; i++)
        if (!mm_pt_kernel_half(gather->page[i].start))
            return true;
    return false;
}

static void flush_pages(const struct mm_gather *gather)
{
    for (uint32_t i = 0; i < gather->page_count; i++)
        mm_mmu_flush_page(gather->page[i].start);
}

static void flush_full(const struct mm_gather *gather)
{
    if ((gather->flags & MM_GATHER_KERNEL) != 0)
        mm_mmu_flush_all();
    else
        mm_mmu_flush_space();
}

void mm_gather_flush_cpu(const struct mm_gather *gather)
{
    struct mm_vmm_cpu *cpu = mm_vmm_cpu(gather->vmm, mm_cpu_index());
    bool kernel = (gather->flags & MM_GATHER_KERNEL) != 0;
    uint64_t *done;
    bool singly;

    if (mm_load_relaxed_u16(&cpu->loading) != 0) {
        mm_mmu_flush_all(); /* A4 */
        return;
    }
    if (!kernel && cpu->active != gather->space)
        return; /* left meanwhile: loading it again will do it */
    done =
        kernel ? &cpu->kernel_generation : &cpu->root[mm_load_relaxed_u32(&cpu->loaded)].generation;
    if (gather->generation != 0 && mm_load_relaxed_u64(done) >= gather->generation)
        return; /* a full flush has covered it */
    singly = (gather->flags & MM_GATHER_EVERYTHING) == 0 &&
             (gather->generation == 0 || mm_load_relaxed_u64(done) + 1 == gather->generation);
    if (singly)
        flush_pages(gather);
    else
        flush_full(gather);
    if (singly && kernel && uses_asids(gather->vmm) && reaches_other_ids(gather))
        forget_roots(cpu, mm_load_relaxed_u32(&cpu->loaded));
    if (gather->generation != 0)
        mm_store_relaxed_u64(done, gather->generation);
}

/* Without ids a CPU that is not in the mask keeps nothing, so only those count that are asked. */
bool mm_gather_call(struct mm_gather *gather, struct mm_cpuset *cpus)
{
    struct mm_space *space = gather->space;
    struct mm_vmm *vmm = gather->vmm;
    bool kernel = (gather->flags & MM_GATHER_KERNEL) != 0;

    gather->generation = 0;
    if (uses_asids(vmm))
        gather->generation = mm_fetch_add_fence_u64(&space->generation, 1) + 1;
    else
        mm_fence_full(); /* pairs with load_on(): the entry is seen, or its CPU is in here */
    return mm_cpuset_read(kernel ? &vmm->online : &space->cpus, vmm->cpu_count, cpus);
}
