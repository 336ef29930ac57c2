// The largest allowed error of the result of an operation on a GPU.
#pragma once
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string_view>
#include <vector>

#include "autograd/gradcheck/precision/tolerance.h"

namespace bobbin::tests {

using gradcheck_detail::Bound, gradcheck_detail::bound_of, gradcheck_detail::epsilon,
    gradcheck_detail::format, gradcheck_detail::largest, gradcheck_detail::Scale, gradcheck_detail::Tolerance,
    gradcheck_detail::ulp;

using Tensors = std::vector<Tensor>;

template<class F>
Tensors mapped(std::span<const Tensor> xs, F&& f) {
  Tensors out;
  for (auto& x : xs) out.push_back(x ? f(x) : x);
  return out;
}

// close(i, got, want) says whether element i is what it should be.
template<class Close>
void expect_close(std::string_view what, const Tensor& got, const Tensor& want, const Close& close) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const auto x = got.to_vector<double>(), y = want.to_vector<double>();
  std::size_t wrong = 0, first = 0;
  for (std::size_t i = x.size(); i-- > 0;)
    if (!close(i, x[i], y[i])) ++wrong, first = i;
  EXPECT_EQ(wrong, 0u) << what << ": flat index " << first << " of " << x.size() << " is "
                       << ::testing::PrintToString(x[first]) << ", not "
                       << ::testing::PrintToString(y[first]);
}

inline void expect_same(std::string_view what, const Tensor& got, const Tensor& want) {
  EXPECT_EQ(got.dtype(), want.dtype()) << what;
  expect_close(what, got, want,
               [](std::size_t, double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); });
}

}  // namespace bobbin::tests
