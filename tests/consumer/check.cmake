# cmake -DWAY=installed|subdirectory|pkgconfig|tgz|deb -DSOURCE=... -DBUILD=... -DWORK=... -P check.cmake
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    string(JOIN " " command ${ARGV})
    message(FATAL_ERROR "${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# The program must train a model, and check its own operation beside one of Bobbin's.
function(check_app program)
  run(${program} --op user.cube --op softmax)
  if(NOT output MATCHES "PASS +user.cube +1 samples +4 checks")
    message(FATAL_ERROR "the user's operation was not checked:\n${output}")
  endif()
endfunction()

# tests/consumer/CMakeLists.txt, with these settings.
function(build_consumer)
  run(${CMAKE_COMMAND} -S ${SOURCE}/tests/consumer -B ${WORK}/build -G Ninja ${ARGV})
  run(${CMAKE_COMMAND} --build ${WORK}/build)
endfunction()

# What was installed or unpacked at ${prefix}, found by find_package; and its gradcheck.
function(check_package prefix)
  # A sanitized library links with sanitized programs only.
  build_consumer(-DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS=${FLAGS}")
  check_app(${WORK}/build/app)
  file(STRINGS ${WORK}/build/CMakeCache.txt found REGEX "^bobbin_DIR:PATH=${prefix}/")
  if(NOT found)
    message(FATAL_ERROR "find_package took another bobbin than that of ${prefix}")
  endif()
  if(NOT EXISTS ${prefix}/share/doc/bobbin/LICENSE)
    message(FATAL_ERROR "${prefix} has no licence")
  endif()
  execute_process(COMMAND ${prefix}/bin/gradcheck --plugin ${WORK}/build/plugin.so --op plugin.*
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 1 OR NOT output MATCHES "FAIL +plugin.wrong_cube")
    message(FATAL_ERROR "the installed gradcheck ends with ${status} on a plugin that is wrong:\n${output}")
  endif()
endfunction()

# The same by pkg-config and one call of the compiler.
function(check_pkgconfig prefix)
  file(GLOB_RECURSE pc ${prefix}/*/bobbin.pc)
  get_filename_component(folder "${pc}" DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} ${folder}:$ENV{PKG_CONFIG_PATH})
  run(pkg-config --cflags --libs --static bobbin)
  separate_arguments(settings UNIX_COMMAND "${FLAGS} ${output}")
  run(${CXX} -std=c++20 ${SOURCE}/tests/consumer/app.cpp -o ${WORK}/app ${settings})
  # A shared library is not where the system looks, as an installed one would be.
  set(ENV{LD_LIBRARY_PATH} ${folder}/..)
  check_app(${WORK}/app)
endfunction()

# A package of this build, made by cpack in ${WORK}; its name is in ${package}.
function(pack generator pattern)
  run(${CPACK} -G ${generator} -B ${WORK} --config ${BUILD}/CPackConfig.cmake)
  file(GLOB package ${WORK}/${pattern})
  if(NOT package)
    message(FATAL_ERROR "cpack made no ${pattern}:\n${output}")
  endif()
  set(package ${package} PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})

if(WAY STREQUAL installed)
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
  # What an installed header pulls in is what every user compiles: no Eigen, no CUDA, nothing of the source tree.
  file(GLOB_RECURSE headers ${WORK}/prefix/include/*.h)
  foreach(header ${headers})
    file(READ ${header} text)
    if(text MATCHES "#include <(Eigen|cuda|cublas|fmt|nlohmann|stb)")
      message(FATAL_ERROR "${header} includes a private dependency")
    endif()
  endforeach()
  check_package(${WORK}/prefix)
  # Without libzip, find_package(QUIET) finds nothing, and says nothing.
  set(ENV{PKG_CONFIG_LIBDIR} ${WORK}/empty)
  run(${CMAKE_COMMAND} -S ${SOURCE}/tests/consumer -B ${WORK}/without -G Ninja -DWITHOUT_LIBZIP=ON
    -DCMAKE_PREFIX_PATH=${WORK}/prefix)

elseif(WAY STREQUAL subdirectory)
  # What a project may set for all of its targets: another compiler, unity builds, hidden symbols, shared libraries,
  # absolute folders. The kernels are built once, by the project itself, and without optimisation.
  set(ENV{CMAKE_CXX_COMPILER_LAUNCHER} "${LAUNCHER}")  # may be a list
  find_program(CLANG clang++)
  if(CLANG)
    set(CXX ${CLANG})
  endif()
  build_consumer(-DBOBBIN_SOURCE=${SOURCE} -DCMAKE_CXX_FLAGS=-O0 -DBOBBIN_CUDA=OFF -DCMAKE_CXX_COMPILER=${CXX}
    -DCMAKE_UNITY_BUILD=ON -DCMAKE_CXX_VISIBILITY_PRESET=hidden -DCMAKE_VISIBILITY_INLINES_HIDDEN=ON -DBUILD_SHARED_LIBS=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON
    -DCMAKE_INSTALL_PREFIX=${WORK}/prefix -DCMAKE_INSTALL_LIBDIR=${WORK}/libraries)
  run(${WORK}/build/train)
  # The same library, installed there, by find_package and by pkg-config.
  run(${CMAKE_COMMAND} --install ${WORK}/build)
  run(${CMAKE_COMMAND} -S ${SOURCE}/tests/consumer -B ${WORK}/other -G Ninja -DONLY_TRAIN=ON -DCMAKE_CXX_COMPILER=${CXX}
    -DCMAKE_PREFIX_PATH=${WORK}/libraries -Dbobbin_DIR=${WORK}/libraries/cmake/bobbin)
  run(${CMAKE_COMMAND} --build ${WORK}/other)
  run(${WORK}/other/train)
  set(ENV{PKG_CONFIG_PATH} ${WORK}/libraries/pkgconfig)
  run(pkg-config --cflags --libs bobbin)
  separate_arguments(settings UNIX_COMMAND "${output}")
  run(${CXX} -std=c++20 ${SOURCE}/tests/consumer/train.cpp -o ${WORK}/train ${settings})
  set(ENV{LD_LIBRARY_PATH} ${WORK}/libraries)
  run(${WORK}/train)

elseif(WAY STREQUAL pkgconfig)
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
  check_pkgconfig(${WORK}/prefix)

elseif(WAY STREQUAL tgz)
  pack(TGZ *.tar.gz)
  file(ARCHIVE_EXTRACT INPUT ${package} DESTINATION ${WORK}/root)
  file(GLOB prefix ${WORK}/root/*)
  check_package(${prefix})

elseif(WAY STREQUAL deb)
  # Unpacked, not installed: that would take root, and change the machine that tests. What the package says of
  # itself is looked at instead.
  pack(DEB *.deb)
  run(dpkg-deb --field ${package} Depends)
  foreach(needed libfmt-dev zlib1g-dev libpng-dev libjpeg62-turbo-dev libtinyxml2-dev libzip-dev libcsv-dev pkg-config)
    if(NOT output MATCHES "${needed}")
      message(FATAL_ERROR "${package} does not depend on ${needed}: ${output}")
    endif()
  endforeach()
  run(dpkg-deb --extract ${package} ${WORK}/root)
  check_package(${WORK}/root/usr)
  check_pkgconfig(${WORK}/root/usr)

else()
  message(FATAL_ERROR "no way is called '${WAY}'")
endif()
