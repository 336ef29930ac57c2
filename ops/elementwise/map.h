// Elementwise operations from functors: Unary, Binary and Where hold the checks and kernels, an operation
// adds its name, derivative and samples. Kernels take contiguous blocks; strides, broadcasting and 16-bit
// types are resolved before them (core/strided_copy.h), so that every layout gives the same bits.
#pragma once
#include <bobbin/op.h>

#include "ops/check.h"
#include "ops/elementwise/functors.h"
#include "ops/elementwise/list.h"

namespace bobbin {

using BlockKernel = void (*)(const void* functor, const void* const* in, void* out, std::int64_t n);

/// Runs `kernel` over blocks of y, whose shape the inputs broadcast to. Input i is read as types[i]; the
/// kernel writes `out_type`.
void map_blocks(Inputs, const DType* types, const Tensor& y, DType out_type, BlockKernel kernel,
                const void* functor);

namespace detail {

template<class F>
void require_types(std::string_view op, const Tensor& x) {
  if (F::types == fn::Types::floating) require_floating(op, x);
  if (F::types == fn::Types::numeric && x.dtype() == DType::boolean)
    fail<DTypeError>(op, ": expected numbers; got ", x.spec(), "; convert it with to(x, DType)");
}

/// Calls f(Type<T>{}) with the type F computes in for tensors of dtype d.
template<class F, class Call>
void visit_compute(DType d, Call&& f) {
  switch (compute_type(d)) {
    case DType::f64:
      return f(Type<double>{});
    case DType::f32:
      return f(Type<float>{});
    default:
      break;
  }
  if constexpr (F::types != fn::Types::floating) {
    switch (d) {
      case DType::i64:
        return f(Type<std::int64_t>{});
      case DType::i32:
        return f(Type<std::int32_t>{});
      case DType::u8:
        return f(Type<std::uint8_t>{});
      default:
        break;
    }
    if constexpr (F::types == fn::Types::all) return f(Type<bool>{});
  }
}

template<class F, int operands>
void map(const F& f, Inputs x, const Tensor& y) {
  visit_compute<F>(x[x.size() - 1].dtype(), [&]<class T>(Type<T>) {
    if constexpr (operands == 1) {
      using R = std::invoke_result_t<F, T>;
      const DType types[] = {dtype_of<T>()};
      map_blocks(
          x, types, y, dtype_of<R>(),
          [](const void* f, const void* const* in, void* out, std::int64_t n) {
            const F functor = *static_cast<const F*>(f);
            const T* __restrict a = static_cast<const T*>(in[0]);
            R* __restrict r = static_cast<R*>(out);
            for (std::int64_t i = 0; i < n; ++i) r[i] = functor(a[i]);
          },
          &f);
    } else if constexpr (operands == 2) {
      using R = std::invoke_result_t<F, T, T>;
      const DType types[] = {dtype_of<T>(), dtype_of<T>()};
      map_blocks(
          x, types, y, dtype_of<R>(),
          [](const void* f, const void* const* in, void* out, std::int64_t n) {
            const F functor = *static_cast<const F*>(f);
            const T* __restrict a = static_cast<const T*>(in[0]), * __restrict b =
                                                                      static_cast<const T*>(in[1]);
            R* __restrict r = static_cast<R*>(out);
            for (std::int64_t i = 0; i < n; ++i) r[i] = functor(a[i], b[i]);
          },
          &f);
    } else {
      const DType types[] = {DType::boolean, dtype_of<T>(), dtype_of<T>()};
      map_blocks(
          x, types, y, dtype_of<T>(),
          [](const void* f, const void* const* in, void* out, std::int64_t n) {
            const F functor = *static_cast<const F*>(f);
            const bool* __restrict c = static_cast<const bool*>(in[0]);
            const T* __restrict a = static_cast<const T*>(in[1]), * __restrict b =
                                                                      static_cast<const T*>(in[2]);
            T* __restrict r = static_cast<T*>(out);
            for (std::int64_t i = 0; i < n; ++i) r[i] = functor(c[i], a[i], b[i]);
          },
          &f);
    }
  });
}
}  // namespace detail

/// y = f(x). Self is the operation's own struct, for its name.
template<class Self, class F>
struct Unary {
  [[no_unique_address]] F f{};
  static constexpr bool strided = true;
  TensorSpec infer(Inputs x) const {
    static_assert(is_listed<Self>, "add the operation to ops/elementwise/list.h");
    detail::require_types<F>(Self::name, x[0]);
    return x[0].spec();
  }
  void cpu(Inputs x, Tensor& y) const { detail::map<F, 1>(f, x, y); }
  void cuda(Inputs x, Tensor& y) const;  // map.cuh
};

/// y = f(a, b), broadcast.
template<class Self, class F>
struct Binary {
  [[no_unique_address]] F f{};
  static constexpr bool strided = true;
  TensorSpec infer(Inputs x) const {
    static_assert(is_listed<Self>, "add the operation to ops/elementwise/list.h");
    require_same_dtype(Self::name, x[0], x[1]);
    detail::require_types<F>(Self::name, x[0]);
    const bool compares = std::is_same_v<std::invoke_result_t<F, float, float>, bool>;
    return {broadcast(Self::name, x[0].shape(), x[1].shape()), compares ? DType::boolean : x[0].dtype(),
            x[0].device()};
  }
  void cpu(Inputs x, Tensor& y) const { detail::map<F, 2>(f, x, y); }
  void cuda(Inputs x, Tensor& y) const;  // map.cuh
};

}  // namespace bobbin
