// Bobbin's part of compare_softmax_cpu.py: reads lines "forward|backward ROWS COLUMNS SECONDS" and writes for
// each line the seconds of one call, the median of as many as fit in SECONDS. usage: softmax_cpu THREADS
#include <bobbin/bobbin.h>

#include <iostream>

#include "median_time.h"

using namespace bobbin;

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: softmax_cpu THREADS\n";
    return 2;
  }
  set_num_threads(std::atoi(argv[1]));
  const NoGrad quiet;
  std::string what;
  std::int64_t rows = 0, columns = 0;
  for (double seconds = 0; std::cin >> what >> rows >> columns >> seconds;) {
    const Tensor x = randn({rows, columns}), o = softmax(x);
    std::cout << bench::median_time(seconds, [&] {
      const Tensor y = what == "forward" ? softmax(x) : softmax_backward(o, x);
    }) << std::endl;
  }
}
