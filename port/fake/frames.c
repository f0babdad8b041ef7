/*
 * frames.c (fake) - who has a frame, and a source of frames that trusts nobody.
 *
 * Problem     "Freed before flushed" and "linked before filled" do no harm until the frame is used
 *             again by somebody else.
 * Idea        The machine is told when a frame is given out and when it is freed. A free frame is full
 *             of entries that look valid and lead to no RAM, so that any walk through it fails; at
 *             the free itself each CPU is asked whether it can still reach the frame.
 * Invariants  I1 a frame that is free is full of poison
 *             I2 free frames of a source are a list by number in their records: nothing is written
 *             into them
 * Locking     None; the caller's.
 * Cost        A frame written per free, and compared per allocation; look-ups. A scan of all tables per
 *             free only if asked for (fake_free_means_unmapped()).
 * Rejected    A PMM: its own faults would mix with those of what is tested.
 */
#include "fake_frames.h"

#include "machine.h"

/* ---- addresses where all memory is mapped ---- */

void fake_always_map(mm_virt_t start, uint64_t bytes)
{
    if (fake_machine.always_count == FAKE_ALWAYS_MAX)
        fake_fail("more than %u ranges that are always mapped", FAKE_ALWAYS_MAX);
    fake_machine.always[fake_machine.always_count++] = (struct mm_virt_range){start, bytes};
}

bool fake_always_mapped(uint64_t virt)
{
    for (unsigned i = 0; i < fake_machine.always_count; i++)
        if (virt - fake_machine.always[i].start.raw < fake_machine.always[i].bytes)
            return true;
    return false;
}

/* ---- does an entry lead there? ---- */

static size_t leads_to(const struct fake_entry *entry, unsigned level, uint64_t start,
                       uint64_t bytes)
{
    uint64_t size = entry->kind == FAKE_LEAF ? fake_level_bytes(level) : MM_FRAME_BYTES;

    return entry->phys < start + bytes && start < entry->phys + size;
}

/* Entries below `table` that refer to [start, start + bytes), or with bytes 0 to a free frame. A leaf
 * counts for its first frame only, there. */
static size_t entries_to(unsigned cpu, uint64_t table, unsigned level, uint64_t virt,
                         uint64_t start, uint64_t bytes)
{
    size_t found = 0;

    for (unsigned i = 0; i < fake_format.entries[level]; i++, virt += fake_level_bytes(level)) {
        uint64_t phys = table + i * fake_format.entry_bytes;
        const void *at = fake_ram(mm_phys(phys), fake_format.entry_bytes);
        const struct fake_frame *frame;
        struct fake_entry entry;

        if (at == NULL)
            return found;
        fake_decode(&fake_machine.cpu[cpu], fake_entry_read(at), level, &entry);
        if (entry.kind != FAKE_LEAF && entry.kind != FAKE_TABLE)
            continue;
        frame = fake_frame_record(entry.phys);
        if (entry.kind == FAKE_TABLE || !fake_always_mapped(fake_sign_extended(virt)))
            found += bytes != 0 ? leads_to(&entry, level, start, bytes)
                                : frame != NULL && frame->state == FAKE_FRAME_FREED;
        if (entry.kind == FAKE_TABLE && frame != NULL && frame->state != FAKE_FRAME_FREED)
            found += entries_to(cpu, entry.phys, level - 1, virt, start, bytes);
    }
    return found;
}

static size_t entries_of_roots(uint64_t start, uint64_t bytes)
{
    size_t found = 0;

    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++) {
        const struct fake_cpu *c = &fake_machine.cpu[cpu];
        bool seen = !c->root_loaded;

        for (unsigned before = 0; before < cpu && !seen; before++)
            seen = fake_machine.cpu[before].root_loaded &&
                   fake_machine.cpu[before].root.raw == c->root.raw;
        if (!seen)
            found += entries_to(cpu, c->root.raw, c->levels, 0, start, bytes);
    }
    return found;
}

size_t fake_entries_to(mm_phys_t start, uint64_t bytes)
{
    return entries_of_roots(start.raw, bytes);
}

size_t fake_dangling_entries(void)
{
    return entries_of_roots(0, 0);
}

void fake_free_means_unmapped(bool on)
{
    fake_machine.on.free_unmapped = on;
}

/* ---- given and freed ---- */

static struct fake_frame *record_of(const char *what, mm_phys_t frame)
{
    struct fake_frame *record = fake_frame_record(frame.raw);

    if (record == NULL || frame.raw % MM_FRAME_BYTES != 0)
        fake_fail("%s: %#llx, which is no frame of RAM", what, (unsigned long long)frame.raw);
    return record;
}

static struct fake_frame *give_one(mm_phys_t frame)
{
    struct fake_frame *record = record_of("given out", frame);

    if (record->state == FAKE_FRAME_GIVEN)
        fake_fail("given out twice: %#llx", (unsigned long long)frame.raw);
    record->state = FAKE_FRAME_GIVEN;
    return record;
}

