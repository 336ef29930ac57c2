// The cost of an operation on one element, forward with recording and backward; for compare_op_cost.py.
#include "op_cost.h"

#include <bobbin/bobbin.h>

using namespace bobbin;

int main() {
  set_num_threads(1);
  Tensor x = tensor({0.5}).set_requires_grad(), y = tensor({1.5}).set_requires_grad();
  const auto measure = [&](const char* name, auto op) {
    bench::report(name, [&] {
      x.set_grad({});
      y.set_grad({});
      backward(op());
    });
  };
  measure("exp", [&] { return exp(x); });
  measure("add", [&] { return x + y; });
  measure("mul", [&] { return x * y; });
  measure("softmax", [&] { return softmax(x); });
  measure("five", [&] { return exp(x * y + x) * y - x; });
}
