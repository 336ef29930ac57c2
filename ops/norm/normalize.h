// What the normalisations share: the checks of their arguments, and steps of formulas in public operations.
#pragma once
#include <bobbin/elementwise.h>
#include <bobbin/tensor.h>

#include <string_view>

namespace bobbin {

/// Throws unless t is undefined, or has x's dtype and this shape. `what` is the name of t in the message.
void require_like(std::string_view op, const Tensor& x, const Tensor& t, const Shape& shape,
                  std::string_view what);
/// Throws unless x is floating and [n, channels, ...].
void require_channels(std::string_view op, const Tensor& x);
/// The number of elements over the last axes of x. Throws unless they have the sizes `over`, at least one.
std::int64_t last_axes(std::string_view op, const Tensor& x, const Shape& over);

/// y weight + bias; either may be undefined.
Tensor affine(Tensor y, const Tensor& weight, const Tensor& bias);
/// t [channels] in a shape that broadcasts to x [n, channels, ...]; undefined stays undefined.
Tensor by_channel(const Tensor& t, const Tensor& x);

/// Returns f(wide), rounded to x's dtype. wide(t) is t converted to f32 if x has a 16-bit dtype, else t.
template<class F>
Tensor in_wide(const Tensor& x, F&& f) {
  if (x.dtype() == DType::f64 || x.dtype() == DType::f32) return f([](const Tensor& t) { return t; });
  return to(f([](const Tensor& t) { return t ? to(t, DType::f32) : t; }), x.dtype());
}

}  // namespace bobbin
