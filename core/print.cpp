// operator<< and to_string of a tensor.
#include <bobbin/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "core/strided_copy.h"

namespace bobbin {
namespace {

constexpr std::int64_t elide_above = 1000;  // elements
constexpr std::int64_t edge = 3;            // elements shown at either end of an elided axis

// One format for all floating-point values that are shown, so that columns are aligned.
class Format {
 public:
  explicit Format(const std::vector<double>& values) {
    double small = INFINITY, large = 0;
    for (double v : values)
      if (std::isfinite(v) && v != 0) {
        small = std::min(small, std::abs(v));
        large = std::max(large, std::abs(v));
        whole_ = whole_ && v == std::trunc(v);
      }
    scientific_ = large >= 1e8 || (large != 0 && (large < 1e-4 || large / small > 1e6));
  }
  std::string operator()(double v) const {
    if (!std::isfinite(v)) return std::isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
    if (scientific_) return fmt::format("{:.4e}", v);
    return whole_ ? fmt::format("{:.0f}.", v) : fmt::format("{:.4f}", v);
  }

 private:
  bool scientific_ = false, whole_ = true;
};

// The indices that are shown along an axis; -1 stands for the elements that are left out.
std::vector<std::int64_t> shown(std::int64_t size, bool elide) {
  std::vector<std::int64_t> v;
  for (std::int64_t i = 0; i < size; ++i) {
    if (elide && size > 2 * edge && i == edge) {
      v.push_back(-1);
      i = size - edge;
    }
    v.push_back(i);
  }
  return v;
}

class Printer {
 public:
  explicit Printer(const Tensor& x) : x_(x), elide_(x.numel() > elide_above || x.numel() == 0) {
    collect(0, x.offset());
    const Format format(values_);
    for (double v : values_) texts_.push_back(format(v));
    for (auto& t : texts_) width_ = std::max(width_, t.size());
  }
  void print(std::ostream& out, int axis = 0) {
    if (axis == x_.rank()) {
      out << fmt::format("{:>{}}", texts_[next_++], x_.rank() ? width_ : 0);
      return;
    }
    out << '[';
    bool first = true;
    for (auto i : shown(x_.shape()[axis], elide_)) {
      if (!first) separate(out, axis);
      first = false;
      if (i < 0)
        out << "...";
      else
        print(out, axis + 1);
    }
    out << ']';
  }

 private:
  void collect(int axis, std::int64_t place) {
    if (axis == x_.rank()) {
      const Tensor element = x_.alias({}, {}, place);
      if (is_floating(x_.dtype()))
        values_.push_back(element.item());
      else if (x_.dtype() == DType::boolean)
        texts_.push_back(element.item<bool>() ? "true" : "false");
      else
        texts_.push_back(std::to_string(element.item<std::int64_t>()));  // a double would round it
      return;
    }
    for (auto i : shown(x_.shape()[axis], elide_))
      if (i >= 0) collect(axis + 1, place + i * x_.strides()[axis]);
  }
  void separate(std::ostream& out, int axis) const {
    if (axis == x_.rank() - 1) {
      out << ", ";
    } else {
      out << ',' << std::string(static_cast<std::size_t>(x_.rank() - 1 - axis), '\n')
          << std::string(static_cast<std::size_t>(axis) + 1, ' ');
    }
  }

  const Tensor& x_;
  bool elide_;
  std::vector<double> values_;
  std::vector<std::string> texts_;
  std::size_t width_ = 0, next_ = 0;
};

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& x) {
  if (!x) return out << "undefined tensor";
  out << x.spec() << (x.requires_grad() ? " requires_grad\n" : "\n");
  Printer(x).print(out);
  return out;
}

std::string to_string(const Tensor& x) {
  std::ostringstream out;
  out.exceptions(
      std::ios::badbit);  // rethrows std::bad_alloc, where a stream would leave the text incomplete
  out << x;
  return out.str();
}

}  // namespace bobbin
