#include <bobbin/bobbin.h>

#include <iostream>

using namespace bobbin;

int main() {
  manual_seed(1);
  const Tensor x = tensor({{0, 0}, {0, 1}, {1, 0}, {1, 1}});
  const Tensor y = tensor({0, 1, 1, 0}, DType::i64);  // exclusive or

  const nn::Linear first(2, 8), second(8, 2);
  optim::Adam adam({first.weight, first.bias, second.weight, second.bias}, {.lr = 0.05});

  for (int step = 0; step < 200; ++step) {
    const Tensor logits = second(first(x, Activation::tanh));
    const Tensor loss = cross_entropy(logits, y);
    adam.zero_grad();
    backward(loss);
    adam.step();
    if (step % 50 == 49) std::cout << "step " << step + 1 << "  loss " << loss.item() << '\n';
  }
  std::cout << softmax(second(first(x, Activation::tanh))) << '\n';
}
