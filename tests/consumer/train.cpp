// A program outside the tree that trains a model with the smallest build of Bobbin, and prints its loss.
#include <bobbin/bobbin.h>

#include <iostream>

using namespace bobbin;

int main() {
  manual_seed(1);
  nn::Sequential model(nn::Linear(2, 8), tanh, nn::Linear(8, 2));
  optim::Adam adam(nn::parameters(model), {.lr = .05});
  const Tensor x = tensor({{0, 0}, {0, 1}, {1, 0}, {1, 1}}), y = tensor({0, 1, 1, 0}, DType::i64);
  double loss = 1;
  for (int step = 0; step < 100; ++step) {
    const Tensor cost = cross_entropy(model(x), y);
    adam.zero_grad();
    backward(cost);
    adam.step();
    loss = cost.item();
  }
  std::cout << "loss " << loss << '\n';
  return loss < .05 ? 0 : 1;
}
