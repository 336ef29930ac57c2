// Measures the images per second of training a network of nets.h on MNIST-shaped random data, batch 128.
// train_epoch.py does the same with PyTorch. usage: train_epoch NETWORK OPTIMIZER(sgd|adam) THREADS EPOCHS;
// prints one number per line, and in the last line the memory that training took, in MB.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "nets.h"

using namespace bobbin;

// A line of /proc/self/status, in MB.
static double memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  double kilobytes = 0;
  for (std::string word; status >> word;)
    if (word == name + ":") status >> kilobytes;
  return kilobytes / 1024;
}

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s mlp|mlp-small|cnn sgd|adam THREADS EPOCHS\n", argv[0]);
    return 2;
  }
  set_num_threads(std::atoi(argv[3]));
  constexpr std::int64_t images = 60000, batch = 128;
  const Tensor x = rand({images, 784}), y = randint(0, 10, {images});
  nn::Sequential net = bench::network(argv[1]);
  std::unique_ptr<optim::Optimizer> optimizer;
  if (std::string(argv[2]) == "sgd")
    optimizer = std::make_unique<optim::Sgd>(nn::parameters(net), optim::SgdOptions{.lr = .01});
  else
    optimizer = std::make_unique<optim::Adam>(nn::parameters(net));
  const double before = memory("VmRSS");
  for (int epoch = 0; epoch < std::atoi(argv[4]); ++epoch) {
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i + batch <= images; i += batch) {
      optimizer->zero_grad();
      backward(cross_entropy(net(narrow(x, 0, i, batch)), narrow(y, 0, i, batch)));
      optimizer->step();
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%.0f\n", static_cast<double>(images / batch * batch) / seconds.count());
    std::fflush(stdout);
  }
  std::printf("%.1f\n", memory("VmHWM") - before);
}
