/*
 * prompt_line.c - one line from the keyboard.
 *
 * Problem     The terminal at the other end of a serial line shows nothing by itself and edits
 *             nothing; and waiting for a key must not heat the host.
 * Idea        Echo what is kept. Look for input, then sleep until the next tick of the timer: at
 *             1000 ticks a second the 16 bytes that the device holds last for 115200 baud.
 * Invariants  What is on the screen behind the prompt is what is in the line.
 * Locking     None: only the prompt reads the serial line.
 * Cost        One port read per tick.
 * Rejected    The receive interrupt: another line to unmask and a queue, for a person's typing.
 */
#include "prompt_line.h"

#include <stddef.h>

#include "cpu.h"
#include "print.h"
#include "serial.h"

#define LINE_MAX  100u
#define CTRL_D    0x04
#define BELL      '\a'
#define BACKSPACE '\b'
#define CTRL_U    0x15
#define ESCAPE    0x1b
#define DELETE    0x7f /* what most terminals send for the backspace key */

static char line[LINE_MAX + 1];
static size_t length;
static char last_key;

static char read_key(void)
{
    char key;

    while (!serial_read(&key))
        wait_for_interrupt();
    return key;
}

static void rub_out(void)
{
    if (length > 0) {
        length--;
        kprintf("\b \b");
    }
}

/* Arrow keys and their like: ESC [ parameters letter. */
static void skip_escape(void)
{
    char key = read_key();

    if (key != '[' && key != 'O')
        return;
    do
        key = read_key();
    while (key < '@' || key > '~');
}

static void keep(char key)
{
    if (key < ' ' || key > '~' || length == LINE_MAX) {
        kprintf("%c", BELL);
        return;
    }
    line[length++] = key;
    kprintf("%c", key);
}

static void edit(char key)
{
    switch (key) {
    case BACKSPACE:
    case DELETE:
        rub_out();
        break;
    case CTRL_U:
        while (length > 0)
            rub_out();
        break;
    case ESCAPE:
        skip_escape();
        break;
    default:
        keep(key);
        break;
    }
}

char *prompt_line_read(const char *prompt)
{
    length = 0;
    kprintf("%s", prompt);
    for (;;) {
        char key = read_key();
        bool second_half = key == '\n' && last_key == '\r'; /* some send CR LF for Enter */

        last_key = key;
        if (second_half)
            continue;
        if (key == CTRL_D && length == 0) {
            kprintf("\n");
            return NULL;
        }
        if (key == '\r' || key == '\n')
            break;
        edit(key);
    }
    kprintf("\n");
    line[length] = 0;
    return line;
}

bool prompt_line_interrupted(void)
{
    char key;

    return serial_read(&key);
}
