// The caching allocator of a device, and the memory of a tensor. Freed blocks are kept by size and used
// again, so a repeated training step allocates no memory from the system.
#pragma once
#include <bobbin/device.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace bobbin {

/// Statistics of an allocator, in bytes and calls.
struct AllocatorStats {
  std::int64_t bytes_live = 0;    ///< in blocks that are in use
  std::int64_t bytes_peak = 0;    ///< the largest bytes_live since the last reset_peak
  std::int64_t bytes_cached = 0;  ///< in freed blocks that are kept
  std::int64_t system_calls = 0;  ///< allocations from the system, and blocks returned to it
};

/// Allocates the memory of a device. All members may be called by several threads at once.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// At least `bytes` bytes, aligned to 64 (on a GPU to 256). Throws OutOfMemory. 0 bytes give nullptr.
  virtual void* allocate(std::size_t bytes) = 0;
  /// Frees a block of allocate(bytes), with the same `bytes`.
  virtual void deallocate(void*, std::size_t bytes) noexcept = 0;
  /// The present statistics.
  virtual AllocatorStats stats() const = 0;
  /// Sets bytes_peak to bytes_live.
  virtual void reset_peak() = 0;
  /// Returns every cached block to the system.
  virtual void release_cached() = 0;
};

/// The allocator of a device; it lives as long as the process. A GPU's allocator is ordered by stream: a
/// freed block is used again only for work that is enqueued later on the same stream.
Allocator& allocator(Device = {});

/// While on, every new block is filled with bytes 0xFF (NaN as a float), so that tests find elements that a
/// kernel does not write.
void poison_allocations(bool on);
/// While on, every new block of this thread has known bytes before and after it. They are checked when the
/// block is freed; for a block of a GPU this waits for the GPU. For tests.
void guard_allocations(bool on);
/// The number of blocks that this thread freed whose known bytes had been overwritten.
std::int64_t damaged_guards();

/// The memory of one tensor and its views, with a count of in-place edits.
struct Storage {
  /// Uninitialised memory of the device's allocator. Throws OutOfMemory or DeviceError.
  Storage(std::size_t bytes, Device device);
  /// Memory of the CPU that lives as long as `owner`; without an owner, the caller keeps it alive.
  Storage(void* data, std::size_t bytes, std::shared_ptr<const void> owner);
  ~Storage();  ///< frees the memory
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data;         ///< null if there are no bytes
  std::size_t bytes;  ///< the requested size
  Device device;      ///< where the memory is
  std::uint64_t version =
      0;  ///< the number of in-place edits; a derivative compares it with the number when it was recorded

 private:
  enum class From : std::uint8_t { allocator, guarded, caller };
  From from_;
  std::shared_ptr<const void> owner_;
};

}  // namespace bobbin
