// A step as a CUDA graph: what is recorded into it, and how it is replayed. The public face is
// bobbin/capture.h.
#pragma once
#include <bobbin/random.h>
#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/cuda/backend.h"
#include "core/cuda/replay_arg.h"

namespace bobbin::cuda {

/// The bytes that replays put into device memory, as a kernel's argument.
struct Parameters {
  static constexpr std::size_t capacity = 28 << 10;  // of the 32 KB that a kernel's arguments may have
  alignas(16) char bytes[capacity];
};
/// Enqueues the kernel that stores its argument at `to`. capture.cu
void store_parameters(Device, void* to);
/// That kernel's node, for `used` bytes: args point to where they go, and to Parameters.
cudaKernelNodeParams store_node(std::size_t used, void** args);

/// How far a loop of steps is: lies before what the steps read, one after the other.
struct alignas(16) Progress {
  std::int64_t next, steps;
};
/// Adds the node that comes first in the loop's body: it puts a step's parameters, so many bytes, where
/// kernels read them, and says whether another step follows.
cudaGraphNode_t add_advance_node(cudaGraph_t body, Progress*, std::size_t bytes, void* to,
                                 cudaGraphConditionalHandle more);

struct Pool;  // allocator.cpp
/// Memory that this thread takes from now on for d belongs to one graph.
Pool* begin_pool(Device d);
void end_pool();
/// Hands a graph's memory over to d's main stream.
void release_pool(Device d, Pool*);

class StepGraph final : public Replay {
 public:
  /// Runs `step` while what it enqueues on d is recorded. When it throws, nothing is left of the recording.
  StepGraph(Device d, const std::function<void()>& step);
  ~StepGraph() override;
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;
  /// One launch of a loop where there are several and the driver has such graphs.
  void run(std::int64_t times) override;

  /// The recording of this thread, or null.
  static StepGraph* current();
  Device device() const { return device_; }

 private:
  friend const void* detail::replayed(std::size_t, std::function<void(void*)>);
  friend void on_replay(std::function<void()>);
  friend ReplayArg<Philox> replay_arg(const Philox&);
  friend Tensor captured_one(const TensorSpec&);
  void record(const std::function<void()>& step);
  void instantiate();
  void prepare();
  void run_once();
  bool make_loop(std::int64_t bytes);
  void drop_loop() noexcept;
  void clear() noexcept;

  Device device_;
  Pool* pool_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
  cudaGraphNode_t store_ = nullptr;
  cudaGraph_t loop_ = nullptr;
  cudaGraphExec_t loop_exec_ = nullptr;
  bool loops_ = true;                           // until the driver says no
  Tensor progress_;                             // of the loop, and the parameters of its steps, on the device
  Tensor host_;                                 // what goes there
  Tensor memory_;                               // of the parameters, on the device
  Generator start_, end_;                       // this thread's generator when the recording began and ended
  Generator now_;                               // what a replay starts from
  bool first_ = true;                           // the first replay stands for the recorded call
  std::vector<std::function<void()>> actions_;  // of the host before a replay, in the recorded call's order
  std::size_t used_ = 0;
  Parameters parameters_{};
};

}  // namespace bobbin::cuda
