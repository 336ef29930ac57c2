// Tests the normalisations on a GPU against float64 results of the CPU for the same input bits: every length
// and layout, weights with and without, extreme rows, and the same bits in every run.
#include <bobbin/bobbin.h>
#include <bobbin/capture.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <sstream>

#include "tests/cuda/cuda_fixture.h"
#include "tests/cuda/tolerance.h"

using namespace bobbin;
using bobbin::tests::epsilon;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();

class CudaNorm : public SeededCuda<9> {};

DType computed(DType d) { return d == DType::f64 ? d : DType::f32; }
Tensor exact(const Tensor& x) { return x ? to(to(x.detach(), Device::cpu()), DType::f64) : x; }
Tensor on_gpu(const Tensor& x) { return x ? to(x, gpu) : x; }
Tensor draw(const Shape& s, DType d) { return to(randn(s, DType::f64), d); }

// Whether |got - want| is at most `ulps` units of the compute type of `scale`, which broadcasts to want, and
// a unit of the dtype of want; NaN must be NaN.
void expect_within(const Tensor& got, const Tensor& want, const Tensor& scale, double ulps,
                   const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const DType d = got.dtype();
  const auto g = exact(got).to_vector<double>(), w = want.to_vector<double>(),
             s = expand(scale, want.shape()).to_vector<double>();
  const double least = d == DType::f16    ? 0x1p-24
                       : d == DType::bf16 ? 0x1p-133
                       : d == DType::f64  ? 0x1p-1060
                                          : 0x1p-140;
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (std::isnan(w[i]) && std::isnan(g[i])) continue;
    const double allowed = ulps * epsilon(computed(d)) * s[i] +
                           (d == computed(d) ? 0 : 0.51 * epsilon(d) * std::abs(w[i])) + least;
    if (std::abs(g[i] - w[i]) <= allowed) continue;
    ADD_FAILURE() << what << ": element " << i << " is " << g[i] << ", not " << w[i] << " within " << allowed;
    return;
  }
}

std::vector<Tensor> results(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> x,
                            const Tensor& g) {
  std::vector<Tensor> leaves, wanted;
  for (const Tensor& t : x) {
    leaves.push_back(t ? t.detach() : t);
    if (t) wanted.push_back(leaves.back().set_requires_grad());
  }
  const Tensor y = f(leaves);
  std::vector<Tensor> out{y.detach()};
  for (const Tensor& t : grad(y, wanted, g)) out.push_back(t);
  return out;
}

// sqrt(variance + eps) of each row [rows, 1], computed without overflow.
Tensor deviation(const Tensor& rows, bool centred, double eps) {
  const Tensor most = maximum(amax(abs(rows), {1}, true),
                              full({1, 1}, std::max(1e-300, std::sqrt(eps)), DType::f64)),
               x = rows / most;
  const Tensor centre = centred ? x - mean(x, {1}, true) : x;
  return most * sqrt(mean(square(centre), {1}, true) + square(std::sqrt(eps) / most));
}

