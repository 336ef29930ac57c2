// The normalisations at the edges of their range, against the definitions in long double: rows of every scale
// that f32 holds, rows far from 0, narrow dtypes, infinities, and derivatives of first and second order.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "tests/ops/expect_values.h"

using namespace bobbin;

namespace {

using Number = long double;
using Numbers = std::vector<Number>;

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();

struct Row {
  Numbers y, x_grad, weight_grad;
  Number term;  // of the gradient of x: the largest one, which may cancel
};

// A row by the definition: n = (x - mean) / s with s = sqrt(variance + eps), y = n w + b, and for a cotangent
// g the derivatives (h - mean(h) - n mean(h n)) / s, with h = g w, and g n. `centred`: whether the mean is
// subtracted.
Row definition(const Numbers& x, const Numbers& w, const Numbers& b, const Numbers& g, bool centred,
               double eps) {
  const std::size_t n = x.size();
  const Number count = static_cast<Number>(n);
  Number mean = 0, variance = 0, all = 0, along = 0;
  if (centred)
    for (const Number v : x) mean += v / count;
  for (const Number v : x) variance += (v - mean) * (v - mean) / count;
  const Number s = std::sqrt(variance + static_cast<Number>(eps));
  Row out;
  Numbers normal;
  for (std::size_t i = 0; i < n; ++i) {
    normal.push_back((x[i] - mean) / s);
    out.y.push_back(normal[i] * w[i] + b[i]);
    out.weight_grad.push_back(g[i] * normal[i]);
    if (centred) all += g[i] * w[i] / count;
    along += g[i] * w[i] * normal[i] / count;
  }
  out.term = 0;
  for (std::size_t i = 0; i < n; ++i) {
    out.x_grad.push_back((g[i] * w[i] - all - normal[i] * along) / s);
    out.term = std::max(out.term, std::abs(g[i] * w[i] / s));
  }
  return out;
}

Numbers wide(const Tensor& t) {
  const auto v = t.to_vector<double>();
  return {v.begin(), v.end()};
}

double epsilon(DType d) {
  return d == DType::f64 ? 0x1p-52 : d == DType::f32 ? 0x1p-23 : d == DType::bf16 ? 0x1p-7 : 0x1p-10;
}
DType computed(DType d) { return d == DType::f64 ? d : DType::f32; }

// |got - want| is at most `ulps` units of the compute type, of the largest of `want` or of `largest`, and
// half a unit of the dtype of each element.
void expect_near(const Tensor& got, const Numbers& want, double ulps, const std::string& what,
                 Number largest = 0) {
  const auto v = got.to_vector<double>();
  ASSERT_EQ(v.size(), want.size()) << what;
  for (const Number w : want) largest = std::max(largest, std::abs(w));
  const bool narrow = computed(got.dtype()) != got.dtype();
  const double least = got.dtype() == DType::f16 ? 0x1p-24 : got.dtype() == DType::f64 ? 0x1p-1074 : 0x1p-149;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const double rounding = narrow ? epsilon(got.dtype()) * 0.51 * static_cast<double>(std::abs(want[i])) : 0;
    const double allowed =
        static_cast<double>(ulps * epsilon(computed(got.dtype())) * largest) + rounding + least;
    EXPECT_LE(std::abs(static_cast<double>(v[i] - want[i])), allowed)
        << what << ", element " << i << ": " << v[i] << ", not " << static_cast<double>(want[i]);
    if (!(std::abs(static_cast<double>(v[i] - want[i])) <= allowed)) return;
  }
}

enum class Kind { layer, rms, group };

Tensor call(Kind kind, const Tensor& x, const Tensor& w, const Tensor& b, double eps) {
  if (kind == Kind::layer) return layer_norm(x, {x.size(-1)}, w, b, eps);
  if (kind == Kind::rms) return rms_norm(x, {x.size(-1)}, w, eps);
  return group_norm(reshape(x, {x.size(0), x.size(1), 1}), 1, w, b, eps);
}

