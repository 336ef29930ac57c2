// Pooling: windows of an image, and what they make of it.
#pragma once
#include <bobbin/op.h>
#include <bobbin/pool.h>

namespace bobbin {

/// Windows along one axis: window i is [begin(i), end(i)), of which some may lie in the padding.
struct Windows {
  int in, out, size, stride, padding;
  bool adaptive;  ///< they part the axis: size, stride and padding say nothing

  BOBBIN_HD int begin(int i) const {
    return adaptive ? static_cast<int>(static_cast<std::int64_t>(i) * in / out) : i * stride - padding;
  }
  BOBBIN_HD int end(int i) const {
    return adaptive ? static_cast<int>((static_cast<std::int64_t>(i + 1) * in + out - 1) / out)
                    : begin(i) + size;
  }
  /// Where the i-th part begins, if the axis is cut where windows begin.
  BOBBIN_HD int part(int i) const {
    const int x = begin(i);
    return i == 0 || x < 0 ? 0 : i == out || x > in ? in : x;
  }
  /// The first window that may hold element x, and the one after the last.
  BOBBIN_HD int first(int x) const {
    if (adaptive) return static_cast<int>(static_cast<std::int64_t>(x) * out / in);
    const int from = x + padding - size + 1;
    return from <= 0 ? 0 : (from + stride - 1) / stride;
  }
  BOBBIN_HD int last(int x) const {
    const int n = adaptive ? static_cast<int>((static_cast<std::int64_t>(x + 1) * out + in - 1) / in)
                           : (x + padding) / stride + 1;
    return n < out ? n : out;
  }
};

struct PoolShape {
  std::int64_t planes;  ///< images times channels
  Windows down, along;
  Shape x, y;
};

/// What the three operations share.
struct Pool {
  Pair window = 1, stride = 1, padding = 0;
  bool adaptive = false;  ///< window is then the size of the result
  PoolShape shape(std::string_view op, const Shape& x) const;
};

/// The largest element of each window, and as aux its place in the plane, i32.
struct MaxPool2d : Pool {
  static constexpr std::string_view name = "max_pool2d";
  static constexpr Saves saves = Saves::none;
  TensorSpec infer(Inputs) const;
  std::vector<TensorSpec> aux(Inputs) const;
  void cpu(Inputs, Tensor& out, std::span<Tensor> aux) const;
  void cuda(Inputs, Tensor& out, std::span<Tensor> aux) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The cotangent g of y, and the places -> the gradient of x, of h x w.
struct MaxPool2dBackward : Pool {
  Pair size;
  static constexpr std::string_view name = "max_pool2d_backward";
  static constexpr Saves saves = Saves::input(1);
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

struct AvgPool2d : Pool {
  static constexpr std::string_view name = "avg_pool2d";
  static constexpr Saves saves = Saves::none;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The transpose of AvgPool2d: g -> the gradient of x, of h x w.
struct AvgPool2dBackward : Pool {
  Pair size;
  static constexpr std::string_view name = "avg_pool2d_backward";
  static constexpr Saves saves = Saves::none;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

}  // namespace bobbin
