/*
 * serial.c - the console: COM1, 115200 baud, polled.
 *
 * Problem     The kernel must be heard before it has memory, interrupts or a display.
 * Idea        A 16550 needs seven register writes; after that one status bit says "send more".
 * Invariants  What a reader takes within a second is not lost; a device that is stuck for longer
 *             stops the kernel once, not for each byte.
 * Locking     None. A trap may print in the middle of a line; the lines mix, nothing breaks.
 * Cost        One port read and one write per byte.
 * Rejected    An interrupt-driven queue: the panic path would have to drain it by polling anyway.
 */
#include "serial.h"

#include <stdint.h>

#include "cpu.h"

#define COM1          0x3f8
#define LINE_CONTROL  (COM1 + 3)
#define LINE_STATUS   (COM1 + 5)
#define STATUS_DATA   0x01u     /* a received byte waits */
#define STATUS_READY  0x20u     /* the transmitter takes another byte */
#define DIVISOR_LATCH 0x80u     /* the first two registers become the divisor */
#define POLL_LIMIT    50000000u /* QEMU: 30 ns each, and its reader may be busy for a second */

static bool stuck; /* the last byte was not taken in time */

void serial_init(void)
{
    port_write8(COM1 + 1, 0); /* no interrupts */
    port_write8(LINE_CONTROL, DIVISOR_LATCH);
    port_write8(COM1 + 0, 1); /* 115200 / 1 */
    port_write8(COM1 + 1, 0);
    port_write8(LINE_CONTROL, 0x03); /* 8 bits, no parity, 1 stop bit */
    port_write8(COM1 + 2, 0xc7);     /* FIFO on, both cleared */
    port_write8(COM1 + 4, 0x03);     /* DTR, RTS */
}

/* Once stuck, the device is asked once for each byte, until it takes one. */
static void wait_until_ready(void)
{
    unsigned polls = stuck ? POLL_LIMIT : 0;

    while (!(port_read8(LINE_STATUS) & STATUS_READY) && polls++ < POLL_LIMIT)
        ;
    stuck = polls > POLL_LIMIT;
}

void serial_write(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        wait_until_ready();
        port_write8(COM1, (uint8_t)text[i]);
    }
}

bool serial_read(char *out)
{
    if (!(port_read8(LINE_STATUS) & STATUS_DATA))
        return false;
    *out = (char)port_read8(COM1);
    return true;
}
