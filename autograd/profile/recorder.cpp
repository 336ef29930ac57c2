// Records an event for each operation that runs under a profiler.
#include "autograd/profile/recorder.h"

#include <bobbin/tensor.h>

#include <algorithm>
#include <iterator>
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

double Profiler::Recorder::now() const {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - began).count();
}

std::uint64_t Profiler::Recorder::open(Kind kind, std::string name, Inputs x, Device device) {
  Open e{{std::move(name), {}, 0, 0, 0, 0, 0, 0, static_cast<int>(around.size())},
         {},
         device,
         0,
         kind,
         ++opened};
  for (auto& t : x)
    if (t) e.inputs.push_back(t.spec());
  e.live_before = allocator(device).stats().bytes_live;
  // A place for every event that is open, so that close() needs no memory.
  if (const auto places = ended.size() + around.size() + 1; places > ended.capacity())
    ended.reserve(2 * places);
  if (device.is_cuda() && !cuda::capturing()) {
    auto watch = std::make_shared<cuda::Stopwatch>(device);
    e.stop = [watch] { watch->stop(); };
    e.device_us = [watch] { return watch->microseconds(); };
  }
  around.push_back(std::move(e));
  around.back().event.start_us = now();
  return opened;
}

void Profiler::Recorder::close(std::uint64_t number) noexcept {
  const auto at = std::ranges::find(around, number, &Open::number);
  if (at == around.end()) return;
  Open e = std::move(*at);
  const auto inside = around.erase(at);  // what a caller ends out of order stays open
  e.event.host_us = now() - e.event.start_us;
  e.event.self_us = e.event.host_us - e.inside_us;
  try {
    if (e.stop) e.stop();
    e.event.live = allocator(e.device).stats().bytes_live;
    e.event.bytes = e.event.live - e.live_before;
  } catch (const Error&) {  // the device is lost
    e.device_us = nullptr;
  }
  if (inside != around.begin()) std::prev(inside)->inside_us += e.event.host_us;
  ended.push_back(std::move(e));
}

void Profiler::Recorder::close_operation() noexcept {
  for (auto e = around.rbegin(); e != around.rend(); ++e)
    if (e->kind == Kind::operation) return close(e->number);
}

void Profiler::Recorder::runs(const OpBase& op, Inputs x) {
  const auto event = open(Kind::operation, std::string(op.name()), x, device_of(x));
  try {
    Probe::runs(op, x);
  } catch (...) {
    close(event);
    ended.pop_back();
    throw;
  }
}

void Profiler::Recorder::threw(const OpBase& op) {
  close_operation();
  Probe::threw(op);
}

void Profiler::Recorder::ran(const OpBase& op, Inputs x, const Tensor& y) {
  close_operation();
  Probe::ran(op, x, y);
}

Grads Profiler::Recorder::derivative(Node& node, const Vjp& v) {
  const struct Event {
    Recorder& recorder;
    std::uint64_t number;
    ~Event() { recorder.close(number); }
  } event{*this, open(Kind::operation, std::string(node.op->name()) + "'s derivative", {&v.grad, 1},
                      v.grad.device())};
  return Probe::derivative(node, v);
}

std::shared_ptr<Profiler::Recorder> Profiler::Recorder::innermost_one() {
  for (Probe* p = Probe::innermost(); p; p = p->outer())
    if (auto* recorder = dynamic_cast<Recorder*>(p)) return recorder->weak_from_this().lock();
  return nullptr;
}

ProfileSpan::ProfileSpan(std::string_view name) {
  if (const auto recorder = Profiler::Recorder::innermost_one()) {
    event_ = recorder->open(Profiler::Recorder::Kind::span, std::string(name), {}, {});
    recorder_ = recorder;
  }
}
ProfileSpan::~ProfileSpan() {
  if (const auto recorder = recorder_.lock()) recorder->close(event_);
}

}  // namespace bobbin
