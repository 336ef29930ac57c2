// Tests convolutions and pooling on the CPU against their definitions and against results of PyTorch.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include "tests/ops/existing_products.h"

using namespace bobbin;

namespace {

// conv2d by its definition: a loop over all elements.
std::vector<double> convolved(const Tensor& x, const Tensor& w, const ConvOptions& o, const Shape& result) {
  const auto xs = x.to_vector<double>(), ws = w.to_vector<double>();
  const std::int64_t in = x.size(1), h = x.size(2), width = x.size(3), part = w.size(1), out = w.size(0);
  std::vector<double> y;
  for (std::int64_t n = 0; n < result[0]; ++n)
    for (std::int64_t c = 0; c < out; ++c)
      for (std::int64_t i = 0; i < result[2]; ++i)
        for (std::int64_t j = 0; j < result[3]; ++j) {
          double sum = 0;
          for (std::int64_t k = 0; k < part; ++k)
            for (std::int64_t a = 0; a < w.size(2); ++a)
              for (std::int64_t b = 0; b < w.size(3); ++b) {
                const std::int64_t r = i * o.stride.h - o.padding.h + a * o.dilation.h,
                                   s = j * o.stride.w - o.padding.w + b * o.dilation.w;
                if (r < 0 || r >= h || s < 0 || s >= width) continue;
                const std::int64_t channel = c / (out / o.groups) * part + k;
                sum += xs[static_cast<std::size_t>(((n * in + channel) * h + r) * width + s)] *
                       ws[static_cast<std::size_t>(((c * part + k) * w.size(2) + a) * w.size(3) + b)];
              }
          y.push_back(sum);
        }
  return y;
}

TEST(Conv2d, IsItsDefinition) {
  manual_seed(7);
  const std::tuple<Shape, Shape, ConvOptions, Shape> cases[] = {
      {{2, 3, 7, 8}, {4, 3, 3, 2}, {}, {2, 4, 5, 7}},
      {{1, 4, 9, 6}, {6, 2, 3, 3}, {.stride = {2, 1}, .padding = {0, 2}, .groups = 2}, {1, 6, 4, 8}},
      {{2, 3, 5, 5}, {3, 1, 2, 2}, {.padding = 3, .dilation = {3, 2}, .groups = 3}, {2, 3, 8, 9}},
      {{3, 5, 4, 4}, {2, 5, 1, 1}, {}, {3, 2, 4, 4}},
      {{1, 2, 8, 8}, {2, 2, 1, 1}, {.stride = 3}, {1, 2, 3, 3}}};
  for (auto& [x_shape, w_shape, options, result] : cases) {
    const Tensor x = randn(x_shape, DType::f64), w = randn(w_shape, DType::f64),
                 y = conv2d(x, w, {}, options);
    ASSERT_EQ(y.shape(), result);
    const auto got = y.to_vector<double>(), want = convolved(x, w, options, result);
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12) << i;
  }
}

TEST(Conv2d, PaddingIsNotMultiplied) { tests::expect_only_existing_products(Device::cpu()); }

TEST(Conv2d, GivesPyTorchsNumbers) {
  const Tensor x = reshape(arange(0, 16, 1, DType::f64), {1, 1, 4, 4}),
               w = tensor({{{{1, 2}, {3, 4}}}}, DType::f64);
  EXPECT_EQ(conv2d(x, w, tensor({10}, DType::f64), {.stride = 2}).to_vector<double>(),
            (std::vector<double>{44, 64, 124, 144}));
  const Tensor up = conv_transpose2d(tensor({{{{1, 2}, {3, 4}}}}, DType::f64), w, {}, {.stride = 2});
  EXPECT_EQ(up.shape(), (Shape{1, 1, 4, 4}));
  EXPECT_EQ(up.to_vector<double>(), (std::vector<double>{1, 2, 2, 4, 3, 4, 6, 8, 3, 6, 4, 8, 9, 12, 12, 16}));
  const Tensor line =
      conv1d(tensor({{{1, 2, 3, 4, 5}}}, DType::f64), tensor({{{1, 0, -1}}}, DType::f64), {}, {.padding = 1});
  EXPECT_EQ(line.to_vector<double>(), (std::vector<double>{-2, -2, -2, -2, 4}));
}

// The fused derivative computes the gradients through the activation, and that of the bias, without extra
// passes over memory. The widths make rows with and without whole registers.
TEST(Conv2d, ItsReluIsReluOfIt) {
  manual_seed(3);
  const auto run = [](DType dtype, std::int64_t width, const ConvOptions& o, bool joined) {
    manual_seed(4);
    const Tensor x = randn({19, 4, 7, width}, dtype).set_requires_grad(),
                 w = randn({6, 4 / o.groups, 3, 3}, dtype).set_requires_grad(),
                 b = randn({6}, dtype).set_requires_grad();
    const Tensor y = joined ? conv2d(x, w, b, o, Activation::relu)
                            : relu(conv2d(x, w, Tensor(), o) + reshape(b, {6, 1, 1}));
    backward(sum(y * reshape(cos(arange(y.numel(), dtype)), y.shape())));
    return std::vector{y.detach(), x.grad(), w.grad(), b.grad()};
  };
  const ConvOptions cases[] = {{},
                               {.padding = 1},
                               {.padding = {2, 0}, .dilation = {1, 2}},
                               {.padding = 1, .groups = 2},
                               {.stride = 2, .padding = 1}};
  for (const DType dtype : {DType::f32, DType::f64})
    for (auto& o : cases)
      for (const std::int64_t width : {6, 8, 9, 10, 24, 26}) {
        const auto got = run(dtype, width, o, true), want = run(dtype, width, o, false);
        for (std::size_t i = 0; i < got.size(); ++i) {
          const double error = max(abs(got[i] - want[i])).item(), most = max(abs(want[i])).item();
          EXPECT_LE(error, most * (dtype == DType::f64 ? 1e-13 : 1e-5)) << i << " " << width;
        }
      }
}

