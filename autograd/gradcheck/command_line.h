// The options of tools/gradcheck. Their reading is a source of its own, as CLI11 takes seconds to compile.
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
  bool list = false, verbose = false, mutate = false;
  std::vector<std::string> ops, models;
  std::string sample = "*", shape, device = "cpu", json, junit, png;
  std::vector<std::string> plugins;
  int order = 0;  // 0: both
  std::uint64_t seed = 1;
  double budget = 0;  // 0: none
  int jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<DType> dtypes;
  std::vector<Layout> layouts;
};

/// Reads the options; gives the exit status where the program is to end here: after --help, or on bad usage.
std::optional<int> read_command_line(int argc, char** argv, Arguments&);

}  // namespace bobbin::gradcheck_detail
