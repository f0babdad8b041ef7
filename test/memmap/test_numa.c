/*
 * test_numa.c - ACPI affinity tables built by hand.
 *
 *     the map: 0 - 640 KiB, 1 MiB - 4 GiB, 8 - 12 GiB usable; 3 - 4 GiB reserved
 */
#include "srat.h"

#define BITS 46u

static struct map m;
static struct block b;
static struct mm_numa numa;
static struct mm_numa_range range[8];
static struct mm_boot_fault fault;

static void map_build(void)
{
    (void)map_init(&m, ROOM, BITS);
    CHECK_OK(mm_memmap_add(&m.map, mm_phys(0), 0xa0000, MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(&m.map, mm_phys(MIB(1)), GIB(4) - MIB(1), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(&m.map, mm_phys(GIB(3)), GIB(1), MM_MEM_RESERVED));
    CHECK_OK(mm_memmap_add(&m.map, mm_phys(GIB(8)), GIB(4), MM_MEM_USABLE));
}

static enum mm_err read_again(void)
{
    memset(&fault, 0, sizeof fault);
    memset(&numa, 0, sizeof numa);
    numa.range = range;
    numa.range_capacity = LENGTH(range);
    return srat_read(&b, b.n, &m.map, &numa, &fault);
}

static enum mm_err read_srat(void)
{
    acpi_end(&b);
    map_build();
    return read_again();
}

/* The error, its words and place; neither the map nor the result has changed. */
static void refused(enum mm_err err, const char *what, uint32_t tag, uint64_t offset)
{
    struct mm_mem_range before[8];

    map_build();
    memcpy(before, m.storage, sizeof before);
    CHECK_ERR(read_again(), err);
    CHECK_TEXT(fault.what, what);
    CHECK_EQ(fault.tag, tag);
    CHECK_EQ(fault.offset, offset);
    CHECK_EQ(numa.node_count | numa.range_count, 0);
    CHECK_EQ(m.map.count, 4);
    CHECK(memcmp(before, m.storage, 4 * sizeof before[0]) == 0);
    CHECK_ERR(srat_read(&b, b.n, &m.map, &numa, NULL), err);
}

TEST(numa_domains_become_nodes_without_gaps_in_ascending_order)
{
    unsigned node = 99;

    srat_begin(&b, 3);
    srat_other(&b, 0, 16); /* a CPU, before, between and behind */
    srat_memory(&b, 7, GIB(2), GIB(8), SRAT_ENABLED);
    srat_other(&b, 2, 24);
    srat_memory(&b, 0x80000001, GIB(10), GIB(2), SRAT_ENABLED);
    srat_memory(&b, 2, 0, GIB(2), SRAT_ENABLED);
    srat_other(&b, 77, 2);
    CHECK_OK(read_srat());
    MAP_IS(&m.map, {{0, 0xa0000, MM_MEM_USABLE, 0, 0},
                    {MIB(1), GIB(2), MM_MEM_USABLE, 0, 0},
                    {GIB(2), GIB(3), MM_MEM_USABLE, 0, 1},
                    {GIB(3), GIB(4), MM_MEM_RESERVED, 0, 1},
                    {GIB(8), GIB(10), MM_MEM_USABLE, 0, 1},
                    {GIB(10), GIB(12), MM_MEM_USABLE, 0, 2}});
    CHECK_EQ(numa.node_count, 3);
    CHECK_EQ(numa.domain[0], 2);
    CHECK_EQ(numa.domain[1], 7);
    CHECK_EQ(numa.domain[2], 0x80000001);
    CHECK_EQ(numa.range_count, 3);
    CHECK_EQ(range[0].start.raw, GIB(2));
    CHECK_EQ(range[0].bytes, GIB(8));
    CHECK_EQ(range[0].node, 1);
    CHECK_EQ(range[1].node, 2);
    CHECK_EQ(range[2].node, 0);
    CHECK_OK(mm_numa_node_of_domain(&numa, 7, &node));
    CHECK_EQ(node, 1);
    CHECK_ERR(mm_numa_node_of_domain(&numa, 3, &node), MM_ERR_NOT_FOUND);
    CHECK_EQ(node, 1);
    CHECK_OK(mm_memmap_finish(&m.map));
}

TEST(numa_structures_that_are_off_or_empty_are_ignored)
{
    srat_begin(&b, 3);
    srat_memory(&b, 1, 0, GIB(64), 0);
    srat_memory(&b, 2, 0, GIB(64), MM_NUMA_HOT_PLUG); /* off, whatever else */
    srat_memory(&b, 3, 0, 0, SRAT_ENABLED | MM_NUMA_HOT_PLUG);
    srat_memory(&b, 4, UINT64_MAX, 0, SRAT_ENABLED);
    srat_memory(&b, 1, UINT64_MAX - 1, UINT64_MAX, 0); /* off, and nonsense */
    srat_memory(&b, 5, GIB(8), GIB(4), SRAT_ENABLED);
    CHECK_OK(read_srat());
    CHECK_EQ(numa.node_count, 1);
    CHECK_EQ(numa.range_count, 1);
    CHECK_EQ(numa.domain[0], 5);
    CHECK_EQ(m.map.count, 4); /* one node, number 0: nothing to see in the map */
}

/* Memory that may come is not there; what is there already belongs to the node. */
TEST(numa_windows_for_hot_plug_add_no_memory)
{
    struct mm_memmap_totals totals;

    srat_begin(&b, 3);
    srat_memory(&b, 0, 0, GIB(3), SRAT_ENABLED);
    srat_memory(&b, 1, GIB(4), GIB(6), SRAT_ENABLED | MM_NUMA_HOT_PLUG);
    srat_memory(&b, 2, GIB(100), GIB(900), SRAT_ENABLED | MM_NUMA_HOT_PLUG);
    srat_memory(&b, 3, GIB(40), GIB(1), SRAT_ENABLED | MM_NUMA_NON_VOLATILE | 0xfffffff8);
    CHECK_OK(read_srat());
    MAP_IS(&m.map, {{0, 0xa0000, MM_MEM_USABLE, 0, 0},
                    {MIB(1), GIB(3), MM_MEM_USABLE, 0, 0},
                    {GIB(3), GIB(4), MM_MEM_RESERVED, 0, 0},
                    {GIB(8), GIB(10), MM_MEM_USABLE, 0, 1},
                    {GIB(10), GIB(12), MM_MEM_USABLE, 0, 0}});
    CHECK_EQ(numa.node_count, 4); /* memory that is added later finds its node */
    CHECK_EQ(range[0].flags, 0);
    CHECK_EQ(range[1].flags, MM_NUMA_HOT_PLUG);
    CHECK_EQ(range[2].flags, MM_NUMA_HOT_PLUG);
    CHECK_EQ(range[3].flags, MM_NUMA_NON_VOLATILE);
    CHECK_OK(mm_memmap_finish(&m.map));
    mm_memmap_get_totals(&m.map, &totals);
    CHECK_EQ(totals.usable_bytes, 0xa0000 + GIB(3) - MIB(1) + GIB(4));
}

TEST(numa_domains_of_the_first_revision_have_one_byte)
{
    for (uint32_t revision = 1; revision < 3; revision++) {
        srat_begin(&b, revision);
        srat_memory(&b, 0xabcdef01, 0, GIB(4), SRAT_ENABLED);
        srat_memory(&b, 0x55555502, GIB(8), GIB(4), SRAT_ENABLED);
        CHECK_OK(read_srat());
        CHECK_EQ(numa.node_count, 2);
        CHECK_EQ(numa.domain[0], revision == 1 ? 1 : 0x55555502);
        CHECK_EQ(numa.domain[1], revision == 1 ? 2 : 0xabcdef01);
    }
}

TEST(numa_list_of_ranges_may_be_small_or_absent)
{
    srat_begin(&b, 3);
    for (uint32_t i = 0; i < 10; i++)
        srat_memory(&b, i, GIB(i), GIB(1), SRAT_ENABLED);
    acpi_end(&b);
    for (uint32_t capacity = 0; capacity < 8; capacity++) {
        map_build();
        memset(range, 0xa5, sizeof range);
        numa = (struct mm_numa){.range = capacity > 0 ? range : NULL, .range_capacity = capacity};
        CHECK_OK(srat_read(&b, b.n, &m.map, &numa, NULL));
        CHECK_EQ(numa.range_count, 10);
        CHECK_EQ(numa.node_count, 10);
        CHECK_EQ(range[capacity].node, 0xa5a5); /* not written */
        CHECK_EQ(m.map.range[m.map.count - 1].node, 0);
        CHECK_EQ(m.map.range[m.map.count - 2].node, 9); /* it is set all the same */
    }
}

TEST(numa_arguments_are_checked)
{
    srat_begin(&b, 3);
    srat_memory(&b, 0, 0, GIB(4), SRAT_ENABLED);
    acpi_end(&b);
    map_build();
    CHECK_ERR(mm_numa_read_srat(NULL, b.n, &m.map, &numa, &fault), MM_ERR_BAD_ARG);
    CHECK_TEXT(fault.what, "argument out of its domain");
    CHECK_ERR(mm_numa_read_srat(b.bytes, b.n, NULL, &numa, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_numa_read_srat(b.bytes, b.n, &m.map, NULL, NULL), MM_ERR_BAD_ARG);
}

TEST(numa_header_is_checked)
{
    static const uint32_t bytes[] = {0, 8, 35, 36, 47};
    uint32_t whole;

    srat_begin(&b, 3);
    srat_memory(&b, 0, 0, GIB(4), SRAT_ENABLED);
    acpi_end(&b);
    whole = b.n;
    for (b.n = 0; b.n < whole; b.n++) {
        mm_test_row("cut at", b.n);
        refused(MM_ERR_TRUNCATED,
                b.n < 36 ? "buffer smaller than the header" : "table length exceeds the buffer", 0,
                b.n < 36 ? 0 : 4);
    }
    for (size_t i = 0; i < LENGTH(bytes); i++) {
        mm_test_row("row", i);
        patch32(&b, 4, bytes[i]);
        acpi_sum(&b);
        refused(MM_ERR_MALFORMED, "table shorter than its fixed part", 0, 4);
    }
    patch32(&b, 4, UINT32_MAX);
    refused(MM_ERR_TRUNCATED, "table length exceeds the buffer", 0, 4);
    acpi_end(&b);
    b.bytes[30]++;
    refused(MM_ERR_MALFORMED, "wrong checksum", 0, 9);
    b.bytes[0] = 's';
    acpi_sum(&b);
    refused(MM_ERR_MALFORMED, "table without its signature", 0, 0);
    b.bytes[0] = 'S';
    put64(&b, 0); /* the buffer may be larger than the table, and what follows does not count */
    patch32(&b, 4, b.n - 8);
    acpi_sum(&b);
    map_build();
    CHECK_OK(read_again());
}

TEST(numa_structure_sizes_are_checked)
{
    static const struct {
        unsigned type, bytes;
        const char *what;
    } row[] = {
        {0, 0, "structure size below 2"},           {0, 1, "structure size below 2"},
        {1, 0, "structure size below 2"},           {0, 41, "structure ends beyond the table"},
        {1, 41, "structure ends beyond the table"}, {200, 255, "structure ends beyond the table"},
        {1, 2, "memory affinity size below 40"},    {1, 39, "memory affinity size below 40"},
        {0, 39, "structure size below 2"}, /* of the one byte that is left */
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        uint32_t at;

        mm_test_row("row", i);
        srat_begin(&b, 3);
        srat_memory(&b, 0, 0, GIB(4), SRAT_ENABLED);
        at = srat_memory(&b, 1, GIB(8), GIB(4), SRAT_ENABLED);
        b.bytes[at] = (uint8_t)row[i].type;
        b.bytes[at + 1] = (uint8_t)row[i].bytes;
        acpi_end(&b);
        if (i == LENGTH(row) - 1)
            refused(MM_ERR_MALFORMED, row[i].what, 0xff, at + 39);
        else
            refused(MM_ERR_MALFORMED, row[i].what, row[i].type, at);
    }
    srat_begin(&b, 3); /* larger than 40 is another version: its start counts */
    srat_memory(&b, 1, 0, GIB(4), SRAT_ENABLED);
    b.n += 8;
    b.bytes[48 + 1] = 48;
    srat_memory(&b, 2, GIB(8), GIB(4), SRAT_ENABLED);
    CHECK_OK(read_srat());
    CHECK_EQ(numa.node_count, 2);
}

TEST(numa_table_without_memory_is_not_found)
{
    srat_begin(&b, 3);
    acpi_end(&b);
    refused(MM_ERR_NOT_FOUND, "no memory affinity", 0, 0);
    srat_other(&b, 0, 16);
    srat_memory(&b, 0, 0, GIB(4), 0);
    srat_memory(&b, 0, GIB(4), 0, SRAT_ENABLED);
    acpi_end(&b);
    refused(MM_ERR_NOT_FOUND, "no memory affinity", 0, 0);
}

TEST(numa_range_endpoints)
{
    static const struct {
        uint64_t start, bytes;
        bool wraps;
    } row[] = {
        {0, UINT64_MAX, false},
        {1, UINT64_MAX, false}, /* ends at 2^64 */
        {2, UINT64_MAX, true},
        {UINT64_MAX, 1, false},
        {UINT64_MAX, 2, true},
        {UINT64_MAX, UINT64_MAX, true},
        {UINT64_C(1) << 52, 4096, false},
        {GIB(4) - 1, 2, false},
        {123, 1, false},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        uint32_t at;

        mm_test_row("row", i);
        srat_begin(&b, 3);
        at = srat_memory(&b, 9, row[i].start, row[i].bytes, SRAT_ENABLED);
        acpi_end(&b);
        if (row[i].wraps) {
            refused(MM_ERR_MALFORMED, "memory affinity wraps", 1, at);
            continue;
        }
        CHECK_OK(read_srat());
        CHECK_EQ(map_faults(&m.map), 0);
        CHECK_OK(mm_memmap_finish(&m.map));
        CHECK_EQ(map_faults(&m.map), 0);
    }
}

TEST(numa_two_domains_cannot_have_the_same_memory)
{
    static const struct {
        uint64_t start, bytes;
        bool overlap;
    } row[] = {
        {GIB(1), GIB(1), false},                            /* touches the left edge of 2 - 4 GiB */
        {GIB(1), GIB(1) + 1, true},                         /* a byte over it */
        {GIB(4), GIB(1), false},                            /* the right edge */
        {GIB(4) - 1, GIB(1), true}, {GIB(2), GIB(2), true}, /* identical */
        {GIB(3), 1, true},                                  /* contained */
        {0, UINT64_MAX, true},                              /* containing */
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        for (unsigned swap = 0; swap < 2; swap++) {
            mm_test_row("row", i);
            srat_begin(&b, 3);
            if (swap == 0)
                srat_memory(&b, 1, GIB(2), GIB(2), SRAT_ENABLED);
            srat_memory(&b, 2, row[i].start, row[i].bytes, SRAT_ENABLED);
            if (swap == 1)
                srat_memory(&b, 1, GIB(2), GIB(2), SRAT_ENABLED);
            acpi_end(&b);
            if (row[i].overlap)
                refused(MM_ERR_MALFORMED, "two domains claim the same memory", 1, 48);
            else
                CHECK_OK(read_srat());
        }
    }
    srat_begin(&b, 3); /* one domain may say it twice */
    srat_memory(&b, 1, GIB(2), GIB(2), SRAT_ENABLED);
    srat_memory(&b, 1, GIB(1), GIB(2), SRAT_ENABLED);
    srat_memory(&b, 2, GIB(1), GIB(2), 0);
    CHECK_OK(read_srat());
    CHECK_EQ(numa.node_count, 1);
}

/* Of memory that both name, whichever comes first in the table. */
TEST(numa_window_yields_to_what_is_there)
{
    for (unsigned swap = 0; swap < 2; swap++) {
        srat_begin(&b, 3);
        if (swap == 0)
            srat_memory(&b, 1, GIB(2), GIB(100), SRAT_ENABLED | MM_NUMA_HOT_PLUG);
        srat_memory(&b, 0, GIB(8), GIB(1), SRAT_ENABLED);
        srat_memory(&b, 2, GIB(9), GIB(1), SRAT_ENABLED | MM_NUMA_NON_VOLATILE);
        if (swap == 1)
            srat_memory(&b, 1, GIB(2), GIB(100), SRAT_ENABLED | MM_NUMA_HOT_PLUG);
        CHECK_OK(read_srat());
        CHECK_EQ(numa.node_count, 3);
        CHECK_EQ(range[swap == 0 ? 0 : 2].flags, MM_NUMA_HOT_PLUG); /* in the table's order */
        MAP_IS(&m.map, {{0, 0xa0000, MM_MEM_USABLE, 0, 0},
                        {MIB(1), GIB(2), MM_MEM_USABLE, 0, 0},
                        {GIB(2), GIB(3), MM_MEM_USABLE, 0, 1},
                        {GIB(3), GIB(4), MM_MEM_RESERVED, 0, 1},
                        {GIB(8), GIB(9), MM_MEM_USABLE, 0, 0},
                        {GIB(9), GIB(10), MM_MEM_USABLE, 0, 2},
                        {GIB(10), GIB(12), MM_MEM_USABLE, 0, 1}});
    }
    srat_begin(&b, 3);
    srat_memory(&b, 1, GIB(2), GIB(8), SRAT_ENABLED | MM_NUMA_HOT_PLUG);
    srat_memory(&b, 2, GIB(9), GIB(2), SRAT_ENABLED | MM_NUMA_HOT_PLUG);
    acpi_end(&b);
    refused(MM_ERR_MALFORMED, "two domains claim the same memory", 1, 48);
}

TEST(numa_more_domains_than_nodes_do_not_fit)
{
    uint32_t last = 0;

    srat_begin(&b, 3);
    for (uint32_t i = 0; i < MM_NODES_MAX; i++)
        srat_memory(&b, 1000 * (MM_NODES_MAX - i), MIB(64 * i), MIB(64), SRAT_ENABLED);
    CHECK_OK(read_srat());
    CHECK_EQ(numa.node_count, MM_NODES_MAX);
    CHECK_EQ(numa.range_count, MM_NODES_MAX);
    for (uint32_t i = 0; i < MM_NODES_MAX; i++)
        CHECK_EQ(numa.domain[i], 1000 * (i + 1));
    CHECK_OK(mm_memmap_finish(&m.map));
    last = srat_memory(&b, 3, GIB(8), MIB(64), SRAT_ENABLED);
    acpi_end(&b);
    refused(MM_ERR_NO_ROOM, "more domains than MM_NODES_MAX", 1, last);
}

TEST(numa_more_memory_than_can_be_is_malformed)
{
    static struct block start;
    uint32_t count = 4097, bytes = 48 + count * 40;
    uint8_t *table = malloc(bytes), sum = 0;

    CHECK(table != NULL);
    srat_begin(&start, 3);
    srat_memory(&start, 1, GIB(1), MIB(1), SRAT_ENABLED);
    memcpy(table, start.bytes, 48);
    for (uint32_t i = 0; i < count; i++)
        memcpy(table + 48 + 40 * (size_t)i, start.bytes + 48, 40);
    memcpy(table + 4, &bytes, 4);
    for (uint32_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + table[i]);
    table[9] = (uint8_t)(table[9] - sum);
    map_build();
    numa.range = NULL;
    CHECK_ERR(mm_numa_read_srat(table, bytes, &m.map, &numa, &fault), MM_ERR_MALFORMED);
    CHECK_TEXT(fault.what, "more memory affinity than can be");
    CHECK_EQ(fault.offset, bytes - 40);
    free(table);
}

TEST(numa_map_that_does_not_fit_or_is_finished_says_so)
{
    srat_begin(&b, 3);
    srat_memory(&b, 0, 0, GIB(2), SRAT_ENABLED);
    srat_memory(&b, 1, GIB(2), GIB(1), SRAT_ENABLED);
    CHECK_OK(read_srat());
    CHECK_EQ(m.map.count, 5);
    map_build();
    m.map.capacity = 4; /* as if no more had been lent */
    CHECK_ERR(read_again(), MM_ERR_NO_ROOM);
    CHECK_TEXT(fault.what, "no room left in the memory map");
    CHECK_EQ(fault.offset, 88);
    CHECK_EQ(map_faults(&m.map), 0);
    map_build();
    CHECK_OK(mm_memmap_finish(&m.map));
    CHECK_ERR(read_again(), MM_ERR_BUSY);
    CHECK_TEXT(fault.what, "the memory map is not collecting");
}

/* Whatever the table says, it changes nothing but nodes. */
static void harmless(void)
{
    struct mm_memmap_totals before, after;
    enum mm_err err;

    map_build();
    mm_memmap_get_totals(&m.map, &before);
    err = read_again();
    CHECK(err == MM_OK || err == MM_ERR_MALFORMED || err == MM_ERR_TRUNCATED ||
          err == MM_ERR_NOT_FOUND);
    CHECK_EQ(map_faults(&m.map), 0);
    mm_memmap_get_totals(&m.map, &after);
    CHECK(memcmp(&before, &after, sizeof after) == 0);
    CHECK(numa.node_count <= 3 && numa.range_count <= 8);
}

TEST(numa_with_one_byte_changed_is_harmless)
{
    static const uint8_t value[] = {0, 1, 2, 40, 0x7f, 0x80, 0xff};

    for (uint32_t at = 0; at < 48 + 3 * 40; at++) {
        for (size_t v = 0; v < LENGTH(value); v++) {
            mm_test_row("byte", at);
            srat_begin(&b, 3);
            srat_memory(&b, 7, 0, GIB(4), SRAT_ENABLED);
            srat_memory(&b, 3, GIB(8), GIB(2), SRAT_ENABLED | MM_NUMA_HOT_PLUG);
            srat_memory(&b, 5, GIB(10), GIB(2), SRAT_ENABLED);
            acpi_end(&b);
            b.bytes[at] = value[v];
            if (at != 9)
                acpi_sum(&b);
            harmless();
        }
    }
}

/* ---- distances ---- */

static uint8_t distance[16];

/* `domains` x `domains`: 10 to itself, 20 + column to the others. */
static void slit_build(uint64_t domains)
{
    acpi_begin(&b, "SLIT", 1);
    put64(&b, domains);
    for (uint64_t i = 0; i < domains; i++)
        for (uint64_t j = 0; j < domains; j++)
            b.bytes[b.n++] = (uint8_t)(i == j ? 10 : 20 + j);
    acpi_end(&b);
}

static enum mm_err read_slit(void)
{
    uint8_t *copy = malloc(b.n + 1);
    enum mm_err err;

    CHECK(copy != NULL);
    memcpy(copy + 1, b.bytes, b.n);
    memset(distance, 0xa5, sizeof distance);
    memset(&fault, 0, sizeof fault);
    err = mm_numa_read_slit(copy + 1, b.n, &numa, distance, 9, &fault);
    free(copy);
    return err;
}

static void slit_refused(enum mm_err err, const char *what, uint64_t offset)
{
    CHECK_ERR(read_slit(), err);
    CHECK_TEXT(fault.what, what);
    CHECK_EQ(fault.offset, offset);
    for (size_t i = 0; i < sizeof distance; i++)
        CHECK_EQ(distance[i], 0xa5);
}

static void three_nodes(void)
{
    numa = (struct mm_numa){.node_count = 3, .domain = {1, 3, 4}};
}

TEST(numa_distances_are_those_of_the_domains)
{
    static const uint8_t expected[] = {10, 23, 24, 21, 10, 24, 21, 23, 10, 0xa5};

    three_nodes();
    slit_build(5);
    b.bytes[44 + 5 * 0 + 2] = 0; /* of domains that have no node */
    b.bytes[44 + 5 * 2 + 2] = 77;
    acpi_sum(&b);
    CHECK_OK(read_slit());
    CHECK(memcmp(distance, expected, sizeof expected) == 0);
    b.bytes[44 + 5 * 1 + 4] = 255; /* unreachable */
    acpi_sum(&b);
    CHECK_OK(read_slit());
    CHECK_EQ(distance[2], 255);
}

TEST(numa_distances_are_checked)
{
    three_nodes();
    slit_build(4);
    slit_refused(MM_ERR_NOT_FOUND, "a domain is not in the matrix", 36);
    slit_build(5);
    b.bytes[44 + 5 * 3 + 3] = 11;
    acpi_sum(&b);
    slit_refused(MM_ERR_MALFORMED, "distance of a domain to itself is not 10", 44 + 18);
    slit_build(5);
    b.bytes[44 + 5 * 4 + 3] = 9;
    acpi_sum(&b);
    slit_refused(MM_ERR_MALFORMED, "distance below 10", 44 + 23);
}

TEST(numa_distance_table_is_checked)
{
    static const uint64_t domains[] = {6,         0xffff, 0x10000, 0xffffffff, UINT64_C(1) << 32,
                                       UINT64_MAX};

    three_nodes();
    for (size_t i = 0; i < LENGTH(domains); i++) {
        mm_test_row("row", i);
        slit_build(5);
        memcpy(b.bytes + 36, &domains[i], 8);
        acpi_sum(&b);
        slit_refused(MM_ERR_MALFORMED, "matrix ends beyond the table", 36);
    }
    slit_build(5);
    b.n--;
    slit_refused(MM_ERR_TRUNCATED, "table length exceeds the buffer", 4);
    acpi_begin(&b, "SLIT", 1);
    acpi_end(&b);
    slit_refused(MM_ERR_MALFORMED, "table shorter than its fixed part", 4);
    slit_build(0);
    slit_refused(MM_ERR_NOT_FOUND, "a domain is not in the matrix", 36);
    numa.node_count = 0;
    CHECK_OK(read_slit());
    three_nodes();
    slit_build(5);
    b.bytes[1] = 'R';
    acpi_sum(&b);
    slit_refused(MM_ERR_MALFORMED, "table without its signature", 0);
}

TEST(numa_distance_arguments_are_checked)
{
    three_nodes();
    slit_build(5);
    CHECK_ERR(mm_numa_read_slit(NULL, b.n, &numa, distance, 9, &fault), MM_ERR_BAD_ARG);
    CHECK_TEXT(fault.what, "argument out of its domain");
    CHECK_ERR(mm_numa_read_slit(b.bytes, b.n, NULL, distance, 9, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_numa_read_slit(b.bytes, b.n, &numa, NULL, 9, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_numa_read_slit(b.bytes, b.n, &numa, distance, 8, NULL), MM_ERR_BAD_ARG);
    numa.node_count = MM_NODES_MAX + 1;
    CHECK_ERR(mm_numa_read_slit(b.bytes, b.n, &numa, distance, 16, NULL), MM_ERR_BAD_ARG);
}
