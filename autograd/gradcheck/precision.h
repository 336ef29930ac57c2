// f32, the 16-bit types and the GPU, held against f64 on the CPU: every operation that ran, forward or in a
// derivative, runs once more on the same input bits, widened. Nothing here is differenced.
#pragma once
#include <bobbin/op.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace bobbin::gradcheck_detail {

// Bits of the mantissa, and the smallest exponent of a normal number.
struct Format {
  int bits, least;
};
Format format(DType);
double epsilon(DType);
/// A unit in the last place of v.
double ulp(DType, double v);
/// The largest magnitude that is finite.
double largest(const Tensor&);

/// What else the errors of an operation are measured by, besides each element.
enum class Scale {
  none,
  input,   ///< the largest input or result: its terms may cancel
  terms,   ///< 64 roundings of what it gives for |inputs|: a sum of (products of) inputs. TF32 is far outside
  stored,  ///< as input, in the dtype itself: it is made of operations that each round their result to it
};
struct Bound {
  double ulps;  ///< of the type computed in: f64, or f32 for narrower ones, which are then rounded once
  Scale scale = Scale::none;
};
/// The bound of an operation of the catalogue; 4 ULP where nothing is said of it.
Bound bound_of(std::string_view op);

/// Whether results of the exact f64 inputs x may lie this far from `want`, what the CPU makes of them in f64.
class Tolerance {
 public:
  /// `again` is the call, for |inputs| in place of x.
  Tolerance(Bound, Inputs x, const Tensor& want, DType, const std::function<Tensor(Inputs)>& again);
  bool operator()(std::size_t i, double got, double want) const { return error(i, got, want) <= 1; }
  /// |got - want| by what it may be: at most 1 where it is right.
  double error(std::size_t i, double got, double want) const;

 private:
  double narrowed(double v) const;

  Bound bound_;
  DType stored_, computed_;
  double most_ = 0;
  std::vector<double> terms_;
};

/// A result that is too far off.
struct Inexact {
  std::string op;
  bool derivative;  ///< of op, as a whole; else a run of op
  int input;        ///< whose gradient it is
  std::int64_t index;
  double got, want, ulps;
};
struct PrecisionReport {
  std::int64_t runs = 0, elements = 0;  ///< of operations; compared
  std::map<std::string, double> ulps;  ///< the worst of each operation's runs, in units of the result's dtype
  double worst = 0;                    ///< the largest error by what it may be
  std::vector<Inexact> failed;
  std::string skipped;  ///< why nothing could be compared
};
/// Calls the sample with its floating inputs as `dtype` on the device, and, where the sample has a derivative
/// and f takes it, walks back. For each operation on the way the result must be within its bound of f64 on
/// the CPU, and so must each derivative as a whole within 8 roundings of its largest term to the dtype.
PrecisionReport check_precision(const Sample&, bool differentiable, DType, Device);

/// What an operation's samples came to, in one dtype.
struct PrecisionRow {
  std::string op;
  DType dtype;
  int samples = 0;                   ///< compared
  std::vector<std::string> skipped;  ///< "note: why"
  std::vector<std::string> broken;   ///< "note: what": 20 walks that do not agree, and the like
  PrecisionReport total;
  bool ok() const { return total.failed.empty() && broken.empty(); }
};
/// All samples of all operations with floating-point inputs.
std::vector<PrecisionRow> compare_precision(std::span<const OpInfo>, DType, Device, std::uint64_t seed);
/// A line a row, then what failed.
void print(std::span<const PrecisionRow>, bool verbose);

}  // namespace bobbin::gradcheck_detail
