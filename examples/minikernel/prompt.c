/*
 * prompt.c - the list of commands, and the loop that obeys them.
 *
 * Problem     Whoever boots this kernel wants to ask it questions, and see what a mistake does.
 * Idea        A table of {name, arguments, help, function}; `help` prints the table itself.
 * Invariants  A command leaves interrupts on, and no frame or mapping behind but what `alloc` gave.
 * Locking     None: one CPU, and no interrupt handler uses libmm here.
 * Cost        None while nobody types: the CPU sleeps between ticks of the timer.
 * Rejected    Abbreviations: with a dozen short words they save little.
 */
#include "prompt.h"

#include <stddef.h>

#include "print.h"
#include "prompt_commands.h"
#include "prompt_line.h"
#include "prompt_words.h"
#include "timer.h"

#define WATCHDOG_SECONDS 60 /* a command that takes longer hangs */

typedef void command_fn(const struct words *words);

struct command {
    const char *name;
    const char *arguments;
    unsigned words; /* at most, with its name */
    const char *help;
    command_fn *run; /* NULL: quit */
};

static command_fn command_help;

static const struct command commands[] = {
    {"help", "", 1, "this list", command_help},
    {"map", "", 1, "the memory map: what the firmware says, and what lies there", command_map},
    {"pmm", "", 1, "frames: how many, where, in which blocks", command_pmm},
    {"vmm", "", 1, "the kernel space: its layout, and what is mapped", command_vmm},
    {"heap", "", 1, "the heap: how much is in use", command_heap},
    {"walk", "ADDR", 2, "the page-table entries that translate a virtual address", command_walk},
    {"who", "ADDR", 2, "all that is known of a physical or virtual address", command_who},
    {"alloc", "N [heap|frames]", 3, "take N bytes of heap, or N contiguous frames", command_alloc},
    {"free", "ADDR", 2, "give back what alloc gave; libmm refuses anything else", command_free},
    {"fault", "ADDR [read|write|exec]", 3, "touch an address, and see the report of its fault",
     command_fault},
    {"stress", "[ROUNDS|SECONDSs]", 2, "use all layers at random, check them, compare frames",
     command_stress},
    {"check", "", 1, "let libmm's checkers walk everything", command_check},
    {"quit", "", 1, "end the machine", NULL},
};

static void command_help(const struct words *words)
{
    (void)words;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        kprintf("  %-6s %-22s  %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    kprintf("Addresses are hexadecimal, with or without 0x. Numbers are decimal and may end in K "
            "or M.\n");
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (words_equal(commands[i].name, name))
            return &commands[i];
    }
    return NULL;
}

/* False: the machine is to end. */
static bool obey(char *line)
{
    const struct command *command;
    struct words words;

    words_split(line, &words);
    if (words.count == 0)
        return true;
    command = find(words.at[0]);
    if (!command) {
        kprintf("no command is called '%s'; there is help\n", words.at[0]);
        return true;
    }
    if (words.count > command->words) {
        kprintf("%s: too many words, from '%s' on\n", command->name, words.at[command->words]);
        return true;
    }
    if (!command->run)
        return false;
    timer_watchdog(WATCHDOG_SECONDS);
    command->run(&words);
    timer_watchdog(0);
    return true;
}

void prompt_run(void)
{
    char *line;

    kprintf("Type help for what can be asked, quit to end.\n");
    do
        line = prompt_line_read("mm> ");
    while (line && obey(line));
}
