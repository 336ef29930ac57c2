// What a training step of a network of nets.h with Adam costs on a GPU: data on the device, batches gathered
// there by a permutation made there. And what one small operation costs the host.
#include <bobbin/allocator.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "nets.h"

namespace {

using namespace bobbin;
using nlohmann::json;

const Device gpu = Device::cuda();

double microseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

struct Cost {
  double us;  // a step, host and device together: the best of some epochs
  double mb;  // of the GPU's memory at most, besides the images
};
Cost step_cost(const std::string& network, std::int64_t batch_size, bool captures, int epochs) {
  constexpr std::int64_t images = 60000;
  const Tensor x = rand({images, 784}, DType::f32, gpu), y = randint(0, 10, {images}, DType::i64, gpu);
  Allocator& memory = allocator(gpu);
  memory.reset_peak();
  const std::int64_t data = memory.stats().bytes_live;
  nn::Sequential net = bench::network(network);
  nn::to(net, gpu);
  optim::Adam adam(nn::parameters(net));
  Tensor batch = zeros({batch_size}, DType::i64, gpu);
  const auto step = [&] {
    const Tensor loss = cross_entropy(net(index_select(x, 0, batch)), index_select(y, 0, batch));
    adam.zero_grad();
    backward(loss);
    adam.step();
  };
  Captured captured = capture(step);
  double best = 0;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const Tensor order = randperm(images, gpu);
    synchronize(gpu);
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i + batch_size <= images; i += batch_size) {
      batch.copy_(narrow(order, 0, i, batch_size));
      captures ? captured() : step();
    }
    synchronize(gpu);
    const double us = microseconds_since(start) / static_cast<double>(images / batch_size);
    if (best == 0 || us < best) best = us;
  }
  return {best, static_cast<double>(memory.stats().bytes_peak - data) / 1e6};
}

// Microseconds of the host for a call, of 1000 that are enqueued without waiting: the median of some rounds.
double launch_cost(const std::function<void()>& call) {
  std::vector<double> rounds;
  for (int round = -2; round < 11; ++round) {
    synchronize(gpu);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 1000; ++i) call();
    if (const double us = microseconds_since(start) / 1000; round >= 0) rounds.push_back(us);
  }
  std::ranges::sort(rounds);
  return rounds[rounds.size() / 2];
}

json launch_costs() {
  json costs;
  for (const bool recorded : {true, false}) {
    const auto one = [&](double v) { return to(tensor({v}), gpu).set_requires_grad(recorded); };
    const auto square = [&] { return rand({8, 8}, DType::f32, gpu).set_requires_grad(recorded); };
    const Tensor x = one(1.5), y = one(2.5), a = square(), b = square();
    const std::pair<const char*, std::function<void()>> calls[] = {{"add", [&] { add(x, y); }},
                                                                   {"exp", [&] { exp(x); }},
                                                                   {"softmax", [&] { softmax(a); }},
                                                                   {"matmul", [&] { matmul(a, b); }}};
    for (const auto& [what, call] : calls)
      costs[recorded ? "recorded" : "unrecorded"][what] = launch_cost(call);
  }
  return costs;
}

json run(const std::vector<std::int64_t>& batches, int epochs) {
  json result{{"steps", json::array()}};
  for (const char* network : {"mlp", "cnn"})
    for (const std::int64_t batch : batches)
      for (const bool captures : {true, false}) {
        const auto [us, mb] = step_cost(network, batch, captures, epochs);
        const char* mode = captures ? "captured" : "eager";
        fmt::print("{}, Adam, batch {}, {}: {:.1f} us a step, {:.1f} MB\n", network, batch, mode, us, mb);
        std::fflush(stdout);
        result["steps"].push_back(
            {{"network", network}, {"batch", batch}, {"mode", mode}, {"us", us}, {"mb", mb}});
      }
  result["launch"] = launch_costs();
  for (const auto& [how, costs] : result["launch"].items())
    for (const auto& [what, us] : costs.items())
      fmt::print("{}, {}: {:.2f} us of the host\n", what, how, us.get<double>());
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::int64_t> batches{128, 512};
  int epochs = 5;
  std::string json_file;
  CLI::App app("Measures training steps of small networks on a GPU.");
  app.option_defaults()->always_capture_default();
  app.add_option("--batch", batches, "images a step")->delimiter(',')->check(CLI::Range(1, 60000));
  app.add_option("--epochs", epochs, "of which the fastest counts")->check(CLI::Range(1, 1000));
  app.add_option("--json", json_file, "also write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  std::string why;
  if (!cuda_available(&why)) {
    fmt::print(stderr, "bench_mnist: {}\n", why);
    return 5;
  }
  try {
    const json result = run(batches, epochs);
    if (json_file.empty()) return 0;
    std::ofstream file(json_file);
    file << result.dump(1) << '\n';
    if (!file.flush()) fail<IoError>(json_file, " cannot be written");
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_mnist: {}\n", e.what());
    return 1;
  }
}
