// Bobbin's part of compare_softmax_cpu.py: reads lines "forward|backward ROWS COLUMNS SECONDS" and writes for
// each line the seconds of one call, the median of as many as fit in SECONDS. usage: softmax_cpu THREADS
#include <bobbin/bobbin.h>

#include <algorithm>
#include <chrono>
#include <iostream>

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
    std::vector<double> times;
    for (double total = 0; total < seconds || times.size() < 3;) {
      const auto start = std::chrono::steady_clock::now();
      const Tensor y = what == "forward" ? softmax(x) : softmax_backward(o, x);
      times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      total += times.back();
    }
    std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
    std::cout << times[times.size() / 2] << std::endl;
  }
}
