// The largest allowed difference between a result in a narrow type, or on the GPU, and the result in f64 on
// the CPU.
#pragma once
#include <bobbin/op.h>

#include <functional>
#include <string_view>
#include <vector>

namespace bobbin::gradcheck_detail {

// Bits of the mantissa, and the exponents of the smallest and the largest normal numbers.
struct Format {
  int bits, least;
  int most() const { return 1 - least; }
};
Format format(DType);
double epsilon(DType);
/// One unit in the last place of v.
double ulp(DType, double v);
/// The largest magnitude that is finite.
double largest(const Tensor&);

/// The number that the error of an operation may be relative to, besides each element.
enum class Scale {
  none,
  input,   ///< the largest input or result: terms of this size may cancel
  terms,   ///< 64 roundings of the result for |inputs|: a sum of (products of) inputs. TF32 exceeds this
  stored,  ///< as `input`, in ULP of the dtype: operations inside round their results to it
};
struct Bound {
  double ulps;  ///< ULP of the compute type: f64, or f32 for narrower types, which are then rounded once
  Scale scale = Scale::none;
};
/// The bound of an operation of the catalogue; 4 ULP for one that is not in the table.
Bound bound_of(std::string_view op);

/// Judges results for the exact f64 inputs x by their difference from `want`, the result in f64 on the CPU.
class Tolerance {
 public:
  /// `again` calls the operation, for |inputs| in place of x.
  Tolerance(Bound, Inputs x, const Tensor& want, DType, const std::function<Tensor(Inputs)>& again);
  bool operator()(std::size_t i, double got, double want) const { return error(i, got, want) <= 1; }
  /// |got - want| divided by the allowed difference: at most 1 if the result is right.
  double error(std::size_t i, double got, double want) const;

 private:
  double narrowed(double v) const;

  Bound bound_;
  DType stored_, computed_;
  double most_ = 0;
  std::vector<double> terms_;
};

}  // namespace bobbin::gradcheck_detail
