// Tests convolutions and their gradients on a GPU against the CPU in f64, from the same inputs, for sizes
// that use each algorithm and each size of tiles.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/existing_products.h"

using namespace bobbin;

namespace {

struct Case {
  const char* what;
  std::int64_t n, in, h, w, out, kh, kw;
  ConvOptions options;
  bool bias = true;
};

const Case cases[] = {
    {"few taps, many positions", 300, 1, 28, 28, 16, 3, 3, {.padding = 1}},
    {"channels in several chunks", 70, 40, 9, 9, 12, 3, 3, {.padding = 1}},
    {"many channels", 9, 20, 14, 14, 70, 3, 3, {.padding = 1}, false},
    {"small images", 130, 24, 5, 5, 24, 3, 3, {.padding = 1}},
    {"one channel of a gradient", 64, 1, 12, 15, 40, 5, 3, {.padding = {2, 1}}},
    {"stride", 33, 3, 31, 29, 20, 7, 7, {.stride = 2, .padding = 3}},
    {"dilation", 12, 5, 20, 17, 9, 3, 2, {.padding = {1, 4}, .dilation = {2, 3}}},
    {"groups", 17, 24, 11, 12, 36, 3, 3, {.padding = 1, .groups = 6}},
    {"depthwise", 8, 32, 16, 16, 32, 3, 3, {.padding = 1, .groups = 32}},
    {"wider padding than the kernel", 3, 2, 4, 6, 3, 2, 2, {.padding = 5}},
    {"as large as the image", 25, 6, 8, 8, 10, 8, 8, {}},
    {"long rows", 2, 3, 5, 700, 10, 3, 5, {.padding = 1}},
    {"weights that cuBLAS takes", 2, 200, 6, 6, 200, 3, 3, {.padding = 1}},
};

// The largest error relative to `size`, the sum of the magnitudes of the products, in units of f32 rounding.
double error_of(const Tensor& got, const Tensor& exact, const Tensor& size) {
  const auto x = to(got, Device::cpu()).to_vector<double>(), y = exact.to_vector<double>(),
             most = size.to_vector<double>();
  EXPECT_EQ(x.size(), y.size());
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double error = std::abs(x[i] - y[i]) / (0x1p-24 * most[i] + 1e-30);
    if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
  }
  return worst;
}

// Returns y and the gradients of x, the weight and the bias.
std::vector<Tensor> results(const Case& c, const std::vector<Tensor>& in, const Tensor& g, bool relu) {
  std::vector<Tensor> leaves;
  leaves.reserve(in.size());
  for (const Tensor& t : in) leaves.push_back(t.detach().set_requires_grad(true));
  const Tensor y = conv2d(leaves[0], leaves[1], c.bias ? leaves[2] : Tensor(), c.options,
                          relu ? Activation::relu : Activation::none);
  std::vector<Tensor> out = grad(y, leaves, g);
  out.insert(out.begin(), y.detach());
  return out;
}

class CudaConv : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    std::string why;
    if (!cuda_available(&why)) GTEST_SKIP() << why;
    manual_seed(77);
  }
};

TEST_P(CudaConv, AgreesWithF64OnTheCpu) {
  const Case& c = GetParam();
  std::vector<Tensor> in = {randn({c.n, c.in, c.h, c.w}),
                            randn({c.out, c.in / c.options.groups, c.kh, c.kw})};
  if (c.bias) in.push_back(randn({c.out}));
  const auto wide = [](const Tensor& t) { return to(t, DType::f64); };
  const auto all = [](const std::vector<Tensor>& v, auto&& f) {
    std::vector<Tensor> out;
    out.reserve(v.size());
    for (const Tensor& t : v) out.push_back(f(t));
    return out;
  };
  const std::vector<Tensor> exact_in = all(in, wide);
  const Tensor y = results(c, exact_in, ones_like(conv2d(exact_in[0], exact_in[1], {}, c.options)), false)[0];
  // The cotangent is 0 near the kink of relu, where rounding may decide the sign of y.
  for (const bool relu : {false, true}) {
    const Tensor g = randn(y.shape()) * to(abs(y) > 1e-3, DType::f32);
    const auto on_gpu = [](const Tensor& t) { return to(t, Device::cuda()); };
    const auto want = results(c, exact_in, wide(g), relu),
               sizes = results(c, all(exact_in, [](const Tensor&t) { return abs(t); }), abs(wide(g)), false),
               got = results(c, all(in, on_gpu), on_gpu(g), relu),
               again = results(c, all(in, on_gpu), on_gpu(g), relu);
    const char* const names[] = {"y", "gradient of x", "of the weight", "of the bias"};
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_LE(error_of(got[i], want[i], sizes[i]), 64) << names[i] << (relu ? ", relu" : "");
      EXPECT_EQ(to(got[i], Device::cpu()).to_vector<float>(), to(again[i], Device::cpu()).to_vector<float>())
          << names[i] << ": not the same bits again";
    }
  }
}

TEST(CudaConvEdge, PaddingIsNotMultiplied) {
  std::string why;
  if (!cuda_available(&why)) GTEST_SKIP() << why;
  tests::expect_only_existing_products(Device::cuda());
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaConv, testing::ValuesIn(cases), [](const auto& info) {
  std::string name = info.param.what;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

}  // namespace
