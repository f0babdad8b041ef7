# Tool chain for freestanding x86_64: what builds libmm.a, the minikernel and the consumers' kernels.
#
#   cmake -B build -DCMAKE_TOOLCHAIN_FILE=cmake/freestanding.cmake [-DMM_TOOLCHAIN=...]
#
#   elf        x86_64-elf-gcc and its binutils
#   clang      clang --target=x86_64-unknown-elf and ld.lld
#   clang-elf  the same clang and x86_64-elf binutils, which scripts/cross-toolchain builds
#   gcc        the machine's own gcc and GNU ld, told to forget their system
#
# auto takes the first of the four that is there. Tools for x86_64-elf are looked for on PATH and in
# build/cross/bin. The choice is kept for the life of a build directory: CMake cannot change compilers
# in one.

set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY) # nothing to link a program with: no C library
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES MM_TOOLCHAIN MM_TOOLCHAIN_CHOSEN)

set(MM_TOOLCHAIN auto CACHE STRING "tool chain: auto, elf, clang, clang-elf or gcc")
set_property(CACHE MM_TOOLCHAIN PROPERTY STRINGS auto elf clang clang-elf gcc)

set(mm_cross ${CMAKE_CURRENT_LIST_DIR}/../build/cross/bin)
cmake_path(NORMAL_PATH mm_cross)
find_program(MM_ELF_GCC x86_64-elf-gcc HINTS ${mm_cross})
find_program(MM_ELF_LD x86_64-elf-ld HINTS ${mm_cross})
find_program(MM_CLANG clang)
find_program(MM_LLD ld.lld)
# Debian and Ubuntu know gcc also by its triplet; on another architecture only that one is right.
find_program(MM_GCC NAMES x86_64-linux-gnu-gcc gcc)
mark_as_advanced(MM_ELF_GCC MM_ELF_LD MM_CLANG MM_LLD MM_GCC)

if(MM_TOOLCHAIN STREQUAL "auto" AND MM_TOOLCHAIN_CHOSEN)
  set(mm_tools ${MM_TOOLCHAIN_CHOSEN})
elseif(NOT MM_TOOLCHAIN STREQUAL "auto")
  set(mm_tools ${MM_TOOLCHAIN})
elseif(MM_ELF_GCC)
  set(mm_tools elf)
elseif(MM_CLANG AND MM_LLD)
  set(mm_tools clang)
elseif(MM_CLANG AND MM_ELF_LD)
  set(mm_tools clang-elf)
else()
  set(mm_tools gcc)
endif()
if(MM_TOOLCHAIN_CHOSEN AND NOT mm_tools STREQUAL MM_TOOLCHAIN_CHOSEN)
  message(FATAL_ERROR "this build directory has the tool chain ${MM_TOOLCHAIN_CHOSEN}; "
    "for ${mm_tools} take a fresh one")
endif()
if(mm_tools STREQUAL "clang" AND NOT (MM_CLANG AND MM_LLD))
  message(FATAL_ERROR "MM_TOOLCHAIN=clang needs clang and ld.lld")
elseif(mm_tools STREQUAL "clang-elf" AND NOT (MM_CLANG AND MM_ELF_LD))
  message(FATAL_ERROR "MM_TOOLCHAIN=clang-elf needs clang, and x86_64-elf-ld on PATH or in "
    "build/cross/bin: scripts/cross-toolchain builds it")
elseif(mm_tools STREQUAL "elf" AND NOT MM_ELF_GCC)
  message(FATAL_ERROR "MM_TOOLCHAIN=elf needs x86_64-elf-gcc on PATH")
endif()
set(MM_TOOLCHAIN_CHOSEN ${mm_tools} CACHE INTERNAL "tool chain of this build directory")

set(CMAKE_EXE_LINKER_FLAGS_INIT "-nostdlib -static -Wl,--build-id=none")
if(mm_tools STREQUAL "elf")
  set(CMAKE_C_COMPILER ${MM_ELF_GCC})
  string(REGEX REPLACE "gcc$" "g++" CMAKE_CXX_COMPILER "${MM_ELF_GCC}")
elseif(mm_tools MATCHES "^clang")
  set(mm_linker -fuse-ld=lld)
  if(mm_tools STREQUAL "clang-elf")
    set(mm_linker --ld-path=${MM_ELF_LD})
    string(REGEX REPLACE "ld$" "" mm_prefix "${MM_ELF_LD}")
    set(CMAKE_LINKER ${MM_ELF_LD} CACHE FILEPATH "ld for x86_64-elf")
    foreach(tool ar nm objcopy objdump ranlib readelf strip)
      string(TOUPPER CMAKE_${tool} variable)
      set(${variable} ${mm_prefix}${tool} CACHE FILEPATH "${tool} for x86_64-elf")
    endforeach()
  endif()
  set(CMAKE_C_COMPILER clang)
  set(CMAKE_CXX_COMPILER clang++)
  foreach(lang C CXX ASM)
    set(CMAKE_${lang}_COMPILER_TARGET x86_64-unknown-elf)
    # For the elf target clang 14 hands the linking to gcc, which need not be there; as a Linux
    # program without its libraries it calls the linker itself, and the result is the same.
    set(CMAKE_${lang}_LINK_EXECUTABLE
      "<CMAKE_${lang}_COMPILER> --target=x86_64-linux-gnu ${mm_linker} <LINK_FLAGS> <OBJECTS> -o <TARGET> <LINK_LIBRARIES>")
  endforeach()
elseif(mm_tools STREQUAL "gcc")
  set(CMAKE_C_COMPILER ${MM_GCC})
  string(REGEX REPLACE "gcc$" "g++" CMAKE_CXX_COMPILER "${MM_GCC}")
  string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT " -no-pie")
else()
  message(FATAL_ERROR "MM_TOOLCHAIN is '${mm_tools}'; it must be auto, elf, clang, clang-elf or gcc")
endif()
set(CMAKE_ASM_COMPILER ${CMAKE_C_COMPILER})
