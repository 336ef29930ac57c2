// linear_cross_entropy: checks, the size of a block, derivatives of any order, and the public function.
#include "ops/loss/linear_cross_entropy.h"

#include <bobbin/autocast.h>
#include <bobbin/matmul.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include <algorithm>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/wide.h"

namespace bobbin {
namespace {

// The dtype of the factors of the products, and that of the loss.
DType factors(const LinearCrossEntropy& op, const Tensor& x) {
  return op.narrow == DType::f32 ? x.dtype() : op.narrow;
}
DType logits_type(const LinearCrossEntropy& op, const Tensor& x) {
  return op.narrow == DType::f32 ? x.dtype() : DType::f32;
}

TensorSpec logits_spec(const LinearCrossEntropy& op, const Tensor& x, const Tensor& weight) {
  Shape shape = x.shape();
  shape[x.rank() - 1] = weight.size(0);
  return {shape, logits_type(op, x), x.device()};
}

std::int64_t row_count(const Tensor& x) { return numel(detail::without(x.shape(), x.rank() - 1)); }

// An eighth of the rows, as long as the logits of a block are enough work for a GPU and not too many for its
// memory.
std::int64_t chosen_rows(std::int64_t rows, std::int64_t classes) {
  constexpr std::int64_t least = 1 << 22, most = 1 << 27, unit = 128;
  const std::int64_t n = std::clamp(rows / 8, least / std::max<std::int64_t>(classes, 1),
                                    most / std::max<std::int64_t>(classes, 1));
  return std::max(n / unit * unit, unit);
}

LinearCrossEntropyCall make_call(const LinearCrossEntropy& op, Inputs x) {
  constexpr std::int64_t longest = 1 << 15;  // sums over the rows of a block are in f32
  LinearCrossEntropyCall call{
      .block = 0, .terms = op.terms, .x = {}, .weight = {}, .target = {}, .class_weight = x[3]};
  const std::int64_t rows = row_count(x[0]), classes = x[1].size(0), in = x[1].size(1);
  call.block = std::min(op.rows > 0 ? op.rows : chosen_rows(rows, classes), longest);
  call.terms.axis = 1;
  const DType type = factors(op, x[0]);
  call.x = reshape(row_major(x[0], type), {rows, in});
  call.weight = row_major(x[1], type);
  const Tensor target = row_major(x[2]);
  call.target = target.dtype() == DType::i64 ? reshape(target, {rows}) : reshape(target, {rows, classes});
  return call;
}

// y = x times the number g, in the dtype of y, by parts that caches hold.
void scale(const Tensor& x, const Tensor& g, const Tensor& y) {
  constexpr std::int64_t part = 1 << 22;
  const Tensor from = reshape(x, {x.numel()}), to = reshape(y, {y.numel()});
  for (std::int64_t i = 0; i < x.numel(); i += part) {
    const std::int64_t end = std::min(x.numel(), i + part);
    copy_elements(slice(from, 0, i, end) * g, slice(to, 0, i, end));
  }
}

// The gradients that the forward pass has left, times the cotangent.
Grads from_aux(const Vjp& v) {
  Grads out(4);
  for (const int i : {0, 1}) {
    if (!v.needs(i)) continue;
    const Tensor& unit = v.aux(i);
    Tensor& grad = out[static_cast<std::size_t>(i)];
    if (v.grad_is_one() && unit.dtype() == v.spec(i).dtype) {
      grad = unit;
    } else {
      grad = empty(v.spec(i));
      v.grad_is_one() ? copy_elements(unit, grad) : scale(unit, to(v.grad, unit.dtype()), grad);
    }
  }
  return out;
}

std::optional<Grads> fused_gradients(const LinearCrossEntropy& op, const Vjp& v,
                                     void (*kernel)(const LinearCrossEntropyCall&)) {
  if (v.needs(2)) return {};
  if (op.terms.reduction != Reduction::none) return from_aux(v);
  const Tensor inputs[] = {v.input(0), v.input(1), v.input(2),
                           v.has_input(3) ? row_major(v.input(3)) : Tensor()};
  LinearCrossEntropyCall call = make_call(op, inputs);
  const DType compute = compute_type(call.x.dtype());
  call.cotangents = reshape(row_major(v.grad, compute), {call.rows()});
  const auto unrounded = [&](int i) {
    return v.needs(i) ? empty(v.spec(i).shape, compute, v.grad.device()) : Tensor();
  };
  call.x_grad = unrounded(0);
  call.weight_grad = unrounded(1);
  kernel(call);
  Grads out(4);
  if (v.needs(0)) out[0] = to(call.x_grad, v.spec(0).dtype);
  if (v.needs(1)) out[1] = to(call.weight_grad, v.spec(1).dtype);
  return out;
}

LinearCrossEntropyCall forward_call(const LinearCrossEntropy& op, Inputs x, const Tensor& loss,
                                    std::span<Tensor> aux) {
  LinearCrossEntropyCall call = make_call(op, x);
  call.loss = op.terms.reduction == Reduction::none ? reshape(loss, {call.rows()}) : loss;
  if (aux.empty()) return call;
  if (aux[0].shape() == x[0].shape()) call.x_grad = aux[0];
  if (aux[1].shape() == x[1].shape()) call.weight_grad = aux[1];
  return call;
}

}  // namespace

TensorSpec LinearCrossEntropy::infer(Inputs x) const {
  const Tensor &in = x[0], &weight = x[1];
  require_floating(name, in);
  if (narrow == DType::f32) require_same_dtype(name, in, weight);
  if (in.rank() < 1 || weight.rank() != 2 || in.size(-1) != weight.size(1))
    fail<ShapeError>(name, ": expected x [..., in] and weight [classes, in]; got ", in.spec(), " and ",
                     weight.spec());
  if (rows < 0) fail<ValueError>(name, ": rows must not be negative; got ", rows);
  const TensorSpec logits = logits_spec(*this, in, weight);
  detail::check_targets(name, terms, logits, x[2], x[3]);
  const Shape losses = detail::without(in.shape(), in.rank() - 1);
  return {terms.reduction == Reduction::none ? losses : Shape{}, logits.dtype, in.device()};
}

std::vector<TensorSpec> LinearCrossEntropy::aux(Inputs x) const {
  if (terms.reduction == Reduction::none) return {};
  std::vector<TensorSpec> specs;
  for (const Tensor& t : x.first(2))
    specs.push_back(
        {t.requires_grad() ? t.shape() : Shape{0}, compute_type(factors(*this, x[0])), t.device()});
  return specs;
}

void LinearCrossEntropy::cpu(Inputs x, Tensor& loss, std::span<Tensor> aux) const {
  cpu_linear_cross_entropy(forward_call(*this, x, loss, aux));
}
std::optional<Grads> LinearCrossEntropy::fused_vjp_cpu(const Vjp& v) const {
  return fused_gradients(*this, v, cpu_linear_cross_entropy);
}

#if BOBBIN_HAS_CUDA
void LinearCrossEntropy::cuda(Inputs x, Tensor& loss, std::span<Tensor> aux) const {
  cuda::linear_cross_entropy(forward_call(*this, x, loss, aux));
}
std::optional<Grads> LinearCrossEntropy::fused_vjp_cuda(const Vjp& v) const {
  return fused_gradients(*this, v, cuda::linear_cross_entropy);
}
#endif

// The derivative of cross_entropy(x weight^T), where x and weight are rounded to the dtype of the products,
// and all else is in the compute type.
Grads LinearCrossEntropy::vjp(const Vjp& v) const {
  const Autocast exact(DType::f32);
  const DType type = factors(*this, v.input(0));
  const std::int64_t rows = row_count(v.input(0)), classes = v.input(1).size(0), in = v.input(1).size(1);
  const Tensor x = wide(to(reshape(v.input(0), {rows, in}), type)), weight = wide(to(v.input(1), type));
  const bool indexed = v.input(2).dtype() == DType::i64;
  const Tensor target = indexed ? reshape(v.input(2), {rows}) : wide(reshape(v.input(2), {rows, classes})),
               class_weight = v.has_input(3) ? wide(v.input(3)) : Tensor();
  CrossEntropyTerms flat = terms;
  flat.axis = 1;
  const Tensor g = terms.reduction == Reduction::none ? reshape(wide(v.grad), {rows}) : wide(v.grad);
  const Tensor logits = matmul(x, transpose(weight));
  Grads out(4);
  if (v.needs(0) || v.needs(1)) {
    const Tensor d = record(CrossEntropyBackward{flat}, {logits, target, class_weight, g});
    if (v.needs(0)) out[0] = to(reshape(matmul(d, weight), v.spec(0).shape), v.spec(0).dtype);
    if (v.needs(1)) out[1] = to(matmul(transpose(d), x), v.spec(1).dtype);
  }
  if (v.needs(2))
    out[2] = to(reshape(detail::target_gradient(flat, logits, target, class_weight, g), v.spec(2).shape),
                v.spec(2).dtype);
  return out;
}

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& target,
                            const CrossEntropyOptions& o, const LinearCrossEntropyOptions& blocks) {
  constexpr std::string_view op = LinearCrossEntropy::name;
  detail::refuse_weight_gradient(op, o.weight);
  const auto joins = [](const Tensor& t) { return t.dtype() == DType::f32 || t.dtype() == autocast_dtype(); };
  const bool narrows = joins(x) && joins(weight);
  const CrossEntropyTerms terms{x.rank() - 1, o.ignore_index, o.label_smoothing, o.reduction};
  return record(LinearCrossEntropy{terms, blocks.rows, narrows ? autocast_dtype() : DType::f32},
                {x, weight, target, o.weight});
}

}  // namespace bobbin
