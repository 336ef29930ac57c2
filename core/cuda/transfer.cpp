// Copies between the host and a GPU, and between GPUs. Pageable host memory is copied through pinned buffers:
// a copy to the device is only enqueued, and the host waits only while all buffers are in use by earlier
// copies.
#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <vector>

#include "core/cuda/backend.h"
#include "core/cuda/replay_arg.h"
#include "core/cuda/runtime.h"
#include "core/strided_copy.h"

namespace bobbin::cuda {
namespace {

// Pinned buffers (slots) that are used in turn. Each has an event that completes with its last copy.
class Ring {
 public:
  Ring(std::size_t slots, std::size_t bytes) : slots_(slots), bytes_(bytes) {
    check(cudaHostAlloc(&memory_, slots * bytes, cudaHostAllocPortable), "cuda staging");
    for (auto& s : slots_) check(cudaEventCreateWithFlags(&s, cudaEventDisableTiming), "cuda staging");
  }
  std::size_t slot_bytes() const { return bytes_; }
  struct Slot {
    char* memory;
    cudaEvent_t event;
  };
  /// The next slot, once its last copy is done.
  Slot next() {
    const std::size_t i = turn_++ % slots_.size();
    check(cudaEventSynchronize(slots_[i]), "cuda staging");
    return {static_cast<char*>(memory_) + i * bytes_, slots_[i]};
  }

 private:
  std::vector<cudaEvent_t> slots_;
  std::size_t bytes_, turn_ = 0;
  void* memory_ = nullptr;
};

// The buffers of one device. The mutex is held during a whole copy.
struct Staging {
  std::mutex mutex;
  Ring small{128, 8 << 10}, large{4, 4 << 20};
  Ring& for_bytes(std::size_t n) { return n <= small.slot_bytes() ? small : large; }
};

Staging& staging(Device d) {
  static std::array<Staging*, 64> all{};
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  Staging*& s = all[static_cast<std::size_t>(d.index)];
  if (!s) {
    const DeviceGuard use(d);
    s = new Staging;
  }
  return *s;
}

std::size_t bytes_of(const Tensor& x) { return static_cast<std::size_t>(x.numel() * size_of(x.dtype())); }

void to_device(const void* host, const Tensor& y) {
  const Device d = y.device();
  if (capturing())
    fail<Error>("copy to ", d,
                ": a captured step would repeat the copy from memory that is gone by then; make ", y.spec(),
                " before the step");
  const DeviceGuard use(d);
  Staging& s = staging(d);
  std::lock_guard lock(s.mutex);
  Ring& ring = s.for_bytes(bytes_of(y));
  const auto* from = static_cast<const char*>(host);
  auto* to = y.raw<char>();
  for (std::size_t at = 0, n = bytes_of(y); at < n; at += ring.slot_bytes()) {
    const std::size_t part = std::min(ring.slot_bytes(), n - at);
    const auto slot = ring.next();
    std::memcpy(slot.memory, from + at, part);
    check(cudaMemcpyAsync(to + at, slot.memory, part, cudaMemcpyHostToDevice, stream(d)), "copy to the GPU");
    check(cudaEventRecord(slot.event, stream(d)), "copy to the GPU");
  }
}

void to_host(Device d, const void* device, void* host, std::size_t n) {
  const DeviceGuard use(d);
  Staging& s = staging(d);
  std::lock_guard lock(s.mutex);
  Ring& ring = s.for_bytes(n);
  struct Part {
    Ring::Slot slot;
    std::size_t at, bytes;
  };
  const auto* from = static_cast<const char*>(device);
  auto* to = static_cast<char*>(host);
  std::vector<Part> flying;
  const auto land = [&] {
    const Part p = flying.front();
    flying.erase(flying.begin());
    check(cudaEventSynchronize(p.slot.event), "copy to the host");
    std::memcpy(to + p.at, p.slot.memory, p.bytes);
  };
  for (std::size_t at = 0; at < n; at += ring.slot_bytes()) {
    if (flying.size() == 3) land();  // copies one part out of its slot while the next parts are transferred
    const std::size_t part = std::min(ring.slot_bytes(), n - at);
    const auto slot = ring.next();
    check(cudaMemcpyAsync(slot.memory, from + at, part, cudaMemcpyDeviceToHost, stream(d)),
          "copy to the host");
    check(cudaEventRecord(slot.event, stream(d)), "copy to the host");
    flying.push_back({slot, at, part});
  }
  wait(d, "copy to the host");
  while (!flying.empty()) land();
}

}  // namespace

void copy_elements(const Tensor& x, const Tensor& y) {
  if (y.numel() == 0) return;
  const bool same = x.spec() == y.spec() || (x.shape() == y.shape() && x.dtype() == y.dtype());
  if (x.device() == y.device()) {
    copy_on_device(x, y);
  } else if (y.device().is_cpu()) {
    if (capturing()) wait(x.device(), "copy to the host");
    const Tensor there = row_major(x);
    if (same && y.is_contiguous()) return to_host(x.device(), there.raw(), y.raw(), bytes_of(there));
    const Tensor here = empty(x.shape(), x.dtype());
    to_host(x.device(), there.raw(), here.raw(), bytes_of(there));
    bobbin::copy_elements(here, y);
  } else {
    const Tensor straight = row_major(x);
    const Tensor there = same && y.is_contiguous() ? y : empty(x.shape(), x.dtype(), y.device());
    if (x.device().is_cpu()) {
      to_device(straight.raw(), there);
    } else {  // y's stream waits for x's; x's stream, which may reuse x's memory, waits for the copy
      const DeviceGuard use(x.device());
      cudaEvent_t event;
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "copy between GPUs");
      check(cudaEventRecord(event, stream(x.device())), "copy between GPUs");
      check(cudaStreamWaitEvent(stream(y.device()), event), "copy between GPUs");
      check(cudaMemcpyPeerAsync(there.raw(), y.device().index, straight.raw(), x.device().index, bytes_of(x),
                                stream(y.device())),
            "copy between GPUs");
      cudaEventDestroy(event);
      const DeviceGuard back(y.device());
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "copy between GPUs");
      check(cudaEventRecord(event, stream(y.device())), "copy between GPUs");
      check(cudaStreamWaitEvent(stream(x.device()), event), "copy between GPUs");
      cudaEventDestroy(event);
    }
    if (there.storage() != y.storage()) copy_on_device(there, y);
  }
}

void memset_async(Device d, void* p, int value, std::size_t n) {
  const DeviceGuard use(d);
  check(cudaMemsetAsync(p, value, n, stream(d)), "fill");
}

// Does not check Fault: the functions that wait for results do.
void memcpy_to_host(Device d, const void* p, void* host, std::size_t n) {
  const DeviceGuard use(d);
  check(cudaMemcpyAsync(host, p, n, cudaMemcpyDeviceToHost, stream(d)), "copy to the host");
  check(cudaStreamSynchronize(stream(d)), "copy to the host");
}

}  // namespace bobbin::cuda
