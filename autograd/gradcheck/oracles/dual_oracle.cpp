// Derivatives of a scalar reference: one run on dual numbers for each input element, and for each pair of
// them in second order.
#include "autograd/gradcheck/oracles/dual_oracle.h"

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck/oracles/reference.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr std::size_t longest_second = 64;  // a cell of n elements costs n^3

// Sums of terms, with S, k and E of the tolerance.
class Sums {
 public:
  explicit Sums(std::int64_t n)
      : total_(static_cast<std::size_t>(n)), size_(total_), error_(total_), count_(total_) {}
  void add(std::int64_t i, double weight, const Rounded& slope) {
    const auto at = static_cast<std::size_t>(i);
    total_[at] += weight * slope.value;
    size_[at] += std::abs(weight * slope.value);
    error_[at] += std::abs(weight) * slope.error;
    ++count_[at];
  }
  Judged judged() && {
    for (std::size_t i = 0; i < size_.size(); ++i)
      size_[i] = ((8 + 2 * count_[i]) * size_[i] + 8 * error_[i]) * 0x1p-53;
    return {std::move(total_), std::move(size_)};
  }

 private:
  std::vector<double> total_, size_, error_, count_;
};

std::vector<std::vector<double>> values_of(Inputs x) {
  std::vector<std::vector<double>> out;
  for (const Tensor& t : x)
    out.push_back(t && is_floating(t.dtype()) ? t.to_vector<double>() : std::vector<double>());
  return out;
}
std::vector<Sums> sums_of(Inputs x) {
  std::vector<Sums> out;
  for (const Tensor& t : x) out.emplace_back(t && is_floating(t.dtype()) ? t.numel() : 0);
  return out;
}
std::vector<Judged> judged(std::vector<Sums>& sums) {
  std::vector<Judged> out;
  for (Sums& s : sums) out.push_back(std::move(s).judged());
  return out;
}

template<class T>
void load(const Cell& cell, const std::vector<std::vector<double>>& x, std::vector<T>& in) {
  in.clear();
  for (auto& slot : cell.in)
    in.push_back(T(x[static_cast<std::size_t>(slot.input)][static_cast<std::size_t>(slot.element)]));
}

}  // namespace

std::optional<DualGradients> dual_vjp(const OpBase& op, Inputs inputs, const Tensor& cotangent) {
  const auto reference = reference_of(op, inputs);
  if (!reference) return {};
  const auto x = values_of(inputs);
  const auto v = cotangent.to_vector<double>();
  auto sums = sums_of(inputs);
  std::vector<First> in, out;
  for (std::size_t c = 0; c < reference->cells.size(); ++c) {
    const Cell& cell = reference->cells[c];
    load(cell, x, in);
    for (std::size_t p = 0; p < in.size(); ++p) {
      in[p].slope = Rounded(1);
      out.assign(cell.out.size(), First(0));
      reference->eval(c, std::span<const First>(in), std::span(out));
      in[p].slope = Rounded(0);
      Sums& sum = sums[static_cast<std::size_t>(cell.in[p].input)];
      for (std::size_t j = 0; j < out.size(); ++j)
        sum.add(cell.in[p].element, v[static_cast<std::size_t>(cell.out[j])], out[j].slope);
    }
  }
  return DualGradients{judged(sums), {}};
}

std::optional<DualGradients> dual_vjp2(const OpBase& op, Inputs inputs, const Tensor& cotangent,
                                       std::span<const Tensor> weights) {
  const auto reference = reference_of(op, inputs);
  if (!reference ||
      std::ranges::any_of(reference->cells, [](const Cell& c) { return c.in.size() > longest_second; }))
    return {};
  const auto x = values_of(inputs), w = values_of(weights);
  const auto v = cotangent.to_vector<double>();
  auto sums = sums_of(inputs);
  Sums along(cotangent.numel());
  std::vector<Second> in, out;
  for (std::size_t c = 0; c < reference->cells.size(); ++c) {
    const Cell& cell = reference->cells[c];
    load(cell, x, in);
    for (std::size_t p = 0; p < in.size(); ++p) {
      const auto& [input, element] = cell.in[p];
      const double weight = w[static_cast<std::size_t>(input)][static_cast<std::size_t>(element)];
      in[p].slope.value = Rounded(1);
      for (std::size_t q = 0; q < in.size(); ++q) {
        in[q].value.slope = Rounded(1);
        out.assign(cell.out.size(), Second(0));
        reference->eval(c, std::span<const Second>(in), std::span(out));
        in[q].value.slope = Rounded(0);
        Sums& sum = sums[static_cast<std::size_t>(cell.in[q].input)];
        for (std::size_t j = 0; j < out.size(); ++j) {
          sum.add(cell.in[q].element, v[static_cast<std::size_t>(cell.out[j])] * weight, out[j].slope.slope);
          if (q == 0) along.add(cell.out[j], weight, out[j].slope.value);
        }
      }
      in[p].slope.value = Rounded(0);
    }
  }
  return DualGradients{judged(sums), std::move(along).judged()};
}

}  // namespace bobbin::gradcheck_detail
