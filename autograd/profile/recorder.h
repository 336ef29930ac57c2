// The events that a profiler records while operations run.
#pragma once
#include <bobbin/allocator.h>
#include <bobbin/profile.h>

#include <chrono>
#include <functional>
#include <vector>

#include "core/probe.h"

namespace bobbin {

struct Profiler::Recorder final : detail::Probe, std::enable_shared_from_this<Profiler::Recorder> {
  void runs(const OpBase& op, Inputs x) override;
  void threw(const OpBase& op) override;
  void ran(const OpBase& op, Inputs x, const Tensor& y) override;
  Grads derivative(Node& node, const Vjp& v) override;
  bool needs_every_derivative() const override { return outer() && outer()->needs_every_derivative(); }

  enum class Kind { operation, span };
  /// Begins an event inside those that are open, and returns its number.
  std::uint64_t open(Kind kind, std::string name, Inputs x, Device device);
  /// Ends an event; does nothing if it has ended. Allocates nothing, as destructors call it.
  void close(std::uint64_t number) noexcept;
  /// Ends the event of the operation that began last.
  void close_operation() noexcept;
  /// The recorder of the innermost profiler of this thread; null: none.
  static std::shared_ptr<Recorder> innermost_one();

  struct Open {
    ProfileEvent event;
    std::vector<TensorSpec> inputs;
    Device device;
    std::int64_t live_before;
    Kind kind;
    std::uint64_t number;
    double inside_us = 0;                         // of the events inside this one
    std::function<double()> device_us = nullptr;  // waits until the event has ended on the GPU
    std::function<void()> stop = nullptr;
  };
  double now() const;

  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();
  std::uint64_t opened = 0;  // events so far
  std::vector<Open> around;
  std::vector<Open> ended;
};

}  // namespace bobbin
