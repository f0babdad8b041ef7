/*
 * vmm.c - what the spaces of one machine share: layout, sources, CPUs.
 *
 * Problem     Spaces must agree on where the kernel's ranges lie, on what the paging hardware can
 *             do, and on which CPUs have to hear of a change.
 * Idea        One struct that is filled at start-up and hardly changes. The first CPU that is
 *             prepared defines what is possible; the others must have at least that.
 * Invariants  I1 layout ranges are canonical, above user_end, 2 MiB-aligned and disjoint; the
 *                kernel area is in the kernel's half. The direct map may be in the lower one, for
 *                kernels that load no other space (and on hosts, where tests follow its pointers)
 *             I2 a CPU in `online` has flushed everything after it joined, so what was changed
 *                before cannot be cached there. A set that was read before a CPU left names it
 *                afterwards; the host answers for it (mm/host.h)
 * Locking     None: start-up is serial, and each CPU changes its own bits.
 * Cost        O(1) but for the first clearing of the structs.
 * Rejected    Constants for the bases: kernels differ, and 5 levels move everything.
 */
#include "mm/vmm.h"

#include "mm_cpu.h"
#include "subtree.h"

#define LAYOUT_ALIGN (UINT64_C(2) << 20)

void mm_layout_default(struct mm_layout *out)
{
    if (out == NULL)
        return;
    out->direct_map.start = mm_virt(MM_PORT_DIRECT_MAP);
    out->direct_map.bytes = MM_PORT_DIRECT_MAP_BYTES;
    out->kernel_area.start = mm_virt(MM_PORT_KERNEL_AREA);
    out->kernel_area.bytes = MM_PORT_KERNEL_AREA_BYTES;
    out->user_end = mm_virt(MM_PORT_USER_END);
}

/* Above what user spaces map, and on one side of the canonical hole. */
static bool layout_range_ok(const struct mm_virt_range *range, mm_virt_t user_end, unsigned levels)
{
    uint64_t start = range->start.raw;
    mm_virt_t last;

    if (range->bytes == 0)
        return true;
    if (!mm_is_aligned(start | range->bytes, LAYOUT_ALIGN) || !mm_range_ok(start, range->bytes))
        return false;
    last = mm_virt(mm_range_last(start, range->bytes));
    return start >= user_end.raw && mm_pt_canonical(range->start, levels) &&
           mm_pt_canonical(last, levels) &&
           mm_pt_kernel_half(range->start) == mm_pt_kernel_half(last);
}

static bool ranges_overlap(const struct mm_virt_range *a, const struct mm_virt_range *b)
{
    if (a->bytes == 0 || b->bytes == 0)
        return false;
    return a->start.raw <= mm_range_last(b->start.raw, b->bytes) &&
           b->start.raw <= mm_range_last(a->start.raw, a->bytes);
}

static bool layout_ok(const struct mm_layout *layout, unsigned levels)
{
    uint64_t end = layout->user_end.raw;

    if (!mm_is_aligned(end, MM_FRAME_BYTES) ||
        (end != 0 &&
         (mm_pt_kernel_half(mm_virt(end - 1)) || !mm_pt_canonical(mm_virt(end - 1), levels))))
        return false;
    if (layout->kernel_area.bytes != 0 && !mm_pt_kernel_half(layout->kernel_area.start))
        return false;
    return layout_range_ok(&layout->direct_map, layout->user_end, levels) &&
           layout_range_ok(&layout->kernel_area, layout->user_end, levels) &&
           !ranges_overlap(&layout->direct_map, &layout->kernel_area);
}

static bool source_ok(const struct mm_frame_source *source)
{
    return source->alloc != NULL && source->free != NULL;
}

enum mm_err mm_vmm_init_abi(struct mm_vmm *vmm, const struct mm_vmm_config *config,
                            const uint32_t *abi)
{
    struct mm_layout layout;
    struct mm_paging paging;

    (void)abi;
    if (vmm == NULL || config == NULL || config->window == NULL || !source_ok(&config->tables) ||
        config->cpu_count == 0 || config->cpu_count > MM_CPUS_MAX ||
        (config->flags & ~MM_VMM_NO_ASIDS) != 0)
        return MM_ERR_BAD_ARG;
    mm_port_cpu_paging(&paging);
    paging.flags &= ~MM_PAGING_ASIDS; /* until mm_cpu_init() */
    if (paging.levels < MM_PT_LEVELS_MIN || paging.levels > MM_PT_LEVELS_MAX)
        return MM_ERR_CPU;
    mm_layout_default(&layout);
    if (config->layout != NULL)
        layout = *config->layout;
    if (!layout_ok(&layout, paging.levels))
        return MM_ERR_RANGE;
    __builtin_memset(vmm, 0, sizeof *vmm);
    vmm->tables = config->tables;
    vmm->window = config->window;
    vmm->pmm = config->pmm;
    vmm->layout = layout;
    vmm->paging = paging;
    vmm->generations = 1;
    vmm->state = config->flags != 0 ? MM_VMM_WITHOUT_ASIDS : 0;
    vmm->cpu_count = config->cpu_count;
    vmm->cpu = &vmm->one;
    if (config->cpu != NULL)
        mm_vmm_set_cpus(vmm, config->cpu);
    vmm->epoch = 1;
    return MM_OK;
}

