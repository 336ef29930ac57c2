// Elementwise operations from functors: Unary, Binary and Ternary hold the checks and the kernels, and an
// operation adds its name, derivative and samples. CPU kernels read contiguous blocks of the type that they
// compute in. Strided, broadcast and 16-bit operands are copied into such blocks (core/strided_copy.h), so
// every layout gives the same bits.
#pragma once
#include <bobbin/op.h>

#include "ops/check.h"
#include "ops/elementwise/binary_functors.h"
#include "ops/elementwise/list.h"

namespace bobbin {

using BlockKernel = void (*)(const void* functor, const void* const* in, void* out, std::int64_t n);

/// Runs `kernel` over blocks of y in parallel. The inputs are broadcast to its shape, and input i is
/// converted to types[i]; the kernel's results, of type `out_type`, are converted to y's.
void map_blocks(Inputs, const DType* types, const Tensor& y, DType out_type, BlockKernel kernel,
                const void* functor);

namespace detail {

template<class F>
void require_types(std::string_view op, const Tensor& x) {
  if (F::types == fn::Types::floating) require_floating(op, x);
  if (F::types == fn::Types::numeric && x.dtype() == DType::boolean)
    fail<DTypeError>(op, ": expected numbers; got ", x.spec(), "; convert it with to(x, DType)");
}

/// Calls f(Type<T>{}) with the type that F computes in for tensors of dtype d.
template<class F, class Call>
void visit_compute(DType d, Call&& f) {
  const DType type = compute_type(d);
  if constexpr (F::types == fn::Types::floating)
    visit_some<double, float>(type, f);
  else if constexpr (F::types == fn::Types::numeric)
    visit_some<double, float, std::int64_t, std::int32_t, std::uint8_t>(type, f);
  else
    visit_some<double, float, std::int64_t, std::int32_t, std::uint8_t, bool>(type, f);
}

template<class F, class R, class... In>
void map_block(const F& f, std::int64_t n, R* __restrict y, const In* __restrict... x) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = f(x[i]...);
}

/// y = f(x...), broadcast. In are the types that f takes, one type for each input.
template<class... In, class F>
void map(const F& f, Inputs x, const Tensor& y) {
  using R = std::invoke_result_t<F, In...>;
  const DType types[] = {dtype_of<In>()...};
  map_blocks(
      x, types, y, dtype_of<R>(),
      [](const void* functor, const void* const* in, void* out, std::int64_t n) {
        [&]<std::size_t... k>(std::index_sequence<k...>) {
          map_block(*static_cast<const F*>(functor), n, static_cast<R*>(out),
                    static_cast<const In*>(in[k])...);
        }
        (std::index_sequence_for<In...>());
      },
      &f);
}

}  // namespace detail

/// The operation y = f(x). Self is the struct that derives from this one.
template<class Self, class F>
struct Unary {
  using Function = F;
  [[no_unique_address]] F f{};
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs x) const {
    static_assert(is_listed<Self>, "add the operation to ops/elementwise/list.h");
    detail::require_types<F>(Self::name, x[0]);
    return x[0].spec();
  }
  void cpu(Inputs x, Tensor& y) const {
    detail::visit_compute<F>(x[0].dtype(), [&]<class T>(Type<T>) { detail::map<T>(f, x, y); });
  }
  void cuda(Inputs x, Tensor& y) const;  // map.cuh
};

/// The operation y = f(a, b), with broadcasting.
template<class Self, class F>
struct Binary {
  [[no_unique_address]] F f{};
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs x) const {
    static_assert(is_listed<Self>, "add the operation to ops/elementwise/list.h");
    require_same_dtype(Self::name, x[0], x[1]);
    detail::require_types<F>(Self::name, x[0]);
    const bool compares = std::is_same_v<std::invoke_result_t<F, float, float>, bool>;
    return {broadcast(Self::name, x[0].shape(), x[1].shape()), compares ? DType::boolean : x[0].dtype(),
            x[0].device()};
  }
  void cpu(Inputs x, Tensor& y) const {
    detail::visit_compute<F>(x[0].dtype(), [&]<class T>(Type<T>) { detail::map<T, T>(f, x, y); });
  }
  void cuda(Inputs x, Tensor& y) const;  // map.cuh
};

/// The operation y = f(a, b, c), with broadcasting, of floating dtypes.
template<class Self, class F>
struct Ternary {
  [[no_unique_address]] F f{};
  static constexpr Strided strided = Strided::all;
  TensorSpec infer(Inputs x) const {
    static_assert(is_listed<Self>, "add the operation to ops/elementwise/list.h");
    require_same_dtype(Self::name, x[0], x[1]);
    require_same_dtype(Self::name, x[0], x[2]);
    require_floating(Self::name, x[0]);
    return {broadcast(Self::name, x[0].shape(), broadcast(Self::name, x[1].shape(), x[2].shape())),
            x[0].dtype(), x[0].device()};
  }
  void cpu(Inputs x, Tensor& y) const {
    detail::visit_compute<F>(x[0].dtype(), [&]<class T>(Type<T>) { detail::map<T, T, T>(f, x, y); });
  }
  void cuda(Inputs x, Tensor& y) const;  // map.cuh
};

}  // namespace bobbin