// Weight gradients are summed over batches of images that fit the caches, and in chunks of weights.
TEST(Conv2d, GradientsOfManyImagesAreTheSumOfEach) {
  manual_seed(6);
  const auto gradients = [](const Tensor& x, const Tensor& w) {
    const Tensor a = w.detach().set_requires_grad(), b = ones({26}, x.dtype()).set_requires_grad();
    backward(sum(square(conv2d(x, a, b, {.groups = 2}, Activation::relu))));
    return std::pair(a.grad(), b.grad());
  };
  for (const DType dtype : {DType::f32, DType::f64})
    for (const std::int64_t width : {10, 11}) {
      const Tensor x = randn({67, 24, 13, width}, dtype), w = randn({26, 12, 3, 3}, dtype);
      const auto all = gradients(x, w);
      auto want = gradients(narrow(x, 0, 0, 1), w);
      for (std::int64_t i = 1; i < x.size(0); ++i) {
        const auto [of_weight, of_bias] = gradients(narrow(x, 0, i, 1), w);
        want = {want.first + of_weight, want.second + of_bias};
      }
      const auto expect_near = [&](const Tensor& got, const Tensor& sum) {
        EXPECT_LE(max(abs(got - sum)).item(), max(abs(sum)).item() * (dtype == DType::f64 ? 1e-13 : 1e-5))
            << width;
      };
      expect_near(all.first, want.first);
      expect_near(all.second, want.second);
    }
}

TEST(Conv2d, ThreadsDoNotChangeItsGradients) {
  manual_seed(2);
  const Tensor x = randn({37, 3, 9, 9}), w = randn({5, 3, 3, 3});
  const auto gradients = [&] {
    const Tensor a = x.detach().set_requires_grad(), b = w.detach().set_requires_grad(),
                 c = ones({5}).set_requires_grad();
    backward(sum(square(conv2d(a, b, c, {.padding = 1}, Activation::relu))));
    return std::tuple(a.grad().to_vector<float>(), b.grad().to_vector<float>(), c.grad().to_vector<float>());
  };
  const int before = num_threads();
  set_num_threads(1);
  const auto one = gradients();
  set_num_threads(3);
  EXPECT_EQ(gradients(), one);
  set_num_threads(before);
}

TEST(Pool, TakesTheLargestAndTheMean) {
  const Tensor x = reshape(arange(0, 16, 1, DType::f64), {1, 1, 4, 4});
  EXPECT_EQ(max_pool2d(x, 2).to_vector<double>(), (std::vector<double>{5, 7, 13, 15}));
  EXPECT_EQ(avg_pool2d(x, 2).to_vector<double>(), (std::vector<double>{2.5, 4.5, 10.5, 12.5}));
  EXPECT_EQ(max_pool2d(x, 3, {.stride = 2, .padding = 1}).to_vector<double>(),
            (std::vector<double>{5, 7, 13, 15}));
  EXPECT_EQ(avg_pool2d(x, 2, {.stride = 4, .padding = 1}).to_vector<double>(),
            (std::vector<double>{0, .75, 3, 3.75}));
  EXPECT_EQ(adaptive_avg_pool2d(x, {1, 3}).to_vector<double>(), (std::vector<double>{6.5, 7.5, 8.5}));
  EXPECT_EQ(upsample_nearest2d(tensor({{{{1, 2}}}}), 2).to_vector<float>(),
            (std::vector<float>{1, 1, 2, 2, 1, 1, 2, 2}));
}

// Kernels treat windows that do not overlap, and windows of two columns, as special cases; the widths are
// below, at and above the number of windows that registers take.
TEST(Pool, ItsGradientLiesAtTheLargest) {
  manual_seed(5);
  const std::tuple<Pair, PoolOptions> cases[] = {{2, {}},
                                                 {{2, 1}, {.stride = {{3, 2}}}},
                                                 {{1, 2}, {}},
                                                 {3, {.stride = 3, .padding = 1}},
                                                 {3, {.stride = 2, .padding = 1}}};
  for (auto& [window, options] : cases)
    for (const std::int64_t width : {5, 14, 15, 35, 64}) {
      const Tensor x = randn({3, 2, 7, width}).set_requires_grad(), y = max_pool2d(x, window, options),
                   weights = rand(y.shape()) + 1;
      backward(sum(y * weights));
      const auto xs = x.to_vector<float>(), got = x.grad().to_vector<float>(), ys = y.to_vector<float>(),
                 ws = weights.to_vector<float>();
      std::vector<float> want(xs.size());  // no two elements are alike
      for (std::size_t i = 0; i < ys.size(); ++i)
        for (std::size_t k = 0; k < xs.size(); ++k)
          if (xs[k] == ys[i]) want[k] += ws[i];
      EXPECT_EQ(got, want) << window.h << " " << window.w << " " << width;
    }
}

TEST(Pool, EqualElementsGiveTheGradientToTheFirst) {
  const Tensor x = ones({1, 1, 2, 4}).set_requires_grad();
  backward(sum(max_pool2d(x, 2)));
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{1, 0, 1, 0, 0, 0, 0, 0}));
}

}  // namespace