// Result and first derivatives of each row of x [rows, n], with weights and biases.
void check(Kind kind, const Tensor& x_given, double eps, double ulps, const std::string& what) {
  const DType d = x_given.dtype();
  const std::int64_t rows = x_given.size(0), n = x_given.size(1);
  manual_seed(3);
  const Tensor x = x_given.detach().set_requires_grad(), w = uniform({n}, 0.5, 1.5, d).set_requires_grad(),
               b = kind == Kind::rms ? Tensor() : uniform({n}, -1, 1, d).set_requires_grad(),
               g = uniform({rows, n}, -1, 1, d);
  const Tensor y = reshape(call(kind, x, w, b, eps), {rows, n});
  std::vector<Tensor> wanted{x, w};
  if (b) wanted.push_back(b);
  const auto grads = grad(y, wanted, g);
  Numbers weight_grad(static_cast<std::size_t>(n)), bias_grad(weight_grad);
  const Numbers zero(static_cast<std::size_t>(n));
  for (std::int64_t r = 0; r < rows; ++r) {
    const Tensor at = select(g, 0, r);
    const Row row = definition(wide(select(x.detach(), 0, r)), wide(w), b ? wide(b) : zero, wide(at),
                               kind != Kind::rms, eps);
    const std::string here = what + ", row " + std::to_string(r);
    expect_near(select(y.detach(), 0, r), row.y, ulps, here + ", value");
    expect_near(select(grads[0], 0, r), row.x_grad, 4 * ulps, here + ", gradient of x", row.term);
    const auto cotangent = at.to_vector<double>();
    for (std::size_t i = 0; i < cotangent.size(); ++i) {
      weight_grad[i] += row.weight_grad[i];
      bias_grad[i] += cotangent[i];
    }
  }
  expect_near(grads[1], weight_grad, 4 * ulps, what + ", gradient of weight");
  if (b) expect_near(grads[2], bias_grad, 4 * ulps, what + ", gradient of bias");
}

constexpr Kind kinds[] = {Kind::layer, Kind::rms, Kind::group};
std::string name_of(Kind k) {
  return k == Kind::layer ? "layer_norm" : k == Kind::rms ? "rms_norm" : "group_norm";
}

TEST(Norms, RowsOfEveryScale) {
  for (const Kind kind : kinds)
    for (const DType d : {DType::f64, DType::f32, DType::bf16})
      for (const int exponent : {-100, -66, -30, 0, 30, 66, 100, 120})
        for (const double eps : {1e-5, 0.0}) {
          const Tensor x =
              to(tensor({{1, 2, 3, 4}, {-3, 0.5, 2, 7}}, DType::f64) * std::ldexp(1, exponent), d);
          check(kind, x, eps, 4,
                name_of(kind) + " of 2^" + std::to_string(exponent) + ", eps " + std::to_string(eps));
        }
}

TEST(Norms, RowsOfEveryScaleThatF64Holds) {
  for (const Kind kind : kinds)
    for (const int exponent : {-1000, -700, -300, 300, 700, 1000})
      for (const double eps : {1e-5, 0.0})
        check(kind, tensor({{1, 2, 3, 4}, {-3, 0.5, 2, 7}}, DType::f64) * std::ldexp(1, exponent), eps, 4,
              name_of(kind) + " of 2^" + std::to_string(exponent));
}

TEST(Norms, TheLineOfTheIssue) {
  const double far = 1.3416407864998738, near = 0.4472135954999579;  // 1.5 and 0.5 by sqrt(1.25)
  for (const double scale : {1e20, 1e30, 1e38 / 2}) {
    const Tensor x = tensor({{1, 2, 3, 4}}) * scale;
    expect_values(layer_norm(x, {4}), {-far, -near, near, far}, 1e-6);
    expect_values(group_norm(reshape(x, {1, 4, 1}), 1), {-far, -near, near, far}, 1e-6);
    expect_values(rms_norm(x, {4}), {0.3651484, 0.7302967, 1.0954451, 1.4605935}, 1e-6);  // by sqrt(7.5)
    expect_values(batch_norm(transpose(x), zeros({1}), ones({1}), {}, {}, {.training = true}),
                  {-far, -near, near, far}, 1e-6);
  }
}

TEST(Norms, TinyRowsAreDividedByTheRootOfEps) {
  const Tensor x = tensor({{-1, 0, 0, 1}}) * 1e-30;
  for (const Tensor& y : {layer_norm(x, {4}), rms_norm(x, {4})})
    expect_near(y, {-1e-30L / std::sqrt(1e-5L), 0, 0, 1e-30L / std::sqrt(1e-5L)}, 4, "tiny");
}

