// For the tests of reductions and of cumsum on a GPU: the fixture, tolerances, inputs and comparison.
#pragma once
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tests/cuda/cuda_fixture.h"

namespace bobbin::test {

inline constexpr double inf = std::numeric_limits<double>::infinity();
inline const Device cpu = Device::cpu();

using CudaReduction = SeededCuda<23>;

// What a result may differ by, besides the rounding to its dtype: `relative` times its magnitude, `absolute`,
// and `cancelled` times the sum of the elements' magnitudes.
struct Tolerance {
  double relative = 0, absolute = 0, cancelled = 0;
};

struct Operation {
  std::string name;
  std::function<Tensor(const Tensor&, const Axes&, bool keepdim)> call;
  Tolerance f64, narrow;
  bool floating_only = false, needs_elements = false;
};

inline const std::vector<Operation>& operations() {
  // Sums are kept in f64; exponentials of narrow types are f32's, good to 2 ULP.
  constexpr Tolerance exact{}, sums{0, 0, 0x1p-45}, moments{0x1p-42, 0, 0}, powers{0x1p-42, 0, 0};
  const auto p_norm = [](double p) {
    return [p](const Tensor& x, const Axes& a, bool k) { return norm(x, p, a, k); };
  };
  static const std::vector<Operation> all{
      {"sum", sum, sums, sums},
      {"mean", mean, sums, sums, true},
      {"var", [](auto& x, auto& a, bool k) { return var(x, a, 1, k); }, moments, moments, true},
      {"std", [](auto& x, auto& a, bool k) { return bobbin::std(x, a, 0, k); }, moments, moments, true},
      {"max", max, exact, exact, false, true},
      {"min", min, exact, exact, false, true},
      {"amax", amax, exact, exact, false, true},
      {"amin", amin, exact, exact, false, true},
      {"logsumexp", logsumexp, {0x1p-48, 0x1p-46, 0}, {0x1p-23, 0x1p-21, 0}, true},
      {"norm 1", p_norm(1), sums, sums, true},
      {"norm 2", p_norm(2), powers, powers, true},
      {"norm 2.5", p_norm(2.5), powers, powers, true},
      {"norm 0.5", p_norm(0.5), powers, powers, true},
      {"norm inf", p_norm(inf), exact, exact, true},
  };
  return all;
}

inline const Operation& operation(const std::string& name) {
  for (auto& o : operations())
    if (o.name == name) return o;
  throw std::logic_error(name);
}

inline const Tolerance& tolerance(const Operation& op, DType t) {
  return t == DType::f64 ? op.f64 : op.narrow;
}

inline double unit(DType t) {  // half a ULP, relative
  return t == DType::f64    ? 0x1p-53
         : t == DType::f32  ? 0x1p-24
         : t == DType::bf16 ? 0x1p-8
         : t == DType::f16  ? 0x1p-11
                            : 0;
}
inline double least(DType t) {
  return t == DType::f16 ? 0x1p-25 : t == DType::f64 ? 0 : t == DType::bf16 ? 0x1p-134 : 0x1p-150;
}

inline Tensor widened(const Tensor& x) { return is_floating(x.dtype()) ? to(x, DType::f64) : x; }

// `size`: the largest sum of the magnitudes that are reduced to one element.
inline void expect_close(const Tensor& got, const Tensor& want, const Tolerance& t, double size,
                         const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const auto g = got.to_vector<double>(), w = want.to_vector<double>(),
             rounded = to(want, got.dtype()).to_vector<double>();
  const double relative = t.relative + unit(got.dtype()) * 1.0001;
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (std::isnan(w[i]) ? std::isnan(g[i]) : g[i] == rounded[i]) continue;
    const double error = std::abs(g[i] - w[i]);
    ASSERT_TRUE(error <= relative * std::abs(w[i]) + t.absolute + t.cancelled * size + least(got.dtype()))
        << what << ": element " << i << " is " << g[i] << ", not " << w[i];
  }
}

inline std::string describe(const std::string& name, const Tensor& x, const Axes& axes) {
  std::ostringstream s;
  s << name << " of " << x.spec() << ", strides " << x.strides() << ", over " << axes;
  return s.str();
}

using View = std::function<Tensor(const Tensor&)>;
inline Tensor as_it_is(const Tensor& x) { return x; }

inline constexpr DType every_dtype[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                        DType::i64, DType::i32, DType::u8,   DType::boolean};

// Normal floating numbers, and integers with many ties.
inline Tensor draw(const Shape& s, DType t) {
  if (is_floating(t)) return to(randn(s, DType::f64), t);
  if (t == DType::boolean) return to(randint(0, 2, s), t);
  return to(randint(t == DType::u8 ? 0 : -100, 100, s), t);
}

inline const std::vector<Shape> shapes{{1},         {0, 3},     {3, 0},      {7},
                                       {1'000'003}, {128, 256}, {256, 128},  {2, 1, 4096},
                                       {4097, 33},  {33, 4097}, {70'000, 3}, {3, 70'000}};

}  // namespace bobbin::test
