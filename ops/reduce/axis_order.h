// The order in which a reduction reads the axes of a strided tensor, shared by CPU and GPU.
#pragma once
#include <bobbin/tensor.h>

#include <limits>
#include <utility>

namespace bobbin {

/// The kept and the reduced axes of x by falling stride; the reduced ones in row-major order if `in_order`.
struct AxisOrder {
  AxisOrder(const Tensor& x, const Axes& axes, bool in_order) {
    for (int i = 0; i < x.rank(); ++i) (axes.contains(i) ? reduced : kept).push_back(i);
    sort_by_stride(x, kept);
    if (!in_order) sort_by_stride(x, reduced);
  }

  static constexpr std::int64_t far = std::numeric_limits<std::int64_t>::max();
  /// The stride of an axis; `far` where its elements are repeated (stride 0) or it has only one.
  static std::int64_t distance(const Tensor& x, std::int64_t axis) {
    const int i = static_cast<int>(axis);
    return x.shape()[i] == 1 || x.strides()[i] == 0 ? far : x.strides()[i];
  }

  Axes kept, reduced;

 private:
  static void sort_by_stride(const Tensor& x, Axes& axes) {  // std::stable_sort would allocate
    for (int i = 1; i < axes.size(); ++i)
      for (int j = i; j > 0 && distance(x, axes[j - 1]) < distance(x, axes[j]); --j)
        std::swap(axes[j - 1], axes[j]);
  }
};

}  // namespace bobbin
