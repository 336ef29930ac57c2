// Tensor: a handle on a strided view of memory, and on the record of how it was computed. Copying the handle
// copies no elements. Operations are free functions (ops.h); this header has construction, inspection and
// data movement.
#pragma once
#include <bobbin/allocator.h>
#include <bobbin/error.h>
#include <bobbin/shape.h>

#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <vector>

/// Tensors, a tape that records operations, and gradients of any order.
namespace bobbin {

class Tensor;
struct Node;

/// Gets the gradient of a tensor when it is complete; returns a replacement, or an undefined tensor to keep
/// the gradient.
using Hook = std::function<Tensor(const Tensor& grad)>;

namespace detail {
struct TensorImpl {
  TensorSpec spec;
  Strides strides;          // in elements
  std::int64_t offset = 0;  // of the first element in the storage, in elements
  std::shared_ptr<Storage> storage;
  std::shared_ptr<Node> node;  // null: needs no gradient
};
}  // namespace detail

/// A handle on a strided view of a storage, and on its node on the tape. Copies share elements and gradient.
/// Most members of an undefined tensor throw Error.
class Tensor {
 public:
  /// An undefined tensor: no shape, no elements. Stands for "no gradient" and "argument not given".
  Tensor() = default;
  /// Whether it is defined.
  explicit operator bool() const { return impl_ != nullptr; }

  /// Shape, dtype and device.
  const TensorSpec& spec() const { return impl().spec; }
  /// Sizes of the axes.
  const Shape& shape() const { return impl().spec.shape; }
  /// The stride of each axis, in elements; 0 where an axis is broadcast.
  const Strides& strides() const { return impl().strides; }
  /// Type of the elements.
  DType dtype() const { return impl().spec.dtype; }
  /// Where the elements are.
  Device device() const { return impl().spec.device; }
  /// The number of axes; 0 for a scalar.
  int rank() const { return shape().size(); }
  /// The size of an axis, counted from the end when negative. Throws ShapeError.
  std::int64_t size(int axis) const { return shape()[normalize_axis("size", axis, rank())]; }
  /// The number of elements.
  std::int64_t numel() const { return bobbin::numel(shape()); }
  /// Whether the elements are in row-major order in memory, without gaps.
  bool is_contiguous() const;

  /// The elements, row-major. Throws unless T is the dtype's C++ type, and the tensor is contiguous and on
  /// the CPU; `contiguous` and `to` (ops.h) make such a tensor, and `to_vector` copies any tensor.
  template<Element T>
  std::span<const T> data() const {
    return {static_cast<const T*>(checked_data(dtype_of<T>())), static_cast<std::size_t>(numel())};
  }
  /// The same for writing, on the CPU; counts as an in-place edit.
  template<Element T>
  std::span<T> mutable_data() {
    T* elements = static_cast<T*>(checked_data(dtype_of<T>()));
    guard_edit("mutable_data");
    return {elements, static_cast<std::size_t>(numel())};
  }
  /// The address of the first element, on the tensor's device; null if there is none. Checks nothing, and
  /// does not count as an edit. For kernels.
  template<class T = void>
  T* raw() const {
    char* const data = impl_ ? static_cast<char*>(impl_->storage->data) : nullptr;
    return static_cast<T*>(data ? static_cast<void*>(data + impl_->offset * size_of(impl_->spec.dtype))
                                : nullptr);
  }

  /// All elements in row-major order, converted to T. Copies from the device and waits for it.
  template<Element T>
  std::vector<T> to_vector() const {
    std::unique_ptr<T[]> v(new T[static_cast<std::size_t>(numel())]);  // vector<bool> has no data()
    read_as(dtype_of<T>(), v.get());
    return std::vector<T>(v.get(), v.get() + numel());
  }
  /// The only element, converted to T. Throws ShapeError unless numel() is 1. Waits for the device.
  template<Element T = double>
  T item() const {
    check_single();
    T v;
    read_as(dtype_of<T>(), &v);
    return v;
  }
  /// One element by its index, as a double. Throws IndexError. Slow: for inspection, not for computations.
  double at(const Dims& index) const;

  /// Overwrites all elements (in-place edit). Throws GradError while recording, if this tensor needs a
  /// gradient, and ValueError if no element of the dtype is `value` (0.5 or 300 in u8).
  Tensor& fill_(double value);
  /// Overwrites all elements with those of `source`, broadcast and converted, from any device.
  Tensor& copy_(const Tensor& source);
  /// The number of in-place edits of the storage so far, through any view of it.
  std::uint64_t version() const { return impl().storage->version; }

  /// Whether gradients flow to this tensor.
  bool requires_grad() const { return impl().node != nullptr; }
  /// true: makes this tensor a leaf whose gradient `backward` accumulates (floating dtypes only). false: ends
  /// that. Throws GradError if the tensor was computed by a recorded operation.
  Tensor& set_requires_grad(bool on = true);
  /// Whether no recorded operation computed it.
  bool is_leaf() const;
  /// The gradient that backward accumulated; undefined before. Not on the tape.
  Tensor grad() const;
  /// Sets grad(); an undefined tensor removes it. Throws GradError if this tensor needs no gradient,
  /// ShapeError if the spec of `grad` differs.
  void set_grad(Tensor grad);
  /// Lets backward keep the gradient of a tensor that is not a leaf.
  void retain_grad();
  /// Registers a hook on this tensor's gradient; hooks run in order. Returns a number for remove_hook. A hook
  /// may register and remove hooks: a new one runs from the next backward pass on, a removed one no more.
  int register_hook(Hook);
  /// Removes the hook of this number, if there is one.
  void remove_hook(int);
  /// The same elements, without a node on the tape.
  Tensor detach() const;

