/*
 * replay.h - a model of a machine's memory that knows one frame at a time, filled from text files.
 *
 * Problem     A reader and an oracle that work in ranges can be wrong in the same way.
 * Idea        The model is asked "what is this frame?" and looks at every line of the text file, with
 *             no ranges, no sorting and no rounding but that of the frame itself. Every frame of
 *             the first MiBs is asked, and above every frame near an edge, and random ones.
 *             Totals are added up from the same answers, in steps in which no line begins or ends.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include <dirent.h>

#include "srat.h"

#define BITS  52u
#define LINES 300u
#define WHOLE MIB(128) /* compared frame by frame */

struct line {
    uint64_t start, end; /* end 0: none */
    unsigned type;       /* enum mm_mem_type */
    uint32_t number;     /* as the firmware says it */
    uint64_t attributes; /* EFI */
};

struct node_line {
    uint64_t start, end;
    uint32_t domain;
    bool hot_plug;
};

/* A text file. */
static struct {
    struct line line[LINES];
    unsigned lines;
    struct node_line node[32];
    unsigned nodes;
    uint64_t end; /* of the highest line */
} text;

static struct map m;
static struct block b;
static struct mm_boot_info info;

/* What must be kept: [start, end) with its use. */
static struct piece held[16];
static size_t holds;

/* ---- the files ---- */

static inline void line_read(const char *line, bool efi)
{
    static const uint8_t of_bios[] = {7, 1, 7, 3, 4, 9, 7, 5};
    static const uint8_t of_efi[] = {7, 2, 2, 1, 1, 6, 6, 1, 9, 3, 4, 8, 8, 7, 5};
    unsigned long long start, length, attributes = 0;
    unsigned number;
    struct line *to = &text.line[text.lines];

    if (sscanf(line, "numa %u %llx %llx", &number, &start, &length) == 3) {
        bool hot_plug =
            strstr(line, "hotplug") != NULL && strstr(line, "hotplug") < strchr(line, '\n');

        CHECK(text.nodes < LENGTH(text.node));
        text.node[text.nodes++] = (struct node_line){start, start + length, number, hot_plug};
        return;
    }
    CHECK(text.lines < LINES);
    if (efi) {
        CHECK(sscanf(line, "%llx %llx %u %llx", &start, &length, &number, &attributes) == 4);
        length *= 4096;
        to->type = number < sizeof of_efi ? of_efi[number] : MM_MEM_RESERVED;
        if (attributes >> 63 != 0 && to->type < MM_MEM_RUNTIME)
            to->type = MM_MEM_RUNTIME;
    } else {
        CHECK(sscanf(line, "%llx %llx %u", &start, &length, &number) == 3);
        to->type = number < sizeof of_bios ? of_bios[number] : MM_MEM_RESERVED;
    }
    to->start = start;
    to->end = start + length;
    to->number = number;
    to->attributes = attributes;
    if (to->end > text.end)
        text.end = to->end;
    text.lines++;
}

static inline void text_read(const char *dir, const char *name)
{
    char path[300];
    size_t bytes;
    char *all, *line;

    snprintf(path, sizeof path, "data/%s/%s", dir, name);
    all = (char *)file_read(path, &bytes);
    memset(&text, 0, sizeof text);
    for (line = all; *line != '\0'; line = strchr(line, '\n') + 1) {
        CHECK(strchr(line, '\n') != NULL);
        if (*line != '#')
            line_read(line, strcmp(dir, "efi") == 0);
    }
    free(all);
}

/* Run `check` on each text file of a directory. Returns how many there are. */
static inline unsigned each_file(const char *dir, void (*check)(void))
{
    char path[100];
    unsigned files = 0;
    struct dirent *file;
    DIR *list;

    snprintf(path, sizeof path, "data/%s", dir);
    list = opendir(path);
    CHECK(list != NULL);
    while ((file = readdir(list)) != NULL) {
        if (strstr(file->d_name, ".txt") == NULL)
            continue;
        mm_test_row(file->d_name, ++files);
        text_read(dir, file->d_name);
        check();
    }
    mm_test_row(NULL, 0);
    closedir(list);
    return files;
}

/* ---- the model ---- */

struct frame {
    unsigned type, use, node;
};

static inline bool touches(uint64_t start, uint64_t end, uint64_t frame)
{
    return start < end && start < frame + FRAME && end > frame;
}

/* Domains in ascending order are the nodes. */
static inline unsigned node_of(uint32_t domain)
{
    unsigned below = 0;

    for (uint32_t d = 0; d < domain; d++) {
        bool used = false;

        for (unsigned i = 0; i < text.nodes; i++)
            used |= text.node[i].domain == d && text.node[i].start < text.node[i].end;
        below += used ? 1 : 0;
    }
    return below;
}

static inline unsigned frame_use(uint64_t frame)
{
    unsigned use = MM_USE_FREE;

    for (size_t i = 0; i < holds; i++)
        if (touches(held[i].start, held[i].end, frame))
            use = use_join(use, held[i].use);
    return use;
}

