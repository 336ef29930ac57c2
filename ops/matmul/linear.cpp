// linear: its checks, its derivatives, and the kernels for the CPU.
#include "ops/matmul/linear.h"

#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include <algorithm>

#include "core/ceil_div.h"
#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/cpu/compute_type.h"
#include "ops/cpu/gemm.h"
#include "ops/elementwise/layer_activation.h"
#include "ops/matmul/autocast.h"

namespace bobbin {
namespace {

constexpr std::int64_t strip = 64;  // columns that one task sums

// Adds the bias, where there is one, to a tile of the product, and applies f.
template<class T, class F>
void finish(const Tile<T>& t, const T* bias, F f) {
  for (std::int64_t i = 0; i < t.rows; ++i) {
    T* row = t.data + i * t.stride;
    if (bias)
      for (std::int64_t j = 0; j < t.cols; ++j) row[j] = f(row[j] + bias[t.col + j]);
    else
      for (std::int64_t j = 0; j < t.cols; ++j) row[j] = f(row[j]);
  }
}

template<class T>
void run(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y, Activation activation) {
  const std::int64_t in = weight.size(1), out = weight.size(0), rows = out == 0 ? 0 : y.numel() / out;
  const T* b = bias.raw<T>();
  gemm<T>({x.raw<T>(), rows, in, in}, {weight.raw<T>(), in, out, in, true}, y.raw<T>(),
          [&](const Tile<T>& t) { visit_activation(activation, [&](auto f) { finish(t, b, f); }); });
}

// Sums each of columns [first, last) of g.
template<class T>
void sum_columns(const Matrix<T>& g, std::int64_t first, std::int64_t last, T* sums) {
  double sum[strip] = {};
  for (std::int64_t i = 0; i < g.rows; ++i)
    for (std::int64_t j = first; j < last; ++j) sum[j - first] += g.data[i * g.stride + j];
  std::copy_n(sum, last - first, sums + first);
}

// Writes the gradients that are defined in `to`, from the gradient g of the sums x weight^T + bias. The tiles
// of both products and the sums of columns are one list of tasks, so that threads wait for each other only
// once.
template<class T>
void gradients(const Tensor& g, const Tensor& x, const Tensor& weight, const Grads& to) {
  const std::int64_t out = g.size(-1), rows = g.numel() / out;
  const Matrix<T> down{g.raw<T>(), rows, out, out}, along{g.raw<T>(), out, rows, out, true};
  std::vector<Gemm<T>> products;
  if (to[0])
    products.push_back({down, {weight.raw<T>(), out, weight.size(1), weight.size(1)}, to[0].raw<T>()});
  if (to[1]) products.push_back({along, {x.raw<T>(), rows, x.size(-1), x.size(-1)}, to[1].raw<T>()});

  std::int64_t tiles = to[2] ? ceil_div(out, strip) : 0, multiplications = g.numel();
  for (const auto& p : products) {
    tiles += p.tiles();
    multiplications += p.multiplications();
  }
  share_tiles(tiles, multiplications, [&](std::int64_t i) {
    for (const auto& p : products) {
      if (i < p.tiles()) return void(p.compute(i));
      i -= p.tiles();
    }
    sum_columns(down, i * strip, std::min(out, (i + 1) * strip), to[2].raw<T>());
  });
}

}  // namespace

Saves Linear::saves(Needs needs) const { return saved_by_layer(needs, activation); }

TensorSpec Linear::infer(Inputs x) const {
  const Tensor &in = x[0], &weight = x[1], &bias = x[2];
  require_floating(name, in);
  require_same_dtype(name, in, weight);
  if (weight.rank() != 2 || in.rank() < 1 || in.size(-1) != weight.size(1))
    fail<ShapeError>(name, ": expected x [..., in] and weight [out, in]; got ", in.spec(), " and ",
                     weight.spec());
  const DType result = wide ? compute_type(in.dtype()) : in.dtype();
  if (bias) {
    if (bias.dtype() != result) require_same_dtype(name, in, bias);
    if (bias.rank() != 1 || bias.size(0) != weight.size(0))
      fail<ShapeError>(name, ": expected a bias [", weight.size(0), "]; got ", bias.spec());
  }
  Shape shape = in.shape();
  shape[in.rank() - 1] = weight.size(0);
  return {shape, result, in.device()};
}

std::vector<TensorSpec> Linear::aux(Inputs x) const {
  if (x[0].device().is_cpu() || !needs_sums(activation)) return {};
  TensorSpec sums = infer(x);
  sums.dtype = compute_type(sums.dtype);
  return {sums};
}

void Linear::cpu(Inputs x, Tensor& y, std::span<Tensor>) const {
  const DType compute = compute_type(y.dtype());
  const Tensor in = row_major(x[0], compute), weight = row_major(x[1], compute),
               bias = row_major(x[2], compute);
  in_compute_type(y, [&](const Tensor& out) {
    compute == DType::f64 ? run<double>(in, weight, bias, out, activation)
                          : run<float>(in, weight, bias, out, activation);
  });
}

Tensor Linear::sums_gradient(const Vjp& v) const {
  if constexpr (built_with_cuda)
    if (needs_sums(activation) && v.grad.device().is_cuda() && !grad_enabled())
      return sums_gradient_cuda(v.grad, v.aux(0));
  return bobbin::sums_gradient(v, activation, [&] {
    const Linear sums{Activation::none, wide};
    return record(sums, {v.input(0), v.input(1), v.has_input(2) ? v.input(2) : Tensor()});
  });
}

Grads Linear::vjp(const Vjp& v) const {
  const Tensor g = sums_gradient(v);
  const auto rows = [](const Tensor& t) {
    return reshape(t, {t.numel() / std::max<std::int64_t>(1, t.size(-1)), t.size(-1)});
  };
  Grads out(3);
  if (v.needs(2)) out[2] = sum(rows(g), {0});
  if (!v.needs(0) && !v.needs(1)) return out;
  const Tensor narrow = to(g, v.input(v.needs(0) ? 1 : 0).dtype());
  if (v.needs(0)) out[0] = matmul(narrow, v.input(1));
  if (v.needs(1))
    out[1] = matmul(transpose(rows(narrow)), reshape(v.input(0), {rows(g).size(0), v.input(0).size(-1)}));
  return out;
}

std::optional<Grads> Linear::fused_vjp_cpu(const Vjp& v) const {
  const DType type = v.grad.dtype();
  if (wide || compute_type(type) != type) return {};
  const Tensor g = row_major(sums_gradient(v)), x = v.needs(1) ? row_major(v.input(0)) : Tensor(),
               weight = v.needs(0) ? row_major(v.input(1)) : Tensor();
  Grads out = v.empty_grads();
  type == DType::f64 ? gradients<double>(g, x, weight, out) : gradients<float>(g, x, weight, out);
  return out;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  return record_autocast(Linear{activation}, {x, weight, bias});
}

}  // namespace bobbin
