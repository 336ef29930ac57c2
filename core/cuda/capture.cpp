// Records a step into a CUDA graph and replays it, once or in a loop on the GPU.
#include "core/cuda/capture.h"

#include <bobbin/tape.h>

#include <cstring>
#include <utility>

#include "core/cuda/backend.h"
#include "core/cuda/runtime.h"

namespace bobbin::cuda {

namespace {

thread_local StepGraph* recording = nullptr;

// The offset of the next parameter after `bytes` bytes of parameters.
std::size_t padded(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

}  // namespace

StepGraph* StepGraph::current() { return recording; }
bool capturing() { return recording != nullptr; }

void on_replay(std::function<void()> f) {
  if (recording) recording->actions_.push_back(std::move(f));
}

void on_failed_capture(std::function<void()> f) {
  if (recording) recording->undo_.push_back(std::move(f));
}

const void* detail::replayed(std::size_t bytes, std::function<void(void*)> write) {
  StepGraph& g = *recording;
  const std::size_t at = padded(g.used_);
  if (at + bytes > Parameters::capacity)
    fail<Error>("capture: the step has more than ", Parameters::capacity,
                " bytes of learning rates, step counts and generator states");
  g.used_ = at + bytes;
  char* const host = g.parameters_.bytes + at;
  write(host);
  g.actions_.push_back([host, write = std::move(write)] { write(host); });
  return g.memory_.raw<char>() + at;
}

Tensor captured_one(const TensorSpec& spec) {
  StepGraph* g = recording;
  if (!g || spec.dtype != DType::f32) return {};
  const void* at = detail::replayed(sizeof(float), [](void* host) { *static_cast<float*>(host) = 1; });
  const auto* first = g->memory_.raw<float>();
  return g->memory_.alias(spec.shape, contiguous_strides(spec.shape), static_cast<const float*>(at) - first);
}

ReplayArg<Philox> replay_arg(const Philox& p) {
  // A state of another generator, or from before the step, is the same in each replay.
  const StepGraph* g = recording;
  if (!g || p.seed != g->start_.seed || p.draw < g->start_.draws) return {p, nullptr};
  return replay_arg<Philox>([g, ahead = p.draw - g->start_.draws] {
    return Philox{g->now_.seed, g->now_.draws + ahead};
  });
}

std::unique_ptr<Replay> record_step(Device d, const std::function<void()>& step) {
  return std::make_unique<StepGraph>(d, step);
}

StepGraph::StepGraph(Device d, const std::function<void()>& step) : device_(d) {
  try {
    record(step);
    instantiate();
  } catch (...) {
    clear();
    throw;
  }
}

void StepGraph::record(const std::function<void()>& step) {
  if (recording) fail<Error>("capture: a step cannot be captured inside another");
  const DeviceGuard use(device_);
  memory_ = empty({static_cast<std::int64_t>(Parameters::capacity / sizeof(float))}, DType::f32, device_);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "capture");
  now_ = start_ = default_generator();
  pool_ = begin_pool(device_);
  recording = this;
  const cudaStream_t before = exchange_stream(device_, stream_);
  std::exception_ptr failure;
  try {
    // Relaxed: other threads may allocate memory meanwhile.
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "capture");
    store_parameters(device_, memory_.raw());
    cudaStreamCaptureStatus status;
    const cudaGraphNode_t* nodes = nullptr;
    std::size_t count = 0;
    check(cudaStreamGetCaptureInfo(stream_, &status, nullptr, nullptr, &nodes, nullptr, &count), "capture");
    store_ = nodes[0];
    step();
  } catch (...) {
    failure = std::current_exception();
  }
  exchange_stream(device_, before);
  recording = nullptr;
  end_pool();
  const cudaError_t ended = cudaStreamEndCapture(stream_, &graph_);
  if (failure || ended != cudaSuccess) {
    for (auto f = undo_.rbegin(); f != undo_.rend(); ++f) (*f)();
    end_ = std::exchange(default_generator(), start_);
    cudaGetLastError();
  }
  if (failure) std::rethrow_exception(failure);
  check(ended, "capture");
  end_ = default_generator();
}

void StepGraph::instantiate() {
  if (used_ == 0) {
    check(cudaGraphDestroyNode(std::exchange(store_, nullptr)), "capture");
  } else {
    void* to = memory_.raw();
    void* args[] = {&to, &parameters_};
    const cudaKernelNodeParams node = store_node(used_, args);
    check(cudaGraphKernelNodeSetParams(store_, &node), "capture");
  }
  check(cudaGraphInstantiate(&exec_, graph_, 0), "capture");
}

