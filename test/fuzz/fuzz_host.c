/*
 * fuzz_host.c - the host of the fuzz targets, and what they share.
 *
 * Problem     Reports are expected with every other input; a panic never is.
 * Idea        Reports are looked at no further, everything else aborts. The checks after a reader are
 *             the same for all: sound map, nothing handed out that was to be kept.
 * Invariants  No state survives an input.
 * Locking     One thread.
 * Cost        An input costs microseconds.
 * Rejected    The host of the unit tests: it needs a running test to fail.
 */
#include "fuzz.h"

#include <stdio.h>

#include "mm/host.h"

#define IMAGE       UINT64_C(0x100000)
#define IMAGE_BYTES UINT64_C(0x234567)

static struct mm_memmap map;
static struct mm_mem_range storage[FUZZ_RANGES];

static struct {
    unsigned count;
    struct mm_report last;
} reports;
static void (*before_failure)(void);

/* Of the sanitizers' runtime, if there is one. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

void fuzz_on_failure(void (*tell)(void))
{
    before_failure = tell;
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(tell);
}

_Noreturn void fuzz_failed(const char *file, int line, const char *what)
{
    void (*tell)(void) = before_failure;

    before_failure = NULL;
    if (tell != NULL)
        tell();
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}

void mm_host_report(const struct mm_report *report)
{
    char line[200];

    FUZZ_CHECK(report->what != NULL && report->where != NULL);
    FUZZ_CHECK(report->kind == MM_REPORT_FIRMWARE || report->kind == MM_REPORT_MISUSE);
    (void)mm_report_format(line, sizeof line, report);
    reports.count++;
    reports.last = *report;
}

unsigned fuzz_report_count(void)
{
    return reports.count;
}

const struct mm_report *fuzz_report_last(void)
{
    return &reports.last;
}

void fuzz_reports_clear(void)
{
    reports.count = 0;
}

void mm_host_panic(const struct mm_report *report)
{
    fuzz_failed(report->where, 0, report->what);
}

uint64_t fuzz_number(const uint8_t *data, size_t bytes, size_t at, unsigned width)
{
    uint64_t x = 0;

    for (unsigned i = 0; i < width; i++)
        x |= at + i < bytes ? (uint64_t)data[at + i] << 8 * i : 0;
    return x;
}

/* ---- the map ---- */

static void fault_show(void *context, const struct mm_report *report)
{
    char line[200];

    (void)context;
    (void)mm_report_format(line, sizeof line, report);
    fprintf(stderr, "%s\n", line);
}

static void map_sound(const struct mm_memmap *it)
{
    const struct mm_check_sink sink = {fault_show, NULL};

    FUZZ_CHECK(mm_memmap_check(it, &sink) == 0);
    fuzz_map_keeps(it, IMAGE, IMAGE_BYTES);
}

struct mm_memmap *fuzz_map_begin(uint32_t capacity)
{
    FUZZ_CHECK(capacity <= FUZZ_RANGES);
    FUZZ_CHECK(mm_memmap_init(&map, storage, capacity, FUZZ_BITS) == MM_OK);
    FUZZ_CHECK(mm_memmap_reserve(&map, mm_phys(IMAGE), IMAGE_BYTES, MM_USE_IMAGE) == MM_OK);
    return &map;
}

void fuzz_map_keeps(const struct mm_memmap *it, uint64_t start, uint64_t bytes)
{
    for (uint32_t i = 0; i < it->count; i++) {
        const struct mm_mem_range *range = &it->range[i];

        if (range->type == MM_MEM_USABLE && range->use == MM_USE_FREE)
            FUZZ_CHECK(bytes == 0 || range->start.raw >= start + bytes ||
                       range->start.raw + range->bytes <= start);
    }
}

static void text_kept(const struct mm_memmap *it, struct mm_boot_text text)
{
    if (text.bytes != 0)
        fuzz_map_keeps(it, text.at.raw, (uint64_t)text.bytes + 1);
}

