# Turns the options into what targets need:
#   mm_definitions        how the archive is configured; everyone who includes <mm/...> needs them
#   mm_break_definitions  the fault to build in, if any
#   mm_warnings           for every C file of this repository

set(mm_levels release hardened debug)
list(FIND mm_levels "${MM_LEVEL}" mm_level_number)
if(mm_level_number EQUAL -1)
  message(FATAL_ERROR "MM_LEVEL is '${MM_LEVEL}'; it must be release, hardened or debug")
endif()
set(mm_definitions MM_LEVEL=${mm_level_number})
foreach(header MM_CONFIG_HEADER MM_CPU_HEADER)
  if(${header})
    get_filename_component(${header}_path "${${header}}" ABSOLUTE BASE_DIR ${CMAKE_SOURCE_DIR})
    list(APPEND mm_definitions "${header}=\"${${header}_path}\"")
  endif()
endforeach()

set(mm_break_definitions)
if(MM_BREAK)
  file(STRINGS ${PROJECT_SOURCE_DIR}/tools/breaks.txt mm_break_line REGEX "^${MM_BREAK}[ \t]")
  if(NOT mm_break_line)
    message(FATAL_ERROR "MM_BREAK is '${MM_BREAK}', which tools/breaks.txt does not list")
  endif()
  string(TOUPPER "MM_BREAK_${MM_BREAK}" mm_break_macro)
  string(REPLACE "-" "_" mm_break_macro "${mm_break_macro}")
  set(mm_break_definitions ${mm_break_macro}=1)
endif()

set(mm_warnings -Wall -Wextra -Wconversion -Wshadow -Wundef)
if(MM_WERROR)
  list(APPEND mm_warnings -Werror)
else()
  list(APPEND mm_warnings -Wno-error) # a parent's -Werror is about its own code
endif()
