#include <stdio.h>
#include <stdlib.h>

#include "fake.h"
#include "fake_frames.h"
#include "mm/host.h"
#include "mm/vmm.h"

/* ---- the kernel's code: a buffer of one page that is given, and taken back ---- */

static struct mm_frame_source frames;

static enum mm_err buffer_give(struct mm_space *space, mm_virt_t virt)
{
    struct mm_map_request request = {.virt = virt, .bytes = 4096, .prot = MM_PROT_RW};
    enum mm_err err = frames.alloc(frames.context, &request.phys);

    if (err != MM_OK)
        return err;
    err = mm_space_map(space, &request, NULL);
    if (err != MM_OK)
        frames.free(frames.context, request.phys);
    return err;
}

static void buffer_free(void *context, mm_phys_t first, uint64_t count_frames)
{
    (void)context;
    for (uint64_t i = 0; i < count_frames; i++)
        frames.free(frames.context, mm_phys_add(first, i * 4096));
}

static enum mm_err buffer_take_back(struct mm_space *space, mm_virt_t virt)
{
    struct mm_translation at;
    struct mm_gather gather;
    enum mm_err err = mm_space_translate(space, virt, &at, NULL);

    if (err != MM_OK)
        return err;
    mm_gather_begin(&gather, space);
    mm_gather_set_release(&gather, buffer_free, NULL);
    err = mm_space_unmap(space, virt, 4096, 0, &gather, NULL);
    if (err == MM_OK)
        mm_gather_frames(&gather, at.phys, 1); /* buffer_free() here would be one flush too early */
    mm_gather_end(&gather);
    return err;
}

/* ---- what a kernel defines, on simulated CPUs ---- */

static void stop(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

void mm_host_report(const struct mm_report *report)
{
    stop(report->what);
}

void mm_host_panic(const struct mm_report *report)
{
    stop(report->what);
    abort();
}

unsigned mm_host_cpu(void)
{
    return fake_cpu_current();
}

enum mm_err mm_host_run_on(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    fake_ipi(cpu, fn, arg);
    return MM_OK;
}

struct call {
    void (*serve)(const void *request);
    const void *request;
};

static void call_serve(void *arg)
{
    const struct call *call = arg;

    call->serve(call->request);
}

void mm_host_shootdown(const struct mm_cpuset *cpus, void (*serve)(const void *request),
                       const void *request)
{
    struct call call = {serve, request};

    if (!fake_cpu(fake_cpu_current())->interrupts_on)
        stop("a shootdown with interrupts off"); /* a real CPU might wait for ever */
    for (unsigned cpu = 0; cpu < MM_CPUS_MAX; cpu++)
        if ((cpus->bits[cpu / 64] >> cpu % 64 & 1) != 0)
            fake_ipi(cpu, call_serve, &call);
}

/* ---- the test: two CPUs, and walkers that never miss a moment ---- */

static struct fake_frames ram;
static struct mm_vmm vmm;
static struct mm_vmm_cpu vmm_cpu[2];
static struct mm_space kernel;

static void must(enum mm_err err, const char *what)
{
    if (err != MM_OK)
        stop(what);
}

static void machine_start(void)
{
    struct mm_vmm_config config = {.cpu_count = 2, .cpu = vmm_cpu};

    fake_reset();
    fake_ram_add(mm_phys(0x100000), 1 << 20);
    fake_watch_changes(FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    fake_frames_init(&ram, mm_phys(0x100000), 256);
    frames = fake_frame_source(&ram);
    config.tables = frames;
    config.window = fake_window();
    must(mm_vmm_init(&vmm, &config), "mm_vmm_init");
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        fake_cpu_set(cpu);
        must(mm_cpu_init(&vmm, cpu), "mm_cpu_init");
        if (cpu == 0)
            must(mm_space_create(&vmm, &kernel, MM_SPACE_KERNEL), "mm_space_create");
        must(mm_space_activate(&kernel), "mm_space_activate");
    }
    fake_cpu_set(0);
}

int main(void)
{
    mm_virt_t virt = mm_virt(0xffffa00000000000);
    uint32_t used;

    machine_start();
    used = ram.used;
    must(buffer_give(&kernel, virt), "buffer_give");
    if (fake_write64(virt, 42).fault != FAKE_OK)
        stop("the buffer is not there");
    fake_cpu_set(1);
    if (fake_read64(virt).value != 42)
        stop("the other CPU sees something else");
    fake_cpu_set(0);
    fake_counts_clear();
    must(buffer_take_back(&kernel, virt), "buffer_take_back");
    fake_stale_none();
    if (fake_read64(virt).fault != FAKE_NOT_PRESENT || ram.used != used)
        stop("the buffer is still there");
    if (fake_cpu_counts(0).flush_page != 1 || fake_cpu_counts(1).flush_page != 1)
        stop("there is more than one flush for one page");
    puts("ok");
    return 0;
}