// Differences of 2^-10, the spacing of f32 numbers at 10000, have no error before the first operation.
TEST(Norms, RowsFarFromZero) {
  for (const std::int64_t n : {4, 63, 1024, 5000})
    for (const double offset : {100.0, 10000.0, -8e6}) {
      manual_seed(11);
      const double step = offset == -8e6 ? 1 : 0x1p-10;
      const Tensor x = to(
          full({2, n}, offset, DType::f64) + to(randint(-3000, 3000, {2, n}), DType::f64) * step, DType::f32);
      for (const Kind kind : {Kind::layer, Kind::group})
        check(kind, x, 1e-5, 8, name_of(kind) + " at " + std::to_string(offset) + ", " + std::to_string(n));
    }
}

TEST(Norms, EveryLengthAndDtype) {
  for (const Kind kind : kinds)
    for (const DType d : {DType::f64, DType::f32, DType::bf16, DType::f16})
      for (const std::int64_t n : {1, 2, 15, 16, 17, 31, 33, 511, 513, 1537}) {
        manual_seed(7);
        check(kind, randn({5, n}, d), 1e-5, 8, name_of(kind) + " of " + std::to_string(n));
      }
}

// A first element that is far from all others, and one large element among zeros.
TEST(Norms, OneElementDominates) {
  for (const Kind kind : kinds)
    for (const DType d : {DType::f64, DType::f32})
      for (const double large : {1.0, 1000.0, 1e15}) {
        Tensor x = to(randn({3, 4096}, DType::f64), d);
        select(x, 0, 0).fill_(0);
        for (const int row : {0, 1}) narrow(select(x, 0, row), 0, 0, 1).fill_(large);
        narrow(select(x, 0, 2), 0, 4000, 1).fill_(large);
        check(kind, x, 1e-5, 8, name_of(kind) + " with " + std::to_string(large));
      }
}

TEST(Norms, F16CountsBeyondItsRange) {
  for (const Kind kind : {Kind::layer, Kind::rms}) {
    manual_seed(13);
    check(kind, randn({2, 70000}, DType::f16), 1e-5, 16, name_of(kind) + " of 70000");
  }
}

TEST(Norms, EqualElementsGiveTheBias) {
  for (const double value : {0.0, 3.0, 10000.25, 1e30, 3e37}) {
    const Tensor x = full({2, 7}, value).set_requires_grad(), b = uniform({7}, -1, 1);
    const Tensor y = layer_norm(x, {7}, uniform({7}, 0.5, 1.5), b);
    EXPECT_EQ(select(y.detach(), 0, 1).to_vector<float>(), b.to_vector<float>()) << value;
    const Tensor g = uniform({2, 7}, -1, 1), dx = grad(y, {x}, g)[0];
    for (const float v : dx.to_vector<float>()) EXPECT_TRUE(std::isfinite(v)) << value;
  }
  expect_values(layer_norm(tensor({{5}, {-2}}), {1}, tensor({3}), tensor({0.5})), {0.5, 0.5});
}

TEST(Norms, ARowWithNaNOrInfinityIsNaNAlone) {
  for (const double bad : {inf, -inf, nan})
    for (const Kind kind : kinds)
      for (const DType d : {DType::f64, DType::f32, DType::f16}) {
        Tensor x = to(tensor({{1, 2, 3, 4}, {1, 2, 3, 4}, {1, 2, 3, 4}}), d);
        narrow(select(x, 0, 1), 0, 2, 1).fill_(bad);
        const auto y = call(kind, x, {}, {}, 1e-5).to_vector<double>();
        for (std::size_t i = 0; i < 12; ++i)
          EXPECT_EQ(std::isnan(y[i]), i / 4 == 1) << name_of(kind) << " with " << bad << ", element " << i;
      }
}

TEST(Norms, EmptyRowsAndNoRows) {
  for (const Shape& shape : {Shape{0, 4}, Shape{3, 0}}) {
    const Tensor x = zeros(shape).set_requires_grad(), w = ones({shape[1]}).set_requires_grad(),
                 y = layer_norm(x, {shape[1]}, w);
    EXPECT_EQ(y.shape(), shape);
    const auto g = grad(y, {x, w}, zeros(shape));
    EXPECT_EQ(g[0].shape(), shape);
    for (const float v : g[1].to_vector<float>()) EXPECT_EQ(v, 0);
    EXPECT_EQ(rms_norm(x, {shape[1]}).shape(), shape);
  }
  EXPECT_THROW(layer_norm(zeros({2, 3}), {}), ShapeError);
}

