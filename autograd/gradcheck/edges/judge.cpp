// The comparison of results near the ends of a dtype's range.
#include "autograd/gradcheck/edges/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <set>

#include "autograd/gradcheck/precision/tolerance.h"
#include "ops/elementwise/activation.h"
#include "ops/elementwise/binary.h"
#include "ops/elementwise/unary.h"
#include "ops/loss/elementwise_loss.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr std::size_t kept = 10;

// A quiet NaN with a payload that no computation gives.
constexpr std::uint64_t unknown_bits = 0x7ff8'0000'0b0b'b1b1;

// The magnitude of the largest element that is finite.
double largest_of(const std::vector<double>& v) {
  double most = 0;
  for (const double e : v)
    if (std::isfinite(e)) most = std::max(most, std::abs(e));
  return most;
}

}  // namespace

Allowed allowed_for(std::string_view op, Device device, Allowed allowed) {
  static const std::set<std::string_view> of_probabilities{"softmax_backward", "log_softmax_backward",
                                                           "cross_entropy", "cross_entropy_backward"},
      of_exponentials{"softmax",
                      "masked_softmax",
                      "log_softmax",
                      "softmax_backward",
                      "logsumexp",
                      "log_softmax_backward",
                      "cross_entropy",
                      "cross_entropy_backward",
                      "scaled_dot_product_attention"};
  allowed.any_special = of_probabilities.contains(op);
  allowed.flushes = device.is_cuda() && of_exponentials.contains(op);
  return allowed;
}

bool is_elementwise(std::string_view op) {
#define BOBBIN_NAME(Kind, Op) Op::name,
  static const std::set<std::string_view> names{
      BOBBIN_UNARY_OPS(BOBBIN_NAME) BOBBIN_ACTIVATION_OPS(BOBBIN_NAME) BOBBIN_BACKWARD_OPS(BOBBIN_NAME)
          BOBBIN_BINARY_OPS(BOBBIN_NAME) BOBBIN_COMPARISON_OPS(BOBBIN_NAME) BOBBIN_LOSS_OPS(BOBBIN_NAME)};
#undef BOBBIN_NAME
  return names.contains(op);
}

double overflow_threshold(DType d) {
  if (d == DType::f64) return std::numeric_limits<double>::infinity();
  const int bits = format(d).bits, highest = format(d).most();
  return std::ldexp(1, highest + 1) - std::ldexp(1, highest - bits - 1);
}
double smallest(DType d) { return std::ldexp(1, format(d).least - format(d).bits); }

std::vector<double> sizes_of(Inputs x) {
  std::vector<double> out;
  for (const Tensor& t : x) out.push_back(t && is_floating(t.dtype()) ? largest(t) : 0);
  return out;
}

double Judge::unknown() { return std::bit_cast<double>(unknown_bits); }

void Judge::operator()(std::span<const Part> got, std::span<const Part> want,
                       const std::string& circumstances) {
  if (got.size() != want.size()) {
    report_.failure = fmt::format("{}: {} results, not {}", circumstances, got.size(), want.size());
    return;
  }
  Before before;
  std::vector<std::vector<Part>> nudged;
  for (int order = 0; order <= 2; ++order) {
    for (std::size_t i = 0; i < got.size(); ++i) {
      const Part& p = want[i];
      if (p.order != order) continue;
      before.weight = std::max(1., std::pow(weight_, order));
      before.terms = order == 2 ? terms(p, want) : 0;
      before.natural = order == 0 ? 0 : allowed_.natural * largest_of(want.front().values);
      for (const int input : {p.input, order == 2 ? p.of : -1})
        if (const auto k = static_cast<std::size_t>(input); k < sizes_.size() && sizes_[k] > 0)
          before.natural /= sizes_[k];
      before.spread = [&, i] {
        constexpr std::uint64_t times = 3;
        for (std::uint64_t n = 0; nudged_ && nudged.size() < times; ++n) nudged.push_back(nudged_(n));
        double most = 0;
        for (auto& parts : nudged)
          for (std::size_t k = 0; k < p.values.size(); ++k)
            if (const double d = std::abs(parts[i].values[k] - p.values[k]); std::isfinite(d))
              most = std::max(most, d);
        return most;
      };
      compare(got[i], p, before, circumstances);
    }
    for (const Part& p : want) {
      if (p.order != order || !is_floating(p.dtype)) continue;
      before.over.resize(std::max(before.over.size(), p.values.size()));
      for (std::size_t k = 0; k < p.values.size(); ++k) {
        const double size = std::abs(p.values[k]);
        const bool over = (std::isfinite(size) || allowed_.finite) && size >= overflow_threshold(dtype_);
        const bool under = size > 0 && size < std::ldexp(1, format(dtype_).least);
        if (elementwise_ ? over || under : over) before.over[k] = 1;
        before.under |= under;
      }
    }
  }
}

