# Each header of the plugin API compiles alone, pedantic: C headers as C11 and C++20, the
# wrapper as C++20. Included from CMakeLists.txt; makes one object library for each language.
file(GLOB c_headers RELATIVE ${PROJECT_SOURCE_DIR}/plugin-api/include
  CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/plugin-api/include/clara_sandbox/*.h)
file(GLOB cpp_headers RELATIVE ${PROJECT_SOURCE_DIR}/plugin-api/cpp/include
  CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/plugin-api/cpp/include/clara_sandbox/cpp/*.h)
set(c_sources)
set(cpp_sources)
foreach(header ${c_headers} ${cpp_headers})
  string(MAKE_C_IDENTIFIER ${header} name)
  set(text "#include \"${header}\"\n#include \"${header}\"\n")
  file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/alone/${name}.cc CONTENT ${text})
  list(APPEND cpp_sources ${CMAKE_CURRENT_BINARY_DIR}/alone/${name}.cc)
  if(header IN_LIST c_headers)
    file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/alone/${name}.c CONTENT "${text}typedef int csb_not_empty;\n")
    list(APPEND c_sources ${CMAKE_CURRENT_BINARY_DIR}/alone/${name}.c)
  endif()
endforeach()
add_library(abi_headers_alone OBJECT ${c_sources} ${cpp_sources} layout_c.c)
target_link_libraries(abi_headers_alone PRIVATE csb_options csb_sanitize csb_plugin_api_cpp)
target_compile_options(abi_headers_alone PRIVATE -pedantic-errors -Wconversion -g0)
target_compile_options(abi_headers_alone PRIVATE $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>)
