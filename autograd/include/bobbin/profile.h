// The profiler: measures the time and the memory of each operation of a program:
//   Profiler profiler;
//   { const ProfileSpan step("step"); backward(loss(model(x), y)); }
//   std::cout << profiler.table();
//   profiler.write_trace("step.json");  // for ui.perfetto.dev or chrome://tracing
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bobbin {

/// A measured interval: an operation, the derivative of an operation, or a ProfileSpan.
struct ProfileEvent {
  std::string name;    ///< "conv2d", "conv2d's derivative", or the name of the span
  std::string inputs;  ///< the specs of the inputs; empty for a span
  double start_us;     ///< microseconds since the profiler began
  double host_us;      ///< microseconds of the thread; for an operation on a GPU, of enqueuing it
  double device_us;    ///< microseconds of the GPU; 0 on a CPU and in a captured step
  double self_us;      ///< host_us minus that of the events inside
  std::int64_t bytes;  ///< live bytes of the device's allocator at the end, minus those at the start
  std::int64_t live;   ///< live bytes at the end
  int depth;           ///< the number of events around this one
};

/// RAII: measures all operations of this thread during its lifetime. Costs one or two microseconds per
/// operation, and on a GPU two CUDA events. Profilers nest, and each measures; they may end in any order, on
/// the thread that began them.
class Profiler {
 public:
  /// Starts to measure.
  Profiler();
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// All events that have ended, in the order of their ends. Waits for the GPU.
  std::vector<ProfileEvent> events() const;
  /// A table with one line per operation, the slowest first: calls, self time, its share, GPU time, bytes.
  std::string table() const;
  /// Writes a file in Chrome's trace format, with a track of memory. Throws IoError.
  void write_trace(const std::filesystem::path&) const;

 private:
  friend class ProfileSpan;
  struct Recorder;
  std::shared_ptr<Recorder> recorder_;
};

/// RAII: records a named event of the innermost profiler for its lifetime; does nothing without a profiler,
/// or once that has ended.
class ProfileSpan {
 public:
  /// Starts the event; copies `name`.
  explicit ProfileSpan(std::string_view name);
  ~ProfileSpan();
  ProfileSpan(const ProfileSpan&) = delete;
  ProfileSpan& operator=(const ProfileSpan&) = delete;

 private:
  std::weak_ptr<Profiler::Recorder> recorder_;
  std::uint64_t event_ = 0;
};

}  // namespace bobbin
