/*
 * timer.c - a tick 1000 times a second, for interrupting and for giving up.
 *
 * Problem     The allocator must be interrupted in the middle of its work, often, and a test that
 *             hangs must end.
 * Idea        The oldest devices do: channel 0 of the 8254 timer on line 0 of the 8259 interrupt
 *             controller, which every PC and PC emulator has and which needs no ACPI tables.
 * Invariants  All lines but line 0 are masked.
 * Locking     `ticks` is written only by the handler; readers see any earlier value.
 * Cost        Two port writes at start, one per tick.
 * Rejected    The local APIC timer: its frequency must be measured first, and its registers are
 *             device memory, which needs the library under test.
 */
#include "timer.h"

#include <stddef.h>

#include "cpu.h"
#include "idt.h"
#include "power.h"

#define PIC1_COMMAND  0x20
#define PIC1_DATA     0x21
#define PIC2_COMMAND  0xa0
#define PIC2_DATA     0xa1
#define PIC_INIT      0x11u /* edge triggered, cascaded, four words follow */
#define PIC_8086      0x01u
#define PIC_END       0x20u
#define PIT_CHANNEL0  0x40
#define PIT_COMMAND   0x43
#define PIT_RATE      0x34u /* channel 0, both bytes, mode 2 */
#define PIT_FREQUENCY 1193182u

static volatile uint64_t ticks;
static uint64_t deadline;
static timer_hook *hook;

static void on_tick(struct trap_frame *frame)
{
    ticks = ticks + 1;
    port_write8(PIC1_COMMAND, PIC_END);
    if (deadline && ticks >= deadline)
        panic("watchdog: %lu ticks are up; interrupted rip %016lx", deadline, frame->rip);
    if (hook)
        hook();
}

/* The controller raises line 7 or 15 when a request vanishes; there is nothing to do. */
static void on_spurious(struct trap_frame *frame)
{
    (void)frame;
}

static void start_controller(void)
{
    port_write8(PIC1_COMMAND, PIC_INIT);
    port_write8(PIC2_COMMAND, PIC_INIT);
    port_write8(PIC1_DATA, VECTOR_IRQ);
    port_write8(PIC2_DATA, VECTOR_IRQ + 8);
    port_write8(PIC1_DATA, 1u << 2); /* the second controller is on line 2 of the first */
    port_write8(PIC2_DATA, 2);
    port_write8(PIC1_DATA, PIC_8086);
    port_write8(PIC2_DATA, PIC_8086);
    port_write8(PIC1_DATA, 0xfe);
    port_write8(PIC2_DATA, 0xff);
}

void timer_start(void)
{
    const unsigned divisor = PIT_FREQUENCY / TIMER_HZ;

    idt_set_handler(VECTOR_IRQ, on_tick);
    idt_set_handler(VECTOR_IRQ + 7, on_spurious);
    idt_set_handler(VECTOR_IRQ + 15, on_spurious);
    start_controller();
    port_write8(PIT_COMMAND, PIT_RATE);
    port_write8(PIT_CHANNEL0, divisor & 0xff);
    port_write8(PIT_CHANNEL0, divisor >> 8);
}

uint64_t timer_ticks(void)
{
    return ticks;
}

void timer_set_hook(timer_hook *new_hook)
{
    hook = new_hook;
}

void timer_watchdog(unsigned seconds)
{
    deadline = seconds ? ticks + (uint64_t)seconds * TIMER_HZ : 0;
}
