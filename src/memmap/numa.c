/*
 * numa.c - which node memory belongs to, from the ACPI affinity tables.
 *
 * Problem     SRAT tells of proximity domains, 32-bit numbers with gaps, in any order; it has empty
 *             entries, entries that are switched off, and windows in which memory may appear one
 *             day. Two domains may claim the same memory.
 * Idea        Walks over the table: check it, number the domains, set the nodes. Numbers go to
 *             domains in ascending order, so they do not depend on the order of the table. A node
 *             is only set where the memory map has something: a window adds nothing, and yields to
 *             whoever else names the same memory.
 * Invariants  I1 nothing is read outside [table, table + its length), and that is inside the buffer
 *             I2 every structure has at least 2 bytes, so a walk ends
 *             I3 the map is not touched before the whole table was found good
 * Locking     The caller serialises on the map.
 * Cost        O(structures + memory structures^2 + memory structures x ranges).
 * Rejected    Letting the later of two overlapping entries win: then the table is wrong, and memory
 *             on a random node is worse than no nodes at all.
 * Source      ACPI specification 6.5, sections 5.2.6 (header), 5.2.16 (SRAT), 5.2.17 (SLIT).
 */
#include "memmap/reader.h"

#include "base/checked.h"

#define HEADER_BYTES     36u
#define REVISION_AT      8u
#define SRAT_BYTES       48u /* header and 12 reserved bytes */
#define MEMORY_AFFINITY  1u
#define MEMORY_BYTES     40u
#define MEMORY_ENABLED   1u
#define STRUCTURES_MAX   4096u /* memory structures; every pair is compared */
#define SLIT_MATRIX_AT   44u
#define SLIT_DOMAINS_MAX 0xffffu
#define DISTANCE_SELF    10u

static enum mm_err fail(struct mm_boot_fault *fault, enum mm_err err, const char *what,
                        uint32_t tag, uint64_t offset)
{
    if (fault != NULL)
        *fault = (struct mm_boot_fault){what, tag, offset};
    return err;
}

/* The header that all ACPI tables have: signature, length, revision, checksum. */
static enum mm_err table_check(const uint8_t *table, size_t limit_bytes, const char *signature,
                               uint32_t least, uint32_t *bytes, struct mm_boot_fault *fault)
{
    uint8_t sum = 0;
    uint32_t length;

    if (limit_bytes < HEADER_BYTES)
        return fail(fault, MM_ERR_TRUNCATED, "buffer smaller than the header", 0, 0);
    if (__builtin_memcmp(table, signature, 4) != 0)
        return fail(fault, MM_ERR_MALFORMED, "table without its signature", 0, 0);
    length = mm_le32(table + 4);
    if (length < least)
        return fail(fault, MM_ERR_MALFORMED, "table shorter than its fixed part", 0, 4);
    if (length > limit_bytes)
        return fail(fault, MM_ERR_TRUNCATED, "table length exceeds the buffer", 0, 4);
    for (uint32_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + table[i]);
    if (sum != 0)
        return fail(fault, MM_ERR_MALFORMED, "wrong checksum", 0, 9);
    *bytes = length;
    return MM_OK;
}

struct srat {
    const uint8_t *table;
    uint32_t bytes;
    struct mm_boot_fault *fault;
};

/* A memory affinity structure that counts. */
struct affinity {
    uint32_t offset; /* in the table */
    uint32_t domain;
    uint32_t flags;
    uint64_t start;
    uint64_t bytes;
};

/* type u8, length u8, domain u32, reserved u16, base u64, length u64, reserved u32, flags u32.
 * False: of another type, switched off, or empty. Revision 1 had domains of one byte. */
static bool affinity_read(const struct srat *srat, uint32_t offset, struct affinity *out)
{
    const uint8_t *at = srat->table + offset;

    if (at[0] != MEMORY_AFFINITY)
        return false;
    out->offset = offset;
    out->domain = mm_le32(at + 2);
    if (srat->table[REVISION_AT] < 2)
        out->domain &= 0xff;
    out->start = mm_le64(at + 8);
    out->bytes = mm_le64(at + 16);
    out->flags = mm_le32(at + 28);
    return (out->flags & MEMORY_ENABLED) != 0 && out->bytes != 0;
}

/* The next structure that counts, from *offset on; *offset is then behind it. The framing was
 * checked. */
static bool affinity_next(const struct srat *srat, uint32_t *offset, struct affinity *out)
{
    while (*offset < srat->bytes) {
        uint32_t at = *offset;

        *offset += srat->table[at + 1];
        if (affinity_read(srat, at, out))
            return true;
    }
    return false;
}

