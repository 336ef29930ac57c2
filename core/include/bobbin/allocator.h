// The caching allocator: freed blocks are kept by size and handed out again, so that a training step in its
// steady state never asks the system for memory.
#pragma once
#include <bobbin/device.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace bobbin {

/// What an allocator holds and did, in bytes and calls.
struct AllocatorStats {
  std::int64_t bytes_live = 0;    ///< in blocks that tensors hold now
  std::int64_t bytes_peak = 0;    ///< the most bytes_live has been since the last reset_peak
  std::int64_t bytes_cached = 0;  ///< in freed blocks kept for the next request
  std::int64_t system_calls = 0;  ///< times the system was asked for memory, or given it back
};

/// Gives out the memory of a device. All members may be called from several threads at once.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// At least `bytes` bytes, aligned to 64 (on a GPU to 256). Throws OutOfMemory. 0 bytes give nullptr.
  virtual void* allocate(std::size_t bytes) = 0;
  /// Takes back what allocate(bytes) gave.
  virtual void deallocate(void*, std::size_t bytes) noexcept = 0;
  /// What it holds now.
  virtual AllocatorStats stats() const = 0;
  /// Sets bytes_peak to bytes_live.
  virtual void reset_peak() = 0;
  /// Gives every cached block back to the system.
  virtual void release_cached() = 0;
};

/// The allocator of a device; lives as long as the process. A GPU's is ordered by stream: what is freed is
/// handed out again to work enqueued later on the same stream.
Allocator& allocator(Device = {});

/// While on, every block handed out is filled with 0xFF bytes (NaN as a float), so that an element a kernel
/// forgets to write shows. For tests.
void poison_allocations(bool on);
/// While on, every block that this thread is handed lies between bands of known bytes, which are looked at
/// when it is freed. For tests: looking at a GPU's waits for it.
void guard_allocations(bool on);
/// Blocks whose bands were written to, of those that this thread freed.
std::int64_t damaged_guards();

/// The memory of one tensor and its views, with a count of in-place edits.
struct Storage {
  /// Uninitialised memory of the device's allocator. Throws OutOfMemory or DeviceError.
  Storage(std::size_t bytes, Device device);
  /// On the CPU, memory that `owner` keeps.
  Storage(void* data, std::size_t bytes, std::shared_ptr<const void> owner);
  ~Storage();  ///< gives the memory back
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data;                 ///< null where there are no bytes
  std::size_t bytes;          ///< as asked for
  Device device;              ///< where data points to
  std::uint64_t version = 0;  ///< grows with every in-place edit; a saved tensor that sees it change throws

 private:
  bool guarded_ = false;
  std::shared_ptr<const void> owner_;
};

}  // namespace bobbin