StepGraph::~StepGraph() { clear(); }

void StepGraph::drop_loop() noexcept {
  if (loop_exec_) cudaGraphExecDestroy(std::exchange(loop_exec_, nullptr));
  if (loop_) cudaGraphDestroy(std::exchange(loop_, nullptr));
}

void StepGraph::clear() noexcept {
  drop_loop();
  if (exec_) cudaGraphExecDestroy(std::exchange(exec_, nullptr));
  if (graph_) cudaGraphDestroy(std::exchange(graph_, nullptr));
  if (stream_) cudaStreamDestroy(std::exchange(stream_, nullptr));
  if (pool_) release_pool(device_, std::exchange(pool_, nullptr));
}

// Prepares a replay on the host: computes the parameters, which may throw (a schedule does), and takes the
// draws of the step from the generator.
void StepGraph::prepare() {
  if (std::exchange(first_, false)) return;
  Generator& g = default_generator();
  now_ = g;
  for (auto& action : actions_) action();
  if (g.seed == end_.seed) g.draws += end_.draws - start_.draws;
}

void StepGraph::run_once() {
  const DeviceGuard use(device_);
  prepare();
  if (store_) {
    void* to = memory_.raw();
    void* args[] = {&to, &parameters_};
    const cudaKernelNodeParams node = store_node(used_, args);
    check(cudaGraphExecKernelNodeSetParams(exec_, store_, &node), "capture");
  }
  check(cudaGraphLaunch(exec_, stream(device_)), "capture");
}

// Makes a graph of one node, a loop. Its body is the kernel of add_advance_node and the step without its
// first node. Returns false if the driver does not support such graphs.
bool StepGraph::make_loop(std::int64_t bytes) {
  drop_loop();
  progress_ = empty({bytes}, DType::u8, device_);
  host_ = empty({bytes}, DType::u8);
  cudaGraphConditionalHandle more;
  cudaGraphNodeParams loop{};
  cudaGraphNode_t node;
  check(cudaGraphCreate(&loop_, 0), "capture");
  const auto known = [&] {
    if (cudaGraphConditionalHandleCreate(&more, loop_, 1, cudaGraphCondAssignDefault) != cudaSuccess)
      return false;
    loop.type = cudaGraphNodeTypeConditional;
    loop.conditional.handle = more;
    loop.conditional.type = cudaGraphCondTypeWhile;
    loop.conditional.size = 1;
    return cudaGraphAddNode(&node, loop_, nullptr, nullptr, 0, &loop) == cudaSuccess;
  };
  const auto done = [](cudaError_t status) { return status == cudaSuccess; };
  const auto made = [&] {
    const cudaGraph_t body = loop.conditional.phGraph_out[0];
    cudaGraphNode_t first =
        add_advance_node(body, progress_.raw<Progress>(), padded(used_), memory_.raw(), more);
    cudaGraph_t step;
    check(cudaGraphClone(&step, graph_), "capture");
    const bool added = (!store_ || (done(cudaGraphNodeFindInClone(&node, store_, step)) &&
                                    done(cudaGraphDestroyNode(node)))) &&
                       done(cudaGraphAddChildGraphNode(&node, body, &first, 1, step));
    cudaGraphDestroy(step);
    return added && done(cudaGraphInstantiate(&loop_exec_, loop_, 0));
  };
  if (known() && made()) return true;
  cudaGetLastError();
  drop_loop();
  return false;
}

void StepGraph::run(std::int64_t times) {
  const DeviceGuard use(device_);
  const std::size_t step = padded(used_);
  const std::int64_t bytes =
      static_cast<std::int64_t>(sizeof(Progress)) + times * static_cast<std::int64_t>(step);
  if (times > 1 && loops_ && (!loop_exec_ || progress_.numel() < bytes)) loops_ = make_loop(bytes);
  if (times <= 1 || !loops_) {
    for (; times > 0; --times) run_once();
    return;
  }
  char* to = host_.raw<char>();
  Progress start{0, 0};
  std::exception_ptr failure;
  try {
    for (; start.steps < times; ++start.steps) {
      prepare();
      std::memcpy(to + sizeof start + static_cast<std::size_t>(start.steps) * step, parameters_.bytes, step);
    }
  } catch (...) {  // the steps before it are made
    failure = std::current_exception();
  }
  std::memcpy(to, &start, sizeof start);
  if (start.steps > 0) {
    copy_elements(host_, progress_);
    check(cudaGraphLaunch(loop_exec_, stream(device_)), "capture");
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace bobbin::cuda
