// A training step as one CUDA graph.
#pragma once
#include <bobbin/device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace bobbin {

/// A training step that is recorded once and then replayed as a CUDA graph; `capture` makes one. Each call is
/// one step, with the same bits as a call of the function. The first call runs the function. If it used a
/// GPU, the second call runs it again and records the work that it enqueues into a graph; this call and every
/// later one launch the graph, which costs the host a few microseconds. On the CPU every call runs the
/// function.
///
/// A replay repeats only the GPU's work, so the function must enqueue the same work each time. A replay uses
/// the current state of the default generator and of an optimizer's `lr`, `schedule` and step count, in the
/// order of the recorded call (which may contain several steps of an optimizer). Other C++ state is as it was
/// in the second call. Inputs must be in tensors that are edited in place (`copy_`) and live as long as the
/// step; tensors that the function stores keep their address. Calls that make the host wait (`item()`, copies
/// to or from the host) throw in the second call, and then nothing is captured.
class Captured {
 public:
  /// Stores the function; does not run it.
  explicit Captured(std::function<void()> step);
  /// Moves the function and its graph.
  Captured(Captured&&) noexcept;
  /// Moves the function and its graph.
  Captured& operator=(Captured&&) noexcept;
  ~Captured();  ///< frees the graph
  /// One step. Throws what the function throws, and CudaError.
  void operator()();
  /// The same as `times` calls. If the driver supports graphs with loops (CUDA 12.4), all replays are one
  /// launch. The step must then compute itself what differs from step to step, such as the number of the
  /// batch: it can count steps in a tensor.
  void operator()(std::int64_t times);
  /// Whether the next call will replay a graph.
  bool replays() const;

 private:
  struct Graph;
  std::function<void()> step_;
  std::optional<Device> device_;  // the GPU that the first call used
  std::unique_ptr<Graph> graph_;
};

/// Makes a Captured of `step`; does not run it.
inline Captured capture(std::function<void()> step) { return Captured(std::move(step)); }

}  // namespace bobbin
