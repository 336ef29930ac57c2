// Checks of products and convolutions whose sums are long, for every device: equal terms, whose rounding
// errors in one running sum all have the same sign, and random ones, against f64.
#pragma once
#include <bobbin/autograd.h>
#include <bobbin/ops.h>
#include <bobbin/random.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace bobbin::test {

// All elements of y are `want`, up to `relative` of it.
inline void expect_all(const Tensor& y, double want, double relative, const std::string& what) {
  for (const double v : {amax(y).item(), amin(y).item()})
    EXPECT_NEAR(v, want, std::abs(want) * relative) << what << " of " << y.spec();
}

constexpr double tenth = static_cast<double>(0.1F);

// Products of every kind, f32 and narrower, over more than `least` equal terms.
inline void expect_long_products(Device device, double relative, std::int64_t least) {
  const auto of = [&](const Shape& s, double v, DType d = DType::f32) { return full(s, v, d, device); };
  const auto product = [&](const Tensor& a, const Tensor& b, double want, const char* what) {
    if (a.size(-1) > least) expect_all(matmul(a, b), want, relative, what);
  };
  const std::int64_t longest = 10'000'000;
  product(of({1, longest}, tenth), of({longest, 1}, 1), tenth * 1e7, "row times column");
  product(of({1, longest}, tenth), of({longest, 1}, tenth), tenth * tenth * 1e7, "row times column, squares");
  product(transpose(of({longest, 1}, tenth)), transpose(of({1, longest}, 1)), tenth * 1e7, "transposed");
  for (const std::int64_t n : {8193, 100'000, 1'000'003}) {
    const double want = tenth * static_cast<double>(n);
    product(of({3, n}, tenth), of({n, 1}, 1), want, "rows times column");
    product(of({1, n}, tenth), of({n, 5}, 1), want, "row times matrix");
    product(transpose(of({n, 4}, tenth)), of({n, 1}, 1), want, "transposed rows times column");
    product(of({n, 2}, tenth).alias({n}, {2}, 0), of({n}, 1), want, "every second element");
    product(of({5, n}, tenth), of({n, 7}, 1), want, "thin");
    product(transpose(of({n, 9}, tenth)), of({n, 3}, 1), want, "weight gradient");
    product(transpose(of({n, 9}, tenth)), transpose(of({3, n}, 1)), want, "both transposed");
  }
  product(of({131, 20'000}, tenth), of({20'000, 67}, 1), tenth * 2e4, "tiles");
  product(of({2, 3, 50'000}, tenth), of({2, 50'000, 3}, 1), tenth * 5e4, "batch");
  product(of({64, 131'072}, tenth), of({131'072, 64}, 1), tenth * 131'072, "powers of two");
  for (const DType d : {DType::bf16, DType::f16}) {
    const double number = full({}, 0.1, d).item(), unit = d == DType::bf16 ? 0x1p-8 : 0x1p-11;
    expect_all(matmul(of({3, 400'000}, number, d), of({400'000, 3}, 1, d)), number * 4e5, unit + relative,
               "16 bits");
  }
}

// A layer of a large batch: its output, and the gradients of weight and bias.
inline void expect_long_linear(Device device, double relative) {
  const std::int64_t rows = 1'000'000;
  const Tensor x = full({rows, 3}, tenth, DType::f32, device);
  const Tensor w = full({2, 3}, 1, DType::f32, device).set_requires_grad(),
               b = full({2}, 0, DType::f32, device).set_requires_grad();
  for (const Activation a : {Activation::none, Activation::relu}) {
    const Tensor y = linear(x, w, b, a);
    const auto g = grad(y, {w, b}, full_like(y, tenth));
    expect_all(g[0], tenth * tenth * 1e6, relative, "linear's weight gradient");
    expect_all(g[1], tenth * 1e6, relative, "linear's bias gradient");
  }
  const Tensor wide = full({4, 1'000'000}, tenth, DType::f32, device);
  expect_all(linear(wide, full({3, 1'000'000}, 1, DType::f32, device), Tensor()), tenth * 1e6, relative,
             "linear");
}

// The gradients of a convolution's weight and bias over `size` x `size` positions.
inline void expect_long_convolutions(Device device, double relative, std::int64_t size = 3000) {
  struct Case {
    std::int64_t images, kernel, stride;
    Activation activation;
  };
  for (const Case& c :
       {Case{1, 3, 1, Activation::none}, Case{1, 3, 1, Activation::relu}, Case{1, 1, 1, Activation::none},
        Case{1, 2, 2, Activation::none}, Case{3, 2, 1, Activation::none}}) {
    const std::int64_t side = c.images > 1 ? size / 10 : size, in = (side - 1) * c.stride + c.kernel;
    const Tensor x = full({c.images, 1, in, in}, tenth, DType::f32, device);
    const Tensor w = full({1, 1, c.kernel, c.kernel}, 1, DType::f32, device).set_requires_grad(),
                 b = full({1}, 0, DType::f32, device).set_requires_grad();
    const Tensor y = conv2d(x, w, b, {.stride = c.stride}, c.activation);
    ASSERT_EQ(y.shape(), Shape({c.images, 1, side, side}));
    const auto g = grad(y, {w, b}, ones_like(y));
    const double terms = static_cast<double>(c.images * side * side);
    expect_all(g[0], tenth * terms, relative, "conv2d's weight gradient");
    expect_all(g[1], terms, relative, "conv2d's bias gradient");
  }
}

// Convolutions whose outputs and input gradients are sums of many terms.
inline void expect_convolutions_of_many_taps(Device device, double relative) {
  const Tensor x = full({1, 3000, 6, 7}, tenth, DType::f32, device).set_requires_grad(),
               w = full({5, 3000, 3, 3}, 1, DType::f32, device);
  expect_all(conv2d(x, w), tenth * 27'000, relative, "conv2d");
  const Tensor line = full({1, 1, 60'000}, tenth, DType::f32, device);
  expect_all(conv1d(line, full({1, 1, 50'000}, 1, DType::f32, device)), tenth * 5e4, relative, "conv1d");
  const Tensor g = full({1, 20'000, 4, 4}, tenth, DType::f32, device);
  expect_all(
      slice(slice(conv_transpose2d(g, full({20'000, 2, 2, 2}, 1, DType::f32, device)), 2, 1, 4), 3, 1, 4),
      tenth * 8e4, relative, "conv_transpose2d");
}

// Means of windows of more elements than f16 counts.
inline void expect_long_pooling(Device device) {
  for (const DType d : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    const double number = full({}, 0.1, d).item();
    const Tensor x = full({2, 1, 300, 300}, number, d, device).set_requires_grad();
    for (const Tensor& y : {adaptive_avg_pool2d(x, 1), avg_pool2d(x, 300)}) {
      expect_all(y, number, d == DType::f64 ? 1e-11 : 1e-7, "mean of a window");
      const double share = full({}, 0x1p14 / 90'000, d).item();
      expect_all(grad(y, {x}, full_like(y, 0x1p14))[0], share, 0, "gradient of a window's mean");
    }
  }
}

// Random numbers, against products in f64.
inline void expect_long_random_products(Device device, double relative, std::int64_t least) {
  manual_seed(9);
  for (const Shape& s : {Shape{1, 200'000, 1}, Shape{70, 9000, 50}, Shape{140, 8500, 3},
                         Shape{3, 30'000, 100}, Shape{200, 70'000, 30}}) {
    if (s[1] <= least) continue;
    const Tensor a = uniform({s[0], s[1]}, 0, 1), b = uniform({s[1], s[2]}, 0, 1);
    const auto got = matmul(to(a, device), to(b, device)).to_vector<double>(),
               want = matmul(to(a, DType::f64), to(b, DType::f64)).to_vector<double>();
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want[i], want[i] * relative) << s << ' ' << i;
  }
}

}  // namespace bobbin::test
