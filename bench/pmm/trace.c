/*
 * trace.c - recorded allocations of page frames.
 *
 * Problem     A trace names objects by their age; a replay must find them in O(1), in little memory.
 * Idea        All is decoded before the clock runs: each allocation gets a slot, the one that was
 *             freed last, so the table is as large as the number of objects that live at once.
 * Invariants  A free names a slot that holds an allocation, of the order that is noted there.
 * Locking     None.
 * Cost        8 bytes per record. gzip unpacks.
 * Rejected    A library for gzip: the program is on every machine that has the traces.
 */
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/host.h"

#define MAGIC        "MMTRACE1"
#define HEADER_BYTES 32u
#define RECORD_BYTES 12u
#define KIND_FRAMES  2u
#define RECORDS_MAX  (1u << 26)
#define ORDER_MASK   15u

enum op {
    OP_ALLOC = 1,
    OP_FREE = 2
};

static uint32_t word_at(const uint8_t *byte)
{
    return byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 | (uint32_t)byte[3] << 24;
}

struct decoder {
    const char *path;
    struct trace *trace;
    uint32_t *slot_of;   /* of each allocation, by its number */
    uint32_t *free_slot; /* a stack */
    uint8_t *order_of;   /* of each slot */
    uint32_t allocs, free_count;
    uint64_t frames;
};

static void alloc_decode(struct decoder *decoder, struct trace_step *step, unsigned order)
{
    struct trace *trace = decoder->trace;

    step->slot =
        decoder->free_count > 0 ? decoder->free_slot[--decoder->free_count] : trace->slots++;
    step->order = (uint8_t)order;
    decoder->order_of[step->slot] = step->order;
    decoder->slot_of[decoder->allocs++] = step->slot;
    decoder->frames += UINT64_C(1) << order;
    if (decoder->frames > trace->peak_frames)
        trace->peak_frames = decoder->frames;
}

static void free_decode(struct decoder *decoder, struct trace_step *step, uint32_t age)
{
    if (age == 0 || age > decoder->allocs)
        die("%s: a free of what was never allocated", decoder->path);
    step->slot = decoder->slot_of[decoder->allocs - age];
    if (step->slot == UINT32_MAX)
        die("%s: freed twice", decoder->path);
    decoder->slot_of[decoder->allocs - age] = UINT32_MAX;
    step->is_free = 1;
    step->order = decoder->order_of[step->slot];
    decoder->free_slot[decoder->free_count++] = step->slot;
    decoder->frames -= UINT64_C(1) << step->order;
}

static void record_decode(struct decoder *decoder, const uint8_t *record, struct trace_step *step)
{
    unsigned flags = record[2] | (unsigned)record[3] << 8;

    if (record[0] == OP_ALLOC && (flags & ORDER_MASK) <= MM_ORDER_2M + 1)
        alloc_decode(decoder, step, flags & ORDER_MASK);
    else if (record[0] == OP_FREE)
        free_decode(decoder, step, word_at(record + 4));
    else
        die("%s: a record that is neither alloc nor free", decoder->path);
}

static uint32_t header_read(FILE *file, const char *path)
{
    uint8_t header[HEADER_BYTES];

    if (fread(header, 1, HEADER_BYTES, file) != HEADER_BYTES || memcmp(header, MAGIC, 8) != 0 ||
        word_at(header + 8) != KIND_FRAMES || word_at(header + 12) > RECORDS_MAX)
        die("%s: not a trace of frames", path);
    return word_at(header + 12);
}

static FILE *unpack(const char *path)
{
    char command[4200];
    FILE *file;

    if (strchr(path, '\'') != NULL ||
        snprintf(command, sizeof command, "gzip -dc '%s'", path) >= (int)sizeof command)
        die("%s: a name that the shell would not like", path);
    file = popen(command, "r");
    if (file == NULL)
        die("%s: cannot run gzip", path);
    return file;
}

struct trace trace_read(const char *path)
{
    struct trace trace = {.slots = 0};
    struct decoder decoder = {.path = path, .trace = &trace};
    FILE *file = unpack(path);
    uint8_t record[RECORD_BYTES];

    trace.count = header_read(file, path);
    trace.memory = memory_take(trace.count * sizeof *trace.step);
    trace.step = trace.memory.start;
    decoder.slot_of = calloc(trace.count, sizeof *decoder.slot_of);
    decoder.free_slot = calloc(trace.count, sizeof *decoder.free_slot);
    decoder.order_of = calloc(trace.count, sizeof *decoder.order_of);
    if (decoder.slot_of == NULL || decoder.free_slot == NULL || decoder.order_of == NULL)
        die("%s: no memory", path);
    for (size_t i = 0; i < trace.count; i++) {
        if (fread(record, 1, RECORD_BYTES, file) != RECORD_BYTES)
            die("%s: ends after %zu records of %zu", path, i, trace.count);
        record_decode(&decoder, record, &trace.step[i]);
    }
    if (pclose(file) != 0)
        die("%s: gzip fails", path);
    free(decoder.slot_of);
    free(decoder.free_slot);
    free(decoder.order_of);
    return trace;
}

void trace_free(struct trace *trace)
{
    memory_give(&trace->memory);
    *trace = (struct trace){.slots = 0};
}
