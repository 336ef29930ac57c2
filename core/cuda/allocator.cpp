// The caching allocator of a GPU. Each stream has a pool of freed blocks. A block returns to its pool as soon
// as the host frees it, although kernels may still use it: work that is enqueued later on the same stream
// runs later. Each captured graph has a separate pool, so that no other work gets memory that its replays
// use.
#include <bobbin/allocator.h>
#include <bobbin/error.h>

#include <array>
#include <mutex>
#include <unordered_map>

#include "core/block_cache.h"
#include "core/cuda/backend.h"
#include "core/cuda/capture.h"
#include "core/cuda/runtime.h"

namespace bobbin::cuda {

struct Pool {
  BlockCache cache;
  bool of_graph = false;
  struct Held {
    void* block;
    std::size_t bytes;
    Pool* from;
  };
  // Blocks of other pools that were freed while the graph was captured: its replays may use them.
  std::vector<Held> held;
};

namespace {

thread_local Pool* graph_pool = nullptr;

class DeviceAllocator final : public Allocator {
 public:
  explicit DeviceAllocator(Device d) : device_(d) {}

  void* allocate(std::size_t bytes) override {
    if (bytes == 0) return nullptr;
    if (bytes > (std::size_t{1} << 62)) out_of_memory(bytes);
    const SizeClass block = class_of(bytes);
    const cudaStream_t on = stream(device_);
    std::lock_guard lock(mutex_);
    Pool* pool = graph_pool ? graph_pool : &pools_[on];
    void* p = pool->cache.take(block);
    if (!p) p = from_system(block.bytes);
    live_.emplace(p, pool);
    stats_.bytes_live += static_cast<std::int64_t>(block.bytes);
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_live);
    return p;
  }

  void deallocate(void* p, std::size_t bytes) noexcept override {
    if (!p) return;
    const SizeClass block = class_of(bytes);
    std::lock_guard lock(mutex_);
    const auto it = live_.find(p);
    Pool* pool = it->second;
    live_.erase(it);
    stats_.bytes_live -= static_cast<std::int64_t>(block.bytes);
    if (graph_pool && pool != graph_pool)
      graph_pool->held.push_back({p, bytes, pool});
    else if ((caching_ || pool->of_graph) && pool->cache.put(block, p))
      return;
    else
      to_system(p);
  }

  AllocatorStats stats() const override {
    std::lock_guard lock(mutex_);
    AllocatorStats stats = stats_;
    for (auto& [stream, pool] : pools_) stats.bytes_cached += static_cast<std::int64_t>(pool.cache.bytes());
    return stats;
  }
  void reset_peak() override {
    std::lock_guard lock(mutex_);
    stats_.bytes_peak = stats_.bytes_live;
  }
  void release_cached() override {
    std::lock_guard lock(mutex_);
    release();
  }

  Pool* new_graph_pool() {
    std::lock_guard lock(mutex_);
    graph_pools_.push_back(std::make_unique<Pool>());
    graph_pools_.back()->of_graph = true;
    return graph_pools_.back().get();
  }
  /// Gives a graph's memory to the pool of stream `heir`: blocks that are free now, and blocks that are freed
  /// later.
  void hand_over(Pool* pool, cudaStream_t heir) {
    std::lock_guard lock(mutex_);
    Pool* to = &pools_[heir];
    for (auto& [p, owner] : live_)
      if (owner == pool) owner = to;
    for (auto& other : graph_pools_)
      for (auto& h : other->held)
        if (h.from == pool) h.from = to;
    for (auto& h : pool->held)
      if (!h.from->cache.put(class_of(h.bytes), h.block)) to_system(h.block);
    to->cache.absorb(pool->cache);
    if (!caching_) to->cache.drain([this](void* p) { to_system(p); });
    std::erase_if(graph_pools_, [pool](auto& p) { return p.get() == pool; });
  }

 private:
  // Without the cache, blocks have exactly the requested size, so that a memory checker finds any access
  // beyond it.
  SizeClass class_of(std::size_t bytes) const {
    SizeClass c(bytes, 512);
    if (!caching_) c.bytes = bytes;
    return c;
  }
  void* from_system(std::size_t bytes) {
    const DeviceGuard use(device_);
    void* p = nullptr;
    for (int attempt = 0; attempt < 2; ++attempt) {
      ++stats_.system_calls;
      const cudaError_t e = cudaMalloc(&p, bytes);
      if (e == cudaSuccess) return p;
      if (e != cudaErrorMemoryAllocation) check(e, "cuda allocator");
      cudaGetLastError();
      if (attempt == 0) release();
    }
    out_of_memory(bytes);
  }
  void to_system(void* p) noexcept {
    int before = 0;
    cudaGetDevice(&before);
    cudaSetDevice(device_.index);
    ++stats_.system_calls;
    cudaFree(p);  // waits for the kernels that use the block
    cudaSetDevice(before);
  }
  void release() {
    for (auto& [stream, pool] : pools_) pool.cache.drain([this](void* p) { to_system(p); });
  }
  [[noreturn]] void out_of_memory(std::size_t bytes) const {
    std::size_t free = 0, total = 0;
    const DeviceGuard use(device_);
    cudaMemGetInfo(&free, &total);
    fail<OutOfMemory>(device_, ": no memory for ", bytes, " bytes; ", stats_.bytes_live,
                      " bytes are in live tensors, and ", free, " of the GPU's ", total, " are free");
  }

  const Device device_;
  mutable std::mutex mutex_;
  std::unordered_map<cudaStream_t, Pool> pools_;
  std::vector<std::unique_ptr<Pool>> graph_pools_;
  std::unordered_map<void*, Pool*> live_;
  AllocatorStats stats_;
  const bool caching_ = BlockCache::wanted();
};

DeviceAllocator& allocator_of(Device d) {
  static std::array<DeviceAllocator*, 64> all{};
  static std::array<std::once_flag, 64> made;
  const auto i = static_cast<std::size_t>(d.index);
  std::call_once(made[i], [&] { all[i] = new DeviceAllocator(d); });  // static tensors may outlive it
  return *all[i];
}

}  // namespace

Allocator& allocator(Device d) { return allocator_of(d); }

Pool* begin_pool(Device d) { return graph_pool = allocator_of(d).new_graph_pool(); }
void end_pool() { graph_pool = nullptr; }
void release_pool(Device d, Pool* pool) { allocator_of(d).hand_over(pool, stream(d)); }

}  // namespace bobbin::cuda
