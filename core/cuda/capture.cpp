#include "capture.h"

#include <bobbin/tape.h>

#include <utility>

#include "runtime.h"

namespace bobbin::cuda {

namespace {
thread_local StepGraph* recording = nullptr;
}

StepGraph* StepGraph::current() { return recording; }
bool capturing() { return recording != nullptr; }

std::optional<Device>& last_used() {
  thread_local std::optional<Device> d;
  return d;
}

void on_replay(std::function<void()> f) {
  if (recording) recording->actions_.push_back(std::move(f));
}

const void* detail::replayed(std::size_t bytes, std::function<void(void*)> write) {
  StepGraph& g = *recording;
  const std::size_t at = (g.used_ + 15) / 16 * 16;
  if (at + bytes > Parameters::capacity)
    fail<Error>("capture: the step has more than ", Parameters::capacity,
                " bytes of learning rates, step counts and generator states");
  g.used_ = at + bytes;
  char* const host = g.parameters_.bytes + at;
  write(host);
  g.actions_.push_back([host, write = std::move(write)] { write(host); });
  return static_cast<const char*>(g.memory_.raw()) + at;
}

Tensor replayed_one(const TensorSpec& spec) {
  StepGraph* g = recording;
  if (!g || spec.dtype != DType::f32) return {};
  const void* at = detail::replayed(sizeof(float), [](void* host) { *static_cast<float*>(host) = 1; });
  const auto* first = static_cast<const float*>(g->memory_.raw());
  return g->memory_.alias(spec.shape, contiguous_strides(spec.shape), static_cast<const float*>(at) - first);
}

Hosted<Philox> replayable(const Philox& p) {
  // A state that does not come from the generator, or from before the step, is a constant.
  const StepGraph* g = recording;
  if (!g || p.seed != g->start_.seed || p.draw < g->start_.draws) return {p, nullptr};
  return hosted<Philox>([g, ahead = p.draw - g->start_.draws] {
    return Philox{g->now_.seed, g->now_.draws + ahead};
  });
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
  const Use use(device_);
  memory_ = empty({static_cast<std::int64_t>(Parameters::capacity / sizeof(float))}, DType::f32, device_);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "capture");
  now_ = start_ = default_generator();
  pool_ = begin_pool(device_);
  recording = this;
  const cudaStream_t before = exchange_stream(device_, stream_);
  std::exception_ptr failure;
  try {
    // Other threads may go on allocating meanwhile.
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
  if (failure) {
    cudaGetLastError();
    std::rethrow_exception(failure);
  }
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

void StepGraph::clear() noexcept {
  if (exec_) cudaGraphExecDestroy(std::exchange(exec_, nullptr));
  if (graph_) cudaGraphDestroy(std::exchange(graph_, nullptr));
  if (stream_) cudaStreamDestroy(std::exchange(stream_, nullptr));
  if (pool_) release_pool(device_, std::exchange(pool_, nullptr));
}

void StepGraph::replay() {
  const Use use(device_);
  if (!std::exchange(first_, false)) {
    Generator& g = default_generator();
    now_ = g;
    if (g.seed == end_.seed) g.draws += end_.draws - start_.draws;
    for (auto& action : actions_) action();
  }
  if (store_) {
    void* to = memory_.raw();
    void* args[] = {&to, &parameters_};
    const cudaKernelNodeParams node = store_node(used_, args);
    check(cudaGraphExecKernelNodeSetParams(exec_, store_, &node), "capture");
  }
  check(cudaGraphLaunch(exec_, stream(device_)), "capture");
}

}  // namespace bobbin::cuda
