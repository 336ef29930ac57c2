// A training step as a CUDA graph: how it is recorded and replayed. The public interface is bobbin/capture.h.
#pragma once
#include <bobbin/random.h>
#include <cuda_runtime.h>

#include <functional>
#include <vector>

#include "core/cuda/backend.h"
#include "core/cuda/replay_arg.h"

namespace bobbin::cuda {

/// All ReplayArg values of a step, which one kernel takes as its argument and stores in device memory.
struct Parameters {
  static constexpr std::size_t capacity = 28 << 10;  // of the 32 KB that a kernel's arguments may have
  alignas(16) char bytes[capacity];
};
/// Enqueues the kernel that stores its argument at `to`. capture.cu
void store_parameters(Device, void* to);
/// The parameters of that kernel's graph node, for `used` bytes. args[0] points to the address that they are
/// stored at, args[1] to Parameters; both must outlive the node's use.
cudaKernelNodeParams store_node(std::size_t used, void** args);

/// The state of a loop of steps, in device memory. The Parameters of each step follow it, one after the
/// other.
struct alignas(16) Progress {
  std::int64_t next, steps;
};
/// Adds the first node of the loop's body: a kernel that copies the parameters of the current step, `bytes`
/// of them, to `to`, where the step's kernels read them, and sets `more` to whether another step follows.
cudaGraphNode_t add_advance_node(cudaGraph_t body, Progress*, std::size_t bytes, void* to,
                                 cudaGraphConditionalHandle more);

struct Pool;  // allocator.cpp
/// From now on, this thread allocates d's memory from a new pool, which belongs to one graph.
Pool* begin_pool(Device d);
/// Ends begin_pool(): the thread allocates from its stream's pool again.
void end_pool();
/// Gives a graph's memory to the pool of this thread's stream on d, when the graph is gone.
void release_pool(Device d, Pool*);

class StepGraph final : public Replay {
 public:
  /// Runs `step`, and records the work that it enqueues on d. If it throws, the recording is discarded.
  StepGraph(Device d, const std::function<void()>& step);
  ~StepGraph() override;
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;
  /// Several runs are one launch of a loop, where the driver supports such graphs.
  void run(std::int64_t times) override;

  /// The recording of this thread, or null.
  static StepGraph* current();
  Device device() const { return device_; }

 private:
  friend const void* detail::replayed(std::size_t, std::function<void(void*)>);
  friend void on_replay(std::function<void()>);
  friend void on_failed_capture(std::function<void()>);
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
  bool loops_ = true;                           // false once the driver has refused a graph with a loop
  Tensor progress_;                             // on the device: Progress and the parameters of its steps
  Tensor host_;                                 // on the host: the same bytes
  Tensor memory_;                               // on the device: where kernels read their parameters
  Generator start_, end_;                       // this thread's generator before and after the recording
  Generator now_;                               // the generator at the beginning of the current replay
  bool first_ = true;                           // the first replay is the recorded call itself
  std::vector<std::function<void()>> actions_;  // run by the host before a replay, in this order
  std::vector<std::function<void()>> undo_;     // run in the opposite order if the capture fails
  std::size_t used_ = 0;                        // bytes of parameters_
  Parameters parameters_{};
};

}  // namespace bobbin::cuda
