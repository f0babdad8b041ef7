/*
 * reader.h - what the readers of boot information share.
 *
 * Problem     Boot information is little-endian, of any alignment, and wrong at times.
 * Idea        Values are put together from bytes; a failure notes what, which tag and where. What
 *             is pointed to is found through the window (follow.c).
 * Invariants  Only the caller's bound check decides what may be read; nothing here checks again.
 * Locking     None.
 * Cost        A load; compilers see through the shifts.
 * Rejected    Packed structs laid over the data: alignment and aliasing are then the compiler's
 *             guess, and a bound check per field is easily forgotten.
 */
#ifndef MM_MEMMAP_READER_H
#define MM_MEMMAP_READER_H

#include "mm/boot.h"

struct mm_boot_reader {
    struct mm_memmap *map;
    const struct mm_window *window; /* of protocols that are followed by pointers; else NULL */
    struct mm_boot_info info;       /* the caller's, until all is read */
    struct mm_boot_fault *fault;
};

static inline uint16_t mm_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t mm_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t mm_le64(const uint8_t *p)
{
    return mm_le32(p) | (uint64_t)mm_le32(p + 4) << 32;
}

/* Note what is wrong; returns `err`. */
enum mm_err mm_boot_fail(struct mm_boot_reader *reader, enum mm_err err, const char *what,
                         uint32_t tag, uint64_t offset);

/* mm_memmap_add() and mm_memmap_reserve() for what a boot loader says: an address that cannot be
 * is its fault, MM_ERR_MALFORMED, not the caller's. `what` names the thing for the fault. */
MM_NODISCARD enum mm_err mm_boot_add(struct mm_boot_reader *reader, mm_phys_t start, uint64_t bytes,
                                     enum mm_mem_type type, uint32_t tag, uint64_t offset);
MM_NODISCARD enum mm_err mm_boot_reserve(struct mm_boot_reader *reader, mm_phys_t start,
                                         uint64_t bytes, enum mm_mem_use use, const char *what,
                                         uint32_t tag, uint64_t offset);

/* Reserve and note a module. */
MM_NODISCARD enum mm_err mm_boot_module_add(struct mm_boot_reader *reader,
                                            const struct mm_boot_module *module, uint32_t tag,
                                            uint64_t offset);

/* Reserve and note a framebuffer; `pixels` is the number that Multiboot gives its kind, and
 * `colours` the six bytes of shifts and sizes, looked at for RGB only. */
MM_NODISCARD enum mm_err mm_boot_framebuffer_set(struct mm_boot_reader *reader,
                                                 const struct mm_boot_framebuffer *framebuffer,
                                                 unsigned pixels, const uint8_t *colours,
                                                 uint32_t tag, uint64_t offset);

/* Note where the extended BIOS data area begins: `kib` is how much lower memory the BIOS calls
 * free, which ends there. Numbers that cannot be are ignored. */
void mm_boot_ebda_set(struct mm_boot_reader *reader, uint32_t kib);

/* No machine has lists that are near it; a count above it is a wild one. */
#define MM_BOOT_LIST_MAX 65536u

/* Where [at, at + bytes) can be read; also reserves it. MM_ERR_WINDOW says `what`. */
MM_NODISCARD enum mm_err mm_boot_find(struct mm_boot_reader *reader, mm_phys_t at, uint64_t bytes,
                                      const char *what, const uint8_t **out);

/* The text at `at`, which ends inside one piece of the window; also reserves it. Address 0 is no
 * text. */
MM_NODISCARD enum mm_err mm_boot_text_find(struct mm_boot_reader *reader, uint64_t at,
                                           struct mm_boot_text *out);

/* A list of EFI memory descriptors, as the firmware or a loader passes it on. */
struct mm_boot_efi_list {
    const uint8_t *at;
    uint64_t bytes; /* readable */
    uint64_t step;  /* size of a descriptor as told, not as compiled */
    uint32_t version;
    uint32_t tag;
    uint64_t head;   /* offset that faults of the framing name */
    uint64_t offset; /* offset of the first descriptor */
};
MM_NODISCARD enum mm_err mm_boot_efi_list_read(struct mm_boot_reader *reader,
                                               const struct mm_boot_efi_list *list);

/* `count` entries of an E820 map: base, length, type; then attributes if `attributes`. */
#define MM_E820_ENTRY_BYTES      20u
#define MM_E820_ATTRIBUTES_BYTES 24u
MM_NODISCARD enum mm_err mm_boot_e820_entry(struct mm_boot_reader *reader, const uint8_t *entry,
                                            uint32_t tag, uint64_t offset);

#endif
