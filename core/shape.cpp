// Arithmetic on shapes, strides and axes, with the checks of their arguments.
#include <bobbin/error.h>
#include <bobbin/shape.h>

#include <algorithm>
#include <optional>
#include <ostream>

namespace bobbin {

void Dims::too_long() { fail<ShapeError>("a tensor has at most ", max_rank, " dimensions"); }

std::ostream& operator<<(std::ostream& out, const Dims& dims) {
  out << '[';
  // As text, because a number would be written with the separators of the stream's locale: "[2.000]".
  for (int i = 0; i < dims.size(); ++i) out << (i ? "," : "") << std::to_string(dims[i]);
  return out << ']';
}

std::ostream& operator<<(std::ostream& out, const TensorSpec& spec) {
  out << spec.dtype << spec.shape;
  if (!spec.device.is_cpu()) out << '@' << spec.device;
  return out;
}

namespace {

// The number of elements; nullopt if it is 2^63 or more. No size is negative.
std::optional<std::int64_t> count(const Shape& shape) {
  std::int64_t n = 1;
  bool overflow = false;
  for (auto size : shape) overflow |= __builtin_mul_overflow(n, size, &n);
  if (overflow) return shape.contains(0) ? std::optional<std::int64_t>(0) : std::nullopt;
  return n;
}

}  // namespace

std::int64_t numel(const Shape& shape) {
  for (auto size : shape)
    if (size < 0) fail<ShapeError>("shape ", shape, " has a negative size");
  const auto n = count(shape);
  if (!n) fail<ShapeError>("shape ", shape, " holds more than 2^63 elements");
  return *n;
}

void require_countable(std::string_view op, const Shape& shape) {
  if (!count(shape)) fail<ShapeError>(op, ": shape ", shape, " would hold 2^63 elements or more");
}

Strides contiguous_strides(const Shape& shape) {
  Strides strides = Strides::filled(shape.size(), 1);
  if (shape.contains(0)) return strides;  // nothing to step over, and the other sizes may overflow
  for (int i = shape.size() - 2; i >= 0; --i) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

Shape broadcast(std::string_view op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.size(), b.size());
  Shape out = Shape::filled(rank, 1);
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.size()), ib = i - (rank - b.size());
    const std::int64_t sa = ia < 0 ? 1 : a[ia], sb = ib < 0 ? 1 : b[ib];
    if (sa != sb && sa != 1 && sb != 1)
      fail<ShapeError>(op, ": shapes ", a, " and ", b, " do not broadcast: sizes ", sa, " and ", sb,
                       " differ and neither is 1");
    out[i] = sa == 1 ? sb : sa;
  }
  require_countable(op, out);
  return out;
}

int normalize_axis(std::string_view op, std::int64_t axis, int rank) {
  if (axis < -rank || axis >= rank)
    fail<ShapeError>(op, ": axis ", axis, " is out of range for ", rank,
                     rank == 1 ? " dimension" : " dimensions");
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Axes normalize_axes(std::string_view op, const Axes& axes, int rank) {
  Axes out;
  for (auto axis : axes) out.push_back(normalize_axis(op, axis, rank));
  if (axes.empty())
    for (int i = 0; i < rank; ++i) out.push_back(i);
  std::sort(out.begin(), out.end());
  if (std::adjacent_find(out.begin(), out.end()) != out.end())
    fail<ShapeError>(op, ": axes ", axes, " name an axis twice");
  return out;
}

}  // namespace bobbin