/* Is each byte of the frame in a line of memory that is handed out some day? */
static inline bool frame_lent(uint64_t frame)
{
    uint8_t covered[FRAME] = {0};

    for (unsigned i = 0; i < text.lines; i++) {
        const struct line *line = &text.line[i];

        if (!lendable(line->type) || !touches(line->start, line->end, frame))
            continue;
        if (line->start <= frame && line->end >= frame + FRAME)
            return true;
        for (uint64_t byte = 0; byte < FRAME; byte++)
            covered[byte] |= line->start <= frame + byte && frame + byte < line->end;
    }
    return memchr(covered, 0, FRAME) == NULL;
}

static inline struct frame model(uint64_t frame)
{
    struct frame result = {MM_MEM_NONE, frame_use(frame), 0};

    for (unsigned i = 0; i < text.lines; i++)
        if (touches(text.line[i].start, text.line[i].end, frame) && text.line[i].type > result.type)
            result.type = text.line[i].type;
    if (lendable(result.type) && !frame_lent(frame))
        result.type = result.type == MM_MEM_USABLE ? MM_MEM_NONE : MM_MEM_ACPI_NVS;
    for (unsigned i = 0; i < text.nodes; i++)
        if (result.type != MM_MEM_NONE && text.node[i].start <= frame && frame < text.node[i].end)
            result.node = node_of(text.node[i].domain);
    return result;
}

/* ---- comparing ---- */

static inline void frame_compare(uint64_t frame)
{
    struct frame expected = model(frame);
    struct mm_mem_range found = {.type = MM_MEM_NONE};

    if (mm_memmap_find(&m.map, mm_phys(frame), &found) != MM_OK)
        found = (struct mm_mem_range){.type = MM_MEM_NONE};
    if (found.type != expected.type || found.use != expected.use || found.node != expected.node)
        print_error("frame %#llx\n", (unsigned long long)frame);
    CHECK_EQ(found.type, expected.type);
    CHECK_EQ(found.use, expected.use);
    CHECK_EQ(found.node, expected.node);
}

static inline size_t edges(uint64_t *edge)
{
    size_t n = 0;

    for (unsigned i = 0; i < text.lines; i++) {
        edge[n++] = text.line[i].start;
        edge[n++] = text.line[i].end;
    }
    for (unsigned i = 0; i < text.nodes; i++) {
        edge[n++] = text.node[i].start;
        edge[n++] = text.node[i].end;
    }
    for (size_t i = 0; i < holds; i++) {
        edge[n++] = held[i].start;
        edge[n++] = held[i].end;
    }
    return n;
}

/* The end of the frames from `frame` on that no edge tells apart from it. */
static inline uint64_t alike_end(const uint64_t *edge, size_t count, uint64_t frame)
{
    uint64_t end = UINT64_MAX;

    for (size_t i = 0; i < count; i++) {
        uint64_t cut = frame_down(edge[i]);

        if (edge[i] > frame && edge[i] < frame + FRAME)
            return frame + FRAME;
        if (cut > frame && cut < end)
            end = cut;
    }
    return end == UINT64_MAX ? frame + FRAME : end;
}

static inline void totals_compare(const uint64_t *edge, size_t count)
{
    struct mm_memmap_totals expected = {0}, totals;
    uint64_t end = frame_up(text.end);

    for (uint64_t at = 0, next; at < end; at = next) {
        struct frame frame = model(at);
        bool ram = frame.type >= MM_MEM_USABLE && frame.type <= MM_MEM_ACPI_NVS;

        next = alike_end(edge, count, at);
        expected.usable_bytes += frame.type == MM_MEM_USABLE ? next - at : 0;
        expected.ram_bytes += ram ? next - at : 0;
        expected.ram_end = ram ? mm_phys(next) : expected.ram_end;
        if (frame.type == MM_MEM_USABLE && frame.use == MM_USE_FREE) {
            expected.free_bytes += next - at;
            expected.low_bytes += at < MIB(1) ? next - at : 0;
        }
    }
    mm_memmap_get_totals(&m.map, &totals);
    CHECK_EQ(totals.usable_bytes, expected.usable_bytes);
    CHECK_EQ(totals.free_bytes, expected.free_bytes);
    CHECK_EQ(totals.low_bytes, expected.low_bytes);
    CHECK_EQ(totals.ram_bytes, expected.ram_bytes);
    CHECK_EQ(totals.ram_end.raw, expected.ram_end.raw);
}

static inline void compare(void)
{
    static uint64_t edge[2 * LINES + 100];
    size_t count = edges(edge);

    CHECK_EQ(map_faults(&m.map), 0);
    CHECK_EQ(m.map.dropped_bytes, 0);
    for (uint64_t frame = 0; frame < WHOLE; frame += FRAME)
        frame_compare(frame);
    for (size_t i = 0; i < count; i++)
        for (uint64_t near = 0; near < 5; near++)
            if (frame_down(edge[i]) + near * FRAME >= 2 * FRAME)
                frame_compare(frame_down(edge[i]) + near * FRAME - 2 * FRAME);
    for (unsigned i = 0; i < 500; i++)
        frame_compare(frame_down(mm_test_below(text.end)));
    totals_compare(edge, count);
}

#endif