void mm_vmm_set_cpus(struct mm_vmm *vmm, struct mm_vmm_cpu *cpu)
{
    unsigned self = mm_cpu_index();

    if (vmm == NULL || vmm->cpu_count == 0 || cpu == NULL || vmm->cpu_mask != 0)
        return;
    __builtin_memset(cpu, 0, vmm->cpu_count * sizeof *cpu);
    vmm->cpu = cpu;
    vmm->cpu_mask = UINT64_MAX;
    if (self < vmm->cpu_count)
        cpu[self] = vmm->one;
}

void mm_vmm_set_sources(struct mm_vmm *vmm, const struct mm_frame_source *tables,
                        struct mm_pmm *pmm)
{
    if (!mm_vmm_is_made(vmm) || tables == NULL || !source_ok(tables))
        return;
    vmm->tables = *tables;
    vmm->pmm = pmm;
    mm_sections_forget(vmm, NULL);
    if (vmm->kernel == NULL)
        return;
    mm_vmm_note_tags(vmm, mm_tables_have_tags(vmm));
    mm_space_recount(vmm->kernel);
}

void mm_vmm_set_window(struct mm_vmm *vmm, const struct mm_window *window)
{
    if (!mm_vmm_is_made(vmm) || window == NULL)
        return;
    vmm->window = window;
    mm_sections_forget(vmm, NULL);
}

/* Does `cpu` have all that `boot` has? Entries made for one must be right on the other. */
static bool paging_covers(const struct mm_paging *cpu, const struct mm_paging *boot)
{
    return cpu->levels == boot->levels && cpu->phys_bits >= boot->phys_bits &&
           (boot->leaf_levels & ~cpu->leaf_levels) == 0 && (boot->flags & ~cpu->flags) == 0;
}

/* Is there memory for one CPU, and another is online? */
static bool is_one_too_many(const struct mm_vmm *vmm, unsigned cpu)
{
    struct mm_cpuset online;

    if (vmm->cpu_mask != 0 || !mm_cpuset_read(&vmm->online, vmm->cpu_count, &online))
        return false;
    online.bits[cpu / 64] &= ~(UINT64_C(1) << cpu % 64);
    return mm_cpuset_read(&online, vmm->cpu_count, &online);
}

enum mm_err mm_cpu_init(struct mm_vmm *vmm, unsigned cpu)
{
    struct mm_paging paging;
    uint32_t wanted;
    enum mm_err err;

    if (vmm == NULL || cpu >= vmm->cpu_count || cpu != mm_cpu_index() || is_one_too_many(vmm, cpu))
        return MM_ERR_BAD_ARG;
    wanted = (vmm->state & MM_VMM_WITHOUT_ASIDS) != 0 ? 0 : MM_PAGING_ASIDS;
    err = mm_port_cpu_init(&paging, wanted);
    if (err != MM_OK)
        return err;
    if (wanted == 0 || (paging.flags & MM_PAGING_GLOBAL) == 0) /* the loader may have them on */
        paging.flags &= ~MM_PAGING_ASIDS;
    if ((vmm->state & MM_VMM_CPU_KNOWN) == 0) {
        if (paging.levels != vmm->paging.levels)
            return MM_ERR_CPU;
        vmm->paging = paging;
        vmm->state |= MM_VMM_CPU_KNOWN;
    } else if (!paging_covers(&paging, &vmm->paging)) {
        return MM_ERR_CPU;
    }
    mm_cpuset_add(&vmm->online, cpu);
    mm_fence_full(); /* a change is either flushed here, or its maker sees this CPU online */
    mm_cpu_forget(vmm, mm_vmm_cpu(vmm, cpu));
    return MM_OK;
}

enum mm_err mm_cpu_exit(struct mm_vmm *vmm, unsigned cpu)
{
    struct mm_space *space;

    if (vmm == NULL || cpu >= vmm->cpu_count || cpu != mm_cpu_index())
        return MM_ERR_BAD_ARG;
    space = mm_vmm_cpu(vmm, cpu)->active;
    mm_vmm_cpu(vmm, cpu)->active = NULL;
    mm_cpuset_remove(&vmm->online, cpu);
    if (space != NULL) {
        mm_cpuset_remove(&space->cpus, cpu);
        mm_space_unhold(space);
    }
    if (vmm->pmm != NULL) { /* last: unholding a space may free frames */
        (void)mm_pmm_drain(vmm->pmm, 0);
        mm_pmm_park(vmm->pmm);
    }
    return MM_OK;
}
