// Images a second of training an MLP 784-256-128-10 on MNIST-shaped random data, batch 128: what mlp_epoch.py
// does with PyTorch. usage: mlp_epoch OPTIMIZER(sgd|adam) THREADS EPOCHS; prints one number a line.
#include <bobbin/bobbin.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

using namespace bobbin;

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s sgd|adam THREADS EPOCHS\n", argv[0]);
    return 2;
  }
  set_num_threads(std::atoi(argv[2]));
  constexpr std::int64_t images = 60000, batch = 128;
  const Tensor x = rand({images, 784}), y = randint(0, 10, {images});
  const nn::Linear a(784, 256), b(256, 128), c(128, 10);
  const std::vector<Tensor> parameters{a.weight, a.bias, b.weight, b.bias, c.weight, c.bias};
  std::unique_ptr<optim::Optimizer> optimizer;
  if (std::string(argv[1]) == "sgd")
    optimizer = std::make_unique<optim::Sgd>(parameters, optim::SgdOptions{.lr = .01});
  else
    optimizer = std::make_unique<optim::Adam>(parameters);
  for (int epoch = 0; epoch < std::atoi(argv[3]); ++epoch) {
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i + batch <= images; i += batch) {
      const Tensor hidden = b(a(narrow(x, 0, i, batch), Activation::relu), Activation::relu);
      optimizer->zero_grad();
      backward(cross_entropy(c(hidden), narrow(y, 0, i, batch)));
      optimizer->step();
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%.0f\n", static_cast<double>(images / batch * batch) / seconds.count());
    std::fflush(stdout);
  }
}
