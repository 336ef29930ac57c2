// Measures the time of a training step of a network of nets.h with Adam on a GPU (data, permutation and
// batches are on the device), and the host's time for one small operation.
#include <bobbin/allocator.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <new>
#include <nlohmann/json.hpp>

#include "nets.h"
#include "tools/options/options.h"

namespace {
std::atomic<std::int64_t> allocations{0};  // calls of new in this program
}

// The other forms of new and delete call these. If they are inlined, GCC warns that malloc and free mismatch.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes > 0 ? bytes : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

using namespace bobbin;
using nlohmann::json;

const Device gpu = Device::cuda();

double microseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

struct Cost {
  double us;                 // per step, host and device together: the best of some epochs
  double host;               // us of the host per epoch, until all work is enqueued
  std::int64_t allocations;  // of the host per epoch: calls of new, and of the system by an allocator
  double mb;                 // peak of the GPU's memory, without the images
};
constexpr std::int64_t images = 60000;
// `together`: the number of steps that are captured in one graph, whose images are gathered together; at most
// the steps of an epoch; 0: no capture.
Cost step_cost(const std::string& network, std::int64_t batch_size, std::int64_t together, int epochs) {
  const Tensor x = rand({images, 784}, DType::f32, gpu), y = randint(0, 10, {images}, DType::i64, gpu);
  Allocator& memory = allocator(gpu);
  memory.reset_peak();
  const std::int64_t data = memory.stats().bytes_live;
  nn::Sequential net = bench::network(network);
  nn::to(net, gpu);
  optim::Adam adam(nn::parameters(net));
  const auto step = [&](const Tensor& of_x, const Tensor& of_y) {
    const Tensor loss = cross_entropy(net(of_x), of_y);
    adam.zero_grad();
    backward(loss);
    adam.step();
  };
  const std::int64_t at_once = std::max<std::int64_t>(together, 1),
                     steps = images / batch_size / at_once * at_once;
  Tensor order = zeros({steps / at_once, at_once, batch_size}, DType::i64, gpu),
         batches = zeros({at_once, batch_size}, DType::i64, gpu), turn = zeros({1}, DType::i64, gpu);
  // Gathers images for as many steps at once as fit in the GPU's cache.
  const std::int64_t gathered = std::clamp<std::int64_t>((16 << 20) / (batch_size * 784 * 4), 1, at_once);
  const auto run = [&](const Tensor& chosen) {
    for (std::int64_t first = 0; first < at_once; first += gathered) {
      const std::int64_t count = std::min(gathered, at_once - first);
      const Tensor all = flatten(narrow(chosen, 0, first, count)), of_x = index_select(x, 0, all),
                   of_y = index_select(y, 0, all);
      for (std::int64_t k = 0; k < count; ++k)
        step(narrow(of_x, 0, k * batch_size, batch_size), narrow(of_y, 0, k * batch_size, batch_size));
    }
  };
  Captured one = capture([&] { run(batches); });
  Captured all = capture([&] {
    run(select(index_select(order, 0, turn), 0, 0));
    turn.copy_(turn + 1);
  });
  Cost best{};
  const auto allocated = [&] {
    return allocations + memory.stats().system_calls + allocator().stats().system_calls;
  };
  for (int epoch = -2; epoch < epochs; ++epoch) {  // the first two run and record the step; not measured
    order.copy_(reshape(narrow(randperm(images, gpu), 0, 0, steps * batch_size), order.shape()));
    synchronize(gpu);
    const std::int64_t before = allocated();
    const auto start = std::chrono::steady_clock::now();
    if (together > 1) {  // one launch
      turn.fill_(0);
      all(order.size(0));
    } else {
      for (std::int64_t i = 0; i < steps; ++i)
        if (together == 0) {
          run(select(order, 0, i));
        } else {
          batches.copy_(select(order, 0, i));
          one();
        }
    }
    const double host = microseconds_since(start);
    best.allocations = allocated() - before;
    synchronize(gpu);
    const double us = microseconds_since(start) / static_cast<double>(steps);
    if (epoch < 0) continue;
    if (best.us == 0 || us < best.us) best.us = us;
    if (best.host == 0 || host < best.host) best.host = host;
  }
  best.mb = static_cast<double>(memory.stats().bytes_peak - data) / 1e6;
  return best;
}

// Microseconds of the host per call, for 1000 calls that are enqueued without waiting: the median of some
// rounds.
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

json run(const std::vector<std::string>& networks, const std::vector<std::int64_t>& batches,
         const std::vector<std::int64_t>& together_all, int epochs) {
  json result{{"steps", json::array()}};
  for (const std::string& network : networks)
    for (const std::int64_t batch : batches)
      for (const std::int64_t wanted : together_all) {
        const std::int64_t together = std::min(wanted, images / batch);
        const auto [us, host, allocated, mb] = step_cost(network, batch, together, epochs);
        const std::string mode = together == 0   ? "eager"
                                 : together == 1 ? "captured"
                                                 : fmt::format("{} at once", together);
        fmt::print(
            "{}, Adam, batch {}, {}: {:.1f} us a step, {:.0f} us and {} allocations of the host an epoch, "
            "{:.1f} MB\n",
            network, batch, mode, us, host, allocated, mb);
        std::fflush(stdout);
        result["steps"].push_back({{"network", network},
                                   {"batch", batch},
                                   {"mode", mode},
                                   {"us", us},
                                   {"host", host},
                                   {"allocations", allocated},
                                   {"mb", mb}});
      }
  result["launch"] = launch_costs();
  for (const auto& [how, costs] : result["launch"].items())
    for (const auto& [what, us] : costs.items())
      fmt::print("{}, {}: {:.2f} us of the host\n", what, how, us.get<double>());
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> networks{"mlp", "cnn"};
  std::vector<std::int64_t> batches{128, 512}, together{1, 39, 0};
  int epochs = 5;
  std::string json_file;
  tools::Options options("Measures training steps of small networks on a GPU.");
  options.add("--network", networks, "networks").delimiter(',').one_of({"mlp", "cnn"});
  options.add("--batch", batches, "images a step").delimiter(',').range(1, 60000);
  options
      .add("--together", together,
           "how many steps are captured, and their images gathered, at once; 0: none are")
      .delimiter(',')
      .range(0, 1000);
  options.add("--epochs", epochs, "of which the fastest counts").range(1, 1000);
  options.add("--json", json_file, "also write the figures to this file");
  if (const auto status = options.parse(argc, argv)) return *status;
  std::string why;
  if (!cuda_available(&why)) {
    fmt::print(stderr, "bench_mnist: {}\n", why);
    return 5;
  }
  try {
    const json result = run(networks, batches, together, epochs);
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
