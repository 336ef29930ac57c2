#include <bobbin/capture.h>
#include <bobbin/device.h>

#if BOBBIN_HAS_CUDA
#include "core/cuda/capture.h"
#endif

namespace bobbin {

struct Captured::Graph {
#if BOBBIN_HAS_CUDA
  Graph(Device d, const std::function<void()>& step) : graph(d, step) {}
  cuda::StepGraph graph;
#endif
};

Captured::Captured(std::function<void()> step) : step_(std::move(step)) {}
Captured::Captured(Captured&&) noexcept = default;
Captured& Captured::operator=(Captured&&) noexcept = default;
Captured::~Captured() = default;
bool Captured::replays() const { return graph_ != nullptr; }

void Captured::operator()() {
#if BOBBIN_HAS_CUDA
  if (graph_) return graph_->graph.replay();
  if (device_ && !cuda::capturing()) {
    graph_ = std::make_unique<Graph>(*device_, step_);
    return graph_->graph.replay();
  }
  cuda::last_used().reset();
  step_();
  device_ = cuda::last_used();
#else
  step_();
#endif
}

void Captured::operator()(std::int64_t times) {
  for (; times > 0 && !graph_; --times) (*this)();
#if BOBBIN_HAS_CUDA
  if (times > 0) graph_->graph.replay(times);
#endif
}

}  // namespace bobbin
