// Pooling: each output is the maximum or the mean of a window of the image.
#pragma once
#include <bobbin/op.h>
#include <bobbin/pool.h>

namespace bobbin {

/// The windows along one axis: window i is [begin(i), end(i)). Some of its elements may be padding, outside
/// [0, in).
struct WindowAxis {
  int in, out, size, stride, padding;
  bool adaptive;  ///< `out` windows of about equal size cover the axis; size, stride and padding are unused

  BOBBIN_HD int begin(int i) const {
    return adaptive ? static_cast<int>(static_cast<std::int64_t>(i) * in / out) : i * stride - padding;
  }
  BOBBIN_HD int end(int i) const {
    return adaptive ? static_cast<int>((static_cast<std::int64_t>(i + 1) * in + out - 1) / out)
                    : begin(i) + size;
  }
  /// For windows that do not overlap: divides the axis into regions, each from a window to the next. The
  /// region of window i is [region(i), region(i + 1)).
  BOBBIN_HD int region(int i) const {
    const int x = begin(i);
    return i == 0 || x < 0 ? 0 : i == out || x > in ? in : x;
  }
  /// The windows [first(x), last(x)) may hold element x.
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

/// The sizes of a pooling of x [n, channels, h, w] to y.
struct PoolShape {
  std::int64_t planes;  ///< n * channels
  WindowAxis h, w;
  Shape x, y;
};

/// The attributes that the four operations share.
struct Pool {
  Pair window = 1, stride = 1, padding = 0;
  bool adaptive = false;  ///< if true, `window` is the size of the output
  /// Throws ShapeError and ValueError.
  PoolShape shape(std::string_view op, const Shape& x) const;
  /// The checks of a pooling of x, and of a backward operation with the cotangent g of its output and the
  /// size of its images; and the spec of the result.
  TensorSpec infer_forward(std::string_view op, const Tensor& x) const;
  TensorSpec infer_backward(std::string_view op, Pair size, const Tensor& g) const;
};

/// The largest element of each window, and as aux its index in the plane, i32.
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

/// The cotangent g of y and the indices -> the gradient of x, whose images have `size` pixels.
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

/// The mean of each window; padding counts as 0.
struct AvgPool2d : Pool {
  static constexpr std::string_view name = "avg_pool2d";
  static constexpr Saves saves = Saves::none;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor& out) const;
  void cuda(Inputs, Tensor& out) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// The transpose of AvgPool2d: the cotangent g of y -> the gradient of x, whose images have `size` pixels.
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
