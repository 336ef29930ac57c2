// Bobbin's part of compare_products.py: reads lines "THREADS ROWS COLUMNS TERMS LAYOUT SECONDS" and writes
// for each line the seconds of one product, the median of as many as fit in SECONDS. LAYOUT: nn, nt or tn, as
// in a b, a b^T and a^T b.
#include <bobbin/bobbin.h>

#include <iostream>

#include "median_time.h"

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
    std::cout << bench::median_time(seconds, [&] { const Tensor y = matmul(a, b); }) << std::endl;
  }
}
