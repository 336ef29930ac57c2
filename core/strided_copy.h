// Reads and writes strided tensors block by block, and copies them. CPU kernels work on contiguous arrays of
// one type; the functions here handle strides, broadcasting and conversion between dtypes for them.
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
  /// Elements of x's storage with another shape and other strides; `offset` is the position of the first one
  /// in the storage, in elements.
  StridedView(const Tensor& x, const Shape& shape, const Strides& strides, std::int64_t offset);

  /// Elements [first, first + n), converted to `as`. Returns their address in x if they are contiguous and of
  /// dtype `as`, else copies them to `scratch`. n is at most block_size if a conversion is needed and the
  /// elements are strided.
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

/// x itself if it is row-major (and of the given dtype), else a row-major copy. Undefined stays undefined.
Tensor row_major(const Tensor& x, std::optional<DType> = {});

}  // namespace bobbin
