# What every target of this project shares: flags, output folders, csb_plugin, csb_test.
include(GNUInstallDirs)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

# The layout of the build folder is that of an installation, so that the tree runs in place.
set(CSB_LIB_DIR ${CMAKE_BINARY_DIR}/lib/clara-sandbox)
set(CSB_PLUGIN_DIR ${CSB_LIB_DIR}/plugins)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
# Plugins are found relative to the binary, so the folder is lib/ whatever the distribution's libdir.
set(CSB_INSTALL_LIB_DIR lib/clara-sandbox)

find_program(CSB_CCACHE ccache)
if(CSB_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CSB_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CSB_CCACHE})
endif()

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS program_options filesystem)
find_package(OpenSSL REQUIRED)

# Flags for everything that is ours. csb_options is linked PRIVATE.
add_library(csb_options INTERFACE)
target_include_directories(csb_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(csb_options INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers
  -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 sees overlaps in std::string's operator+ that are not there (gcc.gnu.org/PR105651).
  target_compile_options(csb_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
target_compile_definitions(csb_options INTERFACE CSB_VERSION="${PROJECT_VERSION}")
if(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_definitions(csb_options INTERFACE _FORTIFY_SOURCE=2)
endif()

# Sanitizers; never on the agent's static binary.
add_library(csb_sanitize INTERFACE)
if(CSB_SANITIZE)
  target_compile_options(csb_sanitize INTERFACE -fsanitize=${CSB_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(csb_sanitize INTERFACE -fsanitize-ignorelist=${PROJECT_SOURCE_DIR}/cmake/sanitize_ignore.txt)
  endif()
  target_link_options(csb_sanitize INTERFACE -fsanitize=${CSB_SANITIZE})
  # GCC says of every fence in Asio that TSan does not see it.
  if(CSB_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(csb_sanitize INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-tsan>)
  endif()
endif()

# Of packages: no path of the machine that built them, and nothing writable that only the linker writes.
if(CSB_PACKAGE)
  add_compile_options(-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.)
  add_link_options(-Wl,-z,relro -Wl,-z,now)
endif()

find_program(CSB_MOLD mold)
if(CSB_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# csb_plugin(NAME SOURCES … LIBS …): lib/clara-sandbox/plugins/NAME.so with one exported symbol.
function(csb_plugin name)
  cmake_parse_arguments(P "" "OUTPUT_DIRECTORY" "SOURCES;LIBS" ${ARGN})
  add_library(plugin_${name} MODULE ${P_SOURCES})
  target_link_libraries(plugin_${name} PRIVATE csb_options csb_sanitize csb_plugin_api_cpp ${P_LIBS})
  set(map ${PROJECT_SOURCE_DIR}/cmake/plugin.map)
  target_link_options(plugin_${name} PRIVATE -Wl,--version-script=${map} -Wl,--exclude-libs,ALL)
  if(NOT CSB_SANITIZE)
    target_link_options(plugin_${name} PRIVATE -Wl,-z,defs)
  endif()
  if(NOT P_OUTPUT_DIRECTORY)
    set(P_OUTPUT_DIRECTORY ${CSB_PLUGIN_DIR})
    install(TARGETS plugin_${name} LIBRARY DESTINATION ${CSB_INSTALL_LIB_DIR}/plugins)
  endif()
  set_target_properties(plugin_${name} PROPERTIES PREFIX "" OUTPUT_NAME ${name}
    LIBRARY_OUTPUT_DIRECTORY ${P_OUTPUT_DIRECTORY} LINK_DEPENDS ${map})
endfunction()

# csb_test(NAME SOURCES … LIBS … [LABELS …] [TIMEOUT seconds]): a GoogleTest binary, one ctest entry.
function(csb_test name)
  if(NOT CSB_TESTS)
    return()
  endif()
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE csb_options csb_sanitize csb_plugin_api_cpp ${T_LIBS}
    GTest::gtest GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(${name} PRIVATE CSB_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    CSB_TEST_BINARY_DIR="${CMAKE_BINARY_DIR}")
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${T_TIMEOUT} LABELS "${T_LABELS}")
endfunction()

# Asio and Beast are compiled once per build instead of once per file.
add_library(csb_asio STATIC ${PROJECT_SOURCE_DIR}/cmake/asio/asio.cc)
target_link_libraries(csb_asio PRIVATE csb_sanitize PUBLIC Boost::headers OpenSSL::SSL Threads::Threads)
target_compile_definitions(csb_asio PUBLIC BOOST_ASIO_NO_DEPRECATED BOOST_BEAST_SEPARATE_COMPILATION
  BOOST_ASIO_SEPARATE_COMPILATION)
