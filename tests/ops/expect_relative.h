// expect_relative: a tensor's elements against exact numbers, with an error in units of the dtype's rounding.
#pragma once
#include <bobbin/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

/// The largest relative error of rounding to a dtype.
inline double unit_roundoff(bobbin::DType t) {
  using bobbin::DType;
  return t == DType::f64 ? 0x1p-53 : t == DType::f32 ? 0x1p-24 : t == DType::f16 ? 0x1p-11 : 0x1p-8;
}
/// The smallest positive number, or for f64 and f32 the smallest normal one.
inline double smallest(bobbin::DType t) {
  using bobbin::DType;
  return t == DType::f64 ? 0x1p-1022 : t == DType::f16 ? 0x1p-24 : 0x1p-126;
}

/// Each element may be off by `places` relative rounding errors.
inline void expect_relative(const bobbin::Tensor& got, const std::vector<long double>& want, double places,
                            const std::string& what) {
  const auto y = got.to_vector<double>();
  ASSERT_EQ(y.size(), want.size()) << what;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (std::isnan(want[i]) || std::isinf(want[i])) {
      EXPECT_TRUE(std::isnan(want[i]) ? std::isnan(y[i]) : y[i] == want[i])
          << what << ", element " << i << ": " << y[i];
      continue;
    }
    EXPECT_LE(std::abs(y[i] - want[i]),
              places * unit_roundoff(got.dtype()) * std::abs(want[i]) + smallest(got.dtype()))
        << what << ": element " << i << " is " << y[i] << ", exactly " << want[i];
  }
}
