// For the tests of picking and adding by index on a GPU: the fixture, inputs in any layout, comparison.
#pragma once
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "tests/cuda/cuda_fixture.h"

namespace bobbin::test {

inline constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                       DType::i64, DType::i32, DType::u8,   DType::boolean};

using CudaIndex = SeededCuda<31>;

inline Tensor values(const Shape& shape, DType dtype) {
  if (is_floating(dtype)) return to(randn(shape, DType::f64) * 3, dtype);
  return to(randint(0, dtype == DType::boolean ? 2 : 256, shape), dtype);
}

// One tensor on both devices.
struct Both {
  Tensor cpu, gpu;
};

inline Both both(const Tensor& x) { return {x, to(x, gpu)}; }

enum class View { plain, transposed, stepped, expanded };
inline constexpr View all_views[] = {View::plain, View::transposed, View::stepped, View::expanded};

// A tensor of that shape seen through a view, made of what draw(shape) gives.
inline Both seen(View view, Shape shape, const std::function<Tensor(const Shape&)>& draw) {
  if (shape.empty()) return both(draw(shape));
  const int last = shape.size() - 1;
  Axes reversed;
  for (int i = last; i >= 0; --i) reversed.push_back(i);
  Shape base = shape;
  switch (view) {
    case View::plain:
      break;
    case View::transposed:
      for (int i = 0; i <= last; ++i) base[i] = shape[last - i];
      break;
    case View::stepped:
      base[last] = 2 * shape[last] + 1;
      break;
    case View::expanded:
      base[0] = 1;
      break;
  }
  const auto look = [&](const Tensor& x) {
    switch (view) {
      case View::transposed:
        return permute(x, reversed);
      case View::stepped:
        return slice(x, last, 1, base[last], 2);
      case View::expanded:
        return expand(x, shape);
      default:
        return x;
    }
  };
  const Both b = both(draw(base));
  return {look(b.cpu), look(b.gpu)};
}

inline void expect_same(const Tensor& got, const Tensor& want, const std::string& what) {
  ASSERT_EQ(got.device(), gpu) << what;
  ASSERT_EQ(got.shape(), want.shape()) << what;
  ASSERT_EQ(got.dtype(), want.dtype()) << what;
  const Tensor a = to(got, Device::cpu()), b = contiguous(want);
  const auto bytes = static_cast<std::size_t>(b.numel() * size_of(b.dtype()));
  if (bytes == 0 || std::memcmp(a.raw(), b.raw(), bytes) == 0) return;
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(x[i], y[i]) << what << ": element " << i << " of " << want.spec();
  FAIL() << what << ": other bits";
}

}  // namespace bobbin::test
