// The time of a call on the CPU, for the programs that a script runs in turns with a peer's.
#pragma once
#include <algorithm>
#include <chrono>
#include <vector>

namespace bobbin::bench {

/// The median time of a call in seconds, over as many calls as take `seconds`, at least 3.
template<class F>
double median_time(double seconds, F&& call) {
  std::vector<double> times;
  for (double total = 0; total < seconds || times.size() < 3;) {
    const auto start = std::chrono::steady_clock::now();
    call();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    total += times.back();
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::ranges::nth_element(times, middle);
  return *middle;
}

}  // namespace bobbin::bench
