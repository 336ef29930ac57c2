// Operations that share their input's storage.
#pragma once
#include <bobbin/ops.h>

namespace bobbin {

/// Another shape of as many elements, which the input's strides allow.
struct Reshape {
  Shape shape;
  static constexpr std::string_view name = "reshape";
  Tensor view(const Tensor& x) const;
  Grads vjp(const Vjp& v) const { return {reshape(v.grad, v.spec(0).shape)}; }
  static std::vector<Sample> samples();
};

struct Permute {
  Axes order;
  static constexpr std::string_view name = "permute";
  Tensor view(const Tensor& x) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// Elements start, start + step, ... of an axis, `count` of them, all there.
struct Slice {
  int axis;
  std::int64_t start, count, step;
  static constexpr std::string_view name = "slice";
  Tensor view(const Tensor& x) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

struct Expand {
  Shape shape;
  static constexpr std::string_view name = "expand";
  Tensor view(const Tensor& x) const;
  Grads vjp(const Vjp& v) const { return {sum_to(v.grad, v.spec(0).shape)}; }
  static std::vector<Sample> samples();
};

}  // namespace bobbin
