/*
 * fault.c - page faults: the report with the table walk, and faults that a test expects.
 *
 * Problem     "Page fault" alone helps nobody: which access, forbidden at which level, by which
 *             entry? And a test of memory rights has to fault and live.
 * Idea        The report decodes the error code in words and walks the tables as the CPU does,
 *             from CR3, with code of its own: it must not trust the library under test. A probe
 *             notes where to resume; the handler resumes there if one is under way.
 * Invariants  I1 `probing` is set only between the two lines of probe() that touch memory
 *             I2 the walk reads only frames that phys_to_virt() knows
 * Locking     None: one CPU, and no interrupt handler probes.
 * Cost        At most five reads per walk.
 * Rejected    A table of instruction addresses that may fault: three probes need none.
 */
#include "fault.h"

#include <stddef.h>

#include "cpu.h"
#include "idt.h"
#include "power.h"
#include "print.h"

#define ENTRY_PRESENT UINT64_C(1)
#define ENTRY_LARGE   (UINT64_C(1) << 7)
#define ENTRY_FRAME   UINT64_C(0x000ffffffffff000) /* bits 12 to 51 */
#define BOOT_WINDOW   UINT64_C(0xffffffff80000000)
#define BOOT_MAPPED   (UINT64_C(1) << 30)

struct probe_resume {
    uint64_t rip, rsp;
};

typedef uint64_t probe_fn(uint64_t address, uint64_t value, struct probe_resume *resume);
probe_fn probe_read_at, probe_write_at, probe_fetch_at;

static bool probing;
static struct probe_resume resume;
static struct fault_seen seen;

static const void *boot_window(uint64_t phys)
{
    return phys < BOOT_MAPPED ? (const void *)(uintptr_t)(BOOT_WINDOW + phys) : NULL;
}

static phys_to_virt_fn *window = boot_window;

void fault_set_window(phys_to_virt_fn *fn)
{
    window = fn;
}

const void *phys_to_virt(uint64_t phys)
{
    return window(phys);
}

static void print_entry(unsigned level, unsigned index, uint64_t entry)
{
    static const struct {
        unsigned bit;
        const char *name;
    } flags[] = {{1, "write"},    {2, "user"},  {3, "write-through"}, {4, "uncached"},
                 {5, "accessed"}, {6, "dirty"}, {8, "global"},        {63, "no-execute"}};

    kprintf("  level %u [%3u] %016lx", level, index, entry);
    if (!(entry & ENTRY_PRESENT)) {
        kprintf(" not present\n");
        return;
    }
    if (level > 1 && !(entry & ENTRY_LARGE))
        kprintf(" -> table %lx:", entry & ENTRY_FRAME);
    else
        kprintf(" -> frame %lx (level %u leaf):", entry & ENTRY_FRAME, level);
    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (entry >> flags[i].bit & 1)
            kprintf(" %s", flags[i].name);
    }
    kprintf("\n");
}

void fault_print_walk(uint64_t address)
{
    unsigned level = read_cr4() & CR4_LA57 ? 5 : 4;
    uint64_t table = read_cr3() & ENTRY_FRAME;

    kprintf("  walk of %016lx, root %lx:\n", address, table);
    for (; level > 0; level--) {
        const volatile uint64_t *entries = phys_to_virt(table);
        unsigned index = (unsigned)(address >> (12 + 9 * (level - 1))) & 511;
        uint64_t entry;

        if (!entries) {
            kprintf("  level %u: table %lx is outside the window\n", level, table);
            return;
        }
        entry = entries[index];
        print_entry(level, index, entry);
        if (!(entry & ENTRY_PRESENT) || (level > 1 && entry & ENTRY_LARGE))
            return;
        table = entry & ENTRY_FRAME;
    }
}

static void print_code(uint64_t code)
{
    const char *access = code & FAULT_FETCH ? "fetch" : code & FAULT_WRITE ? "write" : "read";

    kprintf("%s in %s mode, ", access, code & FAULT_USER ? "user" : "supervisor");
    if (code & FAULT_RESERVED)
        kprintf("reserved bit set in an entry");
    else
        kprintf("%s", code & FAULT_PRESENT ? "forbidden by a present entry" : "not present");
    kprintf(" (error 0x%lx)\n", code);
}

/* Resumes a probe that is under way; false if there is none. */
static bool resume_probe(struct trap_frame *frame)
{
    if (!probing)
        return false;
    probing = false;
    seen.hit = true;
    seen.vector = (unsigned)frame->vector;
    seen.code = frame->error;
    seen.address = frame->vector == VECTOR_PAGE_FAULT ? read_cr2() : 0;
    frame->rip = resume.rip;
    frame->rsp = resume.rsp;
    return true;
}

static void on_page_fault(struct trap_frame *frame)
{
    uint64_t address = read_cr2();

    if (resume_probe(frame))
        return;
    kprintf("page fault at %016lx: ", address);
    print_code(frame->error);
    fault_print_walk(address);
    trap_panic(frame);
}

static void on_protection(struct trap_frame *frame)
{
    if (!resume_probe(frame))
        trap_panic(frame);
}

void fault_init(void)
{
    idt_set_handler(VECTOR_PAGE_FAULT, on_page_fault);
    idt_set_handler(VECTOR_PROTECTION, on_protection);
}

/* An interrupt in between would have its own faults taken for the probe's. */
static struct fault_seen probe(probe_fn *fn, uint64_t address, uint64_t value)
{
    bool were_on = read_flags() & RFLAGS_IF;
    struct fault_seen result;

    interrupts_off();
    seen = (struct fault_seen){0};
    probing = true;
    value = fn(address, value, &resume);
    probing = false;
    result = seen;
    result.value = result.hit ? 0 : value;
    if (were_on)
        interrupts_on();
    return result;
}

struct fault_seen probe_read(uint64_t address)
{
    return probe(probe_read_at, address, 0);
}

struct fault_seen probe_write(uint64_t address, uint64_t value)
{
    return probe(probe_write_at, address, value);
}

struct fault_seen probe_fetch(uint64_t address)
{
    return probe(probe_fetch_at, address, 0);
}
