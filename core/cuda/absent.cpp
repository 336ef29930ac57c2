// Replaces core/cuda in a library built without CUDA: no device can be used, so nothing is captured, and the
// functions that work on a GPU are never called.
#include <bobbin/device.h>
#include <bobbin/error.h>

#include "core/cuda/backend.h"
#include "core/cuda/replay_arg.h"
#include "core/cuda/stopwatch.h"

namespace bobbin {
namespace {

constexpr const char* reason = "bobbin was built without CUDA";
[[noreturn]] void no_gpu() { fail<DeviceError>(reason); }

}  // namespace

bool cuda_available(std::string* why) {
  if (why) *why = reason;
  return false;
}
int device_count() { return 0; }
void synchronize(Device d) { require(d); }
std::int64_t synchronizations() { return 0; }

namespace cuda {

void copy_elements(const Tensor&, const Tensor&) { no_gpu(); }
void fill_elements(const Tensor&, double) { no_gpu(); }
void uniform(const Tensor&, const Philox&, double, double, double) { no_gpu(); }
void normal(const Tensor&, const Philox&) { no_gpu(); }
void randint(const Tensor&, const Philox&, std::int64_t, std::uint64_t) { no_gpu(); }
void bernoulli(const Tensor&, const Philox&, const Chance&) { no_gpu(); }
void randperm(const Tensor&, const Philox&) { no_gpu(); }
Allocator& allocator(Device) { no_gpu(); }
void memset_async(Device, void*, int, std::size_t) { no_gpu(); }
void memcpy_to_host(Device, const void*, void*, std::size_t) { no_gpu(); }
std::shared_ptr<void> make_stream(Device) { no_gpu(); }
void* enter_stream(Device, void*) { no_gpu(); }
void leave_stream(Device, void*, void*) noexcept {}
std::unique_ptr<Replay> record_step(Device, const std::function<void()>&) { no_gpu(); }

Stopwatch::Stopwatch(Device) { no_gpu(); }
Stopwatch::~Stopwatch() = default;
void Stopwatch::stop() {}
double Stopwatch::microseconds() const { return 0; }

bool capturing() { return false; }
void on_replay(std::function<void()>) {}
void on_failed_capture(std::function<void()>) {}
Tensor captured_one(const TensorSpec&) { return {}; }
std::optional<Device>& last_used() {
  thread_local std::optional<Device> none;
  return none;
}

}  // namespace cuda
}  // namespace bobbin
