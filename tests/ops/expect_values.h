// expect_values: a tensor's elements against numbers, where NaN equals NaN.
#pragma once
#include <bobbin/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

inline void expect_values(const bobbin::Tensor& t, const std::vector<double>& expected,
                          double tolerance = 0) {
  const auto got = t.to_vector<double>();
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(expected[i]))
      EXPECT_TRUE(std::isnan(got[i])) << i << ": " << got[i];
    else if (std::isinf(expected[i]))
      EXPECT_EQ(got[i], expected[i]) << i;
    else
      EXPECT_NEAR(got[i], expected[i], tolerance * (1 + std::abs(expected[i]))) << i;
  }
}
