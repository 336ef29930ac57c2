# cmake -DWAY=installed|subdirectory -DSOURCE=... -DBUILD=... -DWORK=... -P check.cmake
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    string(JOIN " " command ${ARGV})
    message(FATAL_ERROR "${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
if(WAY STREQUAL installed)
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
  set(found -DCMAKE_PREFIX_PATH=${WORK}/prefix -DCMAKE_BUILD_TYPE=Release
    "-DCMAKE_CXX_FLAGS=${FLAGS}")  # a sanitized library links with sanitized programs only
  # What an installed header pulls in is what every user compiles: no Eigen, no CUDA, nothing of the source tree.
  file(GLOB_RECURSE headers ${WORK}/prefix/include/*.h)
  foreach(header ${headers})
    file(READ ${header} text)
    if(text MATCHES "#include <(Eigen|cuda|cublas|fmt|nlohmann|stb)")
      message(FATAL_ERROR "${header} includes a private dependency")
    endif()
  endforeach()
else()
  set(found -DBOBBIN_SOURCE=${SOURCE} -DCMAKE_CXX_FLAGS=-O0 -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}
    -DBOBBIN_CUDA=OFF)  # the kernels are built once, by the project itself
endif()
run(${CMAKE_COMMAND} -S ${SOURCE}/tests/consumer -B ${WORK}/build -G Ninja ${found})
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/app --op user.cube --op softmax)
if(NOT output MATCHES "PASS +user.cube +1 samples +4 checks")
  message(FATAL_ERROR "the user's operation was not checked:\n${output}")
endif()
if(WAY STREQUAL installed)
  execute_process(COMMAND ${WORK}/prefix/bin/gradcheck --plugin ${WORK}/build/plugin.so --op plugin.*
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 1 OR NOT output MATCHES "FAIL +plugin.wrong_cube")
    message(FATAL_ERROR "the installed gradcheck ends with ${status} on a plugin that is wrong:\n${output}")
  endif()
endif()
