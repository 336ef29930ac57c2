// The engines that init chooses from.
#pragma once
#include <memory>

#include "autograd/distributed/launch.h"
#include "autograd/distributed/transport.h"

namespace bobbin::dist {

/// Ranks that meet at $MASTER_ADDR:$MASTER_PORT, where rank 0 listens. Throws Error if they do not meet
/// within `seconds`.
std::unique_ptr<Transport> tcp_transport(const Launch&, const Environment&, double seconds);

/// MPI, through the module that is built where CMake finds an MPI. Throws Error if there is no module, it
/// cannot be opened, or its MPI knows nothing of the launcher.
std::unique_ptr<Transport> mpi_transport(const Launch&, const Environment&);

/// The function of the module.
extern "C" {
using OpenMpi = Transport*();
}
inline constexpr char open_mpi_name[] = "bobbin_open_mpi";

}  // namespace bobbin::dist
