// What Autocast with narrow results of products (bobbin/autocast.h) does to the operands of other operations.
#pragma once
#include <bobbin/autocast.h>
#include <bobbin/elementwise.h>
#include <bobbin/op.h>

namespace bobbin {

/// x in f32 if it may be such a result, else x itself: for operations that add up or exponentiate.
inline Tensor in_f32(const Tensor& x) {
  return x && autocast_results() == ProductResults::narrow && x.dtype() == autocast_dtype()
             ? to(x, DType::f32)
             : x;
}

/// Whether one of a and b may be such a result, and the other is f32.
inline bool promotes(const Tensor& a, const Tensor& b) {
  if (!a || !b || a.dtype() == b.dtype() || autocast_results() == ProductResults::f32) return false;
  const auto is = [](const Tensor& x, DType d) { return x.dtype() == d; };
  const DType narrow = autocast_dtype();
  return (is(a, narrow) && is(b, DType::f32)) || (is(a, DType::f32) && is(b, narrow));
}

/// record(op, {a, b}), in f32 where one of them is.
template<Operator T>
Tensor record_promoted(T op, const Tensor& a, const Tensor& b) {
  return promotes(a, b) ? record(std::move(op), {to(a, DType::f32), to(b, DType::f32)})
                        : record(std::move(op), {a, b});
}

}  // namespace bobbin
