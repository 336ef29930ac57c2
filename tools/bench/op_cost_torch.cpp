// The measurements of op_cost.cpp, for libtorch.
#include <torch/torch.h>

#include "op_cost.h"

int main() {
  torch::set_num_threads(1);
  torch::Tensor x = torch::full({1}, 0.5f).requires_grad_(), y = torch::full({1}, 1.5f).requires_grad_();
  const auto measure = [&](const char* name, auto op) {
    bench::report(name, [&] {
      x.mutable_grad().reset();
      y.mutable_grad().reset();
      op().backward();
    });
  };
  measure("exp", [&] { return x.exp(); });
  measure("add", [&] { return x + y; });
  measure("mul", [&] { return x * y; });
  measure("softmax", [&] { return x.softmax(0); });
  measure("five", [&] { return (x * y + x).exp() * y - x; });
}
