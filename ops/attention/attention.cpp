// Scaled dot-product attention: checks, derivative and the public function.
#include "ops/attention/attention.h"

#include <bobbin/autocast.h>
#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include <algorithm>
#include <cmath>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/cpu/compute_type.h"
#include "ops/matmul/matmul.h"

namespace bobbin {
namespace {

// Whether the weights take no more memory than the keys and values. They are then kept, and computed by
// products: the kernels would divide keys and values into panels for few queries.
bool has_few_queries(const Tensor& query, const Tensor& key, const Tensor& value) {
  if (key.size(2) < 64 || query.device().is_cuda()) return false;
  return 2 * (query.size(1) / key.size(1)) * query.size(2) <= key.size(3) + value.size(3);
}

// The mask as AttentionCall wants it.
Tensor of_rank_4(const Tensor& mask) {
  Shape shape{1, 1, 1, 1};
  Strides strides{0, 0, 0, 0};
  for (int i = 0; i < mask.rank(); ++i) {
    shape[4 - mask.rank() + i] = mask.shape()[i];
    strides[4 - mask.rank() + i] = mask.strides()[i];
  }
  return mask.alias(shape, strides, mask.offset());
}

// The operands of a kernel of the CPU, in the compute type.
AttentionCall wide_call(const AttentionTerms& terms, const Tensor& query, const Tensor& key,
                        const Tensor& value, const Tensor& mask) {
  const DType type = compute_type(query.dtype());
  AttentionCall call{terms, row_major(query, type), row_major(key, type), row_major(value, type)};
  if (mask) call.mask = of_rank_4(mask.dtype() == DType::boolean ? mask : row_major(mask, type));
  return call;
}

}  // namespace

TensorSpec Attention::infer(Inputs x) const {
  return {{x[0].size(0), x[0].size(1), x[0].size(2), x[2].size(3)}, x[0].dtype(), x[0].device()};
}

std::vector<TensorSpec> Attention::aux(Inputs x) const {
  const Tensor& query = x[0];
  const Shape shape = has_few_queries(query, x[1], x[2])
                          ? Shape{query.size(0), query.size(1), query.size(2), x[1].size(2)}
                          : Shape{2, query.size(0), query.size(1), query.size(2)};
  return {{shape, compute_type(query.dtype()), query.device()}};
}

void Attention::cpu(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  if (has_few_queries(x[0], x[1], x[2])) {
    y = composed_attention(terms, x, aux.empty() ? nullptr : &aux[0]);
    return;
  }
  AttentionCall call = wide_call(terms, x[0], x[1], x[2], x[3]);
  if (!aux.empty()) call.statistics = aux[0];
  in_compute_type(y, [&](const Tensor& out) {
    call.output = out;
    cpu_attention(call);
  });
}

Grads Attention::vjp(const Vjp& v) const { return composed_attention_grads(terms, v); }

std::optional<Grads> Attention::fused_vjp_cpu(const Vjp& v) const {
  if (has_few_queries(v.input(0), v.input(1), v.input(2)))
    return composed_attention_grads(terms, v, v.aux(0));
  if (v.needs(3)) return {};
  const Tensor inputs[] = {v.input(0), v.input(1), v.input(2)};
  AttentionCall call =
      wide_call(terms, inputs[0], inputs[1], inputs[2], v.has_input(3) ? v.input(3) : Tensor());
  const DType type = call.query.dtype();
  call.output = row_major(v.output(), type);
  call.grad = row_major(v.grad, type);
  call.statistics = v.aux(0);
  Grads out(4);
  for (std::size_t i = 0; i < 3; ++i) out[i] = empty(inputs[i].spec());
  in_compute_type(out[0], [&](const Tensor& query_grad) {
    in_compute_type(out[1], [&](const Tensor& key_grad) {
      in_compute_type(out[2], [&](const Tensor& value_grad) {
        call.query_grad = query_grad, call.key_grad = key_grad, call.value_grad = value_grad;
        cpu_attention_backward(call);
      });
    });
  });
  for (std::size_t i = 0; i < 3; ++i)
    if (!v.needs(static_cast<int>(i))) out[i] = Tensor();
  return out;
}

namespace {

constexpr std::string_view op = Attention::name;

// x [..., m, n], broadcast to [batch..., heads, m, n], with the axes of `batch` as one: rank 4.
Tensor joined(const Tensor& x, const Shape& batch, std::int64_t heads, std::int64_t m, std::int64_t n) {
  const Shape shape{numel(batch), heads, m, n};
  if (x.shape() == shape) return x;
  if (x.numel() == numel(shape)) return reshape(x, shape);
  Shape whole = batch;
  for (int i = 1; i < 4; ++i) whole.push_back(shape[i]);
  const Tensor y = expand(x, whole);
  return whole == shape ? y : reshape(y, shape);
}

void check(const Tensor& query, const Tensor& key, const Tensor& value, const AttentionOptions& o) {
  require_floating(op, query);
  if (query.rank() < 2 || key.rank() < 2 || value.rank() < 2 || query.size(-1) != key.size(-1) ||
      key.size(-2) != value.size(-2))
    fail<ShapeError>(op, ": expected query [..., l, d], key [..., s, d] and value [..., s, e]; got ",
                     query.spec(), ", ", key.spec(), " and ", value.spec());
  require_same_dtype(op, query, key);
  require_same_dtype(op, query, value);
  if (o.enable_gqa &&
      (query.rank() < 3 || key.rank() < 3 || value.rank() < 3 || key.size(-3) != value.size(-3) ||
       key.size(-3) == 0 || query.size(-3) % key.size(-3) != 0))
    fail<ShapeError>(
        op,
        ": with enable_gqa, expected query [..., h, l, d], key [..., k, s, d] and value [..., k, "
        "s, e] with h a multiple of k; got ",
        query.spec(), ", ", key.spec(), " and ", value.spec());
  if (!(o.dropout >= 0 && o.dropout <= 1))
    fail<ValueError>(op, ": expected a dropout in [0, 1]; got ", o.dropout);
  if (o.scale && !std::isfinite(*o.scale)) fail<ValueError>(op, ": expected a finite scale; got ", *o.scale);
  if (!o.mask) return;
  if (o.mask.dtype() != DType::boolean &&
      (!is_floating(o.mask.dtype()) || compute_type(o.mask.dtype()) != compute_type(query.dtype())))
    fail<DTypeError>(op, ": expected a bool mask, or a floating one for queries of ", name(query.dtype()),
                     "; got ", o.mask.spec());
  const auto fits = [&](int axis, std::int64_t size) {
    return o.mask.rank() < -axis || o.mask.size(axis) == 1 || o.mask.size(axis) == size;
  };
  if (!fits(-1, key.size(-2)) || !fits(-2, query.size(-2)))
    fail<ShapeError>(op, ": expected a mask that broadcasts to [..., ", query.size(-2), ", ", key.size(-2),
                     "]; got ", o.mask.spec());
}

}  // namespace

Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& o) {
  // Under Autocast, operands are rounded as the factors of products are.
  if (const DType narrow = autocast_dtype(); narrow != DType::f32) {
    bool all = true, any = false;
    for (const Tensor& x : {query, key, value}) {
      any |= x.dtype() == DType::f32;
      all &= x.dtype() == DType::f32 || x.dtype() == narrow;
    }
    if (all && any) {
      const Tensor y = scaled_dot_product_attention(to(query, narrow), to(key, narrow), to(value, narrow), o);
      return autocast_results() == ProductResults::f32 ? to(y, DType::f32) : y;
    }
  }
  check(query, key, value, o);
  const std::int64_t l = query.size(-2), s = key.size(-2), d = query.size(-1), e = value.size(-1);
  // The axes before the last two broadcast. The last of them are the heads, of which a query may have more.
  Shape batch;
  for (const Tensor& x : {query, key, value, o.mask}) {
    if (!x || x.rank() < 2) continue;
    Shape own = batch_of(x);
    if (o.enable_gqa && !own.empty()) own[own.size() - 1] = 1;
    batch = broadcast(op, batch, own);
  }
  const bool has_heads = !batch.empty();
  std::int64_t heads = has_heads ? batch.back() : 1, key_heads = heads;
  if (o.enable_gqa) heads = query.size(-3), key_heads = key.size(-3);
  if (has_heads) batch.erase(batch.size() - 1);
  Shape result = batch;
  if (has_heads) result.push_back(heads);
  result.push_back(l);
  result.push_back(e);
  Tensor mask = o.mask;
  if (mask && batch.size() > 1 && mask.rank() > 3)
    mask = joined(mask, batch, mask.size(-3), mask.size(-2), mask.size(-1));
  if (mask && mask.dtype() != DType::boolean && mask.dtype() != query.dtype())
    mask = to(mask, compute_type(query.dtype()));
  Generator& generator = default_generator();
  const Attention attention{
      {o.scale.value_or(1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, d)))), o.causal,
       o.dropout, generator}};
  const Tensor y = record(attention, {joined(query, batch, heads, l, d), joined(key, batch, key_heads, s, d),
                                      joined(value, batch, key_heads, s, e), mask});
  if (o.dropout > 0) ++generator.draws;  // a call that throws draws nothing
  return y.shape() == result ? y : reshape(y, result);
}

}  // namespace bobbin
