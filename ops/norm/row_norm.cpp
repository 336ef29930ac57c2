// Layer norm, RMS norm and group norm: what their kernels get, and their derivatives.
#include "ops/norm/row_norm.h"

#include <bobbin/elementwise.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include <cmath>

#include "core/strided_copy.h"
#include "ops/check.h"

namespace bobbin {
namespace {

template<class Op>
RowNormCall forward_call(const Op& op, Inputs x, const Tensor& y, std::span<Tensor> aux) {
  RowNormCall call{.name = Op::name, .layout = op.layout, .eps = op.eps, .centred = Op::centred};
  call.x = x[0];
  call.weight = x[1];
  if (x.size() > 2) call.bias = x[2];
  call.y = y;
  if (!aux.empty()) call.statistics = aux[0];
  return call;
}

// t [groups * length / repeat] as [1, groups, length / repeat, 1]: it broadcasts to elements().
Tensor as_weights(const Tensor& t, const RowNormLayout& l) {
  return reshape(t, {1, l.groups, l.length / l.repeat, 1});
}
// t, of x's shape, as [rows / groups, groups, length / repeat, repeat].
Tensor elements(const Tensor& t, const RowNormLayout& l) {
  return reshape(t, {l.rows(t) / l.groups, l.groups, l.length / l.repeat, l.repeat});
}

// The gradients of weight and bias, in the compute type: sums over all elements that have the same one.
void weight_gradients(const Vjp& v, const RowNormLayout& l, const Tensor& g, const Tensor& normal,
                      Grads& out) {
  for (const int i : {1, 2}) {
    if (i >= v.count() || !v.needs(i)) continue;
    const Tensor total = sum(elements(i == 1 ? g * normal : g, l), {0, 3});
    out[static_cast<std::size_t>(i)] = to(reshape(total, v.spec(i).shape), v.spec(i).dtype);
  }
}

template<class Op>
Grads fused_gradients(const Op& op, const Vjp& v, void (*kernel)(const RowNormCall&)) {
  RowNormCall call{.name = Op::name, .layout = op.layout, .eps = op.eps, .centred = Op::centred};
  call.g = row_major(v.grad);
  call.x = row_major(v.input(0));
  if (v.has_input(1)) call.weight = row_major(v.input(1));
  call.statistics = v.aux(0);
  const bool weights_need = v.needs(1) || (v.count() > 2 && v.needs(2)),
             in_kernel = op.layout.repeat == 1 && op.layout.groups == 1;
  Grads out(static_cast<std::size_t>(v.count()));
  if (v.needs(0)) out[0] = call.x_grad = empty(call.x.spec());
  if (in_kernel) {
    if (v.needs(1)) out[1] = call.weight_grad = empty(v.spec(1));
    if (v.count() > 2 && v.needs(2)) out[2] = call.bias_grad = empty(v.spec(2));
  }
  if (v.needs(0) || in_kernel) kernel(call);
  if (!in_kernel && weights_need) {
    const DType type = compute_type(call.x.dtype());
    const Tensor normal = v.needs(1) ? record(Op{op.layout, op.eps}, {to(call.x, type), {}, {}}) : Tensor();
    weight_gradients(v, op.layout, to(call.g, type), normal, out);
  }
  return out;
}

}  // namespace

template<RowNormKind kind>
std::vector<TensorSpec> RowNorm<kind>::aux(Inputs x) const {
  return {{{layout.rows(x[0]), 4}, compute_type(x[0].dtype()), x[0].device()}};
}

template<RowNormKind kind>
void RowNorm<kind>::cpu(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  if (y.numel() > 0) cpu_row_norm(forward_call(*this, x, y, aux));
}

// With the normalised row n, the cotangent h of n (g times the weight) and the deviation s, the gradient of x
// is (h - mean(h) - n mean(h n)) / s; RMS norm has no mean(h). A row is scaled as the kernels have scaled it:
// its normalised values do not depend on that, but squares and products of its elements then stay in range.
template<RowNormKind kind>
Grads RowNorm<kind>::vjp(const Vjp& v) const {
  Grads out(static_cast<std::size_t>(v.count()));
  const Tensor& x = v.input(0);
  if (x.numel() == 0) {
    for (int i = 0; i < v.count(); ++i)
      if (v.needs(i)) {
        const TensorSpec& s = v.spec(i);
        out[static_cast<std::size_t>(i)] = zeros(s.shape, s.dtype, s.device);
      }
    return out;
  }
  const DType type = compute_type(x.dtype());
  const Shape rows{layout.rows(x), layout.length};
  const auto of_row = [&](int column) { return slice(v.aux(0), 1, column, column + 1); };
  const Tensor g = reshape(to(v.grad, type), rows), unit = of_row(3);
  Tensor near = reshape(to(x, type), rows) * unit;
  if (centred) {
    near = near - of_row(0);
    near = near - mean(near, {1}, true);
  }
  const Tensor inverse = rsqrt(mean(square(near), {1}, true) + square(unit * std::sqrt(eps))),
               normal = near * inverse;
  if (v.needs(0)) {
    Tensor h = g;
    if (v.has_input(1)) h = reshape(elements(g, layout) * as_weights(to(v.input(1), type), layout), rows);
    Tensor d = h - normal * mean(h * normal, {1}, true);
    if (centred) d = d - mean(h, {1}, true);
    out[0] = to(reshape(d * inverse * unit, x.shape()), x.dtype());
  }
  weight_gradients(v, layout, g, normal, out);
  return out;
}

template<RowNormKind kind>
std::optional<Grads> RowNorm<kind>::fused_vjp_cpu(const Vjp& v) const {
  return fused_gradients(*this, v, cpu_row_norm_backward);
}

#if BOBBIN_HAS_CUDA
template<RowNormKind kind>
void RowNorm<kind>::cuda(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  if (y.numel() > 0) cuda::row_norm(forward_call(*this, x, y, aux));
}
template<RowNormKind kind>
std::optional<Grads> RowNorm<kind>::fused_vjp_cuda(const Vjp& v) const {
  return fused_gradients(*this, v, cuda::row_norm_backward);
}
#endif

template struct RowNorm<RowNormKind::layer>;
template struct RowNorm<RowNormKind::rms>;
template struct RowNorm<RowNormKind::group>;

}  // namespace bobbin
