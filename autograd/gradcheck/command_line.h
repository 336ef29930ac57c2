// The options of the program gradcheck. command_line.cpp reads them; it is a separate source, because CLI11
// takes seconds to compile.
#pragma once
#include <bobbin/dtype.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "autograd/gradcheck/oracles/layout.h"

namespace bobbin::gradcheck_detail {

struct Arguments {
  bool list = false, verbose = false, mutate = false, edges = false;
  std::vector<std::string> ops, models;
  std::string sample = "*", shape, device = "cpu", json, junit, png;
  std::vector<std::string> plugins;
  int order = 0;  // 0: both
  int ranks = 0;  // 0: no comparison of processes
  std::uint64_t seed = 1;
  double budget = 0;  // 0: none
  int jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<DType> dtypes;
  std::vector<Layout> layouts;
};

/// Reads the options. If the program must end now (after --help or --version, or for a wrong command line),
/// returns its exit status.
std::optional<int> read_command_line(int argc, char** argv, Arguments&);

}  // namespace bobbin::gradcheck_detail
