// Samples with inputs and cotangents multiplied by powers of two.
#include <bobbin/elementwise.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "autograd/gradcheck/edges/judge.h"
#include "autograd/gradcheck/edges/kinds.h"
#include "autograd/gradcheck/edges/one_check.h"
#include "autograd/gradcheck/oracles/gradients.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr std::int64_t most_elements = 256;

// Powers of two for inputs, with those for the cotangents beside them. The squares of such inputs leave the
// range of the dtype; an input times two cotangents does not.
struct Scale {
  int inputs, cotangents;
};
std::array<Scale, 2> scales_of(DType d) {
  if (d == DType::f64) return {{{600, 200}, {900, 50}}};
  if (d == DType::f16) return {{{8, 3}, {11, 1}}};
  return {{{70, 25}, {100, 10}}};
}

// Operations that add products of their inputs: only together do these leave the range.
bool adds_products(std::string_view op) {
  static const std::set<std::string_view> names{"matmul",
                                                "linear",
                                                "conv2d",
                                                "conv2d_input_grad",
                                                "conv2d_weight_grad",
                                                "scaled_dot_product_attention",
                                                "linear_cross_entropy",
                                                "softmax_backward",
                                                "log_softmax_backward",
                                                "cross_entropy_backward"};
  return names.contains(op);
}

// Which input is multiplied (-1: all), and by which powers of two inputs and cotangents are.
struct Step {
  int input, by, cotangent;
};
std::vector<Step> steps_of(DType d, const std::vector<int>& inputs, bool products) {
  const auto [large, largest] = scales_of(d);
  std::vector<Step> steps;
  for (const auto& [by, cotangents] : {Scale{0, large.cotangents}, large, largest})
    for (const int side : {1, -1})
      for (const int cotangent : {0, cotangents, -cotangents})
        if (by > 0 || side > 0) steps.push_back({-1, side * by / (products ? 2 : 1), cotangent});
  if (inputs.size() > 1)
    for (const int input : inputs)
      for (const int by : {large.inputs, -large.inputs}) steps.push_back({input, by, 0});
  return steps;
}

std::vector<Tensor> scaled(Inputs x, const Step& step) {
  std::vector<Tensor> out;
  for (std::size_t i = 0; i < x.size(); ++i)
    out.push_back(varied(x[i]) && (step.input < 0 || step.input == static_cast<int>(i))
                      ? x[i] * std::ldexp(1, step.by)
                      : x[i]);
  return out;
}

// x 2^power; the smallest number where that rounds to 0, to say that something is lost.
double multiplied(double x, int power) {
  const double y = std::ldexp(x, power);
  return y == 0 ? std::copysign(x == 0 ? 0 : smallest(DType::f64), x) : y;
}

// What homogeneous functions give in f64 at 2^by times the inputs. An element whose results at 2^60 and 2^70
// times them differ by a power of two (of half an integer degree) is taken on from there; the others are
// unknown. Derivatives are linear in the cotangents.
std::vector<Part> extrapolated(Question q, const std::vector<Tensor>& x, Step step) {
  constexpr int near = 60, apart = 10;
  const int side = step.by < 0 ? -1 : 1, by = std::abs(step.by), inputs = static_cast<int>(x.size());
  q.cotangent = 0;
  q.inputs = scaled(x, {step.input, by == 0 ? 0 : side * near, 0});
  const auto first = evaluate(q, DType::f64, Device::cpu());
  q.inputs = scaled(x, {step.input, by == 0 ? 0 : side * (near + apart), 0});
  auto second = evaluate(q, DType::f64, Device::cpu());
  for (std::size_t p = 0; p < second.size(); ++p) {
    const Part& part = second[p];
    const int power = step.cotangent * (part.order == 2 && part.input == inputs ? 1 : part.order);
    for (std::size_t i = 0; i < part.values.size(); ++i) {
      const double a = first[p].values[i];
      double& b = second[p].values[i];
      if (by == 0) b = multiplied(b, power);
      if (by == 0 || (a == 0 && b == 0)) continue;
      const double degree = std::round(2 * std::log2(b / a) / apart) / 2;
      if (std::isfinite(a) && std::isfinite(b) && std::abs(b / a / std::exp2(degree * apart) - 1) < 1e-12)
        b = multiplied(b, power + static_cast<int>(degree * (by - near - apart)));
      else
        b = Judge::unknown();
    }
  }
  return second;
}

