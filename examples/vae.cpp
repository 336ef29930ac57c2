// A variational autoencoder of handwritten digits (Kingma and Welling, arXiv:1312.6114): learns to encode
// each digit in a few numbers, and draws new digits.
//   tools/get-data mnist; vae [--data data/mnist] [--epochs 10] [--out vae.png]
#include <bobbin/bobbin.h>

#include <chrono>
#include <filesystem>
#include <iostream>

#include "tools/options/options.h"

using namespace bobbin;

constexpr std::int64_t side = 28, pixels = side * side;

struct Vae {
  explicit Vae(std::int64_t code_size) : code(400, 2 * code_size), third(code_size, 400) {}
  struct Code {
    Tensor mean, log_var;
  };
  Code encode(const Tensor& x) const {
    const auto parts = split(code(first(x, Activation::relu)), third.weight.size(1), 1);
    return {parts[0], parts[1]};
  }
  /// Logits of the pixels.
  Tensor decode(const Tensor& z) const { return fourth(third(z, Activation::relu)); }
  void each(nn::Visit& v) { v("first", first), v("code", code), v("third", third), v("fourth", fourth); }

  nn::Linear first{pixels, 400}, code, third, fourth{400, pixels};
};

/// The loss, in nats per image: the reconstruction error plus the divergence of the code from its prior.
Tensor bound(const Vae& vae, const Tensor& x) {
  const auto [mean, log_var] = vae.encode(x);
  const Tensor z = mean + exp(log_var * .5) * randn(mean.shape(), DType::f32, x.device());
  const Tensor lost = binary_cross_entropy_with_logits(vae.decode(z), x, Reduction::sum);
  const Tensor divergence = sum(exp(log_var) + square(mean) - log_var - 1) * .5;
  return (lost + divergence) / static_cast<double>(x.size(0));
}

Tensor images(const std::filesystem::path& dir, const std::string& part, Device device) {
  auto path = dir / (part + "-images-idx3-ubyte");
  if (!std::filesystem::exists(path)) path += ".gz";
  const Tensor bytes = idx_tensor(path, 3);
  return to(reshape(to(bytes, DType::f32), {bytes.size(0), pixels}) / 255., device);
}

std::vector<plot::Tile> tiles(const Tensor& x) {
  std::vector<plot::Tile> out;
  for (std::int64_t i = 0; i < x.size(0); ++i)
    out.push_back({select(x, 0, i).to_vector<float>(), side, side});
  return out;
}

int main(int argc, char** argv) try {
  std::string data = "data/mnist", out = "vae.png";
  std::int64_t epochs = 10, code = 16, seed = 1;
  tools::Options options("Learns to code handwritten digits and draws new ones.");
  options.add("--data", data, "directory of MNIST's IDX files");
  options.add("--epochs", epochs, "times through the training images").range(1, 100000);
  options.add("--code", code, "numbers in a code").range(1, 4096);
  options.add("--seed", seed, "of all random choices").not_negative();
  options.add("--out", out, "the picture");
  if (const auto status = options.parse(argc, argv)) return *status;

  manual_seed(static_cast<std::uint64_t>(seed));
  const Device device = cuda_available() ? Device::cuda() : Device::cpu();
  const Tensor test = images(data, "t10k", device);
  Vae vae(code);
  nn::to(vae, device);
  optim::Adam adam(nn::parameters(vae), {.lr = 2e-3});
  DataLoader loader(
      TensorDataset({images(data, "train", device)}),
      {.batch_size = 128, .drop_last = true, .seed = static_cast<std::uint64_t>(seed), .device = device});
  const optim::Cosine rate{2e-3, epochs * loader.batches(), 100};
  std::int64_t step = 0;
  const auto began = std::chrono::steady_clock::now();
  for (std::int64_t epoch = 1; epoch <= epochs; ++epoch) {
    for (auto& batch : loader) {
      const Tensor loss = bound(vae, batch[0]);
      adam.zero_grad();
      backward(loss);
      adam.lr = rate(step++);
      adam.step();
    }
    const NoGrad quiet;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
    std::cout << "epoch " << epoch << "  " << bound(vae, test).item() << " nats a test image, "
              << seconds.count() << " s" << std::endl;
  }

  const NoGrad quiet;
  const Tensor some = slice(test, 0, 0, 8), again = sigmoid(vae.decode(vae.encode(some).mean));
  const Tensor made = sigmoid(vae.decode(randn({64, code}, DType::f32, device)));
  plot::save_png(plot::beside({plot::tiles(tiles(made), 8, 2, "digits that nobody wrote"),
                               plot::tiles(tiles(reshape(stack({some, again}, 1), {16, pixels})), 2, 2,
                                           "test, decoded")},
                              20),
                 out);
  std::cout << "drew " << out << '\n';
  return 0;
} catch (const std::exception& e) {
  std::cerr << "vae: " << e.what() << '\n';
  return 1;
}
