// Strided tensors read and written block by block, and copied. Kernels are written for contiguous arrays of
// one type: strides, broadcasting and conversion between dtypes are dealt with here, on the CPU.
// copy_elements and row_major work on every device.
#pragma once
#include <bobbin/tensor.h>

#include <optional>

#include "core/collapse.h"
#include "core/convert.h"

namespace bobbin {

/// A strided tensor as a sequence of elements in row-major order.
class StridedView {
 public:
  explicit StridedView(const Tensor& x) : StridedView(x, x.shape()) {}
  /// x broadcast to `shape`.
  StridedView(const Tensor& x, const Shape& shape);
  /// Elements of x's storage in another arrangement; `offset` is that of the first one in the storage.
  StridedView(const Tensor& x, const Shape& shape, const Strides& strides, std::int64_t offset);

  /// Elements [first, first + n), converted to `as`: where they lie if nothing is to be done, else in
  /// `scratch`. n is at most block_size where a conversion is needed and the elements are strided.
  const void* read(std::int64_t first, std::int64_t n, DType as, void* scratch) const;
  /// Overwrites elements [first, first + n) with those of `source`, of dtype `from`.
  void write(std::int64_t first, std::int64_t n, DType from, const void* source) const;

  std::int64_t numel() const { return numel_; }
  bool is_contiguous() const { return dims_.rank == 0 || (dims_.rank == 1 && dims_.stride[0][0] == 1); }

 private:
  template<class F>
  void for_each_run(std::int64_t first, std::int64_t n, F&& f) const;

  char* base_;
  DType dtype_;
  std::int64_t numel_;
  CollapsedDims<1> dims_;
};

/// Copies all elements of x, broadcast and converted, into y. Between any two devices.
void copy_elements(const Tensor& x, const Tensor& y);

/// x itself if it is row-major (and of that dtype), else a copy of it that is. Undefined stays undefined.
Tensor row_major(const Tensor& x, std::optional<DType> = {});

}  // namespace bobbin
