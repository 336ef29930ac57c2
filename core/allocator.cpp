#include <bobbin/allocator.h>
#include <bobbin/error.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

namespace bobbin {
namespace {

std::atomic<bool> poison = false;

// Sizes are rounded up to one of eight steps a power of two, so that a cached block fits many requests and at
// most an eighth is wasted.
struct SizeClass {
  std::size_t index, bytes;
  explicit SizeClass(std::size_t wanted) {
    const std::size_t power = std::bit_floor(std::max<std::size_t>(wanted - 1, 256));
    const std::size_t step = std::max<std::size_t>(power / 8, 64), steps = (wanted + step - 1) / step;
    bytes = steps * step;
    index = static_cast<std::size_t>(std::countr_zero(power)) * 8 + steps;
  }
  static constexpr std::size_t count = 64 * 8 + 17;
};

class CpuAllocator final : public Allocator {
 public:
  void* allocate(std::size_t bytes) override {
    if (bytes == 0) return nullptr;
    if (bytes > (std::size_t{1} << 62)) out_of_memory(bytes);
    const SizeClass block(bytes);
    std::lock_guard lock(mutex_);
    void* p = nullptr;
    if (auto& list = cache_[block.index]; !list.empty()) {
      p = list.back();
      list.pop_back();
      stats_.bytes_cached -= static_cast<std::int64_t>(block.bytes);
    } else {
      p = from_system(block.bytes);
    }
    stats_.bytes_live += static_cast<std::int64_t>(block.bytes);
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_live);
    return p;
  }

  void deallocate(void* p, std::size_t bytes) noexcept override {
    if (!p) return;
    const SizeClass block(bytes);
    std::lock_guard lock(mutex_);
    stats_.bytes_live -= static_cast<std::int64_t>(block.bytes);
    if (caching_) {
      try {
        cache_[block.index].push_back(p);
        stats_.bytes_cached += static_cast<std::int64_t>(block.bytes);
        return;
      } catch (const std::bad_alloc&) {  // no room to remember it: give it back
      }
    }
    ++stats_.system_calls;
    std::free(p);
  }

  AllocatorStats stats() const override {
    std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() override {
    std::lock_guard lock(mutex_);
    stats_.bytes_peak = stats_.bytes_live;
  }
  void release_cached() override {
    std::lock_guard lock(mutex_);
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
    for (auto& list : cache_) {
      for (void* p : list) std::free(p);
      stats_.system_calls += static_cast<std::int64_t>(list.size());
      list.clear();
    }
    stats_.bytes_cached = 0;
  }
  [[noreturn]] void out_of_memory(std::size_t bytes) const {
    fail<OutOfMemory>("cpu: no memory for ", bytes, " bytes; ", stats_.bytes_live,
                      " bytes are in live tensors");
  }

  mutable std::mutex mutex_;
  std::array<std::vector<void*>, SizeClass::count> cache_;
  AllocatorStats stats_;
  // BOBBIN_CACHE=0 lets memory checkers see every block.
  const bool caching_ = [] {
    const char* v = std::getenv("BOBBIN_CACHE");
    return !v || std::string_view(v) != "0";
  }();
};

}  // namespace

Allocator& allocator(Device d) {
  require(d);
  static auto& cpu = *new CpuAllocator;  // never destroyed: static tensors may outlive it
  return cpu;
}

void poison_allocations(bool on) { poison = on; }

Storage::Storage(std::size_t bytes, Device device)
    : data(allocator(device).allocate(bytes)), bytes(bytes), device(device) {
  if (poison && data) std::memset(data, 0xFF, bytes);
}
Storage::~Storage() { allocator(device).deallocate(data, bytes); }

}  // namespace bobbin
