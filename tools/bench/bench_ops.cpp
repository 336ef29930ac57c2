// Measures operations beside softmax on a GPU, forward and with their derivatives, in GB/s of the fewest
// bytes that they must move, beside a copy. Each number is the median replay of a captured graph.
#include <bobbin/bobbin.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "ceiling.h"
#include "timing.h"
#include "tools/options/options.h"

namespace {

using namespace bobbin;
using bench::check, bench::median, bench::Replay;
using nlohmann::json;

const Device gpu = Device::cuda();
constexpr std::int64_t rows = 8192, columns = 4096;

struct Options {
  std::string dtype = "both", only, json_file;
};

/// An operation on x [8192, 4096] with parameters [4096]. The tensors of x's size that it reads and writes at
/// least: forward, and in its derivative.
struct Op {
  std::string name;
  int forward, derivative;
  std::function<Tensor(const Tensor& x, const Tensor& weight, const Tensor& bias)> call;
  int parameters = 0;  ///< that get a gradient, too
};

std::vector<Op> operations() {
  using T = const Tensor&;
  return {
      {"layer_norm", 2, 3, [](T x, T w, T b) { return layer_norm(x, {columns}, w, b); }, 2},
      {"rms_norm", 2, 3, [](T x, T w, T) { return rms_norm(x, {columns}, w); }, 1},
      {"gelu", 2, 3, [](T x, T, T) { return gelu(x); }},
      {"gelu_tanh", 2, 3, [](T x, T, T) { return gelu(x, Gelu::tanh); }},
      {"silu", 2, 3, [](T x, T, T) { return silu(x); }},
      {"softplus", 2, 3, [](T x, T, T) { return softplus(x); }},
      {"sigmoid", 2, 3, [](T x, T, T) { return sigmoid(x); }},
      {"log_softmax", 2, 3, [](T x, T, T) { return log_softmax(x, -1); }},
      {"softmax_axis_0", 2, 3, [](T x, T, T) { return softmax(x, 0); }},
      {"dropout", 2, 2, [](T x, T, T) { return dropout(x, 0.1); }},
      {"cumsum", 2, 2, [](T x, T, T) { return cumsum(x, -1); }},
      {"mean", 1, 1, [](T x, T, T) { return mean(x, {-1}); }},
      {"var", 1, 2, [](T x, T, T) { return var(x, {-1}); }},
      {"amax", 1, 2, [](T x, T, T) { return amax(x, {-1}); }},
      {"norm", 1, 2, [](T x, T, T) { return norm(x, 2, {-1}); }},
      {"logsumexp", 1, 2, [](T x, T, T) { return logsumexp(x, {-1}); }},
  };
}

class Bench {
 public:
  explicit Bench(cudaStream_t s) : stream_(s) { check(cudaGetDeviceProperties(&properties_, gpu.index)); }
  std::string device() const { return properties_.name; }

  /// GB/s of the fastest copy of a tensor of this dtype.
  double copy(DType dtype) const {
    const Tensor x = randn({rows, columns}, dtype, gpu), y = empty_like(x);
    const std::int64_t bytes = x.numel() * size_of(dtype);
    double least = 0;
    for (const bench::CopyPlan& plan : bench::copy_plans()) {
      const double us = time([&](int i) {
        check(bench::enqueue_copy(plan, (i ? y : x).raw(), nullptr, (i ? x : y).raw(), bytes, stream_));
      });
      if (least == 0 || us < least) least = us;
    }
    return 2 * static_cast<double>(bytes) / least / 1e3;
  }

