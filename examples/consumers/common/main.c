/*
 * main.c - the smallest kernel that uses libmm: starts it, allocates, says so and ends the machine.
 *
 * Every build system of examples/consumers/ builds this one kernel.
 */
#include <mm/mm.h>

static void console_line(const char *line);
static _Noreturn void machine_end(uint32_t verdict);

#define VERDICT_GOOD 0x10u /* QEMU's isa-debug-exit makes 33 of it */
#define VERDICT_BAD  0x11u

#define MM_HOST_PRINT(line) console_line(line)
#define MM_HOST_STOP()      machine_end(VERDICT_BAD)
#include <mm/host_single.h>

#define KERNEL_OFFSET UINT64_C(0xffffffff80000000)
#define BOOT_MAPPED   (UINT64_C(1) << 30) /* by boot.S, from physical address 0 */
#define MULTIBOOT2    0x36d76289u         /* what its loaders leave in eax */
#define COM1          0x3f8
#define DEBUG_EXIT    0xf4
#define NUMBERS       1000u

/* From kernel.ld. */
extern const char text_start[], text_end[], rodata_start[], rodata_end[], data_start[], data_end[];

static struct mm mm;

void kernel_main(uint32_t magic, uint32_t boot_info);

static void port_write8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

/* QEMU's serial line needs no initialising; a real one does. */
static void console_text(const char *text)
{
    while (*text != '\0')
        port_write8(COM1, (uint8_t)*text++);
}

static void console_line(const char *line)
{
    console_text(line);
    console_text("\n");
}

static _Noreturn void machine_end(uint32_t verdict)
{
    __asm__ volatile("outl %0, %1" : : "a"(verdict), "Nd"((uint16_t)DEBUG_EXIT));
    for (;;)
        __asm__ volatile("cli; hlt");
}

static bool memory_start(uint32_t magic, uint32_t boot_info)
{
    const struct mm_image_segment image[] = {
        mm_image_part(text_start, text_end, KERNEL_OFFSET, MM_PROT_RX),
        mm_image_part(rodata_start, rodata_end, KERNEL_OFFSET, MM_PROT_READ),
        mm_image_part(data_start, data_end, KERNEL_OFFSET, MM_PROT_RW),
    };
    struct mm_start_info info = {
        .protocol = magic == MULTIBOOT2 ? MM_BOOT_MULTIBOOT2 : MM_BOOT_PVH,
        .magic = magic,
        .info = mm_phys(boot_info),
        .segment = image,
        .segment_count = sizeof image / sizeof image[0],
    };
    struct mm_start_failure why;

    if (mm_window_add(&info.window, mm_phys(0), BOOT_MAPPED, mm_virt(KERNEL_OFFSET)) != MM_OK)
        return false;
    if (mm_start(&mm, &info, &why) == MM_OK)
        return true;
    console_line(mm_start_stage_name(why.stage));
    console_line(mm_err_text(why.err));
    return false;
}

/* A heap block and a mapped frame: each is written, read and given back. */
static bool memory_works(void)
{
    struct mm_map_request request = {
        .virt = mm_virt(0x400000), .bytes = MM_FRAME_BYTES, .prot = MM_PROT_RW};
    uint32_t *numbers = mm_heap_alloc(&mm.heap, NUMBERS * sizeof *numbers);
    volatile uint32_t *page = mm_virt_pointer(request.virt);
    bool right = true;

    if (numbers == NULL || mm_pmm_alloc_frame(&mm.pmm, &request.phys) != MM_OK)
        return false;
    if (mm_space_map(&mm.kernel, &request, NULL) != MM_OK)
        return false;
    for (uint32_t i = 0; i < NUMBERS; i++)
        page[i] = numbers[i] = i * i;
    for (uint32_t i = 0; i < NUMBERS; i++)
        right = right && numbers[i] == i * i && page[i] == i * i;
    if (mm_space_unmap(&mm.kernel, request.virt, MM_FRAME_BYTES, 0, NULL, NULL) != MM_OK)
        return false;
    (void)mm_pmm_free_frame(&mm.pmm, request.phys);
    (void)mm_heap_free(&mm.heap, numbers);
    return right && mm_check(&mm, NULL) == 0;
}

void kernel_main(uint32_t magic, uint32_t boot_info)
{
    bool good = memory_start(magic, boot_info) && memory_works();

    console_line(good ? "kernel: libmm works" : "kernel: libmm does not work");
    machine_end(good ? VERDICT_GOOD : VERDICT_BAD);
}
