// Compares f32, the 16-bit types and the GPU with f64 on the CPU: every operation that ran, forward or in a
// derivative, runs again on the same input bits, widened. There are no finite differences here.
#pragma once
#include <bobbin/op.h>

#include <map>
#include <string>
#include <vector>

namespace bobbin::gradcheck_detail {

/// A result whose error is too large.
struct Inexact {
  std::string op;   ///< "the call" for a derivative of the whole sample
  bool derivative;  ///< whether it is the derivative of op as a whole, or else a run of op
  int input;        ///< for a derivative, the input whose gradient it is
  std::int64_t index;
  double got, want, ulps;
};
struct PrecisionReport {
  std::int64_t runs = 0, elements = 0;  ///< runs of operations; elements that were compared
  std::map<std::string, double> ulps;   ///< the largest error of each operation's runs, in ULP of the result
  double worst = 0;                     ///< the largest error divided by the allowed one
  std::vector<Inexact> failed;
  std::string skipped;  ///< why nothing could be compared
};
/// Calls the sample with its floating inputs as `dtype` on the device, and runs backward if the sample and
/// the operation have a derivative. The result of each operation in between must be within its bound of f64
/// on the CPU, and each derivative of an operation as a whole within 8 roundings to the dtype of its largest
/// term. The steps alone do not show what is lost between them: the gradients of the whole call, and their
/// gradients, must be within 16 roundings to a 16-bit type, or 64 to f32, of those in f64, or 4 of the value
/// by the size of the input.
PrecisionReport check_precision(const Sample&, bool differentiable, DType, Device);

/// The results of an operation's samples in one dtype.
struct PrecisionRow {
  std::string op;
  DType dtype;
  int samples = 0;                   ///< compared
  std::vector<std::string> skipped;  ///< "note: why"
  std::vector<std::string> broken;   ///< "note: what", for example 20 backward passes that do not agree
  PrecisionReport total;
  bool ok() const { return total.failed.empty() && broken.empty(); }
};
/// All samples of all operations with floating-point inputs, in each dtype. Uses `jobs` threads on the CPU.
std::vector<PrecisionRow> compare_precision(std::span<const OpInfo>, std::span<const DType>, Device,
                                            std::uint64_t seed, int jobs);
/// Prints each row, with what failed, and the sum.
void print(std::span<const PrecisionRow>, bool verbose);

}  // namespace bobbin::gradcheck_detail
