// The bounds of the operations, and the comparison with them.
#include "autograd/gradcheck/precision/tolerance.h"

#include <bobbin/elementwise.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace bobbin::gradcheck_detail {

Format format(DType d) {
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
double epsilon(DType d) { return std::ldexp(1, -format(d).bits); }
double ulp(DType d, double v) {
  const int exponent = v == 0 ? format(d).least : std::max(std::ilogb(v), format(d).least);
  return std::ldexp(1, exponent - format(d).bits);
}

Bound bound_of(std::string_view op) {
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
      {"avg_pool2d", {1, Scale::terms}},
      {"avg_pool2d_backward", {1, Scale::terms}},
      {"max_pool2d_backward", {1, Scale::terms}},
      {"conv2d", {1, Scale::terms}},
      {"conv2d_input_grad", {1, Scale::terms}},
      {"conv2d_weight_grad", {1, Scale::terms}},
      {"layer_norm", {8, Scale::input}},
      {"rms_norm", {8, Scale::input}},
      {"group_norm", {8, Scale::input}},
      {"batch_norm", {8, Scale::input}},
      {"random_affine", {8, Scale::input}},
      {"scaled_dot_product_attention", {8, Scale::stored}},
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

double largest(const Tensor& x) {
  double most = 0;
  for (const double v : x.to_vector<double>())
    if (std::isfinite(v)) most = std::max(most, std::abs(v));
  return most;
}

Tolerance::Tolerance(Bound b, Inputs x, const Tensor& want, DType d,
                     const std::function<Tensor(Inputs)>& again)
    : bound_(b), stored_(d), computed_(d == DType::f64 ? d : DType::f32) {
  if (b.scale == Scale::terms) {
    std::vector<Tensor> sizes;
    for (const Tensor& t : x) sizes.push_back(t && is_floating(t.dtype()) ? abs(t) : t);
    terms_ = again(sizes).to_vector<double>();
  }
  if (b.scale != Scale::input && b.scale != Scale::stored) return;
  most_ = largest(want);
  for (const Tensor& t : x)
    if (t && is_floating(t.dtype())) most_ = std::max(most_, largest(t));
}

double Tolerance::error(std::size_t i, double got, double want) const {
  if (got == want || (std::isnan(got) && std::isnan(want))) return 0;
  if (got == narrowed(want)) return 0;  // infinities
  if (got == 0 && std::abs(want) < std::ldexp(1, format(computed_).least))
    return 0;  // a subnormal number, flushed to 0
  double allowed = bound_.ulps * ulp(computed_, want);
  if (bound_.ulps > 0 && stored_ != computed_) allowed += ulp(stored_, want);
  if (bound_.scale == Scale::input) allowed += bound_.ulps * epsilon(computed_) * most_;
  if (bound_.scale == Scale::stored) allowed += bound_.ulps * epsilon(stored_) * most_;
  if (bound_.scale == Scale::terms) allowed += 64 * epsilon(computed_) / 2 * std::abs(terms_[i]);
  return std::abs(got - want) / allowed;
}

double Tolerance::narrowed(double v) const { return full({}, v, stored_).item(); }

}  // namespace bobbin::gradcheck_detail
