// The convolutions on the CPU: as matrix products over im2col columns, or by ops/conv/shift.h.
#include <algorithm>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/conv/columns.h"
#include "ops/conv/conv.h"
#include "ops/conv/parts.h"
#include "ops/conv/shift.h"
#include "ops/cpu/gemm.h"
#include "ops/matmul/matmul.h"

namespace bobbin {
namespace {

template<class T>
void activate(const ConvPart<T>& p, Activation activation, const Tensor& y) {
  if (activation == Activation::none) return;
  T* const part = p.y(y);
  const std::int64_t n = p.s.group_out() * p.s.places();
  visit_activation(activation, [&](auto f) { std::transform(part, part + n, part, f); });
}

template<class T>
void forward(const ConvShape& s, Activation activation, const Tensor& x, const Tensor& weight,
             const Tensor& bias, const Tensor& y) {
  if (s.is_shift()) {
    const bool relu = activation == Activation::relu;
    shift_forward<T>(s, x, weight, bias, relu, y);
    if (!relu) each_part<T>(s, [&](const ConvPart<T>& p) { activate(p, activation, y); });
    return;
  }
  each_part<T>(s, [&](const ConvPart<T>& p) {
    const T* columns = p.x(x);
    Tensor scratch;
    if (!s.is_product()) {
      scratch = empty({s.window(), s.places()}, x.dtype());
      to_columns(s, p.x(x), scratch.raw<T>());
      columns = scratch.raw<T>();
    }
    gemm<T>({p.weight(weight), s.group_out(), s.window(), s.window()},
            {columns, s.window(), s.places(), s.places()}, p.y(y));
    p.add_bias_to_y(bias, y);
    activate(p, activation, y);
  });
}

template<class T>
void input_grad(const ConvShape& s, const Tensor& g, const Tensor& weight, const Tensor& bias,
                const Tensor& x) {
  if (s.is_shift()) return shift_input_grad<T>(s, g, {}, weight, bias, x);
  each_part<T>(s, [&](const ConvPart<T>& p) {
    const Matrix<T> w{p.weight(weight), s.window(), s.group_out(), s.window(), true},
        gradient{p.y(g), s.group_out(), s.places(), s.places()};
    if (s.is_product()) {
      gemm<T>(w, gradient, p.x(x));
    } else {
      const Tensor columns = empty({s.window(), s.places()}, g.dtype());
      gemm<T>(w, gradient, columns.raw<T>());
      add_columns(s, columns.raw<T>(), p.x(x));
    }
    p.add_bias_to_x(bias, x);
  });
}

template<class T>
void weight_grad(const ConvShape& s, const Tensor& x, const Tensor& g, const Tensor& weight) {
  if (s.is_shift()) return shift_weight_grad<T>(s, x, g, {}, weight, {});
  sum_weight_grads<T>(s, weight, {}, [&](std::int64_t first, std::int64_t last, std::int64_t group, T* sum) {
    const std::int64_t size = s.group_out() * s.window();
    const Tensor columns = empty({s.window(), s.places()}, x.dtype()), product = empty({size}, x.dtype());
    for (std::int64_t n = first; n < last; ++n) {
      const ConvPart<T> p{s, n, group};
      const T* matrix = p.x(x);
      if (!s.is_product()) {
        to_columns(s, p.x(x), columns.raw<T>());
        matrix = columns.raw<T>();
      }
      gemm<T>({p.y(g), s.group_out(), s.places(), s.places()},
              {matrix, s.places(), s.window(), s.places(), true}, product.raw<T>());
      for (std::int64_t k = 0; k < size; ++k) sum[k] += product.raw<T>()[k];
    }
  });
}

// f<float or double>(a, b, bias, out), in the type that is computed in.
template<class F>
void compute(Inputs x, Tensor& y, F&& f) {
  if (y.numel() == 0) return;
  const DType type = compute_type(y.dtype());
  const Tensor a = row_major(x[0], type), b = row_major(x[1], type), bias = row_major(bias_of(x), type);
  in_compute_type(y, [&](const Tensor& out) {
    type == DType::f64 ? f(Type<double>{}, a, b, bias, out) : f(Type<float>{}, a, b, bias, out);
  });
}

}  // namespace

void Conv2d::cpu(Inputs x, Tensor& y) const {
  const ConvShape s = conv_shape(name, options, x[0].shape(), x[1].shape());
  compute(x, y, [&]<class T>(Type<T>, auto&... t) { forward<T>(s, activation, t...); });
}

void Conv2dInputGrad::cpu(Inputs x, Tensor& y) const {
  const ConvShape s = conv_shape(name, options, y.shape(), x[1].shape());
  compute(x, y, [&]<class T>(Type<T>, auto&... t) { input_grad<T>(s, t...); });
}

void Conv2dWeightGrad::cpu(Inputs x, Tensor& y) const {
  const ConvShape s = conv_shape(name, options, x[0].shape(), y.shape());
  compute(x, y,
          [&]<class T>(Type<T>, auto& in, auto& g, auto&, auto& out) { weight_grad<T>(s, in, g, out); });
}

}  // namespace bobbin