// Whether the sizes of all elements but zeros are near 1, so that 2^60 dwarfs their differences.
bool near_one(Inputs x) {
  for (const Tensor& t : x)
    if (varied(t))
      for (const double v : t.to_vector<double>())
        if (v != 0 && std::abs(std::ilogb(v)) > 16) return false;
  return true;
}

GradcheckReport check(const OpInfo& op, const Sample& sample, const EdgeOptions& options) {
  std::vector<Tensor> x;
  std::vector<int> places;
  for (const Tensor& t : sample.inputs) {
    x.push_back(varied(t) ? to(t, options.dtype) : t);
    if (varied(t)) places.push_back(static_cast<int>(x.size()) - 1);
  }
  Question q{sample.call, {}, options.dtype};
  q.seed = options.seed;
  q.orders = op.differentiable ? 2 : 0;
  const Shape shape = sample.call(sample.inputs).shape();
  const bool elementwise = is_elementwise(op.name) && std::ranges::all_of(x, [&](const Tensor& t) {
                             return !varied(t) || t.shape() == shape;
                           });
  // In f64 on a GPU, both sides round.
  const double own = options.dtype == DType::f64 && options.device.is_cuda() ? 64 : 16;
  Judge judge(options.dtype, elementwise, allowed_for(op.name, options.device, {own, own, false, true}));
  const bool extrapolate = options.dtype == DType::f64, asymptotic = near_one(x);
  if (!extrapolate) judge.nudged_by([&](std::uint64_t signs) { return nudged(q, op.name, signs); });
  for (const Step& step : steps_of(options.dtype, places, adds_products(op.name))) {
    const std::string circumstances =
        fmt::format("{} x 2^{}, cotangents x 2^{}",
                    step.input < 0 ? "inputs" : fmt::format("input {}", step.input), step.by, step.cotangent);
    if (extrapolate && step.by != 0 && !asymptotic) continue;
    std::vector<Part> want;
    if (extrapolate) want = extrapolated(q, x, step);
    q.inputs = scaled(x, step);
    q.cotangent = step.cotangent;
    if (std::ranges::any_of(q.inputs, [](const Tensor& t) {
          return varied(t) &&
                 !std::ranges::all_of(t.to_vector<double>(), [](double v) { return std::isfinite(v); });
        }))
      continue;
    if (!extrapolate) want = evaluate(q, DType::f64, Device::cpu());
    judge.second_by_first(sizes_of(q.inputs), std::ldexp(1, step.cotangent));
    judge(evaluate(q, options.dtype, options.device), want, circumstances);
  }
  return std::move(judge).report();
}

}  // namespace

std::vector<CheckResult> check_scales(const OpInfo& op, const EdgeOptions& options) {
  std::vector<CheckResult> out;
  for (auto& sample : valid_samples(op, options.seed)) {
    std::int64_t elements = 0;
    bool finite = true;
    for (const Tensor& t : sample.inputs) {
      if (!varied(t)) continue;
      elements += t.numel();
      for (const double v : t.to_vector<double>()) finite &= std::isfinite(v);
    }
    if (elements == 0 || elements > most_elements || !finite || !matches(options.sample, sample.note))
      continue;
    out.push_back(one_check(op, sample.note, "scale", options, [&] { return check(op, sample, options); }));
  }
  return out;
}

}  // namespace bobbin::gradcheck_detail
