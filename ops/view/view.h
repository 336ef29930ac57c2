// The view operations: results share their input's storage.
#pragma once
#include <bobbin/op.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

namespace bobbin {

/// Another shape with as many elements. The input's strides must allow it.
struct Reshape {
  Shape shape;
  static constexpr std::string_view name = "reshape";
  Tensor view(const Tensor& x) const;
  Grads vjp(const Vjp& v) const { return {reshape(v.grad, v.spec(0).shape)}; }
  static std::vector<Sample> samples();
};

/// Axis i of the result is axis order[i] of x.
struct Permute {
  Axes order;
  static constexpr std::string_view name = "permute";
  Tensor view(const Tensor& x) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// `count` elements start, start + step, ... of an axis; the axis has all of them.
struct Slice {
  int axis;
  std::int64_t start, count, step;
  bool cut = false;  ///< the call's bounds were beyond the axis; for ONNX, where the axis may be longer
  static constexpr std::string_view name = "slice";
  Tensor view(const Tensor& x) const;
  /// Zeros of `shape` with g in the slice.
  Tensor padded(const Tensor& g, const Shape& shape) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Axes of size 1 repeated, and axes added in front.
struct Expand {
  Shape shape;
  static constexpr std::string_view name = "expand";
  Tensor view(const Tensor& x) const;
  Grads vjp(const Vjp& v) const { return {sum_to(v.grad, v.spec(0).shape)}; }
  static std::vector<Sample> samples();
};

}  // namespace bobbin
