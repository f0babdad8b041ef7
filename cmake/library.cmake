# mm: libmm.a, freestanding whatever the parent's flags are.

file(GLOB_RECURSE mm_sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/src/*.c ${PROJECT_SOURCE_DIR}/port/${MM_PORT}/*.c)
add_library(mm STATIC ${mm_sources})
add_library(mm::mm ALIAS mm)
if(MM_BUILD_TESTS AND NOT mm_freestanding)
  set_target_properties(mm PROPERTIES EXCLUDE_FROM_ALL ON) # a tree of unit tests
endif()

# Set, not appended: a parent's own mm/ directory must not come first when libmm is built.
set_target_properties(mm PROPERTIES
  C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF
  POSITION_INDEPENDENT_CODE OFF
  INTERPROCEDURAL_OPTIMIZATION OFF
  INCLUDE_DIRECTORIES
    "${PROJECT_SOURCE_DIR}/include;${PROJECT_SOURCE_DIR}/src;${PROJECT_SOURCE_DIR}/port/${MM_PORT}")
target_include_directories(mm INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)

# An installed libmm carries its configuration in mm/config.h; here it travels with the target.
target_compile_definitions(mm
  PRIVATE MM_PORT=${MM_PORT} ${mm_definitions} ${mm_break_definitions}
  INTERFACE $<BUILD_INTERFACE:MM_PORT=${MM_PORT}>)
foreach(definition IN LISTS mm_definitions)
  target_compile_definitions(mm INTERFACE $<BUILD_INTERFACE:${definition}>)
endforeach()

# Position independent within +-2 GiB: links at 1 MiB, at -2 GiB and in any direct map. The last
# lines undo what a parent may have switched on.
set(mm_machine_flags
  -ffreestanding -fpie -mcmodel=small -mno-red-zone -mgeneral-regs-only
  -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none
  -fno-lto -fno-sanitize=all)
if(CMAKE_C_COMPILER_ID STREQUAL "Clang")
  list(APPEND mm_machine_flags -fdirect-access-external-data) # no GOT, as gcc -fpie does
endif()
target_compile_options(mm PRIVATE ${mm_machine_flags} ${mm_warnings})

# A project without a build type, as many kernels are, gives no -O at all: libmm would be several
# times slower and need twice the stack. Whoever says -O somewhere else is followed.
get_property(mm_multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
get_directory_property(mm_inherited COMPILE_OPTIONS)
if(NOT CMAKE_BUILD_TYPE AND NOT mm_multi_config
    AND NOT "${CMAKE_C_FLAGS};${mm_inherited}" MATCHES "(^|[ ;])-O")
  target_compile_options(mm PRIVATE -O2)
endif()
