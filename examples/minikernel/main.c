/*
 * main.c - what happens when.
 */
#include <stdint.h>

#include "cpu.h"
#include "fault.h"
#include "gdt.h"
#include "idt.h"
#include "power.h"
#include "print.h"
#include "selftest.h"
#include "serial.h"
#include "timer.h"

#define WATCHDOG_SECONDS 120

_Noreturn void kernel_main(uint32_t magic, uint32_t info_phys);

void kernel_main(uint32_t magic, uint32_t info_phys)
{
    serial_init();
    gdt_init();
    idt_init();
    fault_init();
    kprintf("minikernel: boot magic %08x, information at %08x\n", magic, info_phys);
    timer_start();
    timer_watchdog(WATCHDOG_SECONDS);
    interrupts_on();
    power_exit(selftest_run_all());
}