static enum mm_err structure_check(const struct srat *srat, uint32_t offset, uint32_t *count)
{
    const uint8_t *at = srat->table + offset;
    uint32_t rest = srat->bytes - offset;
    struct affinity it;

    if (rest < 2 || at[1] < 2)
        return fail(srat->fault, MM_ERR_MALFORMED, "structure size below 2", at[0], offset);
    if (at[1] > rest)
        return fail(srat->fault, MM_ERR_MALFORMED, "structure ends beyond the table", at[0],
                    offset);
    if (at[0] == MEMORY_AFFINITY && at[1] < MEMORY_BYTES)
        return fail(srat->fault, MM_ERR_MALFORMED, "memory affinity size below 40", at[0], offset);
    if (!affinity_read(srat, offset, &it))
        return MM_OK;
    if (!mm_range_ok(it.start, it.bytes))
        return fail(srat->fault, MM_ERR_MALFORMED, "memory affinity wraps", at[0], offset);
    if (++*count > STRUCTURES_MAX)
        return fail(srat->fault, MM_ERR_MALFORMED, "more memory affinity than can be", at[0],
                    offset);
    return MM_OK;
}

static enum mm_err structures_check(const struct srat *srat)
{
    uint32_t count = 0;

    for (uint32_t offset = SRAT_BYTES; offset < srat->bytes; offset += srat->table[offset + 1]) {
        enum mm_err err = structure_check(srat, offset, &count);

        if (err != MM_OK)
            return err;
    }
    return count > 0 ? MM_OK : fail(srat->fault, MM_ERR_NOT_FOUND, "no memory affinity", 0, 0);
}

static bool is_window(const struct affinity *it)
{
    return (it->flags & MM_NUMA_HOT_PLUG) != 0;
}

/* Does any structure of the same kind give memory of `it` to another domain? A window yields to
 * what is there: QEMU names one domain for all of the space that modules of any domain lie in. */
static bool contradicted(const struct srat *srat, const struct affinity *it)
{
    uint32_t offset = SRAT_BYTES;
    struct affinity other;

    while (affinity_next(srat, &offset, &other))
        if (other.domain != it->domain && is_window(&other) == is_window(it) &&
            other.start <= mm_range_last(it->start, it->bytes) &&
            it->start <= mm_range_last(other.start, other.bytes))
            return true;
    return false;
}

static enum mm_err contradictions_check(const struct srat *srat)
{
    uint32_t offset = SRAT_BYTES;
    struct affinity it;

    while (affinity_next(srat, &offset, &it))
        if (contradicted(srat, &it))
            return fail(srat->fault, MM_ERR_MALFORMED, "two domains claim the same memory",
                        MEMORY_AFFINITY, it.offset);
    return MM_OK;
}

/* Keep the list of domains sorted: its index is the node. */
static enum mm_err domain_add(struct mm_numa *numa, uint32_t domain)
{
    uint32_t at = 0;

    while (at < numa->node_count && numa->domain[at] < domain)
        at++;
    if (at < numa->node_count && numa->domain[at] == domain)
        return MM_OK;
    if (numa->node_count == MM_NODES_MAX)
        return MM_ERR_NO_ROOM;
    for (uint32_t i = numa->node_count; i > at; i--)
        numa->domain[i] = numa->domain[i - 1];
    numa->domain[at] = domain;
    numa->node_count++;
    return MM_OK;
}

static enum mm_err domains_number(const struct srat *srat, struct mm_numa *numa)
{
    uint32_t offset = SRAT_BYTES;
    struct affinity it;

    while (affinity_next(srat, &offset, &it))
        if (domain_add(numa, it.domain) != MM_OK)
            return fail(srat->fault, MM_ERR_NO_ROOM, "more domains than MM_NODES_MAX",
                        MEMORY_AFFINITY, it.offset);
    return MM_OK;
}

static void range_note(struct mm_numa *numa, const struct affinity *it, unsigned node)
{
    if (numa->range != NULL && numa->range_count < numa->range_capacity)
        numa->range[numa->range_count] = (struct mm_numa_range){
            .start = mm_phys(it->start),
            .bytes = it->bytes,
            .node = (uint16_t)node,
            .flags = (uint16_t)(it->flags & (MM_NUMA_HOT_PLUG | MM_NUMA_NON_VOLATILE)),
        };
    numa->range_count++;
}

/* The node of each structure of one kind. */
static enum mm_err nodes_set(const struct srat *srat, struct mm_memmap *map,
                             const struct mm_numa *numa, bool windows)
{
    uint32_t offset = SRAT_BYTES;
    struct affinity it;

    while (affinity_next(srat, &offset, &it)) {
        unsigned node = 0;
        enum mm_err err;

        if (is_window(&it) != windows)
            continue;
        err = mm_numa_node_of_domain(numa, it.domain, &node);
        if (err == MM_OK)
            err = mm_memmap_set_node(map, mm_phys(it.start), it.bytes, node);
        if (err != MM_OK)
            return fail(srat->fault, err,
                        err == MM_ERR_NO_ROOM ? "no room left in the memory map"
                                              : "the memory map is not collecting",
                        MEMORY_AFFINITY, it.offset);
    }
    return MM_OK;
}

