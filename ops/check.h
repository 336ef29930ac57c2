// Checks that the `infer` of many operations uses. Messages begin with `op`.
#pragma once
#include <bobbin/tensor.h>

#include <string_view>

namespace bobbin {

inline void require_floating(std::string_view op, const Tensor& x) {
  if (!is_floating(x.dtype())) fail<DTypeError>(op, ": expected a floating-point tensor; got ", x.spec());
}

inline void require_same_dtype(std::string_view op, const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype())
    fail<DTypeError>(op, ": dtypes must agree; got ", a.spec(), " and ", b.spec(),
                     "; convert one with to(x, DType)");
}

inline void require_same_shape(std::string_view op, const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) fail<ShapeError>(op, ": shapes must agree; got ", a.spec(), " and ", b.spec());
}

inline void require_index(std::string_view op, const Tensor& index) {
  if (index.dtype() != DType::i64) fail<DTypeError>(op, ": expected i64 indices; got ", index.spec());
}

/// The type that kernels compute in: f32 for the 16-bit types.
constexpr DType compute_type(DType d) { return d == DType::bf16 || d == DType::f16 ? DType::f32 : d; }

/// Calls f(Type<T>{}) with the C++ type of a floating dtype.
template<class F>
void visit_floating(DType d, F&& f) {
  visit_some<double, float, BFloat16, Half>(d, f);
}

}  // namespace bobbin
