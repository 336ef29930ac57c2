// Bobbin's part of compare_products.py: reads lines "THREADS ROWS COLUMNS TERMS LAYOUT SECONDS" and writes
// for each line the seconds of one product, the median of as many as fit in SECONDS. LAYOUT: nn, nt or tn, as
// in a b, a b^T and a^T b.
#include <bobbin/bobbin.h>

#include <algorithm>
#include <chrono>
#include <iostream>

using namespace bobbin;

int main() {
  const NoGrad quiet;
  int threads = 0;
  std::int64_t rows = 0, columns = 0, terms = 0;
  std::string layout;
  for (double seconds = 0; std::cin >> threads >> rows >> columns >> terms >> layout >> seconds;) {
    set_num_threads(threads);
    const Tensor a = layout == "tn" ? transpose(randn({terms, rows})) : randn({rows, terms});
    const Tensor b = layout == "nt" ? transpose(randn({columns, terms})) : randn({terms, columns});
    std::vector<double> times;
    for (double total = 0; total < seconds || times.size() < 3;) {
      const auto start = std::chrono::steady_clock::now();
      const Tensor y = matmul(a, b);
      times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      total += times.back();
    }
    std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
    std::cout << times[times.size() / 2] << std::endl;
  }
}
