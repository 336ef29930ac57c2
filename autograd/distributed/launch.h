// Which rank this process is, as a launcher has set it in the environment.
#pragma once
#include <functional>
#include <optional>
#include <string>

namespace bobbin::dist {

/// What a launcher has set.
struct Launch {
  std::string launcher;  ///< for messages
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  bool mpi = true;  ///< the launcher starts programs of MPI; false: torchrun
};

/// The value of an environment variable, or nullptr.
using Environment = std::function<const char*(const char*)>;

/// What the environment says; nothing without a launcher. Throws ValueError for what is no number, or a rank
/// outside the size.
std::optional<Launch> launch_from(const Environment&);

}  // namespace bobbin::dist
