/*
 * prompt_walk.c - virtual addresses as the CPU sees them.
 *
 * Problem     Why does this address fault, or lead where it leads?
 * Idea        The kernel's own walk of the tables, and beside it what libmm says. To see the report
 *             of a fault, touch the address as a probe whose fault is reported before it is survived.
 * Invariants  A probe that does not fault changes nothing: what it writes was there before.
 * Locking     Read and write of a probe happen with interrupts off.
 * Cost        Some reads.
 * Rejected    Running code at an address that allows it: no telling what it does.
 */
#include <mm/names.h>

#include "cpu.h"
#include "fault.h"
#include "idt.h"
#include "print.h"
#include "prompt_commands.h"
#include "walk.h"

const char *rights_text(uint32_t prot, enum mm_memtype type)
{
    static const char *const types[] = {
        [MM_MEMTYPE_WB] = "write-back",      [MM_MEMTYPE_WT] = "write-through",
        [MM_MEMTYPE_UC_MINUS] = "uncached-", [MM_MEMTYPE_UC] = "uncached",
        [MM_MEMTYPE_WP] = "write-protect",   [MM_MEMTYPE_WC] = "write-combining",
    };
    static char text[32];

    (void)ksnprintf(text, sizeof(text), "%s%s%s%s %s", prot & MM_PROT_READ ? "r" : "-",
                    prot & MM_PROT_WRITE ? "w" : "-", prot & MM_PROT_EXEC ? "x" : "-",
                    prot & MM_PROT_USER ? " user" : "", types[type]);
    return text;
}

bool walk_print_translation(uint64_t virt, uint64_t *phys)
{
    struct mm_translation to;
    struct mm_space_fail fail;
    enum mm_err err = mm_space_translate(&mm_default.kernel, mm_virt(virt), &to, &fail);

    if (err != MM_OK) {
        kprintf("not mapped: %s", mm_err_text(err));
        if (err == MM_ERR_NOT_FOUND)
            kprintf(" (level %u, entry 0x%lx)", fail.level, fail.entry);
        kprintf("\n");
        return false;
    }
    kprintf("mapped to %lx by a page of %lu KiB, %s\n", to.phys.raw, to.leaf_bytes / 1024,
            rights_text(to.prot, to.type));
    *phys = to.phys.raw;
    return true;
}

void command_walk(const struct words *words)
{
    struct mm_walk_step steps[MM_WALK_STEPS];
    uint64_t virt, phys;

    if (!words_address(words, 1, &virt))
        return;
    if (mm_space_walk(&mm_default.kernel, mm_virt(virt), steps) > 0)
        walk_print(virt); /* canonical: the CPU would look */
    else
        kprintf("  %016lx is not canonical: no table says anything of it\n", virt);
    kprintf("  libmm: ");
    (void)walk_print_translation(virt, &phys);
}

static bool may_execute(uint64_t virt)
{
    struct walk walk;

    walk_tables(virt, &walk);
    return walk.mapped && walk.execute;
}

/* What is written was read before, with interrupts off, so that nothing is lost if nothing faults. */
static struct fault_seen touch(uint64_t virt, char how)
{
    uint64_t value = how == 'w' ? probe_read(virt).value : 0;
    struct fault_seen seen;

    fault_report_probes(true);
    if (how == 'w')
        seen = probe_write(virt, value);
    else
        seen = how == 'e' ? probe_fetch(virt) : probe_read(virt);
    fault_report_probes(false);
    return seen;
}

void command_fault(const struct words *words)
{
    const char *how = words->count > 2 ? words->at[2] : "read";
    struct fault_seen seen;
    uint64_t virt;

    if (!words_address(words, 1, &virt))
        return;
    if (!words_equal(how, "read") && !words_equal(how, "write") && !words_equal(how, "exec")) {
        kprintf("fault: '%s' is neither read, write nor exec\n", how);
        return;
    }
    if (*how == 'e' && may_execute(virt)) {
        kprintf("fault: there is code at %lx, which would run\n", virt);
        return;
    }
    interrupts_off();
    seen = touch(virt, *how);
    interrupts_on();
    if (!seen.hit)
        kprintf("no fault: the %s went through\n", how);
    else if (seen.vector == VECTOR_PROTECTION)
        kprintf("general protection instead of a page fault: not a canonical address\n");
}
