/*
 * idt.c - traps: the 32 exceptions of the CPU and the 16 lines of the interrupt controller.
 *
 * Problem     Every trap must reach C with all registers saved, and an unexpected one must say
 *             what happened instead of resetting the machine.
 * Idea        48 equal stubs in trap.S, 16 bytes apart, push the vector and meet in one routine,
 *             which calls trap_dispatch(); a table of handlers does the rest.
 * Invariants  I1 gates are interrupt gates: a handler runs with interrupts off
 *             I2 NMI, double fault and machine check run on their own stack (gdt.c)
 * Locking     Handlers are set before interrupts are on, or for vectors that cannot occur then.
 * Cost        15 pushes and one indirect call per trap.
 * Rejected    Trap gates for exceptions: a timer tick in the middle of a fault report.
 */
#include "idt.h"

#include "gdt.h"
#include "power.h"
#include "print.h"

#define STUB_BYTES     16
#define INTERRUPT_GATE UINT64_C(0x8e) /* present, privilege 0, 64-bit interrupt gate */

struct gate {
    uint64_t low, high;
};

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

extern const char trap_stubs[];
void trap_dispatch(struct trap_frame *frame);

static struct gate idt[VECTORS];
static trap_handler *handlers[VECTORS];

static const char *const names[32] = {
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range",
    "invalid opcode",
    "no coprocessor",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack segment fault",
    "general protection",
    "page fault",
    "reserved 15",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualisation",
    "control protection",
    "reserved 22",
    "reserved 23",
    "reserved 24",
    "reserved 25",
    "reserved 26",
    "reserved 27",
    "hypervisor",
    "VMM communication",
    "security",
    "reserved 31",
};

static void set_gate(unsigned vector)
{
    uint64_t stub = (uint64_t)(uintptr_t)(trap_stubs + vector * STUB_BYTES);
    uint64_t ist = 0;

    if (vector == VECTOR_NMI || vector == VECTOR_DOUBLE_FAULT || vector == VECTOR_MACHINE_CHECK)
        ist = IST_FAULT;
    idt[vector].low = (stub & 0xffff) | (uint64_t)SELECTOR_CODE << 16 | ist << 32 |
                      INTERRUPT_GATE << 40 | (stub >> 16 & 0xffff) << 48;
    idt[vector].high = stub >> 32;
}

void idt_init(void)
{
    struct table_pointer pointer = {sizeof(idt) - 1, (uint64_t)(uintptr_t)idt};

    for (unsigned vector = 0; vector < VECTORS; vector++)
        set_gate(vector);
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

void idt_set_handler(unsigned vector, trap_handler *handler)
{
    handlers[vector] = handler;
}

void trap_dispatch(struct trap_frame *frame)
{
    if (!handlers[frame->vector])
        trap_panic(frame);
    handlers[frame->vector](frame);
}

void trap_panic(const struct trap_frame *frame)
{
    kprintf("trap %lu (%s), error 0x%lx\n", frame->vector,
            frame->vector < 32 ? names[frame->vector] : "interrupt", frame->error);
    kprintf("  rip %016lx  rflags %08lx  cs %02lx\n", frame->rip, frame->rflags, frame->cs);
    kprintf("  rsp %016lx  rbp %016lx  ss %02lx\n", frame->rsp, frame->rbp, frame->ss);
    kprintf("  rax %016lx  rbx %016lx  rcx %016lx\n", frame->rax, frame->rbx, frame->rcx);
    kprintf("  rdx %016lx  rsi %016lx  rdi %016lx\n", frame->rdx, frame->rsi, frame->rdi);
    kprintf("  r8  %016lx  r9  %016lx  r10 %016lx\n", frame->r8, frame->r9, frame->r10);
    kprintf("  r11 %016lx  r12 %016lx  r13 %016lx\n", frame->r11, frame->r12, frame->r13);
    kprintf("  r14 %016lx  r15 %016lx\n", frame->r14, frame->r15);
    panic("unexpected trap");
}
