// The error bounds of the operations, and the comparison with them.
#include "autograd/gradcheck/precision/tolerance.h"

#include <bobbin/elementwise.h>

#include <algorithm>
#include <cmath>
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
  struct Family {
    Bound bound;
    std::set<std::string_view> ops;
  };
  static const Family families[] = {
      {{0},
       {"neg",
        "abs",
        "sign",
        "relu",
        "clamp",
        "maximum",
        "minimum",
        "where",
        "max",
        "min",
        "amax",
        "amin",
        "reshape",
        "permute",
        "slice",
        "expand",
        "concat",
        "pad",
        "index_select",
        "gather",
        "one_hot",
        "to_dtype",
        "to_device",
        "relu_backward",
        "maximum_backward",
        "minimum_backward"}},
      {{1}, {"add", "sub", "mul", "div", "square", "sqrt", "reciprocal"}},
      {{8}, {"sigmoid", "silu", "softmax", "log_softmax"}},
      {{16}, {"pow", "pow_scalar", "norm"}},
      {{8, Scale::input},
       {"gelu_erf", "gelu_tanh", "softmax_backward", "log_softmax_backward", "cross_entropy",
        "cross_entropy_backward", "layer_norm", "rms_norm", "group_norm", "batch_norm", "random_affine",
        "var", "deviation", "std"}},
      {{8, Scale::stored},
       {"linear_cross_entropy", "nll_loss", "mse_loss", "l1_loss", "huber_loss",
        "binary_cross_entropy_with_logits", "kl_div", "scaled_dot_product_attention"}},
      {{1, Scale::terms},
       {"sum", "mean", "matmul", "avg_pool2d", "avg_pool2d_backward", "max_pool2d_backward", "conv2d",
        "conv2d_input_grad", "conv2d_weight_grad", "cumsum", "index_add", "scatter_add"}},
      {{8, Scale::terms}, {"linear", "logsumexp"}}};
  for (auto& family : families)
    if (family.ops.contains(op)) return family.bound;
  if (op.ends_with("_backward")) return {8, Scale::input};
  return {4};
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