static void ranges_note(const struct srat *srat, struct mm_numa *numa)
{
    uint32_t offset = SRAT_BYTES;
    struct affinity it;

    while (affinity_next(srat, &offset, &it)) {
        unsigned node = 0;

        if (mm_numa_node_of_domain(numa, it.domain, &node) == MM_OK)
            range_note(numa, &it, node);
    }
}

enum mm_err mm_numa_read_srat(const void *table, size_t limit_bytes, struct mm_memmap *map,
                              struct mm_numa *numa, struct mm_boot_fault *fault)
{
    struct srat srat = {.table = table, .fault = fault};
    struct mm_numa result;
    enum mm_err err;

    if (table == NULL || map == NULL || numa == NULL)
        return fail(fault, MM_ERR_BAD_ARG, "argument out of its domain", 0, 0);
    result = (struct mm_numa){.range = numa->range, .range_capacity = numa->range_capacity};
    err = table_check(table, limit_bytes, "SRAT", SRAT_BYTES, &srat.bytes, fault);
    if (err == MM_OK)
        err = structures_check(&srat);
    if (err == MM_OK)
        err = contradictions_check(&srat);
    if (err == MM_OK)
        err = domains_number(&srat, &result);
    if (err == MM_OK) /* windows first: what is there wins over them */
        err = nodes_set(&srat, map, &result, true);
    if (err == MM_OK)
        err = nodes_set(&srat, map, &result, false);
    if (err != MM_OK)
        return err;
    ranges_note(&srat, &result);
    *numa = result;
    return MM_OK;
}

enum mm_err mm_numa_node_of_domain(const struct mm_numa *numa, uint32_t domain, unsigned *node)
{
    for (uint32_t i = 0; i < numa->node_count && i < MM_NODES_MAX; i++) {
        if (numa->domain[i] == domain) {
            *node = i;
            return MM_OK;
        }
    }
    return MM_ERR_NOT_FOUND;
}

static const char *distance_fault(unsigned distance, bool self)
{
    if (distance < DISTANCE_SELF)
        return "distance below 10";
    if (self && distance != DISTANCE_SELF)
        return "distance of a domain to itself is not 10";
    return NULL;
}

/* Called twice: to check with `out` NULL, then to write. */
static enum mm_err distances_read(const uint8_t *table, uint64_t domains,
                                  const struct mm_numa *numa, uint8_t *out,
                                  struct mm_boot_fault *fault)
{
    for (uint32_t i = 0; i < numa->node_count; i++) {
        for (uint32_t j = 0; j < numa->node_count; j++) {
            uint64_t at = SLIT_MATRIX_AT + numa->domain[i] * domains + numa->domain[j];
            const char *wrong;

            if (numa->domain[j] >= domains) /* the first row asks for each domain */
                return fail(fault, MM_ERR_NOT_FOUND, "a domain is not in the matrix", 0,
                            HEADER_BYTES);
            wrong = distance_fault(table[at], i == j);
            if (wrong != NULL)
                return fail(fault, MM_ERR_MALFORMED, wrong, 0, at);
            if (out != NULL)
                out[i * numa->node_count + j] = table[at];
        }
    }
    return MM_OK;
}

enum mm_err mm_numa_read_slit(const void *table, size_t limit_bytes, const struct mm_numa *numa,
                              uint8_t *distance, size_t distance_bytes, struct mm_boot_fault *fault)
{
    uint64_t domains;
    uint32_t bytes;
    enum mm_err err;

    if (table == NULL || numa == NULL || distance == NULL || numa->node_count > MM_NODES_MAX ||
        distance_bytes < (size_t)numa->node_count * numa->node_count)
        return fail(fault, MM_ERR_BAD_ARG, "argument out of its domain", 0, 0);
    err = table_check(table, limit_bytes, "SLIT", SLIT_MATRIX_AT, &bytes, fault);
    if (err != MM_OK)
        return err;
    domains = mm_le64((const uint8_t *)table + HEADER_BYTES);
    if (domains > SLIT_DOMAINS_MAX || domains * domains > bytes - SLIT_MATRIX_AT)
        return fail(fault, MM_ERR_MALFORMED, "matrix ends beyond the table", 0, HEADER_BYTES);
    err = distances_read(table, domains, numa, NULL, fault);
    return err != MM_OK ? err : distances_read(table, domains, numa, distance, fault);
}
