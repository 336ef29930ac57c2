// Measures rows of bench_transformer: the time and the peak memory of a call, on a GPU or on the CPU.
#pragma once
#include <bobbin/allocator.h>
#include <bobbin/bobbin.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bench {

using Call = std::function<void()>;

struct Settings {
  std::string device = "cuda", only, json_file;
  int threads = 0, profile = 0;
  bool quick = false;
};

// A measurement. `make` makes the operands of one buffer, of so many bytes, and returns the call that uses
// them.
struct Row {
  std::string name;
  std::int64_t bytes;
  std::function<Call()> make;
};

class Bench {
 public:
  explicit Bench(const Settings& s)
      : settings_(s), device_(s.device == "cpu" ? bobbin::Device::cpu() : bobbin::Device::cuda()) {}

  bool wants(const std::string& name) const { return name.find(settings_.only) != std::string::npos; }

  // A captured graph goes round buffers of at least 200 MB together (at most 32), so that operands are in no
  // cache.
  void operator()(const Row& row) {
    if (!wants(row.name)) return;
    bobbin::allocator(device_).release_cached();
    const std::int64_t count =
        on_gpu() ? std::clamp<std::int64_t>((200'000'000 + row.bytes - 1) / row.bytes, 1, 32) : 1;
    std::vector<Call> calls;
    for (std::int64_t i = 0; i < count; ++i) calls.push_back(row.make());
    for (const Call& call : calls) call();
    const double mb = peak(calls.front());
    const auto all = [&] {
      for (const Call& call : calls) call();
    };
    double us = 0;
    if (on_gpu()) {
      bobbin::Captured graph = bobbin::capture(all);
      us = median([&] { graph(); });
    } else {
      us = median(all);
    }
    add(row.name, us / static_cast<double>(count), mb);
  }

  // A step of training: its memory is all that the process holds at its peak, parameters and optimizer too. A
  // replay allocates nothing, and has no figure.
  void step(const std::string& name, const Call& call, bool replays) {
    for (int i = 0; i < 3; ++i) call();
    synchronize();
    bobbin::allocator(device_).reset_peak();
    call();
    synchronize();
    const nlohmann::json mb =
        replays ? nlohmann::json()
                : nlohmann::json(static_cast<double>(bobbin::allocator(device_).stats().bytes_peak) / 1e6);
    add(name, median(call), mb);
  }

  bobbin::Device device() const { return device_; }
  bool on_gpu() const { return device_.is_cuda(); }
  const nlohmann::json& rows() const { return rows_; }
  void synchronize() const {
    if (on_gpu()) bobbin::synchronize(device_);
  }

 private:
  // The most megabytes that one call holds beside its operands.
  double peak(const Call& call) const {
    synchronize();
    bobbin::Allocator& memory = bobbin::allocator(device_);
    memory.reset_peak();
    const std::int64_t before = memory.stats().bytes_live;
    call();
    synchronize();
    return static_cast<double>(memory.stats().bytes_peak - before) / 1e6;
  }

  // Microseconds of a call: the median of rounds of at least 20 ms, in which calls follow each other without
  // waiting.
  double median(const Call& call) const {
    const auto round = [&](std::int64_t n) {
      synchronize();
      const auto start = std::chrono::steady_clock::now();
      for (std::int64_t i = 0; i < n; ++i) call();
      synchronize();
      return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() /
             static_cast<double>(n);
    };
    for (int i = 0; i < 3; ++i) round(1);  // two of them run and capture
    const auto n = static_cast<std::int64_t>(std::max(1.0, 20e3 / round(1)));
    std::vector<double> times;
    for (int i = 0; i < (settings_.quick ? 5 : 15); ++i) times.push_back(round(n));
    std::ranges::sort(times);
    return times[times.size() / 2];
  }

  void add(const std::string& name, double us, const nlohmann::json& mb) {
    fmt::print("{:<48} {:>10.1f} us {:>12} MB\n", name, us,
               mb.is_null() ? "" : fmt::format("{:.1f}", mb.get<double>()));
    std::fflush(stdout);
    rows_.push_back({{"name", name}, {"us", us}, {"mb", mb}});
  }

  Settings settings_;
  bobbin::Device device_;
  nlohmann::json rows_ = nlohmann::json::array();
};

}  // namespace bench