static void info_kept(const struct mm_memmap *it, const struct mm_boot_info *info)
{
    const struct mm_boot_framebuffer *fb = &info->framebuffer;

    fuzz_map_keeps(it, info->block.raw, info->block_bytes);
    fuzz_map_keeps(it, info->rsdp.raw, info->rsdp_bytes);
    fuzz_map_keeps(it, fb->at.raw, (uint64_t)fb->pitch_bytes * fb->height);
    text_kept(it, info->command_line);
    text_kept(it, info->loader);
    for (uint32_t i = 0; i < info->module_count && i < info->module_capacity; i++) {
        fuzz_map_keeps(it, info->module[i].start.raw, info->module[i].bytes);
        text_kept(it, info->module[i].text);
    }
    FUZZ_CHECK(info->efi_bits == 0 || info->efi_bits == 32 || info->efi_bits == 64);
    FUZZ_CHECK(fb->pixels <= MM_BOOT_PIXELS_TEXT);
    FUZZ_CHECK(info->ebda.raw < 0xa0000);
}

void fuzz_map_end(struct mm_memmap *it, enum mm_err err, const struct mm_boot_info *info,
                  const struct mm_boot_fault *fault)
{
    struct mm_memmap_totals totals;

    FUZZ_CHECK(err == MM_OK || err == MM_ERR_TRUNCATED || err == MM_ERR_MALFORMED ||
               err == MM_ERR_NOT_FOUND || err == MM_ERR_NO_ROOM || err == MM_ERR_WINDOW);
    FUZZ_CHECK((err == MM_OK) == (fault->what == NULL));
    map_sound(it);
    if (err != MM_OK)
        return;
    info_kept(it, info);
    err = mm_memmap_finish(it);
    FUZZ_CHECK(err == MM_OK || err == MM_ERR_NOT_FOUND || err == MM_ERR_NO_ROOM);
    if (err != MM_OK)
        return;
    map_sound(it);
    info_kept(it, info);
    mm_memmap_get_totals(it, &totals);
    FUZZ_CHECK(totals.free_bytes <= totals.usable_bytes && totals.usable_bytes <= totals.ram_bytes);
    FUZZ_CHECK(totals.free_bytes != 0 && totals.ram_bytes <= UINT64_C(1) << FUZZ_BITS);
}

/* ---- memory ---- */

void fuzz_memory_begin(struct fuzz_memory *memory, const uint8_t *data, size_t bytes)
{
    size_t first = bytes < FUZZ_MEMORY_BYTES ? bytes : FUZZ_MEMORY_BYTES;
    size_t rest = bytes - first < FUZZ_HIGH_BYTES ? bytes - first : FUZZ_HIGH_BYTES;

    *memory = (struct fuzz_memory){.low = aligned_alloc(MM_FRAME_BYTES, FUZZ_MEMORY_BYTES),
                                   .high = aligned_alloc(MM_FRAME_BYTES, FUZZ_HIGH_BYTES)};
    FUZZ_CHECK(memory->low != NULL && memory->high != NULL);
    memset(memory->low, 0, FUZZ_MEMORY_BYTES);
    memset(memory->high, 0, FUZZ_HIGH_BYTES);
    if (bytes > 0) {
        memcpy(memory->low, data, first);
        memcpy(memory->high, data + first, rest);
    }
    FUZZ_CHECK(mm_window_add(&memory->window, mm_phys(FUZZ_MEMORY), FUZZ_MEMORY_BYTES,
                             mm_virt_of(memory->low)) == MM_OK);
    FUZZ_CHECK(mm_window_add(&memory->window, mm_phys(FUZZ_HIGH), FUZZ_HIGH_BYTES,
                             mm_virt_of(memory->high)) == MM_OK);
}

void fuzz_memory_end(struct fuzz_memory *memory)
{
    free(memory->low);
    free(memory->high);
}