// A derivative for the cotangent sums the products of gradients and weights, which are as large as the
// cotangent.
double Judge::terms(const Part& p, std::span<const Part> all) const {
  double most = 0;
  const auto input = static_cast<std::size_t>(p.input);
  for (const Part& g : all) {
    if (g.order != 1 || g.input != p.of) continue;
    const double first = largest_of(g.values);
    if (p.values.size() < g.values.size() && p.input == all.back().input)
      most =
          std::max(most, first * std::sqrt(static_cast<double>(g.values.size()) /
                                           static_cast<double>(std::max<std::size_t>(p.values.size(), 1))));
    if (input < sizes_.size() && sizes_[input] > 0) most = std::max(most, first * weight_ / sizes_[input]);
  }
  return most;
}

void Judge::compare(const Part& got, const Part& want, const Before& before,
                    const std::string& circumstances) {
  if (!elementwise_ && std::ranges::count(before.over, 1) > 0) return;
  const bool exact = !is_floating(got.dtype);
  const double by = want.order == 0 ? allowed_.value : allowed_.derivative;
  const double most = std::max(largest_of(want.values), before.terms);
  const double end = overflow_threshold(dtype_), unit = epsilon(dtype_);
  const double below = before.natural * unit + smallest(dtype_) *
                                                   (8 + static_cast<double>(want.values.size())) *
                                                   (before.under ? 64 * before.weight : 1);
  for (std::size_t i = 0; i < want.values.size(); ++i) {
    const double g = got.values[i], w = want.values[i];
    if (std::bit_cast<std::uint64_t>(w) == unknown_bits) continue;
    if (elementwise_ && i < before.over.size() && before.over[i]) continue;
    ++report_.elements;
    const double size = allowed_.own_size ? std::abs(w)
                        : elementwise_    ? std::max(std::abs(w), most / 16)
                                          : most;
    const double exponent = i < exponents_.size() && want.order >= from_order_ && std::isfinite(exponents_[i])
                                ? std::abs(exponents_[i])
                                : 0;
    const double allowed = exact ? 0 : (by + exponent) * unit * size + below;
    constexpr double nudges = 16;
    bool right = false;
    if (allowed_.any_special && !std::isfinite(w))
      right = !std::isfinite(g);
    else if (std::isnan(w))
      right = std::isnan(g);
    else if ((allowed_.flushes && g == 0 && std::abs(w) < 0x1p-126 && dtype_ != DType::f64) ||
             (!elementwise_ && !std::isfinite(g) &&
              (std::isinf(w) ? allowed_.finite : std::ldexp(most, 6) >= end)))
      right = true;  // it is flushed to 0, or a term of the sum overflows
    else if (!(std::abs(w) < end))
      right = g == std::copysign(std::numeric_limits<double>::infinity(), w) ||
              (std::isfinite(w) && std::abs(g - w) <= allowed);
    else if (std::isinf(g))
      right = std::signbit(g) == std::signbit(w) && std::abs(w) + allowed >= end;
    else
      right = std::abs(g - w) <= allowed ||
              (!elementwise_ && std::isfinite(g) && std::abs(g - w) <= allowed + nudges * before.spread());
    if (right && std::isfinite(g) && std::isfinite(w) && allowed > 0)
      report_.worst = std::max(report_.worst, std::abs(g - w) / allowed);
    if (right) continue;
    ++report_.inconclusive;  // counts the failures; report() resets it
    if (report_.mismatches.size() < kept)
      report_.mismatches.push_back({want.order, want.input, static_cast<std::int64_t>(i), want.shape, g, w,
                                    allowed, circumstances,
                                    want.order == 1 && want.of == 0 ? "f64, no tape" : "f64"});
  }
}

GradcheckReport Judge::report() && {
  const auto failures = std::exchange(report_.inconclusive, 0);
  if (failures > 0) {
    const Mismatch& m = report_.mismatches.front();
    report_.failure =
        fmt::format("{} of {} elements; order {}, input {}, flat {}: {:.9g}, not {:.9g}; {}", failures,
                    report_.elements, m.order, m.input, m.index, m.analytic, m.numeric, m.cotangent);
    report_.worst = std::numeric_limits<double>::infinity();
  }
  if (!report_.failure.empty())
    report_.verdict = Verdict::fail;
  else if (report_.elements == 0)
    report_.verdict = Verdict::skip, report_.failure = "nothing to compare";
  return std::move(report_);
}

}  // namespace bobbin::gradcheck_detail
