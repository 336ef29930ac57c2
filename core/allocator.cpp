// The caching allocator of the CPU, and Storage, which holds the memory of a tensor.
#include <bobbin/allocator.h>
#include <bobbin/error.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "core/block_cache.h"
#include "core/cuda/backend.h"
#include "core/fork.h"

namespace bobbin {
namespace {

std::atomic<bool> poison = false;
thread_local bool guard = false;
thread_local std::int64_t damaged = 0;

std::mutex cpu_mutex;  // of the CPU's allocator

class CpuAllocator final : public Allocator {
 public:
  CpuAllocator() { hold_during_fork<cpu_mutex>(); }
  void* allocate(std::size_t bytes) override {
    if (bytes == 0) return nullptr;
    if (bytes > (std::size_t{1} << 62)) out_of_memory(bytes);
    const SizeClass block(bytes, 64);
    std::lock_guard lock(cpu_mutex);
    void* p = cache_.take(block);
    if (!p) p = from_system(block.bytes);
    stats_.bytes_live += static_cast<std::int64_t>(block.bytes);
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_live);
    return p;
  }

  void deallocate(void* p, std::size_t bytes) noexcept override {
    if (!p) return;
    const SizeClass block(bytes, 64);
    std::lock_guard lock(cpu_mutex);
    stats_.bytes_live -= static_cast<std::int64_t>(block.bytes);
    if (caching_ && cache_.put(block, p)) return;
    ++stats_.system_calls;
    std::free(p);
  }

  AllocatorStats stats() const override {
    std::lock_guard lock(cpu_mutex);
    AllocatorStats stats = stats_;
    stats.bytes_cached = static_cast<std::int64_t>(cache_.bytes());
    return stats;
  }
  void reset_peak() override {
    std::lock_guard lock(cpu_mutex);
    stats_.bytes_peak = stats_.bytes_live;
  }
  void release_cached() override {
    std::lock_guard lock(cpu_mutex);
    release();
  }

 private:
  void* from_system(std::size_t block) {
    ++stats_.system_calls;
    if (void* p = std::aligned_alloc(64, block)) return p;
    release();
    ++stats_.system_calls;
    if (void* p = std::aligned_alloc(64, block)) return p;
    out_of_memory(block);
  }
  void release() {
    cache_.drain([this](void* p) {
      std::free(p);
      ++stats_.system_calls;
    });
  }
  [[noreturn]] void out_of_memory(std::size_t bytes) const {
    fail<OutOfMemory>("cpu: no memory for ", bytes, " bytes; ", stats_.bytes_live,
                      " bytes are in live tensors");
  }

  BlockCache cache_;
  AllocatorStats stats_;
  const bool caching_ = BlockCache::wanted();
};

// A guarded block has this many known bytes before it and after it; guard_value is the known byte.
constexpr std::size_t guard_bytes = 256;
constexpr int guard_value = 0xA5;

void set_bytes(Device device, void* p, int value, std::size_t n) {
  if (device.is_cuda()) return cuda::memset_async(device, p, value, n);
  std::memset(p, value, n);
}

bool intact(Device device, const void* p) {
  unsigned char band[guard_bytes];
  if (device.is_cuda())
    cuda::memcpy_to_host(device, p, band, guard_bytes);
  else
    std::memcpy(band, p, guard_bytes);
  return std::all_of(band, band + guard_bytes, [](unsigned char b) { return b == guard_value; });
}

}  // namespace

Allocator& allocator(Device d) {
  require(d);
  if (d.is_cuda()) return cuda::allocator(d);
  static auto& cpu = *new CpuAllocator;  // never destroyed: static tensors may still free memory at exit
  return cpu;
}

void poison_allocations(bool on) { poison = on; }
void guard_allocations(bool on) { guard = on; }
std::int64_t damaged_guards() { return damaged; }

Storage::Storage(std::size_t size, Device where)
    : data(nullptr), bytes(size), device(where), from_(guard && size > 0 ? From::guarded : From::allocator) {
  const std::size_t band = from_ == From::guarded ? guard_bytes : 0;
  auto* block = static_cast<char*>(allocator(device).allocate(size + 2 * band));
  data = block + band;
  if (poison && size) set_bytes(device, data, 0xFF, size);
  if (from_ != From::guarded) return;
  set_bytes(device, block, guard_value, band);
  set_bytes(device, block + band + size, guard_value, band);
}

Storage::Storage(void* memory, std::size_t size, std::shared_ptr<const void> owner)
    : data(memory), bytes(size), device(Device::cpu()), from_(From::caller), owner_(std::move(owner)) {}

Storage::~Storage() {
  if (from_ == From::caller) return;
  auto* block = static_cast<char*>(data);
  if (from_ == From::allocator) {
    allocator(device).deallocate(block, bytes);
    return;
  }
  try {
    damaged += !intact(device, block - guard_bytes) || !intact(device, block + bytes);
  } catch (const Error&) {  // the device is lost: nothing can be checked
  }
  allocator(device).deallocate(block - guard_bytes, bytes + 2 * guard_bytes);
}

}  // namespace bobbin
