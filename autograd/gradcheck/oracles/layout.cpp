// Calls functions on strided and expanded inputs, and on batches of one row.
#include "autograd/gradcheck/oracles/layout.h"

#include <bobbin/autograd.h>
#include <bobbin/elementwise.h>
#include <bobbin/random.h>
#include <bobbin/view.h>
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>

#include "autograd/gradcheck/oracles/gradients.h"

namespace bobbin::gradcheck_detail {
namespace {

Tensor strided(const Tensor& x) {
  Shape shape;
  bobbin::Axes order;
  for (int i = x.rank() - 1; i >= 0; --i) {
    shape.push_back(x.shape()[i] * 2 + 1);
    order.push_back(i);
  }
  Tensor y = permute(full(shape, 1, x.dtype(), x.device()), order);
  for (int i = 0; i < x.rank(); ++i) y = slice(y, i, 1, y.shape()[i], 2);
  return y.copy_(x);
}

struct Result {
  Tensor y;
  std::vector<Tensor> gradients;
};

// Calls f and runs backward. `leaves` keep their strides.
Result differentiate(const std::function<Tensor(Inputs)>& f, std::span<Tensor> leaves, std::uint64_t seed,
                     const Tensor& cotangent = {}) {
  for (Tensor& x : leaves)
    if (varied(x)) x.set_requires_grad();
  default_generator() = {seed, 0};
  Result w{f(leaves), {}};
  const std::vector<Tensor> y{w.y};
  const std::vector<Tensor> v = cotangent ? std::vector<Tensor>{cotangent} : random_cotangents(y);
  w.gradients = weighted_gradients(y, v, floating(leaves), CreateGraph::no);
  return w;
}

// Describes a difference that is larger than another order of sums can cause; empty if there is none.
std::string difference(std::string_view what, const Tensor& a, const Tensor& b) {
  const Flat x = a.to_vector<double>(), y = b.to_vector<double>();
  double largest = 0;
  for (const double v : y)
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    if (!(std::abs(x[i] - y[i]) <= 1e-13 * largest))
      return fmt::format("{}, flat index {}: {:.17g}, and {:.17g} from contiguous inputs", what, i, x[i],
                         y[i]);
  }
  return {};
}

bool same_bits(const Tensor& a, const Tensor& b) {
  const Flat x = a.to_vector<double>(), y = b.to_vector<double>();
  for (std::size_t i = 0; i < x.size(); ++i)
    if (std::bit_cast<std::uint64_t>(x[i]) != std::bit_cast<std::uint64_t>(y[i])) return false;
  return true;
}

// A copy of x with NaN in all rows but one.
Tensor only_row(const Tensor& x, std::int64_t row) {
  Tensor y = full(x.shape(), std::numeric_limits<double>::quiet_NaN(), x.dtype(), x.device());
  slice(y, 0, row, row + 1).copy_(slice(x.detach(), 0, row, row + 1));
  return y;
}

}  // namespace

std::string_view name(Layout layout) {
  constexpr std::string_view names[] = {"contiguous", "strided", "expanded"};
  return names[static_cast<int>(layout)];
}

Tensor laid_out(const Tensor& x, Layout layout) {
  if (layout == Layout::strided) return strided(x.detach());
  if (layout == Layout::contiguous || x.rank() == 0 || x.shape()[0] == 0) return clone(x.detach());
  return expand(clone(slice(x.detach(), 0, 0, 1)), x.shape());
}

std::string compare_layout(const std::function<Tensor(Inputs)>& f, Inputs inputs, Layout layout,
                           std::uint64_t seed) {
  std::vector<Tensor> laid, plain;
  for (const Tensor& x : inputs) {
    laid.push_back(x ? laid_out(x, layout) : x);
    plain.push_back(x ? clone(laid.back()) : x);
  }
  const Result a = differentiate(f, laid, seed), b = differentiate(f, plain, seed);
  if (auto found = difference("result", a.y, b.y); !found.empty()) return found;
  for (std::size_t i = 0; i < a.gradients.size(); ++i)
    if (auto found = difference(fmt::format("gradient {}", i), a.gradients[i], b.gradients[i]);
        !found.empty())
      return found;
  return {};
}

std::string compare_rows(const std::function<Tensor(Inputs)>& f, Inputs inputs, std::uint64_t seed) {
  std::vector<Tensor> x = leaves(inputs);
  const Tensor like = f(x).detach(), v = random_cotangent(like);
  const Result all = differentiate(f, x, seed, v);
  for (std::int64_t row = 0; row < x.front().shape()[0]; ++row) {
    std::vector<Tensor> alone = leaves(inputs);
    alone.front() = only_row(x.front(), row);
    const Result one = differentiate(f, alone, seed, only_row(v, row));
    const auto own = [row](const Tensor& t) { return slice(t.detach(), 0, row, row + 1); };
    if (!same_bits(own(one.y), own(all.y)))
      return fmt::format("row {} of the result depends on other rows", row);
    if (!same_bits(own(one.gradients.front()), own(all.gradients.front())))
      return fmt::format("row {} of the gradient depends on other rows", row);
  }
  return {};
}

}  // namespace bobbin::gradcheck_detail
