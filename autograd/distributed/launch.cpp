// Reads the variables of launchers.
#include "autograd/distributed/launch.h"

#include <bobbin/error.h>

#include <charconv>
#include <string_view>

namespace bobbin::dist {
namespace {

struct Names {
  const char* launcher;
  const char* size;
  const char* rank;
  const char* local_rank;
  bool mpi;
};

// mpirun first: it also starts programs within a job of Slurm, whose variables then say something else.
constexpr Names known[] = {
    {"mpirun of OpenMPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", true},
    {"mpirun of MPICH", "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", true},
    {"torchrun", "WORLD_SIZE", "RANK", "LOCAL_RANK", false},
    {"srun", "SLURM_NTASKS", "PMIX_RANK", "SLURM_LOCALID", true},
    {"srun", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", true},
};

int number(const char* name, std::string_view text) {
  int n = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0)
    fail<ValueError>("dist::init: ", name, " is '", text, "', which is no number of ranks");
  return n;
}

}  // namespace

std::optional<Launch> launch_from(const Environment& get) {
  for (const Names& names : known) {
    const char* const size = get(names.size);
    const char* const rank = get(names.rank);
    if (!size || !rank) continue;
    Launch launch{names.launcher, number(names.rank, rank), number(names.size, size), 0, names.mpi};
    if (const char* const local = get(names.local_rank)) launch.local_rank = number(names.local_rank, local);
    if (launch.rank >= launch.size)
      fail<ValueError>("dist::init: ", names.rank, " is ", launch.rank, ", but ", names.size, " is ",
                       launch.size);
    return launch;
  }
  return {};
}

}  // namespace bobbin::dist