  /// Whether no other handle, view or saved tensor shares the elements.
  bool is_sole_owner() const { return impl_.use_count() == 1 && impl_->storage.use_count() == 1; }
  /// A view of the same storage: strides and offset (from the storage's start) in elements. No check.
  Tensor alias(const Shape&, const Strides&, std::int64_t offset) const;
  /// The position of the first element in the storage, in elements.
  std::int64_t offset() const { return impl().offset; }
  /// The memory of the elements.
  const std::shared_ptr<Storage>& storage() const { return impl().storage; }
  /// Its node on the tape; null if it needs no gradient.
  const std::shared_ptr<Node>& node() const { return impl().node; }
  /// Sets its node on the tape. For `record` and the engine.
  void set_node(std::shared_ptr<Node> n) { impl_->node = std::move(n); }

 private:
  friend Tensor empty(const TensorSpec&);
  friend Tensor from_blob(void*, const TensorSpec&, std::shared_ptr<const void>);
  const detail::TensorImpl& impl() const {
    if (!impl_) undefined();
    return *impl_;
  }
  [[noreturn]] static void undefined();
  void* checked_data(DType) const;
  void check_single() const;
  void read_as(DType, void* out) const;
  void guard_edit(std::string_view what);

  std::shared_ptr<detail::TensorImpl> impl_;
};

/// Row-major and uninitialised. Throws ShapeError, DeviceError, OutOfMemory.
Tensor empty(const TensorSpec&);
/// The same for a shape, a dtype and a device.
inline Tensor empty(const Shape& s, DType t = DType::f32, Device d = {}) {
  return empty(TensorSpec{s, t, d});
}
/// A tensor of row-major elements in the caller's memory on the CPU. `owner` is kept as long as any tensor
/// uses the memory; if it is null, the caller keeps the memory that long. Bobbin never frees it. In-place
/// edits write there. Throws DeviceError, and ValueError if the memory is not aligned to the elements, is
/// null while there are elements, or could not hold them.
Tensor from_blob(void* data, const TensorSpec&, std::shared_ptr<const void> owner);
/// All elements `value`, rounded to a floating dtype. Throws ValueError if no element of an integer dtype or
/// of bool is `value`.
Tensor full(const Shape&, double value, DType = DType::f32, Device = {});
/// All elements 0.
inline Tensor zeros(const Shape& s, DType t = DType::f32, Device d = {}) { return full(s, 0, t, d); }
/// All elements 1.
inline Tensor ones(const Shape& s, DType t = DType::f32, Device d = {}) { return full(s, 1, t, d); }
/// Uninitialised, of the spec of x.
inline Tensor empty_like(const Tensor& x) { return empty(x.spec()); }
/// All elements v, of the spec of x.
inline Tensor full_like(const Tensor& x, double v) { return full(x.shape(), v, x.dtype(), x.device()); }
/// Zeros of the spec of x.
inline Tensor zeros_like(const Tensor& x) { return full_like(x, 0); }
/// Ones of the spec of x.
inline Tensor ones_like(const Tensor& x) { return full_like(x, 1); }
/// start, start + step, ... up to but not including stop; integer dtypes cut off fractions. Throws ValueError
/// for a range that is not finite or leaves the range of an integer dtype.
Tensor arange(double start, double stop, double step = 1, DType = DType::i64, Device = {});
/// 0, 1, ... n - 1.
inline Tensor arange(std::int64_t n, DType t = DType::i64) { return arange(0, static_cast<double>(n), 1, t); }
/// n evenly spaced values from first to last, both included; integer dtypes cut off fractions. Throws
/// ValueError for a negative n, and for ends that are not finite or leave the range of an integer dtype.
Tensor linspace(double first, double last, std::int64_t n, DType = DType::f32, Device = {});
/// The n x n identity matrix.
Tensor eye(std::int64_t n, DType = DType::f32, Device = {});

/// The argument of `tensor`: a number, or a braced list of lists of the same length.
class Nested {
 public:
  /// A number.
  Nested(double v) : values_{v} {}
  /// A list; throws ShapeError if its parts differ in shape.
  Nested(std::initializer_list<Nested>);
  /// Lengths of the lists, outermost first; none for a number.
  const Shape& shape() const { return shape_; }
  /// All numbers, row-major.
  const std::vector<double>& values() const { return values_; }

 private:
  Shape shape_;
  std::vector<double> values_;
};
/// tensor({{1, 2, 3}, {1, 3, 5}}) is f32[2,3]. Throws ShapeError when lists differ in length, and ValueError
/// if no element of an integer dtype or of bool is one of the numbers.
Tensor tensor(const Nested&, DType = DType::f32, Device = {});

/// Copies a span or any range of elements. The dtype is that of the element type. The shape (default: one
/// dimension) must have as many elements as the range.
template<std::ranges::input_range R>
requires Element<std::ranges::range_value_t<R>> Tensor from_range(R&& range,
                                                                  std::optional<Shape> shape = {}) {
  using T = std::ranges::range_value_t<R>;
  std::vector<T> copy;
  for (auto&& x : range) copy.push_back(x);
  const auto n = static_cast<std::int64_t>(copy.size());
  if (!shape) shape = Shape{n};
  if (numel(*shape) != n) fail<ShapeError>("from_range: shape ", *shape, " does not hold ", n, " elements");
  Tensor t = empty(*shape, dtype_of<T>());
  std::ranges::copy(copy, t.mutable_data<T>().begin());
  return t;
}

/// Writes shape and dtype on the first line, then the values; long axes are shortened.
std::ostream& operator<<(std::ostream&, const Tensor&);
/// The text that << writes.
std::string to_string(const Tensor&);

}  // namespace bobbin
