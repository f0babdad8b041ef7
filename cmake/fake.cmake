# mm::fake: all of libmm for this machine, with the simulated machine (port/fake) as its port, to test
# code that calls libmm. docs/testing.md. A program that links it defines the functions of mm/host.h.
#
# Built when somebody links it; with MM_FAKE always, and installed: libmm_fake.a, and its own headers
# in include/mm-fake/.
file(GLOB_RECURSE mm_fake_sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/src/*.c ${PROJECT_SOURCE_DIR}/port/fake/*.c)
add_library(mm_fake STATIC EXCLUDE_FROM_ALL ${mm_fake_sources})
add_library(mm::fake ALIAS mm_fake)
set_target_properties(mm_fake PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON EXPORT_NAME fake)
if(MM_FAKE)
  set_target_properties(mm_fake PROPERTIES EXCLUDE_FROM_ALL OFF)
endif()

# The fake decodes what port/x86_64/mm_pte.h encodes, so port/fake comes first and port/x86_64 fills
# in what it does not replace. Set, not appended: a parent's own mm/ directory must not come first.
set(mm_fake_include ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/port/fake
  ${PROJECT_SOURCE_DIR}/port/x86_64)
set_target_properties(mm_fake PROPERTIES
  INCLUDE_DIRECTORIES "${mm_fake_include};${PROJECT_SOURCE_DIR}/src")
target_include_directories(mm_fake INTERFACE
  "$<BUILD_INTERFACE:${mm_fake_include}>"
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/mm-fake>)

# The installed headers carry the configuration of a kernel's libmm.a; here it travels with the target.
target_compile_definitions(mm_fake
  PUBLIC MM_PORT=fake ${mm_definitions} PRIVATE ${mm_break_definitions})
target_compile_options(mm_fake PRIVATE ${mm_warnings})

if(MM_FAKE AND PROJECT_IS_TOP_LEVEL)
  install(TARGETS mm_fake EXPORT mmTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(FILES
    ${PROJECT_SOURCE_DIR}/port/fake/fake.h ${PROJECT_SOURCE_DIR}/port/fake/fake_frames.h
    ${PROJECT_SOURCE_DIR}/port/fake/fake_port.h ${PROJECT_SOURCE_DIR}/port/fake/mm_mmu.h
    ${PROJECT_SOURCE_DIR}/port/x86_64/mm_pte.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/mm-fake)
endif()
