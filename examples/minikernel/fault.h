/*
 * fault.h - page faults: the report, and faults that a test expects.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* Bits of the error code (Intel SDM vol. 3A, 4.7). */
#define FAULT_PRESENT  0x01u /* a present entry forbade it; else no entry was present */
#define FAULT_WRITE    0x02u
#define FAULT_USER     0x04u
#define FAULT_RESERVED 0x08u /* a reserved bit was set in an entry */
#define FAULT_FETCH    0x10u

/* What a probe met. */
struct fault_seen {
    bool hit;         /* false: the access went through */
    unsigned vector;  /* 14, or 13 for a non-canonical address */
    uint64_t code;    /* the CPU's error code */
    uint64_t address; /* CR2; 0 unless the vector is 14 */
    uint64_t value;   /* what probe_read() read, when not hit */
};

void fault_init(void);

/* Touch eight bytes at `address` and survive. probe_fetch() calls it: put a `ret` (0xc3) there. */
struct fault_seen probe_read(uint64_t address);
struct fault_seen probe_write(uint64_t address, uint64_t value);
struct fault_seen probe_fetch(uint64_t address);

/* Are page faults of probes reported as well, before they are survived? At first they are not. */
void fault_report_probes(bool on);

#endif