// The second derivative of the sum of v y by central differences of the first one by its definition, in long
// double.
TEST(Norms, SecondDerivativesOfEveryScale) {
  for (const Kind kind : kinds)
    for (const int exponent : {-20, 0, 40, 66, 100}) {
      const double scale = std::ldexp(1, exponent);
      const Tensor x = (tensor({{1, 2.5, 3, -4}}) * scale).set_requires_grad(), w = tensor({1, 0.5, 2, 1.5}),
                   v = tensor({{0.25, -1, 0.5, 1}}), u = tensor({{1, -0.5, 2, 0.75}});
      const double eps = exponent < 0 ? 0 : 1e-5;
      const Tensor y = reshape(call(kind, x, w, {}, eps), {1, 4});
      const Tensor first = grad(y, {x}, v, CreateGraph::yes)[0];
      const Tensor second = grad(first, {x}, u * scale)[0];
      // sum_i u_i d(x_grad_i)/dx_j times scale: of order 1 / scale
      const auto along = [&](const Numbers& at) {
        const Row row = definition(at, wide(w), Numbers(4), wide(v), kind != Kind::rms, eps);
        Number total = 0;
        for (std::size_t i = 0; i < 4; ++i) total += wide(u)[i] * scale * row.x_grad[i];
        return total;
      };
      Numbers want;
      for (std::size_t j = 0; j < 4; ++j) {
        const auto moved = [&](Number h) {
          Numbers at = wide(x.detach());
          at[j] += h * scale;
          return along(at);
        };
        const auto slope = [&](Number h) { return (moved(h) - moved(-h)) / (2 * h * scale); };
        want.push_back((4 * slope(0x1p-13L) - slope(0x1p-12L)) / 3);
      }
      expect_near(second, want, 64, name_of(kind) + ", second order at 2^" + std::to_string(exponent));
    }
}

TEST(Norms, FirstDerivativesOfBothPathsAgree) {
  for (const Kind kind : kinds) {
    manual_seed(17);
    const Tensor x = randn({6, 40}).set_requires_grad(), w = randn({40}).set_requires_grad(),
                 g = randn({6, 40});
    const Tensor y = reshape(call(kind, x, w, {}, 1e-5), {6, 40});
    const auto fused = grad(y, {x, w}, g, CreateGraph::no, Retain::yes);
    const auto made = grad(y, {x, w}, g, CreateGraph::yes);
    for (std::size_t i = 0; i < 2; ++i)
      expect_near(fused[i], wide(made[i].detach()), 16, name_of(kind) + ", input " + std::to_string(i));
  }
}

// Gradients as large as the dtype holds do not overflow on the way.
TEST(Norms, LargeCotangents) {
  const Tensor x = tensor({{1, 2, 3, 4, 5, 6, 7, 8}}).set_requires_grad(),
               g = tensor({{1, 1, 1, 1, -1, 1, 1, 1}});
  const Tensor y = layer_norm(x, {8});
  const auto small = grad(y, {x}, g, CreateGraph::no, Retain::yes)[0].to_vector<double>(),
             large = grad(y, {x}, g * 0x1p126)[0].to_vector<double>();
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(large[i], small[i] * 0x1p126);
}

TEST(Norms, SameBitsForAnyNumberOfThreads) {
  manual_seed(19);
  const Tensor x = randn({700, 96}).set_requires_grad(), w = randn({96}).set_requires_grad(),
               b = randn({96}).set_requires_grad(), g = randn({700, 96});
  const int before = num_threads();
  std::vector<std::vector<float>> first;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const Tensor y = layer_norm(x, {96}, w, b);
    std::vector<std::vector<float>> now{y.to_vector<float>()};
    for (const Tensor& t : grad(y, {x, w, b}, g)) now.push_back(t.to_vector<float>());
    if (first.empty()) first = now;
    EXPECT_EQ(now, first) << threads;
  }
  set_num_threads(before);
}

}  // namespace
