// What the row engine works on: tensors seen as outer x columns x inner, rows along `columns`.
#pragma once
#include <array>

#include "core/cuda/pack.cuh"
#include "core/strided_copy.h"

namespace bobbin::cuda {

class RowOperands {
 public:
  /// Of one or two inputs of one shape and dtype, on one GPU, in any strides; `out` is a fresh row-major
  /// tensor of their shape, or undefined where rows are only read. An input is read where it lies if it is
  /// row-major, or if its rows are, at an even pitch; from a multiple of 16 bytes on, like the output's. Any
  /// other is copied first.
  RowOperands(std::span<const Tensor> inputs, const Tensor& out, int axis) : out_(out) {
    const Tensor& x = inputs[0];
    columns = x.rank() ? x.shape()[axis] : 1;
    for (int i = 0; i < x.rank(); ++i) (i < axis ? outer : i > axis ? inner : unused_) *= x.shape()[i];
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      in_[k] = inputs[k];
      pitch[k] = columns;
      if (numel() == 0) continue;
      const bool aligned = is_aligned(inputs[k].raw());
      if (aligned && inputs[k].is_contiguous()) continue;
      std::int64_t apart = 0;
      const std::int64_t in_pack = 16 / size_of(x.dtype());
      if (aligned && inner == 1 && rows_at_a_pitch(inputs[k], axis, apart) && apart % in_pack == 0 &&
          columns % in_pack == 0)
        pitch[k] = apart;
      else
        bobbin::copy_elements(inputs[k], in_[k] = empty(x.spec()));
      dense = dense && pitch[k] == columns;
    }
  }

  Device device() const { return in_[0].device(); }
  std::int64_t numel() const { return outer * columns * inner; }
  const void* in(std::size_t k) const { return in_[k].raw(); }
  void* out() const { return out_.raw(); }

  std::int64_t outer = 1, columns = 1, inner = 1;
  std::array<std::int64_t, 2> pitch{};  ///< between rows of an input, in elements, where inner == 1
  bool dense = true;                    ///< every input is row-major

 private:
  // Whether elements of a row along `axis` are neighbours, and rows lie evenly apart. Axes after it have one
  // element.
  static bool rows_at_a_pitch(const Tensor& x, int axis, std::int64_t& pitch) {
    if (x.rank() && x.shape()[axis] > 1 && x.strides()[axis] != 1) return false;
    std::int64_t count = 1;
    for (int i = axis - 1; i >= 0; --i) {
      const std::int64_t n = x.shape()[i];
      if (n == 1) continue;
      if (count == 1) pitch = x.strides()[i];
      if (x.strides()[i] != pitch * count) return false;
      count *= n;
    }
    return true;
  }

  std::array<Tensor, 2> in_;
  Tensor out_;
  std::int64_t unused_ = 1;
};

}  // namespace bobbin::cuda
