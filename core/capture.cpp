// Captured: the first call of a step runs it, the second records it, and later calls replay it.
#include <bobbin/capture.h>

#include <utility>

#include "core/cuda/backend.h"
#include "core/cuda/replay_arg.h"

namespace bobbin {

struct Captured::Graph {
  std::unique_ptr<cuda::Replay> replay;
};

Captured::Captured(std::function<void()> step) : step_(std::move(step)) {}
Captured::Captured(Captured&&) noexcept = default;
Captured& Captured::operator=(Captured&&) noexcept = default;
Captured::~Captured() = default;
bool Captured::replays() const { return graph_ != nullptr; }

void Captured::operator()() {
  if (!graph_ && device_ && !cuda::capturing())
    graph_ = std::make_unique<Graph>(Graph{cuda::record_step(*device_, step_)});
  if (graph_) return graph_->replay->run(1);
  cuda::last_used().reset();
  step_();
  device_ = cuda::last_used();
}

void Captured::operator()(std::int64_t times) {
  for (; times > 0 && !graph_; --times) (*this)();
  if (times > 0) graph_->replay->run(times);
}

}  // namespace bobbin
