// The events that a profiler records while operations run.
#pragma once
#include <bobbin/allocator.h>
#include <bobbin/profile.h>

#include <chrono>
#include <functional>
#include <vector>

#include "core/probe.h"

namespace bobbin {

struct Profiler::Recorder final : detail::Probe {
  Recorder();
  ~Recorder() override;

  void runs(const OpBase& op, Inputs x) override;
  void threw(const OpBase& op) override;
  void ran(const OpBase& op, Inputs x, const Tensor& y) override;
  Grads derivative(Node& node, const Vjp& v) override;

  void open(std::string name, Inputs x, Device device);
  void close();

  struct Open {
    ProfileEvent event;
    std::vector<TensorSpec> inputs;
    Device device;
    std::int64_t live_before;
    double inside_us = 0;                         // of the events inside this one
    std::function<double()> device_us = nullptr;  // waits until the event has ended on the GPU
    std::function<void()> stop = nullptr;
  };
  double now() const;

  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();
  std::vector<Open> around;
  std::vector<Open> ended;
  Recorder* outer;
  static thread_local Recorder* current;
};

}  // namespace bobbin
