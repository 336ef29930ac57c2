// Shapes, strides, and the description of a tensor without its elements.
#pragma once
#include <bobbin/device.h>
#include <bobbin/dtype.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>

namespace bobbin {

/// The largest number of dimensions a tensor may have.
inline constexpr int max_rank = 8;

/// Up to max_rank integers, stored without an allocation: sizes, strides or axes. Throws ShapeError for more.
class Dims {
 public:
  /// No integers: the shape of a scalar.
  constexpr Dims() = default;
  /// The integers in braces.
  constexpr Dims(std::initializer_list<std::int64_t> v) { assign(v.begin(), v.size()); }
  /// A copy of v.
  constexpr explicit Dims(std::span<const std::int64_t> v) { assign(v.data(), v.size()); }
  /// `rank` times `value`.
  static constexpr Dims filled(int rank, std::int64_t value) {
    Dims d;
    for (int i = 0; i < rank; ++i) d.push_back(value);
    return d;
  }

  /// The number of integers.
  constexpr int size() const { return size_; }
  /// Whether there are no integers.
  constexpr bool empty() const { return size_ == 0; }
  /// Number i, from 0; not checked.
  constexpr std::int64_t& operator[](int i) { return v_[static_cast<std::size_t>(i)]; }
  /// Number i, from 0; not checked.
  constexpr std::int64_t operator[](int i) const { return v_[static_cast<std::size_t>(i)]; }
  /// The last integer; there must be one.
  constexpr std::int64_t back() const { return (*this)[size_ - 1]; }
  /// The first one.
  constexpr const std::int64_t* begin() const { return v_.data(); }
  /// Past the last one.
  constexpr const std::int64_t* end() const { return v_.data() + size_; }
  /// The first one.
  constexpr std::int64_t* begin() { return v_.data(); }
  /// Past the last one.
  constexpr std::int64_t* end() { return v_.data() + size_; }
  /// Appends x.
  constexpr void push_back(std::int64_t x) {
    if (size_ == max_rank) too_long();
    v_[static_cast<std::size_t>(size_++)] = x;
  }
  /// Inserts x before number `at`.
  constexpr void insert(int at, std::int64_t x) {
    push_back(x);
    for (int i = size_ - 1; i > at; --i) std::swap((*this)[i], (*this)[i - 1]);
  }
  /// Removes number `at`.
  constexpr void erase(int at) {
    for (int i = at; i + 1 < size_; ++i) (*this)[i] = (*this)[i + 1];
    --size_;
  }
  /// Whether one of them is x.
  constexpr bool contains(std::int64_t x) const {
    for (auto y : *this)
      if (x == y) return true;
    return false;
  }
  /// Whether both hold the same numbers in the same order.
  friend constexpr bool operator==(const Dims& a, const Dims& b) {
    if (a.size_ != b.size_) return false;
    for (int i = 0; i < a.size_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }

 private:
  constexpr void assign(const std::int64_t* p, std::size_t n) {
    if (n > static_cast<std::size_t>(max_rank)) too_long();
    for (std::size_t i = 0; i < n; ++i) v_[i] = p[i];
    size_ = static_cast<int>(n);
  }
  [[noreturn]] static void too_long();

  std::array<std::int64_t, max_rank> v_{};
  int size_ = 0;
};

using Shape = Dims;    ///< sizes
using Strides = Dims;  ///< distances between neighbours on an axis, in elements
using Axes = Dims;     ///< numbers of axes; negative numbers count from the end

std::ostream& operator<<(std::ostream&, const Dims&);  ///< "[2,3]"

/// The number of elements of a shape. Throws ShapeError for a negative size or 2^63 elements or more.
std::int64_t numel(const Shape&);

/// Throws ShapeError that begins with `op` if the shape, whose sizes are not negative, holds 2^63 elements or
/// more.
void require_countable(std::string_view op, const Shape&);

/// Row-major strides, in elements.
Strides contiguous_strides(const Shape&);

/// The shape that both broadcast to, by NumPy's rule. Throws ShapeError that begins with `op`, also if it
/// would hold 2^63 elements or more.
Shape broadcast(std::string_view op, const Shape& a, const Shape& b);

/// The number of an axis in [0, rank); a negative one counts from the end. Throws ShapeError that begins with
/// `op`.
int normalize_axis(std::string_view op, std::int64_t axis, int rank);

/// The sorted numbers of axes; negative ones count from the end; no axes means all axes. Throws ShapeError
/// that begins with `op`, also if an axis is named twice.
Axes normalize_axes(std::string_view op, const Axes&, int rank);

/// The description of a tensor without its elements.
struct TensorSpec {
  Shape shape;               ///< sizes of the axes; none for a scalar
  DType dtype = DType::f32;  ///< of the elements
  Device device;             ///< where the elements are
  /// Whether all three agree.
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

std::ostream& operator<<(std::ostream&, const TensorSpec&);  ///< "f32[2,3]", "f32[2,3]@cuda:0"

}  // namespace bobbin
