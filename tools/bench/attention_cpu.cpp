// Bobbin's part of compare_attention_cpu.py: reads lines "forward|both BATCH HEADS QUERIES KEYS SIZE CAUSAL
// SECONDS" and writes for each line the seconds of one call, the median of as many as fit in SECONDS. "both"
// is forward and the gradients of query, key and value. usage: attention_cpu THREADS
#include <bobbin/bobbin.h>

#include <algorithm>
#include <chrono>
#include <iostream>

using namespace bobbin;

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: attention_cpu THREADS\n";
    return 2;
  }
  set_num_threads(std::atoi(argv[1]));
  std::string what;
  std::int64_t batch = 0, heads = 0, queries = 0, keys = 0, size = 0;
  bool causal = false;
  for (double seconds = 0;
       std::cin >> what >> batch >> heads >> queries >> keys >> size >> causal >> seconds;) {
    const bool both = what == "both";
    const auto draw = [&](std::int64_t length) {
      return randn({batch, heads, length, size}).set_requires_grad(both);
    };
    const Tensor query = draw(queries), key = draw(keys), value = draw(keys), g = randn(query.shape());
    std::vector<double> times;
    for (double total = 0; total < seconds || times.size() < 3;) {
      const auto start = std::chrono::steady_clock::now();
      const Tensor y = scaled_dot_product_attention(query, key, value, {.causal = causal});
      if (both) grad(y, {query, key, value}, g);
      times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      total += times.back();
    }
    std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
    std::cout << times[times.size() / 2] << std::endl;
  }
}
