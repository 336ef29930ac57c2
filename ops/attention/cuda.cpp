// Attention on a GPU: which calls the kernels take, and their arguments.
#include "ops/attention/cuda.h"

#include <bobbin/view.h>

#include <algorithm>
#include <numbers>

#include "core/cuda/runtime.h"
#include "ops/attention/attention.h"

namespace bobbin {
namespace {

constexpr std::int64_t longest = 1 << 30;

// Calls with dropout, of f32 and of wider heads are composed of products and softmax.
bool takes(const AttentionTerms& terms, const Tensor& query, const Tensor& key, const Tensor& value) {
  const DType type = query.dtype();
  if (terms.dropout > 0 || (type != DType::f16 && type != DType::bf16)) return false;
  for (const Tensor* x : {&query, &key, &value})
    for (int i = 0; i < 4; ++i)
      if (x->size(i) == 0 || x->size(i) > longest) return false;
  const std::int64_t blocks =
      query.size(0) * query.size(1) * ((std::max(query.size(2), key.size(2)) - 1) / cuda::attention_rows + 1);
  const std::int64_t head_size = std::max(query.size(3), value.size(3));
  const cuda::Properties& gpu = cuda::properties(query.device());
  return head_size <= 128 && blocks <= longest && gpu.major >= 8 &&
         gpu.shared_per_block >= cuda::attention_shared(head_size <= 64 ? 64 : 128);
}

// Whether rows of x are whole numbers of aligned chunks of 16 bytes.
bool in_chunks(const Tensor& x) {
  return x.size(3) * size_of(x.dtype()) % 16 == 0 && reinterpret_cast<std::uintptr_t>(x.raw()) % 16 == 0;
}

cuda::AttentionArgs args_of(const AttentionTerms& terms, const Tensor& query, const Tensor& key,
                            const Tensor& value, const Tensor& mask, const Tensor& statistics) {
  cuda::AttentionArgs a;
  a.query = query.raw(), a.key = key.raw(), a.value = value.raw();
  a.heads = static_cast<int>(query.size(1)), a.group = static_cast<int>(query.size(1) / key.size(1));
  a.l = static_cast<int>(query.size(2)), a.s = static_cast<int>(key.size(2));
  a.d = static_cast<int>(query.size(3)), a.e = static_cast<int>(value.size(3));
  a.whole = in_chunks(query) && in_chunks(key) && in_chunks(value);
  a.scale = static_cast<float>(terms.scale);
  a.log2_scale = static_cast<float>(terms.scale * std::numbers::log2e);
  a.causal = terms.causal;
  if (statistics) {
    a.base = static_cast<float*>(statistics.raw());
    a.log_sum = a.base + statistics.numel() / 2;
  }
  if (mask) {
    a.mask = mask.raw();
    a.mask_dtype = mask.dtype();
    for (int i = 0, first = 4 - mask.rank(); i < mask.rank(); ++i)
      a.mask_stride[first + i] = mask.size(i) == 1 ? 0 : mask.strides()[i];
  }
  return a;
}

void run(const Tensor& query, bool backward, const cuda::AttentionArgs& a) {
  const int batch = static_cast<int>(query.size(0));
  query.dtype() == DType::f16 ? cuda::run_attention<Half>(query.device(), batch, backward, a)
                              : cuda::run_attention<BFloat16>(query.device(), batch, backward, a);
}

}  // namespace

void Attention::cuda(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  if (!takes(terms, x[0], x[1], x[2])) {
    y = composed_attention(terms, x);
    return;
  }
  cuda::AttentionArgs a = args_of(terms, x[0], x[1], x[2], x[3], aux.empty() ? Tensor() : aux[0]);
  a.result[0] = y.raw();
  run(x[0], false, a);
}

std::optional<Grads> Attention::fused_vjp_cuda(const Vjp& v) const {
  if (v.needs(3)) return {};
  const Tensor query = contiguous(v.input(0)), key = contiguous(v.input(1)), value = contiguous(v.input(2));
  if (!takes(terms, query, key, value)) return {};
  const Tensor output = contiguous(v.output()), grad = contiguous(v.grad);
  const Tensor delta = empty({query.size(0), query.size(1), query.size(2)}, DType::f32, query.device());
  Grads out{empty(query.spec()), empty(key.spec()), empty(value.spec()), Tensor()};
  cuda::AttentionArgs a = args_of(terms, query, key, value, v.has_input(3) ? v.input(3) : Tensor(), v.aux(0));
  a.output = output.raw(), a.grad = grad.raw(), a.delta = static_cast<float*>(delta.raw());
  a.whole = a.whole && in_chunks(grad);
  for (std::size_t i = 0; i < 3; ++i) a.result[i] = out[i].raw();
  run(query, true, a);
  for (int i = 0; i < 3; ++i)
    if (!v.needs(i)) out[static_cast<std::size_t>(i)] = Tensor();
  return out;
}

}  // namespace bobbin
