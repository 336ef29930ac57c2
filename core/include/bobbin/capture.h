// A training step as one CUDA graph.
#pragma once
#include <bobbin/device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace bobbin {

/// What `capture` returns. Each call is one step, with the same results to the bit as calling the function:
/// the first call runs it; where it used a GPU, the second runs it once more while all it enqueues is
/// recorded into a graph, and this and every later call launches the graph, which costs the host a few
/// microseconds.
///
/// On replays only the GPU's work happens, so the function must enqueue the same work each time: draws of the
/// default generator and an optimizer's `lr`, `schedule` and step count are followed, in the order of the
/// recorded call (a step may hold several of an optimizer's); other C++ state is as it was in the second
/// call. What it needs from outside must lie in tensors that are edited in place (`copy_`) and live as long
/// as the step; tensors that it leaves behind keep their address. A call that needs the host to wait
/// (`item()`, copies to or from the host) throws in the second call; nothing is captured then. On the CPU
/// every call runs the function.
class Captured {
 public:
  /// Runs nothing yet.
  explicit Captured(std::function<void()> step);
  /// The step moves along, with its graph.
  Captured(Captured&&) noexcept;
  /// The step moves along, with its graph.
  Captured& operator=(Captured&&) noexcept;
  ~Captured();  ///< frees the graph
  /// One step. Throws what the function throws, and CudaError.
  void operator()();
  /// So many steps, as that many calls give them. Those that replay are one launch on a GPU whose driver has
  /// graphs with loops (CUDA 12.4): the host's work does not grow with them. What differs from step to step
  /// beside what replays follow, such as which batch it is, must then be worked out by the step itself, from
  /// a tensor that it counts up.
  void operator()(std::int64_t times);
  /// Whether the next call will replay a graph.
  bool replays() const;

 private:
  struct Graph;
  std::function<void()> step_;
  std::optional<Device> device_;  // the GPU that the first call used
  std::unique_ptr<Graph> graph_;
};

/// `step` as something to call again and again; see Captured.
inline Captured capture(std::function<void()> step) { return Captured(std::move(step)); }

}  // namespace bobbin
