/*
 * mm/config.h - what this build of libmm was configured with.
 *
 * libmm builds with no configuration at all. To change an option, define it on the command line
 * of every file that includes <mm/...>, or name one header of yours that does:
 * -DMM_CONFIG_HEADER='"my_mm_config.h"'. An installed libmm carries the values that its archive
 * was built with, and a contradiction does not compile.
 *
 * The version, and the options that change code shared by header and archive, are spelt into one
 * symbol, MM_CONFIG_SYMBOL. Each mm_*_init() refers to it, so a header that does not belong to the
 * archive does not link: "undefined reference to mm_config_v0_1_x86_64_hardened" names what the
 * header is of.
 */
#ifndef MM_CONFIG_H
#define MM_CONFIG_H

#include <stdint.h>

#ifdef MM_CONFIG_HEADER
#include MM_CONFIG_HEADER
#endif

/* The version of libmm. Here and nowhere else: MM_VERSION, MM_CONFIG_SYMBOL and CMake take it from
 * these three lines. Versions that differ in the patch alone fit each other. */
#define MM_VERSION_MAJOR 0
#define MM_VERSION_MINOR 1
#define MM_VERSION_PATCH 0

#define MM_VERSION_TEXT_(major, minor, patch) #major "." #minor "." #patch
#define MM_VERSION_TEXT(major, minor, patch)  MM_VERSION_TEXT_(major, minor, patch)

/* "0.1.0" */
#define MM_VERSION MM_VERSION_TEXT(MM_VERSION_MAJOR, MM_VERSION_MINOR, MM_VERSION_PATCH)

/* Build levels. No struct changes its layout with the level. */
#define MM_LEVEL_RELEASE  0 /* cheap checks only: misuse that is seen in O(1) */
#define MM_LEVEL_HARDENED 1 /* and double frees at once; start with this one */
#define MM_LEVEL_DEBUG    2 /* and MM_ASSERT_DEBUG, poison, everything that costs */

#ifndef MM_LEVEL
#define MM_LEVEL MM_LEVEL_HARDENED
#endif

/* The port: a word that is pasted into MM_CONFIG_SYMBOL. The build passes it with the archive. */
#ifndef MM_PORT
#define MM_PORT x86_64
#endif

/*
 * MM_CPU_HEADER: optional, a header of yours that defines
 *     static inline unsigned mm_host_cpu(void)
 * so that the CPU index is inlined into the archive. Without it mm_host_cpu() is a function that
 * your kernel defines (mm/host.h).
 */

#if MM_LEVEL == MM_LEVEL_RELEASE
#define MM_LEVEL_WORD release
#elif MM_LEVEL == MM_LEVEL_HARDENED
#define MM_LEVEL_WORD hardened
#elif MM_LEVEL == MM_LEVEL_DEBUG
#define MM_LEVEL_WORD debug
#else
#error "MM_LEVEL is 0 (release), 1 (hardened) or 2 (debug)"
#endif

#define MM_CONFIG_PASTE_(major, minor, port, level) mm_config_v##major##_##minor##_##port##_##level
#define MM_CONFIG_PASTE(major, minor, port, level)  MM_CONFIG_PASTE_(major, minor, port, level)

#define MM_CONFIG_SYMBOL MM_CONFIG_PASTE(MM_VERSION_MAJOR, MM_VERSION_MINOR, MM_PORT, MM_LEVEL_WORD)

#ifdef __cplusplus
extern "C" {
#endif

/* Defined by the archive; every mm_*_init() passes its address. Hidden: position-independent code
 * of clang would fetch the address from a GOT, which GNU ld cannot resolve far above 2 GiB. */
#if defined(__GNUC__)
__attribute__((visibility("hidden")))
#endif
extern const uint32_t MM_CONFIG_SYMBOL;

#ifdef __cplusplus
}
#endif

#endif
