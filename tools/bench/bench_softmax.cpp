// Measures softmax and cross-entropy on a GPU, in GB/s of the fewest bytes that they must move, beside the
// fastest copies of the same bytes. Each number is the median replay of a captured graph that uses buffers of
// at least four times the L2 cache in turn; see README.md.
#include <bobbin/bobbin.h>
#include <fmt/format.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "ceiling.h"
#include "timing.h"
#include "tools/options/options.h"

namespace {

using namespace bobbin;
using bench::check, bench::CopyPlan, bench::median, bench::Replay;
using nlohmann::json;

const Device gpu = Device::cuda();

struct Options {
  std::string dtype = "both", json_file;
  std::int64_t only = 0;
  double seconds = 0;
  bool quick = false;
};

struct Cell {
  std::int64_t n, d;
  DType dtype;
  std::int64_t bytes() const { return n * d * size_of(dtype); }
};

std::vector<Cell> grid(const Options& o) {
  std::vector<std::int64_t> sizes{16,   32,   64,   128,   256,   512,   781,   1000,   1024,   2048,
                                  4096, 5000, 8192, 16384, 32768, 50257, 65536, 128256, 131072, 262144};
  if (o.quick) sizes = {64, 781, 1024, 8192, 50257, 262144};
  std::vector<std::pair<std::int64_t, std::int64_t>> shapes;
  for (const auto d : sizes) shapes.emplace_back((1 << 25) / d, d);
  shapes.insert(shapes.end(), {{8, 128256}, {64, 32000}});
  if (!o.quick) shapes.insert(shapes.end(), {{1, 262144}, {128, 1000}, {1024, 1024}});
  std::vector<Cell> cells;
  for (const DType t : {DType::f32, DType::bf16, DType::f16}) {
    if (o.dtype == "both" ? t == DType::f16 : o.dtype != name(t)) continue;
    for (const auto& [n, d] : shapes)
      if (o.only == 0 || o.only == d) cells.push_back({n, d, t});
  }
  return cells;
}

class Bench {
 public:
  Bench(cudaStream_t s, int rounds) : stream_(s), rounds_(rounds) {
    check(cudaGetDeviceProperties(&properties_, gpu.index));
  }
  std::string device() const { return properties_.name; }

  json operator()(const Cell& c) {
    const std::int64_t bytes = c.bytes(), l2 = properties_.l2CacheSize;
    const std::int64_t count = std::clamp<std::int64_t>((4 * l2 + 2 * bytes - 1) / (2 * bytes), 2, 512);
    const auto buffers = static_cast<std::size_t>(count);
    std::vector<Tensor> x, g, o, leaf, target, copied, fwd(buffers), bwd(buffers), xent(buffers);
    for (std::size_t i = 0; i < buffers; ++i) {
      x.push_back(to(randn({c.n, c.d}, DType::f32, gpu) * 3, c.dtype));
      g.push_back(randn({c.n, c.d}, c.dtype, gpu));
      o.push_back(softmax(x[i]));
      leaf.push_back(x[i].detach().set_requires_grad());
      target.push_back(randint(0, c.d, {c.n}, DType::i64, gpu));
      copied.push_back(empty_like(x[i]));
    }

    // Results live until their buffer is used again, so that they use several buffers in turn like the
    // inputs.
    const CopyPlan one = fastest(bytes, x, {}, copied), two = fastest(bytes, o, g, copied);
    std::map<std::string, Replay> replays;
    const auto add = [&](const std::string& what, auto&& call) {
      replays.try_emplace(what, graph(bytes, buffers, call));
    };
    add("copy", [&](std::size_t i) { copy(one, x[i], {}, copied[i]); });
    add("copy21", [&](std::size_t i) { copy(two, o[i], g[i], copied[i]); });
    add("fwd", [&](std::size_t i) { fwd[i] = softmax(x[i]); });
    add("bwd", [&](std::size_t i) { bwd[i] = softmax_backward(o[i], g[i]); });
    add("xent", [&](std::size_t i) { xent[i] = cross_entropy(leaf[i], target[i]); });
    add("xent_backward", [&](std::size_t i) {
      leaf[i].set_grad({});
      backward(cross_entropy(leaf[i], target[i]));
    });

    std::map<std::string, std::vector<double>> times;
    for (int round = -2; round < rounds_; ++round)
      for (auto& [what, replay] : replays)
        if (const double us = replay(); round >= 0) times[what].push_back(us);
    const double rows = sum(to(fwd[0], DType::f32)).item() / static_cast<double>(c.n);
    if (!(std::abs(rows - 1) < 0.02) || !std::isfinite(xent[0].item()))
      fail<Error>("softmax of ", x[0].spec(), " is wrong: its rows add up to ", rows);

    json row{{"dtype", name(c.dtype)},
             {"N", c.n},
             {"D", c.d},
             {"buffers", buffers},
             {"calls", calls(bytes, buffers)}};
    for (auto& [what, t] : times) {
      const double us = median(t) / static_cast<double>(calls(bytes, buffers));
      const double moved = (what == "bwd" || what == "copy21" ? 3.0 : 2.0) * static_cast<double>(bytes);
      row[what + "_us"] = us;
      row[what] = moved / us / 1e3;
    }
    return row;
  }

