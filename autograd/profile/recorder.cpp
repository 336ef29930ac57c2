// Records an event for each operation that runs under a profiler.
#include "autograd/profile/recorder.h"

#include <bobbin/tensor.h>

#include <utility>

#include "core/cuda/replay_arg.h"
#include "core/cuda/stopwatch.h"

namespace bobbin {
namespace {
Device device_of(Inputs x) {
  for (auto& t : x)
    if (t) return t.device();
  return {};
}
}  // namespace

thread_local Profiler::Recorder* Profiler::Recorder::current = nullptr;

Profiler::Recorder::Recorder() : outer(std::exchange(current, this)) {}
Profiler::Recorder::~Recorder() { current = outer; }

double Profiler::Recorder::now() const {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - began).count();
}

void Profiler::Recorder::open(std::string name, Inputs x, Device device) {
  Open e{{std::move(name), {}, 0, 0, 0, 0, 0, 0, static_cast<int>(around.size())}, {}, device, 0};
  for (auto& t : x)
    if (t) e.inputs.push_back(t.spec());
  e.live_before = allocator(device).stats().bytes_live;
  if (device.is_cuda() && !cuda::capturing()) {
    auto watch = std::make_shared<cuda::Stopwatch>(device);
    e.stop = [watch] { watch->stop(); };
    e.device_us = [watch] { return watch->microseconds(); };
  }
  around.push_back(std::move(e));
  around.back().event.start_us = now();
}

void Profiler::Recorder::close() {
  Open e = std::move(around.back());
  around.pop_back();
  e.event.host_us = now() - e.event.start_us;
  e.event.self_us = e.event.host_us - e.inside_us;
  if (e.stop) e.stop();
  e.event.live = allocator(e.device).stats().bytes_live;
  e.event.bytes = e.event.live - e.live_before;
  if (!around.empty()) around.back().inside_us += e.event.host_us;
  ended.push_back(std::move(e));
}

void Profiler::Recorder::runs(const OpBase& op, Inputs x) {
  Probe::runs(op, x);
  open(std::string(op.name()), x, device_of(x));
}

void Profiler::Recorder::threw(const OpBase& op) {
  close();
  Probe::threw(op);
}

void Profiler::Recorder::ran(const OpBase& op, Inputs x, const Tensor& y) {
  close();
  Probe::ran(op, x, y);
}

Grads Profiler::Recorder::derivative(Node& node, const Vjp& v) {
  open(std::string(node.op->name()) + "'s derivative", {&v.grad, 1}, v.grad.device());
  const struct Closing {
    Recorder& recorder;
    ~Closing() { recorder.close(); }
  } closing{*this};
  return Probe::derivative(node, v);
}

ProfileSpan::ProfileSpan(std::string_view name) : recorder_(Profiler::Recorder::current) {
  if (recorder_) recorder_->open(std::string(name), {}, {});
}
ProfileSpan::~ProfileSpan() {
  if (recorder_) recorder_->close();
}

}  // namespace bobbin
