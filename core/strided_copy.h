// Strided views read and written in contiguous blocks: kernels are written for contiguous arrays of one type,
// and this is where strides, broadcasting and dtype conversion happen. On the CPU, but for the copies at the
// end.
#pragma once
#include <bobbin/tensor.h>

#include <optional>

namespace bobbin {

/// Elements a kernel takes at once: three operands of doubles stay in the L1 cache.
inline constexpr std::int64_t block_size = 1024;

/// Converts n elements, `step` elements apart at the source, to `to`. Floating to integer truncates,
/// saturates, and takes NaN to 0; anything to bool is x != 0.
void convert(DType from, const void* source, std::int64_t step, DType to, void* target, std::int64_t n);

/// A view seen as a row-major sequence of elements, with neighbouring dimensions merged where strides allow.
class BlockView {
 public:
  explicit BlockView(const Tensor& x) : BlockView(x, x.shape()) {}
  /// x broadcast to `shape`.
  BlockView(const Tensor& x, const Shape& shape);
  /// Elements of x's storage in another arrangement; `offset` is that of the first one.
  BlockView(const Tensor& x, const Shape& shape, const Strides& strides, std::int64_t offset);

  /// Elements [first, first + n) as dtype `as`: in place where they lie so already, else gathered into
  /// `scratch`.
  const void* read(std::int64_t first, std::int64_t n, DType as, void* scratch) const;
  /// Overwrites elements [first, first + n) with those of `source`, of dtype `from`.
  void write(std::int64_t first, std::int64_t n, DType from, const void* source) const;

  std::int64_t numel() const { return numel_; }
  bool is_contiguous() const { return shape_.size() <= 1 && (shape_.empty() || strides_[0] == 1); }

 private:
  void merge(const Shape&, const Strides&);
  template<class F>
  void runs(std::int64_t first, std::int64_t n, F&& f) const;

  char* base_;
  DType dtype_;
  Shape shape_;
  Strides strides_;
  std::int64_t numel_;
};

/// Copies all elements of x, broadcast and converted, into y. Between any two devices.
void copy_elements(const Tensor& x, const Tensor& y);

/// x itself if it is row-major (and of that dtype), else a copy of it that is. Undefined stays undefined.
Tensor row_major(const Tensor& x, std::optional<DType> = {});

}  // namespace bobbin
