// How close the result of an operation on a GPU must be to the exact one.
#pragma once
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <vector>

namespace bobbin::tests {

using Tensors = std::vector<Tensor>;

template<class F>
Tensors mapped(std::span<const Tensor> xs, F&& f) {
  Tensors out;
  for (auto& x : xs) out.push_back(x ? f(x) : x);
  return out;
}

// Bits of the mantissa, and the smallest exponent of a normal number.
struct Format {
  int bits, least;
};
inline Format format(DType d) {
  switch (d) {
    case DType::f64:
      return {52, -1022};
    case DType::bf16:
      return {7, -126};
    case DType::f16:
      return {10, -14};
    default:
      return {23, -126};
  }
}
inline double epsilon(DType d) { return std::ldexp(1, -format(d).bits); }
// A unit in the last place of v.
inline double ulp(DType d, double v) {
  const int exponent = v == 0 ? format(d).least : std::max(std::ilogb(v), format(d).least);
  return std::ldexp(1, exponent - format(d).bits);
}

// What else the errors of an operation are measured by, besides each element.
enum class Scale {
  none,
  input,   // the largest input or result: its terms may cancel
  terms,   // 64 roundings of what it gives for |inputs|: a sum of (products of) inputs
  stored,  // as input, in the dtype itself: it is made of operations that each round their result to it
};
struct Bound {
  double ulps;  // of the type computed in: f64, or f32 for narrower ones, which are then rounded once
  Scale scale = Scale::none;
};

inline Bound bound_of(std::string_view op) {
  static const std::set<std::string_view> moves{
      "neg",    "abs", "sign",         "relu",   "clamp",   "maximum",  "minimum",   "where",
      "max",    "min", "amax",         "amin",   "reshape", "permute",  "slice",     "expand",
      "concat", "pad", "index_select", "gather", "one_hot", "to_dtype", "to_device", "relu_backward"};
  static const std::map<std::string_view, Bound> bounds{
      {"add", {1}},
      {"sub", {1}},
      {"mul", {1}},
      {"div", {1}},
      {"square", {1}},
      {"sqrt", {1}},
      {"reciprocal", {1}},
      {"pow", {16}},
      {"pow_scalar", {16}},
      {"sigmoid", {8}},
      {"silu", {8}},
      {"gelu_erf", {8, Scale::input}},
      {"gelu_tanh", {8, Scale::input}},
      {"softmax", {8}},
      {"log_softmax", {8}},
      {"softmax_backward", {8, Scale::input}},
      {"log_softmax_backward", {8, Scale::input}},
      {"cross_entropy", {8, Scale::input}},
      {"cross_entropy_backward", {8, Scale::input}},
      {"nll_loss", {8, Scale::stored}},
      {"mse_loss", {8, Scale::stored}},
      {"l1_loss", {8, Scale::stored}},
      {"huber_loss", {8, Scale::stored}},
      {"binary_cross_entropy_with_logits", {8, Scale::stored}},
      {"kl_div", {8, Scale::stored}},
      {"sum", {1, Scale::terms}},
      {"mean", {1, Scale::terms}},
      {"matmul", {1, Scale::terms}},
      {"linear", {8, Scale::terms}},
      {"cumsum", {1, Scale::terms}},
      {"index_add", {1, Scale::terms}},
      {"scatter_add", {1, Scale::terms}},
      {"logsumexp", {8, Scale::terms}},
      {"var", {8, Scale::input}},
      {"std", {8, Scale::input}},
      {"norm", {16}}};
  if (moves.contains(op)) return {0};
  const auto it = bounds.find(op);
  return it == bounds.end() ? Bound{4} : it->second;
}

inline double largest(const Tensor& x) {
  double most = 0;
  for (const double v : x.to_vector<double>())
    if (std::isfinite(v)) most = std::max(most, std::abs(v));
  return most;
}

// Whether results of the exact inputs x may lie this far from `want`, what the CPU makes of them.
class Tolerance {
 public:
  Tolerance(Bound b, const Sample& s, const Tensors& x, const Tensor& want, DType d)
      : bound_(b), stored_(d), computed_(d == DType::f64 ? d : DType::f32) {
    if (b.scale == Scale::terms)
      terms_ = s.call(mapped(x, [](const Tensor& t) {
                  return is_floating(t.dtype()) ? abs(t) : t;
                })).to_vector<double>();
    if (b.scale != Scale::input && b.scale != Scale::stored) return;
    most_ = largest(want);
    for (auto& t : x)
      if (t && is_floating(t.dtype())) most_ = std::max(most_, largest(t));
  }
  bool operator()(std::size_t i, double got, double want) const {
    if (got == want || (std::isnan(got) && std::isnan(want))) return true;
    if (got == narrowed(want)) return true;                                                // infinities
    if (got == 0 && std::abs(want) < std::ldexp(1, format(computed_).least)) return true;  // flushed
    double allowed = bound_.ulps * ulp(computed_, want);
    if (bound_.ulps > 0 && stored_ != computed_) allowed += ulp(stored_, want);
    if (bound_.scale == Scale::input) allowed += bound_.ulps * epsilon(computed_) * most_;
    if (bound_.scale == Scale::stored) allowed += bound_.ulps * epsilon(stored_) * most_;
    if (bound_.scale == Scale::terms) allowed += 64 * epsilon(computed_) / 2 * std::abs(terms_[i]);
    return std::abs(got - want) <= allowed;
  }

 private:
  double narrowed(double v) const { return full({}, v, stored_).item(); }

  Bound bound_;
  DType stored_, computed_;
  double most_ = 0;
  std::vector<double> terms_;
};

// close(i, got, want) says whether element i is what it should be.
template<class Close>
void expect_close(std::string_view what, const Tensor& got, const Tensor& want, const Close& close) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const auto x = got.to_vector<double>(), y = want.to_vector<double>();
  std::size_t wrong = 0, first = 0;
  for (std::size_t i = x.size(); i-- > 0;)
    if (!close(i, x[i], y[i])) ++wrong, first = i;
  EXPECT_EQ(wrong, 0u) << what << ": flat index " << first << " of " << x.size() << " is "
                       << ::testing::PrintToString(x[first]) << ", not "
                       << ::testing::PrintToString(y[first]);
}

inline void expect_same(std::string_view what, const Tensor& got, const Tensor& want) {
  EXPECT_EQ(got.dtype(), want.dtype()) << what;
  expect_close(what, got, want,
               [](std::size_t, double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); });
}

}  // namespace bobbin::tests
