# clara_sandbox_plugin(NAME SOURCES…): NAME.so, linked as a plugin has to be: one exported symbol, nothing of
# static libraries visible, no symbol left undefined. Link clara-sandbox::plugin-api or ::plugin-api-cpp to it.
function(clara_sandbox_plugin name)
  set(map ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/clara-sandbox-plugin.map)
  add_library(${name} MODULE ${ARGN})
  set_target_properties(${name} PROPERTIES PREFIX "" C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON POSITION_INDEPENDENT_CODE ON LINK_DEPENDS ${map})
  target_link_options(${name} PRIVATE -Wl,--version-script=${map} -Wl,--exclude-libs,ALL -Wl,-z,defs)
endfunction()
