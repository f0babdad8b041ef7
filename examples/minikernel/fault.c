/*
 * fault.c - page faults: the report, and faults that a test expects.
 *
 * Problem     A fault must explain itself, and a test of memory rights has to fault and live.
 * Idea        The report puts the error code in words and prints the table walk. A probe notes where
 *             to resume before it touches the address; the handler resumes there.
 * Invariants  `probing` is set only while probe() runs its one access, with interrupts off.
 * Locking     None: one CPU, and no interrupt handler probes.
 * Cost        One trap per failed probe.
 * Rejected    A table of instruction addresses that may fault: three probes need none.
 */
#include "fault.h"

#include "cpu.h"
#include "idt.h"
#include "power.h"
#include "print.h"
#include "walk.h"

struct probe_resume {
    uint64_t rip, rsp;
};

typedef uint64_t probe_fn(uint64_t address, uint64_t value, struct probe_resume *resume);
probe_fn probe_read_at, probe_write_at, probe_fetch_at;

static bool probing;
static bool report_probes;
static struct probe_resume resume;
static struct fault_seen seen;

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

    if (!probing || report_probes) {
        kprintf("page fault at %016lx: ", address);
        print_code(frame->error);
        walk_print(address);
    }
    if (!resume_probe(frame))
        trap_panic(frame);
}

static void on_protection(struct trap_frame *frame)
{
    if (!resume_probe(frame))
        trap_panic(frame);
}

void fault_report_probes(bool on)
{
    report_probes = on;
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
