/*
 * serial.c - the console: COM1, 115200 baud, polled.
 *
 * Problem     The kernel must be heard before it has memory, interrupts or a display.
 * Idea        A 16550 needs seven register writes; after that one status bit says "send more".
 * Invariants  None: the device holds all state.
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
#define STATUS_DATA   0x01u   /* a received byte waits */
#define STATUS_READY  0x20u   /* the transmitter takes another byte */
#define DIVISOR_LATCH 0x80u   /* the first two registers become the divisor */
#define POLL_LIMIT    100000u /* some 0.1 s: a missing or stuck device must not stop the kernel */

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

void serial_write(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned polls = 0;

        while (!(port_read8(LINE_STATUS) & STATUS_READY) && ++polls < POLL_LIMIT)
            ;
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
