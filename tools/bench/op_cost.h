// Measures the nanoseconds of a call, the median of some rounds, for op_cost.cpp and op_cost_torch.cpp.
#pragma once
#include <algorithm>
#include <chrono>
#include <iostream>
#include <vector>

namespace bench {

template<class F>
void report(const char* name, F&& call) {
  constexpr int calls = 20000, rounds = 9;
  std::vector<double> times;
  for (int round = -1; round < rounds; ++round) {  // the first one warms up
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) call();
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    if (round >= 0) times.push_back(time.count() / calls);
  }
  std::ranges::sort(times);
  std::cout << name << ' ' << times[rounds / 2] << '\n';
}

}  // namespace bench
