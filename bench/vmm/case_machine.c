/*
 * case_machine.c - what this machine allows: stores, locked adds, zeroing of tables.
 *
 * Problem     The cases show ratios; somebody will want to know to what.
 * Idea        The limits of all cases, as figures. A table that is zeroed before it is filled costs
 *             each of its 512 pages a part of that.
 * Invariants  -
 * Locking     None.
 * Cost        256 MiB: many times any cache.
 * Rejected    -
 */
#include "bench.h"

#include "../common/limits.h"

#define FAR_BYTES  ((size_t)(256 * MIB))
#define WARM_PAGES 512u /* the tables of 1 GiB */
#define ENTRIES    512.0

/* Of the memory that stands for the RAM of the machines; the rest costs TLB misses of this process. */
static double huge_percent(uint64_t ram_bytes)
{
    double share = (double)memory_huge_bytes() / (double)(LANES * ram_bytes);

    return share < 1 ? share * 100 : 100;
}

void case_machine(const struct settings *settings, const char *name, unsigned number)
{
    struct samples zero = {.count = 0}, zero_far = zero, store_far = zero, huge = zero;
    struct memory memory = memory_take(FAR_BYTES);
    unsigned pages = (unsigned)(memory.bytes / PAGE_BYTES);

    (void)number;
    samples_add(&huge, huge_percent(settings->ram_bytes));
    case_begin();
    for (unsigned round = 0; round < settings->rounds; round++) {
        round_begin();
        (void)limit_zero_ns(memory.start, WARM_PAGES, 1);
        samples_add(&zero, limit_zero_ns(memory.start, WARM_PAGES, 4) / ENTRIES);
        samples_add(&zero_far, limit_zero_ns(memory.start, pages, 1) / ENTRIES);
        samples_add(&store_far, limit_store_ns(memory.start, memory.bytes / 8, 1));
    }
    report_plain(name, "store", "ns", &limits.store);
    report_plain(name, "store, 256 MiB", "ns", &store_far);
    report_plain(name, "lock", "ns", &limits.lock);
    report_plain(name, "zero a table", "ns/page", &zero);
    report_plain(name, "same, 256 MiB", "ns/page", &zero_far);
    report_plain(name, "on 2 MiB pages", "%", &huge);
    memory_give(&memory);
}
