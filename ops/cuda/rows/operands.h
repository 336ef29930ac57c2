// The operands of the row engine: tensors as outer x columns x inner elements, with rows along `columns`.
#pragma once
#include <bobbin/tensor.h>

#include <array>
#include <span>

namespace bobbin::cuda {

class RowOperands {
 public:
  /// For one or two inputs of one shape and dtype, on one GPU, with any strides. `out` is a new row-major
  /// tensor of their shape, or undefined if rows are only read. The engine reads an input in place if it
  /// begins at a multiple of 16 bytes and is row-major, or has rows of whole packs at a constant pitch of
  /// whole packs. It copies any other input first.
  RowOperands(std::span<const Tensor> inputs, const Tensor& out, int axis);

  Device device() const { return in_[0].device(); }
  std::int64_t numel() const { return outer * columns * inner; }
  const void* in(std::size_t k) const { return in_[k].raw(); }
  void* out() const { return out_.raw(); }

  std::int64_t outer = 1, columns = 1, inner = 1;
  std::array<std::int64_t, 2> pitch{};  ///< elements between rows of an input, where inner == 1

 private:
  std::array<Tensor, 2> in_;
  Tensor out_;
};

}  // namespace bobbin::cuda