 private:
  // All buffers are used equally often, in at least 30 calls and about 2 ms, so that the launch of the graph
  // takes a small part of the time.
  static std::size_t calls(std::int64_t bytes, std::size_t buffers) {
    const double estimate = 2 * static_cast<double>(bytes) / 3e6 + 2;
    const auto least = static_cast<std::size_t>(std::max(30.0, 2000 / estimate));
    return (least + buffers - 1) / buffers * buffers;
  }

  template<class F>
  Replay graph(std::int64_t bytes, std::size_t buffers, F&& call) const {
    for (std::size_t i = 0; i < buffers; ++i) call(i);
    synchronize(gpu);
    return {stream_, [&] {
              for (std::size_t k = 0; k < calls(bytes, buffers); ++k) call(k % buffers);
            }};
  }

  void copy(const CopyPlan& plan, const Tensor& a, const Tensor& b, const Tensor& y) const {
    check(bench::enqueue_copy(plan, a.raw(), b ? b.raw() : nullptr, y.raw(), y.numel() * size_of(y.dtype()),
                              stream_));
  }

  // The fastest plan to copy this many bytes; sizes with the same power of two share one.
  CopyPlan fastest(std::int64_t bytes, const std::vector<Tensor>& a, const std::vector<Tensor>& b,
                   const std::vector<Tensor>& y) {
    const std::pair key{std::bit_width(static_cast<std::uint64_t>(bytes)), b.empty()};
    if (const auto it = plans_.find(key); it != plans_.end()) return it->second;
    double least = 0;
    for (const CopyPlan& plan : bench::copy_plans()) {
      Replay replay =
          graph(bytes, y.size(), [&](std::size_t i) { copy(plan, a[i], b.empty() ? Tensor() : b[i], y[i]); });
      std::vector<double> t;
      for (int round = -1; round < 5; ++round)
        if (const double us = replay(); round >= 0) t.push_back(us);
      if (const double us = median(t); least == 0 || us < least) {
        least = us;
        plans_[key] = plan;
      }
    }
    return plans_[key];
  }

  cudaStream_t stream_;
  int rounds_;
  cudaDeviceProp properties_{};
  std::map<std::pair<int, bool>, CopyPlan> plans_;
};

// Runs work on the GPU for this time, because an idle GPU has a low clock.
void wake(double seconds) {
  const Tensor x = ones({1 << 24}, DType::f32, gpu);
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - start < std::chrono::duration<double>(seconds)) {
    for (int i = 0; i < 100; ++i) clone(x);
    synchronize(gpu);
  }
}

void run(const Options& o) {
  const Stream side(gpu);
  const StreamScope scope(side);
  Bench bench(static_cast<cudaStream_t>(side.handle()), o.quick ? 7 : 20);
  fmt::print("{}: GB/s of the fewest bytes (share of the copy of as many)\n", bench.device());
  fmt::print(
      "| dtype | N | D | copy 1:1 | forward | copy 2:1 | backward | cross-entropy + gradient | then "
      "backward() "
      "| us forward | us backward |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
  wake(0.5);
  const auto start = std::chrono::steady_clock::now();
  json rows = json::array();
  std::size_t left_out = 0;
  for (const Cell& c : grid(o)) {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    if (o.seconds > 0 && spent.count() > o.seconds) {
      ++left_out;
      continue;
    }
    const json r = bench(c);
    const auto cell = [&](const char* what, const char* ceiling) {
      return fmt::format("{:.0f} ({:.3f})", r[what].get<double>(),
                         r[what].get<double>() / r[ceiling].get<double>());
    };
    fmt::print("| {} | {} | {} | {:.0f} | {} | {:.0f} | {} | {} | {} | {:.2f} | {:.2f} |\n", name(c.dtype),
               c.n, c.d, r["copy"].get<double>(), cell("fwd", "copy"), r["copy21"].get<double>(),
               cell("bwd", "copy21"), cell("xent", "copy"), cell("xent_backward", "copy"),
               r["fwd_us"].get<double>(), r["bwd_us"].get<double>());
    std::fflush(stdout);
    rows.push_back(r);
    allocator(gpu).release_cached();
  }
  if (left_out > 0) fmt::print("{} cells were left out: --seconds {} were over\n", left_out, o.seconds);
  if (!o.json_file.empty()) {
    std::ofstream file(o.json_file);
    file << json{{"device", bench.device()}, {"left_out", left_out}, {"rows", rows}}.dump(1) << '\n';
    if (!file.flush()) fail<IoError>(o.json_file, " cannot be written");
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  tools::Options options("Measures softmax and cross-entropy on a GPU.");
  options.add("--dtype", o.dtype, "f32 and bf16, or one").one_of({"both", "f32", "bf16", "f16"});
  options.add("--only", o.only, "only rows of this many elements");
  options.add("--seconds", o.seconds, "begin no cell after so long; 0: no limit");
  options.flag("--quick", o.quick, "fewer cells, fewer rounds");
  options.add("--json", o.json_file, "also write the figures to this file");
  if (const auto status = options.parse(argc, argv)) return *status;
  std::string why;
  if (!cuda_available(&why)) {
    fmt::print(stderr, "bench_softmax: {}\n", why);
    return 5;
  }
  try {
    run(o);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_softmax: {}\n", e.what());
    return 1;
  }
}