  json operator()(const Op& op, DType dtype) const {
    Tensor x[2], leaf[2], weight[2], bias[2], cotangent[2], result[2];
    std::vector<Tensor> gradients[2];
    for (int i = 0; i < 2; ++i) {
      x[i] = randn({rows, columns}, dtype, gpu);
      leaf[i] = x[i].detach().set_requires_grad();
      weight[i] = ones({columns}, dtype, gpu).set_requires_grad();
      bias[i] = zeros({columns}, dtype, gpu).set_requires_grad();
      cotangent[i] = randn(op.call(x[i], weight[i].detach(), bias[i].detach()).shape(), dtype, gpu);
    }
    const double forward =
        time([&](int i) { result[i] = op.call(x[i], weight[i].detach(), bias[i].detach()); });
    const double both = time([&](int i) {
      const std::vector<Tensor> of{leaf[i], weight[i], bias[i]};
      gradients[i] = grad(op.call(leaf[i], weight[i], bias[i]),
                          std::span(of).first(static_cast<std::size_t>(1 + op.parameters)), cotangent[i]);
    });
    const auto bytes = static_cast<double>(x[0].numel() * size_of(dtype));
    return {{"op", op.name},
            {"dtype", name(dtype)},
            {"forward_us", forward},
            {"both_us", both},
            {"forward", op.forward * bytes / forward / 1e3},
            {"both", (op.forward + op.derivative) * bytes / both / 1e3}};
  }

 private:
  /// Microseconds of call(0) or call(1), which use different buffers: the median of 7 replays of 10 calls.
  template<class F>
  double time(const F& call) const {
    for (int i = 0; i < 2; ++i) call(i);
    synchronize(gpu);
    Replay replay(stream_, [&] {
      for (int k = 0; k < calls; ++k) call(k % 2);
    });
    std::vector<double> us;
    for (int round = -1; round < 7; ++round)
      if (const double t = replay(); round >= 0) us.push_back(t / calls);
    return median(us);
  }

  static constexpr int calls = 10;
  cudaStream_t stream_;
  cudaDeviceProp properties_{};
};

void run(const Options& o) {
  const Stream side(gpu);
  const StreamScope scope(side);
  const Bench bench(static_cast<cudaStream_t>(side.handle()));
  fmt::print("{}: {} x {}, us, and GB/s of the fewest bytes (share of a copy)\n", bench.device(), rows,
             columns);
  fmt::print(
      "| operation | dtype | us forward | us with derivative | forward | with derivative |\n"
      "|---|---|---|---|---|---|\n");
  json results = json::array();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    if (o.dtype != "both" && o.dtype != name(dtype)) continue;
    const double copy = bench.copy(dtype);
    for (const Op& op : operations()) {
      if (op.name.find(o.only) == std::string::npos) continue;
      json r = bench(op, dtype);
      r["copy"] = copy;
      const auto cell = [&](const char* what) {
        return fmt::format("{:.0f} ({:.2f})", r[what].get<double>(), r[what].get<double>() / copy);
      };
      fmt::print("| {} | {} | {:.1f} | {:.1f} | {} | {} |\n", op.name, name(dtype),
                 r["forward_us"].get<double>(), r["both_us"].get<double>(), cell("forward"), cell("both"));
      std::fflush(stdout);
      results.push_back(r);
      allocator(gpu).release_cached();
    }
  }
  if (o.json_file.empty()) return;
  std::ofstream file(o.json_file);
  file << json{{"device", bench.device()}, {"rows", results}}.dump(1) << '\n';
  if (!file.flush()) fail<IoError>(o.json_file, " cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  tools::Options options("Measures norms, activations, dropout and reductions on a GPU.");
  options.add("--dtype", o.dtype, "f32 and bf16, or one").one_of({"both", "f32", "bf16"});
  options.add("--only", o.only, "only operations whose names contain this");
  options.add("--json", o.json_file, "also write the figures to this file");
  if (const auto status = options.parse(argc, argv)) return *status;
  std::string why;
  if (!cuda_available(&why)) {
    fmt::print(stderr, "bench_ops: {}\n", why);
    return 5;
  }
  try {
    run(o);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_ops: {}\n", e.what());
    return 1;
  }
}