// Checks result and gradients of f(x, weight, bias) on the GPU, twice. Each `length` elements of x are
// normalised together, with `eps`; `centred`: their mean is subtracted.
struct Norm {
  std::function<Tensor(Inputs)> f;
  bool centred = true;
  double eps = 1e-5;
};
void check(const Norm& op, const Tensor& x, const Tensor& w, const Tensor& b, std::int64_t length,
           const std::string& note, double ulps = 16) {
  const auto& f = op.f;
  std::ostringstream what;
  what << note << " of " << x.spec() << (w ? ", weight" : "") << (b ? ", bias" : "");
  const Tensor g = draw(x.shape(), x.dtype());
  const Tensor here[] = {exact(x), exact(w), exact(b)}, there[] = {x, w, b};
  std::vector<Tensor> on;
  for (const Tensor& t : there) on.push_back(on_gpu(t));
  const auto want = results(f, here, exact(g)), got = results(f, on, on_gpu(g)),
             again = results(f, on, on_gpu(g));
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    bobbin::tests::expect_same("twice: " + what.str(), got[i], again[i]);
  const auto by_row = [&](const Tensor& t) { return reshape(t, {t.numel() / length, length}); };
  const auto largest = [&](const Tensor& t) { return amax(abs(by_row(t)), {1}, true); };
  expect_within(by_row(got[0]), by_row(want[0]), largest(want[0]), ulps, "y, " + what.str());
  if (x.numel() == 0) return;
  // The terms of the gradient of x, which may cancel, are of the size of g w / deviation.
  const Tensor alone[] = {exact(x), Tensor(), Tensor()};
  const double most_weight = w ? amax(abs(exact(w))).item() : 1,
               most_normal = amax(abs(f(alone).detach())).item();
  const Tensor term = largest(exact(g)) * most_weight / deviation(by_row(exact(x)), op.centred, op.eps);
  expect_within(by_row(got[1]), by_row(want[1]), term * 4, ulps, "dx, " + what.str());
  const double count =
      static_cast<double>(x.numel()) / std::max<double>(1, static_cast<double>(w ? w.numel() : 1));
  std::size_t next = 2;
  for (const Tensor& t : {w, b}) {
    if (!t) continue;
    const double size = amax(abs(exact(g))).item() * (next == 2 && w ? most_normal : 1);
    expect_within(got[next], want[next], full({1}, size * std::sqrt(count), DType::f64), ulps,
                  "gradient " + std::to_string(next - 1) + ", " + what.str());
    ++next;
  }
}

Tensor layer_of(Inputs x) { return layer_norm(x[0], {x[0].size(-1)}, x[1], x[2]); }
Tensor rms_of(Inputs x) { return rms_norm(x[0], {x[0].size(-1)}, x[1]); }
const Norm layer{layer_of}, rms{rms_of, false};

constexpr std::int64_t lengths[] = {1,    2,    7,    8,    16,    33,    64,    100,
                                    128,  500,  512,  768,  1000,  1024,  1500,  2048,
                                    4096, 4100, 5120, 8192, 12288, 20001, 65536, 200003};

TEST_F(CudaNorm, EveryLengthAndDtype) {
  for (const DType d : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const std::int64_t n : lengths)
      for (const std::int64_t rows : {1, 3, 133, 1000}) {
        if (rows * n > 1 << 20) continue;
        const Tensor x = draw({rows, n}, d), w = to(uniform({n}, 0.5, 1.5), d), b = draw({n}, d);
        check(layer, x, w, b, n, "layer_norm");
        check(rms, x, w, {}, n, "rms_norm");
        if (rows == 3) check(layer, x, {}, {}, n, "layer_norm");
        if (rows == 3) check(layer, x, {}, b, n, "layer_norm");
      }
}

TEST_F(CudaNorm, ManyRows) {
  for (const DType d : {DType::f32, DType::bf16})
    for (const std::int64_t n : {3, 64, 96, 1024})
      check(layer, draw({(1 << 22) / n, n}, d), to(uniform({n}, 0.5, 1.5), d), draw({n}, d), n, "many rows",
            32);
}

TEST_F(CudaNorm, AnyLayout) {
  for (const DType d : {DType::f32, DType::bf16})
    for (const std::int64_t n : {96, 1000, 4096}) {
      const Tensor w = to(uniform({n}, 0.5, 1.5), d), b = draw({n}, d);
      const auto shifted = [=](Inputs x) {
        return layer_norm(reshape(narrow(reshape(x[0], {9 * n}), 0, 1, 8 * n), {8, n}), {n}, x[1], x[2]);
      };
      const auto turned = [=](Inputs x) { return layer_norm(transpose(x[0]), {9}, {}, {}); };
      const auto part = [=](Inputs x) { return layer_norm(narrow(x[0], 1, 8, n - 16), {n - 16}); };
      for (const auto& f : {std::function<Tensor(Inputs)>(shifted), std::function<Tensor(Inputs)>(turned),
                            std::function<Tensor(Inputs)>(part)}) {
        const Tensor x = draw({9, n}, d), on[] = {on_gpu(x), on_gpu(w), on_gpu(b)},
                     here[] = {exact(x), exact(w), exact(b)};
        const Tensor want = f(here);
        expect_within(f(on), want, amax(abs(want)), 16, "layout");
      }
      // weights that do not begin at a multiple of 16 bytes
      const Tensor long_w = draw({n + 1}, d), x = draw({5, n}, d);
      const auto misaligned = [n](Inputs in) { return layer_norm(in[0], {n}, narrow(in[1], 0, 1, n)); };
      const Tensor on[] = {on_gpu(x), on_gpu(long_w)}, here[] = {exact(x), exact(long_w)};
      const Tensor g = draw({5, n}, d);
      const auto want = results(misaligned, here, exact(g)), got = results(misaligned, on, on_gpu(g));
      for (std::size_t i = 0; i < want.size(); ++i)
        expect_within(got[i], want[i], amax(abs(want[i])), 32, "misaligned weight, " + std::to_string(i));
    }
}

