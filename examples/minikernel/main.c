/*
 * main.c - what happens when.
 *
 * Map, demonstration, self-tests, whose last line is "N of N passed"; then the machine is switched
 * off with the verdict. Words on the command line: `demo` leaves the self-tests out, `interactive`
 * has a prompt in their place, `fault` ends with a page fault and its report, `tables` makes mappings
 * to be looked at from outside. `adopt` makes libmm go on with the boot code's page tables, and
 * `levels=5` makes these, and then libmm's, five levels deep.
 */
#include <stdint.h>

#include "cpu.h"
#include "demo.h"
#include "fault.h"
#include "gdt.h"
#include "idt.h"
#include "memory.h"
#include "power.h"
#include "print.h"
#include "prompt.h"
#include "selftest.h"
#include "serial.h"
#include "tables.h"
#include "timer.h"

#define WATCHDOG_SECONDS 120

_Noreturn void kernel_main(uint32_t magic, uint32_t info_phys);

void kernel_main(uint32_t magic, uint32_t info_phys)
{
    bool passed;

    serial_init();
    gdt_init();
    idt_init();
    fault_init();
    kprintf("minikernel: booted by %s, information at %x\n",
            magic == 0x36d76289 ? "Multiboot2" : "PVH", info_phys);
    memory_start(magic, info_phys);
    memory_print_map();
    timer_start();
    timer_watchdog(WATCHDOG_SECONDS);
    interrupts_on();
    passed = demo_run();
    if (memory_has_word("fault"))
        demo_fault();
    if (memory_has_word("interactive")) {
        timer_watchdog(0);
        prompt_run();
    } else if (memory_has_word("tables")) {
        timer_watchdog(0);
        tables_run();
    } else if (!memory_has_word("demo")) {
        passed &= selftest_run_all(!memory_has_word("adopt"));
    }
    power_exit(passed);
}
