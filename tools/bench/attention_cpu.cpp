// Bobbin's part of compare_attention_cpu.py: reads lines "forward|both BATCH HEADS QUERIES KEYS SIZE CAUSAL
// SECONDS" and writes for each line the seconds of one call, the median of as many as fit in SECONDS. "both"
// is forward and the gradients of query, key and value. usage: attention_cpu THREADS
#include <bobbin/bobbin.h>

#include <iostream>

#include "median_time.h"

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
    std::cout << bench::median_time(seconds, [&] {
      const Tensor y = scaled_dot_product_attention(query, key, value, {.causal = causal});
      if (both) grad(y, {query, key, value}, g);
    }) << std::endl;
  }
}
