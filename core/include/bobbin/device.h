// Device: where the elements of a tensor are, the CPU or a GPU.
#pragma once
#include <bobbin/config.h>

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>

namespace bobbin {

/// The CPU, or one of the GPUs.
struct Device {
  /// The kinds of devices.
  enum class Kind : std::uint8_t {
    cpu,   ///< the host
    cuda,  ///< an NVIDIA GPU
  };
  Kind kind = Kind::cpu;   ///< the CPU by default
  std::int16_t index = 0;  ///< which GPU; 0 for the CPU

  /// The CPU.
  static constexpr Device cpu() { return {}; }
  /// GPU `index`. Does not check that there is one; see require().
  static constexpr Device cuda(int index = 0) { return {Kind::cuda, static_cast<std::int16_t>(index)}; }
  /// Reads "cpu", "cuda" or "cuda:N"; throws ValueError on anything else.
  static Device parse(std::string_view);

  /// Whether it is the CPU.
  constexpr bool is_cpu() const { return kind == Kind::cpu; }
  /// Whether it is a GPU.
  constexpr bool is_cuda() const { return kind == Kind::cuda; }
  /// Whether both are the same.
  friend constexpr bool operator==(Device, Device) = default;
};

/// Writes "cpu" or "cuda:0".
std::ostream& operator<<(std::ostream&, Device);

/// Whether a CUDA device can be used now. If not, writes the reason to `why`, unless it is null.
bool cuda_available(std::string* why = nullptr);

/// How many GPUs can be used now; 0 where cuda_available is false.
int device_count();

/// Waits until all work that this thread enqueued on d is done; returns at once for the CPU. Throws the
/// errors that kernels reported: IndexError, CudaError, DeviceLost.
void synchronize(Device d);
/// How often the host has waited for a GPU so far, in this process.
std::int64_t synchronizations();

namespace detail {
void require_cuda(Device);
}

/// Throws DeviceError, with the reason, if d cannot be used.
inline void require(Device d) {
  if (!d.is_cpu()) detail::require_cuda(d);
}

}  // namespace bobbin