TEST_F(CudaNorm, GroupsOfChannels) {
  for (const DType d : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const std::int64_t size : {1, 3, 8, 49, 64, 1000})
      for (const std::int64_t groups : {1, 2, 8}) {
        const auto f = [groups](Inputs x) { return group_norm(x[0], groups, x[1], x[2]); };
        check({f}, draw({3, 16, size}, d), to(uniform({16}, 0.5, 1.5), d), draw({16}, d), 16 / groups * size,
              std::to_string(groups) + " groups", 32);
      }
  const auto whole = [](Inputs x) { return group_norm(x[0], 1, x[1], x[2]); };
  check({whole}, draw({1, 4, 300, 300}, DType::f32), draw({4}, DType::f32), draw({4}, DType::f32), 360000,
        "one row", 64);
}

// Each of these rows is an input of its own, so that the tolerance is of its own scale.
TEST_F(CudaNorm, ExtremeRows) {
  for (const DType d : {DType::f32, DType::bf16, DType::f64})
    for (const std::int64_t n : {4, 96, 1000, 4096, 30000}) {
      for (const int exponent : {-120, -66, -20, 20, 66, 120})
        for (const double eps : {1e-5, 0.0}) {
          const int power = d == DType::f64 ? 6 * exponent : exponent;
          const Tensor x = to(randn({2, n}, DType::f64) * std::ldexp(1, power), d);
          const auto scaled_layer = [eps](Inputs in) {
            return layer_norm(in[0], {in[0].size(-1)}, in[1], in[2], eps);
          };
          const auto scaled_rms = [eps](Inputs in) { return rms_norm(in[0], {in[0].size(-1)}, in[1], eps); };
          const Tensor w = to(uniform({n}, 0.5, 1.5), d);
          check({scaled_layer, true, eps}, x, w, {}, n, "layer_norm of 2^" + std::to_string(power), 32);
          check({scaled_rms, false, eps}, x, w, {}, n, "rms_norm of 2^" + std::to_string(power), 32);
        }
      if (d == DType::bf16) continue;
      for (const double offset : {100.0, 10000.0})
        check(layer, to(to(randint(-3000, 3000, {3, n}), DType::f64) * 0x1p-10 + offset, d), {}, {}, n,
              "at " + std::to_string(offset));
      Tensor far = draw({3, n}, d);
      narrow(far, 1, 0, 1).fill_(1e6);  // the first element is far from all others
      check(layer, far, {}, {}, n, "one far element", 64);
    }
}

TEST_F(CudaNorm, ARowWithNaNOrInfinityIsNaNAlone) {
  for (const DType d : {DType::f32, DType::f16, DType::f64})
    for (const std::int64_t n : {5, 96, 4096, 100000})
      for (const double bad : {inf, -inf, nan})
        for (const std::int64_t at : {std::int64_t{0}, n - 1}) {
          Tensor x = draw({3, n}, d);
          narrow(select(x, 0, 1), 0, at, 1).fill_(bad);
          for (const Tensor& y : {layer_norm(on_gpu(x), {n}), rms_norm(on_gpu(x), {n}),
                                  reshape(group_norm(on_gpu(reshape(x, {3, 1, n})), 1), {3, n})}) {
            const auto v = y.to_vector<double>();
            for (std::size_t i = 0; i < v.size(); ++i)
              ASSERT_EQ(std::isnan(v[i]), static_cast<std::int64_t>(i) / n == 1) << i << " of " << x.spec();
          }
        }
}

