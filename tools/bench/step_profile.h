// The operations that take longest in a step, as a table.
#pragma once
#include <bobbin/bobbin.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace bench {

/// A table of the `count` operations, told apart by name and inputs, that take longest in one call of `step`:
/// time without that of the operations inside, share of the whole, calls. The time is a GPU's or, on the CPU,
/// the host's.
inline std::string profile_of(const std::function<void()>& step, bobbin::Device device, std::size_t count) {
  using namespace bobbin;
  struct Sum {
    double us = 0;
    int calls = 0;
  };
  std::map<std::string, Sum> sums;
  double all = 0;
  const auto work = [&] {
    // The GPU is busy for some tens of milliseconds while the host enqueues the step, so that no event waits
    // for it.
    const Tensor a = device.is_cuda() ? randn({8192, 8192}, DType::f32, device) : Tensor();
    for (int i = 0; a && i < 6; ++i) matmul(a, a);
    const Profiler profiler;
    step();
    return profiler.events();
  };
  // An event follows those inside it, which are one deeper.
  std::vector<double> inside;
  for (const ProfileEvent& e : work()) {
    const auto depth = static_cast<std::size_t>(e.depth);
    if (inside.size() < depth + 2) inside.resize(depth + 2);
    const double us = device.is_cuda() ? e.device_us : e.host_us, own = us - inside[depth + 1];
    inside[depth + 1] = 0;
    inside[depth] += us;
    Sum& sum = sums[fmt::format("{} | {:.72}", e.name, e.inputs)];
    sum.us += own, ++sum.calls, all += own;
  }
  std::vector<std::pair<std::string, Sum>> rows(sums.begin(), sums.end());
  std::ranges::sort(rows, std::greater<>(), [](const auto& r) { return r.second.us; });
  std::string out = fmt::format("| ms | share | calls | operation | inputs |\n|---|---|---|---|---|\n");
  for (std::size_t i = 0; i < std::min(count, rows.size()); ++i) {
    const auto& [what, sum] = rows[i];
    out +=
        fmt::format("| {:.3f} | {:.1f} % | {} | {} |\n", sum.us / 1e3, 100 * sum.us / all, sum.calls, what);
  }
  return out + fmt::format("All operations: {:.3f} ms.\n", all / 1e3);
}

}  // namespace bench
