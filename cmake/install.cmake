# cmake --install: libmm.a, include/mm/, and what find_package(mm) and pkg-config find.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# mm/config.h with the values of this archive in it: a contradiction does not compile.
set(mm_config_header ${PROJECT_SOURCE_DIR}/include/mm/config.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${mm_config_header})
file(READ ${mm_config_header} mm_config_text)
set(mm_config_own "")
if(MM_CONFIG_HEADER)
  file(READ ${MM_CONFIG_HEADER_path} mm_config_own)
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/config.h.in ${PROJECT_BINARY_DIR}/install/config.h @ONLY)

install(TARGETS mm EXPORT mmTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/mm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h" PATTERN "config.h" EXCLUDE)
install(FILES ${PROJECT_BINARY_DIR}/install/config.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/mm)

set(mm_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mm)
install(EXPORT mmTargets NAMESPACE mm:: DESTINATION ${mm_package_dir} FILE mmTargets.cmake)
configure_file(${PROJECT_SOURCE_DIR}/cmake/mmConfig.cmake.in
  ${PROJECT_BINARY_DIR}/install/mmConfig.cmake @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/install/mmConfig.cmake DESTINATION ${mm_package_dir})
# A freestanding archive has no pointer size of the host's to compare with: architecture apart.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/install/mmConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/install/mmConfigVersion.cmake DESTINATION ${mm_package_dir})

# Relative to the file itself, however deep the directory of libraries is.
set(mm_pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH mm_pc_to_prefix /prefix/${mm_pc_dir} /prefix)
string(REGEX REPLACE "/$" "" mm_pc_to_prefix ${mm_pc_to_prefix})
configure_file(${PROJECT_SOURCE_DIR}/cmake/mm.pc.in ${PROJECT_BINARY_DIR}/install/mm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/install/mm.pc DESTINATION ${mm_pc_dir})
