// The exceptions that Bobbin throws. Every message names the operation and its arguments, and says how to
// correct the call:
//   matmul: inner dimensions must agree; got f32[1,2] and f32[3,1]
#pragma once
#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>

namespace bobbin {

/// Base of all exceptions of Bobbin.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Ranks, sizes or axes that do not fit together.
struct ShapeError : Error {
  using Error::Error;
};
/// A dtype the operation does not take, or dtypes that differ.
struct DTypeError : Error {
  using Error::Error;
};
/// Tensors on different devices, or a device that does not exist.
struct DeviceError : Error {
  using Error::Error;
};
/// An index outside its dimension.
struct IndexError : Error {
  using Error::Error;
};
/// An argument outside its documented domain.
struct ValueError : Error {
  using Error::Error;
};
/// Misuse of the tape: a second backward, an edited saved tensor, a loss that needs no gradient.
struct GradError : Error {
  using Error::Error;
};
/// NaN or Inf found by the anomaly mode.
struct AnomalyError : Error {
  using Error::Error;
};
/// A file whose contents do not follow its format.
struct FormatError : Error {
  using Error::Error;
};
/// A file that cannot be opened, read or written.
struct IoError : Error {
  using Error::Error;
};
/// A device has no memory for an allocation.
struct OutOfMemory : Error {
  using Error::Error;
};
/// A CUDA or cuBLAS call that failed.
struct CudaError : Error {
  using Error::Error;
};

/// A GPU that can no longer be used by this process: a kernel faulted, or the device went away.
struct DeviceLost : CudaError {
  using CudaError::CudaError;
};

/// Throws E with the streamed parts as its message. Numbers do not follow the locale.
template<class E, class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  message.imbue(std::locale::classic());
  (message << ... << parts);
  throw E(message.str());
}

}  // namespace bobbin
