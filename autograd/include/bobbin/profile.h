// Where a program's time and memory go, operation by operation:
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

/// Something that ran from one time to another: an operation, the derivative of one, or a ProfileSpan.
struct ProfileEvent {
  std::string name;    ///< "conv2d", "conv2d's derivative", or the span's
  std::string inputs;  ///< their specs; empty for a span
  double start_us;     ///< microseconds since the profiler began
  double host_us;      ///< of the thread; on a GPU what enqueuing took
  double device_us;    ///< of the GPU; 0 on a CPU and in a captured step
  double self_us;      ///< host_us less that of events inside
  std::int64_t bytes;  ///< how many more bytes its device's allocator holds at its end than at its start
  std::int64_t live;   ///< bytes held at its end
  int depth;           ///< events around it
};

/// RAII: measures all operations of this thread during its lifetime. Costs a microsecond or two an operation,
/// and on a GPU two events each. Profilers nest; the innermost measures.
class Profiler {
 public:
  /// Begins.
  Profiler();
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// All that has ended, in the order of their ends. Waits for the GPU.
  std::vector<ProfileEvent> events() const;
  /// A line for each operation, the slowest first: calls, self time, its share, GPU time, bytes.
  std::string table() const;
  /// Chrome's trace format, with a track of memory. Throws IoError.
  void write_trace(const std::filesystem::path&) const;

 private:
  friend class ProfileSpan;
  struct Recorder;
  std::unique_ptr<Recorder> recorder_;
};

/// RAII: records a named event around all that runs during its lifetime; does nothing without a profiler.
class ProfileSpan {
 public:
  /// Begins; `name` is copied.
  explicit ProfileSpan(std::string_view name);
  ~ProfileSpan();
  ProfileSpan(const ProfileSpan&) = delete;
  ProfileSpan& operator=(const ProfileSpan&) = delete;

 private:
  Profiler::Recorder* recorder_;
};

}  // namespace bobbin
