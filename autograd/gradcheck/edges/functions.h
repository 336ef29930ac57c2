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
};
std::span<const ScalarFunction> scalar_functions();

}  // namespace bobbin::gradcheck_detail
