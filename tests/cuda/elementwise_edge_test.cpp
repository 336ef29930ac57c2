// Elementwise functions and their derivatives at the edges of the range, on a GPU, against closed forms; and
// what has no derivative against the CPU.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/cuda/cuda_fixture.h"
#include "tests/ops/closed_forms.h"

using namespace bobbin;
using namespace bobbin::tests;

namespace {

using CudaElementwiseEdges = SeededCuda<78, false>;

TEST_F(CudaElementwiseEdges, ValuesAndDerivativesAreThoseOfTheClosedForms) {
  closed_forms::expect_values_and_derivatives(gpu);
}
TEST_F(CudaElementwiseEdges, NoStepOfADerivativeLeavesTheRange) {
  closed_forms::expect_scaled_derivatives(gpu);
}

// Quotients, powers, maxima and minima of the values at the edges, and their gradients: as on the CPU in f64
// where that has the range of the dtype, in units of the last place.
TEST_F(CudaElementwiseEdges, DerivativesOfTwoNumbersAreTheCpus) {
  using Op = Tensor (*)(const Tensor&, const Tensor&);
  const Op ops[] = {div, static_cast<Op>(pow), maximum, minimum};
  for (const DType d : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    const Format range = format(d);
    std::vector<double> a, b, g;
    for (const int i : {range.least, range.least / 2, -3, 0, 2, range.most() / 2, range.most()})
      for (const int j : {range.least, range.least / 2, -3, 0, 2, range.most() / 2, range.most()})
        for (const int k : {range.least / 2, 0, range.most() / 2})
          a.push_back(std::ldexp(1.25, i)), b.push_back(std::ldexp(1.5, j)), g.push_back(std::ldexp(1, k));
    for (const double n : {0., 1., 2., 3., std::numeric_limits<double>::quiet_NaN()})
      for (const double m :
           {0., -2., 1.5, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
        a.push_back(m), b.push_back(n), g.push_back(1);
    const auto on = [&](Device device, Op op) {
      const auto in = [&](const std::vector<double>& v) { return to(to(from_range(v), d), device); };
      const Tensor x = in(a).set_requires_grad(), y = in(b).set_requires_grad();
      const Tensor z = op(x, y);
      const auto grads = grad(z, {x, y}, in(g));
      return std::vector{z.to_vector<double>(), grads[0].to_vector<double>(), grads[1].to_vector<double>()};
    };
    for (const Op op : ops) {
      const auto want = on(Device::cpu(), op), got = on(gpu, op);
      for (std::size_t part = 0; part < 3; ++part)
        for (std::size_t i = 0; i < a.size(); ++i)
          EXPECT_LE(ulps_apart(got[part][i], want[part][i], d), size_of(d) == 2 ? 1 : 16)
              << "part " << part << " of operation " << &op - ops << " at " << a[i] << " and " << b[i]
              << " with " << g[i] << " in " << name(d) << ": " << got[part][i] << ", not " << want[part][i];
    }
  }
}

TEST_F(CudaElementwiseEdges, IntegersAreTheCpus) {
  const Tensor x =
      from_range(std::vector<std::int64_t>{0, 1, -1, 300, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN,
                                           (1ll << 53) + 1, (1ll << 62) + (1ll << 54) + 1});
  const auto check = [&](const Tensor& t, auto f) {
    const Tensor want = f(t), got = to(f(to(t, gpu)), Device::cpu());
    EXPECT_EQ(got.to_vector<std::int64_t>(), want.to_vector<std::int64_t>()) << t.spec();
    EXPECT_EQ(got.to_vector<double>(), want.to_vector<double>()) << t.spec();
  };
  for (const DType d : {DType::i64, DType::i32, DType::u8}) {
    const Tensor t = to(x, d);
    check(t, [](const Tensor& v) { return -v; });
    check(t, [](const Tensor& v) { return abs(v); });
    check(t, [](const Tensor& v) { return v + v; });
    check(t, [](const Tensor& v) { return v - transpose(reshape(v, {1, -1})); });
    check(t, [](const Tensor& v) { return square(v); });
    check(t, [](const Tensor& v) { return clamp(v, 300, 1e30); });
    check(t, [](const Tensor& v) { return clamp(v, -1e30, 0.5); });
    check(t, [](const Tensor& v) { return v > -1; });
    check(t, [](const Tensor& v) { return v <= 0.5; });
    for (const DType to_dtype :
         {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean})
      check(t, [=](const Tensor& v) { return to(v, to_dtype); });
  }
  const Tensor reals =
      from_range(std::vector<double>{1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-11, 1 + 0x1p-8 + 0x1p-50, 65519.9999,
                                     65520, 1e300, -1e300, 0x1.0000000001p-25, 1e-45, -0.0});
  for (const DType d : {DType::bf16, DType::f16, DType::f32, DType::i64, DType::i32, DType::u8})
    check(reals, [=](const Tensor& v) { return to(v, d); });
}

}  // namespace
