# bobbin_add_plugin(NAME sources...): a shared object for `gradcheck --plugin`, that defines
#   extern "C" void bobbin_register() { bobbin::register_op<Mine>(); }
# It takes Bobbin itself from the program that opens it: a second copy would have a catalogue of its own.
function(bobbin_add_plugin name)
  add_library(${name} MODULE ${ARGN})
  set_target_properties(${name} PROPERTIES PREFIX "" CXX_VISIBILITY_PRESET default)  # gradcheck looks for the function
  target_compile_features(${name} PRIVATE cxx_std_20)
  get_target_property(kind bobbin::gradcheck TYPE)
  if(kind STREQUAL SHARED_LIBRARY)
    target_link_libraries(${name} PRIVATE bobbin::bobbin)
  else()
    target_include_directories(${name} PRIVATE $<TARGET_PROPERTY:bobbin::gradcheck,INTERFACE_INCLUDE_DIRECTORIES>
      $<TARGET_PROPERTY:bobbin::base,INTERFACE_INCLUDE_DIRECTORIES>)
  endif()
endfunction()
