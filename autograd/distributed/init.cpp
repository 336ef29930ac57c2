// dist::init, and the module of MPI.
#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "autograd/distributed/engine.h"
#include "autograd/distributed/group_state.h"

namespace bobbin::dist {
namespace {

namespace fs = std::filesystem;

// Where the module may be: named by the user; beside the program or the shared library, in a build folder or
// where a package was unpacked; where this library was to be installed.
std::vector<fs::path> places(const Environment& get) {
  if (const char* const named = get("BOBBIN_MPI_MODULE")) return {named};
  std::vector<fs::path> out;
  Dl_info self;
  std::error_code none;
  if (dladdr(reinterpret_cast<const void*>(&mpi_transport), &self) && self.dli_fname) {
    const fs::path here = fs::canonical(self.dli_fname, none).parent_path();
    for (const char* const folder : {"bobbin", "lib/bobbin", "../lib/bobbin", "../" BOBBIN_LIBDIR "/bobbin"})
      out.push_back(here / folder / "bobbin_mpi.so");
  }
  out.emplace_back(BOBBIN_FULL_LIBDIR "/bobbin/bobbin_mpi.so");
  return out;
}

Group make(const InitOptions& options) {
  if (!(options.timeout > 0 && std::isfinite(options.timeout)))
    fail<ValueError>("dist::init: expected a timeout > 0; got ", options.timeout);
  const Environment get = [](const char* name) { return std::getenv(name); };
  const auto launch = launch_from(get);
  if (!launch || launch->size == 1) return Group();
  auto state = std::make_shared<detail::GroupState>();
  state->transport = launch->mpi ? mpi_transport(*launch, get) : tcp_transport(*launch, get, options.timeout);
  state->rank = state->transport->rank;
  state->size = state->transport->size;
  state->local_rank = launch->local_rank;
  state->timeout = options.timeout;
  return Group(std::move(state));
}

}  // namespace

std::unique_ptr<Transport> mpi_transport(const Launch& launch, const Environment& get) {
  const std::string started =
      launch.launcher + " has started " + std::to_string(launch.size) + " ranks, but ";
  void* module = nullptr;
  std::string reason;
  for (const fs::path& place : places(get)) {
    std::error_code none;
    if (!fs::exists(place, none)) continue;
    // Plugins of an MPI look for its symbols among those of the whole program.
    module = dlopen(place.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (module) break;
    reason = dlerror();
  }
  if (!module && !reason.empty())
    fail<Error>("dist::init: ", started, "the module for MPI cannot be opened: ", reason);
  if (!module)
    fail<Error>(
        "dist::init: ", started,
        "Bobbin was built without MPI: install libopenmpi-dev and build with -DBOBBIN_MPI=ON, or name "
        "bobbin_mpi.so in BOBBIN_MPI_MODULE");
  const auto open = reinterpret_cast<OpenMpi*>(dlsym(module, open_mpi_name));
  std::unique_ptr<Transport> transport(open ? open() : nullptr);
  if (!transport) fail<Error>("dist::init: ", started, "MPI cannot be initialised");
  if (transport->size != launch.size)
    fail<Error>("dist::init: ", started, "MPI says that there is ", transport->size,
                ": Bobbin's module was built with another MPI than this launcher's. Start with the mpirun of "
                "that MPI (mpirun.openmpi or "
                "mpirun.mpich on Debian), or build Bobbin with the other one "
                "(-DMPI_CXX_COMPILER=mpicxx.mpich). For one process alone, "
                "unset the launcher's variables");
  return transport;
}

Group& init(const InitOptions& options) {
  static Group group = make(options);
  return group;
}

}  // namespace bobbin::dist