void fake_frame_given(mm_phys_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        (void)give_one(mm_phys_add(first, i * MM_FRAME_BYTES));
    fake_ram_poison(first, count * MM_FRAME_BYTES);
}

static void check_unreachable(mm_phys_t first, uint64_t bytes)
{
    unsigned long long frame = first.raw;

    for (unsigned cpu = 0; cpu < fake_machine.cpus; cpu++)
        if (fake_machine.cpu[cpu].root_loaded && fake_machine.cpu[cpu].root.raw - first.raw < bytes)
            fake_fail("freed while CPU %u has it as its root: %#llx", cpu, frame);
    if (fake_range_in_use(first, bytes))
        fake_fail("freed while a CPU may still reach it: %#llx", frame);
    if (fake_machine.on.free_unmapped && fake_entries_to(first, bytes) != 0)
        fake_fail("freed while an entry leads to it: %#llx", frame);
}

void fake_frame_freed(mm_phys_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        mm_phys_t frame = mm_phys_add(first, i * MM_FRAME_BYTES);

        if (record_of("freed", frame)->state == FAKE_FRAME_FREED)
            fake_fail("freed twice: %#llx", (unsigned long long)frame.raw);
    }
    check_unreachable(first, count * MM_FRAME_BYTES);
    for (uint64_t i = 0; i < count; i++)
        fake_frame_record(first.raw + i * MM_FRAME_BYTES)->state = FAKE_FRAME_FREED;
    fake_ram_poison(first, count * MM_FRAME_BYTES);
}

/* ---- the source ---- */

static bool owns(void *context, mm_phys_t frame)
{
    const struct fake_frames *frames = context;

    return frame.raw >= frames->start.raw &&
           mm_frame_of(frame) - mm_frame_of(frames->start) < frames->count;
}

static mm_phys_t frame_number(const struct fake_frames *frames, uint32_t number)
{
    return mm_phys_add(frames->start, number * MM_FRAME_BYTES);
}

void fake_frames_init(struct fake_frames *frames, mm_phys_t start, uint32_t count)
{
    if (fake_ram(start, count * MM_FRAME_BYTES) == NULL)
        fake_fail("a frame source outside RAM: %#llx", (unsigned long long)start.raw);
    *frames = (struct fake_frames){.start = start, .count = count, .fail_after = -1};
    for (uint32_t i = count; i-- > 0;) {
        struct fake_frame *record = record_of("in a source", frame_number(frames, i));

        record->state = FAKE_FRAME_FREED;
        record->tag = 0;
        record->next_free = frames->last;
        frames->last = i + 1;
    }
    fake_ram_poison(start, count * MM_FRAME_BYTES);
}

static enum mm_err alloc(void *context, mm_phys_t *out)
{
    struct fake_frames *frames = context;
    mm_phys_t frame;

    if (frames->empty || frames->last == 0)
        return MM_ERR_NO_MEMORY;
    if (frames->fail_after >= 0 && frames->fail_after-- == 0)
        return MM_ERR_NO_MEMORY;
    frame = frame_number(frames, frames->last - 1);
    if (!fake_ram_poisoned(frame, MM_FRAME_BYTES))
        fake_fail("written to while it was free: %#llx", (unsigned long long)frame.raw);
    frames->last = give_one(frame)->next_free;
    frames->used++;
    frames->allocs++;
    *out = frame;
    return MM_OK;
}

static void give_back(void *context, mm_phys_t frame)
{
    struct fake_frames *frames = context;

    if (!owns(frames, frame) || frame.raw % MM_FRAME_BYTES != 0)
        fake_fail("freed, but not from here: %#llx", (unsigned long long)frame.raw);
    if (fake_frame_record(frame.raw)->tag != 0)
        fake_fail("freed with a tag: %#llx", (unsigned long long)frame.raw);
    fake_frame_freed(frame, 1);
    frames->used--;
    frames->frees++;
    fake_frame_record(frame.raw)->next_free = frames->last;
    frames->last = (uint32_t)(mm_frame_of(frame) - mm_frame_of(frames->start)) + 1;
}

static enum mm_err tag(void *context, mm_phys_t frame, uint16_t **out)
{
    struct fake_frames *frames = context;

    if (frames->untagged || !owns(frames, frame))
        return MM_ERR_NOT_FOUND;
    *out = &fake_frame_record(frame.raw)->tag;
    return MM_OK;
}

struct mm_frame_source fake_frame_source(struct fake_frames *frames)
{
    return (struct mm_frame_source){
        .alloc = alloc, .free = give_back, .owns = owns, .tag = tag, .context = frames};
}

bool fake_frame_out(const struct fake_frames *frames, mm_phys_t frame)
{
    return owns((void *)(uintptr_t)frames, frame) &&
           fake_frame_record(frame.raw)->state == FAKE_FRAME_GIVEN;
}
