// Judges the value and the whole derivatives of a call in one dtype by those of a wider one.
#pragma once
#include <bobbin/gradcheck.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "autograd/gradcheck/edges/evaluation.h"

namespace bobbin::gradcheck_detail {

/// How far results may be off, in roundings to the dtype.
struct Allowed {
  double value = 16, derivative = 16;
  /// Whether each element is judged by its own size, or else by at least the largest of its tensor; for
  /// operations on elements, by at least a sixteenth of the largest.
  bool own_size = false;
  /// Whether all inputs are finite: then an infinity that is wanted is an overflow.
  bool finite = false;
  double natural = 0;  ///< further roundings, for derivatives, of the value by the size of the input
  /// Whether an infinity and NaN stand for each other: where an operation is given what can be no result of
  /// the one that it is the derivative of, an infinite probability.
  bool any_special = false;
  /// Whether f32 results below 2^-126 may be 0, as the exponentials of the softmax family are on a GPU.
  bool flushes = false;
};

/// What differs by operation and device: Allowed::any_special and flushes.
Allowed allowed_for(std::string_view op, Device, Allowed);

/// Whether the operation is in ops/elementwise/list.h.
bool is_elementwise(std::string_view op);
/// The smallest magnitude that rounds to infinity in d; infinity for f64.
double overflow_threshold(DType d);
/// The smallest positive number of d.
double smallest(DType d);

/// The largest finite magnitude of each floating tensor; 0 for the others.
std::vector<double> sizes_of(Inputs);

class Judge {
 public:
  Judge(DType dtype, bool elementwise, Allowed allowed)
      : dtype_(dtype), elementwise_(elementwise), allowed_(allowed) {}
  /// Compares `got` with `want`, which has the same parts, of the same inputs. NaN in a part of `want` that
  /// is marked unknown is not judged. An infinity is right where the wanted number does not fit the dtype.
  /// Derivatives are not judged where what they are derivatives of leaves the range of the dtype.
  /// From now on, judges second derivatives by at least the first times `weight` by the size of the input,
  /// given for each input: they may be 0 themselves. The sizes also serve Allowed::natural.
  void second_by_first(std::vector<double> sizes, double weight) {
    sizes_ = std::move(sizes), weight_ = weight;
  }
  /// Judges sums whose terms cancel by these, too: the parts that are wanted for inputs and cotangents that
  /// differ by a rounding. Called where a result would be wrong otherwise.
  void nudged_by(std::function<std::vector<Part>(std::uint64_t signs)> parts) { nudged_ = std::move(parts); }
  /// From this order on, element i may be off by as many units as exponents[i] is large, too.
  void exponents(int from_order, std::vector<double> sizes) {
    from_order_ = from_order, exponents_ = std::move(sizes);
  }
  void operator()(std::span<const Part> got, std::span<const Part> want, const std::string& circumstances);
  /// What was found, the worst first.
  GradcheckReport report() &&;
  /// Elements of `want` with this value are not judged.
  static double unknown();

 private:
  // What lower orders say of a part: where they leave the range of the dtype (elements of an operation on
  // elements, or else of any), whether some are subnormal, and the size of the terms that it sums.
  struct Before {
    std::vector<char> over;
    bool under = false;
    double terms = 0, natural = 0, weight = 1;
    std::function<double()> spread;  // the largest difference that a rounding of the inputs makes
  };
  double terms(const Part& second, std::span<const Part> all) const;
  void compare(const Part& got, const Part& want, const Before& before, const std::string& circumstances);

  DType dtype_;
  bool elementwise_;
  Allowed allowed_;
  std::vector<double> sizes_;
  double weight_ = 0;
  std::function<std::vector<Part>(std::uint64_t)> nudged_;
  int from_order_ = 0;
  std::vector<double> exponents_;
  GradcheckReport report_;
};

}  // namespace bobbin::gradcheck_detail
