// Functions of one number with their first and second derivatives, in closed form, in long double.
#pragma once
#include <bobbin/tensor.h>

#include <span>
#include <string_view>

namespace bobbin::gradcheck_detail {

/// A number wider than f64.
using Wide = long double;

struct ScalarFunction {
  std::string_view op, note;
  Tensor (*call)(const Tensor& x);  ///< x has one dimension
  Wide (*value)(Wide);
  Wide (*slope)(Wide);
  Wide (*curvature)(Wide);
  /// The numbers that it is defined for; it is also judged at those of +-infinity that lie here.
  double low, high;
  /// The exponent of an exponential factor that is a rounded polynomial, which costs as many units as it is
  /// large, from this order of derivative on; null: none.
  Wide (*exponent)(Wide) = nullptr;
  int from_order = 0;
};
std::span<const ScalarFunction> scalar_functions();

}  // namespace bobbin::gradcheck_detail