TEST_F(CudaNorm, EqualElementsGiveTheBias) {
  for (const std::int64_t n : {1, 7, 96, 4096, 50000})
    for (const double value : {0.0, 10000.25, 1e30, 3e37}) {
      const Tensor b = draw({n}, DType::f32), w = ones({n}, DType::f32, gpu).set_requires_grad(),
                   x = full({2, n}, value, DType::f32, gpu).set_requires_grad(),
                   y = layer_norm(x, {n}, w, on_gpu(b));
      bobbin::tests::expect_same("bias", select(y.detach(), 0, 1), b);
      for (const Tensor& t : grad(y, {x, w}, on_gpu(draw({2, n}, DType::f32))))
        for (const float v : t.to_vector<float>()) ASSERT_TRUE(std::isfinite(v)) << value << ", " << n;
    }
}

// The only element is the mean, for any cotangent and weight: no rounding is left of their product.
TEST_F(CudaNorm, OneElementHasNoGradient) {
  for (const DType d : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    const Tensor x = uniform({500, 1}, -2, 2, d, gpu).set_requires_grad(),
                 w = uniform({1}, -2, 2, d, gpu).set_requires_grad();
    for (const bool both : {false, true}) {
      const Tensor y = layer_norm(x, {1}, w);
      const Tensor g = uniform({500, 1}, -2, 2, d, gpu);
      const auto grads = both ? grad(y, {x, w}, g) : grad(y, {x}, g);
      for (const double v : grads[0].to_vector<double>()) ASSERT_EQ(v, 0) << d;
    }
  }
}

TEST_F(CudaNorm, BatchNorm) {
  for (const DType d : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const Shape& shape : {Shape{64, 3}, Shape{4, 3, 7}, Shape{2, 5, 33, 31}})
      for (const int exponent : {-60, 0, 60}) {
        if (exponent != 0 && d == DType::f16) continue;
        const auto f = [](Inputs x) {
          const Shape c{x[0].size(1)};
          return batch_norm(x[0], zeros(c, x[0].dtype(), x[0].device()), ones(c, x[0].dtype(), x[0].device()),
                            x[1], x[2], {.training = true});
        };
        const Tensor x = to(randn(shape, DType::f64) * std::ldexp(1, exponent), d), w = draw({shape[1]}, d),
                     b = draw({shape[1]}, d);
        check({f}, x, w, b, x.numel(), "batch_norm of 2^" + std::to_string(exponent), 64);
      }
}

TEST_F(CudaNorm, SecondDerivativesOfEveryScale) {
  for (const int exponent : {-20, 0, 66, 100})
    for (const bool centred : {false, true}) {
      const auto second = [&](const Tensor& at, DType d, Device where) {
        const Tensor x = to(to(at, d), where).set_requires_grad();
        manual_seed(4);
        const Tensor v = to(to(randn({3, 40}), d), where), u = to(to(randn({3, 40}), d), where);
        const Tensor y = centred ? layer_norm(x, {40}, {}, {}, 0) : rms_norm(x, {40}, {}, 0);
        return grad(grad(y, {x}, v, CreateGraph::yes)[0], {x}, u * std::ldexp(1, exponent))[0];
      };
      const Tensor at = to(randn({3, 40}) * std::ldexp(1, exponent), DType::f32);
      const Tensor want = second(at, DType::f64, Device::cpu());
      expect_within(second(at, DType::f32, gpu), want, amax(abs(want)), 64,
                    "second order at 2^" + std::to_string(exponent));
    }
}

TEST_F(CudaNorm, InACapturedStep) {
  const Tensor x = on_gpu(draw({64, 768}, DType::f32)).set_requires_grad(),
               w = on_gpu(draw({768}, DType::f32)).set_requires_grad(),
               g = on_gpu(draw({64, 768}, DType::f32));
  std::vector<Tensor> out;
  auto step = capture([&] { out = grad(layer_norm(x, {768}, w), {x, w}, g); });
  step();
  const Tensor first[] = {to(out[0], Device::cpu()), to(out[1], Device::cpu())};
  for (int i = 0; i < 3; ++i) {
    step();
    for (std::size_t k = 0; k < 2; ++k)
      bobbin::tests::expect_same("captured", to(out[k], Device::cpu()), first[k]);
  }
}

}  // namespace
